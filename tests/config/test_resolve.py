"""Resolving: pure, without gaps, repeatable from its own record, and by the rules that the help words."""

import math
import re
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcprune.config import resolved, rules
from mcprune.config.facts import Facts, SiteLayer, Traits
from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.resolve import Resolved
from mcprune.config.resolved import ChainOptions, GradientOptions, ImportanceOptions
from mcprune.config.schema import make_config
from mcprune.config.unused import check_options
from mcprune.errors import ConfigError

FEW = Facts.of_columns(1_000, 64, 16)
MANY = FEW._replace(rows=50_000, is_image=True, cores=8)
GREY = MANY._replace(is_grey=True)
SOME = FEW._replace(rows=6_000, is_image=True)
UNITS = FEW._replace(layers=(SiteLayer("inputs", "", 64), SiteLayer("units", "layers.0", 12)))
WEIGHTS = FEW._replace(layers=(SiteLayer("weights", "layers.0", 800),), n=200, keep=200)
CHANNELS = FEW._replace(layers=(SiteLayer("channels", "convolution", 24),), n=8, keep=8, is_image=True)


def settled(facts=FEW, **options):
    config = make_config(**options)
    check_options(config)
    return Resolved.of(config, facts)


def test_nothing_is_optional_in_what_is_settled():
    for kind in vars(resolved).values():
        if isinstance(kind, type) and issubclass(kind, tuple) and kind is not Facts and hasattr(kind, "_fields"):
            for name, hint in get_type_hints(kind).items():
                assert type(None) not in get_args(hint), (kind, name)


@pytest.mark.parametrize(
    ("facts", "options", "wanted"),
    [
        (
            FEW,
            {"eval_on": "held-out"},
            {"batch_size": 64, "epochs": 200, "steps": 8, "mask_noise": 0.05, "weight_decay": 0.0},
        ),
        # A classifier for each fold: a step for each row, at most 1,000, more noise and decay.
        (
            FEW,
            {},
            {"batch_size": 64, "epochs": 91, "steps": 4, "mask_noise": 0.1, "weight_decay": 0.01, "input_noise": 0.0},
        ),
        (FEW._replace(rows=900), {}, {"epochs": 90}),
        (FEW._replace(rows=400), {}, {"epochs": 100}),
        (FEW._replace(rows=100), {}, {"epochs": 200}),  # at least 200 steps
        (FEW._replace(rows=10_000), {}, {"epochs": 12}),
        (MANY, {}, {"batch_size": 256, "epochs": 12, "input_noise": 0.1}),
        (MANY, {"method": "gradient"}, {"epochs": 30, "input_noise": 0.1}),
        (MANY, {"frozen": True, "pretrain": 1}, {"input_noise": 0.0, "pretrain": 1}),
        (GREY, {}, {"epochs": 30, "input_noise": 0.0}),
        (SOME, {}, {"epochs": 22, "steps": 8, "mask_noise": 0.05, "weight_decay": 0.0, "input_noise": 0.1}),
        (SOME._replace(rows=15_000), {}, {"epochs": 20, "batch_size": 64}),
        (GREY, {"sites": "units"}, {"epochs": 12, "input_noise": 0.0}),
        (FEW, {"epochs": 3, "batch_size": 5_000, "train_steps": 100}, {"epochs": 3, "batch_size": 750, "steps": 3}),
    ],
)
def test_training(facts, options, wanted):
    train = settled(facts, **options).train
    assert {name: getattr(train, name) for name in wanted} == wanted
    assert train.blocks == math.ceil(train.epochs * train.epoch_steps / train.steps)


@pytest.mark.parametrize(
    ("facts", "options", "wanted"),
    [
        (FEW, {}, ("scratch", 67, 0.3, 0.0)),
        (FEW._replace(rows=100), {}, ("scratch", 200, 0.3, 0.0)),
        (FEW._replace(rows=2_000), {}, ("scratch", 65, 0.3, 0.0)),
        (FEW._replace(rows=6_000, n=30), {}, ("scratch", 60, 0.3, 0.0)),
        (SOME._replace(n=30), {}, ("scratch", 60, 0.3, 0.1)),
        (FEW._replace(rows=6_000, n=29), {}, ("scratch", 30, 0.0, 0.0)),
        # Units enough, and time, are what dropout takes.
        (FEW._replace(rows=6_000, n=30), {"hidden": (64, 24)}, ("scratch", 30, 0.0, 0.0)),
        (FEW, {"hidden": ()}, ("scratch", 67, 0.0, 0.0)),
        (FEW, {"retrain_epochs": 5}, ("scratch", 5, 0.0, 0.0)),
        (FEW, {"retrain_epochs": 40}, ("scratch", 40, 0.3, 0.0)),
        (FEW, {"dropout": 0.0}, ("scratch", 67, 0.0, 0.0)),
        (FEW, {"retrain_dropout": 0.0}, ("scratch", 67, 0.0, 0.0)),
        (UNITS, {"sites": "inputs,units"}, ("scratch", 67, 0.0, 0.0)),
        (FEW, {"retrain": "epochs=3,dropout=0.1"}, ("scratch", 3, 0.1, 0.0)),
        (MANY, {"dropout": 0.3}, ("scratch", 26, 0.3, 0.1)),
        (MANY, {"retrain_distill": 2.0}, ("scratch", 30, 0.0, 0.1)),
        (GREY, {}, ("scratch", 60, 0.2, 0.0)),
        (GREY, {"finetune": "warm", "epochs": 7}, ("warm", 7, 0.0, 0.0)),
        (WEIGHTS, {"sites": "weights"}, ("short", 32, 0.0, 0.0)),
        (CHANNELS, {"model": "vgg13", "sites": "channels", "epochs": 4}, ("warm", 4, 0.0, 0.0)),
        (FEW._replace(is_users_model=True, is_fixed=True), {"frozen": True}, ("none", 167, 0.0, 0.0)),
    ],
)
def test_retraining(facts, options, wanted):
    retrain = settled(facts, **options).retrain
    assert (retrain.finetune, retrain.epochs, retrain.dropout, retrain.input_noise) == wanted
    assert retrain.is_retrained == (retrain.finetune in ("scratch", "warm"))


def test_many_rows_are_retrained_on_batches_twice_as_large_at_twice_the_rate():
    for facts, options, times in ((MANY, {}, 2), (FEW, {}, 1), (GREY, {}, 1), (MANY, {"retrain_warp": 1.0}, 1)):
        given = settled(facts._replace(is_image=True), **options)
        assert given.retrain.batch_size == times * given.train.batch_size
        assert given.retrain.learning_rate == times * given.train.learning_rate
    assert settled(MANY, retrain_learning_rate=0.01).retrain.learning_rate == 0.01


@pytest.mark.parametrize(
    ("facts", "options", "regrow", "until", "pool"),
    [
        (FEW, {}, 0, 0.2, 8),
        (FEW, {"start": "all"}, 0, 0.5, 8),
        (FEW, {"start": "all", "eval_on": "held-out"}, 0, 0.5, 32),
        (MANY, {}, 40, 0.3, 32),
        (MANY, {"temperature": 1e-3}, 0, 0.5, 32),
        (MANY, {"macs": 900}, 0, 0.5, 32),
        (MANY._replace(layers=CHANNELS.layers, n=8), {"model": "vgg13", "sites": "channels"}, 0, 0.5, 32),
        (MANY, {"frozen": True, "pretrain": 1}, 0, 0.5, 32),
        (MANY, {"pool": "none", "moves": "toggle=1"}, 0, 0.5, 0),
        (MANY, {"keep_schedule": "geometric:0.95"}, 0, 0.95, 32),
        (GREY, {}, 0, 0.5, 8),
        (GREY, {"keep_schedule": "geometric,regrow=3"}, 3, 0.3, 8),
        (SOME, {}, 40, 0.3, 32),
        (SOME, {"eval_on": "folds"}, 0, 0.2, 8),
        (SOME, {"temperature": 1e-3}, 0, 0.5, 32),
        (SOME, {"start": "forest"}, 0, 0.5, 32),
    ],
)
def test_the_fall_of_the_count(facts, options, regrow, until, pool):
    chain = settled(facts, **options).chain
    assert (chain.keep_schedule.regrow, chain.keep_schedule.until, chain.pool_size) == (regrow, until, pool)


@pytest.mark.parametrize(
    ("facts", "options", "starts", "shares", "schedule"),
    [
        (FEW, {}, ("all", "forest", "l1"), (0.0, 0.4, 0.7), ("geometric", 0.2)),
        (FEW._replace(layers=(SiteLayer("inputs", "", 5_000),)), {}, ("forest", "l1"), (0.0, 0.5), ("constant", 0.5)),
        (MANY, {}, (), (), ("geometric", 0.3)),
        (FEW, {"epochs": 2}, (), (), ("geometric", 0.5)),
        (FEW, {"moves": "toggle=1"}, (), (), ("geometric", 0.5)),
        (FEW, {"objective": "auc"}, (), (), ("geometric", 0.5)),
        (UNITS, {"sites": "inputs,units"}, (), (), ("geometric", 0.5)),
        (FEW, {"start": "all"}, (), (), ("geometric", 0.5)),
        (MANY, {"start": "f"}, ("f",), (0.0,), ("constant", 0.5)),
        (FEW, {"start": "l1+taylor+all"}, ("all", "l1", "loss"), (0.0, 0.4, 0.7), ("geometric", 0.2)),
        (FEW, {"start": "obd,after=3", "keep_schedule": "geometric"}, ("obd",), (0.0,), ("geometric", 0.5)),
    ],
)
def test_the_starts_of_chains(facts, options, starts, shares, schedule):
    chain = settled(facts, **options).chain
    assert chain.starts == starts
    assert chain.start_shares == pytest.approx(shares)
    assert (chain.keep_schedule.kind, chain.keep_schedule.until) == pytest.approx(schedule)
    assert chain.start_measure.name == next((name for name in starts if name in ("loss", "obd")), "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "forrest"}, "there is no start 'forrest' (did you mean 'forest'?)"),
        ({"start": "f+f"}, "has a start twice"),
        ({"start": "obd+fisher"}, "has 2 measures. Choose one of obd, fisher"),
        ({"start": "f,after=2"}, "after belongs to starts by a measure"),
        ({"start": "all,rows=9"}, "rows belongs to measures that look at the loss"),
        ({"start": "f", "sites": "units"}, "f scores columns of the data, but the sites are units"),
    ],
)
def test_starts_that_cannot_be(options, words):
    facts = UNITS._replace(layers=UNITS.layers[1:], n=3) if "sites" in options else FEW
    with pytest.raises(ConfigError, match=re.escape(words)):
        settled(facts, **options)


@pytest.mark.parametrize(
    "facts",
    [
        FEW._replace(rows=6_000),
        SOME._replace(rows=3_999),
        SOME._replace(is_users_model=True),
        UNITS._replace(rows=6_000, is_image=True),
    ],
    ids=["table", "few images", "own model", "units"],
)
def test_pixels_of_several_thousand_images_are_searched_as_those_of_many(facts):
    def search(of, **options):
        run = settled(of, **({"sites": "inputs,units"} if "units" in of.kinds else {}), **options)
        return run.evaluation.on, run.chain.starts, run.model.search_hidden, run.model.dropout, run.train.input_noise

    assert search(SOME) == search(SOME, eval_on="train") == ("train", (), (256,), 0.0, 0.1)
    assert search(SOME, eval_on="folds") == ("folds", ("all", "forest", "l1"), (64,), 0.3, 0.0)
    assert search(SOME, search_hidden="32")[2] == (32,)
    other = search(facts)
    assert other[0] != "train"
    assert other[2] != (256,)
    assert other[4] == 0.0


def test_the_rows_that_evaluate():
    assert settled().evaluation[:5] == ("folds", 4, 0.3, 2048, 4096)
    assert settled(sites="inputs,units").evaluation.on == settled(sites="units").evaluation.on == "folds"
    assert settled(eval_on="held-out").evaluation[:3] == ("held-out", 1, 0.3)
    # What one classifier alone can serve, or has seen all rows.
    for options in ({"frozen": True, "pretrain": 1}, {"sites": "weights"}, {"early_reject": 0.1}):
        assert settled(WEIGHTS if options.get("sites") else FEW, **options).evaluation.on == "held-out"
    assert settled(FEW._replace(is_users_model=True)).evaluation.on == "held-out"
    assert settled(MANY).evaluation[:5] == ("train", 1, 0.3, 2048, 4096)
    assert settled(GREY).evaluation.early_rows == 1024
    assert settled(frozen=True, pretrain=1).evaluation.rows == 8192
    assert settled(method="gradient").evaluation.on == "train"
    tight = settled(CHANNELS._replace(fitting_rows=700), model="vgg13", sites="channels")
    assert (tight.evaluation.rows, tight.evaluation.early_rows) == (700, 512)
    assert any("700 of 1,024" in note for note in tight.notes)
    assert settled(keep_schedule="constant").evaluation.falls_until == 0.0


def test_moves_proposals_and_blocks():
    assert (settled().chain.gates, settled().chain.moves) == ("rank", {"site": 1.0})
    for by_sign in ({"gates": "hard"}, {"alpha": 2}):  # a weight of L_pru pushes by the signs of the weights
        assert (settled(**by_sign).chain.gates, settled(**by_sign).chain.moves) == ("hard", {"exchange": 1.0})
    assert (settled().chain.decisions, settled().chain.lookahead) == (64, 16)
    assert (settled(MANY).chain.moves, settled(MANY).chain.decisions) == ({"site": 0.7, "exchange": 0.3}, 128)
    assert (settled(GREY).chain.moves, settled(GREY).chain.decisions) == ({"site": 0.7, "exchange": 0.3}, 128)
    short = settled(MANY._replace(layers=(SiteLayer("inputs", "", 28),))).chain
    assert (short.moves, short.decisions) == ({"site": 1.0}, 16)
    weights = settled(WEIGHTS, sites="weights", frozen=True, pretrain=1).chain
    assert (weights.moves, weights.proposals) == ({"informed": 0.9, "exchange": 0.1}, "probes")
    assert (weights.decisions, weights.lookahead) == (1024, 256)
    assert settled(WEIGHTS, sites="weights", moves="exchange=1").chain.proposals == "chain"
    tied = FEW._replace(is_single=False, is_plain=False, budget="groups")
    assert settled(tied, groups="a=0,1;b=2").chain.moves == {"exchange": 0.75, "toggle": 0.25}
    assert str(settled(tied, groups="a=0,1;b=2").chain.alpha) == "0"
    assert settled(tied, groups="a=0,1;b=2").chain.gates == "hard"
    assert str(settled().chain.alpha) == "0"
    assert str(settled(gates="hard").chain.alpha) == "1"


def test_threads_and_the_clock():
    assert settled(MANY).runtime.threads == 8
    assert settled().runtime.threads == 1
    assert settled(threads=5).runtime.threads == 1  # more than four a core
    assert settled().runtime.max_time == math.inf
    assert settled(max_time=3).runtime.max_time == 3.0


@pytest.mark.parametrize(
    ("alpha", "epochs", "wanted"),
    [
        ("decade", 16, {"epochs": 2.0, "window": 1, "strength": 1.0, "strength_end": 1e7}),
        ("decade:lambda=1e8", 16, {"strength_end": 1e8}),
        ("mu-lambda", 16, {"strength": 1e5, "window": 10}),
        ("stall", 100, {"epochs": 2.0, "tolerance": 0.01, "factor": 2.0}),
        ("ratio", 4, {"window": 4, "cap": 1e6}),
        ("auto", 4, {"pilots": 0.4}),
    ],
)
def test_alpha_of_the_gradient_path(alpha, epochs, wanted):
    options = settled(method="gradient", alpha=alpha, epochs=epochs).search
    assert isinstance(options, GradientOptions)
    assert {name: getattr(options.alpha, name) for name in wanted} == wanted


def test_rounds_of_importance():
    for asked, wanted in (("", (10, (), 5)), ("3", (3, (), 7)), ("40,16,recover=1", (2, (40, 16), 1))):
        options = settled(method="importance", epochs=15, rounds=asked or "recover=5").search
        assert isinstance(options, ImportanceOptions)
        assert (options.rounds, options.counts, options.recover) == wanted
    with pytest.raises(ConfigError, match="do not fit into 3 epochs"):
        settled(method="importance", epochs=3, rounds=4)


@pytest.mark.parametrize(
    ("facts", "options", "words"),
    [
        (FEW, {"pool": "none", "gates": "hard"}, "could not reach 16"),
        (FEW, {"delta": 1e7}, "beyond all weights"),
        (FEW, {"keep_schedule": "constant,regrow=3"}, "rises again only where"),
        (FEW, {"keep_schedule": "geometric:0.95,regrow=3"}, "Lower the fraction"),
        (FEW, {"start": "obd,after=3", "epochs": 3}, "leaves the chain none of 3 epochs"),
        (UNITS, {"start": "obd,min_per_layer=20"}, "below the 32 sites"),
        (FEW, {"proposals": "obd"}, "--moves has none"),
        (FEW, {"start": "loss-tracked"}, "only --method importance"),
        (FEW, {"sites": "units", "search_hidden": 8}, "only a built-in classifier whose inputs"),
        (FEW, {"retrain": "warp=1"}, "are no images"),
        (WEIGHTS, {"sites": "weights", "retrain": "distill=2"}, "nothing is under --finetune short"),
        (
            FEW._replace(is_single=False, budget="macs=300"),
            {"pool": "none", "moves": "toggle"},
            "macs=300 with pool=none",
        ),
        (FEW._replace(is_single=False, budget="macs=300"), {"alpha": 2}, "alpha=2 with macs=300"),
        (FEW._replace(is_single=False, budget="macs=300"), {"gates": "rank"}, "gates=rank with macs=300"),
        (FEW, {"gates": "rank", "alpha": 2}, "alpha=2 with gates=rank"),
        (FEW._replace(is_single=False), {"method": "gradient"}, "belongs to --method markov"),
        (FEW, {"method": "gradient", "alpha": "ratio:window=13", "epochs": 12}, "longer than the run of 12"),
    ],
)
def test_what_contradicts_the_facts_is_refused(facts, options, words):
    with pytest.raises(ConfigError, match=words):
        settled(facts, **options)


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 40),
        "batch_size": st.integers(1, 3_000),
        "temperature": st.sampled_from(["0", "1e-3", "geometric:1e-2:1e-4"]),
        "keep_schedule": st.sampled_from(["geometric", "geometric:0.2,regrow=4x0.5", "constant"]),
        "replicas": st.sampled_from([1, "2,swap_every=3"]),
        "gates": st.sampled_from(["rank", "hard", "sharpened", "sigmoid"]),
        "evaluation_rows": st.sampled_from([100, "200,early=50"]),
        "retrain_epochs": st.integers(1, 5),
        "moves": st.sampled_from(["exchange=1,toggle=1", "informed=1,exchange=1"]),
        "start": st.sampled_from(["obd,after=0", "magnitude,after=0"]),
        "threads": st.integers(1, 2),
    },
)


@pytest.mark.slow
@given(ASKED, st.sampled_from([FEW, MANY, GREY, UNITS]), st.sampled_from(["markov", "gradient", "importance"]))
@settings(max_examples=150, deadline=None)
def test_what_is_recorded_resolves_to_the_same(asked, facts, method):
    chain_only = ("temperature", "keep_schedule", "replicas", "evaluation_rows", "moves", "start")
    if method != "markov":
        asked = {name: value for name, value in asked.items() if name not in (*chain_only, "gates")}
    first = settled(facts, method=method, **asked)
    again = make_config(**in_flat(recorded_options(first.config)))
    check_options(again)
    second = Resolved.of(again, facts)
    for name in Resolved._fields:
        if name not in ("notes", "config") and (name != "chain" or method == "markov"):
            assert getattr(second, name) == getattr(first, name), name
    assert recorded_options(second.config) == recorded_options(first.config)


def test_another_chain_or_threads_leave_the_rest():
    one = settled()
    other = one.with_chain(one.chain._replace(start_after=2.0))
    assert isinstance(other.search, ChainOptions)
    assert other.search.start_after == 2.0
    assert one.with_threads(3).runtime.threads == one.with_threads(3).config.runtime.threads == 3


def test_the_last_rule_always_holds_and_words_are_those_of_the_table():
    traits = Traits(*[False] * len(Traits._fields))
    for default in rules.DEFAULTS.values():
        for place, rule in enumerate(default.rules):
            assert bool(rule.words) == (place < len(default.rules) - 1)
        if default.rules:
            assert default.rules[-1].holds(traits)
        assert str(default)
    assert (
        str(rules.DECISIONS) == "64 for heads, neurons, experts and blocks, 1024 for a frozen classifier, "
        "16 for fewer than 64 sites of 20,000 training rows or more, "
        "128 for 64 inputs or more of 20,000 training rows or more, 64 otherwise"
    )


@pytest.mark.parametrize(("rows", "epochs", "retrained"), [(50_000, 12, 26), (650_000, 3, 6), (9_000_000, 1, 1)])
def test_of_very_many_rows_fewer_passes(rows, epochs, retrained):
    many = settled(Facts.of_columns(rows, 28, 10)._replace(validation_rows=0))
    assert (many.train.epochs, many.retrain.epochs) == (epochs, retrained)
    assert many.chain.decisions == 16  # there are not many exchanges to choose among
