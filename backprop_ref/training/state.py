"""A training after each epoch: the plan it follows, the state that goes on, what it hands out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref import showing
from backprop_ref.arrays import Matrix, Rows, Vector
from backprop_ref.backends.base import Progress, Snapshots, finite
from backprop_ref.dropout import Seeds
from backprop_ref.files import Name
from backprop_ref.network import Network
from backprop_ref.optimizers import Slots
from backprop_ref.optimizers.schedules import Schedule
from backprop_ref.parameters import Parameters
from backprop_ref.text import numbered

if TYPE_CHECKING:
    from backprop_ref.traces.recorder import Recorder
    from backprop_ref.traces.sinks import Written


ENDS = {"epochs": "", "patience": ", ended by patience", "callback": ", ended by the callback"}
LOOKED_AT: dict[str, Callable[..., Any]] = {}
"""What looks at a `Result`, by name: it stands above, and puts itself here."""


@dataclass
class Result:
    """What training reached.

    Attributes
    ----------
    params : Parameters
        After the last whole epoch, or the best ones if early stopping restored them.
    history : dict of str to 1-D array
        One entry an epoch: loss, accuracy or r2, learning_rate; with validation, val_loss and val_accuracy or val_r2.
        Of several independent 0/1 outputs, accuracy is the share of outputs that are right.
        Those without ``val_`` are over the epoch's batches, each before its own update.
    stopped : str
        'epochs' (all done), 'patience', 'callback', 'interrupted' or 'diverged'.
    epochs : int
        Whole epochs done, with those of an earlier training that this one went on from.
    best_epoch : int or None
        With `patience`, the epoch, counted from 1, with the lowest monitored loss.
    compile_seconds : float
        Of the time, the seconds spent on compiling the backend's trainer.
    state : State
        What training goes on from: ``br.train(…, state=result.state)``.
    network : Network or None
        What was trained.
    trace : Recorder or None
        What traced it.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> result = br.train(network, network.init(seed=1), [[1.0], [2.0]], [[2.0], [4.0]], epochs=3)
    >>> result.epochs, result.stopped, len(result.history["loss"])
    (3, 'epochs', 3)
    """

    params: Parameters
    history: dict[str, npt.NDArray[np.float64]]
    stopped: str
    epochs: int
    best_epoch: int | None
    compile_seconds: float = 0.0
    state: State | None = field(default=None, repr=False)
    network: Network | None = field(default=None, repr=False)
    trace: Recorder | None = field(default=None, repr=False)

    def plot(self, quantity: str = "loss") -> object:
        """A plotly figure of loss, accuracy or r2 over the epochs, dotted for validation, which a notebook shows.

        Raises
        ------
        InvalidInput
            A quantity that the history does not have.
        """
        return LOOKED_AT["plot"](self, quantity)

    def report(self, out: Name | None = None) -> Path:
        """Writes the page of this training, one HTML file that needs no network; gives its path.

        Parameters
        ----------
        out : path-like, optional
            A file that does not exist; default: report.html in the current folder, with a number where that is taken.
        """
        path: Path = LOOKED_AT["report"](self, out=out)
        return path

    def explorer(self) -> object:
        """The network in every epoch of a training with ``trace=br.Recorder()``, to click through in a notebook."""
        return LOOKED_AT["explorer"](self)

    def _parts(self) -> showing.Parts:
        network = "" if self.network is None else f" of {'-'.join(map(str, self.network.sizes))}"
        yield f"Training{network}: {numbered(self.epochs, 'epoch')}{ENDS.get(self.stopped, f', {self.stopped}')}"
        rows = [
            (name, f"{column[0]:.6g}", f"{column[-1]:.6g}", f"{np.nanmin(column):.6g}", f"{np.nanmax(column):.6g}")
            for name, column in self.history.items()
            if len(column)
        ]
        yield showing.Table(("", "first", "last", "least", "largest"), rows)
        if self.best_epoch is not None:
            yield f"best epoch: {self.best_epoch:,}"
        yield f"weights: sha256 {self.params.sha256()[:16]}…"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self._parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self._parts())


class Epoch(NamedTuple):
    """What a callback is given: the epoch, counted from 1, its history entries, and the parameters as they go on:
    copy them to keep them, and leave them as they are.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> seen = []
    >>> _ = br.train(network, network.init(), [[1.0]], [[2.0]], epochs=2, callback=lambda at: seen.append(at.epoch))
    >>> seen
    [1, 2]
    """

    epoch: int
    values: dict[str, float]
    params: Parameters


@dataclass(frozen=True)
class Plan:
    """What `train` is asked for, checked."""

    epochs: int
    batch_size: int
    shuffle: bool
    schedule: Schedule
    patience: int | None
    min_delta: float
    restore_best: bool
    each_epoch: bool
    trace: Recorder | None


def column_of(values: npt.ArrayLike) -> array[float]:
    """Numbers as a column of a history, which grows."""
    return array("d", np.asarray(values, dtype=np.float64).tobytes())


class Link(NamedTuple):
    """One of a chain of hashes; see `training.chain`."""

    epoch: int
    params: str
    history: str
    hash: str


class Begun(NamedTuple):
    """An epoch that is under way, after one of its batches."""

    params: Parameters
    slots: Slots
    part: Progress


class State(NamedTuple):
    """A run after a whole epoch: everything that goes on from there, and all that a checkpoint holds.

    The parameters after that epoch, the optimizer's state, where the stream of random numbers stands, the history, how
    many epochs are done, and the best of them. All states of a run share its `columns`, of which the first `epoch`
    entries are a state's history.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> result = br.train(network, network.init(), [[1.0]], [[2.0]], epochs=2, optimizer=br.Adam())
    >>> result.state.epoch, sorted(result.state.slots)
    (2, ['m', 'powers', 'v'])
    """

    params: Parameters
    slots: Slots
    random: dict[str, Any]
    columns: dict[str, array[float]]
    epoch: int = 0
    best: Vector | None = None
    best_value: float = np.inf
    best_epoch: int | None = None
    stopped: str | None = None
    traced: tuple[Written, ...] = ()
    key: int | None = None
    """That of dropout, once there is any."""
    chain: tuple[Link, ...] = ()
    """Of a run with a folder, in reproducible numerics."""
    begun: Begun | None = None
    """The next epoch, where a run with a folder was stopped in the midst of it."""

    def history(self) -> dict[str, npt.NDArray[np.float64]]:
        """The columns, one entry an epoch."""
        return {name: np.array(column[: self.epoch], dtype=np.float64) for name, column in self.columns.items()}

    def last(self) -> dict[str, float]:
        """The history of the last epoch."""
        at = self.epoch - 1
        return {name: column[at] for name, column in self.columns.items()} if self.epoch else {}

    def result(self, plan: Plan) -> Result:
        """The `Result` as things stand."""
        params = self.reached(plan).copy()
        stopped = self.stopped or "epochs"
        state = self._replace(traced=(), chain=(), begun=None)
        return Result(params, self.history(), stopped, self.epoch, self.best_epoch, state=state)

    def reached(self, plan: Plan) -> Parameters:
        """The parameters that training has to show, in memory of the state: the last ones, or the best."""
        if plan.patience is not None and plan.restore_best and self.best is not None:
            return Parameters(self.best, self.params.sizes)
        return self.params

    def copy(self) -> State:
        """The same in memory of its own, without the epoch that is under way."""
        return self._replace(
            params=self.params.copy(),
            slots={name: slot.copy() for name, slot in self.slots.items()},
            columns={name: column[: self.epoch] for name, column in self.columns.items()},
            best=None if self.best is None else self.best.copy(),
            begun=None,
        )

    def packed(self, with_history: bool = True) -> tuple[dict[str, Vector], dict[str, Any]]:
        """As tensors by name, and JSON-ready metadata; `stored_checkpoint.load_state` reads them back."""
        tensors: dict[str, Vector] = {"resume.flat": self.params.flat}
        if self.best is not None:
            tensors["resume.best"] = self.best
        tensors |= {f"resume.slot.{name}": slot for name, slot in self.slots.items()}
        if self.begun is not None:
            tensors["resume.begun.flat"] = self.begun.params.flat
            tensors |= {f"resume.begun.slot.{name}": slot for name, slot in self.begun.slots.items()}
            tensors["resume.begun.sums"] = np.array([self.begun.part.loss, *self.begun.part.measures])
        if with_history:
            tensors |= {f"history.{name}": column for name, column in self.history().items()}
        progress = {
            "epoch": self.epoch,
            "random": self.random,
            "best_value": float(self.best_value).hex(),
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            **({} if self.key is None else {"key": self.key}),
            **({} if self.begun is None else {"begun": self.begun.part.rows}),
        }
        return tensors, {"progress": progress, "history": list(self.columns)}


class Chunk(NamedTuple):
    """Epochs that are trained, and not yet part of the run."""

    params: Parameters
    slots: Slots
    orders: Rows
    rates: Sequence[float]
    losses: Vector
    measures: Matrix
    snapshots: Snapshots | None
    seeds: Seeds | None

    @property
    def is_finite(self) -> bool:
        """Whether the last epoch's loss is, and every parameter."""
        return finite(self.losses[-1], self.params)


def out_of_patience(plan: Plan, state: State) -> bool:
    """Whether the best epoch lies too far back."""
    return plan.patience is not None and state.epoch - (state.best_epoch or 0) >= plan.patience
