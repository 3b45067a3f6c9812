"""While the command starts: Ctrl-C ends it with status 130 and one line, and importing takes less time.

An exception would end it too where it gets through; on the way out of an import it may be lost, or become another one
with a traceback. Nothing is written to files yet, and nothing has to be put back. What is imported stays, so looking
for garbage in it is in vain, and so is looking for plugins of pydantic. This module is imported with the package,
before all that takes long, and does something only where the process is the command; it needs nothing but what is
built into Python, as `_signal` is.
"""

import _signal as signal  # type: ignore[import-not-found]
import gc
import os
import sys

INTERRUPTED = 130


def end_at_once() -> None:
    """From now on Ctrl-C ends the process by itself, unless it is ignored or acts in some way of a caller's own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def as_usual() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, and garbage is collected."""
    if is_command:
        gc.freeze()
        gc.enable()
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
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
