"""The backends by name. A backend is an object; several can live side by side."""

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_ref import settings
from backprop_ref.backends.arithmetic import Fast, Reproducible, check_rounding
from backprop_ref.backends.base import Backend, BackendChoice, BackendStatus
from backprop_ref.errors import BackendUnavailable, BackpropRefError, InvalidInput, blame, unknown
from backprop_ref.import_path import importable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

CUDA_EXTRAS = "'backprop-ref[cuda12]' or 'backprop-ref[cuda13]', whichever CUDA version nvidia-smi shows"

# name -> (module with `create`, what has to be importable, how to install it)
BUILT_IN = {
    "numpy": ("backprop_ref.backends.numpy", "numpy", "numpy"),
    "numba": ("backprop_ref.backends.numba", "numba", "numba"),
    "python": ("backprop_ref.backends.python", "numpy", "numpy"),
    "torch": ("backprop_ref.backends.torch", "torch", "'backprop-ref[torch]'"),
    "jax": ("backprop_ref.backends.jax", "jax", "'backprop-ref[jax]'"),
    "cupy": ("backprop_ref.backends.cupy", "cupy", CUDA_EXTRAS),
    "array_api_strict": ("backprop_ref.backends.array_api_strict", "array_api_strict", "array-api-strict"),
}
ENTRY_POINTS = "backprop_ref.backends"
ARITHMETIC = {"fast": Fast, "reproducible": Reproducible}


def get_backend(
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Backend:
    """The backend to compute with: an object as it is, or one made from a name.

    Parameters
    ----------
    backend : str or Backend, optional
        A name (`names`), ``package.module:object``, or a backend. The object named may be a backend, or a callable
        defined in the same package that returns one, given whichever of ``numerics``, ``device`` and ``threads`` it
        takes. Its module may lie in the current folder, which is searched last, and only while the module is imported
        and the backend made: later calls of the backend find there what was imported by then, and no more.
    numerics, device, threads : optional
        For those not given, and for `backend`, see `backprop_ref.settings`.

    Raises
    ------
    InvalidInput
        An unknown name, or one that cannot do what is asked of it.
    BackendUnavailable
        Known, but not installed, or installed without a device, or asked for reproducible numerics where arithmetic
        does not round as it has to.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.get_backend("numpy", numerics="reproducible").numerics
    'reproducible'
    """
    chosen = settings.resolve("backend", backend)
    wanted = {"numerics": settings.resolve("numerics", numerics)}
    wanted |= {"device": settings.resolve("device", device), "threads": settings.resolve("threads", threads)}
    if isinstance(chosen, str):
        found = _made(chosen.strip(), **wanted)
    else:
        found = _accepted(chosen, type(chosen).__name__, numerics)
    if found.numerics == "reproducible":
        check_rounding()
    return found


def names() -> list[str]:
    """Every name a backend can be asked for by."""
    return [*BUILT_IN, *(point.name for point in _entry_points() if point.name not in BUILT_IN)]


def backends() -> list[BackendStatus]:
    """A `BackendStatus` for every name: usable or not, and why not.

    Examples
    --------
    >>> import backprop_ref as br
    >>> [status.name for status in br.backends() if status.usable][:2]
    ['numpy', 'numba']
    """
    return [_status(name) for name in names()]


def _entry_points() -> "EntryPoints":
    import importlib.metadata

    return importlib.metadata.entry_points(group=ENTRY_POINTS)


@functools.lru_cache(maxsize=64)
def _made(name: str, numerics: str, device: str | None, threads: int | None) -> Backend:
    """A backend from its name; one with reproducible numerics only if its operations round as they have to."""
    backend = _found(name, numerics, device, threads)
    probe = getattr(getattr(backend, "arithmetic", None), "probe", None)
    if probe and backend.numerics == "reproducible":
        check_rounding()
        with backend.scope():
            probe(backend.asarray, backend.to_numpy)
    return backend


def _found(name: str, numerics: str, device: str | None, threads: int | None) -> Backend:
    if name in BUILT_IN:
        module, needed, install = BUILT_IN[name]
        if importlib.util.find_spec(needed) is None:
            raise BackendUnavailable(f"backend {name}: not installed; install {install}")
        try:
            found: Backend = importlib.import_module(module).create(ARITHMETIC[numerics], device, threads)
            return found
        except BackpropRefError:
            raise
        except (ImportError, OSError, ValueError) as error:  # Numba of NUMBA_NUM_THREADS=0
            raise BackendUnavailable(f"backend {name}: installed, but it does not load: {error}") from error
    wanted = {"numerics": numerics, "device": device, "threads": threads}
    if ":" in name:
        module, _, path = name.partition(":")
        with importable(Path.cwd()):
            return _theirs(name, _imported(f"backend {name}", module, path), module, wanted)
    points = [point for point in _entry_points() if point.name == name]
    if not points:
        raise unknown("backend", name, [*names(), "package.module:object"])
    value = points[0].value
    module, _, path = value.partition("[")[0].replace(" ", "").partition(":")
    try:
        found = _imported(f"backend {name} ({value}) does not load", module, path)
    except InvalidInput as error:
        raise BackendUnavailable(str(error)) from error
    return _theirs(name, found, module, wanted)


def _imported(what: str, module: str, path: str) -> Any:
    """The object that a path of attributes leads to in somebody else's module."""
    if module.partition(".")[0] in {*sys.stdlib_module_names, "backprop_ref"}:
        raise InvalidInput(f"{what}: {module} has no backend to name so; known are {', '.join(BUILT_IN)}")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        hint = "; it is looked for on Python's path, then in the current folder" if missing else ""
        raise InvalidInput(f"{what}: cannot import '{module}' ({blame(error)}){hint}") from error
    try:
        return functools.reduce(getattr, path.split("."), found)
    except AttributeError as error:
        raise InvalidInput(f"{what}: {error}") from None


def _theirs(name: str, found: Any, module: str, wanted: dict[str, Any]) -> Backend:
    """The backend that an object of somebody else's module is or makes.

    Only what is defined in the module's own package is called: ``os.abort()`` would end the process.
    """
    import inspect

    numerics, package = wanted["numerics"], module.partition(".")[0]
    if isinstance(found, Backend) and not isinstance(found, type):
        return _accepted(found, name, None if numerics == settings.DEFAULTS["numerics"] else numerics)
    code = inspect.unwrap(found)
    defined_in = str(getattr(code, "__module__", None))
    if not callable(found) or defined_in.partition(".")[0] != package:
        shown = f"{defined_in}.{code.__qualname__}" if hasattr(code, "__qualname__") else type(found).__name__
        raise InvalidInput(f"backend {name}: {shown} is neither a backend nor a callable of {package} that makes one")
    return _accepted(_called(found, name, wanted), name, numerics)


def _called(factory: Callable[..., object], name: str, wanted: dict[str, Any]) -> object:
    """What a class or function makes, given those of the settings that it takes."""
    import inspect

    try:
        taken = inspect.signature(factory).parameters.values()
        everything = any(p.kind is p.VAR_KEYWORD for p in taken)
        return factory(**{key: value for key, value in wanted.items() if everything or key in {p.name for p in taken}})
    except BackpropRefError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"backend {name}: cannot be made: {blame(error)}") from error


def _accepted(backend: Any, name: str, numerics: str | None) -> Backend:
    """`backend` itself, if it has the pairs and computes in the numerics asked for (None: any)."""
    parts = (part for part in (*Backend.__annotations__, *vars(Backend)) if not part.startswith("_"))
    missing = [part for part in parts if not hasattr(backend, part)]
    if missing:
        raise InvalidInput(f"backend {name}: {type(backend).__name__} lacks {', '.join(missing)}")
    if numerics is not None and backend.numerics != numerics:
        raise InvalidInput(f"backend {name} computes with {backend.numerics} numerics; {numerics} was asked for")
    accepted: Backend = backend
    return accepted


def _status(name: str) -> BackendStatus:
    try:
        backend = _made(name, "fast", None, None)
    except BackpropRefError as error:
        return BackendStatus(name, False, str(error).removeprefix(f"backend {name}: "), None, _version(name))
    return BackendStatus(name, True, "", backend.device, backend.version)


def _version(name: str) -> str | None:
    import importlib.metadata

    needed = BUILT_IN[name][1] if name in BUILT_IN else name
    for distribution in (needed, f"{needed}-cuda12x", f"{needed}-cuda13x"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return None
