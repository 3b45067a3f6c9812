"""JAX with its own derivatives: a compiled step called in a loop, and whole epochs as one compiled scan."""

import jax
import jax.numpy as jnp
import numpy as np

from peers import Peer

ACTIVATION = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def batch_loss(network, params, x, y):
    """The loss, from logits where that is the stable way."""
    for layer, (W, b) in enumerate(params):
        z = x @ W + b
        last = layer == len(params) - 1
        if not (last and network.loss.endswith("cross_entropy")):
            x = ACTIVATION[network.activations[layer]](z)
    if network.loss == "cross_entropy":
        return -jnp.sum(y * jax.nn.log_softmax(z)) / len(z)
    if network.loss == "binary_cross_entropy":
        return jnp.mean(jnp.maximum(z, 0.0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))
    return jnp.sum((x - y) ** 2) / len(z)


def make_step(network):
    """A function of parameters, batch and learning rate: new parameters and the loss."""

    def step(params, x, y, rate):
        loss, gradients = jax.value_and_grad(lambda p: batch_loss(network, p, x, y))(params)
        return jax.tree.map(lambda p, g: p - rate * g, params, gradients), loss

    return step


class Jit(Peer):
    """`jax.jit` of a step, called for each batch."""

    def __init__(self, task):
        with self.scope():
            self.step = jax.jit(make_step(task.network), donate_argnums=0)
            shape = (task.batches, task.batch, -1)
            self.x, self.y = (jnp.asarray(array.reshape(shape)) for array in task.data)
            self.slices = [(self.x[i], self.y[i]) for i in range(task.batches)]
            super().__init__(task)

    def scope(self):
        return jax.enable_x64(True)

    def restart(self, learning_rate):
        with self.scope():
            pairs = zip(self.task.params.W, self.task.params.b, strict=True)
            self.params = [(jnp.array(W), jnp.array(b)) for W, b in pairs]
            self.rate = jnp.asarray(learning_rate, self.task.dtype)

    def run(self, epochs):
        for _ in range(epochs):
            self.losses = []
            for x, y in self.slices:
                self.params, loss = self.step(self.params, x, y, self.rate)
                self.losses.append(loss)
        jax.block_until_ready((self.params, self.losses))

    def first_step(self, learning_rate):
        with self.scope():
            self.restart(learning_rate)
            self.params, _ = self.step(self.params, *self.slices[0], self.rate)
        return self.parameters()

    def parameters(self):
        return self.from_arrays(*([np.array(part[i]) for part in self.params] for i in (0, 1)))


class Scan(Jit):
    """`jax.lax.scan` over the batches of an epoch, all epochs of a call in one compiled loop."""

    def __init__(self, task):
        step = make_step(task.network)

        def train(params, x, y, rate, epochs):
            def epoch(_, carry):
                return jax.lax.scan(lambda params, batch: step(params, *batch, rate), carry[0], (x, y))

            return jax.lax.fori_loop(0, epochs, epoch, (params, jnp.zeros(len(x), x.dtype)))

        with self.scope():
            self.train = jax.jit(train, donate_argnums=0)
        super().__init__(task)

    def run(self, epochs):
        self.params, self.losses = jax.block_until_ready(self.train(self.params, self.x, self.y, self.rate, epochs))

    def first_step(self, learning_rate):
        with self.scope():
            self.restart(learning_rate)
            self.params, _ = self.train(self.params, self.x[:1], self.y[:1], self.rate, 1)
        return self.parameters()
