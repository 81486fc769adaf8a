"""What mkdocs needs to build docs/ as it stands in the repository: two pages that are made here, and links that leave docs/."""

import contextlib
import io
import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]


def on_files(files, config):
    """Add the page of the command line, made from the parsers, and that of CONTRIBUTING.md."""
    for name, content in (("command-line.md", command_line()), ("contributing.md", contributing())):
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to files outside of docs/ work in the repository; in the site their text and place stand for them."""
    return re.sub(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#]*)\)", _named, markdown)


def command_line():
    """Return the page of all commands: what each prints under --help."""
    from mcprune.cli.main import COMMANDS

    parts = [
        "# Command line\n\nYou will find every command with its options, as `--help` prints them. "
        "The options of `mcprune run` are explained one by one on [Options](options.md).\n"
    ]
    for command in COMMANDS.values():
        for usage, meaning in command.lines:
            words = [word for word in usage.split() if word.islower()]
            parts.append(f"## mcprune {' '.join(words)}\n\n{meaning[0].upper()}{meaning[1:]}.\n\n```text\n{help_of(words)}```\n")
    return "\n".join(parts)


def help_of(words):
    """Return what `mcprune WORDS --help` prints, 80 characters wide."""
    from mcprune.cli.main import main

    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return printed.getvalue()


def contributing():
    """Return CONTRIBUTING.md, with its links as seen from docs/."""
    return re.sub(r"\]\(docs/", "](", (ROOT / "CONTRIBUTING.md").read_text()).replace("](decisions)", "](decisions/001-engine-without-torch.md)")


def _named(match):
    text, target = match[1], match[2]
    if re.fullmatch(r"\.\./([^/]+\.md)", target) and not re.match(r"\.\./(README|CHANGELOG|CONTRIBUTING)", target):
        return match[0]  # from a decision to a page of docs/
    place = re.sub(r"^(\.\./)+", "", target)
    return text if place.split("/")[-1] in text else f"{text} (`{place}`)"
