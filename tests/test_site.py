"""The site loads nothing from another machine: what its check finds, and what it leaves."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parent.parent / "ci/site/elsewhere.py"


@pytest.fixture(scope="module")
def elsewhere():
    spec = importlib.util.spec_from_file_location("_elsewhere_under_test", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<script src="https://example.invalid/a.js"></script>'),
        ("page.html", '<link rel="stylesheet" href="//example.invalid/a.css">'),
        ("page.html", "<style>p { background: url(https://example.invalid/a.png) }</style>"),
        ("page.html", "<script>import('https://example.invalid/a.js')</script>"),
        ("style.css", "@import 'http://example.invalid/a.css';"),
        ("script.js", 'fetch("https://example.invalid/a.json")'),
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(name, text, elsewhere, tmp_path):
    (tmp_path / name).write_text(text)
    assert [*elsewhere.requests_elsewhere(tmp_path)]


def test_links_and_what_lies_beside_the_page_are_left(elsewhere, tmp_path):
    page = '<a href="https://example.invalid">there</a><img src="a.svg"><script src="_static/a.js"></script>'
    (tmp_path / "page.html").write_text(page + "<style>p { background: url(data:image/png;base64,AA==) }</style>")
    (tmp_path / "a.js").write_text("// https://example.invalid/licence")
    assert [*elsewhere.requests_elsewhere(tmp_path)] == []
