"""An activation that is put into the table trains through every compiled program, and no kernel knows its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import more, seldom

pytest.importorskip("numba")

PROGRAM = """
import sys
import numpy as np
from backprop_ref import formulas, get_backend, network, optimizers

formulas.ACTIVATIONS["rational"] = formulas.Activation(
    lambda m, z: z / (1.0 + abs(z)),
    lambda m, z, a, da: da * ((1.0 - abs(a)) * (1.0 - abs(a))),
)
formulas.ACTIVATIONS["unheard_of"] = formulas.Activation(
    lambda m, z: z * m.sigmoid(z),
    lambda m, z, a, da: da * (m.sigmoid(z) + a * (1.0 - m.sigmoid(z))),
    z_for_a=False,
)
formulas.ACTIVATIONS["softmin"] = formulas.Activation(
    lambda m, z: formulas.softmax(m, -z),
    lambda m, z, a, da: a * (m.total(da * a) - da),
    by_rows=True,
)
network.ACTIVATIONS = tuple(formulas.ACTIVATIONS)
from backprop_ref.backends import numba_trainer
from backprop_ref.training.pairs import PairsTrainer
from helpers import parameters, program_of, samples

kind, numerics, dtype = sys.argv[1:]
network = network.Network([3, 6, 5, 4, 2], ["unheard_of", "rational", "softmin", "sigmoid"], "bce")
adam, (x, y) = optimizers.Adam(0.01), samples(network, 13, dtype=dtype)
orders = np.arange(13)[None].repeat(3, 0)


def trained(trainer):
    params = parameters(network, dtype=dtype)
    slots = adam.init(params.flat)
    losses, _ = trainer.run(params, slots, x, y, orders, [0.01] * 3)
    return params.flat, *slots.values(), losses


if kind == "rows":
    numba_trainer.NARROW = 0
how = {"specialize": "always" if kind == "fixed" else "never", "numerics": numerics}
trainer = numba_trainer.create(network, adam, dtype, 5, 2, "accuracy", 1, **how)
assert program_of(trainer) == kind
plain = get_backend("python", "reproducible")
with plain.scope():
    wanted = trained(PairsTrainer(plain, network, adam, 5, 2, "accuracy"))
for found, expected in zip(trained(trainer), wanted, strict=True):
    if numerics == "reproducible":
        assert found.tobytes() == expected.tobytes()
    else:  # to half of all digits
        np.testing.assert_allclose(found, expected, rtol=np.finfo(dtype).eps ** 0.5)
print("trained")
"""


@pytest.mark.parametrize(
    "kind, numerics, dtype",
    [
        ("epochs", "reproducible", "float64"),
        more("rows", "fast", "float64"),
        seldom("fixed", "reproducible", "float32"),
    ],
)
@pytest.mark.few(1)
def test_it_trains(kind, numerics, dtype):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", PROGRAM, kind, numerics, dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "trained\n", done.stderr[-3000:]
