"""Pieces of a program that are compiled apart, each kept on disk by itself, and called at their addresses.

So what many networks need is compiled once for all of them, and a network waits for no more than it needs. A piece gets
arrays as pointers to their first numbers.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.core.types import containers, misc

from backprop_ref.formulas import Settings

from ..compiling import compiled, inlined
from ..registers import with_parameters
from .memory import as_wanted, blank, kind_of
from .views import View


class Products(NamedTuple):
    """What matrix products need: numbers to pack operands in, and the pieces. It stands first in memory."""

    panels: Any
    length: int
    """How many numbers `panels` has."""
    workers: int
    product: int
    """The address of the piece "product"."""
    pack: int
    """That of the piece "pack"."""
    share: int
    """That of one worker's part of a large product, a "share"."""
    packing: int
    """That of one worker's part of packing an operand, where it is shared out."""
    parallel: int
    """That of the loop that shares out among threads; 0: one thread does all parts in turn."""
    zeros: Any
    """As many zeros as the widest layer has neurons; only wide layers need them."""


@cache
def products_kind(dtype: str) -> Any:
    """The type of `Products`."""
    empty = np.empty(0, dtype)
    return kind_of(blank(Products, panels=empty, zeros=empty))


@cache
def kinds_for(dtype: str) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """By name, what a piece gives and takes, in Numba's types."""
    number, whole, real, none = getattr(types, dtype), types.intp, types.float64, types.none
    numbers, reals, places = (misc.CPointer(kind) for kind in (number, real, whole))
    sizes = whole, whole, whole, whole  # where W begins, n_in, n_out, m
    view = containers.NamedTuple((numbers, whole, whole), View)
    settings = containers.NamedUniTuple(number, len(Settings._fields), Settings)
    return {
        "step": (number, (places, whole, whole, whole, real)),
        "value_and_grad": (number, (places, whole, places, whole, number, number, numbers)),
        "gather": (none, (places, numbers, whole, whole, numbers)),
        "affine_forward": (none, (numbers, *sizes, numbers, numbers, places)),
        "affine_backward": (none, (numbers, numbers, *sizes, numbers, places, numbers)),
        "affine_backward_input": (none, (numbers, numbers, *sizes, numbers, places)),
        "product": (none, (view, view, view, view, whole, whole, whole, places)),
        "pack": (none, (view, whole, whole, whole, numbers)),
        "share": (none, (whole, whole)),
        "parallel": (none, (whole, whole, whole)),
        "forward": (none, (whole, whole, *[numbers] * 3)),
        "backward": (none, (whole, whole, *[numbers] * 4)),
        "loss": (number, (whole, whole, *[numbers] * 4, number, *[numbers] * 3)),
        "measure": (none, (whole, whole, numbers, numbers, reals)),
        "update": (none, (whole, whole, *[numbers] * 4, settings)),
        "add_decay": (none, (whole, whole, numbers, numbers, number)),
        "limit": (none, (places, whole, whole, numbers, numbers, real, real, real)),
        "constrain": (none, (places, whole, numbers, real, reals)),
        "squares": (real, (places, whole, numbers)),
        "draw": (none, (whole, whole, types.uint64, real, places, numbers)),
        "multiply": (none, (whole, numbers, numbers, numbers)),
    }


@cache
def calls_for(dtype: str) -> dict[str, Any]:
    """By name, ``call(address, *arguments)``: calls the piece at an address."""
    return {name: _call(*kind) for name, kind in kinds_for(dtype).items()}


def _call(result: Any, wanted: tuple[Any, ...]) -> Any:
    def typed(typingctx: Any, address: Any, *kinds: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            items = zip(kinds, values[1:], wanted, strict=True)
            given = [as_wanted(context, builder, *item) for item in items]
            kind = context.call_conv.get_function_type(result, wanted).as_pointer()
            callee = builder.inttoptr(values[0], kind)
            _, found = context.call_conv.call_function(builder, callee, result, wanted, given)
            return context.get_dummy_value() if result is types.none else found

        return result(types.intp, *kinds), codegen

    return with_parameters(typed, ["address", *(f"argument{place}" for place in range(len(wanted)))])


@cache
def shared_out() -> Any:
    """``share_out(parallel, share, memory, workers)``, for compiled code: calls a "share" for each worker, by the loop
    at the address `parallel`, or where that is 0 one after the other."""
    calls = calls_for("float64")
    call_parallel, call_share = calls["parallel"], calls["share"]

    def share_out(parallel: int, share: int, memory: int, workers: int) -> None:
        if parallel != 0 and workers > 1:
            call_parallel(parallel, share, memory, workers)
        else:
            for worker in range(workers):
                call_share(share, memory, worker)

    return inlined(share_out)


def parallel_loop() -> Callable[..., None]:
    """The piece "parallel", yet to be compiled, with the option of that name."""
    call_share = calls_for("float64")["share"]

    def parallel(share: int, memory: int, workers: int) -> None:
        for worker in numba.prange(workers):
            call_share(share, memory, worker)

    return parallel


def address_of(dtype: str, name: str, function: Callable[..., Any], **options: Any) -> int:
    """Where the machine code of a piece of that name begins; it is compiled first, or loaded. The options are those of
    `compiled`."""
    _, wanted = kinds_for(dtype)[name]
    piece = compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)
    named = function.__code__.co_argcount
    if named < len(wanted):  # the others are one argument, ``*arguments``
        wanted = *wanted[:named], containers.StarArgTuple.from_types(wanted[named:])
    piece.compile(wanted)
    found = next(iter(piece.overloads.values()))._asdict()
    _LOADED.append(piece)
    return int(found["library"].get_pointer_to_function(found["fndesc"].llvm_func_name))


_LOADED: list[Any] = []
"""Pieces, whose machine code is there as long as they are."""
