"""A backward pass as a plan: one piece of text for each rule of each layer, which bugs replace; and its source text."""

import math
import re
from collections.abc import Callable
from typing import Any

from .formulas import KNOWN, LOSSES, RARE, UNKNOWN
from .layout import bracketed
from .spec import RATE, Spec

WORDS = (
    {"z": "z", "a": "a", "delta": "delta", "da": "da", "x": "x", "y": "y"},
    {"z": "Z", "a": "A", "delta": "dZ", "da": "dA", "x": "X", "y": "Y"},
    {"z": "s", "a": "h", "delta": "d", "da": "back", "x": "x", "y": "y"},
    {"z": "net", "a": "out", "delta": "err", "da": "grad", "x": "X", "y": "y"},
)
ALL = Ellipsis
Text = Callable[["Names"], str]


class Names:
    """What the arrays of a layer are called where they are used."""

    def __init__(self, plan: "Plan", layer: int, looped: bool = False, offset: int | None = None):
        self.plan, self.layer, self.looped, self.offset = plan, layer, looped, offset
        self.spec, self.o, self.words = plan.spec, plan.inner, WORDS[plan.spec.words]
        self.x, self.y = plan.x, plan.y
        self.m, self.k = "m", "k"

    def _named(self, word, shift=0):
        if not self.looped:
            return f"{word}{self.layer + 1}"
        if self.offset is None:  # the last layer, outside of the loop
            return f"{word}[-1]"
        off = self.offset + shift
        return f"{word}[l{f' {off:+d}'.replace('+', '+ ').replace('-', '- ') if off else ''}]"

    z = property(lambda self: self._named(self.words["z"]))
    a = property(lambda self: self._named(self.words["a"], 1))
    delta = property(lambda self: self._named(self.words["delta"]))
    da = property(lambda self: self._named(self.words["da"]))
    dW = property(lambda self: self._named("dW"))
    db = property(lambda self: self._named("db"))
    W = property(lambda self: self._named("weights" if self.looped else "W"))
    b = property(lambda self: self._named("biases" if self.looped else "b"))

    @property
    def inp(self):
        """What the layer reads."""
        if not self.looped:
            return self.x if self.layer == 0 else f"{self.words['a']}{self.layer}"
        return f"{self.words['a']}[-2]" if self.offset is None else self._named(self.words["a"])

    @property
    def p(self):
        """The output."""
        return f"{self.words['a']}[-1]" if self.looped else f"{self.words['a']}{self.spec.net.last + 1}"

    @property
    def target(self):
        """The labels that the gradient is made with."""
        return self.plan.target(self)

    @property
    def activation(self):
        return self.spec.net.activations[self.layer]

    def at(self, shift):
        """The names of a neighbouring layer."""
        offset = None if self.offset is None else self.offset + shift
        return Names(self.plan, self.layer + shift, self.looped, offset)

    @property
    def up(self):
        return self.at(1)


class Plan:
    """The right pass of a spec; `replace` puts bugs into it."""

    def __init__(self, spec: Spec):
        self.spec, net = spec, spec.net
        self.inner = spec.layout._replace(
            samples={"column": "columns"}.get(spec.inner, spec.inner or spec.layout.samples)
        )
        words = WORDS[spec.words]
        self.outer_x, self.outer_y = words["x"], words["y"]
        self.x, self.y = ("xi", "yi") if spec.inner else (words["x"], words["y"])
        n = range(net.last + 1)
        self.slots: dict[str, dict[int, Any]] = {
            "z": dict.fromkeys(n, _z),
            "act": {layer: _ACT[net.activations[layer]] for layer in n},
            "slope": {layer: _SLOPE[net.activations[layer]] for layer in n},
            "back": dict.fromkeys(n, _back),
            "left": dict.fromkeys(n, _left),
            "dW": dict.fromkeys(n, lambda n: n.o.outer(n.plan.text("left", n), n.delta)),
            "db": dict.fromkeys(n, lambda n: n.o.over_samples(n.delta)),
            "decay": dict.fromkeys(n, _decay),
            "decay_b": dict.fromkeys(n, lambda n: ""),
        }
        self.unbiased = [layer for layer in n if not spec.biased[layer]]
        self.post: dict[int, list[Text]] = {layer: [] for layer in n}
        self.head: list[str] = []
        self.tail: list[str] = []
        self.module: list[str] = []
        self.terms: Text = _terms
        self.error: Text = _error
        self.target: Text = lambda n: n.y
        self.loss_target: Text = lambda n: n.y
        divisor = {"mean": "m", "half-mean": "m", "element": "(m * k)", "half-element": "(m * k)"}.get(spec.reduction)
        if spec.layout.samples == "flat" and divisor:
            divisor = "k"
        self.divisor = divisor
        self.early = [f" / {divisor}"] if divisor and not spec.late else []
        self.lates = [f" / {divisor}"] if divisor and spec.late else []
        self.loss_factors: list[str] = []
        self.penalty = 0.5
        self.assign_samples = False
        """In a loop over the samples, each sample's gradient replaces the last."""
        self.update_going_back = False
        self.update_within = False
        """In a loop over the samples, each moves the weights."""
        self.together = spec.together and net.loss in {"bce", "ce"} and net.activations[-1] in {"sigmoid", "softmax"}
        self.output_slope = not self.together

    def text(self, slot, n):
        """A rule of a layer as text."""
        return self.slots[slot][n.layer](n)

    def replace(self, slot: str, layers, wrong: Callable[[str, Names], str]):
        """``wrong(right text, names)`` in place of that rule, in those layers."""
        made: dict[Any, Any] = {}
        for layer, right in self.slots[slot].items():
            if layers is ALL or layer in layers:
                if right not in made:
                    made[right] = lambda n, right=right: wrong(right(n), n)
                self.slots[slot][layer] = made[right]

    @property
    def uniform(self) -> bool:
        """Whether a loop over the layers can say it all."""
        last = self.spec.net.last
        for slot, rules in self.slots.items():
            hidden = slot in {"act", "slope"}
            layers = range(last) if hidden else range(1, last + 1) if slot == "back" else range(last + 1)
            if len({id(rules[layer]) for layer in layers}) > 1:
                return False
        return not any(self.post.values()) or len({tuple(map(id, posts)) for posts in self.post.values()}) == 1

    def source(self) -> str:
        """The program."""
        return _Writer(self).source()


# ---- the right rules -----------------------------------------------------------------------------------------------


def _z(n):
    z = n.o.product(n.plan.text("left", n), n.W)
    return z if n.layer in n.plan.unbiased else f"{z} + {n.o.bias(n.b)}"


def _left(n):
    return f"np.column_stack([{n.inp}, np.ones(len({n.inp}))])" if n.spec.folded else n.inp


def _back(n):
    return n.o.back(n.delta, f"{n.W}[:-1]" if n.spec.folded else n.W)


def _decay(n):
    if n.spec.decay_keyword:
        return f" + weight_decay * {n.W}"
    return f" + LAMBDA * {n.W}" if n.spec.penalty else ""


def softmax_text(n, z):
    """Softmax of z, normalised over the classes."""
    return f"softmax({z})"


def activation_text(name):
    """Forward as text."""

    def text(n):
        if name == "softmax":
            return softmax_text(n, n.z)
        if name == "identity":
            return n.z
        known = (KNOWN | RARE | UNKNOWN)[name]
        return f"{name}({n.z})" if n.spec.helpers or not known.inline else _filled(known.inline, n)

    return text


def _filled(text, n, z=None, a=None):
    text = re.sub(r"\bz\b", lambda _: bracketed(z or n.z), text)
    return re.sub(r"\ba\b", lambda _: bracketed(a or n.a), text)


def derivative(name, n, z=None, a=None):
    """φ' of that name as text, for use in a product; from z or from a."""
    known = (KNOWN | RARE | UNKNOWN)[name]
    if not known.from_a or n.spec.from_z:
        if n.spec.helpers or not known.inline_prime:
            return f"{name}_prime({z or n.z})"
        return bracketed(_filled(known.inline_prime, n, z, a))
    return bracketed(_filled(known.from_a, n, z, a))


def slope_text(name):
    """delta from da, as text."""

    def text(n):
        if name == "softmax":
            return jacobian(n, n.da, n.a)
        if name == "relu" and not n.spec.helpers and n.spec.words % 2:
            return f"np.where({n.z} > 0, {n.da}, 0)"
        return n.da if name == "identity" else f"{n.da} * {derivative(name, n)}"

    return text


def jacobian(n, da, p):
    """The Jacobian of softmax times da."""
    return f"{p} * ({da} - {n.o.over_units(f'{bracketed(da)} * {p}')})"


_ACT = {name: activation_text(name) for name in ("softmax", *KNOWN, *RARE, *UNKNOWN)}
_SLOPE = {name: slope_text(name) for name in ("softmax", *KNOWN, *RARE, *UNKNOWN)}


def _terms(n):
    """The terms of the loss."""
    p, y, z, loss = n.p, n.plan.loss_target(n), Names.z.fget(n), n.spec.net.loss
    eps = f" + {n.spec.epsilon:g}" if n.spec.epsilon else ""
    if loss == "squared":
        return f"({p} - {y}) ** 2"
    if loss in LOSSES:
        return _of(LOSSES[loss][0], p, y)
    if loss == "bce":
        if n.spec.logits:
            return f"np.maximum({z}, 0) - {z} * {y} + np.log1p(np.exp(-np.abs({z})))"
        return f"-{y} * np.log({p}{eps}) - (1 - {y}) * np.log(1 - {p}{eps})"
    if n.spec.logits:
        return f"{y} * ({_log_sum(n, z)} - {z})"
    return f"-{y} * np.log({p}{eps})"


def _of(text, p, y):
    text = re.sub(r"\bp\b", lambda _: p, text)
    return re.sub(r"\by\b", lambda _: y, text)


def _log_sum(n, z):
    total = n.o.over_units(f"np.exp({z})")
    return f"np.log({total})"


def _error(n):
    """dLoss/da of the output, or delta where that is one step; without the 1/batch."""
    p, y, loss = n.p, n.target, n.spec.net.loss
    if loss == "squared":
        return f"({p} - {y})" if n.spec.reduction.startswith("half") else f"2 * ({p} - {y})"
    if loss in LOSSES:
        return bracketed(_of(LOSSES[loss][1], p, y))
    if n.plan.together:
        return f"({p} - {y})"
    return f"({p} - {y}) / ({p} * (1 - {p}))" if loss == "bce" else f"-{y} / {p}"


# ---- the text ------------------------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, plan: Plan):
        self.plan, self.spec = plan, plan.spec
        self.looped = self.spec.looped and plan.uniform
        self.n = self.spec.net.last + 1
        self.layers = [Names(plan, layer, self.looped) for layer in range(self.n)]
        self.end = self.layers[-1]
        self.lines: list[str] = []
        self.indent = 1

    def put(self, *lines):
        self.lines += ["    " * self.indent + line for line in lines]

    def source(self):
        spec, plan = self.spec, self.plan
        self.unpack()
        for line in plan.head:
            self.put(line)
        if spec.inner:
            self.accumulators()
            self.put("for i in range(m):")
            self.indent += 1
            axis = "[:, i]" if spec.layout.samples == "columns" else "[i]"
            column = ".reshape(-1, 1)" if spec.inner == "column" else ""
            self.put(f"xi = {plan.outer_x}{axis}{column}", f"yi = {plan.outer_y}{axis}{column}")
        self.forward()
        if not spec.inner:
            self.loss()
        elif spec.has_loss:
            self.put(f"loss += np.sum({plan.terms(self.end)})")
        self.backward()
        if spec.inner:
            if plan.update_within:
                self.put(*(f"{n.W} = {n.W} - RATE * {plan.text('dW', n)}" for n in self.layers))
            self.indent -= 1
            self.finish_samples()
            if spec.has_loss:
                total = self.reduced("loss") + self.penalty_text()
                if total != "loss":
                    self.put(f"loss = {total}")
        self.give_back()
        return self.module_text()

    # ---- arguments

    def unpack(self):
        spec = self.spec
        x, y = self.plan.outer_x, self.plan.outer_y
        lists = "weights, biases" if spec.biases else "weights"
        names = [f"{w}{i + 1}" for i in range(self.n) for w in ("Wb" if spec.biased[i] else "W")]
        named = ", ".join(names)
        self.arguments = {
            "network": f"network, {lists}, {x}, {y}",
            "lists": f"{lists}, {x}, {y}",
            "lists-last": f"{x}, {y}, {lists}",
            "dict": f"params, {x}, {y}",
            "dict-last": f"{x}, {y}, params",
            "spread": f"{x}, {y}, {named}",
            "spread-first": f"{named}, {x}, {y}",
            "pairs": f"params, {x}, {y}",
            "vector": f"theta, {x}, {y}",
        }[spec.signature]
        if spec.decay_keyword:
            self.arguments += ", weight_decay=0.0"
        if spec.update in {"in-place", "returned"}:
            self.arguments += f", {('lr', 'learning_rate', 'eta', 'lr')[spec.words]}={RATE}"
        if self.looped:
            self.unpack_lists()
        else:
            self.unpack_names(names)
        if spec.float32:
            labels = y if spec.labels == "numbers" else f"{y}.astype(np.float32)"  # numbers of classes are indices
            self.put(f"{x}, {y} = {x}.astype(np.float32), {labels}")
            lists = [
                "weights = [W.astype(np.float32) for W in weights]",
                "biases = [b.astype(np.float32) for b in biases]",
            ]
            single = [f"{name} = {name}.astype(np.float32)" for name in names]
            self.put(*(lists[: 1 + spec.biases] if self.looped else single))
        if spec.hard == "reshape":
            self.put(*(f"W{i + 1} = W{i + 1}.reshape({', '.join(map(str, self.shape(i)))})" for i in range(self.n)))
        if spec.labels == "numbers":
            self.put(f"{y} = np.eye({spec.net.sizes[-1]})[{y}]" + (".T" if spec.layout.samples == "columns" else ""))
        elif spec.labels == "vector":
            self.put(f"{y} = {y}.reshape({'1, -1' if spec.layout.samples == 'columns' else '-1, 1'})")
        if spec.layout.samples != "flat":
            self.put(f"m = {x}.shape[{spec.layout.axis}]", f"k = {y}.shape[{1 - spec.layout.axis}]")
        else:
            self.put(f"k = len({y})")

    def unpack_lists(self):
        spec = self.spec
        if spec.signature == "pairs":
            self.put("weights = [W for W, _ in params]", "biases = [b for _, b in params]")
        elif spec.signature == "dict":
            count = "len(params) // 2" if spec.biases else "len(params)"
            self.put(f'weights = [params[f"W{{i + 1}}"] for i in range({count})]')
            if spec.biases:
                self.put(f'biases = [params[f"b{{i + 1}}"] for i in range({count})]')

    def unpack_names(self, names):
        spec, layers = self.spec, range(1, self.n + 1)
        comma = "," if self.n == 1 else ""
        if spec.signature in {"network", "lists", "lists-last"}:
            self.put(", ".join(f"W{i}" for i in layers) + f"{comma} = weights")
            if spec.biases:
                self.put(", ".join(f"b{i}" for i in layers) + f"{comma} = biases")
        elif spec.signature == "pairs":
            self.put(", ".join(f"(W{i}, b{i})" for i in layers) + f"{comma} = params")
        elif spec.signature in {"dict", "dict-last"}:
            self.put(*(f'{name} = params["{name}"]' for name in names))
        elif spec.signature == "vector":
            start = 0
            for name in names:
                shape = self.shape(int(name[1:]) - 1)
                shape = shape if name[0] == "W" else spec.layout.bias_shape(spec.net.sizes[int(name[1:])])
                end = start + math.prod(shape)
                reshaped = f".reshape({', '.join(map(str, shape))})" if len(shape) > 1 else ""
                self.put(f"{name} = theta[{start or ''}:{end}]{reshaped}")
                start = end

    def shape(self, layer):
        n_in, n_out = self.spec.net.sizes[layer : layer + 2]
        n_in += self.spec.folded
        return (n_in, n_out) if self.spec.layout.in_out else (n_out, n_in)

    # ---- passes

    def forward(self):
        plan, words = self.plan, self.layers[0].words
        if not self.looped:
            for n in self.layers:
                self.put(f"{n.z} = {plan.text('z', n)}", f"{n.a} = {plan.text('act', n)}")
            return
        z, a = words["z"], words["a"]
        self.put(f"{z}, {a} = [], [{plan.x}]", "for l in range(len(weights)):")
        self.indent += 1
        hidden = Names(plan, 0, True, 0)
        self.put(f"{z}.append({plan.text('z', hidden)})")
        output = Names(plan, self.n - 1, True, 0)
        first, last = plan.text("act", hidden), plan.text("act", output)
        if first == last or self.n == 1:
            self.put(f"{a}.append({last})")
        else:
            self.put(f"{a}.append({first} if l < len(weights) - 1 else {last})")
        self.indent -= 1

    def reduced(self, total):
        spec, plan = self.spec, self.plan
        half = "0.5 * " if spec.reduction.startswith("half") else ""
        over = f" / {plan.divisor}" if plan.divisor else ""
        return f"{half}{total}{over}" + "".join(plan.loss_factors)

    def penalty_text(self):
        if not self.spec.penalty:
            return ""
        c = {0.5: "0.5 * ", 1.0: "", 0.25: "0.25 * "}[self.plan.penalty]
        if self.looped:
            return f" + {c}LAMBDA * sum(np.sum(W ** 2) for W in weights)"
        return f" + {c}LAMBDA * ({' + '.join(f'np.sum({n.W} ** 2)' for n in self.layers)})"

    def loss(self):
        if not self.spec.has_loss:
            return
        terms, half = self.plan.terms(self.end), "0.5 * " if self.spec.reduction.startswith("half") else ""
        if self.plan.divisor == "(m * k)" and self.spec.words % 2:
            total = f"{half}np.mean({terms})" + "".join(self.plan.loss_factors)
        else:
            total = self.reduced(f"np.sum({terms})")
        self.put(f"loss = {total}{self.penalty_text()}")

    def backward(self):
        plan, end = self.plan, self.end
        if self.looped:
            words = end.words
            names = [words["delta"], words["da"]] + ([] if self.spec.inner else ["dW"])
            names += ["db"] if self.spec.biases and not self.spec.inner else []
            self.put(f"{', '.join(names)} = {', '.join(['[None] * len(weights)'] * len(names))}")
        error = plan.error(end) + "".join(plan.early)
        if plan.output_slope:
            self.put(f"{end.da} = {error}", f"{end.delta} = {plan.text('slope', end)}")
        else:
            self.put(f"{end.delta} = {error}", f"{end.da} = {end.delta}")
        if not self.looped:
            for n in reversed(self.layers):
                self.layer_gradients(n)
                if n.layer:
                    below = n.at(-1)
                    self.put(f"{below.da} = {plan.text('back', n)}", f"{below.delta} = {plan.text('slope', below)}")
            return
        self.put("for l in reversed(range(len(weights))):")
        self.indent += 1
        n = Names(plan, self.n - 1, True, 0)
        self.layer_gradients(n)
        if self.n > 1:
            below = n.at(-1)
            self.put("if l > 0:")
            self.indent += 1
            self.put(f"{below.da} = {plan.text('back', n)}", f"{below.delta} = {plan.text('slope', below)}")
            self.indent -= 1
        self.indent -= 1

    def layer_gradients(self, n):
        plan, spec = self.plan, self.spec
        biased = spec.biased[n.layer]
        late = "" if spec.inner else "".join(plan.lates)
        if spec.inner:
            sign = "=" if plan.assign_samples else "+="
            self.put(f"{n.dW} {sign} {plan.text('dW', n)}")
            if biased:
                self.put(f"{n.db} {sign} {plan.text('db', n)}")
            return
        right = n.o.outer(plan.text("left", n), n.delta)
        text = plan.text("dW", n)
        if spec.hard == "ranges" and text == right and n.o.samples != "flat":
            rows, columns = self.shape(n.layer)
            o = n.o
            unit = (lambda t, i: f"{t}[:, {i}]") if o.samples == "rows" else (lambda t, i: f"{t}[{i}]")
            i, j = ("i", "j") if o.in_out else ("j", "i")
            self.put(f"{n.dW} = np.zeros_like({n.W})", f"for i in range({rows}):", f"    for j in range({columns}):")
            self.put(f"        {n.dW}[i, j] = np.sum({unit(n.inp, i)} * {unit(n.delta, j)}){late}")
            if plan.text("decay", n):
                self.put(f"{n.dW} = {n.dW}{plan.text('decay', n)}")
        else:
            self.put(f"{n.dW} = {_scaled(text, late)}{plan.text('decay', n)}")
        if biased:
            self.put(f"{n.db} = {_scaled(plan.text('db', n), late)}{plan.text('decay_b', n)}")
        for post in plan.post[n.layer]:
            self.put(*post(n).splitlines())
        if plan.update_going_back:
            self.step(n)

    def accumulators(self):
        if self.looped:
            self.put("dW = [np.zeros_like(W) for W in weights]")
            if self.spec.biases:
                self.put("db = [np.zeros_like(b) for b in biases]")
        else:
            for n in self.layers:
                self.put(f"{n.dW} = np.zeros_like({n.W})")
                if self.spec.biased[n.layer]:
                    self.put(f"{n.db} = np.zeros_like({n.b})")
        if self.spec.has_loss:
            self.put("loss = 0.0")

    def finish_samples(self):
        plan, late = self.plan, "".join(self.plan.lates)
        if self.looped:
            n = Names(plan, self.n - 1, True, 0)
            lines = []
            if late or plan.text("decay", n):
                lines.append(f"{n.dW} = {n.dW}{late}{plan.text('decay', n)}")
            if (late or plan.text("decay_b", n)) and self.spec.biases:
                lines.append(f"{n.db} = {n.db}{late}{plan.text('decay_b', n)}")
            for post in plan.post[self.n - 1]:
                lines += post(n).splitlines()
            if lines:
                self.put("for l in range(len(weights)):", *(f"    {line}" for line in lines))
            return
        for n in self.layers:
            if late or plan.text("decay", n):
                self.put(f"{n.dW} = {n.dW}{late}{plan.text('decay', n)}")
            if self.spec.biased[n.layer] and (late or plan.text("decay_b", n)):
                self.put(f"{n.db} = {n.db}{late}{plan.text('decay_b', n)}")
            for post in plan.post[n.layer]:
                self.put(*post(n).splitlines())

    # ---- results

    def step(self, n):
        named = self.spec.update in {"in-place", "returned"}
        rate = ("lr", "learning_rate", "eta", "lr")[self.spec.words] if named else "RATE"
        self.put(f"{n.W} -= {rate} * {n.dW}")
        if self.spec.biased[n.layer]:
            self.put(f"{n.b} -= {rate} * {n.db}")

    def give_back(self):
        spec, plan = self.spec, self.plan
        if spec.update == "in-place":
            if not plan.update_going_back:
                self.each_layer(self.step)
            self.put(*plan.tail)
            self.put("return loss" if spec.has_loss else "return None")
            return
        if spec.update == "difference":
            self.each_layer(self.difference)
        self.put(*plan.tail)
        if spec.update == "returned":
            self.each_layer(self.replaced)
            self.put(re.sub(r"\bd([Wb]\d)", r"\1", self.returned()))
        else:
            self.put(self.returned())

    def each_layer(self, do):
        if not self.looped:
            for n in self.layers:
                do(n)
            return
        self.put("for l in range(len(weights)):")
        self.indent += 1
        do(Names(self.plan, self.n - 1, True, 0))
        self.indent -= 1

    def replaced(self, n):
        rate = ("lr", "learning_rate", "eta", "lr")[self.spec.words]
        self.put(f"{n.W} = {n.W} - {rate} * {n.dW}")
        if self.spec.biased[n.layer]:
            self.put(f"{n.b} = {n.b} - {rate} * {n.db}")

    def difference(self, n):
        self.put(f"new = {n.W} - RATE * {n.dW}", f"{n.dW} = ({n.W} - new) / RATE")
        if self.spec.biased[n.layer]:
            self.put(f"new = {n.b} - RATE * {n.db}", f"{n.db} = ({n.b} - new) / RATE")

    def returned(self):
        form, n, biased = self.spec.returns, self.n, self.spec.biased
        prefix = "" if "params" in form else "d"
        item = (lambda w, i: f"{w}[{i}]") if self.looped else (lambda w, i: f"{w}{i + 1}")
        keys = [(w, i) for i in range(n) for w in ("Wb" if biased[i] else "W")]
        if self.looped:
            dW, db = "dW", "db"
        else:
            dW, db = (f"[{', '.join(f'd{w}{i + 1}' for i in range(n) if w == 'W' or biased[i])}]" for w in "Wb")
        lists = f"{dW}, {db}" if self.spec.biases else dW
        if self.looped:
            pairs = "list(zip(dW, db))"
        else:
            pairs = "[" + ", ".join(f"(dW{i + 1}, db{i + 1})" for i in range(n)) + "]"
        entries = ", ".join(f'"{prefix}{w}{i + 1}": {item("d" + w, i)}' for w, i in keys)
        spread = ", ".join(item("d" + w, i) for w, i in keys)
        raveled = ", ".join(f"{item('d' + w, i)}.ravel()" for w, i in keys)
        plain = {
            "lists": lists,
            "pairs": pairs,
            "dict": f"{{{entries}}}",
            "params": f"{{{entries}}}",
            "spread": spread,
            "vector": f"np.concatenate([{raveled}])",
        }
        if form == "loss-in-dict":
            return f'return {{"loss": loss, {entries}}}'
        if form.startswith("loss-"):
            inner = form.removeprefix("loss-")
            if inner == "lists" and self.spec.biases:
                return f"return loss, {lists}"
            return f"return loss, {plain[inner]}"
        if form.endswith("-loss"):
            return f"return {plain[form.removesuffix('-loss')]}, loss"
        return f"return {plain[form]}"

    def module_text(self):
        spec, plan = self.spec, self.plan
        body = "\n".join(self.lines)
        for name in ("m", "k"):
            used = len(re.findall(rf"\b{name}\b", body)) > 1
            if not used:
                body = re.sub(rf"^ +{name} = .*\n", "", body, flags=re.M)
        body = _without_unused_da(body, self.layers[0].words["da"])
        known = KNOWN | RARE | UNKNOWN
        parts = []
        module = "\n".join(plan.module)
        for name, activation in known.items():
            prime = bool(re.search(rf"(?<![\w.]){name}_prime\(", body + module))
            if re.search(rf"(?<![\w.]){name}\(", body + module) or (prime and f"{name}(" in activation.prime):
                parts.append(f"def {name}(z):\n    {activation.forward}")
            if prime:
                parts.append(f"def {name}_prime(z):\n    {activation.prime}")
        if "softmax(" in body:
            samples = plan.inner.samples
            axis = {"rows": ", axis=1, keepdims=True", "columns": ", axis=0, keepdims=True", "flat": ""}[samples]
            top = f"z - np.max(z{axis})" if spec.words % 2 == 0 else "z"
            parts.append(f"def softmax(z):\n    e = np.exp({top})\n    return e / np.sum(e{axis})")
        head = ["import numpy as np"]
        constants = []
        if spec.penalty:
            constants.append(f"LAMBDA = {spec.penalty}")
        if "RATE" in body + module:
            constants.append(f"RATE = {RATE}")
        constants += plan.module
        if constants:
            head.append("\n".join(constants))
        text = "\n\n".join(head) + "\n\n\n" + "".join(f"{part}\n\n\n" for part in parts)
        return text + f"def {spec.name}({self.arguments}):\n{body}\n"


def _scaled(text, late):
    return f"({text}){late}" if late and (" + " in text or " - " in text or " @ " in text) else f"{text}{late}"


def _without_unused_da(body, da):
    """Without the names of da that only repeat delta."""
    lines = body.split("\n")
    kept = []
    for number, line in enumerate(lines):
        found = re.match(rf"^ +({re.escape(da)}(\d+|\[-1\])) = \w+(\[-1\])?$", line)
        rest = "\n".join(lines[number + 1 :])
        pattern = re.escape(da) + (
            r"\b\[" if found and "[" in found[1] else re.escape(found[2]) + r"\b" if found else ""
        )
        listed = found and "[" in found[1] and len(re.findall(rf"\b{re.escape(da)}\[l( \+ 1)?\]", rest)) == 0
        if found and (listed or ("[" not in found[1] and not re.search(rf"\b{pattern}", rest))):
            continue
        kept.append(line)
    return "\n".join(kept)
