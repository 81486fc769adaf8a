"""Verdicts on the statements of the slides, from made-up runs whose outcome is known; and the runs that are asked for."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from mcprune.chain import budget
from mcprune.config.resolve_search import resolve_alpha
from mcprune.methods.gradient import alphas
from mcprune.session.build.gradient import make_alpha
from mcprune.storage.run_metrics import RunFigures
from mcprune.studies.claims import HOLDS, NOT, UNCLEAR, summary
from mcprune.studies.reproduce.slides import runs as slides
from mcprune.studies.reproduce.slides.claims import claims
from mcprune.studies.reproduce.slides.verdicts import (
    DRASTIC,
    LITTLE,
    WORKS,
    alpha_means,
    halfway,
    is_gradual,
    outcome,
    slopes,
)

FLAT, RISING = [10.0] * 8, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]


def run(kept=(64, 40, 16), alpha=FLAT, retrained=0.95, near_hard=1.0, epochs=80.0):
    """A run of 64 sites and n = 16; `kept` and `alpha` over equal parts of 80 epochs."""
    events = []
    for step in range(80):
        count = kept[step * len(kept) // 80]
        value = alpha[step * len(alpha) // 80]
        events.append(
            SimpleNamespace(
                epoch=step + 1.0,
                kept=count,
                gate_sum=count,
                alpha=value,
                classification_loss=1.0,
                rejection_loss=0.1,
                schedule_lambda=1.0,
            )
        )
    return RunFigures(
        hardened=0.9, retrained=retrained, away=0.0, kept_before=kept[-1], near_hard=near_hard, seconds=1.0, forwards=1, epochs=epochs,
        is_cut=False, is_settled=True, keep=list(range(16)), n=16, N=64,
        image_shape=None, last_crossed=[], steps=80, curve=[], progress=events, config={},
        notes=[],
    )  # fmt: skip


def verdicts(**runs):
    """The verdict of each row; names with _ for -."""
    named = {name.replace("_", "-"): ({0: one} if isinstance(one, RunFigures) else one) for name, one in runs.items()}
    return {claim.number: claim.verdict for claim in claims(named, 16)}


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (run(), WORKS),
        (run(kept=(64, 17)), WORKS),  # one more than n is within a tenth of it, or one site
        (run(kept=(64, 18)), LITTLE),
        (run(kept=(64, 14)), DRASTIC),
        (run(near_hard=0.89), LITTLE),
        (run(retrained=0.90), DRASTIC),  # the right number of the wrong sites
        (run(kept=(64, 0, 15), near_hard=0.2), DRASTIC),  # all closed at once, some come back
        (run(kept=(64, 0, 16)), WORKS),
    ],
)
def test_what_a_run_counts_as(one, wanted):
    assert outcome(one, best=0.96) == wanted


def test_gradual_is_neither_flat_nor_a_jump_nor_a_fall():
    assert is_gradual(RISING)
    assert not is_gradual(FLAT)
    assert not is_gradual([1, 1, 1, 1, 1, 1, 1, 11])
    assert not is_gradual([*RISING[:-1], 1.0])
    assert not is_gradual([1.0])
    assert alpha_means(run(alpha=RISING)) == pytest.approx(RISING)


def test_the_epoch_of_half_of_the_way():
    # (64 + 16) / 2 = 40 sites, which the second of four equal parts of 80 epochs has first.
    assert halfway(run(kept=(64, 40, 20, 16))) == 21.0
    assert halfway(run(kept=(64, 41))) is None


@pytest.mark.parametrize("sites", [2, 64, 784])
def test_the_slopes_are_those_of_the_chain_s_own_losses(sites):
    """Against central differences of N L_rej and N L_rej' in one gate."""
    gate, step = 1 / (1 + math.exp(-4.0)), 1e-6

    def losses(first):
        weights = np.full((1, sites), 4.0)
        weights[0, 0] = math.log(first / (1 - first))
        _, sum_s1s, sum_log = budget.whole_sums(weights, sharpness=1.0)[0]
        plain = budget.rejection_loss(sum_s1s, sites)
        return sites * np.array([plain, budget.modified_rejection_loss(sum_s1s, sum_log, sites)])

    product, plain, modified = slopes(sites, gate)
    assert product == pytest.approx(gate**sites)
    assert (losses(gate + step) - losses(gate - step)) / (2 * step) == pytest.approx([plain, modified], rel=1e-5)


def test_a_fixed_alpha_that_works_refutes_the_first_statement():
    little, works = run(kept=(64, 50)), run()
    assert verdicts(fixed_1=little, fixed_100=run(retrained=0.8, kept=(64, 5)), ramp=works)["1"] == HOLDS
    assert verdicts(fixed_1=little, fixed_10=works)["1"] == NOT
    assert verdicts(fixed_1=little, fixed_10={0: works, 1: little})["1"] == UNCLEAR
    assert verdicts()["1"] == UNCLEAR


def test_only_if_alpha_rises_gradually():
    little = run(kept=(64, 50))
    assert verdicts(ratio=run(alpha=RISING), ratio_slow=little)["2a"] == HOLDS
    assert verdicts(ratio=run(alpha=FLAT), ratio_slow=run(alpha=RISING))["2a"] == NOT
    # Where nothing works, nothing is said about when it does.
    assert verdicts(ratio=little, ratio_slow=little)["2a"] == UNCLEAR
    assert verdicts(ratio=little, ramp=run(alpha=RISING))["2b"] == HOLDS
    assert verdicts(ratio=little, ramp=run(alpha=RISING), fixed_10=run())["2b"] == NOT


def test_the_modified_rejection_cures_or_not():
    slow, slower = run(kept=(64, 64, 40, 40)), run(kept=(64, 64, 64, 40))
    fast = run(kept=(64, 16, 16, 16, 16, 16))
    best = run()
    assert verdicts(ratio=slow, ratio_modified=slow, ramp=best)["3b"] == HOLDS
    assert verdicts(ratio=slow, ratio_modified=slower, ramp=best)["3b"] == HOLDS
    assert verdicts(ratio=slow, ratio_modified=fast, ramp=best)["3b"] == NOT
    assert verdicts(ratio=best, ratio_modified=best)["3b"] == UNCLEAR
    assert verdicts(ratio=slow)["3b"] == UNCLEAR


def test_the_other_statements():
    little, works = run(kept=(64, 50)), run()
    found = verdicts(
        lambda_1e5=little,
        lambda_1e6=little,
        decade=works,
        decade_literal=little,
        stall={0: works, 1: little},
        chain_slides=little,
        chain=works,
    )
    assert found["3a"] == HOLDS
    assert [found[name] for name in ("4", "5a", "5b", "6", "7a", "7b")] == [HOLDS, HOLDS, NOT, UNCLEAR, NOT, HOLDS]
    assert verdicts(lambda_1e5=works)["4"] == NOT
    assert verdicts(ramp=works, chain=run(retrained=0.92))["7b"] == NOT
    assert verdicts(ramp=works, chain=run(kept=(64, 17)))["7b"] == NOT


def test_a_chain_of_too_few_epochs_has_no_verdict():
    works, short = run(), run(epochs=1.0)
    assert verdicts(ramp=works, chain=short, chain_slides=short)["7a"] == UNCLEAR
    assert verdicts(ramp=works, chain=short)["7b"] == UNCLEAR
    # The control: the same accuracies after enough epochs.
    enough = verdicts(ramp=works, chain=works, chain_slides=works)
    assert (enough["7a"], enough["7b"]) == (HOLDS, HOLDS)


def test_the_summary_has_every_row_once():
    made = claims({"fixed-10": {0: run()}, "decade": {0: run(kept=(64, 50))}}, 16)
    assert summary(made, "the slides say") == (
        "as the slides say: 3a; not as the slides say: 1, 2b, 5a; unclear here: 2a, 3b, 4, 5b, 6, 7a, 7b"
    )


def test_every_row_says_what_it_has_to():
    for made in (claims({}, 16), claims({"fixed-10": {0: run()}, "ratio": {0: run(), 1: run()}}, 16)):
        assert len(made) >= 7
        for row in [claim.row() for claim in made]:
            assert all(
                isinstance(row[key], str) and row[key] for key in ("number", "claim", "says", "run", "threshold")
            )
            assert row["verdict"] in (HOLDS, NOT, UNCLEAR)
        assert {claim.number[0] for claim in made} == set("1234567")


def test_the_runs_are_the_slides_own():
    setting = slides.Setting("digits", 16, seeds=(0, 1), quick=True)
    asked = slides.jobs(setting)
    assert len(asked) == len({job.name for job in asked}) == 2 * 19
    configs = {job.about["run"]: job.config() for job in asked}
    for name, config in configs.items():
        if config.method == "gradient":
            assert (
                config.train.epochs,
                config.gradient.weight_bound,
                config.gradient.start_weight,
                config.gradient.gate_optimizer.kind,
            ) == (
                160,
                1000.0,
                4.0,
                "adam",
            )
            assert config.gradient.alpha.window == (None if config.gradient.alpha.kind in ("fixed", "ramp") else 10), (
                name
            )
    decade = make_alpha(resolve_alpha(configs["decade"].gradient.alpha, 160))
    assert isinstance(decade, alphas.Windowed)
    # lambda after 19, 20, 140 and 160 epochs: eight values from 1 to 1e7.
    strengths = []
    for epochs in (19, 20, 140, 159):
        state = decade.init()
        state.epochs, state.strength = epochs, 1.0
        strengths.append(decade.rule.after(state, 0.0))
    assert strengths == [1.0, 10.0, 1e7, 1e7]
    assert configs["chain-slides"].chain.moves == {"uniform": 1.0}
    assert "0.01" in setting.description()
    assert slides.Setting("mnist", 50).rate == 1e-3
