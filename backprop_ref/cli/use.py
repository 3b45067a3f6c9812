"""backprop-ref predict, evaluate and data: using what is trained, and what there is to train on."""

from pathlib import Path

import numpy as np

from backprop_ref import metrics
from backprop_ref.api import predict as outputs_of
from backprop_ref.cli import show
from backprop_ref.data.dataset import Dataset
from backprop_ref.data.named import BUNDLED, GENERATORS
from backprop_ref.data.tables import read_features, write_csv
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.run_folder import CONFIG
from backprop_ref.experiments.runner import check_same_data, load_data, load_run, prepare, score
from backprop_ref.files import check_output


def predict(run, data_path, output, proba, header):
    """Writes one row per row of the CSV file."""
    check_output("--output", output)
    model, preprocessing = load_run(run)
    if proba and preprocessing.classes is None:
        raise InvalidInput(f"--proba: {run} predicts numbers, not classes; leave it out")
    features, truth = read_features(data_path, preprocessing, header)
    a = outputs_of(model.network, model.params, preprocessing.x(features))
    names, columns = ["prediction"], []
    if preprocessing.classes is None:
        columns.append(preprocessing.values(a).tolist())
        named = None if truth is None else truth.tolist()
    else:
        classes = np.array(preprocessing.classes)
        columns.append(classes[metrics.predicted_class(a)].tolist())
        named = None if truth is None else classes[truth].tolist()
    if named is not None:
        names.append(preprocessing.target_name)
        columns.append(named)
    if proba:
        names += [f"p_{label}" for label in preprocessing.classes]
        columns += (np.concatenate([1.0 - a, a], axis=1) if a.shape[1] < len(preprocessing.classes) else a).T.tolist()
    rows = zip(*columns, strict=True)
    if output is None:
        show.as_csv(names, rows)
    else:
        write_csv(output, names, rows, "--output")
        show.line(f"{len(a)} predictions: {output}", err=True)


def evaluate(run, data_path, header, as_json):
    """Prints the scores of a trained network."""
    model, preprocessing = load_run(run)
    if data_path is not None:
        features, truth = read_features(data_path, preprocessing, header)
        if truth is None:
            raise InvalidInput(f"{data_path}: no column '{preprocessing.target_name}' with the truth; use predict")
        dataset = Dataset(
            Path(data_path).stem,
            features,
            truth,
            preprocessing.classes,
            preprocessing.feature_names,
            preprocessing.target_name,
        )
        part, rows = data_path, np.arange(len(features))
    else:
        if not (Path(run) / CONFIG).is_file():
            raise InvalidInput(f"{run}: not a run folder, so it has no test rows of its own; give --data-path FILE.csv")
        experiment = prepare(merge({}, Path(run) / CONFIG, environment=False, computing=False))
        check_same_data(run, experiment, model.params.dtype)
        part = "test" if len(experiment.parts["test"]) else "train"
        dataset, rows = experiment.dataset, experiment.parts[part]
    scored = score(model.network, model.params, preprocessing, dataset, rows)
    if as_json:
        show.as_json({"scored_on": part, "rows": len(rows), **scored})
    else:
        show.scores(part, scored)


def data(name, out, flags):
    """Lists the sets, describes one, or writes one as CSV."""
    if name is None:
        rows = [(kind, (function.__doc__ or "").splitlines()[0]) for kind, function in GENERATORS.items()]
        rows += [(kind, "real data, carried by scikit-learn") for kind in BUNDLED]
        show.table(("data set", "what it is"), rows)
        return
    dataset = load_data(merge({"--dataset": name, **flags}).data)
    if out is None:
        kind = f"{len(dataset.classes)} classes ({', '.join(dataset.classes[:10])})" if dataset.classes else "numbers"
        show.say(f"{name}: {len(dataset.x)} rows, {dataset.x.shape[1]} features, {kind}; write it with --out FILE.csv")
        return
    check_output("--out", out)
    target = dataset.target if dataset.classes is None else np.array(dataset.classes)[dataset.target]
    samples = zip(dataset.x.tolist(), target.tolist(), strict=True)
    write_csv(out, [*dataset.feature_names, dataset.target_name], ([*x, y] for x, y in samples), "--out")
    show.line(f"{len(dataset.x)} rows: {out}", err=True)
