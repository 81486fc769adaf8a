"""The folder of a path that is done: files that were changed or broken are one error, and so are other data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mcprune
from mcprune.errors import FolderError
from mcprune.path.folder import load_path, read_curve


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("path")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 5))
    np.savez(place / "table.npz", X=x, y=(x[:, 0] + x[:, 1] > 0).astype(int))
    mcprune.prune_path(
        str(place / "table.npz"), keep="1,3", epochs=2, threads=1, progress=False, out=str(place / "run")
    )
    return place


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done / "run", tmp_path / "run"))


def change(folder: Path, **values: object) -> None:
    content = json.loads((folder / "path.json").read_text())
    (folder / "path.json").write_text(json.dumps({**content, **values}))


def test_a_level_of_a_loaded_path_is_that_of_the_search(done, folder):
    assert load_path(folder).at(3).mask.indices.tolist() == list(read_curve(folder).at(3).indices)


@pytest.mark.parametrize("size", [2, -50])
def test_broken_classifiers_are_one_error(folder, size):
    (folder / "path.safetensors").write_bytes((folder / "path.safetensors").read_bytes()[:size])
    with pytest.raises(FolderError, match=r"path\.safetensors' cannot be read .*Run mcprune path again"):
        load_path(folder)


def test_classifiers_of_another_model_are_one_error(folder):
    options = json.loads((folder / "path.json").read_text())["options"]
    change(folder, options={**options, "search_hidden": [7]})
    with pytest.raises(FolderError, match=r"classifiers of the path do not fit its model .*Run mcprune path again"):
        load_path(folder).at(3)


def test_other_data_are_refused(done, folder):
    x, y = (np.load(done / "table.npz")[name] for name in ("X", "y"))
    np.savez(folder.parent / "other.npz", X=x + 1e-3 * y[:, None] * x, y=y)
    options = json.loads((folder / "path.json").read_text())["options"]
    change(folder, options={**options, "data": str(folder.parent / "other.npz")})
    with pytest.raises(FolderError, match="not those that the path was searched on"):
        load_path(folder).at(3)


def test_a_mask_of_other_sites_is_one_error(folder):
    levels = json.loads((folder / "path.json").read_text())["levels"]
    change(folder, levels=[{**levels[0], "indices": [99]}, levels[1]])
    with pytest.raises(FolderError, match="keeps site 99, but there are 5"):
        load_path(folder).at(1)


def test_a_curve_without_a_level_is_one_error(folder):
    change(folder, levels=[])
    with pytest.raises(FolderError, match=r"path\.json is no path .*no level"):
        read_curve(folder)
