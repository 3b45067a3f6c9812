"""Three checks of a gradient that use nothing of the backward pass, and share no code with `backprop_ref.mlp`.

- Complex step: ``dL/dp = Im L(p + ih) / h``, without cancellation, so exact to rounding (Squire and Trapp 1998).
- Central differences at two steps, whose difference says how far to trust them; entries whose ±step crosses a kink
  of an activation are set aside.
- Taylor remainder: ``|L(p + εd) − L(p) − ε·g·d|`` falls as ε² for a right gradient g, and as ε for a wrong one.

And one of forward and backward mode: ``⟨Jv, u⟩ = ⟨v, Jᵀu⟩``, J the Jacobian of the network, both the complex step's.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import showing
from backprop_ref.api import check_fit, checked_data, value_and_grad, vjp
from backprop_ref.conformance.rounding.bounds import gradient_bounds, jvp_bounds, near_pass
from backprop_ref.conformance.rounding.near import bound
from backprop_ref.conformance.rounding.precision import Rounding
from backprop_ref.derivatives import jvp
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters, views
from backprop_ref.progress import Bar
from backprop_ref.random import Stream
from backprop_ref.sample_weights import weighted

STEP = 2.0**-332
SHORT_STEP = np.longdouble(2.0) ** (np.finfo(np.longdouble).minexp // 2 - 60)
"""Its square vanishes, so that where all moves at once no product of two steps decides the side of a kink."""
KINKS = {"relu": [0], "leaky_relu": [0], "softsign": [0], "hard_sigmoid": [-3, 3], "elu": [0], "selu": [0]}
"""Where a derivative jumps, or bends sharply."""
NEARER_TO_TWO = 1.5  # a wrong gradient's slope goes to 1


class Row(NamedTuple):
    """The verdicts on one tensor."""

    tensor: str
    shape: tuple[int, ...]
    largest: float
    """Largest entry of the gradient, in size."""
    complex_step: float
    """Largest difference to the complex step, divided by `largest`."""
    share: float
    """Largest difference to the complex step as a share of what rounding allows; above 1 it is wrong."""
    central: float
    """Largest difference to central differences, divided by `largest`."""
    central_share: float
    kinks: int
    """Entries set aside because a step crosses a kink."""
    slope: float | None
    """Slope of the Taylor remainder; None where rounding leaves too little of it, as if the loss is linear."""
    checked: int
    ok: bool


HEADER = "tensor, checked, max |g|, complex step, of the bound, central diff., kinks, Taylor slope, verdict"
WORDS = (
    "Differences are relative to the tensor's largest entry. The bound is what rounding may do; a right gradient's "
    "Taylor slope is 2. Jv: the Jacobian times a vector, by forward mode and as the transpose of backward mode."
)


class Checked(NamedTuple):
    """The verdicts on all tensors of a gradient."""

    network: Network
    batch: int
    rows: list[Row]

    @property
    def ok(self) -> bool:
        """Whether no tensor is wrong."""
        return all(row.ok for row in self.rows)

    def parts(self) -> showing.Parts:
        """What is shown."""
        verdict = "gradients ok" if self.ok else "gradients WRONG: see the rows marked above"
        yield verdict.partition(":")[0]
        table = []
        for row in self.rows:
            checked = f"{row.checked} of {math.prod(row.shape)}"
            differences = f"{row.complex_step:.1e}", f"{row.share:.2g}", f"{row.central:.1e}"
            slope = "rounding" if row.slope is None else f"{row.slope:.3f}"
            said = "ok" if row.ok else "WRONG"
            table.append((row.tensor, checked, f"{row.largest:.3g}", *differences, str(row.kinks), slope, said))
        yield showing.Table(HEADER.split(", "), table)
        yield WORDS
        yield verdict

    def __str__(self) -> str:
        """What `print` shows."""
        return showing.text(self.parts())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self.parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self.parts())


def gradcheck(
    network: Network,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    grads: Parameters | None = None,
    entries: int | None = None,
    seed: int = 1,
    progress: bool | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    **backend: Any,
) -> list[Row]:
    """Checks a gradient, tensor by tensor.

    Parameters
    ----------
    network, params, x, y
        Float64 parameters: float32 leaves too few digits for differences.
    grads : Parameters, optional
        The gradient to check; default: `value_and_grad` on the backend given by the remaining arguments.
    entries : int, optional
        Check at most so many entries of each tensor, drawn from `seed`; default: all.
    sample_weight, class_weight : optional
        As for `value_and_grad`.

    Returns
    -------
    list of Row
        W0, b0, W1, b1, …, and where they are computed here the loss and Jv; `ok` says all checks passed.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["tanh"], "mean_squared_error")
    >>> rows = gradcheck(network, network.init(seed=1), [[0.5], [1.0]], [[0.0], [1.0]])
    >>> [(row.tensor, row.ok) for row in rows]
    [('W0', True), ('b0', True), ('loss', True), ('Jv', True)]
    """
    if params.dtype != np.float64:
        raise InvalidInput(
            f"gradcheck needs float64 parameters, got {params.dtype}: differences leave too few digits of float32; "
            "convert them with br.Parameters.from_arrays(…, dtype='float64')"
        )
    x, y, weights = weighted(*checked_data(network, x, y, params.dtype), sample_weight, class_weight)
    check_fit(network, params)
    loss = None
    if grads is None:
        loss, grads = value_and_grad(network, params, x, y, sample_weight=weights, **backend)
    check_fit(network, grads)
    bounds = gradient_bounds(network, params, x, y, sample_weight=weights)
    allowed = np.concatenate([part.ravel() for pair in zip(bounds.dW, bounds.db, strict=True) for part in pair])
    loss_error = bounds.loss * float(np.finfo(np.longdouble).eps / np.finfo(np.float64).eps)
    chosen = _chosen(params, entries, Stream(seed, "check"))
    total = sum(len(indices) for _, _, indices in chosen)
    rows, done = [], 0
    real, imaginary = (Near(network, params, x, dtype) for dtype in (np.longdouble, np.clongdouble))
    with np.errstate(all="ignore"), Bar("entry", total, progress) as bar:
        for name, tensor, indices in chosen:
            step, central, trust, kinked = np.empty((4, len(indices)))
            for i, index in enumerate(indices):
                step[i] = complex_step(network, params, x, y, index, weights=weights, near=imaginary)
                central[i], trust[i], kinked[i] = central_difference(
                    network, params, x, y, index, loss_error, weights, near=real
                )
                bar.update(done := done + 1)
            slope = taylor_slope(network, params, x, y, grads, indices, seed, loss_error, allowed, weights)
            g, tolerance = grads.flat[indices], 2.0 * allowed[indices]
            rows.append(_row(name, tensor.shape, g, step, central, trust, kinked.astype(bool), tolerance, slope))
        if loss is not None:
            rows.append(
                _loss_row(loss, float(complex_loss(network, params, x, y, weights=weights)[0]), 2.0 * bounds.loss)
            )
            rows.append(_transposes_row(network, params, x, Stream(seed, "check"), backend))
    return rows


class _Point(NamedTuple):
    """Weights and biases of any precision, real or complex."""

    flat: np.ndarray
    W: tuple
    b: tuple

    @classmethod
    def at(cls, flat, sizes):
        return cls(flat, *views(flat, sizes))


def _row(name, shape, g, step, central, trust, kinked, tolerance, slope):
    least = np.finfo(np.float64).smallest_subnormal
    largest = float(np.abs(g).max())
    difference, apart = np.abs(g - step), np.where(kinked, 0.0, np.abs(g - central))
    share = _largest(difference / np.maximum(tolerance, least))
    central_share = _largest(apart / np.maximum(trust + tolerance, least))
    ok = share <= 1.0 and central_share <= 1.0 and (slope is None or slope > NEARER_TO_TWO)
    relative, central_relative = _largest(difference) / (largest or 1.0), _largest(apart) / (largest or 1.0)
    kinks = int(kinked.sum())
    return Row(name, shape, largest, relative, share, central_relative, central_share, kinks, slope, len(g), ok)


def _loss_row(loss, expected, tolerance):
    """The loss itself against its independent evaluation, in the columns of the complex step."""
    difference = abs(loss - expected)
    share = _largest(np.array([difference / max(tolerance, np.finfo(np.float64).smallest_subnormal)]))
    return Row("loss", (), abs(loss), difference / (abs(loss) or 1.0), share, 0.0, 0.0, 0, None, 1, share <= 1.0)


def _transposes_row(network, params, x, stream, backend):
    """⟨Jv, u⟩ by forward mode and ⟨v, Jᵀu⟩ by backward mode, each against the complex step: v moves W, b and x."""
    u = stream.normal(len(x) * network.sizes[-1]).reshape(len(x), -1)
    v, x_tangent = Parameters(stream.normal(params.flat.size), params.sizes), stream.normal(x.size).reshape(x.shape)
    moved = _Point.at(params.flat + SHORT_STEP * 1j * v.flat, params.sizes)
    a, _ = complex_pass(network, moved, x + SHORT_STEP * 1j * x_tangent)
    exact = np.sum(u * a.imag) / SHORT_STEP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at kinks all three take the same side
        a_dot = jvp(network, params, x, v, x_tangent, **backend)
    grads, back = vjp(network, params, x, u, **backend)
    near = near_pass(Rounding.of(params.dtype), network, params, x, u, da=u)
    allowed = [bound(part).ravel() for pair in zip(near.dW, near.db, strict=True) for part in pair]
    forward, backward = np.ravel(u), np.concatenate([v.flat, np.ravel(x_tangent)])
    shares = []
    for found, along, errors in (
        (np.ravel(a_dot), forward, jvp_bounds(network, params, x, v, x_tangent).ravel()),
        (np.concatenate([grads.flat, np.ravel(back)]), backward, np.concatenate([*allowed, bound(near.dx).ravel()])),
    ):
        difference = float(abs(np.sum(found * along.astype(np.longdouble)) - exact))
        summed = len(found) * np.finfo(np.longdouble).eps * np.sum(np.abs(found * along))
        tolerance = 2.0 * float(np.sum(np.abs(along) * errors) + summed)
        shares.append((difference, difference / max(tolerance, np.finfo(np.float64).smallest_subnormal)))
    difference, share = (_largest(np.array(column)) for column in zip(*shares, strict=True))
    size = float(abs(exact))
    return Row("Jv", (), size, difference / (size or 1.0), share, 0.0, 0.0, 0, None, 1, share <= 1.0)


def _largest(values):
    """The maximum, in which NaN counts as infinite."""
    return float(np.where(np.isnan(values), np.inf, values).max())


def _chosen(params, entries, stream):
    """Name, tensor, and the positions in `flat` to check, for each tensor."""
    chosen, start = [], 0
    for layer, pair in enumerate(zip(params.W, params.b, strict=True)):
        for letter, tensor in zip("Wb", pair, strict=True):
            indices = np.arange(start, start + tensor.size)
            if entries is not None and tensor.size > entries:
                indices = np.sort(indices[stream.permutation(tensor.size)[:entries]])
            chosen.append((f"{letter}{layer}", tensor, indices))
            start += tensor.size
    return chosen


def complex_step(network, params, x, y, index, masks=(), weights=None, near=None):
    """dLoss/d flat[index] by a step along the imaginary axis, in extended precision where the machine has it.

    `masks` are those of dropout, as `value_and_grad` takes them; `near`, for many entries, of the same arguments.
    """
    near = near or Near(network, params, x, np.clongdouble, masks)
    loss, _ = near.loss(y, index, params.flat[index] + STEP * 1j, weights)
    return float(loss.imag / np.longdouble(STEP))


def central_difference(network, params, x, y, index, loss_error, weights=None, near=None):
    """dLoss/d flat[index], how far it can be trusted, and whether a step crosses a kink."""
    near = near or Near(network, params, x, np.longdouble)
    h = 2.0 ** round(np.log2(np.cbrt(np.finfo(np.float64).eps) * max(1.0, abs(params.flat[index]))))
    losses, signs = [], []
    for step in (-2 * h, -h, h, 2 * h):
        loss, sides = near.loss(y, index, np.longdouble(params.flat[index]) + step, weights)
        losses.append(loss)
        signs.append(sides)
    close, far = (losses[2] - losses[1]) / (2 * h), (losses[3] - losses[0]) / (4 * h)
    trust = abs(far - close) + 2.0 * loss_error / h
    return float(close), float(trust), any(not np.array_equal(signs[0], other) for other in signs[1:])


def taylor_slope(network, params, x, y, grads, indices, seed, loss_error, grad_error, weights=None):
    """Median slope of log₂ remainder against log₂ ε along a random direction within `indices`, ε = 2⁻⁴ … 2⁻²⁶.

    Steps that cross a kink are left out, and remainders that the errors of the loss and of the gradient could explain.
    """
    direction = np.zeros(params.flat.size, dtype=np.longdouble)
    direction[indices] = Stream(seed, "check").normal(len(indices))
    direction /= np.sqrt(np.sum(direction * direction))
    wide = _Point.at(params.flat.astype(np.longdouble), params.sizes)
    start, sides = complex_loss(network, wide, x, y, weights=weights)
    along, along_error = np.sum(grads.flat * direction), np.sum(grad_error * np.abs(direction))
    remainders = []
    for step in 2.0 ** -np.arange(4, 27):
        loss, other_sides = complex_loss(
            network, _Point.at(wide.flat + step * direction, params.sizes), x, y, weights=weights
        )
        remainder = abs(loss - start - step * along)
        usable = np.array_equal(sides, other_sides) and remainder > 8.0 * (loss_error + step * along_error)
        remainders.append(remainder if usable else np.nan)
    slopes = np.log2(np.divide(remainders[:-1], remainders[1:], dtype=np.float64))
    return float(np.nanmedian(slopes)) if np.isfinite(slopes).sum() >= 3 else None


class Near:
    """The loss where one parameter is moved: what it does not reach is computed once, before."""

    def __init__(self, network, params, x, dtype, masks=()):
        self.network, self.masks = network, masks
        self.point = _Point.at(params.flat.astype(dtype), params.sizes)
        with np.errstate(all="ignore"):
            _, self.layers = complex_pass(network, self.point, x, masks)
        self.starts = np.cumsum([0, *(W.size + b.size for W, b in zip(self.point.W, self.point.b, strict=True))])

    def loss(self, y, index, value, weights=None):
        """That, and the sides of all kinks, with `value` at ``flat[index]``."""
        layer = int(np.searchsorted(self.starts, index, side="right")) - 1
        column = (index - self.starts[layer]) % len(self.point.b[layer])
        before, self.point.flat[index] = self.point.flat[index], value
        a, layers = complex_pass(self.network, self.point, None, self.masks, self.layers[: layer + 1], column)
        self.point.flat[index] = before
        return _loss_and_sides(self.network, layers, a, y, weights)


def complex_loss(network, params, x, y, masks=(), weights=None):
    """The loss for parameters of any precision, real or complex, and on which side of each kink every unit is.

    Only real parts are compared, so that the function stays analytic between kinks.
    """
    a, layers = complex_pass(network, params, x, masks)
    return _loss_and_sides(network, layers, a, y, weights)


def _loss_and_sides(network, layers, a, y, weights):
    weights = np.ones(len(y)) if weights is None else weights
    total = np.sum(weights[:, None] * _terms(network.loss, network.activations[-1], layers[-1].z, a, y))
    summed = LOSSES.parts(network.loss)[0] in {"sum_squared_error", "cross_entropy"}
    n = np.sum(weights, dtype=np.longdouble) * (1 if summed else y.shape[1])
    edges = [np.sign(edge.real) for edge in _edges(network.loss, a - y, a, y)]
    sides = [side for layer in layers for side in layer.sides]
    return total / n, np.concatenate([np.empty((len(y), 0)), *sides, *edges], axis=1)


class _Layer(NamedTuple):
    """What a layer is given, its z, and on which side of each kink its units are."""

    given: np.ndarray
    z: np.ndarray
    sides: list


def complex_pass(network, params, x, masks=(), known=(), column=None):
    """a of the last layer, and each `_Layer`.

    Of layers that are `known` from other parameters, the last alone is another, and of it one column of W and b.
    """
    layers, masks = list(known[:-1]), [None, *(masks or [None] * (network.n_layers - 1))]
    a = known[-1].given if known else x.astype(np.result_type(x, params.flat))
    for index in range(len(layers), network.n_layers):
        W, b, mask = params.W[index], params.b[index], masks[index]
        if index < len(known):
            z = known[index].z.copy()
            z[:, column] = np.einsum("sk,k->s", a, W[:, column]) + b[column]
        else:
            a = a if mask is None else a * mask
            z = np.einsum("sk,kj->sj", a, W) + b
        plain, number = ACTIVATIONS.parts(network.activations[index])
        layers.append(_Layer(a, z, [np.sign(z.real - kink) for kink in KINKS.get(plain, ())]))
        a = COMPLEX[plain](z) if number is None else COMPLEX[plain](z, np.longdouble(number))
    return a, layers


def _margins(a, y):
    """By how much each output comes too near to that of the row's class."""
    return 1 + a - np.where(y > 0, a, 0).sum(axis=1, keepdims=True)


def _edges(loss, r, a, y):
    """What changes its sign where the derivative of a loss jumps, or bends sharply."""
    plain, number = LOSSES.parts(loss)
    if plain == "multi_class_hinge":
        return [np.where(y > 0, 1, _margins(a, y))]
    edges = {"mean_absolute_error": [r], "hinge": [1 - np.where(y > 0, a, -a)]}
    return [r - number, r + number] if plain == "huber" else edges.get(plain, [])


def _sigmoid(z):
    e = np.exp(np.where(z.real > 0, -z, z))
    return np.where(z.real > 0, 1, e) / (1 + e)


def _softmax(z):
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _softplus(z):
    """log(1 + exp(z)) without overflow."""
    positive = z.real > 0
    return np.where(positive, z, 0) + np.log1p(np.exp(np.where(positive, -z, z)))


def _erf(z):
    """2/√π·exp(−z²)·(z + 2z³/3 + 4z⁵/15 + …), whose terms have one sign; beyond 6.5 it is ±1 to extended precision."""
    far = np.abs(z.real) > 6.5
    near = np.where(far, 0, z)
    term = total = near
    for k in range(1, 200):
        term = term * near * near / (k + np.longdouble(0.5))
        total = total + term
    return np.where(far, np.sign(z.real), 2 / np.sqrt(PI) * np.exp(-near * near) * total)


def _mish(z):
    softplus = _softplus(z)
    return z * np.tanh(softplus)


PI = 4 * np.arctan(np.longdouble(1))
SELU = 1.0507009873554805, 1.6732632423543772

COMPLEX: dict[str, Callable[..., Any]] = {
    "linear": lambda z: z,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z, slope: np.where(z.real > 0, z, slope * z),
    "softmax": _softmax,
    "softsign": lambda z: z / (1 + np.where(z.real > 0, z, -z)),
    "hard_sigmoid": lambda z: np.where(z.real <= -3, 0, np.where(z.real >= 3, 1, z / 6 + 0.5)),
    "softplus": _softplus,
    "silu": lambda z: z * _sigmoid(z),
    "elu": lambda z, alpha: np.where(z.real > 0, z, alpha * np.expm1(np.where(z.real > 0, 0, z))),
    "gelu": lambda z: z * (1 + _erf(z / np.sqrt(np.longdouble(2)))) / 2,
    "gelu_tanh": lambda z: z * (1 + np.tanh(np.sqrt(2 / PI) * (z + np.longdouble(44715) / 10**6 * z**3))) / 2,
    "mish": _mish,
    "selu": lambda z: SELU[0] * np.where(z.real > 0, z, SELU[1] * np.expm1(np.where(z.real > 0, 0, z))),
}
"""Each activation of complex numbers, those of a family with its number; what is compared is the real part."""


def _size(r):
    return np.where(r.real > 0, r, -r)


ALONE: dict[str, Callable[..., Any]] = {
    "mean_absolute_error": lambda r, a, y: _size(r),
    "huber": lambda r, a, y, d: np.where(np.abs(r.real) <= d, r * r / 2, d * _size(r) - d * d / 2),
    "log_cosh": lambda r, a, y: np.log((np.exp(r) + np.exp(-r)) / 2),
    "hinge": lambda r, a, y: np.where(np.where(y > 0, a, -a).real < 1, 1 - np.where(y > 0, a, -a), 0),
}
"""Losses of the output alone, from a − y, a and y."""


def _terms(loss, output, z, a, y):
    if loss.endswith("squared_error"):
        return (a - y) ** 2
    plain, number = LOSSES.parts(loss)
    if plain in ALONE:
        return ALONE[plain](a - y, a, y) if number is None else ALONE[plain](a - y, a, y, np.longdouble(number))
    if loss == "poisson":
        log = z if output == "linear" else np.log(a)
        return np.exp(log) - y * log
    if plain == "multi_class_hinge":
        return np.where((y > 0) | (_margins(a, y).real < 0), 0, _margins(a, y))
    if output == "softmax":
        y = y if not number else (1 - np.longdouble(number)) * y + np.longdouble(number) / y.shape[1]
        z = z - z.real.max(axis=1, keepdims=True)
        return -y * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))
    minus_log_a = _softplus(-z)
    return y * minus_log_a + (1 - y) * _softplus(z) if loss == "binary_cross_entropy" else y * minus_log_a
