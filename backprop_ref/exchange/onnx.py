"""ONNX: a network as a graph of operators that every runtime has in both precisions.

Activations that ONNX has in both are its operators; of the others the formula of the table becomes the graph, so that a
leaky slope is as exact as the parameters (its attribute in ONNX is of float32, whatever the graph).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import agreed, check_file, described, entries, missing
from backprop_ref.exchange.onnx_graph import layers
from backprop_ref.exchange.onnx_words import NATIVE, OPERATORS, Words
from backprop_ref.files import path_of, replace, writing
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.kernels.expressions import Node, node
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model, check_pair
from backprop_ref.parameters import Parameters

OPSET, IR = 13, 7
"""The first in which softmax is of one axis; of ONNX 1.8, of 2020."""


class _Graph:
    """Nodes and constants of a graph as they come."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: Any) -> str:
        array = np.ascontiguousarray(value, self.dtype) if np.ndim(value) else np.array(value, self.dtype)
        self.constants.setdefault(name, self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **settings: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], name=output, **settings))
        return output

    def write(self, expression: Node, z: str, output: str) -> None:
        """The nodes of an expression of z, the last of which gives the output."""
        names: dict[Node, str] = {}

        def of(part: Node) -> str:
            if part.operation == "leaf":
                return z
            if part.operation == "number":
                value = float(self.dtype.type(part.number))
                return self.constant(f"constant {value!r}", value)
            if part not in names:
                inputs = [of(each) for each in part.parts]
                name = output if part is expression else f"{output}/{part.operation}{len(names)}"
                names[part] = self.add(OPERATORS[part.operation], inputs, name)
            return names[part]

        of(expression)


def to_onnx(
    path: str | Path, network: Network, params: Parameters, preprocessing: dict[str, Any] | None = None
) -> None:
    """Writes a network as ONNX, of opset 13, from x of shape (batch, n_in) to a of shape (batch, n_out).

    The description of the network and its preprocessing are in the metadata; x is what the preprocessing gives.

    Raises
    ------
    InvalidInput
        The package onnx is not installed.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    >>> params = network.init(seed=1)
    >>> br.to_onnx("xor.onnx", network, params)  # doctest: +SKIP
    >>> br.from_onnx("xor.onnx").params.sha256() == params.sha256()  # doctest: +SKIP
    True
    """
    check_pair(network, params)
    content = write(Model(network, params, preprocessing), path_of(path))
    with writing(path, "give another file"):
        replace(path, content)


def model_proto(model: Model) -> Any:
    """The model as ONNX's own."""
    onnx = _onnx("ONNX")
    network, params = model.network, model.params
    graph, a = _Graph(onnx, params.dtype), "x"
    words = Words(params.dtype.name)
    for layer, (W, b, name) in enumerate(zip(params.W, params.b, network.activations, strict=True)):
        z = graph.add("Gemm", [a, graph.constant(f"W{layer}", W), graph.constant(f"b{layer}", b)], f"z{layer}")
        a = "a" if layer == network.n_layers - 1 else f"a{layer}"
        if name in NATIVE:
            graph.add(NATIVE[name], [z], a, **({"axis": 1} if name == "softmax" else {}))
        elif ACTIVATIONS[name].by_rows:
            raise InvalidInput(f"ONNX has no operator for {name}, which is over rows")
        else:
            graph.write(node(ACTIVATIONS[name].forward(words, Node("leaf", name="z"))), z, a)
    kind = onnx.helper.np_dtype_to_tensor_dtype(params.dtype)
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, ["batch", width])
        for name, width in (("x", network.sizes[0]), ("a", network.sizes[-1]))
    ]
    made = onnx.helper.make_graph(graph.nodes, "backprop_ref", ends[:1], ends[1:], [*graph.constants.values()])
    opset = [onnx.helper.make_opsetid("", OPSET)]
    proto = onnx.helper.make_model(made, opset_imports=opset, ir_version=IR, producer_name="backprop-ref")
    for key, value in entries(model).items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto)
    return proto


def write(model: Model, path: Path) -> bytes:
    """The file's bytes; the same model gives the same."""
    content: bytes = model_proto(model).SerializeToString(deterministic=True)
    return content


def from_onnx(path: str | Path, network: Network | None = None) -> Model:
    """The model of an ONNX file, this project's or another's: Gemm, or MatMul and Add, and activations, one by one.

    Parameters
    ----------
    path : path-like
    network : Network, optional
        See `backprop_ref.load`.

    Raises
    ------
    InvalidInput
        The graph is no multi-layer perceptron; the message names the node at which it is none.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.from_onnx("classifier.onnx").network.activations  # doctest: +SKIP
    ('relu', 'softmax')
    """
    return read(path_of(path), network)


def read(path: Path, network: Network | None) -> Model:
    """The model of a file: what its graph says, and the loss of its metadata where they agree on all else."""
    check_file(path)
    onnx = _onnx(str(path))
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:
        raise InvalidInput(f"{path}: no ONNX file, or damaged ({' '.join(str(error).split())[:100]})") from None
    written, preprocessing = described({each.key: each.value for each in proto.metadata_props}, path)
    model = layers(onnx, proto, path, network, preprocessing)
    return model if network is not None else model._replace(network=agreed(written, model.network))


def _onnx(what: str) -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise missing("onnx", "onnx", what) from None
    return onnx
