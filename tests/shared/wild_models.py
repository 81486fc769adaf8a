"""Models as people write them, small, with what mcprune makes of each kind of site: the matrix of docs/model-matrix.md."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SITES = ("inputs", "units", "channels", "weights")
# What becomes of dropped sites: the layers are narrower, the kept inputs are put into rows of zeros, the weights are 0.
CUT, SCATTER, ZEROS = "cut", "in zeros", "zeros"
NO_LINEAR = "none is hidden"
NO_CHANNELS = "no convolution"
ROWS = 60


class Wild(NamedTuple):
    """One kind of model.

    Attributes
    ----------
    make : function
        Returns the model, always with the same numbers.
    data : function
        Returns what `prune` takes as X and y.
    inputs, units, channels, weights : str
        What becomes of such sites, or else a pattern of the message by which they are refused.
    partly : str
        Layers that are left out, as the note says; "" where all can be cut.
    partly_of : tuple of str
        Of which kinds of sites.
    export : bool
        torch.export takes the pruned model.
    """

    make: Callable[[], nn.Module]
    data: Callable[[], tuple[Any, Any]]
    inputs: str = SCATTER
    units: str = CUT
    channels: str = NO_CHANNELS
    weights: str = ZEROS
    partly: str = ""
    partly_of: tuple[str, ...] = ()
    export: bool = True


def rows(*shape: int, classes: int = 3) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Random rows of a shape, and classes that depend on two of their numbers."""

    def data() -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(0)
        x = draw.normal(size=(ROWS, *shape)).astype(np.float32)
        score = x.reshape(ROWS, -1)[:, 1] - x.reshape(ROWS, -1)[:, 2]
        return x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))

    return data


def ids(length: int = 6, vocabulary: int = 9) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Rows of token ids."""

    def data() -> tuple[np.ndarray, np.ndarray]:
        x = np.random.default_rng(0).integers(0, vocabulary, (ROWS, length))
        return x, np.digitize(x[:, 1], [3, 6])

    return data


def loader(**inputs: Callable[[], tuple[np.ndarray, np.ndarray]]) -> Callable[[], tuple[Any, None]]:
    """A DataLoader of dicts with `labels`; names that begin with `input` are positional."""

    def data() -> tuple[Any, None]:
        arrays = {name: torch.from_numpy(make()[0]) for name, make in inputs.items()}
        y = torch.from_numpy(next(iter(inputs.values()))()[1])
        if all(name.startswith("input_") and name[6:].isdecimal() for name in arrays):
            items: list[Any] = [(tuple(each[row] for each in arrays.values()), y[row]) for row in range(ROWS)]
        else:
            items = [{**{name: each[row] for name, each in arrays.items()}, "labels": y[row]} for row in range(ROWS)]
        return torch.utils.data.DataLoader(items, batch_size=16), None  # type: ignore[arg-type]

    return data


def mask_of_tokens(length: int = 6) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """An attention mask: the first tokens of each row, at least two."""

    def data() -> tuple[np.ndarray, np.ndarray]:
        lengths = np.random.default_rng(1).integers(2, length + 1, ROWS)
        return (np.arange(length) < lengths[:, None]).astype(np.int64), lengths

    return data


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def built() -> nn.Module:
        torch.manual_seed(0)
        model = make()
        for layer in model.modules():  # fresh normalisations would hide a forgotten slice behind zeros and ones
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
            if isinstance(layer, nn.RMSNorm):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(layer.running_mean, -0.5, 0.5)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
        return model

    return built


class Hidden(nn.Module):
    """Two Linear layers around one of their own, and a function of the outputs."""

    def __init__(
        self, middle: nn.Module | None = None, change: Callable[..., Any] | None = None, outputs: int = 3
    ) -> None:
        super().__init__()
        self.one, self.middle, self.two = nn.Linear(8, 6), middle or nn.Identity(), nn.Linear(6, outputs)
        self.change = change or (lambda out, hidden: out)

    def forward(self, x: torch.Tensor) -> Any:
        hidden = torch.relu(self.middle(self.one(x)))
        return self.change(self.two(hidden), hidden)


class Output(OrderedDict[str, torch.Tensor]):
    """As transformers' ModelOutput: keys, attributes, and places."""

    def __getattr__(self, name: str) -> torch.Tensor:
        return self[name]

    def __getitem__(self, key: Any) -> torch.Tensor:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


class Tied(nn.Module):
    """A hidden layer whose weight is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.two.weight = self.one.weight
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.two(torch.relu(self.one(x))))
        return self.out(torch.relu(self.three(x)))


class OwnNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def convolutions(*middle: nn.Module, channels: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), *middle, nn.ReLU(), nn.Conv2d(channels, 5, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def over_time() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 5, 3), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = kind(2, 5, batch_first=True)
        self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.cell(x)
        return self.two(torch.relu(self.one(states[:, -1])))


class Stateful(Recurrent):
    """Goes on from the state of the last call."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.state: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.state if self.state is not None and self.state.shape[1] == len(x) else None
        states, last = self.cell(x, state)
        self.state = last.detach()
        return self.two(torch.relu(self.one(states[:, -1])))


class Words(nn.Module):
    def __init__(self, casts: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
        self.casts = casts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        words = self.table(x.long() if self.casts else x)
        return self.two(torch.relu(self.one(words.mean(1))))


class Masked(nn.Module):
    """Attention over tokens, with a mask that is passed to forward."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.score = nn.Linear(4, 1)
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        words = self.table(input_ids)
        score = self.score(words)
        if attention_mask is not None:
            score = score.masked_fill(attention_mask[..., None] == 0, -1e4)
        mixed = (torch.softmax(score, 1) * words).sum(1)
        return {"loss": score.sum(), "logits": self.two(torch.relu(self.one(mixed)))}


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 2, stride=2), nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.last, self.out = nn.Conv2d(5, 3, 3), nn.Linear(48, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.up(torch.relu(self.down(x))))
        return self.out(torch.relu(self.last(x)).flatten(1))


class Joined(nn.Module):
    """Branches side by side, and the input again beside them, as in an Inception block or a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 4, 3, padding=1)
        self.mix, self.out = nn.Conv2d(8, 5, 3), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = torch.cat([torch.relu(self.one(x)), x, torch.relu(self.three(x))], dim=1)
        return self.out(torch.relu(self.mix(branches)).mean((2, 3)))


class Squeezed(nn.Module):
    """A squeeze-and-excite block between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.reduce, self.expand = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.gate, self.last, self.out = nn.Sigmoid(), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        score = self.expand(torch.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1))))
        return self.out(torch.relu(self.last(x * self.gate(score))).mean((2, 3)))


class Views(nn.Module):
    """Takes views of its rows, and has a weight that lies column by column in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 3)
        self.one.weight = nn.Parameter(torch.randn(8, 6).T)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.relu(self.one(x.view(-1).view(x.shape[0], 8))))


class Several(nn.Module):
    """An image and a row of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(1, 4, 3), nn.Linear(68, 6), nn.Linear(6, 3)

    def forward(self, image: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(image)).flatten(1)
        return self.two(torch.relu(self.one(torch.cat([maps, numbers], dim=1))))


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    return model


def perceptron(outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, outputs))


def normalised(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(wrap(nn.Linear(8, 6)), nn.ReLU(), wrap(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3))


def normalised_convolutions(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = convolutions()
    model[0], model[2] = wrap(model[0]), wrap(model[2])
    return model


weight_norm, spectral_norm = nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm
TABLE, IMAGE, SERIES = rows(8), rows(6, 6), rows(2, 10)
STATE, COMPUTED = "keeps a state between calls", "computed from others"
MIXED = "treats them in a way that is not known"
# What the page says of each pattern of a message.
REFUSALS = {
    STATE: "it keeps a state between calls",
    COMPUTED: "the weights are computed from others",
    MIXED: "the normalisation reads all units",
}

MODELS: dict[str, Wild] = {
    "weight tying": Wild(Tied, TABLE, partly="one, two", partly_of=("units", "weights")),
    "returns a tuple": Wild(lambda: Hidden(change=lambda out, hidden: (out, hidden)), TABLE),
    "returns a dict": Wild(lambda: Hidden(change=lambda out, hidden: {"hidden": hidden, "logits": out}), TABLE),
    "returns a ModelOutput": Wild(lambda: Hidden(change=lambda out, hidden: Output(logits=out, hidden=hidden)), TABLE),
    "GroupNorm": Wild(lambda: convolutions(nn.GroupNorm(2, 4)), IMAGE, channels=CUT),
    "LayerNorm": Wild(lambda: Hidden(nn.LayerNorm(6)), TABLE),
    "RMSNorm": Wild(lambda: Hidden(nn.RMSNorm(6)), TABLE),
    "RMSNorm of one's own": Wild(lambda: Hidden(OwnNorm(6)), TABLE, units=MIXED),
    "Conv1d over time": Wild(over_time, SERIES, channels=CUT),
    "LSTM": Wild(lambda: Recurrent(nn.LSTM), rows(10, 2)),
    "GRU": Wild(lambda: Recurrent(nn.GRU), rows(10, 2)),
    "embedding of ids": Wild(Words, ids()),
    "embedding, casts by itself": Wild(lambda: Words(casts=True), ids()),
    "grouped convolution": Wild(
        lambda: convolutions(nn.Conv2d(4, 4, 3, padding=1, groups=2)),
        IMAGE,
        channels=CUT,
        partly="0",
        partly_of=("channels",),
    ),
    "transposed convolution": Wild(Transposed, IMAGE, units=NO_LINEAR, channels=CUT),
    "concatenation": Wild(Joined, IMAGE, units=NO_LINEAR, channels=CUT),
    "squeeze-and-excite": Wild(Squeezed, IMAGE, units=NO_LINEAR, channels=CUT),
    "torch.compile": Wild(lambda: torch.compile(perceptron(), backend="eager"), TABLE, inputs=CUT),  # type: ignore[arg-type, return-value]
    "DataParallel": Wild(lambda: nn.DataParallel(perceptron()), TABLE, inputs=CUT),
    "weight_norm": Wild(lambda: normalised(weight_norm), TABLE, inputs=CUT, weights=COMPUTED),
    "weight_norm of convolutions": Wild(
        lambda: normalised_convolutions(weight_norm), IMAGE, channels=CUT, weights=COMPUTED
    ),
    "spectral_norm": Wild(lambda: normalised(spectral_norm), TABLE, inputs=CUT, weights=COMPUTED),
    "LazyLinear": Wild(lambda: nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3)), TABLE, inputs=CUT),
    "float64": Wild(lambda: perceptron().double(), TABLE, inputs=CUT),
    "bfloat16": Wild(lambda: perceptron().bfloat16(), TABLE, inputs=CUT),
    "non-contiguous views": Wild(Views, TABLE),
    "frozen parameters": Wild(frozen, TABLE, inputs=CUT),
    "one logit": Wild(lambda: perceptron(1), rows(8, classes=2), inputs=CUT),
    "one logit, squeezed": Wild(lambda: Hidden(change=lambda out, _: out.squeeze(1), outputs=1), rows(8, classes=2)),
    "one probability": Wild(lambda: Hidden(change=lambda out, _: torch.sigmoid(out), outputs=1), rows(8, classes=2)),
    "several inputs": Wild(Several, loader(input_0=rows(1, 6, 6), input_1=rows(4)), channels=CUT),
    "several inputs by name": Wild(Several, loader(numbers=rows(4), image=rows(1, 6, 6)), channels=CUT),
    "masks passed to forward": Wild(
        Masked, loader(input_ids=ids(), attention_mask=mask_of_tokens()), partly="score", partly_of=("units",)
    ),
    "state between calls": Wild(Stateful, rows(10, 2), STATE, STATE, STATE, STATE),
}
MODELS = {name: wild._replace(make=seeded(wild.make)) for name, wild in MODELS.items()}
