"""The derivative that a layer multiplies with, measured: as a formula of a and z where one fits, else as a curve."""

from collections.abc import Iterator

import numpy as np

from backprop_ref.conformance.dissecting.comparing import ratio

TURNS = 2.5
"""What goes up and down by more than so many times its range is no function of z."""
FEW, LEAST = 5, 12
"""So many points hold a formula, and so many make a curve."""


def _formulas(z, a) -> Iterator[tuple[str, np.ndarray]]:
    """What people write for a derivative, in a and z of the layer."""
    mask, s = (z > 0.0) * 1.0, 1.0 / (1.0 + np.exp(-z))
    yield from (("σ(z)·(1 − σ(z))", s * (1.0 - s)), ("1 − tanh²(z)", 1.0 - np.tanh(z) ** 2))
    yield from (("1", z * 0.0 + 1.0), ("a", a), ("z", z), ("1 where z > 0, else 0", mask))
    yield from (("1 where z ≤ 0, else 0", 1.0 - mask), ("z where z > 0, else 0", z * mask))
    yield from (("1 − a", 1.0 - a), ("1 + a", 1.0 + a), ("a²", a**2), ("(1 − a)²", (1.0 - a) ** 2))
    yield from (
        ("1 − |a|", 1.0 - np.abs(a)),
        ("1 − a²", 1.0 - a**2),
        ("a·(1 − a)", a * (1.0 - a)),
        ("a·(1 + a)", a * (1.0 + a)),
    )
    yield from (("1 + a²", 1.0 + a**2), ("a²·(1 − a)", a**2 * (1.0 - a)), ("a·(1 − a)²", a * (1.0 - a) ** 2))
    yield from (("a·(1 − a²)", a * (1.0 - a**2)), ("(1 − a²)²", (1.0 - a**2) ** 2), ("1 − a³", 1.0 - a**3))
    yield from (("z·(1 − a)", z * (1.0 - a)), ("z·(1 − z)", z * (1.0 - z)), ("1 − z²", 1.0 - z**2))
    yield from (("z·a", z * a), ("a − z²", a - z**2), ("1 − a·z", 1.0 - a * z), ("exp(z)", np.exp(z)))
    yield from (("exp(−z)", np.exp(-z)), ("1/a", 1.0 / a), ("1/(a·(1 − a))", 1.0 / (a * (1.0 - a))))


def in_words(z, a, carried, measured, tolerance) -> str:
    """What stands for the derivative; empty where what is measured is no multiple of what is carried, entry by entry,
    by a function of z."""
    told = np.abs(carried) > 1e-6 * np.abs(carried).max(initial=0.0)
    if measured.shape != carried.shape or told.sum() < FEW or np.any(measured[~told]):
        return ""
    slope, z, a = measured[told] / carried[told], z[told], a[told]
    with np.errstate(all="ignore"):
        for name, due in _formulas(z, a):
            if np.all(np.isfinite(due)) and (c := ratio(slope, due, 100.0 * tolerance)) is not None:
                return f"{name if abs(c - 1.0) < 1e-6 else f'{c:.6g} times ({name})'} stands for the derivative φ'(z)"
    order = np.argsort(z)
    span = float(np.ptp(slope))
    if told.sum() < LEAST or not np.all(np.isfinite(slope)) or np.abs(np.diff(slope[order])).sum() > TURNS * span:
        return ""
    some = order[[0, len(order) // 3, 2 * len(order) // 3, -1]]
    points = ", ".join(f"{slope[one]:.4g} at z = {z[one]:.3g}" for one in some)
    return f"another curve stands for the derivative φ'(z): {points}"
