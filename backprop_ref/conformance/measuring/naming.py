"""From measured deviations to findings: which known bug each is, or its formula where it is none."""

import itertools
import math

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.measuring.judgement import known_bug
from backprop_ref.conformance.outcomes.outcome import Finding


def findings_of(offs, last: int, network: str) -> list[Finding]:
    """The fewest known bugs that explain what is off, and a measured formula for the rest."""
    open_offs, found = [off for off in offs if off.named], []
    while open_offs:
        best = max(_ids(open_offs), key=lambda name: _rank(name, open_offs, last))
        covered = [off for off in open_offs if _named(off, best) is not False]
        others = set.intersection(*({form.bug.id for form, _ in off.named} for off in covered)) - {best}
        found.append(_known(BY_ID[best], covered, _named(covered[0], best), sorted(others), network))
        open_offs = [off for off in open_offs if not any(off is one for one in covered)]
    unnamed = [off for off in offs if not off.named]
    found += _unnamed(unnamed, last, network)
    merged: dict[str, Finding] = {}
    for finding in found:
        if finding.id in merged and finding.id in BY_ID:
            layers = tuple(sorted({*merged[finding.id].layers, *finding.layers}))
            merged[finding.id] = Finding(**{**vars(merged[finding.id]), "layers": layers})
        else:
            merged[finding.id if finding.id in BY_ID else f"{finding.id}{len(merged)}"] = finding
    return list(merged.values())


def _ids(offs):
    return list(dict.fromkeys(form.bug.id for off in offs for form, _ in off.named))


def _named(off, name):
    """The number with which a bug explains it; None without one, False if the bug does not explain it."""
    return next((number for form, number in off.named if form.bug.id == name), False)


def _rank(name, offs, last):
    """How good an explanation a bug is: how much it explains, without a number, at the place where it belongs."""
    covered = [off for off in offs if _named(off, name) is not False]
    plain = sum(_named(off, name) is None for off in covered)
    place = sum(_belongs(BY_ID[name], off, last) for off in covered)
    return len(covered), plain > 0, place, -list(BY_ID).index(name)


def _belongs(bug, off, last):
    if off.quantity == "delta":
        return bug.where == ("delta of the output" if off.layer == last else "hidden delta")
    return bug.where == off.quantity


def _known(bug, offs, number, others, network):
    layers = tuple(sorted({off.layer for off in offs}))
    with_number = f", {bug.parameter} = {number:.6g}" if isinstance(number, float) and bug.parameter else ""
    factor = offs[0].factor
    times = f", and so many times too large: {factor:.6g}" if factor not in {0.0, 1.0} else ""
    return Finding(
        bug.id,
        bug.text,
        offs[0].quantity,
        layers,
        bug.right,
        f"{bug.wrong}{with_number}{times}",
        bug.hint,
        "likely" if others else "certain",
        tuple(others),
        bug.acceptable,
        network,
    )


def _unnamed(offs, last, network):
    """Findings for what is only a factor, or has no name."""
    found = []
    groups: dict[tuple[str, float, str], list] = {}
    for off in offs:
        key = (off.quantity, 1.0 if off.words else round(off.factor, 9))
        groups.setdefault((*key, off.words), []).append(off)
    for (quantity, factor, words), group in groups.items():
        layers = tuple(sorted({off.layer for off in group}))
        if not words:
            found.append(_factor(quantity, factor, layers, last, network))
            continue
        text = f"{quantity} of layer {_listed(layers)}: {words}"
        due = {"delta": "delta = φ'(z)·(delta·Wᵀ of the layer above)", "dW": "dW = aᵀ·delta", "db": "db = Σₛ delta"}
        found.append(
            Finding(
                f"unknown-{quantity}",
                text,
                quantity,
                layers,
                due.get(quantity, ""),
                _table(group[0]),
                f"compare your {quantity} of layer {layers[-1]} with that formula, entry by entry",
                "measured",
                (),
                False,
                network,
            )
        )
    return found


def _factor(quantity, factor, layers, last, network):
    """A constant factor on a delta or a tensor."""
    name = "tensor-factor"
    if quantity == "db" and factor == round(factor) > 1.0:
        bug = BY_ID["bias-in-weight-loop"]
        measured = f"db of layer {_listed(layers)} is {_number(factor)} times what the rule gives"
        return Finding(bug.id, bug.text, quantity, layers, bug.right, measured, bug.hint, "likely", ("bias-factor",),
                       False, network)  # fmt: skip
    text = f"{quantity} of layer {_listed(layers)} is {_number(factor)} times what the rule gives"
    if factor == -1.0:
        text = f"{quantity} of layer {_listed(layers)} has the wrong sign"
    return Finding(
        name, text, quantity, layers, "no factor", f"{_number(factor)} times it", "leave the factor out",
        "measured", (), False, network,
    )  # fmt: skip


def scale_bugs(factor: float, loss_factor: float | None, n_out: int, squared: bool) -> list[str]:
    """The ids of the bugs that give a factor on every gradient, relative to that of the loss."""
    near = {
        "sign": -1.0,
        "log-base-2": 1.0 / math.log(2.0),
        "log-base-10": 1.0 / math.log(10.0),
        **({"sum-over-outputs": float(n_out), "mean-over-outputs": 1.0 / n_out} if n_out > 1 else {}),
        **({"extra-two": 2.0, "missing-two": 0.5} if squared else {}),
    }
    found = [name for name, value in near.items() if np.isclose(factor, value, rtol=1e-7)]
    if squared and loss_factor is not None and np.isclose(factor, 2.0) and np.isclose(loss_factor, 0.5):
        found.insert(0, "loss-half")
    return found or ["learning-rate-folded"]


def scaled(factor, loss_factor, n_out, squared, network, loss_is_off=False):
    """The finding for a factor on every gradient, or on the loss alone."""
    first, *others = scale_bugs(factor, loss_factor, n_out, squared)
    if loss_is_off and first in {"sum-over-outputs", "mean-over-outputs"}:
        first, others = "loss-outputs", [first, *others]
    if loss_is_off and first == "extra-two":
        first, others = "loss-half", [first, *others]
    bug = BY_ID[first]
    beside = "the derivative of your loss" if loss_factor is not None else "any usual loss's gradient"
    return Finding(
        bug.id,
        bug.text,
        "delta",
        (),
        bug.right,
        f"every gradient is {_number(factor)} times {beside}",
        bug.hint,
        "likely" if others else "certain",
        tuple(others),
        network=network,
    )


def powered(powers, of_loss, network) -> list[Finding]:
    """Findings for tensors that are not divided by the batch size as is due.

    Parameters
    ----------
    powers : dict of (str, int) to int
        The power of the batch size that each tensor has, beside the sum of its samples.
    of_loss : int or None
        That of the loss; None: there is none, and 0 or −1 is due.
    """
    _, best = min(_explanations(powers, of_loss), key=lambda one: (len(one[1]), one[0], sum(map(len, one[1].values()))))
    found = []
    for name, layers in best.items():
        bug = BY_ID[name]
        beside = "" if of_loss is not None else "; no loss says which is meant"
        quantity = "db" if name.startswith("bias") else "dW" if name.startswith("weights") else "delta"
        found.append(known_bug(name, quantity, tuple(sorted(layers)), bug.wrong + beside, network))
    return found


def _explanations(powers, of_loss):
    """What may have made such powers: a division of everything, one at some layers, others of dW and of db.

    Pairs of how many divisions of single tensors that takes, and names with their layers.
    """
    last = max(layer for _, layer in powers)
    everywhere = {-1: (0, -1), 0: (0, 1)} if of_loss is None else {of_loss: (0, -1, 1, -2, 2)}
    for due, whole in ((due, whole) for due, some in everywhere.items() for whole in some):
        for passed in itertools.chain.from_iterable(
            itertools.combinations(range(1, last + 1), n) for n in range(last + 1)
        ):
            names: dict[str, set[int]] = {}
            count = 0
            if whole:
                once = "loss-sum" if (whole, of_loss) == (-1, 0) else "mean-twice"
                names["missing-mean" if whole > 0 else once] = {layer for _, layer in powers}
            if passed:
                names["mean-each-layer"] = {layer - 1 for layer in passed}
            for (quantity, layer), power in powers.items():
                rest = power - due - whole + sum(above > layer for above in passed)
                count += abs(rest)
                if rest:
                    name = {("db", True): "bias-sum", ("db", False): "bias-mean", ("dW", True): "weights-missing-mean",
                            ("dW", False): "weights-mean-twice"}[quantity, rest > 0]  # fmt: skip
                    names.setdefault(name, set()).add(layer)
            yield count, names


def _number(value):
    return f"{value:.6g}"


def _listed(layers):
    return ", ".join(map(str, layers))


def _table(off):
    """Some of what was measured beside what is due."""
    if off.due is None or off.measured is None or off.due.shape != off.measured.shape:
        return ""
    farthest = np.argsort(-np.abs(off.measured - off.due), axis=None, kind="stable")[:3]
    pairs = zip(off.measured.ravel()[farthest], off.due.ravel()[farthest], strict=True)
    return "yours, right: " + "; ".join(f"{yours:.6g}, {due:.6g}" for yours, due in pairs)
