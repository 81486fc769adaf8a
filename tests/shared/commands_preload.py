"""What the server of `commands` imports: all that a run, its page and a sweep need, of which nothing starts a thread."""

import importlib
from contextlib import suppress

for name in (
    "mcprune.cli.run",
    "mcprune.cli.tune",
    "mcprune.cli.studies.sweep",
    "mcprune.session.loop",
    "mcprune.session.resume",
    "mcprune.dashboard.callback",
    "mcprune.dashboard.keys",
    "mcprune.report.screens.choose",
    "mcprune.studies.sweep.runs",
    "mcprune.studies.sweep.page",
    "sklearn.datasets",
    "sklearn.ensemble",
    "optuna",
):
    with suppress(ImportError):
        importlib.import_module(name)
