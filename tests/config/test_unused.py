"""Options that a run would not read are refused, in one line that names what they need."""

import re

import pytest

from mcprune.config.facts import Facts, SiteLayer
from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.resolve import Resolved
from mcprune.config.schema import make_config
from mcprune.config.unused import check_options
from mcprune.errors import ConfigError

FEW = Facts.of_columns(1_000, 64, 16)
MANY = FEW._replace(rows=50_000)
WEIGHTS = FEW._replace(layers=(SiteLayer("weights", "layers.0", 800),), n=200, keep=200)


def settled(facts, **options):
    config = make_config(**options)
    check_options(config)
    return Resolved.of(config, facts)


# Options without effect; what they name instead; the change under which they have one.
REFUSED = [
    (FEW, {"weight_bound": 3.0, "gates": "rank"}, "--gates rank", {"gates": "hard", "temperature": 1e-3}),
    (FEW, {"weight_bound": 3.0, "gates": "hard", "temperature": 0}, "--temperature 0", {"temperature": "linear:0:1e-3"}),
    (FEW, {"warm_up": 0.3, "moves": "exchange=1"}, "--moves exchange=1", {"replicas": 2, "temperature": 1e-3}),
    (FEW, {"move_sites": 3, "moves": "site=1"}, "--moves site=1", {"moves": "block=1,site=1"}),
    (FEW, {"delta": "linear:2:1", "moves": "exchange=1"}, "--moves exchange=1", {"moves": "site=1"}),
    (FEW, {"eval_folds": 7, "eval_on": "held-out"}, "--eval-on held-out", {"eval_on": "folds"}),
    (FEW, {"keep_schedule": "constant,pressure=2"}, "neither falls nor rises", {"keep_schedule": "geometric,pressure=2"}),
    (FEW, {"keep_schedule": "constant:0.3"}, "neither falls nor rises", {"keep_schedule": "constant"}),
    (FEW, {"retrain_learning_rate": 0.1, "finetune": "short"}, "--finetune short", {"finetune": "scratch"}),
    (FEW, {"retrain_input_noise": 0.1, "finetune": "none"}, "--finetune none", {"finetune": "short"}),
    (FEW, {"retrain_weight_decay": 0.1, "finetune": "least-squares"}, "--finetune least-squares", {"finetune": "warm"}),
]  # fmt: skip
# The data or the defaults decide that these have none: a note says so.
NOTED = [
    (FEW, {"rejection": "modified"}, "--gates rank", {"gates": "hard"}),
    (FEW, {"start_weight": 2.0}, "--gates rank", {"gates": "sigmoid"}),
    (FEW, {"weight_bound": 3.0}, "--gates rank", {"gates": "hard", "temperature": 1e-3}),
    (FEW, {"weight_bound": 3.0, "gates": "hard"}, "--temperature 0", {"moves": "site=1", "adapt_delta": 0.4}),
    (FEW, {"warm_up": 0.3}, "--moves site=1", {"moves": "site=1", "adapt_delta": 0.4}),
    (WEIGHTS, {"sites": "weights", "warm_up": 0.3}, "--moves informed", {"temperature": 1e-3}),
    (FEW, {"move_sites": 3}, "--moves site=1", {"moves": "block=1,site=1"}),
    (FEW, {"delta": "linear:2:1", "gates": "hard"}, "--moves exchange=1", {"moves": "site=1"}),
    (WEIGHTS, {"sites": "weights", "delta": 2, "gates": "hard"}, "--moves informed", {"moves": "uniform=1"}),
    (MANY, {"eval_folds": 7}, "--eval-on train", {"eval_on": "folds"}),
    (FEW, {"eval_fraction": 0.2}, "--eval-on folds", {"eval_on": "held-out"}),
    (WEIGHTS, {"sites": "weights", "retrain_dropout": 0.1}, "--finetune short", {"sites": "inputs", "finetune": "warm"}),
]  # fmt: skip


def check_again(facts, options, change):
    """Check that the options are taken under the change, and that what a run writes about itself is taken again."""
    facts = FEW if "sites" in change else facts
    result = settled(facts, **{**options, **change})
    assert not any("does nothing" in note for note in result.notes)
    settled(facts, **in_flat(recorded_options(result.config)))


@pytest.mark.parametrize(("facts", "options", "words", "change"), REFUSED, ids=str)
def test_an_option_that_another_one_keeps_from_an_effect_is_refused(facts, options, words, change):
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        settled(facts, **options)
    assert "\n" not in str(refused.value)
    check_again(facts, options, change)


@pytest.mark.parametrize(("facts", "options", "words", "change"), NOTED, ids=str)
def test_an_option_that_data_or_defaults_keep_from_an_effect_is_noted(facts, options, words, change):
    result = settled(facts, **options)
    (note,) = [note for note in result.notes if "does nothing" in note]
    assert words in note
    again = settled(facts, **in_flat(recorded_options(result.config)))
    assert not any("does nothing" in note for note in again.notes)
    check_again(facts, options, change)


@pytest.mark.parametrize("facts", [FEW, MANY, WEIGHTS])
@pytest.mark.parametrize("finetune", ["short", "none", "least-squares"])
def test_the_default_itself_is_never_refused(facts, finetune):
    sites = "weights" if facts is WEIGHTS else "inputs"
    usual = {
        "rejection": "plain",
        "start_weight": 4.0,
        "weight_bound": 8.0,
        "move_sites": 8,
        "delta": "1",
        "eval_folds": 4,
    }
    result = settled(facts, sites=sites, finetune=finetune, **usual)
    again = settled(facts, **in_flat(recorded_options(result.config)))
    assert not any("does nothing" in note for one in (result, again) for note in one.notes)
