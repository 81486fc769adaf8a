"""The command line: which command is meant, and what becomes of an error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mcprune.cli.parser import Parser, nearest
from mcprune.errors import ConfigError, McpruneError
from mcprune.version import VERSION

if TYPE_CHECKING:
    from mcprune.config.schema import Config
    from mcprune.session.steering import Steering

INTERRUPTED, BROKEN_PIPE, REFUSED = 130, 141, 2

DESCRIPTION = """\
Choose exactly n inputs, units, channels or weights of a neural network with a gradient-free Markov chain.

commands:
  run                    choose the sites, test the result, save the smaller model
  resume FOLDER          go on with a run that was cut off
  tune [FOLDER]          run with a page in the browser on which it is watched and steered
  show FOLDER            print the table and the picture of a finished run again
  report FOLDER          write a page of a run: its curves, its mask, the small model against the whole one
  predict FOLDER FILE    classify new rows with the smaller model
  export FOLDER          write the smaller model for another program: ONNX, torch, C, safetensors
  inspect                list what of a network can be pruned, and what each site costs
  evaluators             show how candidates of a run could be evaluated, and how fast
  score                  train a classifier, score its sites by an importance measure, keep the n highest
  bench                  compare the chain with every variant of the gradient path
  sweep                  try values of options, rank them by validation accuracy (Optuna)
  doctor                 say what is installed, what the machine offers and what is missing
  reproduce slides       measure what the slides state that proposed the pruner
  reproduce obd          Optimal Brain Damage on MNIST: what a post states of it, measured
  reproduce flow         measure the observations of a paper on pruning early in training

Try: mcprune run --keep 16
Each command explains its options: mcprune run --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of this process.

    Returns
    -------
    int
        0; 2 after an error that the user can mend (one message on stderr); 130 after Ctrl-C, 143 after SIGTERM; 141 if the
        output was closed by its reader. Any other exception is a fault of mcprune and is raised.
    """
    _prepare_streams()
    try:
        code = _command(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except McpruneError as error:
        return _say(f"mcprune: error: {error}", REFUSED)
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        return _say(f"mcprune: interrupted{interrupt}", getattr(interrupt, "code", INTERRUPTED))


def _command(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "show": _show,
        "predict": _predict,
        "report": _report,
        "tune": _tune,
        "export": _export,
        "inspect": _inspect,
        "evaluators": _evaluators,
        "score": _score,
        "bench": _bench,
        "reproduce": _reproduce,
        "sweep": _sweep,
        "resume": _resume,
        "doctor": _doctor,
    }
    if arguments and arguments[0] in commands:
        _refuse_ranks(arguments)

        from mcprune.session.interrupt import own_signals

        try:
            with own_signals():
                return commands[arguments[0]](arguments[1:])
        except SystemExit as leave:  # how argparse leaves after --help
            return int(leave.code or 0)
    return _top(arguments, list(commands))


def _refuse_ranks(arguments: list[str]) -> None:
    """Refuse what several processes would do several times over."""
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if size != "1" and arguments[0] not in ("run", "resume") and not {"-h", "--help"} & set(arguments):
        raise ConfigError(
            f"mcprune {arguments[0]} is for one process, and torchrun has begun {size[:9]}; run it without torchrun"
        )


def _top(arguments: list[str], commands: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help"):
        print(DESCRIPTION, end="")
        return 0
    if first == "--version":
        print(f"mcprune {VERSION}")
        return 0
    if first.startswith("-"):
        near = nearest(first, ["--help", "--version"])
        remedy = near or f" before the command. Options follow it, as in: mcprune run {first}."
        raise ConfigError(f"there is no option {first!r}{remedy} See mcprune --help")
    hint = nearest(first, commands) or f"; the commands are {', '.join(commands)}."
    raise ConfigError(f"there is no command {first!r}{hint} See mcprune --help")


def _run(arguments: list[str]) -> int:
    from mcprune.cli.arguments import run_options
    from mcprune.dashboard import keys

    options, quiet, json = run_options(arguments)
    replay = options.pop("replay", None)

    from mcprune.cli.screen import choose_screen, watch
    from mcprune.config.schema import make_config

    if replay is not None:
        return _replay(str(replay), options, quiet=quiet, json=json)
    config = make_config(**options)
    if _is_shared():
        return _run_shared(config, None, quiet=quiet, json=json)
    screen = choose_screen(sys.stdout, quiet=quiet, json=json)
    with screen:  # the live screen turns while torch is imported
        from mcprune.session.loop import run

        if hasattr(screen, "keys") and keys.can_be_used():
            from mcprune.cli.tune import heard
            from mcprune.dashboard.controller import Desk

            with keys.Keys(desk := Desk()) as screen.keys:
                return watch(heard(run(config, desk), desk), screen)
        return watch(run(config), screen)


def _replay(folder: str, options: dict[str, Any], *, quiet: bool, json: bool) -> int:
    from mcprune.cli.screen import choose_screen, watch
    from mcprune.config.schema import make_config
    from mcprune.session.loop import run
    from mcprune.session.steering import read_replay

    recorded, steering = read_replay(folder)
    config = make_config(**{**recorded, **options})
    if _is_shared():
        return _run_shared(config, steering, quiet=quiet, json=json)
    with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
        return watch(run(config, steering), screen)


def _is_shared() -> bool:
    """Tell whether torchrun may have begun this process as one of several."""
    return "RANK" in os.environ or "WORLD_SIZE" in os.environ


def _run_shared(config: Config, steering: Steering | None, *, quiet: bool, json: bool) -> int:
    from mcprune.session.ranks import place_of

    place = place_of(os.environ)
    if place is not None:
        from mcprune.cli.ranks import run_shared

        return run_shared(place, config, steering, quiet=quiet, json=json)

    from mcprune.cli.screen import choose_screen, watch
    from mcprune.session.loop import run

    with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
        return watch(run(config, steering), screen)


def _tune(arguments: list[str]) -> int:
    from mcprune.cli.tune import tune

    return tune(arguments)


def _resume(arguments: list[str]) -> int:
    from mcprune.cli.resume import resume

    return resume(arguments)


def _show(arguments: list[str]) -> int:
    parser = Parser("mcprune show", "Print the table and the picture of a finished run again.")
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits")
    folder = parser.read(arguments).folder

    from mcprune.report.summary import check
    from mcprune.report.terminal import choose, report
    from mcprune.storage.event_log import read_result

    result = replace(read_result(folder), folder=folder)
    check(result, folder)
    report(choose(sys.stdout), result)
    return 0


def _report(arguments: list[str]) -> int:
    from mcprune.cli.report import report

    return report(arguments)


def _predict(arguments: list[str]) -> int:
    parser = Parser(
        "mcprune predict",
        "Classify new rows with the small model of a run and write a CSV with the columns row (from 0), "
        "prediction (the class as it stood in the data) and probability (of that class).",
    )
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits")
    parser.option(
        "file",
        metavar="FILE",
        help="the new rows: a table with the columns that the model keeps, in any order (others are ignored), images, ...",
    )
    parser.option(
        "--header",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the first line holds names; auto: the run's names decide (default: auto)",
    )
    parser.option("--out", metavar="FILE.csv", help="where to write (default: standard output)")
    parser.option("--force", action="store_true", help="replace the file of --out if it exists (default: no)")
    parsed = parser.read(arguments)

    from mcprune.cli.predict import predict

    predict(parsed.folder, parsed.file, header=parsed.header, out=parsed.out, force=parsed.force)
    return 0


def _evaluators(arguments: list[str]) -> int:
    from mcprune.cli.arguments import run_options, run_parser

    parser = run_parser(
        "evaluators",
        "Show which evaluators serve a run of these options, how fast each judges candidates on its model and data "
        "(untrained; in evaluation mode, so dropout is off and batch-norm uses its running statistics), how far its "
        "losses are from the canonical ones, and which one the run would take. Nothing is written.",
    )
    options, quiet, json = run_options(arguments, parser)
    if quiet or json:
        raise ConfigError("--quiet and --json are for mcprune run; leave them out of mcprune evaluators")

    from mcprune.cli.evaluators import show
    from mcprune.config.schema import make_config

    show(make_config(**options), sys.stdout)
    return 0


def _export(arguments: list[str]) -> int:
    from mcprune.cli.export import export

    return export(arguments)


def _inspect(arguments: list[str]) -> int:
    from mcprune.cli.inspect import inspect

    return inspect(arguments)


def _score(arguments: list[str]) -> int:
    from mcprune.cli.score import score

    return score(arguments)


def _bench(arguments: list[str]) -> int:
    from mcprune.cli.studies import bench

    return bench(arguments)


def _reproduce(arguments: list[str]) -> int:
    from mcprune.cli.studies import reproduce

    return reproduce(arguments)


def _sweep(arguments: list[str]) -> int:
    from mcprune.cli.sweep import sweep

    return sweep(arguments)


def _doctor(arguments: list[str]) -> int:
    from mcprune.cli.doctor import doctor

    return doctor(arguments)


def _prepare_streams() -> None:
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stands for the process's output to its end
    # A name that the stream cannot encode is shown with escapes; it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    with contextlib.suppress(OSError):  # the reader of stderr may be gone as well; the code still tells
        print(message, file=sys.stderr)
    return code


def _drop_output() -> None:
    # The interpreter flushes stdout once more on its way out; into nothing that cannot fail.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
