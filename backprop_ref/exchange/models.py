"""A model out of what another library's file or object says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model
from backprop_ref.parameters import Parameters


class Foreign(Protocol):
    """An object of another library, which need not be installed where types are checked."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...


USUAL_LOSS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
"""Of an output activation, where nothing says what the network was trained with; else the mean squared error."""
NETWORK, PREPROCESSING = "backprop_ref.network", "backprop_ref.preprocessing"
"""Keys of what is kept beside the parameters."""
EXAMPLE = "4-16-3:tanh,softmax:ce"


def entries(model: Model) -> dict[str, str]:
    """What a file keeps beside the parameters, so that it is the same model when it is read again."""
    about = {NETWORK: model.network.to_dict(), PREPROCESSING: model.preprocessing}
    return {key: json.dumps(value) for key, value in about.items() if value is not None}


def agreed(written: Network | None, found: Network) -> Network:
    """What a description says, which knows the loss, if it is of the network that was found; else what was found."""
    same = written is not None and (written.sizes, written.activations) == (found.sizes, found.activations)
    return written if written is not None and same else found


def described(kept: Mapping[str, str], where: object) -> tuple[Network | None, dict[str, Any] | None]:
    """What `entries` wrote: network and preprocessing, each None where it is not there."""
    try:
        network = json.loads(kept[NETWORK]) if NETWORK in kept else None
        preprocessing = json.loads(kept[PREPROCESSING]) if PREPROCESSING in kept else None
        if not isinstance(preprocessing, dict | None):
            raise TypeError(f"preprocessing is a {type(preprocessing).__name__}")
        return None if network is None else Network(**network), preprocessing
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{where}: its description of the network is damaged ({error}); export it again") from None


def made(
    where: object,
    weights: Iterable[npt.ArrayLike],
    biases: Iterable[npt.ArrayLike],
    activations: Sequence[str] | None,
    network: Network | None,
    preprocessing: dict[str, Any] | None = None,
    loss: str | None = None,
) -> Model:
    """The model of these layers.

    Parameters
    ----------
    where : object
        What messages call the source.
    weights, biases : W of shape (n_in, n_out) and b of shape (n_out,) of each layer
    activations : sequence of str, or None
        None: the source does not tell.
    network : Network, or None
        What is said of it: it has to fit; and it tells the loss, and the activations where the source does not.
    preprocessing : dict, optional
    loss : str, optional
        That of the source.

    Raises
    ------
    InvalidInput
        No layers, dtypes that differ or are neither float64 nor float32, or what is said does not fit.
    """
    Ws, bs = [np.asarray(W) for W in weights], [np.asarray(b) for b in biases]
    if not Ws:
        raise InvalidInput(f"{where}: no layer with weights in it")
    try:
        params = Parameters.from_arrays(Ws, bs)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    if not np.isfinite(params.flat).all():
        raise InvalidInput(f"{where}: its weights are not all finite; export a network whose training did not diverge")
    if network is None and activations is None:
        said = ask("--network", EXAMPLE) if "--" in ask("--network") else "network=br.Network(sizes, activations, loss)"
        sizes = "-".join(map(str, params.sizes))
        raise InvalidInput(f"{where}: weights of {sizes} without activations and loss; say them by {said}")
    if network is None:
        assert activations is not None
        network = Network(params.sizes, activations, loss or USUAL_LOSS.get(activations[-1], "mean_squared_error"))
    theirs = activations is None or [*network.activations] == [*activations]
    if network.sizes != params.sizes or not theirs:
        shown = f"{list(params.sizes)}" + (f" with {', '.join(activations)}" if activations else "")
        asked = f"{list(network.sizes)} with {', '.join(network.activations)}"
        raise InvalidInput(f"{where}: it is {shown}, and {ask('--network')} says {asked}; leave that out, or mend it")
    return Model(network, params, preprocessing)


def missing(package: str, extra: str, what: str) -> InvalidInput:
    """What is said where a package is not installed."""
    return InvalidInput(f"{what} needs {package}, which is not installed: pip install 'backprop-ref[{extra}]'")


def check_file(path: Path) -> None:
    """Refuses what is no file, before a library says so in its words."""
    if not path.is_file():
        raise InvalidInput(f"{path}: not a regular file" if path.exists() else f"{path}: no such file")
