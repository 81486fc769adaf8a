"""mcprune chooses which n parts of a neural network to keep by a gradient-free Markov chain, while backprop trains it.

The public names are imported when they are first used, so that `import mcprune` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from mcprune.version import VERSION as __version__

if TYPE_CHECKING:
    from mcprune.errors import McpruneError as McpruneError
    from mcprune.faces.estimator import MarkovPrunedClassifier as MarkovPrunedClassifier
    from mcprune.faces.estimator import MarkovSelector as MarkovSelector
    from mcprune.faces.tune.notebook import tune as tune
    from mcprune.session.api import Mask as Mask
    from mcprune.session.api import Result as Result
    from mcprune.session.api import prune as prune
    from mcprune.session.api import resume as resume
    from mcprune.session.config import RunConfig as RunConfig
    from mcprune.session.config import make_config as make_config
    from mcprune.session.events import Event as Event
    from mcprune.session.exports import export as export
    from mcprune.session.folder import SmallModel as SmallModel
    from mcprune.session.folder import load as load
    from mcprune.session.inspecting import inspect as inspect
    from mcprune.session.loop import run as run

_HOMES = {
    "Event": "mcprune.session.events",
    "MarkovPrunedClassifier": "mcprune.faces.estimator",
    "MarkovSelector": "mcprune.faces.estimator",
    "Mask": "mcprune.session.api",
    "McpruneError": "mcprune.errors",
    "Result": "mcprune.session.api",
    "RunConfig": "mcprune.session.config",
    "SmallModel": "mcprune.session.folder",
    "export": "mcprune.session.exports",
    "inspect": "mcprune.session.inspecting",
    "load": "mcprune.session.folder",
    "make_config": "mcprune.session.config",
    "prune": "mcprune.session.api",
    "resume": "mcprune.session.api",
    "run": "mcprune.session.loop",
    "tune": "mcprune.faces.tune.notebook",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mcprune' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
