"""The samples of a run in its folder: the draws, packed to bits, and the state of the chains, from which they go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcprune.errors import FolderError, brief
from mcprune.sampling.sampler import Draws, SamplerState
from mcprune.state import deserialize, serialize
from mcprune.storage.atomic import Lock
from mcprune.storage.checkpoint import read_checkpoint, write_checkpoint
from mcprune.storage.layout import CLASSIFIERS, SAMPLES
from mcprune.types import BoolArray, FloatArray, JsonObject

SCHEMA = 1
AUTO = "auto"


@dataclass(frozen=True)
class SampleFacts:
    """What must be the same for a sample to go on.

    Attributes
    ----------
    chains, rungs : int
    temperature : float or None
        As it was asked for.
    hottest : float
    rows : int or None
        At most, as it was asked for.
    evaluator : str
    """

    chains: int
    rungs: int
    temperature: float | None
    hottest: float
    rows: int | None
    evaluator: str


class SampleStore:
    """The file of samples in the folder of a run, which is locked until `close`.

    Parameters
    ----------
    folder : Path
    force : bool
        Samples that are there are replaced.

    Raises
    ------
    FolderError
        Another process has the folder open.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.folder, self.path, self.force = folder, folder / SAMPLES, force
        self._lock = Lock(folder)

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def evaluator(self) -> str | None:
        """Return the evaluator of the samples that are there, by which they go on; None where there are none."""
        content = self._content()
        return None if content is None else str(content["facts"]["evaluator"])

    def read(self, facts: SampleFacts, state: SamplerState, seconds: list[float]) -> Draws | None:
        """Bring a state at its start to where the samples end, and return the draws; None where there are none.

        Parameters
        ----------
        facts : SampleFacts
        state : SamplerState
        seconds : list of float
            Gets the seconds of the burn-in and of the draws.

        Raises
        ------
        FolderError
            The samples are of other settings, or broken.
        """
        content = self._content()
        if content is None:
            return None
        then, now = content["facts"], serialize(facts)
        if different := [name for name in now if now[name] != then.get(name)]:
            name = different[0]
            before = _worded(then.get(name))
            remedy = f"Leave {name} out" if before == AUTO else f"Give {name}={before}"
            raise FolderError(
                f"{str(self.folder)!r} has samples with {name}={before}, not {_worded(now[name])}. "
                f"{remedy} to continue them, or replace them with --force."
            )
        try:
            deserialize(content["state"], state, "samples")
            packed, losses = content["masks"], content["losses"]
            masks = np.unpackbits(packed, axis=2, count=state.probability.size).astype(bool)
            if losses.shape != masks.shape[:2] or masks.shape[1] != state.draws:
                raise ValueError(f"{masks.shape[1]} draws, not {state.draws}")
            seconds[:] = [float(value) for value in content["seconds"]]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._broken(brief(error)) from None
        return Draws(list(np.moveaxis(masks, 1, 0)), list(losses.T))

    def write(self, facts: SampleFacts, state: SamplerState, draws: Draws, seconds: list[float]) -> None:
        """Write the draws and the state, in one step.

        Raises
        ------
        FolderError
            They cannot be written.
        """
        masks, losses = self._arrays(state, draws)
        content = {
            "kind": "samples",
            "samples_schema": SCHEMA,
            "facts": serialize(facts),
            "state": serialize(state),
            "masks": np.packbits(masks, axis=2),
            "losses": losses,
            "seconds": seconds,
        }
        self._write(self.path, content)

    def write_classifiers(self, content: JsonObject) -> None:
        """Write the classifiers by which masks are evaluated, in place of those of the search.

        Raises
        ------
        FolderError
            They cannot be written.
        """
        self._write(self.folder / CLASSIFIERS, content)

    def _write(self, path: Path, content: JsonObject) -> None:
        try:
            write_checkpoint(path, content)
        except OSError as error:
            raise FolderError(
                f"{str(path)!r} cannot be written: {error.strerror or error}. Make room, or make it writable."
            ) from None

    def _content(self) -> JsonObject | None:
        if self.force or not self.path.exists():
            return None
        try:
            content = read_checkpoint(self.path)
        except FolderError as error:
            raise self._broken(str(error)) from None
        if content.get("kind") != "samples" or content.get("samples_schema") != SCHEMA:
            raise self._broken("it is of another mcprune")
        return content

    def _broken(self, why: str) -> FolderError:
        return FolderError(f"The samples in {str(self.path)!r} cannot be read: {why}. Replace them with --force.")

    def _arrays(self, state: SamplerState, draws: Draws) -> tuple[BoolArray, FloatArray]:
        if draws.masks:
            return draws.arrays()
        chains = len(state.ladders.rung)
        return np.zeros((chains, 0, state.probability.size), bool), np.zeros((chains, 0))


def _worded(value: object) -> str:
    return AUTO if value is None else f"{value:g}" if isinstance(value, float) else str(value)
