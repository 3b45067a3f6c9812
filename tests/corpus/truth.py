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


def slope_at_zero(function):
    """The derivative at 0 by central differences of sixth order, and an estimate of its error."""
    slopes = [(function(n * STEP) - function(-n * STEP)) / (2 * n * STEP) for n in (1, 2, 3)]
    sixth, fourth = (15 * slopes[0] - 6 * slopes[1] + slopes[2]) / 10, (4 * slopes[0] - slopes[1]) / 3
    return sixth, abs(sixth - fourth)


def flat(dW, db):
    """All entries as one vector; None stands for nothing."""
    return np.concatenate([np.ravel(part) for part in (*dW, *db) if part is not None])


def answer(spec, function, batch, seed, soft=False, **keywords):
    """Loss, dW and db on seeded inputs."""
    W, b, x, y = spec.net.inputs(batch, seed, soft)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return spec.call(function, W, b, x, y, **keywords)


def is_own_gradient(spec, function, seeds=(5,), every_entry=True) -> bool:
    """Whether the gradient is that of the program's own loss, on each of the inputs.

    Every entry is compared, or the derivative along one direction.
    """
    batch = 1 if spec.layout.samples == "flat" else 4
    return all(_is_own_gradient(spec, function, batch, seed, every_entry) for seed in seeds)


def _is_own_gradient(spec, function, batch, seed, every_entry):
    for attempt in range(6):  # goes round kinks
        W, b, x, y = spec.net.inputs(batch, seed + 100 * attempt, soft=True)
        _, dW, db = answer(spec, function, batch, seed + 100 * attempt, soft=True)
        got, has_b = flat(dW, db), [has or spec.folded for has in spec.biased]
        if got.size != sum(part.size for part in W) + sum(part.size for part, has in zip(b, has_b, strict=True) if has):
            return False

        def moved(direction, W=W, b=b, x=x, y=y, has_b=has_b):
            ends = np.cumsum([part.size for part in W] + [has * part.size for part, has in zip(b, has_b, strict=True)])
            steps = np.split(direction, ends[:-1])
            new_W = [part + step.reshape(part.shape) for part, step in zip(W, steps, strict=False)]
            new_b = [part + step if has else part for part, step, has in zip(b, steps[len(W) :], has_b, strict=True)]
            return float(spec.call(function, new_W, new_b, x, y)[0])

        every = np.eye(got.size) if every_entry else np.random.default_rng(seed).normal(size=(1, got.size))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            slopes = np.array([slope_at_zero(lambda t, way=way, moved=moved: moved(t * way)) for way in every])
        numeric, error = slopes[:, 0], np.max(slopes[:, 1])
        size = np.max(np.abs(numeric)) + 1e-3
        if error < 1e-7 * size:
            return bool(np.max(np.abs(every @ got - numeric)) <= 1e-6 * size)
    return False


def conventional(factors, batches, k) -> bool:
    """Whether factors, one for each batch of m, are m^i·k^j·2^n with the same powers."""
    for i, j, n in itertools.product((-1, 0, 1), (-1, 0, 1), (-2, -1, 0, 1, 2)):
        if all(abs(f / (m**i * float(k) ** j * 2.0**n) - 1) < 1e-9 for f, m in zip(factors, batches, strict=True)):
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
    return conventional(*zip(*factors, strict=True), spec.net.sizes[-1])
