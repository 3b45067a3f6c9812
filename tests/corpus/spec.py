"""How a program is written: its network, layout, convention, signature and style; and how to call it, knowing that."""

import dataclasses
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .formulas import RARE, RARE_LOSSES, UNKNOWN, UNKNOWN_LOSSES
from .layout import Layout

SQUARED = ("sum", "mean", "half", "half-mean", "element", "half-element")
ENTROPY = ("sum", "mean", "element")
RATE = 0.1


class Net(NamedTuple):
    """What is computed; ``loss`` is squared, bce, ce or one of `LOSSES`."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str

    @property
    def last(self) -> int:
        return len(self.sizes) - 2

    def inputs(self, batch: int, seed: int, soft: bool = False):
        """Weights, biases, x and y that suit the loss."""
        rng = np.random.default_rng([seed, batch])
        W = [rng.normal(size=pair) for pair in zip(self.sizes, self.sizes[1:], strict=False)]
        b = [0.5 * rng.normal(size=n) for n in self.sizes[1:]]
        x, k = rng.normal(size=(batch, self.sizes[0])), self.sizes[-1]
        if self.loss in {"bce", "hinge", "focal"}:
            y = rng.integers(0, 2, size=(batch, k)).astype(float)
            y = rng.uniform(size=(batch, k)) if soft and self.loss == "bce" else y
        elif self.loss == "ce":
            y = np.eye(k)[rng.integers(0, k, size=batch)]
            y = rng.dirichlet(np.ones(k), size=batch) if soft else y
        elif self.loss == "poisson":
            y = rng.integers(0, 5, size=(batch, k)).astype(float)
        else:
            y = rng.normal(size=(batch, k))
        return W, b, x, y

    def describe(self) -> str:
        return "-".join(map(str, self.sizes)) + ":" + ",".join(self.activations) + ":" + self.loss


@dataclass(frozen=True)
class Spec:
    """Everything about a program but its bugs."""

    net: Net
    layout: Layout
    reduction: str = "mean"
    signature: str = "network"
    returns: str = "loss-lists"
    biased: tuple[bool, ...] = ()
    """In which layers there are biases."""
    folded: bool = False
    """b is the last row of W."""
    looped: bool = False
    """A loop over the layers, for any depth; else each has its own names."""
    inner: str = ""
    """In a loop over the samples: each is ``flat`` or a ``column``."""
    from_z: bool = False
    helpers: bool = True
    """Activations are functions; else they are written in place."""
    together: bool = True
    """p − y for the cross-entropies; else dLoss/da, then the derivative."""
    logits: bool = False
    late: bool = False
    """The gradients are divided by the batch, instead of delta."""
    update: str = ""
    """``in-place``; ``returned``: new weights; ``difference``: the gradient is (before − after)/rate."""
    hard: str = ""
    """Made for these widths only: ``reshape`` raises for others, ``ranges`` is wrong for them."""
    float32: bool = False
    epsilon: float = 0.0
    """Added in a reported logarithm."""
    words: int = 0
    name: str = "gradients"
    penalty: float = 0.0
    """λ of an L2 penalty in the loss, written in the program."""
    decay_keyword: bool = False
    labels: str = ""
    """``numbers`` of the classes; a ``vector`` for a single output."""

    @property
    def has_loss(self) -> bool:
        return "loss" in self.returns

    @property
    def biases(self) -> bool:
        return any(self.biased)

    @property
    def documented(self) -> bool:
        """Whether it is called and answers as the documentation says: f(network, weights, biases, x, y)."""
        return self.signature == "network" and all(self.biased) and self.returns in {"loss-lists", "lists"}

    def plain(self) -> "Spec":
        """The same computation, with everything returned."""
        returns = self.returns if self.has_loss and not self.update else "loss-dict"
        return dataclasses.replace(self, returns=returns, update="", float32=False, epsilon=0.0)

    # ---- calling ---------------------------------------------------------------------------------------------------

    def arguments(self, W, b, x, y) -> list[Any]:
        """In the order and layout of the signature."""
        layout = self.layout
        if self.folded:
            W = [np.vstack([part, bias]) for part, bias in zip(W, b, strict=False)]
        weights = [layout.give_W(part) for part in W]
        biases = [layout.give_b(part) if has else None for part, has in zip(b, self.biased, strict=False)]
        labels = {"numbers": y.argmax(axis=1), "vector": y[:, 0]}
        samples = [layout.give_x(x), labels[self.labels] if self.labels else layout.give_x(y)]
        lists = [weights, biases] if self.biases else [weights]
        named = {}
        for layer, (part, bias) in enumerate(zip(weights, biases, strict=False), start=1):
            named[f"W{layer}"] = part
            if bias is not None:
                named[f"b{layer}"] = bias
        return {
            "network": [self.net, *lists, *samples],
            "lists": [*lists, *samples],
            "lists-last": [*samples, *lists],
            "dict": [named, *samples],
            "dict-last": [*samples, named],
            "spread": [*samples, *named.values()],
            "spread-first": [*named.values(), *samples],
            "pairs": [list(zip(weights, biases, strict=False)), *samples],
            "vector": [np.concatenate([part.ravel() for part in named.values()]), *samples],
        }[self.signature]

    def taken(self, arguments):
        """Weights and biases out of the arguments, as they are now."""
        named = self._named(arguments)
        return [named[f"W{i + 1}"] for i in range(self.net.last + 1)], [
            named.get(f"b{i + 1}") for i in range(self.net.last + 1)
        ]

    def _named(self, arguments):
        n = self.net.last + 1
        if self.signature in {"dict", "dict-last"}:
            return next(one for one in arguments if isinstance(one, dict))
        if self.signature == "pairs":
            weights, biases = zip(*arguments[0], strict=False)
        elif self.signature in {"spread", "spread-first"}:
            flat = arguments[2:] if self.signature == "spread" else arguments[:-2]
            names = [f"{w}{i + 1}" for i in range(n) for w in ("Wb" if self.biased[i] else "W")]
            return dict(zip(names, flat, strict=False))
        else:
            start = {"network": 1, "lists": 0, "lists-last": 2}[self.signature]
            weights = arguments[start]
            biases = arguments[start + 1] if self.biases else [None] * n
        return {f"W{i + 1}": part for i, part in enumerate(weights)} | {
            f"b{i + 1}": part for i, part in enumerate(biases) if part is not None
        }

    def call(self, function, W, b, x, y, **keywords):
        """Loss, dW and db in our layout; None for what it does not return or have."""
        arguments = self.arguments(W, b, x, y)
        before = self.arguments(W, b, x, y)
        result = function(*arguments, **keywords)
        if self.update == "in-place":
            (W0, b0), (W1, b1) = self.taken(before), self.taken(arguments)
            dW = [(old - new) / RATE for old, new in zip(W0, W1, strict=False)]
            db = [None if old is None else (old - new) / RATE for old, new in zip(b0, b1, strict=False)]
            return self.ours(result if self.has_loss else None, dW, db)
        if self.update == "returned":
            (W0, b0), (loss, W1, b1) = self.taken(before), self.read(result)
            dW = [(old - new) / RATE for old, new in zip(W0, W1, strict=True)]
            db = [None if old is None else (old - new) / RATE for old, new in zip(b0, b1, strict=True)]
            return self.ours(loss, dW, db)
        return self.ours(*self.read(result))

    def ours(self, loss, dW, db):
        """Gradients in our layout."""
        dW = [self.layout.take_W(np.asarray(part)) for part in dW]
        if self.folded:
            return loss, [part[:-1] for part in dW], [part[-1] for part in dW]
        return loss, dW, [None if part is None else np.asarray(part) for part in db]

    def read(self, result):
        """Loss, dW and db in its layout."""
        n, loss = self.net.last + 1, None
        form = self.returns
        if form == "loss-in-dict":
            loss, form = result["loss"], "dict"
        elif form.startswith("loss-") and form != "loss-spread":
            loss, *result = result
            form = form.removeprefix("loss-")
            result = result[0] if len(result) == 1 else result
        elif form.endswith("-loss"):
            *result, loss = result
            form = form.removesuffix("-loss")
            result = result[0] if len(result) == 1 else result
        elif form == "loss-spread":
            loss, *result = result
            form = "spread"
        if form == "lists":
            dW, db = result if self.biases else (result, [None] * n)
        elif form == "pairs":
            dW, db = zip(*result, strict=False)
        elif form == "spread":
            names = [f"{w}{i + 1}" for i in range(n) for w in ("Wb" if self.biased[i] else "W")]
            named = dict(zip(names, result if isinstance(result, (tuple, list)) else [result], strict=False))
            dW, db = [named[f"W{i + 1}"] for i in range(n)], [named.get(f"b{i + 1}") for i in range(n)]
        elif form == "vector":
            dW, db = self.cut(np.asarray(result))
        else:
            prefix = "" if form == "params" else "d"
            dW = [result[f"{prefix}W{i + 1}"] for i in range(n)]
            db = [result.get(f"{prefix}b{i + 1}") for i in range(n)]
        return loss, list(dW), list(db)

    def cut(self, vector):
        """Arrays for each layer out of one vector: W1, b1, W2, …"""
        dW, db, start = [], [], 0
        for layer, (n_in, n_out) in enumerate(zip(self.net.sizes, self.net.sizes[1:], strict=False)):
            shape = (n_in + self.folded, n_out)
            size = shape[0] * n_out
            dW.append(vector[start : start + size].reshape(shape if self.layout.in_out else shape[::-1]))
            start += size
            db.append(vector[start : start + n_out] if self.biased[layer] else None)
            start += n_out * self.biased[layer]
        return dW, db


def unusual(rng: random.Random, spec: Spec) -> Spec:
    """Now and then: classes as numbers, labels as a vector, all parameters in one vector."""
    if spec.layout.samples != "flat" and rng.random() < 0.2:
        if spec.net.loss == "ce":
            spec = dataclasses.replace(spec, labels="numbers")
        elif spec.net.sizes[-1] == 1:
            spec = dataclasses.replace(spec, labels="vector")
    if rng.random() < 0.05 and not spec.update:
        returns = rng.choice(["loss-vector", "loss-vector", "vector"])
        spec = dataclasses.replace(spec, signature="vector", returns=returns, looped=False)
    return spec


def draw_net(rng: random.Random, depth=None, unknown=False, rare=False) -> Net:
    """A network, small as in course work; ``unknown``: an activation or a loss that the project has not; ``rare``: one
    that it has, and few use."""
    depth = rng.choice([0, 1, 1, 1, 1, 2, 2, 3]) if depth is None else depth
    if unknown or rare:
        depth = max(depth, 1)
    loss = rng.choice(["squared", "squared", "bce", "ce"])
    hidden = rng.choice(["sigmoid", "sigmoid", "tanh", "tanh", "relu", "relu", "leaky_relu", "identity"])
    if unknown or rare:
        activations, losses = (RARE, RARE_LOSSES) if rare else (UNKNOWN, UNKNOWN_LOSSES)
        what = rng.choice(["activation", "loss", "loss"])
        if what == "activation":
            hidden = rng.choice(list(activations))
        else:
            loss = rng.choice(list(losses))
            hidden = rng.choice(["sigmoid", "tanh", "relu", *activations])
    if loss == "squared":
        output = rng.choice(["sigmoid", "sigmoid", "identity", "identity", "tanh", "relu", "softmax"])
    else:
        output = {"bce": "sigmoid", "ce": "softmax", "focal": "sigmoid"}.get(loss, "identity")
    k = rng.choice([2, 3, 4, 5]) if output == "softmax" else rng.choice([1, 1, 1, 2, 3, 4])
    usual = {1: [(2, 2), (2, 4), (3, 4), (2, 3), (4, 5), (3, 3)], 0: [(2,), (3,), (4,), (5,)]}
    if depth < 2:
        sizes = rng.choice(usual[depth])
    else:
        same = rng.choice([3, 4, 5])
        free = tuple(rng.choice([2, 3, 4, 5, 6]) for _ in range(depth + 1))
        sizes = (same,) * (depth + 1) if rng.random() < 0.3 else free
    return Net((*sizes, k), (*[hidden] * depth, output), loss)


def draw(rng: random.Random, net: Net, columns=None, simple: bool = False) -> Spec:
    """A way of writing that network. ``simple``: functions of weights and biases that return their gradients."""
    n = net.last + 1
    samples = rng.choice(["rows", "rows", "rows", "columns", "columns", "flat"]) if columns is None else columns
    weights = rng.choice(
        ["in-out", "in-out", "in-out", "out-in"] if samples == "rows" else ["out-in", "out-in", "in-out"]
    )
    shape = rng.choice(
        {"rows": ["flat", "flat", "row"], "columns": ["column", "column", "flat"], "flat": ["flat"]}[samples]
    )
    signature = rng.choice(
        [
            "network",
            "network",
            "lists",
            "lists",
            "lists-last",
            "dict",
            "dict",
            "dict-last",
            "spread",
            "spread-first",
            "pairs",
        ]
    )
    biased = (True,) * n
    folded = False
    chance = rng.random()
    if not simple and chance < 0.1:
        biased = (False,) * n
    elif not simple and chance < 0.15 and samples == "rows" and weights == "in-out":
        biased, folded = (False,) * n, True
    elif not simple and chance < 0.22 and n > 1 and signature in {"dict", "dict-last", "spread", "spread-first"}:
        biased = tuple(rng.random() < 0.5 for _ in range(n))
    if signature == "pairs" and not all(biased):
        signature = "lists"
    returns = ["loss-lists", "loss-lists", "lists", "lists-loss", "loss-pairs", "pairs", "loss-dict", "dict",
               "loss-in-dict", "loss-params", "params", "loss-spread", "spread"]  # fmt: skip
    if not all(biased):
        returns = [form for form in returns if "pairs" not in form]
    if not all(biased) and any(biased):
        returns = [form for form in returns if "lists" not in form]
    inner = "" if samples == "flat" or folded or rng.random() > 0.2 else rng.choice(["flat", "flat", "column"])
    if inner:
        shape = "column" if inner == "column" else "flat"
        weights = "out-in" if inner == "column" else weights
    can_loop = signature in {"network", "lists", "lists-last", "dict", "pairs"} and (all(biased) or not any(biased))
    looped = can_loop and rng.random() < 0.45
    dot = rng.choice(["@", "@", "np.dot", "dot"])
    reductions = SQUARED if net.loss == "squared" else ENTROPY
    if samples == "flat":
        reductions = ("sum", "half", "element") if net.loss == "squared" else ("sum", "element")
    reduction = rng.choice(reductions)
    together = net.loss not in {"bce", "ce"} or net.activations[-1] not in {"sigmoid", "softmax"} or rng.random() < 0.75
    logits = net.loss in {"bce", "ce"} and together and rng.random() < 0.25
    update = ""
    if not simple and rng.random() < 0.15:
        update = rng.choice(["in-place", "difference", "returned"])
        looped = looped and update != "returned"
    hard = "" if looped or folded or rng.random() > 0.35 else rng.choice(["reshape", "ranges"])
    name = rng.choice(["gradients", "backprop", "backward", "compute_gradients", "grad", "loss_and_gradients", "bp"])
    form = rng.choice(returns)
    if update == "returned":  # new weights, in the form in which they came
        form = {"dict": "params", "loss-dict": "loss-params", "loss-in-dict": "loss-params"}.get(form, form)
    return Spec(
        net,
        Layout(weights, samples, shape, dot),
        reduction,
        signature,
        form,
        biased,
        folded,
        looped,
        inner,
        from_z=rng.random() < 0.4 or net.activations[0] in {"swish", "gelu", "mish", "bent", "wavy", "bell", "root"},
        helpers=rng.random() < 0.7 or any(name in RARE or name in UNKNOWN for name in net.activations),
        together=together,
        logits=logits,
        late=rng.random() < 0.4,
        update=update,
        hard=hard,
        float32=not simple and not update and rng.random() < 0.04,
        epsilon=rng.choice([1e-8, 1e-12, 1e-15])
        if net.loss in {"bce", "ce"} and not simple and together and not logits and rng.random() < 0.15
        else 0.0,
        words=rng.randrange(4),
        name=name,
        penalty=0.0 if simple or rng.random() > 0.1 else rng.choice([0.01, 0.1, 0.7]),
    )
