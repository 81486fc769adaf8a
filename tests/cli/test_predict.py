import csv
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.cli.predict import write_csv

LABELS = ("no, never", 'a "quoted" ü')


@pytest.fixture
def folder(fake_folder):
    """A run on three columns whose model finds the second class where column b is above 1."""
    names = ("a", "b", "c")

    def probabilities(rows):
        sure = np.where(rows[:, 1] > 1, 0.75, 0.125)
        return np.stack([1 - sure, sure], axis=1)

    model = SimpleNamespace(
        feature_names=names, target_name="kind", image_shape=None, labels=LABELS, probabilities=probabilities
    )
    fake_folder.load = lambda path: model
    return "runs/table"


@pytest.fixture
def rows(tmp_path):
    """Two rows in a file, its columns in another order and without the target."""
    file = tmp_path / "new.csv"
    file.write_text("c,b,a\n0,2,0\n5,0,3\n")
    return str(file)


EXPECTED = [["row", "prediction", "probability"], ["0", LABELS[1], "0.750000"], ["1", LABELS[0], "0.875000"]]


def test_predictions_go_to_the_output_or_to_a_file_alike(folder, rows, tmp_path, capsys):
    assert main(["predict", folder, rows]) == 0
    text = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(text))) == EXPECTED
    out = tmp_path / "out.csv"
    assert main(["predict", folder, rows, "--out", str(out)]) == 0
    assert out.read_bytes() == text.encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "out.csv"]


def test_a_file_is_not_replaced_unless_forced(folder, rows, capsys):
    before = Path(rows).read_text()
    assert main(["predict", folder, rows, "--out", rows]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path(rows).read_text() == before
    assert main(["predict", folder, rows, "--out", rows, "--force"]) == 0
    assert Path(rows).read_text().startswith("row,")


@pytest.mark.parametrize(
    ("text", "part"), [("a,b\n1,2\n", "c"), ("a,b,c\n1,2,x\n", "x"), ("a,b,c\n1,,3\n", "b"), ("", "empty")]
)
def test_rows_that_do_not_fit_leave_no_file(folder, tmp_path, capsys, text, part):
    (tmp_path / "bad.csv").write_text(text)
    out = tmp_path / "out.csv"
    assert main(["predict", folder, str(tmp_path / "bad.csv"), "--out", str(out)]) == 2
    assert part in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("out", ["missing/out.csv", "."])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(fake_folder, rows, tmp_path, capsys, out):
    def load(path):
        raise AssertionError("the place was to be looked at first")

    fake_folder.load = load
    assert main(["predict", "runs/table", rows, "--out", str(tmp_path / out)]) == 2
    assert "--out" in capsys.readouterr().err


def test_of_equally_likely_classes_the_first_is_taken():
    stream = io.StringIO()
    write_csv(stream, np.array([[0.4, 0.4, 0.2]]), ("x", "y", "z"))
    assert stream.getvalue().splitlines()[1] == "0,x,0.400000"
