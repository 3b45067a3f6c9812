"""The golden vectors as files: those shipped with the package are read, others are made from the recipes.

Reading needs neither mpmath nor any backend.
"""

import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from backprop_ref.conformance.cases import WITHOUT_LAYERS, Case, tensors
from backprop_ref.conformance.vectors.documents import ARITHMETIC, FORMAT, from_document, text, to_document
from backprop_ref.files import create, refuse_links, writing
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.progress import Bar

SHIPPED = Path(__file__).parents[1] / "data" / "vectors"


CONVENTIONS = {
    "arrays": "nested lists, the last index innermost; all but x, y, da and dx have one for each layer",
    "floats": "hexadecimal, as C's %a and strtod; those of the case's dtype are exact in it",
    "z": "z = a @ W + b, samples in rows; W has shape (n_in, n_out)",
    "delta": "dLoss/dz, the 1/batch included",
    "loss": "mean_squared_error and binary_cross_entropy: mean over batch and outputs; sum_squared_error and "
    "cross_entropy: sum over outputs, mean over batch; the others: mean over both (arithmetic.md)",
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
def shipped_cases() -> list[Case]:
    """Every case, with flags and expectations, as shipped."""
    index = json.loads((SHIPPED / "index.json").read_text("utf-8"))
    return [
        from_document(json.loads((SHIPPED / "cases" / f"{name}.json").read_text("utf-8"))) for name in index["cases"]
    ]


def generate(progress=None):
    """Every case made anew from its recipe, with the bugs that it exposes; needs mpmath, and takes about a minute."""
    from backprop_ref.conformance.catalogue.known import shown_by
    from backprop_ref.conformance.vectors.expected import completed
    from backprop_ref.conformance.vectors.recipes import recipes

    cases = list(recipes())
    with Bar("case", len(cases), progress) as bar:
        for i, case in enumerate(cases):
            case = completed(case)
            cases[i] = replace(case, flags=(*case.flags, *shown_by(case)))
            bar.update(i + 1)
    return cases


def files(cases):
    """What a folder of vectors holds, name -> bytes: index, schema, arithmetic, a document per case, all as tensors.

    The same bytes for the same cases, wherever and whenever.
    """
    found = {"index.json": _json(_index(cases)), "schema.json": _schema().encode()}
    found["arithmetic.md"] = (SHIPPED / "arithmetic.md").read_bytes()
    found |= {f"cases/{case.name}.json": text(to_document(case)).encode() for case in cases}
    return {**found, "vectors.safetensors": _safetensors(cases)}


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


def _schema():
    """The shipped schema, with the names of the table that it does not know yet."""
    schema = (SHIPPED / "schema.json").read_text("utf-8")
    for first, table in (("sigmoid", ACTIVATIONS), ("mean_squared_error", LOSSES)):
        for name in (name for name in table if not re.search(rf"[(|]{name}[(|)]", schema)):
            number = "([(][0-9.e+-]+[)])?" if name in table.families else ""
            schema = schema.replace(f'"^({first}|', f'"^({first}|{name}{number}|')
    return schema


def _index(cases):
    from backprop_ref.conformance.catalogue.known import CATALOGUE

    notes = {
        bug.id: {part: getattr(bug, part) for part in ("text", "where", "right", "wrong", "hint")} for bug in CATALOGUE
    }
    shown = {flag for case in cases for flag in case.flags}
    return {
        "format": FORMAT,
        "arithmetic": ARITHMETIC,
        "conventions": CONVENTIONS,
        "cases": [case.name for case in cases],
        "flags": {"extreme": {"text": "values at which usual formulas overflow"}}
        | {flag: note for flag, note in notes.items() if flag in shown},
    }


def _json(document):
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _safetensors(cases):
    """Every array of every case, named ``case/x`` or ``case/expected/reference/dW/0``; the rest as JSON, one text."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    rest = []
    for case in cases:
        document = to_document(case)
        given = {"x": case.x, "y": case.y, "da": case.da}
        given |= {f"weights/{i}": W for i, W in enumerate(case.params.W)}
        given |= {f"biases/{i}": b for i, b in enumerate(case.params.b)}
        for kind, values in case.expected._asdict().items():
            dtype = case.params.dtype if kind == "reference" else np.float64
            for (name, layer), value in tensors(values).items():
                place = name if name in WITHOUT_LAYERS else f"{name}/{layer}"
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
