"""[problem]: which sites there are, how many are kept, and what is minimised."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mcprune.config.budgets import groups_option, latency_record, pattern_option, site_counts
from mcprune.config.parsing import objective_text, site_names
from mcprune.config.sections.base import Section

LARGEST_COST = 2**62
SITES = {"placeholder": "SITE,..."}


class Problem(Section):
    """Which sites there are, how many are kept, and what is minimised."""

    sites: str = Field(
        default="inputs",
        min_length=1,
        description="what may be dropped: inputs, units, channels, weights, states, heads, neurons, experts, blocks, some of them, or as "
        "units:LAYER,... of all but inputs; or sensors, or steps, of rows over time; or digits, the signed digits of a network in "
        "fixed point (docs/firmware.md)",
    )
    keep: Annotated[int | dict[str, int] | None, BeforeValidator(site_counts)] = Field(
        default=None,
        description="n, how many sites to keep; or a number for each kind of site, such as inputs=6,units=20; with --macs "
        "or --parameters and several kinds of sites it is the number of inputs",
        json_schema_extra={"placeholder": "INTEGER|KIND=INTEGER,..."},
    )
    fdr: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="instead of keep: keep as many columns as possible while the estimated share of false ones among them is at most this, "
        "by comparing columns with shuffled copies (docs/error-rate.md)",
    )
    macs: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COST,
        description="most multiply-accumulates of the pruned model for a row",
    )
    parameters: int | None = Field(
        default=None, ge=1, le=LARGEST_COST, description="most parameters of the pruned model"
    )
    latency: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="most microseconds for a batch in the pruned model, on one thread of this machine's CPU: measured on the "
        "cut model (docs/budgets.md)",
    )
    latency_rows: int = Field(default=1, ge=1, le=1_000_000, description="rows of the batch whose latency is bounded")
    latency_table: Annotated[dict[str, Any] | None, BeforeValidator(latency_record)] = Field(
        default=None,
        description="measured latencies to search by, as a JSON file; by default the run measures and records its own",
        json_schema_extra={"placeholder": "FILE"},
    )
    objective: Annotated[str, BeforeValidator(objective_text)] = Field(
        default="auto",
        description="what the chain minimises: NAME[:parameter] of docs/objectives.md, or FILE.py:NAME of a function; auto: "
        "cross-entropy, of a regression squared",
        json_schema_extra={"placeholder": "NAME|FILE.py:NAME"},
    )
    must_keep: Annotated[tuple[int | str, ...] | None, BeforeValidator(site_names)] = Field(
        default=None,
        description="sites that are always kept, by name or index; they count towards n",
        json_schema_extra={**SITES},
    )
    must_drop: Annotated[tuple[int | str, ...] | None, BeforeValidator(site_names)] = Field(
        default=None, description="sites that are always dropped, by name or index", json_schema_extra={**SITES}
    )
    pattern: Annotated[str | None, BeforeValidator(pattern_option)] = Field(
        default=None,
        description="pattern of the kept weights: N:M keeps N of every M along the inputs, RxC keeps blocks of R outputs by C inputs whole "
        "(docs/refine.md)",
        json_schema_extra={"placeholder": "N:M|RxC"},
    )
    groups: Annotated[dict[str, Any] | None, BeforeValidator(groups_option)] = Field(
        default=None,
        description="sites that are kept or dropped together, as NAME=SITE,...:COST joined by ;, or a TOML file of them; "
        "keep is then the largest total cost of what is kept, a group without a cost costs its number of sites (docs/budgets.md)",
        json_schema_extra={"placeholder": "FILE|NAME=SITE,...[:COST];..."},
    )

    @property
    def bounds_costs(self) -> bool:
        """Whether a cost of the kept model is bounded."""
        return (self.macs, self.parameters, self.latency) != (None, None, None)
