"""Keras 3: a network as a `keras.Sequential`, and its .keras file."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import Foreign, agreed, check_file, described, entries, made, missing
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.network import Network, loss_name
from backprop_ref.network.model_file import Model, check_pair
from backprop_ref.parameters import Parameters

KEPT = "backprop_ref.json"
"""Beside what Keras has in its file: the description of the network."""
FLOAT64 = (
    "Keras holds float64 parameters to the bit, but computes parts of a layer in float32 (3.15: products on torch, "
    "tanh on JAX)"
)
"""What is said of a network in float64."""
_NAMES = (
    *("sigmoid", "tanh", "relu", "softmax", "softsign", "hard_sigmoid", "softplus", "silu", "selu", "gelu", "mish"),
    "linear",
)
"""Activations that Keras calls the same."""
_PASS = {"InputLayer", "Dropout", "GaussianNoise", "Flatten", "ActivityRegularization"}


def to_keras(network: Network, params: Parameters) -> Foreign:
    """The network as a `keras.Sequential` of Dense and activations, in the dtype of the parameters.

    Raises
    ------
    InvalidInput
        Keras is not installed, has no such activation that can be saved (gelu_tanh), or its backend does not hold
        float64 (JAX, where it is not told to).

    Warns
    -----
    UserWarning
        Of float64: Keras keeps the parameters, and computes parts in float32.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    >>> br.to_keras(network, network.init(dtype="float32")).output_shape  # doctest: +SKIP
    (None, 1)
    """
    check_pair(network, params)
    if params.dtype == "float64":
        warnings.warn(FLOAT64, stacklevel=2)
    return _built(_keras("to_keras"), network, params)


def _built(keras: Any, network: Network, params: Parameters) -> Foreign:
    dtype = params.dtype.name
    layers: list[Any] = [keras.Input((network.sizes[0],), dtype=dtype)]
    for W, name in zip(params.W, network.activations, strict=True):
        plain, number = ACTIVATIONS.parts(name)
        if plain == "leaky_relu":
            layers += [keras.layers.Dense(W.shape[1], dtype=dtype), keras.layers.LeakyReLU(number, dtype=dtype)]
        elif plain == "elu":
            layers += [keras.layers.Dense(W.shape[1], dtype=dtype), keras.layers.ELU(number, dtype=dtype)]
        elif name in _NAMES:
            layers.append(keras.layers.Dense(W.shape[1], activation=name, dtype=dtype))
        else:
            raise InvalidInput(f"Keras has no activation {name} that a saved model can name; export to another format")
    module: Foreign = keras.Sequential(layers)
    dense = [layer for layer in module.layers if type(layer).__name__ == "Dense"]
    for layer, W, b in zip(dense, params.W, params.b, strict=True):
        layer.set_weights([W, b])
        if any(not np.array_equal(kept, given) for kept, given in zip(layer.get_weights(), (W, b), strict=True)):
            raise InvalidInput(
                f"Keras' backend {keras.backend.backend()} does not hold {dtype}; set JAX_ENABLE_X64=1 for jax, or "
                "KERAS_BACKEND=torch, or give float32 parameters"
            )
    return module


def from_keras(source: object, network: Network | None = None) -> Model:
    """The model of a Keras model whose layers are one after the other: Dense, activations, Dropout and the like.

    Parameters
    ----------
    source : keras.Model
        Its loss, where it is compiled with one of ours, becomes the model's.
    network : Network, optional
        See `backprop_ref.load`.

    Raises
    ------
    InvalidInput
        A layer that is none of a multi-layer perceptron, which is named.

    Examples
    --------
    >>> import backprop_ref as br, keras  # doctest: +SKIP
    >>> theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])  # doctest: +SKIP
    >>> br.from_keras(theirs).network.loss  # doctest: +SKIP
    'cross_entropy'
    """
    keras = _keras("from_keras")
    if not isinstance(source, keras.Model):
        raise InvalidInput(f"from_keras: a Keras model is needed, got {type(source).__name__}")
    return _of_layers("from_keras", keras, source, network, None)


def _of_layers(where: object, keras: Any, source: Any, network: Network | None, preprocessing: Any) -> Model:
    weights, biases, activations = [], [], list[str]()
    for layer in _chain(where, keras, source):
        kind = type(layer).__name__
        if kind == "Dense":
            W, *b = layer.get_weights()
            if len(b) > 1:
                raise InvalidInput(f"{where}: {layer.name} has {len(b)} arrays beside its weights; a layer has a bias")
            weights.append(np.asarray(W))
            biases.append(np.asarray(b[0]) if b else np.zeros(W.shape[1], W.dtype))
            activations.append(_named(where, keras, layer, layer.activation))
        elif kind not in _PASS:
            name = _layer_activation(where, keras, layer)
            if not activations or activations[-1] != "linear":
                raise InvalidInput(f"{where}: {layer.name} ({name}) does not follow a Dense without an activation")
            activations[-1] = name
    return made(where, weights, biases, activations, network, preprocessing, _loss(source, activations))


def _chain(where: object, keras: Any, source: Any) -> Iterator[Any]:
    """The layers in order; refused where one has not the one before as its only input."""
    if not source.built:
        raise InvalidInput(f"{where}: the model is not built, so it has no weights; call it on a batch first")
    if len(source.outputs) != 1 or len(source.inputs) != 1:
        raise InvalidInput(f"{where}: {len(source.inputs)} inputs and {len(source.outputs)} outputs; a network has one")
    before = None
    for layer in source.layers:
        if isinstance(layer, keras.Model):
            yield from _chain(where, keras, layer)
        elif not isinstance(source, keras.Sequential) and before is not None:
            nodes = layer._inbound_nodes
            parents = [tensor._keras_history.operation for tensor in nodes[0].input_tensors] if len(nodes) == 1 else []
            if parents != [before]:
                raise InvalidInput(f"{where}: {layer.name} ({type(layer).__name__}) joins branches: no chain of layers")
            yield layer
        else:
            yield layer
        before = layer


def _layer_activation(where: object, keras: Any, layer: Any) -> str:
    """Our name of a layer that is an activation."""
    kind = type(layer).__name__
    if kind == "Activation":
        return _named(where, keras, layer, layer.activation)
    if kind == "LeakyReLU":
        return ACTIVATIONS.spelled(f"leaky_relu({float(layer.negative_slope)!r})")
    if kind == "ELU":
        return ACTIVATIONS.spelled(f"elu({float(layer.alpha)!r})")
    if kind == "ReLU" and layer.max_value is None and not layer.negative_slope and not layer.threshold:
        return "relu"
    if kind == "Softmax" and layer.axis in (-1, 1):
        return "softmax"
    raise InvalidInput(f"{where}: {layer.name} ({kind}) is no layer of a multi-layer perceptron")


def _named(where: object, keras: Any, layer: Any, function: Any) -> str:
    """Our name of a Keras function; its leaky_relu has the slope 0.2."""
    name = getattr(function, "__name__", str(function))
    if function is keras.activations.leaky_relu:
        return "leaky_relu(0.2)"
    if function is keras.activations.elu:
        return "elu"
    if name in _NAMES and function is getattr(keras.activations, name):
        return name
    raise InvalidInput(f"{where}: {layer.name}: activation {name} has no name here")


def _loss(source: Any, activations: list[str]) -> str | None:
    """Our name of the loss that a model is compiled with, if it is one and goes with the output."""
    given = getattr(source, "loss", None)
    if given is None or not activations:
        return None
    name = given if isinstance(given, str) else getattr(given, "name", None) or getattr(given, "__name__", "")
    ours = loss_name(str(name))
    return ours if ours in LOSSES and LOSSES[ours].goes_with(activations[-1]) else None


def write(model: Model, path: Path) -> bytes:
    """The .keras file, with the description of the network as one more file in it."""
    built = _built(_keras(str(path)), model.network, model.params)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        built.save(file)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(KEPT, json.dumps(entries(model)))
        return file.read_bytes()


def read(path: Path, network: Network | None) -> Model:
    """The model of a .keras file; code in it is not run."""
    check_file(path)
    keras = _keras(str(path))
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            kept = json.loads(archive.read(KEPT)) if KEPT in archive.namelist() else {}
        if not isinstance(kept, dict):
            raise TypeError(f"{KEPT} is no description of a network")
        source = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:
        raise InvalidInput(f"{path}: Keras cannot read it ({' '.join(str(error).split())[:100]})") from None
    written, preprocessing = described(kept, path)
    model = _of_layers(path, keras, source, network, preprocessing)
    return model if network is not None else model._replace(network=agreed(written, model.network))


def _keras(what: str) -> Any:
    try:
        import keras
    except ImportError as error:
        if str(error.name).partition(".")[0] in {"keras", "None"}:
            raise missing("keras", "keras", what) from None
        said = f"{what}: Keras is installed, but not {error.name}, which it computes with"
        raise InvalidInput(f"{said}; say another before: KERAS_BACKEND=torch or KERAS_BACKEND=jax") from None
    return keras
