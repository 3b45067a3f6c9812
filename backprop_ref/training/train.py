"""`train`: from its arguments to a plan and a run."""

from __future__ import annotations

import contextlib
import os
import signal
from array import array
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import numpy.typing as npt

from backprop_ref import dropout as dropping
from backprop_ref import metrics
from backprop_ref.api import check_fit
from backprop_ref.arrays import Batch, BatchLike, Vector
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import Backend, BackendChoice, OffersTrainer, OnRanks, Trainer
from backprop_ref.blocks.part import Part
from backprop_ref.dropout import Rates
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, path_of
from backprop_ref.network import Network
from backprop_ref.optimizers import describe
from backprop_ref.optimizers.lbfgs import LBFGS, AnyOptimizer
from backprop_ref.optimizers.schedules import Constant, Cosine, Schedule, Step, get_schedule
from backprop_ref.parameters import Parameters
from backprop_ref.random import Orders, Stream
from backprop_ref.ranks.ranks import Alone, Communicator, Ranks
from backprop_ref.sample_weights import ClassWeight, weighted
from backprop_ref.training import checkpoint
from backprop_ref.training.arguments import check_finite, finite_data, integer, optimizer_or_default, validation_data
from backprop_ref.training.blockwise import BlockwiseRun, check_blockwise
from backprop_ref.training.ctrl_c import CtrlC
from backprop_ref.training.fit import Run
from backprop_ref.training.going_on import check_goes_on, gone_on
from backprop_ref.training.held_out import HeldOut
from backprop_ref.training.kept_data import keep_data
from backprop_ref.training.on_ranks import PairsOnRanks
from backprop_ref.training.pairs import PairsTrainer
from backprop_ref.training.state import Epoch, Plan, Result, State, column_of
from backprop_ref.training.whole_data import LineSearches

if TYPE_CHECKING:
    from backprop_ref.traces.recorder import Recorder


def train(
    network: Network,
    params: Parameters,
    x: BatchLike | Part,
    y: BatchLike | None = None,
    *,
    epochs: int = 100,
    batch_size: int | None = 32,
    optimizer: AnyOptimizer | None = None,
    schedule: str | Schedule | None = None,
    shuffle: bool | Orders = True,
    seed: int = 1,
    shards: int = 1,
    dropout: SupportsFloat | Iterable[SupportsFloat] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    validation: tuple[BatchLike, BatchLike] | tuple[BatchLike, BatchLike, npt.ArrayLike] | Part | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    restore_best: bool = True,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool | None = None,
    run_dir: Name | None = None,
    resume: bool = False,
    force: bool = False,
    keep_checkpoints: bool = False,
    state: State | None = None,
    metric: str | None = None,
    trace: Recorder | None = None,
    preprocessing: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    comm: Communicator | None = None,
) -> Result:
    """Trains a copy of `params` on x and y.

    Parameters
    ----------
    network, params : Network, Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out), finite
        Or x alone, a part of ``br.open_folder``, which is read a block at a time; then so are the validation data.
    epochs : int
    batch_size : int or None
        None: full batch; 1: online. The last batch of an epoch may be short; it counts by its own size.
    optimizer : SGD, Adam, AdamW, RMSprop, AdaGrad or LBFGS
        Default ``SGD(0.1)``. LBFGS needs ``batch_size=None``, and no dropout.
    schedule : None, str or callable
        'constant', 'step', 'cosine', or ``(epoch, epochs) -> factor`` on the learning rate; epoch counts from 0.
    shuffle : bool or Orders
        A new order of the samples in each epoch, from `seed`, or from an object like `backprop_ref.random.Orders`,
        which no run folder can hold. A full batch is never shuffled.
    dropout : float or sequence of float, optional
        The probability with which each unit of a hidden layer is left out, for each sample and epoch anew, one for all
        hidden layers or one for each; kept ones are multiplied by 1/(1 − p). Masks come from `seed`, epoch and row
        alone: see `dropout_masks`. The history's loss and metric are with it; validation, predictions and traces are
        without.
    sample_weight : array of shape (samples,), optional
        What each row counts in the loss, which is Σ w·loss / Σ w over a batch. Rows of weight 0 are left out before
        anything else, as if they were not there. Accuracy and R² count each row once.
    class_weight : 'balanced', dict or array of shape (classes,), optional
        The same for each class, times `sample_weight`; 'balanced': rows / (classes · rows of the class).
    validation : (x, y) or (x, y, sample_weight), optional
        Evaluated after each epoch; `class_weight` does not act there.
    patience : int, optional
        Stop after that many epochs without a validation loss (training loss, without validation) more than
        `min_delta` below the best; `restore_best` then returns the best parameters instead of the last.
    callback : callable, optional
        Given an `Epoch` after each one; a true return value stops.
    progress : bool, optional
        A bar on standard error; default: if that is a terminal and training takes over two seconds.
    run_dir : path, optional
        Folder for history.csv and checkpoint.safetensors; created. The checkpoint is written at the start, about every
        `CHECKPOINT_SECONDS`, and at the end, whatever ends training, SIGTERM too. The same call may be made again, as
        a notebook's cell is, and trains anew; a folder that holds another run is refused.
    resume : bool
        Go on from the checkpoint in `run_dir`, to the same bits as if training had never stopped.
    force : bool
        Replace the run that `run_dir` holds, whichever it is.
    keep_checkpoints : bool
        Keep the checkpoint of each epoch that the chain of hashes has, from which others can check it: see `reproduce`.
        For reproducible numerics.
    state : State, optional
        ``result.state`` of an earlier training that goes on, with its ``result.params``: from its last epoch, with the
        optimizer's state, shuffling, place in the schedule and history of then, for `epochs` more. So fifty calls of
        one epoch give the bits of one call of fifty. `seed` is not used then.
    metric : {'accuracy', 'labels', 'r2'}, optional
        What the history has beside the loss: accuracy of rows, or of single outputs as it is of independent labels, or
        R². Default: what targets and loss say, see `backprop_ref.metrics.metric_name`.
    trace : Recorder, optional
        Writes every z, a, delta, gradient and parameter of some epochs to files; see `backprop_ref.traces`.
    preprocessing, config : dict, optional
        JSON-ready, kept in the checkpoint.
    backend, numerics, device, threads : optional
        See `get_backend`.
    comm : mpi4py.MPI.Intracomm, optional
        Trains in all its processes together, each of which makes this call with the same arguments and gets the same
        result: that of one process with the same `shards`, which are cut among them. Run folder, trace, callback and
        progress are those of rank 0. A process that fails ends all of them.

    Returns
    -------
    Result
        Also when Ctrl-C stopped it (``stopped == 'interrupted'``): the state after a whole epoch, at most about
        `CHUNK_SECONDS` or one epoch back.

    Raises
    ------
    TrainingDiverged
        The loss or a parameter is no longer finite; carries the `Result` up to then.
    InvalidInput
        Arguments that do not fit; or a run folder that cannot be written to any more: then `result` holds what was
        reached.

    Examples
    --------
    >>> import backprop_ref as br
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [1]]
    >>> network = br.Network([2, 1], ["sigmoid"], "binary_cross_entropy")
    >>> result = br.train(network, network.init(seed=1), x, y, epochs=200, batch_size=None, optimizer=br.SGD(1.0))
    >>> result.history["accuracy"][-1].item()
    1.0
    """
    check_fit(network, params)
    check_finite("params.flat", params.flat, "start from other ones")
    optimizer = optimizer_or_default(optimizer)
    if isinstance(x, Part):
        asked = {"y": y, "sample_weight": sample_weight, "class_weight": class_weight, "trace": trace}
        data = _in_blocks(network, x, validation, shuffle, batch_size, optimizer, asked)
    else:
        data = _in_memory(network, params.dtype, x, y, validation, sample_weight, class_weight)
    _check_asked(callback, min_delta, resume and run_dir is None)
    samples, schedule = len(data.rows[0]), get_schedule(schedule)
    done = check_goes_on(state, params, schedule, resume, trace)
    plan = Plan(
        epochs=done + integer("epochs", epochs, 0),
        batch_size=samples if batch_size is None else min(integer("batch_size", batch_size, 1), samples),
        shuffle=bool(shuffle) and batch_size is not None,
        schedule=schedule,
        patience=None if patience is None else integer("patience", patience, 1),
        min_delta=min_delta,
        restore_best=restore_best,
        each_epoch=any(each is not None for each in (validation, patience, callback))
        or getattr(optimizer, "rate_in_velocity", False)
        or data.blocks is not None,
        trace=trace,
    )
    ranks = _ranks(comm, integer("shards", shards, 1), optimizer)
    computing = suited(get_backend(backend, numerics, device, threads), network, plan.batch_size)
    metric = metrics.chosen(metric, network, data.targets(params.dtype))
    dropped = dropping.checked(dropout, network)
    pairs = _pairs(
        computing, network, optimizer, plan.batch_size, integer("shards", shards, 1), metric, dropped, batch_size, ranks
    )
    stream = _orders(shuffle, seed, run_dir)
    held_out = None if data.held_out is None else HeldOut(pairs, data.held_out, data.held_out_weights)
    key, columns = dropping.key_of(seed) if pairs.rates else None, _columns(metric, held_out)
    begun = gone_on(state, State(params.copy(), optimizer.init(params.flat), stream.state, columns, key=key), plan)
    call = {"params": params.sha256(), "patience": patience, "min_delta": min_delta, "restore_best": restore_best}
    with contextlib.ExitStack() as opened:
        ctrl_c = CtrlC(ending=run_dir is not None)
        opened.callback(ctrl_c.pass_on)
        opened.enter_context(ranks.together())
        identity: dict[str, Any] = {}
        if run_dir is not None or ranks.size > 1:
            identity = _identity(pairs, params, plan, int(seed), data.fingerprint()) | data.identity
            ranks.check_same({**identity, **call, "epochs": plan.epochs, "run_dir": run_dir is None})
        folder = None
        if run_dir is not None:
            of_folder = (
                path_of(run_dir, "run_dir"),
                network,
                preprocessing,
                config,
                identity,
                call,
                plan.epochs,
                resume,
                force,
                _threads(computing) if computing.numerics == "fast" else None,
                keep_checkpoints,
            )
            folder, begun = _opened(opened, ranks, begun, of_folder)
        if ranks.rank > 0:
            plan, begun, progress = replace(plan, trace=None), begun._replace(traced=()), False
        run = (Run if data.blocks is None else BlockwiseRun)(
            plan, pairs, data.rows, held_out, begun, stream, folder, data.weights, ranks
        )
        opened.callback(run.close_trace)
        opened.enter_context(ctrl_c)  # from the first checkpoint on, Ctrl-C ends the run as a whole one
        ranks.ctrl_c, ctrl_c.patient = ctrl_c, ranks.size > 1
        ranks.first(lambda: run.begin(resume))
        ranks.first(lambda: data.keep(folder))
        _take_offered(run, ctrl_c, data.weights)
        watched = ranks.agreed(callback is not None)
        try:
            result = run.fit(callback or _ignored if watched else None, progress, ctrl_c)
        except InvalidInput as error:
            run.say_what_is_kept(error)
            raise
    return replace(result, compile_seconds=getattr(run.trainer, "compile_seconds", 0.0), network=network, trace=trace)


class _Data(NamedTuple):
    """What is trained on, and what is evaluated after each epoch; x and y, or in place of x a `Part`."""

    rows: tuple[Any, Any]
    weights: Vector | None = None
    held_out: Any = None
    held_out_weights: Vector | None = None

    @property
    def blocks(self) -> Part | None:
        """The rows, where they are read in blocks."""
        return self.rows[0] if isinstance(self.rows[0], Part) else None

    def targets(self, dtype: npt.DTypeLike) -> Batch:
        """What stands for the targets."""
        found: Batch = self.rows[1] if self.blocks is None else self.blocks.some_targets(dtype)
        return found

    def fingerprint(self) -> str:
        """Hash of all of it."""
        if self.blocks is None:
            return checkpoint.fingerprint(*self.rows, *(self.held_out or ()), self.weights, self.held_out_weights)
        return self.blocks.fingerprint() + ("" if self.held_out is None else self.held_out.fingerprint())

    def keep(self, folder: checkpoint.Folder | None) -> None:
        """See `keep_data`."""
        if self.blocks is None:
            keep_data(folder, *self.rows, self.weights)

    @property
    def identity(self) -> dict[str, Any]:
        """What of blocks the bits depend on."""
        return {} if self.blocks is None else {"block_rows": self.blocks.block_rows}


def _in_memory(
    network: Network, dtype: Any, x: BatchLike, y: Any, validation: Any, sample_weight: Any, class_weight: Any
) -> _Data:
    """Arrays, checked."""
    x, y, weights = weighted(*finite_data(network, x, y, dtype), sample_weight, class_weight)
    return _Data((x, y), weights, *validation_data(network, validation, dtype))


def _in_blocks(
    network: Network,
    part: Part,
    validation: Any,
    shuffle: object,
    batch_size: int | None,
    optimizer: AnyOptimizer,
    asked: dict[str, Any],
) -> _Data:
    """The data that are read in blocks; refuses what these do without."""
    for each in (part, validation):
        if each is not None:
            check_blockwise(network, each, optimizer, **asked)
    if batch_size is None:
        raise InvalidInput("batch_size=None takes all rows at once, and these are read in blocks; give a number")
    if not isinstance(shuffle, bool):
        raise InvalidInput("shuffle: the order of rows that are read in blocks comes from seed; give True or False")
    return _Data((part, None), None, validation)


def _check_asked(callback: Any, min_delta: Any, no_folder: bool) -> None:
    if no_folder:
        raise InvalidInput("resume=True needs run_dir, the folder of the run to go on with")
    if callback is not None and not callable(callback):
        raise InvalidInput(f"callback={callback!r}: a callable that takes an Epoch is needed")
    if not isinstance(min_delta, int | float) or not min_delta >= 0.0:
        raise InvalidInput(f"min_delta={min_delta!r}: a number not below 0 is needed")


def _identity(pairs: PairsTrainer, params: Parameters, plan: Plan, seed: int, data: str) -> dict[str, Any]:
    """What has to be the same for a run to give the same bits."""
    numerics = pairs.backend.numerics
    return {
        "network": pairs.network.to_dict(),
        "dtype": params.dtype.name,
        "optimizer": describe(pairs.optimizer),
        "batch_size": plan.batch_size,
        "shuffle": plan.shuffle,
        "shards": pairs.shards,
        "dropout": list(pairs.rates) or None,
        "seed": seed,
        "schedule": _described(plan.schedule, plan.epochs),
        "numerics": numerics,
        "backend": None if numerics == "reproducible" else pairs.backend.name,
        "data": data,
    }


def _opened(
    opened: contextlib.ExitStack, ranks: Alone, fresh: State, of_folder: tuple[Any, ...]
) -> tuple[checkpoint.Folder | None, State]:
    """The folder, which is that of rank 0, and where to begin: at a fresh state, or, to resume, where it left off."""
    found = list[checkpoint.Folder]()

    def begin() -> State:
        folder = checkpoint.Folder(*of_folder)
        opened.callback(folder.close)
        found.append(folder)
        *_, epochs, resume, _, _, _ = of_folder
        return folder.restore(fresh, epochs) if resume else fresh

    begun = ranks.first(begin)
    return found[0] if found else None, begun


def _take_offered(run: Run, ctrl_c: CtrlC, weights: Vector | None) -> None:
    """Has the run take the backend's trainer, if it offers one; Ctrl-C while that is compiled ends the run."""
    ahead = run.plan.epochs - run.state.epoch
    try:
        with ctrl_c.at_once():
            offered = _offered(run.pairs, run.state.params.dtype.name, ahead, len(run.data[0]), weights)
            run.trainer = offered or run.pairs
    except BaseException as error:
        if not ctrl_c.pressed and not isinstance(error, KeyboardInterrupt):
            raise
        ctrl_c.pressed = ctrl_c.pressed or signal.SIGINT
    if run.ranks.any(bool(ctrl_c.pressed)):
        run.stop("interrupted")


def _ranks(comm: Any, shards: int, optimizer: AnyOptimizer) -> Alone:
    """The processes that train together; refuses what is no communicator, and what is for one process."""
    if comm is None:
        return Alone()
    if not all(hasattr(comm, name) for name in ("rank", "size", "Dup", "Bcast")):
        raise InvalidInput(f"comm is a {type(comm).__name__}: a communicator of mpi4py, as MPI.COMM_WORLD, is needed")
    if comm.size == 1:
        return Alone()
    if isinstance(optimizer, LBFGS):
        raise InvalidInput(f"LBFGS trains in one process, not in {comm.size}; leave out comm, or give br.Adam()")
    return Ranks(comm, shards)


def _ignored(epoch: Epoch) -> None:
    """Stands for the callback of rank 0."""


def _orders(shuffle: bool | Orders, seed: int, run_dir: Name | None) -> Orders:
    """Where the orders of the samples come from; refuses what a run folder cannot hold."""
    if isinstance(shuffle, bool) or not hasattr(shuffle, "permutations"):
        return Stream(seed, "shuffle")
    if run_dir is not None:
        raise InvalidInput("run_dir holds orders that come from seed alone; pass shuffle=True, or leave run_dir out")
    return shuffle


def _pairs(
    backend: Backend,
    network: Network,
    optimizer: AnyOptimizer,
    rows: int,
    shards: int,
    metric: str,
    dropped: Rates,
    batch_size: int | None,
    ranks: Alone,
) -> PairsTrainer:
    """The trainer over a backend's pairs; refuses what makes the loss another one from step to step for L-BFGS."""
    if not isinstance(optimizer, LBFGS):
        pairs = PairsTrainer(backend, network, optimizer, rows, shards, metric, dropped)
        return PairsOnRanks(pairs, ranks) if isinstance(ranks, Ranks) else pairs
    if batch_size is not None:
        raise InvalidInput(f"batch_size={batch_size}: LBFGS takes all rows in each step; give batch_size=None")
    if dropped:
        raise InvalidInput("dropout makes the loss another one in each epoch, which LBFGS cannot do with; leave it out")
    return LineSearches(backend, network, optimizer, rows, shards, metric)


def _columns(metric: str, held_out: HeldOut | None) -> dict[str, array[float]]:
    """A history without epochs."""
    names = ["loss", metrics.column_name(metric), "learning_rate"]
    if held_out is not None:
        names += ["val_loss", f"val_{metrics.column_name(held_out.metric)}"]
    return {name: column_of([]) for name in names}


def suited(backend: Backend, network: Network, batch_size: int) -> Backend:
    """The backend with as many threads as its products can use, if it lets that be chosen."""
    choose = getattr(backend, "suited", None)
    largest = max(n_in * n_out for n_in, n_out in pairwise(network.sizes))
    return backend if choose is None else choose(largest * batch_size)


def _threads(backend: Backend) -> int:
    """How many threads a backend may use."""
    return getattr(backend, "threads", None) or len(getattr(os, "sched_getaffinity", lambda _: [1])(0))


def _described(schedule: Schedule, epochs: int) -> str:
    """A schedule as text that is the same in another process; with the epochs where it depends on them."""
    if isinstance(schedule, Constant | Step) or (isinstance(schedule, Cosine) and schedule.over is not None):
        return repr(schedule)
    if isinstance(schedule, Cosine):
        return f"Cosine(minimum={schedule.minimum}) over {epochs}"
    name = schedule if is_dataclass(schedule) else getattr(schedule, "__qualname__", type(schedule).__qualname__)
    return f"{name} over {epochs}"


def _offered(pairs: PairsTrainer, dtype: str, epochs: int, samples: int, weights: Vector | None) -> Trainer | None:
    """The backend's trainer, if it offers one for this network and optimizer, for so many epochs to come."""
    backend: object = pairs.backend
    if not isinstance(backend, OffersTrainer) or isinstance(pairs.optimizer, LBFGS):
        return None
    if isinstance(pairs, PairsOnRanks) and not isinstance(backend, OnRanks):
        return None
    asked = pairs.network, pairs.optimizer, dtype, pairs.batch_size, pairs.shards, pairs.metric
    more: dict[str, Any] = {"dropout": pairs.rates} if pairs.rates else {}
    if weights is not None:
        more["weighted"] = True
    if isinstance(pairs, PairsOnRanks) and isinstance(backend, OnRanks):
        trainer = backend.trainer(*asked, 0, **more)
        return None if trainer is None else backend.on_ranks(trainer, pairs.shares)
    return backend.trainer(*asked, epochs * -(-samples // pairs.batch_size), **more)
