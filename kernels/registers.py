"""Functions written in the compiler's own instructions, on single numbers or on vector registers.

LLVM chooses the registers: a vector that is longer than the processor's becomes several. A rule of `formulas`, or an
elementary function, is evaluated once on a `Number`, each of whose operators writes one instruction. Every instruction
rounds once; functions compiled with fused multiply-add may contract a product and the sum that it enters.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable
from numba.np.arrayobj import make_array
from numpy.lib.mixins import NDArrayOperatorsMixin

from backprop_ref import formulas

from .elementary import FORMAT, Elementary, Primitives, build

_REAL = {"float64": ir.DoubleType(), "float32": ir.FloatType()}
_INDEX = ir.IntType(64)
ROUNDED = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv", "negative": "fneg"}


def vector_of(dtype: str) -> int:
    """How many numbers fill the widest vector register there is."""
    return 64 // np.dtype(dtype).itemsize


@register_jitable(forceinline=True)
def padded(n: int, vector: int) -> int:
    """n, or the next larger number of numbers that fills vector registers."""
    return -(-n // vector) * vector


class Registers:
    """Writes instructions on vectors of `lanes` numbers of a dtype, or, with 0, on single numbers.

    Pointers are to single numbers, aligned as such.
    """

    def __init__(self, builder: Any, dtype: str, lanes: int = 0):
        self.builder, self.dtype, self.lanes = builder, dtype, lanes
        self.align = np.dtype(dtype).itemsize
        self.kind, self.bits = (
            ir.VectorType(kind, lanes) if lanes else kind for kind in (_REAL[dtype], ir.IntType(8 * self.align))
        )
        self._suffix = f"v{lanes}f{8 * self.align}" if lanes else f"f{8 * self.align}"

    def constant(self, number: float, kind: Any = None) -> Any:
        """The number, in each lane; of another kind than the dtype's where one is given."""
        return ir.Constant(kind or self.kind, [number] * self.lanes if self.lanes else number)

    @property
    def zeros(self) -> Any:
        return self.constant(0.0)

    def at(self, pointer: Any, offset: Any) -> Any:
        """The pointer moved on by so many numbers, an int or a value."""
        return self.builder.gep(pointer, [_INDEX(offset) if isinstance(offset, int) else offset])

    def load(self, pointer: Any) -> Any:
        return self.builder.load(self.builder.bitcast(pointer, self.kind.as_pointer()), align=self.align)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, self.builder.bitcast(pointer, self.kind.as_pointer()), align=self.align)

    def call(self, name: str, value: Any) -> Any:
        """An operation of LLVM's on one value: "fabs", "sqrt"."""
        kind = ir.FunctionType(self.kind, [self.kind])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.{self._suffix}")
        return self.builder.call(function, [value])

    def first_lanes(self, count: Any) -> Any:
        """The mask of so many lanes."""
        places = ir.Constant(ir.VectorType(_INDEX, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", places, self.broadcast(count))

    def masked_load(self, pointer: Any, mask: Any) -> Any:
        """Loads the lanes in the mask alone; the others are 0."""
        pointer = self.builder.bitcast(pointer, self.kind.as_pointer())
        return self._masked("load", self.kind, [pointer, ir.IntType(32)(self.align), mask, self.zeros])

    def masked_store(self, vector: Any, pointer: Any, mask: Any) -> None:
        """Stores the lanes in the mask alone."""
        pointer = self.builder.bitcast(pointer, self.kind.as_pointer())
        self._masked("store", ir.VoidType(), [vector, pointer, ir.IntType(32)(self.align), mask])

    def _masked(self, operation: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        name = f"llvm.masked.{operation}.{self._suffix}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def lane(self, vector: Any, number: int) -> Any:
        return self.builder.extract_element(vector, ir.IntType(32)(number))

    def broadcast(self, number: Any) -> Any:
        """A vector with the number in each lane."""
        if not self.lanes:
            return number
        undefined = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        return self._shuffled(first, undefined, [0] * self.lanes)

    def transposed(self, vectors: list[Any]) -> list[Any]:
        """The transpose of as many vectors as lanes: halves are interleaved until each number is in its place."""
        half = self.lanes // 2
        low = [lane // 2 + self.lanes * (lane % 2) for lane in range(self.lanes)]
        high = [half + place for place in low]
        for _ in range(self.lanes.bit_length() - 1):
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self._shuffled(*pair, places) for pair in pairs for places in (low, high)]
        return vectors

    def _shuffled(self, one: Any, other: Any, places: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), len(places))
        return self.builder.shuffle_vector(one, other, ir.Constant(kind, places))


class Number(NDArrayOperatorsMixin):
    """Numbers, or truth values that came out of a comparison, on which operators write instructions."""

    def __init__(self, value: Any, m: "Instructions"):
        self.value, self.m = value, m

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "Number":
        values, builder = [self.m.value(number) for number in inputs], self.m.builder
        if ufunc.__name__ in formulas.COMPARISONS:  # false where one of them is NaN
            return Number(builder.fcmp_ordered(formulas.COMPARISONS[ufunc.__name__], *values), self.m)
        if ufunc.__name__ == "absolute":
            return Number(self.m.call("fabs", *values), self.m)
        return Number(getattr(builder, ROUNDED[ufunc.__name__])(*values), self.m)


class Instructions(Registers, formulas.Arithmetic):
    """The arithmetic of rules that become instructions."""

    def value(self, number: Any) -> Any:
        """The value of a `Number`, or a constant."""
        return number.value if isinstance(number, Number) else self.constant(float(number))

    def evaluated(self, rule: Callable[..., Any], values: list[Any]) -> list[Any]:
        """The values that ``rule(m, *numbers)`` gives, a number or a tuple of them."""
        found = rule(self, *(Number(value, self) for value in values))
        return [self.value(number) for number in (found if isinstance(found, tuple) else (found,))]

    @cached_property
    def functions(self) -> Elementary:
        return build(self.primitives(), self.dtype)

    def exp(self, x: Number) -> Any:
        return self.functions.exp(x)

    def expm1(self, x: Number) -> Any:
        return self.functions.expm1(x)

    def log(self, x: Number) -> Any:
        return self.functions.log(x)

    def log1p(self, x: Number) -> Any:
        return self.functions.log1p(x)

    def tanh(self, x: Number) -> Any:
        return self.functions.tanh(x)

    def erf(self, x: Number) -> Any:
        return self.functions.erf(x)

    def sqrt(self, x: Number) -> Number:
        return Number(self.call("sqrt", x.value), self)

    def where(self, condition: Number, yes: Any, no: Any) -> Number:
        return Number(self.builder.select(condition.value, self.value(yes), self.value(no)), self)

    def primitives(self) -> Primitives:
        """What `elementary` asks for, from the bits of the numbers: free of branches and calls."""
        builder, (field, bias, _) = self.builder, FORMAT[self.dtype]
        magic, implicit = 3 * 2.0 ** (field - 1), 2.0**field + bias

        def integer(number: int) -> Any:
            return self.constant(number, self.bits)

        def rint(x: Any) -> Any:
            return (x + magic) - magic

        def scale(x: Any, n: Number) -> Any:
            exponent = builder.add(builder.bitcast((n + magic).value, self.bits), integer(bias))
            return Number(builder.bitcast(builder.shl(exponent, integer(field)), self.kind), self) * x

        def exponent(x: Any) -> Any:
            shifted = builder.ashr(builder.bitcast(x.value, self.bits), integer(field))
            found = builder.or_(shifted, integer((bias + field) << field))
            return Number(builder.bitcast(found, self.kind), self) - implicit

        return Primitives(self.where, rint, scale, exponent, self.sqrt)


def written(names: str, write: Callable[..., Any], result: Any = types.void) -> Any:
    """An intrinsic: a function that compiled code may call, with arguments of these names, and a result of a Numba
    type.

    ``write(builder, *values)`` writes its instructions and gives its value. It gets arrays as pointers to their first
    numbers, and tuples as tuples.
    """

    def typed(typingctx: Any, *kinds: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = zip(signature.args, arguments, strict=True)
            value = write(builder, *(_given(context, builder, kind, argument) for kind, argument in given))
            return context.get_dummy_value() if result is types.void else value

        return result(*(types.intp if isinstance(kind, types.Integer) else kind for kind in kinds)), codegen

    return with_parameters(typed, names.split())


def with_parameters(typed: Any, names: Sequence[str]) -> Any:
    """``typed(typingctx, *kinds)`` as an intrinsic with parameters of these names."""
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("typingctx", *names)]
    typed.__signature__ = inspect.Signature(parameters)
    return intrinsic(typed)


def _given(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """What `write` of `written` gets for an argument."""
    if isinstance(kind, types.Array):
        return make_array(kind)(context, builder, value).data
    if isinstance(kind, types.containers.BaseTuple):
        return tuple(
            _given(context, builder, item, builder.extract_value(value, place)) for place, item in enumerate(kind)
        )
    return value


@cache
def transpose_for(dtype: str, size: int) -> Any:
    """A square of ``size`` x ``size`` numbers transposed, as a function that compiled code may call.

    ``transpose(source, source_row, target, target_row)``: two 1-D arrays that begin where the squares do, and how far
    apart their rows are.
    """

    def write(builder: Any, source: Any, source_row: Any, target: Any, target_row: Any) -> None:
        registers = Registers(builder, dtype, size)

        def row(pointer: Any, stride: Any, number: int) -> Any:
            return registers.at(pointer, builder.mul(stride, _INDEX(number)))

        rows = [registers.load(row(source, source_row, number)) for number in range(size)]
        for number, vector in enumerate(registers.transposed(rows)):
            registers.store(vector, row(target, target_row, number))

    return written("source source_row target target_row", write)
