"""ci/wild.py: what is measured of other libraries is measured anew, and absent libraries are named."""

import importlib.util
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def wild():
    spec = importlib.util.spec_from_file_location("wild", ROOT / "ci/wild.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_finding_says_whether_it_is_still_there(wild):
    there, text = wild.several_outputs()
    page = (ROOT / ".docs/found-in-the-wild.md").read_text(encoding="utf-8")
    if f"scikit-learn {metadata.version('scikit-learn')}" in page:
        assert there
        assert "3.000000 for 3" in text


def test_what_is_absent_is_named(wild, monkeypatch, capsys):
    def measured():
        """none: something."""
        return True, "figures"

    def missing():
        """none: something else."""
        import no_such_library  # noqa: F401

    found = (("numpy", measured), ("no-such-library", measured), ("numpy", missing))
    monkeypatch.setattr(wild, "FINDINGS", found)
    monkeypatch.setattr(wild, "ABSENT", {"no-such-library": "pip install it", "numpy": "pip install numpy"})
    wild.main()
    out = capsys.readouterr().out
    assert f"numpy {metadata.version('numpy')}: still there\n  something.\n  figures" in out
    assert "no-such-library: not installed (pip install it)" in out
    assert "numpy: not installed (pip install numpy): No module named 'no_such_library'" in out
