from __future__ import annotations

import json

import numpy as np
import pytest
from mask_laws import all_masks, samples_of

from mcprune.errors import ConfigError
from mcprune.sampling.analysis import substitutes
from mcprune.sampling.analysis.substitutes import find_substitutes
from mcprune.sampling.rows import describe_substitutes, substitute_rows
from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray

TRIPLES = np.repeat(np.arange(3), 3)  # of nine sites


def triple_loss(masks: BoolArray) -> FloatArray:
    """A mask loses 4 for each triple of which it keeps none; the second and third of a triple are worse by 0.5 and 1."""
    missing = sum((~masks[:, triple == TRIPLES].any(axis=1)).astype(float) for triple in range(3))
    return 4.0 * missing + masks @ np.tile([0.0, 0.5, 1.0], 3)


def additive(rng: np.random.Generator, sites: int = 12, keep: int = 4) -> tuple[BoolArray, FloatArray]:
    masks = all_masks(sites, keep)
    return masks, masks @ rng.normal(size=sites)


def test_copies_come_out_as_the_groups_that_they_are() -> None:
    masks = all_masks(9, 3)
    found = find_substitutes(samples_of(masks, triple_loss(masks), temperature=0.8))
    assert [group.sites for group in found.groups] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)] or {
        group.sites for group in found.groups
    } == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}
    assert {tuple(sorted(pair[:2])) for pair in found.pairs} == {
        (a, b) for a in range(9) for b in range(a + 1, 9) if TRIPLES[a] == TRIPLES[b]
    }
    assert all(pair.q_value <= found.rate and pair.joint < 0.5 * pair.independent for pair in found.pairs)


def test_what_a_substitute_costs() -> None:
    masks = all_masks(9, 3)
    samples = samples_of(masks, triple_loss(masks), temperature=0.8, draws=4000)
    by_law = find_substitutes(samples).groups[0]
    by_evaluation = find_substitutes(samples, evaluate=triple_loss).groups[0]
    for group in (by_law, by_evaluation):
        assert group.members[0].cost.value == 0.0
        for member, cost in zip(group.members[1:], (0.5, 1.0), strict=True):
            assert member.cost.value == pytest.approx(cost, abs=3 * member.cost.error + 1e-9)
    assert by_law.members[1].cost.error > 0.0
    assert by_evaluation.any_other is not None
    assert by_evaluation.any_other.value > 2.0
    assert by_law.any_other is None


def test_independent_sites_give_no_pairs_beyond_the_rate() -> None:
    reported = 0
    for seed in range(40):
        masks, losses = additive(np.random.default_rng(seed))
        samples = samples_of(masks, losses, draws=500, seed=seed)
        # The hardest case of the hypothesis: exactly as often as independent sites.
        found = find_substitutes(samples, ratio=1.0)
        assert found.pairs_tested > 20
        reported += bool(found.pairs)
    assert reported <= 0.1 * 40


def test_the_probabilities_of_the_test_are_those_that_it_states() -> None:
    low = tested = 0
    for seed in range(40):
        masks, losses = additive(np.random.default_rng(100 + seed), 10, 3)
        samples = samples_of(masks, losses, draws=500, seed=seed)
        sites = np.arange(samples.sites)
        _, p_values = substitutes._test(samples, substitutes.Counts.of(samples, sites), 0.05, 1.0)
        low += int((p_values <= 0.05).sum())
        tested += p_values.size
    assert tested > 1000
    assert low / tested <= 0.05


def test_draws_that_resemble_their_neighbours_count_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def reported() -> int:
        count = 0
        for seed in range(10):
            masks, losses = additive(np.random.default_rng(seed))
            slow = samples_of(masks, losses, draws=2000, repeats=50, seed=seed)
            count += bool(find_substitutes(slow, ratio=1.0).pairs)
        return count

    assert reported() <= 1
    # Control: the same test with all draws taken as independent reports pairs that are none.
    monkeypatch.setattr(substitutes, "site_sizes", lambda samples: np.full(samples.sites, float(samples.losses.size)))
    monkeypatch.setattr(
        substitutes, "site_effective_size", lambda masks: np.full(masks.shape[2], float(masks[..., 0].size))
    )
    assert reported() >= 8


def test_the_number_of_kept_sites_is_no_interaction() -> None:
    # Of 3 sites any 1 is kept: no two are ever kept together, and no law of one kept site could keep two.
    masks = all_masks(3, 1)
    assert not find_substitutes(samples_of(masks, np.zeros(3))).pairs
    # Of 12 sites any 2: the product of the two P would be nearly twice the truth, so a test against it would pass at a ratio near 1.
    masks = all_masks(4, 2)
    samples = samples_of(masks, np.zeros(6), draws=5000)
    found = find_substitutes(samples, ratio=0.9)
    assert found.pairs_tested == 6
    assert not found.pairs
    counts = substitutes.Counts.of(samples, np.arange(4))
    of_products = counts._replace(independent=np.outer(samples.probability, samples.probability))
    assert (substitutes._test(samples, of_products, 0.1, 0.9)[1] < 1e-6).all()


def test_standing_in_for_is_not_transitive() -> None:
    # c is a and b in one: masks keep a and b, or c and one of no use. So c stands in for a and for b, and a never for b.
    masks = all_masks(6, 2)
    a, b, c = masks[:, 0], masks[:, 1], masks[:, 2]
    found = find_substitutes(samples_of(masks, 5.0 - 5.0 * ((a & b) | (c & ~a & ~b)).astype(float)))
    pairs = {tuple(sorted(pair[:2])) for pair in found.pairs}
    assert {(0, 2), (1, 2)} <= pairs
    assert (0, 1) not in pairs
    assert not any({0, 1} <= set(group.sites) for group in found.groups)
    assert any(2 in group.sites for group in found.groups)


def test_poor_copies_are_in_the_group_though_they_never_meet() -> None:
    masks = all_masks(9, 3)
    losses = 4.0 * (triple_loss(masks) // 4.0) + masks @ np.tile([0.0, 2.2, 2.2], 3)
    samples = samples_of(masks, losses, temperature=0.8, draws=400)
    found = find_substitutes(samples)
    assert (1, 2) not in {tuple(sorted(pair[:2])) for pair in found.pairs}
    assert {tuple(sorted(group.sites)) for group in found.groups} == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}


def test_chains_that_stand_still_prove_nothing() -> None:
    masks = np.zeros((4, 500, 6), bool)
    for chain, kept in enumerate(([0, 1], [2, 3], [0, 2], [1, 3])):
        masks[chain][:, kept] = True
    samples = Samples(masks, np.zeros((4, 500)), 1.0, 1.0, tuple("abcdef"))
    found = find_substitutes(samples)
    assert not found.pairs
    assert "None of the 15 pairs" in describe_substitutes(found)[-1]


def test_lines_rows_and_json() -> None:
    masks = all_masks(9, 3)
    samples = samples_of(masks, triple_loss(masks), temperature=0.8)
    found = find_substitutes(samples, evaluate=triple_loss)
    lines = describe_substitutes(found)
    assert len(lines) == 4
    assert "a, or b at +0.5000 +- 0.0000, or c at +1.0000 +- 0.0000 (any other site: +" in "\n".join(lines)
    assert "9 of 36 tested pairs stand in for one another" in lines[-1]
    assert "36 by how often they are kept together (less than 50% as often as independent sites)" in lines[-1]
    assert describe_substitutes(found, most=1)[1] == "... and 2 more groups"
    rows = substitute_rows(found)
    assert [row[0] for row in rows].count("") == len(rows) - 3
    assert len(rows) == 12
    content = json.loads(json.dumps(found.to_json()))
    assert len(content["groups"]) == 3
    assert {site["name"] for group in content["groups"] for site in group["sites"]} == set("abcdefghi")


def test_copies_that_the_law_never_draws_are_found_by_exchanges() -> None:
    # At so low a temperature the first of each triple is always kept: the draws say nothing of the others.
    masks = all_masks(9, 3)
    samples = samples_of(masks, triple_loss(masks), temperature=0.02)
    assert set(samples.probability) == {0.0, 1.0}
    assert not find_substitutes(samples).pairs
    found = find_substitutes(samples, evaluate=any_triple_loss)
    assert {tuple(sorted(group.sites)) for group in found.groups} == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}
    assert found.pairs_exchanged == 3 * 6 + 3
    assert [round(member.cost.value, 9) for member in found.groups[0].members] == [0.0, 0.5, 1.0]
    assert "by exchanges" in describe_substitutes(found)[-1]


def test_copies_of_which_there_are_too_few_draws_are_found_by_exchanges() -> None:
    # So many draws could be evidence by themselves, but not enough among all pairs.
    masks = all_masks(9, 3)
    samples = samples_of(masks, any_triple_loss(masks), temperature=0.3, draws=20)
    assert not find_substitutes(samples).groups
    found = find_substitutes(samples, evaluate=any_triple_loss)
    assert {tuple(sorted(group.sites)) for group in found.groups} == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}


def any_triple_loss(masks: BoolArray) -> FloatArray:
    """As `triple_loss`, but a second site of a triple adds nothing."""
    parts = [masks[:, 3 * triple : 3 * triple + 3] for triple in range(3)]
    best = [np.where(part.any(axis=1), 0.5 * part.argmax(axis=1), 4.0) for part in parts]
    return np.sum(best, axis=0)


def test_good_sites_that_are_not_kept_are_no_substitutes() -> None:
    # Ten sites of nearly one worth, of which a mask keeps four: exchanges cost little, but each site is worth as much beside the others.
    worth = np.linspace(1.0, 0.7, 10)

    def loss(masks: BoolArray) -> FloatArray:
        return np.exp(-0.1 * masks @ worth)  # some saturation

    masks = all_masks(10, 4)
    samples = samples_of(masks, loss(masks), temperature=0.0005)
    assert (samples.probability == 0.0).any()
    found = find_substitutes(samples, evaluate=loss)
    assert found.pairs_exchanged > 10
    assert not found.pairs


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"rate": 1.0}, {"ratio": 0.0}, {"ratio": 1.5}])
def test_numbers_out_of_range(options: dict[str, float]) -> None:
    masks = all_masks(4, 2)
    with pytest.raises(ConfigError, match=r"Choose a rat\w+ "):
        find_substitutes(samples_of(masks, np.zeros(6)), **options)
