"""Parts of arrays and matrices on them, for compiled code: unchecked, and without the cost of counting references."""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types import containers, misc
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from ..registers import with_parameters

WORD = ir.IntType(64)


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


@intrinsic
def rows_of(typingctx: Any, buffer: Any, columns: Any, rows: Any) -> Any:
    """A contiguous 1-D array, or what a pointer points to, as a matrix of these, row after row."""
    array = types.Array(buffer.dtype, 2, "C", readonly=not getattr(buffer, "mutable", True))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, columns, rows = arguments
        return _on_memory(context, builder, array, signature.args[0], [source, WORD(0)], [rows, columns])

    return array(buffer, types.intp, types.intp), codegen


@intrinsic
def columns_of(typingctx: Any, buffer: Any, columns: Any, rows: Any) -> Any:
    """The same, column after column."""
    array = types.Array(buffer.dtype, 2, "F", readonly=not getattr(buffer, "mutable", True))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, columns, rows = arguments
        return _on_memory(context, builder, array, signature.args[0], [source, WORD(0)], [rows, columns])

    return array(buffer, types.intp, types.intp), codegen


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
    if kind.layout == "F":
        strides = [size, builder.mul(shape[0], size)]
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


def _view(write: Any, names: str) -> Any:
    """An intrinsic that gives a `View`: ``write(builder, start, *numbers)`` gives its pointer, row and column.

    Its first argument is an array, a pointer, or a view, of which `write` gets the three.
    """

    def typed(typingctx: Any, source: Any, *numbers: Any) -> Any:
        is_view = isinstance(source, containers.BaseTuple)
        pointer = misc.CPointer((source[0] if is_view else source).dtype)
        found, whole = containers.NamedTuple((pointer, types.intp, types.intp), View), [types.intp] * len(numbers)
        of = containers.NamedTuple((source[0], types.intp, types.intp), View) if is_view else source

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = cgutils.unpack_tuple(builder, arguments[0]) if is_view else arguments[:1]
            start = start_of(context, builder, source[0] if is_view else source, given[0])
            return context.make_tuple(builder, found, write(builder, start, *given[1:], *arguments[1:]))

        return found(of, *whole), codegen

    return with_parameters(typed, names.split())


matrix = _view(lambda builder, a, offset, columns: (builder.gep(a, [offset]), columns, WORD(1)), "array offset columns")
"""``matrix(array, offset, columns)``: rows of so many columns, one after the other, the first at an offset."""

transposed = _view(lambda builder, a, row, column: (a, column, row), "matrix")
"""``transposed(matrix)``"""

repeated = _view(lambda builder, a, offset: (builder.gep(a, [offset]), WORD(0), WORD(1)), "array offset")
"""``repeated(array, offset)``: the same row again and again."""


def _corner(builder: Any, a: Any, row: Any, column: Any, i: Any, j: Any) -> Any:
    return builder.gep(a, [builder.add(builder.mul(i, row), builder.mul(j, column))]), row, column


corner = _view(_corner, "matrix i j")
"""``corner(matrix, i, j)``: what is right of and below an entry."""
