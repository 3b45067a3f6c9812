"""Classes with weights as attributes and a method that trains: their gradient from before and after one step."""

import inspect
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Case, Values
from backprop_ref.conformance.conventions import Declared, Layout
from backprop_ref.conformance.reading import BIASES, WEIGHTS, Unreadable, array, depth, number
from backprop_ref.conformance.submission import OUR_RATE, RATES, TIME_LIMIT, Answer, NotJudged, Refusal, hidden, run
from backprop_ref.errors import InvalidInput

STEPS = ("partial_fit", "train_step", "train_on_batch", "train_batch", "step", "update", "fit", "train")
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
    made : callable
        The class.
    declared : Declared
        Its learning rate has to be declared unless the class or its step takes one.
    """

    kind = "class"
    in_place = True
    takes_biases = True

    def __init__(self, made, declared=None, time_limit=TIME_LIMIT):
        self.made, self.declared, self.time_limit = made, declared or Declared(), time_limit
        self.learning_rate = self.declared.learning_rate
        self.step_name = next((name for name in STEPS if callable(getattr(made, name, None))), None)
        if self.step_name is None:
            raise InvalidInput(
                f"class {made.__name__} has none of the methods {', '.join(STEPS)}; pass a function "
                "f(network, weights, biases, x, y) that returns (loss, dW, db)"
            )
        takes = {*_names(made), *_names(getattr(made, self.step_name))}
        if self.learning_rate is None and takes & {*RATES, "learning_rate_init"} - {"alpha"}:
            self.learning_rate = OUR_RATE
        self.layout = Layout()
        self.transposed = False  # in square networks, the layout of W is that seen in others

    def restart(self, made):
        """Takes the class afresh; what was found out stays."""
        self.made = made

    def layouts(self, known):
        """The model's own attributes tell the layout of the weights; that of samples is tried."""
        return [layout for layout in known if (layout.weights, layout.biases) == ("in-out", "flat")]

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = False) -> Answer:
        """Makes the model, sets its weights, lets it make one step, and looks at its weights."""
        layout = layout or self.layout
        try:
            if case.da is not None or case.weight_decay:
                raise NotJudged("a class is asked for plain gradients only")
            model = run(self.made, limit=self.time_limit, **self._settings(case))
            slots = self._slots(model, case, layout)
            slots.set(case.params.W, case.params.b)
            result = self._step(model, case, layout)
            W, b = slots.get()
            values, slack = self._gradients(case, W, b)
            loss = number(result, "the loss") if depth(result) == 0 else None
            return Answer(values._replace(loss=loss), slack=slack)
        except NotJudged as reason:
            return Answer(left_out=str(reason))
        except (Refusal, Unreadable) as reason:
            return Answer(problem=str(reason))

    def _settings(self, case) -> dict[str, Any]:
        """Arguments for the constructor, by what their names say."""
        known = self._known(case)
        settings = {}
        for parameter in _parameters(self.made):
            if parameter.name in known:
                settings[parameter.name] = known[parameter.name]
            elif parameter.name in ONE_HIDDEN:
                raise NotJudged(f"{self.made.__name__} has one hidden layer, by its argument '{parameter.name}'")
            elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                raise Refusal(
                    f"{self.made.__name__} needs the argument '{parameter.name}', whose meaning is not known; "
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
        takes_init = "learning_rate_init" in _names(self.made)
        return known | {name: rate for name in rates if not (takes_init and name == "learning_rate")}

    def _step(self, model, case, layout):
        method = getattr(model, str(self.step_name))
        x, y = layout.give_samples(case.x), layout.give_samples(case.y)
        known = self._known(case)
        keywords = {p.name: known[p.name] for p in _parameters(method)[2:] if p.name in known}
        return run(method, x, y, limit=self.time_limit, **keywords)

    def _slots(self, model, case, layout):
        try:
            slots = Slots(model, case.network.sizes, self.transposed)
        except Unreadable:
            self._step(model, case, layout)  # some models make their weights when they first see data
            slots = Slots(model, case.network.sizes, self.transposed)
        self.transposed = slots.transposed
        return slots

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
            pairs = [(old.astype(np.float64), new.astype(np.float64)) for old, new in zip(before, after, strict=True)]
            lists.append([(old - new) / rate for old, new in pairs])
            slacks.append([hidden(old, new, u) / rate for old, new in pairs])
        return Values(dW=lists[0], db=lists[1]), Values(dW=slacks[0], db=slacks[1])


class Slots:
    """Where a model keeps its weights and biases, whatever they are called, and in which layout.

    Raises
    ------
    Unreadable
        No attributes of the right shapes; the message lists those there are.
    """

    def __init__(self, model, sizes, transposed=False):
        self.shapes = list(zip(sizes, sizes[1:], strict=False))
        self.weights = self._find(model, WEIGHTS, lambda W, n_in, n_out: W.shape in {(n_in, n_out), (n_out, n_in)})
        self.biases = self._find(model, BIASES, lambda part, _, n_out: part.size == n_out)
        if self.weights is None:
            there = [name for name in vars(model) if not name.startswith("__")]
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
        for slot, value in zip(self.weights, W, strict=True):
            self._write(slot, value.T if self.transposed else value)
        for slot, value in zip(self.biases or [], b, strict=False):
            self._write(slot, value.reshape(self._array(slot).shape))

    def get(self):
        """The model's weights and biases in our layout."""
        W = [self._array(slot) for slot in self.weights]
        W = [part.T if self.transposed else part for part in W]
        b = None if self.biases is None else [self._array(slot).reshape(-1) for slot in self.biases]
        return [part.copy() for part in W], None if b is None else [part.copy() for part in b]

    def _find(self, model, names, fits):
        """(container, key) for each layer, or None."""
        attributes = vars(model) if hasattr(model, "__dict__") else {}
        for slots in self._in_layers(attributes, names):
            if all(self._suits(slot, shape, fits) for slot, shape in zip(slots, self.shapes, strict=True)):
                return slots
        for holder in [attributes, *(value for value in attributes.values() if isinstance(value, dict))]:
            for name in names:
                for slots in self._candidates(holder, name):
                    if len(slots) == len(self.shapes) and all(
                        self._suits(slot, shape, fits) for slot, shape in zip(slots, self.shapes, strict=True)
                    ):
                        return slots
        return None

    def _in_layers(self, attributes, names):
        """Slots in a list of objects, one for each layer, such as ``model.layers[0].W``."""
        for value in attributes.values():
            if isinstance(value, list | tuple) and all(hasattr(part, "__dict__") for part in value):
                for name in names:
                    slots = [(vars(part), name) for part in value if name in vars(part)]
                    if len(slots) == len(self.shapes):
                        yield slots

    def _candidates(self, holder, name):
        n = len(self.shapes)
        if isinstance(holder.get(name), list | tuple):
            kept = holder[name] if isinstance(holder[name], list) else list(holder[name])
            if kept is not holder[name]:
                holder[name] = kept
            yield [(kept, layer) for layer in range(len(kept))]
        if n == 1 and name in holder:
            yield [(holder, name)]
        for form in ("{}{}", "{}_{}"):
            for start in (1, 0):
                yield [(holder, key) for layer in range(n) if (key := form.format(name, start + layer)) in holder]

    def _suits(self, slot, shape, fits):
        try:
            return fits(self._array(slot), *shape)
        except Unreadable:
            return False

    @staticmethod
    def _array(slot):
        return array(slot[0][slot[1]], "a weight")

    @staticmethod
    def _write(slot, value):
        holder, key = slot
        there = holder[key]
        if isinstance(there, np.ndarray) and there.dtype == value.dtype and there.flags.writeable:
            there[...] = value
        elif isinstance(there, list):
            holder[key] = value.tolist()
        elif isinstance(there, np.ndarray):
            holder[key] = value.copy()
        else:
            raise Refusal(f"its weights are {type(there).__name__}, which cannot be set; pass a function")


def _parameters(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD} and p.name != "self"]


def _names(function):
    return [p.name for p in _parameters(function)]
