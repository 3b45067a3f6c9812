"""Loops over all numbers of a layer, written from the rules of `formulas`.

One value of exp, log or tanh is a chain of some fifty operations that wait for each other, more than a processor looks
ahead; the chains of neighbouring vectors, operation by operation in turn, keep it busy. So loops over rules with such
words are written in vectors, several at a time. LLVM makes vectors of all others by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

from numba.core import cgutils

from backprop_ref import formulas

from ..compiling import inlined, linked
from ..registers import Instructions, vector_of, written
from .products import tile_of


def loop(
    dtype: str,
    rule: Callable[..., Any],
    reads: Sequence[int],
    writes: Sequence[int],
    apart: bool = False,
    **options: Any,
) -> Any:
    """``loop(rows, columns, *arguments)``: a rule, for so many entries; ``rule(m, *numbers)`` gives a number, or a
    tuple of them.

    `reads` are the places of the arguments that the rule gets: arrays of rows x columns numbers, and numbers; `writes`
    those of the arrays that get its results. Arrays are 1-D and contiguous, or pointers. Vectors are written as a
    whole: up to `vector_of` numbers the arrays that are read and written have to go on. `apart`: a function that is yet
    to be compiled; else it is for compiled code. The options are for `linked`.
    """

    def write(builder: Any, n: Any, arguments: Any) -> None:
        write_loop(builder, dtype, rule, reads, writes, n, arguments)

    entries = written("n arguments", write)

    def all_entries(rows: int, columns: int, *arguments: Any) -> None:
        entries(rows * columns, arguments)

    if apart:
        return all_entries
    return (linked if _is_long(rule, len(reads)) else inlined)(all_entries, **options)


def write_loop(
    builder: Any,
    dtype: str,
    rule: Callable[..., Any],
    reads: Sequence[int],
    writes: Sequence[int],
    n: Any,
    arguments: Sequence[Any],
) -> None:
    """Writes the instructions of a `loop` over n entries."""
    index = n.type

    def step(i: Any, lanes: int) -> None:
        m = Instructions(builder, dtype, lanes)
        flat = [one for item in arguments for one in (item if isinstance(item, tuple) else (item,))]
        read = [flat[place] for place in reads]
        values = [m.load(m.at(one, i)) if one.type.is_pointer else m.broadcast(one) for one in read]
        for place, result in zip(writes, m.evaluated(rule, values), strict=True):
            m.store(result, m.at(arguments[place], i))

    if not _is_long(rule, len(reads)):
        with cgutils.for_range(builder, n) as turn:
            step(turn.index, 0)
        return
    tile, vector = tile_of(dtype), vector_of(dtype)
    lanes, several = tile.lanes, tile.lanes * tile.rows // 2  # as many registers as that processor has to spare
    full = builder.mul(builder.sdiv(builder.add(n, index(vector - 1)), index(vector)), index(vector))
    together = builder.mul(builder.sdiv(full, index(several)), index(several))
    for length, begin, end in ((several, index(0), together), (lanes, together, full)):
        with cgutils.for_range_slice(builder, begin, end, index(length), inc=True) as (i, _):
            step(i, length)


def _is_long(rule: Callable[..., Any], count: int) -> bool:
    """Whether a rule uses exp or the like."""
    words = _Words()
    rule(words, *[0.5] * count)
    return words.used


class _Words(formulas.Arithmetic):
    """An arithmetic that notes whether a word is used."""

    used = False

    def _word(self, x: float) -> float:
        self.used = True
        return x

    exp = expm1 = log = log1p = tanh = erf = _word

    def sqrt(self, x: float) -> float:
        return x

    def where(self, condition: bool, yes: float, no: float) -> float:
        return yes if condition else no


def elementary(dtype: str, name: str, **options: Any) -> Any:
    """``function(rows, columns, x, y)``: y <- exp(x), or another function of that name; y may be x."""
    return loop(dtype, word(name), (0,), (1,), **options)


def word(name: str) -> Callable[..., Any]:
    """The rule that is one function."""
    return lambda m, x: getattr(m, name)(x)


def forward(dtype: str, activation: formulas.Activation, **options: Any) -> Any:
    """``forward(n_out, m, z, a)``"""
    return loop(dtype, activation.forward, (0,), (1,), **options)


def backward(dtype: str, activation: formulas.Activation, **options: Any) -> Any:
    """``backward(n_out, m, z, a, delta)``: delta from da, which stands in delta before."""
    return loop(dtype, activation.backward, (0, 1, 2), (2,), **options)


def loss(dtype: str, pair: formulas.Terms, **options: Any) -> Any:
    """``loss(n_out, m, z, a, y, divisor, terms, delta)``: terms, and delta or da, in one pass."""

    def rule(m: Any, z: Any, a: Any, y: Any, divisor: Any) -> Any:
        return pair.terms(m, z, a, y), pair.error(m, z, a, y) / divisor

    return loop(dtype, rule, (0, 1, 2, 3), (4, 5), **options)


def update(dtype: str, rule: formulas.Update, **options: Any) -> Any:
    """``update(rows, columns, flat, grads, first, second, settings)``, with as many arrays of state as the rule has."""
    states = tuple(range(2, 2 + len(rule.state)))

    def step(m: Any, W: Any, g: Any, *others: Any) -> Any:
        state, settings = others[: len(states)], formulas.Settings(*others[len(states) :])
        return rule.step(m, settings, W, g, *state)

    settings = range(4, 4 + len(formulas.Settings._fields))
    return loop(dtype, step, (0, 1, *states, *settings), (0, *states), **options)


def decay(dtype: str, **options: Any) -> Any:
    """``decay(n_in, n_out, W, dW, strength)``"""
    return loop(dtype, lambda m, W, g, strength: formulas.decay(W, g, strength), (0, 1, 2), (1,), **options)


def clip(dtype: str, **options: Any) -> Any:
    """``clip(rows, columns, grads, limit)``"""
    return loop(dtype, formulas.clipped, (0, 1), (0,), **options)


def lasso(dtype: str, **options: Any) -> Any:
    """``lasso(n_in, n_out, W, dW, strength)``"""
    return loop(dtype, formulas.lasso, (0, 1, 2), (1,), **options)
