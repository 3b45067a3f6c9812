"""One step or gradient of somebody's class: the same here as in a process of its own."""

import contextlib
import random
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.submissions.adaptive import all_equal
from backprop_ref.conformance.submissions.calling import NotJudged, Refusal
from backprop_ref.conformance.submissions.labels import labels
from backprop_ref.conformance.submissions.reading import (
    BIAS_GRADIENTS,
    WEIGHT_GRADIENTS,
    Shapes,
    Unreadable,
    array,
    arrays,
    depth,
    is_box,
    number,
    returned,
)
from backprop_ref.conformance.submissions.recording import Recording
from backprop_ref.conformance.submissions.steps.first_weights import keep_ours
from backprop_ref.conformance.submissions.steps.moments import from_moments, rate_of
from backprop_ref.conformance.submissions.steps.operations import wrong_operations
from backprop_ref.conformance.submissions.steps.plans import Plan, from_document
from backprop_ref.conformance.submissions.steps.slots import Slots, chain, has_weights, of_numbers


class Step(NamedTuple):
    """What came of one step of a model."""

    loss: Any = None
    W: list[np.ndarray] | None = None
    """The weights after it, where they have changed, in our layout."""
    b: list[np.ndarray] | None = None
    transposed: bool = False
    """Whether the model keeps W as (n_out, n_in)."""
    dW: list[np.ndarray] | None = None
    """Gradients that it returned or kept, in our layout."""
    db: list[np.ndarray] | None = None
    has_biases: bool = True
    adaptive: bool = False
    """Whether it is a step of Adam or the like, of which the gradient cannot be told from the weights."""
    recorded: Any = None
    """Numbers kept or printed during the step, where these are asked for: see `recording.Recording`; for objects that
    go back by themselves, see `operations.wrong_operations`."""


def checked(reply) -> Step:
    """A step of another process, which may have sent anything."""
    loss = reply.get("loss")
    found: dict[str, Any] = {"loss": None if loss is None else number(loss, "the loss")}
    for name in ("W", "b", "dW", "db"):
        found[name] = None if reply.get(name) is None else arrays(reply[name], name)
    found |= {name: bool(reply.get(name)) for name in ("transposed", "has_biases", "adaptive")}
    return Step(**found, recorded=reply.get("recorded"))


def one_step(
    made,
    *,
    plan,
    settings,
    sizes,
    before,
    samples,
    pairs,
    loss_name,
    keywords,
    transposed,
    folded,
    record=False,
    remakes=False,
    seeded=False,
) -> Step:
    """Makes a model, sets its weights, follows a plan, and looks at its weights and gradients.

    Parameters
    ----------
    record : bool
        Whether the numbers that it keeps or prints are looked at.
    remakes : bool
        Whether it makes its first weights in the step, which are to be ours.
    seeded : bool
        Whether it draws the same random numbers each time.
    """
    plan = plan if isinstance(plan, Plan) else from_document(plan)
    model = made(*settings.get("*", ()), **{name: value for name, value in settings.items() if name != "*"})
    if plan.autograd:
        return _autograd(model, sizes, before, samples, loss_name)
    given = _Given(samples, pairs, keywords, loss_name, sizes[-1])
    try:
        slots = Slots(model, sizes, transposed, folded)
    except Unreadable:
        if has_weights(model):
            raise
        with contextlib.suppress(Exception):
            _follow(plan, model, given)  # some make their weights when they first see data
        slots = Slots(model, sizes, transposed, folded)
    slots.set(*before)
    known = [list(part) for part in slots.get() if part is not None]
    loss = _loss(plan, model, given)
    slots.set(*before)
    if remakes:
        keep_ours(model, slots)
    if seeded:
        random.seed(1)
        np.random.seed(1)
    if plan.boxes:
        step = _of_boxes(model, plan.calls[0], samples, slots)
        box = slots.boxes()[0]
        wrong = wrong_operations(type(box), isinstance(box.data, np.ndarray)) if record else None
        return step._replace(recorded=wrong)
    with Recording() if record else contextlib.nullcontext() as recording:
        result = _follow(plan, model, given)
    if is_box(result) and hasattr(result, "backward"):
        result.backward()
        result = number(result, "the loss")
    step = _seen(model, slots, known, result, sizes)
    if step.W is None and step.dW is None and plan.update is not None:
        _call(model, plan.update, given, result)
        step = _seen(model, slots, known, None, sizes)
    if step.W is not None:
        moves = [old - new for old, new in zip(known[0], step.W, strict=True)]
        moments = _by_moments(slots, step, known, rate_of(keywords, settings))
        if moments is not None:
            step = moments
        elif all_equal(moves):
            kept = _kept(slots, step)
            signs = [] if kept is None else list(map(np.sign, kept.dW or ()))
            fits = kept is not None and all(map(np.array_equal, signs, map(np.sign, moves)))
            step = kept if kept is not None and fits else step._replace(adaptive=True)
    if step.W is None and step.dW is None:
        methods = ", ".join(call.method for call in plan.calls)
        raise Refusal(f"after {methods} no weights had changed, and no gradients were returned or kept in attributes")
    recorded = None if recording is None else recording.found
    return step._replace(loss=loss if step.loss is None else step.loss, recorded=recorded)


def _by_moments(slots, step, known, rate) -> Step | None:
    """The step with the gradients that its moments tell, and without weights; None where they do not."""
    found = from_moments(slots, known, rate)
    if found is None:
        return None
    dW, db = slots.ours(found[0], found[1] or None)
    return step._replace(W=None, b=None, dW=dW, db=db, adaptive=True)


def own_sizes(made, *, settings, asked) -> dict[str, Any]:
    """The sizes of a network that a class makes by itself, if its weights are there at once and are not those asked."""
    model = made(*settings.get("*", ()), **{name: value for name, value in settings.items() if name != "*"})
    for folded in ("", "last"):
        with contextlib.suppress(Unreadable):
            Slots(model, asked, folded=folded)
            return {"sizes": None}
    found = chain(model) or of_numbers(model)
    if hasattr(model, "named_parameters"):
        shapes = [tuple(part.shape)[::-1] for _, part in model.named_parameters() if part.ndim == 2]
        found = (*shapes[0], *(n_out for _, n_out in shapes[1:])) if shapes else None
        found = None if found is None or tuple(found) == tuple(asked) else found
    return {"sizes": None if found is None else list(found)}


class _Given:
    """What the arguments of methods can be."""

    def __init__(self, samples, pairs, keywords, loss_name, classes):
        self.samples, self.pairs, self.keywords, self.loss_name = samples, pairs, keywords, loss_name
        self.classes = classes
        self.forward: Any = None

    def output(self):
        """The prediction in what the forward pass returned: the last array shaped as the targets."""
        y = np.asarray(self.samples[1])
        parts: Any = self.forward if isinstance(self.forward, tuple | list) else [self.forward]
        fitting = [part for part in parts if getattr(part, "shape", None) == y.shape]
        return fitting[-1] if fitting else parts[-1]

    def cache(self):
        """What the forward pass returned for the backward pass."""
        if isinstance(self.forward, tuple):
            return next((part for part in self.forward if isinstance(part, dict | list | tuple)), self.forward)
        return self.forward

    def upstream(self):
        """dLoss/da of the usual loss."""
        a, y = array(self.output(), "the output"), np.asarray(self.samples[1])
        columns = y.ndim == 2 and a.shape != y.shape
        n = a.size if self.loss_name in {"mean_squared_error", "binary_cross_entropy"} else len(np.atleast_2d(a))
        if columns:
            raise Refusal(f"the forward pass gives shape {a.shape} for targets of shape {y.shape}")
        if self.loss_name.endswith("squared_error"):
            return 2.0 * (a - y) / n
        return (-y / a + ((1.0 - y) / (1.0 - a) if self.loss_name.startswith("binary") else 0.0)) / n

    def value(self, name, role, result):
        """Of one argument, copied, since it is somebody else's then."""
        if role == "=":
            return self.keywords[name]
        if role in {"x", "y"}:
            return labels(_copy(self.samples["xy".index(role)]), self.classes)
        if role == "pairs":
            return [(_copy(x), _copy(y)) for x, y in self.pairs]
        return result if role == "grads" else getattr(self, role)()


def _copy(part):
    return part.copy() if isinstance(part, np.ndarray) else part


def _follow(plan, model, given):
    """The result of the last of the calls."""
    result = None
    for call in plan.calls:
        result = _call(model, call, given, result)
        given.forward = result
    return result


def _call(model, call, given, result):
    there = [(n, r) for n, r in call.arguments if r != "=" or n in given.keywords]
    return getattr(model, call.method)(**{name: given.value(name, role, result) for name, role in there})


def _of_boxes(model, call, samples, slots) -> Step:
    """The gradient of a model's squared error, made of objects of the kind that holds its weights: of arrays, or of
    numbers, of which all samples' errors are one sum."""
    boxes = slots.boxes()
    if not boxes:
        raise Refusal("its weights hold no gradients")
    box, forward, name = type(boxes[0]), getattr(model, call.method), call.arguments[0][0]
    x, y = (np.asarray(part, dtype=np.float64) for part in samples)
    slots.forget()
    if any(isinstance(part.data, np.ndarray) for part in boxes):
        error = forward(**{name: box(x)}) - box(y)
        total = (error * error).sum()
    else:
        outputs = [forward(**{name: row}) for row in x.tolist()]
        rows = [found if isinstance(found, list | tuple) else [found] for found in outputs]
        pairs = (pair for row, due in zip(rows, y.tolist(), strict=True) for pair in zip(row, due, strict=True))
        first, *others = [one - label for one, label in pairs]
        total = sum((one * one for one in others), first * first)
    total.backward()
    W, b = slots.weights, slots.biases
    found = slots.gradients(Shapes(slots.shapes_of(W), slots.shapes_of(b or [])), WEIGHT_GRADIENTS, BIAS_GRADIENTS)
    if found is None:
        raise Refusal("after backward every gradient is 0")
    dW, db = slots.ours(found.dW, found.db)
    dW, db = ([part / len(x) for part in some or ()] for some in (dW, db))
    loss = number(total, "the loss") / len(x)
    return Step(loss, None, None, slots.transposed, dW, db if b else None, has_biases=b is not None)


def _loss(plan, model, given):
    """That of a method for it, at the weights given; None if there is none that can be called."""
    result = None
    with contextlib.suppress(Exception):
        for call in plan.loss:
            given.forward = result = _call(model, call, given, None)
        if isinstance(result, tuple):  # beside gradients: the one that is a number
            (result,) = [part for part in result if depth(part) == 0]
        return None if result is None else number(result, "the loss")
    return None


def _seen(model, slots, known, result, sizes) -> Step:
    """Weights if they have changed, else gradients in the result or in the attributes."""
    W, b = slots.get()
    loss = number(result, "the loss") if result is not None and depth(result) == 0 else None
    now = [W] if b is None else [W, b]
    step = Step(loss, None, None, slots.transposed, has_biases=b is not None)
    if any(
        not np.array_equal(new, old)
        for news, olds in zip(now, known, strict=True)
        for new, old in zip(news, olds, strict=True)
    ):
        return step._replace(W=W, b=b)
    shapes = Shapes(slots.shapes_of(slots.weights), slots.shapes_of(slots.biases or []))
    found = None
    if result is not None and depth(result) != 0:
        with contextlib.suppress(Unreadable):
            found = returned(result, shapes)
    if found is None or found.dW is None or not shapes.fit(found.dW, found.db):
        return _kept(slots, step) or step
    dW, db = slots.ours(found.dW, found.db)
    return step._replace(loss=step.loss if found.loss is None else found.loss, dW=dW, db=db)


def _kept(slots, step) -> Step | None:
    """The step with the gradients that stand in attributes, and without weights; None if there are none."""
    shapes = Shapes(slots.shapes_of(slots.weights), slots.shapes_of(slots.biases or []))
    found = slots.gradients(shapes, WEIGHT_GRADIENTS, BIAS_GRADIENTS)
    if found is None or found.dW is None:
        return None
    dW, db = slots.ours(found.dW, found.db)
    return step._replace(loss=step.loss if found.loss is None else found.loss, W=None, b=None, dW=dW, db=db)


def _autograd(model, sizes, before, samples, loss_name) -> Step:
    """The gradient of a torch module's own forward pass, by its own autograd, after the usual loss."""
    import torch

    n = len(sizes) - 1
    parameters = [part for _, part in model.named_parameters()]
    W, b = [part for part in parameters if part.ndim == 2], [part for part in parameters if part.ndim == 1]
    if len(W) != n or len(b) not in {0, n}:
        raise Refusal(f"its parameters are not those of {n} layers; linear layers alone are judged")
    model.to(torch.float64 if before[0][0].dtype == np.float64 else torch.float32)
    with torch.no_grad():
        for there, value in zip([*W, *b], [*(w.T for w in before[0]), *before[1]], strict=False):
            there.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    x, y = (torch.from_numpy(np.asarray(part)) for part in samples)
    output = model(x)
    with torch.no_grad():
        far = model(torch.linspace(-40.0, 40.0, 24 * x.shape[1], dtype=x.dtype).reshape(24, -1))
    loss = _usual_loss(torch, output, y, loss_name, far)
    model.zero_grad()
    loss.backward()
    gradients = [part.grad.numpy() for part in (*W, *b)]
    return Step(loss.item(), None, None, True, [g.T.copy() for g in gradients[:n]], gradients[n:] or None, bool(b))


def _usual_loss(torch, output, y, loss_name, far):
    """The loss of that name, as it suits a module's output: probabilities, their logarithms, or neither; which, its
    output for inputs `far` from 0 tells."""
    sums = [bool(torch.allclose(part.sum(1), torch.ones_like(part[:, 0]))) for part in (far, far.exp())]
    shares, logs = (found and output.shape[1] > 1 for found in sums)
    inside = bool(((far >= 0) & (far <= 1)).all())
    if loss_name.endswith("squared_error") and not logs:
        return ((output - y) ** 2).sum() / (len(y) * (y.shape[1] if loss_name.startswith("mean") else 1))
    functional = torch.nn.functional
    if loss_name.startswith("binary") and not (shares or logs):
        return (functional.binary_cross_entropy if inside else functional.binary_cross_entropy_with_logits)(output, y)
    if loss_name == "cross_entropy" and (shares or logs or not inside):
        chosen = output if logs else output.log() if shares else torch.log_softmax(output, 1)
        return -(y * chosen).sum() / len(y)
    raise NotJudged(f"{loss_name} does not go with its output")
