"""What the commands do, from Python: the functions that they call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from backprop_ref.api import check_fit, checked_data
from backprop_ref.arrays import BatchLike
from backprop_ref.asking import argument, ask, flag_of
from backprop_ref.backends import names
from backprop_ref.backends.base import BackendChoice
from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.files import Name
from backprop_ref.metrics import metric_name
from backprop_ref.network import Network
from backprop_ref.optimizers.lbfgs import AnyOptimizer
from backprop_ref.parameters import Parameters
from backprop_ref.sample_weights import ClassWeight, weighted
from backprop_ref.training.arguments import integer, optimizer_or_default
from backprop_ref.training.state import LOOKED_AT, Result, State

Setting: TypeAlias = str | float | bool | Sequence[str | float] | Mapping[str, Any] | None
"""The value of a flag."""

if TYPE_CHECKING:
    from backprop_ref.conformance.gradcheck import Checked
    from backprop_ref.experiments.compare import Compared
    from backprop_ref.experiments.reproduce import Reproduced
    from backprop_ref.experiments.sweep import Sweep
    from backprop_ref.report.derivations.explanation import Explanation
    from backprop_ref.report.frame import Explorer


def gradcheck(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    grads: Parameters | None = None,
    entries: int | None = None,
    seed: int = 1,
    progress: bool | None = None,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Checked:
    """Checks gradients by methods that know nothing of backpropagation, as ``backprop-ref gradcheck`` does.

    Parameters
    ----------
    network, params : Network, Parameters
        Float64 parameters: float32 leaves too few digits for differences.
    x, y : arrays of shape (batch, n_in) and (batch, n_out)
    grads : Parameters, optional
        The gradient to check; default: that of `value_and_grad`.
    entries : int, optional
        Check at most so many of each tensor, chosen by `seed`.
    progress : bool, optional
        A bar on standard error.
    sample_weight, class_weight, backend, numerics, device, threads : optional
        As of `value_and_grad`.

    Returns
    -------
    Checked
        `ok`, and `rows`, a verdict for each tensor; `print` and a notebook show them as a table.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "linear"], "mean_squared_error")
    >>> found = br.gradcheck(network, network.init(seed=1), x=[[0.5, 1.0]], y=[[1.0]])
    >>> found.ok, [row.tensor for row in found.rows]
    (True, ['W0', 'b0', 'W1', 'b1', 'loss', 'Jv'])
    """
    from backprop_ref.conformance.gradcheck import Checked, gradcheck

    how: dict[str, Any] = {"backend": backend, "numerics": numerics, "device": device, "threads": threads}
    how |= {"sample_weight": sample_weight, "class_weight": class_weight}
    check_fit(network, params)
    if entries is not None:
        integer("entries", entries, 1)
    rows = gradcheck(network, params, x, y, grads=grads, entries=entries, seed=seed, progress=progress, **how)
    return Checked(network, len(np.asarray(x)), rows)


def compare(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    backends: str | Sequence[str] | None = None,
    numerics: str = "reproducible",
    batch_size: int = 32,
    optimizer: AnyOptimizer | None = None,
    shuffle: bool = True,
    seed: int = 1,
    shards: int = 1,
    dropout: float | Sequence[float] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    progress: bool | None = None,
) -> Compared:
    """One model on every backend, held to NumPy under reproducible numerics, as ``backprop-ref compare`` does.

    Parameters
    ----------
    network, params : Network, Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out)
    backends : str or sequence of str, optional
        Default: all that there are.
    numerics : 'reproducible' or 'fast'
    batch_size : int
        The first so many rows serve for the gradients; one epoch over all of them for the trained weights.
    optimizer, shuffle, seed, shards, dropout, sample_weight : optional
        As of `train`.
    progress : bool, optional
        A bar on standard error.

    Returns
    -------
    Compared
        `ok`, and `found`, a row for each backend; `print` and a notebook show them as a table.

    Raises
    ------
    InvalidInput
        A backend that there is not; data that do not fit.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "linear"], "mean_squared_error")
    >>> br.compare(network, network.init(), [[0.5, 1.0]], [[1.0]], backends=["numpy", "python"], progress=False).ok
    True
    """
    from backprop_ref.experiments.compare import compared

    check_fit(network, params)
    data = checked_data(network, x, y, params.dtype)
    check_is("backends", backends, (Iterable, NoneType), "a name, or a list of names,")
    chosen = names() if backends is None else [backends] if isinstance(backends, str) else [*map(str, backends)]
    if not chosen:
        raise InvalidInput("backends=[]: nothing to compare; name one, or leave it out for all")
    for name in chosen:
        if name not in names() and ":" not in name:
            raise unknown("backend", name, names())
    integer("batch_size", batch_size, 1)
    integer("shards", shards, 1)
    weights = None if sample_weight is None else np.asarray(sample_weight)
    if weights is not None and weights.shape != (len(data[0]),):
        raise InvalidInput(f"sample_weight: a number for each of the {len(data[0])} rows is needed")
    how: dict[str, Any] = {"batch_size": batch_size, "optimizer": optimizer, "shuffle": shuffle, "seed": seed}
    how |= {"shards": shards, "dropout": dropout, "sample_weight": sample_weight, "progress": progress}
    return compared(network, params, *data, chosen, numerics, **how)


def explain(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    sample: int | None = None,
    optimizer: AnyOptimizer | None = None,
    learning_rate: float | None = None,
    state: State | None = None,
    step: int = 1,
    layer: int | None = None,
    neuron: int | None = None,
    matrices: bool = False,
    derivation: bool = True,
    digits: int = 5,
    terms: int = 8,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    numerics: str | None = None,
    name: str = "data",
    about: str = "",
) -> Explanation:
    """One step of training in numbers, with its formulas and why they are so, as ``backprop-ref explain`` does.

    Parameters
    ----------
    network, params : Network, Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out)
    sample : int, optional
        The row that the step is made from; default: the first that is not all 0.
    optimizer : optimizer, optional
        Default ``SGD(0.1)``.
    learning_rate : float, optional
        That of the step; default: the optimizer's.
    state, step : State, int
        What training has reached, and which step this is, counted from 1.
    layer, neuron : int, optional
        Only this layer, or neuron of it.
    matrices : bool
        Whole layers in place of neuron by neuron.
    derivation : bool
        Whether to say why the formulas of the backward pass are what they are.
    digits, terms : int
        Significant digits of numbers; terms of a sum to show.
    sample_weight, class_weight, numerics : optional
        As of `value_and_grad`.
    name, about : str
        What the title calls the data; what is said of the weights.

    Returns
    -------
    Explanation
        `print` shows it as text, a notebook with formulas; `document` makes Markdown or an HTML file.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[2.0]]], [[0.0]])
    >>> said = str(br.explain(network, params, x=[[3.0]], y=[[5.0]], derivation=False))
    >>> [line.strip() for line in said.splitlines() if line.strip().startswith("z")]
    ['z[0]_j = b[0]_j + Σ_k x_k·W[0]_kj', 'z[0]_0 = 0 + 3·2 = 6']
    """
    from backprop_ref.report.derivations import explain as explaining
    from backprop_ref.report.derivations.documents import Heading, Words
    from backprop_ref.report.derivations.explanation import Explanation
    from backprop_ref.report.derivations.step import Step

    check_fit(network, params)
    x, y = checked_data(network, x, y, params.dtype)
    trained_on, _, weights = weighted(np.arange(len(x))[:, None], y, sample_weight, class_weight)
    rows = trained_on[:, 0]
    chosen = int(rows[next(iter(np.flatnonzero(x[rows].any(axis=1))), 0)]) if sample is None else sample
    explaining.check_range("sample", chosen, len(x))
    if chosen not in rows:
        raise InvalidInput(
            f"{ask('--sample', chosen)}: a row of weight 0, which nothing is learnt from; give another one"
        )
    weight = None if weights is None else float(weights[rows == chosen][0])
    optimizer = optimizer_or_default(optimizer)
    check_is("state", state, (State, NoneType), "the state of a Result, result.state,")
    check_is("learning_rate", learning_rate, (int, float, np.number, NoneType), "a number")
    integer("digits", digits, 1)
    integer("terms", terms, 1)
    rate = optimizer.learning_rate if learning_rate is None else learning_rate
    slots = None if state is None else state.slots or None
    one = slice(chosen, chosen + 1)
    made = Step.of(network, params, x[one], y[one], optimizer, rate, slots, numerics, step, weight)
    sizes = "-".join(map(str, network.sizes))
    described = f"Network {sizes}, {', '.join(network.activations)}, {network.loss}"
    blocks = [
        Heading(1, f"One step of backpropagation: {name}, sample {chosen}"),
        Words(f"{described}; {about}." if about else f"{described}."),
        Words(f"Numbers are rounded to {digits} significant digits, and computed unrounded; shorter ones are exact."),
        *explaining.shortened(explaining.explain(made, layer, neuron, matrices, derivation), terms),
    ]
    return Explanation(blocks, digits, terms)


def report(what: Result | Name | Sequence[Name], *more: Name, out: Name | None = None) -> Path:
    """Writes a page of run folders, of the folder of a sweep, or of a `Result`, as ``backprop-ref report`` does.

    Parameters
    ----------
    what, *more : Result, path-like, or sequence of path-like
    out : path-like, optional
        A file that does not exist; default: report.html in the run's folder, or in the current one, with a number where
        that is taken.

    Returns
    -------
    Path
        The file: HTML that needs no network.

    Raises
    ------
    InvalidInput
        No run folder; nothing to see yet; a file that exists.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> result = br.train(network, network.init(), [[1.0]], [[2.0]], epochs=3)
    >>> br.report(result, out="training.html").name
    'training.html'
    """
    from backprop_ref.experiments.pages import page_of

    first = [what] if isinstance(what, Result | str | Path) or not isinstance(what, Sequence) else [*what]
    several: list[Any] = [*first, *more]
    wrong = [each for each in several if not isinstance(each, Result | str | os.PathLike)]
    if wrong or not several:
        found = type(wrong[0]).__name__ if wrong else "none"
        raise InvalidInput(f"folders of runs, or a Result, are needed to report, got {found}")
    return page_of(several).write(out)


@overload
def explorer(what: Result | Name, *, height: int = ...) -> Explorer: ...


@overload
def explorer(
    what: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    samples: Sequence[int] | None = ...,
    height: int = ...,
) -> Explorer: ...


def explorer(
    what: Network | Result | Name,
    params: Parameters | None = None,
    x: BatchLike | None = None,
    y: BatchLike | None = None,
    *,
    samples: Sequence[int] | None = None,
    height: int = 640,
) -> Explorer:
    """The network to click through, in a notebook: every z, a, delta, dW and db in its formula.

    Of a training with a trace it has all epochs that fit into two megabytes; of a network, its parameters and data it
    has one pass, forward and backward, under reproducible numerics.

    Parameters
    ----------
    what : Result, path-like or Network
        What ``br.train(…, trace=br.Recorder())`` gave; a run folder with a binary trace; or a network, with what
        follows.
    params : Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out)
    samples : sequence of int, optional
        Rows of these data, from 0, which are one batch; default: the first 8, or as many as there are.
    height : int
        Pixels of the frame.

    Returns
    -------
    Explorer
        A notebook shows it; `page` is the HTML file in the frame.

    Raises
    ------
    InvalidInput
        A training without a trace, a network that is too large, data that do not fit.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "linear"], "mean_squared_error")
    >>> result = br.train(network, network.init(), [[0.5, 1.0]], [[1.0]], epochs=5, trace=br.Recorder())
    >>> len(br.explorer(result).page) < 200_000
    True
    >>> print(br.explorer(network, network.init(), [[0.5, 1.0], [1.0, 0.0]], [[1.0], [0.0]]))
    Explorer of 2-3-1: 2 samples
             value
    loss  0.211728
    r2    0.153087
    """
    from backprop_ref.report.frame import Explorer
    from backprop_ref.traces.file import open_trace
    from backprop_ref.traces.one_pass import traced_pass
    from backprop_ref.traces.recorder import MOST_SAMPLES

    if not isinstance(what, Network):
        if params is not None or samples is not None:
            raise InvalidInput("of a training the explorer shows the samples of its trace; give the training alone")
        if isinstance(what, Result):
            if what.trace is None:
                remedy = "br.train(…, trace=br.Recorder()), or ask for br.explorer(network, params, x, y), one pass"
                raise InvalidInput(f"the explorer shows what was traced while training; train with {remedy}")
            what = what.trace.folder
        if not isinstance(what, str | os.PathLike):
            raise InvalidInput(f"a Result, a run folder or a Network is needed to explore, got {type(what).__name__}")
        return Explorer(open_trace(what), height)
    if params is None or x is None or y is None:
        raise InvalidInput("a network is explored with its parameters and data: br.explorer(network, params, x, y)")
    check_fit(what, params)
    x, y = checked_data(what, x, y, params.dtype)
    rows = list(range(min(len(x), MOST_SAMPLES))) if samples is None else list(samples)
    if not rows or not all(isinstance(row, int | np.integer) and 0 <= row < len(x) for row in rows):
        raise InvalidInput(f"samples={rows}: rows of the data are needed, from 0 to {len(x) - 1}")
    rows = list(map(int, rows))
    return Explorer(traced_pass(what, params, x[rows], y[rows], None, rows, metric_name(what, y)), height)


def run(*, config: Name | None = None, progress: bool | None = None, **settings: Setting) -> dict[str, Any]:
    """Trains on a data set or a table and keeps a run folder, as ``backprop-ref train`` does.

    Parameters
    ----------
    config : path-like, optional
        A YAML file, as of ``--config``.
    progress : bool, optional
        A bar on standard error.
    **settings
        The flags as keywords: ``dataset="iris"``, or ``data_path="flowers.csv"``; ``hidden=[16, 8]``, ``epochs=20``,
        ``run_dir="mine"``.

    Returns
    -------
    dict
        What results.json has; ``["run_dir"]`` is the folder, which every command takes.

    Raises
    ------
    InvalidInput
        A setting that there is not, or data that cannot be used.

    Examples
    --------
    >>> import backprop_ref as br
    >>> found = br.run(dataset="xor", epochs=3, run_dir="mine", backend="numpy", progress=False)
    >>> found["epochs"], br.report(found["run_dir"]).name
    (3, 'report.html')
    """
    from backprop_ref.experiments.runner import merged, run

    found: dict[str, Any] = run(merged(_flags(settings), config), progress)
    return found


def reproduce(
    run: Name,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    spot: int | None = None,
) -> Reproduced:
    """Trains a run again, from its configuration and data, and compares it epoch by epoch, as ``backprop-ref
    reproduce`` does.

    Parameters
    ----------
    run : path-like
        The folder of a run of `run`, which is not changed; or a ``certificate.json``, whose data lie beside it or in
        the current folder.
    backend, device, threads : optional
        What trains again; default: what the run was trained on.
    progress : bool, optional
        A bar on standard error.
    spot : int, optional
        Train again from the beginning to the first checkpoint that the run kept, and from so many others, drawn at
        random, each to the next; needs a run with `keep_checkpoints`. What lies between stays unproved.

    Returns
    -------
    Reproduced
        `ok`; `differs`, the first epoch that is another one, and `what` differs there; `notes` on data, configuration
        or files that are not as they were.

    Raises
    ------
    InvalidInput
        The run was trained in fast numerics, which nobody can prove; or its data are missing.

    Examples
    --------
    >>> import backprop_ref as br
    >>> results = br.run(dataset="xor", epochs=20, numerics="reproducible", run_dir="proved", progress=False)
    >>> br.reproduce("proved", backend="python").ok
    True
    """
    from backprop_ref.experiments.reproduce import reproduce

    return reproduce(run, backend, device, threads, progress, spot)


def plot(result: Result, quantity: str = "loss") -> object:
    """A plotly figure of loss, accuracy or r2 over the epochs: ``result.plot()``."""
    from backprop_ref.experiments.pages import figure

    return figure(result, quantity)


def sweep(
    experiment: str | None = None,
    *,
    out: Name | None = None,
    workers: int | None = None,
    config: Name | None = None,
    progress: bool | None = None,
    learning_rates: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    losses: Sequence[str] | None = None,
    inits: Sequence[str] | None = None,
    widths: Sequence[str] | None = None,
    optimizers: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scheduler: str | None = None,
    **settings: Setting,
) -> Sweep:
    """Trains over a grid of settings, each in a run folder, as ``backprop-ref sweep`` does.

    Parameters
    ----------
    experiment : str, optional
        A ready-made one: initial-weights, learning-rates, losses or vanishing-gradients.
    out : path-like, optional
        A new folder; default: ./sweeps/NAME-N.
    workers : int, optional
        Processes; default: as many as pay.
    config : path-like, optional
        A YAML file, as of ``--config``.
    progress : bool, optional
        A bar on standard error.
    learning_rates, activations, losses, inits, widths, optimizers, seeds : sequence, optional
        What the grid is over, with the values of the flags: widths as '16' or '32x16'.
    scheduler : str, optional
        The address of Dask's, whose workers train.
    **settings
        The flags of a single run as keywords: ``dataset="iris", epochs=20``.

    Returns
    -------
    Sweep
        Its `folder`, which every command takes, and `rows()`, a dictionary for each run.

    Raises
    ------
    InvalidInput
        Nothing to sweep over; a setting that there is not.

    Examples
    --------
    >>> import backprop_ref as br
    >>> found = br.sweep(dataset="xor", epochs=2, learning_rates=[0.1, 1.0], backend="numpy", workers=1, progress=False)
    >>> [(row["learning_rate"], row["epochs"]) for row in found.rows()]
    [('0.1', 2), ('1.0', 2)]
    """
    from backprop_ref.experiments.new_sweep import new_sweep

    given = {
        "learning_rate": learning_rates,
        "activation": activations,
        "loss": losses,
        "init": inits,
        "width": widths,
        "optimizer": optimizers,
        "seed": seeds,
    }
    listed = {
        axis: values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
        for axis, values in given.items()
        if values is not None
    }
    grid = {axis: ",".join(map(str, values)) for axis, values in listed.items()}
    made = new_sweep(experiment, config, grid, out, _flags(settings))
    made.run(workers, progress, scheduler=scheduler)
    return made


def _flags(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Keywords as the flags of a single run."""
    from backprop_ref.experiments.schema import flags as known

    told = {flag_of(key): value for key, value in settings.items()}
    for flag, key in zip(told, settings, strict=True):
        if flag not in known():
            raise unknown("setting", key, map(argument, known()))
    return {flag: _as_flag(flag, value) for flag, value in told.items() if value is not None}


def _as_flag(flag: str, value: Setting) -> str | bool | list[str] | dict[str, Any]:
    """A value as the command line has it."""
    if flag == "--as" and isinstance(value, Mapping):
        return [f"{column}={kind}" for column, kind in value.items()]
    if isinstance(value, Mapping):
        return {str(key): each for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return value if isinstance(value, bool) else str(value)


LOOKED_AT.update(plot=plot, report=report, explorer=explorer)
