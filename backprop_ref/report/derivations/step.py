"""One update of a network by one sample, with everything that it computes."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from backprop_ref.api import trace
from backprop_ref.backends import get_backend
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import Trace
from backprop_ref.formulas import LOSSES, UPDATES, Settings, clipped, decay, decoupled_decay, lasso, together
from backprop_ref.network import Network
from backprop_ref.optimizers import Adam, norms
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.parameters import Parameters, views
from backprop_ref.report.derivations.trees import Entry, Power, Scalar, Symbolic, replaced

CONSTANTS = {"momentum": "mu", "beta1": "beta1", "beta2": "beta2", "rho": "rho", "epsilon": "epsilon"}
"""By field of an optimizer, what its formulas call it."""


@dataclass
class Step:
    """One update by one sample, computed: number `t`, from the optimizer's state `slots` to `slots_after`.

    `trace` is of a batch of one. `da` of a layer is None where it is not needed. `total` is the sum of exp(z − max) in
    the last layer, which the loss of a softmax needs.
    """

    network: Network
    params: Parameters
    optimizer: Any
    """An `Optimizer`, or L-BFGS."""
    learning_rate: float
    trace: Trace
    da: list[Any]
    slots: dict[str, np.ndarray]
    after: Parameters
    slots_after: dict[str, np.ndarray]
    total: float
    t: int = 1
    weight: float | None = None
    """What the sample counts in the loss; None where samples have no weights."""
    shrunk: float | None = None
    """What a gradient is multiplied by whose norm is above clip_norm."""
    constrained: list[np.ndarray] = field(default_factory=list)
    """For each layer, what the weights into each neuron are multiplied by; none where no norm is above max_norm."""

    @classmethod
    def of(
        cls,
        network: Network,
        params: Parameters,
        x: Any,
        y: Any,
        optimizer: Any,
        learning_rate: float,
        slots: Any = None,
        numerics: str | None = None,
        t: int = 1,
        weight: float | None = None,
    ) -> "Step":
        """Update number `t`, which `optimizer` makes from `params` and `slots` (None: new), for x and y of one row.

        L-BFGS makes none from one row.
        """
        backend: Any = get_backend("numpy", numerics)
        seen = trace(network, params, x, y, sample_weight=None if weight is None else [weight], backend=backend)
        with backend.scope():
            above = list(zip(seen.delta, params.W, strict=True))[1:]
            z, a, m = seen.z[-1], seen.a[-1], backend.arithmetic
            total = float(m.total(m.exp(z - m.largest(z)))[0, 0])
            da: list[Any] = [backend.affine_backward_input(delta, W) for delta, W in above]
            output = network.activations[-1]
            error = LOSSES[network.loss].with_output(output).error(m, z, a, seen.y)
            error = error / divisor(network.loss, seen.y, weight) * (1.0 if weight is None else weight)
        da.append(None if together(network.loss, output) else error)
        if isinstance(optimizer, LBFGS):
            return cls(network, params, optimizer, learning_rate, seen, da, {}, params, {}, total, t, weight)
        slots = slots or optimizer.init(params.flat)
        after, slots_after = params.copy(), {name: slot.copy() for name, slot in slots.items()}
        grads = Parameters.from_arrays(seen.dW, seen.db)
        size, limit = float(norms(grads.flat)), optimizer.clip_norm
        shrunk = limit / size if limit is not None and size > limit else None
        replace(optimizer, max_norm=None).step(after, grads, slots_after, learning_rate, weight or 1.0)
        most, factors = optimizer.max_norm, list[np.ndarray]()
        if most is not None and any((norms(W) > most).any() for W in after.W):
            factors = [np.minimum(1.0, most / np.maximum(norms(W), most)).astype(W.dtype) for W in after.W]
        optimizer.constrain(after)
        made = cls(network, params, optimizer, learning_rate, seen, da, slots, after, slots_after, total, t, weight)
        return replace(made, shrunk=shrunk, constrained=factors)

    def entry(self, quantity, layer, indices=("j",)):
        """An entry of a quantity of a layer; of layer -1, that is of x."""
        if layer < 0:
            return Entry("x", None, self.trace.x[0], indices)
        values = getattr(self.params if quantity in {"W", "b"} else self.trace, quantity)[layer]
        return Entry(quantity, layer, values if values.ndim == len(indices) else values[0], indices)

    def settings(self):
        """The numbers of the optimizer that its formulas name."""
        rule, found = self.optimizer, [Scalar("eta", self.learning_rate)]
        named = [(name, getattr(rule, field)) for field, name in CONSTANTS.items() if hasattr(rule, field)]
        found += [Scalar(name, number) for name, number in named if number or name != "mu"]
        if isinstance(rule, Adam):
            found.append(Scalar("t", self.t))
        more = {"lambda": rule.strength(self.weight or 1.0), "lambda1": rule.l1, "c": rule.clip_value, "s": self.shrunk}
        return found + [Scalar(name, number) for name, number in more.items() if number]

    def corrections(self):
        """What Adam divides m and v by: name, formula and value of each."""
        if not isinstance(self.optimizer, Adam):
            return []
        t, values = Scalar("t", self.t), (1.0 - self.slots_after["powers"]).tolist()
        betas = [Scalar(name, getattr(self.optimizer, name)) for name in ("beta1", "beta2")]
        return [(f"c{i}", 1.0 - Power(beta, t), c) for i, (beta, c) in enumerate(zip(betas, values, strict=True), 1)]

    def update(self, quantity, layer):
        """What the optimizer does to W or b of a layer: name, formula and values of each line, the last one the update.

        A dash marks what is new.
        """
        indices, rule = ("k", "j") if quantity == "W" else ("j",), UPDATES[self.optimizer.rule]
        w, g = self.entry(quantity, layer, indices), self.entry(f"d{quantity}", layer, indices)
        known = {each.name: each for each in self.settings()}
        if "c" in known:
            g = clipped(Symbolic(1), g, known["c"])
        if "s" in known:
            g = g * known["s"]
        if quantity == "W" and "lambda1" in known:
            g = lasso(Symbolic(1), w, g, known["lambda1"])
        if quantity == "W" and "lambda" in known:
            strength = known["lambda"]
            if self.optimizer.decoupled:
                w = decoupled_decay(w, Scalar("eta", self.learning_rate) * strength)
            else:
                g = decay(w, g, strength)

        def slots(of, mark=""):
            for name in rule.state:
                values = views(of[name], self.params.sizes)[0 if quantity == "W" else 1][layer]
                yield Entry(f"{name[0]}{mark}", layer, values, indices)

        none = Scalar("", 0.0)
        eta, mu, beta1, epsilon = (known.get(name, none) for name in ("eta", "mu", "beta1", "epsilon"))
        beta2 = known.get("rho", known.get("beta2", none))
        c1, c2 = [Scalar(name, value) for name, _, value in self.corrections()] or (None, None)
        if getattr(self.optimizer, "epsilon_hat", False):
            epsilon = epsilon / Symbolic(1).sqrt(c2)
        settings = Settings(eta, mu, beta1, 1.0 - beta1, beta2, 1.0 - beta2, c1, c2, epsilon)
        changed, *trees = rule.step(Symbolic(1), settings, w, g, *slots(self.slots))
        if quantity == "W" and self.constrained:
            changed = changed * Entry("f", layer, self.constrained[layer], ("j",))
        new = list(slots(self.slots_after, "'"))
        lines = [(each.name, tree, each.values) for each, tree in zip(new, trees, strict=True)]
        named = {id(tree): each for each, tree in zip(new, trees, strict=True)}
        return [*lines, (f"{quantity}'", replaced(changed, named), getattr(self.after, quantity)[layer])]
