"""Options of odd kinds: paths, far too many threads, models that cannot be gated."""

import pytest
import torch
from torch import nn

import mcprune
from mcprune.config.rules import THREADS_A_CORE
from mcprune.data.load import load
from mcprune.environment import cores
from mcprune.errors import ModelError
from mcprune.session.build.planner import make_plan


def test_a_path_is_taken_where_a_text_is(tmp_path):

    config = mcprune.make_config(out=tmp_path / "run", data=tmp_path / "t.csv")
    assert (config.runtime.out, config.data.source) == (str(tmp_path / "run"), str(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("a,b,kind\n" + "".join(f"{i},{-i},{i % 2}\n" for i in range(40)))
    options = {"epochs": 2, "retrain_epochs": 2, "hidden": (4,), "threads": 1}
    result = mcprune.prune(tmp_path / "t.csv", keep=1, out=tmp_path / "run", **options)
    assert result.folder == tmp_path / "run"
    assert mcprune.load(tmp_path / "run").names == result.mask.names


@pytest.mark.parametrize(("wanted", "are_capped"), [(1, False), (THREADS_A_CORE * cores(), False), (4096, True)])
def test_far_more_threads_than_cores_become_the_cores_with_a_note(wanted, are_capped):
    plan = make_plan(mcprune.make_config(data="wine", keep=3, threads=wanted), load("wine"))
    assert plan.config.runtime.threads == (cores() if are_capped else wanted)
    assert any("the usable cores" in note for note in plan.notes) == are_capped


def test_models_without_layers_or_numbers_are_refused():
    plain = nn.Sequential(nn.Linear(13, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(plain)
    with pytest.raises(ModelError, match="TorchScript"):
        mcprune.prune("wine", keep=3, model=scripted)
    with pytest.raises(ModelError, match="'meta'"):
        mcprune.prune("wine", keep=3, model=plain.to("meta"))
