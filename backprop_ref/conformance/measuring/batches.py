"""How a submission puts a batch together from its samples: sum or mean, tensor by tensor, or in another way."""

from dataclasses import dataclass

import numpy as np

from backprop_ref.conformance.measuring.rules import Scene, forms
from backprop_ref.conformance.measuring.samples import Named, Off, Samples, ratio, same

POWERS = (0, -1, 1, -2, 2, -3, 3)


@dataclass
class Together:
    """A batch against the sum of its samples.

    Attributes
    ----------
    powers : dict of (str, int) to int
        For each tensor, i where the batch's is size**i times the sum of the samples'.
    offs : list of Off
        Tensors for which there is no such power.
    """

    powers: dict[tuple[str, int], int]
    offs: list[Off]


def together(samples: Samples, scene: Scene, asked) -> Together:
    """Compares the answer for a batch with those for its samples."""
    size, tolerance = len(scene.case.x), samples.tolerance
    powers: dict[tuple[str, int], int] = {}
    odd = []
    for layer in reversed(range(len(samples.G))):
        pairs = [("dW", samples.G[layer], asked.values.dW[layer])]
        B = samples.B[layer]
        if B is not None and asked.values.db is not None and asked.values.db[layer] is not None:
            pairs.append(("db", B, asked.values.db[layer]))
        for name, parts, measured in pairs:
            added = samples.added.get(layer) if name == "dW" else None
            power = _power(parts, measured, added, size, tolerance)
            if power is None:
                odd.append((name, layer, measured))
            else:
                powers[name, layer] = power
    offs = _explained(samples, scene, odd, powers) if odd else []
    return Together(powers, offs)


def _power(parts, measured, added, size, tolerance):
    """i with measured = size**i · (sum of the samples' parts), beside what is added whatever the sample."""
    total = (parts - (0.0 if added is None else added)).sum(axis=0)
    for power in POWERS:
        rest = measured - float(size) ** power * total
        if added is None:
            if same(measured, measured - rest, tolerance):
                return power
        else:
            times = float((rest * added).sum() / (added * added).sum())
            if np.abs(rest - times * added).max() <= tolerance * np.abs(measured).max():
                return power
    return 0 if not np.any(total) and not np.any(measured) else None


def _explained(samples, scene, odd, powers):
    """What is off with the tensors that are no multiple of the samples' sum."""
    size = float(len(scene.case.x))
    usual = max(set(powers.values()), key=list(powers.values()).count) if powers else None
    scales = [size**usual] if usual is not None else [1.0 / size, 1.0]
    offs = []
    for name, layer, measured in odd:
        found: Named = []
        for scale in scales:
            scene.given = {("delta", at): part * scale for at, part in samples.delta.items()}
            due = scene.quantity((name, layer))
            for form in forms():
                if form.fitted or not {"left", "dW", "db", "target", "error", "mean"} & form.change.keys():
                    continue
                part = _given(samples, scene, name, layer, form, scale)
                if (
                    part is None
                    or part.shape != measured.shape
                    or (due is not None and same(part, due, samples.tolerance))
                ):
                    continue
                c = ratio(measured, part, samples.tolerance)
                if c is not None and any(np.isclose(c, size**power, rtol=1e-6) for power in (0, 1, -1)):
                    found.append((form, None))
            if found:
                break
        words = "" if found else "it is no multiple of the sum of its samples' gradients"
        offs.append(Off(name, layer, found, 1.0, measured, due, words))
    return offs


def _given(samples, scene, name, layer, form, scale):
    """The tensor of a batch with a bug in it, given the samples' deltas, or the last delta with the bug in it."""
    if {"target", "error", "mean"} & form.change.keys():
        if layer != samples.last:
            return None
        whole = Scene(scene.case, {}, scene.base)
        delta = whole.quantity(("delta", layer), form.change)
        if delta is None:
            return None
        scene.given["delta", layer] = delta * samples.scale
        part = scene.quantity((name, layer))
        scene.given["delta", layer] = samples.delta[layer] * scale
        return part
    return scene.quantity((name, layer), form.change)
