"""The kinds of bug, each as a change to a plan's text: those of the catalogue, and more that were met in the wild."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

from .formulas import KNOWN
from .layout import bracketed
from .plan import Plan, derivative, jacobian
from .spec import Spec

SMOOTH = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Kind:
    """A kind of bug.

    Attributes
    ----------
    id, rule : str
        Of the catalogue where it is there; and the rule of the backward pass that it acts on.
    choices : function
        The layers where a spec can have it: a list of tuples, empty if it cannot.
    apply : function of a plan, layers and the number of the form
    forms : int
    needs_loss : bool
        Without a loss it is a convention.
    prepare : function of a spec
        The spec that shows it.
    also : tuple of str
        Ids that name it as well.
    alone : bool
        It hides everything else.
    """

    id: str
    rule: str
    choices: Callable[[Spec], list[tuple[int, ...]]]
    apply: Callable[[Plan, tuple[int, ...], int], None]
    forms: int = 1
    needs_loss: bool = False
    prepare: Callable[[Spec], Spec] = lambda spec: spec
    also: tuple[str, ...] = ()
    alone: bool = False


# ---- where ---------------------------------------------------------------------------------------------------------


def some(layers) -> list[tuple[int, ...]]:
    """All of these layers together, and each alone."""
    layers = tuple(layers)
    alone = [(layer,) for layer in layers]
    return ([layers] * max(1, len(layers)) + alone if len(layers) > 1 else alone) if layers else []


def n_of(spec):
    return range(spec.net.last + 1)


def whole(spec):
    """It acts on all layers."""
    return [tuple(n_of(spec))]


def when(condition, where=whole):
    return lambda spec: where(spec) if condition(spec) else []


def output(spec):
    return [(spec.net.last,)]


def hidden(*names):
    return lambda spec: some(
        layer for layer in range(spec.net.last) if not names or spec.net.activations[layer] in names
    )


def hidden_and_output(*names):
    """Where the derivative of such an activation is used."""

    def choices(spec):
        layers = [layer for layer in range(spec.net.last) if spec.net.activations[layer] in names]
        if has_output_slope(spec) and spec.net.activations[-1] in names:
            layers.append(spec.net.last)
        return some(layers)

    return choices


def layers_where(condition):
    return lambda spec: some(layer for layer in n_of(spec) if condition(spec, layer))


def biased(spec, layer):
    return spec.biased[layer]


def n_in(spec, layer):
    return spec.net.sizes[layer]


def n_out(spec, layer):
    return spec.net.sizes[layer + 1]


def batched(spec):
    """Whether arrays of several samples are at hand."""
    return not spec.inner and spec.layout.samples != "flat"


def has_output_slope(spec):
    return not (spec.together and spec.net.loss in {"bce", "ce"} and spec.net.activations[-1] in {"sigmoid", "softmax"})


def entropy(spec):
    return spec.net.loss in {"bce", "ce"}


def squared(spec):
    return spec.net.loss == "squared"


def outputs(spec):
    return spec.net.sizes[-1]


# ---- how -----------------------------------------------------------------------------------------------------------


def put(slot, wrong):
    """``wrong(right text, names)`` in the place of a rule."""
    return lambda plan, layers, form: plan.replace(slot, layers, wrong)


def slope(formula):
    """delta = da · formula."""
    return put("slope", lambda right, n: f"{n.da} * {bracketed(formula(n))}")


def factors(change):
    """Divisors of the gradient as a list of texts, changed early or late."""

    def apply(plan, layers, form):
        change(plan, form)

    return apply


def drop(name, instead):
    """A divisor without m or k."""

    def change(plan, form):
        for texts in (plan.early, plan.lates):
            texts[:] = [instead.get(text, text) for text in texts]

    return factors(change)


def factor(*texts, forms_late=True):
    """One more factor, in delta or in what is handed out."""

    def change(plan, form):
        text = texts[form % len(texts)]
        (plan.lates if form >= len(texts) else plan.early).append(text)

    return factors(change)


def on_error(*wrongs):
    def apply(plan, layers, form):
        right = plan.error
        plan.error = lambda n: wrongs[form](right(n), n)

    return apply


def on_target(*wrongs):
    def apply(plan, layers, form):
        right = plan.target
        plan.target = lambda n: wrongs[form](right(n), n)

    return apply


def on_terms(wrong):
    def apply(plan, layers, form):
        right = plan.terms
        plan.terms = lambda n: wrong(right(n), n)

    return apply


def on_loss(*texts):
    return lambda plan, layers, form: plan.loss_factors.append(texts[form])


def post(statement):
    """A statement after the gradients of a layer."""

    def apply(plan, layers, form):
        def line(n):
            return statement(n, form)

        for layer in layers:
            plan.post[layer].append(line)

    return apply


def several(*applies):
    def apply(plan, layers, form):
        for one in applies:
            one(plan, layers, form)

    return apply


def m_in(spec):
    return spec.reduction in {"mean", "half-mean", "element", "half-element"} and spec.layout.samples != "flat"


def k_in(spec):
    return spec.reduction in {"element", "half-element"}


def p_slope(n):
    return f"{n.p} * (1 - {n.p})"


def own(name):
    """The activation's name is that."""
    return lambda spec: name in spec.net.activations


def together_with(loss):
    return lambda spec: spec.net.loss == loss and not has_output_slope(spec)


def logs(base):
    return lambda right, n: (
        f"({right}) / np.log({base})" if "np.log(" not in right else right.replace("np.log(", f"np.log{base}(")
    )


def at_activation(n):
    name = n.activation
    if name == "sigmoid":
        return (
            f"(1 / (1 + np.exp(-{n.a}))) * (1 - 1 / (1 + np.exp(-{n.a})))"
            if not n.spec.helpers
            else f"sigmoid_prime({n.a})"
        )
    return f"1 - np.tanh({n.a}) ** 2" if not n.spec.helpers else f"tanh_prime({n.a})"


def square(spec, layer):
    return n_in(spec, layer) == n_out(spec, layer)


def carries(condition=lambda spec, layer: True):
    """Layers above the first, through whose weights delta is carried back."""
    return lambda spec: some(layer for layer in range(1, spec.net.last + 1) if condition(spec, layer))


def rate_of(spec):
    return ("lr", "learning_rate", "eta", "lr")[spec.words] if spec.update == "in-place" else "RATE"


def raw_error(right, n):
    return re.sub(rf"\b{re.escape(n.delta)}", lambda _: n.da, right)


def samples_only(which, start):
    def wrong(right, n):
        return n.o.outer(n.o.sample(bracketed(n.plan.text("left", n)), which), n.o.sample(n.delta, which))

    return wrong


def only_sample(index):
    which = "-1:" if index < 0 else ":1"

    def apply(plan, layers, form):
        scale = " * m" if form == 1 else ""
        plan.replace("dW", layers, lambda right, n: _times(samples_only(which, index)(right, n), scale))
        plan.replace("db", layers, lambda right, n: _times(n.o.over_samples(n.o.sample(n.delta, which)), scale))

    return apply


def _times(text, scale):
    return f"({text}){scale}" if scale else text


def mean_first(right, n):
    left, axis = bracketed(n.plan.text("left", n)), n.o.axis
    return n.o.outer(f"np.mean({left}, axis={axis}, keepdims=True)", f"np.sum({n.delta}, axis={axis}, keepdims=True)")


def last_sample(plan, layers, form):
    if plan.spec.inner:
        plan.assign_samples = True
    else:
        only_sample(-1)(plan, layers, form)


def updating_within(plan, layers, form):
    plan.update_within = True


def set_state(add):
    """What is handed out is added to what earlier calls left; a state for each shape."""

    def apply(plan, layers, form):
        plan.module.append("STATE = {}")
        for layer in range(plan.spec.net.last + 1):
            for w in "Wb" if plan.spec.biased[layer] else "W":
                name = f"d{w}{layer + 1}"
                key = f'("{name}", {name}.shape)'
                plan.tail.append(f"{name} = STATE[{key}] = {add} * STATE.get({key}, 0.0) + {name}" if add != 1 else
                                 f"{name} = STATE[{key}] = STATE.get({key}, 0.0) + {name}")  # fmt: skip

    return apply


def changed_inputs(plan, layers, form):
    x, axis = plan.outer_x, plan.spec.layout.axis
    if form == 0:
        plan.head.append(f"{x} -= np.mean({x}, axis={axis}, keepdims=True)")
    else:
        plan.tail.append(f"{plan.outer_y} *= 0.5")


def rolled(shift, of):
    def wrong(right, n):
        axis = n.o.axis if of == "samples" else 1 - n.o.axis
        if n.o.samples == "flat":
            return f"np.roll({right}, {shift})"
        return f"np.roll({right}, {shift}, axis={axis})"

    return wrong


def hardened(right, n):
    if n.o.samples == "rows":
        return f"np.eye(k)[np.argmax({right}, axis=1)]"
    return f"np.eye(k)[:, np.argmax({right}, axis=0)]" if n.o.samples == "columns" else f"np.eye(k)[np.argmax({right})]"


def class_number(right, n):
    if n.o.samples == "flat":
        return f"np.argmax({right})"
    return f"np.argmax({right}, axis={1 - n.o.axis}, keepdims=True)"


def over_batch(right, n):
    axis = n.o.axis
    return f"np.exp({n.z}) / np.sum(np.exp({n.z}), axis={axis}, keepdims=True)"


def epsilon_error(epsilon):
    def wrong(right, n):
        p, y = n.p, n.target
        text = f"-{y} / ({p} + {epsilon})"
        return f"({text} + (1 - {y}) / (1 - {p} + {epsilon}))" if n.spec.net.loss == "bce" else text

    return wrong


def neighbour(shift):
    def wrong(right, n):
        other = n.at(shift)
        return f"{n.da} * {derivative(n.activation, n, other.z, other.a)}"

    return wrong


def same_width(shift):
    def choices(spec):
        fits = [
            layer
            for layer in range(spec.net.last)
            if 0 <= layer + shift <= spec.net.last
            and n_out(spec, layer) == n_out(spec, layer + shift)
            and spec.net.activations[layer] in SMOOTH
        ]
        return some(fits)

    return choices


def of_output(right, n):
    name = n.spec.net.activations[-1]
    return f"{n.da} * {derivative(name, n)}" if name != "identity" else n.da


def both(*wheres):
    return lambda spec: [one for where in wheres for one in where(spec)]


def cut(rows_or_columns, which):
    """A part of dW, and of db, set to zero."""

    def statement(n, form):
        part = getattr(n.o, rows_or_columns)(n.dW, which)
        lines = [f"{part} = 0"]
        if rows_or_columns == "outputs_of" and form == 0 and n.layer not in n.plan.unbiased:
            lines.append(f"{n.db}[{which if n.o.biases != 'row' else ':, ' + which}] = 0")
        return "\n".join(lines)

    return post(statement)


def loop_of_other(shift):
    def statement(n, form):
        width = n.spec.net.sizes[n.layer + 1 + shift]
        part, db = n.o.outputs_of(n.dW, f"{width}:"), n.db
        lines = [f"{part} = 0"]
        if n.layer not in n.plan.unbiased:
            lines.append(f"{db}[{f'{width}:' if n.o.biases != 'row' else f':, {width}:'}] = 0")
        return "\n".join(lines)

    return post(statement)


def wide(spec, layer, least=3):
    return n_out(spec, layer) >= least


def no_hard(spec):
    return dataclasses.replace(spec, hard="" if spec.hard == "ranges" else spec.hard)


def unrolled(spec):
    return dataclasses.replace(spec, looped=False, hard="" if spec.hard == "ranges" else spec.hard)


def penalised(spec):
    if not spec.has_loss:
        spec = returning_loss(spec)
    return dataclasses.replace(no_hard(spec), penalty=spec.penalty or 0.1)


def keyword(spec):
    """A function that takes the keyword weight_decay, in the documented form."""
    returns = "loss-lists" if spec.has_loss else "lists"
    return dataclasses.replace(
        no_hard(spec), signature="network", returns=returns, penalty=0.0, decay_keyword=True, folded=False,
        biased=(True,) * len(spec.biased), update="",
    )  # fmt: skip


def returning_loss(spec):
    form = {
        "lists": "loss-lists",
        "pairs": "loss-pairs",
        "dict": "loss-dict",
        "params": "loss-params",
        "spread": "loss-spread",
    }
    return dataclasses.replace(spec, returns=form.get(spec.returns, spec.returns))


def returning_no_loss(spec):
    form = {"loss-in-dict": "dict", "lists-loss": "lists"}.get(spec.returns, spec.returns.removeprefix("loss-"))
    return dataclasses.replace(spec, returns=form, penalty=0.0)


def two_stage(spec):
    return dataclasses.replace(spec, together=False, logits=False, epsilon=0.0)


def no_penalty(spec):
    return dataclasses.replace(no_hard(spec), penalty=0.0)


def loss_form(spec):
    return dataclasses.replace(spec, epsilon=0.0)


def loop_over_samples(spec):
    """One that adds up the gradients of single samples, each layer with names of its own."""
    if spec.layout.samples == "flat":
        return spec
    spec = dataclasses.replace(spec, layout=spec.layout._replace(biases="flat"), inner="flat", folded=False)
    return dataclasses.replace(unrolled(spec), hard="", update="")


def in_place(spec):
    return dataclasses.replace(unrolled(spec), update="in-place", inner="")


def going_back(plan, layers, form):
    plan.update_going_back = True


def other_penalty(plan, layers, form):
    plan.penalty = (1.0, 0.25)[form]


def no_decay(right, n):
    return ""


def changed_decay(*texts):
    """``texts[form]`` with {W} and λ."""

    def wrong(form):
        def text(right, n):
            strength = "weight_decay" if n.spec.decay_keyword else "LAMBDA"
            return texts[form].format(W=n.W, b=n.b, c=strength, g=f"({n.plan.text('dW', n)})")

        return text

    return lambda plan, layers, form: plan.replace("decay", layers, wrong(form))


def decay_on_bias(plan, layers, form):
    strength = "weight_decay" if plan.spec.decay_keyword else "LAMBDA"
    plan.replace("decay_b", layers, lambda right, n: f" + {strength} * {n.b}")


def zero_all(plan, layers, form):
    plan.replace("dW", layers, lambda right, n: f"np.zeros_like({n.W})")
    plan.replace("db", layers, lambda right, n: f"np.zeros_like({n.b})")


def forward_bias(text):
    def wrong(right, n):
        product = n.o.product(n.plan.text("left", n), n.W)
        return product + text.format(b=n.o.bias(n.b), n=n.spec.net.sizes[n.layer])

    return put("z", wrong)


def _fits(spec, layers, shift):
    return all(0 <= l + shift <= spec.net.last and n_out(spec, l) == n_out(spec, l + shift) for l in layers)


def _first(n):
    """The network's input."""
    return f"{n.words['a']}[0]" if n.looped else n.x


def row_sum(right, n):
    axis = 0 if n.o.in_out else 1
    shape = {"flat": "-1", "row": "1, -1", "column": "-1, 1"}[n.o.biases]
    text = f"np.sum({n.dW}, axis={axis})"
    return text if n.o.biases == "flat" else f"{text}.reshape({shape})"


_EACH = layers_where(lambda spec, layer: True)
_BIASED = layers_where(biased)
_MANY = when(batched, _EACH)
_MANY_ABOVE = when(batched, carries())
_BIASED_MANY = layers_where(lambda spec, layer: batched(spec) and biased(spec, layer))

KINDS: tuple[Kind, ...] = (
    # every tensor
    Kind("missing-mean", "factor", when(m_in), drop("m", {" / m": "", " / (m * k)": " / k"}), needs_loss=True),
    Kind("mean-twice", "factor", when(batched), factor(" / m"), 2, needs_loss=True, prepare=no_hard),
    Kind("mean-over-outputs", "factor", when(lambda s: not k_in(s) and outputs(s) > 2), factor(" / k"), 2, True,
         no_hard),
    Kind("sum-over-outputs", "factor", when(lambda s: k_in(s) and outputs(s) > 2),
         drop("k", {" / (m * k)": " / m", " / k": ""}), needs_loss=True),
    Kind("missing-two", "factor", when(lambda s: squared(s) and not s.reduction.startswith("half")),
         on_error(lambda right, n: right.removeprefix("2 * ")), needs_loss=True),
    Kind("extra-two", "factor", when(squared), on_error(lambda right, n: f"2 * {right}"), needs_loss=True,
         also=("loss-half",)),  # that is, a loss with a ½ or a gradient with a 2 too many
    Kind("sign", "factor", whole, on_error(lambda right, n: f"-{bracketed(right)}")),
    Kind("learning-rate-folded", "factor", whole, factor(" * 0.1", " * 0.01", " * 0.3"), 6, True, no_hard),
    Kind("log-base-2", "factor", when(entropy), factor(" / np.log(2)"), needs_loss=True),
    Kind("log-base-10", "factor", when(entropy), factor(" / np.log(10)"), needs_loss=True),
    Kind("all-zero", "factor", when(lambda s: all(s.biased)), zero_all, alone=True),
    # the loss
    Kind("loss-sum", "loss", when(m_in), on_loss(" * m"), needs_loss=True, prepare=loss_form),
    Kind("loss-outputs", "loss", when(lambda s: outputs(s) > 2), on_loss(" * k", " / k"), 2, True, loss_form),
    Kind("loss-half", "loss", when(squared), on_loss(" * 0.5"), needs_loss=True, prepare=loss_form),
    Kind("loss-log-base-2", "loss", when(entropy), on_terms(logs(2)), needs_loss=True,
         prepare=lambda s: dataclasses.replace(loss_form(s), logits=False)),
    Kind("loss-log-base-10", "loss", when(entropy), on_terms(logs(10)), needs_loss=True,
         prepare=lambda s: dataclasses.replace(loss_form(s), logits=False)),
    Kind("loss-sign", "loss", whole, on_loss(" * -1"), needs_loss=True, prepare=loss_form),
    Kind("loss-one-sided", "loss", when(lambda s: s.net.loss == "bce"),
         on_terms(lambda right, n: f"-{n.y} * np.log({n.p})"), needs_loss=True, prepare=loss_form),
    # forward
    Kind("bias-in-forward-loop", "forward", layers_where(lambda s, l: biased(s, l) and n_in(s, l) > 1),
         forward_bias(" + {n} * {b}")),
    Kind("bias-added-twice", "forward", _BIASED, forward_bias(" + {b} + {b}"), also=("bias-in-forward-loop",)),
    Kind("bias-not-added", "forward", _BIASED, forward_bias("")),
    Kind("hidden-activation-missing", "forward", hidden("sigmoid", "tanh", "relu"), put("act", lambda right, n: n.z)),
    Kind("output-activation-missing", "forward",
         when(lambda s: s.net.activations[-1] in {"sigmoid", "tanh"} and squared(s), output),
         put("act", lambda right, n: n.z)),
    Kind("softmax-over-batch", "forward", when(lambda s: batched(s) and s.net.loss == "ce", output),
         put("act", over_batch), prepare=lambda s: dataclasses.replace(s, logits=False)),
    # the output rule
    Kind("softmax-extra-derivative", "output", when(together_with("ce"), output),
         on_error(lambda r, n: f"{r} * {p_slope(n)}")),
    Kind("softmax-jacobian-on-top", "output", when(together_with("ce"), output),
         on_error(lambda r, n: f"({jacobian(n, r, n.p)})")),
    Kind("softmax-diagonal", "output",
         when(lambda s: s.net.activations[-1] == "softmax" and has_output_slope(s), output),
         put("slope", lambda right, n: f"{n.da} * {p_slope(n)}"),
         prepare=lambda s: two_stage(s) if s.net.loss == "ce" else s),
    Kind("softmax-twice", "output", when(together_with("ce"), output),
         on_error(lambda r, n: f"({jacobian(n, f'softmax({n.p}) - {n.target}', n.p)})")),
    Kind("sigmoid-twice", "output", when(together_with("bce"), output),
         on_error(lambda r, n: f"(1 / (1 + np.exp(-{n.p})) - {n.target}) * {p_slope(n)}")),
    Kind("sigmoid-extra-derivative", "output", when(together_with("bce"), output),
         on_error(lambda r, n: f"{r} * {p_slope(n)}")),
    Kind("output-derivative-missing", "output",
         when(lambda s: squared(s) and s.net.activations[-1] in {"sigmoid", "tanh", "softmax"}, output),
         put("slope", lambda right, n: n.da)),
    Kind("cross-entropy-da-as-delta", "output", when(lambda s: entropy(s) and has_output_slope(s), output),
         put("slope", lambda right, n: n.da), prepare=two_stage,
         also=("output-derivative-missing", "cross-entropy-at-activation")),
    Kind("label-broadcast", "output", when(lambda s: outputs(s) == 1 and batched(s), output),
         on_target(lambda r, n: f"np.mean({r})")),
    Kind("labels-rolled", "output", when(batched, output),
         on_target(rolled(1, "samples"), rolled(-1, "samples"), lambda r, n: n.o.sample(r, "::-1")), 3),
    Kind("labels-shifted", "output", when(lambda s: outputs(s) > 2, output),
         on_target(rolled(1, "units"), rolled(-1, "units")), 2),
    Kind("labels-not-one-hot", "output", when(together_with("ce"), output), on_target(class_number)),
    Kind("labels-hardened", "output", when(together_with("ce"), output), on_target(hardened)),
    Kind("log-epsilon", "output", when(lambda s: entropy(s) and has_output_slope(s), output),
         on_error(epsilon_error("1e-3"), epsilon_error("1e-5"), epsilon_error("1e-8")), 3, prepare=two_stage),
    # the slope
    Kind("derivative-missing", "slope", hidden("sigmoid", "tanh", "leaky_relu"), put("slope", lambda right, n: n.da)),
    Kind("derivative-at-activation", "slope", hidden_and_output(*SMOOTH), slope(at_activation)),
    Kind("derivative-fed-z", "slope", hidden_and_output(*SMOOTH),
         slope(lambda n: f"{n.z} * (1 - {n.z})" if n.activation == "sigmoid" else f"1 - {n.z} ** 2")),
    Kind("tanh-slope-linear", "slope", hidden_and_output("tanh"), slope(lambda n: f"1 - {n.a}")),
    Kind("tanh-slope-of-sigmoid", "slope", hidden_and_output("tanh"), slope(lambda n: f"{n.a} * (1 - {n.a})")),
    Kind("sigmoid-slope-of-tanh", "slope", hidden_and_output("sigmoid"), slope(lambda n: f"1 - {n.a} ** 2")),
    Kind("activation-for-derivative", "slope", hidden_and_output(*SMOOTH), slope(lambda n: n.a)),
    Kind("derivative-twice", "slope", hidden_and_output(*SMOOTH),
         put("slope", lambda right, n: f"{n.da} * {derivative(n.activation, n)} * {derivative(n.activation, n)}")),
    Kind("derivative-of-neighbour", "slope", both(same_width(1), same_width(-1)),
         lambda plan, layers, form: plan.replace("slope", layers, neighbour(1 if _fits(plan.spec, layers, 1) else -1))),
    Kind("derivative-of-output-activation", "slope",
         when(lambda s: s.net.activations[-1] != "softmax" and s.net.activations[0] != s.net.activations[-1]
              and s.net.activations[0] in KNOWN, hidden()), put("slope", of_output)),
    Kind("relu-mask-missing", "slope", hidden("relu"), put("slope", lambda right, n: n.da),
         also=("derivative-missing",)),
    Kind("relu-mask-on-delta", "slope", hidden("relu"), put("slope", lambda right, n: f"{n.da} * ({n.da} > 0)")),
    Kind("relu-guided", "slope", hidden("relu"), put("slope", lambda right, n: f"{right} * ({n.da} > 0)")),
    Kind("leaky-slope-forgotten", "slope", hidden_and_output("leaky_relu"), slope(lambda n: f"{n.z} > 0")),
    Kind("leaky-slope-other", "slope", hidden_and_output("leaky_relu"),
         slope(lambda n: f"np.where({n.z} > 0, 1.0, 0.1)")),
    Kind("slope-alone", "slope", hidden("sigmoid", "tanh"),
         put("slope", lambda right, n: f"{derivative(n.activation, n)} * np.ones_like({n.z})"),
         also=("upstream-missing",)),
    # the carry
    Kind("transposed-weights", "carry", carries(lambda s, l: square(s, l) and n_in(s, l) > 1),
         put("back", lambda right, n: n.o.back(n.delta, n.W, transposed=False))),
    Kind("reshaped-weights", "carry", carries(lambda s, l: min(n_in(s, l), n_out(s, l)) > 1),
         put("back", lambda right, n: n.o.back(n.delta, f"{n.W}.reshape({n.W}.shape[::-1])", transposed=False))),
    Kind("weights-missing-back", "carry", carries(),
         put("back", lambda right, n: n.o.back(n.delta, f"np.ones_like({n.W})"))),
    Kind("updated-weights", "carry", carries(),
         put("back", lambda right, n: n.o.back(n.delta, f"{n.W} - {rate_of(n.spec)} * {n.dW}")),
         prepare=lambda s: dataclasses.replace(s, inner="", folded=False)),
    Kind("mean-each-layer", "carry", _MANY_ABOVE,
         put("back", lambda right, n: f"{bracketed(right)} / m")),
    Kind("overwritten-sum", "carry", carries(lambda s, l: n_out(s, l) > 1),
         put("back", lambda right, n: n.o.back(n.o.units(n.delta, "-1:"), n.o.outputs_of(n.W, "-1:")))),
    Kind("error-before-derivative", "carry", carries(lambda s, l: l < s.net.last or has_output_slope(s)),
         put("back", raw_error)),
    # dW
    Kind("transposed-gradient", "dW", layers_where(lambda s, l: min(n_in(s, l), n_out(s, l)) > 1),
         put("dW", lambda right, n: f"{bracketed(right)}.T.reshape({n.W}.shape)")),
    Kind("input-for-activation", "dW", layers_where(lambda s, l: l > 0 and n_in(s, l) == s.net.sizes[0]),
         lambda plan, layers, form: plan.replace("dW", layers, lambda right, n: n.o.outer(_first(n), n.delta))),
    Kind("own-activation", "dW", layers_where(square),
         put("dW", lambda right, n: n.o.outer(n.a, n.delta))),
    Kind("z-for-activation", "dW", layers_where(lambda s, l: l > 0),
         put("dW", lambda right, n: n.o.outer(n.at(-1).z, n.delta))),
    Kind("weights-mean-twice", "dW", _MANY, put("dW", lambda right, n: f"{bracketed(right)} / m")),
    Kind("weights-missing-mean", "dW", _MANY,
         put("dW", lambda right, n: f"{bracketed(right)} * m")),
    Kind("first-weight-skipped", "dW", layers_where(lambda s, l: n_in(s, l) > 1), cut("inputs_of", "0"),
         also=("bias-zero",)),  # where b is folded into W
    Kind("last-weight-skipped", "dW", layers_where(lambda s, l: n_in(s, l) > 1), cut("inputs_of", "-1"),
         also=("bias-zero",)),
    Kind("first-unit-skipped", "dW", layers_where(lambda s, l: wide(s, l, 2)), cut("outputs_of", "0"), 2),
    Kind("last-unit-skipped", "dW", layers_where(lambda s, l: wide(s, l, 2)), cut("outputs_of", "-1"), 2),
    Kind("loop-of-other-layer", "dW", layers_where(lambda s, l: n_in(s, l) < n_out(s, l)), loop_of_other(-1)),
    Kind("factor-of-one-tensor", "dW", lambda s: [(layer,) for layer in n_of(s)],
         put("dW", lambda right, n: f"3 * {bracketed(right)}"), also=("weights-factor", "tensor-factor")),
    # the batch
    Kind("mean-before-outer", "batch", _MANY, put("dW", mean_first)),
    Kind("last-sample-only", "batch", both(when(batched, _EACH), when(lambda s: bool(s.inner))),
         last_sample, 2),
    Kind("updated-within-batch", "batch", when(lambda s: bool(s.inner)), updating_within,
         prepare=loop_over_samples, also=("one-sample-steps", "samples-in-turn")),
    Kind("first-sample-only", "batch", when(batched, whole), only_sample(0), 2),
    Kind("updated-going-back", "carry", lambda s: carries()(s)[:1], going_back, prepare=in_place,
         also=("updated-weights",)),
    # db
    Kind("bias-mean", "db", _BIASED_MANY, put("db", lambda right, n: f"{bracketed(right)} / m")),
    Kind("bias-sum", "db", _BIASED_MANY, put("db", lambda right, n: f"{bracketed(right)} * m")),
    Kind("bias-in-weight-loop", "db", layers_where(lambda s, l: biased(s, l) and n_in(s, l) > 1),
         put("db", lambda right, n: f"{n.spec.net.sizes[n.layer]} * {bracketed(right)}")),
    Kind("bias-zero", "db", _BIASED, put("db", lambda right, n: f"np.zeros_like({n.b})")),
    Kind("bias-not-summed", "db", layers_where(
        lambda s, l: batched(s) and biased(s, l) and not (s.layout.axis and s.reduction in {"sum", "half"})),
         put("db", lambda right, n: n.delta),  # where nothing speaks of a batch, columns are right one by one
         prepare=lambda s: dataclasses.replace(s, update="")),
    Kind("bias-wrong-axis", "db", layers_where(lambda s, l: batched(s) and biased(s, l) and wide(s, l, 2)),
         put("db", lambda right, n: f"np.sum({n.delta}, axis={1 - n.o.axis})"),
         prepare=lambda s: dataclasses.replace(s, update="")),
    Kind("bias-all-equal", "db", layers_where(lambda s, l: biased(s, l) and wide(s, l, 2)),
         put("db", lambda right, n: f"np.sum({n.delta}) * np.ones_like({n.b})")),
    Kind("bias-row-sum", "db", _BIASED_MANY, put("db", row_sum)),
    Kind("bias-mean-over-neurons", "db", layers_where(lambda s, l: batched(s) and biased(s, l) and wide(s, l, 2)),
         put("db", lambda right, n: f"np.mean({n.delta}) * np.ones_like({n.b})"), also=("bias-all-equal",)),
    Kind("bias-of-other-layer", "db", layers_where(
        lambda s, l: biased(s, l) and l < s.net.last and n_out(s, l) == n_out(s, l + 1) and not s.inner),
        put("db", lambda right, n: n.o.over_samples(n.up.delta))),
    # weight decay
    Kind("penalty-disagrees", "decay", whole, other_penalty, 2, True, penalised,
         also=("decay-doubled", "decay-halved")),
    Kind("penalty-without-gradient", "decay", _EACH, put("decay", no_decay), 1, True,
         penalised, also=("penalty-disagrees", "decay-missing")),
    Kind("decay-missing", "decay", whole, put("decay", no_decay), prepare=keyword),
    Kind("decay-doubled", "decay", _EACH, changed_decay(" + 2 * {c} * {W}"), prepare=keyword),
    Kind("decay-halved", "decay", _EACH, changed_decay(" + 0.5 * {c} * {W}"),
         prepare=keyword),
    Kind("decay-sign", "decay", _EACH, changed_decay(" - {c} * {W}"), prepare=keyword),
    Kind("decay-over-batch", "decay", when(batched), changed_decay(" + {c} / m * {W}"), prepare=keyword),
    Kind("decay-absolute", "decay", _EACH, changed_decay(" + {c} * np.sign({W})"),
         prepare=keyword),
    Kind("decay-on-bias", "decay", whole, decay_on_bias, 1, True, penalised),
    Kind("decay-undeclared", "decay", _EACH,
         changed_decay(" + 0.01 * {W}", " + 0.5 * {W}"), 2, True, no_penalty),
    Kind("decay-absolute-undeclared", "decay", _EACH,
         changed_decay(" + 0.01 * np.sign({W})"), 1, True, no_penalty),
    Kind("decay-of-gradient", "decay", _EACH, changed_decay(" + 0.1 * {g}"), 1, True,
         lambda s: dataclasses.replace(no_penalty(s), inner="", late=False),
         also=("factor-of-one-tensor", "weights-factor", "tensor-factor")),
    # state
    Kind("inputs-changed", "state", when(lambda s: s.layout.samples != "flat"), changed_inputs, 2, alone=True),
    Kind("second-call-differs", "state", whole, set_state(0.9), prepare=unrolled, also=("gradients-not-zeroed",),
         alone=True),
    Kind("gradients-not-zeroed", "state", whole, set_state(1), prepare=unrolled, also=("second-call-differs",),
         alone=True),
)  # fmt: skip
BY_ID = {kind.id: kind for kind in KINDS}
