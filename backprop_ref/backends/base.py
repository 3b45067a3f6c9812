"""The backend interface: what computes. One pair of methods per kind of layer, all of them pure functions.

Shapes: a, x (batch, n_in); W (n_in, n_out); b (n_out,); z, delta, da, y (batch, n_out). Arrays are the backend's own.
In the *Error* lines u is the unit roundoff (2⁻⁵³ for float64, 2⁻²⁴ for float32), γ(n) = n·u/(1 − n·u) (Higham,
Accuracy and Stability of Numerical Algorithms, ch. 3), e(q) the error that q brings along, and λ the error of a
library's exp, log, log1p or tanh. The lines are to first order in the errors, whatever the order of summation, with
or without fused multiply-add, and for every usual formula; `backprop_ref.conformance.rounding.rules` says what is
usual, proves them, evaluates them entry by entry, and adds underflow and the products of errors, which matter where a
slope vanishes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from backprop_ref import showing
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.dropout import Rates, Seeds
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer, Slots
from backprop_ref.parameters import Parameters
from backprop_ref.text import numbered

Array: TypeAlias = Any
"""An array of a backend, wherever it lives."""

Shard = TypeVar("Shard")


class BackendStatus(NamedTuple):
    """Whether a backend can be used here, and if not, why and what to do.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.backends()[0].device
    'cpu'
    """

    name: str
    usable: bool
    reason: str
    device: str | None
    version: str | None


class Trace(NamedTuple):
    """Every intermediate of one forward and backward pass; index 0 is the first layer.

    ``z[l]``, ``a[l]`` and ``delta[l]`` are (batch, n_out), ``dW[l]`` (n_in, n_out), ``db[l]`` (n_out,), ``dx`` like x.
    In `mlp` they are a backend's arrays, the loss too, and there may be no dx.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "linear"], "mean_squared_error")
    >>> seen = br.trace(network, network.init(seed=1), x=[[0.0, 1.0]], y=[[1.0]])
    >>> [z.shape for z in seen.z], [dW.shape for dW in seen.dW], seen.dx.shape
    ([(1, 3), (1, 1)], [(2, 3), (3, 1)], (1, 2))
    """

    x: Batch
    y: Batch
    z: Sequence[Batch]
    a: Sequence[Batch]
    delta: Sequence[Batch]
    dW: Sequence[Matrix]
    db: Sequence[Vector]
    dx: Batch
    loss: float

    def _parts(self) -> showing.Parts:
        samples, layers = numbered(len(self.x), "sample"), numbered(len(self.z), "layer")
        yield f"Trace of {samples} through {layers}: loss {float(self.loss):.6g}"
        listed = [("x", self.x), ("y", self.y)]
        for layer in range(len(self.z)):
            arrays = {name: getattr(self, name)[layer] for name in ("z", "a", "delta", "dW", "db")}
            listed += [(f"{name}{layer}", array) for name, array in arrays.items()]
        listed += [] if self.dx is None else [("dx", self.dx)]
        yield showing.of_arrays([(name, np.asarray(array)) for name, array in listed])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self._parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self._parts())


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

        Error: sigmoid ``a·((1 − a)·(e(z) + λ) + 3u)``; tanh ``(1 − a²)·e(z) + λ·max(|a|, 1 − a²) + 3u·|a|``; linear,
        relu ``e(z)``; leaky_relu slope·``e(z) + 2u·|a|`` where z is below 0, else ``e(z)``; softmax
        ``a_j·((1 − a_j)·r_j + Σ_{k≠j} a_k·r_k + γ(n_out))`` with ``r = λ + u·|z − max| + e(z)``; the others as in
        `backprop_ref.conformance.rounding.rules`.
        """
        ...

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array) -> Array:
        """``delta``, the gradient with respect to z, from da, the gradient with respect to a.

        Error: sigmoid ``|da|·(|1 − 2a|·e(a) + u·a² + 4u·a(1 − a)) + a(1 − a)·e(da)``; tanh
        ``|da|·(2|a|·e(a) + u·a² + 4u(1 − a²)) + (1 − a²)·e(da)``; linear ``e(da)``; relu, leaky_relu slope·``(e(da) +
        2u·|da|)`` (2u where leaky), and the whole jump ``|da|`` where ``|z| <= 2e(z)``; softmax, with t = Σ da·a,
        ``e(a_j)·((1 − a_j)·|da_j − t| + e(t)) + a_j·((1 − a_j)·e(da_j) + Σ_{k≠j} (a_k·e(da_k) + e(a_k)·|da_k − t|)) +
        γ(n_out + 2)·a_j·(|da_j| + Σ a·|da|)``, less where errors of da come from one delta through W.
        """
        ...

    def loss_forward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        """The loss, 0-d, on the backend's device; the mean over `batch` rows (default: those of y).

        With `weights`, (rows,), a row's terms are times its own, and `batch` is their sum over the whole batch.

        Error: ``γ(count + 5)·Σ|terms|/n + Σe(term)/n``, count the number of terms that are not 0; e(term) of a squared
        error ``2|a − y|·e(a)``; of −y·log a ``|y|·(e(a)/a + λ·|log a|)``, and of what the softmax's logarithm adds;
        of −(1 − y)·log(1 − a) ``|1 − y|·((e(a) + u)/(1 − a) + λ·|log(1 − a)|)``.
        """
        ...

    def loss_backward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        """delta of the last layer, ``dLoss/dz``; here the 1/batch enters, and `weights` as in `loss_forward`.

        Error: squared errors: `activation_backward` with ``e(da) = 2·e(a)/n + 3u·|da|``; softmax with cross-entropy
        ``((e(a) + λ·a·(2a + log S))·Σ|y| + γ(m + 5)·(|y| + a·Σ|y|))/n``, m labels of the row not 0; sigmoid with binary
        cross-entropy ``(e(a) + γ(8)·(|y|(1 − a) + |1 − y|·a))/n``; sigmoid with cross-entropy
        ``|y|·(e(a) + γ(7)·(1 − a))/n``.
        """
        ...

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        """A NumPy array as the backend's array of that dtype; may share memory unless `copy`."""
        ...

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        """A backend's array as a NumPy array; may share memory."""
        ...

    def synchronize(self) -> None:
        """Waits until everything that was asked for is computed."""
        ...

    def scope(self) -> AbstractContextManager[None]:
        """What computations run inside: number of threads, error states, precision flags; restored on leaving."""
        ...


BackendChoice: TypeAlias = str | Backend | None
"""A backend by name or as an object; None for the one in force."""

Poll: TypeAlias = Callable[[], None]
"""Called now and then; raises if Ctrl-C was pressed."""


class Snapshots(NamedTuple):
    """The parameters after some of a trainer's epochs: those after epoch i, counted from 0, go to ``flats[rows[i]]``,
    unless that row is -1."""

    flats: Matrix
    rows: Rows

    def take(self, epoch: int, flat: Vector) -> None:
        """Copies the parameters after that epoch, if they are asked for."""
        if self.rows[epoch] >= 0:
            self.flats[self.rows[epoch]] = flat


@dataclass
class Progress:
    """How far an epoch has come, by whole batches: how many rows they have, and what its loss, before it is divided,
    and its measures have come to. A trainer that its poll ends by an exception leaves that here."""

    rows: int
    loss: float
    measures: Vector

    @classmethod
    def none(cls, measures: int) -> "Progress":
        """The beginning of an epoch that so many numbers measure."""
        return cls(0, 0.0, np.zeros(measures))


class Shares(Protocol):
    """One of several processes that train together: which shards of a batch are its own, and sums over all of them."""

    rank: int
    """Its number; that with the first shards is 0."""

    @property
    def most(self) -> int:
        """How many shards of a batch are its own, at most."""
        ...

    def own(self, parts: Sequence[Shard]) -> Sequence[Shard]:
        """Of the shards of a batch, its own."""
        ...

    def sum(self, rows: Matrix, numbers: Matrix, out: Vector | None = None) -> tuple[Vector, Vector]:
        """The sums over the shards of all processes, in order, of rows, which are used up and whose sum `out` gets, and
        of float64 numbers, one for each own shard; raises if Ctrl-C was pressed in any of them."""
        ...


@runtime_checkable
class OnRanks(Protocol):
    """What a backend has whose trainers can be one of several processes."""

    def on_ranks(self, trainer: Any, shares: Shares) -> "Trainer":
        """The same as a trainer of this backend, with gradients, losses and measures that are sums over all processes,
        and the bits of one."""
        ...


class Trainer(Protocol):
    """Trains whole epochs. `training.pairs.PairsTrainer` does it for every backend; others to the same bits, faster."""

    def run(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: Sequence[float],
        poll: Poll = lambda: None,
        snapshots: Snapshots | None = None,
        seeds: Seeds | None = None,
        weights: Vector | None = None,
        part: Progress | None = None,
    ) -> tuple[Vector, Matrix]:
        """Trains `params` and `slots` in place, one epoch per learning rate; stops after an epoch that is not finite.

        Parameters
        ----------
        params : Parameters
        slots : dict of str to array
            The optimizer's state.
        x, y : arrays of shape (samples, n_in) and (samples, n_out)
        orders : int64 array of shape (epochs, samples)
            The order of the samples in each epoch.
        learning_rates : sequence of float
        poll : callable
            Called now and then; raises if Ctrl-C was pressed.
        snapshots : Snapshots, optional
            Gets the parameters after some of the epochs.
        seeds : uint64 array of shape (epochs, hidden layers), optional
            Of the masks of each epoch; a trainer with dropout needs them.
        weights : array of shape (samples,), optional
            What each sample counts in the loss; of a trainer that was asked for as `weighted`.
        part : Progress, optional
            What is done of the first epoch, which goes on from there. Asked of trainers with a true attribute
            `by_parts`.

        Returns
        -------
        losses : array of shape (epochs done,)
            Mean of the batch losses, each times the size of its batch, or the sum of its weights.
        measures : array of shape (epochs done, 1 or n_out)
            Correct samples or labels, or squared residuals per output.
        """
        ...


class EpochByEpoch(ABC):
    """A `Trainer` that is told how one epoch is trained."""

    measures: int
    """How many numbers measure an epoch."""
    by_parts = False
    """Whether `epoch` has a last argument, a `Progress`, from which it goes on, and which it moves on."""

    @abstractmethod
    def epoch(
        self,
        params: Parameters,
        slots: Slots,
        data: Any,
        order: Rows,
        learning_rate: float,
        poll: Poll,
        seeds: Seeds | None = None,
        *part: Progress,
    ) -> tuple[float, npt.ArrayLike]:
        """Trains in place; the epoch's loss and measures. `seeds` are those of the epoch's masks."""

    def begin(self, params: Parameters, slots: Slots, x: Batch, y: Batch, weights: Vector | None) -> Any:
        """What is done before the first epoch; the data as `epoch` takes them."""
        return x, y, weights

    def end(self, slots: Slots) -> None:
        """What is done after the last epoch."""
        return

    def run(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: Sequence[float],
        poll: Poll = lambda: None,
        snapshots: Snapshots | None = None,
        seeds: Seeds | None = None,
        weights: Vector | None = None,
        part: Progress | None = None,
    ) -> tuple[Vector, Matrix]:
        """Trains `params` and `slots` in place; see `Trainer.run`."""
        data, losses, measures = self.begin(params, slots, x, y, weights), [], []
        try:
            for epoch, (order, learning_rate) in enumerate(zip(orders, learning_rates, strict=True)):
                of_epoch = None if seeds is None else seeds[epoch]
                parts = (part or Progress.none(self.measures),) if self.by_parts else ()
                loss, measured = self.epoch(params, slots, data, order, learning_rate, poll, of_epoch, *parts)
                losses.append(loss)
                measures.append(measured)
                part = None
                if snapshots is not None:
                    snapshots.take(epoch, params.flat)
                if not finite(loss, params):
                    break
        finally:
            self.end(slots)
        return np.array(losses), np.array(measures, float).reshape(-1, self.measures)


def finite(loss: float, params: Parameters) -> bool:
    """Whether a loss is, and every parameter."""
    return bool(np.isfinite(loss)) and bool(np.isfinite(params.flat).all())


@runtime_checkable
class OffersTrainer(Protocol):
    """What a backend has that offers a trainer."""

    def trainer(
        self,
        network: Network,
        optimizer: Optimizer,
        dtype: str,
        batch_size: int,
        shards: int,
        metric: str,
        steps_ahead: int | None = None,
        dropout: Rates = (),
        *,
        weighted: bool = False,
    ) -> Trainer | None:
        """A trainer for a network and an optimizer; None for what it cannot do.

        Parameters
        ----------
        network : Network
        optimizer : Optimizer
        dtype : 'float64' or 'float32'
        batch_size, shards : int
        metric : 'accuracy', 'labels' or 'r2'
            See `backprop_ref.metrics`.
        steps_ahead : int, optional
            How many steps will be asked for, as far as known.
        dropout : tuple of float
            The rate of each hidden layer; () without dropout.
        weighted : bool
            Whether samples have weights; left out where they have none.
        """
        ...
