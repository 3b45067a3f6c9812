"""Vector registers, for functions that are written in the compiler's own instructions.

LLVM chooses the registers: a vector that is longer than the processor's becomes several.
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_NUMBERS = {"float64": ir.DoubleType(), "float32": ir.FloatType()}


def vector_of(dtype):
    """How many numbers fill the widest vector register there is."""
    return 64 // np.dtype(dtype).itemsize


def whole_vectors(n, vector):
    """n, or the next larger number of numbers that fills vector registers."""
    return -(-n // vector) * vector


class Vectors:
    """Writes instructions on vectors of `lanes` numbers of a dtype; pointers are to single numbers, aligned as such."""

    def __init__(self, builder, dtype, lanes):
        self.builder, self.lanes = builder, lanes
        self.kind, self.align = ir.VectorType(_NUMBERS[dtype], lanes), np.dtype(dtype).itemsize
        self.zeros = ir.Constant(self.kind, [0.0] * lanes)
        self._suffix = f"v{lanes}f{8 * self.align}"

    def at(self, pointer, offset):
        """The pointer moved on by so many numbers, an int or a value."""
        return self.builder.gep(pointer, [ir.IntType(64)(offset) if isinstance(offset, int) else offset])

    def load(self, pointer):
        return self.builder.load(self.builder.bitcast(pointer, self.kind.as_pointer()), align=self.align)

    def store(self, vector, pointer):
        self.builder.store(vector, self.builder.bitcast(pointer, self.kind.as_pointer()), align=self.align)

    def absolute(self, vector):
        kind = ir.FunctionType(self.kind, [self.kind])
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fabs.{self._suffix}"), [vector]
        )

    def first_lanes(self, count):
        """The mask of so many lanes."""
        places = ir.Constant(ir.VectorType(ir.IntType(64), self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", places, self.broadcast(count))

    def masked_load(self, pointer, mask):
        """Loads the lanes in the mask alone; the others are 0."""
        pointer = self.builder.bitcast(pointer, self.kind.as_pointer())
        return self._masked("load", self.kind, [pointer, ir.IntType(32)(self.align), mask, self.zeros])

    def masked_store(self, vector, pointer, mask):
        """Stores the lanes in the mask alone."""
        pointer = self.builder.bitcast(pointer, self.kind.as_pointer())
        self._masked("store", ir.VoidType(), [vector, pointer, ir.IntType(32)(self.align), mask])

    def _masked(self, operation, result, arguments):
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        name = f"llvm.masked.{operation}.{self._suffix}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def lane(self, vector, number):
        return self.builder.extract_element(vector, ir.IntType(32)(number))

    def broadcast(self, number):
        """A vector with the number in each lane."""
        undefined = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        return self._shuffled(first, undefined, [0] * self.lanes)

    def turned(self, vectors):
        """The transpose of as many vectors as lanes: halves are interleaved until each number is in its place."""
        half = self.lanes // 2
        low = [lane // 2 + self.lanes * (lane % 2) for lane in range(self.lanes)]
        high = [half + place for place in low]
        for _ in range(self.lanes.bit_length() - 1):
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self._shuffled(*pair, places) for pair in pairs for places in (low, high)]
        return vectors

    def _shuffled(self, one, other, places):
        kind = ir.VectorType(ir.IntType(32), len(places))
        return self.builder.shuffle_vector(one, other, ir.Constant(kind, places))


@cache
def turn_for(dtype, size):
    """A square of ``size`` x ``size`` numbers transposed, as a function that compiled code may call.

    ``turn(source, source_row, target, target_row)``: two 1-D arrays that begin where the squares do, and how far apart
    their rows are.
    """

    @intrinsic
    def turn(typingctx, source, source_row, target, target_row):
        signature = types.void(source, types.intp, target, types.intp)

        def codegen(context, builder, signature, arguments):
            source, source_row, target, target_row = arguments
            source, target = (
                make_array(signature.args[place])(context, builder, array).data
                for place, array in ((0, source), (2, target))
            )
            vectors = Vectors(builder, dtype, size)

            def row(pointer, stride, number):
                return vectors.at(pointer, builder.mul(stride, ir.IntType(64)(number)))

            turned = vectors.turned([vectors.load(row(source, source_row, number)) for number in range(size)])
            for number, vector in enumerate(turned):
                vectors.store(vector, row(target, target_row, number))
            return context.get_dummy_value()

        return signature, codegen

    return turn
