"""The result of a run in one sentence, and in another whether a simpler way does as well: for terminal, report and notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcprune.storage.event_parts import SiteGroup
from mcprune.storage.result_events import Playoff, Scored

# Rows of the final table: of the pruned model, the best known first; of all sites.
OF_MODEL = ("hard mask, retrained", "hard mask, fine-tuned", "hard mask, not retrained")
OF_ALL = ("all sites", "dense")
RANDOM = "random masks"
SHORT = ", short training"  # how the rows of a short comparison end
BY_MAGNITUDE = ("first-layer magnitude", "weight magnitude", "magnitude, fine-tuned", "magnitude, not retrained")
# Names of finalists that are no starts, or how they begin.
OF_CHAIN, ON_VALIDATION = "chain from ", "best on validation rows"
OF_SEARCH = (OF_CHAIN, ON_VALIDATION)

# Why a column may be no measurement, by the kinds of `RunStarted.doubtful`.
DOUBTS = {
    "identifier": "has a different number in each row",
    "weight": "looks like sample weights",
    "copy": "has one value for each class, like a copy of the target",
    "sorts": "sorts the classes",
    "gap": "holds a number that may stand for missing values",
    "date": "holds dates",
    "constant": "has one value in all rows",
    "duplicate": "equals another column",
}


def short(value: float) -> str:
    """Return a share with three decimals and without its leading zero: .977, 1.000, -.120."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def measure_name(task: str, part: str = "", *, is_weighted: bool = False) -> str:
    """Return what `accuracy` is called for a task: `test accuracy`, `weighted validation R2`."""
    names = {"regression": "R2", "multilabel": "label accuracy"}
    return " ".join(filter(None, ["weighted" * is_weighted, part, names.get(task, "accuracy")]))


def score_of(scores: Sequence[Scored], names: Sequence[str]) -> Scored | None:
    """Return the first of these rows that has an accuracy; None where none has."""
    by_name = {score.name: score for score in scores if score.accuracy is not None}
    return next((by_name[name] for name in names if name in by_name), None)


def noun(sites: Sequence[SiteGroup], image_shape: Sequence[int] | None) -> str:
    """Return what the sites are called: pixels, columns, units, channels, weights, or sites where there are several kinds."""
    kinds = {group.kind for group in sites}
    if kinds != {"inputs"}:
        return kinds.pop() if len(kinds) == 1 else "sites"
    if image_shape is None:
        return "columns"
    return "pixels" if len(image_shape) == 2 or image_shape[0] == 1 else "inputs"


def sentence(
    scores: Sequence[Scored],
    sites: Sequence[SiteGroup],
    image_shape: Sequence[int] | None,
    kept: int,
    objective: str | None = None,
    *,
    is_weighted: bool = False,
    rate: float | None = None,
    task: str = "classification",
) -> str:
    """Return the result of a run as one sentence.

    Parameters
    ----------
    scores : sequence of Scored
        The rows of the final table.
    sites : sequence of SiteGroup
    image_shape : sequence of int, optional
    kept : int
        Kept sites.
    objective : str, optional
        Description of what was minimised, where that is not cross-entropy.
    is_weighted : bool
        The accuracies are weighted by sample weights.
    rate : float, optional
        The estimated false discovery rate of the kept columns, where they competed with their shadows.
    task : str
        As in `RunStarted`.

    Examples
    --------
    >>> from mcprune.storage.events import Scored, SiteGroup
    >>> rows = [Scored("all sites", 64, 0.9861, None, 1, None, 1.0), Scored("hard mask, retrained", 16, 0.9772, None, 1, None, 1.0)]
    >>> sentence(rows, [SiteGroup("inputs", "", 64)], (8, 8), 16)
    '16 of 64 pixels keep .977 of .986 test accuracy'
    """
    size = sum(group.size for group in sites)
    start = f"{kept:,} of {size:,} {noun(sites, image_shape)}"
    if rate is not None:
        start += f" at an estimated false discovery rate of {short(rate)}"
    model, whole = score_of(scores, OF_MODEL), score_of(scores, OF_ALL)
    measure = measure_name(task, "test", is_weighted=is_weighted)
    if model is None or model.accuracy is None:
        return f"{start} are kept; without test rows no {measure_name(task)} was measured"
    parts = [f"{start} {_reached(model, whole, size, ' ' + measure)}"]
    if model.rmse is not None and model.mae is not None:
        parts.append(f"RMSE {model.rmse:.4g}, MAE {model.mae:.4g}")
    if objective is not None and model.objective is not None:
        parts.append(f"{objective} {model.objective:.4f}")
    end, brief = "", score_of(scores, ["hard mask" + SHORT])
    if brief is not None and brief.accuracy is not None:
        end = SHORT
        whole = score_of(scores, ["all sites" + SHORT])
        parts.append(f"after a short training they {_reached(brief, whole, size)}")
    random, magnitude = score_of(scores, [RANDOM + end]), score_of(scores, [name + end for name in BY_MAGNITUDE])
    if random is not None and random.accuracy is not None:
        beside = "" if random.spread is None else f" +- {short(random.spread)}"
        parts.append(f"random ones {short(random.accuracy)}{beside}")
    if magnitude is not None and magnitude.accuracy is not None:
        parts.append(f"magnitude {short(magnitude.accuracy)}")
    return "; ".join(parts)


def _reached(model: Scored, whole: Scored | None, size: int, measure: str = "") -> str:
    """Return the accuracy of kept sites beside that of all: as a part of it, or where it is higher as one above it."""
    accuracy, most = model.accuracy or 0.0, None if whole is None else whole.accuracy
    if most is not None and accuracy <= most:
        return f"keep {short(accuracy)} of {short(most)}{measure}"
    return f"reach {short(accuracy)}{measure}" + ("" if most is None else f" (all {size:,}: {short(most)})")


def simpler_way(scores: Sequence[Scored], playoff: Playoff | None, task: str = "classification") -> str:
    """Return a sentence on a simpler way that does as well, within one standard error; empty where there is none.

    Parameters
    ----------
    scores : sequence of Scored
    playoff : Playoff, optional
    task : str
    """
    if playoff is not None and playoff.is_random:
        return "No finalist differs from random columns by two standard errors: do not read anything into this choice."
    model = score_of(scores, OF_MODEL)
    magnitude = score_of(scores, [*BY_MAGNITUDE, *(name + SHORT for name in BY_MAGNITUDE)])
    ways = []
    is_near = magnitude is not None and None not in (magnitude.behind, magnitude.behind_error)
    if model is not None and magnitude is not None and is_near:
        behind, error = float(magnitude.behind or 0.0), float(magnitude.behind_error or 0.0)
        if behind <= error:
            measure = measure_name(task, "test")
            gap = f"{short(abs(behind))} +- {short(error)} {'lower' if behind > 0 else 'higher'}"
            ways.append(f"{magnitude.name} ({measure} {gap})" if behind else f"{magnitude.name} (the same {measure})")
    if playoff is not None:
        best = playoff.finalists[0]
        if not best.name.startswith(OF_SEARCH):
            ways.append(f"{best.name} without a chain (it won the playoff)")
        for one in playoff.finalists[1:]:
            if not one.name.startswith(OF_SEARCH) and one.behind <= one.error:
                ways.append(f"{one.name} without a chain ({one.behind:.4f} +- {one.error:.4f} behind in loss)")
    return f"A simpler way does as well within one standard error: {' and '.join(ways)}." if ways else ""


def sentences(summary: str, simpler: str) -> list[str]:
    """Return the result, and the simpler way where there is one, as whole sentences for a page."""
    texts = [summary and f"{summary}.", simpler]
    return [text.replace("+-", "±") for text in texts if text]


def kept_doubts(names: Sequence[str], doubtful: Mapping[str, str]) -> str:
    """Return a sentence on doubtful columns among the kept ones; empty where there is none.

    Parameters
    ----------
    names : sequence of str
        Of the kept sites.
    doubtful : mapping of str to str
        The kind of doubt of each doubtful column.
    """
    texts = [f"{name} {DOUBTS.get(doubtful[name], doubtful[name])}" for name in names if name in doubtful]
    return f"Doubtful columns are among the kept: {'; '.join(texts)}." if texts else ""
