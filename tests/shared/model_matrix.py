"""The page of the matrix of models: `python tests/shared/model_matrix.py --write`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from wild_models import CUT, MODELS, NO_CHANNELS, NO_LINEAR, REFUSALS, SCATTER, SITES, ZEROS, Wild

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model-matrix.md"
HEAD = """\
# Which models can be pruned

You will find what mcprune does with models as people write them, by kind of site.

The table is generated from tests (`tests/models/test_model_matrix.py`): each entry is a small model that is searched, cut, compared with
the masked model in float64, saved, loaded without pickle and exported. A refusal comes before the search, as one message that names
the layer and the reason. How your own model is passed is in [Your own model](own-models.md).

- **cut**: the layers are narrower.
- **in zeros**: the kept inputs are put into rows of zeros before the whole network, so fewer inputs are measured.
- **zeros**: the dropped weights are 0, and units without any kept weight are cut where the network is a chain of layers.
- **-**: the model has no such sites.

"""
TAIL = """
A hidden unit is one of an `nn.Linear`; of a model with layers that cannot be cut, these are left out with a note, and the others are sites.
Exported means to torch.export, and from there to [ONNX](export.md).
"""


def page() -> str:
    """Return the page."""
    lines = ["| model | " + " | ".join(SITES) + " | exported |", "|---" * (len(SITES) + 2) + "|"]
    lines += ["| " + " | ".join(_row(name, wild)) + " |" for name, wild in MODELS.items()]
    return HEAD + "\n".join(lines) + "\n" + TAIL


def _row(name: str, wild: Wild) -> list[str]:
    cells = [_cell(wild, site) for site in SITES]
    is_usable = any(getattr(wild, site) in (CUT, SCATTER, ZEROS) for site in SITES)
    return [name, *cells, ("yes" if wild.export else "no") if is_usable else "-"]


def _cell(wild: Wild, site: str) -> str:
    value: str = getattr(wild, site)
    if value in (NO_CHANNELS, NO_LINEAR):
        return "-"
    if value not in (CUT, SCATTER, ZEROS):
        return f"refused: {REFUSALS[value]}"
    return f"{value}, not those of {wild.partly}" if wild.partly and site in wild.partly_of else value


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        print(page(), end="")
