"""Small networks in float64 whose sites and owned parameters are written down, and the measures by brute force."""

import numpy as np
import torch
from torch import nn

from mcprune.methods.importance.evidence import Evidence, row_losses
from mcprune.methods.importance.registry import score
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map

ROWS, CLASSES = 24, 3


class ScoredNetwork:
    """A small net in float64, rows, and for each site the elements that are its own, written down by hand."""

    def __init__(self, model, sites, shape, owned, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.model = model.double().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # away from the zeros and ones of fresh batch-norms
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean += 0.2
                    module.running_var *= 1.7
        self.sites = sites
        self.x = torch.randn(ROWS, *shape, generator=draw, dtype=torch.float64)
        self.y = torch.randint(0, CLASSES, (ROWS,), generator=draw)
        self.owned = owned  # site -> list of (parameter, index)
        self.parameters = dict(model.named_parameters())

    def evidence(self, name="loss", **more):
        batches = [(self.x[:10], self.y[:10]), (self.x[10:], self.y[10:])]
        losses = row_losses(CrossEntropy(), name)
        return Evidence(self.model, Owners(self.model, self.sites), batches, losses=losses, **more)

    def score(self, name, **more):
        return score(name, self.evidence(name, **more)).values

    def loss(self, rows=slice(None), temperature=1.0):
        return nn.functional.cross_entropy(self.model(self.x[rows]) / temperature, self.y[rows])

    def value(self):
        return self.loss().item()

    def sums(self, values):
        """Sum over each site's elements, one by one."""
        return np.array([sum(float(values[name][index].sum()) for name, index in owned) for owned in self.owned])

    def scaled(self, site, factor, what):
        """`what()` with the site's own parameters multiplied."""
        names = {name for name, _ in self.owned[site]}
        before = {name: self.parameters[name].detach().clone() for name in names}
        with torch.no_grad():
            for name, index in self.owned[site]:
                self.parameters[name][index] *= factor
        result = what()
        with torch.no_grad():
            for name, value in before.items():
                self.parameters[name].copy_(value)
        return result

    def gradient(self, rows=slice(None), temperature=1.0):
        names = {name for owned in self.owned for name, _ in owned}
        gradients = torch.autograd.grad(self.loss(rows, temperature), [self.parameters[name] for name in names])
        return dict(zip(names, gradients, strict=True))

    def hessian(self, rows=slice(None)):
        """The whole Hessian over the owned tensors, and their names and sizes in its order."""
        names = sorted({name for owned in self.owned for name, _ in owned})
        tensors = tuple(self.parameters[name].detach().clone() for name in names)

        def of(*values):
            out = torch.func.functional_call(self.model, dict(zip(names, values, strict=True)), (self.x[rows],))
            return nn.functional.cross_entropy(out, self.y[rows])

        blocks = torch.autograd.functional.hessian(of, tensors)
        sizes = [tensor.numel() for tensor in tensors]
        whole = torch.cat(
            [
                torch.cat([blocks[i][j].reshape(sizes[i], sizes[j]) for j in range(len(names))], 1)
                for i in range(len(names))
            ]
        )
        return whole, names, sizes

    def split(self, vector, names, sizes):
        parts = vector.split(sizes)
        return {name: part.view_as(self.parameters[name]) for name, part in zip(names, parts, strict=True)}


def mlp(activation=nn.ReLU):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 6), activation(), nn.Linear(6, CLASSES))
    sites = site_map(model, "inputs,units", 5)
    owned = [[("0.weight", (slice(None), i))] for i in range(5)]
    owned += [
        [(f"{layer}.{part}", (j,)) for part in ("weight", "bias")]
        for layer, size in ((0, 4), (2, 6))
        for j in range(size)
    ]
    return ScoredNetwork(model, sites, (5,), owned)


def single_weights(activation=nn.Tanh):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, CLASSES, bias=False))
    sites = SiteMap((SiteGroup("weights", "0", 0, 20), SiteGroup("weights", "2", 20, 15)))
    owned = [[("0.weight", (i, j))] for i in range(5) for j in range(4)]
    owned += [[("2.weight", (i, j))] for i in range(CLASSES) for j in range(5)]
    return ScoredNetwork(model, sites, (4,), owned)


def convolutions():
    """A convolution, its batch-norm and the depthwise layer behind it share sites; another one with a stride has its own."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES),
    )  # fmt: skip
    sites = SiteMap(
        (
            SiteGroup("channels", "0", 0, 4, ("0", "1", "3", "4"), ("4",)),
            SiteGroup("channels", "6", 4, 3, ("6",), ("6",)),
        )
    )
    tensors = ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias")
    owned = [[(name, (channel,)) for name in tensors] for channel in range(4)]
    owned += [[(name, (channel,)) for name in ("6.weight", "6.bias")] for channel in range(3)]
    return ScoredNetwork(model, sites, (2, 6, 6), owned)


NETWORKS = {"mlp": mlp, "weights": single_weights, "channels": convolutions}


def brute(net, name):
    """The measures from whole gradients and Hessians, site by site."""
    theta = {key: value.detach() for key, value in net.parameters.items()}
    g = net.gradient()
    whole, names, sizes = net.hessian()
    if name == "magnitude":
        return np.sqrt(net.sums({key: value**2 for key, value in theta.items()}))
    if name == "magnitude-l1":
        return net.sums({key: value.abs() for key, value in theta.items()})
    if name == "loss":
        return np.abs(net.sums({key: theta[key] * g[key] for key in g}))
    if name == "loss-elements":
        return net.sums({key: (theta[key] * g[key]).abs() for key in g})
    if name == "loss-weighted":
        return net.sums({key: (theta[key] ** 2 * g[key]).abs() for key in g})
    if name in ("grasp", "gradient-norm"):
        flat = torch.cat([g[key].reshape(-1) for key in names])
        product = net.split(whole @ flat, names, sizes)
        sums = net.sums({key: theta[key] * product[key] for key in product})
        return sums if name == "grasp" else np.abs(sums)
    if name in ("fisher", "fisher-batch"):
        pieces = [slice(r, r + 1) for r in range(ROWS)] if name == "fisher" else [slice(0, 10), slice(10, None)]
        squares = [{key: value**2 for key, value in net.gradient(piece).items()} for piece in pieces]
        return net.sums({key: theta[key] ** 2 * sum(part[key] for part in squares) / len(pieces) for key in g})
    if name == "obd":
        diagonal = net.split(whole.diagonal(), names, sizes)
        return net.sums({key: diagonal[key] * theta[key] ** 2 / 2 for key in diagonal})
    assert name == "obd-row-sum"
    first, names, sizes = net.hessian(slice(0, 10))
    return net.sums(net.split(first.sum(1), names, sizes))
