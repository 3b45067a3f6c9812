"""Which methods of a class make one step or one gradient, in which order, with which arguments."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from backprop_ref.conformance.submissions.outline import STEPS, Argument
from backprop_ref.conformance.submissions.settings import RATES, role, setting, words

BY_PAIRS = words("update_mini_batch update_minibatch train_mini_batch train_batch SGD sgd")
FORWARD = words(
    """
    forward feedforward feed_forward forward_propagation forward_pass forward_prop forwardprop forward_propagate
    propagate feedForward predict __call__ net fprop forward_step
    vorwaerts propagation propager avant adelante 前向 前向传播
    """
)
BACKWARD = words(
    """
    backward backprop back_propagation backward_propagation backpropagation back_prop backpropagate back_propagate
    backward_pass backprop_step backPropagate backProp gradients gradient compute_gradients compute_gradient
    get_gradients grad grads bprop backward_step rueckwaerts retropropagation
    retropropager atras 反向 反向传播 loss_and_grad loss_and_gradients costFunctionPrime cost_function_prime
    loss_gradient
    """
)
UPDATE = words(
    """
    update update_parameters update_weights update_params step apply_gradients optimize gradient_descent
    updateWeights update_weights_and_biases apply_gradient gradient_step
    """
)
LOSS = words(
    """
    loss compute_loss cost compute_cost calculate_loss costFunction cost_function get_loss calc_loss loss_function
    loss_fn objective total_cost total_loss
    """
)
QUESTIONS = words("score evaluate accuracy test check_gradients gradient_check plot compute_accuracy")
"""Methods that take x and y, and neither train nor give a gradient."""

_OUTPUT = "output out o yhat ypred pred preds prediction predictions predicted probs a2 al a3 a aout yp outputs yout"
_CACHE = "cache caches memory activations acts forwardcache"
_UPSTREAM = "grad gradient gradoutput outputgradient dout error outputerror dvalues upstream lossgrad delta da dl e"
_ROLES = dict.fromkeys(_OUTPUT.split(), "output") | dict.fromkeys(_CACHE.split(), "cache")
_ROLES |= dict.fromkeys(_UPSTREAM.split(), "upstream")
_GRADIENTS = {"grads": "grads", "gradients": "grads", "g": "grads", "dparams": "grads"}


class Call(NamedTuple):
    """One method, and what it is given."""

    method: str
    arguments: tuple[tuple[str, str], ...] = ()
    """Name and role of each argument: ``x``, ``y``, ``pairs``, ``output``, …, or ``=`` for a setting."""


class Plan(NamedTuple):
    """Calls after which the weights have changed, or gradients have been returned or are among the attributes."""

    calls: tuple[Call, ...]
    update: Call | None = None
    """For the case that there is neither after the calls."""
    loss: tuple[Call, ...] = ()
    """The method for it, with a forward pass before it where it takes the output."""
    autograd: bool = False
    """A torch module: its own gradient of the usual loss."""
    boxes: bool = False
    """What the call gives are objects that go back by themselves: their gradient of a squared error."""

    @property
    def rates(self) -> list[str]:
        """Names of the rates that are given to a method."""
        calls = [*self.calls, *([self.update] if self.update else [])]
        return [
            found for call in calls for name, one in call.arguments if one == "=" and (found := setting(name)) in RATES
        ]


def plans(methods: dict[str, list[Argument]], takes_data: bool) -> Iterator[Plan]:
    """Every plan that the methods of a class allow, whole steps first."""
    forwards = list(_calls(methods, FORWARD, ("x",)))
    loss = _losses(methods, forwards)
    if {"named_parameters", "zero_grad", "forward"} <= methods.keys():
        yield Plan((), autograd=True)
    for call in _calls(methods, STEPS, ("x", "y"), ("pairs",)):
        yield Plan((call,), loss=loss)
    for call in _calls(methods, BY_PAIRS, ("pairs",), ("x", "y")):
        yield Plan((call,), loss=loss)
    updates = [_bound(name, methods[name], ()) for name in UPDATE if name in methods]
    updates = [call for call in updates if call is not None]
    update = updates[0] if updates else None
    for forward in forwards:
        for wanted in (
            ("x", "y", "output"),
            ("x", "y", "cache"),
            ("x", "y"),
            ("y", "output"),
            ("y", "cache"),
            ("upstream",),
            ("y",),
        ):
            for backward in _calls(methods, BACKWARD, wanted):
                yield Plan((forward, backward), update, loss)
    for backward in _calls(methods, BACKWARD, ("x", "y")):
        yield Plan((backward,), update, loss)
    for call in _calls(methods, LOSS, ("x", "y")):
        yield Plan((call,), update)
    if not any(name in methods for name in (*BACKWARD, *STEPS)):
        yield from (Plan((forward,), boxes=True) for forward in forwards)
    known = {*STEPS, *BY_PAIRS, *FORWARD, *BACKWARD, *LOSS, *QUESTIONS}
    for call in _calls(methods, [name for name in methods if name not in known], ("x", "y")):
        yield Plan((call,), update, loss)
    if takes_data:
        yield from _without_arguments(methods, update)


def _losses(methods, forwards):
    """The calls that give the loss; none where there is no method for it."""
    if forwards and (call := next(_calls(methods, LOSS, ("y", "output")), None)):
        return (forwards[0], call)
    call = next(_calls(methods, LOSS, ("x", "y"), ("pairs",)), None)
    return () if call is None else (call,)


def _without_arguments(methods, update):
    """Plans for a class that was given its data at the start."""
    forward = next((Call(name) for name in FORWARD if name in methods and not _needed(methods[name])), None)
    for name in BACKWARD:
        if name in methods and not _needed(methods[name]):
            yield Plan((*([forward] if forward else []), Call(name)), update)
    for name in STEPS:
        if name in methods and all(setting(one.name) for one in _needed(methods[name])):
            yield Plan((Call(name, tuple((one.name, "=") for one in methods[name] if setting(one.name))),))


def _calls(methods, names, *choices):
    for wanted in choices:
        for name in names:
            if name in methods and (call := _bound(name, methods[name], wanted)) is not None:
                yield call


def _bound(name, arguments, wanted) -> Call | None:
    """A call with the wanted roles, each once; by names first, then in order; None if they are not what it takes."""
    left, roles = list(wanted), {}
    taken = [one for one in arguments if not one.kind.startswith("VAR")]
    for one in taken:
        found = _role(one.name)
        found = "x" if found == "pairs" and "x" in left else found
        if found in left:
            left.remove(found)
            roles[one.name] = found
        elif found in {"grads"} and not wanted:
            roles[one.name] = found
        elif found == "=":
            roles[one.name] = "="
    unknown = [one for one in taken if one.name not in roles and one.needed]
    if len(unknown) != len(left) or any(_role(one.name) in {"x", "y"} for one in unknown):
        return None
    roles |= {one.name: found for one, found in zip(unknown, left, strict=True)}
    if left and any(_role(one.name) for one in unknown):
        return None
    return Call(name, tuple((one.name, roles[one.name]) for one in taken if one.name in roles))


def _role(name):
    plain = name.lower().strip("_").replace("_", "")
    if plain in _ROLES:
        return _ROLES[plain]
    found = role(name)
    if found not in {"x", "y", "pairs"} and setting(name):
        return "="
    return found if found in {"x", "y", "pairs"} else _GRADIENTS.get(plain, "")


def carried(name: str) -> str:
    """What an argument is that another function or method makes: ``output``, ``cache``, ``upstream``, ``grads``."""
    plain = name.lower().strip("_").replace("_", "")
    return _ROLES.get(plain, "") or _GRADIENTS.get(plain, "")


def _needed(arguments):
    return [one for one in arguments if one.needed and not one.kind.startswith("VAR")]


def as_document(plan: Plan) -> dict[str, Any]:
    """JSON-ready; the other way round: `from_document`."""
    return plan._asdict()


def from_document(document: dict[str, Any]) -> Plan:
    """What `as_document` gave, after its way through JSON."""

    def call(found):
        return None if found is None else Call(str(found[0]), tuple((str(n), str(r)) for n, r in found[1]))

    calls, loss = (tuple(call(one) for one in document[name]) for name in ("calls", "loss"))
    return Plan(calls, call(document["update"]), loss, bool(document["autograd"]), bool(document["boxes"]))
