"""How Sphinx makes the site; `make docs` says what of."""

import logging

from backprop_ref.version import __version__

logging.getLogger("traitlets").setLevel(logging.WARNING)

project = "backprop_ref"
author = "backprop_ref developers"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = f"backprop_ref {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # which a browser refuses where pages are files
templates_path: list[str] = []

myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_mime_priority_overrides = [("html", "text/html", 0)]

default_role = "py:obj"
autodoc_typehints = "none"  # docstrings have types, with shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def plus_is_no_bullet(app, what, name, thing, options, lines):
    """Docstrings of the estimators mark by a plus what scikit-learn does not have; it is no list."""
    lines[:] = [line.replace("+ ", "\\+ ", 1) if line.lstrip().startswith("+ ") else line for line in lines]


def no_field_without_words(app, what, name, thing, skip, options):
    """Fields of a named tuple that have no docstring of their own are left to that of the tuple."""
    return True if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.connect("autodoc-skip-member", no_field_without_words)
    app.connect("autodoc-process-docstring", plus_is_no_bullet, priority=400)
