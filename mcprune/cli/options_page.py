"""docs/options.md, made from the one declaration of the options: `python -m mcprune.cli.options_page > docs/options.md`."""

from __future__ import annotations

from mcprune.cli.arguments import meaning, placeholder, presets_text
from mcprune.config.options import OPTIONS, SECTIONS

HEAD = """\
# Every option

The options of `mcprune run`, of a TOML file and of `mcprune.prune(..., name=value)` are one declaration, and this page is made from it by
`python -m mcprune.cli.options_page > docs/options.md`. A value out of range, an unknown name, or an option that the run could not use is
refused. What is left open is settled from the data when the run starts; `config.toml` in the run's folder has the settled values.

A TOML file has the sections below, with the names of the column *key*:

    [problem]
    keep = 16
    [search]
    temperature = "geometric:3e-3:3e-4"
"""


def page() -> str:
    """Return the page."""
    groups: dict[str, list[str]] = {title: [] for title in SECTIONS}
    for entry in OPTIONS.values():
        text = meaning(entry).replace("%%", "%")
        text, _, default = text.rpartition(" (default: ")
        cells = [
            f"`{entry.flag}`",
            f"`{entry.field.rstrip('_')}`" if entry.section else "",
            "" if entry.is_flag else f"`{placeholder(entry)}`",
            text,
            default.removesuffix(")"),
        ]
        groups[entry.section or "search"].append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    parts = [HEAD]
    for title, rows in groups.items():
        if rows:
            parts.append(
                f"## [{title}]\n\n| option | key | value | meaning | default |\n|---|---|---|---|---|\n"
                + "\n".join(rows)
                + "\n"
            )
    parts.append("## Presets\n\n" + presets_text().replace("%%", "%") + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
