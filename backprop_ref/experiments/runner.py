"""From a configuration to a trained network, its run folder, and its results."""

import contextlib
import logging
import logging.handlers
import time
from collections.abc import Callable, Mapping
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref import settings
from backprop_ref.asking import ask, called
from backprop_ref.backends import get_backend
from backprop_ref.data import Preprocessing, fold, load_dataset, read_table, split
from backprop_ref.data.preprocessing import REACHED
from backprop_ref.data.tables import read_known
from backprop_ref.errors import BackpropRefError, InvalidInput, TrainingDiverged
from backprop_ref.experiments.config import OF_GENERATORS, dump, merge, read_config, suit
from backprop_ref.experiments.experiment import Experiment, described_by
from backprop_ref.experiments.in_folder import is_folder, prepare_folder
from backprop_ref.experiments.run_folder import CONFIG, OLDER_LOGS, RESULTS, check_log, new_folder, resumed_folder
from backprop_ref.experiments.schema import Config, flags
from backprop_ref.files import check_output, create, json_text, open_in_place, path_of, replace, write_output, writing
from backprop_ref.network.model_file import load
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream
from backprop_ref.ranks.ranks import first
from backprop_ref.text import printable
from backprop_ref.traces.recorder import MOST_SAMPLES, Recorder
from backprop_ref.traces.sinks import SINKS
from backprop_ref.training.checkpoint import CHECKPOINT, fingerprint
from backprop_ref.training.stored_checkpoint import load_checkpoint
from backprop_ref.training.train import suited, train
from backprop_ref.version import __version__

GROWN = 1e3
"""How much larger than that of the initial weights the loss of a training is that diverged."""


RESUMABLE = {"--resume", "--epochs", "--patience", "--json", "--output", "--log-level", "--readers"}


def merged(given: Mapping[str, Any], path: Any = None) -> Config:
    """The `Config` from flags given (flag -> value) and a file; of a run that is resumed, with what may change."""
    config = merge(given, path)
    if config.run.resume is None:
        return config
    folder, table = config.run.resume, flags()
    content = {} if path is None else read_config(path)
    in_file = {flag: content.get(section, {}).get(key) for flag, (section, key, _) in table.items()}
    given = {**{flag: value for flag, value in in_file.items() if value is not None}, **given}
    asked = ask("--resume", folder)
    if not (Path(folder) / CONFIG).is_file():
        if (Path(folder) / CHECKPOINT).is_file():
            raise InvalidInput(f"{asked}: br.train wrote it; make that call again with resume=True in Python")
        raise InvalidInput(f"{asked}: no run folder (no {CONFIG} in it); give the folder of an earlier run")
    its_own = read_config(Path(folder) / CONFIG).get("backend", {}).get("name")
    for flag in sorted(set(given) - RESUMABLE):
        if (flag, given[flag]) == ("--backend", its_own):
            continue  # said again, to allow one that is code: see check_backend
        also = f"leave out {ask(flag, given[flag])}"
        raise InvalidInput(f"{called('--resume')} goes on by the run's own configuration; {also}, or start a new run")
    return merge(given, Path(folder) / CONFIG, environment=False)


def prepare(config):
    """Loads, splits and normalises the data, and sizes the network; fills in what the configuration left open."""
    data, network = config.data, config.network
    before = None if config.training.start is None else _start(config)
    dataset = load_data(data) if before is None else _data_of(data, before)
    suit(config, dataset.name if data.path is None else "", dataset.task)
    stream, labels = Stream(data.seed, "split"), dataset.target if dataset.task == "classification" else None
    if data.folds is not None and data.fold is None:
        raise InvalidInput(f"{ask('--folds')}: only train does all of them; say which one by {ask('--fold')}, from 0")
    if data.folds is None:
        rest, test = split(len(dataset.x), data.test_size, stream, labels)
    else:
        rest, test = fold(len(dataset.x), data.folds, data.fold, stream, labels)
    training, validation = split(len(rest), data.validation_size, stream, None if labels is None else labels[rest])
    parts = {"train": rest[training], "validation": rest[validation], "test": test}
    one_column = network.output_activation == "sigmoid" and network.loss not in {"cross_entropy", "ce"}
    preprocessing = before or Preprocessing.fit(
        dataset, parts["train"], data.normalize, one_column, network.output_activation
    )
    if dataset.classes is None and network.output_activation in REACHED and data.normalize != "none":
        low, high = REACHED[network.output_activation]
        reach = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and above"
        said = f"the target is scaled to {reach}, which is what {network.output_activation} gives"
        dataset = replace_fields(dataset, notes=(*dataset.notes, said))
    if data.validation_path is not None:
        dataset, parts = _with_validation(dataset, parts, data, preprocessing)
    for part, rows in parts.items():
        if dataset.weights is not None and len(rows) and not dataset.weights[rows].any():
            raise InvalidInput(
                f"{ask('--sample-weight')}: no row of the {part} rows has a weight above 0; "
                f"give another {ask('--seed')}"
            )
    described, optimizer, schedule = described_by(config, preprocessing)
    return Experiment(config, dataset, parts, preprocessing, described, optimizer, schedule)


def _start(config):
    """The preprocessing of the run whose weights are the first, and its network for what was left open."""
    model, preprocessing = load_run(config.training.start)
    network = config.network
    *hidden, output = model.network.activations
    for key, value in (
        ("hidden", list(model.network.sizes[1:-1])),
        ("activation", hidden),
        ("output_activation", output),
        ("loss", model.network.loss),
    ):
        if getattr(network, key) is None:
            setattr(network, key, value)
    return preprocessing


def _data_of(data, preprocessing):
    """Data with the columns and classes that a run had: a table by its rules, or the same built-in set."""
    if data.path is not None:
        data.path = str(Path(data.path).absolute())
        dataset = read_known(data.path, preprocessing, data.header, data.encoding, data.sheet)
        said = f"read by the rules of the run that {ask('--from')} names; target {preprocessing.target_name}"
        return replace_fields(dataset, notes=(said, *dataset.notes))
    dataset = load_data(data)
    if (dataset.feature_names, dataset.classes) != (preprocessing.feature_names, preprocessing.classes):
        raise InvalidInput(f"{ask('--from')}: that run has other columns or classes than these data; leave it out")
    return dataset


def _with_validation(dataset, parts, data, preprocessing):
    """The data set with the rows of the validation file behind its own."""
    if data.sample_weight is not None:
        raise InvalidInput(
            f"both {ask('--validation-path')} and {ask('--sample-weight')}: "
            f"give {ask('--validation-size')} in place of the first"
        )
    if data.validation_size:
        raise InvalidInput(f"both {ask('--validation-path')} and {ask('--validation-size')}: give one of them")
    data.validation_path = str(Path(data.validation_path).absolute())
    more = read_known(data.validation_path, preprocessing, encoding=data.encoding)
    rows = np.arange(len(dataset.x), len(dataset.x) + len(more.x))
    both = replace_fields(
        dataset,
        x=np.concatenate([dataset.x, more.x]),
        target=np.concatenate([dataset.target, more.target]),
        notes=(*dataset.notes, *more.notes),
    )
    return both, {**parts, "validation": rows}


def load_data(data):
    """The `Dataset` that the section `data` of a configuration asks for."""
    if data.path is None and data.dataset is None:
        raise InvalidInput(
            f"no data: give {ask('--data-path', 'FILE.csv')}, or a data set's name, "
            f"such as {ask('--dataset', 'digits')} ('backprop-ref data' lists them)"
        )
    if data.path is not None:
        data.path = str(Path(data.path).absolute())
        if Path(data.path).is_dir():
            raise InvalidInput(f"{data.path}: {_of_folder(data)}")
        for key in ("block_rows", "readers"):
            if getattr(data, key) is not None:
                raise InvalidInput(
                    f"{ask('--' + key.replace('_', '-'))}: {data.path} is a file, not a folder; leave it out"
                )
        return read_table(data.path, data.target, task=data.task, **table_options(data))
    options = {key: getattr(data, key) for key in OF_GENERATORS}
    try:
        dataset = load_dataset(data.dataset, **options, seed=data.seed)
    except InvalidInput:
        if Path(data.dataset).is_file():
            raise InvalidInput(
                f"{data.dataset} is a file, no data set: give {ask('--data-path', data.dataset)}"
            ) from None
        raise
    if data.task is not None and data.task != dataset.task:
        raise InvalidInput(f"data set {data.dataset} is for {dataset.task}, not {data.task}; leave out {ask('--task')}")
    return dataset


def _of_folder(data):
    """Why a folder of data is not read here, and what to do."""
    arrays = (Path(data.path) / "X.npy").is_file()
    file = "an npz file with x and y of some of its rows" if arrays else "one of its files"
    said = "a folder of data, which train alone reads, a block at a time"
    if data.block_rows is None:
        return f"{said}; give {file}"
    return (  # a run of it
        f"{said}, so that this run's rows cannot be looked at; train on {file} and give that run, or use this one by "
        f"predict or evaluate with {ask('--data-path')} and such a file"
    )


def table_options(data):
    """What the section `data` of a configuration says about reading a table, for `read_table`."""
    kinds, begun = {}, ""
    for text in data.kinds or ():
        name, equals, kind = f"{begun}{text}".rpartition("=")
        begun = "" if equals else f"{text}, "  # of a name that has a comma
        if equals:
            kinds[name] = kind
    if begun or "" in kinds:
        raise InvalidInput(
            f"{ask('--as')} {','.join(data.kinds)}: COLUMN=KIND is needed, such as {ask('--as', 'zip=category')}"
        )
    return {
        "header": data.header,
        "drop": data.drop or (),
        "id": data.id or (),
        "kinds": kinds,
        "missing": data.missing or "error",
        "missing_values": data.missing_values or (),
        "decimal": data.decimal,
        "dates": data.dates,
        "encoding": data.encoding,
        "sheet": data.sheet,
        "sample_weight": data.sample_weight,
    }


def csv_bytes(experiment):
    """About how long the trace as CSV gets if every epoch is trained; 0 without one."""
    config = experiment.config
    trace, dtype = config.trace, settings.resolve("dtype", config.backend.dtype)
    if "csv" not in (trace.sinks or ()):
        return 0
    samples = len(trace.samples or experiment.parts["train"][:MOST_SAMPLES])
    records = config.training.epochs // (trace.every or 1) + 2
    return records * samples * SINKS["csv"].line_bytes(experiment.network, dtype, trace.digits)


def prepared(config: Config, comm: Any = None, progress: bool | None = None) -> Experiment:
    """What `prepare` gives; of a folder of data, what `prepare_folder` does."""
    return prepare_folder(config, comm, progress) if is_folder(config.data) else prepare(config)


def _ready(config, comm=None, progress=None):
    """The experiment of a configuration, its backend and the initial parameters; fills in what was left open."""
    experiment = prepared(config, comm, progress)
    chosen = config.backend
    backend = get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads)
    batch: Any = config.training.batch_size
    backend = suited(backend, experiment.network, len(experiment.parts["train"]) if batch == "full" else batch)
    chosen.name, chosen.numerics = chosen.name or settings.resolve("backend"), backend.numerics
    for key in ("dtype", "device", "threads"):
        setattr(chosen, key, settings.resolve(key, getattr(chosen, key)))
    params = first_params(experiment, chosen.dtype)
    if comm is not None:
        comm.Barrier()  # every rank has read what it needs, before rank 0 writes and another may find it changed
    return experiment, backend, params


def run(
    config: Config,
    progress: bool | None = None,
    announce: Callable[[str], object] = lambda note: None,
    may_grow: bool = True,
    comm: Any = None,
) -> dict[str, Any]:
    """Trains as configured and writes the run folder; returns the results, JSON-ready. With `comm`, as its rank 0.

    What was decided about a table is given to `announce` beforehand. Unless it `may_grow`, a loss that did so a
    thousandfold is a training that diverged.

    After an InvalidInput without a checkpoint, everything is as it was before, but for a resumed run's log; with one,
    the run can be resumed. After a TrainingDiverged the folder holds what was reached.
    """
    experiment, backend, params = _ready(config, comm, progress)
    output, resume, log = config.run.output, config.run.resume, config.logging.file
    opened = new_folder(config.run.dir, experiment.dataset.name, dump(config), log)
    if resume is not None:
        opened = resumed_folder(resume, dump(config), log)
    with contextlib.ExitStack() as stack:

        def open_folder() -> Path:
            check_log(log)
            check_output("--output", output)
            return stack.enter_context(opened)

        folder = first(comm, open_folder)
        config.run.dir = str(folder)
        results = _train(experiment, backend, params, folder, progress, announce, may_grow, comm)
    text, file = json_text(results) + "\n", folder / RESULTS
    with writing(file, f"the network is in {folder / CHECKPOINT}"):
        (create if resume is None else replace)(file, text)
    if output is not None:
        write_output("--output", output, text, f"the results are in {file}")
    return results


def _train(experiment, backend, params, folder, progress, announce, may_grow, comm):
    config = experiment.config
    with _logged(folder, config.logging) as log:
        x, y = experiment.xy("train")
        log.info("backprop_ref %s, backend %s, %s, %s", __version__, backend.name, backend.numerics, params.dtype)
        log.info("%s: %s rows to train on; network %s", experiment.dataset.name, len(x), experiment.network.to_dict())
        for note in experiment.dataset.notes:
            announce(note)
            log.info("%s", note)
        started = time.perf_counter()
        try:
            result = train(
                *(experiment.network, params, x, y),
                **how_to_train(experiment),
                callback=_epoch_logger(log),
                progress=progress,
                run_dir=folder,
                resume=config.run.resume is not None,
                trace=_recorder(config.trace, folder),
                keep_checkpoints=config.trace.checkpoints,
                backend=backend,
                comm=comm,
            )
        except BackpropRefError as error:
            with contextlib.suppress(InvalidInput):  # of the log's own
                log.error("%s", error)
            if not isinstance(error, TrainingDiverged):
                raise
            message = f"{error}; what was reached is in {folder}"
            raise TrainingDiverged(message, error.result, error.epoch, error.layer) from None
        if not may_grow:
            _check_fell(experiment, params, result, backend, folder)
        results = _results(experiment, result, backend, folder, time.perf_counter() - started)
        scored = results["test"] or results["train"]
        log.info("stopped: %s after %d epochs; %s", result.stopped, result.epochs, scored)
    return results


def first_params(experiment: Experiment, dtype: Any) -> Parameters:
    """The initial parameters: by the seed, or those of the run that the configuration starts from."""
    training: Any = experiment.config.training
    scheme: Any = experiment.config.network.init
    if training.start is None:
        return experiment.network.init(training.seed, scheme, dtype)
    first = load(training.start)
    if first.network.sizes != experiment.network.sizes:
        sizes = list(first.network.sizes), list(experiment.network.sizes)
        raise InvalidInput(
            f"{ask('--from', training.start)}: its sizes are {sizes[0]}, not {sizes[1]}; leave out {ask('--hidden')}"
        )
    return Parameters.from_arrays(first.params.W, first.params.b, dtype)


def how_to_train(experiment: Experiment) -> dict[str, Any]:
    """The arguments of `br.train` that make the bits, and what the checkpoint keeps beside them."""
    training = experiment.config.training
    return {
        "epochs": training.epochs,
        **experiment.of_steps,
        "schedule": experiment.schedule,
        "validation": experiment.validation,
        "patience": training.patience,
        "min_delta": training.min_delta,
        "metric": experiment.metric,
        "preprocessing": experiment.preprocessing.to_dict(),
        "config": experiment.config.model_dump(by_alias=True, exclude={"run"}),
    }


def run_beside(config: Config, comm: Any) -> None:
    """What `run` is on the other ranks of `comm`: without folder, results and log."""
    experiment, backend, params = _ready(config, comm)
    first(comm, None)  # rank 0 opens the run folder
    told = {**how_to_train(experiment), "resume": config.run.resume is not None, "run_dir": "of rank 0"}
    with contextlib.suppress(TrainingDiverged):  # which rank 0 says
        train(experiment.network, params, *experiment.xy("train"), **told, backend=backend, comm=comm)


def _check_fell(experiment, params, result, backend, folder):
    """Refuses a training after which the loss is far above that of the initial weights: it diverged, if finitely."""
    losses = result.history["loss"]
    if not len(losses) or result.best_epoch:
        return
    before = experiment.initial_loss(params, backend)
    if losses[-1] > GROWN * max(before, 1e-30):
        rate = experiment.config.training.learning_rate
        raise TrainingDiverged(
            f"training diverged: the loss grew from {before:.3g} to {losses[-1]:.3g}. Likely causes: a learning rate "
            f"that is too large ({rate:g}; try {rate / 10:g}), inputs or targets that are not normalised (leave out "
            f"{ask('--normalize', 'none')}); what was reached is in {folder}",
            result,
            result.epochs,
            None,
        )


def _results(experiment, result, backend, folder, seconds):
    held_out = "test" if len(experiment.parts["test"]) else "train"
    untrained = result.stopped == "interrupted" and result.epochs == 0  # somebody waits for the prompt
    scored = {
        part: None if untrained or not len(rows) else experiment.scored(part, result, backend)
        for part, rows in experiment.parts.items()
    }
    return {
        "name": experiment.dataset.name,
        **({"notes": list(experiment.dataset.notes)} if experiment.dataset.notes else {}),
        "task": experiment.dataset.task,
        "network": experiment.network.to_dict(),
        "n_parameters": experiment.network.n_parameters,
        "rows": {part: len(rows) for part, rows in experiment.parts.items()},
        "epochs": result.epochs,
        "stopped": result.stopped,
        "best_epoch": result.best_epoch,
        "train": scored["train"],
        "validation": scored["validation"],
        "test": scored["test"],
        "scored_on": held_out,
        "history_last": {name: column[-1].item() for name, column in result.history.items() if len(column)},
        "seed": experiment.config.training.seed,
        "backend": backend.name,
        "numerics": backend.numerics,
        "dtype": result.params.dtype.name,
        "sha256": result.params.sha256(),
        "seconds": round(seconds - result.compile_seconds, 3),
        "compile_seconds": round(result.compile_seconds, 3),
        "run_dir": str(folder),
        "version": __version__,
    }


def load_run(path):
    """The `Model` of a run folder or a model file, with its `Preprocessing`."""
    path = path_of(path)
    model = load(path / CHECKPOINT if path.is_dir() else path)
    if model.preprocessing is None:
        raise InvalidInput(
            f"{path}: a model without preprocessing, so its columns are unknown; use br.load and br.predict in Python"
        )
    try:
        preprocessing = Preprocessing.from_dict(model.preprocessing)
        if (len(preprocessing.shift), preprocessing.n_outputs) != (model.network.sizes[0], model.network.sizes[-1]):
            raise ValueError("it is of another network")
        return model, preprocessing
    except ValueError as error:
        raise InvalidInput(f"{path}: its preprocessing is not one of ours ({error}); save it again") from None


def check_same_data(run_dir, experiment, dtype):
    """Refuses data that are not those the run in `run_dir` was trained on."""
    _, _, metadata = load_checkpoint(Path(run_dir) / CHECKPOINT)
    *data, weights = experiment.counted("train", dtype)
    *held_out, held_out_weights = (
        experiment.counted("validation", dtype) if len(experiment.parts["validation"]) else (None,)
    )
    if metadata["identity"]["data"] != fingerprint(*data, *held_out, weights, held_out_weights):
        raise InvalidInput(
            f"{run_dir}: its data have changed since, so its test rows are lost; give {ask('--data-path', 'FILE.csv')}"
        )


class _LogFile(logging.handlers.RotatingFileHandler):
    """A rotating file, written to only under its own name.

    Its errors end the run in one line; logging itself would go on, and print a traceback for each entry.
    """

    def _open(self):
        return open_in_place(self.baseFilename, self.mode, encoding=self.encoding)

    def emit(self, record):
        with writing(self.baseFilename, "free some space or give another folder"):
            super().emit(record)

    def handleError(self, record):
        raise  # noqa: PLE0704 (called where an error is being handled)


class _OneLine(logging.Formatter):
    """An entry of the log: one line, whatever names and messages are in it."""

    def format(self, record):
        return printable(super().format(record))


@contextlib.contextmanager
def _logged(folder, options):
    """A logger into the run folder's rotating file."""
    path = folder / options.file
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, maxBytes=1_000_000, backupCount=OLDER_LOGS, encoding="utf-8")
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    log = logging.Logger(f"backprop_ref.run.{folder.name}", options.level)
    log.addHandler(handler)
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):  # which the entry that met it has raised
            handler.close()


def _recorder(trace, folder):
    """What traces the run, if it is to be traced."""
    if trace.sinks:
        return Recorder(folder, dict.fromkeys(trace.sinks), trace.samples, trace.every, trace.digits)
    for name, field in type(trace).model_fields.items():
        if name != "checkpoints" and getattr(trace, name):
            flag = field.json_schema_extra["flag"]
            raise InvalidInput(
                f"trace.{name} ({ask(flag)}): nothing is traced; add {ask('--trace', 'binary')}, csv or parquet"
            )
    return None


def _epoch_logger(log):
    """A callback that logs each epoch, where such detail is asked for."""
    if not log.isEnabledFor(logging.DEBUG):
        return None
    return lambda epoch: log.debug("epoch %d: %s", epoch.epoch, epoch.values)
