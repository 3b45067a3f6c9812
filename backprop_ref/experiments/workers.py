"""Worker processes that end when the process that started them does, however it ends."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from backprop_ref.import_path import children_without_current_folder

LOOK_SECONDS, SAVE_SECONDS = 0.1, 3.0
LEFT_TO_THE_PARENT = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


def in_processes(function: Callable, tasks: Sequence[tuple], workers: int, threads: int, file: str) -> Iterator[Any]:
    """Yields what `function` gives for each of the tasks, tuples of arguments, as they end.

    Each worker has so many threads, and locks `file` as long as it lives, for `await_workers`.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor

    with children_without_current_folder(), parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads):
        start = {"initializer": _begin, "initargs": (os.getpid(), file)}
        parallel = Parallel(return_as="generator_unordered", **start)
        with _inherited():
            found = parallel(delayed(function)(*task) for task in tasks)
        yield from found
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C and the end of the terminal, and print no warnings.

    For workers this holds until they have begun. Loky's tracker, which removes what the others leave behind, has to
    outlive them, and would warn of each thing that it removes.
    """
    usual = {each: signal.signal(each, signal.SIG_IGN) for each in LEFT_TO_THE_PARENT}
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        yield
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)
        if warnings is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings


def await_workers(file: str | os.PathLike[str]) -> None:
    """Waits for the last workers of a process that was killed: it is a moment until they have ended too."""
    handle = _locked(file, "LOCK_EX")
    if handle is not None:
        os.close(handle)


def _begin(parent: int, file: str) -> None:
    """In a worker: Ctrl-C, which a terminal sends to every process, stops the training in progress and nothing else.

    A handler is installed since training would not stop under SIG_IGN.
    """
    signal.signal(signal.SIGINT, lambda *_: None)
    _end_with(parent)
    _locked(file, "LOCK_SH")


def _end_with(parent: int) -> None:
    """From now on a thread ends this process when its parent is no more: by SIGTERM, at which training saves, and soon
    in any case.
    """
    if os.getppid() != parent:  # which ended before this
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SAVE_SECONDS)
    os._exit(1)


def _locked(file: str | os.PathLike[str], kind: str) -> int | None:
    """An open file with a lock of this kind, waited for; None on systems without such locks."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(file, os.O_RDONLY)
    fcntl.flock(handle, getattr(fcntl, kind))
    return handle
