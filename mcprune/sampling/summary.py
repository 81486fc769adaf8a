"""What samples say, as a file of the run's folder: P of each site, the law, traces and ranks of the losses, substitutes, good masks."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy import stats

from mcprune.errors import FolderError, brief
from mcprune.sampling.drawn import Drawn
from mcprune.sampling.rows import (
    count_rows,
    describe_good_masks,
    describe_substitutes,
    good_mask_rows,
    substitute_rows,
)
from mcprune.sampling.samples import Samples
from mcprune.storage.atomic import write_whole
from mcprune.storage.events import plain
from mcprune.storage.layout import SAMPLES_SUMMARY, read_json
from mcprune.types import FloatArray, JsonObject

POINTS, BINS = 250, 20  # of the trace of a chain, and of its ranks
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class SampleSummary:
    """What samples say.

    Attributes
    ----------
    chains, draws, keep : int
        Chains, masks of each, and sites that a mask keeps.
    rows : int
        Evaluation rows.
    seconds : float
    temperature, spread, paired_error : float
        Of the law; standard deviation of its losses; standard error of the difference of two masks' losses.
    loss_r_hat, loss_ess : float
    probability, error, ess, r_hat : ndarray, shape (N,)
        P(kept) of each site, its Monte-Carlo error, effective sample size and R-hat.
    traces : ndarray, shape (chains, at most `POINTS`)
        Losses of evenly spaced draws.
    ranks : ndarray, shape (chains, BINS)
        Share of each chain's losses in each twentieth of the ranks of all: 1 / BINS throughout where the chains have one law.
    substitute_rows, count_rows, mask_rows : tuple of tuples of str
        Tables under the headers of `mcprune.sampling.rows`.
    substitute_lines, mask_lines : tuple of str
        The same in sentences.
    """

    chains: int
    draws: int
    keep: int
    rows: int
    seconds: float
    temperature: float
    spread: float
    paired_error: float
    loss_r_hat: float
    loss_ess: float
    probability: FloatArray
    error: FloatArray
    ess: FloatArray
    r_hat: FloatArray
    traces: FloatArray
    ranks: FloatArray
    substitute_rows: Rows
    count_rows: Rows
    mask_rows: Rows
    substitute_lines: tuple[str, ...]
    mask_lines: tuple[str, ...]

    @classmethod
    def of(cls, drawn: Drawn) -> Self:
        """Summarize samples."""
        samples = drawn.samples
        substitutes, good = drawn.substitutes, drawn.good_masks
        return cls(
            chains=samples.chains,
            draws=samples.draws,
            keep=samples.keep,
            rows=drawn.rows,
            seconds=drawn.seconds,
            temperature=samples.temperature,
            spread=samples.loss_spread,
            paired_error=samples.paired_error,
            loss_r_hat=samples.loss_r_hat,
            loss_ess=samples.loss_ess,
            probability=samples.probability,
            error=samples.monte_carlo_error,
            ess=samples.ess,
            r_hat=samples.r_hat,
            traces=samples.losses[:, :: max(1, math.ceil(samples.draws / POINTS))],
            ranks=rank_shares(samples),
            substitute_rows=_rows(substitute_rows(substitutes)),
            count_rows=_rows(count_rows(good)),
            mask_rows=_rows(good_mask_rows(good)),
            substitute_lines=tuple(describe_substitutes(substitutes)),
            mask_lines=tuple(describe_good_masks(good)),
        )

    def to_dict(self) -> JsonObject:
        """Return it in the types of JSON."""
        content: JsonObject = plain({name: getattr(self, name) for name in self.__dataclass_fields__})
        return content

    @classmethod
    def from_dict(cls, content: JsonObject) -> Self:
        """Return what `to_dict` wrote.

        Raises
        ------
        FolderError
            It is not of this form.
        """
        try:
            numbers = {name: int(content[name]) for name in ("chains", "draws", "keep", "rows")}
            figures = {
                name: math.nan if content[name] is None else float(content[name])
                for name in ("seconds", "temperature", "spread", "paired_error", "loss_r_hat", "loss_ess")
            }
            arrays = {
                name: np.asarray(content[name], np.float64)
                for name in ("probability", "error", "ess", "r_hat", "traces", "ranks")
            }
            tables = {name: _rows(content[name]) for name in ("substitute_rows", "count_rows", "mask_rows")}
            lines = {name: tuple(str(line) for line in content[name]) for name in ("substitute_lines", "mask_lines")}
            sites = arrays["probability"].size
            if any(arrays[name].shape != (sites,) for name in ("probability", "error", "ess", "r_hat")):
                raise ValueError("figures of sites of other lengths")
            if any(len(arrays[name]) != numbers["chains"] or arrays[name].ndim != 2 for name in ("traces", "ranks")):
                raise ValueError("figures of another number of chains")
            return cls(**numbers, **figures, **arrays, **tables, **lines)  # type: ignore[arg-type]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise FolderError(
                f"{SAMPLES_SUMMARY} of the run is not one of mcprune sample ({brief(error)}). Sample again."
            ) from None


def rank_shares(samples: Samples) -> FloatArray:
    """Return the share of each chain's losses in each of `BINS` parts of the ranks of all losses, shape (chains, BINS)."""
    ranks = stats.rankdata(samples.losses.ravel(), method="average").reshape(samples.losses.shape)
    place = np.minimum((ranks - 0.5) * BINS / ranks.size, BINS - 1).astype(np.int64)
    return np.stack([np.bincount(one, minlength=BINS) / one.size for one in place])


def write_summary(folder: Path, drawn: Drawn) -> None:
    """Write the summary of samples into the folder of the run.

    Raises
    ------
    FolderError
        It cannot be written.
    """
    text = json.dumps(SampleSummary.of(drawn).to_dict(), allow_nan=False)
    try:
        write_whole(folder / SAMPLES_SUMMARY, (text + "\n").encode())
    except OSError as error:
        raise FolderError(
            f"{str(folder / SAMPLES_SUMMARY)!r} cannot be written: {error.strerror or error}. Make room, or make it writable."
        ) from None


def read_summary(folder: Path) -> SampleSummary | None:
    """Return what the samples of a run say; None where it has not been sampled.

    Raises
    ------
    FolderError
        The file is broken.
    """
    if not (folder / SAMPLES_SUMMARY).exists():
        return None
    return SampleSummary.from_dict(read_json(folder, SAMPLES_SUMMARY))


def _rows(content: object) -> Rows:
    if not isinstance(content, list | tuple) or not all(isinstance(row, list | tuple) for row in content):
        raise ValueError("a table of rows is none")
    return tuple(tuple(str(cell) for cell in row) for row in content)
