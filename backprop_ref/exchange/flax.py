"""Flax: a network's variables with the names of `flax.linen`, and as the bytes of `flax.serialization`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Float
from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import Foreign, check_file, described, entries, made, missing
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model
from backprop_ref.parameters import Parameters

Named: TypeAlias = dict[str, dict[str, npt.NDArray[Float]]]
"""The parameters of each layer."""

KEPT = "backprop_ref"
"""The collection of variables beside params, in which the description of the network is, as bytes."""
_OF = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
    "softsign": "soft_sign",
    "hard_sigmoid": "hard_sigmoid",
    "softplus": "softplus",
    "silu": "silu",
    "selu": "selu",
    "mish": "mish",
}


def to_flax(network: Network, params: Parameters) -> tuple[Foreign, dict[str, Named]]:
    """The network as a `flax.linen.Sequential` and its variables: ``module.apply(variables, x)`` gives the outputs.

    For float64, JAX has to be told so: ``jax.config.update("jax_enable_x64", True)``.

    Returns
    -------
    module : flax.linen.Sequential
        Dense, with an activation between.
    variables : dict
        ``{"params": {"layers_0": {"kernel": W, "bias": b}, …}}``, of NumPy arrays.

    Raises
    ------
    InvalidInput
        Flax is not installed, or JAX has no such activation.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    >>> module, variables = br.to_flax(network, network.init(dtype="float32"))  # doctest: +SKIP
    >>> variables["params"]["layers_0"]["kernel"].shape  # doctest: +SKIP
    (2, 3)
    """
    linen, jax = _flax("to_flax")
    layers: list[Any] = []
    for W, name in zip(params.W, network.activations, strict=True):
        layers.append(linen.Dense(W.shape[1], dtype=params.dtype, param_dtype=params.dtype, precision="highest"))
        layers += [] if name == "linear" else [_activation(jax, name)]
    return linen.Sequential(layers), {"params": _named(network, params)}


def _named(network: Network, params: Parameters) -> Named:
    """W and b by the names of a `flax.linen.Sequential`, in which activations are counted too."""
    named, place = Named(), 0
    for W, b, name in zip(params.W, params.b, network.activations, strict=True):
        named[f"layers_{place}"] = {"kernel": np.array(W), "bias": np.array(b)}
        place += 1 if name == "linear" else 2
    return named


def _activation(jax: Any, name: str) -> Any:
    plain, number = ACTIVATIONS.parts(name)
    if plain == "leaky_relu":
        return lambda z: jax.nn.leaky_relu(z, number)
    if plain == "elu":
        return lambda z: jax.nn.elu(z, number)
    if plain in {"gelu", "gelu_tanh"}:
        return lambda z: jax.nn.gelu(z, approximate=plain == "gelu_tanh")
    if plain not in _OF:
        raise InvalidInput(f"JAX has no activation {name}")
    return getattr(jax.nn, _OF[plain])


def from_flax(variables: object, network: Network) -> Model:
    """The model of Flax variables: of `flax.linen` as nested dictionaries, or a module or state of `flax.nnx`.

    Parameters
    ----------
    variables : mapping, flax.nnx.Module or flax.nnx.State
        Each layer is a dictionary with kernel, of shape (n_in, n_out), and bias. Layers are taken in the order of the
        numbers in their names, that in which Flax made them: look, where layers of equal width are made in another
        order than they are called, as in ``Dense(3)(Dense(3)(x))``.
    network : Network
        What variables do not say: activations and loss.

    Raises
    ------
    InvalidInput
        Other parameters than those of dense layers, or other sizes than the network's.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "bce")
    >>> br.from_flax({"params": {"Dense_0": {"kernel": [[1.0], [2.0]], "bias": [0.5]}}}, network).params.flat
    array([1. , 2. , 0.5])
    """
    found = variables if isinstance(variables, Mapping) else _of_nnx(variables)
    return _of_variables("from_flax", found, network, None)


def _of_nnx(source: Any) -> Any:
    try:
        from flax import nnx
    except ImportError:
        raise missing("flax", "flax", "from_flax") from None
    if not isinstance(source, nnx.Module | nnx.State):
        raise InvalidInput(f"from_flax: variables, a module or a state of nnx are needed, got {type(source).__name__}")
    return nnx.to_pure_dict(nnx.state(source, nnx.Param) if isinstance(source, nnx.Module) else source)


def _of_variables(where: object, variables: Any, network: Network | None, preprocessing: Any) -> Model:
    layers = list(_dense(where, "", variables.get("params", variables)))
    weights = [np.asarray(layer["kernel"]) for layer in layers]
    biases = [
        np.asarray(layer.get("bias", np.zeros(W.shape[-1], W.dtype))) for layer, W in zip(layers, weights, strict=True)
    ]
    return made(where, weights, biases, None, network, preprocessing)


def _dense(where: object, called: str, values: Any) -> Iterator[Mapping[str, Any]]:
    """The dictionaries with a kernel, in the order of the numbers in their names."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{where}: {called} is no parameter of a dense layer, so this is no multi-layer perceptron")
    if "kernel" in values:
        others = values.keys() - {"kernel", "bias"}
        shape = np.shape(values["kernel"])
        if others or len(shape) != 2:
            what = min(map(str, others)) if others else f"a kernel of shape {shape}"
            raise InvalidInput(f"{where}: {called} has {what}: no dense layer, so this is no multi-layer perceptron")
        yield values
        return
    for name in sorted(values, key=_by_number):
        yield from _dense(where, f"{called}/{name}".lstrip("/"), values[name])


def _by_number(name: object) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(name))]


def write(model: Model, path: Path) -> bytes:
    """The variables as msgpack, as `flax.serialization.to_bytes` has them."""
    serialization = _serialization(str(path))
    kept = {key: np.frombuffer(value.encode(), np.uint8) for key, value in entries(model).items()}
    content: bytes = serialization.msgpack_serialize({"params": _named(model.network, model.params), KEPT: kept})
    return content


def read(path: Path, network: Network | None) -> Model:
    """The model of a file of variables."""
    check_file(path)
    serialization = _serialization(str(path))
    try:
        variables = serialization.msgpack_restore(path.read_bytes())
    except Exception as error:
        raise InvalidInput(f"{path}: no msgpack of Flax, or damaged ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(variables, Mapping):
        raise InvalidInput(f"{path}: holds a {type(variables).__name__}, no variables of Flax")
    found = variables.get(KEPT, {})
    try:
        kept = {key: bytes(np.asarray(value, np.uint8)).decode() for key, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: its description of the network is damaged ({error}); export it again") from None
    written, preprocessing = described(kept, path)
    return _of_variables(path, variables, network or written, preprocessing)


def _serialization(what: str) -> Any:
    try:
        from flax import serialization
    except ImportError:
        raise missing("flax", "flax", what) from None
    return serialization


def _flax(what: str) -> tuple[Any, Any]:
    try:
        import jax
        from flax import linen
    except ImportError:
        raise missing("flax", "flax", what) from None
    return linen, jax
