"""`mcprune sample` and `Result.sample`: from the classifiers of a run to samples of masks that are worth reading."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from mcprune.environment import use_threads
from mcprune.errors import ConfigError, SamplingError
from mcprune.sampling.drawn import Drawn
from mcprune.sampling.sampler import CHUNK, ROUNDS, Draws, Sampler, SamplerState
from mcprune.sampling.samples import ENOUGH, MIXED, Samples
from mcprune.sampling.starts import FEWEST_CHAINS, MOST_CHAINS, check_space, unlike_starts
from mcprune.sampling.store import SampleFacts, SampleStore
from mcprune.sampling.walks.chains import MaskChains
from mcprune.session.build.markov import candidates_ahead, make_evaluators
from mcprune.session.build.plan import Plan
from mcprune.session.checkpoints.classifiers import SearchClassifiers
from mcprune.session.interrupt import Interrupt
from mcprune.session.search_parts import make_rows
from mcprune.types import BoolArray, FloatArray

PRECISION, SECONDS = 0.02, 600.0
# R-hat above which an answer is refused; between this and `MIXED` it is given with a warning.
REFUSED = 1.05
# Statistics are computed where there are so many draws, and then so many times as many as the last time.
FIRST_LOOK, NEXT_LOOK = 100, 1.2
# Beyond these temperatures exponents overflow, and no law is left between one mask and all of them.
COLDEST, WARMEST, HOTTEST = 1e-9, 1e9, 1e3
# Settings that are counts; evaluation rows at least.
WHOLE, FEWEST_ROWS = ("chains", "rungs", "rows"), 32
# Seconds between two writes of the samples.
WRITTEN_EVERY = 10.0


@dataclass(frozen=True)
class SampleSettings:
    """How masks are sampled.

    Attributes
    ----------
    chains : int
        Chains from unlike starts, 4 at least.
    temperature : float or None
        In the unit of the loss; None: such that the spread of the losses is the standard error of a paired loss difference.
    precision : float
        Largest Monte-Carlo standard error of P(kept) of a site.
    max_time : float
        Seconds of sampling.
    rungs : int
        Laws of each chain on a ladder from the loss to its model; 1: no ladder.
    hottest : float
        In the last law the loss counts 1 / hottest, and the model the rest.
    rows : int or None
        Evaluation rows at most; None: those of the run. Fewer ones distinguish fewer masks, and evaluate a mask in less time.

    Raises
    ------
    ConfigError
        A value out of range.
    """

    chains: int = FEWEST_CHAINS
    temperature: float | None = None
    precision: float = PRECISION
    max_time: float = SECONDS
    rungs: int = 1
    hottest: float = 4.0
    rows: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, object]) -> SampleSettings:
        """Return settings of values by name; a name that there is not is refused with those that there are."""
        names = [each.name for each in fields(cls)]
        if unknown := [name for name in values if name not in names]:
            raise ConfigError(f"{unknown[0]!r} is no setting of sampling. The settings are {', '.join(names)}.")
        return cls(**values)  # type: ignore[arg-type]  # checked below

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not is_number and not (value is None and each.default is None):
                raise ConfigError(f"{each.name}={value!r}. Give a number.")
            if each.name in WHOLE and not (value is None or isinstance(value, int | np.integer)):
                raise ConfigError(f"{each.name}={value!r}. Give a whole number.")
        if not FEWEST_CHAINS <= self.chains <= MOST_CHAINS:
            raise ConfigError(
                f"chains={self.chains}. R-hat compares several chains: choose {FEWEST_CHAINS} to {MOST_CHAINS}."
            )
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature:g}. Sampling needs a temperature above 0, such as 0.01; leave it out for the default."
            )
        if self.temperature is not None and not COLDEST <= self.temperature <= WARMEST:
            raise ConfigError(
                f"temperature={self.temperature:g}. It is in the unit of the loss: choose {COLDEST:g} to {WARMEST:g}, or leave it "
                "out for the default."
            )
        if not 0 < self.precision < 0.5:
            raise ConfigError(
                f"precision={self.precision:g}. It is a standard error of a probability: choose 0 < precision < 0.5, such as 0.02."
            )
        if not self.max_time > 0:
            raise ConfigError(f"max_time={self.max_time:g}. Give a positive number of seconds, such as 60.")
        if not 1 <= self.rungs <= 16:
            raise ConfigError(f"rungs={self.rungs}. Choose 1 for no ladder, or up to 16.")
        if self.rows is not None and self.rows < FEWEST_ROWS:
            raise ConfigError(
                f"rows={self.rows:,}. So few rows distinguish hardly any masks: choose {FEWEST_ROWS} or more, or leave it out."
            )
        if not 1 < self.hottest <= HOTTEST:
            raise ConfigError(
                f"hottest={self.hottest:g}. In the last law of a ladder the loss counts 1 / hottest: choose more than 1, and at most "
                f"{HOTTEST:g}."
            )


class SampleProgress(NamedTuple):
    """Where sampling is: rounds of burn-in of those planned, draws of each chain, and what they are worth."""

    rounds: int
    draws: int
    temperature: float
    error: float
    r_hat: float
    seconds: float


def sample_masks(
    classifiers: SearchClassifiers,
    settings: SampleSettings,
    store: SampleStore | None = None,
    on_progress: Callable[[SampleProgress], None] | None = None,
    spent: float = 0.0,
) -> Drawn:
    """Sample until P of every site has the precision, or the time is up; samples in the store are gone on with.

    `spent` are the seconds that the classifiers have taken, which count as those of a burn-in.

    Raises
    ------
    ConfigError
        The budget of the run has no masks of one size.
    FolderError
        The store has samples of other settings, or cannot be written.
    SamplingError
        The chains do not agree.
    KeyboardInterrupt
        Ctrl-C; the store has the samples.
    """
    plan = classifiers.plan
    check_space(plan.space)
    use_threads(plan.runtime.threads)
    sampler, evaluator = make_sampler(plan, classifiers.mask, settings)
    facts = SampleFacts(
        settings.chains, settings.rungs, settings.temperature, settings.hottest, settings.rows, evaluator
    )
    state, seconds = sampler.init(), [spent, 0.0]
    draws = (None if store is None else store.read(facts, state, seconds)) or Draws()
    session = Session(plan, sampler, state, draws, settings, seconds, on_progress)
    with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
        session.run(interrupt, lambda: store.write(facts, state, draws, seconds) if store else None, spent)
    return session.result(classifiers.mask)


def make_sampler(plan: Plan, mask: BoolArray, settings: SampleSettings) -> tuple[Sampler, str]:
    """Return the sampler of a plan, and the name of its evaluator."""
    evaluator, canonical = make_evaluators(plan)
    method = MaskChains(
        plan.space,
        evaluator,
        canonical,
        plan.objective.lower_bound,
        chains=settings.chains,
        rungs=settings.rungs,
        lookahead=candidates_ahead(plan.chain, plan.gated.sites.size, plan.runtime.max_memory),
        seed=plan.runtime.seed,
        start_weight=plan.chain.start_weight,
        evaluates_items=plan.candidates is not None,
    )
    rows = make_rows(plan, plan.folds)
    count = plan.evaluation.rows if settings.rows is None else min(settings.rows, plan.evaluation.rows)
    batch = rows.batch(rows.init(), count)
    starts = unlike_starts(plan, mask, settings.chains)
    return Sampler(method, batch, starts, settings.temperature, settings.hottest), evaluator.name


class Session:
    """One call of sampling: burn-in, draws until they are enough, and the verdict."""

    def __init__(
        self,
        plan: Plan,
        sampler: Sampler,
        state: SamplerState,
        draws: Draws,
        settings: SampleSettings,
        seconds: list[float],
        on_progress: Callable[[SampleProgress], None] | None,
    ) -> None:
        self.plan, self.sampler, self.state, self.draws = plan, sampler, state, draws
        self.settings, self.seconds, self.on_progress = settings, seconds, on_progress
        self.names = plan.shown.names(plan.splits.names)
        self._samples: Samples | None = None

    def run(self, interrupt: Interrupt, write: Callable[[], None], spent: float = 0.0) -> None:
        """Burn in and draw until it is enough, the time is up, of which `spent` seconds are over, or a signal comes."""
        written = last = time.monotonic()
        began = last - spent
        look = next_look(self.state.draws)
        while True:
            is_late = last - began >= self.settings.max_time
            if self.state.draws >= look or (is_late and self.state.draws):
                self._samples = None
                if self.is_enough() or self.is_frozen():
                    break
                look = next_look(self.state.draws + 1)
            if is_late:
                break
            place = int(self.state.is_burnt_in)
            if self.state.is_burnt_in:
                chunk = self.sampler.draw(self.state, CHUNK)
                self.draws.masks += chunk.masks
                self.draws.losses += chunk.losses
            else:
                self.sampler.burn_in(self.state)
            now = time.monotonic()
            self.seconds[place] += now - last
            last = now
            self._report()
            if interrupt.should_stop:
                write()
                raise KeyboardInterrupt
            if now - written >= WRITTEN_EVERY:
                write()
                written = time.monotonic()
        write()

    def _report(self) -> None:
        if self.on_progress is None:
            return
        error = r_hat = math.nan
        if self._samples is not None:
            error = float(self._samples.monte_carlo_error.max())
            r_hat = max(self._samples.loss_r_hat, float(self._samples.r_hat.max()))
        state = self.state
        self.on_progress(SampleProgress(state.rounds, state.draws, state.temperature, error, r_hat, sum(self.seconds)))

    @property
    def samples(self) -> Samples:
        """The draws so far, on all sites that are shown."""
        if self._samples is None:
            masks, losses = self.draws.arrays()
            self._samples = Samples(
                masks=np.asarray(self.plan.shown.of(self.plan.space.expand(masks)), bool),
                losses=losses,
                temperature=self.state.temperature,
                paired_error=self.state.paired_error,
                names=self.names,
                swap_rates=self.sampler.swap_rates(self.state),
            )
        return self._samples

    def is_frozen(self) -> bool:
        """Whether all chains have stood at one mask since the burn-in: that none moves is no sign that they agree."""
        masks = self.samples.masks
        return bool((masks == masks[0, 0]).all())

    def is_enough(self) -> bool:
        """Whether chains agree, and P of every site is precise enough."""
        samples = self.samples
        if self.is_frozen() or not (samples.loss_r_hat <= MIXED and (samples.r_hat <= MIXED).all()):
            return False
        return samples.loss_ess >= ENOUGH and bool((samples.monte_carlo_error <= self.settings.precision).all())

    def result(self, mask: BoolArray) -> Drawn:
        """Return the samples, unless the chains do not agree."""
        state, spent = self.state, sum(self.seconds)
        if not self.draws.masks:
            raise SamplingError(
                f"The time of {self.settings.max_time:g} s ended in round {state.rounds} of {ROUNDS} of the burn-in, before the first "
                f"draw. Give more time, such as --max-time {_longer(self.settings.max_time)}."
            )
        samples = self.samples
        hotter = f"--temperature {2 * samples.temperature:.2g} --force"
        if self.is_frozen():
            raise SamplingError(
                f"All {samples.chains} chains stand at one mask: none has moved in {samples.draws:,} draws at temperature "
                f"{samples.temperature:.2g}, so how often good masks keep a site is not known. Give a higher temperature, such as {hotter}."
            )
        worst = int(np.argmax(samples.r_hat))
        worst_r_hat = max(samples.loss_r_hat, float(samples.r_hat[worst]))
        if not worst_r_hat <= REFUSED:
            of = "the loss" if samples.loss_r_hat >= samples.r_hat[worst] else f"site {self.names[worst]!r}"
            value = "not known yet" if math.isnan(worst_r_hat) else f"{worst_r_hat:.3f}"
            raise SamplingError(
                f"The {samples.chains} chains do not agree after {samples.draws:,} draws each in {spent:.0f} s: R-hat of {of} is {value}, "
                f"above {REFUSED:g}, so P(kept) would depend on where they started. Give more time, such as "
                f"--max-time {_longer(spent)}, or a higher temperature, such as {hotter}."
            )
        error = float(samples.monte_carlo_error.max())
        needed = self.seconds[1] * max(0.0, (error / self.settings.precision) ** 2 - 1.0)
        return Drawn(
            samples,
            self.plan.shown.of(mask),
            spent,
            needed,
            self.settings.precision,
            len(self.sampler.batch.targets),
            state.accepted / max(1, state.decisions),
            self._evaluate,
        )

    def _evaluate(self, masks: BoolArray) -> FloatArray:
        """Return the losses (K,) of masks (K, S) of what is shown."""
        return self.sampler.evaluate(self.plan.shown.expand(masks))


def next_look(draws: int) -> int:
    """Return the number of draws, not below this one, at which statistics are computed: the same ones, resumed or not."""
    look = FIRST_LOOK
    while look < draws:
        look = -(-math.ceil(look * NEXT_LOOK) // CHUNK) * CHUNK
    return look


def _longer(seconds: float) -> str:
    """Return three times a time in seconds, as a round number."""
    value = 3.0 * max(seconds, 1.0)
    size = 10 ** math.floor(math.log10(value))
    return f"{math.ceil(value / size) * size:g}"
