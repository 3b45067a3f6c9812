"""Pieces of a program that are compiled apart, each kept on disk by itself, and called at their addresses.

So what many networks need is compiled once for all of them, and a network waits for no more than it needs. A piece gets
arrays as pointers to their first numbers.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from backprop_ref.formulas import Settings

from ..compiling import compiled


class Calls(NamedTuple):
    """``forward(address, arguments)`` and so on: each calls the piece at an address with a tuple of arguments."""

    gather: Any
    affine_forward: Any
    affine_backward: Any
    affine_backward_input: Any
    forward: Any
    backward: Any
    loss: Any
    measure: Any
    update: Any
    add_decay: Any
    limit: Any
    constrain: Any
    draw: Any
    multiply: Any


@cache
def kinds_for(dtype: str) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """By name, what a piece gives and takes, in Numba's types."""
    number, whole, real, none = getattr(types, dtype), types.intp, types.float64, types.none
    numbers, reals, places = (types.CPointer(kind) for kind in (number, real, whole))
    products = numbers, whole, whole  # panels, how many numbers they have, workers
    sizes = whole, whole, whole, whole  # where W begins, n_in, n_out, m
    settings = types.NamedUniTuple(number, len(Settings._fields), Settings)
    kinds = {
        "gather": (none, (places, numbers, whole, whole, numbers)),
        "affine_forward": (none, (numbers, *sizes, numbers, numbers, *products)),
        "affine_backward": (none, (numbers, numbers, *sizes, numbers, *products, numbers, numbers)),
        "affine_backward_input": (none, (numbers, numbers, *sizes, numbers, *products, numbers)),
        "forward": (none, (whole, whole, *[numbers] * 3)),
        "backward": (none, (whole, whole, *[numbers] * 4)),
        "loss": (number, (whole, whole, *[numbers] * 4, number, *[numbers] * 3)),
        "measure": (none, (whole, whole, numbers, numbers, reals)),
        "update": (none, (whole, *[numbers] * 4, settings)),
        "add_decay": (none, (whole, numbers, numbers, number)),
        "limit": (none, (places, whole, whole, numbers, numbers, real, real, real)),
        "constrain": (none, (places, whole, numbers, real, reals)),
        "draw": (none, (whole, whole, types.uint64, real, places, numbers)),
        "multiply": (none, (whole, numbers, numbers, numbers)),
    }
    return kinds


@cache
def calls_for(dtype: str) -> Calls:
    return Calls(**{name: _call(*kind) for name, kind in kinds_for(dtype).items()})


def _call(result: Any, wanted: tuple[Any, ...]) -> Any:
    @intrinsic
    def call(typingctx: Any, address: Any, arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            items = zip(signature.args[1], cgutils.unpack_tuple(builder, values[1]), wanted, strict=True)
            given = [_given(context, builder, *item) for item in items]
            kind = context.call_conv.get_function_type(result, wanted).as_pointer()
            callee = builder.inttoptr(values[0], kind)
            _, found = context.call_conv.call_function(builder, callee, result, wanted, given)
            return context.get_dummy_value() if result is types.none else found

        return result(types.intp, arguments), codegen

    return call


def _given(context: Any, builder: Any, kind: Any, value: Any, wanted: Any) -> Any:
    """An argument as the piece wants it."""
    if isinstance(kind, types.Array):
        return make_array(kind)(context, builder, value).data
    return value if isinstance(wanted, types.CPointer) else context.cast(builder, value, kind, wanted)


def address_of(dtype: str, name: str, function: Callable[..., Any]) -> int:
    """Where the machine code of a function starts, which is compiled first, or loaded, as a piece of that name."""
    _, wanted = kinds_for(dtype)[name]
    piece = compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    piece.compile(wanted)
    (overload,) = piece.overloads.values()
    _KEPT.append(piece)
    return int(overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name))


_KEPT: list[Any] = []
"""Their machine code is there as long as they are."""
