"""Cells of a sweep on the workers of a Dask scheduler, which may be other machines: folders go there and come back."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.run_folder import CONFIG, RESULTS
from backprop_ref.files import replace
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.version import __version__

Files = dict[str, bytes]
"""What is in a folder, by relative path."""

SECONDS = 10.0
"""How long the scheduler and its first worker are waited for."""


def on_scheduler(address: str, function: Callable, tasks: Sequence[tuple], last: str) -> Iterator[None]:
    """Has `function` called with each of the tasks, tuples that begin with a folder, and yields as they end.

    What a worker leaves in the folder is written here, the file `last` after all others. A task whose worker is lost is
    begun again on another.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise InvalidInput(f"{ask('--scheduler')} needs Dask: pip install 'backprop-ref[dask]'") from None
    where = ask("--scheduler", address)
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"{where}: cannot be reached ({error or 'no answer'}); start one by 'dask scheduler', and "
            "give the address that it prints"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, SECONDS)
        except TimeoutError:
            raise InvalidInput(
                f"{where}: it has no workers; start them by 'dask worker {address}', with one thread each"
            ) from None
        folders: dict[Any, str] = {}
        for folder, *arguments in tasks:
            begun = _read(Path(folder)) if (Path(folder) / CHECKPOINT).exists() else {}
            told = function, folder, arguments, begun, __version__
            folders[client.submit(_there, *told, pure=False, key=f"{folder}-{id(folders)}")] = folder
        for future in as_completed(folders, loop=client.loop):
            folder = Path(folders[future])
            try:
                _write(folder, future.result(), last)
            except KilledWorker as error:
                raise InvalidInput(f"{folder}: every worker that had it was lost ({error})") from None
            except ModuleNotFoundError as error:
                raise InvalidInput(f"{where}: a worker lacks what it needs ({error})") from None
            yield


def _there(function: Callable, folder: str, arguments: Sequence[Any], begun: Files, version: str) -> Files:
    """On a worker: calls the function in a folder of its own, and gives what is in it afterwards."""
    if version != __version__:
        raise InvalidInput(f"a worker has backprop-ref {__version__}, and the sweep {version}; install the same")
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary, "cells", Path(folder).name)
        here.parent.mkdir()
        if begun:
            _write(here, begun, CHECKPOINT)
        function(str(here), *arguments)
        found = _read(here)
        for name in (CONFIG, RESULTS):
            if name in found:
                found[name] = found[name].replace(str(here).encode(), folder.encode())
        return found


def _read(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _write(folder: Path, files: Files, last: str) -> None:
    """Each file is replaced at once: the checkpoint, which makes a run, after those that it speaks of."""
    for name in sorted(files, key=lambda name: (name == last, name in {CHECKPOINT, RESULTS}, name)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InvalidInput(f"{folder}: a worker gave a file outside of it, {name}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        replace(folder / name, files[name])
