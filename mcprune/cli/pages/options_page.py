"""docs/options.md, made from the one declaration of the options: `python -m mcprune.cli.pages.options_page > docs/options.md`."""

from __future__ import annotations

from mcprune.cli.help import default_of, is_listed, parts_of, presets_text, value_of
from mcprune.config.options import METHODS, OPTIONS, SECTIONS, Option

HEAD = """\
# Every option

You will find every option with its key in TOML files, its values, meaning and default.

The options of `mcprune run`, of a TOML file and of `mcprune.prune(..., name=value)` are one declaration, from which this page is generated:
`python -m mcprune.cli.pages.options_page > docs/options.md`. A value out of range, an unknown name, or an option that the run could not use
is refused. Defaults that depend on the data are resolved when the run starts; `config.toml` in the run's folder has the resolved values.

A TOML file has the sections below, with the names of the column *key*:

    [problem]
    keep = 16
    [search]
    temperature = "geometric:3e-3:3e-4"
    keep_schedule = "geometric:0.3,regrow=40"

An option with several parts is written as one text, `HEAD[:PART],KEY=VALUE,...`, or in Python as a mapping of its parts. Rows that
begin with a dot are parts of the option above them. A part with a key can also be given on its own, with underscores as dashes: `width`
as `--width .25`."""
COLUMNS = "| option | key | value | meaning | default |\n|---|---|---|---|---|\n"


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for section in SECTIONS:
        options = [entry for entry in OPTIONS.values() if (entry.section or "search") == section and is_listed(entry)]
        common = [entry for entry in options if not entry.methods]
        parts.append(f"## [{section}]\n\n{COLUMNS}" + "".join(line for entry in common for line in _rows(entry)))
        for method in METHODS if section == "search" else ():
            own = [entry for entry in options if method in entry.methods]
            title = f"### --method {method}\n\n"
            parts.append(title + COLUMNS + "".join(line for entry in own for line in _rows(entry, method)))
    parts.append("## Presets\n\n" + presets_text() + "\n")
    return "\n".join(parts)


def _rows(entry: Option, method: str = "") -> list[str]:
    info = entry.by_method.get(method, entry.info)
    key = f"`{entry.field.rstrip('_')}`" if entry.field else ""
    value = "" if entry.is_flag else _code(value_of(info, is_path=entry.name in ("data", "out")))
    rows = [_row(f"`{entry.flag}`", key, value, str(info.description), default_of(entry, method, parts=False))]
    for part in parts_of(entry, method):
        spelled = f"`{part.field}`" if part.field else ""
        rows.append(_row(f". `{part.key}`", spelled, _code(part.value), part.meaning, part.default))
    return rows


def _code(text: str) -> str:
    """Return text as code: no reader of Markdown agrees with another on a bar inside of backticks in a table."""
    if not text:
        return ""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    print(page(), end="")
