"""The page of a chain over digits: what it shows, and what its requests do to the chain."""

import json
import threading
import time
import urllib.error
import urllib.request

import pytest
from polish_problem import settings_of, splits_of, start_network

from mcprune.dashboard.controller import Invalid, NotNow
from mcprune.dashboard.polish_page import PolishPage
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.polish.polish import polish


def ask(page, path, body):
    address, token = page.server.address.split("/?token=")
    request = urllib.request.Request(
        f"{address}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-Mcprune-Token": token},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_polish_is_shown_from_its_start_to_its_result():
    settings, splits = settings_of(40, "luts"), splits_of()
    with PolishPage("made", settings, splits, port=0) as page:
        assert page.state()["status"] == "starting"
        result = polish(start_network(), splits, settings, on_block=page.on_block, steer=page.steer)
        assert page.status == "running"
        latest = page.state()["latest"]
        assert latest["block"] == latest["blocks"] == 6
        assert latest["figures"]["kept"] <= 40
        assert 0 <= latest["acceptance"] <= 1
        assert page.state()["run"]["n_sites"] == result.before.costs.luts
        columns = page.state()["series"]["columns"]
        assert len(columns["loss"]) == 6
        assert columns["target"][-1] == 40
        assert {name for name in columns if name.startswith("move ")} >= {"move exchange", "move bias"}
        page.done(result)
        scores = page.state()["scores"]
        assert [score["name"] for score in scores] == ["start", "polished"]
        assert scores[1]["accuracy"] == result.after.accuracies["test"]


def test_the_page_changes_nothing_of_a_chain_that_is_only_watched():
    settings, splits = settings_of(40), splits_of()
    alone = polish(start_network(), splits, settings)
    with PolishPage("made", settings, splits, port=0) as page:
        watched = polish(start_network(), splits, settings, on_block=page.on_block, steer=page.steer)
    assert all((a.weight == b.weight).all() for a, b in zip(alone.network.layers, watched.network.layers, strict=True))


def test_pause_step_temperature_and_stop_by_its_requests():
    settings, splits = settings_of(40, blocks=500, proposals=100_000), splits_of()
    results, states = [], []
    with PolishPage("made", settings, splits, port=0) as page:
        page.act("pause")

        def run():
            results.append(
                polish(
                    start_network(), splits, settings, steer=page.steer,
                    on_block=lambda state: (states.append(state), page.on_block(state)),
                )
            )  # fmt: skip

        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: page.status == "paused")
        assert states == []
        assert ask(page, "control", {"action": "step"}) == (200, {})
        until(lambda: len(states) == 1 and page.status == "paused")
        assert ask(page, "knobs", {"temperature": 0.01}) == (200, {"accepted": {"temperature": 0.01}, "clamped": {}})
        assert page.state()["knobs"] == {"temperature": 0.01}
        assert ask(page, "knobs", {"temperature": 7})[1]["accepted"] == {"temperature": 1.0}
        assert ask(page, "knobs", {"temperature": -1})[0] == 422
        assert ask(page, "knobs", {"delta": 1})[0] == 422
        assert ask(page, "control", {"action": "finish"})[0] == 422
        ask(page, "control", {"action": "step"})
        until(lambda: len(states) == 2 and page.status == "paused")
        assert (states[0].temperature, states[1].temperature) == (None, 1.0)
        assert page.state()["latest"]["temperature"] == 1.0
        ask(page, "control", {"action": "stop"})
        thread.join(600)
    (result,) = results
    assert len(states) < 100
    assert costs(result.network).digits <= 40
    assert any("stopped after block 2" in note for note in page.state()["notes"])
    with pytest.raises(Invalid):
        page.act("jump")
    page.status = "done"
    with pytest.raises(NotNow):
        page.act("pause")
    with pytest.raises(NotNow):
        page.change({"temperature": 0.0})


@pytest.mark.browser
@pytest.mark.slow
def test_the_filled_page_has_no_words_of_masks_and_sites(browser):
    settings, splits = settings_of(40, "luts"), splits_of()
    with PolishPage("made", settings, splits, port=0) as page:
        result = polish(start_network(), splits, settings, on_block=page.on_block, steer=page.steer)
        page.done(result)
        view = browser.new_page(viewport={"width": 1280, "height": 1000})
        view.goto(page.server.address)
        view.wait_for_selector("#result table")
        view.locator("#more > summary").click()
        view.wait_for_selector("#sites .scatterlayer .trace")
        view.wait_for_selector("#losses .scatterlayer .trace")
        text = view.locator("body").inner_text()
        drawn = view.evaluate("[...document.querySelectorAll('svg text')].map((one) => one.textContent)")
        labels = view.evaluate(
            "[...document.querySelectorAll('[aria-label]')].filter((one) => one.offsetParent).map((one) => one.getAttribute('aria-label'))"
        )
        view.close()
    words = " ".join([text, *drawn, *labels])
    assert "network" in text
    assert {"cost", "budget", "luts"} <= set(drawn)
    for word in ("mask", "site", "L_tot", "n(t)", "pruner", "gate"):
        assert word not in words.replace("mitigate", ""), word


def until(is_so, seconds=600.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
