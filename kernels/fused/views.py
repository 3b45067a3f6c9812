"""Parts of arrays and matrices on them, for compiled code: unchecked, and without the cost of counting references."""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.core.types import misc
from numba.extending import intrinsic, register_jitable
from numba.np.arrayobj import make_array, populate_array


@intrinsic
def part(typingctx: Any, buffer: Any, offset: Any, length: Any) -> Any:
    """``buffer[offset : offset + length]`` of a contiguous 1-D array, or of what a pointer points to."""
    array = types.Array(buffer.dtype, 1, "C", readonly=not getattr(buffer, "mutable", True))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _on_memory(context, builder, array, signature.args[0], arguments[:2], [arguments[2]])

    return array(buffer, types.intp, types.intp), codegen


@intrinsic
def view(typingctx: Any, buffer: Any, offset: Any, rows: Any, columns: Any) -> Any:
    """``buffer[offset : offset + rows * columns].reshape(rows, columns)``, as `part`."""
    array = types.Array(buffer.dtype, 2, "C", readonly=not getattr(buffer, "mutable", True))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _on_memory(context, builder, array, signature.args[0], arguments[:2], list(arguments[2:]))

    return array(buffer, types.intp, types.intp, types.intp), codegen


def start_of(context: Any, builder: Any, kind: Any, buffer: Any) -> Any:
    """The pointer to the first number of an array, a pointer itself, or one to words at an address."""
    if isinstance(kind, types.Array):
        return make_array(kind)(context, builder, buffer).data
    if isinstance(kind, types.Integer):
        return builder.inttoptr(buffer, ir.IntType(64).as_pointer())
    return buffer


def _on_memory(context: Any, builder: Any, kind: Any, source_kind: Any, source: Any, shape: list[Any]) -> Any:
    """An array of a shape on the memory of another, from an offset on; whoever called keeps it alive."""
    buffer, offset = source
    data = builder.gep(start_of(context, builder, source_kind, buffer), [offset])
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [*(builder.mul(count, size) for count in shape[1:]), size]
    array = make_array(kind)(context, builder)
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


@intrinsic
def at(typingctx: Any, buffer: Any, offset: Any) -> Any:
    """A pointer to number `offset` of a contiguous array, or from a pointer on."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(start_of(context, builder, buffer, arguments[0]), [arguments[1]])

    return misc.CPointer(buffer.dtype)(buffer, types.intp), codegen


class View(NamedTuple):
    """A matrix on a 1-D array, or a pointer: entry (i, j) is ``array[i * row + j * column]``."""

    array: Any
    row: int
    column: int


@register_jitable(forceinline=True)
def matrix(array: Any, offset: int, columns: int) -> View:
    """Rows of so many columns, one after the other, the first at an offset."""
    return View(part(array, offset, 1), columns, 1)


@register_jitable(forceinline=True)
def transposed(matrix: View) -> View:
    return View(matrix.array, matrix.column, matrix.row)


@register_jitable(forceinline=True)
def repeated(array: Any, offset: int) -> View:
    """The same row again and again."""
    return View(part(array, offset, 1), 0, 1)


@register_jitable(forceinline=True)
def corner(matrix: View, i: int, j: int) -> View:
    """What is right of and below an entry."""
    return View(part(matrix.array, i * matrix.row + j * matrix.column, 1), matrix.row, matrix.column)
