"""What samples of masks say, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mcprune.report.text import columns, number
from mcprune.sampling.drawn import Drawn
from mcprune.sampling.rows import (
    COUNT_HEADER,
    GOOD_MASK_HEADER,
    count_rows,
    describe_good_masks,
    describe_substitutes,
    good_mask_rows,
)
from mcprune.sampling.samples import MIXED, Samples
from mcprune.types import JsonObject

# Sites of the table at most, and the probability from which one is in it.
MOST_SITES, LEAST_PROBABILITY = 60, 0.005
# The spread and the paired error agree within this factor, or the words say by how much they do not.
ALIKE = 1.25


def samples_lines(drawn: Drawn) -> Iterator[str]:
    """Give the lines of text that `mcprune sample` ends with."""
    samples = drawn.samples
    yield (
        f"{samples.chains} chains of {samples.draws:,} masks, each of {samples.keep:,} of {samples.sites:,} sites, evaluated on "
        f"{drawn.rows:,} rows in {drawn.seconds:.0f} s"
    )
    yield f"temperature {samples.temperature:.3g}: {law_in_words(samples)}"
    worst = int(np.argmax(samples.r_hat))
    yield (
        f"R-hat {samples.loss_r_hat:.3f} of the loss, at most {samples.r_hat[worst]:.3f} of a site ({samples.names[worst]}); "
        f"effective draws {samples.loss_ess:,.0f} of the loss, at least {samples.ess.min():,.0f} of a site; "
        f"{drawn.acceptance:.0%} of the proposals accepted"
    )
    if samples.swap_rates:
        yield "swaps accepted, from the law of the loss on: " + ", ".join(f"{rate:.0%}" for rate in samples.swap_rates)
    yield ""
    yield from columns(["site", "name", "P(kept)", "error", "in the mask"], _rows(drawn))
    rest = samples.sites - len(_shown(samples))
    if rest:
        total = float(np.sort(samples.probability)[:rest].sum())
        yield f"and {rest:,} more sites, {number(total, '.2g')} of which a mask keeps on average"
    yield ""
    yield f"the mask of the run has a loss of {_loss_text(drawn)}"
    yield ""
    yield from substitute_lines(drawn)
    yield ""
    yield from good_mask_lines(drawn)
    yield ""
    yield from precision_lines(drawn)


def substitute_lines(drawn: Drawn) -> Iterator[str]:
    """Give the lines on sites that can replace each other."""
    yield "substitutes, and the increase of the loss with one in place of the first:"
    for line in describe_substitutes(drawn.substitutes):
        yield f"  {line}"


def good_mask_lines(drawn: Drawn) -> Iterator[str]:
    """Give the lines on how many good masks there are, and the best ones."""
    good = drawn.good_masks
    yield from describe_good_masks(good)
    yield from columns(COUNT_HEADER, count_rows(good), left=0)
    yield ""
    yield from columns(GOOD_MASK_HEADER, good_mask_rows(good))


def law_in_words(samples: Samples) -> str:
    """Return what the temperature means: which masks are alike by it."""
    spread, error = samples.loss_spread, samples.paired_error
    if not error > 0:
        return f"the losses of the masks spread by {spread:.3g}; the error of a difference could not be measured"
    figures = f"their losses spread by {spread:.3g}, and the difference of two has a standard error of {error:.3g}"
    if error / ALIKE <= spread <= error * ALIKE:
        return f"masks that these rows cannot distinguish ({figures})"
    if spread < error:
        return f"fewer masks than these rows cannot distinguish ({figures})"
    return f"more masks than these rows cannot distinguish ({figures})"


def precision_lines(drawn: Drawn) -> Iterator[str]:
    """Give the line on the precision, and warnings."""
    samples = drawn.samples
    error = float(samples.monte_carlo_error.max())
    if drawn.is_precise:
        yield f"P of every site is known to {error:.3f} (requested: {drawn.precision:g})"
    else:
        yield (
            f"P of every site is known to {error:.3f} only: {drawn.precision:g} takes about {_seconds(drawn.seconds_needed)} more. "
            "The same command continues from here."
        )
    worst = max(samples.loss_r_hat, float(samples.r_hat.max()))
    if worst > MIXED:
        yield f"warning: R-hat {worst:.3f} is above {MIXED:g}: the chains agree only roughly. Give more time (--max-time)."


def samples_json(drawn: Drawn) -> JsonObject:
    """Return the same as an object for JSON."""
    samples = drawn.samples
    return {
        "chains": samples.chains,
        "draws": samples.draws,
        "keep": samples.keep,
        "n_sites": samples.sites,
        "rows": drawn.rows,
        "seconds": drawn.seconds,
        "seconds_needed": drawn.seconds_needed,
        "precision": drawn.precision,
        "is_precise": drawn.is_precise,
        "temperature": samples.temperature,
        "paired_error": _plain(samples.paired_error),
        "loss": {
            "mean": float(samples.losses.mean()),
            "spread": samples.loss_spread,
            "lowest": samples.best[1],
            "r_hat": samples.loss_r_hat,
            "ess": samples.loss_ess,
        },
        "acceptance": drawn.acceptance,
        "swap_rates": list(samples.swap_rates),
        "substitutes": drawn.substitutes.to_json(),
        "good_masks": drawn.good_masks.to_json(),
        "sites": [
            {
                "site": line.site,
                "name": line.name,
                "probability": line.probability,
                "error": line.error,
                "ess": line.ess,
                "r_hat": line.r_hat,
                "in_mask": bool(drawn.mask[line.site]),
            }
            for line in samples.summary()
        ],
    }


def _shown(samples: Samples) -> list[int]:
    lines = samples.summary()
    return [line.site for line in lines if line.probability >= LEAST_PROBABILITY][:MOST_SITES]


def _rows(drawn: Drawn) -> list[list[str]]:
    shown = set(_shown(drawn.samples))
    return [
        [
            str(line.site),
            line.name,
            f"{line.probability:.3f}",
            f"{line.error:.3f}",
            "yes" if drawn.mask[line.site] else "",
        ]
        for line in drawn.samples.summary()
        if line.site in shown
    ]


def _loss_text(drawn: Drawn) -> str:
    """Return the loss of the run's mask among those of the draws; that of the lowest where no draw is it."""
    samples = drawn.samples
    same = np.flatnonzero((samples.flat_masks == drawn.mask).all(axis=1))
    mean = float(samples.losses.mean())
    others = f"the drawn masks {mean:.4f} on average, the lowest {samples.best[1]:.4f}"
    if not same.size:
        return f"not drawn; {others}"
    return f"{samples.flat_losses[same[0]]:.4f}, {others}"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
