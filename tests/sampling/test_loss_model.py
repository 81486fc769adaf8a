"""The model of the loss: what it learns of known laws, and how walks are fitted to what it knows."""

import numpy as np
import pytest
from mask_laws import all_masks

from mcprune.sampling.walks.loss_model import MOST_ROWS, CandidateLog, LossModel, _terms


def pair_law(sites, seed=0):
    draw = np.random.default_rng(seed)
    items, pairs = draw.normal(size=sites), draw.normal(0.0, 0.3, (sites, sites))
    pairs = np.triu(pairs, 1) + np.triu(pairs, 1).T
    return lambda masks: masks @ items + 0.5 * np.einsum("ki,ij,kj->k", masks, pairs, masks)


def log_of(masks, loss, rows, seed=1):
    draw = np.random.default_rng(seed)
    log = CandidateLog(2)
    before, after = draw.integers(0, len(masks), (2, rows))
    changes = loss(masks[after]) - loss(masks[before])
    for place, (one, other, change) in enumerate(zip(masks[before], masks[after], changes, strict=True)):
        log.rows[place % 2].append((one, other, float(change)))
    return log


def test_it_learns_a_law_of_pairs_and_no_more_than_there_is():
    masks, loss = all_masks(10, 4), pair_law(10)
    model = LossModel.of(10)
    for seed in range(3):
        model.learn(log_of(masks, loss, 1500, seed), temperature=0.5)
    away = model.energy(masks) - loss(masks)
    assert away.std() < 0.05 * loss(masks).std()
    np.testing.assert_array_equal(model.pairs, model.pairs.T)
    assert not np.diag(model.pairs).any()
    # The control: without the pairs much is left.
    items = LossModel.of(10)
    items.items[:] = model.items
    assert (items.energy(masks) - loss(masks)).std() > 5 * away.std()


def test_the_terms_of_a_candidate_are_the_change_of_all_terms():
    draw = np.random.default_rng(0)
    before, after = (np.argsort(draw.random((30, 7)), axis=1) < 3 for _ in range(2))
    terms = _terms(before, after, 7)

    def whole(mask):
        out = np.zeros(7 + 49)
        kept = np.flatnonzero(mask)
        out[kept] = 1.0
        for i in kept:
            for j in kept[kept > i]:
                out[7 + 7 * i + j] = 1.0
        return out

    sparse = np.zeros((30, 56))
    np.add.at(sparse, (terms.row, terms.names[terms.column]), terms.sign)
    np.testing.assert_array_equal(sparse, [whole(b) - whole(a) for a, b in zip(before, after, strict=True)])


def test_a_log_keeps_the_last_candidates_and_an_empty_one_teaches_nothing():
    model = LossModel.of(4)
    model.learn(CandidateLog(2), temperature=1.0)
    assert not model.items.any()
    log = log_of(all_masks(4, 2), pair_law(4), MOST_ROWS + 10)
    assert len(log.candidates().change) == MOST_ROWS
    assert log.candidates().change[-1] == log.rows[1][-1][2]


@pytest.mark.parametrize(("accepted", "tries", "leg"), [(90, 12, 2), (30, 4, 6), (0, 1, 64)])
def test_walks_get_longer_while_they_are_accepted(accepted, tries, leg):
    model, log = LossModel.of(8), CandidateLog(2)
    model.aim(log, keep=6)
    assert model.tries == 4
    log.walks, log.accepted = 100, accepted
    model.aim(log, keep=6)
    assert (model.tries, model.leg) == (tries, leg)


def test_of_many_items_those_of_the_highest_probability_have_terms(monkeypatch):
    monkeypatch.setattr("mcprune.sampling.walks.loss_model.MOST_ACTIVE", 3)
    model = LossModel.of(6)
    model.items[:] = 1.0, 2.0, 3.0
    model.pairs[:] = np.array([[0, 4, 5], [4, 0, 6], [5, 6, 0]])
    model.follow(np.array([0.9, 0.0, 0.5, 0.0, 0.6, 0.0]), 100.0, keep=2)
    np.testing.assert_array_equal(model.active, [0, 2, 4])
    np.testing.assert_array_equal(model.items, [1.0, 3.0, 0.0])
    np.testing.assert_array_equal(model.pairs, [[0, 5, 0], [5, 0, 0], [0, 0, 0]])
    assert model.share.sum() == pytest.approx(1.0)
    assert (model.share > 0).all()
