"""docs/options.md, made from the one declaration of the options: `python -m mcprune.cli.options_page > docs/options.md`."""

from __future__ import annotations

from mcprune.cli.arguments import GROUPS, meaning, placeholder, presets_text
from mcprune.config.schema import RunConfig, option

HEAD = """\
# Every option

The options of `mcprune run`, of a TOML file (`_` in the place of `-`) and of `mcprune.prune(..., name=value)` are one declaration, and
this page is made from it by `python -m mcprune.cli.options_page > docs/options.md`. A value in the wrong range, an unknown name or an
option that the run could not use is refused. What is left open is settled from the data when the run starts; `config.toml` in the run's
folder has what it became.
"""


def page() -> str:
    """Return the page."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name, field in RunConfig.model_fields.items():
        extra = field.json_schema_extra
        group = str(extra["group"]) if isinstance(extra, dict) and "group" in extra else "run"
        text = meaning(name, field).replace("%%", "%")
        text, _, default = text.rpartition(" (default: ")
        cells = [
            f"`{option(name)}`",
            f"`{placeholder(field)}`" if field.annotation is not bool else "",
            text,
            default.removesuffix(")"),
        ]
        groups.setdefault(group, []).append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    parts = [HEAD]
    for title, rows in groups.items():
        if rows:
            parts.append(
                f"## {title}\n\n| option | value | meaning | default |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
            )
    parts.append("## Presets\n\n" + presets_text().replace("%%", "%") + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
