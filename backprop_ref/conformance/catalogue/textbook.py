"""The textbook pass as a table of small rules, so that a known bug is a rule or two replaced, and two bugs compose.

Every rule is a function of the pass so far and of the layer, and gives one quantity. The rules compute on
`backprop_ref.conformance.rounding.balls.Ball`, so that right and wrong passes come with a bound on their rounding.
Activations and losses are those of `backprop_ref.formulas`.
"""

import copy
import functools

from backprop_ref.conformance.rounding import balls
from backprop_ref.conformance.rounding.balls import ARITHMETIC, Ball
from backprop_ref.conformance.rounding.precision import Precision
from backprop_ref.formulas import ACTIVATIONS, LOSSES, together
from backprop_ref.optimizers import SGD, AdaGrad, RMSprop


class Pass:
    """One forward and backward pass over a batch: the arrays so far, and the rules that make the next.

    Attributes
    ----------
    network, W, b, x, y, da, weight_decay, optimizer
        Of the case; arrays as `Ball`.
    nominal : int
        The size that a batch should have; the last one may be shorter.
    z, a, delta, dW, db : dict of int to Ball
        What has been computed, by layer.
    loss : Ball or None
    given : dict of (str, int) to array
        Values that take the place of computed ones in whatever follows.
    values : dict of str to Ball
        The numbers that a parametric bug needs, such as a learning rate.
    in_steps : bool
        Whether this is a step of training, and `states` what the optimizer keeps for each tensor.
    is_part : bool
        Whether this is a pass over some rows of another, and `summed` what such passes give together.
    """

    def __init__(self, case, rules, precision, values, x, y, nominal, given=None):
        self.network, self.optimizer, self.weight_decay = case.network, case.optimizer, case.weight_decay
        self.rules, self.precision, self.values, self.nominal = rules, precision, values, nominal
        self.given = given or {}
        self.x, self.y = self.exact(x), self.exact(y)
        self.da = None if case.da is None else self.exact(case.da)
        self.W, self.b = [self.exact(W) for W in case.params.W], [self.exact(b) for b in case.params.b]
        self.z, self.a, self.delta, self.dW, self.db = {}, {}, {}, {}, {}
        self.loss = None
        self.in_steps, self.states = False, {}
        self.is_part, self.summed = False, {}

    def __copy__(self):
        """Much as copy.copy does it, in a third of the time."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def part(self, rows, W, b):
        """A pass over some of the rows with weights of its own, of which nothing is computed yet."""
        part = copy.copy(self)
        part.W, part.b, part.is_part = W, b, True
        part.x, part.y, part.da = self.x[rows], self.y[rows], None if self.da is None else self.da[rows]
        part.z, part.a, part.delta, part.dW, part.db, part.loss = {}, {}, {}, {}, {}, None
        return part

    def exact(self, array):
        """An array as a Ball without error."""
        return Ball.exact(array, self.precision)

    @property
    def last(self):
        """Index of the output layer."""
        return self.network.n_layers - 1

    @property
    def squared(self):
        """Whether the loss is one of the squared errors."""
        return self.network.loss.endswith("squared_error")

    @property
    def pair(self):
        """The formulas of the loss with the output activation."""
        return LOSSES[self.network.loss].with_output(self.network.activations[self.last])

    @property
    def batch(self):
        """Number of samples."""
        return self.x.shape[0]

    @property
    def n_out(self):
        """Number of outputs."""
        return self.y.shape[1]

    def rule(self, name, *arguments):
        """What the rule of that name gives."""
        return self.rules[name](self, *arguments)

    def _keep(self, name, layer, ball):
        """Stores a quantity, and returns it under its name; a given value takes its place in what follows."""
        given = self.given.get((name, layer))
        getattr(self, name)[layer] = ball if given is None else self.exact(given)
        return (name, layer), ball

    def forward(self):
        """z and a of every layer, as pairs of (name, layer) and Ball."""
        for layer in range(self.network.n_layers):
            yield self._keep("z", layer, self.rule("z", layer))
            yield self._keep("a", layer, self.rule("a", layer))

    def backward(self):
        """loss, delta, dW and db of every layer, and dx, in the order of the computation."""
        if self.da is None:
            self.loss = self.rule("loss") if self.loss is None else self.loss
            yield ("loss", 0), self.loss
        for layer in reversed(range(self.network.n_layers)):
            yield self._keep("delta", layer, self.rule("delta", layer))
            yield self._keep("dW", layer, self.rule("regularised_dW", layer))
            yield self._keep("db", layer, self.rule("regularised_db", layer))
        yield ("dx", 0), self.rule("da", -1)


def predict(case, rules, precision=None, values=None, given=None, forward=None):
    """Everything that the rules compute for a case, one after the other, as pairs of (name, layer) and Ball.

    Wrong rules overflow and divide by zero: floating-point warnings are for the caller to switch off.

    Parameters
    ----------
    case : Case
    rules : dict
        `RULES`, or with some replaced.
    precision : Precision, optional
        Default: that of the case.
    values : dict, optional
        The numbers of parametric bugs.
    given : dict, optional
        Arrays by (name, layer) that take the place of computed ones in what follows.
    forward : Pass, optional
        A pass whose z and a are taken over, where `rules` do not change them, and its loss if that is the same too.
    """
    precision, values = precision or Precision.of(case.params.dtype), values or {}
    seen = Pass(case, rules, precision, values, case.x, case.y, len(case.x), given)
    if forward is None:
        yield from seen.forward()
    else:
        seen.z, seen.a = forward.z, forward.a
        seen.loss = forward.loss if all(rules[name] is RULES[name] for name in LOSS) else None
        yield from ((("z", layer), z) for layer, z in seen.z.items())
        yield from ((("a", layer), a) for layer, a in seen.a.items())
    yield from seen.backward()
    if case.da is None:
        yield from weights_after_steps(case, rules, precision, values)


def weights_after_steps(case, rules, precision, values):
    """W and b after the three steps, as pairs of (name, layer) and Ball."""
    seen = Pass(case, rules, precision, values, case.x, case.y, case.batch_size)
    states = {(name, layer): {"t": 0} for name in "Wb" for layer in range(case.network.n_layers)}
    W, b = seen.W, seen.b
    for x, y in rules["batches"](case):
        seen = Pass(case, rules, precision, values, x, y, case.batch_size)
        seen.in_steps, seen.states, seen.W, seen.b = True, states, list(W), list(b)
        seen.weight_decay = 0.0  # the optimizer's acts
        for _ in (*seen.forward(), *seen.backward()):
            pass
        for layer in range(case.network.n_layers):
            W[layer] = seen.rule("updated", "W", layer, states["W", layer])
            b[layer] = seen.rule("updated", "b", layer, states["b", layer])
    yield from ((("W", layer), ball) for layer, ball in enumerate(W))
    yield from ((("b", layer), ball) for layer, ball in enumerate(b))


# ---- forward -------------------------------------------------------------------------------------------------------


def inputs(p, layer):
    """What a layer reads: x, or a of the layer before."""
    return p.a[layer - 1] if layer > 0 else p.x


def z(p, layer):
    return p.rule("inputs", layer) @ p.W[layer] + p.b[layer]


def a(p, layer):
    return activate(p.network.activations[layer], p.z[layer])


def activate(name, z):
    """The activation of that name."""
    return ACTIVATIONS[name].forward(ARITHMETIC, z)


def target(p, use):
    """The labels that the output is compared with; `use` is loss or error."""
    return p.y


def terms(p):
    """The loss of each entry."""
    return p.pair.terms(ARITHMETIC, p.z[p.last], p.a[p.last], p.rule("target", "loss"))


def divisor(p):
    """n of the loss: the batch, and for the losses that are means over the outputs these too."""
    return LOSSES[p.network.loss].divisor(p.batch, p.n_out)


def loss(p):
    return p.rule("terms").sum() / divisor(p)


# ---- backward ------------------------------------------------------------------------------------------------------


def delta(p, layer):
    """dLoss/dz of a layer."""
    if layer < p.last:
        return p.rule("slope", layer, p.rule("da", layer))
    if p.da is not None:
        return p.rule("slope", layer, p.da)
    mean = p.rule("mean", p.rule("error"))
    return mean if together(p.network.loss, p.network.activations[layer]) else p.rule("slope", layer, mean)


def error(p):
    """Squared errors: dLoss/da of the output, cross-entropies: dLoss/dz; before the mean."""
    return p.pair.error(ARITHMETIC, p.z[p.last], p.a[p.last], p.rule("target", "error"))


def mean(p, error):
    """Where the 1/batch enters."""
    return error / divisor(p)


def slope(p, layer, da):
    """delta from da."""
    return derived(p.network.activations[layer], p.z[layer], p.a[layer], da)


def derived(name, z, a, da):
    """The product of da with the derivative of the activation of that name; for softmax with its Jacobian."""
    return ACTIVATIONS[name].backward(ARITHMETIC, z, a, da)


def da(p, layer):
    """dLoss/da of a layer, from the delta of the next; of layer −1 it is dx."""
    return p.delta[layer + 1] @ p.rule("weights_back", layer + 1).T


def weights_back(p, layer):
    """W that carries delta back through a layer."""
    return p.W[layer]


def left(p, layer):
    """The left factor of dW: what the layer read."""
    return inputs(p, layer)


def dW(p, layer):
    return p.rule("left", layer).T @ p.delta[layer]


def db(p, layer):
    return p.delta[layer].sum(axis=0)


def regularised_dW(p, layer):
    """dW with everything that is added to it."""
    return p.rule("scaled", "dW", p.rule("dW", layer) + p.rule("decay", p.W[layer], p.weight_decay))


def regularised_db(p, layer):
    return p.rule("scaled", "db", p.rule("db", layer))


def decay(p, W, strength):
    """What weight decay adds to dW: λ·W."""
    return W * strength if strength else W.zeros_like()


def scaled(p, name, gradient):
    """The gradient as it is handed out."""
    return gradient


# ---- steps ---------------------------------------------------------------------------------------------------------


def batches(case):
    """x and y of each step."""
    return case.batches()


def updated(p, name, layer, state):
    """W or b of a layer after a step; `state` is that tensor's own and lives from step to step."""
    w = (p.W if name == "W" else p.b)[layer]
    g = p.rule("accumulated", name, layer)
    if name == "W" and p.optimizer.decoupled:
        w = w - p.rule("decay", w, p.optimizer.learning_rate * p.optimizer.weight_decay)
    elif name == "W":
        g = g + p.rule("decay", w, p.optimizer.weight_decay)
    state["t"] += 1
    return w - p.rule("change", g, state)


def accumulated(p, name, layer):
    """The gradient that a step uses."""
    return (p.dW if name == "W" else p.db)[layer]


def change(p, g, state):
    """What a step takes away."""
    rooted = isinstance(p.optimizer, RMSprop | AdaGrad)
    return p.rule("sgd" if isinstance(p.optimizer, SGD) else "rooted" if rooted else "adam", g, state)


def rooted(p, g, state):
    """``η·g / (√v + ε)``, with ``v ← ρ·v + (1−ρ)·g²`` or ``v ← v + g²``."""
    old, new = (p.optimizer.rho, 1.0 - p.optimizer.rho) if isinstance(p.optimizer, RMSprop) else (1.0, 1.0)
    v = state["v"] = state.get("v", g.zeros_like()) * old + (g * g) * new
    return (g * p.optimizer.learning_rate) / (balls.sqrt(v) + p.optimizer.epsilon)


def sgd(p, g, state):
    """η·v, with ``v ← μ·v + g``; nesterov: η·(g + μ·v)."""
    momentum, rate = p.optimizer.momentum, p.optimizer.learning_rate
    if not momentum:
        return g * rate
    state["v"] = p.rule("velocity", g, state.get("v", g.zeros_like()))
    return (g + state["v"] * momentum if p.optimizer.nesterov else state["v"]) * rate


def velocity(p, g, v):
    return v * p.optimizer.momentum + g


def adam(p, g, state):
    """``η·(m/c1) / (√(v/c2) + ε)`` with ``m ← β1·m + (1−β1)·g``, ``v ← β2·v + (1−β2)·g²``."""
    beta1, beta2 = p.optimizer.beta1, p.optimizer.beta2
    nothing = g.zeros_like()
    m = state["m"] = state.get("m", nothing) * beta1 + g * (1.0 - beta1)
    v = state["v"] = state.get("v", nothing) * beta2 + (g * g) * (1.0 - beta2)
    return p.rule("adam_step", m, v, state["t"])


def adam_step(p, m, v, t):
    optimizer = p.optimizer
    m, v = p.rule("corrected", m, v, t)
    return (m * optimizer.learning_rate) / p.rule("adam_root", v, t)


def corrected(p, m, v, t):
    """m/c1 and v/c2, which take out that both started at 0."""
    return m / (1.0 - p.optimizer.beta1**t), v / (1.0 - p.optimizer.beta2**t)


def adam_root(p, v, t):
    return balls.sqrt(v) + p.optimizer.epsilon


RULES = {
    rule.__name__: rule
    for rule in (
        *(inputs, z, a, target, terms, loss, delta, error, mean, slope, da, weights_back, left, dW, db),
        *(regularised_dW, regularised_db, decay, scaled, batches, updated, accumulated, change, sgd, velocity),
        *(adam, adam_step, corrected, adam_root, rooted),
    )
}
"""The right rules by name."""

FORWARD = {"inputs", "z", "a"}
"""The rules that the forward pass uses."""

LOSS = {"loss", "terms", "target"}
"""The rules that the loss uses."""


def replaced(*changes):
    """`RULES` with some replaced, one change after the other.

    A change is a dictionary from the name of a rule to a function whose first argument is the rule it replaces.
    """
    rules = dict(RULES)
    for change in changes:
        for name, wrong in change.items():
            rules[name] = functools.partial(wrong, rules[name])
    return rules
