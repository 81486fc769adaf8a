"""Small runs end in the bits that were recorded: a refactoring changes none of them (`record.py` writes the record)."""

import json
import math
from pathlib import Path

import digest
import pytest
import torch
from configurations import CONFIGURATIONS

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
# One of each method, and fixed sites: the others are left out by -m "not slow".
QUICK = {"inputs", "fixed", "ramp", "importance"}
LONG = {
    "ranks": "two processes, whose chain distributed/test_evaluation compares with that of one",
    **dict.fromkeys(
        (
            *(
                "rank-mixture",
                "waves",
                "chain-drops",
                "objective",
                "early-reject",
                "distilled",
                "weights-frozen",
                "channels-macs",
            ),
            *(
                "channels-by-name",
                "hard-concrete",
                "start-units",
                "start-macs",
                "propose-trials",
                "stopped",
                "folds-units",
            ),
        ),
        "other settings of kinds of runs that stay",
    ),
}


def marks(name):
    if name in LONG:
        return [pytest.mark.long(LONG[name])]
    return [] if name in QUICK else [pytest.mark.slow]


NAMES = [pytest.param(name, marks=marks(name)) for name in CONFIGURATIONS]


@pytest.fixture(scope="module")
def goldens():
    """The recorded digests, by name of configuration; the test is skipped on another machine."""
    recorded, here = GOLDENS["machine"], digest.machine()
    if different := [f"{key} {recorded[key]!r}, here {here[key]!r}" for key in here if recorded[key] != here[key]]:
        pytest.skip(f"goldens.json is of another machine, whose last bits differ: {'; '.join(different)}")
    return GOLDENS["digests"]


def first_difference(found, recorded):
    """Where two lists of progress differ, for the message of a failure."""
    for place, pair in enumerate(zip(found, recorded, strict=False)):
        if pair[0] != pair[1]:
            return f"block event {place}: {pair[0]!r}, recorded {pair[1]!r}"
    return f"{len(found)} events, recorded {len(recorded)}" if len(found) != len(recorded) else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ends_in_the_recorded_bits(name, whole, goldens):
    """Numbers alone: a rename of fields, options or parameters leaves this as it is."""
    found = digest.digest(whole(name))
    assert not first_difference(found["progress"], goldens[name]["progress"])
    different = {key for key in found if key != "texts" and found[key] != goldens[name][key]}
    assert not different


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_writes_the_recorded_texts(name, whole, goldens):
    """All fields of all events, and the file of the model; after a rename: record.py --texts."""
    assert digest.digest(whole(name))["texts"] == goldens[name]["texts"]


def test_every_configuration_is_recorded():
    assert list(GOLDENS["digests"]) == list(CONFIGURATIONS)


def test_the_digest_sees_the_last_bit(whole, monkeypatch):
    """The control: one bit of one weight, of one number of one event or of one tensor changes the digest."""
    folder = whole("fixed")
    before = digest.digest(folder)

    def changed(reader, value):
        with monkeypatch.context() as patch:
            patch.setattr(digest, reader, lambda folder: value)
            after = digest.digest(folder)
        return {key for key in after if after[key] != before[key]}

    kept, weights = digest.read_mask(folder)
    assert changed("read_mask", (kept, [*weights[:-1], math.nextafter(weights[-1], 9.0)])) == {"weights_sha256"}
    assert changed("read_mask", ([*kept[:-1], kept[-1] + 1], weights)) == {"kept", "kept_sha256"}
    file, tensors = digest.read_model(folder)
    tensors[0].view(-1)[0] = tensors[0].view(-1)[0].nextafter(torch.tensor(9.0))
    assert changed("read_model", (file, tensors)) == {"model_sha256"}
    assert changed("read_model", (file[:-1], digest.read_model(folder)[1])) == {"texts"}
    events = digest.read_events(folder)
    place = digest.progress_places(events)[0]
    seen = {}
    for name, value in events[place].items():
        if isinstance(value, float) and name not in digest.VOLATILE:
            bit = {**events[place], name: math.nextafter(value, 1e9)}
            seen[name] = changed("read_events", [*events[:place], bit, *events[place + 1 :]])
    assert all("texts" in keys for keys in seen.values())
    assert len(seen) > 10
    assert sum("progress" in keys for keys in seen.values()) == 2  # the epoch and the classification loss
