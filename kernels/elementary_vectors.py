"""The elementary functions of whole arrays, several vector registers at a time.

One value of an elementary function is a chain of some fifty operations that wait for each other, more than a processor
looks ahead; the chains of neighbouring vectors, operation by operation in turn, keep it busy. So the functions of
``elementary.py`` are written once more for vectors of LLVM: `Number` has the operators they use, each of which writes
one instruction. The same bits come out, as every operation is the same and rounded once; where `fused`, a product and
the sum it enters are rounded together.
"""

from functools import cache

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from . import fused_panels
from .elementary import FORMAT, Primitives, build
from .elementary_numba import FUSED, compiled, label_of
from .fused_panels import tile_of
from .vectors import Vectors, vector_of, whole_vectors

NAMES = ("exp", "log", "log1p", "tanh")


class Number:
    """A vector of numbers, or of truth values that came out of a comparison, on which operators write instructions."""

    def __init__(self, value, emit):
        self.value, self.emit = value, emit

    def __add__(self, other):
        return self._rounded("fadd", self, other)

    def __radd__(self, other):
        return self._rounded("fadd", other, self)

    def __sub__(self, other):
        return self._rounded("fsub", self, other)

    def __rsub__(self, other):
        return self._rounded("fsub", other, self)

    def __mul__(self, other):
        return self._rounded("fmul", self, other)

    def __rmul__(self, other):
        return self._rounded("fmul", other, self)

    def __truediv__(self, other):
        return self._rounded("fdiv", self, other)

    def __neg__(self):
        return Number(self.emit.builder.fneg(self.value), self.emit)

    def __abs__(self):
        return Number(self.emit.absolute(self.value), self.emit)

    def __lt__(self, other):
        return self._compared("<", other)

    def __le__(self, other):
        return self._compared("<=", other)

    def __gt__(self, other):
        return self._compared(">", other)

    def _rounded(self, operation, one, other):
        write, values = getattr(self.emit.builder, operation), map(self.emit.value, (one, other))
        return Number(write(*values, flags=self.emit.flags), self.emit)

    def _compared(self, operation, other):
        values = self.value, self.emit.value(other)
        return Number(self.emit.builder.fcmp_ordered(operation, *values), self.emit)


class _Emitter(Vectors):
    """Writes a function of a vector; `fused`: a product and the sum it enters may be rounded once."""

    def __init__(self, builder, dtype, lanes, fused):
        super().__init__(builder, dtype, lanes)
        self.dtype, self.flags = dtype, tuple(FUSED["fastmath"]) if fused else ()
        self.bits = ir.VectorType(ir.IntType(8 * self.align), lanes)

    def value(self, number):
        """The vector of a `Number`, or one with the same number in each lane."""
        return number.value if isinstance(number, Number) else ir.Constant(self.kind, [float(number)] * self.lanes)

    def whole(self, number):
        """A vector with the same whole number in each lane."""
        return ir.Constant(self.bits, [number] * self.lanes)

    def primitives(self):
        """Those of `elementary.bit_primitives`; without `sqrt`, which the functions do not use."""
        builder, (field, bias, _) = self.builder, FORMAT[self.dtype]
        magic, implicit = 3 * 2.0 ** (field - 1), 2.0**field + bias

        def select(condition, a, b):
            return Number(builder.select(condition.value, self.value(a), self.value(b)), self)

        def rint(x):
            return (x + magic) - magic

        def scale(x, n):
            exponent = builder.add(builder.bitcast((n + magic).value, self.bits), self.whole(bias))
            return Number(builder.bitcast(builder.shl(exponent, self.whole(field)), self.kind), self) * x

        def exponent(x):
            shifted = builder.ashr(builder.bitcast(x.value, self.bits), self.whole(field))
            found = builder.or_(shifted, self.whole((bias + field) << field))
            return Number(builder.bitcast(found, self.kind), self) - implicit

        return Primitives(select, rint, scale, exponent, None)


@cache
def vector_function_for(dtype, name, lanes, fused):
    """One of `NAMES` for so many lanes, as a function that compiled code may call.

    ``vector_function(x, i)``: x[i], x[i + 1], ... become their values, x being a contiguous 1-D array.
    """

    @intrinsic
    def vector_function(typingctx, x, i):
        def codegen(context, builder, signature, arguments):
            x, i = arguments
            emit = _Emitter(builder, dtype, lanes, fused)
            at = emit.at(make_array(signature.args[0])(context, builder, x).data, i)
            function = getattr(build(emit.primitives(), dtype), name)
            emit.store(function(Number(emit.load(at), emit)).value, at)
            return context.get_dummy_value()

        return types.void(x, types.intp), codegen

    return vector_function


# From here on ordinary code; `functions` gives it the lengths of a register, of several, and of the widest there is,
# which x has room for whole ones of.

LANES, SEVERAL, VECTOR = 8, 32, 8
one_vector = several_vectors = None


def apply_all(x, n):
    """x <- function(x), entry by entry"""
    whole = whole_vectors(n, VECTOR)
    together = whole - whole % SEVERAL
    for i in range(0, together, SEVERAL):
        several_vectors(x, i)
    for i in range(together, whole, LANES):
        one_vector(x, i)


SOURCES = (__file__, *fused_panels.SOURCES)


@cache
def functions(dtype, fused=False):
    """`apply_all` of each of `NAMES`, by names like ``exp_all``, compiled for a dtype; `fused`: for fast numerics."""
    tile, found = tile_of(dtype), {}
    several = tile.lanes * tile.rows // 2  # as many registers as a processor with that tile has to spare
    for name in NAMES:
        names = {"LANES": tile.lanes, "SEVERAL": several, "VECTOR": vector_of(dtype)}
        names["whole_vectors"] = compiled(whole_vectors, {}, dtype, inline="always", cache=False)
        names["one_vector"] = vector_function_for(dtype, name, tile.lanes, fused)
        names["several_vectors"] = vector_function_for(dtype, name, several, fused)
        label = f"{label_of(dtype, fused)}_{tile.lanes}_{name}"
        found[f"{name}_all"] = compiled(apply_all, names, label, SOURCES)
    return found
