"""The page of a network in fixed point: what it costs by layer, what it reads, and what a chain over its digits has changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mcprune.errors import FolderError
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.counting.model_sizes import firmware_table
from mcprune.firmware.counting.sizes import layer_sizes
from mcprune.firmware.csd import count_digits
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.network_files import load_network
from mcprune.report.page import Page
from mcprune.report.text import number
from mcprune.types import JsonObject

POLISHED = "polish.json"  # what `mcprune polish` writes beside its network
COSTS = {
    "weights": "weights",
    "digits": "digits",
    "digit_bits": "digit-bits",
    "ebops": "EBOPs",
    "adders": "adders at most",
    "luts": "LUTs at most",
}


def write_network_page(path: Path, folder: Path) -> None:
    """Write the page of a folder that holds a fixed-point network.

    Parameters
    ----------
    path : Path
        The file.
    folder : Path

    Raises
    ------
    FolderError
        The network or its record is broken, or the file cannot be written.
    """
    network, record = load_network(folder), read_record(folder)
    total = costs(network)
    page = Page(f"A network in fixed point: {'-'.join(map(str, network.widths))}")
    page.lead(
        f"It reads {network.widths[0]} of {network.origin.width} columns, has {total.digits:,} signed digits, and takes at most "
        f"{total.adders:,} adders and {total.luts:,} look-up tables."
    )
    if record is not None:
        settings = record["settings"]
        page.paragraph(
            f"Polished to a budget of {settings['budget']:,} {settings['unit']}, from: {record['start']}. The chain evaluated "
            f"{record['evaluated']:,} candidates in {record['seconds']:.0f} s of the processor.",
            quiet=False,
        )
    page.heading("Size in firmware")
    page.table(*firmware_table(layer_sizes(network)))
    page.paragraph(
        "Estimates from the integers of the network; nothing was synthesised. At most: every product by its signed digits, no sum shared. "
        "Shared: by alkaid, if it is installed."
    )
    if record is not None:
        page.heading("Before and after the chain")
        page.table(["", "before", "after"], _before_and_after(record["before"], record["after"]))
    page.heading("Inputs")
    page.table(["column", "bits", "of them fractional", "signed", "digits that read it"], _inputs(network))
    page.heading("Hand it over")
    page.code(f"mcprune export {folder} --to c\nmcprune export {folder} --to alkaid")
    if record is not None:
        with page.fold("Moves of the chain"):
            page.table(["move", "drawn", "evaluated", "accepted", "change of the mean loss"], _moves(record["moves"]))
        with page.fold("Settings of the chain"):
            page.table(
                ["setting", "value"], [[name, str(value)] for name, value in record["settings"].items()], left=True
            )
    page.write(path)


def read_record(folder: Path) -> JsonObject | None:
    """Return what `mcprune polish` wrote about its network, or None where there is no such file.

    Raises
    ------
    FolderError
        The file is broken.
    """
    try:
        record = json.loads((folder / POLISHED).read_text())
        missing = [
            name
            for name in ("settings", "start", "evaluated", "seconds", "before", "after", "moves")
            if name not in record
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise FolderError(
            f"{str(folder / POLISHED)!r} cannot be read: {error}. Polish again, or remove the file."
        ) from None
    if missing:
        raise FolderError(f"{str(folder / POLISHED)!r} has no {missing[0]!r}. Polish again, or remove the file.")
    return dict(record)


def _before_and_after(before: JsonObject, after: JsonObject) -> list[list[str]]:
    rows = [["inputs and units", *("-".join(map(str, one["widths"])) for one in (before, after))]]
    rows += [[title, f"{before[name]:,}", f"{after[name]:,}"] for name, title in COSTS.items()]
    rows.append(["training loss", number(before["loss"], ".4f"), number(after["loss"], ".4f")])
    return rows + [
        [f"{part} accuracy", number(value, ".4f"), number(after["accuracies"].get(part), ".4f")]
        for part, value in before["accuracies"].items()
    ]


def _inputs(network: FixedNetwork) -> list[list[str]]:
    form = network.inputs
    digits = count_digits(network.layers[0].weight).sum(axis=0)
    names = network.origin.names or tuple(map(str, network.origin.columns))
    order = np.argsort(-digits, kind="stable")
    return [
        [
            names[place],
            str(form.bits[place]),
            str(form.fraction[place]),
            "yes" if form.signed[place] else "no",
            str(digits[place]),
        ]
        for place in order
    ]


def _moves(moves: list[JsonObject]) -> list[list[str]]:
    return [
        [
            move["move"],
            *(f"{move[name]:,}" for name in ("proposed", "evaluated", "accepted")),
            number(move["gain"], "+.4f"),
        ]
        for move in moves
    ]
