"""Machine code on disk that is damaged is noticed, dropped and compiled anew."""

import os

import numba
import pytest
from backprop_ref.kernels import compiling
from numba.core.registry import cpu_target


def made():
    """The same function, as each process makes it."""

    def thrice_and_one(x):
        return 3 * x + 1

    function = compiling.compiled(thrice_and_one)
    function.compile("int64(int64)")
    return function


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where code is kept."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["nbc", "nbi"])
@pytest.mark.parametrize("damage", ["a bit", "half", "zeros", "empty"])
def test_damaged_code_is_compiled_anew(folder, kind, damage):
    assert made().stats.cache_misses
    assert not made().stats.cache_misses
    (path,) = folder.rglob(f"*.{kind}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    damaged = {"a bit": content, "half": content[:-99], "zeros": bytes(len(content)), "empty": b""}[damage]
    path.write_bytes(damaged)
    assert made()(2) == 7
    again = made()
    assert not again.stats.cache_misses
    assert again(2) == 7


def test_code_that_cannot_be_kept_runs_all_the_same(folder, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(compiling._Hashed, "_save_data", full)
    assert made()(2) == 7


def test_what_numba_can_compile_is_not_told_to_it_for_code_that_is_there(folder, monkeypatch):
    made()
    told = []
    monkeypatch.setattr(type(cpu_target.target_context), "refresh", lambda _: told.append(1))
    assert made()(2) == 7
    assert not told
