"""Whether this process was started by mpiexec or the like, beside others."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.ranks.ranks import end_all

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are: MPICH's and Intel's, Open MPI's, MVAPICH's; srun says PMI_SIZE, or
with PMIx only a rank."""


def world() -> Any:
    """Every process of this launch, as an mpi4py communicator; None where this is the only one. MPI is imported, and
    started, only for several."""
    if not any(os.environ.get(name, "1") not in {"", "1"} for name in SIZES) and "PMIX_RANK" not in os.environ:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InvalidInput(
            f"started as one of several processes, but without MPI for Python ({error}): pip install "
            "'backprop-ref[mpi]', or leave out mpiexec"
        ) from None
    return MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None


@contextlib.contextmanager
def together(comm: Any) -> Iterator[None]:
    """Inside, a process of a launch that fails ends all of them; a training that diverged has done so in each."""
    try:
        yield
    except TrainingDiverged:
        if comm is None or comm.rank == 0:
            raise
    except BaseException as error:
        if comm is not None:
            end_all(comm, error)
        raise
