"""The command line: it runs the named command and turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from mcprune.cli.parser import nearest
from mcprune.errors import ConfigError, McpruneError, NothingFoundError
from mcprune.version import VERSION

INTERRUPTED, BROKEN_PIPE, REFUSED, NOTHING = 130, 141, 2, 3


class Command(NamedTuple):
    """A command: the module of this package that has a function of its name, and its lines in the help."""

    module: str
    lines: tuple[tuple[str, str], ...]  # (usage, what it does)


COMMANDS = {
    "run": Command("run", (("run", "choose the sites, test the result, save the pruned model"),)),
    "resume": Command("resume", (("resume FOLDER", "continue a run that was cut off"),)),
    "tune": Command(
        "tune", (("tune [FOLDER]", "run with a page in the browser on which the run is watched and steered"),)
    ),
    "path": Command(
        "studies.path", (("path", "a mask for each of several numbers of sites in one run, and how many are enough"),)
    ),
    "refine": Command(
        "scoring.refine", (("refine MASKFILE", "improve a mask from elsewhere at the same number of sites"),)
    ),
    "show": Command("show", (("show FOLDER", "print the table and the picture of a finished run"),)),
    "report": Command(
        "report",
        (("report FOLDER", "write a page of a run: its curves, its mask, the pruned model against the whole one"),),
    ),
    "sample": Command("sample", (("sample FOLDER", "draw good masks by a law, and print how sure each kept site is"),)),
    "predict": Command("predict", (("predict FOLDER FILE", "classify new rows with the pruned model"),)),
    "export": Command(
        "export", (("export FOLDER", "write the pruned model for another program: ONNX, torch, C, safetensors"),)
    ),
    "quantize": Command(
        "firmware.quantize",
        (("quantize", "train a perceptron in fixed point for firmware, within a budget of digits"),),
    ),
    "polish": Command(
        "firmware.polish",
        (("polish FOLDER", "lower a network in fixed point to an exact budget of digits by a Markov chain"),),
    ),
    "inspect": Command("inspect", (("inspect", "list what of a network can be pruned, and what each site costs"),)),
    "evaluators": Command(
        "scoring.evaluators", (("evaluators", "show how candidates of a run can be evaluated, and how fast"),)
    ),
    "score": Command(
        "scoring.score",
        (("score", "train a classifier, score its sites by an importance measure, keep the n highest"),),
    ),
    "bench": Command("studies.bench", (("bench", "compare the chain with every variant of the gradient path"),)),
    "sweep": Command("studies.sweep", (("sweep", "try values of options, rank them by validation accuracy (Optuna)"),)),
    "doctor": Command("doctor", (("doctor", "report what is installed, what the machine offers and what is missing"),)),
    "reproduce": Command(
        "studies.reproduce",
        (
            ("reproduce slides", "measure the statements of the slides that proposed the pruner"),
            ("reproduce obd", "measure the statements of a post on Optimal Brain Damage on MNIST"),
            ("reproduce flow", "measure the observations of a paper on pruning early in training"),
        ),
    ),
}


def description() -> str:
    """Return the text of `mcprune --help`."""
    lines = [line for command in COMMANDS.values() for line in command.lines]
    return "\n".join(
        [
            "Choose exactly n inputs, units, channels or weights of a neural network with a gradient-free Markov chain.",
            "",
            "commands:",
            *(f"  {usage:<22} {summary}" for usage, summary in lines),
            "",
            "Try: mcprune run --keep 16",
            "Each command explains its options: mcprune run --help",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of this process.

    Returns
    -------
    int
        0; 2 after an error that the user can fix (one message on stderr); 3 where no column beats its shadow (`--fdr`); 130 after
        Ctrl-C, 143 after SIGTERM; 141 if the reader of the output has closed it. Any other exception is a fault of mcprune and is
        raised.
    """
    _prepare_streams()
    try:
        code = _command(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except NothingFoundError as answer:
        return _fail(f"mcprune: {answer}", NOTHING)
    except McpruneError as error:
        return _fail(f"mcprune: error: {error}", REFUSED)
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        return _fail(f"mcprune: interrupted{interrupt}", getattr(interrupt, "code", INTERRUPTED))


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        return _top(arguments)
    name = arguments[0]
    _refuse_ranks(arguments)

    from mcprune.session.interrupt import own_signals

    try:
        with own_signals():
            code: int = getattr(import_module(f"mcprune.cli.{COMMANDS[name].module}"), name)(arguments[1:])
    except SystemExit as leave:  # how argparse leaves after --help
        return int(leave.code or 0)
    return code


def _refuse_ranks(arguments: list[str]) -> None:
    """Refuse what several processes would do several times over."""
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if size != "1" and arguments[0] not in ("run", "resume", "refine") and not {"-h", "--help"} & set(arguments):
        raise ConfigError(
            f"mcprune {arguments[0]} is for one process, and torchrun has started {size[:9]}. Run it without torchrun"
        )


def _top(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help"):
        print(description(), end="")
        return 0
    if first == "--version":
        print(f"mcprune {VERSION}")
        return 0
    if first.startswith("-"):
        near = nearest(first, ["--help", "--version"])
        remedy = near or f" before the command. Options follow it, as in: mcprune run {first}."
        raise ConfigError(f"there is no option {first!r}{remedy} See mcprune --help")
    hint = nearest(first, list(COMMANDS)) or f"; the commands are {', '.join(COMMANDS)}."
    raise ConfigError(f"there is no command {first!r}{hint} See mcprune --help")


def _prepare_streams() -> None:
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it is the output until the process ends
    # A name that the stream cannot encode is shown with escapes; it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    with contextlib.suppress(OSError):  # the reader of stderr may have closed it as well; the exit code remains
        print(message, file=sys.stderr)
    return code


def _drop_output() -> None:
    # The interpreter flushes stdout once more on its way out; into nothing that cannot fail.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
