"""[runtime]: machine, clock, checkpoints and the folder of the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import byte_count, interval_text
from mcprune.config.sections.base import Section, path_text


class Runtime(Section):
    """Machine, clock, checkpoints and the folder of the run."""

    compare: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="random masks and first-layer magnitude beside the result; auto: in full below 5,000 rows, else within 15% of "
        "the work",
    )
    evaluator: Literal[
        "auto", "full", "suffix", "suffix-bfloat16", "suffix-float16", "incremental", "fused", "graph"
    ] = Field(
        default="auto",
        description="how candidates are evaluated; auto: the fastest that is usable (mcprune evaluators shows them); "
        "suffix-bfloat16 and suffix-float16 store recorded activations in 16 bits",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of all random numbers of the run")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the classifier lives")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="threads of torch and numba",
    )
    max_memory: Annotated[int, BeforeValidator(byte_count)] = Field(
        default=2**30, ge=2**20, description="bound for one batch of candidates, such as 512M"
    )
    max_time: float | None = Field(
        default=None,
        gt=0,
        description="seconds for the whole command: search, retraining and comparisons are planned within it, and what did not fit "
        "is listed in one line",
    )
    search_time: float | None = Field(
        default=None,
        gt=0,
        description="seconds for the search alone, of a chain from the end of its first block on; a chain that would not finish "
        "plans fewer blocks, others end early and harden",
    )
    checkpoint_every: Annotated[str, BeforeValidator(interval_text)] = Field(
        default="auto",
        description="how often the run is saved for mcprune resume: a time such as 30s or 2m, or epochs as a plain number; auto: "
        "every 30 s, less often where writing would take more than a hundredth of the time",
        json_schema_extra={"placeholder": "TIME|EPOCHS"},
    )
    rank_timeout: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="with torchrun: seconds after which a process that does not answer ends the run",
    )
    train_ranks: Literal["each", "shared"] = Field(
        default="each",
        description="with torchrun. each: every process trains the whole classifier, and the run is bitwise that of one process; shared: "
        "they share the rows of each training step, and the bits depend on the number of processes",
    )
    out: Annotated[str | None, BeforeValidator(path_text)] = Field(
        default=None, min_length=1, description="folder of the run"
    )
    force: bool = Field(default=False, description="replace the folder if it exists")
