"""Classes with weights as attributes and a method that trains: their gradient from before and after one step."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case, Values
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, NotJudged, Refusal, run
from backprop_ref.conformance.submissions.conventions import Declared, Layout
from backprop_ref.conformance.submissions.functions import hidden
from backprop_ref.conformance.submissions.outline import STEPS
from backprop_ref.conformance.submissions.reading import BIASES, WEIGHTS, Unreadable, array, arrays, depth, number
from backprop_ref.conformance.submissions.separate import Separate, outline
from backprop_ref.conformance.submissions.settings import OUR_RATE, RATES
from backprop_ref.errors import InvalidInput

SIZES = ("sizes", "layer_sizes", "layers", "layer_dims", "dims", "shape", "architecture", "topology", "structure")
HIDDEN = ("hidden_layer_sizes", "hidden_sizes", "hidden_layers", "hidden_dims")
ONE_HIDDEN = ("hidden_size", "n_hidden", "hidden_dim", "num_hidden", "n_h", "hidden", "hidden_units")
INPUTS = ("n_in", "n_inputs", "input_size", "input_dim", "num_inputs", "n_x", "inputs", "n_features")
OUTPUTS = ("n_out", "n_outputs", "output_size", "output_dim", "num_outputs", "n_y", "outputs", "n_classes")
ONCE = ("epochs", "n_epochs", "max_iter", "n_iter", "num_epochs", "iterations", "num_iterations", "steps")
NOTHING = ("alpha", "l2", "momentum", "weight_decay", "lambda_", "lam", "reg", "regularization", "dropout", "decay")
QUIET = ("verbose", "shuffle", "early_stopping", "nesterovs_momentum", "warm_start")


class Model:
    """A class such as ``Net(sizes, learning_rate)``, with ``fit(x, y)`` or a method of that kind.

    Parameters
    ----------
    made : callable or Separate
        The class.
    declared : Declared
        Its learning rate has to be declared unless the class or its step takes one.
    time_limit : float
        Seconds for one step, if the class is in this process; a `Separate` has its own.
    """

    kind = "class"
    in_place = True
    takes_biases = True

    def __init__(self, made, declared=None, time_limit=TIME_LIMIT):
        self.function, self.declared, self.time_limit = made, declared or Declared(), time_limit
        self.learning_rate = self.declared.learning_rate
        self.name, _, taken, methods = outline(made)
        self.step_name = next((name for name in STEPS if name in methods), "")
        if not self.step_name:
            raise InvalidInput(
                f"class {self.name} has none of the methods {', '.join(STEPS)}; pass a function "
                "f(network, weights, biases, x, y) that returns (loss, dW, db)"
            )
        self.takes = [one for one in taken or [] if not one.kind.startswith("VAR")]
        self.step_takes = [one for one in methods[self.step_name] if not one.kind.startswith("VAR")]
        names = {one.name for one in (*self.takes, *self.step_takes)}
        if self.learning_rate is None and names & {*RATES, "learning_rate_init"} - {"alpha"}:
            self.learning_rate = OUR_RATE
        self.layout = Layout()
        self.transposed = False  # in square networks, the layout of W is that seen in others

    def restart(self, made):
        """Takes the class afresh; what was found out stays."""
        self.function = made

    def layouts(self, known):
        """The model's own attributes tell the layout of the weights; that of samples is tried."""
        return [layout for layout in known if (layout.weights, layout.biases) == ("in-out", "flat")]

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = False) -> Answer:
        """Makes the model, sets its weights, lets it make one step, and looks at its weights."""
        layout = layout or self.layout
        try:
            if case.da is not None or case.weight_decay:
                raise NotJudged("a class is asked for plain gradients only")
            step = self._step(case, layout)
            self.transposed = step.transposed
            values, slack = self._gradients(case, step.W, step.b)
            return Answer(values._replace(loss=step.loss), slack=slack)
        except NotJudged as reason:
            return Answer(left_out=str(reason))
        except (Refusal, Unreadable) as reason:
            return Answer(problem=str(reason))

    def _step(self, case, layout):
        known = self._known(case)
        question = {
            "method": self.step_name,
            "settings": self._settings(known),
            "sizes": case.network.sizes,
            "before": [list(case.params.W), list(case.params.b)],
            "samples": [layout.give_samples(case.x), layout.give_samples(case.y)],
            "keywords": {one.name: known[one.name] for one in self.step_takes[2:] if one.name in known},
            "transposed": self.transposed,
        }
        if isinstance(self.function, Separate):
            return _checked(self.function.step(**question))
        return run(one_step, self.function, limit=self.time_limit, **question)

    def _settings(self, known) -> dict[str, Any]:
        """Arguments for the constructor, by what their names say."""
        settings = {}
        for argument in self.takes:
            if argument.name in known:
                settings[argument.name] = known[argument.name]
            elif argument.name in ONE_HIDDEN:
                raise NotJudged(f"{self.name} has one hidden layer, by its argument '{argument.name}'")
            elif argument.needed:
                raise Refusal(
                    f"{self.name} needs the argument '{argument.name}', whose meaning is not known; "
                    f"known are {', '.join(SIZES[:3])}, hidden_sizes, n_in, n_out, activation, loss, learning_rate"
                )
        return settings

    def _known(self, case):
        sizes, activations = list(case.network.sizes), list(case.network.activations)
        known: dict[str, Any] = dict.fromkeys(SIZES, sizes)
        known |= dict.fromkeys(HIDDEN, sizes[1:-1])
        known |= dict.fromkeys(INPUTS, sizes[0]) | dict.fromkeys(OUTPUTS, sizes[-1])
        if len(sizes) == 3:
            known |= dict.fromkeys(ONE_HIDDEN, sizes[1])
        hidden = activations[0] if len(activations) > 1 else activations[-1]
        known |= {"network": case.network, "activations": activations, "loss": case.network.loss}
        known |= dict.fromkeys(("activation", "hidden_activation"), hidden)
        known |= dict.fromkeys(("output_activation", "out_activation"), activations[-1])
        known |= dict.fromkeys(ONCE, 1) | dict.fromkeys(NOTHING, 0.0) | dict.fromkeys(QUIET, False)
        known |= dict.fromkeys(("batch_size", "mini_batch_size"), len(case.x))
        known |= dict.fromkeys(("seed", "random_state"), 1) | {"solver": "sgd", "optimizer": "sgd"}
        rate = OUR_RATE if self.learning_rate is None else self.learning_rate
        rates = [name for name in (*RATES, "learning_rate_init") if name != "alpha"]
        takes_init = any(one.name == "learning_rate_init" for one in self.takes)
        return known | {name: rate for name in rates if not (takes_init and name == "learning_rate")}

    def _gradients(self, case, W, b):
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        u = float(np.finfo(case.params.dtype).eps) / 2
        lists: list[Any] = []
        slacks: list[Any] = []
        for before, after in ((case.params.W, W), (case.params.b, b)):
            if after is None:
                lists.append(None)
                slacks.append(None)
                continue
            if [part.shape for part in after] != [part.shape for part in before]:
                raise Refusal("the weights or biases have other shapes after the step")
            pairs = [(old.astype(np.float64), new.astype(np.float64)) for old, new in zip(before, after, strict=True)]
            lists.append([(old - new) / rate for old, new in pairs])
            slacks.append([hidden(old, new, u) / rate for old, new in pairs])
        return Values(dW=lists[0], db=lists[1]), Values(dW=slacks[0], db=slacks[1])


class Step(NamedTuple):
    """What one step of a model made of its weights."""

    loss: Any
    """What the step returned, if that is a number."""
    W: list[np.ndarray]
    b: list[np.ndarray] | None
    transposed: bool
    """Whether the model keeps W as (n_out, n_in)."""


def _checked(reply) -> Step:
    """A step of another process, which may have sent anything."""
    loss, W, b, transposed = (reply.get(name) for name in Step._fields)
    loss = None if loss is None else number(loss, "the loss")
    return Step(loss, arrays(W, "W"), None if b is None else arrays(b, "b"), bool(transposed))


def one_step(made, *, method, settings, sizes, before, samples, keywords, transposed) -> Step:
    """Makes a model, sets its weights, lets it make one step, and looks at its weights."""
    model = made(**settings)
    step = getattr(model, method)
    try:
        slots = Slots(model, sizes, transposed)
    except Unreadable:
        step(*(part.copy() for part in samples), **keywords)  # some make their weights when they first see data
        slots = Slots(model, sizes, transposed)
    slots.set(*before)
    result = step(*samples, **keywords)
    loss = number(result, "the loss") if depth(result) == 0 else None
    W, b = slots.get()
    return Step(loss, W, b, slots.transposed)


class Slots:
    """Where a model keeps its weights and biases, whatever they are called, and in which layout.

    Each place is a path from the model: attributes, keys and positions, one after the other. It is gone through anew
    each time, because a step may put new lists, dictionaries and arrays in the place of those it found.

    Raises
    ------
    Unreadable
        No attributes of the right shapes; the message lists those there are.
    """

    def __init__(self, model, sizes, transposed=False):
        self.model = model
        self.shapes = list(zip(sizes, sizes[1:], strict=False))
        self.weights = self._find(WEIGHTS, lambda W, n_in, n_out: W.shape in {(n_in, n_out), (n_out, n_in)})
        self.biases = self._find(BIASES, lambda part, _, n_out: part.size == n_out)
        if self.weights is None:
            there = [name for name in _entries(model) if not name.startswith("__")]
            raise Unreadable(
                f"no weights of shapes {self.shapes} among the attributes {', '.join(sorted(there)[:12])}; known are "
                "weights/biases, W/b, coefs_/intercepts_, W1, b1, W2, … and params['W1']; or pass a function"
            )
        layer = next((layer for layer, (n_in, n_out) in enumerate(self.shapes) if n_in != n_out), None)
        if layer is None:
            self.transposed = transposed
        else:
            self.transposed = self._array(self.weights[layer]).shape != self.shapes[layer]

    def set(self, W, b):
        """Writes our weights and biases into the model."""
        for path, value in zip(self.weights, W, strict=True):
            self._write(path, value.T if self.transposed else value)
        for path, value in zip(self.biases or [], b, strict=False):
            self._write(path, value.reshape(self._array(path).shape))

    def get(self):
        """The model's weights and biases, as they are at the time, in our layout."""
        W = [self._array(path) for path in self.weights]
        W = [part.T if self.transposed else part for part in W]
        b = None if self.biases is None else [self._array(path).reshape(-1) for path in self.biases]
        return [part.copy() for part in W], None if b is None else [part.copy() for part in b]

    def _find(self, names, fits):
        """A path for each layer, or None."""
        for paths in self._candidates(names):
            if len(paths) == len(self.shapes) and all(
                self._suits(path, shape, fits) for path, shape in zip(paths, self.shapes, strict=True)
            ):
                return paths
        return None

    def _candidates(self, names):
        """Lists of objects such as ``model.layers[0].W``, then lists of arrays, then one name for each layer."""
        attributes = _entries(self.model)
        for key, value in attributes.items():
            if isinstance(value, list | tuple) and all(hasattr(part, "__dict__") for part in value):
                for name in names:
                    yield [(key, layer, name) for layer, part in enumerate(value) if name in vars(part)]
        within = [(key,) for key, value in attributes.items() if isinstance(value, dict)]
        for start in [(), *within]:
            holder = _entries(self._at(start))
            for name in names:
                if isinstance(holder.get(name), list | tuple):
                    yield [(*start, name, layer) for layer in range(len(holder[name]))]
                if len(self.shapes) == 1 and name in holder:
                    yield [(*start, name)]
                for form, first in itertools.product(("{}{}", "{}_{}"), (1, 0)):
                    keys = [form.format(name, first + layer) for layer in range(len(self.shapes))]
                    yield [(*start, key) for key in keys if key in holder]

    def _suits(self, path, shape, fits):
        try:
            return fits(self._array(path), *shape)
        except Unreadable:
            return False

    def _at(self, path):
        """What a path leads to."""
        found = self.model
        for key in path:
            try:
                found = _entries(found)[key]
            except (LookupError, TypeError):
                name = ".".join(map(str, path))
                raise Unreadable(f"after the step there is no {name}, where its weights were before it") from None
        return found

    def _array(self, path):
        return array(self._at(path), "a weight")

    def _write(self, path, value):
        holder, key = _entries(self._at(path[:-1])), path[-1]
        if isinstance(holder, tuple):
            holder = list(holder)
            _entries(self._at(path[:-2]))[path[-2]] = holder
        there = holder[key]
        if isinstance(there, np.ndarray) and there.dtype == value.dtype and there.flags.writeable:
            there[...] = value
        elif isinstance(there, list):
            holder[key] = value.tolist()
        elif isinstance(there, np.ndarray):
            holder[key] = value.copy()
        else:
            raise Refusal(f"its weights are {type(there).__name__}, which cannot be set; pass a function")


def _entries(found):
    """A list or dictionary as it is, and the attributes of anything else that has some."""
    return found if isinstance(found, list | tuple | dict) or not hasattr(found, "__dict__") else vars(found)
