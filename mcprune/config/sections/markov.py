"""[search] with method = "markov": the chain over masks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import move_shares, proposals_text, rate_or_none
from mcprune.config.sections.base import LARGEST_COUNT, Measure, PositiveScheduleText, ScheduleText
from mcprune.config.sections.importance import Scoring


class Markov(Scoring):
    """A Markov chain over masks, which needs no gradient. None: settled by the run."""

    method: Literal["markov"] = "markov"
    moves: Annotated[dict[str, float], BeforeValidator(move_shares)] = Field(
        default={"exchange": 1.0}, description="shares of the moves, such as exchange=3,toggle=1"
    )
    move_sites: int = Field(default=8, ge=1, le=LARGEST_COUNT, description="sites changed by a block move")
    delta: ScheduleText = Field(
        default="1.0",
        description="proposal half-width; a number or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e6]},
    )
    adapt_delta: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="acceptance rate that delta is adapted to during the warm-up [delta stays as set]",
    )
    warm_up: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="fraction of the run during which ladder, delta and scores adapt [half, or until n(t) has fallen if later]",
    )
    temperature: ScheduleText = Field(
        default="0.0",
        description="in units of L_tot; 0 accepts strict decreases only; a number or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e6]},
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="R, chains on a ladder of temperatures that swap (parallel tempering); 1 is a single chain",
    )
    hottest: float | None = Field(
        default=None,
        gt=0,
        description="temperature of the hottest replica; --temperature is the coldest's [10 times that]",
    )
    swap_every: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="proposals that each replica consumes between rounds of swaps [a block's]",
    )
    alpha: ScheduleText = Field(
        default="1.0",
        description="weight of L_pru in L_tot; a number or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e9]},
    )
    rejection: Literal["plain", "modified"] = Field(
        default="plain", description="L_rej, or L_rej' with the product of all gates"
    )
    gates: Literal["sigmoid", "sharpened", "hard"] = Field(
        default="hard", description="how a site's weight gates it while the chain evaluates candidates"
    )
    sharpness: PositiveScheduleText = Field(
        default="geometric:1.0:16.0", description="beta in sigmoid(beta w) with --gates sharpened"
    )
    budget: Literal["geometric", "constant"] = Field(
        default="geometric", description="n(t): falling from all sites to n, or n from the start"
    )
    budget_until: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the run over which n(t) falls [0.3 before waves, else 0.5]"
    )
    waves: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="times that n(t) rises again after its fall, and falls "
        "[40 from 20,000 training rows on at temperature 0, 0 for channels]",
    )
    wave_height: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="fraction of n by which the first wave rises above it; later ones rise less",
    )
    budget_drops: Literal["pool", "chain"] = Field(
        default="pool",
        description="how the count follows n(t): the cheapest of a drawn pool are dropped, or only by accepted moves",
    )
    budget_pressure: float = Field(
        default=1.0,
        ge=0.25,
        le=4,
        description="n(t) is n (n(t) as planned / n)^(1/pressure): above 1 sites go earlier, below 1 later",
    )
    pool: int = Field(
        default=32,
        ge=1,
        le=LARGEST_COUNT,
        description="sites drawn into the pool for each one that must be dropped or comes back",
    )
    pool_limit: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="most sites evaluated at once while n(t) falls [2048 with the fused evaluator, else 512; no limit below 2,048 sites]",
    )
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    weight_bound: float = Field(
        default=8.0,
        gt=0,
        le=1000,
        description="bound of the box that reflects weights at a temperature above 0",
    )
    decisions: int = Field(default=64, ge=1, le=LARGEST_COUNT, description="proposals consumed in a block")
    lookahead: int = Field(
        default=16, ge=1, le=65536, description="K, candidates evaluated ahead; changes the speed, never the chain"
    )
    evaluation_rows: int = Field(
        default=4096, ge=1, le=LARGEST_COUNT, description="rows of the evaluation batch at the end"
    )
    evaluation_rows_early: int = Field(
        default=2048, ge=1, le=LARGEST_COUNT, description="rows of the evaluation batch while n(t) falls"
    )
    eval_on: Literal["auto", "train", "held-out"] = Field(
        default="auto", description="rows that evaluate a candidate; auto: held-out rows below 20,000 training rows"
    )
    eval_fraction: float = Field(
        default=0.3, gt=0, lt=1, description="fraction of the training rows held out to evaluate candidates"
    )
    early_reject: Annotated[float | None, BeforeValidator(rate_or_none)] = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="rejects hopeless candidates after a part of the evaluation batch: approximate, with this probability that a candidate "
        "is rejected which the whole batch would accept [none: exact]",
    )
    proposals: Annotated[str, BeforeValidator(proposals_text)] = Field(
        default="auto",
        description="scores by which the informed move draws sites. chain: what the chain itself has evaluated; probes: sites tried one "
        "by one before each block; or a measure; auto: probes for weights, else chain",
        json_schema_extra={"placeholder": "chain|probes|MEASURE"},
    )
    start: Measure = Field(
        default=None,
        description="measure that chooses the chain's first mask, of n(t) sites (n with --budget constant) [the chain starts from all]",
        json_schema_extra={"placeholder": "MEASURE"},
    )
    start_after: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="epochs of training before --start; 0 for a model that is trained already [1]",
    )

    @property
    def proposal_measure(self) -> str | None:
        """The measure of `proposals`; None where proposals come from the chain or from probes."""
        return None if self.proposals in ("auto", "chain", "probes") else self.proposals

    @property
    def measures(self) -> set[str]:
        """The measures that the chain uses."""
        return {name for name in (self.start, self.proposal_measure) if name is not None}
