"""PyTorch: a network as an `nn.Sequential`, and its state_dict as a safetensors file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import Foreign, check_file, described, entries, made, missing
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model
from backprop_ref.parameters import Parameters

LINEAR_FROM = 40.0
"""From there on softplus(z) is z to rounding in float64; torch has 20, which is right for float32 alone."""
_OF = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "ReLU",
    "softmax": "Softmax",
    "softsign": "Softsign",
    "hard_sigmoid": "Hardsigmoid",
    "softplus": "Softplus",
    "silu": "SiLU",
    "selu": "SELU",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "mish": "Mish",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
}
_PASS = {"Identity", "Dropout", "AlphaDropout", "Flatten"}
_FUNCTIONS = {
    **dict.fromkeys(("relu", "sigmoid", "tanh", "softsign", "silu", "selu", "mish", "hardsigmoid", "softplus")),
    **dict.fromkeys(("softmax", "gelu", "leaky_relu", "elu")),
}
"""Functions of `torch`, of `torch.nn.functional` and of tensors that are activations; each is read as its module."""


def to_torch(network: Network, params: Parameters) -> Foreign:
    """The network as a `torch.nn.Sequential` of Linear and activations, in the dtype of the parameters.

    Softmax is part of it where it is part of the network; `torch.nn.CrossEntropyLoss` wants what comes before.

    Raises
    ------
    InvalidInput
        PyTorch is not installed, or it has no such activation.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    >>> br.to_torch(network, network.init())  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): Tanh()
      (2): Linear(in_features=3, out_features=1, bias=True)
      (3): Sigmoid()
    )
    """
    torch = _torch("to_torch")
    layers: list[Any] = []
    for W, b, name in zip(params.W, params.b, network.activations, strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, params.dtype.name))
        linear.load_state_dict({"weight": torch.tensor(W.T.copy()), "bias": torch.tensor(b)})
        layers += [linear, *([] if name == "linear" else [_activation(torch, name)])]
    module: Foreign = torch.nn.Sequential(*layers)
    return module


def _activation(torch: Any, name: str) -> Any:
    plain, number = ACTIVATIONS.parts(name)
    if plain not in _OF:
        raise InvalidInput(f"torch has no activation {name}")
    settings: dict[str, dict[str, Any]] = {
        "softmax": {"dim": 1},
        "softplus": {"threshold": LINEAR_FROM},
        "leaky_relu": {"negative_slope": number},
        "elu": {"alpha": number},
        "gelu_tanh": {"approximate": "tanh"},
    }
    return getattr(torch.nn, _OF[plain])(**settings.get(plain, {}))


def from_torch(source: object, network: Network | None = None) -> Model:
    """The model of a torch module, or of a state_dict, which needs `network` to say activations and loss.

    Parameters
    ----------
    source : torch.nn.Module or mapping of str to tensor
        What is called one after the other: Linear, activations, and what changes nothing when a network is used, such
        as Dropout. A module of one's own is traced by `torch.fx`.
    network : Network, optional
        See `backprop_ref.load`.

    Raises
    ------
    InvalidInput
        A part that is none of a multi-layer perceptron, which is named.

    Examples
    --------
    >>> import backprop_ref as br
    >>> from torch import nn  # doctest: +SKIP
    >>> br.from_torch(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))).network  # doctest: +SKIP
    Network(sizes=(2, 3, 1), activations=('tanh', 'linear'), loss='mean_squared_error')
    """
    if isinstance(source, Mapping):
        return _of_state("the state_dict", _state_of("the state_dict", source), network)
    torch = _torch("from_torch")
    if not isinstance(source, torch.nn.Module):
        raise InvalidInput(f"from_torch: a torch module or a state_dict is needed, got {type(source).__name__}")
    weights, biases, activations = [], [], list[str]()
    for part, called in _chain(torch, source):
        if isinstance(part, torch.nn.Linear):
            weights.append(_array(part.weight).T)
            biases.append(np.zeros(part.out_features, weights[-1].dtype) if part.bias is None else _array(part.bias))
            activations.append("linear")
        elif type(part).__name__ not in _PASS:
            name = _name_of(part, called, weights[-1].dtype if weights else np.dtype("float64"))
            if not activations or activations[-1] != "linear":
                before = "before the first Linear" if not activations else "after another activation"
                raise InvalidInput(f"from_torch: {called} ({name}) {before}; each Linear is followed by one at most")
            activations[-1] = name
    return made("from_torch", weights, biases, activations, network)


def _chain(torch: Any, module: Any) -> list[tuple[Any, str]]:
    """The modules that are called, in order, each with its name; functions as the modules that do the same."""
    from torch import fx

    module = module if isinstance(module, torch.nn.Sequential) else _alone(torch, module)
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as error:
        said = " ".join(str(error).split())[:100]
        raise InvalidInput(
            f"from_torch: {type(module).__name__} cannot be traced ({said}); give an nn.Sequential"
        ) from None
    parts, before = list[tuple[Any, str]](), None
    for step in graph.nodes:
        if step.op == "output":
            if step.args[0] is not before:
                raise InvalidInput("from_torch: it returns something else than its last layer; give an nn.Sequential")
            break
        if step.op == "placeholder" and before is None:
            before = step
            continue
        if step.op == "get_attr" or [*step.all_input_nodes] != [before]:
            what = getattr(step.target, "__name__", step.target)
            raise InvalidInput(f"from_torch: {step.name} ({what}) joins branches: no chain of layers")
        before = step
        if step.op == "call_module":
            parts.append((module.get_submodule(step.target), str(step.target)))
            continue
        name = getattr(step.target, "__name__", str(step.target)).strip("_")
        if name in {"dropout", "contiguous"} or (name == "flatten" and _first_axis(step) == 1):
            continue
        parts.append((_as_module(torch, name, step), step.name))
    return parts


def _first_axis(step: Any) -> Any:
    """The first of the axes that flatten makes one."""
    return step.args[1] if len(step.args) > 1 else step.kwargs.get("start_dim", 0)


def _alone(torch: Any, module: Any) -> Any:
    """A module; a single layer of torch's as a chain of one, since tracing does not look into those of a chain."""
    return torch.nn.Sequential(module) if type(module).__module__.startswith("torch.nn") else module


def _as_module(torch: Any, name: str, step: Any) -> Any:
    """The module that does what a function does with its settings."""
    modules = {each.lower(): each for each in {*_OF.values()}}
    found = modules.get(name.replace("_", ""))
    if name not in _FUNCTIONS or found is None:
        raise InvalidInput(f"from_torch: {step.name} ({name}) is no layer of a multi-layer perceptron")
    settings = {
        key: value
        for key, value in step.kwargs.items()
        if key not in {"input", "inplace", "_stacklevel", "dtype", "training"}
    }
    return getattr(torch.nn, found)(*step.args[1:], **settings)


def _name_of(part: Any, called: str, dtype: np.dtype[Any]) -> str:
    """Our name of an activation module."""
    kind = type(part).__name__
    name = next((ours for ours, theirs in _OF.items() if theirs == kind), None)
    if name is None:
        raise InvalidInput(f"from_torch: {called} ({kind}) is no layer of a multi-layer perceptron")
    if name == "gelu" and part.approximate == "tanh":
        return "gelu_tanh"
    if name == "softmax" and part.dim not in (1, -1):
        raise InvalidInput(f"from_torch: {called}: a softmax over dim {part.dim}; over the outputs it is dim=1")
    if name == "softplus" and (part.beta != 1 or part.threshold < (LINEAR_FROM - 4.0 if dtype == "float64" else 17.0)):
        said = f"beta {part.beta:g}, and linear from {part.threshold:g} on"
        raise InvalidInput(f"from_torch: {called} has {said}; nn.Softplus(threshold={LINEAR_FROM:g}) is what is meant")
    if name in ACTIVATIONS.families:
        number = part.negative_slope if name == "leaky_relu" else part.alpha
        return ACTIVATIONS.spelled(f"{name}({float(number)!r})")
    return name


def write(model: Model, path: Path) -> bytes:
    """The state_dict of `to_torch` as safetensors, with the description of the network in its metadata."""
    from safetensors.numpy import save

    if path.suffix.lower() in {".pt", ".pth"}:
        raise InvalidInput(f"{path}: a state_dict is written as safetensors; give a name that ends in .safetensors")
    tensors, place = dict[str, Any](), 0
    for W, b, name in zip(model.params.W, model.params.b, model.network.activations, strict=True):
        tensors |= {f"{place}.weight": np.ascontiguousarray(W.T), f"{place}.bias": np.ascontiguousarray(b)}
        place += 1 if name == "linear" else 2
    return save(tensors, metadata={"format": "pt", **entries(model)})


def read(path: Path, network: Network | None) -> Model:
    """The model of a file with the names of a state_dict."""
    check_file(path)
    if path.suffix.lower() == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            kept = dict(file.metadata() or {})
            try:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            except (TypeError, AttributeError) as error:
                raise InvalidInput(
                    f"{path}: tensors of a dtype that NumPy lacks ({error}); convert to float32"
                ) from None
        written, preprocessing = described(kept, path)
        in_order = {name: tensors[name] for name in sorted(tensors, key=_by_number)}
        return _of_state(path, in_order, network or written, preprocessing)
    torch = _torch(str(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        said = " ".join(str(error).split())[:80]
        raise InvalidInput(
            f"{path}: no file of tensors alone ({said}…); save module.state_dict(), or give br.from_torch the module"
        ) from None
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{path}: holds a {type(found).__name__}, not a state_dict; save module.state_dict()")
    return _of_state(path, _state_of(path, found), network)


def _state_of(where: object, found: Mapping[Any, Any]) -> dict[str, Any]:
    """The tensors of a state_dict, or of the only one that stands beside an epoch, an optimizer and the like."""

    def has_weights(value: object) -> bool:
        return isinstance(value, Mapping) and any(re.fullmatch(r"(.*\.)?weight", str(name)) for name in value)

    inside = [] if has_weights(found) else [name for name, value in found.items() if has_weights(value)]
    if len(inside) > 1:
        raise InvalidInput(f"{where}: holds several state_dicts ({', '.join(map(str, inside))}); save one of them")
    found = found[inside[0]] if inside else found
    plain = (Mapping, str, int, float, NoneType)
    wrong = [name for name, value in found.items() if isinstance(value, plain)]
    if wrong:
        raise InvalidInput(f"{where}: {wrong[0]} is no tensor, so this is no state_dict; save module.state_dict()")
    return {str(name): _array(tensor) for name, tensor in found.items()}


def _of_state(
    where: object, tensors: Mapping[str, Any], network: Network | None, preprocessing: dict[str, Any] | None = None
) -> Model:
    """The model of tensors NAME.weight, of shape (n_out, n_in), and NAME.bias, from the input to the output."""
    names = {name.rpartition("weight")[0]: name for name in tensors if re.fullmatch(r"(.*\.)?weight", name)}
    others = [
        each for each in tensors if each not in {f"{name}{kind}" for name in names for kind in ("weight", "bias")}
    ]
    wrong = [name for name in names.values() if np.ndim(tensors[name]) != 2]
    if others or wrong:
        named = (others or wrong)[0]
        raise InvalidInput(f"{where}: {named} of shape {np.shape(tensors[named])} is no weight or bias of a Linear")
    weights = [np.asarray(tensors[name]).T for name in names.values()]
    biases = [tensors.get(f"{name}bias", np.zeros(W.shape[1], W.dtype)) for name, W in zip(names, weights, strict=True)]
    return made(where, weights, biases, None, network, preprocessing)


def _by_number(name: str) -> list[tuple[int, str]]:
    """The parts of a name, the numbers in it by size."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _array(tensor: Any) -> Any:
    """A tensor as an array."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise InvalidInput(f"a tensor of {tensor.dtype} ({error}); convert it: module.float()") from None


def _torch(what: str) -> Any:
    try:
        import torch
    except ImportError:
        raise missing("torch", "torch", what) from None
    return torch
