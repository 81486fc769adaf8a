"""A fixed-point network as a C header of sums with constants, and its check by compiling it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from mcprune.errors import ModelError, brief
from mcprune.exporters.c_header import comment_text, compiler
from mcprune.firmware.counting.solver import floor_rounding
from mcprune.firmware.fixed_point import FixedFormat
from mcprune.firmware.network import FixedNetwork
from mcprune.types import AnyArray, IntArray

SECONDS = 120  # limit for the compiler, and for the program
WIDTH = 118

PROGRAM = r"""#include <stdio.h>
#include <stdlib.h>
#include "net.h"
int main(int count, char **names) {
    long rows = atol(names[1]), row;
    int place;
    float floats[MCPRUNE_INPUTS];
    int32_t in[MCPRUNE_INPUTS], own[MCPRUNE_INPUTS];
    mcprune_sum out[MCPRUNE_CLASSES];
    FILE *from = fopen(names[2], "rb");
    (void)count;
    if (!from) return 3;
    for (row = 0; row < rows; row++) {
        if (fread(in, sizeof(int32_t), MCPRUNE_INPUTS, from) != MCPRUNE_INPUTS) return 3;
        if (fread(floats, sizeof(float), MCPRUNE_INPUTS, from) != MCPRUNE_INPUTS) return 3;
        mcprune_quantise(floats, own);
        for (place = 0; place < MCPRUNE_INPUTS; place++) if (own[place] != in[place]) return 4;
        mcprune_outputs(in, out);
        for (place = 0; place < MCPRUNE_CLASSES; place++) printf("%lld ", (long long)out[place]);
        printf("%d\n", mcprune_best(out));
    }
    return 0;
}
"""

HEAD = """/* A fixed-point network, written by mcprune. C99, without any library.
   inputs, in this order: {names}
   classes, by index: {labels}
   mcprune_outputs(in, out): integer inputs in units of 2^-{common} -> integer logits in units of {logit_scale!r}
   mcprune_best(out): index of the largest logit, the first of equal ones
   mcprune_quantise(row, in): floats{raw} -> integer inputs; #define MCPRUNE_INTEGERS_ONLY leaves it out. */
#ifndef MCPRUNE_NET_H
#define MCPRUNE_NET_H
#include <stdint.h>
#define MCPRUNE_INPUTS {inputs}
#define MCPRUNE_CLASSES {classes}
#define MCPRUNE_INPUT_POINT {common}
typedef {sums} mcprune_sum;
static inline mcprune_sum mcprune_down(mcprune_sum v, int shift) {{ return v < 0 ? ~(~v >> shift) : v >> shift; }}
static inline mcprune_sum mcprune_clip(mcprune_sum v, mcprune_sum low, mcprune_sum high) {{
    return v < low ? low : v > high ? high : v;
}}
static inline mcprune_sum mcprune_wrap(mcprune_sum v, mcprune_sum low, mcprune_sum mask) {{
    return (mcprune_sum)(((u{sums})v - (u{sums})low) & (u{sums})mask) + low;
}}"""

QUANTISE = """#ifndef MCPRUNE_INTEGERS_ONLY
/* Each input: bits, bits behind the point, sign; {range}. */
static inline void mcprune_quantise(const float *row, int32_t *out) {{
    static const double shift[] = {{{shift}}};
    static const double factor[] = {{{factor}}};
    static const double scale[] = {{{scale}}};
    static const int32_t low[] = {{{low}}}, high[] = {{{high}}}, up[] = {{{up}}};
    for (int i = 0; i < MCPRUNE_INPUTS; i++) {{
        double v = (double)(float)(((double)row[i] - shift[i]) * factor[i]) * scale[i];
        int64_t w = (int64_t)v;
        if ((double)w > v) w--;
        {rounding}
        {overflow}
        out[i] = (int32_t)w * up[i];
    }}
}}
static inline int mcprune_predict(const float *row) {{
    int32_t in[MCPRUNE_INPUTS];
    mcprune_sum out[MCPRUNE_CLASSES];
    mcprune_quantise(row, in);
    mcprune_outputs(in, out);
    return mcprune_best(out);
}}
#endif
#endif
"""

TAIL = """static inline int mcprune_best(const mcprune_sum *out) {
    int best = 0;
    for (int c = 1; c < MCPRUNE_CLASSES; c++) if (out[c] > out[best]) best = c;
    return best;
}"""


def c_header(network: FixedNetwork) -> str:
    """Return the header: one statement for each unit, whose weights are constants; weights of 0 are left out."""
    net = floor_rounding(network)
    sums = "int32_t" if 2 * _widest(net) < 2**31 else "int64_t"
    form = net.inputs
    lines = [
        HEAD.format(
            names=comment_text(net.origin.names), labels=comment_text(net.origin.labels), common=form.common,
            logit_scale=network.logit_scale, inputs=len(form), classes=net.widths[-1], sums=sums,
            raw=", scaled" if net.origin.scaler is None else " as in the data",
        ),
        "static inline void mcprune_outputs(const int32_t *in, mcprune_sum *out) {",
    ]  # fmt: skip
    source = "in"
    for number, layer in enumerate(net.layers):
        if layer.activation is None:
            lines += [
                _statement(f"out[{unit}]", _sum(source, weights, bias))
                for unit, (weights, bias) in enumerate(zip(layer.weight, layer.bias, strict=True))
            ]
            break
        target = f"h{number + 1}"
        lines.append(f"    mcprune_sum {target}[{len(layer.bias)}];")
        for unit, (weights, bias) in enumerate(zip(layer.weight, layer.bias, strict=True)):
            fraction = net.accumulator_fraction(number)
            lines.append(_statement(f"{target}[{unit}]", _sum(source, weights, bias)))
            lines.append(_requantized(f"{target}[{unit}]", fraction, layer.activation, unit, is_rectified=layer.relu))
        source = target
    return "\n".join([*lines, "}", TAIL, _quantise(net)])


def run_c(text: str, inputs: IntArray, rows: AnyArray, classes: int) -> tuple[IntArray, IntArray]:
    """Compile a header in a folder that is removed, and run it.

    Parameters
    ----------
    text : str
        The header.
    inputs : ndarray of int64, shape (B, n)
        Integer inputs.
    rows : ndarray of float32, shape (B, n)
        The floats that they come from: the header must give the same integers of them.
    classes : int

    Returns
    -------
    logits : ndarray of int64, shape (B, classes)
    best : ndarray of int64, shape (B,)

    Raises
    ------
    ModelError
        There is no compiler, it refuses the header, or the header gives other integers of the floats.
    """
    program = compiler()
    if program is None:
        raise ModelError("This machine has no C compiler to check the header with. Install one, such as gcc.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.h").write_text(text, encoding="utf-8")
        (folder / "main.c").write_text(PROGRAM, encoding="utf-8")
        both = [np.ascontiguousarray(inputs, np.int32), np.ascontiguousarray(rows, np.float32).view(np.int32)]
        (folder / "rows").write_bytes(np.hstack(both).tobytes())
        flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "main.c", "-o", "net"]
        try:
            for command in ([program, *flags], [str(folder / "net"), str(len(inputs)), "rows"]):
                done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.CalledProcessError as error:
            message = (error.stderr or f"it ended with code {error.returncode}").strip()
            raise ModelError(f"The C header failed its check with {program}: {brief(ValueError(message))}.") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(f"The C header could not be checked with {program}: {brief(error)}.") from None
    numbers = np.array([line.split() for line in done.stdout.splitlines()], dtype=np.int64)
    numbers = numbers.reshape(len(inputs), classes + 1)
    return numbers[:, :-1], numbers[:, -1]


def _widest(network: FixedNetwork) -> int:
    """Return the largest magnitude of any sum, also where it is shifted up to its unit's step."""
    most = 0
    for number, (layer, reach) in enumerate(zip(network.layers, network.accumulator_reach(), strict=True)):
        form = layer.activation
        up = 0 if form is None else max(int((form.fraction - network.accumulator_fraction(number)).max(initial=0)), 0)
        most = max(most, int(reach.max()) << up)
    return most


def _quantise(network: FixedNetwork) -> str:
    """Return the function that brings floats into the formats of the inputs, as `FixedNetwork.quantize_inputs` does."""
    form, scaler = network.inputs, network.origin.scaler
    ones = np.ones(len(form))
    if form.overflow == "saturate":
        overflow = "w = w < low[i] ? low[i] : w > high[i] ? high[i] : w;"
    else:
        overflow = "w = (int64_t)(((uint64_t)w - (uint64_t)low[i]) & (uint64_t)(high[i] - low[i])) + low[i];"
    return QUANTISE.format(
        range="beyond its range it " + ("wraps around" if form.overflow == "wrap" else "takes the nearest value"),
        shift=_floats(0 * ones if scaler is None else scaler.shift),
        factor=_floats(ones if scaler is None else scaler.factor),
        scale=_floats(np.ldexp(ones, np.where(form.bits > 0, form.fraction, 0))),
        low=_numbers(form.low),
        high=_numbers(form.high),
        up=_numbers(1 << form.shift),
        rounding="if (v - (double)w >= 0.5) w++;" if form.rounding == "nearest" else "/* low bits are cut off */",
        overflow=overflow,
    )


def _sum(source: str, weights: IntArray, bias: int) -> str:
    """Return the sum of a unit: its bias, and each weight that is not 0 times its input."""
    parts = [str(int(bias))]
    for place in np.flatnonzero(weights):
        weight = int(weights[place])
        size = "" if abs(weight) == 1 else f"{abs(weight)} * "
        parts.append(f"{'-' if weight < 0 else '+'} {size}(mcprune_sum){source}[{place}]")
    return " ".join(parts)


def _statement(target: str, text: str) -> str:
    """Return an assignment, broken into lines."""
    lines, line = [], f"    {target} ="
    for word in text.replace(" * ", "*").split(" "):
        if len(line) + len(word) + 2 > WIDTH and word not in "+-":
            lines.append(line)
            line = "       "
        line += f" {word}"
    return "\n".join([*lines, line + ";"])


def _requantized(name: str, fraction: int, form: FixedFormat, unit: int, *, is_rectified: bool) -> str:
    """Return the statement that applies ReLU, cuts low bits off and brings the value into range."""
    bits = int(form.bits[unit])
    if bits == 0:
        return f"    {name} = 0;"
    text = f"{name} < 0 ? 0 : {name}" if is_rectified else name
    drop = fraction - int(form.fraction[unit])
    if drop > 0:
        text = f"mcprune_down({text}, {drop})"
    elif drop < 0:
        text = f"({text}) * {1 << -drop}"
    low, high = int(form.low[unit]), int(form.high[unit])
    name_of, last = ("clip", high) if form.overflow == "saturate" else ("wrap", (1 << bits) - 1)
    text = f"mcprune_{name_of}({text}, {low}, {last})"
    up = int(form.shift[unit])
    return f"    {name} = {text}{f' * {1 << up}' if up else ''};"


def _floats(values: AnyArray) -> str:
    return ", ".join(repr(float(value)) for value in values)


def _numbers(values: AnyArray) -> str:
    return ", ".join(str(int(value)) for value in values)
