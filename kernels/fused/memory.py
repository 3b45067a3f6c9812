"""Named tuples of numbers and arrays in memory, as compiled code reads them: a word of eight bytes for each number, and
for each array the address of its first.

So functions that are compiled apart share all there is at the cost of one pointer.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types import containers, misc
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numba.np.numpy_support import from_dtype

from .views import start_of

Tuple = TypeVar("Tuple")


def blank(kind: type[Tuple], **given: Any) -> Tuple:
    """A named tuple with 0 for each number that is not given."""
    return kind(**{name: given.get(name, 0) for name in kind._fields})  # type: ignore[attr-defined]


def kind_of(value: Any) -> Any:
    """The type that compiled code has for a named tuple, a number or an array."""
    if isinstance(value, tuple):
        return containers.NamedTuple([kind_of(item) for item in value], type(value))
    if isinstance(value, np.ndarray):
        return misc.CPointer(from_dtype(value.dtype))
    return types.float64 if isinstance(value, float) else types.int64


def words_of(kind: Any, value: Any) -> npt.NDArray[np.int64]:
    """A value of that kind in memory; its arrays have to stay where they are as long as it is read."""
    return np.array(list(_words(kind, value)), np.int64)


def _words(kind: Any, value: Any) -> Iterator[int]:
    if isinstance(kind, containers.NamedTuple):
        for item, one in zip(kind, value, strict=True):
            yield from _words(item, one)
    elif isinstance(kind, misc.CPointer):
        if not value.flags.c_contiguous or from_dtype(value.dtype) != kind.dtype:
            raise TypeError(f"compiled code reads C-contiguous arrays of {kind.dtype}, not of {value.dtype}")
        yield value.ctypes.data
    elif kind is types.float64:
        yield int(np.float64(value).view(np.int64))
    else:
        yield int(value)


def readers(kind: Any, *names: str) -> tuple[Any, ...]:
    """For those fields of a named tuple a `reader` each: it has less to do than one for the tuple."""
    lengths, fields = [len(list(_kinds(item))) for item in kind], kind.fields
    starts = dict(zip(fields, np.cumsum([0, *lengths]).tolist(), strict=False))
    return tuple(reader(kind[fields.index(name)], starts[name]) for name in names)


def _kinds(kind: Any) -> Iterator[Any]:
    """Of each word, what is there."""
    for item in kind if isinstance(kind, containers.NamedTuple) else ():
        yield from _kinds(item)
    if not isinstance(kind, containers.NamedTuple):
        yield kind


def reader(kind: Any, place: int = 0) -> Any:
    """``read(memory)``: what `words_of` has put there from a word on, for compiled code."""

    @intrinsic
    def read(typingctx: Any, memory: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first = start_of(context, builder, memory, arguments[0])
            return _loaded(context, builder, kind, first, place)[0]

        return kind(memory), codegen

    return read


def writer(kind: Any) -> Any:
    """``write(value)``: the address of memory with a value, for compiled code; it is there until the function ends."""

    @intrinsic
    def write(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            words = list(_unpacked(context, builder, kind, as_wanted(context, builder, value, arguments[0], kind)))
            memory = cgutils.alloca_once(builder, ir.IntType(64), size=len(words))
            for place, word in enumerate(words):
                at = builder.gep(memory, [ir.IntType(64)(place)])
                builder.store(word, builder.bitcast(at, word.type.as_pointer()))
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.intp(value), codegen

    return write


def as_wanted(context: Any, builder: Any, kind: Any, value: Any, wanted: Any) -> Any:
    """A value as another kind: of arrays, pointers to their first numbers."""
    if isinstance(kind, containers.BaseTuple):
        items = zip(kind, cgutils.unpack_tuple(builder, value), wanted, strict=True)
        return context.make_tuple(builder, wanted, [as_wanted(context, builder, *item) for item in items])
    if isinstance(kind, types.Array):
        return make_array(kind)(context, builder, value).data
    return value if isinstance(wanted, misc.CPointer) else context.cast(builder, value, kind, wanted)


def _unpacked(context: Any, builder: Any, kind: Any, value: Any) -> Iterator[Any]:
    if isinstance(kind, containers.BaseTuple):
        for item, one in zip(kind, cgutils.unpack_tuple(builder, value), strict=True):
            yield from _unpacked(context, builder, item, one)
    else:
        yield value


def _loaded(context: Any, builder: Any, kind: Any, memory: Any, place: int) -> tuple[Any, int]:
    """A value of a kind from a word on, and the place of the next word."""
    if isinstance(kind, containers.NamedTuple):
        items = []
        for item in kind:
            value, place = _loaded(context, builder, item, memory, place)
            items.append(value)
        return context.make_tuple(builder, kind, items), place
    word = builder.gep(memory, [ir.IntType(64)(place)])
    return builder.load(builder.bitcast(word, context.get_data_type(kind).as_pointer())), place + 1
