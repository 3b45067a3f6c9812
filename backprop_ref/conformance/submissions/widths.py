"""The sizes that a function for one network only is written for, found layer by layer.

Numbers that stand beside each other in the code, as in reshape(5, 4), tell most of them. Else, sizes that do not suit
end a call early, with an error that often tells the right ones ("cannot reshape array of size 12 into shape (5,4)").
So one or two of the sizes at a time are replaced by numbers from the code or from that error, and what gets the code
further is kept.
"""

import heapq
import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.submissions.calls import Attempt
from backprop_ref.conformance.submissions.conventions import Layout
from backprop_ref.conformance.submissions.forms import FLAT, Form, forms

STARTS = (3, 11)
"""The first size of networks that are tried first; a vector that is cut at fixed places has to be long enough."""
LARGEST = 64
"""Larger numbers in code or in an error are taken for no size."""
ALWAYS = (1, 2, 3)
"""Sizes that are tried whatever numbers there are."""
STYLES = 24
"""So many forms are tried in every layout."""
CHAINS = 8
"""So many networks that neighbouring numbers in the code tell of are tried."""
WAITING = 4
"""By the clock it may take so many times as long, as where other programs run beside it."""
BRANCHES = 6
"""So many of the moves that get further are followed up."""


ANYHOW = re.compile(r"(AttributeError|NameError|NotImplementedError|ModuleNotFoundError)\b|.*\(\S+, line \d+: raise\b")
"""What is raised for any sizes, where the code has no conditions."""


class Way(NamedTuple):
    """A form and a layout, and how far the code gets with them for some sizes."""

    form: Form
    layout: Layout
    sizes: tuple[int, ...]
    attempt: Attempt


def suiting(function, depths, layouts: list[Layout], make: Callable[..., Case], seconds: float) -> Iterator[tuple]:
    """Sizes for which a `Function` gives gradients of their shapes, each once, the most promising first.

    Parameters
    ----------
    function : Function
    depths : list of int
        Numbers of layers to be tried.
    layouts : list of Layout
    make : callable
        A case, with one-hot labels, for sizes and a layout.
    seconds : float
        Processor seconds; nothing new is tried after so many.
    """
    begun, started = time.process_time(), time.monotonic()

    def left():
        return time.process_time() - begun < seconds and time.monotonic() - started < WAITING * seconds

    numbers = tuple(dict.fromkeys([*(number for number in function.numbers if number <= LARGEST), *ALWAYS]))
    starts = [(*range(n, n + depth), n_out) for n in STARTS for depth in depths for n_out in (depth + n, 1)]
    plain = [layout for layout in (Layout(), Layout(biases="none")) if layout in layouts] or layouts[:1]
    first = _tried(function, make, [(sizes, layout, None) for sizes in starts for layout in plain])
    styles = list(dict.fromkeys((way.form, *_kind(way.sizes)) for way in first))[:STYLES]
    ways = _tried(
        function,
        make,
        [
            (sizes, layout, form)
            for form, length, alone in styles
            for sizes in starts
            if _kind(sizes) == (length, alone)
            for layout in layouts
        ],
    )
    ways = [] if _anyhow(function, ways) else ways
    found: set[tuple[int, ...]] = set()
    passed = {way[:3] for way in ways}
    waiting: list[tuple] = []
    count = itertools.count()

    kinds: dict[tuple, list[Way]] = {}
    for way in ways:
        kinds.setdefault(_kind(way.sizes), []).append(way)

    def wait(way, later=False, moves=None, stage=0):
        moves = moves or _moves(way, kinds.get(_kind(way.sizes), []), numbers)
        far = [-int(part) for part in way.attempt.far]
        heapq.heappush(waiting, (later, far, stage, next(count), way, moves))

    def results(moves):
        asked = [(one.form, make(one.sizes, one.layout), one.layout) for one in moves]
        return [one._replace(attempt=got) for one, got in zip(moves, function.attempts(asked), strict=True)]

    for sizes in told(function.pairs, depths):
        alike = {(way.form, way.layout): way._replace(sizes=sizes) for way in kinds.get(_kind(sizes), [])}
        tried = results(list(alike.values()))
        if sizes not in found and any(_suits(function, make, way) for way in tried):
            found.add(sizes)
            yield sizes
        for way in tried if left() else ():
            wait(way, later=True)
    for sizes in _cut(function, make, ways, numbers, left):
        if sizes not in found:
            found.add(sizes)
            yield sizes
    failures = set()
    for way in _spread(ways):
        failure = (re.sub(r"\d+", "", way.attempt.failure), way.attempt.steps, *_kind(way.sizes))
        wait(way, later=failure in failures)  # ways that fail alike stand for each other at first
        failures.add(failure)
    while waiting and left():
        later, _, stage, _, way, moves = heapq.heappop(waiting)
        if not way.attempt.failure:
            if way.sizes not in found and _suits(function, make, way):
                found.add(way.sizes)
                yield way.sizes
            continue
        part = next(moves, None)
        if part is None:
            continue
        wait(way, later, moves, stage + 1)
        new = list({one[:3]: one for one in part if one[:3] not in passed}.values())
        passed |= {one[:3] for one in new}
        better = [one for one in results(new) if one.attempt.far > way.attempt.far]
        for one in sorted(better, key=lambda one: one.attempt.far, reverse=True)[:BRANCHES]:
            wait(one)


def _anyhow(function, ways):
    """Whether all of them failed as they do for any sizes."""
    return not function.branches and all(ANYHOW.match(way.attempt.failure) for way in ways)


def _cut(function, make, ways, numbers, left) -> Iterator[tuple[int, ...]]:
    """Sizes for a vector that is cut at fixed places, the last of which is most often the largest number in the code.

    Forms and layouts that differ in what stands where in the vector run alike, and are told apart by their gradients.
    """
    groups: dict[tuple, list[Way]] = {}
    for way in ways:
        if way.form.params in FLAT and way.sizes[0] == STARTS[0]:
            layout = way.layout
            kind = (layout.samples, layout.one_sample, layout.biases == "none", way.form.ones, way.form.labels)
            groups.setdefault((*kind, *_kind(way.sizes)), []).append(way)
    for first, *others in groups.values():
        chains = [
            sizes
            for sizes in _filling(first, {max(function.numbers, default=0)}, numbers)
            if _kind(first.sizes) == _kind(sizes)
        ]
        asked = [(first.form, make(sizes, first.layout), first.layout) for sizes in chains]
        for sizes, one in zip(chains, function.attempts(asked), strict=True):
            if not left():
                return
            if not one.failure or one.shapes:
                same = [way._replace(sizes=sizes) for way in (first, *others)]
                if any(_consistent(function, make, way) for way in same):
                    yield sizes


def _suits(function, make, way):
    """Whether there is an answer, and, where shapes do not tell, one in its layout."""
    return not way.attempt.failure and (not way.form.ambiguous or _consistent(function, make, way))


def _consistent(function, make, way):
    """Whether gradients are those of its layout, in every layer."""
    return function.consistency(way.form, make(way.sizes, way.layout), way.layout) == len(way.sizes) - 1


def _spread(ways):
    """The same ways, the first of each kind of samples and of weights in turn."""
    kinds: dict[tuple, list[Way]] = {}
    for way in ways:
        layout = way.layout
        kinds.setdefault((layout.samples, layout.one_sample, layout.weights, layout.biases == "none"), []).append(way)
    turns = itertools.zip_longest(*kinds.values())
    return [way for turn in turns for way in turn if way is not None]


def _kind(sizes):
    """The depth of a network, and whether it has one output."""
    return len(sizes), sizes[-1] == 1


def told(pairs, depths) -> list[tuple[int, ...]]:
    """Sizes that shapes or loops written in the code make up, each of two numbers that are neighbours."""
    small = [pair if max(pair) <= LARGEST else () for pair in pairs]
    series = (small[::2], small[1::2], small)
    return list(dict.fromkeys(sizes for some in series for depth in depths for sizes in _chains(some, depth + 1)))[
        :CHAINS
    ]


def _tried(function, make, asked) -> list[Way]:
    """Every form for sizes in a layout, or one, those that get the furthest first; large sizes for vectors only."""
    ways = []
    for sizes, layout, only in asked:
        case, large = make(sizes, layout), sizes[0] != STARTS[0]
        known = [form for form in forms(function.arguments, case, layout) if form.params in FLAT or not large]
        ways += [(form, case, layout) for form in known if only in {None, form}]
    found = [
        Way(form, layout, tuple(case.network.sizes), one)
        for (form, case, layout), one in zip(ways, function.attempts(ways), strict=True)
    ]
    return sorted(found, key=lambda way: (way.attempt.far, not way.form.ambiguous), reverse=True)


def _moves(way, others, numbers) -> Iterator[list[Way]]:
    """Ways to be tried after one: the sizes replaced by numbers that the error names, one size by any number, other
    forms and layouts, and two sizes by any numbers."""
    sizes, one_output = way.sizes, way.sizes[-1] == 1
    said = re.sub(r" \(\S+, line \d+: .*", "", way.attempt.failure)
    hints = [number for number in map(int, re.findall(r"(?<![\w.])\d+(?![\w.])", said)) if 1 <= number <= LARGEST]
    numbers = list(dict.fromkeys([*hints, *numbers]))

    def replaced(places, choices):
        for chosen in choices:
            other = list(sizes)
            for place, number in zip(places, chosen, strict=True):
                other[place] = number
            if (other[-1] == 1) == one_output:
                yield way._replace(sizes=tuple(other))

    every = range(len(sizes))
    neighbours = list(itertools.pairwise(every))
    filling = dict.fromkeys(_lengths(way, numbers))
    chains = dict.fromkeys(_chains(way.attempt.shapes, len(sizes)))
    shown = [chain for chain in chains if (chain[-1] == 1) == one_output]
    yield [other._replace(sizes=chain) for chain in shown for other in others]
    vectors = [other for other in others if other.form == way.form]
    yield [other._replace(sizes=chain) for chain in filling if (chain[-1] == 1) == one_output for other in vectors]
    named = [pair for pair in itertools.pairwise(hints) for pair in (pair, pair[::-1])]
    yield [one for places in neighbours for one in replaced(places, named)]
    yield [one for place in every for one in replaced((place,), zip(numbers, strict=True))]
    yield [other._replace(sizes=sizes) for other in others]
    for places in dict.fromkeys([*neighbours, *itertools.combinations(every, 2)]):
        yield list(replaced(places, itertools.product(numbers, repeat=2)))


def _chains(shapes, length) -> Iterator[tuple[int, ...]]:
    """Sizes of a network whose gradients have these shapes, in either order and either layout."""
    matrices = [tuple(shape) for shape in shapes if len(shape) == 2]
    for ordered in (matrices, matrices[::-1]):
        for turned in (False, True):
            pairs = [shape[::-1] if turned else shape for shape in ordered]
            for start in range(len(pairs)):
                chain = list(pairs[start])
                for n_in, n_out in pairs[start + 1 :]:
                    if n_in == chain[-1] and len(chain) < length:
                        chain.append(n_out)
                if len(chain) == length:
                    yield tuple(chain)


def _lengths(way, numbers) -> Iterator[tuple[int, ...]]:
    """Sizes made of these numbers whose weights and biases fill the vector that was returned."""
    lengths = {shape[0] for shape in way.attempt.shapes if len(shape) == 1}
    return _filling(way, lengths, numbers) if way.form.params in FLAT and len(lengths) == 1 else iter(())


def _filling(way, lengths, numbers) -> Iterator[tuple[int, ...]]:
    """Sizes made of these numbers whose weights and biases fill a vector of such a length."""
    numbers = sorted(numbers)[: int(MOST ** (1 / len(way.sizes)))]
    biased = way.layout.biases != "none"
    for sizes in itertools.product(numbers, repeat=len(way.sizes)):
        if sum((n_in + biased) * n_out for n_in, n_out in itertools.pairwise(sizes)) in lengths:
            yield sizes


MOST = 50000
"""So many sizes are looked at for those that fill a vector."""
