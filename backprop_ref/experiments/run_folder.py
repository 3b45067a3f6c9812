"""The folder of a run: what is in it, making it, going on in it, and removing one that got nowhere."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, beside_which, create, make_folder, refuse_links, remove_torn, replace
from backprop_ref.stored import read_text
from backprop_ref.traces.sinks import SINKS
from backprop_ref.training.checkpoint import CERTIFICATE, CHECKPOINT, KEPT
from backprop_ref.training.history_file import HISTORY

CONFIG, RESULTS = "config.yaml", "results.json"
OLDER_LOGS = 3
TRACES = tuple(sink.name for sink in SINKS.values())
PARTS = SINKS["parquet"].name


def no_run_folder(folder: Name, instead: str) -> InvalidInput:
    """What is said of a folder that no run wrote, or `br.train`."""
    if (Path(folder) / CHECKPOINT).is_file():
        return InvalidInput(
            f"{folder}: br.train wrote it, and no {CONFIG}, which this needs; train it by backprop-ref train or br.run"
        )
    return InvalidInput(f"{folder}: no run folder (no {CONFIG} in it); give {instead}")


@contextlib.contextmanager
def new_folder(asked: Name | None, name: str, config: str, log: str) -> Iterator[Path]:
    """A run folder with a configuration; both go again should an error come before there is a checkpoint or a trace.

    Of the folder `asked` for, or the next free ./runs/NAME-N; `log` is the log inside it.
    """
    given = asked is not None and Path(asked).exists()
    resumable = given and (Path(asked or "") / CONFIG).is_file()
    remedy = f"give a new folder, or {ask('--resume', str(asked))}" if resumable else "give a new folder"
    folder = make_folder("--run-dir", asked, Path("runs", name), remedy)
    created = [] if given else [folder]
    try:
        create(folder / CONFIG, config)
        created = [folder / CONFIG, folder / log, *(folder / log).parents[: len(Path(log).parts) - 1], *created]
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # of a folder that is gone
            if {path.name for path in folder.iterdir()} <= {CONFIG, Path(log).parts[0]}:
                remove(created)
        raise


@contextlib.contextmanager
def resumed_folder(folder: Name, config: str, log: str) -> Iterator[Path]:
    """The folder of a run that goes on by this configuration; by the one before, where nothing of it was reached."""
    folder = Path(folder)
    check_links(folder, log)
    remove_torn(folder, CONFIG, RESULTS)
    before, checkpoint = read_text(folder / CONFIG), _version(folder / CHECKPOINT)
    try:
        replace(folder / CONFIG, config)
        yield folder
    except BaseException:
        if _version(folder / CHECKPOINT) == checkpoint:
            with contextlib.suppress(OSError):
                replace(folder / CONFIG, before)
        raise


def _version(path):
    """What tells a file from the one that replaces it; None where there is none."""
    try:
        return path.stat().st_ino, path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def check_log(file: str) -> None:
    """Refuses a log that would not be a file of its own in the run folder."""
    log = Path(file)
    taken = {CONFIG, RESULTS, CHECKPOINT, HISTORY, CERTIFICATE, KEPT, *TRACES}
    if log.is_absolute() or ".." in log.parts or not log.parts or log.parts[0] in taken:
        raise InvalidInput(
            f"logging.file ({ask('--log-file')}) {log}: give a relative path of its own in the run folder"
        )


def logs(file: Name) -> list[str]:
    """The log and the older ones that it is renamed to when it gets long."""
    return [str(PurePath(file)), *(f"{PurePath(file)}.{number}" for number in range(1, OLDER_LOGS + 1))]


def check_links(folder: Name, log: Name) -> None:
    """Refuses a run folder in which a link has the name of a file that a run writes."""
    refuse_links(folder, CONFIG, RESULTS, CHECKPOINT, HISTORY, CERTIFICATE, KEPT, *TRACES, *logs(log))


def before_checkpoint(folder: Name, log: Name) -> list[Path]:
    """What a run has made before its first checkpoint, the innermost first, and the folder itself last.

    Whatever else is there is refused by name.
    """
    folder, log = Path(folder), PurePath(log)
    files, folders = {CONFIG, CHECKPOINT, *TRACES, *logs(log)}, {PARTS, *map(str, log.parents)}
    found = sorted(folder.rglob("*"), reverse=True)
    for path in found:
        name = path.relative_to(folder)
        refuse_links(folder, name)
        if path.is_dir():
            known = str(name) in folders
        else:
            name = beside_which(name) or name
            known = str(name) in files or name.match(f"{PARTS}/part-*.parquet")
        if not known:
            raise InvalidInput(f"{path}: not of the run that was stopped in {folder}, which begins anew; move it away")
    return [*found, folder]


def remove(paths: Iterable[Path]) -> None:
    """Removes files and folders, the innermost first; a folder in which there is something else stays."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
