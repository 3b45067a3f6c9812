"""The golden vectors: what they cover, their files, and that the document beside them says what is computed."""

import json
import re
import time

import numpy as np
import pytest
from backprop_ref.kernels.elementary import CONSTANTS
from helpers import PAIRS, RARE, RARE_PAIRS

from backprop_ref.backends import get_backend
from backprop_ref.cli.app import command
from backprop_ref.conformance.cases import same_bits, tensors
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG, judged, verdicts
from backprop_ref.conformance.rounding.updates import case_bounds
from backprop_ref.conformance.running import answered
from backprop_ref.conformance.vectors import documents
from backprop_ref.conformance.vectors import files as vectors
from backprop_ref.conformance.vectors.expected import completed
from backprop_ref.conformance.vectors.recipes import recipes
from backprop_ref.formulas import ACTIVATIONS, FUNCTIONS, LOSSES, UPDATES, USUAL_ACTIVATIONS
from backprop_ref.optimizers import OPTIMIZERS

PINNED = "4d923c58bbcdd0e265eef2938981da002915401f8fd57e6b7ea9cd0fe12616d7"
CASES = vectors.shipped_cases()
DECIDING = [case for case in CASES if case.deciding]
SCHEMA = json.loads((vectors.SHIPPED / "schema.json").read_text("utf-8"))


def test_they_are_pinned():
    """One hash of every shipped file; a change of arithmetic, bounds or recipes has to be meant."""
    shipped = {
        p.relative_to(vectors.SHIPPED).as_posix(): p.read_bytes() for p in vectors.SHIPPED.rglob("*") if p.is_file()
    }
    assert vectors.sha256(shipped) == PINNED


def test_they_are_made_from_their_recipes():
    """The bits, the truth and the bounds of some of them made anew; the whole folder in the long test."""
    for case, recipe in list(zip(CASES, recipes(), strict=True))[::6]:
        made = completed(recipe)
        found, wanted = map(documents.to_document, (made, case))
        assert documents.text(found)[-1000:] == documents.text(wanted)[-1000:]
        assert found["expected"] == wanted["expected"]


@pytest.mark.long
def test_the_command_writes_what_is_shipped_and_finds_what_differs(tmp_path, capsys):
    run = command()
    assert run(["vectors", "--out", str(vectors.SHIPPED), "--check"], standalone_mode=False) == 0
    run(["vectors", "--out", str(tmp_path / "v")], standalone_mode=False)
    changed = tmp_path / "v" / "cases" / f"{CASES[3].name}.json"
    changed.write_text(changed.read_text().replace('"truth": {', '"truth":  {'))
    capsys.readouterr()
    assert run(["vectors", "--out", str(tmp_path / "v"), "--check"], standalone_mode=False) == 1
    assert f"{changed.name}: line" in capsys.readouterr().out


def test_differences_are_named(tmp_path):
    found = {"a.json": b'{\n "x": 1\n}\n', "b.bin": b"\x00\x01\x02"}
    vectors.write(tmp_path, found)
    assert vectors.differences(tmp_path, found) == []
    (tmp_path / "a.json").write_bytes(b'{\n "x": 2\n}\n')
    (tmp_path / "b.bin").unlink()
    (tmp_path / "c").write_text("")
    lines = vectors.differences(tmp_path, found)
    assert lines[0].startswith("c: ")
    assert "line 2, character 7" in lines[1]
    assert lines[2] == "b.bin: missing"


def test_loading_takes_well_under_a_second():
    vectors.shipped_cases.cache_clear()
    started = time.process_time()
    vectors.shipped_cases()
    assert time.process_time() - started < 1.0


def test_documents_hold_everything():
    for case in CASES:
        again = documents.from_document(json.loads(documents.text(documents.to_document(case))))
        assert documents.to_document(again) == documents.to_document(case)
        assert again.params.flat.tobytes() == case.params.flat.tobytes()


def test_tensors_hold_the_same():
    from safetensors.numpy import load_file

    found = load_file(vectors.SHIPPED / "vectors.safetensors")
    for case in CASES:
        for kind, values in case.expected._asdict().items():
            for (name, layer), value in tensors(values).items():
                place = name if name in {"loss", "dx"} else f"{name}/{layer}"
                stored = found[f"{case.name}/expected/{kind}/{place}"]
                np.testing.assert_array_equal(stored, value)
        assert found[f"{case.name}/x"].tobytes() == case.x.tobytes()


def violations(value, schema, place="$"):
    """Where a document leaves a schema, for the keywords that ours uses."""
    if "$ref" in schema:
        schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None)}
    if "anyOf" in schema and all(list(violations(value, option)) for option in schema["anyOf"]):
        yield f"{place}: none of the options"
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        yield f"{place}: no {schema['type']}"
        return
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        yield f"{place}: {value!r} is not allowed"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{place}: {value!r} does not match"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{place}: too short"
        for i, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{place}[{i}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{place}: {key} is missing" for key in schema.get("required", []) if key not in value)
        yield from (f"{place}: {key} is unknown" for key in value if key not in properties)
        for key in properties.keys() & value.keys():
            yield from violations(value[key], properties[key], f"{place}.{key}")


def test_documents_follow_the_schema():
    for case in CASES:
        document = documents.to_document(case)
        assert not list(violations(document, SCHEMA))
        assert list(violations({**document, "x": [["1.5"]]}, SCHEMA))


def test_every_flag_has_a_note():
    index = json.loads((vectors.SHIPPED / "index.json").read_text("utf-8"))
    assert index["cases"] == [case.name for case in CASES]
    assert {flag for case in CASES for flag in case.flags} == set(index["flags"])
    assert all(note["text"] for note in index["flags"].values())


def by_rows(name):
    """Whether the terms of a loss are of whole rows."""
    return any(LOSSES[name].with_output(output).by_rows for output in LOSSES[name].outputs)


def test_they_cover_what_tells_bugs_apart():
    networks = [case.network for case in DECIDING]
    lacking = {*PAIRS, *RARE_PAIRS} - {(n.loss, n.activations[-1]) for n in networks}
    lacking |= {*USUAL_ACTIVATIONS, *RARE} - {name for n in networks for name in n.activations[:-1]}
    assert not lacking, f"in no vector: {lacking}; backprop-ref developer vectors --out FOLDER writes them anew"
    assert {type(case.optimizer) for case in DECIDING} == set(OPTIMIZERS.values())
    assert {n.n_layers for n in networks} == {1, 2, 3, 4}
    assert {1, 2, 3} <= {n.sizes[-1] for n in networks}
    assert any(1 in n.sizes[1:-1] for n in networks)
    assert any(len(set(n.sizes)) == 1 and n.n_layers > 1 for n in networks)
    assert {len(case.x) for case in DECIDING} == {1, 5, 7}
    assert {case.params.dtype.name for case in DECIDING} == {"float64", "float32"}
    assert any(case.weight_decay for case in DECIDING)
    assert any(case.da is not None for case in DECIDING)
    zs = [z for case in DECIDING for z in case.expected.truth.z]
    assert any(np.any(z == 0.0) for z in zs)
    assert 6.0 < max(np.abs(z).max() for z in zs) < 20.0
    assert all(np.all(b != 0.0) for case in DECIDING if "zero" not in case.name for b in case.params.b)
    assert not any(np.allclose(case.x.sum(axis=1), 1.0) for case in DECIDING)


def test_bounds_decide():
    """No bound of a deciding case is wider than a million roundings, not even where z is exactly 0."""
    for case in DECIDING:
        truths, bounds = tensors(case.expected.truth), tensors(case.expected.bound)
        limit = 2.0**20 * float(np.finfo(case.params.dtype).eps)
        for key, bound in bounds.items():
            assert np.linalg.norm(bound) <= limit * np.linalg.norm(truths[key]), (case.name, key)


@pytest.mark.more(backend="helpers:ReadOnlyBackend")
@pytest.mark.more(backend="array_api_strict")
@pytest.mark.more(backend="python")
@pytest.mark.few(8)
def test_every_backend_is_right_on_every_vector(backend):
    due = {EXACT} if backend.numerics == "reproducible" else {EXACT, WITHIN_BOUND}
    for case in DECIDING:
        found = verdicts(answered(backend, case), case.expected)
        assert {v.verdict for v in found.values()} <= due, (case.name, found)


def test_verdicts():
    reference = np.array([1.0, -2.0, 0.0])
    truth, bound = reference.copy(), np.array([1e-15, 1e-15, 1e-15])

    def verdict(found, **changes):
        return judged(np.asarray(found), **{"reference": reference, "truth": truth, "bound": bound, **changes})

    assert verdict([1.0, -2.0, 0.0]).verdict == EXACT
    assert verdict([1.0, -2.0, -0.0]).verdict == WITHIN_BOUND
    near = verdict([1.0 + 2.0**-52, -2.0, 0.0])
    assert (near.verdict, near.ulp, near.entry) == (WITHIN_BOUND, 1.0, (0,))
    far = verdict([1.0, -2.5, 1.0])
    assert (far.verdict, far.entry) == (WRONG, (1,))
    assert far.bounds == pytest.approx(5e14)
    assert "2 of 3 entries" in far.words
    assert verdict([1.0, np.nan, 0.0]).verdict == WRONG
    assert verdict([1.0, np.inf, 0.0]).verdict == WRONG
    assert verdict([1.0, np.inf, 0.0], bound=np.full(3, np.inf)).verdict == WRONG
    assert verdict([[1.0, -2.0, 0.0]]).words == "shape (1, 3); (3,) is due"
    assert verdict(np.float32([1.0, -2.0, 0.0])).words == "dtype float32; float64 is due"
    assert verdict([1, -2, 0]).verdict == WRONG
    infinite = np.array([np.inf, 1.0, 0.0])
    assert verdict(infinite, reference=infinite, truth=infinite).verdict == EXACT
    assert verdict([np.inf, 1.0, 0.0], reference=reference, truth=infinite).verdict == WITHIN_BOUND
    assert judged(2.0, np.float32(2.0), 2.0, 0.0).verdict == WITHIN_BOUND
    assert (
        "usually" in judged(np.array([1.0 + 1e-15]), np.ones(1), np.ones(1), np.ones(1), usual=np.array([1e-18])).words
    )


DOCUMENT = (vectors.SHIPPED / "arithmetic.md").read_text("utf-8")


def test_the_document_has_the_constants():
    """Every constant of the functions that networks need, in both precisions, and nothing else in its table."""
    rows = re.findall(r"^\| (\w+)(?:\[(\d+)\])? \| (\S+) \| (\S*) \|$", DOCUMENT, flags=re.M)
    written: dict = {"float64": {}, "float32": {}}
    for name, _, double, single in rows[1:]:
        written["float64"].setdefault(name, []).append(double)
        if single:
            written["float32"].setdefault(name, []).append(single)
    for dtype, constants in CONSTANTS.items():
        others = {"pi_hi", "pi_lo", "cos", "sin"}
        assert written[dtype] == {name: text.split() for name, text in constants.items() if name not in others}


def as_python(formula):
    """A formula of the document as an expression: |x| and c ? a : b in Python's words."""
    formula = re.sub(r"-?0x[01]\.[0-9a-f]+p[+-]\d+", lambda found: repr(float.fromhex(found[0])), formula)
    return _choices(re.sub(r"\|([^|]+)\|", r"abs(\1)", formula))


def _choices(text):
    mark = _outside(text, "?")
    if mark is not None:
        colon = mark + 1 + _outside(text[mark + 1 :], ":")
        return f"where({_choices(text[:mark])}, {_choices(text[mark + 1 : colon])}, {_choices(text[colon + 1 :])})"
    opening = text.find("(")
    if opening < 0:
        return text.strip()
    closing = opening + 1 + _outside(text[opening + 1 :], ")")
    return f"{text[:opening].strip()}({_choices(text[opening + 1 : closing])}){_choices(text[closing + 1 :])}"


def _outside(text, mark):
    """Where a mark stands first that is in no parentheses and, if it is a colon, belongs to no ? of the text."""
    depth = 0
    for place, sign in enumerate(text):
        if depth == 0 and sign == mark:
            return place
        depth += (sign == "(" or (mark == ":" and sign == "?")) - (sign == ")" or (mark == ":" and sign == ":"))
    return None


def lines_of(name):
    """(what, expression) of each assignment that the document has for an activation or a loss."""
    found = re.search(rf"^{re.escape(name)}  .*(\n  .*)*", DOCUMENT, flags=re.M)
    assert found, f"{name} is not in arithmetic.md"
    parts = re.split(r";\s*|\s{2,}|, then .*", found[0].removeprefix(name))
    return [(what, as_python(formula)) for what, _, formula in (part.partition(" = ") for part in parts) if formula]


def evaluated(name, **known):
    """What the document's lines give, in the reproducible arithmetic."""
    m, z = get_backend("numpy", "reproducible").arithmetic, known["z"]
    known |= {word: getattr(m, word) for word in (*FUNCTIONS, "sigmoid", "where")}
    numbers = re.findall(r"(\w+) = (0x\S+?)[,:]", DOCUMENT)
    known |= {symbol: float.fromhex(number) for symbol, number in numbers}
    known |= {"e": m.exp(-abs(z)), "g": m.sigmoid(z), "sign": lambda r: np.where(r > 0, 1.0, np.where(r < 0, -1.0, r))}
    for what, formula in lines_of(name):
        known[what] = eval(formula, known)
    return known


@pytest.mark.parametrize("name", [name for name, rule in ACTIVATIONS.items() if not rule.by_rows])
def test_the_document_has_every_activation(name):
    z = np.concatenate([np.linspace(-30.0, 30.0, 241), [-3.0, -0.0, 1e-300, 700.0, -700.0]])
    da = np.linspace(-2.0, 3.0, len(z))
    m, rule = get_backend("numpy", "reproducible").arithmetic, ACTIVATIONS[name]
    found = evaluated(name, z=z, da=da, alpha=1.0)
    a = rule.forward(m, z)
    assert same_bits(found["a"] + np.zeros(len(z)), a + 0.0)
    assert same_bits(found["delta"] + np.zeros(len(z)), rule.backward(m, z, a, da) + 0.0)


def test_the_document_has_the_losses_over_rows():
    for name in ("cross_entropy(ε)", "cross_entropy, softmax", "multi_class_hinge, linear"):
        assert name in DOCUMENT


@pytest.mark.parametrize("name", [name for name in list(LOSSES)[2:] if name == "cross_entropy" or not by_rows(name)])
def test_the_document_has_every_loss(name):
    m, z = get_backend("numpy", "reproducible").arithmetic, np.linspace(-50.0, 50.0, 201)
    for output in set(LOSSES[name].outputs) & {"sigmoid", "linear", "softplus"}:
        pair, a = LOSSES[name].with_output(output), ACTIVATIONS[output].forward(m, z)
        y = (np.arange(len(z)) % 3 == 0) * 1.0
        beside = f"{name}, {output}" if LOSSES[name].together else name
        found = evaluated(beside, z=z, a=a, y=y, n=7.0, δ=1.0, r=a - y, t=np.where(y > 0, 1.0, -1.0))
        assert same_bits(found["term"], pair.terms(m, z, a, y))
        assert same_bits(found.get("da", found.get("delta")), pair.error(m, z, a, y) / 7.0)


@pytest.mark.parametrize("name", [*UPDATES, *OPTIMIZERS])
def test_the_document_has_every_update(name):
    assert re.search(rf"^(with )?{name} ", DOCUMENT, flags=re.M)


def test_bounds_hold_the_rounding_of_the_truth():
    case = next(recipes_of("3-1-sigmoid-bce-gain-b7-f64"))
    made = completed(case)
    assert np.all(np.asarray(case_bounds(case, made.expected.truth).loss) >= np.spacing(made.expected.truth.loss) / 2)


def recipes_of(name):
    return (case for case in recipes() if case.name == name)
