"""Update rules over all weights and biases at once, in + − × ÷ and √ alone, so that they too are the same everywhere.

Parameters live on the host, so the rules are NumPy; scalars are binary64 and rounded once to the parameters' dtype by
the product they enter. Weight decay λ adds λ·W to the gradient of W, not of b, and nothing to the loss.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from backprop_ref.errors import InvalidInput, unknown


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``W ← W − η·g``.

    With momentum μ: ``v ← μ·v + g`` (v = 0 at first) and ``W ← W − η·v``; nesterov: ``W ← W − η·(g + μ·v)``
    (Sutskever et al. 2013, in the form common to today's libraries).
    """

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self):
        _make_plain(self, learning_rate=math.inf, momentum=1.0, weight_decay=math.inf)
        if self.nesterov and self.momentum == 0.0:
            raise InvalidInput("nesterov needs a momentum above 0, such as 0.9")

    def init(self, flat):
        """State before the first step: the velocity, if there is momentum."""
        return {"velocity": np.zeros_like(flat)} if self.momentum else {}

    def step(self, params, grads, state, learning_rate):
        """One update of `params` and `state`, in place; `grads` is used up."""
        _add_decay(self.weight_decay, params, grads)
        g = direction = grads.flat
        if self.momentum:
            v = state["velocity"]
            v *= self.momentum
            v += g
            direction = g + self.momentum * v if self.nesterov else v
        params.flat -= learning_rate * direction


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015): ``m ← β1·m + (1−β1)·g``, ``v ← β2·v + (1−β2)·g²``,
    ``W ← W − (η·(m/c1)) / (√(v/c2) + ε)`` with ``c1 = 1 − β1^t``, ``c2 = 1 − β2^t``.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        _make_plain(self, learning_rate=math.inf, beta1=1.0, beta2=1.0, epsilon=math.inf, weight_decay=math.inf)

    def init(self, flat):
        """State before the first step: m, v, and the powers β1^t and β2^t, made by repeated multiplication."""
        return {"m": np.zeros_like(flat), "v": np.zeros_like(flat), "powers": np.ones(2)}

    def step(self, params, grads, state, learning_rate):
        """One update of `params` and `state`, in place; `grads` is used up."""
        _add_decay(self.weight_decay, params, grads)
        g, m, v, powers = grads.flat, state["m"], state["v"], state["powers"]
        powers *= (self.beta1, self.beta2)
        c1, c2 = (1.0 - powers).tolist()
        m *= self.beta1
        m += (1.0 - self.beta1) * g
        v *= self.beta2
        v += (1.0 - self.beta2) * (g * g)
        params.flat -= learning_rate * (m / c1) / (np.sqrt(v / c2) + self.epsilon)


OPTIMIZERS = {"sgd": SGD, "adam": Adam}


def describe(optimizer):
    """An optimizer as a JSON-ready dictionary."""
    return {"name": type(optimizer).__name__.lower(), **asdict(optimizer)}


def _add_decay(weight_decay, params, grads):
    if weight_decay:
        for dW, W in zip(grads.W, params.W, strict=True):
            dW += weight_decay * W


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is."""

    def __call__(self, epoch, epochs):
        """The factor on the learning rate in `epoch`, counted from 0, of `epochs`."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """The learning rate times `factor` after every `every` epochs."""

    every: int = 30
    factor: float = 0.1

    def __post_init__(self):
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise InvalidInput(f"schedule step: every={self.every!r}: a whole number of epochs, 1 or more, is needed")
        _make_plain(self, "schedule step: ", factor=math.inf)

    def __call__(self, epoch, epochs):
        """`factor` multiplied with itself as often as `every` epochs have passed."""
        product = 1.0
        for _ in range(epoch // self.every):
            product *= self.factor
        return product


@dataclass(frozen=True)
class Cosine:
    """From the learning rate down to `minimum` times it along half a cosine (Loshchilov and Hutter 2017)."""

    minimum: float = 0.0

    def __post_init__(self):
        _make_plain(self, "schedule cosine: ", minimum=math.inf)

    def __call__(self, epoch, epochs):
        """``minimum + (1 − minimum)·(1 + cos(π·epoch/epochs))/2``, with our own cosine."""
        from backprop_ref.kernels import elementary

        cosine = elementary.for_scalars("float64").cospi(epoch / epochs)
        return self.minimum + (1.0 - self.minimum) * ((1.0 + cosine) / 2.0)


SCHEDULES = {"constant": Constant, "step": Step, "cosine": Cosine}


def get_schedule(schedule):
    """A schedule from None (constant), a name, or any callable ``(epoch, epochs) -> factor``."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise unknown("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]()
    if not callable(schedule):
        raise InvalidInput(
            f"schedule {schedule!r}: a name ({', '.join(SCHEDULES)}) or a callable (epoch, epochs) -> factor is needed"
        )
    return schedule


def _make_plain(settings, prefix="", **limits):
    """Refuses fields that are not numbers from 0 to below their limit; makes them Python floats.

    A NumPy scalar would make float32 arithmetic binary64.
    """
    for name, limit in limits.items():
        value = getattr(settings, name)
        good = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
        if not good or not 0.0 <= value < limit:
            below = "" if limit == math.inf else f" and below {limit:g}"
            raise InvalidInput(f"{prefix}{name}={value!r}: a number not below 0{below} is needed")
        object.__setattr__(settings, name, float(value))
