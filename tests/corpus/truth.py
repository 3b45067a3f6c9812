"""The truth of a program, by means that know nothing of backpropagation: central differences of its own loss."""

import contextlib
import io
import itertools
import warnings

import numpy as np

STEP = 1e-3
BATCHES = (1, 4, 7)


def load(source: str, name: str):
    """The function or class of that name of a program."""
    space: dict = {"__name__": "program"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "<program>", "exec"), space)
    return space[name]


def differences(loss, W, b):
    """The gradient of ``loss(W, b)`` by central differences of sixth order, and an estimate of its error."""
    gradients, error = [], 0.0
    for arrays in (W, b):
        made = []
        for part in arrays:
            g = np.zeros_like(part)
            for place in np.ndindex(part.shape):
                old, slopes = part[place], []
                for scale in (1, 2, 3):
                    part[place] = old + scale * STEP
                    above = loss(W, b)
                    part[place] = old - scale * STEP
                    slopes.append((above - loss(W, b)) / (2 * scale * STEP))
                part[place] = old
                g[place] = (15 * slopes[0] - 6 * slopes[1] + slopes[2]) / 10
                error = max(error, abs(g[place] - (4 * slopes[0] - slopes[1]) / 3))
            made.append(g)
        gradients.append(made)
    return *gradients, error


def flat(dW, db):
    """All entries as one vector; None stands for nothing."""
    return np.concatenate([np.ravel(part) for part in (*dW, *db) if part is not None])


def gradient_of_own_loss(spec, function, W, b, x, y):
    """The gradient of the program's own loss, and its error, as vectors like those of its answer."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        own_b = [part if has or spec.folded else np.zeros_like(part) for part, has in zip(b, spec.biased, strict=False)]
        dW, db, error = differences(lambda W, b: float(spec.call(function, W, b, x, y)[0]), W, own_b)
    db = [part if has or spec.folded else None for part, has in zip(db, spec.biased, strict=False)]
    return flat(dW, db), error


def answer(spec, function, batch, seed, soft=False, **keywords):
    """Loss and gradient, as one vector, on seeded inputs."""
    W, b, x, y = spec.net.inputs(batch, seed, soft)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        loss, dW, db = spec.call(function, W, b, x, y, **keywords)
    return loss, dW, db


def is_own_gradient(spec, function, seeds=(5,)) -> bool:
    """Whether the gradient is that of the program's own loss, on each of the inputs; kinks are gone round."""
    batch = 1 if spec.layout.samples == "flat" else 4
    return all(_is_own_gradient(spec, function, batch, seed) for seed in seeds)


def _is_own_gradient(spec, function, batch, seed):
    for attempt in range(6):
        W, b, x, y = spec.net.inputs(batch, seed + 100 * attempt, soft=True)
        _, dW, db = answer(spec, function, batch, seed + 100 * attempt, soft=True)
        got = flat(dW, db)
        numeric, error = gradient_of_own_loss(spec, function, W, b, x, y)
        if got.shape != numeric.shape:
            return False
        size = np.max(np.abs(numeric)) + 1e-3
        if error < 1e-7 * size:
            return bool(np.max(np.abs(got - numeric)) <= 1e-6 * size)
    return False


def conventional(factors, sizes) -> bool:
    """Whether factors, one for each batch, are m^i·k^j·2^n with the same powers."""
    k, batches = sizes
    for i, j, n in itertools.product((-1, 0, 1), (-1, 0, 1), (-2, -1, 0, 1, 2)):
        if all(abs(f / (m**i * float(k) ** j * 2.0**n) - 1) < 1e-9 for f, m in zip(factors, batches, strict=False)):
            return True
    return False


def harmless(spec, wrong, right, batches=BATCHES) -> bool:
    """Whether two programs differ by nothing but a convention: one factor, which the loss, if there is one, has too."""
    batches = (1,) if spec.layout.samples == "flat" else batches
    factors = []
    for batch, soft in ((batch, soft) for batch in batches for soft in (False, True)):
        loss, dW, db = answer(spec, wrong, batch, 11, soft)
        right_loss, right_dW, right_db = answer(spec, right, batch, 11, soft)
        if [np.shape(part) for part in (*dW, *db)] != [np.shape(part) for part in (*right_dW, *right_db)]:
            return False
        g, h = flat(dW, db), flat(right_dW, right_db)
        if not np.all(np.isfinite(g)):
            return False
        factor = float(g @ h / (h @ h)) if np.any(h) else 1.0
        if np.max(np.abs(g - factor * h)) > 1e-9 * np.max(np.abs(h)) or factor == 0.0:
            return False
        if loss is not None and abs(loss - factor * right_loss) > 1e-9 * abs(right_loss):
            return False
        factors.append((factor, batch))
    if all(abs(f - 1) < 1e-9 for f, _ in factors):
        return True
    return conventional([f for f, _ in factors], (spec.net.sizes[-1], [m for _, m in factors]))
