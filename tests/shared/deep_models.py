"""Networks that are no chain of layers, as users write them."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and feed-forward layers of a residual stream."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        query, key, value = self.qkv(self.norm1(x)).view(rows, tokens, 3, 2, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, blocks=3, width=8):
        super().__init__()
        self.embed, self.place = nn.Linear(6, width), nn.Parameter(torch.randn(2, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.embed(x.view(len(x), 2, 6)) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


class TorchEncoder(nn.Module):
    """torch's own layers, whose fast path calls no module inside."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.view(len(x), 2, 6))).mean(dim=1))


class Pairs(nn.Module):
    """The state between the blocks is a tuple, and a sum is made in place."""

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.back = nn.Linear(12, 7), nn.Linear(7, 12)

        def forward(self, state):
            x, total = state
            x = x + self.back(torch.relu(self.inner(x)))
            total += x
            return x, total

    def __init__(self):
        super().__init__()
        self.steps, self.head = nn.ModuleList(self.Step() for _ in range(3)), nn.Linear(12, 3)

    def forward(self, x):
        state = x, torch.zeros_like(x)
        for step in self.steps:
            state = step(state)
        return self.head(state[1])


class Shared(nn.Module):
    """One layer is called three times, with activations that work in place, on what others still read."""

    def __init__(self):
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(12, 9), nn.Linear(9, 9), nn.Linear(9, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            x = self.act(self.layer(self.act(x))) + x
        return self.last(x)


class Experts(nn.Module):
    """An expert is called where a row of the batch asks for it."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))
        self.hidden, self.head = nn.Linear(12, 9), nn.Linear(9, 3)

    def forward(self, x):
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = x[:, 0] > number - 1.5
            if rows.any():
                out[rows] += expert(x[rows])
        return self.head(torch.relu(self.hidden(out)))


class Remembers(nn.Module):
    """A layer leaves its output in an attribute, from where it is read later."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.seen = nn.Linear(12, 12), None

        def forward(self, x):
            self.seen = torch.tanh(self.inner(x))
            return self.seen

    def __init__(self):
        super().__init__()
        self.layers, self.head = nn.ModuleList(self.Layer() for _ in range(3)), nn.Linear(12, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(sum(layer.seen for layer in self.layers))
