"""From what was asked and the facts of a run to settings without gaps: a pure function, and the one place of defaults."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from mcprune.chain.schedules import parse, parse_temperature
from mcprune.config import rules
from mcprune.config.budgets import CUT_KINDS, PART_KINDS
from mcprune.config.facts import Facts, Traits
from mcprune.config.options import option
from mcprune.config.recorded import recorded_search
from mcprune.config.resolve_search import resolve_chain, resolve_gradient, resolve_importance, value_or
from mcprune.config.resolved import (
    ChainOptions,
    Evaluation,
    ModelSettings,
    RetrainSettings,
    RuntimeSettings,
    SearchOptions,
    TrainSettings,
)
from mcprune.config.rule import number_at
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import Gradient
from mcprune.config.sections.importance import Importance
from mcprune.config.unused import check_effects, check_method
from mcprune.errors import ConfigError
from mcprune.objectives.specs import is_loss


class Resolved(NamedTuple):
    """The settings of a run.

    Attributes
    ----------
    chain : ChainOptions
        `search`, or what a chain would have under another method: its evaluators are used there as well.
    config : Config
        As asked, with what was settled: the run's record, from which it repeats.
    notes : tuple of str
        What is worth saying of the choices.
    """

    model: ModelSettings
    train: TrainSettings
    evaluation: Evaluation
    search: SearchOptions
    chain: ChainOptions
    retrain: RetrainSettings
    runtime: RuntimeSettings
    config: Config
    notes: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, facts: Facts) -> Self:
        """Settle a configuration.

        Parameters
        ----------
        config : Config
            Its options are those that the run reads (`check_options`).
        facts : Facts

        Raises
        ------
        ConfigError
            Options that contradict the facts, or each other.
        """
        traits = traits_of(config, facts)
        notes: list[str] = []
        check_method(config, facts)
        model = resolve_model(config, facts)
        evaluation = _evaluation(config, facts, traits, notes)
        train = _train(config, facts, traits, evaluation)
        retrain = _retrain(config, facts, traits, train)
        chain = resolve_chain(config.chain, facts, traits, train)
        without_effect, texts = check_effects(config, traits, chain, evaluation, retrain.finetune)
        notes += texts
        search: SearchOptions = chain
        if isinstance(config.search, Gradient):
            search = resolve_gradient(config.search, traits, train)
        elif isinstance(config.search, Importance):
            search = resolve_importance(config.search, facts, traits, train)
        falling = chain.keep_schedule
        evaluation = evaluation._replace(falls_until=falling.until if falling.kind == "geometric" else 0.0)
        runtime = _runtime(config, facts, traits, notes)
        settled = config.replace(
            scale=facts.scale,
            search_hidden=model.search_hidden,
            epochs=train.epochs,
            batch_size=train.batch_size,
            train_steps=train.steps,
            input_noise=train.input_noise,
            dropout=model.dropout,
            weight_decay=train.weight_decay,
            mask_noise=train.mask_noise,
            finetune=retrain.finetune,
            retrain_epochs=retrain.epochs,
            retrain_learning_rate=retrain.learning_rate,
            retrain_weight_decay=retrain.weight_decay,
            retrain_dropout=retrain.dropout,
            retrain_input_noise=retrain.input_noise,
            device=runtime.device,
            threads=runtime.threads,
            keep=facts.keep,
            **recorded_search(config, search, evaluation),
        ).replace(**without_effect)
        return cls(model, train, evaluation, search, chain, retrain, runtime, settled, tuple(notes))

    @property
    def method(self) -> str:
        """The way to the mask: markov, gradient or importance."""
        return self.config.method

    @property
    def objective(self) -> str:
        """The name of what the chain minimises."""
        return self.config.problem.objective

    def with_chain(self, chain: ChainOptions) -> Self:
        """Return the settings with another chain; the record stays."""
        return self._replace(chain=chain, search=chain if isinstance(self.search, ChainOptions) else self.search)

    def with_search_time(self, seconds: float) -> Self:
        """Return the settings, and their record, with another time for the search."""
        return self._replace(
            runtime=self.runtime._replace(search_time=seconds), config=self.config.replace(search_time=seconds)
        )

    def with_threads(self, threads: int) -> Self:
        """Return the settings, and their record, with another number of threads."""
        return self._replace(
            runtime=self.runtime._replace(threads=threads), config=self.config.replace(threads=threads)
        )


def traits_of(config: Config, facts: Facts) -> Traits:
    """Return what the rules look at."""
    problem, chain, temperature = config.problem, config.chain, parse_temperature(config.chain.temperature)
    gates, alpha = chain.gates.kind, parse(value_or(chain.alpha, "0"))
    is_large, is_frozen = facts.rows >= rules.LARGE, config.train.frozen
    is_own_mlp = not facts.is_users_model and config.model.name == "mlp"
    may_fold = config.method == "markov" and not is_frozen and is_own_mlp and chain.early_reject is None
    traits = Traits(
        is_chain=config.method == "markov",
        is_large=is_large,
        is_grey=is_large and facts.is_grey and not is_frozen,
        has_some_images=rules.IMAGES <= facts.rows < rules.LARGE and chain.eval_on in ("auto", "train"),
        is_pixels=facts.is_image and facts.kinds.isdisjoint(CUT_KINDS),
        is_frozen=is_frozen,
        is_fixed=facts.is_fixed,
        is_own_mlp=is_own_mlp,
        has_channels=not facts.kinds.isdisjoint(CUT_KINDS),
        has_parts=not facts.kinds.isdisjoint(PART_KINDS),
        has_weights="weights" in facts.kinds,
        is_sloped=chain.proposals.name == "slopes",
        has_groups=problem.groups is not None and not facts.is_single,
        has_pattern=problem.pattern is not None,
        only_inputs=problem.sites == "inputs",
        is_single=facts.is_single,
        is_by_rank=facts.is_single and problem.pattern is None and max(alpha.start, alpha.end) == 0
        if gates is None
        else gates == "rank",
        is_costed=problem.bounds_costs,
        is_counted=not problem.bounds_costs and (problem.groups is None or facts.is_single),
        is_cold=temperature.start == temperature.end == 0,
        is_followed=chain.keep_schedule.kind == "geometric" and not chain.pool.is_off,
        may_be_fresh=config.retrain.finetune in ("auto", "scratch"),
        may_fold=may_fold and set(problem.sites.split(",")) <= {"inputs", "units"},
        is_folded=False,
        is_table=_is_table(config, facts),
        is_narrow=facts.size <= rules.NARROW,
        is_short_list=facts.size < rules.SHORT_LIST,
        is_crowded=facts.rows <= rules.ROWS_AN_INPUT * facts.n,
        is_roomy=min(config.model.hidden, default=0) >= rules.ROOMY,
        is_retrained_long=value_or(config.retrain.epochs, rules.USUAL_EPOCHS) >= rules.USUAL_EPOCHS,
        is_augmented=config.retrain.warp > 0 or config.retrain.distill > 0,
    )
    return traits._replace(is_folded=_evaluated_on(config, traits) == "folds")


def _is_table(config: Config, facts: Facts) -> bool:
    """Whether a chain of exchanges chooses inputs of our own MLP by the loss of backprop, on few rows."""
    problem, chain = config.problem, config.chain
    is_ours = not facts.is_users_model and config.model.name == "mlp" and not config.train.frozen
    is_one_count = not problem.bounds_costs and facts.is_single
    is_plain_chain = not any(chain.is_set(name) for name in ("moves", "keep_schedule", "pool"))
    is_small = facts.rows < rules.LARGE and 0 < facts.n < facts.size
    epochs, batch = config.train.epochs, value_or(config.train.batch_size, rules.BATCH_SIZE.rules[-1].value)
    is_long = epochs is None or epochs * max(1, facts.rows // batch) >= rules.LONG_STEPS
    is_markov = config.method == "markov" and facts.kinds == {"inputs"} and is_loss(problem.objective)
    return is_markov and is_ours and is_one_count and is_plain_chain and is_small and is_long


def resolve_model(config: Config, facts: Facts) -> ModelSettings:
    """Settle the built-in classifier; of the facts only those of the data count.

    Raises
    ------
    ConfigError
        Other widths for the search where the classifier's own units, or a model of the user's, are searched.
    """
    model, traits = config.model, traits_of(config, facts)
    searched, usual = model.search_hidden, rules.SEARCH_HIDDEN.pick(traits)
    if searched is None:
        searched = (usual,) if isinstance(usual, int) else model.hidden
    elif searched != model.hidden and not (traits.only_inputs and traits.is_own_mlp):
        got = "a model of your own" if facts.is_users_model else f"sites={config.problem.sites!r}, model={model.name!r}"
        raise ConfigError(
            f"search_hidden={','.join(map(str, searched))} with {got}: only a built-in classifier whose inputs are the sites may be "
            "searched at other widths. Leave --search-hidden out."
        )
    dropout = value_or(model.dropout, rules.DROPOUT.pick(traits))
    return ModelSettings(model.name, model.width, model.hidden, searched, model.activation, dropout, model.bias)


def _evaluation(config: Config, facts: Facts, traits: Traits, notes: list[str]) -> Evaluation:
    chain = config.chain
    on = _evaluated_on(config, traits)
    if traits.is_chain and chain.eval_on == "auto":
        notes.append(f"eval_on: {on} ({facts.rows:,} training rows)")
    if traits.is_folded and (traits.is_frozen or traits.is_fixed):
        raise ConfigError(
            "eval_on=folds trains a classifier for each fold from scratch, but the classifier is frozen. Use --eval-on held-out."
        )
    if traits.is_folded and chain.early_reject is not None:
        raise ConfigError(
            f"early_reject={chain.early_reject:g} looks at a part of one evaluation batch, but eval_on=folds has a batch for each "
            "fold. Leave --early-reject out, or use --eval-on held-out."
        )
    rows = {
        "end": value_or(chain.evaluation_rows.end, rules.END_ROWS.pick(traits)),
        "early": value_or(chain.evaluation_rows.early, rules.EARLY_ROWS.pick(traits)),
    }
    for name, number in rows.items():
        if facts.fitting_rows < number:
            rows[name] = facts.fitting_rows
            notes.append(
                f"evaluation rows, {name}: {facts.fitting_rows:,} of {number:,}, so that their maps fit in --max-memory"
            )
    folds = chain.eval_folds if traits.is_folded else 1
    return Evaluation(on, folds, chain.eval_fraction, rows["early"], rows["end"], rules.UNTIL)


def _evaluated_on(config: Config, traits: Traits) -> str:
    """Return what evaluates candidates; under the other methods, which evaluate none, all rows train."""
    if not traits.is_chain:
        return "train"
    return rules.EVAL_ON.pick(traits) if config.chain.eval_on == "auto" else config.chain.eval_on


def _train(config: Config, facts: Facts, traits: Traits, evaluation: Evaluation) -> TrainSettings:
    train = config.train
    shares = {"train": 0.0, "held-out": evaluation.fraction, "folds": 1.0 / evaluation.folds}
    evaluated = round(shares[evaluation.on] * facts.rows)
    fitted = facts.rows - evaluated
    batch_size = max(1, min(value_or(train.batch_size, rules.BATCH_SIZE.pick(traits)), fitted))
    epoch_steps = max(1, fitted // batch_size)
    usual = rules.EPOCHS.pick(traits)
    if not traits.is_grey_search:
        usual = max(usual, math.ceil(number_at(rules.LEAST_STEPS, facts.rows, traits) / epoch_steps))
    epochs = value_or(train.epochs, max(1, min(usual, rules.MOST_ROWS // fitted)))
    steps = min(value_or(train.steps, rules.TRAIN_STEPS.pick(traits)), epochs * epoch_steps)
    return TrainSettings(
        epochs=epochs,
        epoch_steps=epoch_steps,
        batch_size=batch_size,
        steps=steps,
        blocks=max(1, math.ceil(epochs * epoch_steps / steps)),
        learning_rate=train.learning_rate,
        weight_decay=value_or(train.weight_decay, rules.WEIGHT_DECAY.pick(traits)),
        mask_noise=value_or(train.mask_noise, rules.MASK_NOISE.pick(traits)),
        input_noise=value_or(train.input_noise, rules.INPUT_NOISE.pick(traits)),
        pretrain=value_or(train.pretrain, 0),
        is_frozen=train.frozen,
        amp=train.amp,
    )


def _retrain(config: Config, facts: Facts, traits: Traits, train: TrainSettings) -> RetrainSettings:
    retrain = config.retrain
    if retrain.warp and not facts.is_image:
        raise ConfigError(
            f"retrain_warp={retrain.warp:g}, but the rows of {facts.data_name!r} are no images. Leave --retrain-warp out."
        )
    finetune = rules.FINETUNE.pick(traits) if retrain.finetune == "auto" else retrain.finetune
    dropout = value_or(config.model.dropout, rules.SMALL_DROPOUT if traits.is_small_scratch else 0.0)
    if finetune not in ("scratch", "warm"):
        why = ", as single weights and a trained start have it" if retrain.finetune == "auto" else ""
        for name, words in (("retrain_distill", "teaches"), ("retrain_warp", "is of")):
            if value := config.value(name):
                raise ConfigError(
                    f"{name}={value:g} {words} the classifier that is retrained, and nothing is under --finetune {finetune}{why}. "
                    f"Leave {option(name)} out."
                )
    batches = rules.RETRAIN_BATCHES.pick(traits)
    batch_size = batches * train.batch_size
    return RetrainSettings(
        finetune=finetune,
        epochs=value_or(retrain.epochs, _retrain_epochs(config, facts, traits, train, finetune, batch_size)),
        batch_size=batch_size,
        learning_rate=value_or(retrain.learning_rate, batches * train.learning_rate),
        weight_decay=value_or(retrain.weight_decay, value_or(config.train.weight_decay, 0.0)),
        dropout=value_or(retrain.dropout, rules.GREY_DROPOUT if traits.is_grey_scratch else dropout),
        input_noise=value_or(retrain.input_noise, rules.RETRAIN_INPUT_NOISE.pick(traits)),
        warp=retrain.warp,
        distill=retrain.distill,
        amp=train.amp,
    )


def _retrain_epochs(
    config: Config, facts: Facts, traits: Traits, train: TrainSettings, finetune: str, batch_size: int
) -> int:
    if finetune == "short":
        size = value_or(config.train.batch_size, rules.SHORT_BATCH)
        return max(rules.SHORT_EPOCHS, math.ceil(rules.SHORT_STEPS * size / facts.rows))
    if finetune == "warm":  # these weights know the task already: as long as the search is long enough
        return train.epochs
    rows, usual = facts.rows + facts.validation_rows, rules.RETRAIN_EPOCHS.pick(traits)
    if not traits.is_grey_scratch:
        steps = max(1, rows // min(batch_size, rows))  # of an epoch
        usual = max(usual, math.ceil(number_at(rules.RETRAIN_STEPS, facts.rows, traits) / steps))
    return max(1, min(usual, rules.MOST_RETRAIN_ROWS // rows))


def _runtime(config: Config, facts: Facts, traits: Traits, notes: list[str]) -> RuntimeSettings:
    runtime = config.runtime
    # Steps on small batches of few rows are too short to share between threads.
    threads = value_or(runtime.threads, facts.cores if traits.is_large else 1)
    if threads > rules.THREADS_A_CORE * facts.cores:
        notes.append(
            f"threads: {facts.cores}, the usable cores; {threads} would spend their time waiting for each other"
        )
        threads = facts.cores
    return RuntimeSettings(
        compare=runtime.compare,
        evaluator=runtime.evaluator,
        seed=runtime.seed,
        device=facts.device,
        threads=threads,
        max_memory=runtime.max_memory,
        max_time=value_or(runtime.max_time, math.inf),
        search_time=value_or(runtime.search_time, math.inf),
        checkpoint_every=runtime.checkpoint_every,
        train_ranks=runtime.train_ranks,
    )
