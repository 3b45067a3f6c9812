"""How a function of this folder is compiled, and how later processes find its machine code.

What is written is what runs: kernels stand inside factories, and the compiled functions and constants that they use are
plain names in their scope. Numba looks for machine code on disk by a function's bytecode and its pickled closure, which
must not hold compiled functions. Here it looks by name alone: a name ends in a hash over all sources, the function, its
options and everything in its closure. The linker, too, tells functions apart by names.
"""

import contextlib
import ctypes
import gc
import hashlib
import pickle
import sys
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import rtsys

from backprop_ref import formulas

DIGEST_BYTES = hashlib.sha256().digest_size
Name = TypeVar("Name")

# No reassociation, no contraction, no exception for a division by zero; the interpreter's lock is given up.
OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy", "nogil": True}

# For fast numerics: fused multiply-add; and where a function is sums and products alone, in any order as well.
FUSED: dict[str, Any] = {"fastmath": {"contract"}}
IN_ANY_ORDER: dict[str, Any] = {"fastmath": {"contract", "reassoc"}}


def compiled(
    function: Callable[..., Any], cache: bool = True, pipeline: type[Compiler] | None = None, **options: Any
) -> Any:
    """A function, compiled when first called with arguments of some types, or loaded from disk.

    Parameters
    ----------
    function : function
        What it refers to in its scope are constants, compiled functions and intrinsics.
    cache : bool, optional
        Whether its machine code goes to disk: to ``NUMBA_CACHE_DIR``, to the virtual environment's, or to the user's
        folder for caches, never to the package's, which it would outlive. Without a folder it is compiled each time.
    pipeline : type, optional
        A compiler of Numba's, if it is not that of this module.
    **options
        For ``numba.njit``, besides `OPTIONS`. With `inline` or `forceinline`, compiled code alone can call it.
    """
    options = {**OPTIONS, **options}
    if "inline" in options or "forceinline" in options:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    named = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    named.__qualname__ = f"{function.__name__}_{_digest(function, options)}"
    named.__doc__, named.__module__ = function.__doc__, function.__module__
    dispatcher = numba.njit(pipeline_class=pipeline or _Compiler, **options)(named)
    if cache and not numba.config.DISABLE_JIT:
        with contextlib.suppress(RuntimeError):  # there is no folder to write to
            dispatcher._cache = _CodeOnDisk(named)
            compile_it = dispatcher.compile

            def compile_alone(signature: Any) -> Any:
                started, missed = time.perf_counter(), dispatcher.stats.cache_misses.copy()
                with uncollected(), _alone(named.__qualname__, dispatcher._cache.cache_path):
                    found = compile_it(signature)
                if dispatcher.stats.cache_misses != missed:
                    _SECONDS.append(time.perf_counter() - started)
                return found

            dispatcher.compile = compile_alone
    return dispatcher


def is_kept(dispatcher: Any) -> bool:
    """Whether its machine code goes to disk."""
    return isinstance(dispatcher._cache, _CodeOnDisk)


def is_stored(dispatcher: Any, signature: Any) -> bool:
    """Whether its machine code is on disk."""
    where = dispatcher._cache
    return isinstance(where, _CodeOnDisk) and where.holds(signature, dispatcher.targetctx.codegen())


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Python does not look for garbage meanwhile: a fifth of the time that compiling takes, for next to none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_SECONDS: list[float] = []


def seconds() -> float:
    """Seconds that this process has spent on compiling what was not on disk."""
    return sum(_SECONDS)


def linked(function: Callable[..., Any], **options: Any) -> Any:
    """A function that compiled code alone can call; it becomes machine code in those that call it, not by itself."""
    options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return compiled(function, cache=False, pipeline=_LinkedCompiler, **options)


def inlined(function: Callable[..., Any], **options: Any) -> Any:
    """A function that is compiled by itself, with its own rounding, and then into each function that calls it."""
    return linked(function, forceinline=True, **options)


def merged(function: Callable[..., Any]) -> Any:
    """A function whose statements become those of each function that calls it, and round like them.

    It compiles sooner: functions inside one another are optimised once for each that they are in.
    """
    return linked(function, inline="always")


class _Optimized(JITCodeLibrary):  # type: ignore[misc]
    """Machine code of a function, through whose parts LLVM goes once, when they are together.

    Numba has it go through each part before, for the sake of references, which there are none of to count here.
    """

    loop_vectorize = True
    _object: bytes | None = None

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=self.loop_vectorize)
        if not getattr(_SIDE_BY_SIDE, "here", False):
            passes.run(self._final_module, builder)
            return
        lock = global_compiler_lock._lock
        held = lock._release_save()  # however often this thread has it, as `threading.Condition` does
        try:
            passes.run(self._final_module, builder)
            self._object = self._compiled_object = self._codegen._tm.emit_object(self._final_module)
        finally:
            lock._acquire_restore(held)

    def _get_compiled_object(self) -> Any:
        """What `emit_object` gave, which Numba forgets as soon as it is in memory."""
        return self._object or super()._get_compiled_object()


class _Linked(_Optimized):
    """LLVM's code of a function, to be linked into that of others."""

    def _optimize_final_module(self) -> None:
        """Not alone."""

    def _finalize_final_module(self) -> None:
        """No machine code."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int | None:
        """What a call from Python gets to: a function that raises TypeError."""
        return ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value

    @property
    def codegen(self) -> "_Linked":
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """What only calls from Python need."""


class _Compiler(Compiler):  # type: ignore[misc]
    """Numba's compiler, with a library of ours for the code."""

    holder: type[_Optimized] = _Optimized

    def compile_extra(self, function: Any) -> Any:
        self.state["library"] = library = self.holder(self.state.targetctx.codegen(), function.__qualname__)
        library.enable_object_caching()
        return super().compile_extra(function)


class _LinkedCompiler(_Compiler):
    holder = _Linked


class _AsWritten(_Optimized):
    loop_vectorize = False


class AsWritten(_Compiler):
    """For functions whose loops that count are written in vectors: LLVM makes none of the others."""

    holder = _AsWritten


def side_by_side(functions: Mapping[Name, Callable[[], Any]]) -> dict[Name, Any]:
    """What functions give that compile, each a function by itself: of two threads, one is in Python while LLVM works
    for the other.
    """

    def call(function: Callable[[], Any]) -> Any:
        _SIDE_BY_SIDE.here = True
        return function()

    with ThreadPoolExecutor(2) as pool:
        futures = {name: pool.submit(call, function) for name, function in functions.items()}
        try:
            return {name: future.result() for name, future in futures.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_SIDE_BY_SIDE = threading.local()
_LOCKS: dict[str, threading.RLock] = defaultdict(threading.RLock)


@contextlib.contextmanager
def _alone(name: str, folder: str) -> Iterator[None]:
    """Of several threads or processes that would compile a function at the same time one does; the others wait, and
    load it. They have no other lock meanwhile."""
    with _LOCKS[name], contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # nothing can be stored there, or nothing locked
            import fcntl

            lock = Path(folder, f"{name}.lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                lock.open("x").close()
            handle = stack.enter_context(lock.open())
            fcntl.flock(handle, fcntl.LOCK_EX)
            stack.callback(fcntl.flock, handle, fcntl.LOCK_UN)  # a forked child, which has the file too, keeps no lock
        yield


class _OfEnvironment(UserWideCacheLocator):  # type: ignore[misc]
    """A folder in the virtual environment, if this is one: it goes with it."""

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(Path(sys.prefix, "var", "cache", "numba", self.get_suitable_cache_subpath(file)))

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        return None if sys.prefix == sys.base_prefix else super().from_function(function, file)


class _Files(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (UserProvidedCacheLocator, _OfEnvironment, UserWideCacheLocator)


class _Hashed(IndexDataCacheFile):  # type: ignore[misc]
    """Files of machine code that begin with a hash of the rest: a bit that changed would compute something else."""

    def _load_data(self, name: str) -> Any:
        stored = Path(self._data_path(name)).read_bytes()
        digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(data)

    def _save_data(self, name: str, data: Any) -> None:
        dumped = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(dumped).digest() + dumped)


class _CodeOnDisk(FunctionCache):  # type: ignore[misc]
    """Machine code by types and processor; the file's name has the rest."""

    _impl_class = _Files

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        stamp = locator.get_source_stamp()
        self._cache_file = _Hashed(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, signature: Any, data: Any) -> None:
        """Nothing, where there is no space: it will be compiled again."""
        with contextlib.suppress(OSError):
            super().save_overload(signature, data)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """None, too, where a file is damaged in such a way that it cannot be read; it is then written anew.

        Machine code needs Numba's runtime alone; all that Numba can compile, a third of the time from launch to the
        first step, is told to it only once something is compiled.
        """
        rtsys.initialize(target_context)
        try:
            with self._guard_against_spurious_io_errors():
                return self._load_overload(signature, target_context)
        except Exception:  # unpickling what is damaged may raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def holds(self, signature: Any, codegen: Any) -> bool:
        with contextlib.suppress(Exception):  # what is damaged is as good as absent
            return self._index_key(signature, codegen) in self._cache_file._load_index()
        return False

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        return signature, codegen.magic_tuple()


def _digest(function: Callable[..., Any], options: dict[str, Any]) -> str:
    how = sorted((name, sorted(value) if isinstance(value, set) else value) for name, value in options.items())
    return hashlib.sha256("\n".join((_sources(), repr(how), *_content(function))).encode()).hexdigest()[:16]


@cache
def _sources() -> str:
    """A hash over all sources that compiled code is made from."""
    files = sorted(Path(__file__).parent.rglob("*.py")) + [Path(formulas.__file__)]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _content(value: Any) -> Iterator[str]:
    """What tells a function or a value in a closure from others, the same in every process."""
    if hasattr(value, "py_func"):  # a compiled function, whose name has a hash
        yield value.py_func.__qualname__
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _content(item)
    elif isinstance(function := getattr(value, "_defn", value), types.FunctionType):  # _defn: of an intrinsic
        yield from _code(function.__code__)
        for cell in function.__closure__ or ():
            yield from _content(cell.cell_contents)
    elif " at 0x" in repr(value):
        raise TypeError(f"no later process can tell what {value!r} is, which compiled code refers to")
    else:
        yield repr(value)


def _code(code: types.CodeType) -> Iterator[str]:
    yield from (code.co_name, code.co_code.hex(), repr(code.co_names))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(constant)
