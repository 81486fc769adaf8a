"""The rows of each step shared by the ranks: all hold the same classifier, a rerun repeats it, and it is nearly that of one process."""

import json
import math

import numpy as np
import pytest
import torch
from ranked import together
from torch import nn

from mcprune.config.schema import make_config
from mcprune.distributed.data_parallel import DataParallel
from mcprune.distributed.evaluation import Ranks
from mcprune.errors import ConfigError, FolderError
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.layout import CHECKPOINT

SHORT = {
    "epochs": 6,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": [16, 8],
    "keep": 16,
    "threads": 1,
    "dropout": 0.1,
    "checkpoint_every": "1",
}
SHARED = {**SHORT, "train_ranks": "shared"}


def progress(folder):
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in told if event["event"] == "progress"]


def mask(folder):
    return json.loads((folder / "mask.json").read_text())


@pytest.mark.long("several processes, each of which starts Python and torch")
def test_two_ranks_that_share_the_steps_are_alike_repeatable_and_near_one_process(tmp_path):
    """Ranks that came apart in a bit would end: the classifiers are compared behind the first, the last and every 16th block."""
    plain = {**SHARED, "dropout": 0.0, "input_noise": 0.1}
    jobs = [
        {**SHARED, "out": str(tmp_path / "one")},
        {**SHARED, "out": str(tmp_path / "again")},
        {**plain, "out": str(tmp_path / "plain")},
    ]
    ends = together(2, {"runs": jobs})
    assert [end[0] for end in ends] == [0, 0], ends
    assert ends[1][1].split() == ["0", "0", "0"]
    for name in ("mask.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert [event["loss"] for event in progress(tmp_path / "one")] == [
        event["loss"] for event in progress(tmp_path / "again")
    ]
    assert len(mask(tmp_path / "one")["indices"]) == 16
    list(run(make_config(**{**plain, "train_ranks": "each"}, out=str(tmp_path / "alone"))))
    first, alone = progress(tmp_path / "plain")[0], progress(tmp_path / "alone")[0]
    # The same rows, noise and trades: after the first block's steps only the order of sums has a part.
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert first["loss"] != alone["loss"]
    last = [progress(tmp_path / name)[-1]["loss"] for name in ("plain", "alone")]
    assert last[0] == pytest.approx(last[1], rel=0.5)


class Two(Ranks):
    """Rank 0 or 1 of two, whose messages are lists."""

    def __init__(self, rank, sent):
        super().__init__(rank, 2, 1.0)
        self.sent = sent

    def all_reduce(self, values):
        self.sent.append(values.clone())
        return self.sent[0] + self.sent[1] if len(self.sent) == 2 else values


@pytest.mark.parametrize("rows", [7, 8])
def test_parts_add_up_to_the_step_of_one_process(rows):
    """Gradients, loss and running statistics of a batch, in float64 and with parts of different sizes."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 5, generator=draw, dtype=torch.float64)
    y = torch.randint(0, 3, (rows,), generator=draw)
    models = []
    for _ in range(3):
        torch.manual_seed(1)
        models.append(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double())
    whole = nn.functional.cross_entropy(models[2](x), y)
    whole.backward()
    sent = []
    for rank in range(2):
        shared = DataParallel(Two(rank, sent), rows)
        part = shared.local_rows(rows)
        loss = nn.functional.cross_entropy(models[rank](x[part]), y[part]) * len(y[part]) / rows
        loss.backward()
        loss = shared.all_reduce(models[rank], loss)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
    for found, want in zip(models[1].parameters(), models[2].parameters(), strict=True):
        assert torch.allclose(found.grad, want.grad, rtol=1e-12, atol=1e-15)


def test_parts_cover_a_batch_once():
    for size in (1, 2, 3, 7):
        found = [
            row
            for rank in range(size)
            for row in np.arange(20)[DataParallel(Ranks(rank, size, 1.0), 20).local_rows(20)].tolist()
        ]
        assert found == list(range(20))


def test_dropout_is_not_alike_in_the_parts():
    draws = []
    for rank in (0, 0, 1):
        with DataParallel(Ranks(rank, 2, 1.0), 8).local_noise(3, 5):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_loss_that_is_not_finite_on_one_rank_is_so_on_all():
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    sent = [torch.full((7,), math.nan)]
    assert math.isnan(DataParallel(Two(1, sent), 8).all_reduce(model, torch.tensor(1.0)).item())


def test_what_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"this one is alone\. Start with torchrun"):
        list(run(make_config(**SHARED, out=str(tmp_path / "run"))))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="3 rows in a training step are too few for 2 processes"):
        DataParallel(Ranks(0, 2, 1.0), 3)


def test_another_number_of_ranks_does_not_go_on_to_other_bits(tmp_path, monkeypatch):
    """A checkpoint of two ranks in one process: refused, by the number of ranks first."""
    from mcprune.storage.checkpoint import write_checkpoint

    folder = tmp_path / "run"
    for event in run(make_config(**{**SHORT, "checkpoint_every": "0.5"}, out=str(folder))):
        if event.kind == "progress" and event.block >= 5:
            break
    tree = read_checkpoint(folder / CHECKPOINT)
    assert tree["training_ranks"] is None
    write_checkpoint(folder / CHECKPOINT, {**tree, "training_ranks": 2})
    with pytest.raises(FolderError, match=r"2 processes shared the rows .*, and 1 would end in other bits"):
        list(resume_run(open_run(folder)))
