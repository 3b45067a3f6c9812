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


def steps(rng) -> Script:
    """Initialisation, forward pass, cost, backward pass, update and training, each a function of its own."""
    columns, depth = rng.random() < 0.5, rng.choice([2, 2, 3])
    hidden, (last, loss) = rng.choice(list(SLOPES)), rng.choice([("sigmoid", entropy), ("softmax", cross)])
    bundled = rng.random() < 0.6
    X, Y = rng.choice(["XY", "Xy", "xy"])
    P = rng.choice(["parameters", "params", "weights"])
    start = rng.choice(["initialize_parameters", "init_params", "initialise_weights"])
    forward = rng.choice(["forward_propagation", "forward_prop", "forward", "feed_forward", "model_forward"])
    backward = rng.choice(["backward_propagation", "backward_prop", "backward", "backprop", "compute_gradients"])
    cost = rng.choice(["compute_cost", "cost", "loss", "compute_loss"])
    update = rng.choice(["update_parameters", "update_params", "update"])
    train = rng.choice(["nn_model", "train", "fit", "gradient_descent"])
    rate, times = rng.choice(["learning_rate", "lr", "alpha"]), rng.choice(["num_iterations", "epochs", "iterations"])
    layers = range(1, depth + 1)
    dot = rng.choice(["np.dot({}, {})", "{} @ {}"])
    axis = 1 if columns else 0
    m = f"{X}.shape[{axis}]"
    names = ", ".join(f"W{k}, b{k}" for k in layers)
    steps_of = ", ".join(f"dW{k}, db{k}" for k in layers)
    made = ", ".join(f"Z{k}, A{k}" for k in layers)
    keys = lambda names: "{" + ", ".join(f'"{name}": {name}' for name in names.split(", ")) + "}"  # noqa: E731
    opened = lambda holder, names: [f'    {name} = {holder}["{name}"]' for name in names.split(", ")]  # noqa: E731
    sum_of = f"np.sum({{}}, axis={axis}, keepdims=True)"
    text = ["import numpy as np", "", "", "def sigmoid(z):", "    return 1 / (1 + np.exp(-z))", "", ""]
    text += ["def softmax(z):", f"    e = np.exp(z - z.max(axis={1 - axis}, keepdims=True))"]
    text += [f"    return e / e.sum(axis={1 - axis}, keepdims=True)", "", ""]
    sizes = rng.choice(["layer_dims", "sizes", "layers"])
    text += [f"def {start}({sizes}):", "    rng = np.random.default_rng(2)"]
    for k in layers:
        shape = f"{sizes}[{k}], {sizes}[{k - 1}]" if columns else f"{sizes}[{k - 1}], {sizes}[{k}]"
        bias = f"({sizes}[{k}], 1)" if columns else f"(1, {sizes}[{k}])"
        text += [f"    W{k} = rng.normal(size=({shape}))", f"    b{k} = np.zeros({bias})"]
    text += [f"    return {keys(names) if bundled else names}", "", ""]
    holds = P if bundled else names
    text += [f"def {forward}({X}, {holds}):", *(opened(P, names) if bundled else [])]
    for k in layers:
        a = X if k == 1 else f"A{k - 1}"
        text += [f"    Z{k} = {dot.format(*((f'W{k}', a) if columns else (a, f'W{k}')))} + b{k}"]
        text += [f"    A{k} = {VALUES[last if k == depth else hidden].format(z=f'Z{k}')}"]
    text += [f"    cache = {keys(made)}", f"    return A{depth}, cache"] if bundled else [f"    return {made}"]
    end = f"A{depth}"
    terms = f"{Y} * np.log({end})" + (f" + (1 - {Y}) * np.log(1 - {end})" if loss is entropy else "")
    text += [
        "",
        "",
        f"def {cost}({end}, {Y}):",
        f"    m = {Y}.shape[{axis}]",
        f"    return -np.sum({terms}) / m",
        "",
        "",
    ]
    used = ", ".join([*(f"Z{k}, A{k}" for k in layers), *(f"W{k}" for k in layers if k > 1)])
    takes = rng.choice([f"{P}, cache, {X}, {Y}", f"{X}, {Y}, {P}, cache"]) if bundled else f"{X}, {Y}, {used}"
    text += [f"def {backward}({takes}):", f"    m = {m}"]
    if bundled:
        text += [*opened("cache", made), *opened(P, ", ".join(f"W{k}" for k in layers))]
    text += [f"    dZ{depth} = {end} - {Y}"]
    for k in reversed(layers):
        a = X if k == 1 else f"A{k - 1}"
        product = dot.format(*((f"dZ{k}", f"{a}.T") if columns else (f"{a}.T", f"dZ{k}")))
        text += [f"    dW{k} = {product} / m" if "np" in dot else f"    dW{k} = ({product}) / m"]
        text += [f"    db{k} = {sum_of.format(f'dZ{k}')} / m"]
        if k > 1:
            back = dot.format(*((f"W{k}.T", f"dZ{k}") if columns else (f"dZ{k}", f"W{k}.T")))
            text += [f"    dZ{k - 1} = ({back}) * ({SLOPES[hidden].format(a=f'A{k - 1}', z=f'Z{k - 1}')})"]
    text += [f"    return {keys(steps_of) if bundled else steps_of}", "", ""]
    given = f"{P}, grads, {rate}" if bundled else f"{names}, {steps_of}, {rate}"
    text += [f"def {update}({given}):", *(opened(P, names) + opened("grads", steps_of) if bundled else [])]
    text += [f"    {one} = {one} - {rate} * d{one}" for one in names.split(", ")]
    text += [f"    return {keys(names) if bundled else names}", "", ""]
    text += [f"def {train}({X}, {Y}, {sizes}, {rate}=0.5, {times}=1000):", f"    {holds} = {start}({sizes})"]
    text += [f"    for i in range({times}):"]
    if bundled:
        text += [f"        {end}, cache = {forward}({X}, {P})", f"        grads = {backward}({takes})"]
        text += [f"        {P} = {update}({P}, grads, {rate})", f"    return {P}"]
    else:
        text += [f"        {made} = {forward}({X}, {names})", f"        {steps_of} = {backward}({takes})"]
        text += [f"        {names} = {update}({names}, {steps_of}, {rate})", f"    return {names}"]
    name = rng.choice([backward, backward, update, train])
    bugs = _bugs_of_steps(depth, hidden, columns, sum_of, end, Y, rate, name != backward, dot)

    def gradients(space):
        W, b, x, y = _inputs(columns, depth, 4)
        given = {f"W{k}": part for k, part in enumerate(W, 1)} | {f"b{k}": part for k, part in enumerate(b, 1)}
        order = [f"{n}{k}" for k in layers for n in "Wb"]

        def output(arrays):
            values = dict(zip(order, arrays, strict=True))
            got = space[forward](x, values) if bundled else space[forward](x, *arrays)
            return got[0] if bundled else got[-1]

        arrays = [given[key] for key in order]
        due = slopes(lambda arrays: loss(output(arrays), y) / 4, arrays)
        if name == train:
            space[start] = lambda *_: dict(given) if bundled else tuple(arrays)
            new = space[train](x, y, None, **{rate: 0.5, times: 1})
            return _vector(arrays, new, order, 0.5), due
        values = space[forward](x, given) if bundled else space[forward](x, *arrays)
        known = {P: given, "cache": values[1], X: x, Y: y} if bundled else given | {X: x, Y: y}
        known |= {} if bundled else dict(zip(made.split(", "), values, strict=True))
        grads = space[backward](**{key: known[key] for key in takes.split(", ")})
        if name == update:
            new = space[update](given, grads, 0.5) if bundled else space[update](*arrays, *grads, 0.5)
            return _vector(arrays, new, order, 0.5), due
        parts = [grads[f"d{key}"] for key in order] if bundled else grads
        return np.concatenate([np.ravel(part) for part in parts]), due

    about = f"{depth} layers {hidden},{last}, {'columns' if columns else 'rows'}"
    return Script("\n".join(text) + "\n", name, about, bugs, gradients)


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


def _bugs_of_steps(depth, hidden, columns, sum_of, end, Y, rate, updates, dot) -> list[Bug]:
    every, inner = tuple(range(depth)), tuple(range(depth - 1))
    found: list[Bug] = []
    for name, wrong in WRONG_SLOPES[hidden]:
        names = {"a": f"A{depth - 1}", "z": f"Z{depth - 1}"}
        found.append(
            (name, "slope", inner[-1:], f"* ({SLOPES[hidden].format(**names)})", f"* ({wrong.format(**names)})")
        )
    summed = sum_of.format(f"dZ{depth}")
    found.append(("bias-sum", "db", every[-1:], f"{summed} / m", summed))
    found.append(("bias-all-equal", "db", every[:1], sum_of.format("dZ1"), "np.sum(dZ1)"))
    found.append(("sign", "factor", every, f"dZ{depth} = {end} - {Y}", f"dZ{depth} = {Y} - {end}"))
    found.append(
        ("sigmoid-extra-derivative", "output", every[-1:], f"= {end} - {Y}", f"= ({end} - {Y}) * {end} * (1 - {end})")
    )
    left = f"A{depth - 1}.T"
    if hidden != "relu":
        found.append(("z-for-activation", "dW", every[-1:], left, left.replace("A", "Z")))
    if updates:
        found.append(("bias-zero", "db", every[:1], f"b1 = b1 - {rate} * db1", "b1 = b1"))
        found.append(("sign", "factor", every, f" - {rate} * d", f" + {rate} * d"))
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
        ("input-for-activation", "dW", (0,), f"return d_z, d_z * {one}", f"return d_z, d_z * self.{weights}"),
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
