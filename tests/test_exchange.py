"""Networks in other libraries and languages: there and back with the same sha256, outputs inside the proven bound, and
programs in C and JavaScript with the bits of reproducible numerics.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from backprop_ref.kernels import plain_code
from helpers import RARE, label, parameters, rare_network, samples
from safetensors.numpy import save_file

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.data.preprocessing import Preprocessing
from backprop_ref.exchange.torch import LINEAR_FROM
from backprop_ref.experiments.runner import load_run
from backprop_ref.formulas import ACTIVATIONS, USUAL_ACTIVATIONS
from backprop_ref.metrics import predicted_class

USUAL = br.Network([3, 5, 4, 7, 5, 3, 4], ["sigmoid", "tanh", "relu", "leaky_relu", "linear", "softmax"], "ce")
NETWORKS = [rare_network(), USUAL, br.Network([2, 1], ["sigmoid"], "bce")]
DTYPES = ["float64", "float32"]
STRICT = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
FUSING = ["-std=gnu99", "-O3", "-march=native"]
"""Lets a compiler fuse products and sums, if the file does not forbid it."""
ROWS = """\
import * as model from "./{file}";
import { readFileSync } from "fs";
const spelt = (y) => (Object.is(y, -0) ? "-0" : String(y));
for (const line of readFileSync(0, "utf8").trim().split("\\n")) {
  const features = line.split(" ").map((x) => (x === "nan" ? NaN : Number(x)));
  const found = model.outputs(features).map(spelt);
  console.log([...found, ...(model.predict ? [model.predict(features)] : [])].join(" "));
}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def needs(package):
    """A skip where a package that is no dependency is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return importlib.import_module(package)


def needs_program(name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def hard_rows(network):
    """Inputs of every size, and both zeros."""
    x = np.concatenate([samples(network, 40)[0] * size for size in (1e-9, 0.1, 1.0, 30.0, 1e3)])
    x[0], x[1] = 0.0, -0.0
    return x


def spelt(x):
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in x) + "\n"


def answers(text, n_out):
    """Rows of outputs, and what stands behind them."""
    lines = [line.split(" ", n_out) for line in text.splitlines()]
    return np.array([[float(value) for value in line[:n_out]] for line in lines]), [line[n_out:] for line in lines]


def in_c(file, x, n_out, flags=STRICT):
    needs_program("gcc")
    subprocess.run(["gcc", *flags, f"-D{file.stem.upper()}_MAIN", file, "-o", "program"], check=True)
    done = subprocess.run(["./program"], input=spelt(x), capture_output=True, text=True, check=True)
    return answers(done.stdout, n_out)


def in_javascript(file, x, n_out):
    needs_program("node")
    Path("rows.mjs").write_text(ROWS.replace("{file}", file.name))
    done = subprocess.run(["node", "rows.mjs"], input=spelt(x), capture_output=True, text=True, check=True)
    return answers(done.stdout, n_out)


def same_bits(one, other):
    return one.shape == other.shape and np.array_equal(one.view(np.int64), other.astype(np.float64).view(np.int64))


def within_bound(network, params, x, y, a):
    """Whether outputs of another library are as near as rounding allows: both they and ours are within the bound."""
    assert a.dtype == params.dtype
    ours = br.predict(network, params, x, backend="numpy", numerics="reproducible").astype(np.float64)
    return bool((np.abs(a - ours) <= 2.0 * gradient_bounds(network, params, x, y).a[-1]).all())


def one_of_each():
    """A small network for every activation in a hidden layer, and the outputs that go with classes."""
    hidden = [*ACTIVATIONS, *(name for name in RARE if "(" in name)]
    yield from (br.Network([3, 5, 2], [name, "linear"], "mse") for name in hidden)
    yield br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
    yield br.Network([3, 5, 1], ["tanh", "sigmoid"], "bce")


# ---- programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", NETWORKS, ids=label)
@pytest.mark.few(2)
def test_programs_have_the_bits_of_reproducible_numerics(network, dtype):
    params, x = parameters(network, dtype=dtype), hard_rows(network)
    want = br.predict(network, params, x, backend="numpy", numerics="reproducible")
    for file, compute in ((Path("mine.c"), in_c), (Path("mine.mjs"), in_javascript)):
        br.export(file, network, params)
        found, _ = compute(file, x, network.sizes[-1])
        assert same_bits(found, want), file


def test_a_compiler_is_kept_from_fusing():
    network = NETWORKS[0]
    params, x = parameters(network), hard_rows(network)
    br.export("mine.c", network, params)
    found, _ = in_c(Path("mine.c"), x, 2, FUSING)
    assert same_bits(found, br.predict(network, params, x, numerics="reproducible"))


def test_every_activation_can_be_written():
    used = {name for network in NETWORKS for name in network.activations}
    assert used == {*USUAL_ACTIVATIONS, *RARE}
    for language in (plain_code.C, plain_code.JavaScript):
        text = plain_code.functions(language, [*ACTIVATIONS], "float64")
        assert all(plain_code.identifier(name) in text for name in ACTIVATIONS)
        assert not re.search(r"Math\.(?!abs)|\b(?:exp|tanh|log|erf|fabs)\(", text) or language is plain_code.JavaScript


def tables():
    """A table with missing numbers, odd words, and targets of each kind."""
    rows = ["w,h,colour,age,kind,price,cost"]
    values = br.random.Stream(4, "data").normal(240).reshape(60, 4)
    for i, (w, h, price, cost) in enumerate(values.tolist()):
        colour = ["red", '"b""l*/ue\\"', "grün"][i % 3]
        rows.append(f"{w},{h},{colour},{'' if i % 7 == 0 else 20 + i % 31},{'a?b' if w > h else 'no*/'},{price},{cost}")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("words", ["--target", "kind", "--drop", "price,cost"]),
        ("one_column", ["--target", "kind", "--output-activation", "sigmoid", "--loss", "bce"]),
        ("number", ["--target", "price", "--dtype", "float32"]),
        ("numbers", ["--target", "price,cost"]),
    ],
)
@pytest.mark.few(2)
def test_programs_take_the_tables_numbers(name, flags, capsys):
    Path("t.csv").write_text(tables())
    asked = [
        "train",
        "--data-path",
        "t.csv",
        "--missing",
        "median",
        "--hidden",
        "5",
        "--epochs",
        "3",
        "--run-dir",
        name,
    ]
    assert run([*asked, *flags]) == 0, capsys.readouterr().err
    model, preparation = load_run(name)
    x = 3.0 * br.random.Stream(5, "data").normal(20 * len(preparation.feature_names)).reshape(20, -1)
    x[::3, -1] = x[1::5, 0] = np.nan
    a = br.predict(model.network, model.params, preparation.x(x), numerics="reproducible")
    want = a if preparation.classes else np.reshape(preparation.values(a), (len(x), -1))
    classes = np.array(preparation.classes)[predicted_class(a)].tolist() if preparation.classes else None
    for to, compute in (("c", in_c), ("javascript", in_javascript)):
        assert run(["export", name, "--to", to]) == 0, capsys.readouterr().err
        found, said = compute(Path(f"{name}.{'c' if to == 'c' else 'mjs'}"), x, want.shape[1])
        assert same_bits(found, want), to
        assert classes is None or [" ".join(each) for each in said] == classes


# ---- other libraries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx(dtype):
    onnx = needs("onnx")
    from onnx.reference import ReferenceEvaluator

    runtime = importlib.util.find_spec("onnxruntime") and importlib.import_module("onnxruntime")
    for network in one_of_each():
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 9, dtype=dtype)
        x = (8.0 * x).astype(dtype)
        br.to_onnx("m.onnx", network, params, {"any": [1]})
        back = br.load("m.onnx")
        assert (back.network, back.params.sha256(), back.preprocessing) == (network, params.sha256(), {"any": [1]})
        with np.errstate(all="ignore"):
            (a,) = ReferenceEvaluator("m.onnx").run(None, {"x": x})
        assert within_bound(network, params, x, y, a), network
        if runtime:
            (a,) = runtime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
            assert within_bound(network, params, x, y, a), network
        proto = onnx.load("m.onnx")  # the graph alone says the same, whatever its names
        del proto.metadata_props[:]
        onnx.save(proto, "m.onnx")
        assert br.load("m.onnx").network.activations == network.activations
        assert br.load("m.onnx").params.sha256() == params.sha256()


def test_metadata_of_a_graph_that_was_changed_is_not_believed():
    onnx = needs("onnx")
    network = br.Network([3, 5, 2], ["tanh", "linear"], "mse")
    br.to_onnx("m.onnx", network, parameters(network))
    proto = onnx.load("m.onnx")
    next(node for node in proto.graph.node if node.op_type == "Tanh").op_type = "Sigmoid"
    onnx.save(proto, "m.onnx")
    assert br.load("m.onnx").network.activations == ("sigmoid", "linear")


def graph(onnx, nodes, weights, outputs=("a",)):
    """A file of a graph made by hand."""
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(name, 1, ["n", 3 if name == "x" else 2]) for name in ("x", *outputs)]
    made = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    nodes = [helper.make_node(kind, list(given), [gives], name=f"the {gives}", **s) for kind, given, gives, s in nodes]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], made)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("theirs", 1)]
    proto = helper.make_model(made, opset_imports=opsets, ir_version=8)
    onnx.save(proto, "g.onnx")
    return "g.onnx"


W, B = np.arange(6.0).reshape(3, 2) / 7.0, [0.5, -0.25]
AFFINE = [("MatMul", ("x", "W"), "m", {}), ("Add", ("m", "b"), "z", {})]


def test_graphs_as_other_exporters_write_them():
    onnx = needs("onnx")
    x = np.array([[0.5, -1.0, 2.0]], np.float32)
    spelled = {
        "relu": [("Relu", "z", "a", {})],
        "leaky_relu(0.2)": [("LeakyRelu", "z", "a", {"alpha": 0.2})],
        "elu(0.5)": [("Elu", "z", "a", {"alpha": 0.5})],
        "silu": [("Sigmoid", "z", "s", {}), ("Mul", "sz", "a", {})],
        "softmax": [("Softmax", "z", "a", {"axis": -1})],
        "gelu": [
            *(("Div", ("z", "root"), "d", {}), ("Erf", "d", "e", {}), ("Add", ("e", "one"), "f", {})),
            *(("Mul", "zf", "g", {}), ("Mul", ("g", "half"), "a", {})),
        ],
    }
    constants = {"root": np.sqrt(2.0), "one": 1.0, "half": 0.5}
    for name, nodes in spelled.items():
        used = {given for _, inputs, _, _ in nodes for given in inputs}
        file = graph(onnx, [*AFFINE, *nodes], {"W": W, "b": B} | {k: v for k, v in constants.items() if k in used})
        model = br.load(file)
        assert model.network.activations == (name,)
        direct = br.predict(br.Network([3, 2], [name], "mse"), br.Parameters.from_arrays([W], [B], "float32"), x)
        assert np.array_equal(br.predict(model.network, model.params, x), direct)
    transposed = graph(onnx, [("Gemm", ("x", "W", "b"), "a", {"transB": 1})], {"W": W.T, "b": B})
    assert np.array_equal(br.load(transposed).params.W[0], W.astype(np.float32))
    shape = ("Constant", (), "shape", {"value_ints": [3, -1]})
    reshaped = graph(onnx, [shape, ("Reshape", ("W", "shape"), "w", {}), ("MatMul", "xw", "a", {})], {"W": W.T})
    assert np.array_equal(br.load(reshaped).params.W[0], W.T.reshape(3, 2).astype(np.float32))
    parts = {"l": W[:, :1], "r": W[:, 1:]}
    joined = graph(onnx, [("Concat", "lr", "w", {"axis": 1}), ("MatMul", "xw", "a", {})], parts)
    assert np.array_equal(br.load(joined).params.W[0], W.astype(np.float32))


def test_graphs_that_are_no_chain_of_layers_are_refused_by_the_node():
    onnx = needs("onnx")
    cases = [
        (
            [*AFFINE, ("Tanh", "z", "t", {}), ("MatMul", ("t", "V"), "u", {}), ("Add", "tu", "a", {})],
            "the a (Add) joins",
        ),
        ([*AFFINE, ("HardSigmoid", "z", "a", {})], "the a (HardSigmoid) has slope 0.2"),
        ([*AFFINE, ("Sin", "z", "a", {})], "the a (Sin) is no operator"),
        ([*AFFINE, ("Tanh", "z", "t", {}), ("Relu", "t", "a", {})], "its output is relu(tanh(z))"),
        ([("Tanh", "x", "t", {}), ("MatMul", ("t", "W"), "a", {})], "the a (MatMul) has tanh of the input before it"),
        ([*AFFINE, ("Mul", ("z", "b"), "a", {})], "the a (Mul) has a constant of shape (2,)"),
        ([*AFFINE, ("Softmax", "z", "a", {"axis": 0})], "the a (Softmax) is over axis 0"),
        ([*AFFINE, ("Relu", "z", "a", {"domain": "theirs"})], "the a (Relu) is of theirs"),
        ([*AFFINE, ("Clip", ("z", "", "zero"), "a", {})], "the a (Clip) has bounds"),  # the least of z and 0: no relu
        ([*AFFINE, ("LeakyRelu", "z", "a", {"alpha": -3.0})], "the a (LeakyRelu) has alpha -3"),
        ([*AFFINE, ("Div", ("z", "zero"), "a", {})], "its output is too deep or too large"),
        ([("Gemm", ("x", "W", "rows"), "a", {})], "the a (Gemm) has a bias of shape (2, 1)"),
        ([("MatMul", ("x", "V"), "a", {})], "its rows have 3 numbers, and its first layer takes 2"),
        ([("Reshape", ("W", "shape"), "w", {}), ("MatMul", "xw", "a", {})], "the w (Reshape) cannot be computed"),
    ]
    others = {"zero": 0.0, "rows": [[1.0], [2.0]]}
    for nodes, why in cases:
        used = {given for _, inputs, _, _ in nodes for given in inputs}
        constants = {k: v for k, v in {"W": W, "b": B, "V": np.eye(2), **others}.items() if k in used}
        if "shape" in used:
            nodes = [("Constant", (), "shape", {"value_ints": [4, 2]}), *nodes]
        with pytest.raises(br.InvalidInput, match=re.escape(why)) as refusal:
            br.load(graph(onnx, nodes, constants))
        assert "\n" not in str(refusal.value)
    two = [*AFFINE, ("Tanh", "z", "a", {}), ("Relu", "z", "c", {})]
    both = graph(onnx, two, {"W": W, "b": B}, ("a", "c"))
    with pytest.raises(br.InvalidInput, match=r"2 outputs \(a, c\)"):
        br.load(both)
    Path("g.onnx").write_bytes(b"no graph")
    with pytest.raises(br.InvalidInput, match="no ONNX file"):
        br.load("g.onnx")


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch(dtype):
    torch = needs("torch")
    for network in one_of_each():
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 9, dtype=dtype)
        x = (8.0 * x).astype(dtype)
        module = br.to_torch(network, params)
        assert within_bound(network, params, x, y, module(torch.tensor(x)).detach().numpy()), network
        for back in (br.from_torch(module), br.from_torch(module.state_dict(), network)):
            assert (back.network.activations, back.params.sha256()) == (network.activations, params.sha256())
    br.export("m.safetensors", network, params)
    from safetensors.torch import load_file

    module.load_state_dict(load_file("m.safetensors"))
    torch.save(module.state_dict(), "m.pt")
    assert br.load("m.pt", network).params.sha256() == params.sha256()


def test_a_state_dict_beside_other_things():
    network = br.Network([2, 3, 1], ["tanh", "linear"], "mse")
    params = network.init(seed=1)
    state = {
        f"{2 * i}.{kind}": value for i in (0, 1) for kind, value in (("weight", params.W[i].T), ("bias", params.b[i]))
    }
    wrapped = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    assert br.from_torch(wrapped, network).params.sha256() == params.sha256()
    for wrong, why in [
        ({**wrapped, "ema": state}, "several state_dicts (model_state_dict, ema)"),
        ({**state, "epoch": 3}, "epoch is no tensor, so this is no state_dict"),
        ({"epoch": 3}, "epoch is no tensor"),
    ]:
        with pytest.raises(br.InvalidInput, match=re.escape(why)):
            br.from_torch(wrong, network)


def test_what_is_no_model_and_what_is_no_table(tmp_path):
    network = br.Network([2, 1], ["linear"], "mse")
    br.save(model := tmp_path / "m.safetensors", network, network.init())
    with pytest.raises(br.InvalidInput, match="a model, not a table; backprop-ref predict and br.load read it"):
        br.read_table(model)
    (table := tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(br.InvalidInput, match=r"the model of another library ends in \.onnx"):
        br.load(table)


def test_torch_modules_that_are_no_chain_of_layers():
    torch = needs("torch")
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return x + torch.relu(self.inner(x))

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2, bias=False)

        def forward(self, x):
            return torch.softmax(self.last(nn.functional.leaky_relu(self.first(x.flatten(1)), 0.2)), dim=-1)

    x = np.array([[0.5, -1.0, 2.0]], np.float32)
    model, module = br.from_torch(Mine()), None
    assert model.network.activations == ("leaky_relu(0.2)", "softmax")
    module = Mine()
    model = br.from_torch(module)
    assert within_bound(model.network, model.params, x, np.eye(2)[:1], module(torch.tensor(x)).detach().numpy())
    for wrong, why in [
        (Residual(), r"add \(add\) joins branches"),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), r"1 \(BatchNorm1d\) is no layer"),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Tanh()), r"2 \(tanh\) after another activation"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softplus()).double(), f"threshold={LINEAR_FROM:g}"),
        (nn.Linear(3, 2).half(), "float16"),
        (nn.Linear(3, 2).state_dict(), "without activations and loss"),
    ]:
        with pytest.raises(br.InvalidInput, match=why):
            br.from_torch(wrong)
    torch.save(nn.Linear(3, 2), "whole.pt")
    with pytest.raises(br.InvalidInput, match="no file of tensors alone"):
        br.load("whole.pt")


@pytest.mark.parametrize("dtype", DTYPES)
def test_flax(dtype):
    needs("flax")
    jax = importlib.import_module("jax")
    for network in one_of_each():
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 9, dtype=dtype)
        with jax.enable_x64(dtype == "float64"):
            module, variables = br.to_flax(network, params)
            a = np.asarray(module.apply(variables, x))
        assert within_bound(network, params, x, y, a), network
        assert br.from_flax(variables, network).params.sha256() == params.sha256()
        br.export("m.msgpack", network, params, {"any": [1]})
        back = br.load("m.msgpack")
        assert (back.network, back.params.sha256(), back.preprocessing) == (network, params.sha256(), {"any": [1]})


def test_weights_that_are_not_finite_are_refused():
    save_file({"0.weight": np.full((2, 3), np.nan)}, "m.safetensors")
    with pytest.raises(br.InvalidInput, match=r"m\.safetensors: its weights are not all finite"):
        br.load("m.safetensors", br.Network([3, 2], ["softmax"], "ce"))


def test_descriptions_that_are_none():
    about = {"backprop_ref.preprocessing": "[1]"}
    save_file({"0.weight": np.ones((2, 3))}, "m.safetensors", metadata=about)
    with pytest.raises(br.InvalidInput, match=r"m\.safetensors: its description of the network is damaged"):
        br.load("m.safetensors", br.Network([3, 2], ["softmax"], "ce"))


@pytest.mark.parametrize("kept", [3, {"backprop_ref.network": "x"}, {"backprop_ref.network": np.uint8([255])}])
def test_a_description_in_flax_that_is_none(kept):
    needs("flax")
    from flax import serialization

    layer = {"kernel": np.ones((3, 2)), "bias": np.ones(2)}
    Path("m.msgpack").write_bytes(serialization.msgpack_serialize({"params": {"0": layer}, "backprop_ref": kept}))
    with pytest.raises(br.InvalidInput, match=r"m\.msgpack: its description of the network is damaged"):
        br.load("m.msgpack", br.Network([3, 2], ["softmax"], "ce"))


def test_flax_variables_without_flax():
    network = br.Network([2, 3, 1], ["tanh", "linear"], "mse")
    params = parameters(network)
    named = {f"Dense_{i}": {"kernel": W, "bias": b} for i, (W, b) in enumerate(zip(params.W, params.b, strict=True))}
    assert br.from_flax({"params": named}, network).params.sha256() == params.sha256()
    with pytest.raises(br.InvalidInput, match="Conv_0 has a kernel of shape"):
        br.from_flax({"params": {"Conv_0": {"kernel": np.zeros((3, 3, 1, 2)), "bias": np.zeros(2)}}}, network)


KERAS = """
import sys
import numpy as np
import backprop_ref as br
import keras
sys.path.insert(0, {tests!r})
from test_exchange import one_of_each, parameters, samples, within_bound
for network in one_of_each():
    if "gelu_tanh" in network.activations:
        continue
    params, (x, y) = parameters(network, dtype="float32"), samples(network, 9, dtype="float32")
    module = br.to_keras(network, params)
    assert within_bound(network, params, x, y, keras.ops.convert_to_numpy(module(x))), network
    back = br.from_keras(module)
    assert (back.network.activations, back.params.sha256()) == (network.activations, params.sha256())
for dtype in {dtypes}:
    params = parameters(network, dtype=dtype)
    br.export("m.keras", network, params, {{"any": [1]}})
    back = br.load("m.keras")
    assert (back.network, back.params.sha256(), back.preprocessing) == (network, params.sha256(), {{"any": [1]}})
layers, i = keras.layers, keras.Input((3,))
h = layers.Dense(3, activation="leaky_relu")(i)
assert br.from_keras(keras.Model(i, h)).network.activations == ("leaky_relu(0.2)",)
for wrong, why in [
    (keras.Model(i, layers.Add()([i, h])), "joins branches"),
    (keras.Sequential([i, layers.Dense(2), layers.BatchNormalization()]), "no layer of a multi-layer perceptron"),
    (keras.Sequential([i, layers.Dense(2, activation=lambda z: 2 * z)]), "<lambda> has no name here"),
]:
    try:
        br.from_keras(wrong)
    except br.InvalidInput as error:
        assert why in str(error), error
    else:
        raise AssertionError(why)
"""


def test_keras():
    """In a process of its own, as it chooses its backend when it is imported."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    backend = next((name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name)), None)
    if backend is None:
        pytest.skip("keras has no backend: none of torch, jax and tensorflow is installed")
    dtypes = DTYPES if backend == "torch" else DTYPES[1:]
    program = KERAS.format(tests=str(Path(__file__).parent), dtypes=dtypes)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile("m.keras") as archive:
        assert json.loads(json.loads(archive.read("backprop_ref.json"))["backprop_ref.preprocessing"]) == {"any": [1]}


@pytest.mark.parametrize("kind", ["classes", "two", "labels", "number", "numbers"])
def test_sklearn(kind):
    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x, y = load_iris(return_X_y=True)
    settings = {
        "hidden_layer_sizes": (5, 4),
        "solver": "lbfgs",
        "max_iter": 20,
        "random_state": 1,
        "activation": "tanh",
    }
    estimator, target = {
        "classes": (make_pipeline(StandardScaler(), MLPClassifier(**settings)), y),
        "two": (make_pipeline(MinMaxScaler(), MLPClassifier(**settings)), y == 1),
        "labels": (MLPClassifier(**settings), np.eye(3, dtype=int)[y]),
        "number": (MLPRegressor(**settings), x[:, 0]),
        "numbers": (MLPRegressor(**settings), x[:, :2]),
    }[kind]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        estimator.fit(x, target)
    model = br.from_sklearn(estimator)
    ours = Preprocessing.from_dict(model.preprocessing)
    inputs = ours.x(x)
    a = estimator.predict_proba(x) if hasattr(estimator, "predict_proba") else estimator.predict(x).reshape(len(x), -1)
    a = a[:, 1:] if kind == "two" else a
    assert model.params.W[1].shape == (5, 4)
    labels = np.zeros((len(x), model.network.sizes[-1]))
    if kind == "two":  # scaled by products there, so that x differs by roundings
        assert np.abs(a - br.predict(model.network, model.params, inputs)).max() < 1e-13
    else:
        assert within_bound(model.network, model.params, inputs, labels, a)
    assert ours.classes == {"classes": ("0", "1", "2"), "two": ("False", "True")}.get(kind)
    br.export("theirs.c", *model)
    found, _ = in_c(Path("theirs.c"), x[:7], a.shape[1])
    assert np.allclose(found, a[:7], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.few(1)
def test_our_own_estimator_and_the_class_that_its_programs_name(loss):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from backprop_ref.sklearn import MLPClassifier

    x = br.random.Stream(5, "data").normal(90).reshape(30, 3)
    y = np.array(["no", "yes"])[(x[:, 0] > 0).astype(int)]
    ours = MLPClassifier((4,), activation="tanh", loss=loss, solver=br.SGD(0.1), max_iter=5, tol=0.0, random_state=1)
    pipeline = make_pipeline(StandardScaler(), ours)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        pipeline.fit(x, y)
    model = br.from_sklearn(pipeline)
    assert model.network == ours.network_
    want = pipeline.predict(x).tolist()
    for file, compute in ((Path("mine.c"), in_c), (Path("mine.mjs"), in_javascript)):
        br.export(file, *model)
        _, said = compute(file, x, 1)
        assert [name for (name,) in said] == want


@pytest.mark.parametrize("row", ["1 2", "1 2 3 4", "a b c", "1 2 3 x"])
def test_a_program_in_c_refuses_other_rows(row):
    needs_program("gcc")
    network = br.Network([3, 1], ["sigmoid"], "bce")
    br.export("mine.c", network, network.init(seed=1))
    subprocess.run(["gcc", *STRICT, "-DMINE_MAIN", "mine.c", "-o", "program"], check=True)
    done = subprocess.run(["./program"], input=f"1,2, 3\r\n{row}\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "row 2: 3 numbers are needed\n")
    assert len(done.stdout.splitlines()) == 1


def test_sklearn_refusals():
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    from backprop_ref.sklearn import MLPRegressor

    fitted = MLPClassifier((2,), solver="lbfgs").fit([[0.0], [1.0], [2.0]], [0, 1, 0])
    for wrong, why in [
        (MLPClassifier(), "is not fitted"),
        (Normalizer(), "got Normalizer"),
        (MLPRegressor("poisson", (2,), solver="lbfgs").fit([[0.0], [1.0]], [1.0, 2.0]), "predicts exp of the outputs"),
        (make_pipeline(Normalizer(), fitted), "Normalizer before the MLPClassifier"),
    ]:
        with pytest.raises(br.InvalidInput, match=why):
            br.from_sklearn(wrong)


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("onnx", "onnx", lambda network, params: br.to_onnx("m.onnx", network, params)),
        ("torch", "torch", br.to_torch),
        ("keras", "keras", br.to_keras),
        ("flax", "flax", br.to_flax),
    ],
)
def test_a_package_that_is_absent_is_named_with_the_command_that_installs_it(package, extra, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    network = br.Network([2, 1], ["linear"], "mse")
    with pytest.raises(br.InvalidInput, match=re.escape(f"pip install 'backprop-ref[{extra}]'")):
        call(network, network.init(dtype="float32"))


# ---- the commands --------------------------------------------------------------------------------------------------


def test_export_and_import(capsys):
    assert run(["train", "iris", "--epochs", "2", "--hidden", "5", "--run-dir", "iris"]) == 0
    assert run(["export", "iris", "--to", "torch"]) == 0
    assert run(["import", "iris.safetensors", "--out", "back.safetensors"]) == 0
    ours, back = br.load("iris"), br.load("back.safetensors")
    assert (back.network, back.params.sha256(), back.preprocessing) == (
        ours.network,
        ours.params.sha256(),
        ours.preprocessing,
    )
    features = ",".join(Preprocessing.from_dict(ours.preprocessing).feature_names)
    Path("new.csv").write_text(f"{features}\n5,3,1.5,0.2\n")
    capsys.readouterr()
    assert run(["predict", "back.safetensors", "--data-path", "new.csv"]) == 0
    assert capsys.readouterr().out == "prediction\nsetosa\n"
    for arguments, why in [
        (["export", "iris"], "--to FORMAT or --out FILE is needed"),
        (["export", "iris", "--to", "rust"], "unknown format 'rust'"),
        (["export", "iris", "--out", "iris.csv"], "its ending says no format"),
        (["export", "iris", "--to", "torch"], "exists already, and nothing is overwritten"),
        (["export", "iris", "--to", "c", "--out", "iris.onnx"], "c is written to a file that ends in .c"),
        (["export", "iris", "--out", "1.c"], "functions are named after the file"),
        (["export", "back.safetensors", "--out", "back.safetensors", "--force"], "that is the model itself"),
        (["export", "iris", "--to", "torch", "--out", "iris/checkpoint.safetensors", "--force"], "a file of its run"),
        (["import", "nothing.onnx"], "no such file"),
        (["import", "new.csv", "--out", "new.safetensors"], "not a safetensors file"),
        (["predict", "iris.safetensors", "--data-path", "new.csv"], "backprop-ref import FILE"),
        (["import", "iris.safetensors", "--network", "4-3:softmax:ce", "--out", "x.safetensors"], "it is [4, 5, 3]"),
    ]:
        assert run(arguments) == 2
        err = capsys.readouterr().err
        assert why in err, err
        assert err.count("\n") == 1


def test_what_is_damaged_is_refused():
    network = br.Network([2, 3, 1], ["tanh", "linear"], "mse")
    br.export("m.safetensors", network, parameters(network))
    content = Path("m.safetensors").read_bytes()
    Path("m.safetensors").write_bytes(content.replace(b"tanh", b"tank"))
    with pytest.raises(br.InvalidInput, match="description of the network is damaged"):
        br.load("m.safetensors")
    bad = br.Parameters.from_arrays([[[np.inf]]], [[0.0]])
    with pytest.raises(br.InvalidInput, match="not all finite"):
        br.export("m.c", br.Network([1, 1], ["linear"], "mse"), bad)
