"""Modifiers that are written behind another option: they mean the options of their own names."""

import pytest

from mcprune.config.options import OPTIONS, expanded
from mcprune.config.schema import make_config
from mcprune.config.sections.modifiers import MODIFIERS, modifiers_of, split_modifiers
from mcprune.errors import ConfigError

SPELLINGS = {
    "separator": ("semicolon,decimal=comma,encoding=cp1252", {
        "separator": "semicolon", "decimal": "comma", "encoding": "cp1252",
    }),
    "sites": ("weights:layers.0,layers.2,pattern=2:4", {"sites": "weights:layers.0,layers.2", "pattern": "2:4"}),
    "latency": ("2.5,rows=8", {"latency": 2.5, "latency_rows": 8}),
    "model": ("mlp,activation=tanh,bias=no,dropout=0.2", {"activation": "tanh", "bias": False, "dropout": 0.2}),
    "learning_rate": ("0.01,weight_decay=0.1", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "moves": ("exchange=3,block=1,block_sites=6", {"moves": {"exchange": 3, "block": 1}, "move_sites": 6}),
    "alpha": ("geometric:0.02:30,rejection=modified", {"alpha": "geometric:0.02:30", "rejection": "modified"}),
    "gates": ("sharpened:geometric:1:16,start_weight=3,weight_bound=9", {
        "gates": "sharpened:geometric:1:16", "start_weight": 3.0, "weight_bound": 9.0,
    }),
    "delta": ("0.5,adapt=0.3", {"delta": 0.5, "adapt_delta": 0.3}),
    "decisions": ("32,lookahead=8,train_steps=4", {"decisions": 32, "lookahead": 8, "train_steps": 4}),
    "eval_on": ("held-out,fraction=0.4", {"eval_on": "held-out", "eval_fraction": 0.4}),
    "evaluator": ("fused,early_reject=0.01,max_memory=512M", {
        "evaluator": "fused", "early_reject": 0.01, "max_memory": 2**29,
    }),
    "max_time": ("600,search=400", {"max_time": 600.0, "search_time": 400.0}),
    "train_ranks": ("shared,timeout=60", {"train_ranks": "shared", "rank_timeout": 60.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_modifier_behind_its_option_is_the_option_of_its_name(name):
    text, options = SPELLINGS[name]
    assert make_config(**{name: text}) == make_config(**options)


def test_every_option_with_modifiers_is_spelled_here():
    assert {place.option for place in MODIFIERS.values()} == set(SPELLINGS)
    assert set(MODIFIERS) <= set(OPTIONS)
    assert not {place.option for place in MODIFIERS.values()} & set(MODIFIERS)


def test_the_width_of_a_network_is_behind_its_name():
    assert make_config(model="vgg13,width=0.25") == make_config(model="vgg13", width=0.25)


def test_a_modifier_alone_leaves_its_option_at_the_default():
    assert make_config(max_time="search=40") == make_config(search_time=40.0)
    assert expanded({"eval_on": "folds=3"}) == {"eval_folds": "3"}


def test_a_comma_is_a_separator_too():
    assert expanded({"separator": ","}) == {"separator": ","}
    assert expanded({"separator": ",,decimal=point"}) == {"separator": ",", "decimal": "point"}


def test_an_option_on_its_own_counts_more_than_a_modifier():
    assert make_config(eval_on="held-out,fraction=0.4", eval_fraction=0.1).chain.eval_fraction == 0.1


def test_mappings_hold_modifiers_as_well():
    assert split_modifiers({"moves": {"block": 1, "block_sites": 6}}) == {"moves": {"block": 1}, "move_sites": 6}


def test_other_keys_stay_where_they_are():
    assert split_modifiers({"alpha": "decade:epochs=20,window=10"}) == {"alpha": "decade:epochs=20,window=10"}
    assert modifiers_of("keep") == {}
    with pytest.raises(ConfigError, match="eval_on"):
        make_config(eval_on="held-out,share=0.4")
