"""jax.grad behind the interface that `backprop-ref verify` calls.

backprop-ref verify backprop_ref.conformance.examples.jax_grad:gradients
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def gradients(network, weights, biases, x, y, da=None):
    """The loss, dW and db by automatic differentiation; with da, the gradients for that upstream gradient."""
    with jax.enable_x64():
        params = list(zip(weights, biases, strict=True))
        if da is not None:
            return [tuple(map(np.asarray, pair)) for pair in pulled_back(network, params, x, da)]
        loss, grads = loss_and_gradients(network, params, x, y)
        return float(loss), [tuple(map(np.asarray, pair)) for pair in grads]


@partial(jax.jit, static_argnums=0)
def loss_and_gradients(network, params, x, y):
    """Compiled once for each network."""
    return jax.value_and_grad(lambda p: loss_of(network, forward(network, p, x), y))(params)


@partial(jax.jit, static_argnums=0)
def pulled_back(network, params, x, da):
    """The gradients of sum(da * a)."""
    _, pull = jax.vjp(lambda p: forward(network, p, x)[1], params)
    return pull(da)[0]


def forward(network, params, x):
    """z and a of the last layer."""
    a = z = x
    for (W, b), name in zip(params, network.activations, strict=True):
        z = a @ W + b
        a = ACTIVATION[name](z)
    return z, a


ACTIVATION = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jnp.where(z > 0, z, 0.01 * z),  # that of jax.nn has the derivative 1 at 0
    "softmax": lambda z: jax.nn.softmax(z, axis=1),
    "linear": lambda z: z,
}


def loss_of(network, output, y):
    """The loss, cross-entropies from z."""
    z, a = output
    if network.loss == "mean_squared_error":
        return jnp.mean((a - y) ** 2)
    if network.loss == "sum_squared_error":
        return jnp.sum((a - y) ** 2) / len(y)
    if network.loss == "binary_cross_entropy":
        return jnp.mean(jax.nn.softplus(z) - z * y)
    if network.loss != "cross_entropy":
        raise NotImplementedError(network.loss)
    if network.activations[-1] == "softmax":
        return -jnp.sum(y * jax.nn.log_softmax(z, axis=1)) / len(y)
    return -jnp.sum(y * jax.nn.log_sigmoid(z)) / len(y)
