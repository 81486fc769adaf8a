"""`mcprune run`: choose the sites, test the result, save the pruned model."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mcprune.cli.arguments import run_options
from mcprune.errors import ConfigError

if TYPE_CHECKING:
    from mcprune.config.schema import Config
    from mcprune.session.steering.controller import Controller


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options, quiet, json = run_options(arguments)
    return run_with(options, quiet=quiet, json=json)


def run_with(options: dict[str, object], *, quiet: bool, json: bool) -> int:
    """Run under options by flat name, unchecked, and return the exit code."""
    folder, unit = options.pop("replay", None), options.pop("budget_in", None)
    if options.get("sites") == "digits":
        from mcprune.cli.firmware.digits import run_digits

        del options["sites"]
        return run_digits(options, unit, quiet=quiet, json=json)
    if unit is not None:
        raise ConfigError(f"--budget-in {unit} is for --sites digits. Add it, or use --macs or --parameters.")

    from mcprune.config.schema import make_config
    from mcprune.report.screens.choose import choose_screen, watch

    if folder is not None:
        return _replay(str(folder), options, quiet=quiet, json=json)
    config = make_config(**options)
    if _is_shared():
        return _run_shared(config, None, quiet=quiet, json=json)
    screen = choose_screen(sys.stdout, quiet=quiet, json=json)
    with screen:  # the live screen turns while torch is imported
        from mcprune.session.loop import run

        if hasattr(screen, "keys"):
            from mcprune.dashboard.controller import RunController
            from mcprune.dashboard.keys import Keys, can_be_used

            if can_be_used():
                with Keys(controller := RunController()) as screen.keys:
                    return watch(run(config, callbacks=[controller]), screen)
        return watch(run(config), screen)


def _replay(folder: str, options: dict[str, object], *, quiet: bool, json: bool) -> int:
    from mcprune.config.schema import make_config
    from mcprune.report.screens.choose import choose_screen, watch
    from mcprune.session.loop import run
    from mcprune.session.steering.replay import read_replay

    recorded, replay = read_replay(folder)
    config = make_config(**{**recorded, **options})
    if _is_shared():
        return _run_shared(config, replay, quiet=quiet, json=json)
    with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
        return watch(run(config, replay), screen)


def _is_shared() -> bool:
    """Whether torchrun may have started this process as one of several."""
    return "RANK" in os.environ or "WORLD_SIZE" in os.environ


def _run_shared(config: Config, controller: Controller | None, *, quiet: bool, json: bool) -> int:
    fdr = config.false_discovery_rate()
    if fdr is not None and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(f"fdr={fdr:g} is for one process, and torchrun has started several. Run it without torchrun.")
    from mcprune.session.ranks import place_of

    place = place_of(os.environ)
    if place is not None:
        from mcprune.cli.ranks import run_shared

        return run_shared(place, config, controller, quiet=quiet, json=json)

    from mcprune.report.screens.choose import choose_screen, watch
    from mcprune.session.loop import run

    with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
        return watch(run(config, controller), screen)
