"""Whether this process was started by mpiexec or the like, beside others."""

import sys
import threading
import time
from typing import Any

from backprop_ref.errors import InvalidInput
from backprop_ref.ranks.ranks import LATER_SECONDS, end_all, end_all_saying
from backprop_ref.starting import as_usual, end_at_once, is_one_of_several

ALIKE_SECONDS, TAG = 2.0, 1
"""How long a process that made a mistake waits for the others to make it, too; the tag of what it tells them."""


def world() -> Any:
    """Every process of this launch, as an mpi4py communicator; None where this is the only one. MPI is imported, and
    started, only for several.

    Ctrl-C acts behind that: an import that it stops leaves an MPI that was started and is out of reach, by which nobody
    could end the others any more.
    """
    if not is_one_of_several():
        return None
    try:
        MPI = _started()
    except (ImportError, RuntimeError) as error:
        raise InvalidInput(
            f"started as one of several processes, but without MPI for Python ({error}): pip install "
            "'backprop-ref[mpi]', or leave out mpiexec"
        ) from None
    return MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None


def _started() -> Any:
    """The module of MPI, which starts it."""
    main = threading.current_thread() is threading.main_thread()
    if main:
        end_at_once()
    try:
        from mpi4py import MPI
    finally:
        if main:
            as_usual()
    return MPI


def is_said_by_rank_0(what: str, status: int) -> bool:
    """Of a mistake that every process of this launch makes, rank 0 speaks, as if it were alone. One that another does
    not make within `ALIKE_SECONDS` ends all of them: that may wait for this one for ever."""
    try:
        comm = world()
    except InvalidInput:
        return False
    except KeyboardInterrupt:
        comm = world()
    if comm is None:
        return False
    end_at_once()
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    for other in others:
        comm.isend(what, other, TAG)
    heard, until = {comm.rank: what}, time.monotonic() + ALIKE_SECONDS + LATER_SECONDS * (comm.rank > 0)
    while len(heard) < comm.size:
        if time.monotonic() > until:
            end_all_saying(comm, what, status)
        for other in others:
            if other not in heard and comm.iprobe(other, TAG):
                heard[other] = comm.recv(None, other, TAG)
        time.sleep(0.01)
    return comm.rank > 0 and what == heard[0]


def end_all_started(error: BaseException) -> None:
    """Ends all processes of this launch if MPI was started; else they do not wait for each other."""
    if "mpi4py.MPI" in sys.modules and (comm := world()) is not None:
        end_all(comm, error)
