"""`mcprune score`: a run whose mask comes from one round of scores by an importance measure."""

from __future__ import annotations

import sys

from mcprune.cli.arguments import run_options, run_parser
from mcprune.errors import ConfigError

DESCRIPTION = (
    "Train a classifier, score its sites by an importance measure (--measure, docs/importance.md), keep the n highest and report the "
    "accuracy of the rest, before and after retraining. It is mcprune run --method importance --rounds 1,recover=0, and takes all "
    "of its options; --rounds trains on between several rounds of scores."
)


def score(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options, quiet, json = run_options(arguments, run_parser("score", DESCRIPTION))
    if options.setdefault("method", "importance") != "importance":
        raise ConfigError(f"mcprune score is for --method importance, but got {options['method']!r}. Use mcprune run")
    rounds = options.setdefault("rounds", "1")
    if "recover" not in str(rounds):
        options["rounds"] = (",".join(map(str, rounds)) if isinstance(rounds, list) else str(rounds)) + ",recover=0"

    from mcprune.config.schema import make_config
    from mcprune.report.screens.choose import choose_screen, watch

    config = make_config(**options)
    with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
        from mcprune.session.loop import run

        return watch(run(config), screen)
