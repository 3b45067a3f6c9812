"""What test_ranks.py runs in processes of MPI, and in one process."""

import os
import signal
import sys
import time

import backprop_ref as br
from backprop_ref.ranks.launched import world
from backprop_ref.ranks.ranks import Ranks

SUMS_BEFORE = 400


def dying(comm, how, who):
    """Has a rank die in the midst of a run."""
    usual, sums = Ranks.sum, []

    def summed(self, *rows):
        sums.append(len(rows))
        if comm.rank == int(who) and len(sums) == SUMS_BEFORE:
            if how == "raise":
                raise RuntimeError("broken")
            if how == "exit":
                sys.exit(0)
            if how == "leave":
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(self, *rows)

    Ranks.sum = summed


def main(what, folder="", how=None, who=0):
    comm = world()
    if what == "all":
        from test_ranks import HOW, trained

        for backend, dtype, numerics in (("numpy", "float64", "fast"), ("numba", "float32", "reproducible")):
            for kind, each in (("classes", "adam, cosine, dropout"), ("numbers", "early stopping")):
                assert each in HOW
                found = trained(kind, dtype, each, backend, numerics, comm)
                os.write(1, f"sha256 {backend} {each} {found}\n".encode())  # whole, beside those of other ranks
        return
    if how:
        dying(comm, how, who)
    x = br.random.Stream(2, "data").normal(400).reshape(100, 4)
    network = br.Network([4, 5, 1], ["tanh", "linear"], "mse")
    told = {"epochs": 10**7 if what == "long" else 200, "batch_size": 25, "shards": 3, "run_dir": folder}
    told |= {"numerics": "reproducible"}
    callback = None
    if what in {"long", "slow"}:

        def callback(epoch):
            if epoch.epoch == 100:
                os.write(1, b"trains\n")
            if what == "slow":
                time.sleep(0.02)

    result = br.train(
        network, network.init(), x, x[:, :1], **told, resume=what == "resume", callback=callback, comm=comm
    )
    ended = "reached the end" if result.stopped == "epochs" else result.stopped
    os.write(1, f"{ended} {result.epochs} {result.params.sha256()}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
