"""`Checkpoint` and `Dashboard` as callbacks of a run: the folder and the page that the command line has."""

import json
import urllib.request

import numpy as np
import pytest

import mcprune

SHORT = {"epochs": 6, "retrain_epochs": 2, "seed": 3, "threads": 1}


@pytest.fixture(scope="module")
def problem():
    x = np.random.default_rng(0).normal(size=(300, 8))
    return mcprune.Problem(None, (x, np.where(x[:, 2] + x[:, 5] > 0, "up", "down")), keep=2, hidden=(16,))


@pytest.mark.slow
def test_a_checkpoint_names_the_folder(problem, tmp_path):
    folder = tmp_path / "a"
    result = mcprune.fit(problem, mcprune.Markov(), callbacks=[mcprune.Checkpoint(folder)], **SHORT)
    assert result.folder == folder
    assert json.loads((folder / "mask.json").read_text())["indices"] == result.mask.indices.tolist()
    loaded = mcprune.load(folder)
    assert loaded.predict(problem.data[0]).tolist() == result.model.predict(problem.data[0]).tolist()
    plain = mcprune.fit(problem, mcprune.Markov(), **SHORT)
    assert plain.folder is None
    assert plain.mask.weights.tolist() == result.mask.weights.tolist()


@pytest.mark.slow
def test_a_run_that_is_left_goes_on_from_its_checkpoint(problem, tmp_path):
    whole = mcprune.fit(problem, mcprune.Markov(), **SHORT)
    for event in mcprune.run(
        problem, mcprune.Markov(), callbacks=[mcprune.Checkpoint(tmp_path / "a", every="1")], **SHORT
    ):
        if isinstance(event, mcprune.Progress) and event.epoch >= 3:
            break
    result = mcprune.resume(tmp_path / "a", problem.data)
    assert result.mask.weights.tolist() == whole.mask.weights.tolist()
    assert len(result.history) == len(whole.history)


def test_a_folder_is_named_once(problem, tmp_path):
    one, two = mcprune.Checkpoint(tmp_path / "a"), mcprune.Checkpoint(tmp_path / "b")
    with pytest.raises(mcprune.McpruneError, match=r"out stands beside a Checkpoint"):
        mcprune.fit(problem, callbacks=[one], out="c", **SHORT)
    with pytest.raises(mcprune.McpruneError, match=r"2 Checkpoints, but a run is written into one folder"):
        mcprune.prune("wine", keep=3, callbacks=[one, two], **SHORT)
    with pytest.raises(mcprune.McpruneError, match=r"A configuration holds all options"):
        mcprune.run(mcprune.make_config(data="wine"), callbacks=[one])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(mcprune.McpruneError, match="exists"):
        mcprune.fit(problem, callbacks=[one], **SHORT)


@pytest.mark.slow
def test_a_dashboard_shows_and_steers_the_run(problem, capsys):
    seen = []

    class Read(mcprune.Callback):
        def on_block(self, search, info):
            if search.blocks_done == 2:
                with urllib.request.urlopen(page.address, timeout=120) as answer:
                    seen.append((answer.read(), answer.headers["content-security-policy"]))
                page.change({"temperature": 1e-3})

    with mcprune.Dashboard(port=0) as page:
        result = mcprune.fit(problem, mcprune.Markov(), callbacks=[page, Read()], **{**SHORT, "epochs": 60})
        with urllib.request.urlopen(page.address, timeout=120) as answer:  # it can still be read when the run is over
            assert b"<title>mcprune" in answer.read()
    (text, policy), *_ = seen
    assert b"<title>mcprune" in text
    assert policy.endswith("frame-ancestors 'none'")
    assert f"live page: {page.address}" in capsys.readouterr().err
    changes = [event for event in result.events if isinstance(event, mcprune.KnobChanged)]
    assert changes[0].knobs["temperature"] == 1e-3
    with pytest.raises(OSError, match=r"refused|reset"):
        urllib.request.urlopen(page.address, timeout=120)


@pytest.mark.slow
def test_a_dashboard_is_silent_if_asked_to_and_may_be_framed(problem, capsys):
    with mcprune.Dashboard(port=0, is_quiet=True, is_framed=True) as page:
        mcprune.fit(problem, mcprune.Markov(), callbacks=[page], **SHORT)
        with urllib.request.urlopen(page.address, timeout=120) as answer:
            assert "localhost" in answer.headers["content-security-policy"].split("frame-ancestors")[1]
        assert page.address.replace("&", "&amp;") in page._repr_html_()
    assert "live page" not in capsys.readouterr().err


def test_prune_takes_callbacks_too(tmp_path):
    result = mcprune.prune("wine", keep=3, hidden=(8,), callbacks=[mcprune.Checkpoint(tmp_path / "w")], **SHORT)
    assert (tmp_path / "w" / "model.json").exists()
    assert len(result.mask) == 3
