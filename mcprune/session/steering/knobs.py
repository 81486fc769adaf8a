"""The knobs of a run: their names, valid values, and changes between two blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from mcprune.chain.schedules import Schedule, parse, parse_temperature
from mcprune.config.knobs import knob_field, knob_limits
from mcprune.config.parsing import cause_and_remedy, requirement
from mcprune.errors import ConfigError, McpruneError
from mcprune.methods.base import AnyMethod
from mcprune.methods.markov.method import SteeredChain
from mcprune.methods.markov.settings import ChainSettings, check
from mcprune.session.build.markov import candidates_ahead, most_evaluation_rows, move_plan
from mcprune.session.build.plan import Plan
from mcprune.session.search_state import SearchState
from mcprune.types import JsonObject

SCHEDULED = ("delta", "temperature", "alpha")
KNOBS = (*SCHEDULED, "moves", "evaluation_rows", "budget_pressure", "adapt_delta")


class Knobs:
    """The knobs of a run; a method without a chain has none.

    Most knobs are options of `Config`, which declares their type, range and meaning; config/knobs.py declares the others.
    `evaluation_rows` sets the early batch as well.

    Parameters
    ----------
    plan : Plan
    method : Method
    state : SearchState
        Keeps the last value of each knob that was changed.
    """

    # What follows from the values that were changed.
    recomputed = ("rows", "_moves")

    def __init__(self, plan: Plan, method: AnyMethod, state: SearchState) -> None:
        self.plan = plan
        self.method = method
        self.state = state
        self.rows: int | None = None  # of the evaluation batch; None for those of the options
        self._moves = dict(plan.chain.moves)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the knobs of this run."""
        if self._chain is None:
            return ()
        # Under a constraint alpha is 0.
        return KNOBS if self.chain.method.space.is_count else tuple(name for name in KNOBS if name != "alpha")

    @property
    def chain(self) -> SteeredChain:
        """The chain whose settings are changed."""
        assert self._chain is not None
        return self._chain

    @property
    def _chain(self) -> SteeredChain | None:
        chain = self.method.steered(self.state.method)
        assert chain is None or isinstance(chain, SteeredChain)
        return chain

    def values(self) -> JsonObject:
        """Return the present values: numbers, or the text of a schedule; None for a knob that is off or unchanged."""
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
        """Return the range of a knob: as declared, and no more evaluation rows than there are."""
        low, high = knob_limits(name)
        return (low, float(most_evaluation_rows(self.plan))) if name == "evaluation_rows" else (low, high)

    def check(self, changes: Mapping[str, object]) -> tuple[JsonObject, dict[str, str], dict[str, str]]:
        """Check changes without making them.

        Returns
        -------
        values : dict
            By knob, as they would be set.
        clamped, refused : dict of str to str
            By knob: a sentence on a number that was clamped into its range, and the reason why a value is not valid.
        """
        values: JsonObject = {}
        clamped: dict[str, str] = {}
        refused: dict[str, str] = {}
        for name, value in changes.items():
            if name not in self.names:
                known = ", ".join(self.names) or "none with this method"
                refused[str(name)[:40]] = f"there is no such knob. The knobs are: {known}"
                continue
            try:
                values[name], note = _checked(name, value, self.limits(name))
                if note:
                    clamped[name] = note
            except ConfigError as error:
                refused[name] = str(error)
        if values and not refused:
            try:
                self._settings(self._complete(values))
            except McpruneError as error:
                refused[next(iter(values))] = str(error)
        return values, clamped, refused

    def change(self, values: Mapping[str, object]) -> tuple[JsonObject, JsonObject]:
        """Set knobs to checked values between two blocks; return their new values, and those before.

        Raises
        ------
        ConfigError
            The values do not fit the other knobs; nothing has changed.
        """
        if not set(values) <= set(self.names):
            raise ConfigError(f"there is no knob {sorted(set(values) - set(self.names))[0]!r} in this run")
        values = self._complete(values)
        settings = self._settings(values)
        before = self.values()
        if (delta := self.chain.delta) is not None:  # it was adapted since
            before["delta"] = delta
        self.chain.steer(settings)
        self._moves = values.get("moves", self._moves)
        self.rows = values.get("evaluation_rows", self.rows)
        self.state.knobs |= values
        return values, {name: before[name] for name in values}

    def _complete(self, values: Mapping[str, object]) -> JsonObject:
        """Return the values and those that follow from them: a delta that is no longer adapted keeps its present value."""
        complete, settings = dict(values), self.chain.settings
        delta = self.chain.delta
        if "delta" in complete and "adapt_delta" not in complete and settings.adapt_delta is not None:
            complete["adapt_delta"] = None
        if complete.get("adapt_delta", "") is None and delta is not None:
            complete.setdefault("delta", delta)
        if complete.get("adapt_delta") is not None and settings.adapt_delta is None:
            complete.setdefault("delta", settings.delta.end)  # where it starts, and where an undo returns to
        return complete

    def _settings(self, values: JsonObject) -> ChainSettings:
        """Return the settings of the chain with changed values."""
        settings = self.chain.settings
        new: JsonObject = {name: _schedule(name, values[name]) for name in SCHEDULED if name in values}
        if "moves" in values:
            chain = self.plan.chain._replace(moves=dict(values["moves"]))
            size = self.plan.space.size
            if not chain.pool_size and not chain.is_by_rank and set(chain.moves) <= {"exchange", "informed"}:
                raise ConfigError(
                    "the chain itself drops the sites of this run (--pool none), but exchanges never change the number of kept sites. "
                    "Give toggle, site, block or uniform a share"
                )
            new["plan"] = move_plan(chain, size)
            new["lookahead"] = candidates_ahead(chain, size, self.plan.runtime.max_memory)
            new["learned"] = chain.is_informed
        if "budget_pressure" in values:
            new["pressure"] = values["budget_pressure"]
        if "adapt_delta" in values:
            new["adapt_delta"] = values["adapt_delta"]
            new["keeps_adapting"] = values["adapt_delta"] is not None
        changed = replace(settings, **new)
        check(changed, self.chain.method.space)
        if changed.adapt_delta is not None and not changed.delta.start > 0:
            raise ConfigError("an adapted delta starts above 0. Set delta first")
        return changed


def _schedule(name: str, text: str | float) -> Schedule:
    return parse_temperature(text) if name == "temperature" else parse(text)


def _plain(schedule: Schedule) -> float | str:
    return schedule.start if schedule.kind == "constant" and not schedule.unit else str(schedule)


def _checked(name: str, value: object, ends: tuple[float | None, float | None]) -> tuple[object, str]:
    """Return a value of the declared type of the knob, and a note where it was clamped into its range."""
    field: FieldInfo = knob_field(name)
    if value is None and name in ("evaluation_rows", "adapt_delta"):
        return None, ""
    note = ""
    if name == "moves" and not isinstance(value, dict):
        raise ConfigError(f"moves takes shares by name, but got {_brief(value)}. {_remedy(name, ends)}.")
    if (
        isinstance(value, bool)
        or value is None
        or (isinstance(value, str) and (name not in SCHEDULED or len(value) > 80))
    ):
        raise ConfigError(f"{name} takes a number, but got {_brief(value)}. {_remedy(name, ends)}.")
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be finite, but got {value}. {_remedy(name, ends)}.")
        low, high = ends
        inside = value if low is None or value >= low else low
        inside = inside if high is None or inside <= high else high
        if inside != value:
            inside = int(inside) if float(inside).is_integer() else float(inside)
            note = f"{_brief(value)} is out of the range of {name}, so its end {inside:g} is used"
            value = inside
        value += 0  # makes 0.0 of -0.0
    try:
        checked = TypeAdapter(field.rebuild_annotation()).validate_python(value)
    except (ValidationError, ConfigError) as error:
        text = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            text = requirement(first["type"], first.get("ctx", {}), first["msg"])
        cause, remedy = cause_and_remedy(text)
        is_named = re.search(r"\bgot ", cause) or (isinstance(value, str) and repr(value) in cause)
        got = "" if is_named else f", but got {_brief(value)}"
        remedy = remedy or _remedy(name, ends)
        raise ConfigError(f"{name}: {cause}{got}. {remedy[0].upper()}{remedy[1:]}.") from None
    if name in SCHEDULED:
        schedule = _schedule(name, checked)
        low, high = ends
        both = (schedule.start, schedule.end)
        if min(both) < (low or 0.0) or (high is not None and max(both) > high):
            raise ConfigError(f"{name}: {checked} leaves the range. {_remedy(name, ends)}.")
        checked = _plain(schedule)
    return checked, note


def _remedy(name: str, ends: tuple[float | None, float | None]) -> str:
    """Return the remedy for a value that the knob does not take."""
    low, high = ends
    if name == "moves":
        return 'Give shares such as {"exchange": 3, "toggle": 1}'
    return "Give another number" if low is None or high is None else f"Give a number from {low:g} to {high:g}"


def _brief(value: object) -> str:
    """Return a value for a message, cut to a bounded length."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return f"{value:.6g}"
        except OverflowError:
            return "a number beyond 1e308"
    return repr(value)[:40]
