"""The backend interface: what computes. One pair of methods per kind of layer, all of them pure functions.

Shapes: a, x (batch, n_in); W (n_in, n_out); b (n_out,); z, delta, da, y (batch, n_out). Arrays are the backend's own.
In the *Error* lines u is the unit roundoff (2⁻⁵³ for float64, 2⁻²⁴ for float32), γ(n) = n·u/(1 − n·u) (Higham,
Accuracy and Stability of Numerical Algorithms, ch. 3), e(q) the error that q brings along, and λ = 8u the error of a
library's exp, log, log1p or tanh (4 ulp). The lines are to first order in the errors, whatever the order of summation
and with or without fused multiply-add; `backprop_ref.conformance.bounds` evaluates them entry by entry, and adds the
products of errors, which matter where a slope vanishes, and underflow.
"""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

Array = Any


class BackendStatus(NamedTuple):
    """Whether a backend can be used here, and if not, why and what to do."""

    name: str
    usable: bool
    reason: str
    device: str | None
    version: str | None


@runtime_checkable
class Backend(Protocol):
    """Attributes: `name`, `numerics` (fast or reproducible), `device` (text) and `version` (text)."""

    name: str
    numerics: str
    device: str
    version: str

    def affine_forward(self, a: Array, W: Array, b: Array) -> Array:
        """``z = a @ W + b``.

        Error: ``γ(n_in + 1)·(|a| @ |W| + |b|) + e(a) @ |W|``
        """
        ...

    def affine_backward(self, delta: Array, a: Array) -> tuple[Array, Array]:
        """``dW, db = a.T @ delta, delta.sum(axis=0)``; delta already holds the 1/batch.

        Error: dW ``γ(batch)·(|a|.T @ |delta|) + e(a).T @ |delta| + |a|.T @ e(delta)``;
        db ``γ(batch − 1)·Σ|delta| + Σe(delta)``
        """
        ...

    def affine_backward_input(self, delta: Array, W: Array) -> Array:
        """``da = delta @ W.T``, the gradient with respect to the layer's input.

        Error: ``γ(n_out)·(|delta| @ |W|.T) + e(delta) @ |W|.T``
        """
        ...

    def activation_forward(self, activation: str, z: Array) -> Array:
        """``a = activation(z)``, the formulas of the reproducible arithmetic.

        Error: sigmoid ``(λ + 3u)·a + a(1 − a)·e(z)``; tanh ``λ·|a| + (1 − a²)·e(z)``; linear, relu ``e(z)``;
        leaky_relu ``e(z) + u·|a|``; softmax ``a·(r + Σ a·r + γ(n_out))`` with ``r = λ + u·|z − max| + e(z)``.
        """
        ...

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array) -> Array:
        """``delta``, the gradient with respect to z, from da, the gradient with respect to a.

        Error: sigmoid ``|da|·(e(a) + 3u·a(1 − a)) + a(1 − a)·e(da)``; tanh ``|da|·(2|a|·e(a) + u·a² + 2u(1 − a²)) +
        (1 − a²)·e(da)``; linear ``e(da)``; relu, leaky_relu slope·``e(da)`` + u·|delta| (leaky), and the whole jump
        ``|da|`` where ``|z| < e(z)``; softmax, with ``t = Σ da·a`` of error
        ``e(t) = Σ(|da|·e(a) + a·e(da)) + γ(n_out)·Σ|da|·a``: ``e(a)·|da − t| + a·(e(da) + e(t)) + 2u·|delta|``.
        """
        ...

    def loss_forward(self, loss: str, activation: str, z: Array, a: Array, y: Array, batch: int | None = None) -> Array:
        """The loss, 0-d, on the backend's device; the mean over `batch` rows (default: those of y).

        Error: squared errors ``γ(count + 3)·loss + Σ 2|a − y|·e(a)/n``; cross-entropies
        ``(γ(count + 4) + λ)·Σ|parts of the terms|/n + Σ|dLoss/dz|·e(z)``, count the number of entries of y.
        """
        ...

    def loss_backward(
        self, loss: str, activation: str, z: Array, a: Array, y: Array, batch: int | None = None
    ) -> Array:
        """delta of the last layer, ``dLoss/dz``; here the 1/batch enters.

        Error: squared errors: `activation_backward` with ``e(da) = 2·e(a)/n + 2u·|da|``; softmax with cross-entropy
        ``(e(a)·|Y| + γ(n_out + 1)·a·Σ|y|)/n + 2u·|delta|``; sigmoid with binary cross-entropy ``e(a)/n + 2u·|delta|``;
        sigmoid with cross-entropy ``|y|·(σ(z)σ(−z)·e(z) + (λ + 5u)·σ(−z))/n``.
        """
        ...

    def asarray(self, x: Any, dtype: str, copy: bool = False) -> Array:
        """A NumPy array as the backend's array of that dtype; may share memory unless `copy`."""
        ...

    def to_numpy(self, a: Array) -> Any:
        """A backend's array as a NumPy array; may share memory."""
        ...

    def synchronize(self) -> None:
        """Waits until everything that was asked for is computed."""
        ...

    def scope(self) -> AbstractContextManager[Any]:
        """What computations run inside: number of threads, error states, precision flags; restored on leaving."""
        ...
