"""A path that is cut off goes on to the bits of the path that nobody touched, and loses nothing that was written."""

import json
import signal

import numpy as np
import pytest
from commands import Command

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError, FolderError
from mcprune.path.screen import PathScreen
from mcprune.path.search.store import CLOCK, REQUEST
from mcprune.storage.layout import PATH_UNFINISHED
from mcprune.storage.path_events import PathProgress

OPTIONS = {"seed": 0, "threads": 1, "checkpoint_every": "0.001s", "progress": False}
KINDS = {
    "columns": {"keep": "2,4,8", "epochs": 4},
    "units": {"keep": "4,16,40", "sites": "units", "hidden": (24, 24), "epochs": 4, "retrain_epochs": 4},
    "auto": {"keep": "auto", "epochs": 2},
}


class KilledError(Exception):
    pass


class KillAtBlock(mcprune.Callback):
    """Ends the process, as far as the folder can tell, after so many blocks of the n-th search."""

    def __init__(self, blocks, search=0):
        self.blocks, self.search, self.begun = blocks, search, -1

    def on_start(self, search):
        self.begun += 1

    def on_block(self, search, info):
        if self.begun == self.search and search.blocks_done == self.blocks:
            raise KilledError


class KillAtScore(mcprune.Callback):
    """Ends the process before the n-th score."""

    def __init__(self, number):
        self.left = number

    def on_event(self, event):
        if isinstance(event, PathProgress) and event.way == "score":
            self.left -= 1
            if not self.left:
                raise KilledError


class Searched(mcprune.Callback):
    """Notes the blocks that are searched."""

    def __init__(self):
        self.blocks = []

    def on_block(self, search, info):
        self.blocks.append(search.blocks_done)


def table_of(columns, function, rows=240):
    x = np.random.default_rng(3).normal(size=(rows, columns))
    return x, (function(x) > 0).astype(int)


FEW = table_of(10, lambda x: x[:, 0] + x[:, 1] * x[:, 2])
TABLES = {"columns": FEW, "units": FEW, "auto": table_of(40, lambda x: x[:, :9].sum(axis=1))}


@pytest.fixture
def table():
    return TABLES["columns"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The paths that nobody touches."""
    paths = {}

    def of(kind):
        if kind not in paths:
            out = tmp_path_factory.mktemp(kind) / "whole"
            mcprune.prune_path(*TABLES[kind], out=str(out), **KINDS[kind], **OPTIONS)
            paths[kind] = out
        return paths[kind]

    return of


def content_of(folder):
    content = json.loads((folder / "path.json").read_text())
    del content["seconds"]
    file = folder / "path.safetensors"  # missing where every mask is that of a selector
    return content, file.read_bytes() if file.exists() else b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kill"),
    [
        pytest.param("columns", KillAtBlock(1), marks=pytest.mark.long("another block")),
        ("columns", KillAtBlock(11)),
        ("columns", KillAtScore(2)),
        ("units", KillAtBlock(9)),
        pytest.param("units", KillAtScore(2), marks=pytest.mark.long("the scores of another kind of site")),
        pytest.param("auto", KillAtBlock(4, search=1), marks=pytest.mark.long("an automatic path, twice")),
    ],
    ids=["columns-first", "columns-late", "columns-scores", "units-block", "units-scores", "auto-around"],
)
def test_a_killed_path_ends_in_the_same_bits(kind, kill, whole, tmp_path):
    out, table = tmp_path / "p", TABLES[kind]
    with pytest.raises(KilledError):
        mcprune.prune_path(*table, out=str(out), callbacks=[kill], **KINDS[kind], **OPTIONS)
    assert (out / PATH_UNFINISHED / REQUEST).exists()
    assert not (out / "path.json").exists()
    searched = Searched()
    path = mcprune.resume_path(out, table, callbacks=[searched], progress=False)
    assert path.is_complete
    assert content_of(out) == content_of(whole(kind))
    assert not (out / PATH_UNFINISHED).exists()
    if isinstance(kill, KillAtBlock):
        assert searched.blocks[0] == kill.blocks + 1  # nothing is searched twice
    else:
        assert searched.blocks == []


@pytest.mark.slow
def test_sigkill_loses_nothing(table, whole, tmp_path):
    np.savez(tmp_path / "rows.npz", x=table[0], y=table[1])
    program = (
        "import os, signal, numpy, mcprune\n"
        "class Kill(mcprune.Callback):\n"
        "    def on_block(self, search, info):\n"
        "        if search.blocks_done == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rows = numpy.load('rows.npz')\n"
        f"mcprune.prune_path(rows['x'], rows['y'], out='p', callbacks=[Kill()], **{KINDS['columns'] | OPTIONS!r})\n"
    )
    process = Command(code=program, cwd=tmp_path)
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
    mcprune.resume_path(tmp_path / "p", table, progress=False)
    assert content_of(tmp_path / "p") == content_of(whole("columns"))


COMMAND = ["path", "--data", "wine", "--keep", "2,5,9", "--epochs", "6", "--retrain-epochs", "4", "--threads", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_ctrl_c_keeps_the_levels_that_were_reached_and_resume_adds_the_others(here, capsys, monkeypatch):
    assert main([*COMMAND, "--out", "whole", "--at", "all"]) == 0
    shown = PathScreen.on_event

    def interrupt_at_the_second_level(screen, event):
        if isinstance(event, PathProgress) and event.level == 5 and event.way == "down":
            signal.raise_signal(signal.SIGINT)
        shown(screen, event)

    with monkeypatch.context() as patched:
        patched.setattr(PathScreen, "on_event", interrupt_at_the_second_level)
        assert main([*COMMAND, "--out", "p", "--at", "all"]) == 130
    assert "unfinished: mcprune resume p continues the path" in capsys.readouterr().err
    partial = json.loads((here / "p" / "path.json").read_text())
    assert [level["level"] for level in partial["levels"]] == [5, 9][-len(partial["levels"]) :]
    assert main(["path", "p"]) == 0
    assert "this path is not finished. mcprune resume p continues it" in capsys.readouterr().err
    assert main([*COMMAND, "--out", "p"]) == 2
    assert "or continue it: mcprune resume p" in capsys.readouterr().err
    assert main(["resume", "p", "--older"]) == 2
    assert "Leave --older out" in capsys.readouterr().err
    assert main(["resume", "p"]) == 0
    assert content_of(here / "p") == content_of(here / "whole")
    for level in ("n002", "n005", "n009"):  # --at all was asked for
        models = [(here / name / "levels" / level / "model.safetensors").read_bytes() for name in ("p", "whole")]
        assert models[0] == models[1]
    capsys.readouterr()
    assert main(["resume", "p"]) == 0
    assert "the path in p is finished. See mcprune path p" in capsys.readouterr().err


@pytest.mark.slow
def test_levels_for_which_the_time_was_too_short_are_searched_by_a_resume(here, capsys):
    assert main([*COMMAND, "--out", "p", "--at", "none", "--max-time", "0.01"]) == 0
    first = json.loads((here / "p" / "path.json").read_text())
    assert len(first["levels"]) < 3
    assert "mcprune resume p continues the path" in capsys.readouterr().err
    for _ in range(6):  # each has the time of its own
        main(["resume", "p"])
    levels = json.loads((here / "p" / "path.json").read_text())["levels"]
    assert [level["level"] for level in levels] == [2, 5, 9]


@pytest.mark.slow
def test_what_cannot_be_resumed_is_refused_with_the_remedy(table, tmp_path):
    out = tmp_path / "p"
    with pytest.raises(KilledError):
        mcprune.prune_path(*table, out=str(out), callbacks=[KillAtBlock(3)], **KINDS["columns"], **OPTIONS)
    with pytest.raises(ConfigError, match=r"The data of the path .* came from Python.*resume_path\(.*data=\(X, y\)\)"):
        mcprune.resume_path(out)
    other = table[0].copy()
    other[0, 0] += 1.0
    with pytest.raises(FolderError, match=r"are not those that the path .* was started with\. Restore them"):
        mcprune.resume_path(out, (other, table[1]))
    with pytest.raises(ConfigError, match="did not get its objective from Python"):
        mcprune.resume_path(out, table, objective=lambda predictions, targets, mask: 0.0)
    file = out / PATH_UNFINISHED / REQUEST
    request = json.loads(file.read_text())
    file.write_text(json.dumps({**request, "machine": {**request["machine"], "torch": "1.0"}}))
    with pytest.raises(FolderError, match=r"was started elsewhere: torch 1\.0 then"):
        mcprune.resume_path(out, table)
    assert mcprune.resume_path(out, table, anyway=True, progress=False).levels == (2, 4, 8)
    with pytest.raises(FolderError, match="is finished, so there is nothing to resume"):
        mcprune.resume_path(out, table)


@pytest.mark.slow
def test_a_broken_state_is_one_error(table, tmp_path):
    out = tmp_path / "p"
    with pytest.raises(KilledError):
        mcprune.prune_path(*table, out=str(out), callbacks=[KillAtBlock(3)], **KINDS["columns"], **OPTIONS)
    state = out / PATH_UNFINISHED / "first-0.safetensors"
    assert (out / PATH_UNFINISHED / CLOCK).exists()
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(FolderError, match=r"cannot be resumed: .*Start it again with --force"):
        mcprune.resume_path(out, table)
