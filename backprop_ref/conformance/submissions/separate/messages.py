"""Messages between the judge and a submission's process: JSON and the bytes of arrays, from which no code can run.

A message is two lengths, then JSON of the first, then of the second the bytes of all arrays, one after the other; in
the JSON stands for each of them an object with its dtype and shape.
"""

import json
import math
import struct
import time

import numpy as np

from backprop_ref.network import Network

SIZE_LIMIT, TEXT_LIMIT = 64 * 2**20, 16 * 2**20
"""Bytes of one message, and of its JSON, of which Python makes twenty times as many."""
_LENGTHS = struct.Struct("<QQ")
_DTYPES = {"<f8", "<f4", "<i8"}


class Garbled(ValueError):
    """What came is no message."""


def send(channel, message):
    """Sends nested lists and dictionaries with numbers, texts, networks and arrays through a socket."""
    raw: list[bytes] = []

    def in_json(value):
        if isinstance(value, Network):
            return {"sizes": value.sizes, "activations": value.activations, "loss": value.loss}
        array = np.asarray(value)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        raw.append(array.tobytes())
        return {"dtype": array.dtype.str, "shape": array.shape}

    text = json.dumps(message, default=in_json).encode()
    arrays = b"".join(raw)
    channel.sendall(_LENGTHS.pack(len(text), len(arrays)) + text + arrays)


def receive(channel, seconds=None):
    """The next message from a socket.

    Raises
    ------
    TimeoutError
        It was not complete within so many seconds.
    EOFError
        The other end is closed.
    Garbled
        It is no message, or larger than `SIZE_LIMIT`.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    n_text, n_arrays = _LENGTHS.unpack(_exactly(channel, _LENGTHS.size, deadline))
    for size, most in ((n_text + n_arrays, SIZE_LIMIT), (n_text, TEXT_LIMIT)):
        if size > most:
            raise Garbled(f"more than {most // 2**20} MiB")
    text, arrays = (_exactly(channel, length, deadline) for length in (n_text, n_arrays))
    try:
        return _read(text, arrays)
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError) as error:
        raise Garbled(f"no message ({type(error).__name__})") from None


def _exactly(channel, length, deadline):
    parts = bytearray()
    while len(parts) < length:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0.0:
            raise TimeoutError
        channel.settimeout(left)
        part = channel.recv(min(length - len(parts), 2**16))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _read(text, arrays):
    position = 0

    def in_python(found):
        nonlocal position
        if found.keys() == {"sizes", "activations", "loss"}:
            return Network(**found)
        if found.keys() != {"dtype", "shape"}:
            return found
        shape = tuple(found["shape"])
        if found["dtype"] not in _DTYPES or any(length < 0 for length in shape):
            raise ValueError("no array")
        dtype = np.dtype(found["dtype"])
        array = np.frombuffer(arrays, dtype, math.prod(shape), position).reshape(shape).copy()
        position += array.nbytes
        return array if shape else array[()]

    return json.loads(text, object_hook=in_python)
