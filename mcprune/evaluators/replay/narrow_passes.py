"""Replayed passes of a narrow model: behind the first changed sub-block only what is kept runs, and in it only what changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from mcprune.errors import ModelError
from mcprune.evaluators.replay.calls import FEW, first_changed
from mcprune.evaluators.replay.narrow_model import Chosen, NarrowModel
from mcprune.evaluators.replay.narrow_trial import are_close
from mcprune.evaluators.replay.passes import CHECKED, Replay
from mcprune.evaluators.replay.recording import Recording
from mcprune.models.modes import evaluating
from mcprune.random import Stream, generator
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, IntArray


class NarrowReplay(Replay):
    """The calls of a narrow model that can be replayed.

    A group that is narrow starts where the first of its projections begins; the output of the last one is recorded as well.

    Parameters
    ----------
    gated : GatedModel
    narrow : NarrowModel
        Of it.
    features : tensor, shape (B, ...)

    Raises
    ------
    ModelError
        Also where outputs are not close to those of the gated model.
    """

    def __init__(self, gated: GatedModel, narrow: NarrowModel, features: torch.Tensor) -> None:
        self.narrow = narrow
        groups = gated.sites.groups
        self._group = np.repeat(np.arange(len(groups)), [group.size for group in groups])
        self._changed: int | None = None
        with narrow.attached():
            super().__init__(narrow, features)
        self._compare(gated, features[:FEW])

    def keep(
        self, gates: Float32Array, before: Mapping[int, Chosen] | None = None, sites: IntArray | None = None
    ) -> dict[int, Chosen]:
        """See `Replay.keep`."""
        changed = set(self._group[sites].tolist()) if sites is not None else set(self.narrow.blocks)
        fresh = {number: self.narrow.kept(number, gates) for number in self.narrow.blocks if number in changed}
        return {**(before or {}), **fresh}

    def use(
        self,
        kept: Mapping[int, Chosen],
        *,
        sites: IntArray | None = None,
        gates: tuple[Float32Array, Float32Array] | None = None,
        start: int = 0,
        recordings: Sequence[Recording] = (),
    ) -> None:
        """See `Replay.use`."""
        chosen, self._changed = dict(kept), None
        if sites is not None and gates is not None:
            before, after = gates
            where = self._group[sites]
            changed = np.unique(where)
            is_first_alone = (self.starts[changed] == start).sum() == 1
            differs = before[sites] != after[sites]
            for number in np.unique(where[differs]).tolist():
                if number not in self.narrow.blocks:
                    continue
                is_recorded = all(self.bases[number] in one.outputs for one in recordings)
                count = int((differs & (where == number)).sum())
                is_change = is_first_alone and self.starts[number] == start and is_recorded
                if is_change and count < len(kept[number].sites):
                    chosen[number] = self.narrow.change(number, before, after)
                    self._changed = self.bases[number]
                else:
                    chosen[number] = self.narrow.kept(number, after)
        self.narrow.use(chosen)

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """See `Replay.attached`."""
        with self.narrow.attached(), super().attached():
            yield

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
        """See `Replay.run`."""
        self.narrow.base = None if self._changed is None else recording.get(self._changed)
        return super().run(recording, gates, features, start, records=records, copies=copies)

    def _find_starts(self, few: torch.Tensor, gates: torch.Tensor) -> IntArray:
        """Return the starts, and note the calls of the output projections."""
        starts = first_changed(self.gated, few, gates, self.calls, without=self.narrow.blocks)
        places: dict[int, list[int]] = {}
        for place, call in enumerate(self.calls):
            places.setdefault(id(call.module), []).append(place)
        self.bases: dict[int, int] = {}
        for number in self.narrow.blocks:
            called = [places.get(id(module), []) for module in self.narrow.projections(number)]
            if any(len(each) != 1 for each in called):
                raise ModelError("a layer of heads or neurons does not run exactly once")
            first = min(each[0] for each in called)
            # What has ended when a call begins: all that began before, but those around it.
            starts[number] = sum(place + self.calls[place].inside < first for place in range(first))
            self.bases[number] = called[-1][0]
        return starts

    def _plan(self) -> None:
        self._also = set(self.bases.values())
        super()._plan()

    def _compare(self, gated: GatedModel, few: torch.Tensor) -> None:
        """Compare changes of one site in a group, and of another one behind it, with whole passes of the gated model."""
        groups, draw = gated.sites.groups, generator(0, Stream.TRIALS)
        before = (draw.random(gated.sites.size) < 0.5).astype(np.float32)
        numbers = sorted(self.narrow.blocks, key=lambda number: int(self.starts[number]))
        for place in np.unique(np.linspace(0, len(numbers) - 1, min(CHECKED, len(numbers))).astype(int)):
            behind = numbers[min(place + 1, len(numbers) - 1)]
            pair = {
                number: groups[number].start + int(draw.integers(groups[number].size))
                for number in (numbers[place], behind)
            }
            sites = np.unique(list(pair.values()))
            after = before.copy()
            after[sites] = 1.0 - after[sites]
            start, recording = int(self.starts[numbers[place]]), Recording()
            with torch.no_grad(), evaluating(self.gated.model):
                expected = gated(few, torch.from_numpy(after).to(few))
                with self.attached():
                    kept = self.keep(before)
                    self.use(kept)
                    self.run(recording, torch.from_numpy(before).to(few), few, 0, records=True)
                    self.use(kept, sites=sites, gates=(before, after), start=start, recordings=[recording])
                    outputs = self.run(recording, torch.from_numpy(after).to(few), few, start)
            if not are_close(outputs, expected):
                raise ModelError("outputs with fewer heads or neurons differ from those with gates")
