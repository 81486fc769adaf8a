"""What a source states, measured: a claim with its threshold and verdict, as a row of results.json, as text and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from mcprune.report.page import Page
from mcprune.report.terminal import Output
from mcprune.report.text import wrapped

Verdict = Literal["holds", "does not hold", "unclear"]
HOLDS: Verdict = "holds"
NOT: Verdict = "does not hold"
UNCLEAR: Verdict = "unclear"
COLOURS: dict[str, str] = {HOLDS: "holds", NOT: "not"}  # classes of report/templates/page.css


class ClaimRow(TypedDict):
    """A claim as results.json has it."""

    number: str
    claim: str
    says: str
    run: str
    measured: str
    threshold: str
    verdict: Verdict
    shown: list[str]
    span: list[int]


@dataclass(frozen=True)
class Claim:
    """A statement of a source against measurements.

    Attributes
    ----------
    number : str
        Such as 2a.
    title : str
        The statement in our words.
    quotation : str
        The statement in the source's words.
    setup : str
        What was run.
    measured : str
        What came of it.
    threshold : str
        When the statement holds, and when it does not.
    verdict : str
        "holds", "does not hold" or "unclear".
    shown : tuple of str
        Names of what its figure shows: runs or curves.
    span : tuple of int
        Least and largest value of the figure's horizontal axis; empty where the whole axis is shown.
    """

    number: str
    title: str
    quotation: str
    setup: str
    measured: str
    threshold: str
    verdict: Verdict
    shown: tuple[str, ...] = ()
    span: tuple[int, ...] = ()

    def row(self) -> ClaimRow:
        """Return the claim in JSON's types."""
        return {
            "number": self.number, "claim": self.title, "says": self.quotation, "run": self.setup, "measured": self.measured,
            "threshold": self.threshold, "verdict": self.verdict, "shown": list(self.shown), "span": list(self.span),
        }  # fmt: skip


def unanimous(flags: Sequence[bool]) -> Verdict:
    """Return the verdict of seeds or runs that each say yes or no: unclear where they disagree, or where there are none."""
    if not flags or (any(flags) and not all(flags)):
        return UNCLEAR
    return HOLDS if all(flags) else NOT


def summary(claims: Sequence[Claim], source: str) -> str:
    """Return in one sentence which claims agree with the source, such as "the slides say", and which do not."""
    return "; ".join(
        f"{title}: {', '.join(claim.number for claim in claims if claim.verdict == verdict) or 'none'}"
        for title, verdict in ((f"as {source}", HOLDS), (f"not as {source}", NOT), ("unclear here", UNCLEAR))
    )


def print_claims(rows: Sequence[ClaimRow], text: str, output: Output) -> None:
    """Write each claim with what was measured and the verdict, then the summary."""
    for row in rows:
        output.lines(["", f"{row['number']} {row['claim']}"])
        for title, part in (("run", row["run"]), ("measured", row["measured"]), ("threshold", row["threshold"])):
            output.lines(wrapped(f"{title}: {part}", output.width))
        output.lines([f"  verdict: {row['verdict']}"])
    output.lines(["", *wrapped(text, output.width, ""), ""])


def add_overview(page: Page, rows: Sequence[ClaimRow], title: str, failures: Mapping[str, str]) -> None:
    """Add the table of all claims to a page, and the failures below it."""
    page.table(["", title, "verdict"], [[row["number"], row["claim"], row["verdict"]] for row in rows], left=True)
    for name, message in failures.items():
        page.paragraph(f"failed: {name}: {message}", quiet=False)


def add_claim(page: Page, row: ClaimRow, source: str) -> None:
    """Add a claim with its verdict to a page; `source` is whose statement it is, such as "the slides"."""
    page.heading(f"{row['number']} {row['claim']}")
    pairs = [
        (source, row["says"]),
        ("run", row["run"]),
        ("measured", row["measured"]),
        ("threshold", row["threshold"]),
    ]
    page.entries(pairs, row["verdict"], COLOURS.get(row["verdict"], ""))
