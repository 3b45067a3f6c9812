"""Bugs that no formula shows: what a call changes or leaves behind."""

from backprop_ref.conformance.catalogue.bug import Bug

BUGS: tuple[Bug, ...] = (
    Bug(
        "inputs-changed",
        "an argument is changed in place",
        "state",
        "inputs are only read",
        "a call writes into x, y, W or b",
        "work on copies",
        (),
    ),
    Bug(
        "second-call-differs",
        "a second, identical call gives another answer",
        "state",
        "the answer depends on the arguments only",
        "something is kept from call to call",
        "look for state that is not reset",
        (),
    ),
    Bug(
        "float32-inside",
        "the computation is in float32 somewhere",
        "dW",
        "float64 throughout",
        "float32",
        "set the dtype of all arrays and constants",
        (),
    ),
)
