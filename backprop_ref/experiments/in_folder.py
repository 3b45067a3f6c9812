"""A training on a folder of data that is larger than memory: an `Experiment` whose parts are read in blocks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from backprop_ref import metrics
from backprop_ref.api import loss_and_outputs
from backprop_ref.asking import ask
from backprop_ref.backends import get_backend
from backprop_ref.blocks.folder import Folder, open_folder
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import suit
from backprop_ref.experiments.experiment import Experiment, described_by
from backprop_ref.experiments.schema import Config
from backprop_ref.metrics import scores

WITHOUT = ("header", "missing", "kinds", "missing_values", "decimal", "dates", "encoding", "sheet", "sample_weight",
           "validation_path", "folds", "fold")  # fmt: skip
"""What of tables a folder has not."""


def is_folder(data: Any) -> bool:
    """Whether a configuration's data are a folder."""
    return data.path is not None and Path(data.path).is_dir()


class FolderExperiment(Experiment):
    """An `Experiment` on blocks: its parts are those of a `Folder`, and x has no y beside it."""

    parts: Any

    def xy(self, part: str) -> tuple[Any, None]:
        return self.parts[part], None

    def weights(self, part: str) -> None:
        return None

    @property
    def class_weight(self) -> None:
        return None

    @property
    def validation(self) -> Any:
        return self.parts["validation"] if len(self.parts["validation"]) else None

    @property
    def metric(self) -> str | None:
        y = self.parts["train"].some_targets("float64")
        of_labels = metrics.metric_name(self.network, y) == "labels"
        return "accuracy" if of_labels and self.dataset.task == "classification" else None

    def scored(self, part: str, result: Any, backend: Any) -> Any:
        """The scores of a part, a block at a time; none of the rows to train on, which would take an epoch."""
        return None if part == "train" else self._by_blocks(self.parts[part], result.params, backend)

    def initial_loss(self, params: Any, backend: Any = None) -> float:
        """The loss of the first block to train on."""
        x, y = next(iter(self.parts["train"].each([0], params.dtype)))
        chosen = get_backend(backend)
        with chosen.scope():
            return loss_and_outputs(chosen, self.network, params, x, y)[0]

    def _by_blocks(self, part: Any, params: Any, backend: Any) -> dict[str, Any]:
        network, preparation, chosen = self.network, self.preprocessing, get_backend(backend)
        least, n = metrics.threshold(network), len(preparation.classes or ())
        loss, counts = 0.0, np.zeros((n, n), np.int64)
        squares: Any = 0.0
        absolute: Any = 0.0
        measured: Any = 0.0
        metric = metrics.chosen(self.metric, network, part.some_targets(params.dtype))
        for x, y in part.each(range(len(part.blocks)), params.dtype):
            with chosen.scope():
                of_block, a = loss_and_outputs(chosen, network, params, x, y)
            loss += of_block * len(x)
            if n:
                counts += scores.confusion(a, metrics.predicted_class(y), n, least)
                continue
            measured = measured + metrics.MEASURES[metric](a, y, least)
            apart = (np.asarray(a, np.float64) - y) * np.asarray(preparation.target_scale)
            squares = squares + (apart * apart).sum(axis=0)
            absolute = absolute + np.abs(apart).sum(axis=0)
        scored: dict[str, Any] = {"loss": loss / len(part)}
        if n:
            found, support = counts.diagonal(), counts.sum(axis=1)
            recall = np.where(support > 0, found / np.maximum(support, 1), 0.0)
            return {
                **scored,
                "accuracy": int(found.sum()) / len(part),
                "recall": recall.tolist(),
                "support": support.tolist(),
                "classes": list(preparation.classes or ()),
                "confusion": counts.tolist(),
            }
        errors = np.sqrt(squares / len(part)).tolist(), (absolute / len(part)).tolist()
        root, mean = errors if len(errors[0]) > 1 else (errors[0][0], errors[1][0])
        return {
            **scored,
            metrics.column_name(metric): part.scores(metric, np.atleast_1d(measured)[None].astype(float))[0].item(),
            "rmse": root,
            "mae": mean,
            "targets": list(preparation.target_names),
        }


def prepare_folder(config: Config, comm: Any = None, progress: bool | None = None) -> FolderExperiment:
    """Looks at all of a folder, splits and normalises it, and sizes the network; fills in what was left open."""
    data, network, training = config.data, config.network, config.training
    for key in WITHOUT:
        if getattr(data, key) is not None:
            raise InvalidInput(f"{ask(f'--{key}'.replace('_', '-'))} is not for a folder of data; leave it out")
    for value, flag in ((training.start, "--from"), (training.class_weight, "--class-weight"),
                        (config.trace.sinks, "--trace")):  # fmt: skip
        if value is not None:
            raise InvalidInput(f"{ask(flag)} is not for a folder of data, which is read in blocks; leave it out")
    if training.batch_size == "full" or training.optimizer == "lbfgs":
        flag = ask("--batch-size", "full") if training.batch_size == "full" else ask("--optimizer", "lbfgs")
        raise InvalidInput(f"{flag} takes all rows at once, and a folder's are read in blocks; leave it out")
    data.path = str(Path(data.path or "").absolute())
    folder = open_folder(
        data.path, data.target, task=data.task, drop=data.drop or (), id=data.id or (), block_rows=data.block_rows,
        comm=comm, progress=progress,
    )  # fmt: skip
    suit(config, "", folder.task)
    one_column = network.output_activation == "sigmoid" and network.loss not in {"cross_entropy", "ce"}
    found = folder.parts(
        test_size=data.test_size or 0.0,
        validation_size=data.validation_size,
        seed=data.seed or 0,
        normalize=data.normalize or "standardize",
        one_column=one_column,
        output=network.output_activation or "linear",
        readers=1 if data.readers is None else data.readers,
    )
    data.block_rows = folder.block_rows
    parts: dict[str, Any] = {part: () if rows is None else rows for part, rows in found.items()}
    described = described_by(config, parts["train"].preprocessing)
    dataset: Any = _Described(folder)
    return FolderExperiment(config, dataset, parts, parts["train"].preprocessing, *described)


class _Described(SimpleNamespace):
    """What an `Experiment` says of its data set, of a folder."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(
            name=folder.name, task=folder.task, classes=folder.classes, notes=tuple(folder.notes), weights=None
        )
