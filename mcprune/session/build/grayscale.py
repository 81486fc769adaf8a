"""The search that serves grey images: other defaults than those of images on a black ground (docs/what-makes-a-good-mask.md)."""

from __future__ import annotations

from typing import Any

from mcprune.config.schema import Config
from mcprune.data.prepare import Prepared

# Where fewer pixels than this share are black, hardly any is rarely lit: noise and waves, which cost such pixels, bring nothing.
BLACK = 2.0 / 3.0
NO_NOISE: dict[str, Any] = {"input_noise": 0.0, "retrain_input_noise": 0.0}
# In place of the noise a small perceptron is kept from remembering its rows by dropout, and then has use for more epochs.
RETRAINED: dict[str, Any] = {"retrain_dropout": 0.2, "retrain_epochs": 60}
EPOCHS, POOL, EARLY_ROWS = 30, 8, 1024


def is_grey(prepared: Prepared) -> bool:
    """Whether the rows are images that are not mostly black; only the first 5,000 training rows are looked at."""
    return prepared.image_shape is not None and float((prepared.x_train[:5000] == 0).mean()) < BLACK


def for_grey_images(config: Config, prepared: Prepared, *, is_own: bool) -> Config:
    """Return the options with what grey images want in place of what was not given.

    Parameters
    ----------
    config : Config
    prepared : Prepared
        Of many rows: on few the usual search has neither waves nor noise while it goes on.
    is_own : bool
        The classifier is mcprune's own perceptron, so that it may be searched with at any width.
    """
    if not is_grey(prepared) or config.train.frozen:
        return config
    wanted = dict(NO_NOISE)
    if is_own and config.problem.sites == "inputs" and config.retrain.finetune in ("auto", "scratch"):
        wanted |= RETRAINED
    is_plain = (
        config.method == "markov"
        and config.problem.sites == "inputs"
        and config.problem.macs is config.problem.parameters is None
    )
    if is_plain and is_own:
        wanted |= {"epochs": EPOCHS, "search_hidden": config.model.hidden}
    left = {name: value for name, value in wanted.items() if not config.is_given(name)}
    if is_plain and is_own:
        chain = config.chain
        schedule, pool, rows = chain.keep_schedule, chain.pool, chain.evaluation_rows
        left |= {
            "keep_schedule": schedule if schedule.regrow is not None else schedule.but(regrow=0),
            "pool": pool if pool.size is not None else pool.but(size=POOL),
            "evaluation_rows": rows if rows.early is not None else rows.but(early=EARLY_ROWS),
        }
    return config.replace(**left)
