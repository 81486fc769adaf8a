"""Steering: knobs that may change at the boundaries of blocks while the run goes on, and the replay of such a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from mcprune.chain.schedules import Schedule, parse
from mcprune.config.files import read_options
from mcprune.config.knobs import knob_field, knob_limits, knob_meaning
from mcprune.config.options import OPTIONS
from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.methods.base import BlockInfo, Method
from mcprune.methods.markov.method import SteeredChain
from mcprune.methods.markov.settings import ChainSettings, check
from mcprune.session.build.markov import candidates_ahead, judging_rows, move_plan
from mcprune.session.build.plan import Plan
from mcprune.session.search_state import SearchState
from mcprune.storage.event_log import read_log
from mcprune.storage.events import Event, KnobChanged, Replanned, RunStarted, Stopped
from mcprune.storage.layout import CONFIG
from mcprune.types import Float32Array, FloatArray

SCHEDULED = ("delta", "temperature", "alpha")
KNOBS = (*SCHEDULED, "moves", "evaluation_rows", "budget_pressure", "adapt_delta")


class Orders(NamedTuple):
    """What is to be done at the boundary in front of a block."""

    changes: tuple[dict[str, Any], ...] = ()  # of knobs, one after the other; {"blocks": planned} is one of the pace
    checkpoint: bool = False
    again: bool = False  # ask once more before the block: the run is paused


class Steering:
    """Who steers a run; this one leaves it as it is. The loop calls all of it, in the run's own thread."""

    repeats_until = 0  # blocks up to which the pace is a record's, and the clock changes nothing

    def most_blocks(self, plan: Plan) -> int | None:
        """Return the most blocks that a chain may plan where its time is not filled; None: no more than at the start."""
        return None

    def begin(self, knobs: Knobs) -> None:
        """The search is about to start."""

    def orders(self, block: int, is_asked: Callable[[], bool]) -> Orders:
        """Return what is to be done before block `block` (from 0); may wait, as long as `is_asked()` (to end) is false."""
        return Orders()

    def refused(self, changes: Mapping[str, Any], error: ConfigError) -> None:
        """Changes cannot be made after all."""
        raise error

    def observe(self, update: BlockInfo, block: int, proposals: int) -> None:
        """A block has been done, `block` of them so far and `proposals` of all replicas."""

    def ends(self, block: int) -> str:
        """Return why the search ends after so many blocks, or nothing."""
        return ""

    def save(self, block: int) -> dict[str, Any]:
        """Return what is still to be done from block `block` on, where that is known: what `Replay.of` takes."""
        return {}


class Knobs:
    """The knobs of a run: what they are, which changes are possible, and turning them.

    A knob is an option of `Config`; its type, range and meaning are declared there. `evaluation_rows` sets the early batch as
    well. On the gradient path there are none.

    Parameters
    ----------
    plan : Plan
    method : Method
    state : SearchState
        Holds the last value of each knob that was turned.
    """

    # What follows from the values that were turned.
    recomputed = ("rows", "_moves")

    def __init__(self, plan: Plan, method: Method[Any], state: SearchState) -> None:
        self.plan = plan
        self.method = method
        self.state = state
        self.rows: int | None = None  # of the evaluation batch, None: as configured
        self._moves = dict(plan.config.chain.moves)

    @property
    def names(self) -> tuple[str, ...]:
        """The knobs that there are."""
        if self._chain is None:
            return ()
        # Under a constraint alpha is 0.
        return KNOBS if self.chain.method.space.is_count else tuple(name for name in KNOBS if name != "alpha")

    @property
    def chain(self) -> SteeredChain:
        """The chain that has the knobs."""
        assert self._chain is not None
        return self._chain

    @property
    def _chain(self) -> SteeredChain | None:
        chain: SteeredChain | None = self.method.steered(self.state.method)
        return chain

    def position(self) -> FloatArray:
        """Return the pruner weights, shape (N,)."""
        return self.method.position(self.state.method)

    def training_gates(self) -> Float32Array:
        """Return the gates (N,) under which the classifier trains now."""
        return self.method.training_gates(self.state.method)

    def values(self) -> dict[str, Any]:
        """Return the knobs as they stand: numbers, or the text of a schedule; None where a knob is off or as configured."""
        if not self.names:
            return {}
        settings = self.chain.settings
        return {
            **{name: _plain(getattr(settings, name)) for name in SCHEDULED if name in self.names},
            "moves": dict(self._moves),
            "evaluation_rows": self.rows,
            "budget_pressure": settings.pressure,
            "adapt_delta": settings.adapt_delta,
        }

    def limits(self, name: str) -> tuple[float | None, float | None]:
        """Return the range of a knob in this run: as declared, and no more rows than there are to judge on."""
        low, high = knob_limits(name)
        return (low, float(judging_rows(self.plan))) if name == "evaluation_rows" else (low, high)

    def check(self, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
        """Return what the changes become, what was clamped into its range, and what is refused, each with the reason.

        Nothing is changed. A number beyond the declared range is clamped; what is no number of the declared kind is refused.
        """
        values: dict[str, Any] = {}
        clamped: dict[str, str] = {}
        refused: dict[str, str] = {}
        for name, value in changes.items():
            if name not in self.names:
                known = ", ".join(self.names) or "none on this way to a mask"
                refused[str(name)[:40]] = f"there is no such knob; the knobs are: {known}"
                continue
            try:
                values[name], said = _checked(name, value, self.limits(name))
                if said:
                    clamped[name] = said
            except ConfigError as error:
                refused[name] = str(error)
        if values and not refused:
            try:
                self._settings(self._complete(values))
            except McpruneError as error:
                refused[next(iter(values))] = str(error)
        return values, clamped, refused

    def turn(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Turn knobs to checked values at a boundary; return what they are now and what they were before.

        Raises
        ------
        ConfigError
            They do not go together with the others; nothing has changed.
        """
        if not set(values) <= set(self.names):
            raise ConfigError(f"there is no knob {sorted(set(values) - set(self.names))[0]!r} in this run")
        values = self._complete(values)
        settings = self._settings(values)
        was = self.values()
        if (delta := self.chain.delta) is not None:  # an adapted delta is where it has come to
            was["delta"] = delta
        self.chain.steer(settings)
        self._moves = values.get("moves", self._moves)
        self.rows = values.get("evaluation_rows", self.rows)
        self.state.knobs |= values
        return values, {name: was[name] for name in values}

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with what follows from them: an adapted delta that is switched off stays where it is."""
        complete, settings = dict(values), self.chain.settings
        delta = self.chain.delta
        if "delta" in complete and "adapt_delta" not in complete and settings.adapt_delta is not None:
            complete["adapt_delta"] = None
        if complete.get("adapt_delta", "") is None and delta is not None:
            complete.setdefault("delta", delta)
        if complete.get("adapt_delta") is not None and settings.adapt_delta is None:
            complete.setdefault("delta", settings.delta.end)  # from where it moves, and to where an undo returns
        return complete

    def _settings(self, values: Mapping[str, Any]) -> ChainSettings:
        settings = self.chain.settings
        new: dict[str, Any] = {name: parse(values[name]) for name in SCHEDULED if name in values}
        if "moves" in values:
            config = self.plan.config.replace(moves=values["moves"])
            size = self.plan.space.size
            if config.chain.pool.is_off and set(config.chain.moves) <= {"exchange", "informed"}:
                raise ConfigError(
                    "the chain itself drops the sites of this run (--pool none), so some move must change the count: "
                    "exchanges alone never do; give toggle, site, block or uniform a share"
                )
            new["plan"] = move_plan(config, size)
            new["speculate"] = candidates_ahead(config, size)
            new["learned"] = "informed" in config.chain.moves
        if "budget_pressure" in values:
            new["pressure"] = values["budget_pressure"]
        if "adapt_delta" in values:
            new["adapt_delta"] = values["adapt_delta"]
            new["keeps_adapting"] = values["adapt_delta"] is not None
        changed = replace(settings, **new)
        check(changed, self.chain.method.space)
        if changed.adapt_delta is not None and not changed.delta.start > 0:
            raise ConfigError("an adapted delta starts above 0; set delta first")
        return changed


class Replay(Steering):
    """Turns the knobs, and changes the pace, where a recorded run did, and ends the search where that one ended.

    Parameters
    ----------
    changes : dict of int to list of dict
        As `Orders.changes`, by the blocks done before them.
    end : int or None
        Blocks after which the search ended early.
    why : str
        The reason that the event `stopped` gives then.
    until : int
        Blocks up to which the record tells all that was done.
    """

    def __init__(
        self, changes: Mapping[int, list[dict[str, Any]]], end: int | None, why: str = "replay", until: int = 0
    ) -> None:
        self.changes = dict(changes)
        self.end = end
        self.why = why
        self.repeats_until = until

    def orders(self, block: int, is_asked: Callable[[], bool]) -> Orders:
        """See `Steering.orders`."""
        return Orders(tuple(self.changes.get(block, ())))

    def ends(self, block: int) -> str:
        """See `Steering.ends`."""
        return self.why if self.end is not None and block >= self.end else ""

    def save(self, block: int) -> dict[str, Any]:
        """See `Steering.save`."""
        left = [[at, changes] for at, changes in sorted(self.changes.items()) if at >= block]
        return {"changes": left, "end": self.end, "why": self.why, "until": self.repeats_until}

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Replay:
        """Return the steering that `save` gave; of nothing, one that turns nothing."""
        changes = {int(at): list(turns) for at, turns in saved.get("changes", [])}
        return cls(changes, saved.get("end"), str(saved.get("why", "replay")), int(saved.get("until", 0)))


def change_of(event: Event) -> tuple[int, dict[str, Any]] | None:
    """Return the blocks done before what a recorded event changed, and the change; None of other events."""
    if isinstance(event, KnobChanged):
        return event.block, dict(event.knobs)
    if isinstance(event, Replanned):
        return event.block, {"blocks": event.blocks}
    return None


def read_replay(folder: str | Path) -> tuple[dict[str, Any], Replay]:
    """Return the options of a recorded run and the replay of its steering.

    Raises
    ------
    FolderError, ConfigError
        The folder does not hold the record of a run.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}; give --replay the folder of a run, such as runs/digits")
    options = read_options(path / CONFIG)
    for clock in ("max_time", "search_time"):  # the recorded end takes their place: a clock would end it elsewhere
        options.pop(clock, None)
    changes: dict[int, list[dict[str, Any]]] = {}
    end = None
    for event in read_log(path).events:
        if (change := change_of(event)) is not None:
            changes.setdefault(change[0], []).append(change[1])
        elif isinstance(event, Stopped):
            end = event.block
        elif isinstance(event, RunStarted) and options.get("early_reject") is None:
            # What `auto` chose by its speed then; another one may round otherwise.
            options["evaluator"] = event.evaluator if event.evaluator in OPTIONS["evaluator"].choices else "auto"
    return options, Replay(changes, end)


def _plain(schedule: Schedule) -> float | str:
    return schedule.start if schedule.kind == "constant" else str(schedule)


def _checked(name: str, value: Any, ends: tuple[float | None, float | None]) -> tuple[Any, str]:
    """Return a value as the option's declaration takes it, and what was said where it was clamped into its range."""
    field: FieldInfo = knob_field(name)
    if value is None and name in ("evaluation_rows", "adapt_delta"):
        return None, ""
    said = ""
    if name == "moves" and not isinstance(value, dict):
        raise ConfigError(
            f'moves takes shares by name, such as {{"exchange": 3, "toggle": 1}}, met {_brief(value)}; {knob_meaning(name)}'
        )
    if (
        isinstance(value, bool)
        or value is None
        or (isinstance(value, str) and (name not in SCHEDULED or len(value) > 80))
    ):
        raise ConfigError(f"{name} takes a number, met {_brief(value)}; {knob_meaning(name)}")
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be finite, met {value}; {knob_meaning(name)}")
        low, high = ends
        inside = value if low is None or value >= low else low
        inside = inside if high is None or inside <= high else high
        if inside != value:
            inside = int(inside) if float(inside).is_integer() else float(inside)
            said = f"{_brief(value)} is out of the range of {name}: its end {inside:g} is taken"
            value = inside
        value += 0  # of -0.0, which would be told and shown as such, 0.0
    try:
        found = TypeAdapter(field.rebuild_annotation()).validate_python(value)
    except (ValidationError, ConfigError) as error:
        text = (
            error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)
        )
        text = text.rstrip(".")
        met = "" if "met " in text or (isinstance(value, str) and repr(value) in text) else f", met {_brief(value)}"
        raise ConfigError(f"{name}: {text}{met}; {knob_meaning(name)}") from None
    if name in SCHEDULED:
        schedule = parse(found)
        low, high = ends
        met_ends = (schedule.start, schedule.end)
        if min(met_ends) < (low or 0.0) or (high is not None and max(met_ends) > high):
            raise ConfigError(f"{name}: {found} leaves the range {low:g} to {high:g}; {knob_meaning(name)}")
        found = _plain(schedule)
    return found, said


def _brief(value: Any) -> str:
    """Return a value as a message shows it, however long it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return f"{value:.6g}"
        except OverflowError:
            return "a number beyond 1e308"
    return repr(value)[:40]
