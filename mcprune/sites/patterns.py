"""Patterns of kept weights that hardware reads: N of every M along the inputs, and blocks that are kept or dropped whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mcprune.config.budgets import PatternText, read_pattern
from mcprune.errors import ConfigError
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray


class Exchange(NamedTuple):
    """Sites that go and sites that come in their place, (K, W) each."""

    out: IntArray
    into: IntArray


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which masks of weights a pattern allows.

    Attributes
    ----------
    text : str
        As it was written: 2:4, or 4x1.
    cells : ndarray of int64, shape (G, W)
        Sites: of each group of W along the inputs, or of each block.
    each : int
        Sites that every group keeps; 0 for blocks.
    """

    text: str
    cells: IntArray
    each: int

    @property
    def is_of_blocks(self) -> bool:
        """Whether blocks are kept whole, rather than so many of each group."""
        return not self.each

    def count(self, keep: int | None) -> int:
        """Return how many sites are kept, of a number that is asked for or None.

        Raises
        ------
        ConfigError
            The pattern does not allow that number.
        """
        groups, width = map(int, self.cells.shape)
        if not self.is_of_blocks:
            own = groups * self.each
            if keep not in (None, own):
                raise ConfigError(
                    f"keep={keep:,}, but pattern={self.text} keeps {own:,} of {self.cells.size:,} weights. Leave keep out."
                )
            return own
        keep = width * max(1, groups // 4) if keep is None else keep
        if keep % width or keep > self.cells.size:
            near = min(self.cells.size, max(width, round(keep / width) * width))
            raise ConfigError(
                f"keep={keep:,}, but pattern={self.text} keeps blocks of {width} of {self.cells.size:,} weights. Choose keep={near:,}."
            )
        return keep

    def holds(self, mask: AnyArray) -> bool:
        """Return whether a mask (N,) has the pattern."""
        kept = np.asarray(mask, bool)[self.cells]
        return bool((kept == kept[:, :1]).all()) if self.is_of_blocks else bool((kept.sum(axis=1) == self.each).all())

    def best(self, scores: FloatArray, keep: int) -> BoolArray:
        """Return the mask (N,) of the pattern with the highest scores (N,): of each group, or the blocks of the highest sums.

        Ties go to the lowest index.
        """
        mask = np.zeros(scores.size, bool)
        of_cells = scores[self.cells]
        if self.is_of_blocks:
            order = np.argsort(-of_cells.sum(axis=1), kind="stable")
            mask[self.cells[order[: keep // self.cells.shape[1]]]] = True
        else:
            order = np.argsort(-of_cells, axis=1, kind="stable")[:, : self.each]
            mask[np.take_along_axis(self.cells, order, axis=1)] = True
        return mask

    def exchanges(self, mask: BoolArray, uniforms: FloatArray) -> Exchange | None:
        """Return exchanges that keep the pattern, one for each row of uniforms (K, 3); None where there is none.

        Of groups: one of them, a kept and a dropped site of it. Of blocks: a kept and a dropped one. The numbers to choose from stay as
        they are, so the way back has the same probability.
        """
        groups, width = self.cells.shape
        if self.is_of_blocks:
            is_kept = mask[self.cells[:, 0]]
            kept, dropped = np.flatnonzero(is_kept), np.flatnonzero(~is_kept)
            if not (kept.size and dropped.size):
                return None
            return Exchange(
                self.cells[kept[(uniforms[:, 0] * kept.size).astype(np.int64)]],
                self.cells[dropped[(uniforms[:, 1] * dropped.size).astype(np.int64)]],
            )
        if self.each == width:
            return None
        cells = self.cells[(uniforms[:, 0] * groups).astype(np.int64)]
        order = np.argsort(~mask[cells], axis=1, kind="stable")  # the kept ones first
        rows = np.arange(len(uniforms))
        first = order[rows, (uniforms[:, 1] * self.each).astype(np.int64)]
        second = order[rows, self.each + (uniforms[:, 2] * (width - self.each)).astype(np.int64)]
        return Exchange(cells[rows, first][:, None], cells[rows, second][:, None])


def pattern_of(text: str, sites: SiteMap) -> Pattern:
    """Return the pattern of the weights of a run.

    Parameters
    ----------
    text : str
        N:M or RxC.
    sites : SiteMap
        Weights and nothing else.

    Raises
    ------
    ConfigError
        Other sites, or a layer that does not divide into groups or blocks.
    """
    if {group.kind for group in sites.groups} != {"weights"}:
        kinds = " and ".join(dict.fromkeys(group.kind for group in sites.groups))
        raise ConfigError(f"pattern={text} is for single weights, but the sites are {kinds}. Choose --sites weights.")
    pattern = read_pattern(text)
    parts = [_cells_of(group, pattern, text, sites) for group in sites.groups]
    return Pattern(text, np.concatenate(parts), 0 if pattern.is_of_blocks else pattern.first)


def _cells_of(group: SiteGroup, pattern: PatternText, text: str, sites: SiteMap) -> IntArray:
    """Return the sites of the groups along the inputs, or of the blocks, of a layer, (G, W)."""
    index = group.start + np.arange(group.size).reshape(group.shape)
    first, second = pattern.first, pattern.second
    rows, columns = (group.shape[0], group.shape[1]) if len(group.shape) > 1 else (1, group.size)
    if pattern.is_of_blocks and len(group.shape) == 2 and not (rows % first or columns % second):
        blocks = index.reshape(rows // first, first, columns // second, second).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(blocks.reshape(-1, first * second))
    if not pattern.is_of_blocks and not columns % second:
        return np.ascontiguousarray(np.moveaxis(index, min(1, index.ndim - 1), -1).reshape(-1, second))
    fitting = [one.layer for one in sites.groups if _fits(one, pattern)]
    remedy = f"Name the layers that do: --sites weights:{','.join(fitting)}." if fitting else "Choose another pattern."
    shape = " x ".join(map(str, group.shape))
    raise ConfigError(
        f"pattern={text}, but the weights of {group.layer!r} are {shape}, which do not divide so. {remedy}"
    )


def _fits(group: SiteGroup, pattern: PatternText) -> bool:
    if len(group.shape) < 2:
        return False
    is_divided = group.shape[1] % pattern.second == 0
    return is_divided and (not pattern.is_of_blocks or (len(group.shape) == 2 and group.shape[0] % pattern.first == 0))
