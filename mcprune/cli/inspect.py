"""`mcprune inspect`: what of a built-in network can be pruned, and what each site costs."""

from __future__ import annotations

import sys
from pathlib import Path

from mcprune.cli.parser import Parser
from mcprune.errors import ModelError
from mcprune.report.terminal import choose

DESCRIPTION = (
    "List the possible sites of a network: inputs, units, channels, weights, heads, neurons and blocks, what dropping one "
    "saves, what belongs together, what cannot be dropped and why, and how large a perceptron would be in "
    "firmware. With FOLDER: the size in firmware of what is in it. For a model of your own: --model FILE.py:NAME, or "
    "mcprune.inspect(model, example) in Python."
)


def inspect(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    parser = Parser("mcprune inspect", DESCRIPTION)
    parser.option(
        "folder", nargs="?", metavar="FOLDER", help="a run, or a network of mcprune quantize: its size in firmware"
    )
    parser.option("--data", default="digits", help="the data set, which says how long rows are (default: digits)")
    parser.option(
        "--model",
        default="mlp",
        help="mlp, lenet-300-100, vgg13, mobilenet_v1, resnet56 or FILE.py:NAME (default: mlp)",
    )
    parser.option(
        "--hidden", default="", metavar="N,N", help="widths of an mlp's hidden layers (default: as mcprune run)"
    )
    parser.option("--width", type=float, default=1.0, help="multiplies the channels of a network (default: 1)")
    options = parser.read(arguments)
    if options.folder is not None:
        return _inspect_folder(options.folder)

    from mcprune.config.parsing import is_model_file
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.exporters.inspect import FIRMWARE, HEADER
    from mcprune.exporters.inspect import inspect as look
    from mcprune.firmware.counting.model_sizes import firmware_table
    from mcprune.models.own_file import model_of_file
    from mcprune.models.registry import build

    config = make_config(data=options.data, **({"hidden": options.hidden} if options.hidden else {}))
    data = load(config.data_settings().source)
    model = (
        model_of_file(options.model, config.seed())
        if is_model_file(options.model)
        else build(
            options.model,
            data.n_inputs,
            data.n_outputs,
            config.hidden_widths(),
            width=options.width,
            image_shape=data.image_shape,
        )
    )
    report = look(model, (data.n_inputs,))
    output = choose(sys.stdout)
    output.lines([f"{options.model} on {data.name}", report.title, ""])
    output.table(list(HEADER), report.rows())
    output.lines(["", *report.notes] if report.notes else [])
    if report.firmware:
        head, rows = firmware_table(report.firmware)
        output.lines(["", f"{FIRMWARE}; weights are untrained", ""])
        output.table(head, rows)
    return 0


def _inspect_folder(folder: str) -> int:
    """Print the sizes in firmware of a fixed-point network, or of the small model of a run."""
    from mcprune.exporters.inspect import FIRMWARE
    from mcprune.firmware.counting.model_sizes import firmware_sizes, firmware_table
    from mcprune.firmware.counting.sizes import layer_sizes
    from mcprune.firmware.network_files import is_network, load_network
    from mcprune.storage.pruned_model import load_described

    if is_network(folder):
        network = load_network(folder)
        widths = "-".join(map(str, network.widths))
        title, sizes = (
            f"a fixed-point network {widths}; estimates from its integers, nothing was synthesised",
            layer_sizes(network),
        )
    else:
        small, _ = load_described(Path(folder))
        title, sizes = FIRMWARE, firmware_sizes(small.model, small.columns.size)
        if not sizes:
            raise ModelError(
                f"The small model of {folder!r} is no perceptron with ReLU of at most 100,000 weights, so that its size in firmware is not "
                "known. Export it with --to onnx for other tools."
            )
    output = choose(sys.stdout)
    head, rows = firmware_table(sizes)
    output.lines([title, ""])
    output.table(head, rows)
    return 0
