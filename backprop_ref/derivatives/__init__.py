"""More derivatives than the gradient: of outputs, of the gradient itself, of single samples, with respect to inputs."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref import mlp
from backprop_ref.api import as_parameters, check_fit, checked_data, checked_rows, on_backend
from backprop_ref.arrays import Batch, BatchLike, Matrix, Vector
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import Backend, BackendChoice
from backprop_ref.derivatives import forward_mode
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import ordered
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters
from backprop_ref.sample_weights import ClassWeight, total, weighted


def jvp(
    network: Network,
    params: Parameters,
    x: BatchLike,
    tangent: Parameters | None = None,
    x_tangent: BatchLike | None = None,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Batch:
    """How the outputs change along a direction: the Jacobian of the network times a vector, in one forward pass.

    ``⟨jvp(tangent, x_tangent), u⟩ = ⟨tangent, grads⟩ + ⟨x_tangent, dx⟩`` with ``grads, dx = vjp(u)``. relu'(0) = 0 as
    everywhere.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    tangent : Parameters, optional
        The direction in which W and b move, laid out like `params`; None: they stand still.
    x_tangent : array of shape (batch, n_in), optional
        The direction in which x moves; None: it stands still.
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    a_dot : array of shape (batch, n_out)
        d/dt of the last activation at ``params + t·tangent`` and ``x + t·x_tangent``, at t = 0.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; neither `tangent` nor `x_tangent`.

    Warns
    -----
    RuntimeWarning
        The direction leads away from a kink, such as z = 0 of relu, where there is no derivative.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> tangent = br.Parameters.from_arrays([[[1.0]]], [[0.5]])
    >>> br.jvp(network, params, [[3.0]], tangent).item(), br.jvp(network, params, [[3.0]], x_tangent=[[1.0]]).item()
    (3.5, 2.0)
    """
    check_fit(network, params)
    x = checked_rows(x, network.sizes[0], "x", params.dtype)
    if tangent is None and x_tangent is None:
        raise InvalidInput("jvp needs a direction: give tangent, a Parameters, or x_tangent, an array like x")
    direction = Parameters.zeros(params.sizes, params.dtype) if tangent is None else _tangent(network, params, tangent)
    if x_tangent is not None:
        x_tangent = checked_rows(x_tangent, network.sizes[0], "x_tangent", params.dtype)
        if len(x_tangent) != len(x):
            raise InvalidInput(
                f"x has {len(x)} rows and x_tangent has {len(x_tangent)}: one row per sample is needed in both"
            )
    computing = get_backend(backend, numerics, device, threads)
    with computing.scope():
        weights, x_ = on_backend(computing, params, x)
        moved, *x_dot = on_backend(computing, direction, *([] if x_tangent is None else [x_tangent]))
        moving = forward_mode.forward(computing, network, weights, x_, moved, *x_dot)
        _tell_of_kinks("jvp", network, moving.kinks)
        return computing.to_numpy(moving.a_dot[-1])


def hvp(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    tangent: Parameters,
    *,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Parameters:
    """The Hessian of the loss times a vector: how the gradient changes along a direction (Pearlmutter 1994).

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    tangent : Parameters
        The direction in which W and b move, laid out like `params`.
    sample_weight, class_weight : optional
        As for `value_and_grad`.
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    Parameters
        d/dt of dW and db at ``params + t·tangent``, at t = 0; laid out like `params`.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; a formula whose second derivative is not known.

    Warns
    -----
    RuntimeWarning
        The direction leads away from a kink, such as z = 0 of relu, where the gradient jumps.

    Notes
    -----
    Between kinks relu and leaky_relu have second derivative 0, as the Hessian of their network has not.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> tangent = br.Parameters.from_arrays([[[1.0]]], [[0.0]])
    >>> br.hvp(network, params, [[3.0]], [[5.0]], tangent).flat
    array([18.,  6.])
    """
    computing = get_backend(backend, numerics, device, threads)
    return _curvature("hvp", network, params, x, y, tangent, sample_weight, class_weight, computing)


def gauss_newton(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    tangent: Parameters,
    *,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Parameters:
    """The generalised Gauss–Newton matrix of the loss times a vector: ``Jᵀ·H·J·tangent`` (Schraudolph 2002).

    H is the Hessian of the loss in the network's output, J the output's Jacobian. The output is z of the last layer for
    the cross-entropies, and a for losses that go with any activation, such as the squared errors. Where a loss is
    convex in it, as these are, the matrix has no negative eigenvalue, which the Hessian may have.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    tangent : Parameters
        The vector, laid out like `params`.
    sample_weight, class_weight : optional
        As for `value_and_grad`.
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    Parameters
        Laid out like `params`.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; a loss whose second derivative is not known.

    Warns
    -----
    RuntimeWarning
        The direction leads away from a kink, such as z = 0 of relu, where there is no J.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> tangent = br.Parameters.from_arrays([[[1.0]]], [[0.0]])
    >>> br.gauss_newton(network, params, [[3.0]], [[5.0]], tangent).flat
    array([18.,  6.])
    """
    computing = get_backend(backend, numerics, device, threads)
    return _curvature("gauss_newton", network, params, x, y, tangent, sample_weight, class_weight, computing)


class SampleGradients(NamedTuple):
    """The gradient of each sample's own loss.

    Attributes
    ----------
    flat : array of shape (batch, n_parameters)
        A sample's gradient in each row, laid out like ``params.flat``.
    W, b : tuple of arrays
        Of shape (batch, n_in, n_out) and (batch, n_out), per layer: views of `flat`.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["linear"], "mse")
    >>> found = br.per_sample_gradients(network, network.init(scheme="zeros"), [[1.0, 0.0], [0.0, 1.0]], [[1.0], [2.0]])
    >>> found.W[0].shape, found.b[0].tolist()
    ((2, 2, 1), [[-2.0], [-4.0]])
    """

    flat: Matrix
    W: tuple[Batch, ...]
    b: tuple[Matrix, ...]


def per_sample_gradients(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> SampleGradients:
    """The gradient of each sample's own loss, as of a batch of that sample alone; their mean, weighted where samples
    have weights, is the batch's gradient.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    SampleGradients

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; or more gradients than there is memory for.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> br.per_sample_gradients(network, params, [[3.0], [1.0]], [[5.0], [2.0]]).flat
    array([[6., 2.],
           [0., 0.]])
    """
    computing = get_backend(backend, numerics, device, threads)
    inputs, deltas, _ = _each_sample(network, params, x, y, computing)
    batch, width = len(inputs[0]), params.flat.size
    try:
        flat = np.empty((batch, width), params.dtype)
    except MemoryError:
        size = f"{batch * width * params.dtype.itemsize / 1e9:,.1f} GB"
        raise InvalidInput(
            f"gradients of {batch:,} samples in {width:,} parameters take {size}, more memory than there is; pass "
            "fewer rows at a time, or ask for br.gradient_norms"
        ) from None
    W, b, start = list[Batch](), list[Matrix](), 0
    for a, delta in zip(inputs, deltas, strict=True):
        middle = start + a.shape[1] * delta.shape[1]
        W.append(flat[:, start:middle].reshape(batch, a.shape[1], delta.shape[1]))
        b.append(flat[:, middle : (start := middle + delta.shape[1])])
        np.multiply(a[:, :, None], delta[:, None, :], out=W[-1])
        b[-1][...] = delta
    if computing.numerics == "reproducible":
        flat += 0.0  # sums of one term begin at +0, so none is −0
    return SampleGradients(flat, tuple(W), tuple(b))


def gradient_norms(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Vector:
    """Euclidean length of each sample's gradient, without making the gradients (Goodfellow 2015).

    dW of one sample is an outer product, so its length is that of a times that of delta.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    norms : array of shape (batch,), float64

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> br.gradient_norms(network, params, [[0.75], [1.0]], [[0.5], [2.0]])
    array([2.5, 0. ])
    """
    inputs, deltas, _ = _each_sample(network, params, x, y, get_backend(backend, numerics, device, threads))
    with np.errstate(all="ignore"):
        ones = np.ones((len(inputs[0]), 1))
        lengths = [
            _lengths(np.concatenate([a, ones], axis=1)) * _lengths(delta)
            for a, delta in zip(inputs, deltas, strict=True)
        ]
        return _lengths(np.concatenate(lengths, axis=1))[:, 0]


def input_gradients(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Batch:
    """dLoss/dx of each sample's own loss: how much each input matters to it. `trace` has that of the batch's loss.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    dx : array of shape (batch, n_in)

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> br.input_gradients(network, params, [[3.0], [1.0]], [[5.0], [2.0]]).tolist()
    [[4.0], [0.0]]
    """
    dx = _each_sample(network, params, x, y, get_backend(backend, numerics, device, threads), with_dx=True)[2]
    assert dx is not None, "which was asked for"
    return dx


def _each_sample(
    network: Network, params: Parameters, x: BatchLike, y: BatchLike, backend: Backend, with_dx: bool = False
) -> tuple[list[Batch], list[Batch], Batch | None]:
    """The input and the delta of every layer, and dx if asked for, where each row counts as a batch of its own."""
    check_fit(network, params)
    x, y = checked_data(network, x, y, params.dtype)
    with backend.scope():
        weights, x_, y_ = on_backend(backend, params, x, y)
        z, a = mlp.forward(backend, network, weights, x_)
        delta = backend.loss_backward(network.loss, network.activations[-1], z[-1], a[-1], y_, 1)
        deltas, _, _, dx = mlp.backward(backend, network, weights, x_, z, a, delta, with_dx, with_weights=False)
        inputs = [x, *(backend.to_numpy(a) for a in a[:-1])]
        return inputs, [backend.to_numpy(delta) for delta in deltas], backend.to_numpy(dx) if with_dx else None


def _lengths(rows: Batch) -> Matrix:
    """Length of each row, shape (rows, 1), in float64 and in order; none overflows or vanishes on the way."""
    wide = rows.astype(np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    scale = np.where((largest > 0.0) & np.isfinite(largest), largest, 1.0)
    wide = wide / scale
    lengths: Matrix = scale * np.sqrt(ordered.sum_columns(np, wide * wide))
    return lengths


def _curvature(
    what: str,
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    tangent: Parameters,
    sample_weight: npt.ArrayLike | None,
    class_weight: ClassWeight | None,
    backend: Backend,
) -> Parameters:
    check_fit(network, params)
    x, y, each = weighted(*checked_data(network, x, y, params.dtype), sample_weight, class_weight)
    direction = _tangent(network, params, tangent)
    with backend.scope():
        weights, x_, y_, *counted = on_backend(backend, params, x, y, *([] if each is None else [each]))
        batch = [] if each is None else [total(each)]
        (moved,) = on_backend(backend, direction)
        product = forward_mode.hvp if what == "hvp" else forward_mode.gauss_newton
        found, kinks = product(backend, network, weights, x_, y_, moved, *batch, *counted)
        _tell_of_kinks(what, network, kinks)
        return as_parameters(backend, found, params)


def _tangent(network: Network, params: Parameters, tangent: Parameters) -> Parameters:
    """The direction, refused where it is not laid out like the parameters."""
    if not isinstance(tangent, Parameters) or tangent.sizes != network.sizes:
        found = list(tangent.sizes) if isinstance(tangent, Parameters) else type(tangent).__name__
        raise InvalidInput(
            f"tangent is {found}: a Parameters of sizes {list(network.sizes)} is needed, such as "
            "br.Parameters.from_arrays(W, b)"
        )
    if tangent.dtype != params.dtype:
        raise InvalidInput(
            f"tangent has dtype {tangent.dtype} and the parameters {params.dtype}: make them the same, with "
            f"br.Parameters.from_arrays(tangent.W, tangent.b, '{params.dtype}')"
        )
    return tangent


def _tell_of_kinks(what: str, network: Network, kinks: list[int]) -> None:
    """Warns where there is no derivative, and says what stands in its place."""
    names = [f"layer {layer} ({name})" for layer, name in enumerate(network.activations)]
    told = [f"{name} at {count:,} entries" for name, count in zip([*names, network.loss], kinks, strict=False) if count]
    if told:
        warnings.warn(
            f"{what}: a kink in {', '.join(told)}, where there is no derivative in this direction; that of the side "
            "counts which the formula takes (relu'(0) = 0)",
            RuntimeWarning,
            stacklevel=4 if what != "jvp" else 3,
        )
