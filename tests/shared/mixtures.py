"""Mixtures of experts in the ways in which people write them: rows (B, 32) as 4 tokens of 8, 3 classes."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional

E, TOKENS, WIDTH, C = 6, 4, 8, 3


def expert():
    return nn.Sequential(nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH))


class TopTwo(nn.Module):
    """Probabilities of all experts, of which the two highest are scaled to a sum of 1; each expert runs on its tokens."""

    def __init__(self):
        super().__init__()
        self.num_experts, self.top_k = E, 2
        self.gate = nn.Linear(WIDTH, E, bias=False)
        self.experts = nn.ModuleList(expert() for _ in range(E))

    def forward(self, x):
        tokens = x.flatten(0, 1)
        weights, chosen = self.gate(tokens).softmax(dim=-1).topk(self.top_k, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        out = torch.zeros_like(tokens)
        hits = functional.one_hot(chosen, self.num_experts).permute(2, 1, 0)
        for number in range(self.num_experts):
            slot, token = torch.where(hits[number])
            if len(token):
                out.index_add_(0, token, self.experts[number](tokens[token]) * weights[token, slot, None])
        return out.view(x.shape)


class Dense(nn.Module):
    """All experts run, and are mixed by a softmax."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(WIDTH, E)
        self.experts = nn.ModuleList(expert() for _ in range(E))

    def forward(self, x):
        weights = self.router(x).softmax(dim=-1)
        return (torch.stack([each(x) for each in self.experts], dim=-1) * weights[..., None, :]).sum(dim=-1)


class Router(nn.Module):
    """Sigmoids of the logits, the highest of them."""

    def __init__(self):
        super().__init__()
        self.topk, self.n_routed_experts = 3, E
        self.linear = nn.Linear(WIDTH, E)

    def forward(self, x):
        return self.linear(x).sigmoid().topk(self.topk, dim=-1)


class Nested(nn.Module):
    """A router in a module of its own, and an expert that all tokens take."""

    def __init__(self):
        super().__init__()
        self.shared, self.gate = expert(), Router()
        self.experts = nn.ModuleList(expert() for _ in range(E))

    def forward(self, x):
        weights, chosen = self.gate(x)
        out = self.shared(x)
        for number, each in enumerate(self.experts):
            weight = (weights * (chosen == number)).sum(dim=-1, keepdim=True)
            out = out + weight * each(x)
        return out


class FixedTwo(TopTwo):
    """Its code, not an attribute, says that each token takes two experts."""

    def __init__(self):
        super().__init__()
        del self.top_k

    def forward(self, x):
        weights, chosen = self.gate(x).topk(2, dim=-1)
        weights = weights.softmax(dim=-1)
        return sum(
            (weights * (chosen == number)).sum(dim=-1, keepdim=True) * each(x)
            for number, each in enumerate(self.experts)
        )


class FromConfig(FixedTwo):
    """A configuration says how many experts there are."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(experts=E)

    def forward(self, x):
        weights = self.gate(x).softmax(dim=-1)
        return sum(weights[..., number, None] * self.experts[number](x) for number in range(self.config.experts))


class TwoRouters(Dense):
    """Noise of its own for each expert."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Linear(WIDTH, E)

    def forward(self, x):
        weights = (self.router(x) + 0.01 * self.noise(x)).softmax(dim=-1)
        return (torch.stack([each(x) for each in self.experts], dim=-1) * weights[..., None, :]).sum(dim=-1)


class MixtureNet(nn.Module):
    """Tokens through mixtures in a residual stream."""

    def __init__(self, *mixtures):
        super().__init__()
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(mixtures)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, C)

    def forward(self, x):
        stream = self.embed(x.unflatten(1, (TOKENS, WIDTH)))
        for layer in self.layers:
            stream = stream + layer(self.norm(stream))
        return self.head(stream.mean(dim=1))


def net(*kinds):
    torch.manual_seed(0)
    return MixtureNet(*(kind() for kind in kinds))


MIXTURES = {"top two": TopTwo, "dense": Dense, "nested": Nested}
REFUSED = {"fixed two": FixedTwo, "configuration": FromConfig, "two routers": TwoRouters}
