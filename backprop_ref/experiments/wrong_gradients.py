"""What a wrong gradient does: the 8-3-8 encoder trained with bugs of the catalogue, beside the right one."""

from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.textbook import RULES, predict, replaced
from backprop_ref.files import create, json_text, make_folder
from backprop_ref.network import Network
from backprop_ref.progress import Bar
from backprop_ref.report.ends import right_from
from backprop_ref.text import as_table

PATTERNS, EPOCHS, LEARNING_RATE = np.eye(8), 1500, 1.0
NETWORKS = {
    "softmax, cross-entropy": Network([8, 3, 8], ["sigmoid", "softmax"], "cross_entropy"),
    "sigmoid, squared error": Network([8, 3, 8], ["sigmoid", "sigmoid"], "sum_squared_error"),
}
RIGHT = "right"
CONCLUDED = {
    "softmax, cross-entropy": {
        RIGHT: "",
        "softmax-extra-derivative": "Cross-entropy is no faster than the squared error: it only needs patience.",
        "bias-in-weight-loop": "My own version learns faster than the textbook's.",
        "missing-mean": "This network learns eight times as fast; elsewhere the same step size diverges for no reason.",
        "derivative-at-activation": "It learns, a little slower at first: so the gradient must be right.",
    },
    "sigmoid, squared error": {
        RIGHT: "",
        "missing-two": "The squared error is too slow for this task.",
        "output-derivative-missing": "The squared error is as good as cross-entropy.",
    },
}
"""By network and id of a bug: what someone who sees only the curve would believe, and be wrong."""


class Curve(NamedTuple):
    """One training; its network is a key of `NETWORKS`, its bug an id, or 'right', for which the words are empty."""

    network: str
    bug: str
    text: str
    right: str
    wrong: str
    concluded: str
    distance: np.ndarray
    accuracy: np.ndarray

    @property
    def all_right_from_epoch(self):
        """The epoch from which on every pattern comes out; None if one does not in the last."""
        return right_from(self.accuracy)


def curves(epochs=EPOCHS, seed=1, progress=None):
    """Every training of `CONCLUDED`, by full batches and plain gradient descent from the same weights."""
    told = [(name, bug) for name, bugs in CONCLUDED.items() for bug in bugs]
    known = {bug.id: bug for bug in CATALOGUE}
    found = []
    with Bar("training", len(told), progress) as bar:
        for name, bug in told:
            about = known.get(bug)
            rules = RULES if about is None else replaced(about.variants[0])
            words = ("", "", "") if about is None else (about.text, about.right, about.wrong)
            distance, accuracy = _trained(NETWORKS[name], rules, epochs, seed)
            found.append(Curve(name, bug, *words, CONCLUDED[name][bug], distance, accuracy))
            bar.update(len(found))
    return found


def _trained(network, rules, epochs, seed):
    params = network.init(seed=seed, scheme="xavier", dtype="float64")
    case = Case("encoder", network, params, PATTERNS, PATTERNS)
    distances, shares = [], []
    with np.errstate(all="ignore"):
        for _ in range(epochs):
            seen = dict(_one_pass(case, rules))
            a = seen["a", network.n_layers - 1]
            distances.append(np.sum((a - PATTERNS) ** 2) / len(a))
            shares.append(np.mean(a.argmax(axis=1) == np.arange(len(a))))
            for layer in range(network.n_layers):
                params.W[layer][...] -= LEARNING_RATE * seen["dW", layer]
                params.b[layer][...] -= LEARNING_RATE * seen["db", layer]
    return np.array(distances), np.array(shares)


def _one_pass(case, rules):
    """What `predict` gives up to the gradients of the first layer, as pairs of (name, layer) and array."""
    for key, ball in predict(case, rules):
        yield key, ball.mid
        if key == ("db", 0):
            return


def rows(found):
    """The table: a row for each training."""
    return [
        {
            "network": curve.network,
            "bug": curve.bug,
            "what is wrong": curve.text,
            "right formula": curve.right,
            "wrong formula": curve.wrong,
            "all right from epoch": curve.all_right_from_epoch,
            "distance in the end": float(curve.distance[-1]),
            "one would wrongly conclude": curve.concluded,
        }
        for curve in found
    ]


def write(found, folder):
    """table.csv and table.json in a new folder; gives the folder."""
    folder, table = make_folder("--out", folder, "sweeps/wrong-gradients"), rows(found)
    create(folder / "table.csv", as_table(table))
    create(folder / "table.json", json_text(table) + "\n")
    return folder
