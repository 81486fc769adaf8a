"""What a sweep varies: `NAME=LOW:HIGH`, `NAME=log:LOW:HIGH` or `NAME=one,other`, checked by the options' own declaration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from mcprune.config.options import declaration, option
from mcprune.config.schema import make_config
from mcprune.config.sections.text import TextOption
from mcprune.config.unused import check_options
from mcprune.errors import ConfigError
from mcprune.studies.base import Options

# What would change the question or its measure, and what changes no mask.
OTHER_QUESTION = (
    "data",
    "target",
    "sample_weight",
    "test",
    "validation",
    "sites",
    "keep",
    "macs",
    "parameters",
    "latency",
    "latency_rows",
    "latency_table",
    "groups",
    "seed",
)
NO_MASK = (
    "out",
    "force",
    "compare",
    "evaluator",
    "lookahead",
    "max_memory",
    "threads",
    "device",
    "rank_timeout",
    "train_ranks",
)
MOST_CHECKED = 4096
FORMS = "write NAME=LOW:HIGH, NAME=log:LOW:HIGH or NAME=ONE,OTHER (ONE|OTHER where a value has commas)"


@dataclass(frozen=True)
class Vary:
    """One option that a sweep varies.

    Attributes
    ----------
    name : str
        The field of Config.
    kind : str
        float, int (both over low..high, ends included) or choice.
    low, high : float
        Of a range.
    is_log : bool
        Whether equal factors, not equal differences, are equally likely.
    choices : tuple of str
        As the command line takes them.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    choices: tuple[str, ...] = ()

    def ends(self) -> list[str] | list[int] | list[float]:
        """Return the values to check: all choices, or both ends of the range, between which all is valid."""
        if self.kind == "choice":
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.kind == "int" else [self.low, self.high]

    def plain(self) -> Options:
        """Return it in JSON's types."""
        if self.kind == "choice":
            return {"kind": "choice", "choices": list(self.choices)}
        return {"kind": self.kind, "low": self.low, "high": self.high, "log": self.is_log}


def read(text: str) -> Vary:
    """Read one `--vary`.

    Raises
    ------
    ConfigError
        No such option, one that a sweep cannot vary, or a range or list that is none.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not name or not equals or not values:
        raise ConfigError(f"--vary: {FORMS}; got {text!r}")
    name = name.removeprefix("--").replace("-", "_")
    try:
        field = declaration(name)
    except ConfigError as error:
        raise ConfigError(f"--vary: {error}") from None
    if name in OTHER_QUESTION:
        raise ConfigError(
            f"--vary {name}: accuracies under other values of it do not compare; sweep for each on its own"
        )
    if name == "preset":
        raise ConfigError("--vary preset: it stands for several options; vary these by their names")
    if name in NO_MASK:
        raise ConfigError(f"--vary {name}: it does not change the mask. Give {option(name)} once, or leave it out")
    parts = values.split(":")
    is_log = parts[0].strip().lower() == "log"
    ends = parts[1:] if is_log else parts
    if is_log or (len(ends) == 2 and "|" not in values and "," not in values):
        return _range(name, _number_kind(field), ends, is_log, text)
    choices = [part.strip() for part in values.split("|" if "|" in values else ",")]
    if not all(choices) or len(choices) < 2 or len(set(choices)) < len(choices):
        raise ConfigError(f"--vary {name}: at least two different values are needed, but got {values!r}; {FORMS}")
    return Vary(name, "choice", choices=tuple(choices))


def read_all(texts: Sequence[str], options: Options) -> tuple[Vary, ...]:
    """Read every `--vary` and check all values, with the options that stay, by the declaration of the options.

    Raises
    ------
    ConfigError
        A value out of range, a combination that cannot be run, an option varied twice or given as well.
    """
    if not texts:
        raise ConfigError(f"nothing varies: give --vary, such as --vary temperature=log:1e-5:1e-2; {FORMS}")
    varied = tuple(map(read, texts))
    names = [vary.name for vary in varied]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--vary {name} is repeated. Choose one range")
        if name in options:
            raise ConfigError(f"{option(name)} is both set and varied. Leave one of them out")
    for values in corners(varied):
        check_options(make_config(**{**options, **values}))
    return varied


def corners(varied: Sequence[Vary]) -> Iterator[Options]:
    """Yield the combinations of choices and ends of ranges; of more than 4,096, one option's at a time."""
    ends = [vary.ends() for vary in varied]
    names = [vary.name for vary in varied]
    if math.prod(map(len, ends)) <= MOST_CHECKED:
        for chosen in itertools.product(*ends):
            yield dict(zip(names, chosen, strict=True))
        return
    first = {name: values[0] for name, values in zip(names, ends, strict=True)}
    for name, values in zip(names, ends, strict=True):
        for value in values:
            yield {**first, name: value}


def _number_kind(field: FieldInfo) -> str | None:
    """Return int or float for an option that takes numbers (a schedule takes one too), else None."""
    kinds = [part for part in get_args(field.annotation) if part is not type(None)]
    kind = kinds[0] if type(None) in get_args(field.annotation) else field.annotation
    if isinstance(kind, type) and issubclass(kind, TextOption):
        return _number_kind(kind.model_fields[kind.head[0]]) if kind.head else None
    if kind is int:
        return "int"
    takes_text = any(isinstance(part, BeforeValidator) for part in field.metadata)
    return "float" if kind is float or (kind is str and takes_text) else None


def _range(name: str, kind: str | None, ends: Sequence[str], is_log: bool, text: str) -> Vary:
    if kind is None:
        raise ConfigError(f"--vary {name}: it takes no numbers, so it has no range; list its values, but got {text!r}")
    try:
        low, high = (float(part) for part in ends)
    except ValueError:
        raise ConfigError(f"--vary {name}: a range is LOW:HIGH or log:LOW:HIGH in numbers, but got {text!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"--vary {name}: a range goes from a lower to a higher finite number, but got {text!r}")
    if is_log and low <= 0:
        raise ConfigError(f"--vary {name}: a log range starts above 0, but got {text!r}")
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"--vary {name}: whole numbers are needed, but got {text!r}")
    return Vary(name, kind, low, high, is_log)
