"""Rules over rows, from the table of `formulas`: cut into passes, each a loop over the entries of a layer.

A sum or the largest of a row, and exp and the like, are passes of their own; everything between them is one. So each
pass is a loop that LLVM turns into vectors, or that `rules` writes in them. Numbers of a sample, such as the sum of its
row, stand in slots: equal parts of an array, each with one for every sample.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from backprop_ref import formulas

from ..compiling import inlined, merged
from ..expressions import OVER_ROWS, WORDS, Node, evaluated, leaf, leaves, node, parts_of
from ..registers import Instructions, Number, padded, vector_of, written
from . import rules
from .views import part, view

SLOTS = tuple(f"slot{i}" for i in range(3))
N_SLOTS = len(SLOTS)
LONG = tuple(name for name in formulas.FUNCTIONS if name != "sqrt")


class Layout(NamedTuple):
    """How the values of a layer stand in a 1-D array, and loops in the order in which they stand there."""

    rows: Any
    """``rows(array, n_out, m)``: the values as a matrix with a row for each sample."""
    entries: Callable[[Any], Any]
    """Of ``step(i, s, arguments)``, a loop over all entries i, each of a sample s."""
    along_rows: Callable[[Any, Any, int], Any]
    """Of two steps and a number, a loop that does the first once for each row, then the second from that entry on."""


@register_jitable(forceinline=True)
def neurons_turned(array: Any, n_out: int, m: int) -> Any:
    return view(array, 0, n_out, m).T


@register_jitable(forceinline=True)
def samples(array: Any, n_out: int, m: int) -> Any:
    return view(array, 0, m, n_out)


def _entries_of_neurons(step: Any) -> Any:
    @merged
    def entries(n_out: int, m: int, arguments: Any) -> None:
        for j in range(n_out):
            for s in range(m):
                step(j * m + s, s, arguments)

    return entries


def _entries_of_samples(step: Any) -> Any:
    @merged
    def entries(n_out: int, m: int, arguments: Any) -> None:
        for s in range(m):
            for j in range(n_out):
                step(s * n_out + j, s, arguments)

    return entries


def _rows_of_neurons(first: Any, step: Any, begin: int) -> Any:
    @merged
    def along_rows(n_out: int, m: int, arguments: Any) -> None:
        for s in range(m):
            first(s, s, arguments)
        for j in range(begin, n_out):
            for s in range(m):
                step(j * m + s, s, arguments)

    return along_rows


def _rows_of_samples(first: Any, step: Any, begin: int) -> Any:
    @merged
    def along_rows(n_out: int, m: int, arguments: Any) -> None:
        for s in range(m):
            first(s * n_out, s, arguments)
            for j in range(begin, n_out):
                step(s * n_out + j, s, arguments)

    return along_rows


BY_NEURONS = Layout(neurons_turned, _entries_of_neurons, _rows_of_neurons)
BY_SAMPLES = Layout(samples, _entries_of_samples, _rows_of_samples)


class Pass(NamedTuple):
    """One loop: over entries, over samples, along rows, or of a function of one number over an array."""

    kind: str
    """ "entries", "samples", "total", "largest", or the function's name."""
    value: Node
    target: str


class Passes:
    """The passes of some rules, one after the other; each sum of a row is computed once."""

    def __init__(self) -> None:
        self.found: list[Pass] = []
        self._known: dict[str, Node] = {}

    def put(self, value: Node, target: str) -> None:
        """Adds the passes that leave the value of an expression in an array."""
        self._uses = Counter(map(repr, parts_of(value)))
        self._known = {text: node for text, node in self._known.items() if text in self._uses and not node.in_row}
        self._row_is_free = target not in leaves(value)
        self.found.append(Pass("entries", self._rest(value, target), target))

    def _rest(self, value: Node, row: str) -> Node:
        """The expression without what has passes of its own; a row of these stands where the result will."""
        if not value.parts or repr(value) in self._known:
            return self._known.get(repr(value), value)
        parts = [self._rest(part, row) for part in value.parts]
        if value.operation not in {*LONG, *OVER_ROWS}:
            return Node(value.operation, *parts)
        target = self._place_of(value, parts[0], row)
        if value.operation in LONG and parts[0].operation != "leaf":
            self.found.append(Pass("entries" if value.in_row else "samples", parts[0], target))
            parts = [leaf(target)]
        self.found.append(Pass(value.operation, parts[0], target))
        self._known = {text: node for text, node in self._known.items() if node.name != target}
        self._known[repr(value)] = leaf(target, value.in_row)
        return self._known[repr(value)]

    def _place_of(self, value: Node, part: Node, row: str) -> str:
        """Where a value stands: in the row, which holds one, in the slot of what it alone reads, or in a free one."""
        if value.in_row:
            assert self._row_is_free, f"{row} cannot hold {value} too"
            self._row_is_free = False
            return row
        if value.operation in LONG and part.name in SLOTS and self._uses[repr(value.parts[0])] == 1:
            return part.name
        free = set(SLOTS) - {node.name for node in self._known.values()}
        assert free, f"{value} needs more than {N_SLOTS} slots"
        return min(free)


def _of_row(*names: str) -> list[Node]:
    return [leaf(name, in_row=True) for name in names]


def forward_passes(activation: formulas.Activation) -> Passes:
    """a from z."""
    passes = Passes()
    passes.put(activation.forward(WORDS, *_of_row("z")), "a")
    return passes


def forward(dtype: str, activation: formulas.Activation, layout: Layout, **options: Any) -> Any:
    """``forward(n_out, m, z, a, slots)``; rows leave in the slots what the loss goes on with."""
    return _program(dtype, forward_passes(activation).found, ("z", "a"), layout, **options)


def backward(dtype: str, activation: formulas.Activation, layout: Layout, **options: Any) -> Any:
    """``backward(n_out, m, z, a, delta, slots)``: delta from da, which stands in delta before."""
    passes, names = Passes(), ("z", "a", "delta")
    passes.put(activation.backward(WORDS, *_of_row(*names)), "delta")
    return _program(dtype, passes.found, names, layout, **options)


def loss(dtype: str, pair: formulas.Terms, layout: Layout, **options: Any) -> Any:
    """``loss(n_out, m, z, a, y, n, terms, delta, slots)``: terms, and delta or da, after the output's `forward`."""
    passes = Passes() if pair.output is None else forward_passes(formulas.ACTIVATIONS[pair.output])
    arrays = _of_row("z", "a", "y")
    done = len(passes.found)
    passes.put(pair.terms(WORDS, *arrays), "terms")
    passes.put(pair.error(WORDS, *arrays) / leaf("n"), "delta")
    return _program(dtype, passes.found[done:], ("z", "a", "y", "n", "terms", "delta"), layout, **options)


def over_arrays(dtype: str, compiled: Callable[..., Any]) -> tuple[Callable[[Callable[..., Any]], Any], ...]:
    """What makes compiled loops of rules over rows, as `neuron_loops.OVER_ROWS` makes plain ones."""
    vector = vector_of(dtype)

    def run_of(rule: Callable[..., Any], *names: str) -> Any:
        """``run(n_out, m, out, *arrays)``, over an array that is longer, as vectors are written as a whole."""
        passes = Passes()
        passes.put(rule(WORDS, *_of_row(*names)), "results")
        program = _program(dtype, passes.found, (*names, "results"), BY_SAMPLES)

        def run(n_out: int, m: int, out: Any, *arrays: Any) -> None:
            results = np.empty(padded(n_out * m, vector), out.dtype)
            slots = np.empty(N_SLOTS * padded(m, vector), out.dtype)
            program(n_out, m, *arrays, results, slots)
            for i in range(out.size):
                out[i] = results[i]

        return inlined(run)

    def forward_of(rule: Callable[..., Any]) -> Any:
        run = run_of(rule, "z")

        def activation_forward(z: Any, a: Any) -> None:
            m, n_out = z.shape
            run(n_out, m, a.ravel(), z.ravel())

        return compiled(activation_forward)

    def backward_of(rule: Callable[..., Any]) -> Any:
        run = run_of(rule, "z", "a", "da")

        def activation_backward(z: Any, a: Any, da: Any, delta: Any) -> None:
            m, n_out = z.shape
            run(n_out, m, delta.ravel(), z.ravel(), a.ravel(), da.ravel())

        return compiled(activation_backward)

    def terms_of(rule: Callable[..., Any]) -> Any:
        run = run_of(rule, "z", "a", "y")

        def loss_forward(z: Any, a: Any, y: Any, w: Any, n: Any, loss: Any) -> None:
            (m, n_out), terms, total = y.shape, np.empty(y.size, y.dtype), y.dtype.type(0)
            run(n_out, m, terms, z.ravel(), a.ravel(), y.ravel())
            for i in range(terms.size):
                total += w[i // n_out] * terms[i]
            loss[()] = total / n

        return compiled(loss_forward)

    def error_of(rule: Callable[..., Any]) -> Any:
        run = run_of(rule, "z", "a", "y")

        def loss_backward(z: Any, a: Any, y: Any, w: Any, n: Any, delta: Any) -> None:
            (m, n_out), flat = y.shape, delta.ravel()
            run(n_out, m, flat, z.ravel(), a.ravel(), y.ravel())
            for i in range(flat.size):
                flat[i] = w[i // n_out] * (flat[i] / n)

        return compiled(loss_backward)

    return forward_of, backward_of, terms_of, error_of


def _program(
    dtype: str, passes: Sequence[Pass], names: Sequence[str], layout: Layout, apart: bool = False, **options: Any
) -> Any:
    """``over_rows(n_out, m, *arguments)``: passes over arrays of these names; the last argument are the slots.

    `apart` and the options are as for `rules.loop`.
    """
    first, *others = (_loop(dtype, each, names, layout, **options) for each in passes)
    body, vector = functools.reduce(_both, others, first), vector_of(dtype)

    def over_rows(n_out: int, m: int, *arguments: Any) -> None:
        body(n_out, m, (*arguments, padded(m, vector)))

    return over_rows if apart else inlined(over_rows, **options)


def _both(first: Any, second: Any) -> Any:
    @merged
    def both(n_out: int, m: int, arguments: Any) -> None:
        first(n_out, m, arguments)
        second(n_out, m, arguments)

    return both


def _loop(dtype: str, each: Pass, names: Sequence[str], layout: Layout, **options: Any) -> Any:
    kind, value, target = each
    step, old = functools.partial(_step, dtype, names), leaf(target)
    if kind == "entries":
        return layout.entries(step(value, target))
    if kind == "samples":
        return _each_sample(step(value, target))
    if kind == "total":
        return layout.along_rows(step(node(0.0), target), step(old + value, target), 0)
    if kind == "largest":
        return layout.along_rows(step(value, target), step(WORDS.where(value > old, value, old), target), 1)
    function = rules.elementary(dtype, kind, **options)
    if target in SLOTS:
        return _of_samples(function, SLOTS.index(value.name), SLOTS.index(target))
    return _of_entries(function, names.index(value.name), names.index(target))


def _each_sample(step: Any) -> Any:
    @merged
    def samples(n_out: int, m: int, arguments: Any) -> None:
        for s in range(m):
            step(s, s, arguments)

    return samples


def _of_samples(function: Any, source: int, target: int) -> Any:
    @merged
    def of_samples(n_out: int, m: int, arguments: Any) -> None:
        slots, apart = arguments[-2], arguments[-1]
        function(m, 1, part(slots, source * apart, m), part(slots, target * apart, m))

    return of_samples


def _of_entries(function: Any, source: int, target: int) -> Any:
    @merged
    def of_entries(n_out: int, m: int, arguments: Any) -> None:
        function(n_out, m, arguments[source], arguments[target])

    return of_entries


def _step(dtype: str, names: Sequence[str], value: Node, target: str) -> Any:
    """``step(i, s, arguments)``: puts a value into an array at entry i, or into a slot at sample s."""
    read = sorted(leaves(value))

    def write(builder: Any, i: Any, s: Any, arguments: Any) -> None:
        m, (*_, slots, apart) = Instructions(builder, dtype), arguments

        def at(name: str) -> Any:
            if name in SLOTS:
                return m.at(slots, builder.add(builder.mul(apart, apart.type(SLOTS.index(name))), s))
            return m.at(arguments[names.index(name)], i)

        numbers = {name: arguments[names.index(name)] if name == "n" else m.load(at(name)) for name in read}
        values = {name: Number(number, m) for name, number in numbers.items()}
        m.store(m.value(evaluated(value, m, values)), at(target))

    return written("i s arguments", write)
