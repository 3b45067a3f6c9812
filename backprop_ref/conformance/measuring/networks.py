"""A network in one word: ``2-2-1:sigmoid,sigmoid:sse``."""

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import LOSSES
from backprop_ref.network import Network

EXAMPLE = "2-2-1:sigmoid,sigmoid:sse"


def parse(text: str) -> Network:
    """The network of that name; one activation before the output stands for every hidden layer.

    Raises
    ------
    InvalidInput
        It cannot be read, or there is no such network.
    """
    parts = text.split(":")
    if len(parts) != 3:
        raise InvalidInput(f"{ask('--network', text)}: sizes, activations and loss are needed, as in {EXAMPLE}")
    try:
        sizes = [int(size) for size in parts[0].split("-")]
    except ValueError:
        said = f"{ask('--network', text)}: the sizes {parts[0]} are not numbers with - between, as in {EXAMPLE}"
        raise InvalidInput(said) from None
    names = [name.strip() for name in parts[1].split(",")]
    layers = len(sizes) - 1
    if len(names) == 2 and layers > 2:
        names = names[:1] * (layers - 1) + names[1:]
    network = Network(sizes, names, parts[2].strip())
    if network.sizes[-1] == 1 and network.activations[-1] == "softmax":
        raise InvalidInput(
            f"{ask('--network', text)}: softmax of one output is always 1, and its gradient 0: two are needed"
        )
    return network


def name_of(network: Network) -> str:
    """The other way round."""
    sizes = "-".join(map(str, network.sizes))
    return f"{sizes}:{kind_of(network)}"


def kind_of(network: Network) -> str:
    """Without the sizes."""
    return f"{','.join(network.activations)}:{LOSSES[network.loss].short}"
