"""CUDA C of every activation, loss and update rule, written by the rules of `backprop_ref.formulas` themselves.

`Writer` turns a rule's expression into statements. What is used more than once gets a name, so the text reads as one
would write it by hand; `source` gives all of it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from backprop_ref.formulas import (
    ACTIVATIONS,
    OWN_ACTIVATIONS,
    TERMS,
    UPDATES,
    Settings,
    Table,
    Update,
    decay,
)

from .expressions import WORDS, Node, leaf
from .writing import Writer

NUMBER = "number"
"""What the kernels of a family call the number that tells its rules apart."""
OF_STEP = ("rate", "c1", "c2", "epsilon")
"""What of `Settings` changes from step to step, and stands in the row of `settings` of the step, before the strength of
the weight decay."""
ROW = len(OF_STEP) + 1
"""Numbers in such a row."""


class Kernel(NamedTuple):
    """A kernel's parameters in order, and the statements that compute its results."""

    name: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    result: str
    by_rows: bool


def _kernel(kernel: Kernel, results: tuple[Node, ...]) -> str:
    """A kernel over entries, or over rows, of real numbers."""
    listed = [f"const real* {array}" for array in kernel.arrays]
    listed += [f"real {number}" for number in kernel.numbers] + [f"real* {kernel.result}"]
    entry = f"{kernel.result[:-3]}_j[j]" if kernel.by_rows else f"{kernel.result}[i]"
    writer = Writer(results, "real", entry if kernel.by_rows else None)
    if not kernel.by_rows:
        head = f'extern "C" __global__ void {kernel.name}_v1({", ".join(listed)}, integer n_entries)'
        body = [*writer.lines, f"{entry} = {writer.results[0]};"]
        return _function(head, "for EACH (i, n_entries) {", body)
    head = f'extern "C" __global__ void {kernel.name}_v1({", ".join(listed)}, integer batch, integer n_out)'
    used = [array for array in kernel.arrays if f"{array[:-3]}_j[" in " ".join([*writer.lines, *writer.results])]
    rows = [f"const real* {array[:-3]}_j = {array} + s * n_out;" for array in used]
    rows.append(f"real* {kernel.result[:-3]}_j = {kernel.result} + s * n_out;")
    body = [*rows, *writer.lines, "for (integer j = 0; j < n_out; ++j)", f"    {entry} = {writer.results[0]};"]
    return _function(head, "for EACH (s, batch) {", body)


def _function(head: str, loop: str, body: list[str]) -> str:
    inside = "\n".join(f"        {line}" for line in body)
    return f"{head}\n{{\n    {loop}\n{inside}\n    }}\n}}\n"


def _arrays(by_rows: bool, *names: str) -> tuple[str, ...]:
    return tuple(_array(by_rows, name) for name in names)


def _array(by_rows: bool, name: str) -> str:
    return f"{name}_sj" if by_rows else f"{name}_i"


def _leaves(by_rows: bool, *names: str) -> list[Node]:
    return [leaf(f"{name}_j[j]", in_row=True) if by_rows else leaf(f"{name}_i[i]") for name in names]


def with_number(table: Table[Any], name: str) -> tuple[Any, tuple[str, ...]]:
    """A rule of a table, and what its kernels are given besides arrays: those of a family its number."""
    family = table.families.get(name)
    return (table[name], ()) if family is None else (family.of(leaf(NUMBER)), (NUMBER,))


def activation(name: str) -> Iterator[str]:
    """The two kernels of an activation; delta may take the place of da."""
    rule, given = with_number(ACTIVATIONS, name)
    rows = rule.by_rows
    z, a, da = _leaves(rows, "z", "a", "da")
    forward = Kernel(f"{name}_forward", _arrays(rows, "z"), given, _array(rows, "a"), rows)
    yield _kernel(forward, (rule.forward(WORDS, z),))
    backward = Kernel(f"{name}_backward", _arrays(rows, "z", "a", "da"), given, _array(rows, "delta"), rows)
    yield _kernel(backward, (rule.backward(WORDS, z, a, da),))


def loss(name: str) -> Iterator[str]:
    """The two kernels of a loss: its terms, and its error over n."""
    pair, given = with_number(TERMS, name)
    rows = pair.by_rows
    z, a, y = _leaves(rows, "z", "a", "y")
    terms = Kernel(f"{name}_terms", _arrays(rows, "z", "a", "y"), given, _array(rows, "terms"), rows)
    yield _kernel(terms, (pair.terms(WORDS, z, a, y),))
    error = Kernel(f"{name}_backward", _arrays(rows, "z", "a", "y"), (*given, "n"), _array(rows, "delta"), rows)
    yield _kernel(error, (pair.error(WORDS, z, a, y) / leaf("n"),))


def update(name: str, rule: Update) -> str:
    """The kernel of an update rule, in place; every operation is rounded, under FAST too."""
    state = [f"{each}_i" for each in rule.state]
    given = Settings(*map(leaf, Settings._fields))
    results = rule.step(WORDS, given, leaf("W_i[i]"), leaf("g_i[i]"), *(leaf(f"{each}[i]") for each in state))
    writer = Writer(results, "rounded")
    listed = ["rounded* W_i", "const rounded* g_i", *(f"rounded* {each}" for each in state)]
    listed += ["const rounded* settings", "const integer* position"]
    listed += [f"rounded {each}" for each in settings_of(name)]
    of_step = [
        f"rounded {each} = settings[{ROW} * position[1] + {place}];"
        for place, each in enumerate(OF_STEP)
        if each in _used(name)
    ]
    places = [f"{each}[i]" for each in ("W_i", *state)]
    last = [f"{place} = {result};" for place, result in zip(places, writer.results, strict=True)]
    head = f'extern "C" __global__ void {name}_v1({", ".join(listed)}, integer n)'
    before = "".join(f"    {line}\n" for line in of_step)
    return _function(head, "for EACH (i, n) {", [*writer.lines, *reversed(last)]).replace("{\n", "{\n" + before, 1)


def settings_of(name: str) -> tuple[str, ...]:
    """The fields of `Settings` that the kernel of a rule takes as arguments, in order."""
    return tuple(each for each in _used(name) if each not in OF_STEP)


def _used(name: str) -> tuple[str, ...]:
    leaves = {each: leaf(each) for each in Settings._fields}
    rule = UPDATES[name]
    results = rule.step(WORDS, Settings(**leaves), leaf("W"), leaf("g"), *map(leaf, rule.state))
    writer = Writer(results, "rounded")
    return tuple(each for each, node in leaves.items() if writer.uses[node])


def weight_decay() -> str:
    """The kernel that adds λ·W to the gradient of one layer's weights, or −η·λ·W to the weights."""
    writer = Writer((decay(leaf("W_i[i]"), leaf("g_i[i]"), leaf("strength")),), "rounded")
    listed = "const rounded* W_i, rounded* g_i, const rounded* settings, const integer* position, integer n"
    head = f'extern "C" __global__ void weight_decay_v1({listed})'
    before = f"    rounded strength = settings[{ROW} * position[1] + {ROW - 1}];\n"
    return _function(head, "for EACH (i, n) {", [f"g_i[i] = {writer.results[0]};"]).replace("{\n", "{\n" + before, 1)


def identity(name: str) -> bool:
    """Whether a is z, and so delta is da."""
    z = leaf("z")
    return ACTIVATIONS[name].forward(WORDS, z) is z


def source() -> str:
    """All of them, each name once; what changes nothing needs no kernel."""
    names = [name for name in ACTIVATIONS if name not in OWN_ACTIVATIONS and not identity(name)]
    texts = [text for name in names for text in activation(name)]
    texts += [text for name in TERMS for text in loss(name)]
    texts += [weight_decay(), *(update(name, rule) for name, rule in UPDATES.items())]
    return "\n".join(texts)
