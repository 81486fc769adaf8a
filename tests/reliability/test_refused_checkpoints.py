"""Checkpoints that are cut, flipped, foreign or of the future: refused with the reason, and the older one offered."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mcprune import environment
from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.errors import FolderError
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.storage.checkpoint import read_checkpoint, write_checkpoint
from mcprune.storage.layout import CHECKPOINT, OLDER, REQUEST

SHORT = {
    "epochs": 8,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": (8,),
    "keep": 16,
    "threads": 1,
    "eval_on": "held-out",
}


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A run that was left, which tests copy, and the mask that it would have ended in."""
    root = tmp_path_factory.mktemp("runs")
    config = make_config(**SHORT, checkpoint_every="0.5", out=str(root / "whole"))
    list(run(config))
    for event in run(config.replace(out=str(root / "cut"))):
        if event.kind == "progress" and event.block == 6:
            break
    return root / "cut", (root / "whole" / "mask.json").read_bytes()


@pytest.fixture
def folder(cut_off, tmp_path):
    return shutil.copytree(cut_off[0], tmp_path / "run")


def metadata(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def remade(data, **changes):
    """The checkpoint with other metadata, else as it is."""
    return save(load(data), {**metadata(data), **changes})


def cases(data):
    yield "cut to nothing", b"", "no whole checkpoint"
    yield "cut in its header", data[:100], "longer than the file"
    yield "cut in its numbers", data[:-10], "cut off or changed"
    yield "a header of 2^62 bytes", (1 << 62).to_bytes(8, "little") + data[8:], "longer than the file"
    yield "foreign", save({"weight": torch.zeros(3)}, {"format": "pt"}), "no checkpoint of mcprune"
    yield "no safetensors", b"PK\x03\x04" + bytes(1000), "no whole checkpoint"
    yield "of the future", remade(data, schema="2"), "later version"
    yield "of no schema", remade(data, schema="x"), "has schema 'x'"
    yield "other words", remade(data, description=metadata(data)["description"].replace("digits", "digitz")), "hash"


@pytest.mark.slow
def test_what_is_no_good_is_refused_with_its_reason_and_the_older_one_goes_on(folder, cut_off, capsys):
    data = (folder / CHECKPOINT).read_bytes()
    older = read_checkpoint(folder / OLDER)["search"]["blocks_done"]
    for name, bad, reason in cases(data):
        (folder / CHECKPOINT).write_bytes(bad)
        with pytest.raises(FolderError, match=reason) as met:
            open_run(folder)
        assert "mcprune resume --older" in str(met.value), name
        assert f"continues after block {older}" in str(met.value), name
    assert main(["resume", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["resume", "--older", "--quiet", str(folder)]) == 0
    assert (folder / "mask.json").read_bytes() == cut_off[1]


@pytest.mark.slow
def test_any_flipped_bit_is_noticed(folder):
    path = folder / CHECKPOINT
    data = path.read_bytes()
    want = read_checkpoint(path)
    draw = np.random.default_rng(0)
    header = int.from_bytes(data[:8], "little") + 8
    places = [*draw.integers(0, header, 60), *draw.integers(header, len(data), 60)]
    refused = 0
    for place in places:
        bad = bytearray(data)
        bad[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(bad)
        try:
            found = read_checkpoint(path)
        except FolderError:
            refused += 1
        else:  # blanks in the header mean nothing
            assert repr(found) == repr(want)
    assert refused >= 0.95 * len(places)


@pytest.mark.slow
def test_with_no_good_checkpoint_the_run_starts_again(folder, cut_off):
    for name in (CHECKPOINT, OLDER):
        (folder / name).write_bytes(b"nothing")
    with pytest.raises(FolderError, match="continues from the start"):
        open_run(folder)
    opened = open_run(folder, older=True)
    assert opened.checkpoint is None
    list(resume_run(opened))
    assert (folder / "mask.json").read_bytes() == cut_off[1]


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(folder, cut_off, tmp_path):
    other = make_config(**SHORT, seed=1, checkpoint_every="0.5", out=str(tmp_path / "other"))
    for event in run(other):
        if event.kind == "progress" and event.block == 3:
            break
    shutil.copy(tmp_path / "other" / CHECKPOINT, folder / CHECKPOINT)
    with pytest.raises(FolderError, match="of another run"):
        open_run(folder)


@pytest.mark.slow
def test_events_that_were_changed_are_noticed(folder):
    text = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(text.replace(b"digits", b"digitz"))
    with pytest.raises(FolderError, match=r"events\.jsonl was changed"):
        open_run(folder)
    (folder / "events.jsonl").write_bytes(text[:200])
    with pytest.raises(FolderError, match=r"events\.jsonl was changed"):
        open_run(folder)


@pytest.mark.slow
def test_what_fits_its_hash_but_not_its_run_is_refused(folder):
    tree = read_checkpoint(folder / CHECKPOINT)
    tree["search"]["method"]["chain"]["position"] = np.zeros((1, 3))
    write_checkpoint(folder / CHECKPOINT, tree)
    with pytest.raises(FolderError, match=r"does not fit its run .*position is float64 of shape \(1, 3\)"):
        list(resume_run(open_run(folder)))
    del tree["search"]["trainer"]
    write_checkpoint(folder / CHECKPOINT, tree)
    with pytest.raises(FolderError, match="does not fit its run"):
        list(resume_run(open_run(folder)))
    del tree["machine"]
    write_checkpoint(folder / CHECKPOINT, tree)
    with pytest.raises(FolderError, match="lacks a part"):
        open_run(folder)


def optimizer(tree):
    return tree["search"]["trainer"]["members"][0]["optimizer"]["moments"][0]


WRONG = {
    "steering that is a number": lambda tree: tree["steering"].update(changes=0.5),
    "sums of another type": lambda tree: optimizer(tree).update(exp_avg=optimizer(tree)["exp_avg"].double()),
    "a step of half a number": lambda tree: optimizer(tree).update(step=torch.tensor(1.0).half()),
    "counts that are none": lambda tree: tree["search"]["totals"].update(moves={"exchange": [{}, 1]}),
    "crossings that are a dict": lambda tree: tree["search"]["crossings"].update(last={}),
    "more blocks than planned": lambda tree: tree["search"].update(blocks_done=10**6),
    "seconds that are a text": lambda tree: tree["search"]["clock"].update(block="x"),
    "an error that is a list": lambda tree: tree["search"]["method"]["error"].update(measured=[]),
    "positions that are NaN": lambda tree: tree["search"]["method"]["chain"]["position"].fill(np.nan),
    "costs that are too few": lambda tree: tree["search"]["method"]["lookahead"].update(sums=[1.0]),
    "a last block of texts": lambda tree: tree["search"]["last"].update(loss="low"),
    "a last block without its loss": lambda tree: tree["search"]["last"].pop("loss"),
    "a part that nobody knows": lambda tree: tree["search"]["method"].update(surprise=1),
    "a generator of another kind": lambda tree: tree["search"]["evaluation"]["draw"].update(bit_generator="MT19937"),
    "an array where there is none": lambda tree: tree["search"]["method"].update(step_size={"delta": np.ones(1)}),
    "an order that begins behind its end": lambda tree: tree["search"]["trainer"]["members"][0]["order"].update(
        place=-3
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_any_part_of_another_kind_is_refused(wrong, folder):
    """What fuzzing of checkpoints with the right hash met; each was another error once."""
    tree = read_checkpoint(folder / CHECKPOINT)
    WRONG[wrong](tree)
    write_checkpoint(folder / CHECKPOINT, tree)
    with pytest.raises(FolderError, match=r"does not fit its run|changes that the checkpoint lists cannot be read"):
        list(resume_run(open_run(folder)))


@pytest.mark.slow
def test_another_machine_is_told_of_and_refused_without_anyway(folder, cut_off, monkeypatch, capsys):
    real = environment.describe_machine
    monkeypatch.setattr(environment, "describe_machine", lambda *given: {**real(*given), "torch": "9.9"})
    assert main(["resume", str(folder)]) == 2
    assert "torch" in (said := capsys.readouterr().err)
    assert "9.9 now" in said
    assert "--anyway" in said
    assert main(["resume", str(folder), "--anyway", "--quiet"]) == 0
    assert (folder / "mask.json").read_bytes() == cut_off[1]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "mcprune-request", "schema": 9, "options": {}}', "\x00"])
def test_a_beginning_that_is_broken_is_refused(text, folder):
    (folder / REQUEST).write_text(text)
    with pytest.raises(FolderError):
        open_run(folder)


def test_without_a_run_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(FolderError, match="there is no folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="there is no run to resume"):
        open_run(tmp_path)


def test_numbers_come_back_as_they_were(tmp_path):
    tree = {
        "words": "ö", "none": None, "yes": True, "large": 2**127, "odd": [0.1, float("inf"), [float("nan")]],
        "array": np.arange(6, dtype=np.int32).reshape(2, 3).T, "empty": np.zeros((2, 0)), "flag": np.array([True]),
        "tensor": torch.arange(4).to(torch.bfloat16), "scalar": torch.tensor(3.0), "shared": torch.zeros(4).expand(3, 4),
    }  # fmt: skip
    write_checkpoint(tmp_path / "one", tree)
    found = read_checkpoint(tmp_path / "one")
    assert found["large"] == 2**127
    assert found["odd"][:2] == [0.1, float("inf")]
    assert np.isnan(found["odd"][2][0])
    assert np.array_equal(found["array"], tree["array"])
    assert found["array"].dtype == np.int32
    assert found["empty"].shape == (2, 0)
    assert torch.equal(found["tensor"], tree["tensor"])
    assert torch.equal(found["shared"], torch.zeros(3, 4))
    with pytest.raises(TypeError, match="cannot be kept"):
        write_checkpoint(tmp_path / "two", {"object": object()})
    with pytest.raises(TypeError, match="begin with"):
        write_checkpoint(tmp_path / "two", {"$array": "x"})
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
