"""The golden vectors: cases with what is expected of them, as JSON documents of hexadecimal floats and as safetensors.

`cases` reads those shipped with the package, which needs neither mpmath nor any backend; `generate` makes them anew.
"""

import hashlib
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Case, Expected, Values, tensors
from backprop_ref.files import create, refuse_links, writing
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar

FORMAT = "backprop_ref-vectors-1"
ARITHMETIC = "reproducible-1"
DOCUMENTS = ("schema.json", "arithmetic.md")
SHIPPED = Path(__file__).parent / "data" / "vectors"


CONVENTIONS = {
    "arrays": "nested lists, the last index innermost; all but x, y, da and dx have one for each layer",
    "floats": "hexadecimal, as C's %a and strtod; those of the case's dtype are exact in it",
    "z": "z = a @ W + b, samples in rows; W has shape (n_in, n_out)",
    "delta": "dLoss/dz, the 1/batch included",
    "loss": "mean_squared_error and binary_cross_entropy: mean over batch and outputs; sum_squared_error and "
    "cross_entropy: sum over outputs, mean over batch",
    "kinks": "relu'(0) = 0, leaky_relu'(0) = 0.01",
    "weight_decay": "weight_decay·W is added to dW, nothing to db or to the loss",
    "da": "if not null, an upstream gradient: dW, db and dx are those of sum(da·a), and there is no loss",
    "dx": "the gradient with respect to x",
    "W, b": "after three steps of the optimizer, on batch_size rows at a time in order, the last batch short, and "
    "around again",
    "reference": "the bits of the reproducible arithmetic, version 1 (arithmetic.md)",
    "truth": "the exact value, rounded to binary64",
    "bound": "|computed − truth| <= bound for every IEEE implementation, in any order and by any usual formula",
    "deciding": "false: z so large that usual formulas overflow, or labels of softmax that do not sum to 1; worth a "
    "note, decides nothing",
    "flags": "ids of known bugs whose result is outside the bounds of the case; notes in index.json",
}


@cache
def cases() -> list[Case]:
    """Every case, with flags and expectations, as shipped."""
    index = json.loads((SHIPPED / "index.json").read_text("utf-8"))
    return [
        from_document(json.loads((SHIPPED / "cases" / f"{name}.json").read_text("utf-8"))) for name in index["cases"]
    ]


def generate(progress=None):
    """Every case made anew from its recipe, with the bugs that it exposes; needs mpmath, and takes about a minute."""
    from backprop_ref.conformance.bugs import shown_by
    from backprop_ref.conformance.recipes import completed, recipes

    made = list(recipes())
    with Bar("case", len(made), progress) as bar:
        for i, case in enumerate(made):
            case = completed(case)
            made[i] = replace(case, flags=(*case.flags, *shown_by(case)))
            bar.update(i + 1)
    return made


def files(made):
    """What a folder of vectors holds, name -> bytes: index, schema, arithmetic, a document per case, all as tensors.

    The same bytes for the same cases, wherever and whenever.
    """
    found = {"index.json": _json(_index(made)), **{name: (SHIPPED / name).read_bytes() for name in DOCUMENTS}}
    found |= {f"cases/{case.name}.json": text(to_document(case)).encode() for case in made}
    return {**found, "vectors.safetensors": _safetensors(made)}


def write(folder, found):
    """Writes `files` into a folder, which is made if it is not there, over nothing."""
    folder = Path(folder)
    for name, content in found.items():
        with writing(folder / name, "give a new folder"):
            refuse_links(folder, name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            create(folder / name, content)


def differences(folder, found):
    """What in a folder is not as in `files`, as lines of text, each with its first difference; none if all is."""
    folder = Path(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    lines = [f"{name}: not one of the vectors" for name in sorted(there - found.keys())]
    for name, content in found.items():
        if name not in there:
            lines.append(f"{name}: missing")
        elif (present := (folder / name).read_bytes()) != content:
            lines.append(f"{name}: {_first_difference(present, content)}")
    return lines


def sha256(found):
    """One hash of `files`: of each name and content, in order of the names."""
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(name.encode() + b"\0" + hashlib.sha256(found[name]).digest())
    return total.hexdigest()


def _index(made):
    from backprop_ref.conformance.bugs import CATALOGUE

    notes = {
        bug.id: {part: getattr(bug, part) for part in ("text", "where", "right", "wrong", "hint")} for bug in CATALOGUE
    }
    shown = {flag for case in made for flag in case.flags}
    return {
        "format": FORMAT,
        "arithmetic": ARITHMETIC,
        "conventions": CONVENTIONS,
        "cases": [case.name for case in made],
        "flags": {"extreme": {"text": "values at which usual formulas overflow"}}
        | {flag: note for flag, note in notes.items() if flag in shown},
    }


def _json(document):
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _safetensors(made):
    """Every array of every case, named ``case/x`` or ``case/expected/reference/dW/0``; the rest as JSON, one text."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    rest = []
    for case in made:
        document = to_document(case)
        given = {"x": case.x, "y": case.y, "da": case.da}
        given |= {f"weights/{i}": W for i, W in enumerate(case.params.W)}
        given |= {f"biases/{i}": b for i, b in enumerate(case.params.b)}
        for kind, values in case.expected._asdict().items():
            dtype = case.params.dtype if kind == "reference" else np.float64
            for (name, layer), value in tensors(values).items():
                place = name if name in {"loss", "dx"} else f"{name}/{layer}"
                given[f"expected/{kind}/{place}"] = np.asarray(value, dtype=dtype)
        arrays |= {
            f"{case.name}/{key}": np.ascontiguousarray(value) for key, value in given.items() if value is not None
        }
        left_out = {"weights", "biases", "x", "y", "da", "expected"}
        rest.append({key: value for key, value in document.items() if key not in left_out})
    return save(arrays, metadata={"cases": json.dumps(rest, ensure_ascii=False)})


def _first_difference(present, content):
    if b"\0" in content:
        place = next(
            (i for i, pair in enumerate(zip(present, content, strict=False)) if pair[0] != pair[1]), len(present)
        )
        return f"differs from byte {min(place, len(content))} on"
    have, due = present.decode("utf-8", "replace").splitlines(), content.decode().splitlines()
    for number, (one, other) in enumerate(zip(have, due, strict=False), start=1):
        if one != other:
            start = next(
                (i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
                min(len(one), len(other)),
            )
            around = slice(max(start - 20, 0), start + 30)
            return f"line {number}, character {start + 1}: {one[around]!r}, not {other[around]!r}"
    return f"{len(have)} lines, not {len(due)}"


def to_document(case):
    """A case as a JSON-ready dictionary; every float as hexadecimal text, nested as its array is."""
    network = case.network
    optimizer = {"name": type(case.optimizer).__name__.lower(), **asdict(case.optimizer)}
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
        "expected": {kind: _values(values) for kind, values in case.expected._asdict().items()},
    }


def from_document(document):
    """The case that `to_document` wrote."""
    dtype, network = document["dtype"], Network(**document["network"])
    layers, optimizer = range(network.n_layers), document["optimizer"]
    settings = {
        key: float.fromhex(value) if isinstance(value, str) else value
        for key, value in optimizer.items()
        if key != "name"
    }
    made = OPTIMIZERS[optimizer["name"]](**settings)
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
        optimizer=made,
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


def _array(nested, dtype):
    """Nested lists of hexadecimal floats as an array."""

    def read(entry):
        return [read(part) for part in entry] if isinstance(entry, list) else float.fromhex(entry)

    return np.array(read(nested), dtype=dtype)
