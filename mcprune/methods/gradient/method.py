"""The gradient path: backprop trains gates together with the classifier, under L_tot = L_cla + alpha L_pru."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mcprune.chain import min_per_layer
from mcprune.chain.schedules import Schedule
from mcprune.errors import NumericalError
from mcprune.methods.base import Batch, BlockInfo, Method, TrainingHook
from mcprune.methods.gradient.alphas import Alpha, AlphaState
from mcprune.methods.gradient.gate_kinds import GATE_KINDS
from mcprune.methods.gradient.penalties import Pruning, pruning_losses
from mcprune.random import Stream, torch_generator
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray


@dataclass(frozen=True)
class GradientSettings:
    """The settings of the gradient path."""

    keep: int
    gate_kind: str
    sharpness: Schedule
    modified: bool  # L_rej' instead of L_rej
    optimizer: str  # adam or sgd
    learning_rate: float
    start_weight: float
    steps: int  # of the whole run
    epoch_steps: int
    seed: int
    bound: float | None = None  # sharpness times a weight is clipped to [-bound, bound] after each step


@dataclass
class GateState:
    """The state of N gates and of their optimizer; updated in place.

    Attributes
    ----------
    weights : tensor of float64, shape (N,)
        With a gradient.
    optimizer : Optimizer
        Of the weights.
    draw : Generator
        Draws the noise of the gates.
    alpha : AlphaState
    steps : int
        Steps that were made.
    crossed : tensor of int64, shape (N,)
        The step at which each gate last crossed one half; 0 for never.
    crossed_at_block : ndarray of int64, shape (N,)
        The same at the end of the last block.
    is_above : tensor of bool, shape (N,)
        Whether a gate is above one half.
    last_alpha, sel, rej : float and scalar tensors
        alpha, L_sel and L_rej of the last step.
    epoch_sums : tensor of float64, shape (2,)
        L_cla and L_pru, summed over this epoch.
    block_sums : tensor of float64, shape (3,)
        L_cla, L_sel and L_rej, summed over this block.
    block_steps : int
        Steps of this block.
    """

    weights: torch.Tensor
    optimizer: torch.optim.Optimizer
    draw: torch.Generator
    alpha: AlphaState
    steps: int
    crossed: torch.Tensor
    crossed_at_block: IntArray
    is_above: torch.Tensor
    last_alpha: float
    sel: torch.Tensor
    rej: torch.Tensor
    epoch_sums: torch.Tensor
    block_sums: torch.Tensor
    block_steps: int


class Gradient(Method[GateState]):
    """Gates of N sites that backprop trains.

    Parameters
    ----------
    sites : int
    settings : GradientSettings
    alpha : Alpha
        Updated after each epoch.
    device : torch.device
    layers : ndarray of int, shape (N,), optional
        The layer of each site, -1 for none; each of these layers keeps one site in the hard mask. The sum of the gates does not depend
        on where they are, so a penalty that rises fast may close all units of a layer.

    Notes
    -----
    The weights are float64, since near the end a gate is 1e-9 away from 1, and L_rej is a sum of such distances. The classifier gets the
    gates in its own dtype.
    """

    ranks_sites = True

    def __init__(
        self,
        sites: int,
        settings: GradientSettings,
        alpha: Alpha,
        device: torch.device | str = "cpu",
        layers: IntArray | None = None,
    ) -> None:
        self.sites = sites
        self.settings = settings
        self.alpha = alpha
        self.device = device
        self.layers = layers
        self.kind = GATE_KINDS[settings.gate_kind]()

    def init(self) -> GateState:
        """See `Method.init`; all gates are open."""
        settings, device = self.settings, self.device
        weights = torch.full((self.sites,), settings.start_weight, dtype=torch.float64, device=device)
        weights.requires_grad_()
        return GateState(
            weights=weights,
            optimizer=_optimizer(weights, settings),
            draw=torch_generator(settings.seed, Stream.GATE_NOISE, device),
            alpha=self.alpha.init(),
            steps=0,
            crossed=torch.zeros(self.sites, dtype=torch.int64, device=device),
            crossed_at_block=np.zeros(self.sites, np.int64),
            is_above=weights.detach() > 0,
            last_alpha=0.0,
            sel=torch.zeros((), dtype=torch.float64, device=device),
            rej=torch.zeros((), dtype=torch.float64, device=device),
            epoch_sums=torch.zeros(2, dtype=torch.float64, device=device),
            block_sums=torch.zeros(3, dtype=torch.float64, device=device),
            block_steps=0,
        )

    def hook(self, state: GateState) -> GateHook:
        """See `Method.hook`."""
        return GateHook(self, state)

    def losses(self, state: GateState) -> Pruning:
        """Return L_sel and L_rej at the weights, with their gradients."""
        counted = self.kind.counted(state.weights, self.sharpness(state))
        return pruning_losses(*counted, n=float(self.settings.keep), modified=self.settings.modified)

    def step(self, state: GateState, batch: Batch, progress: float) -> tuple[GateState, BlockInfo]:
        """See `Method.step`; nothing moves here, and the losses are means over the training batches since the last call.

        Raises
        ------
        NumericalError
            A weight is not finite.
        """
        position, alpha = self.position(state), state.last_alpha
        if not np.isfinite(position).all():
            raise NumericalError(
                f"A pruner weight is not finite at step {state.steps}. Lower the rate of --gate-optimizer "
                f"(it is {self.settings.learning_rate:g}) or the weight of L_pru (alpha is {alpha:g})."
            )
        cla, sel, rej = (state.block_sums / max(state.block_steps, 1)).tolist()
        state.block_sums.zero_()
        state.block_steps = 0
        state.crossed_at_block[:] = state.crossed.cpu().numpy()
        info = BlockInfo(
            loss=cla + alpha * (sel + rej),
            cla=cla,
            sel=sel,
            rej=rej,
            alpha=alpha,
            delta=math.nan,
            temperature=math.nan,
            gate_sum=float(self.training_gates(state).astype(np.float64).sum()),
            kept=int((position > 0).sum()),
            target=self.settings.keep,
            proposals=0,
            decisions=0,
            accepted=0,
            nonfinite=0,
            null_moves=0,
            rejected_by_bound=0,
            moves={},
            strength=state.alpha.strength,
        )
        return state, info

    def finish(self, state: GateState, batch: Batch) -> tuple[GateState, BoolArray]:
        """See `Method.finish`; the n sites of the largest weights are kept."""
        return state, min_per_layer.hardened(self.position(state), self.settings.keep, self.layers)

    def training_gates(self, state: GateState) -> Float32Array:
        """See `Method.training_gates`; these are the gates without noise."""
        with torch.no_grad():
            return np.asarray(self.kind.plain(state.weights, self.sharpness(state)).cpu().numpy(), np.float32)

    def position(self, state: GateState) -> FloatArray:
        """See `Method.position`."""
        return np.array(state.weights.detach().cpu().numpy())

    def crossed(self, state: GateState) -> IntArray:
        """See `Method.crossed`."""
        return state.crossed_at_block

    def description(self) -> dict[str, str]:
        """See `Method.description`."""
        return {"evaluator": f"none: backprop through {self.settings.gate_kind} gates", "canonical": "none"}

    def notes(self, state: GateState) -> list[str]:
        """See `Method.notes`."""
        if not state.alpha.capped:
            return []
        return [f"alpha was above its cap in {state.alpha.capped} epochs, since L_pru was near 0, and was capped"]

    def sharpness(self, state: GateState) -> float:
        """Return the sharpness of the gates in the next step."""
        return self.settings.sharpness.value(state.steps / self.settings.steps)


class GateHook(TrainingHook):
    """The gates in the steps of backprop.

    Parameters
    ----------
    method : Gradient
    state : GateState
        Updated in place.
    """

    def __init__(self, method: Gradient, state: GateState) -> None:
        self.method, self.state = method, state

    def gates(self, rows: int) -> torch.Tensor:
        """See `TrainingHook.gates`."""
        method, state = self.method, self.state
        return method.kind.training(state.weights, rows, method.sharpness(state), state.draw).to(torch.float32)

    def penalty(self) -> torch.Tensor:
        """See `TrainingHook.penalty`."""
        method, state = self.method, self.state
        state.last_alpha = method.alpha.value(state.alpha, state.steps / method.settings.steps)
        losses = method.losses(state)
        state.sel, state.rej = losses.sel.detach(), losses.rej.detach()
        return state.last_alpha * (losses.sel + losses.rej)

    def on_gradients(self) -> None:
        """See `TrainingHook.on_gradients`; nothing to do."""

    def after_step(self, cla: torch.Tensor) -> None:
        """See `TrainingHook.after_step`."""
        settings, state = self.method.settings, self.state
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.steps += 1
        state.block_steps += 1
        with torch.no_grad():
            if settings.bound is not None:
                # The bound is on the argument of the sigmoid; else annealed gates saturate long before alpha has risen.
                bound = settings.bound / self.method.sharpness(state)
                state.weights.clamp_(-bound, bound)
            state.block_sums += torch.stack([cla.double(), state.sel, state.rej])
            state.epoch_sums += torch.stack([cla.double(), state.sel + state.rej])
            is_above = state.weights > 0
            state.crossed[is_above != state.is_above] = state.steps
            state.is_above = is_above
        if state.steps % settings.epoch_steps == 0:
            cla_mean, pru_mean = (state.epoch_sums / settings.epoch_steps).tolist()
            variance = float(state.weights.detach().var(correction=0))
            self.method.alpha.end_epoch(state.alpha, cla_mean, pru_mean, variance)
            state.epoch_sums.zero_()


def _optimizer(weights: torch.Tensor, settings: GradientSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([weights], lr=settings.learning_rate, fused=True)
    return torch.optim.SGD([weights], lr=settings.learning_rate)
