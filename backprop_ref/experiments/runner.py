"""From a configuration to a trained network, its run folder, and its results."""

import contextlib
import json
import logging
import logging.handlers
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backprop_ref import metrics, settings
from backprop_ref.api import evaluate, predict
from backprop_ref.backends import get_backend
from backprop_ref.checkpoint import CHECKPOINT
from backprop_ref.data import Dataset, Preprocessing, load_dataset, read_csv, split
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.experiments.config import dump, suit
from backprop_ref.experiments.schema import Config
from backprop_ref.files import write_atomically
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam, Constant, Cosine, Step
from backprop_ref.parameters import load
from backprop_ref.random import Stream
from backprop_ref.training import train
from backprop_ref.version import __version__

CONFIG, RESULTS = "config.yaml", "results.json"


@dataclass(frozen=True)
class Experiment:
    """A configuration with its data: everything ready to train."""

    config: Config
    dataset: Dataset
    parts: dict[str, np.ndarray]
    """Rows of the data set: train, validation, test."""
    preprocessing: Preprocessing
    network: Network

    def xy(self, part):
        """x and y of one part, as the network takes them."""
        rows = self.parts[part]
        return self.preprocessing.x(self.dataset.x[rows]), self.preprocessing.y(self.dataset.target[rows])


def prepare(config):
    """Loads, splits and normalises the data, and sizes the network; fills in what the configuration left open."""
    dataset = _dataset(config.data)
    suit(config, dataset.name.partition("-")[0] if config.data.path is None else "", dataset.task)
    data, network = config.data, config.network
    stream, labels = Stream(data.random_seed, "split"), dataset.target if dataset.task == "classification" else None
    rest, test = split(len(dataset.x), data.test_size, stream, labels)
    kept, validation = split(len(rest), data.validation_size, stream, None if labels is None else labels[rest])
    if not len(kept):
        raise InvalidInput(f"{dataset.name}: {len(dataset.x)} rows leave none to train on; lower --test-size or --validation-size")
    one_column = network.output_activation == "sigmoid"
    preprocessing = Preprocessing.fit(dataset, rest[kept], data.normalize, one_column)
    sizes = [dataset.x.shape[1], *network.hidden_layers, preprocessing.n_outputs]
    described = Network(sizes, [*network.hidden_activations, network.output_activation], network.loss)
    network.loss = described.loss
    parts = {"train": rest[kept], "validation": rest[validation], "test": test}
    return Experiment(config, dataset, parts, preprocessing, described)


def _dataset(data):
    if data.path is None and data.dataset is None:
        raise InvalidInput("no data: give the name of a data set, such as digits, or --data-path FILE.csv")
    if data.path is not None:
        data.path = str(Path(data.path).absolute())
        return read_csv(data.path, data.label_column, data.task or "classification", data.header)
    options = {"n_samples": data.n_samples, "n_features": data.n_features, "n_classes": data.n_classes, "noise": data.noise}
    dataset = load_dataset(data.dataset, **options, seed=data.random_seed)
    if data.task is not None and data.task != dataset.task:
        raise InvalidInput(f"data set {data.dataset} is for {dataset.task}, not {data.task}; leave out --task")
    return dataset


def run(config, progress=None):
    """Trains as configured and writes the run folder; returns the results, JSON-ready.

    Raises
    ------
    InvalidInput
        Before anything is written.
    TrainingDiverged
        The folder then holds what was reached.
    """
    resumed = config.run.resume is not None
    experiment = prepare(config)
    chosen, training = config.backend, config.training
    backend = get_backend(chosen.name, chosen.numerics, chosen.device, chosen.threads)
    dtype = settings.resolve("dtype", chosen.dtype)
    params = experiment.network.init(training.seed, config.network.weight_init, dtype)
    _check_output(config.run.output)
    folder = Path(config.run.resume) if resumed else _new_folder(config.run.dir, experiment.dataset.name)
    chosen.name, chosen.numerics, chosen.dtype = chosen.name or settings.resolve("backend"), backend.numerics, dtype
    config.run.dir = str(folder)
    write_atomically(folder / CONFIG, dump(config))
    with _logged(folder, config.logging) as log:
        x, y = experiment.xy("train")
        log.info("backprop_ref %s, backend %s, %s, %s", __version__, backend.name, backend.numerics, dtype)
        log.info("%s: %s rows to train on; network %s", experiment.dataset.name, len(x), experiment.network.to_dict())
        started = time.perf_counter()
        try:
            result = train(
                experiment.network,
                params,
                x,
                y,
                epochs=training.epochs,
                batch_size=None if training.batch_size == "full" else training.batch_size,
                optimizer=_optimizer(training),
                schedule=_schedule(training),
                shuffle=training.shuffle,
                seed=training.seed,
                shards=training.shards,
                validation=experiment.xy("validation") if len(experiment.parts["validation"]) else None,
                patience=training.patience,
                min_delta=training.min_delta,
                callback=_epoch_logger(log),
                progress=progress,
                run_dir=folder,
                resume=resumed,
                preprocessing=experiment.preprocessing.to_dict(),
                config=config.model_dump(by_alias=True),
                backend=backend,
            )
        except TrainingDiverged as error:
            log.error("%s", error)
            raise
        results = _results(experiment, result, backend, folder, time.perf_counter() - started)
        log.info("stopped: %s after %d epochs; %s", result.stopped, result.epochs, results["test"] or results["train"])
        for path in (folder / RESULTS, config.run.output):
            if path is not None:
                write_atomically(path, json.dumps(results, indent=1) + "\n")
    return results


def _results(experiment, result, backend, folder, seconds):
    held_out = "test" if len(experiment.parts["test"]) else "train"
    scored = {part: score(experiment.network, result.params, experiment.preprocessing, experiment.dataset, rows) for part, rows in experiment.parts.items()}
    return {
        "name": experiment.dataset.name,
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
        "seconds": round(seconds, 3),
        "run_dir": str(folder),
        "version": __version__,
    }


def score(network, params, preprocessing, dataset, rows):
    """Loss, and accuracy with the confusion matrix or R², on some rows of a data set; None without rows."""
    if not len(rows):
        return None
    x, y = preprocessing.x(dataset.x[rows]), preprocessing.y(dataset.target[rows])
    scored = {"loss": evaluate(network, params, x, y)["loss"]}
    a = predict(network, params, x)
    if dataset.task == "regression":
        return {**scored, "r2": metrics.score("r2", a, y)}
    from sklearn.metrics import confusion_matrix

    labels = range(len(preprocessing.classes))
    confusion = confusion_matrix(dataset.target[rows], metrics.predicted_class(a), labels=labels)
    return {**scored, "accuracy": metrics.score("accuracy", a, y), "classes": list(preprocessing.classes), "confusion": confusion.tolist()}


def load_run(path):
    """The `Model` of a run folder or a model file, with its `Preprocessing`."""
    path = Path(path)
    model = load(path / CHECKPOINT if path.is_dir() else path)
    if model.preprocessing is None:
        raise InvalidInput(f"{path}: a model without preprocessing, so its columns are unknown; use br.load and br.predict in Python")
    return model, Preprocessing.from_dict(model.preprocessing)


def _optimizer(training):
    if training.optimizer == "sgd":
        return SGD(training.learning_rate, training.momentum, training.nesterov, training.weight_decay)
    return Adam(training.learning_rate, training.beta1, training.beta2, training.epsilon, training.weight_decay)


def _schedule(training):
    schedules = {"step": Step(training.step_epochs, training.step_factor), "cosine": Cosine(training.minimum_factor)}
    return schedules.get(training.schedule, Constant())


def _check_output(path):
    """Refuses, before training, a results file that could not be written after it."""
    if path is not None and (Path(path).is_dir() or not os.access(Path(path).absolute().parent, os.W_OK)):
        raise InvalidInput(f"--output {path}: cannot be written; give a file in a folder that exists and that you may write to")


def _new_folder(asked, name):
    """Makes the run folder: the one asked for, if it holds nothing, else the next free ./runs/NAME-N."""
    try:
        if asked is not None:
            folder = Path(asked)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InvalidInput(f"--run-dir {asked}: not empty, and nothing is overwritten; give a new folder, or --resume {asked}")
            with tempfile.TemporaryFile(dir=folder):
                return folder
        number = 1
        while True:
            folder = Path("runs") / f"{name}-{number}"
            folder.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1
    except OSError as error:
        raise InvalidInput(f"run folder {error.filename or asked}: cannot be made or written to ({error.strerror}); give another --run-dir") from None


@contextlib.contextmanager
def _logged(folder, options):
    """A logger into the run folder's rotating file."""
    path = (folder / options.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InvalidInput(f"logging.file (--log-file) {options.file}: leads out of the run folder; give a relative path")
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=1_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.Logger(f"backprop_ref.run.{folder.name}", options.level)
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()


def _epoch_logger(log):
    """A callback that logs each epoch, where such detail is asked for."""
    if not log.isEnabledFor(logging.DEBUG):
        return None
    return lambda epoch: log.debug("epoch %d: %s", epoch.epoch, epoch.values)
