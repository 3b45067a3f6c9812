"""Forward passes that a submission may have: those of the networks, right or with a known bug, that its gradients show.

What a layer read stands in dW, whatever is wrong with delta: so hidden layers are measured, not guessed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.textbook import RULES
from backprop_ref.conformance.dissecting.comparing import constant_part, ratio, split
from backprop_ref.conformance.dissecting.rules import Form, Rows, changed
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.judgement import known_bug
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.outcomes.outcome import Finding
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.network import Network


class Forward(NamedTuple):
    """A network with its rules, right or not, and what there is to say of these.

    Attributes
    ----------
    cost : int
        How much there is to say so far.
    key : tuple
        Which form of which bug, in which layer.
    loss_rules : dict, optional
        The rules of the loss that is returned, where the gradient's are others.
    """

    network: Network
    rules: dict
    findings: tuple[Finding, ...] = ()
    cost: int = 0
    key: tuple = ()
    loss_rules: dict | None = None


def rows_of(batches, forward: Forward) -> Rows:
    """The single samples side by side; the same object for the same question."""
    asked = (batches.singles, batches.params, forward.rules)
    key = (*map(id, asked), forward.network)
    if key not in _ROWS:
        while len(_ROWS) >= MOST_ROWS:
            del _ROWS[next(iter(_ROWS))]
        x, y = (np.concatenate([getattr(one.case, name) for one in batches.singles]) for name in "xy")
        _ROWS[key] = Rows(material.case(forward.network, batches.params, x, y), forward.rules), asked
    return _ROWS[key][0]


MOST_ROWS = 256
"""So many are kept."""
_ROWS: dict[tuple, tuple[Rows, tuple]] = {}
"""Each with the objects whose ids are in its key, so that no others get these."""


def right(members) -> list[Forward]:
    """The networks as they should be."""
    return [Forward(network, RULES) for network in members]


def rarer(members, batches) -> list[Network]:
    """The networks of less usual activations and losses whose hidden layers are what dW is made with."""
    sizes = members[0].sizes
    hidden = ("linear",) if len(sizes) == 2 else tuple(
        name for name in ACTIVATIONS
        if fitting(right([Network(sizes, [name] * (len(sizes) - 2) + ["linear"], "mse")]), batches, 0)
    )  # fmt: skip
    return material.rarer_networks(sizes, hidden)


def with_a_bug(members, batches) -> Iterator[Forward]:
    """The same with a known bug of the forward pass, in all layers or in one."""
    for number, (form, layer) in enumerate(_bugs(members[0].n_layers)):
        for network in members:
            if _acts(form, layer, network):
                yield _with(form, layer, number, network)
    yield from _with_other_biases(members, batches)


MISSING = ("hidden-activation-missing", "output-activation-missing")


def with_missing_activations(members) -> Iterator[Forward]:
    """The same without an activation, in all hidden layers or in one: like linear networks, but for the slopes."""
    for number, (form, layer) in enumerate(_bugs(members[0].n_layers)):
        for network in members:
            if form.bug.id in MISSING and _acts(form, layer, network):
                yield _with(form, layer, number, network)


def _with(form, layer, number, network):
    finding = known_bug(form.bug.id, "z", () if layer is None else (layer,), network=kind_of(network))
    return Forward(network, changed(RULES, form.change, layer), (finding,), 1, (number, layer))


def _bugs(n_layers):
    """Forms of the forward pass but for those of the bias, and the layer that each acts in; None: in all."""
    known = [
        Form(bug, change)
        for bug in CATALOGUE
        for change in bug.variants
        if not bug.acceptable and {"z", "a", "inputs"} & change.keys() and set(change) != {"z"}
        if change.keys() <= {"z", "a", "inputs", "terms"}
    ]
    missing = [form for form in known if form.bug.id == "hidden-activation-missing"]
    alone = [(form, layer) for layer in range(n_layers - 1) for form in missing] if n_layers > 2 else []
    return [*((form, None) for form in known), *alone]


TIMES = (1, 0, 2, 3, 4, 5, 6)
"""How often the bias may be added."""


def _with_other_biases(members, batches) -> Iterator[Forward]:
    """The same with biases added not at all or several times: in hidden layers as often as the next dW shows."""
    hidden: dict[tuple, list[tuple[int, ...]]] = {}
    for network in members:
        inner, last = network.activations[:-1], network.n_layers - 1
        if inner not in hidden:
            hidden[inner] = _times_in_hidden(network, batches)
        ends = dict.fromkeys((*TIMES, network.sizes[last]))
        for before in hidden[inner]:
            for times in [(*before, end) for end in ends]:
                if any(n != 1 for n in times):
                    yield _biased(network, times)


def _times_in_hidden(network, batches) -> list[tuple[int, ...]]:
    """How often the hidden layers add their bias, where that makes what dW of the next layer is made with; else every
    layer the same, or one of them."""
    last, found = network.n_layers - 1, tuple[int, ...]()
    for layer in range(last):
        fits = None
        for n in dict.fromkeys((*TIMES, network.sizes[layer])):
            times = (*found, n, *[1] * (last - layer))
            if unread(rows_of(batches, _biased(network, times)), batches, layer + 1) == 0:
                fits = n
                break
        if fits is None:
            widths = network.sizes[:last]
            same = [(0,) * last, (2,) * last, tuple(widths)]
            return [(1,) * last, *same, *((*[1] * at, n, *[1] * (last - at - 1)) for at in range(last) for n in (0, 2))]
        found = (*found, fits)
    return [found]


def _biased(network, times) -> Forward:
    """A network whose layers add their bias so many times."""
    names: dict[str, list[int]] = {}
    for layer, n in enumerate(times):
        name = {0: "bias-not-added", 1: "", 2: "bias-added-twice"}.get(n, "bias-in-forward-loop")
        if n == 2 == network.sizes[layer] and any(m not in {1, 2} for m in times):
            name = "bias-in-forward-loop"
        if name:
            names.setdefault(name, []).append(layer)

    def z(right, p, layer):
        product = p.rule("inputs", layer) @ p.W[layer]
        return product + p.b[layer] * float(times[layer]) if times[layer] else product

    findings = tuple(known_bug(name, "z", tuple(at), network=kind_of(network)) for name, at in names.items())
    return Forward(network, changed(RULES, {"z": z}), findings, len(findings), ("times", times[:-1]))


def _acts(form, layer, network):
    """Whether a bug of that form can be in the network."""
    if form.bug.id == "hidden-activation-missing":
        return network.n_layers > 1 and network.activations[0] != "linear"
    if form.bug.id == "output-activation-missing":
        return network.activations[-1] != "linear"
    if form.bug.id.startswith("softmax"):
        return network.activations[-1] == "softmax"
    return True


def unread(rows: Rows, batches, only: int | None = None) -> int:
    """How far dW is from being made with what the layers read, or one of them: 1 for each layer where a known bug of dW
    has to help, 2 for each where none does."""
    count = 0
    for layer in range(1, rows.network.n_layers) if only is None else (only,):
        G = np.stack([one.values.dW[layer] for one in batches.singles])
        db = [one.values.db and one.values.db[layer] for one in batches.singles]
        B = None if any(part is None for part in db) else np.stack(db)
        v = rows.inputs(layer)
        if not np.all(np.isfinite(v)):
            return 2 * rows.network.n_layers
        if not (_made_with(G, v, batches.tolerance) or constant_part(G, v, batches.tolerance, B) is not None):
            count += 1 if _made_by_a_bug(G, v, rows, layer, batches.tolerance) else 2
    return count


def _made_with(G, v, tolerance):
    return np.abs(split(G, v)[1]).max() <= tolerance * np.abs(G).max()


def _made_by_a_bug(G, v, rows, layer, tolerance):
    """Whether dW is made with another array, transposed, or in parts only."""
    others = [rows.case.x, rows.z[layer - 1].mid, rows.a[layer].mid]
    if any(other.shape == v.shape and _made_with(G, other, tolerance) for other in others):
        return True
    samples, n_in, n_out = G.shape
    turned = [G.reshape(samples, n_out, n_in).transpose(0, 2, 1), G.transpose(0, 2, 1).reshape(G.shape)]
    turned += [G.transpose(0, 2, 1)] if n_in == n_out else []
    if any(_made_with(part, v, tolerance) for part in turned):
        return True
    some = np.any(G, axis=(0, 2))
    return 1 < some.sum() < n_in and _made_with(G[:, some], v[:, some], tolerance)


def ends_as_told(rows: Rows, batches, tolerance=1e-6) -> bool:
    """Whether the last delta, as db or dW tell it, is a multiple of what the rules give."""
    last = rows.last
    due = rows.attempt("delta", last)
    if due is None:
        return False
    db = [one.values.db and one.values.db[last] for one in batches.singles]
    if all(part is not None for part in db) and ratio(np.stack(db), due, tolerance) is not None:
        return True
    G = np.stack([one.values.dW[last] for one in batches.singles])
    some = np.any(G, axis=(0, 2))
    return ratio(split(G[:, some], rows.inputs(last)[:, some])[0], due, tolerance) is not None


def fitting(forwards, batches, limit: int | None = None) -> list[Forward]:
    """Those whose hidden layers are what dW is made with, or nearly; the simplest first.

    Parameters
    ----------
    limit : int, optional
        The most that it may cost; default: one more than the least.
    """
    counts: dict[tuple, int] = {}
    found = []
    for forward in forwards:
        key = (forward.network.activations[:-1], forward.key)
        if key not in counts:
            counts[key] = unread(rows_of(batches, forward), batches)
        found.append((forward.cost + counts[key], forward))
    most = limit if limit is not None else min((cost for cost, _ in found), default=0) + 1
    return [forward for cost, forward in sorted(found, key=lambda one: one[0]) if cost <= most]
