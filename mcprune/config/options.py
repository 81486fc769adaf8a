"""The lookup table of flat option names: the command line and Python spell options flat, the configuration has sections."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from mcprune.config.parsing import nearest
from mcprune.config.sections.base import Section
from mcprune.config.sections.data import Data
from mcprune.config.sections.gradient import Gradient
from mcprune.config.sections.importance import Importance
from mcprune.config.sections.markov import Markov
from mcprune.config.sections.model import Model
from mcprune.config.sections.modifiers import split_modifiers
from mcprune.config.sections.problem import Problem
from mcprune.config.sections.retrain import Retrain
from mcprune.config.sections.runtime import Runtime
from mcprune.config.sections.text import TextOption
from mcprune.config.sections.train import Train
from mcprune.errors import ConfigError

METHODS: dict[str, type[Section]] = {"markov": Markov, "gradient": Gradient, "importance": Importance}
SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "data": (Data,),
    "problem": (Problem,),
    "model": (Model,),
    "train": (Train,),
    "search": tuple(METHODS.values()),
    "retrain": (Retrain,),
    "runtime": (Runtime,),
}


def kinds_of(info: FieldInfo) -> tuple[object, ...]:
    """Return the types of an option's values, None left out."""
    kind = info.annotation
    is_union = get_origin(kind) in (Union, types.UnionType)
    return tuple(part for part in (get_args(kind) if is_union else (kind,)) if part is not type(None))


class Choice(Section):
    """Options that stand for others: which kind of [search] section, and a named set of options."""

    method: Literal["markov", "gradient", "importance"] = Field(
        default="markov",
        description="how the mask is found: by the chain, by gates trained with backprop, or by an importance measure",
    )
    retrain: str | None = Field(
        default=None,
        description="how the small model is trained: epochs, learning_rate, dropout, input_noise, warp and distill, as KEY=VALUE,...; each "
        "also on its own, such as --retrain-epochs (docs/options.md)",
        json_schema_extra={"placeholder": "KEY=VALUE,..."},
    )
    preset: Literal["default", "slides"] = Field(
        default="default", description="slides: the plain rule w + delta U[-1,1] on every site, n and alpha constant"
    )


class Option(NamedTuple):
    """An option: its flat name, where it stands, and its declaration."""

    name: str
    section: str  # empty for `preset`, which stands for other options
    field: str
    info: FieldInfo
    by_method: Mapping[str, FieldInfo] = {}  # of [search]: the methods that read it, each with its declaration

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that read it; none where all do."""
        return tuple(self.by_method)

    @property
    def texts(self) -> tuple[type[TextOption], ...]:
        """Its classes where it is written as a text of several parts."""
        infos = self.by_method.values() or (self.info,)
        kinds = [kind for info in infos for kind in kinds_of(info)]
        return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, TextOption))

    @property
    def flag(self) -> str:
        """The spelling of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def kinds(self) -> tuple[object, ...]:
        """The types of its values, None left out."""
        return kinds_of(self.info)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may take where they are listed; else none."""
        kind = self.kinds[0]
        return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()

    @property
    def is_flag(self) -> bool:
        """Whether it is switched on and off, without a value."""
        return self.info.annotation is bool

    @property
    def is_read_from_text(self) -> bool:
        """Whether a reader of its own takes what was written."""
        return any(isinstance(part, BeforeValidator) for part in self.info.metadata)

    @property
    def meaning(self) -> str:
        """What it means, without its default."""
        return (self.info.description or "").split(" [")[0]

    def extra(self, name: str) -> object:
        """Return an entry of the declaration besides type and range; None where there is none."""
        extra = self.info.json_schema_extra
        return extra.get(name) if isinstance(extra, dict) else None


def _table() -> dict[str, Option]:
    table: dict[str, Option] = {}
    for section, classes in SECTIONS.items():
        if section == "search":
            table["method"] = Option("method", "search", "method", Choice.model_fields["method"])
            table["preset"] = Option("preset", "", "", Choice.model_fields["preset"])
        for kind in classes:
            for field, info in kind.model_fields.items():
                if field == "method":
                    continue
                extra = info.json_schema_extra
                plain = f"retrain_{field}" if section == "retrain" else field.rstrip("_")
                name = str(extra.get("flat", plain)) if isinstance(extra, dict) else plain
                by_method = {key: info for key, other in METHODS.items() if other is kind}
                if name in table:
                    by_method = {**table[name].by_method, **by_method}
                    info = table[name].info
                table[name] = Option(name, section, field, info, by_method)
        if section == "retrain":
            table["retrain"] = Option("retrain", "retrain", "", Choice.model_fields["retrain"])
    return table


OPTIONS = _table()
_BY_PLACE = {(entry.section, entry.field): entry for entry in OPTIONS.values()}


def option(name: str) -> str:
    """Return the command line's spelling of an option."""
    return "--" + name.replace("_", "-")


def check_names(names: Mapping[str, object]) -> None:
    """Refuse names that are no options.

    Raises
    ------
    ConfigError
        Naming the first, with the nearest right one.
    """
    for name in names:
        declaration(name)


def declaration(name: str) -> FieldInfo:
    """Return the declaration of an option, or of a part of one, as keep_schedule.pressure.

    Raises
    ------
    ConfigError
        There is none; the nearest right name is suggested.
    """
    base, dot, part = name.partition(".")
    if base not in OPTIONS:
        raise ConfigError(f"there is no option {name!r}{nearest(name, OPTIONS)}")
    if not dot:
        return OPTIONS[base].info
    texts = OPTIONS[base].texts
    for kind in texts:
        if (field := kind.field_of(part)) in kind.model_fields:
            return kind.model_fields[field]
    keys = [f"{base}.{kind.key_of(field)}" for kind in texts for field in kind.model_fields]
    raise ConfigError(f"there is no option {name!r}{nearest(name, keys)}")


def expanded(options: Mapping[str, object]) -> dict[str, object]:
    """Return flat options with `retrain` and modifiers (`MODIFIERS`) as options of their own; one that is set on its own counts more.

    Raises
    ------
    ConfigError
        An unknown name, or a text of another form.
    """
    check_names(options)
    options = split_modifiers(options)
    parts: dict[str, object] = {}
    retrain = options.get("retrain")
    if isinstance(retrain, str):
        pairs = [piece.partition("=") for piece in retrain.split(",") if piece.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ConfigError(f"retrain: KEY=VALUE,... is needed, such as epochs=30,dropout=0.2, got {retrain!r}.")
        retrain = {key.strip(): value.strip() for key, _, value in pairs}
    if retrain is not None and not isinstance(retrain, Mapping):
        raise ConfigError(f"retrain: KEY=VALUE,... or a mapping is needed, got {retrain!r:.60}.")
    for key, value in (retrain or {}).items():
        entry = _BY_PLACE.get(("retrain", key))
        if entry is None or key == "finetune":
            keys = [field for section, field in _BY_PLACE if section == "retrain" and field not in ("", "finetune")]
            raise ConfigError(
                f"retrain: there is no part {key!r}{nearest(key, keys)}; the parts are {', '.join(keys)}."
            )
        parts[entry.name] = value
    whole = {**parts, **{name: value for name, value in options.items() if name != "retrain" and "." not in name}}
    for name, value in options.items():
        base, dot, part = name.partition(".")
        if dot:
            whole[base] = _with_part(
                OPTIONS[base], whole.get(base), part, value, str(options.get("method") or "markov")
            )
    return whole


def _with_part(entry: Option, base: object, part: str, value: object, method: str) -> dict[str, object]:
    """Return an option of several parts, as given or by default, with another value of one part."""
    info = entry.by_method.get(method, entry.info)
    kind = next((kind for kind in kinds_of(info) if isinstance(kind, type) and issubclass(kind, TextOption)), None)
    if kind is None:
        raise ConfigError(f"{entry.flag} has no part {part!r} under --method {method}")
    try:
        fields = kind.read(info.default if base is None else base)
    except ValueError as error:
        raise ConfigError(f"{entry.name}: {error}") from None
    if isinstance(fields, TextOption):
        fields = {name: getattr(fields, name) for name in kind.model_fields}
    return {**fields, kind.field_of(part): value}


def flat_name(section: str, field: str) -> str:
    """Return the flat name of a field of a section."""
    return _BY_PLACE[section, field].name


def flat_values(sections: Mapping[str, object]) -> dict[str, object]:
    """Return what sections hold by flat name, unchecked; what is no option is left out."""
    return {
        _BY_PLACE[name, field].name: value
        for name, fields in sections.items()
        for field, value in (fields.items() if isinstance(fields, Mapping) else ())
        if (name, field) in _BY_PLACE
    }


def in_sections(options: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return flat options by section and field; those of another method that are None are left out.

    Raises
    ------
    ConfigError
        An unknown name, or an option that belongs to another method.
    """
    options = expanded(options)
    method = str(options.get("method") or "markov")
    nested: dict[str, dict[str, object]] = {}
    for name, value in options.items():
        entry = OPTIONS[name]
        if not entry.field:
            continue
        if entry.methods and method in METHODS and method not in entry.methods:
            if value is None or value is False:
                continue
            owners = " or ".join(f"--method {other}" for other in entry.methods)
            raise ConfigError(
                f"{entry.flag} does nothing under --method {method}: it belongs to {owners}. Leave it out, or change that."
            )
        nested.setdefault(entry.section, {})[entry.field] = value
    return nested


def in_flat(nested: Mapping[str, object]) -> dict[str, object]:
    """Return options that are in sections by their flat names, unchecked values.

    Raises
    ------
    ConfigError
        An unknown section or field; the text says where the option belongs.
    """
    options: dict[str, object] = {}
    for section, fields in nested.items():
        if section == "preset":
            options[section] = fields
            continue
        if section not in SECTIONS or not isinstance(fields, Mapping):
            if section in OPTIONS:
                raise ConfigError(
                    f"the key {section!r} stands outside of the sections; write it as {OPTIONS[section].field} under "
                    f"[{OPTIONS[section].section}]"
                )
            known = OPTIONS if not isinstance(fields, Mapping) else SECTIONS
            raise ConfigError(
                f"the key {section!r}, which is no section{nearest(section, known)}; the sections are {', '.join(SECTIONS)}"
            )
        for field, value in fields.items():
            place = _BY_PLACE.get((section, field)) or _BY_PLACE.get((section, f"{field}_"))
            if place is None:
                fields_there = [other for part, other in _BY_PLACE if part == section]
                elsewhere = OPTIONS.get(field)
                hint = (
                    f"; it is {elsewhere.field} of [{elsewhere.section}]"
                    if elsewhere is not None and elsewhere.section
                    else nearest(field, fields_there)
                )
                raise ConfigError(f"the key {field!r} in [{section}], which is no option{hint}")
            options[place.name] = value
    return options
