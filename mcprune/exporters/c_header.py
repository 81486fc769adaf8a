"""An integer net as a C header that needs nothing but a C99 compiler, and its check by compiling it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.scale import Scaler
from mcprune.errors import ModelError, brief
from mcprune.exporters.integers import SIGNAL_BITS, IntegerNet
from mcprune.types import AnyArray, IntArray

TESTED = 16  # rows of the test vector in the header
PER_LINE = 24
SECONDS = 60  # limit for the compiler, and for the program

PROGRAM = r"""#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "net.h"
int main(int count, char **names) {
    long rows = atol(names[1]), row, place, turn;
    float *data = malloc(sizeof(float) * MCPRUNE_INPUTS * (rows + 1));
    int16_t in[MCPRUNE_INPUTS];
    mcprune_sum out[MCPRUNE_CLASSES];
    volatile int best = 0;
    struct timespec began, ended;
    FILE *from = fopen(names[2], "rb");
    (void)count;
    if (!from || fread(data, sizeof(float) * MCPRUNE_INPUTS, rows, from) != (size_t)rows) return 3;
    if (mcprune_self_test()) return 4;
    for (row = 0; row < rows; row++) {
        mcprune_quantise(data + row * MCPRUNE_INPUTS, in);
        mcprune_outputs(in, out);
        for (place = 0; place < MCPRUNE_CLASSES; place++) printf("%lld ", (long long)out[place]);
        printf("%d\n", mcprune_predict(data + row * MCPRUNE_INPUTS));
    }
    double fastest = 1e9;
    for (turn = 0; turn < 5; turn++) {
        clock_gettime(CLOCK_MONOTONIC, &began);
        for (row = 0; row < rows; row++) best += mcprune_predict(data + row * MCPRUNE_INPUTS);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        double taken = (ended.tv_sec - began.tv_sec) + 1e-9 * (ended.tv_nsec - began.tv_nsec);
        if (taken < fastest) fastest = taken;
    }
    printf("%.9g\n", fastest / rows);
    return 0;
}
"""


class Compiled(NamedTuple):
    """What the compiled header gave: the outputs (B, C), the classes (B,), seconds of a row with its scaling."""

    outputs: IntArray
    classes: IntArray
    seconds: float


def header(
    net: IntegerNet, scaler: Scaler | None, names: tuple[str, ...], labels: tuple[object, ...], raw: AnyArray
) -> str:
    """Return the C header.

    Parameters
    ----------
    net : IntegerNet
    scaler : Scaler or None
        Of the kept inputs; None: rows come scaled.
    names, labels : tuple
        The kept inputs and the classes, for a comment.
    raw : ndarray of float32, shape (B, n)
        Rows as `mcprune_quantise` takes them; the first 16 are the test vector.
    """
    n, classes = net.layers[0].weight.shape[1], len(net.layers[-1].bias)
    signals = net.quantise(scaled_rows(raw[:TESTED], scaler))
    sums = "int32_t" if net.widest() < 2**31 else "int64_t"
    factor = np.ones(n) if scaler is None else scaler.factor
    shift = np.zeros(n) if scaler is None else scaler.shift
    width = max(layer.weight.shape[0] for layer in net.layers)
    parts = [
        "/* A small integer network, written by mcprune. Needs C99 and rint() of math.h (link with -lm).",
        f"   inputs, in this order: {comment_text(names)}",
        f"   classes, by index: {comment_text(labels)}",
        f"   weights of {net.bits} bits, signals of {SIGNAL_BITS}; outputs are in units of 2^-{net.out_point}.",
        "   mcprune_predict(row): class index of a row of floats, "
        + ("unscaled as in the data" if scaler is not None else "scaled")
        + "; mcprune_outputs: integers in, integers out. */",
        "#ifndef MCPRUNE_NET_H",
        "#define MCPRUNE_NET_H",
        "#include <math.h>",
        "#include <stdint.h>",
        f"#define MCPRUNE_INPUTS {n}",
        f"#define MCPRUNE_CLASSES {classes}",
        f"#define MCPRUNE_OUT_POINT {net.out_point}",
        f"typedef {sums} mcprune_sum;",
        _array("double", "mcprune_shift", f"[{n}]", [repr(float(value)) for value in shift]),
        _array("double", "mcprune_factor", f"[{n}]", [repr(float(v)) for v in factor]),
    ]
    for place, layer in enumerate(net.layers):
        rows, columns = layer.weight.shape
        parts += [
            _array(f"int{net.bits}_t", f"mcprune_w{place}", f"[{rows * columns}]", layer.weight.ravel().tolist()),
            _array("mcprune_sum", f"mcprune_b{place}", f"[{rows}]", layer.bias.tolist()),
        ]
    parts += [
        _array("int16_t", "mcprune_test_in", f"[{len(signals) * n}]", signals.ravel().tolist()),
        _array("mcprune_sum", "mcprune_test_out", f"[{len(signals) * classes}]", net.outputs(signals).ravel().tolist()),
        FUNCTIONS % {"scale": repr(2.0**net.in_point), "top": 2 ** (SIGNAL_BITS - 1) - 1},
        "static inline void mcprune_outputs(const int16_t *in, mcprune_sum *out) {",
        f"    int16_t a[{width}], b[{width}];",
        *([] if len(net.layers) > 2 else ["    (void)b;"]),
        *([] if len(net.layers) > 1 else ["    (void)a;"]),
    ]
    source = "in"
    for place, layer in enumerate(net.layers):
        rows, columns = layer.weight.shape
        call = f"mcprune_w{place}, mcprune_b{place}, {rows}, {columns}, {source}, {int(layer.is_rectified)}"
        if place == len(net.layers) - 1:
            parts.append(f"    mcprune_last({call}, out);")
        else:
            source_next = "ab"[place % 2]
            parts.append(f"    mcprune_layer({call}, {layer.shift}, {source_next});")
            source = source_next
    parts += ["}", TAIL % {"tested": len(signals)}, "#endif", ""]
    return "\n".join(parts).replace("WEIGHT_T", f"int{net.bits}_t")


FUNCTIONS = """static inline void mcprune_quantise(const float *row, int16_t *out) {
    for (int i = 0; i < MCPRUNE_INPUTS; i++) {
        double v = rint((double)(float)(((double)row[i] - mcprune_shift[i]) * mcprune_factor[i]) * %(scale)s);
        out[i] = (int16_t)(v > %(top)d ? %(top)d : v < -%(top)d ? -%(top)d : v);
    }
}
static inline mcprune_sum mcprune_row(const WEIGHT_T *w, mcprune_sum s, int n, const int16_t *in, int relu) {
    for (int i = 0; i < n; i++) s += (mcprune_sum)w[i] * in[i];
    return relu && s < 0 ? 0 : s;
}
static inline void mcprune_layer(const WEIGHT_T *w, const mcprune_sum *b, int m, int n, const int16_t *in, int relu, int shift,
                                 int16_t *out) {
    for (int o = 0; o < m; o++) {
        mcprune_sum s = mcprune_row(w + o * n, b[o], n, in, relu);
        mcprune_sum size = s < 0 ? -s : s;
        if (shift) size = (size + ((mcprune_sum)1 << (shift - 1))) >> shift;
        if (size > %(top)d) size = %(top)d;
        out[o] = (int16_t)(s < 0 ? -size : size);
    }
}
static inline void mcprune_last(const WEIGHT_T *w, const mcprune_sum *b, int m, int n, const int16_t *in, int relu,
                                mcprune_sum *out) {
    for (int o = 0; o < m; o++) out[o] = mcprune_row(w + o * n, b[o], n, in, relu);
}"""

TAIL = """static inline int mcprune_best(const mcprune_sum *out) {
    int best = 0;
    for (int c = 1; c < MCPRUNE_CLASSES; c++) if (out[c] > out[best]) best = c;
    return best;
}
static inline int mcprune_predict(const float *row) {
    int16_t in[MCPRUNE_INPUTS];
    mcprune_sum out[MCPRUNE_CLASSES];
    mcprune_quantise(row, in);
    mcprune_outputs(in, out);
    return mcprune_best(out);
}
/* The number of outputs of the test vector that differ: 0. */
static inline int mcprune_self_test(void) {
    int wrong = 0;
    mcprune_sum out[MCPRUNE_CLASSES];
    for (int r = 0; r < %(tested)d; r++) {
        mcprune_outputs(mcprune_test_in + r * MCPRUNE_INPUTS, out);
        for (int c = 0; c < MCPRUNE_CLASSES; c++) wrong += out[c] != mcprune_test_out[r * MCPRUNE_CLASSES + c];
    }
    return wrong;
}"""


def scaled_rows(raw: AnyArray, scaler: Scaler | None) -> AnyArray:
    """Return rows as the model takes them."""
    return np.asarray(raw, np.float32) if scaler is None else scaler.apply(np.asarray(raw, np.float64))


def compiler() -> str | None:
    """Return the C compiler of this machine, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(text: str, rows: AnyArray, classes: int) -> Compiled:
    """Compile a header in a folder that is removed, run it on float rows (B, n) and return what it gave.

    Raises
    ------
    ModelError
        The compiler refuses it, or its own test vector fails.
    """
    program = compiler()
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.h").write_text(text, encoding="utf-8")
        (folder / "main.c").write_text(PROGRAM, encoding="utf-8")
        (folder / "rows").write_bytes(np.ascontiguousarray(rows, np.float32).tobytes())
        # Fused multiply-adds would round the scaling once less than numpy does.
        flags = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "main.c", "-lm", "-o", "net"]
        try:
            subprocess.run([program, *flags], cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS)
            printed = subprocess.run(
                [str(folder / "net"), str(len(rows)), "rows"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            ).stdout.splitlines()
        except subprocess.CalledProcessError as error:
            message = (error.stderr or f"its program ended with code {error.returncode}").strip()
            raise ModelError(f"the C header failed its check with {program}: {brief(ValueError(message))}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(f"the C header could not be checked with {program}: {brief(error)}") from None
    numbers = np.array([line.split() for line in printed[:-1]], dtype=np.int64).reshape(len(rows), classes + 1)
    return Compiled(numbers[:, :-1], numbers[:, -1], float(printed[-1]))


def _array(kind: str, name: str, size: str, values: list[object] | list[str] | list[int]) -> str:
    texts = list(map(str, values))
    lines = [", ".join(texts[start : start + PER_LINE]) for start in range(0, len(texts), PER_LINE)]
    return f"static const {kind} {name}{size} = {{\n" + ",\n".join(lines) + "};"


def comment_text(words: Iterable[object]) -> str:
    """Names from somebody's table: they must not end the comment, nor continue a line."""
    plain = (ascii(str(word))[1:-1] for word in words)
    return ", ".join(
        word.replace("*/", "* /").replace("/*", "/ *").replace("\\", "|").replace("??", "? ?") for word in plain
    )
