"""Machine code is compiled once for each user, and found by every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcprune.chain import jit

# Runs two kernels and prints how many machine codes were compiled and how many were loaded.
PROGRAM = """
import sys
from mcprune.chain import kernels, philox

def counts():
    made = [one for one in vars(kernels).values() if hasattr(one, "_cache_misses")]
    return [sum(sum(one.values()) for one in part) for part in zip(*((k._cache_misses, k._cache_hits) for k in made))]

def worker(queue):
    philox.uniforms(1, 2, 3, philox.VALUE, 4)
    queue.put(counts())

if __name__ == "__main__":
    if len(sys.argv) > 1:
        import multiprocessing
        context = multiprocessing.get_context(sys.argv[1])
        queue = context.Queue()
        process = context.Process(target=worker, args=(queue,))
        process.start()
        print(*queue.get())
        process.join()
    else:
        philox.uniforms(1, 2, 3, philox.VALUE, 4)
        print(*counts())
"""


@pytest.fixture
def program(tmp_path):
    """Start the program with a cache of its own; further environment variables and arguments."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    root = str(Path(jit.__file__).parents[2])
    clean = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}

    def start(*arguments, cwd=tmp_path, **more):
        env = {**clean, "PYTHONPATH": root, "XDG_CACHE_HOME": str(tmp_path / "cache"), **more}
        return subprocess.Popen(
            [sys.executable, str(path), *arguments], env=env, cwd=cwd, stdout=subprocess.PIPE, text=True
        )

    return start


def counts(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return tuple(map(int, out.split()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_the_second_process_compiles_nothing(program, tmp_path):
    compiled, loaded = counts(program())
    assert compiled >= 4
    assert loaded == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for method in ("spawn", "fork"):
        assert counts(program(method, cwd=elsewhere)) == (0, 1), method
    folders = {path.parent for path in (tmp_path / "cache").rglob("*.nbi")}
    assert len(folders) == 1
    (folder,) = folders
    assert folder.parts[-3:-1] == ("mcprune", folder.parent.name)
    # A damaged file is as if it were not there.
    for path in folder.glob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert counts(program())[0] >= 4
    assert counts(program()) == (0, 1)


@pytest.mark.slow
@pytest.mark.skipif(jit.fcntl is None, reason="no file locks here")
def test_processes_that_start_together_compile_once(program):
    results = sorted(counts(one) for one in [program() for _ in range(3)])
    assert [compiled > 0 for compiled, _ in results] == [False, False, True]


@pytest.mark.slow
def test_numba_cache_dir_is_the_folder_where_it_is_set(program, tmp_path):
    own = tmp_path / "own"
    counts(program(NUMBA_CACHE_DIR=str(own)))
    assert list(own.rglob("*.nbi"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_without_any_folder_kernels_are_compiled_again(program, tmp_path):
    (tmp_path / "file").write_text("")
    code = (
        "from mcprune.chain import jit\n"
        "jit.cache_candidates = lambda: []\n"
        "from mcprune.chain import philox\n"
        "assert jit.cache_folder() is None\n"
        "print(philox.uniforms(1, 2, 3, 4, 1).size, 0)\n"
    )
    (tmp_path / "program.py").write_text(code)
    assert counts(program()) == (1, 0)


def test_every_file_with_kernels_is_in_one_of_the_rooms():
    package = Path(jit.__file__).parents[1]
    files = {path for path in package.rglob("*.py") if any(mark in path.read_bytes() for mark in jit._MARKS)}
    assert files - {path for room in jit._ROOMS for path in room.glob("*.py")} == set()
    assert len(files) > 5


def test_an_edit_of_any_file_with_kernels_changes_the_folder(tmp_path, monkeypatch):
    def digest():
        jit.sources_digest.cache_clear()
        return jit.sources_digest()

    before = digest()
    monkeypatch.setattr(jit, "_ROOMS", (tmp_path,))
    try:
        (tmp_path / "called.py").write_text("from mcprune.chain.jit import kernel\n")
        (tmp_path / "intrinsics.py").write_text("from llvmlite import ir\n")
        (tmp_path / "plain.py").write_text("import numpy\n")
        first = digest()
        assert first != before
        (tmp_path / "plain.py").write_text("import numpy as np\n")
        assert digest() == first
        for name in ("called.py", "intrinsics.py"):
            with (tmp_path / name).open("a") as file:
                file.write("x = 1\n")
            assert digest() != first
            first = digest()
    finally:
        jit.sources_digest.cache_clear()


def test_a_new_folder_drops_those_that_were_not_used_for_longest(tmp_path, monkeypatch):
    folders = [
        tmp_path / f"numba-{version}" / f"{digest:016x}" for digest, version in enumerate((*"12" * jit.KEPT, "1"))
    ]
    for age, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "code.nbc").write_text("")
        os.utime(folder, (1e9 - age, 1e9 - age))
    other = tmp_path / "numba-1" / "notes"  # nobody's machine code
    other.mkdir()
    new = tmp_path / "numba-2" / ("f" * 16)
    monkeypatch.setattr(jit, "cache_candidates", lambda: [new])
    jit.cache_folder.cache_clear()
    try:
        assert jit.cache_folder() == new
        assert [folder.exists() for folder in folders] == [True] * jit.KEPT + [False] * (len(folders) - jit.KEPT)
        assert other.exists()
        folders[-1].mkdir()
        os.utime(new, (1e9, 1e9))
        jit.cache_folder.cache_clear()
        jit.cache_folder()
        assert folders[-1].exists()  # the folder was there before: nothing is looked for
        assert new.stat().st_mtime > 1e9
    finally:
        jit.cache_folder.cache_clear()
