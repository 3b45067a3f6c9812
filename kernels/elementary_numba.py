"""The elementary functions as scalars compiled by Numba, and how any function of this folder is compiled.

`functions` gives exp, log, log1p, expm1, tanh and cospi of ``elementary.py`` for one dtype, `primitives` the
five operations below them. All are ordinary Numba dispatchers: compiled code that has them among its globals
gets them inlined, and loops over them vectorise.

Numba keeps compiled code on disk and, to see whether it is stale, looks at the one file that the function
stands in, and at the values of its closure, which must not be compiled functions. So `compiled` copies a
function, gives the copy globals of its own, where the compiled functions it calls stand, and a name with a
fingerprint of every source that takes part. The linker tells functions apart by names alone; that is why
inner functions get a name each, too.
"""

import hashlib
import types
from functools import cache
from itertools import count
from pathlib import Path

import numba
import numpy as np

from .elementary import Elementary, Primitives, bit_primitives, build

# No reassociation, no contraction, no exception for a division by zero; the interpreter's lock is given up.
OPTIONS = {"fastmath": False, "error_model": "numpy", "nogil": True}

# For fast numerics: fused multiply-add; and where a function is sums and products alone, in any order as well.
FUSED = {"fastmath": {"contract"}}
IN_ANY_ORDER = {"fastmath": {"contract", "reassoc"}}

_SOURCES = (__file__, build.__code__.co_filename)


def compiled(function, names, label, sources=(), **options):
    """A function of a module, compiled with other globals, its machine code kept on disk.

    Parameters
    ----------
    function : function
        Without a closure. Its code is compiled as it stands.
    names : dict
        Globals that differ from those of its module: compiled functions, typed constants.
    label : str
        What tells this copy from others of the same function, its dtype for instance.
    sources : sequence of path, optional
        Files, besides the function's own and those of the elementary functions, that `names` come from.
    **options
        For ``numba.njit``, besides `OPTIONS`; ``cache=False`` to keep nothing.

    Returns
    -------
    numba dispatcher
        Compiles for the types of its arguments when first called with them, or loads what is kept.
    """
    if function.__closure__ is not None:
        raise TypeError(f"{function.__qualname__} has a closure: compiled code of it cannot be kept")
    files = (function.__code__.co_filename, *_SOURCES, *map(str, sources))
    copy = _renamed(function, names, f"{label}_{_fingerprint(files)}_{function.__name__}")
    options = {"cache": True, **OPTIONS, **options}
    if "inline" in options or "forceinline" in options:  # compiled code alone calls it, and not through a wrapper
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    try:
        return numba.njit(**options)(copy)
    except RuntimeError:  # there is no folder to keep anything in
        return numba.njit(**{**options, "cache": False})(copy)


@cache
def functions(dtype):
    """exp, log, log1p, expm1, tanh and cospi of a float64 or float32 scalar, compiled and kept on disk.

    Parameters
    ----------
    dtype : "float64" or "float32"

    Returns
    -------
    Elementary
        Of Numba dispatchers, to be called from compiled code, or from Python for a check.

    Notes
    -----
    Error: as in ``elementary.py``, and the same bits.
    """
    numbers = count()

    def inner(function):
        return _inner(function, f"{dtype}_{next(numbers)}")

    constant = {"float64": float, "float32": np.float32}[dtype]
    built = build(_inner_primitives(dtype), dtype, inner, constant)
    kept = {name: compiled(_call, {"function": getattr(built, name)}, f"{dtype}_{name}") for name in built._fields}
    return Elementary(**kept)


def label_of(dtype, fused):
    """What names of functions compiled with `FUSED` differ in from others."""
    return f"{dtype}_fused" if fused else dtype


@cache
def primitives(dtype):
    """select, rint, scale, exponent and sqrt of scalars of the dtype, compiled; select takes three arguments."""
    return _inner_primitives(dtype)


def _call(x):
    return function(x)  # noqa: F821 (a global given by `compiled`)


def _inner_primitives(dtype):
    parts = bit_primitives(dtype)._asdict()
    return Primitives(**{name: _inner(part, f"{dtype}_primitive") for name, part in parts.items()})


def _inner(function, label):
    """A function with a closure, compiled: kept on disk as a part of what calls it."""
    function.__qualname__ = f"{label}_{_fingerprint(_SOURCES)}_{function.__name__}"
    return numba.njit(**OPTIONS)(function)


def _renamed(function, names, name):
    """A copy of a function under another name, with other globals."""
    copy = types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    copy.__qualname__, copy.__doc__, copy.__module__ = name, function.__doc__, function.__module__
    return copy


@cache
def _fingerprint(files):
    """The first digits of a hash over the files."""
    digest = hashlib.sha256()
    for file in map(Path, files):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:12]
