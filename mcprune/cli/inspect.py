"""`mcprune inspect`: what of a built-in network can be pruned, and what each site costs."""

from __future__ import annotations

import sys

from mcprune.cli.parser import Parser
from mcprune.report.terminal import choose

DESCRIPTION = (
    "List the possible sites of a network of a run: inputs, units, channels and weights, what dropping one saves, what belongs "
    "together, and what cannot be dropped and why. For a model of your own: mcprune.inspect(model, example) in Python."
)


def inspect(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    parser = Parser("mcprune inspect", DESCRIPTION)
    parser.option("--data", default="digits", help="the data set, which says how long rows are (default: digits)")
    parser.option("--model", default="mlp", help="mlp, lenet-300-100, vgg13, mobilenet_v1, resnet56 (default: mlp)")
    parser.option(
        "--hidden", default="", metavar="N,N", help="widths of an mlp's hidden layers (default: as mcprune run)"
    )
    parser.option("--width", type=float, default=1.0, help="multiplies the channels of a network (default: 1)")
    options = parser.read(arguments)

    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.exporters.inspect import HEADER
    from mcprune.exporters.inspect import inspect as look
    from mcprune.models.registry import build

    config = make_config(data=options.data, **({"hidden": options.hidden} if options.hidden else {}))
    data = load(config.data_settings().source)
    model = build(
        options.model,
        data.n_inputs,
        len(data.labels),
        config.model.hidden,
        width=options.width,
        image_shape=data.image_shape,
    )
    report = look(model, (data.n_inputs,))
    output = choose(sys.stdout)
    output.lines([f"{options.model} on {data.name}", report.title, ""])
    output.table(list(HEADER), report.rows())
    output.lines(["", *report.notes] if report.notes else [])
    return 0
