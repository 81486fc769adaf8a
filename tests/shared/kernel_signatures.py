"""The one signature of each kernel that Python calls: whatever the shapes and layouts, nothing else is ever compiled."""

import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

# Modules with kernels.
ROOMS = (
    "mcprune.chain.accept",
    "mcprune.chain.cost_constraint",
    "mcprune.chain.kernels",
    "mcprune.chain.ranks.rank_kernels",
    "mcprune.evaluators.compiled.mlp_kernels",
    "mcprune.evaluators.compiled.weight_kernels",
    "mcprune.firmware.polish.engine.digit_kernels",
)
# Signatures of those that Python calls; float64[:,::1] is a contiguous matrix. The key of a random number: seed, chain, step.
VECTOR, MATRIX, COUNTS, TABLE = "float64[::1]", "float64[:,::1]", "int64[::1]", "int64[:,::1]"
KEY = "UniTuple(int64 x 3)"
CHAIN = f"Tuple({MATRIX}, {MATRIX}, int32[:,::1], {COUNTS})"
PLAN = f"Tuple({VECTOR}, int64, float64, {VECTOR}, {VECTOR})"
CELLS = f"Tuple(int8[:,::1], int32[:,::1], int64[:,:,::1], float64[:,:,::1], {MATRIX}, float64[:,:,::1])"
RULE = f"Tuple({VECTOR}, {VECTOR}, {VECTOR}, bool)"
INFO = f"Tuple({COUNTS}, {COUNTS}, {COUNTS}, {MATRIX}, {TABLE}, {TABLE}, {COUNTS}, {COUNTS})"
PROPOSE = f"{CHAIN}, {PLAN}, {MATRIX}, {MATRIX}, {VECTOR}, float64, int64, {COUNTS}, {CELLS}"
# Of gates by rank: weights, heaps, places and kept of each layer; layers; scores; room for one candidate; the log of walks.
RANKS = f"Tuple({MATRIX}, int32[:,::1], {MATRIX}, int32[:,::1], {TABLE})"
LAYERS = f"Tuple(int32[::1], {COUNTS}, {COUNTS})"
SCORES = f"UniTuple({MATRIX} x 2)"
SCRATCH = f"Tuple({COUNTS}, int8[::1], {COUNTS}, {VECTOR})"
LOG = f"Tuple(int32[:,::1], {MATRIX}, int8[:,::1])"
FLOATS, FLOAT_ROWS, LABELS = "float32[::1]", "float32[:,::1]", "int32[::1]"
NET = (
    f"{FLOATS}, int64, int64, {LABELS}, {FLOATS}, {FLOATS}, {TABLE}, {FLOATS}, {VECTOR}, {FLOATS}, "
    f"Tuple(int64, float32), {FLOAT_ROWS}, {FLOATS}, {COUNTS}, {COUNTS}, int32[::1], {TABLE}, {FLOAT_ROWS}, int64"
)
SCREEN = f"{VECTOR}, float64, {COUNTS}, float64"
WEIGHTS = (
    f"{FLOAT_ROWS}, {FLOATS}, {FLOATS}, {FLOATS}, {VECTOR}, {LABELS}, {FLOATS}, {TABLE}, {COUNTS}, {COUNTS}, {COUNTS}, int64, "
    "int64, "
    f"int32[::1], {TABLE}, {FLOAT_ROWS}"
)
COSTS = f"{COUNTS}, {COUNTS}, {COUNTS}, {COUNTS}"
# Of the chain over digits: the integers of a network, the state of its rows, room for a tile of them.
DIGIT_NET = f"Net({COUNTS}, {TABLE}, int32[::1], int32[::1], {TABLE}, {TABLE}, {COUNTS}, {VECTOR})"
DIGIT_ROWS = f"Rows(int32[:,::1], int32[:,::1], {FLOATS}, {LABELS}, {FLOATS}, int32[::1])"
DIGIT_SCRATCH = f"Scratch(int32[:,::1], int32[:,::1], int32[::1], {FLOAT_ROWS}, int32[::1], {FLOATS}, uint8[::1], uint8[::1], {MATRIX})"
GUIDE = f"Guide({COUNTS}, {COUNTS}, {VECTOR})"
DIGIT_STATE = f"{DIGIT_NET}, {DIGIT_ROWS}, {DIGIT_SCRATCH}"
ENTRIES = {
    "cost_constraint.close_rows": f"{MATRIX}, int32[:,::1], int64[:,:,::1], float64[:,:,::1], {TABLE}, {COUNTS}, "
    f"{COUNTS}, {COUNTS}, {COUNTS}, {COUNTS}, bool[::1], {COSTS}, int64[:,:,::1], bool[:,::1]",
    "cost_constraint.count_rows": f"{MATRIX}, {COUNTS}, {COUNTS}, {COUNTS}, {COUNTS}, {TABLE}",
    "digit_kernels.activate": f"int32[::1], int64, {COUNTS}, int32[::1]",
    "digit_kernels.apply": f"{DIGIT_NET}, {TABLE}, int64, int64",
    "digit_kernels.cost_change": f"{DIGIT_NET}, {TABLE}, int64, int64, bool",
    "digit_kernels.draw": f"{DIGIT_NET}, {GUIDE}, int64, float64, float64, {VECTOR}, uint64[::1], {TABLE}, {COUNTS}",
    "digit_kernels.evaluate": f"{DIGIT_STATE}, {TABLE}, int64, int64, int64, int64, bool, {VECTOR}",
    "digit_kernels.force": f"{DIGIT_STATE}, int64, int64, int64, uint64[::1], {TABLE}, {TABLE}, {VECTOR}",
    "digit_kernels.new_logits": f"{DIGIT_STATE}, {TABLE}, int64, int64, {FLOAT_ROWS}",
    "digit_kernels.probe": f"{DIGIT_STATE}, int64, int64, float64, uint64[::1], {TABLE}, {COUNTS}, {COUNTS}, {VECTOR}",
    "digit_kernels.refresh": f"{DIGIT_STATE}, int64",
    "digit_kernels.set_costs": f"{DIGIT_NET}, int64",
    "digit_kernels.set_reader_costs": f"{DIGIT_NET}, int64, int64, int64",
    "digit_kernels.walk": f"{DIGIT_STATE}, {GUIDE}, int64, int64, {VECTOR}, float64, "
    f"{COUNTS}, {VECTOR}, {VECTOR}, uint64[::1], {MATRIX}, {VECTOR}",
    "kernels.advance_rows": f"{VECTOR}, {VECTOR}, {CHAIN}, {CELLS}, {MATRIX}, {RULE}, float64, int64, {COUNTS}, {COUNTS}, {INFO}, {TABLE}",
    "kernels.fill_uniforms": f"{KEY}, int64, {VECTOR}",
    "kernels.philox": "uint64, uint64, uint64, uint64, uint64, uint64",
    "kernels.propose_parallel": PROPOSE,
    "kernels.propose_serial": PROPOSE,
    "kernels.refresh_rows": f"{MATRIX}, float64, {MATRIX}, int32[:,::1]",
    "kernels.table_rows": f"{VECTOR}, {VECTOR}, {CHAIN}, int64, {VECTOR}, {PLAN}, int64, {MATRIX}, {MATRIX}, {VECTOR}, {RULE}, "
    f"float64, int64, {COUNTS}, {TABLE}, {TABLE}, {TABLE}, {COUNTS}, {COUNTS}",
    "kernels.threshold_rows": f"{VECTOR}, {CHAIN}, {CELLS}, {RULE}, int64, {COUNTS}, {MATRIX}",
    "kernels.total_losses": f"{VECTOR}, {MATRIX}, {RULE}, int64, {VECTOR}",
    "kernels.whole_sums": f"{VECTOR}, float64, {VECTOR}",
    "mlp_kernels.evaluate": f"{NET}, bool, {SCREEN}",
    "mlp_kernels.evaluate_parallel": f"{NET}, {SCREEN}, int64",
    "mlp_kernels.settle_parallel": NET,
    "mlp_kernels.row_mean": f"{FLOATS}, {VECTOR}, int64",
    "rank_kernels.advance_rows": f"{VECTOR}, {VECTOR}, {CHAIN}, {RANKS}, {LAYERS}, {PLAN}, {SCORES}, {VECTOR}, {VECTOR}, int64, "
    f"{COUNTS}, {SCRATCH}, {LOG}, {CELLS}, {TABLE}, {TABLE}, {COUNTS}, {COUNTS}, {MATRIX}, {INFO}, {TABLE}, {COUNTS}",
    "rank_kernels.build_rows": f"{MATRIX}, {MATRIX}, int32[:,::1], {MATRIX}, int32[:,::1], {TABLE}, int32[::1], {COUNTS}, {COUNTS}",
    "rank_kernels.propose_rows": f"{CHAIN}, {RANKS}, {LAYERS}, {PLAN}, {SCORES}, {VECTOR}, int64, {COUNTS}, {COUNTS}, {COUNTS}, "
    f"{SCRATCH}, {LOG}, {CELLS}, {TABLE}, {TABLE}, {COUNTS}, {COUNTS}",
    "rank_kernels.table_rows": f"{VECTOR}, {VECTOR}, {CHAIN}, {RANKS}, {LAYERS}, int64, {VECTOR}, {PLAN}, {SCORES}, {VECTOR}, "
    f"{VECTOR}, int64, {COUNTS}, {SCRATCH}, {TABLE}, {TABLE}, {TABLE}, {TABLE}, {COUNTS}, {COUNTS}",
    "rank_kernels.threshold_rows": f"{VECTOR}, {COUNTS}, {CELLS}, {TABLE}, {COUNTS}, {VECTOR}, int64, {COUNTS}, {MATRIX}",
    "weight_kernels.evaluate": f"{WEIGHTS}, bool",
    "weight_kernels.evaluate_parallel": WEIGHTS,
}


def short(signature: Sequence[Any]) -> str:
    """Write argument types with arrays in numba's short form."""

    def array(match: re.Match[str]) -> str:
        kind, dimensions, layout = match.groups()
        mark = ",".join([":"] * (int(dimensions) - 1) + ["::1"]) if layout == "C" else f"{dimensions}d {layout}"
        return f"{kind}[{mark}]"

    return re.sub(r"array\((\w+), (\d+)d, ([^)]+)\)", array, ", ".join(map(str, signature)))


def compiled() -> dict[str, list[str]]:
    """Signatures of all kernels that this process has compiled or loaded, by module and name."""
    out = {}
    for room in ROOMS:
        for name, one in vars(sys.modules.get(room, object)).items():
            if getattr(one, "__module__", None) == room and hasattr(one, "signatures") and one.signatures:
                out[f"{room.rsplit('.', 1)[1]}.{name}"] = [short(signature) for signature in one.signatures]
    return out


def check() -> None:
    """Fail where a kernel has several signatures, or one that Python calls another than the listed one."""
    for name, signatures in compiled().items():
        assert len(signatures) == 1, f"{name} was compiled for {len(signatures)} signatures: {signatures}"
        assert signatures[0] == ENTRIES.get(name, signatures[0]), name


@pytest.fixture(scope="session", autouse=True)
def no_other_signature():
    """At the end of every test session."""
    yield
    check()
