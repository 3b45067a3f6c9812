"""Loops over all numbers of a layer, written from the rules of `formulas`.

One value of exp, log or tanh is a chain of some fifty operations that wait for each other, more than a processor looks
ahead; the chains of neighbouring vectors, operation by operation in turn, keep it busy. So loops over rules with such
words are written in vectors, several at a time. LLVM makes vectors of all others by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

from backprop_ref import formulas

from ..compiling import inlined, linked
from ..registers import Instructions, padded, vector_of, written
from .ordered_products import tile_of


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
    step = _step(dtype, rule, reads, writes, 0)
    if not _is_long(rule, len(reads)):

        def entry_by_entry(rows: int, columns: int, *arguments: Any) -> None:
            for i in range(rows * columns):
                step(i, arguments)

        return entry_by_entry if apart else inlined(entry_by_entry, **options)
    tile, vector = tile_of(dtype), vector_of(dtype)
    lanes, several = tile.lanes, tile.lanes * tile.rows // 2  # as many registers as that processor has to spare
    one_vector, several_vectors = (_step(dtype, rule, reads, writes, length) for length in (lanes, several))

    def vector_by_vector(rows: int, columns: int, *arguments: Any) -> None:
        end = padded(rows * columns, vector)
        together = end - end % several
        for i in range(0, together, several):
            several_vectors(i, arguments)
        for i in range(together, end, lanes):
            one_vector(i, arguments)

    return vector_by_vector if apart else linked(vector_by_vector, **options)


def _step(dtype: str, rule: Callable[..., Any], reads: Sequence[int], writes: Sequence[int], lanes: int) -> Any:
    """``step(i, arguments)``: the rule at i, or for so many lanes from i on."""

    def write(builder: Any, i: Any, arguments: Any) -> None:
        m = Instructions(builder, dtype, lanes)
        flat = [one for item in arguments for one in (item if isinstance(item, tuple) else (item,))]
        read = [flat[place] for place in reads]
        values = [m.load(m.at(one, i)) if one.type.is_pointer else m.broadcast(one) for one in read]
        for place, result in zip(writes, m.evaluated(rule, values), strict=True):
            m.store(result, m.at(arguments[place], i))

    return written("i arguments", write)


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
    return loop(dtype, lambda m, x: getattr(m, name)(x), (0,), (1,), **options)


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
