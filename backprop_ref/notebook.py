"""A training in a notebook, step by step, with every number to see: a widget, for which anywidget is needed."""

from __future__ import annotations

import functools
import json
from typing import Any, Protocol

import numpy as np

from backprop_ref import metrics
from backprop_ref.api import check_fit, evaluate_on
from backprop_ref.arrays import BatchLike, Rows
from backprop_ref.backends import get_backend
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import finite
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer
from backprop_ref.optimizers.lbfgs import LBFGS, AnyOptimizer
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream
from backprop_ref.text import numbered
from backprop_ref.training.arguments import check_finite, finite_data, integer, optimizer_or_default
from backprop_ref.training.pairs import PairsTrainer

MOST_NEURONS, MOST_NUMBERS = 64, 20_000
"""In a layer; in all that is sent of a step."""


class Steps:
    """What ``br.train`` does under reproducible numerics, to the same bits, and stops before each update.

    Attributes
    ----------
    params : Parameters
        As they are now.
    epoch, step : int
        Whole epochs done, and steps done in this one.
    learning_rate : float
        Of the next step.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> how = {"batch_size": 1, "optimizer": br.SGD(0.1), "seed": 3}
    >>> steps = Steps(network, network.init(seed=1), [[1.0], [2.0]], [[2.0], [4.0]], **how)
    >>> steps.go("step"), steps.epoch, steps.step
    ('', 0, 1)
    >>> steps.go("epoch"), steps.epoch, steps.step
    ('', 1, 0)
    >>> result = br.train(network, network.init(seed=1), [[1.0], [2.0]], [[2.0], [4.0]], epochs=1,
    ...                   numerics="reproducible", **how)
    >>> steps.params.sha256() == result.params.sha256()
    True
    """

    def __init__(
        self,
        network: Network,
        params: Parameters,
        x: BatchLike,
        y: BatchLike,
        *,
        batch_size: int | None = 32,
        optimizer: AnyOptimizer | None = None,
        shuffle: bool = True,
        seed: int = 1,
    ) -> None:
        check_fit(network, params)
        check_finite("params.flat", params.flat, "start from other ones")
        x, y = finite_data(network, x, y, params.dtype)
        optimizer = optimizer_or_default(optimizer)
        if isinstance(optimizer, LBFGS):
            raise InvalidInput("LBFGS has line searches in place of steps of a learning rate; take br.SGD or br.Adam")
        rows = len(x) if batch_size is None else min(integer("batch_size", batch_size, 1), len(x))
        numbers = 2 * network.n_parameters + 4 * rows * sum(network.sizes)
        if max(network.sizes) > MOST_NEURONS or numbers > MOST_NUMBERS:
            raise InvalidInput(
                f"a step has {numbers:,} numbers, and a layer up to {max(network.sizes)} neurons, where br.live shows "
                f"at most {MOST_NUMBERS:,} and {MOST_NEURONS}: take a smaller network or batch_size, or train with "
                "trace=br.Recorder() and look at result.explorer()"
            )
        self.network, self.x, self.y = network, x, y
        self.metric = metrics.metric_name(network, y)
        self.shuffle, self.seed = bool(shuffle) and batch_size is not None, seed
        self._first, self.learning_rate = params.copy(), optimizer.learning_rate
        self._optimizer: Optimizer = optimizer
        self._trainer = PairsTrainer(get_backend("numpy", "reproducible"), network, optimizer, rows, 1, self.metric)
        self.reset()

    def reset(self) -> None:
        """Back to the first parameters, and the first order of the rows."""
        self.params = self._first.copy()
        self._slots = self._optimizer.init(self.params.flat)
        self._stream = Stream(self.seed, "shuffle")
        self.epoch = self.step = 0
        self._shuffle()

    def _shuffle(self) -> None:
        n = len(self.x)
        order = self._stream.permutations(1, n)[0] if self.shuffle else np.arange(n)
        self._batches = self._trainer.batches(order)

    @property
    def steps(self) -> int:
        """How many an epoch has."""
        return len(self._batches)

    @property
    def rows(self) -> Rows:
        """Of the data, those of the next step."""
        return self._batches[self.step]

    def go(self, what: str) -> str:
        """One 'step', on to the end of the 'epoch', or 'reset'; gives what went wrong, or ''."""
        if what == "reset":
            self.reset()
            return ""
        last = self.step + 1 if what == "step" else self.steps
        while self.step < last:
            params, slots = self.params.copy(), {name: slot.copy() for name, slot in self._slots.items()}
            with self._trainer.backend.scope(), np.errstate(all="ignore"):
                loss, _ = self._trainer.step(params, slots, self.x[self.rows], self.y[self.rows], self.learning_rate)
            if not finite(float(loss), params):
                return f"This step would leave the finite numbers: learning rate {self.learning_rate:g} is too large."
            self.params, self._slots, self.step = params, slots, self.step + 1
        if self.step == self.steps:
            self.epoch, self.step = self.epoch + 1, 0
            self._shuffle()
        return ""

    def state(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What the next step is made from: the fields, and all numbers with what they are of."""
        from backprop_ref.report.explorer import state
        from backprop_ref.traces.one_pass import traced_pass

        backend, column, rows = self._trainer.backend, metrics.column_name(self.metric), self.rows
        x, y = self.x[rows], self.y[rows]
        trace = traced_pass(self.network, self.params, x, y, None, rows.tolist(), self.metric)
        fields, values = state(trace, [list(range(size)) for size in self.network.sizes])
        with backend.scope():
            whole = evaluate_on(backend, self.network, self.params, self.x, self.y, self.metric)
        fields.append({"name": "whole", "rows": 1, "width": 1})
        values = np.append(values, whole["loss"])
        values[[field["name"] for field in fields].index(column)] = whole[column]  # both of them stand first
        told = {"samples": rows.tolist(), "x": x.tolist(), "y": y.tolist(), "divisor": divisor(self.network.loss, y)}
        return fields, {
            **told,
            "values": values.tobytes(),
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
        }


class Live(Protocol):
    """A widget of `live`, which is one of anywidget's."""

    training: Steps
    learning_rate: float


def live(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    batch_size: int | None = 32,
    optimizer: AnyOptimizer | None = None,
    shuffle: bool = True,
    seed: int = 1,
) -> Live:
    """A widget that trains a small network step by step, in a notebook, with every z, a, delta, dW and db to see.

    It has buttons for a step, an epoch, going on by itself and starting again, and the learning rate. Its numbers are
    those of ``br.train`` with the same arguments under reproducible numerics, to the bit.

    Parameters
    ----------
    network, params : Network, Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out), finite
    batch_size : int or None
        None: full batch; 1: online.
    optimizer : SGD, Adam, AdamW, RMSprop or AdaGrad
        Default ``SGD(0.1)``.
    shuffle, seed : optional
        As of `train`.

    Returns
    -------
    widget
        Its ``training`` is the `Steps` behind it: ``widget.training.params`` are the weights as they are now.

    Raises
    ------
    InvalidInput
        There is no anywidget: ``pip install 'backprop-ref[notebook]'``. A network or batch that is too large to be
        looked at; data that do not fit.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 100, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    >>> try:
    ...     br.live(network, network.init(seed=1), [[0, 1], [1, 1]], [[1], [0]], optimizer=br.SGD(0.5))
    ... except br.InvalidInput as error:
    ...     print(str(error).partition(":")[0])
    a step has 1,626 numbers, and a layer up to 100 neurons, where br.live shows at most 20,000 and 64
    """
    training = Steps(network, params, x, y, batch_size=batch_size, optimizer=optimizer, shuffle=shuffle, seed=seed)
    widget: Live = _widget_class()(training)
    return widget


@functools.cache
def _widget_class() -> Any:
    """The class, which only a notebook needs."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise InvalidInput(
            "br.live needs anywidget, which is not installed: pip install 'backprop-ref[notebook]'; without it, "
            "result.explorer() shows a training afterwards"
        ) from None
    from backprop_ref.report.embedding import static, styles
    from backprop_ref.report.explorer import formulas

    page = f"const [LAYOUT, STYLE] = {json.dumps([static('explorer.html'), styles('page.css')])};"
    scripts = [static(name) for name in ("records.js", "formulas.js", "neurons.js", "explorer.js", "live.js")]

    def begin(self: Any, training: Steps) -> None:
        fields, state = training.state()
        about = {
            **training.network.to_dict(),
            "formulas": formulas(training.network),
            "weights": None,
            "configuration": "live",
            "metric": metrics.column_name(training.metric),
            "every": 1,
            "shown": [list(range(size)) for size in training.network.sizes],
            "fields": fields,
        }
        state |= {"answer": 0, "anew": False, "trouble": ""}
        anywidget.AnyWidget.__init__(self, about=about, state=state, learning_rate=training.learning_rate)
        self.training = training
        self.on_msg(asked)

    def asked(self: Any, content: dict[str, Any], _: object) -> None:
        what = content.get("do") if isinstance(content, dict) else None
        if what not in {"step", "epoch", "reset"}:
            return
        self.training.learning_rate = self.learning_rate
        trouble = self.training.go(what)
        _, state = self.training.state()
        self.state = state | {"answer": self.state["answer"] + 1, "anew": what == "reset", "trouble": trouble}

    def said(self: Any) -> str:
        training = self.training
        sizes = "-".join(map(str, training.network.sizes))
        done = f"{numbered(training.epoch, 'epoch')} and {numbered(training.step, 'step')}"
        return f"Training of {sizes}, live in a notebook: {done} done"

    traits = {
        "about": traitlets.Dict().tag(sync=True),
        "state": traitlets.Dict().tag(sync=True),
        "learning_rate": traitlets.Float().tag(sync=True),
    }
    behaviour = {"__init__": begin, "__repr__": said, "_esm": "\n".join([page, *scripts])}
    return type("Live", (anywidget.AnyWidget,), {**traits, **behaviour, "__module__": __name__})
