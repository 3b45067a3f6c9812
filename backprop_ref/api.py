"""The functions of ``import backprop_ref as br``: they check and convert, and let `mlp` and a backend compute."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref import metrics, mlp
from backprop_ref.arrays import Batch, BatchLike, Vector, is_masked, plain_array
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import Backend, BackendChoice, Trace
from backprop_ref.errors import InvalidInput, check_is
from backprop_ref.formulas import LOSSES
from backprop_ref.metrics import scores
from backprop_ref.metrics.scores import Scores
from backprop_ref.network import Network
from backprop_ref.network.model_file import check_pair
from backprop_ref.parameters import DTYPES, Parameters, check_dtype
from backprop_ref.sample_weights import ClassWeight, total, weighted


def value_and_grad(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    masks: Sequence[BatchLike | None] | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    shards: int = 1,
    device: str | None = None,
    threads: int | None = None,
) -> tuple[float, Parameters]:
    """The loss and its gradient with respect to every weight and bias.

    Parameters
    ----------
    network : Network
    params : Parameters
        Their dtype is the precision of everything.
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    sample_weight : array of shape (batch,), optional
        What each row counts in the loss, which is Σ w·loss / Σ w; rows of weight 0 are left out.
    class_weight : 'balanced', dict or array of shape (classes,), optional
        The same for each class, times `sample_weight`; 'balanced': rows / (classes · rows of the class).
    masks : sequence of arrays of shape (batch, n_out) or None, optional
        Of each hidden layer, what its activations are multiplied by, as under dropout: see `dropout_masks`.
    backend, numerics, device, threads : optional
        See `get_backend`.
    shards : int
        Parts into which the batch is cut; their sums are added in order.

    Returns
    -------
    loss : float
    grads : Parameters
        dW and db, laid out like `params`.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> loss, grads = br.value_and_grad(network, params, x=[[3.0]], y=[[5.0]])
    >>> loss, float(grads.W[0][0, 0]), float(grads.b[0][0])
    (1.0, 6.0, 2.0)
    """
    check_fit(network, params)
    x, y = checked_data(network, x, y, params.dtype)
    given = _checked_masks(network, masks, x, params.dtype)
    kept, y, each = weighted(np.arange(len(x))[:, None], y, sample_weight, class_weight)
    if len(kept) < len(x):
        x, given = x[kept[:, 0]], [None if mask is None else mask[kept[:, 0]] for mask in given]
    if isinstance(shards, bool) or not isinstance(shards, int | np.integer) or shards < 1:
        raise InvalidInput(f"shards={shards!r}: a whole number, 1 or more, is needed")
    backend = get_backend(backend, numerics, device, threads)
    with backend.scope():
        weights, x, y, *counted = on_backend(backend, params, x, y, *([] if each is None else [each]))
        batch = [None] if each is None else [total(each), *counted]
        loss, grads, _ = mlp.value_and_grad(
            backend, network, weights, x, y, shards, masks_on(backend, given, params), *batch
        )
        return float(backend.to_numpy(loss)), as_parameters(backend, grads, params)


def vjp(
    network: Network,
    params: Parameters,
    x: BatchLike,
    da: BatchLike,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> tuple[Parameters, Batch]:
    """Gradients for any upstream gradient: of Σ da·a, a the network's output, with da held fixed.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    da : array of shape (batch, n_out)
        dLoss/da of the last layer, for whatever loss.
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    grads : Parameters
        dW and db, laid out like `params`.
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
    >>> grads, dx = br.vjp(network, params, x=[[3.0]], da=[[1.0]])
    >>> float(grads.W[0][0, 0]), float(dx[0, 0])
    (3.0, 2.0)
    """
    check_fit(network, params)
    x, da = checked_data(network, x, da, params.dtype, "da")
    backend = get_backend(backend, numerics, device, threads)
    with backend.scope():
        weights, x, da = on_backend(backend, params, x, da)
        grads, dx = mlp.vjp(backend, network, weights, x, da)
        return as_parameters(backend, grads, params), backend.to_numpy(dx)


def trace(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Trace:
    """One forward and backward pass with every z, a, delta, dW and db, as a `Trace` of NumPy arrays.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    sample_weight : array of shape (batch,), optional
        What each row counts in the loss, which is Σ w·loss / Σ w; rows of weight 0 are left out.
    class_weight : 'balanced', dict or array of shape (classes,), optional
        The same for each class, times `sample_weight`; 'balanced': rows / (classes · rows of the class).
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> seen = br.trace(network, params, x=[[3.0]], y=[[5.0]])
    >>> float(seen.z[0][0, 0]), float(seen.delta[0][0, 0]), float(seen.dx[0, 0]), seen.loss
    (6.0, 2.0, 4.0, 1.0)
    """
    check_fit(network, params)
    x, y, each = weighted(*checked_data(network, x, y, params.dtype), sample_weight, class_weight)
    backend = get_backend(backend, numerics, device, threads)
    with backend.scope():
        weights, x_, y_, *counted = on_backend(backend, params, x, y, *([] if each is None else [each]))
        batch = None if each is None else total(each)
        _, _, *lists, dx, loss = mlp.trace(backend, network, weights, x_, y_, batch, True, (), *counted)
        z, a, delta, dW, db = ([backend.to_numpy(array) for array in arrays] for arrays in lists)
        return Trace(x, y, z, a, delta, dW, db, backend.to_numpy(dx), float(backend.to_numpy(loss)))


def predict(
    network: Network,
    params: Parameters,
    x: BatchLike,
    *,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Batch:
    """The network's output for each row of x.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    a : array of shape (batch, n_out)
        The activation of the last layer, in the dtype of `params`.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "binary_cross_entropy")
    >>> br.predict(network, network.init(scheme="zeros"), [[0.0, 1.0], [2.0, 3.0]])
    array([[0.5],
           [0.5]])
    """
    check_fit(network, params)
    x = checked_rows(x, network.sizes[0], "x", params.dtype)
    backend = get_backend(backend, numerics, device, threads)
    with backend.scope():
        weights, x = on_backend(backend, params, x)
        return backend.to_numpy(mlp.forward(backend, network, weights, x)[1][-1])


def evaluate(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    metric: str | None = None,
) -> Scores:
    """``{"loss": …, "accuracy": …, …}``, or ``"r2"`` in place of accuracy where targets are numbers.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : array of shape (batch, n_in)
    y : array of shape (batch, n_out)
    sample_weight : array of shape (batch,), optional
        What each row counts in the loss, which is Σ w·loss / Σ w; rows of weight 0 are left out.
    class_weight : 'balanced', dict or array of shape (classes,), optional
        The same for each class, times `sample_weight`; 'balanced': rows / (classes · rows of the class).
    backend, numerics, device, threads : optional
        See `get_backend`.

    metric : {'accuracy', 'labels', 'r2'}, optional
        What targets are: classes, several independent labels, or numbers; default: see
        `backprop_ref.metrics.metric_name`.

    Returns
    -------
    Scores
        A dictionary: the loss, weighted; and, counting every row once, of classes the share of right rows (the largest
        output; with one output, whether it is above 0.5), of labels the share of right outputs, of numbers R²; and what
        goes with each, by the definitions of scikit-learn. Of what is not defined, as ROC AUC without one of the
        classes, NaN.

    Raises
    ------
    InvalidInput
        Shapes or dtypes that do not fit; the message gives both.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> br.evaluate(network, params, x=[[1.0], [2.0]], y=[[2.0], [5.0]])["loss"]
    0.5
    """
    check_fit(network, params)
    x, y, each = weighted(*checked_data(network, x, y, params.dtype), sample_weight, class_weight)
    backend = get_backend(backend, numerics, device, threads)
    with backend.scope():
        loss, a = loss_and_outputs(backend, network, params, x, y, each)
    return {"loss": loss, **scores.of(metrics.chosen(metric, network, y), network, a, y)}


def evaluate_on(
    backend: Backend,
    network: Network,
    params: Parameters,
    x: Batch,
    y: Batch,
    metric: str | None = None,
    weights: Vector | None = None,
) -> dict[str, float]:
    """The loss and the metric, for checked arguments, inside the backend's scope."""
    loss, a = loss_and_outputs(backend, network, params, x, y, weights)
    metric = metric or metrics.metric_name(network, y)
    return {"loss": loss, metrics.column_name(metric): metrics.score(metric, a, y, metrics.threshold(network))}


def loss_and_outputs(
    backend: Backend, network: Network, params: Parameters, x: Batch, y: Batch, each: Vector | None = None
) -> tuple[float, Batch]:
    """The loss, with what each row counts in it, and the last activation; arguments checked, in the backend's scope."""
    weights, x_, y_, *counted = on_backend(backend, params, x, y, *([] if each is None else [each]))
    z, a = mlp.forward(backend, network, weights, x_)
    batch = [] if each is None else [total(each)]
    loss = backend.loss_forward(network.loss, network.activations[-1], z[-1], a[-1], y_, *batch, *counted)
    return float(backend.to_numpy(loss)), backend.to_numpy(a[-1])


def on_backend(backend: Backend, params: Parameters, *arrays: Batch | Vector) -> tuple[Any, ...]:
    """`params` as `mlp.Weights`, and the arrays, in the backend's arrays of the dtype of `params`."""
    dtype = check_dtype(params.dtype)
    weights = mlp.Weights([backend.asarray(W, dtype) for W in params.W], [backend.asarray(b, dtype) for b in params.b])
    return weights, *(backend.asarray(array, dtype) for array in arrays)


def masks_on(backend: Backend, masks: Sequence[Batch | None], params: Parameters) -> list[Any]:
    """Masks in the backend's arrays of the dtype of `params`."""
    return [None if mask is None else backend.asarray(mask, params.dtype.name) for mask in masks]


def _checked_masks(
    network: Network, masks: Sequence[BatchLike | None] | None, x: Batch, dtype: npt.DTypeLike
) -> list[Batch | None]:
    """Masks as arrays of `dtype`, of the widths of the hidden layers and the rows of x."""
    if masks is None:
        return []
    check_is("masks", masks, (Sequence, np.ndarray), "a list with a mask, or None, for each hidden layer")
    hidden, found = network.sizes[1:-1], list[Batch | None]()
    if len(masks) != len(hidden):
        raise InvalidInput(f"{len(masks)} masks for {len(hidden)} hidden layers: one for each is needed, or None")
    for layer, (mask, width) in enumerate(zip(masks, hidden, strict=True)):
        found.append(None if mask is None else checked_rows(mask, width, name := f"masks[{layer}]", dtype))
        if (checked := found[-1]) is not None and len(checked) != len(x):
            raise InvalidInput(f"x has {len(x)} rows and {name} has {len(checked)}: one row per sample is needed")
    return found


def as_parameters(backend: Backend, gradients: mlp.Weights, params: Parameters) -> Parameters:
    """`mlp.Weights` in a backend's arrays as `Parameters` laid out like `params`."""
    result = Parameters(np.empty_like(params.flat), params.sizes)
    for targets, arrays in ((result.W, gradients.W), (result.b, gradients.b)):
        for target, array in zip(targets, arrays, strict=True):
            target[...] = backend.to_numpy(array)
    return result


def check_fit(network: Network, params: Parameters) -> None:
    """Refuses what are no parameters, and those of other sizes than the network's."""
    check_pair(network, params)
    check_dtype(params.dtype)


def checked_data(
    network: Network, x: BatchLike, y: BatchLike, dtype: npt.DTypeLike, y_name: str = "y"
) -> tuple[Batch, Batch]:
    """x and y as 2-D NumPy arrays of `dtype`, of the network's widths and the same number of rows."""
    x = checked_rows(x, network.sizes[0], "x", dtype)
    y = checked_rows(y, network.sizes[-1], y_name, dtype)
    if LOSSES[network.loss].one_class and y_name == "y":
        for row in np.flatnonzero((y > 0.0).sum(axis=1) != 1):
            labels = int((y[row] > 0.0).sum())
            raise InvalidInput(
                f"y[{row}] has {labels} labels above 0: {network.loss} needs one, that of the row's class"
            )
    if len(x) != len(y):
        raise InvalidInput(f"x has {len(x)} rows and {y_name} has {len(y)}: one row per sample is needed in both")
    return x, y


def checked_rows(values: BatchLike, width: int, name: str, dtype: npt.DTypeLike) -> Batch:
    """`values` as an array of shape (batch, width), converted to `dtype` if needed."""
    if is_masked(values):
        raise InvalidInput(
            f"{name} is a masked array, and a mask means nothing here; fill its gaps: {name}.filled(0.0)"
        )
    try:
        array = plain_array(values)
    except (ValueError, TypeError) as error:
        remedy = f"; pass {name}.double()" if "BFloat16" in str(error) else ""
        raise InvalidInput(f"{name} is not a table of numbers: {error}{remedy}") from None
    if array.dtype.kind not in "biuf" and not (array.ndim == 1 and name == "y"):
        raise InvalidInput(_no_numbers(values, array, name))
    if array.dtype.kind == "f" and array.dtype.name not in DTYPES:
        remedy = f"{name}.double()" if hasattr(values, "detach") else f"np.asarray({name}, 'float64')"
        raise InvalidInput(f"{name} has dtype {array.dtype}: only {' and '.join(DTYPES)} are supported; pass {remedy}")
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != width:
        remedy = _remedy(values, array, width, name)
        found = f"shape {array.shape}" if array.dtype.kind in "biuf" else f"dtype {array.dtype}"
        raise InvalidInput(f"{name} has {found}; numbers of shape (batch, {width}) are needed{remedy}")
    if not len(array):
        raise InvalidInput(f"{name} has no rows; at least one sample is needed")
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _no_numbers(values: Any, array: npt.NDArray[Any], name: str) -> str:
    """What to do about a table that is not all numbers."""
    for column in getattr(values, "columns", ()):
        kind = np.asarray(values[column]).dtype
        if kind.kind not in "biuf":
            return (
                f"column {column!r} of {name} has dtype {kind}: real numbers are needed; leave it out, or let "
                "br.read_table make numbers of the whole table"
            )
    if array.ndim == 0:
        return f"{name} is a {type(values).__name__}: rows of real numbers are needed, as an array or a list has them"
    remedy = f"pass np.asarray({name}, float)" if _as_floats(array) else "number the classes by np.unique"
    remedy = f"pass {name}.real" if array.dtype.kind == "c" else remedy
    return f"{name} has dtype {array.dtype}: real numbers are needed; {remedy}"


def _as_floats(array: npt.NDArray[Any]) -> bool:
    """Whether texts or objects are all numbers."""
    try:
        return array.dtype.kind in "UO" and array.astype(float) is not None
    except (ValueError, TypeError):
        return False


def _remedy(values: Any, array: npt.NDArray[Any], width: int, name: str) -> str:
    """How to make rows of `width` numbers of an array that has another shape, or of classes that are texts."""
    numbers = array.dtype.kind in "biuf"
    flat = name if array.ndim == 1 else f"np.ravel({name})"
    if array.ndim == 1 and width == 1 and numbers:
        plain = isinstance(values, list | tuple) or hasattr(values, "to_numpy")
        column = f"np.asarray({name}, float)" if plain and np.asarray(values).dtype.kind == "O" else name
        return f": pass np.reshape({column}, (-1, 1))" if plain else f": pass {name}[:, None]"
    if name == "y" and (array.ndim == 1 or array.shape[1:] == (1,)):
        counted = numbers and (np.isin(array, np.arange(width)).all() or not len(array))
        labels = flat if counted else f"np.unique({name}, return_inverse=True)[1]"
        if width == 1 and _as_floats(array):
            return f": pass np.reshape(np.asarray({name}, float), (-1, 1))"
        if width == 1:
            return f": pass {labels}[:, None]"
        many = len({*array.ravel().tolist()})
        return f": pass br.one_hot({labels}, {width})" if many <= width else f", one column for each of {many} values"
    if array.ndim == 1:
        return f": pass {name}[None, :]" if len(array) == width else ""
    return f": pass {name}.T" if array.ndim == 2 and len(array) == width else ""
