"""The formats by name and by the endings of files: writing a model as one, and reading one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.files import Name, is_stream, path_of, refuse_endless, replace, send, writing
from backprop_ref.network import Network, model_file
from backprop_ref.network.model_file import Model, check_pair
from backprop_ref.parameters import Parameters


class Format(NamedTuple):
    """What a model can be written as."""

    suffixes: tuple[str, ...]
    """How its files end, the usual one first."""
    reads: bool = True


FORMATS = {
    "onnx": Format((".onnx",)),
    "torch": Format((".safetensors", ".pt", ".pth")),
    "keras": Format((".keras",)),
    "flax": Format((".msgpack",)),
    "c": Format((".c",), reads=False),
    "javascript": Format((".mjs", ".js"), reads=False),
}
SHORT = {"js": "javascript", "pytorch": "torch", "jax": "flax"}


def export(
    path: Name,
    network: Network,
    params: Parameters,
    preprocessing: dict[str, Any] | None = None,
    to: str | None = None,
) -> None:
    """Writes a trained network for another library or language.

    Parameters
    ----------
    path : path-like
        As with `save`, a file that is there is replaced.
    network, params, preprocessing
        As for `save`.
    to : str, optional
        onnx, torch (names of a state_dict, as safetensors), keras, flax, c or javascript; default: by the ending of
        `path`, where .safetensors is torch.

    Raises
    ------
    InvalidInput
        An ending that says nothing, a package that is not installed, or what the format cannot hold.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    >>> params = network.init(seed=1)
    >>> br.export("xor.c", network, params)
    >>> br.export("xor.safetensors", network, params, to="torch")
    >>> br.load("xor.safetensors").params.sha256() == params.sha256()
    True
    """
    content = exported(Model(network, params, preprocessing), path, to)
    with writing(path, "give another file"):
        (send if is_stream(path) else replace)(path, content)


def exported(model: Model, path: Name, to: str | None = None) -> bytes:
    """What `export` writes."""
    check_pair(model.network, model.params)
    path = path_of(path)
    content: bytes = _module(format_of(path, to)).write(model, path)
    return content


def format_of(path: Name, to: str | None = None) -> str:
    """The name of the format that is asked for, or that the ending of a path says."""
    if to is not None:
        check_is("to", to, str, "the name of a format")
        to = SHORT.get(to, to)
        if to not in FORMATS:
            raise unknown("format", to, FORMATS)
        return to
    suffix = Path(path).suffix.lower()
    for name, form in FORMATS.items():
        if suffix in form.suffixes:
            return name
    endings = ", ".join(form.suffixes[0] for form in FORMATS.values())
    raise InvalidInput(f"{path}: its ending says no format; give one of {endings}, or say which: {', '.join(FORMATS)}")


def load(path: Name, network: Network | None = None) -> Model:
    """Reads a model as ``Model(network, params, preprocessing)``: what `save` or `export` wrote, a checkpoint, a run
    folder, or a network of another library.

    Parameters
    ----------
    path : path-like
        .onnx; .safetensors, .pt or .pth with the names of a torch state_dict; .keras; .msgpack with flax variables.
    network : Network, optional
        What the file does not tell: of a state_dict or of flax variables the activations; of all, the loss. Default of
        the loss: cross-entropy for softmax, binary cross-entropy for sigmoid, else the mean squared error.

    Raises
    ------
    InvalidInput
        The file is missing, damaged, or holds no multi-layer perceptron; the message names the part that is none.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "bce")
    >>> params = network.init(seed=1)
    >>> br.save("again.safetensors", network, params)
    >>> br.load("again.safetensors").params.sha256() == params.sha256()
    True
    """
    suffix = path_of(path).suffix.lower()
    name = next((name for name, form in FORMATS.items() if suffix in form.suffixes), None)
    if not Path(path).is_dir():
        refuse_endless(path)
    if Path(path).is_dir() or name is None or (suffix == ".safetensors" and not _of_torch(path)):
        try:
            return model_file.load(path)
        except InvalidInput as error:
            read = [suffix for form in FORMATS.values() if form.reads for suffix in form.suffixes]
            others = f"the model of another library ends in {', '.join(read)}"
            raise InvalidInput(str(error).replace(model_file.OF_OTHERS, others)) from None
    if not FORMATS[name].reads:
        raise InvalidInput(f"{path}: a program is not read back; give the model that it was made of")
    model: Model = _module(name).read(Path(path), network)
    return model


def _of_torch(path: Name) -> bool:
    """Whether a safetensors file has the names of a state_dict."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return any(name.endswith("weight") for name in file.keys())  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError):
        return False


def _module(name: str) -> ModuleType:
    from backprop_ref.exchange import c, flax, javascript, keras, onnx, torch

    return {"onnx": onnx, "torch": torch, "keras": keras, "flax": flax, "c": c, "javascript": javascript}[name]
