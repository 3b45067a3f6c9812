"""A backend's answer to a case: its whole pass, and three steps of the case's optimizer."""

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import on_backend
from backprop_ref.conformance.cases import Values
from backprop_ref.parameters import Parameters


def answered(backend, case):
    """Everything that a case asks for, computed by a backend, as `Values` of NumPy arrays."""
    network, params = case.network, case.params
    with backend.scope():
        weights, x, y = on_backend(backend, params, case.x, case.y)
        if case.da is None:
            z, a, delta, dW, db, dx, loss = mlp.trace(backend, network, weights, x, y)[2:]
        else:
            (da,) = on_backend(backend, params, case.da)[1:]
            z, a = mlp.forward(backend, network, weights, x)
            last = backend.activation_backward(network.activations[-1], z[-1], a[-1], da)
            delta, dW, db, dx = mlp.backward(backend, network, weights, x, z, a, last, with_dx=True)
            loss = None
        z, a, delta, dW, db = ([backend.to_numpy(array) for array in arrays] for arrays in (z, a, delta, dW, db))
        dx, loss = backend.to_numpy(dx), None if loss is None else float(backend.to_numpy(loss))
        after = stepped(backend, case) if steps_count(case) else (None, None)
    return Values(z, a, delta, with_decay(case, dW), db, dx, loss, *after)


def steps_count(case):
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
