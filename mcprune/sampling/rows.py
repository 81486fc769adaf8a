"""Substitutes and good masks as plain lines and as rows of tables, for screens, reports and pages."""

from __future__ import annotations

import math

from mcprune.sampling.analysis.exchanges import Cost
from mcprune.sampling.analysis.good_masks import GoodMask, GoodMasks, MaskCount
from mcprune.sampling.analysis.substitutes import Group, Substitutes

SUBSTITUTE_HEADER = ["group", "site", "P(kept)", "cost in its place"]
GOOD_MASK_HEADER = ["mask", "loss", "sites that differ", "expected overlap", "sites"]
COUNT_HEADER = ["within", "share of the draws", "seen", "number of masks"]
# Groups in text, and names of sites in a row.
GROUPS, NAMES = 12, 12


def describe_substitutes(substitutes: Substitutes, most: int = GROUPS) -> list[str]:
    """Return one line a group, such as "a, or b at +0.0012 +- 0.0003, or c at ...", and a line on the test.

    Parameters
    ----------
    substitutes : Substitutes
    most : int
        Groups that are described.
    """
    lines = [_line(substitutes, group) for group in substitutes.groups[:most]]
    more = len(substitutes.groups) - most
    if more > 0:
        lines.append(f"... and {more:,} more group{'s' if more > 1 else ''}")
    return [*lines, _test(substitutes)]


def substitute_rows(substitutes: Substitutes) -> list[list[str]]:
    """Return a row a site of each group, under `SUBSTITUTE_HEADER`; the first of a group has no cost."""
    rows = []
    for number, group in enumerate(substitutes.groups, 1):
        for member in group.members:
            is_first = member is group.members[0]
            cost = "" if is_first else _cost(member.cost)
            rows.append(
                [
                    str(number) if is_first else "",
                    substitutes.names[member.site],
                    f"{member.probability:.3f}",
                    cost,
                ]
            )
        if group.any_other is not None:
            rows.append(["", "any other site", "", _cost(group.any_other)])
    return rows


def good_mask_rows(good: GoodMasks) -> list[list[str]]:
    """Return a row a mask, under `GOOD_MASK_HEADER`: the best ones that differ, the consensus, the central one."""
    rows = [_mask_row(str(number), one, good.names) for number, one in enumerate(good.best, 1)]
    return [
        *rows,
        _mask_row("consensus", good.consensus, good.names),
        _mask_row("central", good.central, good.names),
    ]


def count_rows(good: GoodMasks) -> list[list[str]]:
    """Return a row a distance from the best mask, under `COUNT_HEADER`."""
    return [[f"{one.eps:.4g}", f"{one.share:.1%}", f"{one.seen:,}", count_text(one)] for one in good.counts]


def describe_good_masks(good: GoodMasks) -> list[str]:
    """Return what the rows of `count_rows` and `good_mask_rows` say, in a few sentences."""
    lines = [
        f"{_count_sentence(one)} within {one.eps:.4g} of the lowest loss, {good.best[0].loss:.4f}."
        for one in good.counts[:1]
    ]
    lines.append(
        f"The {len(good.best)} best of the {good.distinct:,} different masks among {good.draws:,} draws, each "
        f"at least {good.apart} site{'s' if good.apart > 1 else ''} from the others."
        if len(good.best) > 1
        else f"All {good.draws:,} draws are within {good.apart} sites of one mask."
    )
    loss = "not known" if math.isnan(good.consensus.loss) else f"{good.consensus.loss:.4f}"
    lines.append(
        f"The sites of the highest P(kept) share {good.consensus.overlap:.0%} with a draw on average, and their loss is {loss}."
    )
    return lines


def count_text(count: MaskCount) -> str:
    """Return a number of masks with its error, or the number that was seen as a lower bound."""
    if math.isnan(count.number):
        return f"at least {count.seen:,}"
    if count.error < 0.5:
        return f"{count.number:,.0f}"
    digits = max(0, math.floor(math.log10(count.error)) - 1)
    unit = 10**digits
    return f"{round(count.number / unit) * unit:,.0f} +- {round(count.error / unit) * unit:,.0f}"


def _count_sentence(count: MaskCount) -> str:
    if math.isnan(count.number):
        return f"{count.seen:,} different masks were seen, few of them twice, so that there are many more,"
    return f"There are {count_text(count)} masks"


def _line(substitutes: Substitutes, group: Group) -> str:
    first, *others = group.members
    name = substitutes.names[first.site]
    choices = [f"or {substitutes.names[member.site]} at {_cost(member.cost)}" for member in others]
    line = ", ".join([name, *choices])
    return line if group.any_other is None else f"{line} (any other site: {_cost(group.any_other)})"


def _test(substitutes: Substitutes) -> str:
    tested, exchanged, total = substitutes.pairs_tested, substitutes.pairs_exchanged, substitutes.pairs_total
    if not tested + exchanged:
        return f"None of the {total:,} pairs of sites is kept often enough to be tested. More draws, or a higher temperature, would tell."
    share = f"{substitutes.ratio:.0%}"
    test = f"{tested:,} by how often they are kept together (less than {share} as often as independent sites)"
    if exchanged:
        test += f", {exchanged:,} by exchanges (at least {share} of the loss is made up for, and less than {share} beside the other)"
    rest = total - tested - exchanged
    return (
        f"{len(substitutes.pairs):,} of {tested + exchanged:,} tested pairs stand in for one another: {test}. "
        f"False-discovery rate {substitutes.rate:.0%}; {rest:,} pairs are kept too rarely to be tested."
    )


def _cost(cost: Cost) -> str:
    if not math.isfinite(cost.value):
        return "not known"
    return f"{cost.value:+.4f}" + (f" +- {cost.error:.4f}" if math.isfinite(cost.error) else "")


def _mask_row(label: str, mask: GoodMask, names: tuple[str, ...]) -> list[str]:
    kept = [names[site] for site in mask.sites]
    more = len(kept) - NAMES
    text = ", ".join(kept[:NAMES]) + (f" ... and {more:,} more" if more > 0 else "")
    loss = "-" if math.isnan(mask.loss) else f"{mask.loss:.4f}"
    return [label, loss, str(mask.differs), f"{mask.overlap:.2f}", text]
