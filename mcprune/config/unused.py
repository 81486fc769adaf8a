"""Options without effect: refused where they were given; those that no such run reads are left out of its record."""

from __future__ import annotations

from typing import NamedTuple

from mcprune.config.facts import Facts, Traits
from mcprune.config.knobs import USES_DELTA
from mcprune.config.measures import ALL_SITES
from mcprune.config.options import OPTIONS, option
from mcprune.config.parsing import shown
from mcprune.config.resolved import ChainOptions, Evaluation
from mcprune.config.rule import worded
from mcprune.config.schema import Config
from mcprune.errors import ConfigError
from mcprune.objectives.specs import PLAIN, is_loss

# Options of the classifiers by name that the others do not read.
MLP_ONLY = ("hidden", "search_hidden", "activation", "dropout", "retrain_dropout", "bias")
OF_MODELS = {"mlp": MLP_ONLY, "lenet-300-100": MLP_ONLY[2:]}
# Options outside of [search] that only the chain reads.
CHAIN_TOO = (
    "mask_noise",
    "evaluator",
    "max_memory",
    "objective",
    "fdr",
    "must_keep",
    "must_drop",
    "groups",
    "macs",
    "parameters",
    "latency",
    "latency_rows",
    "latency_table",
    "pattern",
)
# Options that contradict a false discovery rate.
NOT_WITH_FDR = {
    "keep": "how many columns are kept follows from the rate",
    "macs": "a limit on costs would change which columns are kept",
    "parameters": "a limit on costs would change which columns are kept",
    "latency": "a limit on costs would change which columns are kept",
    "groups": "columns are tested one by one, and a rate over tied groups is another one",
    "must_keep": "the rate is that of columns which competed, all of them",
    "must_drop": "the rate is that of columns which competed, all of them",
    "max_time": "the competition takes the time that it takes",
    "search_time": "the competition takes the time that it takes",
}
# Options that contradict a pattern of weights.
NOT_WITH_PATTERN = {
    "must_keep": "a fixed weight would leave its group or block no choice",
    "must_drop": "a fixed weight would leave its group or block no choice",
    "groups": "groups of tied sites are another constraint",
    "macs": "the pattern says how many weights are kept",
    "parameters": "the pattern says how many weights are kept",
    "latency": "the pattern says how many weights are kept",
}
TRAINED_ONLY = ("mask_noise", "input_noise")
# What --alpha auto chooses.
CHOSEN_BY_AUTO = ("gates", "weight_bound")
# What acts on the size of a weight; by rank the order of the weights is all that counts.
BY_SIZE = ("rejection", "start_weight", "weight_bound")


class Idle(NamedTuple):
    """Options without effect: their flat names, what they need, what there is instead, and the option that decides it."""

    names: tuple[str, ...]
    need: str
    instead: str
    decided_by: str


def unused(config: Config) -> dict[str, tuple[str, str]]:
    """Return the options that the run does not read: flat name to what it belongs to, and what is there instead."""
    return {**_of_model(config), **_of_method(config), **_of_frozen(config), **_of_finetune(config)}


def unused_options(config: Config) -> set[tuple[str, str]]:
    """Return the places, section and field, of the options that the run does not read."""
    return {(OPTIONS[name].section, OPTIONS[name].field) for name in unused(config)}


def _of_model(config: Config) -> dict[str, tuple[str, str]]:
    own = () if config.model.is_file else OF_MODELS.get(config.model.name, ("width",))
    here = f"--model {config.model.name}"
    others = {name: ("--model mlp", here) for name in MLP_ONLY if name not in own}
    if "width" not in own:
        others["width"] = ("the convolutional networks, such as --model vgg13", here)
    return others


def _of_method(config: Config) -> dict[str, tuple[str, str]]:
    if config.method == "markov":
        return {}
    results = dict.fromkeys(CHAIN_TOO, ("--method markov", f"--method {config.method}"))
    if is_loss(config.problem.objective) and config.problem.objective != PLAIN:
        del results["objective"]  # backprop minimises it too
    if config.method == "gradient":
        search = config.gradient
        if search.alpha.kind == "auto":
            results |= dict.fromkeys(CHOSEN_BY_AUTO, ("an alpha that you name, since auto chooses it", "--alpha auto"))
        if search.gates is not None and search.gates.kind == "hard-concrete":
            results["rejection"] = ("the other kinds of gates", "--gates hard-concrete")
    return results


def _of_frozen(config: Config) -> dict[str, tuple[str, str]]:
    owner = ("a run without --frozen", "--frozen")
    return dict.fromkeys(TRAINED_ONLY, owner) if config.train.frozen else {}


def _of_finetune(config: Config) -> dict[str, tuple[str, str]]:
    kind = config.retrain.finetune
    return dict.fromkeys(idle_after(kind), ("the others", f"--finetune {kind}"))


def idle_after(finetune: str) -> tuple[str, ...]:
    """Return the options of [retrain] that a kind of fine-tuning does not read."""
    if finetune == "short":  # at the learning rate of the search, of its classifier
        return ("retrain_learning_rate", "retrain_dropout")
    if finetune in ("none", "least-squares"):
        names = ("epochs", "learning_rate", "weight_decay", "dropout", "input_noise")
        return tuple(f"retrain_{name}" for name in names)
    return ()


def check_options(config: Config) -> None:
    """Refuse options that were given and that the run would not read, or that contradict each other.

    Raises
    ------
    ConfigError
        Naming the option and what it belongs to.
    """
    for name, (owner, here) in unused(config).items():
        if config.is_set(name) and config.value(name) not in (None, False):
            raise ConfigError(
                f"{option(name)} does nothing under {here}: it belongs to {owner}. Leave it out, or change that."
            )
    _check_trained(config)
    _check_finetune(config)
    _check_probes(config)
    _check_fdr(config)
    _check_pattern(config)


def _check_trained(config: Config) -> None:
    if config.method == "markov":
        return
    for name in ("pretrain", "frozen"):
        if config.value(name):
            raise ConfigError(
                f"--{name} with --method {config.method}, which trains the classifier as it goes; leave --{name} out, or use "
                "--method markov"
            )


def _check_finetune(config: Config) -> None:
    retrain, sites = config.retrain, config.problem.sites
    if retrain.finetune in ("scratch", "warm") and "weights" in sites:
        raise ConfigError(
            f"finetune={retrain.finetune} with sites={sites!r}: dropped weights stay at 0 in a short update only; choose "
            "--finetune short, least-squares or none"
        )


def _check_probes(config: Config) -> None:
    search = config.chain
    name = search.proposals.name
    if name in ("probes", "slopes") and search.moves is not None and "informed" not in search.moves:
        raise ConfigError(
            f"proposals={name}, but no move is informed; add it, such as --moves informed=3,exchange=1, or leave --proposals out"
        )


def _check_fdr(config: Config) -> None:
    """Refuse what a choice by a false discovery rate does not know."""
    fdr = config.problem.fdr
    if fdr is None:
        return
    if config.problem.sites != "inputs":
        raise ConfigError(
            f"fdr={fdr:g} with sites={config.problem.sites!r}, but only columns have permuted copies to compete with. Leave --sites out, "
            "or choose a number by --keep."
        )
    for name, reason in NOT_WITH_FDR.items():
        if config.value(name) is not None:
            raise ConfigError(f"{option(name)} with --fdr {fdr:g}, but {reason}. Leave one of the two out.")


def _check_pattern(config: Config) -> None:
    """Refuse what a pattern of weights does not allow."""
    pattern, chain = config.problem.pattern, config.chain
    if pattern is None:
        return
    for name, reason in NOT_WITH_PATTERN.items():
        if config.value(name) is not None:
            raise ConfigError(f"{option(name)} with --pattern {pattern}, but {reason}. Leave one of the two out.")
    if chain.moves is not None and set(chain.moves) != {"exchange"}:
        raise ConfigError(
            f"--moves {worded(chain.moves)} with --pattern {pattern}, which only exchanges inside it keep. Leave --moves out."
        )
    if chain.gates.kind not in (None, "hard"):
        raise ConfigError(f"--gates {chain.gates} with --pattern {pattern}, whose gates are hard. Leave --gates out.")
    if (chain.start is not None and ALL_SITES in chain.start.names) or (
        config.is_set("keep_schedule") and chain.keep_schedule.kind != "constant"
    ):
        raise ConfigError(
            f"A mask with --pattern {pattern} keeps the same number of weights at every step, so n(t) cannot fall from all of them. Leave "
            "--keep-schedule out, and start from a measure or a mask."
        )


def check_method(config: Config, facts: Facts) -> None:
    """Refuse a budget or a measure that the method, or groups of sites, cannot take.

    Raises
    ------
    ConfigError
        Naming the option and what it belongs to.
    """
    if config.method != "markov" and not facts.is_single:
        raise ConfigError(
            f"A number for each kind of site does nothing under --method {config.method}: it belongs to --method markov. "
            "Give --keep one number."
        )
    chain = config.chain
    is_started = chain.start is not None and chain.start.names != (ALL_SITES,)
    if config.problem.groups is not None and (chain.proposals.is_measure or (is_started and not facts.is_single)):
        raise ConfigError("--start and --proposals MEASURE score single sites. Leave them out, or leave --groups out.")


def check_effects(
    config: Config, traits: Traits, chain: ChainOptions, evaluation: Evaluation, finetune: str
) -> tuple[dict[str, object], list[str]]:
    """Refuse options with a value of their own that another option keeps from having an effect.

    Where the data or the defaults do, not an option that is set, a note says so. `check_options` has options that no run reads.

    Returns
    -------
    dict of str to object
        The options without effect, at their defaults.
    list of str
        The notes.

    Raises
    ------
    ConfigError
        Naming the option, what it needs, and what there is instead.
    """
    idle = _of_chain(config, chain, evaluation, is_cold=traits.is_cold) if traits.is_chain else []
    idle.append(Idle(idle_after(finetune), "another --finetune", f"--finetune {finetune}", "finetune"))
    defaults: dict[str, object] = {}
    notes = []
    for names, need, instead, decided_by in idle:
        for name in names:
            value, default = config.value(name), _default(config, name)
            if not config.is_set(name) or value is None or value == default:
                continue
            text = f"{option(name)} {shown(name, value)} does nothing under {instead}: it needs {need}."
            if config.is_set(decided_by):
                raise ConfigError(f"{text} Leave it out, or change that.")
            defaults[name] = default
            notes.append(text)
    return defaults, notes


def _default(config: Config, name: str) -> object:
    entry = OPTIONS[name]
    return type(config.sections()[entry.section]).model_fields[entry.field].default


def _of_chain(config: Config, chain: ChainOptions, evaluation: Evaluation, *, is_cold: bool) -> list[Idle]:
    moves = {name for name, share in chain.moves.items() if share > 0}
    mixture, on = f"--moves {worded(chain.moves)}", f"--eval-on {evaluation.on}"
    idle = []
    if chain.is_by_rank:
        idle.append(Idle(BY_SIZE, "gates by the size of the weights, such as --gates hard", "--gates rank", "gates"))
    uses_delta = bool(moves & set(USES_DELTA))
    if not uses_delta:
        idle.append(Idle(("delta",), f"one of the moves {', '.join(USES_DELTA)}", mixture, "moves"))
    if "block" not in moves:
        idle.append(Idle(("move_sites",), "the move block", mixture, "moves"))
    adapts_delta = uses_delta and chain.adapt_delta > 0
    if is_cold and not chain.is_by_rank and not adapts_delta:
        idle.append(Idle(("weight_bound",), "a temperature above 0", "--temperature 0", "temperature"))
    learns = "informed" in moves and not is_cold
    is_usual = chain.warm_up in (0.5, chain.keep_schedule.until)  # as a run records it
    if not (adapts_delta or learns or chain.replicas > 1 or is_usual):
        need = "something that adapts: --adapt-delta, several --replicas, or the move informed at a temperature above 0"
        idle.append(Idle(("warm_up",), need, mixture, "moves"))
    if evaluation.on != "folds":
        idle.append(Idle(("eval_folds",), "--eval-on folds", on, "eval_on"))
    if evaluation.on != "held-out":
        idle.append(Idle(("eval_fraction",), "--eval-on held-out", on, "eval_on"))
    schedule = config.chain.keep_schedule
    if schedule.kind == "constant" and schedule != type(schedule)(kind="constant"):
        raise ConfigError(
            f"keep_schedule={schedule}, but a constant n(t) neither falls nor rises. Write constant alone, or geometric."
        )
    return idle
