"""Processes of submissions, kept from what they do not need: on Linux, by what any user may do, without a helper.

Landlock (files, and signals to others) and a filter of system calls (connections, other processes' memory) hold for one
thread and for all that it starts. So a thread of its own takes them on, and starts the process: neither the judge nor
the start gets slower for it. Both are called by ctypes: what bindings there are on the package index are unreleased, or
want libraries that a system may lack.
"""

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from backprop_ref.asking import ask

MEMORY_BYTES, FILE_BYTES, CPU_SECONDS, MORE_PROCESSES = 4 * 2**30, 2**28, 3600, 256
"""What a process may take of memory, write into a file, and compute; and how many more than now its user may have."""
MOST_LINKS = 500
"""So many files that lie in the current folder are to be seen from the private one."""

PASSED = re.compile(
    r"PATH|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLUMNS|PYTHON(PATH|HOME|HASHSEED|UTF8|IOENCODING|WARNINGS)|VIRTUAL_ENV|CONDA_PREFIX"
    r"|(DY)?LD_LIBRARY_PATH|(OMP|MKL|OPENBLAS|BLIS|NUMEXPR|NUMBA|CUDA|XLA|JAX|TF|KERAS|MPL)_\w+|PYTORCH_\w+|JULIA_\w+|R_\w+"
    r"|JAVA_HOME|GOPATH|GOCACHE|GOROOT|CARGO_HOME|RUSTUP_HOME|NODE_PATH|SYSTEMROOT|WINDIR|COMSPEC|PATHEXT"
)
"""The variables that a submission is given; no other, as some hold secrets."""
OF_PROGRAMS = re.compile(r"HOME|USER|LOGNAME|XDG_(CACHE|CONFIG|DATA)_HOME")
"""What a command is given besides, which may be a compiler that keeps its files there."""
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)

_DENIED = re.compile(
    r"PermissionError|Permission denied|not permitted|MemoryError|Unable to allocate|File too large|URLError|"
    r"gaierror|ConnectionError|temporary failure in name resolution|SIGXFSZ|SIGXCPU|"
    r"(FileNotFoundError|No such file).*(\.\./|backprop-ref-)",
    re.IGNORECASE,
)
"""What is said where a process is kept from something, or looks for it from its private folder."""

_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_SEEN = _EXECUTE | _READ | _LIST
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/proc",
    "/sys",
    "/run/opengl-driver",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/kfd", "/dev/dri")
_HIDDEN = Path(__file__).parents[1] / "data"
"""The golden vectors, with what is expected: no submission reads them."""


class Confinement(NamedTuple):
    """What a process is kept from, by the kind of what it might do, and what not."""

    prevented: tuple[str, ...]
    not_prevented: tuple[str, ...]


FILES, EXPECTED, NETWORK = "reading and writing other files", "reading the expected values", "the network"
SIGNALS, PEEKING, LEFT = "signals to other processes", "other processes' memory", "leaving processes behind"
LIMITS, SECRETS = "memory and files without limit", "secrets in the environment"


@functools.cache
def _libc():
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def landlock_version() -> int:
    """That of the kernel's Landlock; 0 without."""
    if sys.platform != "linux":
        return 0
    return max(_libc().syscall(444, None, ctypes.c_size_t(0), 1), 0)


@functools.cache
def _calls() -> dict[str, int] | None:
    """The numbers of system calls; None on machines for which they are not known."""
    if sys.platform != "linux" or sys.byteorder != "little" or struct.calcsize("P") != 8:
        return None
    if platform.machine() not in _ARCHITECTURES:
        return None
    place = [*_ARCHITECTURES].index(platform.machine())
    return {name: numbers[place] for name, numbers in _NUMBERS.items()}


def confinement(program: bool = False) -> Confinement:
    """What holds for the processes that `Launcher` starts here."""
    free = _TRUSTED.get()
    landlock, calls = 0 if free else landlock_version(), _calls() is not None and not free
    found = {
        FILES: bool(landlock) and not program,
        EXPECTED: bool(landlock) and not program,
        NETWORK: calls,
        SIGNALS: landlock >= 6 or calls,
        PEEKING: bool(landlock) or calls,
        LEFT: calls and not program,
        LIMITS: sys.platform == "linux" and not free,
        SECRETS: not free,
    }
    return Confinement(
        tuple(name for name, holds in found.items() if holds), tuple(name for name, holds in found.items() if not holds)
    )


def lifted(reason: str, program: bool = False) -> str:
    """What lets a submission do what it was kept from, if the reason why it gives no answer looks like that.

    >>> "trust" in lifted("PermissionError: [Errno 13] Permission denied: '../data.npy'"), lifted("ValueError: shapes")
    (True, '')
    """
    kept = [name for name in confinement(program).prevented if name in {FILES, NETWORK, LIMITS}]
    if not _DENIED.search(reason) or not kept:
        return ""
    return f"; it is kept from {', '.join(kept)}: {ask('--trust')} lifts that, for code that you trust"


def environment(program: bool = False) -> dict[str, str]:
    """The variables that a submission is given."""
    allowed = [PASSED, OF_PROGRAMS] if program else [PASSED]
    return {
        name: value
        for name, value in os.environ.items()
        if any(one.fullmatch(name) for one in allowed) and not SECRET.search(name)
    }


_TRUSTED: ContextVar[bool] = ContextVar("backprop_ref_trusted", default=False)


@contextlib.contextmanager
def trusted(really: bool) -> Iterator[None]:
    """Inside, submissions have what their user has: files, network, environment, and as much of all as there is."""
    token = _TRUSTED.set(really)
    try:
        yield
    finally:
        _TRUSTED.reset(token)


class Private:
    """An empty folder for one process, removed with it; what lies in the current folder can be seen from there."""

    def __init__(self, beside: Iterable[Path] = ()) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="backprop-ref-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        self.work = self.path / "work"
        self.work.mkdir()
        with contextlib.suppress(OSError):
            for entry in itertools.islice(itertools.chain(*map(os.scandir, beside)), MOST_LINKS):
                with contextlib.suppress(OSError):
                    (self.work / entry.name).symlink_to(Path(entry.path).absolute())


def start(
    words: Sequence[str], readable: Iterable[str | Path], private: Private | None, **options: Any
) -> subprocess.Popen[bytes]:
    """Starts a process that is confined, as far as the system can do that.

    Parameters
    ----------
    words, options : as of `subprocess.Popen`
    readable : paths
        What it may read, beside Python and the system.
    private : Private or None
        The folder in which it works and writes; None: files are not kept from it.
    """
    if _TRUSTED.get():
        return subprocess.Popen(words, **options)
    program = private is None
    options["env"] = environment(program) | options.pop("env", {})
    rules = None
    if private is not None:
        options["cwd"] = private.work
        options["env"] |= {name: str(private.path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
        rules = _rules(tuple(map(str, readable)), tuple(sys.path))
    found: list[Any] = []

    def begin() -> None:
        try:
            _confine_thread(rules, private)
            found.append(subprocess.Popen(words, **options))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    process: subprocess.Popen[bytes] = found[0]
    _limit(process.pid)
    return process


def _limit(pid: int) -> None:
    """Limits what a process may take; none of this can be undone by it, unless the superuser runs it."""
    if sys.platform != "linux":
        return
    import resource

    limits = {
        resource.RLIMIT_DATA: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    if os.getuid():  # the superuser has no such limit
        limits[resource.RLIMIT_NPROC] = _tasks(int(time.monotonic() / 60)) + MORE_PROCESSES
    for kind, most in limits.items():
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.prlimit(pid, kind)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(pid, kind, (least, least))


@functools.lru_cache(maxsize=1)
def _tasks(minute: int) -> int:
    """How many threads the user has, in all processes."""
    count, own = 0, os.getuid()
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if entry.stat().st_uid == own:
                        count += sum(1 for _ in os.scandir(f"{entry.path}/task"))
    return count


# ---- Landlock


@functools.cache
def _rules(readable: tuple[str, ...], path: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Each path with what may be done below it."""
    python = {
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *sysconfig.get_paths().values(),
        str(Path(__file__).parents[3] / "kernels"),
    }
    libraries = {part for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part}
    package = str(Path(__file__).parents[2])
    own = {str(Path(sys.executable).resolve()), package}
    listed = {
        os.path.realpath(each)
        for each in {*_SYSTEM, *python, *libraries, *own, *readable, *filter(None, path), *_elsewhere(path)}
        if Path(each).exists()
    }
    roots = {
        each
        for each in listed
        if each != "/" and not any(each.startswith(f"{other}/") for other in listed if other != "/")
    }
    found = [each for root in sorted(roots) for each in _but_hidden(root)]
    devices = [str(each) for each in Path("/dev").glob("nvidia*")]
    return (*found, *((each, -1) for each in (*_DEVICES, *devices) if Path(each).exists()))


def _elsewhere(path: tuple[str, ...]) -> Iterator[str]:
    """Where packages lie that only a link, or an editable install, puts on the path."""
    for place in filter(None, path):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            yield from (os.path.realpath(entry.path) for entry in entries if entry.is_symlink())
    for name, module in sys.modules.items():
        if name.startswith("__editable__"):
            yield from map(str, getattr(module, "MAPPING", {}).values())


def _but_hidden(root: str) -> Iterator[tuple[str, int]]:
    """The path itself, to be read; or, if the golden vectors are below it, all else that is, and the names of all."""
    hidden = os.path.realpath(_HIDDEN)
    if root == hidden or root.startswith(f"{hidden}/"):
        return
    if not hidden.startswith(f"{root}/"):
        yield root, _SEEN
        return
    yield root, _LIST
    for entry in os.scandir(root):
        if not entry.is_symlink():
            yield from _but_hidden(entry.path)


class _Path(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _confine_thread(rules: tuple[tuple[str, int], ...] | None, private: Private | None) -> None:
    """Has this thread, and all that it starts, do only what is allowed; it cannot be undone."""
    if sys.platform != "linux" or _libc().prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        return
    with contextlib.suppress(AttributeError):  # of the superuser's powers, what opens files of others to be read
        _libc().capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 4, 4, 0, 0, 0, 0))
    version = landlock_version()
    if version and (rules is not None or version >= 6):
        handled = 0 if rules is None else (1 << (13 if version == 1 else 14 if version == 2 else 15)) - 1
        attributes = struct.pack("QQQ", handled, 0, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
        ruleset = _libc().syscall(444, attributes, ctypes.c_size_t(len(attributes)), 0)
        if ruleset >= 0:
            try:
                for path, allowed in rules or ():
                    _allow(ruleset, path, allowed & handled)
                if private is not None:
                    _allow(ruleset, str(private.path), handled)
                _libc().syscall(446, ruleset, 0)
            finally:
                os.close(ruleset)
    calls = _calls()
    if calls is not None:
        _filter(_program(calls, os.getpid()))


def _allow(ruleset: int, path: str, allowed: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not Path(path).is_dir():
                allowed &= _OF_FILES
            rule = _Path(allowed, handle)
            _libc().syscall(445, ruleset, 1, ctypes.byref(rule), 0)
        finally:
            os.close(handle)


# ---- the filter of system calls, as a program for the kernel's packet filter: (code, if true, if false, operand)

_LOAD, _EQUAL, _AND, _RETURN, _ABOVE = 0x20, 0x15, 0x54, 0x06, 0x35
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000 | errno.EPERM
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = {
    "socket": (41, 198), "connect": (42, 203), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "setpgid": (109, 154), "setsid": (112, 157), "ptrace": (101, 117), "prlimit64": (302, 261),
    "setpriority": (141, 140), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "reboot": (169, 142), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "init_module": (175, 105), "finit_module": (313, 273),
    "keyctl": (250, 219), "bpf": (321, 280), "kexec_load": (246, 104), "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "add_key": (248, 217),
}  # fmt: skip
"""Those of system calls, on each of them."""
_AIMED = {
    "kill": 0,
    "tkill": 0,
    "tgkill": 0,
    "rt_sigqueueinfo": 0,
    "rt_tgsigqueueinfo": 0,
    "pidfd_open": 0,
    "setpriority": 1,
}
"""Calls that are refused where they are aimed at the judge, and the place of the argument that says so."""
_NEVER = (
    *("connect", "ptrace", "process_vm_readv", "process_vm_writev", "io_uring_setup", "reboot", "settimeofday"),
    *("clock_settime", "sethostname", "init_module", "finit_module", "keyctl", "bpf", "kexec_load"),
    *("shmget", "msgget", "semget", "mq_open", "add_key"),  # what they make outlives every process
)


def _program(calls: dict[str, int], judge: int) -> list[tuple[int, int, int, int]]:
    """No connections but a pair of sockets of its own; nothing that is aimed at the judge, or at everyone."""
    yes, no = (_RETURN, 0, 0, _ALLOWED), (_RETURN, 0, 0, _REFUSED)

    def argument(place: int) -> tuple[int, int, int, int]:
        return (_LOAD, 0, 0, 16 + 8 * place)

    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURES[platform.machine()]), no]
    program += [(_LOAD, 0, 0, 0), (_ABOVE, 0, 1, 0x40000000), no]
    for name in _NEVER:
        program += [(_EQUAL, 0, 1, calls[name]), no]
    # socket: of the kind AF_UNIX and SOCK_STREAM alone, which no `connect` leads anywhere
    program += [
        (_EQUAL, 0, 6, calls["socket"]),
        argument(0),
        (_EQUAL, 0, 3, 1),
        argument(1),
        (_AND, 0, 0, 0xF),
        (_EQUAL, 1, 0, 1),
    ]
    program += [no, (_LOAD, 0, 0, 0)]
    program += [(_EQUAL, 0, 4, calls["prlimit64"]), argument(0), (_EQUAL, 1, 0, 0), no, yes]
    for name, place in _AIMED.items():
        others = [0xFFFFFFFF, 2**32 - os.getpgid(0)] if name == "kill" else []
        for pid in (judge, *others):
            program += [(_EQUAL, 0, 3, calls[name]), argument(place), (_EQUAL, 0, 1, pid), no, (_LOAD, 0, 0, 0)]
    return [*program, yes]


def _filter(program: list[tuple[int, int, int, int]]) -> None:
    """Adds a filter to those of this thread."""
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    kept = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(kept))
    _libc().prctl(22, 2, header, 0, 0)  # PR_SET_SECCOMP, a filter


def stay_in_group() -> None:
    """From here on, whatever this thread starts stays in its process group, and so ends with it."""
    calls = _calls()
    if calls is not None and not _libc().prctl(38, 1, 0, 0, 0):
        no = (_RETURN, 0, 0, _REFUSED)
        loops = [step for name in ("setsid", "setpgid") for step in ((_EQUAL, 0, 1, calls[name]), no)]
        _filter([(_LOAD, 0, 0, 0), *loops, (_RETURN, 0, 0, _ALLOWED)])


# ---- what is left behind


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """What processes started inside leave behind ends with the block; for a process of ours, as it ends others too.

    What a program starts in a session of its own is no longer in its group; it comes to this process when its own
    parent ends, and is ended here.
    """
    if sys.platform != "linux" or _libc().prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
        yield
        return
    before = set(_children())
    try:
        yield
    finally:
        for _ in range(100):
            left = [pid for pid in _children() if pid not in before]
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(OSError):
                    os.waitpid(pid, 0)
            if not left:
                break
        _libc().prctl(36, 0, 0, 0, 0)


def _children() -> list[int]:
    """The processes of which this one is the parent."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                after = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                if int(after[1]) == os.getpid():
                    found.append(int(entry.name))
    return found
