"""Activations of one's own: a pair of rules that joins the table of formulas, once its derivative has been checked.

The check is the complex step: ``a(z + ih)`` has ``a'(z)·h`` as its imaginary part, without cancellation.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from backprop_ref import formulas
from backprop_ref.errors import InvalidInput

STEP = 2.0**-332
AGREE = 1e-12
"""How far a slope may be from the complex step, as a part of the largest."""
PLACES = np.array([-7.0, -3.1, -1.3, -0.6, -0.21, -0.01, 0.013, 0.19, 0.58, 1.4, 2.9, 6.5])
OPERATORS = {*formulas.SIGNS, *formulas.COMPARISONS, "absolute", "negative", "positive"}
"""What a rule may do to z without m, by NumPy's names."""
BACKENDS = ("numpy", "python", "torch", "jax", "array_api_strict")
"""What computes them; compiled kernels do not."""


class Complex(NDArrayOperatorsMixin):
    """Complex numbers of which comparisons see the real part, and whose |z| is z or −z, so that rules stay analytic."""

    __slots__ = ("value",)

    def __init__(self, value: npt.ArrayLike) -> None:
        self.value: npt.NDArray[Any] = np.asarray(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "Complex":
        if ufunc.__name__ not in OPERATORS:
            raise TypeError(f"NumPy's {ufunc.__name__} is not of the arithmetic")
        values = [one.value if isinstance(one, Complex) else one for one in inputs]
        if ufunc.__name__ in formulas.COMPARISONS:
            return Complex(ufunc(*map(np.real, values)))
        if ufunc is np.absolute:
            return Complex(np.where(values[0].real < 0.0, -values[0], values[0]))
        return Complex(ufunc(*values))

    def __bool__(self) -> bool:
        raise TypeError("an array is neither true nor false: if, max and min do not choose, m.where does")


class _Words(formulas.Arithmetic):
    """The words of the formulas over `Complex`."""

    def __getattr__(self, name: str) -> Callable[[Any], Complex]:
        if name not in formulas.FUNCTIONS:
            raise AttributeError(f"m has no '{name}'")
        return lambda x: Complex(getattr(np, name)(x.value if isinstance(x, Complex) else x))

    def erf(self, x: Complex) -> Complex:
        """By its derivative, as the step is so small that its square is nothing."""
        real = x.value.real
        slope = 2.0 / math.sqrt(math.pi) * np.exp(-real * real)
        return Complex(np.vectorize(math.erf)(real) + 1j * slope * x.value.imag)

    def where(self, condition: Complex, yes: Any, no: Any) -> Complex:
        values = [one.value if isinstance(one, Complex) else one for one in (yes, no)]
        return Complex(np.where(condition.value, *values))


def register_activation(name: str, forward: Callable[..., object], backward: Callable[..., object]) -> None:
    """Registers an activation of your own, for this process, under a name that networks can use.

    Parameters
    ----------
    name : str
        A word in lower case that is no activation yet.
    forward : function
        ``forward(m, z)`` gives a. Rules use + − × ÷, abs, comparisons with numbers, and the words of m: exp, expm1,
        log, log1p, tanh, erf, sqrt, sigmoid, softplus, and ``where(condition, yes, no)``.
    backward : function
        ``backward(m, z, a, da)`` gives delta.

    Raises
    ------
    InvalidInput
        The name is taken or is none, or at some z the backward rule is not the derivative of the forward one.

    Notes
    -----
    It is computed by the backends numpy, python and those of array libraries, in either numerics; others refuse it. No
    bound on its rounding is proven, so `gradcheck` refuses it too.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.register_activation("cube", lambda m, z: z * z * z, lambda m, z, a, da: da * (3.0 * (z * z)))
    >>> network = br.Network([2, 3, 1], ["cube", "linear"], "mse")
    >>> br.register_activation("square", lambda m, z: z * z, lambda m, z, a, da: da * z)
    Traceback (most recent call last):
    backprop_ref.errors.InvalidInput: activation square: at z = -7 the backward rule gives -7; the derivative is -14
    """
    if not (isinstance(name, str) and name.isidentifier() and name.islower()):
        raise InvalidInput(f"activation '{name}': a name is a word in lower case, such as my_activation")
    if name in formulas.ACTIVATIONS:
        raise InvalidInput(f"activation {name} is there already: choose another name")
    _check(name, forward, backward)
    formulas.ACTIVATIONS[name] = formulas.Activation(forward, backward, z_for_a=False)
    formulas.OWN_ACTIVATIONS.add(name)


def _check(name: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Refuses a pair whose second rule is not the derivative of the first."""
    m, z = _Words(), Complex(PLACES + 0j)
    try:
        with np.errstate(all="ignore"):
            due = np.imag(_value(forward(m, Complex(PLACES + STEP * 1j)))) / STEP
            found = np.real(_value(backward(m, z, forward(m, z), Complex(np.ones(len(PLACES)) + 0j))))
    except Exception as error:
        raise InvalidInput(
            f"activation {name}: its rules fail: {error}; they may use + - * /, abs, comparisons and the words of m"
        ) from error
    due, found = np.broadcast_to(due, PLACES.shape), np.broadcast_to(found, PLACES.shape)
    wrong = ~(np.abs(found - due) <= AGREE * max(1.0, float(np.abs(due).max())))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidInput(
            f"activation {name}: at z = {PLACES[at]:g} the backward rule gives {found[at]:.6g}; "
            f"the derivative is {due[at]:.6g}"
        )


def _value(found: Any) -> npt.NDArray[Any]:
    if not isinstance(found, Complex):
        raise TypeError(f"one returns {found!r}, and not what it makes of z")
    return found.value
