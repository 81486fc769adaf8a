"""What a path gives to a program: the curve over the levels, and the result of a run for each level on demand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError
from mcprune.path.finish import finish_level
from mcprune.path.run import level_config
from mcprune.path.search.recorder import LevelTensors
from mcprune.report.path_view import path_figure, sentences
from mcprune.report.screens.choose import progress_screen
from mcprune.results import Result, result_of_events
from mcprune.session.interrupt import Interrupt
from mcprune.session.steering.callbacks import Callbacks
from mcprune.storage.path_curve import Curve, Level

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OfLevels = dict[int, LevelTensors]


class PathResult:
    """Masks for all levels of a path, and how good each is.

    Its text, as of `print(path)`, is the answer in sentences.

    Attributes
    ----------
    curve : Curve
        The levels with their figures; `curve.enough`, `curve.best` and `curve.knee` are levels of it.
    config : Config
    folder : Path or None
        Where the path was written.
    is_complete : bool
        Every level was searched; else `resume_path` goes on, where there is a folder.
    data : str or None
        Fingerprint of the data, by which those that are loaded again are recognised; None without a folder.
    """

    def __init__(
        self,
        curve: Curve,
        config: Config,
        rows: Dataset | Splits,
        tensors: OfLevels,
        *,
        model: nn.Module | None = None,
        function: Callable[..., object] | None = None,
        folder: Path | None = None,
        is_complete: bool = True,
        data: str | None = None,
    ) -> None:
        self.curve, self.config, self.folder, self.is_complete, self.data = curve, config, folder, is_complete, data
        self._rows, self._tensors, self._model, self._function = rows, tensors, model, function

    @property
    def levels(self) -> tuple[int, ...]:
        """The numbers of kept sites, or limits of the cost, rising."""
        return tuple(level.level for level in self.curve.levels)

    @property
    def enough(self) -> int:
        """The smallest level within one standard error of the best one."""
        return self.curve.enough.level

    def at(
        self,
        level: int | None = None,
        *,
        out: str | Path | None = None,
        force: bool = False,
        progress: bool | None = False,
    ) -> Result:
        """Retrain the mask of a level, test it, and return the result of a run.

        A small model that has scored the mask on the validation rows goes on with all rows but those of the test; where there is none,
        the mask is retrained as that of a run.

        Parameters
        ----------
        level : int, optional
            By default the one that is enough.
        out : path, optional
            A folder for it, as that of a run.
        force : bool
            Replace the run that the folder has.
        progress : bool, optional
            As that of `prune`.

        Returns
        -------
        Result
            Its `curve` is that of the path.

        Raises
        ------
        ConfigError
            There is no such level.
        """
        number = self.enough if level is None else level
        one = self.level(number)
        config = level_config(self.config, self.curve.unit, number).replace(
            out=None if out is None else str(out), force=force, compare="no"
        )
        events = []
        threads = torch.get_num_threads()
        try:
            with Interrupt() as interrupt, progress_screen(progress) as screen:
                running = finish_level(
                    config,
                    self._rows,
                    one,
                    interrupt,
                    None if out is None else Path(out),
                    self._tensors.get(number, LevelTensors()),
                    copy.deepcopy(self._model),
                    self._function,
                    self.data,
                )
                events = list(Callbacks([screen]).watch(running))
        finally:
            torch.set_num_threads(threads)
        return result_of_events(events, None if out is None else Path(out), self.curve)

    def level(self, number: int) -> Level:
        """Return a level of the curve by its number.

        Raises
        ------
        ConfigError
            There is none.
        """
        try:
            return self.curve.at(number)
        except KeyError:
            known = ", ".join(map(str, self.levels))
            raise ConfigError(f"The path has no level {number}. Choose one of {known}.") from None

    def plot(self) -> Figure:
        """Return a figure of the curve with error bars; see `Mask.plot`."""
        from mcprune.report import plots

        return plots.drawn(path_figure(self.curve), "there is no level")

    def __str__(self) -> str:
        """Return the answer in sentences."""
        return " ".join(sentences(self.curve))

    def __repr__(self) -> str:
        return f"<PathResult of {len(self.levels)} levels: {self}>"
