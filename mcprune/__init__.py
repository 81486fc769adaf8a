"""mcprune chooses which n parts of a neural network to keep by a gradient-free Markov chain, while backprop trains it.

The public names are imported when they are first used, so that `import mcprune` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from mcprune.version import VERSION

if TYPE_CHECKING:
    from mcprune.api import fit as fit
    from mcprune.api import prune as prune
    from mcprune.api import resume as resume
    from mcprune.api import run as run
    from mcprune.chain.schedules import geometric as geometric
    from mcprune.chain.schedules import linear as linear
    from mcprune.config.schema import Config as Config
    from mcprune.config.schema import make_config as make_config
    from mcprune.dashboard.callback import Dashboard as Dashboard
    from mcprune.dashboard.notebook import tune as tune
    from mcprune.errors import McpruneError as McpruneError
    from mcprune.estimators.pruned import MarkovPrunedClassifier as MarkovPrunedClassifier
    from mcprune.estimators.pruned import MarkovPrunedRegressor as MarkovPrunedRegressor
    from mcprune.estimators.sklearn import MarkovSelector as MarkovSelector
    from mcprune.exporters.export import export as export
    from mcprune.exporters.inspect import inspect as inspect
    from mcprune.from_mask import refine as refine
    from mcprune.models.function import FunctionModel as FunctionModel
    from mcprune.path.call import prune_path as prune_path
    from mcprune.path.call import resume_path as resume_path
    from mcprune.path.result import PathResult as PathResult
    from mcprune.problem import Problem as Problem
    from mcprune.report.displays.masks import MaskDisplay as MaskDisplay
    from mcprune.report.displays.paths import PathDisplay as PathDisplay
    from mcprune.report.displays.scores import ScoresDisplay as ScoresDisplay
    from mcprune.results import Mask as Mask
    from mcprune.results import Result as Result
    from mcprune.sampling.from_run import sample as sample
    from mcprune.sampling.samples import Samples as Samples
    from mcprune.searches import Gradient as Gradient
    from mcprune.searches import Importance as Importance
    from mcprune.searches import Markov as Markov
    from mcprune.session.steering.callbacks import Callback as Callback
    from mcprune.session.steering.callbacks import Checkpoint as Checkpoint
    from mcprune.session.steering.controller import Controller as Controller
    from mcprune.storage.events import Event as Event
    from mcprune.storage.events import Hardened as Hardened
    from mcprune.storage.events import KnobChanged as KnobChanged
    from mcprune.storage.events import Note as Note
    from mcprune.storage.events import Progress as Progress
    from mcprune.storage.events import Replanned as Replanned
    from mcprune.storage.events import RunDone as RunDone
    from mcprune.storage.events import RunStarted as RunStarted
    from mcprune.storage.events import Scored as Scored
    from mcprune.storage.events import Stage as Stage
    from mcprune.storage.events import Stopped as Stopped
    from mcprune.storage.pruned_model import PrunedModel as PrunedModel
    from mcprune.storage.pruned_model import load as load

_HOMES = {
    "Callback": "mcprune.session.steering.callbacks",
    "Checkpoint": "mcprune.session.steering.callbacks",
    "Config": "mcprune.config.schema",
    "Controller": "mcprune.session.steering.controller",
    "Dashboard": "mcprune.dashboard.callback",
    "Event": "mcprune.storage.events",
    "FunctionModel": "mcprune.models.function",
    "Gradient": "mcprune.searches",
    "Hardened": "mcprune.storage.events",
    "Importance": "mcprune.searches",
    "KnobChanged": "mcprune.storage.events",
    "Markov": "mcprune.searches",
    "MarkovPrunedClassifier": "mcprune.estimators.pruned",
    "MarkovPrunedRegressor": "mcprune.estimators.pruned",
    "MarkovSelector": "mcprune.estimators.sklearn",
    "Mask": "mcprune.results",
    "MaskDisplay": "mcprune.report.displays.masks",
    "McpruneError": "mcprune.errors",
    "Note": "mcprune.storage.events",
    "PathDisplay": "mcprune.report.displays.paths",
    "PathResult": "mcprune.path.result",
    "Problem": "mcprune.problem",
    "Progress": "mcprune.storage.events",
    "PrunedModel": "mcprune.storage.pruned_model",
    "Replanned": "mcprune.storage.events",
    "Result": "mcprune.results",
    "RunDone": "mcprune.storage.events",
    "RunStarted": "mcprune.storage.events",
    "Samples": "mcprune.sampling.samples",
    "Scored": "mcprune.storage.events",
    "ScoresDisplay": "mcprune.report.displays.scores",
    "Stage": "mcprune.storage.events",
    "Stopped": "mcprune.storage.events",
    "export": "mcprune.exporters.export",
    "fit": "mcprune.api",
    "geometric": "mcprune.chain.schedules",
    "inspect": "mcprune.exporters.inspect",
    "linear": "mcprune.chain.schedules",
    "load": "mcprune.storage.pruned_model",
    "make_config": "mcprune.config.schema",
    "prune": "mcprune.api",
    "prune_path": "mcprune.path.call",
    "refine": "mcprune.from_mask",
    "resume": "mcprune.api",
    "resume_path": "mcprune.path.call",
    "run": "mcprune.api",
    "sample": "mcprune.sampling.from_run",
    "tune": "mcprune.dashboard.notebook",
}
__version__ = VERSION
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
