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
        feature_names=names,
        target_name="kind",
        target_names=(),
        image_shape=None,
        file_width=None,
        coding=None,
        labels=LABELS,
        columns=np.arange(3),
        probabilities=probabilities,
    )
    fake_folder.load = lambda path, own: model
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
    def load(path, own):
        raise AssertionError("the place was to be looked at first")

    fake_folder.load = load
    assert main(["predict", "runs/table", rows, "--out", str(tmp_path / out)]) == 2
    assert "--out" in capsys.readouterr().err


def test_of_equally_likely_classes_the_first_is_taken():
    stream = io.StringIO()
    write_csv(stream, np.array([[0.4, 0.4, 0.2]]), ("x", "y", "z"))
    assert stream.getvalue().splitlines()[1] == "0,x,0.400000"


def test_a_header_of_numbers_is_said_on_the_error_output_and_can_be_said_otherwise(fake_folder, tmp_path, capsys):
    model = SimpleNamespace(
        feature_names=("900", "905"),
        target_name="kind",
        target_names=(),
        image_shape=None,
        file_width=None,
        coding=None,
        labels=("low", "high"),
        columns=np.array([1]),
        probabilities=lambda rows: np.stack([rows[:, 0] < 1, rows[:, 0] >= 1], axis=1).astype(float),
    )
    fake_folder.load = lambda path, own: model
    file = tmp_path / "new.csv"
    file.write_text("905\n0.5\n2\n")
    assert main(["predict", "runs/nir", str(file)]) == 0
    output = capsys.readouterr()
    assert [row[1] for row in csv.reader(io.StringIO(output.out))] == ["prediction", "low", "high"]
    assert "--header no" in output.err
    assert main(["predict", "runs/nir", str(file), "--header", "no"]) == 0
    output = capsys.readouterr()
    assert [row[1] for row in csv.reader(io.StringIO(output.out))] == ["prediction", "high", "low", "high"]
    assert "the first line" not in output.err


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    """A finished run on columns named by wavelengths, with row numbers in front and class codes that look like numbers."""
    root = tmp_path_factory.mktemp("spectra")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    X = rng.normal(size=(240, 5)).round(3)
    X[:, 1] += 2 * y
    X[:, 3] -= 2 * y
    names = ["900", "905", "910", "915", "920"]
    lines = [",".join(["Unnamed: 0", *names, "quality"])]
    lines += [",".join(map(str, [i, *X[i], ("3.1", "3.10", "3.2")[y[i]]])) for i in range(240)]
    (root / "train.csv").write_text("\n".join(lines))
    options = ["--keep", "2", "--epochs", "6", "--retrain-epochs", "6", "--compare", "no", "--threads", "1", "--quiet"]
    assert main(["run", "--data", str(root / "train.csv"), "--out", str(root / "run"), *options]) == 0
    return root, names, X


def _predictions(root, header, rows, capsys, *options):
    file = root / "new.csv"
    file.write_text("\n".join(",".join(map(str, row)) for row in ([header] if header else []) + list(rows)))
    code = main(["predict", str(root / "run"), str(file), *options])
    output = capsys.readouterr()
    return code, list(csv.reader(io.StringIO(output.out)))[1:], output.err


def test_new_rows_of_a_run_need_only_its_kept_columns(spectra, capsys):
    import mcprune

    root, names, X = spectra
    model = mcprune.load(root / "run")
    assert model.labels == ("3.1", "3.10", "3.2")
    assert "Unnamed: 0" not in model.feature_names
    kept = list(model.names)
    places = [names.index(name) for name in kept]
    code, wanted, _ = _predictions(root, names, X[:5], capsys)
    assert code == 0
    assert [row[1] for row in wanted] == [str(label) for label in model.predict(X[:5])]
    others = [name for name in names if name not in kept]
    for header, rows in (
        (kept, X[:5, places]),
        (kept[::-1], X[:5, places[::-1]]),
        (None, X[:5]),
        (None, X[:5, places]),
        ([*names, "quality"], [[*row, "3.10"] for row in X[:5]]),
        (["Unnamed: 0", *names], [[7, *row] for row in X[:5]]),
        (
            [*kept, others[0]],
            [[*row, gap] for row, gap in zip(X[:5, places], ("", "NaN", "wet", "1", "inf"), strict=True)],
        ),
    ):
        assert _predictions(root, header, rows, capsys)[:2] == (0, wanted)
    code, _, error = _predictions(
        root, [kept[0], *others], X[:5, [places[0], *(names.index(n) for n in others)]], capsys
    )
    assert code == 2
    assert repr(kept[1]) in error
    spoilt = X[:5].astype(object)
    spoilt[3, places[0]] = ""
    code, _, error = _predictions(root, names, spoilt, capsys)
    assert code == 2
    assert repr(kept[0]) in error
    assert "Rows, counted from 1: 4." in error
