"""TOML files of options: the run's config.toml and --config."""

from __future__ import annotations

import tomllib
from pathlib import Path

import tomli_w

from mcprune.config.options import in_flat
from mcprune.config.schema import Config
from mcprune.config.unused import unused_options
from mcprune.errors import ConfigError, FolderError


def read_options(path: str | Path) -> dict[str, object]:
    """Return the options of a TOML file by flat name; names are checked, values not yet.

    Raises
    ------
    ConfigError
        A file that is missing or not TOML, or a key that is no option of its section.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"the configuration {str(path)!r} cannot be read: {error.strerror}. Give --config a TOML file."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration {str(path)!r} is not TOML: {error}; correct that place") from None
    try:
        return in_flat(content)
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r} has {error}") from None


def recorded_options(config: Config) -> dict[str, dict[str, object]]:
    """Return the options that a record of the run holds, in sections and in the types of TOML: those set, which the run reads."""
    left_out = unused_options(config)
    sections: dict[str, dict[str, object]] = {}
    for name, section in config.sections().items():
        values = {
            field.rstrip("_"): list(value) if isinstance(value, tuple) else value
            for field, value in section.model_dump().items()
            if value is not None and (name, field) not in left_out
        }
        if values:
            sections[name] = values
    return sections


def write_config(config: Config, path: Path) -> None:
    """Write the configuration as TOML; what is None is left out, since TOML has no null, and what the run cannot use."""
    try:
        path.write_text(tomli_w.dumps(recorded_options(config)), encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{str(path)!r} cannot be written: {error.strerror}; choose another --out") from None
