"""The program of `epochs` in Python: it calls the same pieces, in the same order, to the same bits, until it is
compiled itself. That takes as long as compiling the pieces of a small network, and saves some 0.1 ms a step.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.core.types import containers, misc

from . import epochs, memory
from .calls import kinds_for
from .epochs import Job, Layer, Words

NOTHING = ctypes.create_string_buffer(8)
"""Where a piece without a result, and one without an error, puts neither."""


class Memory(NamedTuple):
    """A job, each array of it flat, and the words by which pieces find it."""

    job: Job
    words: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dtype: str, job: Job) -> "Memory":
        return cls(_flat(job), memory.words_of(epochs.kind_for(dtype), job))


def _flat(value: Any) -> Any:
    if isinstance(value, tuple):
        return type(value)(*map(_flat, value))  # a named tuple
    return value.reshape(-1) if isinstance(value, np.ndarray) else value


@cache
def program(dtype: str) -> Callable[[Memory, int], bool]:
    """``train(memory, steps)``, as `epochs.program`, on `Memory`."""
    one = epochs.step_for(dtype, WORDS)
    train = epochs.training(
        dtype, lambda memory: memory.job, lambda memory, job, *arguments: one(memory, *arguments), WORDS
    )

    def quietly(memory: Memory, steps: int) -> bool:
        with np.errstate(all="ignore"):
            return train(memory, steps)

    return quietly


@cache
def calls_for(dtype: str) -> dict[str, Callable[..., Any]]:
    """By name, ``call(address, *arguments)``: calls the piece at an address, or what stands in for it here."""
    calls = {name: _call(*kind) for name, kind in kinds_for(dtype).items()}
    passes = cache(epochs.value_and_grad_for)
    calls["value_and_grad"] = lambda address, *arguments: passes(dtype, WORDS)(*arguments)
    return calls


def _call(result: Any, wanted: tuple[Any, ...]) -> Callable[..., Any]:
    """By Numba's convention: the places of the result and of an error first, then the arguments; tuples one by one."""
    kinds = [kind for one in wanted for kind in (one if isinstance(one, containers.BaseTuple) else (one,))]
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 2, *map(_in_c, kinds))
    in_c, real = (None, None) if result is types.none else (_in_c(result), np.dtype(str(result)).type)
    at = cache(prototype)

    def call(address: int, *arguments: Any) -> Any:
        if in_c is None or real is None:
            return at(address)(NOTHING, NOTHING, *_given(arguments))
        found = in_c()
        at(address)(ctypes.byref(found), NOTHING, *_given(arguments))
        return real(found.value)

    return call


def _given(arguments: tuple[Any, ...]) -> list[Any]:
    given = list[Any]()
    for one in arguments:
        if isinstance(one, np.ndarray):
            given.append(one.ctypes.data)
        elif isinstance(one, Memory):
            given.append(one.words.ctypes.data)
        elif isinstance(one, tuple):
            given += map(float, one)
        else:
            given.append(one.item() if isinstance(one, np.generic) else one)
    return given


def _in_c(kind: Any) -> Any:
    if isinstance(kind, misc.CPointer):
        return ctypes.c_void_p
    named: dict[Any, Any] = {types.float64: ctypes.c_double, types.float32: ctypes.c_float}
    named |= {types.intp: ctypes.c_int64, types.uint64: ctypes.c_uint64}
    return named[kind]


def _readers(kind: Any, *names: str) -> tuple[Any, ...]:
    return tuple(lambda memory, name=name: getattr(memory.job, name) for name in names)


def _layer_of(table: Any, index: int) -> Layer:
    n = len(Layer._fields)
    return Layer(*table[n * index : n * (index + 1)].tolist())


def _source(function: Any) -> Any:
    """A function as it is written; where NUMBA_DISABLE_JIT is set, Numba leaves it so."""
    return getattr(function, "py_func", function)


def _add_to(n: int, total: Any, more: Any) -> None:
    total[:n] += more[:n]


def _put(n: int, into: Any, values: Any) -> None:
    into[:n] = values[:n]


def _scale(n: int, values: Any, factor: Any) -> None:
    values[:n] *= factor


WORDS = Words(
    calls=calls_for,
    readers=_readers,
    merged=lambda function: function,
    at=lambda array, offset: array[offset:],
    layer_of=_layer_of,
    settings_of=_source(epochs.settings_of),
    add_to=_add_to,
    put=_put,
    scale=_scale,
    all_finite=lambda n, x: bool(np.isfinite(x[:n]).all()),
    weight_of=_source(epochs.weight_of),
)
