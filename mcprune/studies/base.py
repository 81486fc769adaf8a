"""The base of every study: pieces that are kept once they are finished, results.json with the machine beside the figures, a page."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TextIO

from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.report.terminal import Output, choose, write
from mcprune.session.interrupt import deferred_signals
from mcprune.storage.events import plain
from mcprune.storage.layout import check_free, check_writable, read_json
from mcprune.studies.claims import Claim, print_claims, summary
from mcprune.types import JsonObject

RESULTS, PAGE = "results.json", "page.html"
Results = JsonObject  # the content of results.json
Options = JsonObject  # of a run, as make_config takes them, or of a part


class Outcome(NamedTuple):
    """What became of a piece of a study: finished now, kept from an earlier command, or failed with a message."""

    name: str
    status: Literal["new", "kept", "failed"]
    message: str = ""


class Study(ABC):
    """A study below one folder. The same command again continues it.

    Attributes
    ----------
    root : Path
        The folder.
    threads : int, str or None
        As the user gave them; None for the default.
    """

    root: Path
    threads: int | str | None = None

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of pieces."""

    @abstractmethod
    def run(self) -> Iterator[Outcome]:
        """Run what is not finished, in order.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C. Finished pieces stay.
        """

    @abstractmethod
    def describe(self, name: str) -> str:
        """Return the figures of a finished piece in one line."""

    @abstractmethod
    def failures(self) -> dict[str, str]:
        """Return the message of each piece that failed when it was last tried."""

    @abstractmethod
    def results(self) -> Results:
        """Return the setting and the figures of all that is finished, in JSON's types."""

    @abstractmethod
    def report(self, results: Results, output: Output) -> None:
        """Write the tables or the claims."""

    @abstractmethod
    def write_page(self, path: Path, results: Results) -> None:
        """Write the page; nothing where there is no figure to show."""

    def write_results(self) -> Results:
        """Write results.json and return its content."""
        results = self.results()
        results |= {"machine": {**machine(self.threads), **results.get("machine", {})}, "failures": self.failures()}
        write_json(self.root / RESULTS, results)
        return results

    def conduct(self, *, quiet: bool, stdout: TextIO, stderr: TextIO) -> int:
        """Run all pieces, write a line for each, then results.json and the page, also where Ctrl-C ends it early.

        Returns
        -------
        int
            The exit code: 0, or 1 if a piece failed.
        """
        is_complete = False
        try:
            for number, outcome in enumerate(self.run(), 1):
                if not quiet:
                    write(stdout, f"[{number}/{self.size}] {outcome.name}: {self._outcome_text(outcome)}\n")
            is_complete = True
        finally:
            results = self.write_results()
            if is_complete and not quiet:
                self.report(results, choose(stdout))
            self.write_page(self.root / PAGE, results)
        failures = self.failures()
        for name, message in failures.items():
            write(stderr, f"mcprune: failed: {name}: {message}\n")
        if failures:
            write(stderr, "mcprune: the others are finished. The same command tries the failed ones again\n")
        write(stdout, f"{self.root / PAGE}\n")
        return 1 if failures else 0

    def _outcome_text(self, outcome: Outcome) -> str:
        if outcome.status == "failed":
            return f"failed: {outcome.message}"
        return self.describe(outcome.name) + (", finished before" if outcome.status == "kept" else "")


class ClaimStudy(Study):
    """A study of what a source states: claims with verdicts."""

    source: ClassVar[str]  # its title
    source_says: ClassVar[str]  # such as "the slides say"

    @abstractmethod
    def claims(self) -> list[Claim]:
        """Return every claim; its verdict is unclear where runs are missing."""

    def results(self) -> Results:
        """See `Study.results`."""
        claims = self.claims()
        return {
            "source": self.source,
            "rows": [claim.row() for claim in claims],
            "summary": summary(claims, self.source_says),
        }

    def report(self, results: Results, output: Output) -> None:
        """See `Study.report`."""
        print_claims(results["rows"], results["summary"], output)


def machine(threads: int | str | None) -> dict[str, int | str | None]:
    """Return what figures depend on besides the options: cores, threads as the user gave them, versions."""
    from mcprune.environment import cores, versions

    return {"cores": cores(), "threads": threads, **versions()}


def study_folder(out: str | None, default: str) -> Path:
    """Return the folder of a study: `out`, or the default where there is none.

    Raises
    ------
    ConfigError
        An empty name.
    FolderError
        It cannot be written.
    """
    if out is not None and not out.strip():
        raise ConfigError(f"--out is empty. Name a folder, or leave it out for {default}")
    root = Path(default if out is None else out)
    check_writable(root)
    return root


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in one step: beside it, then renamed.

    Raises
    ------
    FolderError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        with deferred_signals():
            beside.write_text(json.dumps(plain(dict(content)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            beside.replace(path)
    except OSError as error:
        raise FolderError(
            f"{str(path)!r} cannot be written: {error.strerror or error}. Make room, or choose another --out"
        ) from None


def read_index(root: Path, name: str, kind: str) -> Results | None:
    """Return the file that says what a study's folder is for; None where the folder is new.

    Raises
    ------
    FolderError
        The folder holds something else.
    """
    if not (root / name).exists():
        check_free(root, force=False)
        return None
    index = read_json(root, name)
    if index.get("kind") != kind:
        raise FolderError(
            f"the folder {str(root)!r} belongs to {str(index.get('kind'))!r}, not to {kind!r}. Choose another --out"
        )
    return index


def error_text(error: Exception) -> str:
    """Return the message of a failure; a fault of the program is named by its type as well."""
    return str(error) if isinstance(error, McpruneError) else f"{type(error).__name__}: {error}"


def interrupted(root: Path) -> KeyboardInterrupt:
    """Return the interrupt that says what stays."""
    return KeyboardInterrupt(f"; finished runs stay in {root}, and the same command continues with the others")


def changed_options(root: Path, name: str, old: Mapping[str, object], new: Mapping[str, object]) -> ConfigError:
    """Return the error for a finished piece whose options were others."""
    option = next(key for key in {**old, **new} if old.get(key) != new.get(key))
    return ConfigError(
        f"{str(root)!r} holds {name!r} with {option} = {old.get(option, 'its default')}, not {new.get(option, 'its default')}. "
        "Choose another --out, or replace such runs with --force"
    )
