"""While the command starts: Ctrl-C ends it with status 130 and one line, and importing takes less time.

An exception would end it too where it gets through; on the way out of an import it may be lost, or become another one
with a traceback. Nothing is written to files yet, and nothing has to be put back. What is imported stays, so looking
for garbage in it is in vain, and so is looking for plugins of pydantic. This module is imported with the package,
before all that takes long, and does something only where the process is the command; it needs nothing but what is
built into Python, as `_signal` is.

One of several processes only notes Ctrl-C, and goes on to where the others are: launchers do not notice one that ends
before it has started MPI, and the others, which do start it, would wait for that one for ever.
"""

import _signal as signal  # type: ignore[import-not-found]
import gc
import os
import sys

INTERRUPTED = 130
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are: MPICH's and Intel's, Open MPI's, MVAPICH's; srun says PMI_SIZE, or
with PMIx only a rank."""
noted: list[int] = []
"""Signals that came while they were only noted."""


def is_one_of_several() -> bool:
    """Whether this process was started by mpiexec or the like, beside others."""
    return any(os.environ.get(name, "1") not in {"", "1"} for name in SIZES) or "PMIX_RANK" in os.environ


def end_at_once() -> None:
    """From now on Ctrl-C ends the process by itself, and one of several notes it; unless it is ignored or acts in some
    way of a caller's own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def as_usual() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, at once if one was noted, and garbage is collected."""
    if is_command:
        gc.freeze()
        gc.enable()
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if noted:
        noted.clear()
        raise KeyboardInterrupt


def _end(number: int, frame: object) -> None:
    if is_one_of_several():
        noted.append(number)
        return
    try:  # noqa: SIM105 (contextlib is not built in)
        os.write(2, b"error: interrupted\n")
    except OSError:  # of a closed standard error
        pass
    os._exit(INTERRUPTED)


if sys.argv[:1] == ["-m"]:
    is_command = sys.orig_argv[-len(sys.argv)].endswith("backprop_ref")
else:
    is_command = bool(sys.argv) and os.path.splitext(os.path.basename(sys.argv[0]))[0] == "backprop-ref"  # noqa: PTH119, PTH122 (no pathlib yet)
if is_command:
    end_at_once()
    gc.disable()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
