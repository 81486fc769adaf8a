"""[search] with method = "markov": the chain over masks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mcprune.config.parsing import move_shares, number_text, positive_schedule_text, rate_or_none
from mcprune.config.sections.base import LARGEST_COUNT, OpenScheduleText, ScheduleText, Section, TemperatureText
from mcprune.config.sections.measure import Proposals, Scores, Start
from mcprune.config.sections.text import TextOption


class KeepSchedule(TextOption):
    """n(t): how many sites are kept over the run."""

    head: ClassVar[tuple[str, ...]] = ("kind", "until")
    form: ClassVar[str] = "geometric[:UNTIL][,regrow=TIMES[xHEIGHT]][,pressure=P] or constant"

    kind: Literal["geometric", "constant"] = "geometric"
    until: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="fraction of the run over which n(t) falls",
    )
    regrow: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="times that n(t) rises again after its fall",
    )
    height: float = Field(
        default=1.0, gt=0, le=1000, description="fraction of n by which n(t) rises first above it; later less"
    )
    pressure: float = Field(
        default=1.0,
        ge=0.25,
        le=4,
        description="n(t) is n (n(t) as planned / n)^(1/pressure): above 1 sites go earlier, below 1 later",
    )

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """See `TextOption.parts`: regrow=40x0.5 is a number of times and a height."""
        fields = super().parts(text)
        times, has_height, height = str(fields.get("regrow", "")).partition("x")
        if has_height:
            del fields["regrow"]
            fields |= {"height": height} | ({"regrow": times} if times.strip() else {})
        return fields

    def __str__(self) -> str:
        """See `TextOption.__str__`."""
        text = [number_text(part) for part in (self.kind, self.until) if part is not None]
        height = "" if self.height == 1.0 else f"x{number_text(self.height)}"
        regrow = (
            f"regrow={'' if self.regrow is None else self.regrow}{height}" if self.regrow is not None or height else ""
        )
        pressure = "" if self.pressure == 1.0 else f"pressure={number_text(self.pressure)}"
        return ",".join(filter(None, [":".join(text), regrow, pressure]))


class Pool(TextOption):
    """The sites among which the cheapest are dropped while n(t) falls."""

    head: ClassVar[tuple[str, ...]] = ("size",)
    form: ClassVar[str] = "SIZE[,limit=N], or none"

    size: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="sites drawn for each one that must be dropped or comes back",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="most sites evaluated at once",
    )
    is_off: bool = False  # only accepted moves drop sites

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """See `TextOption.parts`."""
        return {"is_off": True} if text.strip() == "none" else super().parts(text)

    def __str__(self) -> str:
        """See `TextOption.__str__`."""
        return "none" if self.is_off else super().__str__()


class Replicas(TextOption):
    """Chains on a ladder of temperatures that swap."""

    head: ClassVar[tuple[str, ...]] = ("number",)
    form: ClassVar[str] = "R[,hottest=T][,swap_every=N]"

    number: int = Field(default=1, ge=1, le=1024, description="chains; 1 is a single chain")
    hottest: float | None = Field(
        default=None, gt=0, description="temperature of the hottest; --temperature is the coldest's"
    )
    swap_every: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="proposals that each replica consumes between rounds of swaps",
    )

    @model_validator(mode="after")
    def _check_ladder(self) -> Self:
        for name in ("hottest", "swap_every"):
            value = getattr(self, name)
            if self.number == 1 and value is not None:
                raise ValueError(
                    f"a single chain has no ladder, got {name}={number_text(value)}; write 2 replicas or more, or leave it out"
                )
        return self


class EvaluationRows(TextOption):
    """Rows of the evaluation batch."""

    head: ClassVar[tuple[str, ...]] = ("end",)
    form: ClassVar[str] = "N[,early=N]"

    end: int | None = Field(default=None, ge=1, le=LARGEST_COUNT, description="rows at the end")
    early: int | None = Field(default=None, ge=1, le=LARGEST_COUNT, description="rows while n(t) falls")


class Gates(TextOption):
    """How the weights of the sites gate them while the chain evaluates candidates."""

    head: ClassVar[tuple[str, ...]] = ("kind", "sharpness")
    form: ClassVar[str] = "rank, hard, sigmoid or sharpened[:SCHEDULE]"

    kind: Literal["rank", "hard", "sigmoid", "sharpened"] | None = None
    sharpness: Annotated[str, BeforeValidator(positive_schedule_text)] | None = Field(
        default=None,
        description="beta in sigmoid(beta w) of sharpened gates",
        json_schema_extra={"placeholder": "SCHEDULE"},
    )

    @model_validator(mode="after")
    def _check_sharpness(self) -> Self:
        if self.sharpness is not None and self.kind != "sharpened":
            raise ValueError(f"a sharpness belongs to sharpened gates, got {self}; leave it out")
        return self


class Markov(Section):
    """A Markov chain over masks, which needs no gradient. None: settled by the run."""

    method: Literal["markov"] = "markov"
    moves: Annotated[dict[str, float] | None, BeforeValidator(move_shares)] = Field(
        default=None, description="shares of the moves, such as exchange=3,toggle=1"
    )
    move_sites: int = Field(default=8, ge=1, le=LARGEST_COUNT, description="sites changed by a block move")
    delta: ScheduleText = Field(
        default="1",
        description="proposal half-width; a number or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e6]},
    )
    adapt_delta: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="acceptance rate that delta is adapted to during the warm-up",
    )
    warm_up: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="fraction of the run during which ladder, delta and scores adapt",
    )
    temperature: TemperatureText = Field(
        default="0",
        description="in units of L_tot; 0 accepts strict decreases only; a number, 1se (the standard error of a paired loss difference "
        "on the evaluation rows), auto (falls from 1se) or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e6]},
    )
    replicas: Replicas = Field(
        default=Replicas(),
        description="chains on a ladder of temperatures that swap (parallel tempering); hottest=T is the ladder's end, "
        "swap_every=N the proposals between swaps",
        json_schema_extra={"placeholder": "R[,hottest=T,swap_every=N]"},
    )
    alpha: OpenScheduleText = Field(
        default=None,
        description="weight of L_pru in L_tot; a number or kind:start:end[:until]",
        json_schema_extra={"steered": [0.0, 1e9]},
    )
    rejection: Literal["plain", "modified"] = Field(
        default="plain", description="L_rej, or L_rej' with the product of all gates"
    )
    gates: Gates = Field(
        default=Gates(),
        description="how weights gate the sites while the chain evaluates candidates. rank: the n largest are kept; hard: the "
        "positive ones; or open by sigmoid, or sharpened[:SCHEDULE]",
        json_schema_extra={"placeholder": "KIND[:SCHEDULE]"},
    )
    keep_schedule: KeepSchedule = Field(
        default=KeepSchedule(),
        description="n(t): geometric:UNTIL falls from all sites to n over this fraction of the run, regrow=TIMESxHEIGHT lets "
        "it rise again (HEIGHT times n, first), pressure above 1 drops sites earlier; constant is n from the start",
        json_schema_extra={"placeholder": "SCHEDULE"},
    )
    pool: Pool = Field(
        default=Pool(),
        description="how the count follows n(t): the cheapest of SIZE drawn sites for each one that must go are dropped, "
        "limit=N evaluated at once; none: only accepted moves drop",
        json_schema_extra={"placeholder": "SIZE[,limit=N]|none"},
    )
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    weight_bound: float = Field(
        default=8.0,
        gt=0,
        le=1000,
        description="bound of the box that reflects weights at a temperature above 0",
    )
    decisions: int | None = Field(default=None, ge=1, le=LARGEST_COUNT, description="proposals consumed in a block")
    lookahead: int | None = Field(
        default=None, ge=1, le=65536, description="K, candidates evaluated ahead; changes the speed, never the chain"
    )
    evaluation_rows: EvaluationRows = Field(
        default=EvaluationRows(),
        description="rows of the evaluation batch at the end, and while n(t) falls",
        json_schema_extra={"placeholder": "N[,early=N]"},
    )
    eval_on: Literal["auto", "train", "held-out", "folds"] = Field(
        default="auto",
        description="training rows that evaluate a candidate. train: all of them; held-out: rows that do not train; folds: all of them, "
        "each by the classifier that was not trained on it, of one for each fold",
    )
    eval_folds: int = Field(default=4, ge=2, le=64, description="classifiers under --eval-on folds")
    eval_fraction: float = Field(
        default=0.3, gt=0, lt=1, description="fraction of the training rows held out to evaluate candidates"
    )
    early_reject: Annotated[float | None, BeforeValidator(rate_or_none)] = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="rejects hopeless candidates after a part of the evaluation batch: approximate, with this probability "
        "that a candidate is rejected which the whole batch would accept",
    )
    proposals: Proposals = Field(
        default=Proposals(),
        description="scores by which the informed move draws sites. chain: what the chain itself has evaluated; probes: sites "
        "tried one by one before each block; slopes: the gradient of the loss by the gates at the present mask, not of weights; or a "
        "measure",
        json_schema_extra={"placeholder": "chain|probes|slopes|MEASURE"},
    )
    start: Start | None = Field(
        default=None,
        description="where chains start, one after the other: all sites with n(t) falling; forest, l1, f, ranks, pairs or "
        "mutual-information of the columns; the file of a mask (docs/refine.md); or a measure, after=EPOCHS of training (1; 0 if "
        "trained already). Of several finalists fresh classifiers choose by cross-validation on training and validation rows",
        json_schema_extra={"placeholder": "START[+START...][,after=EPOCHS,...]"},
    )

    @property
    def measures(self) -> tuple[Scores, ...]:
        """The measures that the chain uses."""
        proposals = (self.proposals,) if self.proposals.is_measure else ()
        return proposals if self.start is None or not self.start.measure else (self.start, *proposals)
