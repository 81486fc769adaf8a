"""A run that is killed and resumed ends in the mask, the events and the model of the run that nobody touched."""

import math
import signal

import pytest
from configurations import CONFIGURATIONS
from digest import digest, has_checkpoint
from processes import Children, resume_whole, run_ranks

pytestmark = pytest.mark.slow

# Shares of the blocks after which a run is killed.
EARLY, LATE = 0.15, 0.62
# These stay in the default selection; the others are long.
DEFAULT = {"inputs-0.15", "folds-0.62", "straight-through-0.62", "weights-0.62"}


def kills():
    """Every configuration at both points; several ranks, whose start takes long, at one."""
    for name, configuration in CONFIGURATIONS.items():
        for share in (EARLY, LATE) if configuration.ranks == 1 else (LATE,):
            one = f"{name}-{share}"
            marks = [] if one in DEFAULT else [pytest.mark.long("a run, a kill and a resume for every configuration")]
            yield pytest.param(name, share, id=one, marks=marks)


@pytest.fixture(scope="module")
def children():
    """The server whose children are killed."""
    with Children() as server:
        yield server


@pytest.mark.parametrize(("name", "share"), list(kills()))
def test_a_killed_run_is_resumed_to_the_same_bits(name, share, whole, children, tmp_path):
    recorded, folder = digest(whole(name)), tmp_path / "run"
    events = math.ceil(share * len(recorded["progress"]))
    is_alone = CONFIGURATIONS[name].ranks == 1
    code = children.killed(name, folder, events) if is_alone else run_ranks(name, folder, kill_at=events)[0]
    if code != -signal.SIGKILL or not has_checkpoint(folder):
        pytest.fail(f"{name} was not killed behind a checkpoint: exit code {code}")
    resume_whole(name, folder)
    assert digest(folder) == recorded
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole(name).iterdir())
