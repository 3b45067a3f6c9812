"""Whole scripts as tutorials write them, right or with one bug: functions that hand their results to each other, one
neuron that learns from one sample at a time, objects that go back by themselves, one sample as a column."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import truth
from .program import Planted, Program

Bug = tuple[str, str, tuple[int, ...], str, str]
"""Id, rule, layers, right text, wrong text."""


class Script(NamedTuple):
    """A right program, the bugs that can be put in, and its gradient beside that of its loss.

    Attributes
    ----------
    gradients : function ``(namespace) -> (vector, vector)``
        What the program computes and what is due, for it as it stands, by differences of its forward pass.
    """

    source: str
    name: str
    about: str
    bugs: list[Bug]
    gradients: Callable[[dict[str, Any]], tuple[np.ndarray, np.ndarray]]


def program(kind: str, seed: int, bug: bool) -> Program:
    """A script of a kind, with one of its bugs or none."""
    rng = random.Random(f"{kind} {seed}")
    script = KINDS[kind](rng)
    group = f"{kind}-{'wrong' if bug else 'right'}"
    if not bug:
        return Program(f"{group}-{seed}", group, script.source, script.name, "right", about=script.about)
    name, rule, layers, right, wrong = script.bugs[seed % len(script.bugs)]
    if right not in script.source:
        raise ValueError(f"{group}-{seed} has no '{right}'")
    source = script.source.replace(right, wrong)
    return Program(
        f"{group}-{seed}",
        group,
        source,
        script.name,
        "wrong",
        (Planted(name, rule, layers, ALSO.get(name, ())),),
        script.about,
    )


def is_right(made: Program) -> bool:
    """Whether a program's gradient is that of its forward pass with the loss that it is made for."""
    kind, seed = made.group.rpartition("-")[0], int(made.key.rpartition("-")[2])
    space: dict[str, Any] = {"__name__": "program"}
    exec(compile(made.source, "<program>", "exec"), space)
    found, due = KINDS[kind](random.Random(f"{kind} {seed}")).gradients(space)
    return found.shape == due.shape and bool(np.max(np.abs(found - due)) < 1e-5 * np.max(np.abs(due)))


def slopes(loss, arrays):
    """The derivatives of a loss by the entries of arrays, which it is given anew."""
    flat, shapes = np.concatenate([part.ravel() for part in arrays]), [part.shape for part in arrays]
    ends = np.cumsum([part.size for part in arrays])[:-1]

    def at(vector):
        return loss([part.reshape(shape) for part, shape in zip(np.split(vector, ends), shapes, strict=True)])

    return np.array([truth.slope_at_zero(lambda t, way=way: at(flat + t * way))[0] for way in np.eye(flat.size)])


def squared(p, y):
    return 0.5 * float(np.sum((p - y) ** 2))


def entropy(p, y):
    return -float(np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)))


def cross(p, y):
    return -float(np.sum(y * np.log(p)))


SLOPES = {"tanh": "1 - {a} ** 2", "sigmoid": "{a} * (1 - {a})", "relu": "({z} > 0)"}
WRONG_SLOPES = {
    "tanh": (("tanh-slope-linear", "1 - {a}"), ("tanh-slope-of-sigmoid", "{a} * (1 - {a})")),
    "sigmoid": (("activation-for-derivative", "{a}"), ("sigmoid-slope-of-tanh", "1 - {a} ** 2")),
    "relu": (("derivative-missing", "np.ones_like({z})"),),
}
VALUES = {"tanh": "np.tanh({z})", "sigmoid": "sigmoid({z})", "relu": "np.maximum({z}, 0)", "softmax": "softmax({z})"}

ALSO = {"derivative-missing": ("relu-mask-missing",)}
"""Other names of the same numbers."""

# ---- functions that hand their results to each other -----------------------------------------------------------------


class _Words:
    """What a script of several functions calls things, and how it lays them out; drawn at random.

    Parameters and gradients are a dictionary if `bundled`; else each is an argument of its own.
    """

    def __init__(self, rng):
        self.columns, self.depth, self.bundled = rng.random() < 0.5, rng.choice([2, 2, 3]), rng.random() < 0.6
        self.hidden = rng.choice(list(SLOPES))
        self.last, self.loss = rng.choice([("sigmoid", entropy), ("softmax", cross)])
        self.X, self.Y = rng.choice(["XY", "Xy", "xy"])
        self.P = rng.choice(["parameters", "params", "weights"])
        self.start = rng.choice(["initialize_parameters", "init_params", "initialise_weights"])
        self.forward = rng.choice(["forward_propagation", "forward_prop", "forward", "feed_forward", "model_forward"])
        self.backward = rng.choice(["backward_propagation", "backward_prop", "backprop", "compute_gradients"])
        self.cost = rng.choice(["compute_cost", "cost", "loss", "compute_loss"])
        self.update = rng.choice(["update_parameters", "update_params", "update"])
        self.train = rng.choice(["nn_model", "train", "fit", "gradient_descent"])
        self.rate, self.times = rng.choice(["learning_rate", "lr", "alpha"]), rng.choice(["num_iterations", "epochs"])
        self.sizes, self.dot = (
            rng.choice(["layer_dims", "sizes", "layers"]),
            rng.choice(["np.dot({}, {})", "({} @ {})"]),
        )
        self.layers, self.axis = range(1, self.depth + 1), int(self.columns)
        self.names = ", ".join(f"W{k}, b{k}" for k in self.layers)
        self.steps = ", ".join(f"dW{k}, db{k}" for k in self.layers)
        self.made = ", ".join(f"Z{k}, A{k}" for k in self.layers)
        self.order, self.end = self.names.split(", "), f"A{self.depth}"
        used = ", ".join([*(f"Z{k}, A{k}" for k in self.layers), *(f"W{k}" for k in self.layers if k > 1)])
        bundles = rng.choice([f"{self.P}, cache, {self.X}, {self.Y}", f"{self.X}, {self.Y}, {self.P}, cache"])
        self.takes = bundles if self.bundled else f"{self.X}, {self.Y}, {used}"
        self.holds = self.P if self.bundled else self.names
        self.name = rng.choice([self.backward, self.backward, self.update, self.train])

    def input(self, layer):
        """What a layer reads."""
        return self.X if layer == 1 else f"A{layer - 1}"

    def times_of(self, left, right):
        """The product that is left·right for samples in columns, and right·left in rows."""
        return self.dot.format(*((left, right) if self.columns else (right, left)))

    def summed(self, what):
        """The sum over the samples."""
        return f"np.sum({what}, axis={self.axis}, keepdims=True)"

    def bundle(self, names):
        """Names as a dictionary, or as they are."""
        return "{" + ", ".join(f'"{one}": {one}' for one in names.split(", ")) + "}" if self.bundled else names

    def opened(self, holder, names):
        """The lines that take names out of a dictionary; none where there is none."""
        return [f'    {one} = {holder}["{one}"]' for one in names.split(", ")] if self.bundled else []


def _forward_text(o):
    across = 1 - o.axis
    yield from ("import numpy as np", "", "", "def sigmoid(z):", "    return 1 / (1 + np.exp(-z))", "", "")
    yield from ("def softmax(z):", f"    e = np.exp(z - z.max(axis={across}, keepdims=True))")
    yield from (f"    return e / e.sum(axis={across}, keepdims=True)", "", "")
    yield from (f"def {o.start}({o.sizes}):", "    rng = np.random.default_rng(2)")
    for k in o.layers:
        shape = [f"{o.sizes}[{k - 1}]", f"{o.sizes}[{k}]"][:: -1 if o.columns else 1]
        bias = ["1", f"{o.sizes}[{k}]"][:: -1 if o.columns else 1]
        yield f"    W{k} = rng.normal(size=({', '.join(shape)}))"
        yield f"    b{k} = np.zeros(({', '.join(bias)}))"
    yield from (f"    return {o.bundle(o.names)}", "", "")
    yield f"def {o.forward}({o.X}, {o.holds}):"
    yield from o.opened(o.P, o.names)
    for k in o.layers:
        yield f"    Z{k} = {o.times_of(f'W{k}', o.input(k))} + b{k}"
        yield f"    A{k} = {VALUES[o.last if k == o.depth else o.hidden].format(z=f'Z{k}')}"
    yield from (
        [f"    cache = {o.bundle(o.made)}", f"    return {o.end}, cache"] if o.bundled else [f"    return {o.made}"]
    )
    terms = f"{o.Y} * np.log({o.end})" + (f" + (1 - {o.Y}) * np.log(1 - {o.end})" if o.loss is entropy else "")
    yield from ("", "", f"def {o.cost}({o.end}, {o.Y}):", f"    m = {o.Y}.shape[{o.axis}]")
    yield from (f"    return -np.sum({terms}) / m", "", "")


def _backward_text(o):
    yield from (f"def {o.backward}({o.takes}):", f"    m = {o.X}.shape[{o.axis}]")
    yield from o.opened("cache", o.made)
    yield from o.opened(o.P, ", ".join(f"W{k}" for k in o.layers))
    yield f"    dZ{o.depth} = {o.end} - {o.Y}"
    for k in reversed(o.layers):
        left = f"{o.input(k)}.T"
        yield f"    dW{k} = {o.times_of(f'dZ{k}', left)} / m"
        yield f"    db{k} = {o.summed(f'dZ{k}')} / m"
        if k > 1:
            slope = SLOPES[o.hidden].format(a=f"A{k - 1}", z=f"Z{k - 1}")
            yield f"    dZ{k - 1} = {o.times_of(f'W{k}.T', f'dZ{k}')} * ({slope})"
    yield from (f"    return {o.bundle(o.steps)}", "", "")
    yield f"def {o.update}({f'{o.P}, grads' if o.bundled else f'{o.names}, {o.steps}'}, {o.rate}):"
    yield from (*o.opened(o.P, o.names), *o.opened("grads", o.steps))
    yield from (f"    {one} = {one} - {o.rate} * d{one}" for one in o.order)
    yield from (f"    return {o.bundle(o.names)}", "", "")
    yield f"def {o.train}({o.X}, {o.Y}, {o.sizes}, {o.rate}=0.5, {o.times}=1000):"
    yield from (f"    {o.holds} = {o.start}({o.sizes})", f"    for i in range({o.times}):")
    grads, passed = ("grads", f"{o.end}, cache") if o.bundled else (o.steps, o.made)
    yield f"        {passed} = {o.forward}({o.X}, {o.holds})"
    yield f"        {grads} = {o.backward}({o.takes})"
    yield from (f"        {o.holds} = {o.update}({o.holds}, {grads}, {o.rate})", f"    return {o.holds}")


def steps(rng) -> Script:
    """Initialisation, forward pass, cost, backward pass, update and training, each a function of its own."""
    o = _Words(rng)

    def gradients(space):
        W, b, x, y = _inputs(o.columns, o.depth, 4)
        arrays = [part for pair in zip(W, b, strict=True) for part in pair]
        given = dict(zip(o.order, arrays, strict=True))
        held = [given] if o.bundled else arrays

        def loss(arrays):
            got = space[o.forward](x, *([dict(zip(o.order, arrays, strict=True))] if o.bundled else arrays))
            return o.loss(got[0 if o.bundled else -1], y) / 4

        due = slopes(loss, arrays)
        if o.name == o.train:
            space[o.start] = lambda *_: dict(given) if o.bundled else tuple(arrays)
            new = space[o.train](x, y, None, **{o.rate: 0.5, o.times: 1})
            return _vector(arrays, new, o.order, 0.5), due
        values = space[o.forward](x, *held)
        known = given | {o.P: given, "cache": values[1], o.X: x, o.Y: y}
        known |= {} if o.bundled else dict(zip(o.made.split(", "), values, strict=True))
        grads = space[o.backward](**{key: known[key] for key in o.takes.split(", ")})
        if o.name == o.update:
            new = space[o.update](*held, *([grads] if o.bundled else grads), 0.5)
            return _vector(arrays, new, o.order, 0.5), due
        parts = [grads[f"d{key}"] for key in o.order] if o.bundled else grads
        return np.concatenate([np.ravel(part) for part in parts]), due

    about = f"{o.depth} layers {o.hidden},{o.last}, {'columns' if o.columns else 'rows'}"
    text = "\n".join([*_forward_text(o), *_backward_text(o)]) + "\n"
    return Script(text, o.name, about, _bugs_of_steps(o), gradients)


def _vector(arrays, new, order, rate):
    new = [new[key] for key in order] if isinstance(new, dict) else new
    return np.concatenate([((old - one) / rate).ravel() for old, one in zip(arrays, new, strict=True)])


def _inputs(columns, depth, batch):
    rng = np.random.default_rng(depth)
    sizes = (3, 4, 5, 2)[:depth] + (2,)
    W = [rng.normal(size=pair) for pair in zip(sizes, sizes[1:], strict=False)]
    b = [rng.normal(size=(1, n)) for n in sizes[1:]]
    x, y = rng.normal(size=(batch, sizes[0])), np.eye(sizes[-1])[rng.integers(0, sizes[-1], batch)]
    if not columns:
        return W, b, x, y
    return [part.T.copy() for part in W], [part.T for part in b], x.T.copy(), y.T.copy()


def _bugs_of_steps(o) -> list[Bug]:
    every, depth = tuple(range(o.depth)), o.depth
    found: list[Bug] = []
    for name, wrong in WRONG_SLOPES[o.hidden]:
        names = {"a": f"A{depth - 1}", "z": f"Z{depth - 1}"}
        right = f"* ({SLOPES[o.hidden].format(**names)})"
        found.append((name, "slope", (depth - 2,), right, f"* ({wrong.format(**names)})"))
    summed, error = o.summed(f"dZ{depth}"), f"= {o.end} - {o.Y}"
    found.append(("bias-sum", "db", every[-1:], f"{summed} / m", summed))
    found.append(("bias-all-equal", "db", every[:1], o.summed("dZ1"), "np.sum(dZ1)"))
    found.append(("sign", "factor", every, error, f"= {o.Y} - {o.end}"))
    if o.last == "sigmoid":
        found.append(
            ("sigmoid-extra-derivative", "output", every[-1:], error, f"= ({error[2:]}) * {o.end} * (1 - {o.end})")
        )
    if o.hidden != "relu":
        found.append(("z-for-activation", "dW", every[-1:], f"A{depth - 1}.T", f"Z{depth - 1}.T"))
    if o.name != o.backward:
        found.append(("bias-zero", "db", every[:1], f"b1 = b1 - {o.rate} * db1", "b1 = b1"))
        found.append(("sign", "factor", every, f" - {o.rate} * d", f" + {o.rate} * d"))
    return found


# ---- one neuron ------------------------------------------------------------------------------------------------------


def neuron(rng) -> Script:
    """A class with a vector of weights and a bias, which takes one sample of its data for a step, or each in turn."""
    n = rng.choice([2, 3, 4])
    activation = rng.choice(["sigmoid", "sigmoid", "tanh"])
    x, y = rng.choice([("input_vectors", "targets"), ("X", "y"), ("inputs", "labels"), ("xs", "ys")])
    one, label = rng.choice([("input_vector", "target"), ("xi", "yi"), ("x", "t")])
    weights, bias = rng.choice([("weights", "bias"), ("w", "b")])
    rate = rng.choice(["learning_rate", "lr", "eta"])
    times = rng.choice(["iterations", "n_iter", "epochs"])
    train = rng.choice(["train", "fit"])
    half = rng.random() < 0.4
    value = {"sigmoid": "1 / (1 + np.exp(-z))", "tanh": "np.tanh(z)"}[activation]
    slope = SLOPES[activation].format(a="p", z="z")
    picks = {
        "randint": [f"            k = np.random.randint(len({x}))", f"            self._step({x}[k], {y}[k])"],
        "random": [f"            k = random.randrange(len({x}))", f"            self._step({x}[k], {y}[k])"],
        "choice": [f"            k = np.random.choice(len({x}))", f"            self._step({x}[k], {y}[k])"],
        "seeded": [f"            k = self.rng.integers(len({x}))", f"            self._step({x}[k], {y}[k])"],
        "shuffled": [
            f"            for k in np.random.permutation(len({x})):",
            f"                self._step({x}[k], {y}[k])",
        ],
        "in turn": [f"            for {one}, {label} in zip({x}, {y}):", f"                self._step({one}, {label})"],
    }
    how = rng.choice(list(picks))
    error = f"p - {label}" if half else f"2 * (p - {label})"
    text = [
        *("import random", "", "import numpy as np", "", "", "class Neuron:"),
        f"    def __init__(self, {rate}):",
        f"        self.{weights} = np.array([{', '.join(['np.random.randn()'] * n)}])",
        *(f"        self.{bias} = np.random.randn()", f"        self.{rate} = {rate}"),
        *("        self.rng = np.random.default_rng(3)", ""),
        *(f"    def _{activation}(self, z):", f"        return {value}", ""),
        f"    def predict(self, {one}):",
        f"        return self._{activation}(np.dot({one}, self.{weights}) + self.{bias})",
        *("", f"    def _gradients(self, {one}, {label}):"),
        *(f"        z = np.dot({one}, self.{weights}) + self.{bias}", f"        p = self._{activation}(z)"),
        *(f"        d_error = {error}", f"        d_z = d_error * ({slope})"),
        *(f"        return d_z, d_z * {one}", ""),
        f"    def _step(self, {one}, {label}):",
        f"        d_bias, d_weights = self._gradients({one}, {label})",
        f"        self.{bias} = self.{bias} - d_bias * self.{rate}",
        f"        self.{weights} = self.{weights} - d_weights * self.{rate}",
        *("", f"    def {train}(self, {x}, {y}, {times}):"),
        *("        errors = []", f"        for i in range({times}):", *picks[how]),
        *("            if i % 100 == 0:",),
        f"                errors.append(sum((self.predict(v) - t) ** 2 for v, t in zip({x}, {y})))",
        "        return errors",
    ]
    wrong = WRONG_SLOPES[activation][0]
    bugs: list[Bug] = [
        (wrong[0], "slope", (0,), f"d_error * ({slope})", f"d_error * ({wrong[1].format(a='p', z='z')})"),
        ("sign", "factor", (0,), f"d_error = {error}", f"d_error = {error.replace(f'p - {label}', f'{label} - p')}"),
        ("sign", "factor", (0,), "- d_", "+ d_"),
        ("bias-zero", "db", (0,), f"self.{bias} - d_bias * self.{rate}", f"self.{bias}"),
        ("weights-for-input", "dW", (0,), f"return d_z, d_z * {one}", f"return d_z, d_z * self.{weights}"),
    ]

    if activation == "tanh":  # of a sigmoid, it is right for a cross-entropy
        bugs.append(("output-derivative-missing", "output", (0,), f"d_error * ({slope})", "d_error"))

    def gradients(space):
        rng = np.random.default_rng(n)
        made = space["Neuron"](0.1)
        before = [rng.normal(size=n), np.array(0.3)]
        v, t = rng.normal(size=n), 0.7
        setattr(made, weights, before[0].copy())
        setattr(made, bias, 0.3)
        getattr(made, train)(v[None], np.array([t]), 1)
        after = [getattr(made, weights), getattr(made, bias)]

        def loss(arrays):
            setattr(made, weights, arrays[0])
            setattr(made, bias, float(arrays[1]))
            return (1.0 if half else 2.0) * squared(made.predict(v), t)

        found = np.concatenate([np.ravel((old - new) / 0.1) for old, new in zip(before, after, strict=True)])
        return found, slopes(loss, before)

    return Script("\n".join(text) + "\n", "Neuron", f"{n}-1 {activation}, {how}", bugs, gradients)


# ---- objects that go back by themselves ------------------------------------------------------------------------------

VALUE = """
import math
import random


class Value:
    def __init__(self, data, parents=()):
        self.data = data
        self.grad = 0.0
        self._backward = lambda: None
        self._parents = parents

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))

        def back():
            self.grad += out.grad
            other.grad += out.grad

        out._backward = back
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other))

        def back():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out._backward = back
        return out

    def __pow__(self, n):
        out = Value(self.data ** n, (self,))

        def back():
            self.grad += n * self.data ** (n - 1) * out.grad

        out._backward = back
        return out

    def act(self):
        a = VALUE_OF
        out = Value(a, (self,))

        def back():
            self.grad += (SLOPE_OF) * out.grad

        out._backward = back
        return out

    def backward(self):
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for parent in v._parents:
                    visit(parent)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            v._backward()

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + (-other)

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other


class Neuron:
    def __init__(self, n_in, last):
        self.w = [Value(random.uniform(-1, 1)) for _ in range(n_in)]
        self.b = Value(0.0)
        self.last = last

    def __call__(self, x):
        z = sum((w * v for w, v in zip(self.w, x)), self.b)
        return z.act() if END else z

    def parameters(self):
        return self.w + [self.b]


class Layer:
    def __init__(self, n_in, n_out, last):
        self.neurons = [Neuron(n_in, last) for _ in range(n_out)]

    def __call__(self, x):
        out = [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for n in self.neurons for p in n.parameters()]


class MLP:
    def __init__(self, TAKES):
        sizes = SIZES
        self.layers = [Layer(sizes[i], sizes[i + 1], i == len(sizes) - 2) for i in range(len(sizes) - 1)]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x) if isinstance(x, list) else layer([x])
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]
"""


def objects(rng) -> Script:
    """Numbers that keep how they were made, and neurons and layers of them."""
    activation = rng.choice(list(SLOPES))
    values = {
        "tanh": "math.tanh(self.data)",
        "sigmoid": "1 / (1 + math.exp(-self.data))",
        "relu": "max(0.0, self.data)",
    }
    slopes_of = {"tanh": "1 - a ** 2", "sigmoid": "a * (1 - a)", "relu": "a > 0"}
    always = activation != "relu" and rng.random() < 0.5
    takes, sizes = rng.choice(
        [("sizes", "sizes"), ("nin, nouts", "[nin] + nouts"), ("n_in, layers", "[n_in] + layers")][:2]
    )
    names = rng.choice([{}, {"Value": "Scalar", "MLP": "Net"}, {"Value": "Var", "Neuron": "Unit", "neurons": "units"}])
    source = VALUE.lstrip().replace("VALUE_OF", values[activation]).replace("SLOPE_OF", slopes_of[activation])
    source = source.replace("TAKES", takes).replace("= SIZES", f"= {sizes}")
    source = source.replace("z.act() if END else z", "z.act()" if always else "z if self.last else z.act()")
    for old, new in names.items():
        source = source.replace(old, new)
    name, slope = names.get("MLP", "MLP"), f"({slopes_of[activation]})"
    layers = (0, 1) if always else (0,)
    wrong = {"tanh": ("tanh-slope-linear", "(1 - a)"), "sigmoid": ("activation-for-derivative", "(a)")}
    wrong_slope = wrong.get(activation, ("derivative-missing", "(1.0)"))
    bugs: list[Bug] = [
        (wrong_slope[0], "slope", layers, slope, wrong_slope[1]),
        ("overwritten-sum", "carry", (0,), "self.grad += other.data * out.grad\n            other.grad += ",
         "self.grad = other.data * out.grad\n            other.grad = "),
        ("missing-two", "factor", (0, 1), "n * self.data **", "self.data **"),
    ]  # fmt: skip

    def gradients(space):
        random.seed(5)
        model = space[name](*(([3, 4, 2],) if takes == "sizes" else (3, [4, 2])))
        rng = np.random.default_rng(2)
        x, y, all_of = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), model.parameters()

        def total():
            parts = [
                (p - t) ** 2
                for v, row in zip(x.tolist(), y.tolist(), strict=True)
                for p, t in zip(model(v), row, strict=True)
            ]
            return sum(parts[1:], parts[0])

        total().backward()
        found = np.array([p.grad for p in all_of])
        start = [np.array(p.data) for p in all_of]

        def loss(arrays):
            for p, value in zip(all_of, arrays, strict=True):
                p.data = float(value)
            return sum(
                (p.data - t) ** 2
                for v, row in zip(x.tolist(), y.tolist(), strict=True)
                for p, t in zip(model(v), row, strict=True)
            )

        return found, slopes(loss, start)

    return Script(source, name, f"{activation}, {'all' if always else 'hidden'} layers", bugs, gradients)


# ---- one sample as a column ------------------------------------------------------------------------------------------


def column(rng) -> Script:
    """A function of lists of weights and biases, and of one sample, all columns."""
    activation = rng.choice(["sigmoid", "tanh"])
    value = VALUES[activation].replace("{z}", "z")
    x, y = rng.choice([("x", "y"), ("x", "t"), ("a0", "target")])
    has_loss = rng.random() < 0.5
    order = rng.choice([f"{x}, {y}, weights, biases", f"weights, biases, {x}, {y}"])
    slope = SLOPES[activation]
    text = [
        *("import numpy as np", "", "", "def sigmoid(z):", "    return 1 / (1 + np.exp(-z))", "", ""),
        *(f"def backprop({order}):", f"    activations, zs = [{x}], []"),
        *("    for w, b in zip(weights, biases):", "        z = np.dot(w, activations[-1]) + b"),
        *("        zs.append(z)", f"        activations.append({value})"),
        *("    nabla_w = [np.zeros(w.shape) for w in weights]", "    nabla_b = [np.zeros(b.shape) for b in biases]"),
        f"    delta = (activations[-1] - {y}) * ({slope.format(a='activations[-1]', z='zs[-1]')})",
        *("    nabla_b[-1] = delta", "    nabla_w[-1] = np.dot(delta, activations[-2].T)"),
        "    for l in range(2, len(weights) + 1):",
        f"        delta = np.dot(weights[-l + 1].T, delta) * ({slope.format(a='activations[-l]', z='zs[-l]')})",
        *("        nabla_b[-l] = delta", "        nabla_w[-l] = np.dot(delta, activations[-l - 1].T)"),
    ]
    if has_loss:
        text += [f"    loss = 0.5 * np.sum((activations[-1] - {y}) ** 2)", "    return loss, nabla_w, nabla_b"]
    else:
        text += [rng.choice(["    return nabla_b, nabla_w", "    return nabla_w, nabla_b"])]
    inner = f"* ({slope.format(a='activations[-l]', z='zs[-l]')})"
    name, wrong = WRONG_SLOPES[activation][rng.randrange(2)]
    bugs: list[Bug] = [
        (name, "slope", (0,), inner, f"* ({wrong.format(a='activations[-l]', z='zs[-l]')})"),
        ("derivative-missing", "slope", (0,), inner, ""),
        ("output-derivative-missing", "output", (1,), f" * ({slope.format(a='activations[-1]', z='')})", ""),
        ("z-for-activation", "dW", (1,), "activations[-2].T", "zs[-2].T"),
        ("bias-zero", "db", (0,), "        nabla_b[-l] = delta\n", ""),
    ]  # fmt: skip

    def gradients(space):
        W, b, v, t = _inputs(True, 2, 1)
        given = {"weights": W, "biases": b, x: v, y: t}
        got = space["backprop"](**{key: given[key] for key in order.split(", ")})
        lists = got[-2:] if has_loss or "nabla_w, nabla_b" in text[-1] else got[::-1]
        found = np.concatenate([part.ravel() for pair in zip(*lists, strict=True) for part in pair])

        def loss(arrays):
            a = v
            for w, c in zip(arrays[::2], arrays[1::2], strict=True):
                a = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}[activation](w @ a + c)
            return squared(a, t)

        return found, slopes(loss, [part for pair in zip(W, b, strict=True) for part in pair])

    return Script("\n".join(text) + "\n", "backprop", activation, bugs, gradients)


KINDS: dict[str, Callable[[Any], Script]] = {"steps": steps, "neuron": neuron, "objects": objects, "column": column}
