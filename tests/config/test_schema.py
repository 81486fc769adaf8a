"""Every option: what is refused, and in what order the sources stand."""

import math
import re
import tomllib
from pathlib import Path

import annotated_types
import pytest

from mcprune.config.files import read_options, write_config
from mcprune.config.options import OPTIONS, option
from mcprune.config.parsing import nearest
from mcprune.config.schema import PRESETS, Config, make_config
from mcprune.config.unused import unused_options
from mcprune.errors import ConfigError

# Read from text, and a file, a site or a measure may be called "nan".
TEXTS = {"objective", "must_keep", "must_drop", "ignore", "data", "out", "proposals"}
NUMERIC = [
    name
    for name, entry in OPTIONS.items()
    if name not in TEXTS and ({int, float} & set(entry.kinds) or entry.is_read_from_text)
]
SCHEDULES = ["delta", "temperature", "alpha"]
BOUNDS = [
    (name, part)
    for name, entry in OPTIONS.items()
    for part in entry.info.metadata
    if isinstance(part, annotated_types.Ge | annotated_types.Gt | annotated_types.Le | annotated_types.Lt)
]


def method_of(name):
    return {"method": OPTIONS[name].methods[0]} if OPTIONS[name].methods else {}


def made(name, value):
    return make_config(**method_of(name), **{name: value}).value(name)


def refused(name, value):
    with pytest.raises(ConfigError) as error:
        made(name, value)
    text = str(error.value)
    assert text.startswith(f"{name}: ")
    assert "\n" not in text
    # Two sentences: the cause with what was found, and the remedy of the cause or where the option is explained; not the help itself, and
    # no words of the library that checks types.
    cause = re.search(r"(.*)\. ((Write|Give|Choose|The \w+ are) .*)", text)
    assert "got " in cause[1] or repr(value) in cause[1]
    assert f"of {option(name)} (mcprune run --help-all explains it)" in cause[2] or "another value" not in cause[2]
    assert OPTIONS[name].meaning[:30] not in text
    assert text.endswith(".")
    assert not re.search(r"[Ii]nput should be|valid (integer|number|string)|[Ss]tring should", text)
    return text


def test_all_that_should_be_a_number_is_among_the_numeric_options():
    assert len(NUMERIC) >= 26
    assert {"keep", "seed", "hidden", "moves", "max_memory", "max_time", "learning_rate", *SCHEDULES} <= set(NUMERIC)
    assert not {"data", "target", "sites", "out", "force", "device"} & set(NUMERIC)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity", "many", True, [], {}])
@pytest.mark.parametrize("name", NUMERIC)
def test_what_is_no_finite_number_is_refused(name, value):
    if name in ("hidden", "search_hidden") and value == []:
        assert made(name, value) == ()  # no hidden layer is a classifier like another
        return
    refused(name, value)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    "value",
    [
        "linear:1:nan",
        "linear:inf:1",
        "geometric:1:2:nan",
        "linear:1:-1",
        -1,
        "geometric:0:1",
        "linear:1",
        "sine:1:2",
    ],
)
def test_schedules_are_checked_at_both_ends(name, value):
    assert str(value) in refused(name, value)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("moves", {"exchange": math.nan}, "the share of exchange must be finite and not negative, got nan"),
        ("moves", {"exchange": -1}, "the share of exchange must be finite and not negative, got -1"),
        ("moves", "exchange=inf", "the share of exchange must be finite and not negative, got 'inf'"),
        ("moves", {"exchange": 0}, "the shares must not all be zero"),
        ("hidden", (8, 0), "at least 1 is needed, got 0 in (8, 0). Choose another value of --hidden (mcprune"),
        ("hidden", "8,many", "a whole number is needed, got 'many' in '8,many'. Choose"),
        ("hidden", "many", "a whole number is needed, got 'many'. Choose"),
        ("gates", "sharpened:0", "sharpness: it must be above 0, got '0'"),
        ("gates", "sharpened:linear:1:0", "sharpness: it must be above 0, got 'linear:1:0'"),
        ("max_memory", "12Q", "a number of bytes is needed, such as 512M or 2G; got '12Q'"),
        ("keep", 2.5, "a whole number, or a number for each kind of site"),
        ("seed", 2**32, "a number below 4,294,967,296 is needed, got 4294967296. Choose another value of --seed ("),
        ("preset", "slide", "'default' or 'slides' is needed, got 'slide'. Choose another value of --preset ("),
        ("device", "gpu", "'auto', 'cpu' or 'cuda' is needed, got 'gpu'. Choose another value of --device ("),
        ("out", "", "a text that is not empty is needed, got ''. Choose another value of --out ("),
    ],
)
def test_values_out_of_range(name, value, fault):
    assert refused(name, value).startswith(f"{name}: {fault}")


@pytest.mark.parametrize(("name", "bound"), BOUNDS, ids=lambda part: str(part))
def test_a_bound_parts_what_is_accepted_from_what_is_not(name, bound):
    whole = int in OPTIONS[name].kinds
    step = 1 if whole else 1e-6
    inside, outside = {
        annotated_types.Ge: lambda: (bound.ge, bound.ge - step),
        annotated_types.Gt: lambda: (bound.gt + step, bound.gt),
        annotated_types.Le: lambda: (bound.le, bound.le + step),
        annotated_types.Lt: lambda: (bound.lt - step, bound.lt),
    }[type(bound)]()
    assert made(name, inside) == inside
    refused(name, outside)


def test_every_number_has_a_bound_or_a_reader_of_its_own():
    assert {name for name, _ in BOUNDS} | {name for name in NUMERIC if OPTIONS[name].is_read_from_text} == set(NUMERIC)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("kep", "keep"), ("learning-rate", "learning_rate"), ("lookahed", "lookahead"), ("Seed", "seed")],
)
def test_an_unknown_name_gets_the_nearest_right_one(wrong, right, tmp_path):
    with pytest.raises(ConfigError, match=f"'{wrong}'.*did you mean '{right}'"):
        make_config(**{wrong: 1})
    (tmp_path / "run.toml").write_text(f"[{OPTIONS[right].section}]\n{wrong} = 1\n")
    with pytest.raises(ConfigError, match=f"'{wrong}'.*did you mean '{right}'"):
        read_options(tmp_path / "run.toml")


def test_a_name_like_no_other_gets_no_guess_and_a_move_gets_one():
    with pytest.raises(ConfigError, match=r"no option 'zzzz'$"):
        make_config(zzzz=1)
    assert nearest("zzzz", OPTIONS) == ""
    assert "did you mean 'exchange'" in refused("moves", "exchnge=1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"keep = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"keep = 1\nkeep = 2\n", "is not TOML"),
        (b"[chain]\ndelta = 1\n", "'chain', which is no section"),
        (b"[serch]\ndelta = 1\n", "'serch', which is no section .did you mean 'search'"),
        (b"epochs = 3\n", r"'epochs' stands outside of the sections; write it as epochs under \[train\]"),
        (b"[data]\nepochs = 3\n", r"'epochs' in \[data\], which is no option; it is epochs of \[train\]"),
    ],
)
def test_a_file_that_is_no_list_of_options(content, words, tmp_path):
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_options(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_options(tmp_path)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_tomls_own_words_for_no_number_are_refused(value, tmp_path):
    (tmp_path / "run.toml").write_text(f"[train]\nlearning_rate = {value}\n")
    with pytest.raises(ConfigError, match=r"learning_rate: .*finite"):
        make_config(**read_options(tmp_path / "run.toml"))


def test_given_options_stand_over_the_file_over_the_preset_over_the_default(tmp_path):
    (tmp_path / "run.toml").write_text('preset = "slides"\n[search]\nalpha = 3\n[runtime]\nseed = 7\n')
    config = make_config(**{**read_options(tmp_path / "run.toml"), "seed": 8})
    default, slides = Config(), make_config(preset="slides")
    assert config.runtime.seed == 8
    assert config.chain.alpha == "3" != slides.chain.alpha != default.chain.alpha
    assert config.chain.gates.kind == slides.chain.gates.kind == "sigmoid" != default.chain.gates.kind
    assert config.chain.decisions == slides.chain.decisions == default.chain.decisions


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_written_reads_back_equal(preset, tmp_path):
    config = make_config(
        preset=preset,
        hidden=(),
        moves="site=1,toggle=2",
        delta="linear:1:0.1:0.3",
        max_memory="1.5G",
        search_time=0.1,
        data='a "quoted" \\ näme.csv',
    )
    write_config(config, tmp_path / "config.toml")
    assert make_config(**read_options(tmp_path / "config.toml")) == config
    written = tomllib.loads((tmp_path / "config.toml").read_text(encoding="utf-8"))
    for name, section in config.sections().items():
        unset = {field for field in type(section).model_fields if getattr(section, field) is None}
        unread = {field for part, field in unused_options(config) if part == name}
        assert set(type(section).model_fields) - set(written[name]) == unset | unread


def test_a_configuration_cannot_be_changed_and_shares_nothing():
    one, other = Config(), Config()
    with pytest.raises(ValueError, match="frozen"):
        one.runtime = other.runtime
    with pytest.raises(ValueError, match="frozen"):
        one.runtime.seed = 3
    shares = {"exchange": 1.0}
    config = make_config(moves=shares)
    shares["site"] = 1.0
    assert config.chain.moves == {"exchange": 1.0}


def test_small_settings_of_a_configuration():
    config = make_config(
        data="some/table.csv",
        target="class",
        must_keep="age",
        must_drop="id",
        objective="worst-group:region",
        max_memory=10**9,
    )
    settings = config.data_settings()
    assert (settings.source, settings.reading.target, settings.max_memory) == ("some/table.csv", "class", 10**9)
    assert {"age", "id", "region"} <= set(settings.reading.required)
    assert (settings.test, settings.validation, settings.scale) == (0.2, 0.15, "auto")
    assert config.data_name() == "table"
    assert config.folder() == Path("runs/table")
    assert config.replace(out="elsewhere").folder() == Path("elsewhere")
    own = make_config(frozen=True, pretrain=3, start="obd,after=0").own_model_settings()
    assert (own.method, own.is_frozen, own.pretrain, own.is_start_scored) == ("markov", True, 3, True)
    assert not make_config(start="obd,after=2").own_model_settings().is_start_scored
    assert make_config(device="cpu", rank_timeout=7).rank_settings() == ("cpu", 7.0)


def test_a_record_fixes_the_evaluator_unless_candidates_are_rejected_early():
    assert make_config().with_evaluator("suffix").runtime.evaluator == "suffix"
    assert make_config().with_evaluator(None).runtime.evaluator == "auto"
    assert make_config(early_reject=0.1).with_evaluator("fused").runtime.evaluator == "auto"
