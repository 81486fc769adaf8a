"""Substitutes: sites that stand in for one another, so that good masks keep one of them but hardly ever both.

A pair is a candidate where the law keeps both sites far less often than it would keep two sites that do not depend on each other
(`fixed_size`). "Far" is a ratio, 1/2 by default: with enough draws any two sites of a real problem differ from independence by a little,
and a test against exactly that would report them all.

The test. Of `size` effective draws a share P(both) keeps both sites. If the law kept them at least `ratio` times as often as the law
without interactions, a count so low has at most the probability p that a binomial count of `size` draws and probability
ratio * P(both, independent) is so low. The effective sample size is the lowest of three: of either site, and of both together. It counts
what chains remember, and what they differ in (Vehtari et al. 2021). That P of each site is an estimate only makes the test cautious: it
varies with the count, so that their difference varies less than the count.

The rate. Pairs that share sites depend on each other in both directions, so the procedure of Benjamini and Yekutieli, which holds under any
dependence, bounds the expected share of false pairs. It costs a factor of log(pairs), and p falls exponentially with the number of draws.
Only pairs that could pass are counted: those where not a single draw with both sites would be evidence, and, where exchanges can be
evaluated, evidence enough to pass alone among all pairs. P of single sites decides that, not
the count that is tested. Of other pairs, whose sites are kept too rarely, exchanges are evaluated (`exchange_test`); all p-values are one
family.

Groups. Standing in for is not transitive: c = a + b may stand in for a and for b, but a never for b. A group therefore needs every pair:
pairs are joined from the strongest on (complete linkage), unless a pair across the two parts is kept together significantly more often than
substitutes are. Pairs that are kept too rarely to tell do not keep parts from being joined, since two poor copies of a good site hardly
ever come up at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mcprune.errors import ConfigError
from mcprune.sampling.analysis.exchange_test import exchange_test
from mcprune.sampling.analysis.exchanges import Cost, Evaluate, cost_by_evaluation, cost_by_law, cost_of_any, site_sizes
from mcprune.sampling.analysis.fixed_size import independent_joint
from mcprune.sampling.diagnostics import site_effective_size
from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray, IntArray, JsonObject

# Expected share of false pairs; joint inclusion over that of independent sites below which a pair counts as substitutes.
RATE, RATIO = 0.1, 0.5
# Probability below which a pair is kept together too often for one group, if it were substitutes.
CONTRADICTION = 0.05
# Series of pairs whose effective sample size is computed at once.
PAIRS = 256
TINY = 1e-12


class Pair(NamedTuple):
    """Two sites that stand in for one another.

    Attributes
    ----------
    first, second : int
        Sites; the first is the more probable one.
    joint, independent : float
        P(both are kept), in the samples and without interactions.
    q_value : float
        The lowest false-discovery rate at which the pair is reported.
    """

    first: int
    second: int
    joint: float
    independent: float
    q_value: float


class Member(NamedTuple):
    """A site of a group.

    Attributes
    ----------
    site : int
    probability : float
        P(site is kept).
    cost : Cost
        Of keeping it in place of the first of its group; 0 of the first itself.
    """

    site: int
    probability: float
    cost: Cost


class Group(NamedTuple):
    """Sites of which good masks keep one, the most probable first.

    Attributes
    ----------
    members : tuple of Member
        Two or more.
    any_other : Cost or None
        Of a random dropped site in place of the first; None without an evaluator.
    """

    members: tuple[Member, ...]
    any_other: Cost | None

    @property
    def sites(self) -> tuple[int, ...]:
        """The sites, the most probable first."""
        return tuple(member.site for member in self.members)


@dataclass(frozen=True)
class Substitutes:
    """The substitutes among the sites of samples.

    Attributes
    ----------
    pairs : tuple of Pair
        By rising q-value, then by rising joint inclusion relative to that of independent sites.
    groups : tuple of Group
        No site is in two; by falling P(one of them is kept), then by site.
    pairs_tested, pairs_exchanged, pairs_total : int
        A pair is tested by the draws where its sites are kept often enough, else by exchanges where one of them is.
    rate, ratio : float
        As `find_substitutes` takes them.
    names : tuple of str
        Of all sites.
    """

    pairs: tuple[Pair, ...]
    groups: tuple[Group, ...]
    pairs_tested: int
    pairs_exchanged: int
    pairs_total: int
    rate: float
    ratio: float
    names: tuple[str, ...] = field(repr=False)

    def to_json(self) -> JsonObject:
        """Return it as a JSON object, with the names of the sites."""
        return {
            "rate": self.rate,
            "ratio": self.ratio,
            "pairs_tested": self.pairs_tested,
            "pairs_exchanged": self.pairs_exchanged,
            "pairs_total": self.pairs_total,
            "pairs": [
                {
                    "sites": [pair.first, pair.second],
                    "names": [self.names[pair.first], self.names[pair.second]],
                    "joint": pair.joint,
                    "independent": pair.independent,
                    "q_value": pair.q_value,
                }
                for pair in self.pairs
            ],
            "groups": [
                {
                    "sites": [
                        {
                            "site": member.site,
                            "name": self.names[member.site],
                            "probability": member.probability,
                            "cost": member.cost.value,
                            "cost_error": member.cost.error,
                        }
                        for member in group.members
                    ],
                    "cost_of_any_other": None if group.any_other is None else group.any_other.value,
                }
                for group in self.groups
            ],
        }


def find_substitutes(
    samples: Samples, *, rate: float = RATE, ratio: float = RATIO, evaluate: Evaluate | None = None
) -> Substitutes:
    """Return the sites that stand in for one another.

    Parameters
    ----------
    samples : Samples
    rate : float, between 0 and 1
        Bound on the expected share of reported pairs that the law keeps together at least `ratio` times as often as independent sites.
    ratio : float, above 0 and at most 1
    evaluate : callable, optional
        Losses (K,) of masks (K, N), by the judges and rows of the samples: costs are then those of exchanges in sampled masks. By default
        they follow from the samples alone.

    Raises
    ------
    ConfigError
        A rate or ratio out of range.
    """
    if not 0.0 < rate < 1.0:
        raise ConfigError(f"The false-discovery rate is {rate}. Choose a rate between 0 and 1, such as {RATE}.")
    if not 0.0 < ratio <= 1.0:
        raise ConfigError(f"The ratio is {ratio}. Choose a ratio above 0 and at most 1, such as {RATIO}.")
    tested, p_values, exchanged, more = _tested_pairs(samples, rate, ratio, evaluate)
    p_values = np.concatenate([p_values, more])
    every = np.concatenate([tested, exchanged])
    q_values = stats.false_discovery_control(p_values, method="by") if len(every) else p_values
    chosen = np.flatnonzero(q_values <= rate)
    counts = Counts.of(samples, np.unique(every[chosen]))
    pairs = [_pair(samples, counts, every[row], float(q_values[row])) for row in chosen]
    pairs.sort(key=lambda pair: (pair.q_value, pair.joint / max(pair.independent, TINY), pair.first, pair.second))
    groups = [_priced(samples, group, evaluate) for group in _grouped(pairs, counts, ratio)]
    groups.sort(key=lambda group: (-sum(member.probability for member in group.members), group.sites))
    total = samples.sites * (samples.sites - 1) // 2
    return Substitutes(tuple(pairs), tuple(groups), len(tested), len(exchanged), total, rate, ratio, samples.names)


def _tested_pairs(
    samples: Samples, rate: float, ratio: float, evaluate: Evaluate | None
) -> tuple[IntArray, FloatArray, IntArray, FloatArray]:
    """Return the pairs (P, 2) that are tested by counts, their p-values (P,), and those that are tested by exchanges with theirs.

    Where exchanges are evaluated, counts are left to pairs that would pass as the only ones among all: others hardly ever do.
    """
    if evaluate is not None:
        pairs = samples.sites * (samples.sites - 1) // 2
        alone = rate / (pairs * (1.0 / np.arange(1, pairs + 1)).sum()) if pairs else rate
        tested, p_values = _counted_pairs(samples, rate, ratio, alone)
        is_counted = np.zeros((samples.sites, samples.sites), bool)
        is_counted[tested[:, 0], tested[:, 1]] = is_counted[tested[:, 1], tested[:, 0]] = True
        exchanged, more = exchange_test(samples, is_counted, ratio, evaluate)
        if len(exchanged):
            return tested, p_values, exchanged, more
    tested, p_values = _counted_pairs(samples, rate, ratio, rate)
    return tested, p_values, np.empty((0, 2), np.int64), np.empty(0)


def _counted_pairs(samples: Samples, rate: float, ratio: float, lowest: float) -> tuple[IntArray, FloatArray]:
    """Return the pairs (P, 2) of sites whose p-value can be as low as `lowest`, and their p-values (P,)."""
    sites = np.flatnonzero((samples.probability > 0.0) & (samples.probability < 1.0))
    tested, p_values = _test(samples, Counts.of(samples, sites), rate, ratio, lowest)
    return sites[tested], p_values


def _pair(samples: Samples, counts: Counts, sites: IntArray, q_value: float) -> Pair:
    """Return a pair of sites, the more probable one first."""
    first, second = sorted(sites.tolist(), key=lambda site: (-samples.probability[site], site))
    one, other = np.searchsorted(counts.sites, (first, second))
    return Pair(first, second, float(counts.joint[one, other]), float(counts.independent[one, other]), q_value)


class Counts(NamedTuple):
    """How often the sites (S,) that some draws keep are kept together; matrices are (S, S).

    Attributes
    ----------
    sites : ndarray of int64
    joint, independent : ndarray of float64
        P(both), in the samples and without interactions.
    size : ndarray of float64
        Effective draws: the lower of the two sites'.
    """

    sites: IntArray
    joint: FloatArray
    independent: FloatArray
    size: FloatArray

    @classmethod
    def of(cls, samples: Samples, sites: IntArray) -> Counts:
        """Count pairs of the sites."""
        masks = samples.flat_masks[:, sites].astype(np.float32)
        joint = (masks.T @ masks).astype(np.float64) / len(masks)  # counts below 2^24 are exact
        sizes = site_sizes(samples)[sites]
        return cls(sites, joint, independent_joint(samples.probability, sites), np.minimum(sizes[:, None], sizes))


def _test(
    samples: Samples, counts: Counts, rate: float, ratio: float, lowest: float | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the pairs (P, 2) that are tested, as places in `counts.sites`, and their p-values (P,)."""
    most = ratio * counts.independent
    can_pass = np.triu(counts.size * np.log1p(-np.minimum(most, 1.0 - 1e-12)) <= np.log(lowest or rate), k=1)
    tested = np.argwhere(can_pass)
    at = tuple(tested.T)
    joint, most, size = counts.joint[at], most[at], counts.size[at].copy()
    p_values = _at_most(joint * size, size, most)
    # Fewer effective draws make a low count less surprising: a pair that has not passed need not be looked at again.
    again = np.flatnonzero((p_values <= rate) & (joint > 0.0))
    for start in range(0, again.size, PAIRS):
        part = again[start : start + PAIRS]
        both = counts.sites[tested[part]]
        own = site_effective_size(samples.masks[:, :, both[:, 0]] & samples.masks[:, :, both[:, 1]])
        size[part] = np.minimum(size[part], np.maximum(np.nan_to_num(own, nan=1.0), 1.0))
    p_values[again] = _at_most(joint[again] * size[again], size[again], most[again])
    return tested, p_values


def _at_most(count: FloatArray, size: FloatArray, probability: FloatArray) -> FloatArray:
    """Return P(binomial <= count), continued to real counts and sizes."""
    rest = np.maximum(size - count, 1e-9)
    return np.asarray(special.betainc(rest, count + 1.0, 1.0 - np.minimum(probability, 1.0)), np.float64)


def _at_least(count: FloatArray, size: FloatArray, probability: FloatArray) -> FloatArray:
    """Return P(binomial >= count), continued to real counts and sizes; 1 for a count of 0."""
    above = special.betainc(np.maximum(count, 1e-9), np.maximum(size - count, 0.0) + 1.0, np.minimum(probability, 1.0))
    return np.where(count > 0.0, above, 1.0)


def _grouped(pairs: list[Pair], counts: Counts, ratio: float) -> list[tuple[int, ...]]:
    """Return groups of sites by complete linkage over the pairs in their order."""
    excess = _at_least(counts.joint * counts.size, counts.size, ratio * counts.independent)
    contradicts: BoolArray = excess <= CONTRADICTION
    place = {int(site): row for row, site in enumerate(counts.sites)}
    group_of: dict[int, set[int]] = {}
    for pair in pairs:
        one = group_of.get(pair.first, {pair.first})
        other = group_of.get(pair.second, {pair.second})
        if one is other:
            continue
        rows, columns = [place[site] for site in one], [place[site] for site in other]
        if contradicts[np.ix_(rows, columns)].any():
            continue
        joined = one | other
        group_of.update(dict.fromkeys(joined, joined))
    unique = {id(group): group for group in group_of.values()}
    return [tuple(sorted(group)) for group in unique.values()]


def _priced(samples: Samples, sites: tuple[int, ...], evaluate: Evaluate | None) -> Group:
    """Return the group with what each of its sites costs in place of the most probable one."""
    order = sorted(sites, key=lambda site: (-samples.probability[site], site))
    first = order[0]

    def cost(site: int) -> Cost:
        if site == first:
            return Cost(0.0, 0.0)
        exact = None if evaluate is None else cost_by_evaluation(samples, first, site, evaluate)
        return cost_by_law(samples, first, site) if exact is None else exact

    members = tuple(Member(site, float(samples.probability[site]), cost(site)) for site in order)
    return Group(members, None if evaluate is None else cost_of_any(samples, first, evaluate))
