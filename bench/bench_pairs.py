"""Each pair of the backend interface alone, in the backend's own arrays, at a small and a large shape.

A network in which the pair stands has its gradient checked before.
"""

from functools import cache
from types import SimpleNamespace

import pytest

from backprop_ref import mlp
from backprop_ref.api import on_backend, value_and_grad
from backprop_ref.benchmarks.check import Truth
from backprop_ref.benchmarks.ladder import Rung, Task
from backprop_ref.network import ACTIVATIONS, OUTPUTS_OF, Network

SHAPES = {"small": (7, 3, 5), "large": (128, 256, 128)}  # batch, n_in, n_out
SLOW = {"python", "array_api_strict"}
AFFINE = ("affine_forward", "affine_backward", "affine_backward_input")
LOSSES = [(loss, output) for loss, outputs in OUTPUTS_OF.items() for output in outputs[-1:]]


def pytest_generate_tests(metafunc):
    if "shape" in metafunc.fixturenames:
        once = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("shape", ["small"] if once else SHAPES)


@cache
def truth_of(shape, activation, loss, output, dtype):
    """The `Truth` for a network with the activation in a hidden layer of the shape, and the loss."""
    batch, n_in, n_out = SHAPES[shape]
    task = Task(Rung(Network([n_in, n_out, n_out], [activation, output], loss), batch), dtype)
    return Truth(task.network, task.params, *task.first_batch)


def layers(backend, shape, dtype, activation="tanh", loss="cross_entropy", output="softmax"):
    """What the pairs of both layers are given, in the backend's arrays; its gradient is right."""
    if shape == "large" and backend.name in SLOW:
        pytest.skip(f"{backend.name} is slow at {SHAPES[shape]}")
    truth = truth_of(shape, activation, loss, output, dtype)
    network, params = truth.network, truth.params
    truth.of_gradient(value_and_grad(network, params, truth.x, truth.y, backend=backend)[1], backend.numerics)
    with backend.scope():
        weights, x, y = on_backend(backend, params, truth.x, truth.y)
        seen = mlp.trace(backend, network, weights, x, y)
        da = backend.affine_backward_input(seen.delta[1], weights.W[1])
        return SimpleNamespace(W=weights.W, b=weights.b, x=x, y=y, z=seen.z, a=seen.a, delta=seen.delta, da=da)


@pytest.mark.parametrize("pair", AFFINE)
def bench_affine(benchmark, timed, backend, shape, dtype, pair):
    seen = layers(backend, shape, dtype)
    arguments = {
        "affine_forward": (seen.x, seen.W[0], seen.b[0]),
        "affine_backward": (seen.delta[0], seen.x),
        "affine_backward_input": (seen.delta[0], seen.W[0]),
    }[pair]
    benchmark.group = f"{pair} {shape} {dtype}"
    timed(getattr(backend, pair), *arguments, backend=backend, shape=SHAPES[shape], dtype=dtype)


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def bench_activation(benchmark, timed, backend, shape, dtype, activation, half):
    seen = layers(backend, shape, dtype, activation)
    z, a = seen.z[0], seen.a[0]
    arguments = (activation, z) if half == "forward" else (activation, z, a, seen.da)
    benchmark.group = f"{activation} {half} {shape} {dtype}"
    timed(getattr(backend, f"activation_{half}"), *arguments, backend=backend, shape=SHAPES[shape], dtype=dtype)


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize(("loss", "output"), LOSSES)
def bench_loss(benchmark, timed, backend, shape, dtype, loss, output, half):
    seen = layers(backend, shape, dtype, loss=loss, output=output)
    benchmark.group = f"{output} {loss} {half} {shape} {dtype}"
    arguments = (loss, output, seen.z[1], seen.a[1], seen.y)
    timed(getattr(backend, f"loss_{half}"), *arguments, backend=backend, shape=SHAPES[shape], dtype=dtype)
