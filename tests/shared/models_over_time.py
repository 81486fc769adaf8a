"""Models of rows over time: S sensors and T steps, in the ways in which people write them."""

import torch
from torch import nn

S, T, C = 5, 12, 3


class Convolutions(nn.Module):
    """(B, sensors, steps)."""

    shape = (S, T)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(S, 6, 3, padding=1)
        self.second = nn.Conv1d(6, 4, 3)
        self.last = nn.Linear(4, C)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))).mean(dim=2))


class Turned(Convolutions):
    """(B, steps, sensors), turned round for the convolutions."""

    shape = (T, S)

    def forward(self, x):
        return super().forward(x.transpose(1, 2))


class Recurrent(nn.Module):
    """(B, steps, sensors), both ways."""

    shape = (T, S)

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(S, 4, batch_first=True, bidirectional=True, num_layers=2)
        self.last = nn.Linear(8, C)

    def forward(self, x):
        return self.last(self.layer(x)[0][:, -1])


class StepsFirst(nn.Module):
    """(B, sensors, steps), turned into (steps, B, sensors)."""

    shape = (S, T)

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(S, 4)
        self.last = nn.Linear(4, C)

    def forward(self, x):
        return self.last(self.layer(x.permute(2, 0, 1))[0][-1])


class Embedded(nn.Module):
    """(B, steps, sensors), each step a token."""

    shape = (T, S)

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(S, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.last = nn.Linear(8, C)

    def forward(self, x):
        return self.last(self.layer(self.embed(x)).mean(dim=1))


class Flat(Convolutions):
    """Flat rows, which it gives their shape by itself."""

    shape = (S * T,)

    def forward(self, x):
        return super().forward(x.view(len(x), -1, T))


class Scaled(Convolutions):
    """With a normalisation in front: a dropped sensor is a constant there, not 0."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(S)
        self.norm.running_mean.fill_(0.5)

    def forward(self, x):
        return super().forward(self.norm(x))


class Depthwise(Convolutions):
    """A first layer that gives outputs for each sensor."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(S, 2 * S, 3, padding=1, groups=S)
        self.second = nn.Conv1d(2 * S, 4, 3)


class Beside(Convolutions):
    """Its last layer sees the rows too."""

    def forward(self, x):
        return super().forward(x) + x.mean(dim=(1, 2), keepdim=False)[:, None]


class Centred(Convolutions):
    """Each sensor without its mean over time."""

    def forward(self, x):
        return super().forward(x - x.mean(dim=2, keepdim=True))


class Mixed(Convolutions):
    """Sensors that are mixed before the first layer."""

    def forward(self, x):
        return super().forward(x - x.mean(dim=1, keepdim=True))


class Images(nn.Module):
    """Two axes of space."""

    shape = (1, S, T)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(4, C)

    def forward(self, x):
        return self.last(self.first(x).mean(dim=(2, 3)))


class Plain(nn.Module):
    """A layer that reads a row at once."""

    shape = (S * T,)

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(S * T, 8)
        self.last = nn.Linear(8, C)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


CUT = {kind.__name__: kind for kind in (Convolutions, Turned, Recurrent, StepsFirst, Embedded, Flat)}
SCATTERED = {kind.__name__: kind for kind in (Scaled, Depthwise, Centred)}
REFUSED = {kind.__name__: kind for kind in (Mixed, Images, Plain)}
