"""Update rules over all weights and biases at once, in + − × ÷ and √ alone, so that they too are the same everywhere.

Parameters live on the host, so the rules are NumPy; scalars are binary64 and rounded once to the parameters' dtype by
the product they enter. Weight decay λ adds λ·W to the gradient of W, not of b, and nothing to the loss; decoupled, it
takes η·λ·W from W instead.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Matrix, Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import UPDATES, Settings, clipped, decay, decoupled_decay, lasso

if TYPE_CHECKING:
    from backprop_ref.parameters import Parameters

Slots: TypeAlias = dict[str, Vector]
"""An optimizer's state, by name."""


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """What optimizers share: they choose a rule of the table of formulas and give it its settings.

    Before the rule, the gradient is clipped, then regularised; after it, weights are constrained. Norms are roots of
    ordered sums in binary64, of numbers scaled by a power of two so that none overflows.

    Parameters
    ----------
    l1 : float
        λ₁ of an L1 penalty: ``g ← g + λ₁·sign(W)``, for W and not for b; with weight decay an elastic net.
    l2 : float
        λ₂ of a penalty λ₂/(2n)·ΣW² in the loss of a batch of n rows, or of weights whose sum is n, as scikit-learn's
        ``alpha``: ``g ← g + (λ₂/n)·W``. The history's loss is with it; validation and evaluation are without.
    clip_value : float, optional
        Each entry of the gradient is clipped to −clip_value … clip_value, as by torch's ``clip_grad_value_``.
    clip_norm : float, optional
        A gradient whose norm, over all weights and biases, is above it is scaled to it: ``g ← g·(clip_norm/‖g‖)``
        (Pascanu, Mikolov and Bengio 2013). Keras calls it ``global_clipnorm``; torch's ``clip_grad_norm_`` divides by
        ‖g‖ + 1e-6.
    max_norm : float, optional
        Weights into a neuron whose norm is above it after the step are scaled to it (Srivastava et al. 2014), as by
        Keras's ``MaxNorm``, which divides by the norm + 1e-7.
    """

    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    max_norm: float | None = field(default=None, kw_only=True)

    decoupled: ClassVar[bool] = False
    """Whether weight decay is taken from W, not added to its gradient."""

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """η"""

    @property
    @abstractmethod
    def weight_decay(self) -> float:
        """λ"""

    def __post_init__(self) -> None:
        make_plain(self, l1=math.inf, l2=math.inf)
        if self.l2 and self.decoupled:
            raise InvalidInput("l2 is part of the loss, and decoupled weight decay is not; leave it out, or use Adam")
        for name in ("clip_value", "clip_norm", "max_norm"):
            if getattr(self, name) is not None:
                make_plain(self, "", **{name: math.inf})
                if getattr(self, name) == 0.0:
                    raise InvalidInput(f"{name}=0: a number above 0 is needed")
        if self.clip_value is not None and self.clip_norm is not None:
            raise InvalidInput("clip_value and clip_norm: gradients are clipped by one of them; leave the other out")

    def __repr__(self) -> str:
        told = {name: value for name, value in describe(self).items() if name != "name"}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    @property
    def simple(self) -> bool:
        """Whether it neither clips nor constrains, and has no L1 penalty."""
        return not self.l1 and self.clip_value is self.clip_norm is self.max_norm is None

    @property
    @abstractmethod
    def rule(self) -> str:
        """The name of its rule in `formulas.UPDATES`."""

    @abstractmethod
    def settings(self, learning_rate: float, state: Mapping[str, Vector]) -> Settings:
        """The numbers of the rule in this step."""

    def init(self, flat: Vector) -> Slots:
        """State before the first step: zeros, shaped like the parameters."""
        return {name: np.zeros_like(flat) for name in UPDATES[self.rule].state}

    def advance(self, state: Slots) -> None:  # noqa: B027 (most rules count no steps)
        """Counts a step, in what of the state is the same for all parameters."""

    def rate_changes(self, state: Slots, before: float, after: float) -> None:  # noqa: B027 (most rules do not mind)
        """Makes the state fit another learning rate, in place."""

    def step(
        self, params: Parameters, grads: Parameters, state: Slots, learning_rate: float, rows: float = 1.0
    ) -> None:
        """One update of `params` and `state`, in place; `grads`, of a batch of so many rows, is used up."""
        self.advance(state)
        self.clip(grads)
        self.regularise(params, grads, learning_rate, rows)
        update, settings = UPDATES[self.rule], self.settings(learning_rate, state)
        slots = [state[name] for name in update.state]
        new = update.step(np, settings, params.flat, grads.flat, *slots)
        for slot, value in zip((params.flat, *slots), new, strict=True):
            slot[...] = value
        self.constrain(params)

    def clip(self, grads: Parameters) -> None:
        """Clips the gradient, by value or by norm, in place."""
        g = grads.flat
        if self.clip_value is not None:
            g[...] = clipped(np, g, self.clip_value)
        elif self.clip_norm is not None and (size := float(norms(g))) > self.clip_norm:
            g *= self.clip_norm / size

    def strength(self, rows: float) -> float:
        """What times W the gradient of a batch of so many rows gets, or decoupled decay takes times η from W."""
        return self.weight_decay + self.l2 / rows

    def penalty(self, params: Parameters) -> float:
        """λ₂/2·ΣW², which is what `l2` adds to n times a batch's loss; sums are in order, layer by layer."""
        total = 0.0
        if self.l2:
            for W in params.W:
                w = W.reshape(-1).astype(np.float64)
                total += float(np.add.accumulate(w * w)[-1])
        return 0.5 * self.l2 * total

    def regularise(self, params: Parameters, grads: Parameters, learning_rate: float, rows: float) -> None:
        """Adds the gradient of the penalties, in place, or takes decoupled decay from the weights."""
        strength = self.strength(rows)
        for dW, W in zip(grads.W, params.W, strict=True):
            if self.l1:
                dW[...] = lasso(np, W, dW, W.dtype.type(self.l1))
            if strength and self.decoupled:
                W[...] = decoupled_decay(W, learning_rate * strength)
            elif strength:
                dW[...] = decay(W, dW, strength)

    def constrain(self, params: Parameters) -> None:
        """Scales the weights into each neuron to the largest norm that is allowed, in place."""
        if self.max_norm is None:
            return
        for W in params.W:
            sizes = norms(W)
            too_large = sizes > self.max_norm
            W[:, too_large] *= (self.max_norm / sizes[too_large]).astype(W.dtype)


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: ``W ← W − η·g``.

    With momentum μ: ``v ← μ·v + g`` (v = 0 at first) and ``W ← W − η·v``; nesterov: ``W ← W − η·(g + μ·v)``
    (Sutskever et al. 2013, in the form common to today's libraries). Keras and scikit-learn have the rate in v, which
    is another step after the rate has changed: `rate_in_velocity`.

    Parameters
    ----------
    learning_rate, momentum, weight_decay : float
        η, μ below 1, λ; none below 0.
    nesterov : bool
        Needs momentum.
    rate_in_velocity : bool
        ``v ← μ·v − η·g``, ``W ← W + v``; done by scaling v by η before over η after where a schedule changes η.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.SGD(0.1, momentum=0.9, nesterov=True).rule
    'nesterov'
    """

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    rate_in_velocity: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        make_plain(self, learning_rate=math.inf, momentum=1.0, weight_decay=math.inf)
        if self.nesterov and self.momentum == 0.0:
            raise InvalidInput("nesterov needs a momentum above 0, such as 0.9")

    @property
    def rule(self) -> str:
        return "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"

    def settings(self, learning_rate: float, state: Mapping[str, Vector]) -> Settings:
        return Settings(learning_rate, momentum=self.momentum)

    def rate_changes(self, state: Slots, before: float, after: float) -> None:
        if not self.rate_in_velocity or not self.momentum or before == after:
            return
        if after == 0.0:
            raise InvalidInput("rate_in_velocity: the schedule gives a learning rate of 0; one above 0 is needed")
        state["velocity"] *= before / after


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): ``m ← β1·m + (1−β1)·g``, ``v ← β2·v + (1−β2)·g²``,
    ``W ← W − (η·(m/c1)) / (√(v/c2) + ε)`` with ``c1 = 1 − β1^t``, ``c2 = 1 − β2^t``.

    So torch has it. Keras (where ε is 1e-7) and scikit-learn add ε before the bias correction, which is
    ``W ← W − (η·√c2/c1)·m / (√v + ε)``, the paper's ε̂: `epsilon_hat`.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, weight_decay : float
        η, β1 and β2 below 1, ε, λ; none below 0.
    epsilon_hat : bool
        Whether ε is added before the bias correction: ``ε/√c2`` in the place of ε.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.Adam().learning_rate
    0.001
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    epsilon_hat: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        make_plain(self, learning_rate=math.inf, beta1=1.0, beta2=1.0, epsilon=math.inf, weight_decay=math.inf)

    @property
    def rule(self) -> str:
        return "adam"

    def init(self, flat: Vector) -> Slots:
        """State before the first step: m, v, and the powers β1^t and β2^t, made by repeated multiplication."""
        return {**super().init(flat), "powers": np.ones(2)}

    def settings(self, learning_rate: float, state: Mapping[str, Vector]) -> Settings:
        c1, c2 = (1.0 - state["powers"]).tolist()
        rest1, rest2 = 1.0 - self.beta1, 1.0 - self.beta2
        epsilon = self.epsilon / math.sqrt(c2) if self.epsilon_hat else self.epsilon
        return Settings(learning_rate, 0.0, self.beta1, rest1, self.beta2, rest2, c1, c2, epsilon)

    def advance(self, state: Slots) -> None:
        state["powers"] *= (self.beta1, self.beta2)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): ``W ← W − (η·λ)·W``, then `Adam`'s step with the
    gradient of the loss alone.

    η is that of the step, schedule and all, as in torch and Keras; the paper multiplies λ by the schedule's factor
    alone. Biases do not decay; in torch they do, unless they are in a group of parameters with ``weight_decay=0``.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, weight_decay : float
        η, β1 and β2 below 1, ε, λ; none below 0.
    epsilon_hat : bool
        As of `Adam`.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.AdamW().weight_decay
    0.01
    """

    weight_decay: float = 0.01
    decoupled: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012, lecture 6e): ``v ← ρ·v + (1−ρ)·g²`` (v = 0 at first),
    ``W ← W − (η·g) / (√v + ε)``.

    As torch has it, whose defaults are η = 0.01 and ρ = 0.99 (its ``alpha``). Keras has ε = 1e-7 inside the root:
    ``√(v + ε)``.

    Parameters
    ----------
    learning_rate, rho, epsilon, weight_decay : float
        η, ρ below 1, ε, λ; none below 0.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.RMSprop().rho
    0.9
    """

    learning_rate: float = 0.001
    rho: float = 0.9
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        make_plain(self, learning_rate=math.inf, rho=1.0, epsilon=math.inf, weight_decay=math.inf)

    @property
    def rule(self) -> str:
        return "rmsprop"

    def settings(self, learning_rate: float, state: Mapping[str, Vector]) -> Settings:
        return Settings(learning_rate, beta2=self.rho, rest2=1.0 - self.rho, epsilon=self.epsilon)


@dataclass(frozen=True, repr=False)
class AdaGrad(Optimizer):
    """AdaGrad (Duchi, Hazan and Singer 2011, with diagonal matrices): ``v ← v + g²`` (v = 0 at first),
    ``W ← W − (η·g) / (√v + ε)``.

    As torch has it, whose default ε is 1e-10. Keras begins with v = 0.1 and has ε = 1e-7 inside the root.

    Parameters
    ----------
    learning_rate, epsilon, weight_decay : float
        η, ε, λ; none below 0.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.AdaGrad(0.1).rule
    'adagrad'
    """

    learning_rate: float = 0.01
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        make_plain(self, learning_rate=math.inf, epsilon=math.inf, weight_decay=math.inf)

    @property
    def rule(self) -> str:
        return "adagrad"

    def settings(self, learning_rate: float, state: Mapping[str, Vector]) -> Settings:
        return Settings(learning_rate, epsilon=self.epsilon)


OPTIMIZERS: Mapping[str, type[SGD | Adam | AdamW | RMSprop | AdaGrad]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": AdaGrad,
}


def describe(optimizer: Any) -> dict[str, Any]:
    """An optimizer as a JSON-ready dictionary; settings that are given by name alone only where they are not usual."""
    values = {each: getattr(optimizer, each.name) for each in fields(optimizer)}
    told = {each.name: value for each, value in values.items() if not each.kw_only or value != each.default}
    return {"name": type(optimizer).__name__.lower(), **told}


def norms(x: Vector | Matrix) -> npt.NDArray[np.float64]:
    """The norm of each column: the root of the sum of squares, in order; not finite where an entry is not."""
    x = x.astype(np.float64)
    exponent = int(np.frexp(np.abs(x[np.isfinite(x)]).max(initial=0.0))[1])
    x = np.ldexp(x, -exponent)
    squares = np.add.accumulate(x * x, axis=0)
    found: npt.NDArray[np.float64] = np.ldexp(np.sqrt(squares[-1]), exponent)
    return found


def make_plain(settings: Any, prefix: str = "", **limits: float) -> None:
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
