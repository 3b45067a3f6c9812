"""Nobody is timed who computes something else: gradients, or the step they make, are held against the definition."""

import time
from functools import cached_property

import numpy as np

from backprop_ref.api import value_and_grad
from backprop_ref.backends import get_backend
from backprop_ref.benchmarks.ladder import LEARNING_RATE
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.errors import BackpropRefError
from backprop_ref.optimizers import SGD
from backprop_ref.parameters import Parameters, count, views
from backprop_ref.training.pairs import PairsTrainer

EXACT, WITHIN_BOUND = "EXACT", "WITHIN BOUND"
CHECKED_RATE = 1.0
"""Learning rate of the step that is checked: one that is not small beside the rounding of the parameters."""
SAME_WAY = 0.1
"""Rounding grows from step to step, so an epoch has no useful bound; but a step left out shows beyond this."""
LONGEST_EPOCH_SECONDS = 2.0


class WrongGradient(BackpropRefError, ArithmeticError):
    """What was to be timed has gradients outside the rounding bound, or not the bits that it promises."""


class LeftOut(Exception):
    """Why someone is not timed here: the task is not one it can do, or takes too long."""


class Truth:
    """The gradient of one batch in three forms: the bits, a value in float64, and how far rounding may lead from it."""

    def __init__(self, network, params, x, y):
        self.network, self.params, self.x, self.y = network, params, x, y

    @cached_property
    def bits(self):
        """The gradient under reproducible numerics."""
        backend = get_backend("numpy", "reproducible", device="cpu")
        return value_and_grad(self.network, self.params, self.x, self.y, backend=backend)[1].flat

    @cached_property
    def centre(self):
        """The gradient by NumPy in float64, at the parameters as they are."""
        backend = get_backend("numpy", "fast", device="cpu")
        params = Parameters(self.params.flat.astype(np.float64), self.params.sizes)
        return value_and_grad(self.network, params, self.x, self.y, backend=backend)[1].flat

    @cached_property
    def allowed(self):
        """How far any right gradient of this precision may be from `centre`, entry by entry."""
        dtypes = {self.params.dtype.name, "float64"}
        bounds = [gradient_bounds(self.network, self.params, self.x, self.y, dtype) for dtype in dtypes]
        total = sum(_flat(bound.dW, bound.db) for bound in bounds)
        return total if len(bounds) == 2 else 2.0 * total

    def of_gradient(self, found, numerics="fast"):
        """The verdict on a gradient, `Parameters`; `WrongGradient` if there is none that is good enough."""
        return self._verdict(found.flat, self.bits, self.centre, self.allowed, numerics)

    def of_step(self, found, learning_rate, numerics="fast"):
        """The verdict on the parameters after one step of plain gradient descent."""
        W, rate = self.params.flat, self.params.dtype.type(learning_rate)
        wide, step, limits = W.astype(np.float64), float(rate) * self.centre, np.finfo(self.params.dtype)
        # W may stand anywhere in the sum over the batch; scaling a factor of each product is one rounding more, and
        # so at most doubles what the bound of the sum alone allows
        rounding = (len(self.x) + 2) * limits.eps / 2 * (np.abs(wide) + np.abs(step)) + 2.0 * limits.smallest_subnormal
        allowed = 3.0 * float(rate) * self.allowed + rounding
        return self._verdict(found.flat, W - rate * self.bits, wide - step, allowed, numerics)

    def _verdict(self, found, bits, centre, allowed, numerics):
        if found.dtype != bits.dtype or found.shape != bits.shape:
            raise WrongGradient(f"{found.dtype} of shape {found.shape}; {bits.dtype} of {bits.shape} is needed")
        if found.tobytes() == bits.tobytes():
            return EXACT
        apart = np.abs(found.astype(np.float64) - centre)
        inside = apart <= allowed  # false for NaN
        if not inside.all():
            entry = int(np.argmin(inside))
            raise WrongGradient(
                f"{_where(self.params.sizes, entry)} is {found[entry]!r}, {apart[entry]:.3g} from {centre[entry]!r}: "
                f"rounding explains {allowed[entry]:.3g} ({np.count_nonzero(~inside)} of {len(found)} entries wrong)"
            )
        if numerics == "reproducible":
            raise WrongGradient("inside the rounding bound, but not the bits of the reproducible arithmetic")
        return WITHIN_BOUND


class Checks:
    """What the contestants for one task are held against; nothing is computed before it is asked for."""

    def __init__(self, task):
        self.task = task
        self.truth = Truth(task.network, task.params, *task.first_batch)

    @cached_property
    def travelled(self):
        """How an epoch of plain gradient descent changes `flat`, by the definition, in float64."""
        task = self.task
        backend, sgd = get_backend("numpy", "fast", device="cpu"), SGD(LEARNING_RATE)
        trainer = PairsTrainer(backend, task.network, sgd, task.batch, 1, task.metric)
        params = Parameters(task.params.flat.astype(np.float64), task.params.sizes)
        x, y = (array.astype(np.float64) for array in task.data)
        with backend.scope():
            trainer.run(params, sgd.init(params.flat), x, y, np.arange(len(x))[None, :], [LEARNING_RATE])
        return params.flat - task.params.flat

    def verdict(self, contestant):
        """EXACT or WITHIN BOUND; raises `WrongGradient`, or `LeftOut` where a step takes too long."""
        numerics = getattr(contestant, "numerics", "fast")
        verdict = self.truth.of_step(contestant.first_step(CHECKED_RATE), CHECKED_RATE, numerics)
        for _ in range(3):  # one step may have waited for the processor
            started = time.perf_counter()
            contestant.first_step(CHECKED_RATE)
            seconds = time.perf_counter() - started
            if seconds * self.task.batches <= LONGEST_EPOCH_SECONDS * self.task.rung.patience:
                break
        else:
            raise LeftOut(f"a step takes {seconds:.2g} s")
        with contestant.scope():
            contestant.restart(LEARNING_RATE)
            contestant.run(1)
        apart = contestant.parameters().flat.astype(np.float64) - self.task.params.flat - self.travelled
        if not np.linalg.norm(apart) <= SAME_WAY * np.linalg.norm(self.travelled):
            raise WrongGradient("the first step is right, but a whole epoch leads elsewhere")
        return verdict


def _flat(dW, db):
    return np.concatenate([np.ravel(part) for pair in zip(dW, db, strict=True) for part in pair])


def _where(sizes, entry):
    """The name of an entry of the flat vector, such as 'layer 1, W[0, 2]'."""
    W, b = views(np.arange(count(sizes)), sizes)
    for layer, (weights, biases) in enumerate(zip(W, b, strict=True)):
        for name, array in (("W", weights), ("b", biases)):
            if array.flat[0] <= entry <= array.flat[-1]:
                place = ", ".join(map(str, np.unravel_index(entry - array.flat[0], array.shape)))
                return f"layer {layer}, {name}[{place}]"
    raise IndexError(entry)
