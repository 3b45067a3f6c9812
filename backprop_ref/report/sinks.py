"""Where a trace goes: CSV, Parquet, or the binary form that `report.trace` describes.

Each sink appends records as they come, and what it has written stays readable whatever happens to the process.
"""

import contextlib

import io

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.report.trace import FILE, open_trace


@contextlib.contextmanager
def writing(path):
    """Turns an error of the system's into a line about the file."""
    try:
        yield
    except FileExistsError:
        raise InvalidInput(f"{path}: exists already, and nothing is overwritten; give a new folder") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}); free some space or give another") from None


class Binary:
    """``trace.bin``: the records as they are.

    Parameters
    ----------
    folder : Path
    dtype : dtype
        Of a record.
    about : About
    digits : int or None
    done : int or None
        For a run that is resumed, the epochs that it has done: later records are cut off. None: nothing may be there.

    Attributes
    ----------
    last : int
        The last epoch that the file holds; -1 if none.
    """

    def __init__(self, folder, dtype, about, digits, done):
        path = self._path = folder / FILE
        self.last = -1
        if done is not None and path.exists():
            self._go_on(dtype, about, done)
        else:
            line = about.to_json(dtype).encode()
            with writing(path):
                self._file = path.open("xb")
                self._file.write(line + b" " * (-(len(line) + 1) % 64) + b"\n")
        self.flush()

    def _go_on(self, dtype, about, done):
        found = open_trace(self._path)
        if found.about.to_json(found.records.dtype) != about.to_json(dtype):
            raise InvalidInput(f"{self._path}: the trace of another run; move it away")
        whole = kept(found["epoch"], about.every, done)
        self.last = int(found["epoch"][whole - 1]) if whole else -1
        with writing(self._path):
            self._file = self._path.open("r+b")
            start = len(self._file.readline())
            self._file.truncate(start + whole * dtype.itemsize)
            self._file.seek(0, io.SEEK_END)

    def write(self, records):
        with writing(self._path):
            self._file.write(records.tobytes())
            self._file.flush()

    def flush(self):
        with writing(self._path):
            self._file.flush()

    def close(self):
        with writing(self._path):
            self._file.close()


def kept(epochs, every, done):
    """How many of the epochs of a trace a resumed run keeps: those it has done, but for an odd one at the end."""
    stays = (epochs <= done) & (np.asarray(epochs) % every == 0)
    return len(stays) if stays.all() else int(np.argmin(stays))


SINKS = {"binary": Binary}
