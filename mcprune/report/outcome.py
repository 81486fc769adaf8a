"""The result on a report: the sentence, the kept sites, accuracy beside comparisons, predictions, how sure each site is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcprune.data.roles.tasks import REGRESSION
from mcprune.report import sampled
from mcprune.report import summary as table
from mcprune.report.charts import curves, figures, numbers, quality
from mcprune.report.charts import sureness as certainty
from mcprune.report.page import Page
from mcprune.storage.answer import DOUBTS, noun
from mcprune.storage.event_log import EventLog
from mcprune.storage.predictions import Predictions, read_predictions
from mcprune.storage.run_metrics import jaccard

Runs = Mapping[str, EventLog]
MOST_DOUBTS = 8


def lead(page: Page, run: EventLog) -> None:
    """Begin with the result in a sentence, with what puts it in doubt."""
    done = run.done
    if done is not None and done.summary:
        page.lead(done.summary.replace("+-", "±") + ".")
    if done is not None and done.simpler:
        page.callout(done.simpler.replace("+-", "±"))
    doubtful = dict(run.started.doubtful)
    if not doubtful:
        return
    kept = set(done.names) if done is not None else set()
    texts = [
        f"{name} {DOUBTS.get(kind, kind)}{' and is kept' if name in kept else ''}"
        for name, kind in sorted(doubtful.items(), key=lambda pair: pair[0] not in kept)
    ]
    more = f"; and {len(texts) - MOST_DOUBTS} more" if len(texts) > MOST_DOUBTS else ""
    page.callout(f"Doubtful columns: {'; '.join(texts[:MOST_DOUBTS])}{more}.")


def kept_and_accuracy(page: Page, runs: Runs, features: Sequence[str] | None) -> None:
    """Write what is kept, beside the accuracies."""
    run = next(iter(runs.values()))
    with page.row():
        with page.cell():
            page.heading("What is kept")
            _sites(page, runs, features)
        with page.cell():
            start = run.started
            page.heading(f"{'R2' if start.task == REGRESSION else 'Accuracy'} beside comparisons")
            figure = quality.accuracies(run.scores, start.task, is_weighted=start.is_weighted)
            if figure is None:
                page.paragraph("Nothing was tested yet." if not run.scores else "There are no test rows.")
            else:
                page.figure(figure)
                page.paragraph(
                    "Blue: the pruned model. Bars: one standard error over the test rows; of several random masks, the standard "
                    "deviation between them."
                )
            if len(runs) == 1:
                _scores(page, run)


def _scores(page: Page, run: EventLog) -> None:
    objective = run.started.objective
    if run.scores:
        task = run.started.task
        titles = table.header(objective, task, is_weighted=run.started.is_weighted)
        page.table(titles, [table.cells(score, objective, task) for score in run.scores])


def several(page: Page, runs: Runs) -> None:
    """Write the tables of the scores of several runs, and the overlap of their masks."""
    if len(runs) < 2:
        return
    first = next(iter(runs.values()))
    for name, run in runs.items():
        page.paragraph(f"{name}:" if run.scores else f"{name}: nothing was tested yet.", quiet=False)
        _scores(page, run)
    if (mine := first.indices()) is not None:
        pairs = [
            [name, f"{jaccard(mine, other):.3f}", f"{len(set(mine) & set(other)):,}"]
            for name, run in list(runs.items())[1:]
            if (other := run.indices()) is not None and run.started.n_sites == first.started.n_sites
        ]
        if pairs:
            page.paragraph("Overlap of the masks with that of the first run: |A and B| / |A or B|, and |A and B|.")
            page.table(["", "overlap", "in both"], pairs)


def predictions(page: Page, run: EventLog) -> None:
    """Write curves of true over false positives, and confused classes, on the test rows; of numbers what `predicted_numbers` does."""
    if run.done is None:
        return
    rows = run.started.rows.get("test", 0)
    content = read_predictions(run.folder, rows)
    if content is None:
        if rows:
            what = (
                "no plot of predicted over true numbers"
                if run.started.task == REGRESSION
                else "neither a ROC curve nor a confusion matrix"
            )
            page.paragraph(f"The folder has no predictions of the test rows, so there is {what}.")
        return
    classes = run.started.classes
    part = f"{rows:,}" if len(content.targets) == rows else f"{len(content.targets):,} of {rows:,}, drawn at random,"
    if run.started.task == REGRESSION:
        predicted_numbers(page, content, run.started.targets, part)
        return
    if content.is_numeric:
        page.heading("ROC on the test rows")
        figure = numbers.rocs_of_labels(content, run.started.targets)
        if figure is not None:
            page.figure(figure)
        return
    with page.row():
        with page.cell():
            page.heading("ROC on the test rows")
            figure = quality.rocs(content, classes)
            if figure is not None:
                page.figure(figure)
        with page.cell():
            page.heading("Confusion on the test rows")
            figure = quality.confusions(content, classes)
            if figure is None:
                page.paragraph(f"A matrix of {content.pruned.shape[1]:,} classes cannot be read.")
            else:
                page.figure(figure)
    weighted = ", each by its sample weight" if content.weights is not None else ""
    page.paragraph(
        f"Of {part} test rows{weighted}; rows of the matrix are true classes, darker is a larger share of the class."
    )
    of_classes = quality.rocs_of_classes(content, classes)
    if of_classes is not None:
        with page.fold("ROC of each class against the rest"):
            page.figure(of_classes)


def predicted_numbers(page: Page, content: Predictions, names: Sequence[str], part: str) -> None:
    """Write predicted over true numbers, and the residuals, on the test rows."""
    for place, name in enumerate(names[: numbers.MOST_TARGETS]):
        with page.row():
            with page.cell():
                page.heading(f"Predicted and true {name}")
                page.figure(numbers.predicted_over_true(content, place, name))
            with page.cell():
                page.heading(f"Residuals of {name}")
                page.figure(numbers.residuals(content, place, name))
    more = f" The first {numbers.MOST_TARGETS} of {len(names):,} targets." if len(names) > numbers.MOST_TARGETS else ""
    page.paragraph(f"Of {part} test rows, by the pruned model; a residual is predicted less true.{more}")


def sure_and_curve(page: Page, runs: Runs, features: Sequence[str] | None) -> None:
    """Write how sure each site is, beside the curve of the search."""
    run = next(iter(runs.values()))
    if sampled.is_level(run) and not run.progress:  # the search is that of the path
        return
    with page.row():
        with page.cell():
            page.heading("How sure each site is")
            _sureness(page, run, features)
        with page.cell():
            page.heading("The search")
            figure = curves.of_search(runs)
            if figure is None:
                page.paragraph("No block is recorded yet, so there are no curves.")
            else:
                page.figure(figure)
    sampled.samples_more(page, run)
    if run.playoff is not None:
        with page.fold("Playoff of the finalists"):
            page.paragraph(f"{table.playoff_verdict(run.playoff)}.")
            page.table(table.playoff_header(run.started.task), table.playoff_cells(run.playoff))


def _sureness(page: Page, run: EventLog, features: Sequence[str] | None) -> None:
    indices = run.indices()
    if indices is None:
        page.paragraph("Which sites are kept is not recorded yet.")
        return
    if sampled.sampled_sites(page, run, _names(run, features)):
        return
    start = run.started
    sure = certainty.sureness(run)
    text = certainty.sentence(sure, indices, noun(start.sites, start.image_shape))
    if not text:
        page.paragraph(
            "This run does not say: it had one chain, and its gates were not recorded after n(t) had reached n. mcprune sample "
            "draws masks and says it."
        )
        return
    page.paragraph(text[0].upper() + text[1:] + ".")
    figure = figures.sureness(run, sure, _names(run, features))
    if figure is not None:
        page.figure(figure)


def _sites(page: Page, runs: Runs, features: Sequence[str] | None) -> None:
    label, first = next(iter(runs.items()))
    if first.indices() is None:
        page.paragraph("Which sites are kept is not recorded yet.")
        return
    if first.done is None:
        page.paragraph(
            "The run has no result yet: shown are the gates above one half at the last time that they were recorded.",
            quiet=False,
        )
    shapes = {name: run.started.image_shape for name, run in runs.items()}
    picture = figures.masks(runs, shapes)
    if picture is not None:
        page.figure(picture)
        if len(shapes[label] or ()) > 2:
            page.paragraph("Channels stand below each other.")
    groups = first.started.sites
    only_pixels = len(groups) == 1 and shapes[label] is not None
    has_many = sum(group.size for group in groups if group.kind != "inputs") > figures.BARS
    if has_many and (chart := figures.by_layer(first)) is not None:
        page.paragraph(f"How many {', '.join(dict.fromkeys(group.kind for group in groups))} of each layer are kept.")
        page.figure(chart)
    # Of many inner sites, single ones have no names that say anything; columns of a table beside them have.
    is_named = not has_many or (groups[0].kind == "inputs" and shapes[label] is None)
    size = groups[0].size if has_many else first.started.n_sites
    chart = figures.bars(first, _names(first, features), size) if is_named and not only_pixels else None
    if chart is not None:
        page.figure(chart)
        page.paragraph(
            f"Blue: kept; the order is by the mean of the gates over the search ({figures.SHOWN} are shown at most)."
        )
    if first.done is not None and not (only_pixels and picture is not None):
        with page.fold("All kept sites by name"):
            page.code("\n".join(table.kept_lines(first.done, width=110, unicode=True)))


def _names(run: EventLog, features: Sequence[str] | None) -> list[str]:
    """Return the names of all sites; a doubtful column is called so."""
    doubtful = run.started.doubtful
    return [f"{name} (doubtful)" if name in doubtful else name for name in figures.site_names(run, features)]
