"""`mcprune doctor` where all is well, where a package is missing, old or broken."""

import importlib.metadata
import subprocess
import sys

import pytest

from mcprune.cli import doctor
from mcprune.cli.main import main


def test_a_whole_installation_needs_nothing(capsys):
    code = main(["doctor"])
    text = capsys.readouterr().out
    assert code == (0 if "everything needed is there" in text else 1)
    for word in ("Python", "cores usable of", "torch", "numba's cache", "devices: cpu", "openmp", "scikit-learn"):
        assert word in text
    # Any pip line names bounds that pip understands.
    assert all(">=" in line for line in text.splitlines() if " -m pip install" in line)


def test_what_is_missing_or_old_is_told_with_the_line_that_installs_it(monkeypatch, capsys):
    real = importlib.metadata.version

    def version(name):
        if name == "safetensors":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"numpy": "1.26.4", "optuna": "4.9"}.get(name) or real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "requirements", lambda: [
        doctor.Requirement("numpy", "2.0", ""), doctor.Requirement("safetensors", "0.4.3", ""),
        doctor.Requirement("scipy", "1.13", ""), doctor.Requirement("optuna", "5.0", "sweep"),
        doctor.Requirement("pytest", "99", "test"),
    ])  # fmt: skip
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "older than 2.0" in text
    lines = [line.strip() for line in text.splitlines() if "pip install" in line]
    assert [line.split("install ")[1] for line in lines] == ["'numpy>=2.0' 'safetensors>=0.4.3'", "'optuna>=5.0'"]
    assert "pytest" not in text  # it serves who works on mcprune


def test_it_serves_without_torch_and_numba():
    """In a process where both raise when they are imported, as a broken installation does."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numba'] = None\n"
        "from mcprune.cli.main import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "torch: cannot be asked (ModuleNotFoundError" in done.stdout
    assert "numba: cannot be asked" in done.stdout
    assert "pip install" in done.stdout or "everything needed is there" in done.stdout


def test_requirements_are_those_that_setup_cfg_declares():
    from pathlib import Path

    if not (Path(doctor.__file__).parents[2] / "setup.cfg").exists():
        pytest.skip("installed without its checkout")
    texts = doctor._of_checkout()
    assert "numpy" in {text.split(">")[0] for text in texts}
    assert any("extra == 'sweep'" in text and text.startswith("optuna") for text in texts)


@pytest.mark.parametrize(("version", "least", "is_older"), [
    ("2.13.0+cpu", "2.6", False), ("1.9.1", "1.10", True), ("6.170.15", "6.100", False), ("2.0.0rc1", "2.0", False),
])  # fmt: skip
def test_versions_are_compared_as_numbers(monkeypatch, version, least, is_older):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: version)
    assert bool(doctor.look(doctor.Requirement("x", least, "")).fault) == is_older
