"""What README and pages name exists: options, modules, names of Python, files, commands; and every page says what it is for."""

import contextlib
import io
import re
from importlib import import_module
from pathlib import Path

import pytest

from mcprune.cli.main import COMMANDS, main
from mcprune.config.options import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
IDS = [path.name for path in PAGES]
# Options of other programs: pip, torchrun, pytest, benchmarks, the installer of packages.
FOREIGN = {
    *(
        "--only-binary",
        "--nproc-per-node",
        "--max-restarts",
        "--dist",
        "--jets",
        "--atheris",
        "--env",
        "--limit",
        "--only",
        "--speed",
    ),
    *("--minutes", "--write", "--check", "--no-bar", "--record", "--strict", "--seconds"),
}


@pytest.fixture(scope="module")
def known_options():
    """Every option of every command, as the help prints them."""
    printed = io.StringIO()
    commands = [["run", "--help-all"]]
    commands += [
        [*(word for word in usage.split() if word.islower()), "--help"]
        for command in COMMANDS.values()
        for usage, _ in command.lines
    ]
    for words in commands:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main(words)
    flags = {entry.flag for entry in OPTIONS.values() if entry.flag}
    return flags | set(re.findall(r"--[a-z][a-z-]+", printed.getvalue()))


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_its_options_exist(path, known_options):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text()))
    assert sorted(named - known_options - FOREIGN) == []


def test_unknown_options_are_seen(known_options):
    """The control."""
    assert {"--keep", "--help-all", "--rank-timeout", "--vary"} <= known_options
    assert "--judge-on" not in known_options


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_its_modules_and_names_exist(path):
    """Dotted names of the package, in prose and in programs."""
    text = path.read_text()
    names = set(re.findall(r"\bmcprune(?:\.[a-zA-Z_]\w*)+", text))
    missing = [name for name in sorted(names) if not name.endswith((".git", ".json")) and not _exists(name)]
    assert missing == []
    for module, imported in re.findall(r"^from (mcprune[\w.]*) import ([\w, ]+)", text, re.MULTILINE):
        if module.endswith("lightning"):
            continue  # a package that the tests do not need
        assert all(hasattr(import_module(module), name.strip()) for name in imported.split(","))


# Names of metadata in exported files, which look like modules.
METADATA = {"mcprune.features", "mcprune.columns", "mcprune.labels"}


def _exists(name):
    if name in METADATA:
        return True
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if module.endswith("estimators.lightning"):
            return True
        try:
            value = import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_its_files_exist(path):
    """Paths of the repository in code marks: from the top, or from the package."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|json|md|cfg|toml))`", path.read_text())
    places = (ROOT, ROOT / "mcprune", DOCS)
    missing = [
        name for name in named if not name.startswith("runs/") and not any((place / name).exists() for place in places)
    ]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_its_commands_exist(path):
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL))
    assert set(re.findall(r"^mcprune ([a-z]+)", shell, re.MULTILINE)) <= set(COMMANDS)


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name != "README.md" and "decisions" not in path.parts], ids=str
)
def test_a_page_opens_with_what_the_reader_gets(path):
    head, opening = path.read_text().split("\n\n", 2)[:2]
    assert head.startswith("# ")
    assert opening.startswith(("You will ", "You find ")), opening
