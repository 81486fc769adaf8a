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
CASES = [
    (FEW, {"rejection": "modified"}, "--gates rank", {"gates": "hard"}),
    (FEW, {"start_weight": 2.0}, "--gates rank", {"gates": "sigmoid"}),
    (FEW, {"weight_bound": 3.0}, "--gates rank", {"gates": "hard"}),
    (FEW, {"weight_bound": 3.0, "gates": "rank"}, "--gates rank", {"gates": "hard"}),
    (FEW, {"move_sites": 3}, "--moves site=1", {"moves": "block=1,site=1"}),
    (FEW, {"delta": "linear:2:1", "gates": "hard"}, "--moves exchange=1", {"moves": "site=1"}),
    (WEIGHTS, {"sites": "weights", "delta": 2, "gates": "hard"}, "--moves informed", {"moves": "uniform=1"}),
    (MANY, {"eval_folds": 7}, "--eval-on train", {"eval_on": "folds"}),
    (FEW, {"eval_folds": 7, "eval_on": "held-out"}, "--eval-on held-out", {"eval_on": "folds"}),
    (FEW, {"eval_fraction": 0.2}, "--eval-on folds", {"eval_on": "held-out"}),
    (FEW, {"keep_schedule": "constant,pressure=2"}, "neither falls nor rises", {"keep_schedule": "geometric,pressure=2"}),
    (FEW, {"keep_schedule": "constant:0.3"}, "neither falls nor rises", {"keep_schedule": "constant"}),
    (FEW, {"retrain_learning_rate": 0.1, "finetune": "short"}, "--finetune short", {"finetune": "scratch"}),
    (FEW, {"retrain_input_noise": 0.1, "finetune": "none"}, "--finetune none", {"finetune": "short"}),
    (WEIGHTS, {"sites": "weights", "retrain_dropout": 0.1}, "--finetune short", {"sites": "inputs", "finetune": "warm"}),
    (FEW, {"retrain_weight_decay": 0.1, "finetune": "least-squares"}, "--finetune least-squares", {"finetune": "warm"}),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "options", "words", "change"), CASES, ids=str)
def test_an_option_without_effect_is_refused_and_taken_where_it_has_one(facts, options, words, change):
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        settled(facts, **options)
    assert "\n" not in str(refused.value)
    result = settled(FEW if "sites" in change else facts, **{**options, **change})
    # What a run writes about itself is taken again.
    settled(FEW if "sites" in change else facts, **in_flat(recorded_options(result.config)))


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
    settled(facts, **in_flat(recorded_options(result.config)))
