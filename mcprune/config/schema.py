"""The configuration of a run: options in sections, made from flat names, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from mcprune.config.options import (
    METHODS,
    OPTIONS,
    Option,
    check_names,
    expanded,
    flat_name,
    flat_values,
    in_sections,
    option,
)
from mcprune.config.parsing import cause_and_remedy, requirement
from mcprune.config.sections.base import Section
from mcprune.config.sections.data import Data
from mcprune.config.sections.gradient import Gradient
from mcprune.config.sections.importance import Importance
from mcprune.config.sections.markov import Markov
from mcprune.config.sections.model import Model
from mcprune.config.sections.problem import Problem
from mcprune.config.sections.retrain import Retrain
from mcprune.config.sections.runtime import Runtime
from mcprune.config.sections.settings import DataSettings, OwnModelSettings, RankSettings
from mcprune.config.sections.train import Train
from mcprune.data.formats.reading import Reading
from mcprune.errors import ConfigError

# Named sets of options, which explicit options override.
PRESETS: dict[str, dict[str, object]] = {
    "default": {},
    # The source's own rule: every site moves, L_tot with soft gates must fall, n and alpha are constant.
    "slides": {
        "moves": {"uniform": 1.0},
        "delta": "1",
        "temperature": "0",
        "alpha": "10",
        "gates": "sigmoid",
        "keep_schedule": "constant",
        "pool": "none",
        "mask_noise": 0.0,
    },
}


def _method_of(search: object) -> object:
    return search.get("method", "markov") if isinstance(search, dict) else getattr(search, "method", None)


Search = Annotated[
    Annotated[Markov, Tag("markov")] | Annotated[Gradient, Tag("gradient")] | Annotated[Importance, Tag("importance")],
    Discriminator(_method_of),
]


class Config(BaseModel):
    """Every option of a run, in sections. Unknown names, NaN and infinities are refused.

    Fields left at None are settled from the data when the run starts; the run's folder records what they became.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Data = Field(default_factory=Data)
    problem: Problem = Field(default_factory=Problem)
    model: Model = Field(default_factory=Model)
    train: Train = Field(default_factory=Train)
    search: Search = Field(default_factory=Markov)
    retrain: Retrain = Field(default_factory=Retrain)
    runtime: Runtime = Field(default_factory=Runtime)

    if not TYPE_CHECKING:  # else the sections would be no parameters to a type checker

        def __init__(self, **sections: object) -> None:
            try:
                super().__init__(**sections)
            except ValidationError as error:
                raise refusal(error, flat_values(sections)) from None

    @property
    def method(self) -> str:
        """The way to the mask: markov, gradient or importance."""
        return self.search.method

    @property
    def chain(self) -> Markov:
        """The options of the chain; the defaults under another method."""
        return self.search if isinstance(self.search, Markov) else Markov()

    @property
    def gradient(self) -> Gradient:
        """The options of the gates trained by backprop; the defaults under another method."""
        return self.search if isinstance(self.search, Gradient) else Gradient()

    @property
    def importance(self) -> Importance:
        """The options of the rounds by importance; the defaults under another method."""
        return self.search if isinstance(self.search, Importance) else Importance()

    def data_name(self) -> str:
        """Return the name of the data set, after which folders are named."""
        return Path(self.data.source).name.split(".")[0] or "data"

    def out_folder(self) -> Path | None:
        """Return the folder that `out` names, None where it names none."""
        return None if self.runtime.out is None else Path(self.runtime.out)

    def folder(self) -> Path:
        """Return the run's folder: `out`, or runs/NAME of the data."""
        return self.out_folder() or Path("runs") / self.data_name()

    def threads(self) -> int:
        """Return how many threads are asked for, 1 where `threads` is not set."""
        return 1 if self.runtime.threads is None else self.runtime.threads

    def seed(self) -> int:
        """Return the seed of every random stream of the run."""
        return self.runtime.seed

    def hidden_widths(self) -> tuple[int, ...]:
        """Return the widths of the hidden layers of the built-in perceptron."""
        return tuple(self.model.hidden)

    def false_discovery_rate(self) -> float | None:
        """Return the rate up to which columns that beat their shadows are kept, None where a number of sites is asked for."""
        return self.problem.fdr

    def replaces(self) -> bool:
        """Return whether what is in the folder of the results may be replaced."""
        return self.runtime.force

    def digit_training(self) -> tuple[int | None, int | None, float, int | None]:
        """Return epochs, rows of a batch, learning rate and threads of the training of a network in fixed point."""
        train = self.train
        return train.epochs, train.batch_size, train.learning_rate, self.runtime.threads

    def bounded_latency(self) -> Problem | None:
        """Return the section of the problem where it bounds the latency."""
        return None if self.problem.latency is None else self.problem

    def names_model_file(self) -> bool:
        """Return whether the classifier is that of a file with Python code."""
        return self.model.is_file

    def data_settings(self) -> DataSettings:
        """Return how the data are loaded, split and scaled."""
        data, problem = self.data, self.problem
        grouped = [site for group in (problem.groups or {}).values() for site in group.get("sites", ())]
        sites = *(problem.must_keep or ()), *(problem.must_drop or ()), *grouped
        # An index is one of the features: it names no column of the file.
        required = *(site for site in sites if isinstance(site, str)), problem.objective.partition(":")[2]
        reading = Reading(
            target=data.target,
            header=data.header,
            id_columns=data.id_columns,
            required=required,
            sample_weight=data.sample_weight,
            separator=data.separator,
            decimal=data.decimal,
            encoding=data.encoding,
            ignore=() if data.ignore is None else data.ignore,
            split_by=data.split_by,
            split_time=data.split_time,
            task=data.task,
        )
        return DataSettings(data.source, reading, data.test, data.validation, data.scale, self.runtime.max_memory)

    def own_model_settings(self) -> OwnModelSettings:
        """Return how a model of the user is used."""
        start = self.chain.start
        return OwnModelSettings(
            self.data_settings(),
            self.method,
            self.train.frozen,
            self.train.pretrain,
            self.retrain.finetune,
            start is not None and start.after == 0,
        )

    def rank_settings(self) -> RankSettings:
        """Return how the processes of the run find each other."""
        return RankSettings(self.runtime.device, self.runtime.rank_timeout)

    def with_evaluator(self, name: str | None) -> Self:
        """Return a copy with the evaluator that a record names; where none evaluates, or early_reject chooses it, no other copy."""
        return self if name is None or self.chain.early_reject is not None else self.replace(evaluator=name)

    def sections(self) -> dict[str, Section]:
        """Return the sections by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def flat(self) -> dict[str, object]:
        """Return the value of every option that the method reads, by flat name; options of several parts as their texts."""
        return {
            flat_name(name, field): value
            for name, section in self.sections().items()
            for field, value in section.model_dump().items()
        }

    def set_options(self) -> dict[str, object]:
        """Return the options that were set rather than left at their defaults, by flat name, in the types of JSON."""
        return {
            flat_name(name, field): value
            for name, section in self.sections().items()
            for field, value in section.model_dump(mode="json", exclude_unset=True).items()
        }

    def is_set(self, name: str) -> bool:
        """Return whether the option of this flat name was set."""
        entry = OPTIONS[name]
        return getattr(self, entry.section).is_set(entry.field)  # type: ignore[no-any-return]

    def value(self, name: str) -> object:
        """Return the value of the option of this flat name; None where the method does not read it."""
        entry = OPTIONS[name]
        return getattr(getattr(self, entry.section), entry.field, None)

    def replace(self, **options: object) -> Self:
        """Return a copy with other values, by flat name; they are not checked. Options of other methods are left out."""
        check_names(options)
        if options.get("method", self.method) != self.method:
            raise ValueError("another method is another section: make a new configuration")
        changes: dict[str, dict[str, object]] = {}
        for name, value in options.items():
            entry = OPTIONS[name]
            if entry.section and entry.field in type(getattr(self, entry.section)).model_fields:
                changes.setdefault(entry.section, {})[entry.field] = value
        return self.model_copy(
            update={name: getattr(self, name).model_copy(update=fields) for name, fields in changes.items()}
        )


def refusal(error: ValidationError, options: Mapping[str, object], section: str = "") -> ConfigError:
    """Return the error for the first thing that pydantic has refused: the cause with what was found, and the remedy.

    Parameters
    ----------
    error : ValidationError
    options : mapping
        What was asked for, by flat name.
    section : str
        The one that was made, where it was not a whole configuration.
    """
    first = error.errors(include_url=False)[0]
    place = [section] * bool(section) + [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        check_names({place[-1]: None})
        return ConfigError(f"{place[-1]} is no option of the search. Give it to fit or run instead.")
    section, fields = place[0], [part for part in place[1:] if part not in METHODS]
    entry: Option | None = None
    if section == "search" and not fields:
        entry = OPTIONS["method"]
    else:
        entry = next((one for one in OPTIONS.values() if [one.section, one.field] == [section, *fields[:1]]), None)
    name = entry.name if entry is not None else ".".join(place)
    text = requirement(first["type"], first.get("ctx", {}), first["msg"])
    if entry is OPTIONS["method"]:
        text = f"{_one_of(METHODS)} is needed"
    cause, remedy = cause_and_remedy(text)
    value = options.get(name)
    shown = repr(value) if name in options else ""
    if len(fields) > 1 and fields[1].isdigit():  # an element of a list
        shown = f"{first['input']!r} in {shown}" if shown and str(first["input"]) != str(value) else shown
    elif len(fields) > 1 and not remedy.startswith("write "):  # a part of an option of several
        cause = f"{fields[1].rstrip('_')}: {cause}"
    is_named = f"{name}={value}" in cause or (isinstance(value, str) and shown in cause)
    if shown and not is_named and not re.search(r"\bgot ", cause):
        cause += f", got {shown}"
    return ConfigError(_two_sentences(f"{name}: {cause}", remedy, entry))


def _two_sentences(cause: str, remedy: str, entry: Option | None) -> str:
    place = "" if entry is None else f" of {entry.flag} (mcprune run --help-all explains it)"
    remedy = remedy or f"choose another value{place}"
    if entry is not None and entry.flag not in cause + remedy:
        remedy += f" (mcprune run --help-all explains {entry.flag})"
    return f"{cause}. {remedy[0].upper()}{remedy[1:]}."


def _one_of(names: Iterable[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}"


def make_config(**options: object) -> Config:
    """Return the checked configuration of options by flat name, over the preset's, over the defaults.

    Raises
    ------
    ConfigError
        An unknown name (with the nearest right one), a value out of its range, or an option of another method.
    """
    options = expanded(options)
    preset = options.pop("preset", "default")
    if preset not in PRESETS:
        raise ConfigError(
            _two_sentences(f"preset: {_one_of(PRESETS)} is needed, got {preset!r}", "", OPTIONS["preset"])
        )
    try:
        nested = in_sections({**PRESETS[preset], **options})
    except ConfigError as error:
        by_preset = next(
            (name for name in PRESETS[preset] if name not in options and f"{option(name)} " in str(error)), ""
        )
        if not by_preset:
            raise
        text = str(error).replace(f"{option(by_preset)} ", f"{option(by_preset)} (by --preset {preset}) ", 1)
        raise ConfigError(text) from None
    return Config(**nested)  # type: ignore[arg-type]
