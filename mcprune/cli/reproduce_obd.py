"""The command line of `reproduce obd`."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from mcprune.cli.studies import folder_of, integers
from mcprune.errors import ConfigError
from mcprune.report.terminal import write


def reproduce_obd(given: Any) -> int:
    """Run `mcprune reproduce obd` and return its exit code: 0, or 1 if a part failed.

    Parameters
    ----------
    given : Namespace
        As `reproduce_parser` reads it.

    Raises
    ------
    ConfigError, DataError, FolderError
        Before anything is run.
    """
    if given.keep is not None:
        raise ConfigError("--keep belongs to reproduce slides: obd prunes at fixed percentages; leave it out")
    seeds = integers("--seeds", given.seeds or "0,1,2", 0)

    from mcprune.data.load import load
    from mcprune.studies.bench.table import claim_lines
    from mcprune.studies.reproduce.obd import runs as obd

    data = given.data or ("digits" if given.quick else "mnist")
    more = dict(obd.QUICK if given.quick else {})
    if given.chain is not None:
        more["chain_percents"] = _percents(given.chain)
    setting = obd.Setting(
        data=data, seeds=tuple(dict.fromkeys(seeds)), quick=given.quick, threads=given.threads, **more
    )
    setting.config(0)
    root = folder_of(given.out, "runs/reproduce-obd")
    study = obd.Study(root, setting, load(data), force=given.force)
    is_over = False
    try:
        for number, told in enumerate(study.run(), 1):
            if not given.quiet:
                _line(number, len(study.parts.parts), told, sys.stdout)
        is_over = True
    finally:
        found = study.write_results()
        if is_over and not given.quiet:
            claim_lines(found, sys.stdout)
        from mcprune.studies.reproduce.obd.page import write_page

        write_page(root / "page.html", found, study.figures())
    for name, message in found["failures"].items():
        print(f"mcprune: failed: {name}: {message}", file=sys.stderr)
    if found["failures"]:
        print("mcprune: the other parts are finished; the same command tries the failed ones again", file=sys.stderr)
    print(root / "page.html")
    return 1 if found["failures"] else 0


def _percents(text: str) -> tuple[int, ...]:
    """Return the percentages of --chain, ascending."""
    found = tuple(sorted(set(integers("--chain", text, 1))))
    if found[-1] > 99:
        raise ConfigError(f"--chain takes percentages from 1 to 99, met {found[-1]}; give at most 99")
    return found


def _line(number: int, count: int, told: Any, stream: TextIO) -> None:
    """Write one line on what became of a part."""
    words = f"[{number}/{count}] {told.name}: "
    if told.status == "failed":
        words += f"failed: {told.message}"
    else:
        right = f"{told.value['dense']:.4f} unpruned" if "dense" in told.value else f"{told.value['accuracy']:.4f}"
        words += f"{right}, {told.value['seconds']['all']:.1f} s" + (
            ", finished before" if told.status == "kept" else ""
        )
    write(stream, words + "\n")
