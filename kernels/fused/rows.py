"""Rules over rows, from the table of `formulas`: cut into passes, each a loop over the entries of a layer.

A sum or the largest of a row, and exp and the like, are passes of their own; everything between them is one. So each
pass is a loop that LLVM turns into vectors, or that `rules` writes in them. Numbers of a sample, such as the sum of its
row, stand in slots: equal parts of an array, each with one for every sample.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.core import cgutils

from backprop_ref import formulas

from ..compiling import inlined
from ..expressions import OVER_ROWS, WORDS, Node, evaluated, leaf, leaves, node, parts_of
from ..registers import Instructions, Number, padded, vector_of, written
from . import rules
from .views import columns_of, rows_of

SLOTS = tuple(f"slot{i}" for i in range(3))
N_SLOTS = len(SLOTS)
LONG = tuple(name for name in formulas.FUNCTIONS if name != "sqrt")


class Layout(NamedTuple):
    """How the values of a layer stand in a 1-D array."""

    rows: Any
    """``rows(array, n_out, m)``: the values as a matrix with a row for each sample."""
    by_neurons: bool
    """Neuron after neuron, entry (s, j) at j m + s; else sample after sample, at s n_out + j."""


BY_NEURONS, BY_SAMPLES = Layout(columns_of, True), Layout(rows_of, False)


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
    by_neurons = layout.by_neurons

    def write(builder: Any, n_out: Any, m: Any, arguments: Any) -> None:
        writer = _Writer(builder, dtype, names, by_neurons, n_out, m, arguments)
        for each in passes:
            writer.write(each)

    all_passes = written("n_out m arguments", write)

    def over_rows(n_out: int, m: int, *arguments: Any) -> None:
        all_passes(n_out, m, arguments)

    return over_rows if apart else inlined(over_rows, **options)


class _Writer:
    """Writes the instructions of passes over arrays."""

    def __init__(
        self, builder: Any, dtype: str, names: Sequence[str], by_neurons: bool, n_out: Any, m: Any, arguments: Any
    ) -> None:
        self.builder, self.dtype, self.by_neurons, self.n_out, self.m = builder, dtype, by_neurons, n_out, m
        self.numbers, self.index = Instructions(builder, dtype), n_out.type
        *given, slots = arguments
        vector = self.index(vector_of(dtype))
        apart = builder.mul(builder.sdiv(builder.add(m, self.index(vector_of(dtype) - 1)), vector), vector)
        places = [self.numbers.at(slots, builder.mul(apart, self.index(number))) for number in range(N_SLOTS)]
        self.given = dict(zip(names, given, strict=True)) | dict(zip(SLOTS, places, strict=True))

    def write(self, each: Pass) -> None:
        """One pass."""
        kind, value, target = each
        old = leaf(target)
        if kind == "entries":
            self._along_rows(None, value, target)
        elif kind == "samples":
            with cgutils.for_range(self.builder, self.m) as turn:
                self._put(value, target, turn.index, turn.index)
        elif kind == "total":
            self._along_rows(node(0.0), old + value, target)
        elif kind == "largest":
            self._along_rows(value, WORDS.where(value > old, value, old), target, begin=1)
        else:
            entries = self.builder.mul(self.n_out, self.m)
            n, arrays = self.m if target in SLOTS else entries, [self.given[value.name], self.given[target]]
            rules.write_loop(self.builder, self.dtype, rules.word(kind), (0,), (1,), n, arrays)

    def _along_rows(self, first: Node | None, value: Node, target: str, begin: int = 0) -> None:
        """Puts the first value once for each row, then the other from that entry on, in the order of the array."""
        builder, one = self.builder, self.index(1)
        js = self.index(begin), self.n_out
        if self.by_neurons:
            if first is not None:
                with cgutils.for_range(builder, self.m) as turn:
                    self._put(first, target, turn.index, turn.index)
            with cgutils.for_range_slice(builder, *js, one, inc=True) as (j, _):
                row = builder.mul(j, self.m)
                with cgutils.for_range(builder, self.m) as turn:
                    self._put(value, target, builder.add(row, turn.index), turn.index)
        else:
            with cgutils.for_range(builder, self.m) as turn:
                row = builder.mul(turn.index, self.n_out)
                if first is not None:
                    self._put(first, target, row, turn.index)
                with cgutils.for_range_slice(builder, *js, one, inc=True) as (j, _):
                    self._put(value, target, builder.add(row, j), turn.index)

    def _put(self, value: Node, target: str, i: Any, s: Any) -> None:
        """Puts a value into an array at entry i, or into a slot at sample s."""
        numbers = self.numbers

        def number(name: str) -> Any:
            given = self.given[name]
            return numbers.load(self._at(name, i, s)) if given.type.is_pointer else given

        values = {name: Number(number(name), numbers) for name in sorted(leaves(value))}
        numbers.store(numbers.value(evaluated(value, numbers, values)), self._at(target, i, s))

    def _at(self, name: str, i: Any, s: Any) -> Any:
        return self.numbers.at(self.given[name], s if name in SLOTS else i)
