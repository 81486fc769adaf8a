"""How a user's model takes flat rows and gives logits, found by running it on a few of them; what keeps a state is refused."""

from __future__ import annotations

import copy
import math
import types
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits
from mcprune.data.roles.tasks import CLASSIFICATION
from mcprune.errors import ModelError, brief
from mcprune.models.adapters import Adapter, adapted, hard_columns, keep_examples
from mcprune.models.modes import evaluating
from mcprune.random import torch_seed
from mcprune.sites.site_map import SiteMap
from mcprune.types import InputField

TRIED = 2
# Ids in float32 are exact up to here.
LARGEST_ID = 2**24


NOTE_ON_IDS = "scale: none, since the model takes whole numbers from the rows, such as ids or masks; a dropped one is 0"
# Rows that a model of ids remembers.
EXAMPLES = 32


class Trial(NamedTuple):
    """An adapter under which a model gives outputs as they are needed, and these outputs."""

    adapter: Adapter
    outputs: torch.Tensor


def settle_adapter(model: nn.Module, rows: torch.Tensor, data: Dataset | Splits) -> tuple[nn.Module, Adapter]:
    """Return a user's model behind the adapter that it needs for rows (B, N) of the data, and the adapter."""
    adapter = choose_adapter(model, rows, data.fields, data.image_shape, data.n_outputs, data.task)
    out = adapted(model, adapter)
    if hard_columns(out, data.n_inputs) is None and reads_ids(out, rows):
        adapter = adapter._replace(is_of_ids=True)
        out = adapted(model, adapter)
    if not _takes_strides(out, rows):
        adapter = adapter._replace(is_contiguous=True)
        out = adapted(model, adapter)
    keep_examples(out, rows[:EXAMPLES])
    return out, adapter


def _takes_strides(model: nn.Module, rows: torch.Tensor) -> bool:
    """Whether a model runs on rows that lie column by column in memory, as evaluation rows do; a `view` may not."""
    try:
        with torch.no_grad(), evaluating(model):
            model(rows[:TRIED])
            model(rows[:TRIED].T.contiguous().T)
    except RuntimeError as error:
        return "contiguous" not in str(error) and "view" not in str(error)
    except Exception:  # who runs the model says what is wrong
        return True
    return True


def choose_adapter(
    model: nn.Module,
    rows: torch.Tensor,
    fields: tuple[InputField, ...],
    image_shape: Sequence[int] | None,
    n_outputs: int,
    task: str,
) -> Adapter:
    """Return the adapter under which a model can be run; one that does nothing where none is needed or none helps.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    rows : Tensor of float32, shape (B, N)
    fields : tuple of InputField
        The inputs of the model in a row, where the data name them.
    image_shape : sequence of int or None
        Shape of one row in the data.
    n_outputs : int
        Outputs a row that are needed.
    task : str

    Notes
    -----
    A recurrent layer takes (B, N) for one sequence of length B. So where both a flat row and one of the shape in the data can be run
    and give other outputs, the shape in the data is right.
    """
    kinds = {each.dtype for each in model.parameters() if each.is_floating_point()}
    casts = bool(kinds) and torch.float32 not in kinds
    plain = Adapter(casts=casts)
    if fields:
        trial = _try(model, rows, plain._replace(fields=fields), n_outputs, task)
        return plain._replace(fields=fields) if trial is None else trial.adapter
    flat = _try(model, rows, plain, n_outputs, task)
    for shape in _shapes(image_shape, rows):
        if flat is not None and shape[0].kind != "float":
            continue  # whole numbers are for models that take nothing else
        shaped = _try(model, rows, plain._replace(fields=shape), n_outputs, task)
        if shaped is None:
            continue
        same = flat is not None and torch.equal(flat.outputs, shaped.outputs)
        if not same:
            return shaped.adapter
    return plain if flat is None else flat.adapter


def _shapes(image_shape: Sequence[int] | None, rows: torch.Tensor) -> list[tuple[InputField, ...]]:
    """Return what a model may want in place of a flat row."""
    width = rows.shape[1]
    shapes: list[tuple[int, ...]] = []
    if image_shape is not None:
        shape = tuple(image_shape)
        shapes = [shape] if len(shape) > 2 else [(1, *shape), shape]
    out: list[tuple[InputField, ...]] = [(InputField("", 0, shape, "float"),) for shape in shapes]
    is_whole = bool(((rows >= 0) & (rows < LARGEST_ID) & (rows == rows.round())).all())
    if is_whole:
        out += [(InputField("", 0, shape, "int"),) for shape in [(width,), *shapes]]
    return out


def _try(model: nn.Module, rows: torch.Tensor, adapter: Adapter, n_outputs: int, task: str) -> Trial | None:
    """Return the adapter, completed by what the outputs need; None where the model cannot be run or gives something else."""
    # A run gives lazy layers their shapes.
    is_new = any(is_lazy(each) for each in model.parameters())
    candidate = adapted(copy.deepcopy(model) if is_new else model, adapter)
    try:
        with torch.no_grad(), evaluating(candidate):
            raw: object = candidate(rows[:TRIED])
    except Exception:  # the user's own code; who runs it under the adapter that is chosen says what is wrong
        return None
    part, outputs = _logits(raw, n_outputs, task)
    if outputs is None:
        return None
    shape = tuple(outputs.shape)
    complete = adapter._replace(part=part)
    if shape != (TRIED, n_outputs):
        is_one = task == CLASSIFICATION and n_outputs == 2 and math.prod(shape) == TRIED
        complete = complete._replace(link="one-logit") if is_one else complete._replace(is_flat=True)
    return Trial(complete, outputs)


def _fits(value: object, n_outputs: int, task: str) -> bool:
    """Whether something can become (B, n_outputs) outputs."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    shape = tuple(value.shape)
    if shape[:2] == (TRIED, n_outputs) and math.prod(shape[2:]) == 1:
        return True
    return task == CLASSIFICATION and n_outputs == 2 and shape in ((TRIED,), (TRIED, 1))


def _logits(raw: object, n_outputs: int, task: str) -> tuple[str | int | None, torch.Tensor | None]:
    """Return the place of the outputs in what a model returned, and the outputs; of several that fit the first, and `logits` first."""
    if isinstance(raw, torch.Tensor):
        return None, raw if _fits(raw, n_outputs, task) else None
    parts: list[tuple[str | int, object]] = []
    if isinstance(raw, Mapping):
        parts = [("logits", raw["logits"])] if "logits" in raw else []
        parts += [(str(key), value) for key, value in raw.items()]
    elif isinstance(raw, tuple | list):
        parts = list(enumerate(raw))
    for place, value in parts:
        if isinstance(value, torch.Tensor) and _fits(value, n_outputs, task):
            return place, value
    return None, None


def refuse_uncopied(model: nn.Module) -> None:
    """Refuse a model that cannot be copied, or whose copy would still call the original.

    Raises
    ------
    ModelError
    """
    for name, module in model.named_modules():
        forward = module.__dict__.get("forward")
        cells = forward.__closure__ or () if isinstance(forward, types.FunctionType) else ()
        if any(isinstance(getattr(cell.cell_contents, "__self__", cell.cell_contents), nn.Module) for cell in cells):
            place = f"layer {name!r}" if name else f"this {type(module).__name__}"
            raise ModelError(
                f"The forward of {place} was replaced by a function that holds a module, so that a copy of the model would still call "
                "the original. Define forward in a subclass."
            )
    try:
        copy.deepcopy(model)
    except Exception as error:
        place, remedy = _uncopied(model)
        raise ModelError(
            f"The model cannot be copied{place} ({type(error).__name__}: {brief(error)}). {remedy}"
        ) from error


def _uncopied(model: nn.Module) -> tuple[str, str]:
    """Return which attribute of which module cannot be copied, and what helps."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name.startswith("_") or isinstance(value, torch.Tensor):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                remedy = f"Keep {name} outside of the module, or define __deepcopy__."
                return f": attribute {name!r} of a {type(module).__name__}", remedy
    return "", (
        "Use torch.nn.utils.parametrizations in place of torch.nn.utils.weight_norm and spectral_norm, and keep no tensor with a gradient "
        "history as an attribute."
    )


@torch.no_grad()
def refuse_state(model: nn.Module, rows: torch.Tensor) -> None:
    """Refuse a model that changes its rows, or whose outputs for a row depend on earlier calls or on the order of the rows of a batch.

    Its losses would depend on the order of candidates, and a prediction on the rows beside it.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode under one random seed, so that what is random in it is the same each time.
    rows : Tensor, shape (B, N)

    Raises
    ------
    ModelError
    """
    bound = 1e-3 if rows.is_cuda else 1e-6  # a GPU may sum in another order each time
    half = max(1, len(rows) // 2)  # of one size: some models start afresh where the number of rows changes
    one, other = rows[:half].clone(), rows[-half:].flip(0)
    with evaluating(model):
        try:
            outputs = []
            for each in (one, other, one, one):
                with torch_seed(0):
                    outputs.append(model(each))
            first, again = outputs[0], outputs[2:]
            is_same = all(torch.allclose(first, each, rtol=10 * bound, atol=bound, equal_nan=True) for each in again)
        except RuntimeError:  # a state of another number of rows
            is_same = False
    if not torch.equal(torch.nan_to_num(one), torch.nan_to_num(rows[:half])):
        raise ModelError(
            f"{type(model).__name__} changes its rows in place, so the next call would see other ones. Work on a copy, such as "
            "x = x.clone() at the start of forward."
        )
    if not is_same:
        raise ModelError(
            f"{type(model).__name__} keeps a state between calls: its outputs for the same rows differ after it has seen other rows. "
            "Start from a fresh state in each forward pass, such as h = None for a recurrent layer."
        )
    with evaluating(model), torch_seed(1):
        # What is random belongs to the place of a row, so only a model without chance is asked.
        if not torch.allclose(first, model(one), rtol=10 * bound, atol=bound, equal_nan=True):
            return
        turned = model(one.flip(0)).flip(0)
    if not torch.allclose(first, turned, rtol=10 * bound, atol=bound, equal_nan=True):
        raise ModelError(
            f"{type(model).__name__} mixes the rows of a batch: its outputs for a row change with the order of the rows. A recurrent layer "
            "takes rows (B, N) for one sequence: give it (B, steps, features) with batch_first=True."
        )


def reads_ids(model: nn.Module, rows: torch.Tensor) -> bool:
    """Whether an embedding looks up whole numbers that come from the rows (B, N)."""
    seen: list[torch.Tensor] = []
    tables = [each for each in model.modules() if isinstance(each, nn.Embedding | nn.EmbeddingBag)]
    if not tables:
        return False
    handles = [
        table.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone())) for table in tables
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(rows)
            count = len(seen)
            model(torch.zeros_like(rows))
    except Exception:  # ids of 0 alone, such as a length of 0: then they do come from the rows
        return True
    finally:
        for handle in handles:
            handle.remove()
    pairs = zip(seen[:count], seen[count:], strict=False)
    return len(seen) != 2 * count or any(not torch.equal(one, other) for one, other in pairs)


def refuse_soft_gates(method: str, model: nn.Module, sites: SiteMap) -> None:
    """Refuse a method that needs gradients where gates are 0 or 1: of inputs that are whole numbers, and of experts.

    Raises
    ------
    ModelError
    """
    experts = next((group for group in sites.groups if group.kind == "experts"), None)
    if method != "markov" and experts is not None:
        raise ModelError(
            f"method={method!r} needs gradients of what is dropped, but no token takes a dropped expert of {experts.layer!r}, so it has "
            "none. Use method='markov', or other sites."
        )
    if method == "markov" or sites.inputs is None or hard_columns(model, sites.inputs.size) is None:
        return
    raise ModelError(
        f"method={method!r} needs gradients of the gates of inputs, but {type(model).__name__} takes whole numbers from the rows, such as "
        "ids or masks, which have none. Use method='markov', or other sites."
    )
