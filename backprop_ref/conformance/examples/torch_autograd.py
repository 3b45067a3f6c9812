"""PyTorch's autograd behind the interface that `backprop-ref verify` calls.

backprop-ref verify backprop_ref.conformance.examples.torch_autograd:gradients
"""

import torch
from torch.nn import functional


def gradients(network, weights, biases, x, y, da=None):
    """The loss, dW and db by automatic differentiation; with da, the gradients for that upstream gradient."""
    W = [torch.tensor(array, requires_grad=True) for array in weights]
    b = [torch.tensor(array, requires_grad=True) for array in biases]
    a, y = torch.tensor(x), torch.tensor(y)
    for weight, bias, name in zip(W, b, network.activations, strict=True):
        z = a @ weight + bias
        a = ACTIVATION[name](z)
    if da is not None:
        a.backward(torch.tensor(da))
        return [p.grad for p in W], [p.grad for p in b]
    loss = LOSS[network.loss, network.activations[-1] == "softmax"](z, a, y)
    loss.backward()
    return loss.item(), [p.grad for p in W], [p.grad for p in b]


ACTIVATION = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
    "softmax": lambda z: torch.softmax(z, dim=1),
    "linear": lambda z: z,
}


def mean_squared_error(z, a, y):
    """Mean over batch and outputs."""
    return functional.mse_loss(a, y)


def sum_squared_error(z, a, y):
    """Sum over the outputs, mean over the batch."""
    return functional.mse_loss(a, y, reduction="sum") / len(y)


def binary_cross_entropy(z, a, y):
    """Mean over batch and outputs, from z."""
    return functional.binary_cross_entropy_with_logits(z, y)


def softmax_cross_entropy(z, a, y):
    """Sum over the outputs, mean over the batch, from z."""
    return functional.cross_entropy(z, y)


def sigmoid_cross_entropy(z, a, y):
    """The same for sigmoid outputs."""
    return -(y * functional.logsigmoid(z)).sum() / len(y)


LOSS = {
    **{("mean_squared_error", softmax): mean_squared_error for softmax in (False, True)},
    **{("sum_squared_error", softmax): sum_squared_error for softmax in (False, True)},
    ("binary_cross_entropy", False): binary_cross_entropy,
    ("cross_entropy", True): softmax_cross_entropy,
    ("cross_entropy", False): sigmoid_cross_entropy,
}
