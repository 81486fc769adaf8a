"""The help of `run` and of its options, from the one declaration of the options and the rules of their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from mcprune.config.options import METHODS, OPTIONS, SECTIONS, Option, kinds_of
from mcprune.config.parsing import shown
from mcprune.config.rules import DEFAULTS
from mcprune.config.schema import PRESETS
from mcprune.config.sections.modifiers import MODIFIERS, modifiers_of
from mcprune.config.sections.text import TextOption

TITLES = {
    "data": "the rows",
    "problem": "the sites, how many are kept, what is minimised",
    "model": "the built-in classifier",
    "train": "training during the search",
    "search": "the way to the mask",
    "retrain": "the small model",
    "runtime": "machine, clock, checkpoints, folder",
}
# What the first page of the help lists, in the order in which a user meets it.
FIRST: dict[str, str] = {
    "data": "data set by name, or a file or folder",
    "target": "column that holds the class or number (tables)",
    "keep": "how many sites to keep: a number, or KIND=N,...",
    "sites": "what may be dropped: inputs, units, channels, weights, heads, ...",
    "macs": "most multiply-accumulates of the kept model",
    "must_keep": "sites that are always kept, by name or index",
    "sample_weight": "column of the rows' weights (tables)",
    "task": "what the target is: classes, numbers or several labels",
    "objective": "what is minimised: cross-entropy, squared, auc, FILE.py:NAME",
    "method": "markov (a chain, no gradient), gradient or importance",
    "preset": "slides: the plain rule, a step of every weight",
    "model": "mlp, lenet-300-100, vgg13, mobilenet_v1, resnet56, FILE.py:NAME",
    "hidden": "widths of the hidden layers",
    "epochs": "passes over the training rows",
    "delta": "half-width of the chain's proposals, or a schedule",
    "temperature": "of the chain; 0 accepts improvements only; 1se, auto or a schedule",
    "retrain": "training of the small model: epochs, dropout, distill, ...",
    "max_time": "seconds for the whole command",
    "checkpoint_every": "how often the run is saved for mcprune resume",
    "threads": "threads of torch and numba",
    "seed": "of all random numbers",
    "out": "folder of the run",
    "force": "replace the folder if it exists",
}
LONGEST_DEFAULT = 24  # characters of a default on the first page; longer ones are on the second


def placeholder(entry: Option) -> str:
    """Return what stands for the value of an option: the choices, or the kind of value."""
    value = value_of(entry.info, is_path=entry.name in ("data", "out"))
    keys = list(modifiers_of(entry.name))
    return value if not keys else f"{value}[,{keys[0]}=...]" if len(keys) == 1 else f"{value}[,KEY=VALUE,...]"


def value_of(info: FieldInfo, *, is_path: bool = False) -> str:
    """Return what stands for a value of this declaration."""
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "placeholder" in extra:
        return str(extra["placeholder"])
    kind = kinds_of(info)[0]
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    has_reader = any(isinstance(part, BeforeValidator) for part in info.metadata)
    if kind is str:
        return "NUMBER|SCHEDULE" if has_reader and not is_path else "TEXT"
    if kind is int:
        return "SIZE" if has_reader else "INTEGER"
    if get_origin(kind) is tuple:
        return "INTEGER,..."
    return "MOVE=SHARE,..." if get_origin(kind) is dict else "" if kind is bool else "NUMBER"


def default_text(name: str, default: object, method: str = "") -> str:
    """Return the default of an option, or of a part (OPTION.PART): by its rules, or the value that it is declared with."""
    base, _, part = name.partition(".")
    keys = [f"{method}.{name}", name, *([f"measure.{part}"] if part else [])]
    for key in keys:
        if key in DEFAULTS:
            return str(DEFAULTS[key])
    return "none" if default is None else shown(base, default)


class Part(NamedTuple):
    """A part of an option that is written as a text of several: its key there, its value, meaning, default and field in TOML files."""

    key: str
    value: str
    meaning: str
    default: str
    field: str = ""


def parts_of(entry: Option, method: str = "") -> Iterator[Part]:
    """Yield the parts of an option, as one of the methods reads it where they differ."""
    if entry.name == "retrain":
        for each in OPTIONS.values():
            if each.section == "retrain" and each.name.startswith("retrain_"):
                yield Part(
                    each.field,
                    placeholder(each),
                    str(each.info.description),
                    default_text(each.name, each.info.default),
                    each.field,
                )
        return
    yield from _modifiers(entry, method)
    info = entry.by_method.get(method, entry.info)
    for kind in kinds_of(info):
        if isinstance(kind, type) and issubclass(kind, TextOption):
            for field, part in kind.model_fields.items():
                if part.description:
                    key = kind.key_of(field)
                    text = default_text(f"{entry.name}.{key}", part.default, method)
                    yield Part(key, value_of(part), part.description, text)


def _modifiers(entry: Option, method: str = "") -> Iterator[Part]:
    """Yield the options that are written behind an option, as KEY=VALUE."""
    for key, name in modifiers_of(entry.name).items():
        each = OPTIONS[name]
        if each.methods and method and method not in each.methods:
            continue
        info = each.by_method.get(method, each.info)
        field = each.field if each.section == entry.section else f"[{each.section}] {each.field}"
        yield Part(key, _value(each), str(info.description), default_text(name, info.default, method), field)


def _value(entry: Option) -> str:
    return "yes|no" if entry.is_flag else value_of(entry.info)


def default_of(entry: Option, method: str = "", *, parts: bool = True) -> str:
    """Return the default of an option, with those of its `parts` where they are settled one by one."""
    info = entry.by_method.get(method, entry.info)
    text = default_text(entry.name, info.default, method)
    if parts and isinstance(info.default, TextOption) and not {f"{method}.{entry.name}", entry.name} & set(DEFAULTS):
        computed = [
            f"{part.key} {part.default}"
            for part in parts_of(entry, method)
            if {f"{entry.name}.{part.key}", f"measure.{part.key}"} & set(DEFAULTS)
        ]
        return "; ".join(filter(None, [text, *computed]))
    return text


def meaning(entry: Option) -> str:
    """Return the help of an option: what it means, and its default; method by method where they differ."""
    behind = "".join(
        f". {key}={_value(OPTIONS[name])}: {meaning(OPTIONS[name])}" for key, name in modifiers_of(entry.name).items()
    )
    if len({(info.description, str(info.default)) for info in entry.by_method.values()}) < 2:
        method = entry.methods[0] if entry.methods else ""
        return _with_default(str(entry.info.description), default_of(entry, method)) + behind
    texts = [
        f"{method}: {_with_default(str(info.description), default_of(entry, method))}"
        for method, info in entry.by_method.items()
    ]
    return ". ".join(texts) + behind


def _with_default(text: str, default: str) -> str:
    return f"{text} (default: {default})"


def short_meaning(name: str) -> str:
    """Return the help of an option on the first page: in a few words, with its default where that is short."""
    default = default_of(OPTIONS[name])
    return FIRST[name] + (f" (default: {default})" if len(default) <= LONGEST_DEFAULT and default != "none" else "")


def short_placeholder(entry: Option) -> str:
    """Return a short word for the value of an option: its choices and its form are in the text."""
    value = placeholder(entry)
    if value.startswith("{"):
        return "NAME"
    return value.split("|")[0].split("[")[0].replace("INTEGER", "N").replace("NUMBER", "X")


def group_title(entry: Option) -> str:
    """Return the group of the full help that an option stands in."""
    section = entry.section or "search"
    if section != "search" or len(entry.methods) != 1:
        return f"[{section}] {TITLES[section]}"
    return f"[search] --method {entry.methods[0]}"


def group_titles() -> list[str]:
    """Return the groups of the full help in their order."""
    titles: list[str] = []
    for section in SECTIONS:
        titles.append(f"[{section}] {TITLES[section]}")
        if section == "search":
            titles += [f"[search] --method {method}" for method in METHODS]
    return titles


def is_listed(entry: Option) -> bool:
    """Return whether the help lists an option on its own: the parts of --retrain and modifiers are explained under their option."""
    return not entry.name.startswith("retrain_") and entry.name not in MODIFIERS


def presets_text() -> str:
    """Say what the presets set."""
    parts = []
    for preset, options in PRESETS.items():
        if options:
            flags = " ".join(f"{OPTIONS[key].flag} {shown(key, value)}" for key, value in options.items())
            parts.append(f"--preset {preset}: {flags}.")
    return " ".join(parts)
