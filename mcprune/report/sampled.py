"""The parts of a report that go beyond one mask: samples, the error rate of the kept columns, the curve over their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcprune.report import summary as table
from mcprune.report.charts import samples as charts
from mcprune.report.charts.shadows import beside_shadows
from mcprune.report.page import Page
from mcprune.report.path_view import method_line, path_figure, sentences
from mcprune.sampling.rows import COUNT_HEADER, GOOD_MASK_HEADER, SUBSTITUTE_HEADER
from mcprune.sampling.samples import MIXED
from mcprune.sampling.summary import SampleSummary, read_summary
from mcprune.storage.answer import noun
from mcprune.storage.event_log import EventLog
from mcprune.storage.layout import PATH_CURVE, PATH_LEVELS, read_json
from mcprune.storage.path_curve import Curve

MOST_LINES = 6  # of substitutes beside the picture
SURE = 0.9  # P(kept) from which on a site is called sure
MOST_COLUMNS = 200  # of the table of columns and their shadows


def sampled_sites(page: Page, run: EventLog, names: Sequence[str]) -> bool:
    """Write P(kept) of each site and the substitutes; return whether the run has been sampled."""
    summary = read_summary(run.folder) if run.done is not None else None
    figure = None if summary is None else charts.probabilities(run, summary, names)
    if summary is None or figure is None:
        return False
    page.paragraph(sentence(run, summary), quiet=False)
    page.figure(figure)
    page.paragraph(
        (
            "Darker: kept in more of the masks."
            if run.started.image_shape
            else "Blue: in the mask of the run. Lines: one standard error."
        )
        + f" The law: masks of {summary.keep:,} sites at temperature {summary.temperature:.3g}, whose losses spread by "
        f"{summary.spread:.3g}; the difference of two has a standard error of {summary.paired_error:.3g} on these rows."
    )
    if lines := summary.substitute_lines[:-1]:
        page.paragraph(
            "Substitutes, with the increase of the loss: " + "; ".join(lines[:MOST_LINES]).replace("+-", "±") + ".",
            quiet=False,
        )
    return True


def sentence(run: EventLog, summary: SampleSummary) -> str:
    """Return how many of the kept sites are sure, and to what precision that is known."""
    kept = run.indices() or []
    sure = int((summary.probability[kept] >= SURE).sum())
    sites = noun(run.started.sites, run.started.image_shape)
    masks = summary.chains * summary.draws
    return (
        f"{sure:,} of the {len(kept):,} kept {sites} are in at least {SURE:.0%} of the {masks:,} good masks that were drawn; "
        f"each share is known to ± {summary.error.max():.3f}."
    )


def samples_more(page: Page, run: EventLog) -> None:
    """Write the substitutes, the good masks and how the chains agree, folded."""
    summary = read_summary(run.folder) if run.done is not None else None
    if summary is None or summary.probability.size != run.started.n_sites:
        return
    with page.fold("Substitutes: sites that can replace each other"):
        page.paragraph(summary.substitute_lines[-1] if summary.substitute_lines else "None were found.")
        page.table(SUBSTITUTE_HEADER, _signed(summary.substitute_rows), left=True)
    with page.fold("Good masks: how many there are, and the best that differ"):
        page.paragraph(" ".join(summary.mask_lines))
        page.table(COUNT_HEADER, _signed(summary.count_rows))
        page.table(GOOD_MASK_HEADER, summary.mask_rows, left=True)
    with page.fold("Samples: traces, ranks, R-hat"):
        worst = float(summary.r_hat.max())
        agree = (
            "the chains agree"
            if max(worst, summary.loss_r_hat) <= MIXED
            else f"above {MIXED:g}, so the chains agree only roughly"
        )
        page.paragraph(
            f"{summary.chains} chains of {summary.draws:,} masks from different starts, {summary.seconds:.0f} s. "
            f"R-hat {summary.loss_r_hat:.3f} of the loss, at most {worst:.3f} of a site: {agree}. "
            f"Effective draws: {summary.loss_ess:,.0f} of the loss, at least "
            f"{summary.ess.min():,.0f} of a site. If the chains agree, losses have no trend, and ranks are near the dotted line."
        )
        page.figure(charts.traces_and_ranks(summary))


def error_rate(page: Page, run: EventLog) -> None:
    """Write the columns beside their shadows, for a run with a stated false discovery rate."""
    event = run.error_rate
    if event is None:
        return
    page.heading("Columns and their shadows")
    page.paragraph(f"{table.error_rate_verdict(event)}.", quiet=False)
    page.figure(beside_shadows(event))
    page.paragraph(
        "Bars: share of the blocks in which the chains keep a column; blue columns are kept. Points: the same for its shadows, which "
        "are drawn without the classes. Dotted: the threshold."
    )
    with page.fold("Table of the columns and their shadows"):
        page.table(table.ERROR_RATE_HEADER, table.error_rate_cells(event, MOST_COLUMNS))


def is_level(run: EventLog) -> bool:
    """Whether a run is a level of a path, in whose folder it lies."""
    folder = Path(run.folder).resolve()
    return folder.parent.name == PATH_LEVELS and (folder.parents[1] / PATH_CURVE).exists()


def curve_of(run: EventLog) -> Curve | None:
    """Return the curve of the path that a run is a level of; None where it is none."""
    return Curve.from_dict(read_json(Path(run.folder).resolve().parents[1], PATH_CURVE)) if is_level(run) else None


def curve_over_n(page: Page, run: EventLog) -> bool:
    """Write how good the masks of other numbers of sites are; return whether the run is a level of a path."""
    curve = curve_of(run)
    if curve is None:
        return False
    page.heading("How many are needed")
    page.paragraph(" ".join(sentences(curve)), quiet=False)
    figure = path_figure(curve)
    page.figure({**figure, "layout": {**figure["layout"], "height": charts.HEIGHT + 60}})
    page.paragraph(method_line(curve))
    return True


def _signed(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return rows of text with the sign ±."""
    return [[cell.replace("+-", "±") for cell in row] for row in rows]
