"""`mcprune evaluators`: how candidates of a run can be evaluated, and how fast."""

from __future__ import annotations

import sys

from mcprune.cli.arguments import run_options, run_parser
from mcprune.errors import ConfigError

DESCRIPTION = (
    "Show which evaluators can be used in a run of these options, how fast each evaluates candidates on its model and data "
    "(untrained; in evaluation mode, so dropout is off and batch-norm uses its running statistics), how far its "
    "losses are from the canonical ones, and which one the run would use. Nothing is written."
)


def evaluators(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options, quiet, json = run_options(arguments, run_parser("evaluators", DESCRIPTION))
    if quiet or json:
        raise ConfigError("--quiet and --json are for mcprune run. Leave them out of mcprune evaluators")

    from mcprune.cli.scoring.evaluators_table import show
    from mcprune.config.schema import make_config

    show(make_config(**options), sys.stdout)
    return 0
