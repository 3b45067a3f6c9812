"""Writing files so that nobody sees half of one and no file of somebody else's is lost; JSON that every reader takes.

`create` makes a new file; `replace` exchanges one that this program wrote before, and `open_in_place` continues it.
None of them follows a link. `write_output` writes what a user names: a new file, or a stream such as /dev/stdout.
"""

import contextlib
import errno
import itertools
import json
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, BinaryIO

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput, check_is

Name = str | os.PathLike[str]
Content = str | bytes | Sequence[bytes | memoryview]
"""What a file gets; bytes may come in pieces."""
STREAM = re.compile(r"/dev/(?:stdout|stderr|fd/(\d+))")
GIVEN = re.compile(r"/dev/(?:stdin|fd/\d+)|/proc/self/fd/\d+")
"""What the caller has opened, such as the output of another program."""
MOST_BYTES = 2**25
"""Of a document that is read as a whole. Tables, models and traces may be larger."""


def beginning(path: Name, most: int) -> bytes:
    """The first bytes of a regular file, at most so many; a FileNotFoundError where there is none."""
    refuse_endless(path)
    try:
        with Path(path).open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def content(path: Name, most: int = MOST_BYTES) -> bytes:
    """All of a regular file that is not too large; a FileNotFoundError where there is none."""
    found = beginning(path, most + 1)
    if len(found) > most:
        raise InvalidInput(f"{path}: larger than {most >> 10:,} KiB, which no such file is; give another one")
    return found


def refuse_endless(path: Name) -> None:
    """Refuses what is there and no file: a folder, or a pipe or device, reading which might never end.

    What the caller has opened, such as /dev/stdin, is read.
    """
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # which reading will say
        return
    if stat.S_ISDIR(found.st_mode):
        raise InvalidInput(f"{path}: not a regular file but a folder; give a file in it")
    if GIVEN.fullmatch(os.fspath(path)):
        return
    if not stat.S_ISREG(found.st_mode) or (not found.st_size and _holds_something(path)):
        remedy = f"save what it gives to a file, or give /dev/stdin and redirect: < {path}"
        raise InvalidInput(f"{path}: not a regular file, and reading it might never end; {remedy}")


def _holds_something(path: Name) -> bool:
    """Whether a file of no size can be read: the system makes it up, such as /proc/kmsg, which waits."""
    handle = None
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        return bool(os.read(handle, 1)) and not os.fstat(handle).st_size
    except BlockingIOError:
        return True
    except OSError:  # which reading will say
        return False
    finally:
        if handle is not None:
            os.close(handle)


def create(path: Name, content: Content) -> None:
    """Makes a new file of text or bytes; a FileExistsError where something has that name, be it a link that leads
    nowhere.
    """
    with creating(path) as file:
        file.writelines(_pieces(content))


def replace(path: Name, content: Content) -> None:
    """Writes text or bytes to a file of this program's, whether it is there yet or not; a link, or no file, is
    refused.
    """
    with replacing(path) as file:
        file.writelines(_pieces(content))


def creating(path: Name) -> AbstractContextManager[BinaryIO]:
    """`create` as a context with a binary file, which has its name when the context is left."""
    return _beside(path, _name)


def replacing(path: Name) -> AbstractContextManager[BinaryIO]:
    """`replace` as a context with a binary file, which has its name when the context is left."""
    return _beside(path, _rename)


@contextlib.contextmanager
def _beside(path: Name, move: Callable[[Path, Path], None]) -> Iterator[BinaryIO]:
    """A binary file beside `path`, moved there when it is complete and on disk."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the name that the caller knows
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Sees that the names in a folder are on the disk, where the system and the file system do such a thing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def beside_which(path: Name) -> Path | None:
    """The file that this one was to become when its process was killed; None if it was to become none."""
    match = re.fullmatch(r"\.(.+)\.\d+\.[0-9a-f]{8}", Path(path).name)
    return None if match is None else Path(path).with_name(match[1])


def remove_torn(folder: Name, *names: Name) -> None:
    """Removes what was to become these files of a folder when something stopped it."""
    targets = {Path(folder) / name for name in names}
    for path in Path(folder).glob(".*"):
        if beside_which(path) in targets:
            with contextlib.suppress(OSError):
                path.unlink()


def _name(temporary: Path, path: Path) -> None:
    """Gives a file a further name, which must be free; the file system looks and names in one step."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as FAT: the name is taken first, by an empty file
        path.open("xb").close()
        temporary.replace(path)


def _rename(temporary: Path, path: Path) -> None:
    refuse_links(path.parent, path.name)
    if path.exists():
        temporary.chmod(path.stat().st_mode & 0o777)
    temporary.replace(path)


def open_in_place(path: Name, mode: str, **options: Any) -> IO[Any]:
    """`open`, for going on in a file of this program's, in a mode that does not empty it.

    Refused are links, what is no file, and a file with a second name, under which it would change too.
    """
    path = Path(path)
    refuse_links(path.parent, path.name)
    file = open(path, mode, opener=_not_through_a_link, **options)  # noqa: SIM115 (the caller closes it)
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise InvalidInput(f"{path}: has a second name (a hard link), whose file would change too; put a copy there")
    return file


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def refuse_links(folder: Name, *names: Name) -> None:
    """Refuses names inside a folder, such as 'logs/app.log', that are or lead through a link, a pipe or a device."""
    for name in names:
        path = Path(folder)
        for part in Path(name).parts:
            path /= part
            try:
                mode = path.lstat().st_mode
            except OSError:  # not there, or not to be looked at, which writing will say
                break
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                what = "a link" if stat.S_ISLNK(mode) else "no file"
                raise InvalidInput(f"{path}: {what}, and is neither followed nor replaced; put a file of its own there")


def refuse_ways_out(folder: Name, *names: Name) -> None:
    """Refuses names inside a folder that are links to what lies elsewhere: that is not of it, and stays unread."""
    for name in names:
        path = Path(folder, name)
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise InvalidInput(f"{path}: a link that leads out of its folder, and is not followed; put a copy there")


_OVERWRITING: ContextVar[bool | None] = ContextVar("backprop_ref_overwriting", default=None)
"""Whether outputs replace files; None where nobody was asked."""


@contextlib.contextmanager
def overwriting(asked: bool = True) -> Iterator[None]:
    """Inside, outputs replace files that are there; folders, links and what runs keep are never replaced."""
    token = _OVERWRITING.set(asked)
    try:
        yield
    finally:
        _OVERWRITING.reset(token)


def _may_replace(path: Name) -> bool:
    return bool(_OVERWRITING.get()) and Path(path).is_file() and not Path(path).is_symlink()


def make_folder(flag: str, asked: Name | None, default: Name, remedy: str = "give a new folder") -> Path:
    """Makes the folder asked for, which has to hold nothing; None: the next free one of DEFAULT-1, DEFAULT-2, …

    `flag` is what messages call the folder, `remedy` what they say to do where it holds something.
    """
    try:
        if asked is not None:
            folder = Path(asked)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InvalidInput(f"{ask(flag, asked)}: not empty, and nothing is overwritten; {remedy}")
            with tempfile.TemporaryFile(dir=folder):
                return folder
        Path(default).parent.mkdir(exist_ok=True)
        for number in itertools.count(1):
            folder = Path(f"{os.fspath(default)}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
        return folder
    except OSError as error:
        where = ask(flag, error.filename or asked)
        raise InvalidInput(f"{where}: cannot be made or written to ({error.strerror}); give another folder") from None


def check_output(flag: str, path: Name | None) -> None:
    """Refuses, before anything is computed, what `write_output` could not write; None is never refused.

    `flag` is what messages call the output, such as ``--output``.
    """
    if path is None or is_stream(path):
        return
    if not os.fspath(path):
        raise InvalidInput(f"{ask(flag, path)}: the name of a file is needed")
    if os.path.lexists(path) and not _may_replace(path):
        helps = _OVERWRITING.get() is False and Path(path).is_file() and not Path(path).is_symlink()
        force = f", or {ask('--force')}" if helps else ""
        raise InvalidInput(f"{ask(flag, path)}: exists already, and nothing is overwritten; give another name{force}")
    if not Path(path).absolute().parent.is_dir():
        raise InvalidInput(f"{ask(flag, path)}: cannot be written; give a file in a folder that exists")


def write_output(flag: str, path: Name, content: str | bytes, remedy: str = "give another file") -> None:
    """Writes text or bytes to a new file, or to a pipe, a terminal, or standard output by its name.

    `flag` is what messages call the output, `remedy` what they say to do should it not be written, or be there by now.
    """
    with writing(ask(flag, path), remedy):
        (send if is_stream(path) else replace if _may_replace(path) else create)(path, content)


@contextlib.contextmanager
def writing(what: Name, remedy: str) -> Iterator[None]:
    """Turns an error of the system's, while `what` is written, into an `InvalidInput`."""
    try:
        yield
    except FileExistsError:
        raise InvalidInput(f"{what}: exists already, and nothing is overwritten; {remedy}") from None
    except OSError as error:
        raise InvalidInput(f"{what}: cannot be written ({error.strerror}); {remedy}") from None


def path_of(path: object, name: str = "path") -> Path:
    """A path that was given, by the name of the argument."""
    check_is(name, path, (str, os.PathLike), "a path")
    text = os.fspath(path)  # type: ignore[call-overload]
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInput(f"{name}={text!r}: a path is needed")
    try:
        Path(text).lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidInput(f"{name}: {text[:40]!r}… is too long for the name of a file") from None
    except UnicodeEncodeError:
        raise InvalidInput(f"{name}: {text[:40]!r} is no name that a file can have") from None
    return Path(text)


def is_stream(path: Name) -> bool:
    """Whether what is written there goes on to somebody, as into a pipe; a file is a stream only as standard output."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return STREAM.fullmatch(os.fspath(path)) is not None or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def send(path: Name, content: str | bytes) -> None:
    """Writes text or bytes to a stream."""
    standard = STREAM.fullmatch(os.fspath(path))
    if standard is None:
        handle = os.open(path, os.O_WRONLY)
    else:  # as it is open already: opened anew, a file there would be written from its beginning
        sys.stdout.flush()
        handle = os.dup({"/dev/stdout": 1, "/dev/stderr": 2}.get(standard[0]) or int(standard[1]))
    with os.fdopen(handle, "wb") as file:
        file.write(_bytes(content))


def _pieces(content: Content) -> Sequence[bytes | memoryview]:
    return [_bytes(content)] if isinstance(content, str | bytes) else content


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def json_text(value: Any) -> str:
    """A JSON document; numbers that are not finite, for which JSON has no word, are null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
