"""The page that trains: its engine against Python to the bit, and in a real browser with real clicks."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.measuring.verify import submission_of
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.formulas import ACTIVATIONS, LOSSES, OWN_ACTIVATIONS
from backprop_ref.network.initialisers import SCHEMES
from backprop_ref.optimizers import OPTIMIZERS, describe
from backprop_ref.report.engine import engine, module

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
NUMBERED = {"leaky_relu": "leaky_relu(0.2)", "elu": "elu(0.5)", "huber": "huber(0.5)", "cross_entropy": "cross_entropy(0.1)"}

# Trains a case a line of JSON, and writes a hash and the losses of each.
DRIVER = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const { sizes, activations, loss, scheme, seed, x, y, epochs, ...settings } = JSON.parse(line);
  const network = new Network(sizes, activations, loss);
  const params = initialise(network, seed, scheme);
  const rows = (values) => values.map((row) => Float64Array.from(row));
  const training = new Training(network, params, rows(x), rows(y), { ...settings, seed });
  const losses = Array.from({ length: epochs }, () => training.runEpoch());
  const scored = evaluate(network, params, rows(x), rows(y));
  console.log(JSON.stringify({ sha256: sha256(params.flat), losses, ...scored }));
}
"""


def drawn(number):
    """One of many networks with all that training needs, each rule and optimizer in turn."""
    stream = br.random.Stream(number, "check")

    def pick(names):
        return names[int(stream.integers_below([len(names)])[0])]

    loss = list(LOSSES)[number % len(LOSSES)]
    activations = [name for name in ACTIVATIONS if name not in OWN_ACTIVATIONS]
    outputs = [name for name in LOSSES[loss].outputs if name not in OWN_ACTIVATIONS]
    output = outputs[number // len(LOSSES) % len(outputs)]
    depth, rows = pick([1, 2, 2, 3]), pick([1, 4, 7, 13])
    hidden = [activations[number % len(activations)], *(pick(activations) for _ in range(depth - 1))]
    sizes = [pick([1, 2, 5]), *(pick([1, 3, 8]) for _ in range(depth)), pick([2, 3]) if loss == "multi_class_hinge" else pick([1, 2, 3])]
    if pick([0, 1]):
        hidden = [NUMBERED.get(name, name) for name in hidden]
        loss = loss if loss == "cross_entropy" and output == "sigmoid" else NUMBERED.get(loss, loss)
    network = br.Network(sizes, [*hidden, output], loss)
    name = list(OPTIMIZERS)[number % len(OPTIMIZERS)]
    optimizer = OPTIMIZERS[name](0.05, weight_decay=pick([0.0, 0.01]))
    if name == "sgd":
        momentum = pick([0.0, 0.9])
        optimizer = br.SGD(0.05, momentum, bool(momentum and pick([0, 1])), pick([0.0, 0.01]))
    x = stream.normal(rows * sizes[0]).reshape(rows, -1)
    y = br.one_hot(np.arange(rows) % sizes[-1], sizes[-1]) if sizes[-1] > 1 else stream.uniform(rows)[:, None]
    training = {"batch_size": pick([None, 1, 3, 5]), "shuffle": bool(pick([0, 1, 1])), "seed": pick([1, 2**31, 2**40 + 5])}
    return network, pick(list(SCHEMES)), optimizer, x, y, {**training, "epochs": 5}


def trained_in_node(cases, folder):
    """Hash, losses and scores of each, from the engine."""
    file = folder / "driver.mjs"
    file.write_text(engine() + DRIVER, encoding="utf-8")
    lines = []
    for network, scheme, optimizer, x, y, training in cases:
        asked = {**network.to_dict(), "scheme": scheme, "optimizer": describe(optimizer), "x": x.tolist(), "y": y.tolist()}
        asked |= {"batchSize" if key == "batch_size" else key: value for key, value in training.items()}
        lines.append(json.dumps(asked))
    done = subprocess.run(["node", file], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_node
@pytest.mark.few(1, 3)
@pytest.mark.parametrize("block", range(5))
def test_the_engine_trains_to_the_bits_of_python(block, tmp_path):
    cases = [drawn(number) for number in range(40 * block, 40 * block + 40)]
    for case, found in zip(cases, trained_in_node(cases, tmp_path), strict=True):
        network, scheme, optimizer, x, y, training = case
        with br.use(numerics="reproducible"):
            params = network.init(training["seed"], scheme)
            result = br.train(network, params, x, y, optimizer=optimizer, **training)
            scored = br.evaluate(network, result.params, x, y)
        assert found["sha256"] == result.params.sha256(), (network, optimizer, training)
        assert found["losses"] == result.history["loss"].tolist()
        assert found["loss"] == scored["loss"]


@needs_node
def test_the_engine_is_exact_on_every_float64_vector(tmp_path):
    file = tmp_path / "engine.mjs"
    file.write_text(module(), encoding="utf-8")
    judged = judge(submission_of(command=f"node {file}", many=True), shipped_cases()).cases
    found = {(str(one.case.params.dtype), one.verdict) for one in judged}
    assert found == {("float64", "EXACT"), ("float32", "NOT JUDGED")}
