"""Which backend, numerics, dtype, device and number of threads, where nobody says so in the call.

Precedence: argument, `use`, environment variable, default. The environment is read when a value is needed; an empty
variable counts as unset.
"""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from backprop_ref.errors import InvalidInput, check_is, unknown

DEFAULTS: dict[str, Any] = {"backend": "numpy", "numerics": "fast", "dtype": "float64", "device": None, "threads": None}
CHOICES = {"numerics": ("fast", "reproducible"), "dtype": ("float64", "float32")}

_used: ContextVar[dict[str, Any]] = ContextVar("backprop_ref_settings", default={})  # noqa: B039 (never changed in place)


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return f"BACKPROP_REF_{key.upper()}"


def from_environment(key: str) -> str | None:
    """The setting's environment variable, or None if it is unset or empty."""
    return os.environ.get(variable(key), "").strip() or None


def resolve(key: str, argument: Any = None) -> Any:
    """The value in force for one of `DEFAULTS`, given the argument of the call (None: not given).

    Raises
    ------
    InvalidInput
        A value that is not allowed; the message names the environment variable if it came from there.
    """
    if argument is not None:
        return _checked(key, argument, key)
    if key in _used.get():
        return _used.get()[key]
    value = from_environment(key)
    return DEFAULTS[key] if value is None else _checked(key, value, variable(key))


@contextlib.contextmanager
def use(
    *,
    backend: object = None,
    numerics: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Iterator[None]:
    """Sets defaults for the calls inside a ``with`` block, in this thread or task alone.

    Parameters
    ----------
    backend : str or object, optional
        A name from `backends`, "package.module:object", or a backend itself.
    numerics : str, optional
        "fast" or "reproducible".
    dtype : str, optional
        "float64" or "float32": the precision of new parameters.
    device : str, optional
        One of the backend's devices.
    threads : int, optional
        1 or more.

    Raises
    ------
    InvalidInput
        A value that is not allowed.

    Examples
    --------
    >>> import backprop_ref as br
    >>> with br.use(numerics="fast", dtype="float32"):
    ...     br.Network([2, 1], ["sigmoid"], "bce").init(seed=1).dtype
    dtype('float32')
    """
    given = {"backend": backend, "numerics": numerics, "dtype": dtype, "device": device, "threads": threads}
    chosen = {key: _checked(key, value, key) for key, value in given.items() if value is not None}
    token = _used.set({**_used.get(), **chosen})
    try:
        yield
    finally:
        _used.reset(token)


def _checked(key: str, value: Any, source: str) -> Any:
    if key == "threads":
        number = int(value) if str(value).isdecimal() else 0
        if number < 1:
            raise InvalidInput(f"{source}={value!r}: a number of threads, 1 or more, is needed")
        return number
    if key == "dtype":
        value = getattr(value, "name", None) or getattr(value, "__name__", value)
    if key in CHOICES or key == "device":
        check_is(source, value, str, f"the name of a {key}" if key == "device" else " or ".join(CHOICES[key]))
    if key in CHOICES and value not in CHOICES[key]:
        raise unknown(source, value, CHOICES[key])
    return value
