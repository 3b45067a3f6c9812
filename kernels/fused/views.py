"""Parts of arrays and matrices on them, for compiled code: unchecked, and without the cost of counting references."""

from typing import Any, NamedTuple

from numba.core import types
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


def _on_memory(context: Any, builder: Any, kind: Any, source_kind: Any, source: Any, shape: list[Any]) -> Any:
    """An array of a shape on the memory of another, from an offset on; whoever called keeps it alive."""
    buffer, offset = source
    is_array = isinstance(source_kind, types.Array)
    data = builder.gep(make_array(source_kind)(context, builder, buffer).data if is_array else buffer, [offset])
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [*(builder.mul(count, size) for count in shape[1:]), size]
    array = make_array(kind)(context, builder)
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


@intrinsic
def uncounted(typingctx: Any, array: Any) -> Any:
    """The same array, not counted as a reference: whoever called keeps it alive."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = make_array(array)(context, builder, arguments[0])
        found.meminfo = found.meminfo.type(None)
        found.parent = found.parent.type(None)
        return found._getvalue()

    return array(array), codegen


class View(NamedTuple):
    """A matrix on a 1-D array: entry (i, j) is ``array[i * row + j * column]``."""

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
