"""backprop-ref predict, evaluate and data: using what is trained, and what there is to train on."""

import math
from pathlib import Path

import numpy as np

from backprop_ref import metrics
from backprop_ref.api import predict as outputs_of
from backprop_ref.cli import show
from backprop_ref.data.columns import listed
from backprop_ref.data.named import BUNDLED, GENERATORS
from backprop_ref.data.tables import not_done, read_features, read_known, write_csv
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.experiment import score
from backprop_ref.experiments.run_folder import CONFIG, no_run_folder
from backprop_ref.experiments.runner import check_same_data, load_data, load_run, prepare
from backprop_ref.files import check_output

NO_CSV = {".xlsx", ".xls", ".ods", ".parquet", ".feather", ".json", ".jsonl", ".npy", ".npz", ".gz", ".zip"}
"""Endings of files of other kinds."""


def predict(run, data_path, output, proba, header, ids, encoding, sheet):
    """Writes one row per row of the table."""
    _check_output(output, data_path)
    model, preprocessing = load_run(run)
    if proba and preprocessing.classes is None:
        raise InvalidInput(f"--proba: {run} predicts numbers, not classes; leave it out")
    table = read_features(data_path, preprocessing, header, ids, encoding, sheet)
    done = np.setdiff1d(np.arange(len(table.x)), list(table.bad))
    if not len(done):
        raise InvalidInput(f"{data_path}: {not_done(table)}")
    a = outputs_of(model.network, model.params, preprocessing.x(table.x[done]))
    names, columns = [*table.ids], [*table.ids.values()]
    classes = preprocessing.classes
    for name, values in _predicted(preprocessing, a):
        names.append(name)
        columns.append(_spread(values, done, len(table.x)))
    if table.truth is not None:
        shown = [""] if classes is None else [*classes, ""]
        truths = table.truth.T if table.truth.ndim == 2 else [table.truth]
        for name, truth in zip(preprocessing.target_names, truths, strict=True):
            names.append(name)
            if classes is None:
                columns.append(["" if math.isnan(value) else value for value in truth.tolist()])
            else:
                columns.append(
                    [shown[k] if k >= 0 else told for k, told in zip(truth.tolist(), table.told or (), strict=True)]
                )
    if proba:
        names += [f"p_{label}" for label in classes]
        shares = np.concatenate([1.0 - a, a], axis=1) if a.shape[1] < len(classes) else a
        columns += [_spread(values, done, len(table.x)) for values in shares.T.tolist()]
    rows = zip(*columns, strict=True)
    if output is None:
        show.as_csv(names, rows)
    else:
        write_csv(output, names, rows, "--output")
        show.line(f"{len(a)} predictions: {output}", err=True)
    if table.bad:
        show.line(not_done(table), err=True)


def _check_output(output, data_path):
    check_output("--output", output)
    if output is not None and Path(output).suffix.lower() in NO_CSV:
        raise InvalidInput(f"--output {output}: predictions are written as CSV; name it .csv")
    if output is not None and Path(output).resolve() == Path(data_path).resolve():
        raise InvalidInput(f"--output {output}: that is the table itself; name another file")


def _predicted(preprocessing, a):
    """Name and values of each column of predictions."""
    if preprocessing.classes is not None:
        yield "prediction", np.array(preprocessing.classes)[metrics.predicted_class(a)].tolist()
    elif len(preprocessing.target_names) == 1:
        yield "prediction", preprocessing.values(a).tolist()
    else:
        for name, values in zip(preprocessing.target_names, preprocessing.values(a).T.tolist(), strict=True):
            yield f"prediction {name}", values


def _spread(values, rows, count):
    """Values of some rows as a column of all of them, blank elsewhere."""
    column = [""] * count
    for row, value in zip(rows.tolist(), values, strict=True):
        column[row] = value
    return column


def evaluate(run, data_path, header, encoding, sheet, as_json):
    """Prints the scores of a trained network."""
    model, preprocessing = load_run(run)
    if data_path is not None:
        dataset = read_known(data_path, preprocessing, header, encoding, sheet)
        for note in dataset.notes:
            show.line(note, err=True)
        part, rows = data_path, np.arange(len(dataset.x))
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


def columns(table, as_json, flags):
    """Prints the rules of a run, or those that training would make."""
    if (Path(table) / CONFIG).is_file():
        _, preprocessing = load_run(table)
        rules, targets = preprocessing.rules, preprocessing.target_names
        notes: tuple[str, ...] = ()
        if not rules:
            raise InvalidInput(f"{table}: its data were no table, so it has no rules")
    elif Path(table).is_dir():
        raise no_run_folder(table, "a table, or the folder of a run")
    else:
        dataset = load_data(merge({"--data-path": table, **flags}).data)
        rules, notes, targets = dataset.rules, dataset.notes, dataset.target_names
    if as_json:
        show.as_json({"columns": [rule.to_dict() for rule in rules], "target": list(targets), "notes": list(notes)})
        return
    for note in notes:
        show.say(note)
    rows = [(rule.name, _role(rule, targets), len(rule.features) if rule.name not in targets else "") for rule in rules]
    show.table(("column", "becomes", "features"), rows)


def _role(rule, targets):
    if rule.name not in targets:
        return rule.described()
    return f"target: {f'classes {listed(rule.values)}' if rule.kind == 'category' else rule.described()}"


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
