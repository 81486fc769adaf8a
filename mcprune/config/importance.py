"""The options of importance measures, a part of `RunConfig`, and which of them a run reads. None means: settled by the run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from mcprune.config.measures import check_name
from mcprune.config.parsing import layer_widths

GROUP: dict[str, Any] = {"group": "importance"}
NAME: dict[str, Any] = {"placeholder": "MEASURE"}
Measure = Annotated[str | None, AfterValidator(lambda name: name if name is None else check_name(name))]


class ImportanceOptions(BaseModel):
    """How `--method importance`, `--start` and `--propose-by` score sites."""

    measure: Measure = Field(
        None,
        description="importance by which sites are dropped: magnitude, loss, grasp, fisher, obd, ... (docs/importance.md) [loss]",
        json_schema_extra=GROUP | NAME,
    )
    rounds: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="rounds of training for an epoch, scoring and dropping [10, or as many as there are epochs for]",
        json_schema_extra=GROUP,
    )
    counts: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(layer_widths)] = Field(
        None,
        min_length=1,
        description="sites left after each round, falling to n, in place of --rounds [the same fraction of all sites goes in every round]",
        json_schema_extra=GROUP,
    )
    recover: int | None = Field(
        None,
        ge=0,
        le=2**31,
        description="epochs of training after the last round [half of the run, or what the rounds leave]",
        json_schema_extra=GROUP,
    )
    score_rows: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="training rows that a score looks at, all classes alike [2560]",
        json_schema_extra=GROUP,
    )
    score_temperature: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="by which the logits are divided while sites are scored [200 for grasp, else 1]",
        json_schema_extra=GROUP,
    )
    layerwise: bool = Field(
        False,
        description="each group of sites keeps its share, in place of one ranking of all",
        json_schema_extra=GROUP,
    )
    floor: int | None = Field(
        None, ge=1, le=2**31, description="sites that each group keeps at least [1]", json_schema_extra=GROUP
    )
    start: Measure = Field(
        None,
        description="measure that chooses the chain's first mask, of n(t) sites (n with --budget constant) [the chain starts from all]",
        json_schema_extra={"group": "chain", **NAME},
    )
    start_after: int | None = Field(
        None,
        ge=0,
        le=2**31,
        description="epochs of training in front of --start; 0 for a model that is trained already [1]",
        json_schema_extra={"group": "chain"},
    )
    propose_by: Measure = Field(
        None,
        description="measure by which the move informed draws its sites [what the chain itself has met]",
        json_schema_extra={"group": "chain", **NAME},
    )


# Options in the group of the chain that --method importance reads.
SHARED = {"preset", "method", "start_weight", "train_steps"}
UNSCORED = {"magnitude", "magnitude-l1", "bn-scale", "random", "loss-tracked"}


def unused_importance(config: Any, groups: dict[str, Any]) -> dict[str, str]:
    """Return the options of importance measures that the configuration does not read, each with what it belongs to."""
    own = [name for name, group in groups.items() if group == "importance"]
    if not config.layerwise:  # a file may say no to what it cannot use
        own.remove("layerwise")
    if config.method == "gradient":
        return dict.fromkeys(own, "--method importance")
    if config.method == "importance":
        found = {"rounds": "runs without --counts, which says it"} if config.counts is not None else {}
        if (config.measure or "loss") in UNSCORED:
            found |= dict.fromkeys(("score_rows", "score_temperature"), "measures that look at the loss")
        return found
    measures = {config.start, config.propose_by} - {None}
    read: set[str] = set()
    if measures - UNSCORED:
        read |= {"score_rows", "score_temperature"}
    if config.start is not None:
        read |= {"layerwise", "floor"}
    found = {name: "--method importance" for name in own if name not in read}
    for name in ("score_rows", "score_temperature", "layerwise", "floor"):
        if name in found:
            found[name] += ", --start or --propose-by" if name.startswith("score") else " or --start"
    if config.start is None:
        found["start_after"] = "--start"
    return found
