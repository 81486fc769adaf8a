"""`mcprune predict`: predictions for new rows as CSV."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from mcprune.cli.parser import MODEL_HELP, Parser, own_model
from mcprune.data.formats.reading import TextOptions
from mcprune.errors import FolderError
from mcprune.report.terminal import write
from mcprune.storage.layout import free_file
from mcprune.types import AnyArray

HEADER = ("row", "prediction", "probability")
ROW = HEADER[0]


def predict(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = Parser(
        "mcprune predict",
        "Classify new rows with the pruned model of a run and write a CSV with the columns row (from 0), "
        "prediction (the class as it stood in the data) and probability (of that class). A regression has the columns row and "
        "prediction, several targets a column for each.",
    )
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits")
    parser.option(
        "file",
        metavar="FILE",
        help="the new rows: a table with the columns that the model keeps, in any order (others are ignored), images, ...",
    )
    parser.option(
        "--header",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the first line holds names; auto: the run's names decide (default: auto)",
    )
    parser.option("--separator", default="auto", help="character between the cells of a text table (default: auto)")
    parser.option("--decimal", default="auto", help="its decimal mark: point or comma (default: auto)")
    parser.option("--encoding", default="auto", help="its encoding, such as utf-8 or cp1252 (default: auto)")
    parser.option("--model", metavar="FILE.py:NAME", help=MODEL_HELP)
    parser.option("--out", metavar="FILE.csv", help="where to write (default: standard output)")
    parser.option("--force", action="store_true", help="replace the file of --out if it exists (default: no)")
    parsed = parser.read(arguments)
    text = TextOptions(parsed.header, parsed.separator, parsed.decimal, parsed.encoding)
    predict_rows(parsed.folder, parsed.file, text=text, out=parsed.out, force=parsed.force, model=parsed.model)
    return 0


def predict_rows(
    folder: str,
    file: str,
    *,
    text: TextOptions | None = None,
    out: str | None = None,
    force: bool = False,
    model: str | None = None,
) -> None:
    """Classify the rows of a file with the pruned model of a run.

    Parameters
    ----------
    folder : str
        The run's folder.
    file : str
        The new rows, see `mcprune.data.new_rows.read_rows`; columns that were dropped may be missing.
    text : TextOptions, optional
        How a text table is written.
    out : str, optional
        The CSV file to write, in UTF-8, completely or not at all; by default standard output.
    force : bool
        Replace `out` if it exists.
    model : str, optional
        FILE.py:NAME of the whole model, where the run was of a class of the user's own; the file is run.

    Raises
    ------
    FolderError
        A folder without a finished run; `out` exists or cannot be written.
    ModelError
        A class of the user's own without `model`, or a file that gives no such model.
    DataError
        A file that cannot be read, or rows that do not fit the model.
    """
    target = None if out is None else free_file(out, "predictions.csv", force=force)

    from mcprune.data.new_rows import read_rows
    from mcprune.storage.pruned_model import load

    pruned = load(folder, own_model(model))
    rows = read_rows(file, pruned, pruned.columns.tolist(), text=text)
    for note in rows.notes:
        print(f"note: {note}", file=sys.stderr)
    content = io.StringIO()
    if pruned.target_names:
        write_numbers(content, pruned.numbers(rows.values), pruned.target_names)
    else:
        write_csv(content, np.asarray(pruned.probabilities(rows.values)), pruned.labels)
    if target is not None:
        _write_file(target, content.getvalue())
        return
    if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # the same bytes as with --out, whatever the locale
    write(sys.stdout, content.getvalue())


def write_csv(stream: TextIO, probabilities: AnyArray, labels: tuple[object, ...]) -> None:
    """Write a line for each row: its number from 0, the most probable class (of equals the first), its probability.

    Parameters
    ----------
    stream : text file
    probabilities : ndarray, shape (rows, C)
    labels : tuple of length C
        The classes as in the data.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    best = probabilities.argmax(axis=1)
    chosen = probabilities[np.arange(len(best)), best]
    writer.writerows(
        (row, labels[index], f"{share:.6f}") for row, (index, share) in enumerate(zip(best, chosen, strict=True))
    )


def write_numbers(stream: TextIO, predictions: AnyArray, names: Sequence[str]) -> None:
    """Write a line for each row: its number from 0, and the predicted number of each target, or whether it has each label.

    Parameters
    ----------
    stream : text file
    predictions : ndarray, shape (rows,) or (rows, T)
    names : sequence of str, length T
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((ROW, *(HEADER[1:2] if len(names) == 1 else names)))
    table = predictions.reshape(len(predictions), -1)
    writer.writerows((row, *(f"{value:.9g}" for value in values)) for row, values in enumerate(table.tolist()))


def _write_file(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("x", encoding="utf-8", newline="") as stream:
                stream.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"--out {str(path)!r} cannot be written: {error.strerror}. Choose another place.") from None
