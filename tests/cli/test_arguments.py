import pytest

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.help import is_listed, meaning
from mcprune.config.options import OPTIONS, SECTIONS, option
from mcprune.config.parsing import shown
from mcprune.config.schema import PRESETS, Config, make_config
from mcprune.errors import ConfigError


def config_of(*arguments):
    return make_config(**run_options(list(arguments))[0])


def test_nothing_given_is_the_default():
    assert run_options([]) == ({}, False, False)
    assert config_of() == Config()


@pytest.mark.parametrize(
    "name", [name for name, entry in OPTIONS.items() if entry.info.default is not None and not entry.is_flag]
)
def test_the_default_in_the_help_can_be_typed_and_is_the_default(name):
    entry = OPTIONS[name]
    method = ["--method", entry.methods[0]] if entry.methods else []
    assert config_of(*method, option(name), shown(name, entry.info.default)) == config_of(*method)


def all_of_it():
    return " ".join(run_parser().format_all().split())


def test_every_option_has_its_meaning_and_default_in_the_help():
    text = all_of_it()
    for entry in OPTIONS.values():
        if is_listed(entry):
            assert f" {entry.flag}" in text
            assert "".join(meaning(entry).split()) in text.replace(" ", "")  # lines are broken at hyphens as well
            assert "(default: " in meaning(entry)
    for name in ("--config", "--quiet", "--json", "--help-all"):
        assert name in text


def test_the_first_page_of_the_help_is_one_screen_of_some_twenty_options(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        run_parser().read(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100
    listed = [line.split()[0] for line in lines if line.startswith("  --")]
    of_run = [flag for flag in listed if flag[2:].replace("-", "_") in OPTIONS]
    assert 18 <= len(of_run) <= 24
    assert of_run[:4] == ["--data", "--target", "--keep", "--sites"]
    assert "--help-all" in listed
    assert not {"--gate-optimizer", "--pool", "--retrain-epochs"} & set(listed)


def test_the_second_page_has_all_options_by_section(capsys):
    with pytest.raises(SystemExit) as leave:
        run_parser().read(["--help-all"])
    assert not leave.value.code
    text = capsys.readouterr().out
    places = [text.index(f"[{section}]") for section in SECTIONS]
    assert places == sorted(places)
    assert text.index("--gate-optimizer") > text.index("[search] --method gradient")
    assert sum(is_listed(entry) for entry in OPTIONS.values()) <= 66  # five of them say how a table is read and split


@pytest.mark.parametrize("preset", [name for name, options in PRESETS.items() if options])
def test_what_the_help_says_of_a_preset_gives_the_preset(preset):
    text = all_of_it()
    sentence = text.split(f"--preset {preset}: ")[1].split(". A TOML")[0].split()
    assert config_of(*sentence) == config_of("--preset", preset)


def test_the_command_line_stands_over_the_file_over_the_preset_over_the_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'preset = "slides"\n[search]\nalpha = 3.0\n[runtime]\nseed = 7\nforce = true\n[model]\nhidden = [32]\n'
    )
    default, preset = Config(), config_of("--preset", "slides")
    config = config_of("--config", str(file), "--seed", "8", "--no-force")
    assert (config.runtime.seed, config.runtime.force) == (8, False)  # the command line
    assert (config.chain.alpha, config.model.hidden) == (config_of("--alpha", "3").chain.alpha, (32,))  # the file
    assert config.chain.moves == preset.chain.moves != default.chain.moves  # the preset
    assert config.train.batch_size == default.train.batch_size


def test_values_reach_their_fields():
    config = config_of(
        *("--hidden", "32,16", "--moves", "exchange=3,toggle=1", "--max-memory", "512M"),
        *("--delta=linear:1:0.5", "--keep", "5", "--force", "--target", "-odd-"),
    )
    assert config.model.hidden == (32, 16)
    assert config.chain.moves == {"exchange": 0.75, "toggle": 0.25}
    assert config.runtime.max_memory == 2**29
    assert config.chain.delta.startswith("linear")
    assert (config.problem.keep, config.runtime.force, config.data.target) == (5, True, "-odd-")


def test_flags_of_the_screen_are_not_of_the_run():
    assert run_options(["--json", "--quiet"]) == ({}, True, True)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--kep", "5"], ["'--kep'", "'--keep'"]),
        (["--batch_size=5"], ["'--batch_size'", "'--batch-size'"]),
        (["--kee", "5"], ["'--kee'", "'--keep'"]),  # no abbreviations: they would hide a wrong name
        (["--keep"], ["--keep", "expected one argument"]),
        (["digits"], ["'digits'", "--data"]),
        (["--force=yes"], ["--force", "'yes'"]),
    ],
)
def test_a_command_line_that_cannot_be_read(arguments, parts):
    with pytest.raises(ConfigError) as error:
        run_options(arguments)
    text = str(error.value)
    assert all(part in text for part in [*parts, "mcprune run --help"])
    assert "\n" not in text


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--keep", "many"], ["--keep", "'many'", "whole number"]),
        (["--keep", "0"], ["--keep", "'0'"]),
        (["--keep", "-3"], ["--keep", "'-3'"]),
        (["--keep", "1.5"], ["--keep", "'1.5'"]),
        (["--delta", "-1"], ["--delta", "-1"]),
        (["--delta", "-inf"], ["--delta", "-inf"]),
        (["--temperature", "nan"], ["--temperature", "nan"]),
        (["--learning-rate", "inf"], ["--learning-rate", "'inf'"]),
        (["--seed", "-1"], ["--seed", "'-1'"]),
        (["--device", "gpu"], ["--device", "'gpu'", "'cuda'"]),
        (["--moves", "exchnge=1"], ["--moves", "'exchnge'", "'exchange'"]),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_option(arguments, parts):
    with pytest.raises(ConfigError) as error:
        config_of(*arguments)
    assert all(part in str(error.value) for part in parts)


def test_a_file_that_is_missing_or_has_a_wrong_key(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        run_options(["--config", str(tmp_path / "none.toml")])
    (tmp_path / "run.toml").write_text("[problem]\nkep = 3\n")
    with pytest.raises(ConfigError, match="'keep'"):
        run_options(["--config", str(tmp_path / "run.toml")])
