"""Writing files so that nobody ever sees half of one, and JSON that every reader takes."""

import contextlib
import json
import math
import os
from pathlib import Path


def write_atomically(path, content):
    """Writes text or bytes beside `path` and moves it there when it is complete and on disk.

    A link is followed; what is no regular file, such as a pipe, is written to as it is.
    """
    data = content.encode() if isinstance(content, str) else content
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the name that the caller knows
        raise


def json_text(value):
    """A JSON document; numbers that are not finite, for which JSON has no word, are null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
