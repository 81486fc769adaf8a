"""Replaying a model's forward pass: calls that end before the first changed gate return what they returned before.

The model runs as it is, whatever it does between the calls of its modules, so residual streams, attention and any control flow are
covered: a call that ends before the first changed gate acts has the inputs that it had, and so its recorded output has the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.evaluators.replay.calls import (
    FEW,
    MORE,
    OUTSIDE,
    Call,
    Forward,
    Gated,
    RowSide,
    first_changed,
    mapped,
    patched,
    row_side,
    tensors_of,
    trace,
)
from mcprune.evaluators.replay.narrow_model import Chosen
from mcprune.evaluators.replay.recording import Recording, size_of
from mcprune.models.modes import evaluating
from mcprune.random import Stream, generator
from mcprune.types import Float32Array, IntArray

# The most starts at which replayed outputs are compared with those of the whole pass.
CHECKED = 8


class Pass(NamedTuple):
    """What the wrappers need to know of the forward pass that is under way."""

    recording: Recording
    start: int
    records: bool
    copies: int


class Replay:
    """The calls of a model that can be replayed.

    Parameters
    ----------
    gated : Gated
    features : tensor, shape (B, ...)
        A batch; two and three rows of it are run.

    Attributes
    ----------
    starts : ndarray of int64, shape (G,)
        For each group of sites the number of calls that end before it acts.
    calls : list of Call
    can_stack : bool
        Which side of each kept output counts the rows is known, so copies of the rows can be replayed.

    Raises
    ------
    ModelError
        The model cannot be run on so few rows, or replayed outputs differ from computed ones.
    """

    def __init__(self, gated: Gated, features: torch.Tensor) -> None:
        self.gated = gated
        name = type(gated.model).__name__
        few = features[:FEW]
        draw = generator(0, Stream.TRIALS)
        gates = [torch.from_numpy(draw.random(gated.sites.size, dtype=np.float32)).to(features) for _ in range(2)]
        try:
            self.calls = trace(gated, few, gates[0])
            self.starts = self._find_starts(few, gates[0])
            self._sides = self._row_sides(features, gates[0])
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{name} could not be run on {FEW} rows: {brief(error)}") from error
        self._pass: Pass | None = None
        self._pointer = 0
        self._also: set[int] = set()  # calls that are kept whatever starts there are
        # Calls that work in place on what another call returned are replayed where the outputs say that nothing else sees it.
        for self._is_careful in (False, True):
            self._plan()
            if self._is_right(few, *gates):
                break
        else:
            raise ModelError(f"{name} computes something else when what its modules returned before is used again")

    @property
    def width(self) -> int:
        """Numbers of a row in the widest output of a call."""
        sizes = [tensor.numel() for call in self.calls for tensor in tensors_of(call.output)]
        return max(sizes, default=0) // FEW

    @property
    def can_stack(self) -> bool:
        """Whether copies of the rows can be replayed."""
        return all(number in self._sides for number in self.kept)

    def keep(
        self, gates: Float32Array, before: Mapping[int, Chosen] | None = None, sites: IntArray | None = None
    ) -> dict[int, Chosen]:
        """Return what `use` takes at gates (N,) of all sites; those of other `sites` are as they were in `before`."""
        return {}

    def use(
        self,
        kept: Mapping[int, Chosen],
        *,
        sites: IntArray | None = None,
        gates: tuple[Float32Array, Float32Array] | None = None,
        start: int = 0,
        recordings: Sequence[Recording] = (),
    ) -> None:
        """Set what runs from now on; inside of `attached`.

        Parameters
        ----------
        kept : mapping
            Of the recorded position.
        sites : ndarray of int, optional
            Those that a candidate changes.
        gates : pair of ndarray, shape (N,), optional
            Of all sites, before and after.
        start : int
            Of the candidate.
        recordings : sequence of Recording
            Of all parts of the rows.
        """

    def _find_starts(self, few: torch.Tensor, gates: torch.Tensor) -> IntArray:
        return first_changed(self.gated, few, gates, self.calls)

    def _row_sides(self, features: torch.Tensor, gates: torch.Tensor) -> dict[int, list[RowSide | None]]:
        """Return the side of each tensor that each call returns; calls are left out where it is not known."""
        if len(features) < MORE:
            return {}
        others = trace(self.gated, features[:MORE], gates)
        if [one.module for one in others] != [one.module for one in self.calls]:
            return {}
        out = {}
        for number, (one, other) in enumerate(zip(self.calls, others, strict=True)):
            pairs = list(zip(tensors_of(one.output), tensors_of(other.output), strict=False))
            sides = [row_side(first, second) for first, second in pairs]
            if all(side is None or side.side >= 0 for side in sides):
                out[number] = sides
        return out

    def _can_keep(self, call: Call) -> bool:
        return call.is_plain and not (self._is_careful and call.writes)

    def _plan(self) -> None:
        """Choose which outputs are kept: of each start the outermost calls that end before it."""
        kept = {number for number in self._also if self._can_keep(self.calls[number])}
        for start in sorted(set(self.starts.tolist())):
            number = 0
            while number < len(self.calls):
                call = self.calls[number]
                if call.end < start and self._can_keep(call):
                    kept.add(number)
                    number += call.inside
                number += 1
        self.kept = kept
        self._replayed: dict[tuple[int, int], bool] = {}
        self._modules = list({id(self.calls[number].module): self.calls[number].module for number in kept}.values())
        chosen = set(map(id, self._modules))
        self._order = [number for number, call in enumerate(self.calls) if id(call.module) in chosen]
        place = {number: at for at, number in enumerate(self._order)}
        self._behind = [
            next(
                (
                    place[each]
                    for each in range(number + self.calls[number].inside + 1, len(self.calls))
                    if each in place
                ),
                len(self._order),
            )
            for number in self._order
        ]

    def bytes(self, rows: int, dtype: torch.dtype | None = None) -> dict[int, int]:
        """Return the memory of each kept output for a batch of so many rows, stored in a number type."""
        out = {}
        for number in self.kept:
            tensors = tensors_of(self.calls[number].output)
            sides = self._sides.get(number, [RowSide(0, 1)] * len(tensors))
            out[number] = sum(
                tensor.numel() * size_of(tensor, dtype) * (1 if side is None else max(1, rows // FEW))
                for tensor, side in zip(tensors, sides, strict=True)
            )
        return out

    def limit(self, rows: int, most: int, dtype: torch.dtype | None = None) -> None:
        """Keep at most `most` bytes for a batch of so many rows: the inner calls go first, then the last ones.

        A call whose output is not kept is computed again.
        """
        self._plan()
        sizes = self.bytes(rows, dtype)
        depth = {
            number: sum(1 for outer in range(number) if outer + self.calls[outer].inside >= number) for number in sizes
        }
        left = sum(sizes.values())
        for number in sorted(sizes, key=lambda one: (depth[one], self.calls[one].end), reverse=True):
            if left <= most:
                return
            self.kept.discard(number)
            left -= sizes[number]

    def _is_right(self, few: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> bool:
        """Whether replayed outputs have the bits of computed ones, at some of the starts."""
        starts = sorted(set(self.starts.tolist()) - {0})
        places = np.linspace(0, len(starts) - 1, min(CHECKED, len(starts))).astype(int)
        chosen = [starts[place] for place in places]
        recording = Recording()
        with torch.no_grad(), evaluating(self.gated.model), self.attached():
            self.run(recording, before, few, 0, records=True)
            for start in chosen:
                gates = before.clone()
                for group, own in zip(self.gated.sites.groups, self.starts.tolist(), strict=True):
                    if own >= start:
                        gates[group.start : group.stop] = after[group.start : group.stop]
                # Twice: the second pass sees what the first one has done to the recorded outputs.
                replayed = [self.run(recording, gates, few, start) for _ in range(2)]
                with self._detached():
                    expected = self.gated(few, gates)
                if not all(torch.equal(torch.nan_to_num(one), torch.nan_to_num(expected)) for one in replayed):
                    return False
        return True

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Let the modules whose calls are kept ask this object, inside the block."""
        with patched(self._modules, self._wrapper):
            yield

    @contextlib.contextmanager
    def _detached(self) -> Iterator[None]:
        before, self._pass = self._pass, None
        try:
            yield
        finally:
            self._pass = before

    def run(
        self,
        recording: Recording,
        gates: torch.Tensor,
        features: torch.Tensor,
        start: int,
        *,
        records: bool = False,
        copies: int = 1,
    ) -> torch.Tensor:
        """Return the outputs under gates that differ from the recorded ones only behind a start; inside of `attached`.

        Parameters
        ----------
        recording : Recording
        gates : tensor, shape (N,), or (copies * B, N)
        features : tensor, shape (B, ...)
            Of all copies.
        start : int
        records : bool
            Record what the calls behind the start return.
        copies : int
            Copies of the batch, one after the other.
        """
        if records:
            recording.forget(start, self.calls)
        self._pointer = 0
        self._pass = Pass(recording, start, records, copies)
        try:
            logits: torch.Tensor = self.gated(features, gates, is_partial=start > 0)
        finally:
            self._pass = None
        if records and self._pointer != len(self._order):
            recording.forget(0, self.calls)  # other calls than on few rows: nothing is kept, everything is computed
        return logits

    def _wrapper(self, module: nn.Module, forward: Forward) -> Forward:
        def replayed(*args: object, **options: object) -> object:
            under_way, place = self._pass, self._pointer
            if under_way is None:
                return forward(*args, **options)
            if place >= len(self._order) or self.calls[self._order[place]].module is not module:
                self._pointer = len(self._order) + 1  # calls come in another order: the rest is computed
                return forward(*args, **options)
            number = self._order[place]
            if self.calls[number].end < under_way.start and number in under_way.recording.outputs:
                self._pointer = self._behind[place]
                return self._output(number, under_way)
            self._pointer = place + 1
            output = forward(*args, **options)
            if self._pointer == self._behind[place] and under_way.records and number in self.kept:
                is_written = bool(self.calls[number].writers)
                under_way.recording.put(number, mapped(output, torch.clone) if is_written else output)
            return output

        return replayed

    def _output(self, number: int, under_way: Pass) -> object:
        """Return what a call has returned, for each copy of the rows; a copy where it is changed in place afterwards."""
        output = under_way.recording.get(number)
        if under_way.copies > 1:
            return self._repeat(output, number, under_way.copies)
        writers = self.calls[number].writers
        # A writer that is replayed as well writes nothing.
        if writers and not all(self._is_replayed(one, under_way.start) for one in writers):
            return mapped(output, torch.clone)
        return output

    def _is_replayed(self, number: int, start: int) -> bool:
        """Whether a call does not run: it, or one around it, is replayed."""
        if (number, start) not in self._replayed:
            self._replayed[number, start] = number != OUTSIDE and any(
                outer <= number <= outer + self.calls[outer].inside and self.calls[outer].end < start
                for outer in self.kept
            )
        return self._replayed[number, start]

    def _repeat(self, output: object, number: int, copies: int) -> object:
        """Return an output for several copies of the rows, one after the other."""
        sides = iter(self._sides[number])

        def repeated(tensor: torch.Tensor) -> torch.Tensor:
            side = next(sides)
            return tensor if side is None else torch.cat([tensor] * copies, dim=side.side)

        return mapped(output, repeated)
