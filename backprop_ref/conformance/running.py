"""A backend's answer to a case: one forward and backward pass, and three steps of the case's optimizer."""

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import on_backend
from backprop_ref.conformance.cases import Values, mapped
from backprop_ref.parameters import Parameters


def answered(backend, case):
    """Everything that a case asks for, computed by a backend, as `Values` of NumPy arrays."""
    network, params = case.network, case.params
    with backend.scope():
        weights, x, y = on_backend(backend, params, case.x, case.y)
        if case.da is None:
            found = Values.of(mlp.trace(backend, network, weights, x, y))
        else:
            (da,) = on_backend(backend, params, case.da)[1:]
            z, a = mlp.forward(backend, network, weights, x)
            last = backend.activation_backward(network.activations[-1], z[-1], a[-1], da)
            found = Values(z, a, *mlp.backward(backend, network, weights, x, z, a, last, with_dx=True))
        found = mapped(backend.to_numpy, found)
        W, b = stepped(backend, case) if expects_steps(case) else (None, None)
    loss = None if found.loss is None else float(found.loss)
    return found._replace(dW=with_decay(case, found.dW), loss=loss, W=W, b=b)


def expects_steps(case):
    """Whether W and b after three steps are expected of a case."""
    return case.deciding and case.da is None


def with_decay(case, dW):
    """dW with the case's weight decay, rounded to its precision, times W."""
    if not case.weight_decay:
        return dW
    return [g + case.params.dtype.type(case.weight_decay) * W for g, W in zip(dW, case.params.W, strict=True)]


def stepped(backend, case):
    """W and b after the case's three steps, inside the backend's scope."""
    params = case.params.copy()
    state = case.optimizer.init(params.flat)
    for rows in case.batches():
        weights, x, y = on_backend(backend, params, *rows)
        _, grads, _ = mlp.value_and_grad(backend, case.network, weights, x, y)
        pairs = zip(grads.W, grads.b, strict=True)
        flat = np.concatenate([backend.to_numpy(g).ravel() for pair in pairs for g in pair])
        case.optimizer.step(params, Parameters(flat, params.sizes), state, case.optimizer.learning_rate)
    return list(params.W), list(params.b)
