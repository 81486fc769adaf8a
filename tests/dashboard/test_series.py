"""The live page's stream and orders: nothing is missed, a steered run is the server's and repeats, many connections do no harm."""

import base64
import itertools
import json
import time

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.dashboard import security as guard
from mcprune.dashboard.recorded import RecordedRun
from mcprune.dashboard.series import POINTS, Message, Series, Stream
from mcprune.dashboard.window import Window, hints
from mcprune.methods.base import BlockInfo, MoveCounts
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.events import Replanned, Stopped


class Reader:
    """One raw client of the event stream."""

    def __init__(self, page, last=None):
        self.line = page.connect()
        again = f"Last-Event-ID: {last}\r\n" if last else ""
        self.line.sendall(
            f"GET /events?token={page.server.token} HTTP/1.1\r\nHost: 127.0.0.1:{page.server.port}\r\n{again}\r\n".encode()
        )
        self.file = self.line.makefile("rb")
        assert b" 200 " in self.file.readline()

    def __iter__(self):
        """Yield (id, kind, data) of each message."""
        found = {}
        for line in self.file:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name in ("id", "event", "data"):
                found[name] = value
            elif not name and found.get("data"):
                yield found.get("id"), found["event"], json.loads(found["data"])
                found = {}

    def read(self, count):
        return list(itertools.islice(self, count))

    def close(self):
        self.file.close()
        self.line.close()


@pytest.fixture
def page(tmp_path, page_class):
    page = page_class(tmp_path / "run", keep_schedule="constant")  # exchanges are there from the start
    yield page
    page.close()


@pytest.fixture
def still(tmp_path, page_class):
    page = page_class(tmp_path / "run", is_paused=True)
    page.until(lambda: page.view.status == "paused")
    yield page
    page.close()


@pytest.mark.slow
def test_a_reader_gets_the_state_then_figures_and_misses_nothing_when_it_comes_back(page):
    whole, first = Reader(page), Reader(page)
    head = first.read(6)
    assert head[0][1] == "state"
    assert head[0][2]["run"]["n_sites"] == 64
    figures = next(data["figures"] for _, kind, data in itertools.chain(head, first) if kind == "figures")
    assert {"loss", "classification_loss", "kept", "target", "rate", "move site"} <= set(figures)
    first.close()
    second = Reader(page, last=head[-1][0])
    tail = second.read(6)
    second.close()
    # One who never left saw the same messages in the same order, each once.
    both = [name for name, *_ in head + tail]
    assert len(set(both)) == len(both)
    seen = []
    for name, *_ in whole:
        seen.append(name)
        if name == both[-1]:
            break
    whole.close()
    common = seen[seen.index(both[1]) :][: len(both) - 1]
    assert common == both[1:]


@pytest.mark.parametrize("last", ["other-3", "x", "-1", "9" * 400, "{boot}-99999999"])
def test_an_unknown_last_id_gets_the_whole_state(page, last):
    reader = Reader(page, last=last.format(boot=page.view.stream.last.split("-")[0]))
    assert reader.read(1)[0][1] == "state"
    reader.close()


@pytest.mark.slow
def test_figures_come_at_most_ten_times_a_second(page):
    began, rows, block = time.monotonic(), page.view.series.rows, page.view.block
    page.until(lambda: page.view.block > block + 200)
    more = page.view.series.rows - rows  # before the clock: another may come at any time
    assert more <= 10 * (time.monotonic() - began) + 1
    messages = [
        message.data for message in page.view.stream.after(f"{page.view.stream._boot}-0") if message.kind == "figures"
    ]
    blocks = [message["block"] for message in messages]
    assert blocks == sorted(set(blocks))


@pytest.mark.slow
def test_an_open_page_is_told_when_the_clock_plans_other_blocks(page):
    reader = Reader(page)
    planned = page.view.state()["run"]["blocks"]
    page.view.on_event(Replanned(block=3, blocks=planned + 7, blocks_before=planned, progress=0.1))
    told = (data.get("blocks") for _, kind, data in reader if kind == "figures")
    blocks = [next(one for one in told if one != planned), *itertools.islice(told, 3)]
    reader.close()
    assert blocks == [planned + 7] * 4


@pytest.mark.slow
def test_pause_step_resume_and_stop(still):
    view = still.view
    assert view.block == 0
    for block in (1, 2, 3):
        assert still.post("/control", {"action": "step"})[0] == 200
        still.until(lambda wanted=block: view.state()["latest"].get("block") == wanted and view.status == "paused")
    assert view.block == 3
    assert still.post("/control", {"action": "resume"})[0] == 200
    still.until(lambda: view.block > 10)
    assert still.post("/control", {"action": "pause"})[0] == 200
    still.until(lambda: view.status == "paused")
    at = view.block
    assert still.post("/control", {"action": "stop"})[0] == 200
    still.until(lambda: view.status == "done")
    stopped = next(event for event in still.told if event.kind == "stopped")
    assert stopped == Stopped("stop", at + 1)
    rows = {score.name for score in still.told[-1].scores}
    assert "hard mask, retrained" in rows  # it was asked to harden, not interrupted
    assert still.post("/knobs", {"alpha": 2.0})[0] == 409
    assert still.post("/control", {"action": "pause"})[0] == 409


def test_a_change_is_seen_by_all_recorded_and_undone(still):
    one, other = Reader(still), Reader(still)
    before = still.view.knobs.values()
    assert still.post("/knobs", {"delta": 0.5, "moves": {"site": 1, "exchange": 3}})[0] == 200
    heard = [next(message for message in reader if message[1] == "knob_changed")[2] for reader in (one, other)]
    assert heard[0] == heard[1]
    assert heard[0]["knobs"]["delta"] == 0.5
    assert heard[0]["knobs"]["moves"] == {"site": 0.25, "exchange": 0.75}
    assert still.post("/control", {"action": "undo"})[0] == 200
    undone = next(message for message in one if message[1] == "knob_changed")[2]
    assert undone["entry"]["origin"] == "undo"
    assert undone["knobs"] == before == still.view.knobs.values()
    assert still.post("/control", {"action": "undo"})[0] == 409
    still.until(lambda: [event.block for event in still.told if event.kind == "knob_changed"] == [0, 0])
    one.close()
    other.close()


@pytest.mark.slow
def test_the_effect_of_a_change_is_told_after_its_window(page):
    page.until(lambda: page.view.block > 70)  # a window and its control
    assert page.post("/knobs", {"temperature": 1.0})[0] == 200
    page.until(lambda: page.view.changes.entries and page.view.changes.entries[0].blocks_after == 32)
    entry = page.view.changes.entries[0]
    # At temperature 1 nearly everything is accepted, at 0 little: the log must show which way it went.
    assert entry.figures_after.acceptance > 0.8 > entry.figures_before.acceptance
    page.until(lambda: any("random walk" in hint for hint in page.view.latest["hints"]))
    assert page.view.latest["constant_since"] >= entry.proposals
    assert entry.effects["acceptance"].is_seen is True
    assert entry.effects["acceptance"].difference > 0.5


def test_a_change_that_nothing_uses_claims_no_effect(page):
    """Exchanges alone: delta is no part of them, though acceptance and L_tot move on while the classifier trains."""
    change = {"moves": {"exchange": 1}, "delta": 8.0, "alpha": 2.0, "temperature": 1e-3}
    assert page.post("/knobs", change)[0] == 200
    page.until(lambda: page.view.changes.entries)
    entry = page.view.changes.entries[0]
    assert entry.unused == {
        "delta": "no move of the mixture uses it",
        "alpha": "gates by rank hold n(t), so L_pru is 0",
    }
    assert page.post("/knobs", {"moves": {"site": 1, "exchange": 1}, "delta": 2.0})[0] == 200
    page.until(lambda: page.view.changes.entries[1:])
    assert page.view.changes.entries[1].unused == {}  # the control
    # A page that opens knows as well, of all knobs.
    assert page.view.state()["unused"] == {
        "alpha": "gates by rank hold n(t), so L_pru is 0",
        "budget_pressure": "n(t) has reached n",
    }


@pytest.mark.slow
def test_of_changes_at_one_block_the_last_has_what_they_did(still, tmp_path):
    for _ in range(40):
        still.post("/control", {"action": "step"})
    still.until(lambda: still.view.block == 40 and still.view.status == "paused")
    for temperature in (0.5, 1.0):
        assert still.post("/knobs", {"temperature": temperature})[0] == 200
    still.until(lambda: len(still.view.changes.entries) == 2)
    first, last = still.view.changes.entries
    assert first.block == last.block == 40
    assert [entry.is_superseded for entry in (first, last)] == [True, False]
    assert last.figures_before == first.figures_before
    assert last.figures_before.loss is not None
    still.post("/control", {"action": "resume"})
    still.until(lambda: last.figures_after)
    assert first.figures_after is None
    still.post("/control", {"action": "stop"})
    still.until(lambda: still.view.status == "done")
    after = [entry["figures_after"] for entry in RecordedRun(tmp_path / "run").state()["changes"]]
    assert [figures is None for figures in after] == [True, False]


@pytest.mark.slow
def test_a_search_that_is_stopped_early_shows_its_hardened_mask(still, tmp_path):
    reader = Reader(still)
    for _ in range(3):
        still.post("/control", {"action": "step"})
    still.until(lambda: still.view.latest.get("block") == 3 and still.view.status == "paused")
    assert still.view.latest["figures"]["kept"] > 16  # the control: n(t) is still falling
    still.post("/control", {"action": "stop"})
    told = next(data for _, kind, data in reader if kind == "hardened")
    reader.close()
    mask = np.unpackbits(np.frombuffer(base64.b64decode(told["mask"]), np.uint8))[:64]
    assert told["figures"]["kept"] == mask.sum() == 16
    assert told["seconds_left"] is None
    still.until(lambda: still.view.status == "done")
    assert np.flatnonzero(mask).tolist() == list(still.told[-1].indices)
    hardened = next(event for event in still.told if event.kind == "hardened")
    assert told["figures"]["validation_accuracy"] == hardened.validation_accuracy
    assert told["figures"]["gate_sum"] == told["figures"]["target"] == 16  # not those of the gates before it
    stopped = next(event for event in still.told if event.kind == "stopped")
    assert stopped in (Stopped("stop", 3), Stopped("stop", 4))  # it may come before the third block is quite over
    assert still.view.state()["run"]["stopped"] == stopped.to_dict()
    past = RecordedRun(tmp_path / "run").state()
    assert past["run"]["stopped"].items() >= still.view.state()["run"]["stopped"].items()
    assert past["latest"]["figures"]["validation_accuracy"] == hardened.validation_accuracy


def test_an_undo_takes_back_the_newest_change_even_if_it_is_not_made_yet(still):
    view = still.view
    assert still.post("/knobs", {"temperature": 0.5})[0] == 200
    still.until(lambda: view.knobs.values()["temperature"] == 0.5)
    controller = still.controller
    with controller._condition:  # the run cannot take the change before it is taken back
        assert controller.change({"alpha": 7.0}).knobs == {"alpha": 7.0}
        assert controller.act("undo").knobs == {"alpha": 0.0}
        assert not controller._pending
    assert view.knobs.values()["alpha"] == 0.0
    assert view.knobs.values()["temperature"] == 0.5
    assert len(view.changes.entries) == 1
    assert still.post("/control", {"action": "undo"})[0] == 200
    still.until(lambda: view.knobs.values()["temperature"] == 0.0)


@pytest.mark.slow
def test_the_last_change_has_its_effect_when_the_search_ends_before_its_window(still):
    assert still.post("/knobs", {"alpha": 3.0})[0] == 200
    for _ in range(5):
        still.post("/control", {"action": "step"})
    still.until(lambda: still.view.latest.get("block") == 5 and still.view.status == "paused")
    still.post("/control", {"action": "stop"})
    still.until(lambda: still.view.status == "done")
    assert still.view.changes.entries[0].blocks_after in (5, 6)  # it may come before the fifth block is quite over
    assert still.view.latest["constant_since"] == 0


@pytest.mark.slow
def test_an_undo_goes_back_to_where_an_adapted_delta_stood(page):
    assert page.post("/knobs", {"moves": {"site": 1}, "delta": 0.5})[0] == 200
    page.until(lambda: page.view.knobs.values()["delta"] == 0.5)
    assert page.post("/knobs", {"adapt_delta": 0.3})[0] == 200
    page.until(lambda: page.view.latest.get("delta") not in (None, 0.5) and page.view.changes.entries[1:])
    assert page.post("/control", {"action": "pause"})[0] == 200
    page.until(lambda: page.view.status == "paused")
    stood = page.view.knobs.chain.delta
    assert stood != 0.5
    assert page.post("/knobs", {"delta": 2.0})[0] == 200
    page.until(lambda: page.view.knobs.values()["delta"] == 2.0)
    assert page.view.knobs.values()["adapt_delta"] is None
    assert page.post("/control", {"action": "undo"})[0] == 200
    page.until(lambda: page.view.knobs.values()["adapt_delta"] == 0.3)
    assert page.view.knobs.chain.delta == stood
    assert page.post("/control", {"action": "undo"})[0] == 200  # of switching it on
    page.until(lambda: page.view.knobs.values()["adapt_delta"] is None)
    assert page.view.knobs.values()["delta"] == 0.5


@pytest.mark.slow
def test_an_undo_takes_back_a_change_that_is_not_in_the_log_yet(still, monkeypatch):
    first = still.view.knobs.values()["delta"]
    assert still.post("/knobs", {"alpha": 3.0})[0] == 200
    still.until(lambda: len(still.view.changes.entries) == 1)
    log = still.view.changes.add_change

    def slow(*arguments):
        time.sleep(0.5)
        return log(*arguments)

    monkeypatch.setattr(still.view.changes, "add_change", slow)
    assert still.post("/knobs", {"delta": 2.0})[0] == 200
    still.until(lambda: still.view.knobs.values()["delta"] == 2.0)
    assert len(still.view.changes.entries) == 1
    assert still.post("/control", {"action": "undo"})[0] == 200
    still.until(lambda: len(still.view.changes.entries) == 3)
    assert still.view.knobs.values()["delta"] == first
    assert still.view.knobs.values()["alpha"] == 3.0


@pytest.mark.slow
def test_a_checkpoint_is_written_whole(still, tmp_path):
    still.post("/control", {"action": "checkpoint"})
    still.until(lambda: any("no checkpoint" in note for note in still.view.notes))  # no block is done yet
    still.post("/control", {"action": "step"})
    still.until(lambda: still.view.block == 1)
    still.post("/control", {"action": "checkpoint"})
    file = tmp_path / "run" / "checkpoint.safetensors"
    still.until(file.exists)
    search = read_checkpoint(file)["search"]
    assert search["blocks_done"] == 1
    assert search["method"]["chain"]["position"].shape == (1, 64)
    assert not list(file.parent.glob("*.new")) + list(file.parent.glob("*.part"))


@pytest.mark.slow
def test_a_steered_run_repeats_to_the_same_bytes(page_class, tmp_path):
    page = page_class(tmp_path / "run", is_paused=True, epochs=120)
    for order in (
        {"temperature": 1e-3, "moves": {"exchange": 2, "site": 1}},
        {"budget_pressure": 4.0},
        {"adapt_delta": 0.4},
    ):
        assert page.post("/knobs", order)[0] == 200
        at = page.view.block
        for _ in range(20):  # by steps, so that the run cannot end before the next change
            page.post("/control", {"action": "step"})
        page.until(lambda since=at: page.view.block == since + 20)
    page.post("/control", {"action": "resume"})
    page.until(lambda: page.view.block > 65 or page.view.status == "done")
    page.close()
    assert next(event.block for event in page.told if event.kind == "knob_changed") == 0
    assert sum(event.kind == "knob_changed" for event in page.told) == 3
    assert main(["run", "--quiet", "--replay", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    mask = (tmp_path / "run" / "mask.json").read_bytes()
    assert (tmp_path / "again" / "mask.json").read_bytes() == mask
    # The control: the same options without the steering lead elsewhere.
    plain = ["run", "--quiet", "--config", str(tmp_path / "run" / "config.toml"), "--out", str(tmp_path / "plain")]
    assert main(plain) == 0
    assert (tmp_path / "plain" / "mask.json").read_bytes() != mask


@pytest.mark.slow
def test_two_hundred_connections_left_open_are_closed_and_stop_nothing(page, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.5)
    lines = [page.connect() for _ in range(200)]
    for number, line in enumerate(lines):
        if number % 2:
            line.sendall(b"GET / HTTP/1.1\r\nHost: ")  # half a request
    at = page.view.block
    page.until(lambda: page.view.block > at + 20)
    assert page.ask("GET", "/state")[0] == 200
    for line in lines:
        assert line.recv(1) == b""  # the server has closed it
        line.close()


def test_more_event_streams_than_are_served_are_refused(page):
    readers = [Reader(page) for _ in range(32)]
    assert page.ask("GET", "/events")[0] == 503
    assert page.ask("HEAD", "/events")[0] == 503  # from which a page learns why
    for reader in readers:
        reader.close()
    page.until(lambda: page.view.stream.readers == 0)
    Reader(page).close()  # there is room again


def test_the_series_keep_their_bound_and_an_even_distance():
    series = Series(points=16)
    for step in range(1000):
        series.add({"step": float(step), **({"late": 1.0} if step >= 500 else {})})
        assert len(series.columns["step"]) < 16
        assert len({len(column) for column in series.columns.values()}) == 1
    steps = np.array(series.columns["step"])
    assert steps[0] == 0
    assert set(np.diff(steps)) == {series.stride}
    assert series.columns["late"][0] is None
    assert POINTS <= 1000


def test_the_buffer_is_bounded_and_says_when_something_is_gone():
    stream = Stream(kept=3)
    first = stream.last
    for number in range(3):
        stream.publish("tick", number)
    assert [message.data for message in stream.after(first)] == [0, 1, 2]
    assert stream.after(stream.last) == []
    stream.publish("tick", 3)
    assert stream.after(first) is None


def test_a_message_is_made_into_bytes_once():
    message = Message("a-1", "tick", {"loss": float("nan")})
    assert message.bytes() is message.bytes()
    assert message.bytes() == b'id: a-1\nevent: tick\ndata: {"loss":null}\n\n'


def block(accepted, moves="site", temperature=0.0, spread=float("nan")):
    counts = {moves: MoveCounts(3000, 1000, accepted)}
    base = dict.fromkeys(BlockInfo._fields[:8], 1.0) | dict.fromkeys(BlockInfo._fields[8:16], 0)
    return BlockInfo(**{**base, "moves": counts, "temperature": temperature, "spread": spread, "proposals": 1000})


def test_by_rank_delta_is_about_the_proposals_that_change_the_mask():
    window = Window(4)
    window.add(block(5))  # a third of the proposals changes the mask, and few decisions are accepted, as at a good mask
    assert not any("delta" in hint for hint in hints(window, {"moves": {"site": 1.0}}, 9, is_by_rank=True))
    few = block(0)._replace(moves={"site": MoveCounts(3000, 20, 0)})
    window = Window(4, [few])
    assert any("raise delta" in hint for hint in hints(window, {"moves": {"site": 1.0}}, 9, is_by_rank=True))


@pytest.mark.parametrize(
    ("update", "moves", "said"),
    [
        (block(5), {"site": 1.0}, "smaller delta"),
        (block(700), {"site": 1.0}, "larger"),
        (block(300, temperature=0.1, spread=0.01), {"site": 1.0}, "random walk"),
        (block(0, "exchange")._replace(kept=9, null_moves=900), {"exchange": 1.0}, "All sites are kept so far"),
        (
            block(0, "exchange")._replace(kept=8, null_moves=900),
            {"exchange": 1.0},
            "90% of the moves are not available",
        ),
        (block(0, "exchange"), {"exchange": 1.0}, "small temperature"),
        (block(300, temperature=0.001, spread=0.01), {"site": 1.0}, None),
    ],
)
def test_hints_say_which_way(update, moves, said):
    window = Window(4)
    window.add(update)
    found = " ".join(hints(window, {"moves": moves}, 9))
    assert said in found if said else not found
