"""Stacks of arrays compared: one entry or row a sample."""

import numpy as np


def same(measured, due, tolerance) -> bool:
    """Whether two stacks of arrays agree in so many of their digits."""
    if measured is None or due is None or measured.shape != due.shape:
        return False
    size = max(np.abs(due).max(initial=0.0), np.abs(measured).max(initial=0.0))
    return bool(size < np.inf and np.abs(measured - due).max(initial=0.0) <= tolerance * size)


def ratio(measured, due, tolerance) -> float | None:
    """The number c with measured = c·due, if there is one that is not 0."""
    if measured is None or due is None or measured.shape != due.shape or not np.isfinite(measured).all():
        return None
    size = float((due * due).sum())
    if not np.isfinite(size) or size == 0.0:
        return None
    c = float((due * measured).sum()) / size
    return c if c and same(measured, c * due, tolerance) else None


def split(G, v):
    """delta with G[s] = outer(v[s], delta[s]) as nearly as can be, and what is left of G."""
    size = (v * v).sum(axis=1)
    delta = np.einsum("si,sij->sj", v, G) / np.where(size == 0.0, 1.0, size)[:, None]
    return delta, G - np.einsum("si,sj->sij", v, delta)


def constant_part(G, v, tolerance, B=None):
    """What is added to G[s] = outer(v[s], delta[s]) whatever the sample; None if that does not explain G.

    Where P[s] takes away the direction of v[s], P[s]·G[s] = P[s]·D: a linear system for D. With a delta that is known,
    such as db, the rest shows it at once.
    """
    samples, n = v.shape
    if B is not None:
        rest = G - np.einsum("si,sj->sij", v, B)
        D = rest.mean(axis=0)
        if np.abs(rest - D).max() <= tolerance * np.abs(G).max():
            return D
    if n < 2:
        return None
    size = (v * v).sum(axis=1)
    P = np.eye(n) - np.einsum("si,sk->sik", v, v) / np.where(size == 0.0, 1.0, size)[:, None, None]
    total = P.sum(axis=0)
    if np.linalg.cond(total) > 1e6:
        return None
    D = np.linalg.solve(total, np.einsum("sik,skj->ij", P, G))
    _, rest = split(G - D, v)
    free = samples * (n - 1) - n  # more equations than unknowns, or anything fits
    return D if free > 0 and np.abs(rest).max() <= tolerance * np.abs(G).max() else None
