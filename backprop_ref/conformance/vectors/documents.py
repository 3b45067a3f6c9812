"""A case with what is expected of it as a JSON document, and back; every float is exact."""

import json
import re
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Case, Expected, Values
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS, describe
from backprop_ref.parameters import Parameters

FORMAT = "backprop_ref-vectors-1"
ARITHMETIC = "reproducible-1"
HEXADECIMAL = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-]\d+$")


def question(case, numbers="decimal"):
    """A case as a program reads it, in one line of JSON: what `to_document` gives, without what is expected.

    numbers: decimal, JSON's own, in as many digits as read back as the same float; or hex, text as in the vectors.
    """
    document = to_document(case)
    document.pop("expected", None)
    return json.dumps(document if numbers == "hex" else _decimal(document))


def to_document(case):
    """A case as a JSON-ready dictionary; every float as hexadecimal text, nested as its array is."""
    network = case.network
    optimizer = describe(case.optimizer)
    return {
        "format": FORMAT,
        "arithmetic": ARITHMETIC,
        "name": case.name,
        "flags": list(case.flags),
        "deciding": case.deciding,
        "dtype": case.params.dtype.name,
        "network": network.to_dict(),
        "weights": _hex(case.params.W),
        "biases": _hex(case.params.b),
        "x": _hex(case.x),
        "y": _hex(case.y),
        "da": None if case.da is None else _hex(case.da),
        "weight_decay": float(case.weight_decay).hex(),
        "optimizer": {key: value.hex() if isinstance(value, float) else value for key, value in optimizer.items()},
        "steps": 3,
        "batch_size": case.batch_size,
    } | (
        {} if case.expected is None else {"expected": {kind: _values(v) for kind, v in case.expected._asdict().items()}}
    )


def from_document(document):
    """The case that `to_document` wrote."""
    dtype, network = document["dtype"], Network(**document["network"])
    layers, optimizer = range(network.n_layers), document["optimizer"]
    settings: dict[str, Any] = {
        key: float.fromhex(value) if isinstance(value, str) else value
        for key, value in optimizer.items()
        if key != "name"
    }
    found = OPTIMIZERS[optimizer["name"]](**settings)
    weights, biases = ([_array(document[key][layer], dtype) for layer in layers] for key in ("weights", "biases"))
    kinds = {
        kind: _read(values, dtype if kind == "reference" else "float64")
        for kind, values in document["expected"].items()
    }
    return Case(
        name=document["name"],
        network=network,
        params=Parameters.from_arrays(weights, biases),
        x=_array(document["x"], dtype),
        y=_array(document["y"], dtype),
        flags=tuple(document["flags"]),
        deciding=document["deciding"],
        da=None if document["da"] is None else _array(document["da"], dtype),
        weight_decay=float.fromhex(document["weight_decay"]),
        optimizer=found,
        batch_size=document["batch_size"],
        expected=Expected(**kinds),
    )


def text(document):
    """A document as text: one line for each quantity, so that two versions can be compared."""
    return _lines(document, 0) + "\n"


def _lines(value, depth):
    if not isinstance(value, dict) or depth == 3:
        return json.dumps(value, ensure_ascii=False)
    inner = ",\n".join(
        f"{' ' * (depth + 1)}{json.dumps(key)}: {_lines(entry, depth + 1)}" for key, entry in value.items()
    )
    return "{\n" + inner + "\n" + " " * depth + "}"


def _values(values):
    return {name: _hex(value) for name, value in values._asdict().items() if value is not None}


def _read(values, dtype):
    lists: dict[str, Any] = {
        name: [_array(part, dtype) for part in parts]
        for name, parts in values.items()
        if isinstance(parts, list) and name != "dx"
    }
    if "dx" in values:
        lists["dx"] = _array(values["dx"], dtype)
    if "loss" in values:
        lists["loss"] = float.fromhex(values["loss"])
    return Values(**lists)


def _hex(value):
    if isinstance(value, list | tuple):
        return [_hex(part) for part in value]
    if isinstance(value, np.ndarray):
        return _hex(value.tolist())
    return float(value).hex()


def _decimal(value):
    """The same with every hexadecimal float as a number."""
    if isinstance(value, dict):
        return {key: _decimal(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_decimal(part) for part in value]
    return float.fromhex(value) if isinstance(value, str) and HEXADECIMAL.match(value) else value


def _array(nested, dtype):
    """Nested lists of hexadecimal floats as an array."""

    def read(entry):
        return [read(part) for part in entry] if isinstance(entry, list) else float.fromhex(entry)

    return np.array(read(nested), dtype=dtype)
