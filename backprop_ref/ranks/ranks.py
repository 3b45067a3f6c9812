"""The processes that train one network together, and the sums that do not depend on how many they are.

A batch is cut into shards, whatever the number of processes; each process, a *rank*, computes a run of neighbouring
ones. Sums are made in the order of the shards: the running sum is handed from rank to rank, a piece at a time, so that
all ranks add at once, and the last one's is everybody's. MPI's own reductions bracket by the number of ranks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np

from backprop_ref.arrays import Matrix, Vector
from backprop_ref.errors import BackpropRefError, InvalidInput, TrainingDiverged

PIECE = 2**16
"""Entries of a running sum that are handed on at a time."""
LATER_SECONDS = 0.5
"""How much later than rank 0 the others speak: of a mistake that all make alike, one speaks."""
PASSED_ON_SECONDS = 0.1
"""For a launcher to pass on what a rank says before that ends all: MPICH's reads nothing any more then."""

T = TypeVar("T")


class Communicator(Protocol):
    """What of an mpi4py `Intracomm` a caller may want to know; it has more."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...


class Alone:
    """One process, which is all there is."""

    rank, size = 0, 1
    ctrl_c: Any = None
    """Where Ctrl-C is noted; see `training.ctrl_c.CtrlC`."""
    is_due: Callable[[], bool] = staticmethod(lambda: False)
    """Whether, on rank 0, all ranks are to pause at the next sum; `pause` then raises on each."""
    pause: Callable[[], None] = staticmethod(lambda: None)

    def agreed(self, value: T) -> T:
        """What rank 0 gives, on all ranks."""
        return value

    def first(self, function: Callable[[], T]) -> T:
        """Called on rank 0 alone; what it gives, or the error that it raises, on all ranks."""
        return function()

    def any(self, flag: bool) -> bool:
        """Whether it is so on some rank."""
        return flag

    def share(self, count: int) -> range:
        """Of so many things, those of this rank: neighbouring ones."""
        return range(count)

    def added(self, numbers: Matrix) -> Vector:
        """The sum of the rows of all ranks, in order; `numbers` is float64, of shape (own rows, k)."""
        total = np.zeros(numbers.shape[1])
        for row in numbers:
            total += row
        return total

    def check_same(self, what: Mapping[str, Any]) -> None:
        """Refuses, on all ranks, what is not the same on each of them."""

    def together(self) -> contextlib.AbstractContextManager[object]:
        """Inside, a rank that fails ends all."""
        return contextlib.nullcontext()


class Ranks(Alone):
    """The ranks of an MPI communicator, an mpi4py `Intracomm`; each batch is cut into so many `shards`."""

    def __init__(self, comm: Any, shards: int) -> None:
        self.rank, self.size = int(comm.rank), int(comm.size)
        if shards < self.size:
            raise InvalidInput(
                f"shards={shards} on {self.size} processes: each computes one or more; give shards={self.size}, or "
                "another number that is not smaller, the same for every number of processes"
            )
        self._comm = comm.Dup()  # so that no message is taken for one of the caller's
        own = self.share(shards)
        self._own = slice(own.start, own.stop)
        self._common: BaseException | None = None

    @property
    def most(self) -> int:
        """How many shards of a batch are this rank's, at most."""
        return self._own.stop - self._own.start

    def own(self, parts: Sequence[T]) -> Sequence[T]:
        """Of the shards of a batch, those of this rank; fewer, where a small batch has fewer."""
        return parts[self._own]

    def sum(self, rows: Matrix, numbers: Matrix, out: Vector | None = None) -> tuple[Vector, Vector]:
        """The sums over the shards of all ranks, in order. Raises `Interrupted` if Ctrl-C was pressed on any rank, and
        what `pause` raises where that is due.

        Parameters
        ----------
        rows : array of shape (own shards, n)
            Used up.
        numbers : float64 array of shape (own shards, k)
        out : array of shape (n,), optional
            Gets the first of the sums.

        Returns
        -------
        sums : arrays of shape (n,) and (k,)
        """
        pressed = np.zeros((max(1, len(numbers)), 2))
        pressed[0] = self.is_due(), self.ctrl_c is not None and bool(self.ctrl_c.pressed)
        if not len(numbers):
            numbers = np.zeros((1, numbers.shape[1]))
        numbers = np.concatenate([numbers, pressed], axis=1)
        *sums, due, stop = self._chain(numbers, np.empty(numbers.shape[1])).tolist()
        if stop:
            self.ctrl_c.pressed = self.ctrl_c.pressed or signal.SIGINT
            self.ctrl_c.poll()
        if due:
            self.pause()
        return self._chain(rows, np.empty(rows.shape[1], rows.dtype) if out is None else out), np.array(sums)

    def _chain(self, rows: Matrix, out: Vector) -> Vector:
        """out <- the sum of all ranks' rows, of which rank 0 has one or more: ((row 0 + row 1) + row 2) + …

        A piece goes up through the ranks, and what the last one has made of it comes down again meanwhile.
        """
        comm, rank, last, up, down = self._comm, self.rank, self.size - 1, [], []
        pieces = [slice(start, start + PIECE) for start in range(0, len(out), PIECE)]
        for piece in pieces:
            running, own = (out[piece], rows[:, piece]) if rank > 0 else (rows[0, piece], rows[1:, piece])
            if rank > 0:
                comm.Recv(running, rank - 1)
            for row in own:
                running += row
            if rank < last:
                up.append(comm.Isend(running, rank + 1))
            else:
                down.append(comm.Isend(running, rank - 1))
        for piece, sent in zip(pieces, up, strict=False):
            sent.Wait()
            comm.Recv(out[piece], rank + 1)
            if rank > 0:
                down.append(comm.Isend(out[piece], rank - 1))
        for sent in down:
            sent.Wait()
        return out

    def share(self, count: int) -> range:
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def added(self, numbers: Matrix) -> Vector:
        return self.sum(np.empty((len(numbers), 0)), numbers)[1]

    def agreed(self, value: T) -> T:
        found: T = self._comm.bcast(value)
        return found

    def first(self, function: Callable[[], T]) -> T:
        try:
            return first(self._comm, function)
        except Exception as error:
            self._common = error
            raise

    def any(self, flag: bool) -> bool:
        return any(self._comm.allgather(bool(flag)))

    def check_same(self, what: Mapping[str, Any]) -> None:
        found = self._comm.allgather({name: repr(value) for name, value in what.items()})
        for rank, other in enumerate(found):
            for name, value in found[0].items():
                if other.get(name) != value:
                    self._common = InvalidInput(
                        f"{name}: rank {rank} has {str(other.get(name))[:40]}, and rank 0 {value[:40]}; give the same "
                        "on every rank"
                    )
                    raise self._common

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Inside, an error that not every rank has ends all of them; else the others would wait for ever."""
        try:
            yield
        except BaseException as error:
            if error is not self._common and not isinstance(error, TrainingDiverged):
                end_all(self._comm, error)
            raise
        finally:
            self._comm.Free()


def first(comm: Any, function: Callable[[], T] | None) -> T:
    """Called on rank 0 alone; what it gives, or the error that it raises, on all ranks; `comm` may be None."""
    value, error = None, None
    if comm is None or comm.rank == 0:
        try:
            value = function() if function else None
        except Exception as raised:
            error = raised
    found = error
    if comm is not None:
        value, found = comm.bcast((value, error))
    if found is not None:
        raise error or found
    result: Any = value
    given: T = result
    return given


def end_all(comm: Any, error: BaseException) -> NoReturn:
    """Says what failed on this rank, and ends every rank with a status that is not 0."""
    if comm.rank > 0:
        time.sleep(LATER_SECONDS)
    if not isinstance(error, BackpropRefError | SystemExit | KeyboardInterrupt):
        traceback.print_exception(error)
    is_a_mistake = isinstance(error, BackpropRefError)
    end_all_saying(
        comm, str(error) if is_a_mistake else f"{type(error).__name__}: {error}".rstrip(": "), 1 + is_a_mistake
    )


def end_all_saying(comm: Any, what: str, status: int) -> NoReturn:
    """Ends every rank, with one line and a status."""
    message = " ".join(f"error: rank {comm.rank} of {comm.size} ended, and so all do: {what}".split())
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    time.sleep(PASSED_ON_SECONDS)
    comm.Abort(status)
    os._exit(status)  # MPICH's Abort comes back before its launcher ends this process, which may say no more
