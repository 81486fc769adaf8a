"""`mcprune quantize`: train a perceptron in fixed point for all sizes, and save the one that fits a budget."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError
from mcprune.report.terminal import choose as choose_output
from mcprune.storage.layout import check_network_folder

if TYPE_CHECKING:
    from mcprune.firmware.qat.choose import Choice

DESCRIPTION = (
    "Train a perceptron with ReLU in fixed point: its inputs, weights, biases and hidden signals are rounded in every step, and each gets "
    "its own number of bits by gradients. A penalty on bit operations grows while it is trained, so that one training passes through all "
    "sizes. The network with the least validation loss within the budget is saved; mcprune export writes it for firmware."
)
SHOWN = 16  # networks of the printed front


def quantize(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    parser = Parser("mcprune quantize", DESCRIPTION)
    parser.option("--data", default="digits", help="data set by name, or a file (default: digits)")
    parser.option("--target", help="column that holds the class (tables)")
    parser.option("--hidden", default="32,16", metavar="N,N", help="widths of the hidden layers (default: 32,16)")
    parser.option(
        "--keep", type=int, metavar="N", help="the budget: largest cost (default: the cheapest of about the least loss)"
    )
    parser.option(
        "--budget-in",
        default="digits",
        metavar="UNIT",
        help="digits, digit-bits, ebops, adders or luts (default: digits)",
    )
    parser.option("--epochs", type=int, default=600, metavar="N", help="epochs of training (default: 600)")
    parser.option(
        "--batch-size",
        type=int,
        metavar="N",
        help="rows of a step (default: 512, with fewer rows than 16,384 a 32nd of them)",
    )
    parser.option("--learning-rate", type=float, default=0.003, metavar="RATE", help="of Adam (default: 0.003)")
    parser.option(
        "--penalty", default="1e-6,1e-3", metavar="FIRST,LAST",
        help="cross-entropy per bit operation, at first and at last (default: 1e-6,1e-3)",
    )  # fmt: skip
    parser.option(
        "--overflow", default="wrap", metavar="KIND", help="of hidden signals: wrap or saturate (default: wrap)"
    )
    parser.option("--seed", type=int, default=0, help="draws splits, weights and batches (default: 0)")
    parser.option("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.option("--out", required=True, metavar="FOLDER", help="where to save the network")
    parser.option("--force", action="store_true", help="replace a network that is there (default: no)")
    options = parser.read(arguments)

    import torch

    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.firmware.counting.costs import UNITS
    from mcprune.firmware.network_files import save_network
    from mcprune.firmware.qat.choose import choose, row_losses, train_choices
    from mcprune.firmware.qat.fit import Training, default_batch

    for name in ("keep", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value} is too small. Choose 1 or more.")
    if options.budget_in not in UNITS:
        raise ConfigError(f"--budget-in {options.budget_in} is no unit. Choose one of {', '.join(UNITS)}.")
    out = Path(options.out)
    check_network_folder(out, force=options.force)
    config = make_config(data=options.data, hidden=options.hidden, seed=options.seed)
    settings = config.data_settings()
    data = load(settings.source, target=options.target)
    splits = prepare(data, seed=options.seed, validation=settings.validation, test=settings.test)
    batch = default_batch(len(splits.train.targets)) if options.batch_size is None else options.batch_size
    training = Training(
        hidden=config.hidden_widths(), epochs=options.epochs, batch_size=batch,
        learning_rate=options.learning_rate, penalty=_penalty(options.penalty), overflow=options.overflow, seed=options.seed,
    )  # fmt: skip
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        choices = train_choices(splits, training)
    finally:
        torch.set_num_threads(before)
    chosen = choose(choices, options.budget_in, options.keep)
    origin = chosen.network.origin._replace(split_seed=options.seed)
    save_network(chosen.network.but(origin=origin), out)
    losses, is_right = row_losses(chosen.network, splits.test.features, splits.test.targets)
    output = choose_output(sys.stdout)
    output.lines(
        [
            f"{len(choices)} networks of {data.name}, none beaten by another in both bit operations and validation loss",
            "",
        ]
    )
    output.table(list(HEADER), table(choices, chosen))
    output.lines(
        [
            "",
            f"saved: {out} ({chosen.costs.of(options.budget_in):,} {options.budget_in}); test rows: cross-entropy {losses.mean():.4f}, "
            f"accuracy {is_right.mean():.4f}",
        ]
    )
    return 0


HEADER = ("digits", "digit-bits", "EBOPs", "adders at most", "units", "validation loss", "accuracy", "")


def table(choices: list[Choice], chosen: Choice) -> list[list[str]]:
    """Return rows of the front, the chosen one among them."""
    step = max(1, -(-len(choices) // SHOWN))
    return [
        [
            f"{one.costs.digits:,}", f"{one.costs.digit_bits:,}", f"{one.costs.ebops:,}", f"{one.costs.adders:,}",
            "-".join(map(str, one.network.widths)), f"{one.loss:.4f}", f"{one.accuracy:.4f}", "saved" if one is chosen else "",
        ]
        for place, one in enumerate(choices)
        if place % step == 0 or one is chosen
    ]  # fmt: skip


def _penalty(text: str) -> tuple[float, float]:
    try:
        first, last = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--penalty {text} is not two numbers. Give such as 1e-6,1e-3.") from None
    return first, last
