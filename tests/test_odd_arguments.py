"""What no argument should be: each public function says so in a line, and nothing inside fails on its own account."""

import contextlib
import inspect
import traceback
from pathlib import Path

import pytest
from sklearn.utils._param_validation import InvalidParameterError

import backprop_ref as br
from backprop_ref.sklearn import MLPClassifier

NETWORK = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
PARAMS = NETWORK.init(seed=1)
X, Y = [[0.0, 1.0], [1.0, 0.0]], [[1.0], [0.0]]
PAIR, BATCH = (NETWORK, PARAMS), (NETWORK, PARAMS, X, Y)
ARGUMENTS = {
    **dict.fromkeys(["evaluate", "trace", "value_and_grad", "vjp", "gradient_norms", "per_sample_gradients"], BATCH),
    **dict.fromkeys(["compare", "explain", "gradcheck", "input_gradients", "find_learning_rate", "train"], BATCH),
    "live": BATCH,
    **dict.fromkeys(["to_flax", "to_keras", "to_torch"], PAIR),
    **dict.fromkeys(["from_keras", "from_torch", "from_sklearn", "verify"], (None,)),
    **dict.fromkeys(
        ["load", "load_state", "from_onnx", "read_table", "report", "explorer", "reproduce", "open_folder"],
        ("missing",),
    ),
    **dict.fromkeys(["export", "to_onnx", "save"], ("made.onnx", *PAIR)),
    "predict": (*PAIR, X),
    "jvp": (*PAIR, X, PARAMS),
    "hvp": (*BATCH, PARAMS),
    "gauss_newton": (*BATCH, PARAMS),
    "dropout_masks": (NETWORK, 0.5, [0, 1]),
    "get_backend": ("numpy",),
    "load_dataset": ("xor",),
    "one_hot": ([0, 1],),
    "register_activation": ("odd", lambda m, z: z, lambda m, z, a, da: da),
    "run": (),
    "sweep": (),
    "from_flax": (None, NETWORK),
}
ODD = [None, 3, "", b"x", object(), [], {}, ".", "missing", "a\0b", [None]]
NOT_TRIED = {"progress", "time_limit", "callback", "schedule", "dtype", "name", "about"}
"""What may be anything, or is whatever has the right methods; of dtypes NumPy says what they may be."""
SLOW = ("compare", "train", "find_learning_rate", "explain", "gradcheck", "verify")


def test_every_function_is_tried():
    classes = {name for name in br.__all__ if isinstance(getattr(br, name), type)}
    assert {*br.__all__} - classes - {"__version__", "backends", "use"} == {*ARGUMENTS}


def quietly(function, *arguments, **keywords):
    """What went wrong in a call, other than that an argument was refused: the errors of Python's own that it made."""
    try:
        function(*arguments, **keywords)
    except br.BackpropRefError as error:
        return str(error) if "\n" in str(error) or not str(error) else None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{arguments[:1]} {keywords}: {error!r} ({Path(place.filename).name}, line {place.lineno})"
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.more if n in SLOW else ()) for n in sorted(ARGUMENTS)]
)
def test_odd_arguments_are_refused_in_a_line(name, own_folder):
    function, given = getattr(br, name), ARGUMENTS[name]
    more = list(inspect.signature(function).parameters.values())[len(given) :]
    optional = [each.name for each in more if each.default is not each.empty and each.name not in NOT_TRIED]
    wrong = []
    for odd in ODD:
        wrong += [quietly(function, *given[:place], odd, *given[place + 1 :]) for place in range(len(given))]
        wrong += [quietly(function, *given, **{keyword: odd}) for keyword in optional]
    assert [each for each in wrong if each] == []


@pytest.mark.filterwarnings("ignore")
def test_odd_parameters_of_estimators_are_refused_in_a_line(own_folder):
    def fitted(**said):
        with contextlib.suppress(InvalidParameterError):  # scikit-learn's own
            MLPClassifier(**{"max_iter": 1, **said}).fit(4 * X, [0, 1, 0, 1, 0, 1, 0, 1])

    names = {*MLPClassifier().get_params()} - {"verbose", "random_state", "dtype", "class_weight", "early_stopping"}
    wrong = [quietly(fitted, **{name: odd}) for name in sorted(names) for odd in ODD]
    assert [each for each in wrong if each] == []


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A folder of its own, in which calls may write."""
    monkeypatch.chdir(tmp_path)
