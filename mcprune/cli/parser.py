"""A parser whose errors are one line with the nearest right name; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import TYPE_CHECKING, Any, NoReturn

from mcprune.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

MODEL_HELP = (
    "the whole model of a run whose classifier is of your own class, as it was before the run: a class, a function or a module of a file, "
    "which is run (default: none is needed)"
)
Group = argparse._ArgumentGroup | argparse.ArgumentParser


def nearest(name: str, names: list[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of the names, or nothing."""
    # Without their dashes: these would make every option resemble --help.
    plain = {other.lstrip("-"): other for other in names}
    matches = difflib.get_close_matches(name.lstrip("-"), list(plain), n=1)
    return f"; did you mean {plain[matches[0]]!r}?" if matches else ""


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, its errors raised instead of printed with a dump of the usage.

    Notes
    -----
    A value may start with a dash: `--delta -inf` reaches delta's own check, which says what is wrong with it;
    argparse alone would take it for an option.
    """

    def __init__(self, prog: str, description: str, *, stray: str = "", **more: Any) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, **more)
        self._stray = stray  # added to the error on an argument without an option
        self._takes_value: set[str] = set()
        self._names: list[str] = ["-h", "--help"]

    def option(self, *names: str, group: Group | None = None, **more: Any) -> None:
        """Add an option, to a group of the help if one is given."""
        action = (group or self).add_argument(*names, **more)
        self._names += action.option_strings
        if action.nargs != 0:
            self._takes_value.update(action.option_strings)

    def read(self, arguments: list[str]) -> argparse.Namespace:
        """Return the parsed arguments.

        Raises
        ------
        ConfigError
            An unknown option (with the nearest right one), a missing value, an argument too many, an empty `--out`.
        """
        namespace, left = self.parse_known_args(self._joined(arguments))
        if not left:
            if isinstance(out := getattr(namespace, "out", None), str) and not out.strip():
                raise ConfigError("--out is empty. Name where to write.")
            return namespace
        for text in left:
            if text.startswith("-") and text not in ("-", "--"):
                name = text.split("=", 1)[0]
                self.error(f"there is no option {name!r}{nearest(name, self._names)}")
        self.error(f"there is an argument too many: {left[0]!r}{self._stray}")

    def error(self, message: str) -> NoReturn:
        """Raise the message as a ConfigError that points to the help."""
        text = message.removeprefix("argument ")
        stop = "" if text.endswith(("?", ".")) else "."
        raise ConfigError(f"{text}{stop} See {self.prog} --help")

    def _joined(self, arguments: list[str]) -> list[str]:
        joined: list[str] = []
        for text in arguments:
            if joined and joined[-1] in self._takes_value and re.match("-[^-]", text) and text not in self._names:
                joined[-1] += "=" + text
            else:
                joined.append(text)
        return joined


def own_model(text: str | None) -> nn.Module | None:
    """Return the model that FILE.py:NAME gives, None for None; its numbers do not matter.

    Raises
    ------
    ConfigError
        Another form.
    ModelError
        A file that gives no model.
    """
    if text is None:
        return None
    from mcprune.config.parsing import is_model_file
    from mcprune.models.own_file import model_of_file

    if not is_model_file(text):
        raise ConfigError(f"--model {text!r} is no FILE.py:NAME. Name the file and the class, such as net.py:Net.")
    return model_of_file(text, 0)
