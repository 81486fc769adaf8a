"""`reproduce flow`: networks trained by SGD, pruned in rounds early in training, and looked at after the first epoch.

The session's trainer is Adam with masks; the paper's setting is plain SGD with rates that fall at fixed epochs, so it has its own loop.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn
from torch.nn import functional

from mcprune.exporters.footprint import parameters
from mcprune.methods.importance.evidence import balanced_rows
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.importance.selection import select, telescoping_counts
from mcprune.models.registry import build
from mcprune.objectives.classification import CrossEntropy
from mcprune.random import Stream, generator
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.studies.parts import Figures
from mcprune.studies.reproduce.flow.setting import DECAY, FALLS, LOSS, MAGNITUDE, MEASURES, MOMENTUM, RATE, Rows, Scale
from mcprune.training.classifiers import shrunken
from mcprune.training.metrics import accuracy
from mcprune.types import BoolArray, FloatArray

PARTS = 4  # points of the loss curve in an epoch
HORIZONS = (1, 10)  # steps after which the change of theta^2 is taken; and an epoch
MEANT = "10"  # the horizon that verdicts and the scatter are about
AT_ONCE = 1000  # rows that are evaluated at once
SHOWN = 1500  # points of a scatter
FLOW_STEP = 1e-4  # rate of the single plain step against the whole gradient
LOOK, ROUND, DRAW = 1000, 2000, 21  # turns of `balanced_rows`
LOWEST = 0.25  # the share that counts as slowest
AUGMENT = 4  # pixels


@dataclass
class Net:
    """A network in its current state, and its sites."""

    model: nn.Module
    sites: SiteMap


class Training:
    """The runs of one network and seed.

    Parameters
    ----------
    network, seed
    rows : Rows
    size : Scale
    device : torch.device
    """

    def __init__(self, network: str, seed: int, rows: Rows, size: Scale, device: torch.device) -> None:
        self.network, self.seed, self.size, self.device = network, seed, size, device
        self.rows = rows
        self.x, self.y = (torch.from_numpy(part).to(device) for part in (rows.x, rows.y))
        self.x_test, self.y_test = (torch.from_numpy(part).to(device) for part in (rows.x_test, rows.y_test))
        part = np.concatenate(balanced_rows(rows.y, size.measure_rows, AT_ONCE, 0, DRAW))
        self.measured = torch.from_numpy(part).to(device)
        self._started: tuple[Net, list[list[float]]] | None = None

    @property
    def n_inputs(self) -> int:
        """Numbers of a row."""
        return int(self.x.shape[1])

    def started(self) -> tuple[Net, list[list[float]]]:
        """Return a copy of the network after its first epoch, and the curve so far; trained once for all runs."""
        if self._started is None:
            model = build(
                self.network, self.n_inputs, self.rows.classes, seed=self.seed, width=self.size.width[self.network],
                image_shape=self.rows.shape,
            ).to(self.device)  # fmt: skip
            net = Net(model, self.plan(model))
            self._started = net, self.train(net, _sgd(net), 0, 1)
        net, curve = self._started
        return Net(copy.deepcopy(net.model), net.sites), list(curve)

    def plan(self, model: nn.Module) -> SiteMap:
        """Return the channels that can be dropped."""
        return site_map(model, "channels", self.n_inputs)

    # -- training

    def train(
        self,
        net: Net,
        optimizer: torch.optim.SGD,
        first: int,
        last: int,
        after_step: Callable[[int], None] | None = None,
    ) -> list[list[float]]:
        """Train for the epochs first .. last - 1; return [epoch, mean loss of the training batches] at the end of each part of an epoch.

        Batches are a function of seed and epoch alone, so all runs see the same; `after_step` gets the number of steps.
        """
        net.model.train()
        curve, steps = [], 0
        for epoch in range(first, last):
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.1 ** sum(epoch >= fall * self.size.epochs for fall in FALLS)
            batches = list(self._batches(epoch))
            ends = {math.ceil(len(batches) * (part + 1) / PARTS): part for part in range(PARTS)}
            sums: list[torch.Tensor] = []
            for number, (x, y) in enumerate(batches, 1):
                loss = functional.cross_entropy(net.model(x), y)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                sums.append(loss.detach())
                steps += 1
                if after_step is not None:
                    after_step(steps)
                if number in ends:
                    curve.append([epoch + (ends[number] + 1) / PARTS, float(torch.stack(sums).mean())])
                    sums = []
        return curve

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        draw = generator(self.seed, Stream.STUDY_ROWS, epoch)
        order = draw.permutation(len(self.y))
        size = min(self.size.batch, len(order))
        for start in range(0, len(order) - size + 1, size):  # a rest would be too few rows for batch-norm
            rows = torch.from_numpy(order[start : start + size]).to(self.device)
            x = self.x[rows]
            yield (moved(x, self.rows.shape, draw) if self.size.augment else x), self.y[rows]

    # -- measuring

    @torch.no_grad()
    def loss(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> float:
        """Mean cross-entropy of the rows that the loss around pruning is measured on."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for rows in torch.split(self.measured, AT_ONCE):
            total += functional.cross_entropy(forward(self.x[rows]), self.y[rows], reduction="sum").double()
        return float(total) / len(self.measured)

    def masked_losses(self, net: Net, mask: BoolArray) -> dict[str, float]:
        """Loss under a mask: batch-norm by its running statistics, and by those of the measured rows themselves."""
        gates = torch.from_numpy(mask.astype(np.float32)).to(self.device)
        losses = {}
        for name, is_training in (("running", False), ("batch", True)):
            model = copy.deepcopy(net.model).train(is_training)
            gated = GatedModel(model, net.sites)
            losses[name] = self.loss(lambda x, gated=gated: gated(x, gates))  # type: ignore[misc]
        return losses

    def scores(self, net: Net, measure: str, stream: int) -> FloatArray:
        """Scores of all sites by a measure, on class-balanced rows of a stream."""
        settings = ScoreSettings(measure, rows=self.size.score_rows, seed=self.seed + stream)
        return Scorer(net.model, net.sites, self.x, self.y, CrossEntropy(), settings).scores().values

    # -- the runs

    def dense(self, fractions: tuple[float, ...]) -> Figures:
        """Train without pruning; after the first epoch look at what each measure would drop, and at how theta^2 develops."""
        start_time = time.monotonic()
        net, curve = self.started()
        start = Net(copy.deepcopy(net.model), net.sites)
        scored = {measure: self.scores(start, measure, LOOK) for measure in MEASURES}
        losses = {
            measure: {
                f"{fraction:g}": self.masked_losses(start, self._mask(start, scored[measure], fraction))
                for fraction in fractions
            }
            for measure in MEASURES
        }
        whole = self.masked_losses(start, np.ones(start.sites.size, np.bool_))
        changes = {"flow": flow_change(self, start)}
        owners, before = Owners(net.model, net.sites), _values(net)
        an_epoch = max(1, len(self.y) // min(self.size.batch, len(self.y)))

        def measure_change(steps: int) -> None:
            if steps in (*HORIZONS, an_epoch):
                name = str(steps) if steps in HORIZONS else "epoch"
                changes[name] = square_change(owners, before, _values(net))

        curve += self.train(net, _sgd(net), 1, self.size.epochs, measure_change)
        changes = {name: np.abs(change) for name, change in changes.items()}
        shown = slice(None, None, max(1, math.ceil(net.sites.size / SHOWN)))
        return {
            "kind": "dense", "sites": net.sites.size, "groups": [group.size for group in net.sites.groups],
            "parameters": parameters(net.model),
            "accuracy": accuracy(net.model, self.x_test, self.y_test), "curve": curve, "loss": whole, "losses": losses,
            "relations": {name: relation(scored, change) for name, change in changes.items()},
            "scatter": {"score": scored[LOSS][shown], "change": changes[MEANT][shown] if MEANT in changes else []},
            "seconds": time.monotonic() - start_time,
        }  # fmt: skip

    def pruned(self, measure: str, fraction: float) -> Figures:
        """Prune by a measure to a fraction, in rounds with an epoch before each, and train on."""
        start_time = time.monotonic()
        net, curve = self.started()
        size = net.sites.size
        left = telescoping_counts(size, size - round(fraction * size), self.size.rounds)
        rounds = []
        for number, keep in enumerate(left, 1):
            before = self.masked_losses(net, np.ones(net.sites.size, np.bool_))
            values = self.scores(net, measure, ROUND + number)
            mask = select(values, net.sites.groups, keep, "global", self.size.floor[self.network])
            after = self.masked_losses(net, mask)
            net.model.eval()
            small = shrunken(net.model, net.sites, mask, self.n_inputs)
            net = Net(small, self.plan(small))
            assert net.sites.size == keep, (net.sites.size, keep)
            groups = [group.size for group in net.sites.groups]
            rounds.append({"epoch": number, "kept": keep, "groups": groups, "before": before, "after": after})
            curve += self.train(net, _sgd(net), number, number + 1)
        curve += self.train(net, _sgd(net), len(left) + 1, self.size.epochs)
        return {
            "kind": "pruned", "sites": size, "kept": left[-1], "parameters": parameters(net.model),
            "accuracy": accuracy(net.model, self.x_test, self.y_test),
            "curve": curve, "rounds": rounds, "seconds": time.monotonic() - start_time,
        }  # fmt: skip

    def _mask(self, net: Net, values: FloatArray, fraction: float) -> BoolArray:
        keep = net.sites.size - round(fraction * net.sites.size)
        return select(values, net.sites.groups, keep, "global", self.size.floor[self.network])


def _sgd(net: Net) -> torch.optim.SGD:
    return torch.optim.SGD(net.model.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)


def _values(net: Net) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.model.named_parameters()}


def moved(x: torch.Tensor, shape: tuple[int, int, int], draw: np.random.Generator) -> torch.Tensor:
    """Move each image by up to `AUGMENT` pixels, black coming in, and mirror half of them; rows stay flat."""
    planes, height, width = shape
    wide = functional.pad(x.view(-1, planes, height, width), (AUGMENT,) * 4)
    down, right = (torch.from_numpy(draw.integers(0, 2 * AUGMENT + 1, len(x))).to(x.device) for _ in range(2))
    columns = torch.arange(width, device=x.device).expand(len(x), width)
    mirrored = torch.from_numpy(draw.random(len(x)) < 0.5).to(x.device)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + right[:, None]
    lines = torch.arange(height, device=x.device) + down[:, None]
    row = torch.arange(len(x), device=x.device)[:, None, None, None]
    plane = torch.arange(planes, device=x.device)[None, :, None, None]
    return wide[row, plane, lines[:, None, :, None], columns[:, None, None, :]].reshape(len(x), -1)


def square_change(owners: Owners, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> FloatArray:
    """Change of |theta|^2 of each site, (after - before)(after + before) element by element, so that nothing cancels."""
    return owners.sums({
        name: (after[name].double() - before[name].double()) * (after[name].double() + before[name].double()) for name in before
    })  # fmt: skip


def flow_change(training: Training, net: Net) -> FloatArray:
    """Change of |theta|^2 of each site by one tiny step against the gradient of other rows, divided by the step: the flow itself."""
    model = copy.deepcopy(net.model).eval()
    drawn = balanced_rows(training.rows.y, training.size.score_rows, AT_ONCE, training.seed + LOOK, 1)
    rows_in_all = sum(map(len, drawn))
    for part in drawn:
        rows = torch.from_numpy(part).to(training.device)
        loss = functional.cross_entropy(model(training.x[rows]), training.y[rows], reduction="sum") / rows_in_all
        loss.backward()  # type: ignore[no-untyped-call]
    before = {name: tensor.detach().double() for name, tensor in model.named_parameters()}
    after = {
        name: before[name] - FLOW_STEP * tensor.grad.double()
        for name, tensor in model.named_parameters()
        if tensor.grad is not None
    }
    return square_change(Owners(model, net.sites), {name: before[name] for name in after}, after) / FLOW_STEP


def relation(scored: dict[str, FloatArray], change: FloatArray) -> dict[str, float | None]:
    """How the change of theta^2 goes with loss preservation, and with magnitude as a control.

    `overlap` is the share of the quarter of the sites with the lowest loss preservation that is among the quarter with the smallest
    change; a quarter by chance.
    """
    score = scored[LOSS]
    count = max(1, round(LOWEST * len(score)))
    low = set(np.argsort(score, kind="stable")[:count].tolist()) & set(
        np.argsort(change, kind="stable")[:count].tolist()
    )
    return {
        "pearson": _correlation(pearsonr, score, change),
        "spearman": _correlation(spearmanr, score, change),
        "spearman_magnitude": _correlation(spearmanr, scored[MAGNITUDE], change),
        "overlap": len(low) / count,
    }


def _correlation(
    kind: Callable[[FloatArray, FloatArray], Sequence[float]], one: FloatArray, other: FloatArray
) -> float | None:
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other) or not np.isfinite([one, other]).all():
        return None
    return float(kind(one, other)[0])
