"""One declaration of every option: the TOML file, the command line and Python all read it from here."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mcprune.config.budgets import site_counts
from mcprune.config.gradient import unused
from mcprune.config.groups import groups_option
from mcprune.config.importance import ImportanceOptions
from mcprune.config.oneshot import OneShotOptions, unused_frozen
from mcprune.config.parsing import (
    byte_count,
    interval_text,
    layer_widths,
    move_shares,
    nearest,
    objective_text,
    positive_schedule_text,
    schedule_text,
    site_names,
)
from mcprune.config.presets import PRESETS
from mcprune.errors import ConfigError, FolderError

ScheduleText = Annotated[str, BeforeValidator(schedule_text)]


class RunConfig(OneShotOptions, ImportanceOptions):
    """Every option of a run. Unknown names, NaN and infinities are refused.

    Fields left at None are settled from the data when the run starts; the run's folder records what they became.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        # Else `keep = true` would keep one site.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"true and false are no value here, met {value!r}")
        return value

    @field_validator("out", "data", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, options: Any) -> Any:
        """Put the preset's options below the given ones."""
        preset = options.get("preset") if isinstance(options, dict) else None
        return {**PRESETS.get(preset, {}), **options} if isinstance(preset, str) else options

    data: str = Field(
        "digits", min_length=1, description="data set by name, or a file or folder", json_schema_extra={"group": "data"}
    )
    target: str | None = Field(
        None, description="column that holds the class (tables)", json_schema_extra={"group": "data"}
    )
    test: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="part of the rows kept for the final test, unless the data brings its own",
        json_schema_extra={"group": "data"},
    )
    validation: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="part of the other rows that choices may look at",
        json_schema_extra={"group": "data"},
    )
    scale: Literal["auto", "standard", "unit", "none"] = Field(
        "auto",
        description="scaling of the inputs, learned on the training part; auto: unit for images, standard for tables",
        json_schema_extra={"group": "data"},
    )

    sites: str = Field(
        "inputs",
        min_length=1,
        description="what may be dropped: inputs, units, channels, weights, some of them, or as units:LAYER,... of the last three",
        json_schema_extra={"group": "sites"},
    )
    keep: Annotated[int | dict[str, int] | None, BeforeValidator(site_counts)] = Field(
        None,
        description="n, how many sites to keep; or a number for each kind of site, such as inputs=6,units=20; beside --macs or "
        "--parameters it counts the inputs where these are one of several kinds [a quarter of all, without a bound on costs]",
        json_schema_extra={"group": "sites", "placeholder": "INTEGER|KIND=INTEGER,..."},
    )
    macs: int | None = Field(
        None,
        ge=1,
        le=2**62,
        description="most multiply-accumulates that the kept model may need for a row [no bound]",
        json_schema_extra={"group": "chain"},
    )
    parameters: int | None = Field(
        None,
        ge=1,
        le=2**62,
        description="most parameters that the kept model may have [no bound]",
        json_schema_extra={"group": "chain"},
    )

    model: Literal["mlp", "lenet-300-100", "vgg13", "mobilenet_v1", "resnet56"] = Field(
        "mlp",
        description="classifier by name; the last three take images",
        json_schema_extra={"group": "classifier"},
    )
    width: float | None = Field(
        None,
        gt=0,
        le=16,
        description="multiplies the channels of every layer of a convolutional network, such as 0.25 [1]",
        json_schema_extra={"group": "classifier"},
    )
    bias: Literal["yes", "no"] = Field(
        "yes", description="biases in the linear layers of an mlp", json_schema_extra={"group": "classifier"}
    )
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], BeforeValidator(layer_widths)] = Field(
        (128, 64), description="widths of the hidden layers", json_schema_extra={"group": "classifier"}
    )
    search_hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65536)], ...] | None, BeforeValidator(layer_widths)
    ] = Field(
        None,
        description="widths while inputs are searched [512 for a chain on 20,000 training rows or more, else those of --hidden]",
        json_schema_extra={"group": "classifier"},
    )
    activation: Literal["relu", "tanh", "sigmoid", "gelu", "softplus"] = Field(
        "relu", description="activation of the hidden layers", json_schema_extra={"group": "classifier"}
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout in the hidden layers while training",
        json_schema_extra={"group": "classifier"},
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="passes over the training rows [30, more for few rows]",
        json_schema_extra={"group": "classifier"},
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="rows in a step of backprop [256 from 20,000 training rows on, else 64]",
        json_schema_extra={"group": "classifier"},
    )
    learning_rate: float = Field(
        2e-3,
        gt=0,
        description="Adam's step while searching; it decays over the last part of the run",
        json_schema_extra={"group": "classifier"},
    )
    weight_decay: float = Field(
        0.0, ge=0, description="decoupled weight decay (AdamW)", json_schema_extra={"group": "classifier"}
    )
    perturb: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the kept sites that each training row trades for dropped ones",
        json_schema_extra={"group": "classifier"},
    )
    jitter: float | None = Field(
        None,
        ge=0,
        description="deviation of the normal noise on the scaled inputs while searching, of rows that train and that judge "
        "[0.1 for images from 20,000 training rows on, else 0]",
        json_schema_extra={"group": "classifier"},
    )
    retrain_jitter: float | None = Field(
        None,
        ge=0,
        description="the same while retraining [0.1 for images, else 0]",
        json_schema_extra={"group": "classifier"},
    )
    retrain_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="dropout in the hidden layers while retraining [that of --dropout; 0.2 for a perceptron on 20,000 grey images or more]",
        json_schema_extra={"group": "classifier"},
    )
    retrain_warp: float = Field(
        0.0,
        ge=0,
        le=4,
        description="images while retraining: shifts of up to so many pixels, turns of 8 degrees and scales of 8% times that",
        json_schema_extra={"group": "classifier"},
    )
    retrain_rate: float | None = Field(
        None,
        gt=0,
        description="Adam's step while retraining; it rises to twice that and falls to 0 [that of --learning-rate]",
        json_schema_extra={"group": "classifier"},
    )
    retrain_distill: float = Field(
        0.0,
        ge=0,
        le=20,
        description="the small classifier learns the outputs of one on all sites, trained first, in place of the labels: the temperature "
        "of these outputs, such as 2; 0: the labels",
        json_schema_extra={"group": "classifier"},
    )
    retrain_epochs: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="passes for the small classifier on what is kept [30, more for few rows, 60 for a perceptron on 20,000 grey "
        "images or more; as the search under --update found]",
        json_schema_extra={"group": "classifier"},
    )

    preset: Literal["default", "slides"] = Field(
        "default",
        description="slides: the plain rule w + delta U[-1,1] on every site, n and alpha constant",
        json_schema_extra={"group": "chain"},
    )
    method: Literal["markov", "gradient", "importance"] = Field(
        "markov",
        description="the way to the mask: the chain, gates trained by backprop, or an importance measure",
        json_schema_extra={"group": "chain"},
    )
    objective: Annotated[str, BeforeValidator(objective_text)] = Field(
        "cross-entropy",
        description="what the chain minimises: NAME[:parameter] of docs/objectives.md, or FILE.py:NAME of a function",
        json_schema_extra={"group": "chain", "placeholder": "NAME|FILE.py:NAME"},
    )
    must_keep: Annotated[tuple[str, ...] | None, BeforeValidator(site_names)] = Field(
        None,
        description="sites that are kept in any case, by name or index, and count towards n",
        json_schema_extra={"group": "chain", "placeholder": "SITE,..."},
    )
    must_drop: Annotated[tuple[str, ...] | None, BeforeValidator(site_names)] = Field(
        None,
        description="sites that are dropped in any case, by name or index",
        json_schema_extra={"group": "chain", "placeholder": "SITE,..."},
    )
    groups: Annotated[dict[str, dict[str, Any]] | None, BeforeValidator(groups_option)] = Field(
        None,
        description="sites that are kept or dropped together, as NAME=SITE,...:COST joined by ;, or a TOML file of them; "
        "keep is then the most that the kept may cost, a group without a cost its number of sites (docs/budgets.md)",
        json_schema_extra={"group": "chain", "placeholder": "FILE|NAME=SITE,...[:COST];..."},
    )
    moves: Annotated[dict[str, float], BeforeValidator(move_shares)] = Field(
        {"exchange": 1.0},
        description="shares of the moves, such as exchange=3,toggle=1",
        json_schema_extra={"group": "chain"},
    )
    delta: ScheduleText = Field(
        "1.0",
        description="proposal half-width; a number or kind:start:end[:until]",
        json_schema_extra={"group": "chain", "steered": [0.0, 1e6]},
    )
    temperature: ScheduleText = Field(
        "0.0",
        description="in units of L_tot; 0 accepts strict decreases only; a number or kind:start:end[:until]",
        json_schema_extra={"group": "chain", "steered": [0.0, 1e6]},
    )
    alpha: ScheduleText = Field(
        "1.0",
        description="weight of L_pru in L_tot; a number or kind:start:end[:until] (gradient: 10 if fixed, else a ramp)",
        json_schema_extra={"group": "chain", "steered": [0.0, 1e9]},
    )
    rejection: Literal["plain", "modified"] = Field(
        "plain", description="L_rej, or L_rej' with the product of all gates", json_schema_extra={"group": "chain"}
    )
    gates: Literal["sigmoid", "sharpened", "hard"] = Field(
        "hard", description="how a site's weight gates it while the chain judges", json_schema_extra={"group": "chain"}
    )
    sharpness: Annotated[str, BeforeValidator(positive_schedule_text)] = Field(
        "geometric:1.0:16.0",
        description="beta in sigmoid(beta w) with --gates sharpened",
        json_schema_extra={"group": "chain"},
    )
    budget: Literal["geometric", "constant"] = Field(
        "geometric",
        description="n(t): falling from all sites to n, or n from the start",
        json_schema_extra={"group": "chain"},
    )
    budget_until: float | None = Field(
        None,
        gt=0,
        le=1,
        description="part of the run over which n(t) falls [0.3 before waves, else 0.5]",
        json_schema_extra={"group": "chain"},
    )
    waves: int | None = Field(
        None,
        ge=0,
        le=2**31,
        description="times that n(t) rises again after its fall, and falls "
        "[40 from 20,000 training rows on at temperature 0, 0 for channels]",
        json_schema_extra={"group": "chain"},
    )
    wave_height: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="share of n by which the first wave rises above it; later ones rise less",
        json_schema_extra={"group": "chain"},
    )
    budget_drops: Literal["pool", "chain"] = Field(
        "pool",
        description="how the count follows n(t): the cheapest of a drawn pool are dropped, or only by accepted moves",
        json_schema_extra={"group": "chain"},
    )
    budget_pressure: float = Field(
        1.0,
        ge=0.25,
        le=4,
        description="n(t) is n (n(t) as planned / n)^(1/pressure): above 1 sites go earlier, below 1 later",
        json_schema_extra={"group": "chain"},
    )
    pool: int = Field(
        32,
        ge=1,
        le=2**31,
        description="sites drawn into the pool for each one that must be dropped or comes back",
        json_schema_extra={"group": "chain"},
    )
    move_sites: int = Field(
        8, ge=1, le=2**31, description="sites changed by a block move", json_schema_extra={"group": "chain"}
    )
    start_weight: float = Field(
        4.0, gt=0, le=100, description="weight of every site at the start", json_schema_extra={"group": "chain"}
    )
    weight_bound: float = Field(
        8.0,
        gt=0,
        le=1000,
        description="wall of the box that reflects weights at a temperature above 0",
        json_schema_extra={"group": "chain"},
    )
    decisions: int = Field(
        64, ge=1, le=2**31, description="proposals consumed in a block", json_schema_extra={"group": "chain"}
    )
    train_steps: int = Field(
        8, ge=1, le=2**31, description="steps of backprop between blocks", json_schema_extra={"group": "chain"}
    )
    replicas: int = Field(
        1,
        ge=1,
        le=1024,
        description="R, chains on a ladder of temperatures that swap (parallel tempering); 1 is a single chain",
        json_schema_extra={"group": "chain"},
    )
    hottest: float | None = Field(
        None,
        gt=0,
        description="temperature of the hottest replica; --temperature is the coldest's [10 times that]",
        json_schema_extra={"group": "chain"},
    )
    swap_every: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="proposals that each replica consumes between rounds of swaps [a block's]",
        json_schema_extra={"group": "chain"},
    )
    adapt_delta: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="acceptance that delta is adapted to during the warm-up [delta stays as given]",
        json_schema_extra={"group": "chain"},
    )
    warm_up: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="part of the run during which ladder, delta and scores adapt [half, or until n(t) has fallen if later]",
        json_schema_extra={"group": "chain"},
    )
    speculate: int = Field(
        16,
        ge=1,
        le=65536,
        description="K, candidates evaluated ahead; changes the speed, never the chain",
        json_schema_extra={"group": "chain"},
    )
    evaluation_rows: int = Field(
        4096,
        ge=1,
        le=2**31,
        description="rows of the evaluation batch at the end",
        json_schema_extra={"group": "chain"},
    )
    evaluation_rows_early: int = Field(
        2048,
        ge=1,
        le=2**31,
        description="rows of the evaluation batch while n(t) falls",
        json_schema_extra={"group": "chain"},
    )
    judge_on: Literal["auto", "train", "held-out"] = Field(
        "auto",
        description="rows that judge a candidate; auto: held-out rows below 20,000 training rows",
        json_schema_extra={"group": "chain"},
    )
    judge_share: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="part of the training rows held out as judges",
        json_schema_extra={"group": "chain"},
    )

    decide: Literal["exact", "staged"] = Field(
        "exact",
        description="staged: approximate; growing parts of the evaluation batch give up the hopeless early",
        json_schema_extra={"group": "chain"},
    )
    wrong_rate: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="with --decide staged: chance that a candidate is given up which the whole batch would accept",
        json_schema_extra={"group": "chain"},
    )

    compare: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="random masks and first-layer magnitude beside the result; auto: below 5,000 rows, or if they cost little",
        json_schema_extra={"group": "run"},
    )
    evaluator: Literal["auto", "full", "suffix", "incremental", "fused", "graph"] = Field(
        "auto",
        description="how candidates are evaluated; the fastest that serves is chosen (mcprune evaluators shows them)",
        json_schema_extra={"group": "run"},
    )
    seed: int = Field(0, ge=0, lt=2**32, description="the run is a function of it", json_schema_extra={"group": "run"})
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the classifier lives", json_schema_extra={"group": "run"}
    )
    amp: bool = Field(
        False,
        description="bfloat16 (torch's autocast) in forward passes of backprop, of the search and the retraining; "
        "candidates and results stay float32",
        json_schema_extra={"group": "classifier"},
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="threads of torch and numba [the cores at hand; 1 below 20,000 training rows]",
        json_schema_extra={"group": "run"},
    )
    max_memory: Annotated[int, BeforeValidator(byte_count)] = Field(
        2**30,
        ge=2**20,
        description="bound for one batch of candidates, such as 512M",
        json_schema_extra={"group": "run"},
    )
    max_time: float | None = Field(
        None,
        gt=0,
        description="seconds for the search, of a chain from behind its first block on; a chain that would not be done plans fewer "
        "blocks, others end early and harden",
        json_schema_extra={"group": "run"},
    )
    checkpoint_every: Annotated[str, BeforeValidator(interval_text)] = Field(
        "auto",
        description="how often the run is saved for mcprune resume: a time such as 30s or 2m, or epochs as a plain number; auto: "
        "every 30 s, more seldom where writing would take more than a hundredth of the time",
        json_schema_extra={"group": "run", "placeholder": "TIME|EPOCHS"},
    )
    rank_timeout: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="with torchrun: seconds after which a process that says nothing is given up [300]",
        json_schema_extra={"group": "run"},
    )
    train_ranks: Literal["each", "shared"] = Field(
        "each",
        description="with torchrun: each process trains the whole classifier, and the run is that of one process to the bit; or they "
        "share the rows of each step of backprop, and the bits are those of as many processes",
        json_schema_extra={"group": "run"},
    )
    out: str | None = Field(
        None, min_length=1, description="folder of the run [runs/NAME]", json_schema_extra={"group": "run"}
    )
    force: bool = Field(False, description="replace the folder if it exists", json_schema_extra={"group": "run"})


def _message(error: ValidationError, given: dict[str, Any]) -> str:
    """One line for the first thing that is wrong: cause, what was met, remedy."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    text = str(first["msg"]).removeprefix("Value error, ").rstrip(". ")
    text = text[0].lower() + text[1:] if text[:1].isupper() and not text[1:2].isupper() else text
    met = "" if "met " in text or name not in given else f", met {given[name]!r}"
    field = RunConfig.model_fields.get(name)
    remedy = f"; {option(name)} is: {field.description.split(' [')[0]}" if field and field.description else ""
    return f"{name}: {text}{met}{remedy}"


def option(name: str) -> str:
    """Return the command line's spelling of a field."""
    return "--" + name.rstrip("_").replace("_", "-")


def field_name(name: str) -> str:
    """Return the field that a name in TOML or Python means: `lambda` is a word of Python's own, its field is `lambda_`."""
    return "lambda_" if name == "lambda" else name


def make_config(**options: Any) -> RunConfig:
    """Return the checked configuration of the given options over the preset's over the defaults.

    Raises
    ------
    ConfigError
        An unknown name (with the nearest right one) or a value out of its range.
    """
    options = {field_name(name): value for name, value in options.items()}
    unknown = [name for name in options if name not in RunConfig.model_fields]
    if unknown:
        raise ConfigError(f"there is no option {unknown[0]!r}{nearest(unknown[0], RunConfig.model_fields)}")
    try:
        return RunConfig(**options)
    except ConfigError as error:
        raise error
    except ValidationError as error:
        raise ConfigError(_message(error, options)) from None


def read_options(path: str | Path) -> dict[str, Any]:
    """Return the options of a TOML file, names checked, values not yet.

    Raises
    ------
    ConfigError
        A file that is missing or not TOML, or a key that is no option.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        options = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"the configuration {str(path)!r} cannot be read: {error.strerror}; give --config a TOML file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration {str(path)!r} is not TOML: {error}; mend that place") from None
    options = {field_name(name): value for name, value in options.items()}
    for name in options:
        if name not in RunConfig.model_fields:
            raise ConfigError(
                f"{str(path)!r} has the key {name!r}, which is no option{nearest(name, RunConfig.model_fields)}"
            )
    return options


def recorded_options(config: RunConfig) -> dict[str, Any]:
    """Return the options that a record of the run holds, in TOML's types: those that are set and that the run reads."""
    left_out = {**unused(config), **unused_frozen(config)}
    values = {name: value for name, value in config.model_dump().items() if value is not None and name not in left_out}
    lists = ("hidden", "search_hidden", "must_keep", "must_drop", "counts")
    return values | {name: list(values[name]) for name in lists if name in values}


def write_config(config: RunConfig, path: Path) -> None:
    """Write the configuration as TOML; what is None is left out, since TOML has no null, and what the run cannot use."""
    try:
        path.write_text(tomli_w.dumps(recorded_options(config)), encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{str(path)!r} cannot be written: {error.strerror}; choose another --out") from None
