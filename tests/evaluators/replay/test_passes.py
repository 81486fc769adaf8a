"""Replayed passes: the bits of the whole pass on any model, with less run; what cannot be replayed is refused."""

import numpy as np
import pytest
import torch
from deep_models import Experts, Pairs, Remembers, Shared, TorchEncoder, Transformer
from torch import nn
from transformers_nets import NETS

from mcprune.errors import ModelError
from mcprune.evaluators.replay.calls import first_changed, trace
from mcprune.evaluators.replay.passes import Replay
from mcprune.evaluators.replay.recording import Recording
from mcprune.models.modes import evaluating
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

FC1 = "units:blocks.0.fc1,blocks.1.fc1,blocks.2.fc1"
ENCODER = "units:encoder.layers.0.linear1,encoder.layers.1.linear1"
CASES = {
    "transformer": (Transformer, FC1),
    "torch's encoder": (TorchEncoder, ENCODER),
    "tuples": (Pairs, "inputs,units"),
    "shared layers in place": (Shared, "units"),
    "experts": (Experts, "units:hidden"),
}


def gated_of(build, kinds, width=12):
    torch.manual_seed(0)
    model = build().eval()
    return GatedModel(model, site_map(model, kinds, width)), torch.randn(20, width)


@pytest.mark.parametrize("case", [*CASES.values(), *((net, "heads,neurons,blocks", 64) for net in NETS.values())])
@torch.no_grad()
def test_every_start_has_the_bits_of_the_whole_pass(case):
    gated, x = gated_of(*case)
    replay, recording = Replay(gated, x), Recording()
    draw = torch.Generator().manual_seed(1)
    gates = torch.rand(gated.sites.size, generator=draw)
    with replay.attached():
        replay.run(recording, gates, x, 0, records=True)
        for _ in range(2):
            for group, start in zip(gated.sites.groups, replay.starts.tolist(), strict=True):
                changed = gates.clone()
                changed[group.start : group.stop] = torch.rand(group.size, generator=draw)
                # The second pass sees what the first has left behind.
                replayed = [replay.run(recording, changed, x, start) for _ in range(2)]
                if group is gated.sites.groups[0]:  # an accepted move: what is behind is recorded again
                    gates = changed
                    replayed.append(replay.run(recording, gates, x, start, records=True))
                expected = gated(x, changed)
                assert all(torch.equal(one, expected) for one in replayed)
                assert not torch.equal(expected, gated(x, gates.flip(0)))


@torch.no_grad()
def test_blocks_before_the_first_changed_one_do_not_run_nor_what_is_before_the_sites_in_it():
    gated, x = gated_of(*CASES["transformer"])
    replay, recording, gates = Replay(gated, x), Recording(), torch.ones(48)
    ran = []
    for name, module in gated.model.named_modules():
        if isinstance(module, nn.Linear):
            forward = module.forward
            module.forward = lambda *args, name=name, forward=forward: (ran.append(name), forward(*args))[1]
    with replay.attached():
        replay.run(recording, gates, x, 0, records=True)
        ran.clear()
        gates[20] = 0.0  # of the second block
        replay.run(recording, gates, x, int(replay.starts[1]))
    assert ran == ["blocks.1.fc2", *(f"blocks.2.{name}" for name in ("qkv", "out", "fc1", "fc2")), "head"]


def test_starts_of_inputs_are_at_the_front():
    gated, x = gated_of(*CASES["tuples"])
    assert Replay(gated, x).starts[0] == 0


@torch.no_grad()
def test_what_does_not_fit_in_memory_is_computed_again_inner_calls_first():
    gated, x = gated_of(*CASES["transformer"])
    replay = Replay(gated, x)
    sizes = replay.bytes(20)
    assert sizes[0] == 20 * 2 * 8 * 4  # the embedding of 20 rows: 2 tokens of width 8
    kept = set(replay.kept)
    replay.limit(20, sum(sizes.values()) // 3)
    assert replay.kept < kept
    assert sum(replay.bytes(20).values()) <= sum(sizes.values()) // 3
    assert {0, 1} <= replay.kept  # the embedding and the first block
    gates, recording = torch.rand(48), Recording()
    with replay.attached():
        replay.run(recording, gates, x, 0, records=True)
        changed = gates.clone()
        changed[40] = 2.0
        assert torch.equal(replay.run(recording, changed, x, int(replay.starts[2])), gated(x, changed))
    replay.limit(20, 10**9)
    assert replay.kept == kept


@torch.no_grad()
def test_copies_of_the_batch_run_as_one():
    gated, x = gated_of(*CASES["transformer"])
    replay, recording = Replay(gated, x), Recording()
    gates = torch.rand(3, 48)
    gates[:, :16] = gates[0, :16]
    with replay.attached():
        replay.run(recording, gates[0], x, 0, records=True)
        stacked = replay.run(
            recording, gates.repeat_interleave(20, dim=0), x.repeat(3, 1), int(replay.starts[1]), copies=3
        )
    expected = torch.cat([gated(x, one) for one in gates])
    torch.testing.assert_close(stacked, expected, rtol=1e-5, atol=1e-6)


def test_what_a_model_keeps_in_attributes_is_found_out():
    gated, x = gated_of(Remembers, "units")
    with pytest.raises(ModelError, match="Remembers computes something else when what its modules returned"):
        Replay(gated, x)


def test_a_model_for_batches_of_one_size_is_refused_with_its_own_reason():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(12, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.last(self.first(x).view(20, 5))

    gated, x = gated_of(Fixed, "units")
    with pytest.raises(ModelError, match=r"Fixed could not be run on 2 rows: .*shape"):
        Replay(gated, x)


def test_modules_are_as_they_were_afterwards():
    gated, x = gated_of(*CASES["transformer"])
    block = gated.model.blocks[1]
    block.forward = own = block.forward
    Replay(gated, x)
    assert block.__dict__["forward"] is own
    assert "forward" not in gated.model.blocks[0].__dict__


@torch.no_grad()
def test_gates_that_are_compared_with_a_number_are_seen_too():
    class Thresholds(GatedModel):
        """Gates that take no NaN on."""

        def forward(self, x, gates, **more):
            return super().forward(x, (gates > 0.5).float(), **more)

    torch.manual_seed(0)
    model = Transformer().eval()
    gated = Thresholds(model, site_map(model, FC1, 12))
    x, gates = torch.randn(2, 12), torch.rand(48)
    with evaluating(model):
        calls = trace(gated, x, gates)
    starts = first_changed(gated, x, gates, calls)
    plain = first_changed(GatedModel(model, gated.sites), x, gates, trace(GatedModel(model, gated.sites), x, gates))
    np.testing.assert_array_equal(starts, plain)
