"""The engine that trains in a page: reproducible arithmetic in plain JavaScript, from the table of formulas."""

from backprop_ref.kernels import javascript_rules
from backprop_ref.report.embedding import static
from backprop_ref.version import __version__

USAGE = f"""\
// Backpropagation in reproducible arithmetic, float64. Written by backprop-ref {__version__}.
//
// Run by node it is a program for backprop-ref verify, which asks it for many cases, a line each.
"""


def engine() -> str:
    """Rules, networks, training: a script that declares them, and does nothing."""
    return f"{javascript_rules.source()}\n{static('engine.js')}"


def module() -> str:
    """The engine as a module that, run by node, answers the cases of ``verify --command``."""
    return f"{USAGE}\n{engine()}\n{static('answers.js')}"
