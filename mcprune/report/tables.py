"""The tables of a report: what changes of knobs did, how the chain moved, what the models cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mcprune.config.knobs import unused_knobs
from mcprune.exporters.footprint import Footprint, Footprints
from mcprune.firmware.counting.model_sizes import RULE, firmware_table
from mcprune.report.charts import curves
from mcprune.report.mixing import FEWEST, mixing
from mcprune.report.page import Page
from mcprune.report.text import number
from mcprune.storage.event_log import COMPARED, EventLog
from mcprune.storage.events import KnobChanged
from mcprune.types import FloatArray

Runs = Mapping[str, EventLog]
CHANGES = 100  # rows of the table of changes


def changes(page: Page, label: str, run: EventLog) -> None:
    """Write the table of changed knobs, with the acceptance and L_tot before and after each change, folded."""
    if not run.knob_changes:
        return
    with page.fold("Changes of knobs" + (f": {label}" if label else "")):
        _changes(page, run)


def _changes(page: Page, run: EventLog) -> None:
    last = run.knob_changes[-1]
    text = f"Delta, temperature and the other knobs are constant since block {last.block:,} (proposal {last.proposals:,}). "
    warm = bool((run.series("temperature") > 0).any())
    if warm:
        text += "At a temperature above 0 the chain samples from one fixed distribution only after the last change. "
    page.paragraph(text, quiet=False)
    page.paragraph(
        f"Acceptance and L_tot before and after a change: means over at most {COMPARED} progress events on each side, none beyond the "
        "next change. A difference need not be due to the change, since the classifier trains and n(t) falls meanwhile. Several changes "
        "before one block are compared as one. A knob that is not in use has no effect."
    )
    rows = []
    moves = dict(run.started.config.get("moves") or {})
    for change in run.knob_changes[:CHANGES]:
        moves = change.knobs.get("moves", moves)
        unused = unused_knobs(
            change.knobs,
            moves,
            is_by_rank=run.started.config.get("gates") == "rank",
            is_at_target=_is_at_target(run, change),
        )
        effects = [_mean(run.series(name)[part]) for name in ("acceptance", "loss") for part in run.compared(change)]
        figures_of_change = [
            f"{number(effects[0], '.2%')} to {number(effects[1], '.2%')}",
            f"{number(effects[2], '.4f')} to {number(effects[3], '.4f')}",
        ]
        for name, value in change.knobs.items():
            rows.append(
                [
                    f"{change.block:,}",
                    f"{run.epoch_of(change.block):.1f}",
                    f"{change.proposals:,}",
                    name,
                    f"{_short(name, change.before.get(name))} to {_short(name, value)}",
                    *(
                        ["no effect", unused[name]]
                        if name in unused
                        else ["-", "-"]
                        if run.is_superseded(change)
                        else figures_of_change
                    ),
                ]
            )
    page.table(["block", "epoch", "proposal", "knob", "change", "acceptance", "L_tot"], rows)
    if len(run.knob_changes) > CHANGES:
        page.paragraph(f"{len(run.knob_changes) - CHANGES:,} later changes are in its events.jsonl.")


def _is_at_target(run: EventLog, change: KnobChanged) -> bool:
    """Whether n(t) had reached n before a change."""
    targets = run.series("target")[run.series("block") <= change.block]
    return bool(targets.size) and bool(targets[-1] == run.started.keep)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _short(name: str, value: object) -> str:
    """Return a knob's value as text."""
    if value is None:
        return "as configured" if name == "evaluation_rows" else "off"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(share, '.3g')}" for key, share in value.items())
    return number(value, ",d" if isinstance(value, int) else ".4g")


def diagnosis(page: Page, runs: Runs) -> None:
    """Write acceptance by move, and how long the loss remembers, folded; nothing where no run proposes anything."""
    chains = {name: run for name, run in runs.items() if run.progress and run.progress[-1].proposals}
    if not chains:
        return
    with page.fold("Acceptance and autocorrelation"):
        _diagnosis(page, runs, chains)


def _diagnosis(page: Page, runs: Runs, chains: Runs) -> None:
    rows = []
    for label, run in chains.items():
        last = run.progress[-1]
        by_move = {**last.moves, "all": (last.proposals, last.decisions, last.accepted)}
        for name, counts in by_move.items():
            share = counts[2] / counts[1] if counts[1] else None
            rows.append([label, name, *(f"{count:,}" for count in counts), number(share, ".2%")])
    skipped = int(len(runs) == 1)  # a run alone needs no name
    page.table(
        ["run", "move", "proposals", "decisions", "accepted", "acceptance"][skipped:], [row[skipped:] for row in rows]
    )
    rows = []
    for label, run in chains.items():
        for field, name in (("loss", "L_tot"), ("classification_loss", "L_cla")):
            series = curves.settled(run, field)
            estimate = mixing(series)
            tau = estimate.autocorrelation_time
            gap = float(np.median(np.diff(run.series("block")))) if len(run.progress) > 1 else 1.0
            from_block = run.progress[run.settled_from() - 1].block if run.settled_from() else 0
            trust = "-" if math.isnan(tau) else "yes" if len(series) >= 50 * tau else "no, too short"
            rows.append(
                [
                    label,
                    name,
                    f"{from_block:,}",
                    f"{len(series):,}",
                    number(tau, ".1f"),
                    number(tau * gap, ".1f"),
                    number(estimate.effective, ".1f"),
                    number(estimate.rhat, ".3f"),
                    trust,
                ]
            )
    head = [
        "run",
        "series",
        "from block",
        "values",
        "tau, values",
        "tau, blocks",
        "effective values",
        "R-hat",
        "50 tau long",
    ]
    page.table(head[skipped:], [row[skipped:] for row in rows])
    page.paragraph(
        "effective values: as many independent values have a mean as precise (ArviZ), of the progress events since n(t) is n and "
        "the knobs rest; tau: the integrated autocorrelation time, values over effective values; R-hat: of the two halves of the "
        f"series, near 1 where both have one law; - where fewer than {FEWEST} values were recorded or they do not change. The classifier "
        "trains meanwhile and each block has its own batch, so tau is how long the loss remembers in this run, not the mixing of a chain "
        "on a fixed loss; at T = 0 the chain only descends, and there is no law to mix under."
    )
    figure = curves.correlations(chains)
    if figure is not None:
        page.figure(figure)


def costs(page: Page, runs: Runs, footprints: Mapping[str, Footprints]) -> None:
    """Write what the models cost before and after."""
    page.heading("The model before and after")
    for label, run in runs.items():
        if len(runs) > 1:
            page.paragraph(f"{label}:", quiet=False)
        if label not in footprints:
            page.paragraph("The run has not ended, so there is no small model yet.")
            continue
        cost = footprints[label]
        counts = None if run.done is None else run.done.parameters
        rows = [
            _cost_row("parameters", counts.before if counts else None, counts.after if counts else None, ",d"),
            _cost_row("MACs a row", _macs(cost.whole), _macs(cost.small), ",d"),
        ]
        for batch in cost.small.seconds if cost.small else ():
            before, after = _microseconds(cost.whole, batch), _microseconds(cost.small, batch)
            rows.append(_cost_row(f"a batch of {batch:,}, microseconds", before, after, ",.1f"))
        page.table(["", "all sites", "small", "small / all"], rows)
        if cost.missing:
            page.paragraph(f"Left out: {cost.missing.rstrip('.')}.", quiet=False)
        if cost.small:
            page.paragraph(
                f"Time of a forward pass of a batch in float32, measured on the machine that wrote this page: CPU, {cost.threads} "
                f"thread{'s' if cost.threads > 1 else ''}, torch {cost.torch}; the median of rounds in which both models take turns. "
                "Picking the kept inputs out of full rows is not counted. MACs: multiply-accumulates of linear and convolution layers."
            )


def firmware(page: Page, footprints: Mapping[str, Footprints]) -> None:
    """Write, folded, how large the small models would be in firmware."""
    for label, cost in footprints.items():
        if not cost.firmware:
            continue
        with page.fold("In firmware" + (f": {label}" if len(footprints) > 1 else "")):
            head, rows = firmware_table(cost.firmware)
            page.table(head, rows)
            page.paragraph(
                f"The small model after its training: {RULE}. EBOPs: bits of each weight times bits of its input. At most: every "
                "product by its signed digits, no sum shared. Shared: by alkaid, if it is installed. mcprune quantize trains with rounding."
            )


def _cost_row(name: str, before: float | None, after: float | None, form: str) -> list[str]:
    share = number(after / before, ".1%") if before and after is not None else "-"
    return [name, number(before, form), number(after, form), share]


def _macs(model: Footprint | None) -> int | None:
    return None if model is None else model.macs


def _microseconds(model: Footprint | None, batch: int) -> float | None:
    return None if model is None else 1e6 * model.seconds[batch]
