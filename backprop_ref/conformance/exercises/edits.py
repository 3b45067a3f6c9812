"""What makes the solution wrong: for each bug the lines of it that are written otherwise.

Each is one form of the catalogue's formula, with the number that it starts from where it needs one.
"""

DW = "dW[layer] = a[layer].T @ delta\n"
DB = "db[layer] = delta.sum(axis=0)\n"
DECAY = "dW[layer] += weight_decay * weights[layer]\n"
DA = "da = delta @ weights[layer].T\n"
CARRIED = "delta = derive(network.activations[layer - 1], z[layer - 1], a[layer], da)\n"
Z = "z.append(a[-1] @ W + b)\n"
A = "a.append(activate(name, z[-1]))\n"
MEAN = "return terms.sum() / n, delta / n\n"
CALLED = "loss_and_delta(network.loss, network.activations[-1], z[-1], a[-1], y)\n"
RETURNED = "    return loss, dW, db\n"
SQUARED = "derive(output, z, a, 2 * (a - y))\n"
BINARY_TERMS = "y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)"
BINARY = f"{BINARY_TERMS}, a - y\n"
SOFTMAX_TERMS = "y * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)\n"
SOFTMAX = "delta = a * y.sum(axis=1, keepdims=True) - y\n"
ENTROPY_TERMS = "terms, delta = y * np.logaddexp(0, -z), -y"
ENTROPY = "-y * sigmoid(-z)\n"
SIGMOID, TANH, RELU = "da * a * (1 - a)\n", "da * (1 - a**2)\n", "da * (z > 0)\n"
LEAKY, FULL = "da * np.where(z > 0, 1, 0.01)\n", "a * (da - (da * a).sum(axis=1, keepdims=True))\n"
SHORT = "        for i, g in enumerate(grads):\n"
VELOCITY = 'momentum * state["v"] + g\n'
CORRECTED = "m, v = m / (1 - beta1**t), v / (1 - beta2**t)\n"
ROOT = "(np.sqrt(v) + epsilon)\n"
STARTS = "list(range(0, len(x), batch_size))\n"
GRADIENTS = "_, dW, db = gradients(network, params[: len(weights)], params[len(weights) :], x[batch], y[batch])\n"
UPDATE = """        grads = [*dW, *db]
        for i, g in enumerate(grads):
            if i < len(weights):
                g = g + optimizer["weight_decay"] * params[i]
            params[i] = params[i] - change(optimizer, g, states[i], step + 1)
"""
START = "start = starts[step % len(starts)]\n"

Edits = tuple[tuple[str, str], ...]


def _lines(*lines, indent=8):
    """Lines as they stand in a function; the first follows an indent that is there."""
    return f"\n{' ' * indent}".join(lines) + "\n"


def _of_cross_entropies(by):
    return (
        (BINARY, f"{BINARY_TERMS}, (a - y) / {by}\n"),
        (SOFTMAX, f"delta = (a * y.sum(axis=1, keepdims=True) - y) / {by}\n"),
        (ENTROPY, f"-y * sigmoid(-z) / {by}\n"),
    )


def _terms_of_cross_entropies(by):
    return (
        (BINARY_TERMS, f"({BINARY_TERMS}) / {by}"),
        (SOFTMAX_TERMS, SOFTMAX_TERMS.replace("shifted)\n", f"shifted) / {by}\n")),
        (ENTROPY_TERMS, f"terms, delta = y * np.logaddexp(0, -z) / {by}, -y"),
    )


def _own_width(factor):
    """dW from another factor where its shape allows it."""
    return (
        (DW, _lines(f"left = {factor}", "dW[layer] = (left if left.shape == a[layer].shape else a[layer]).T @ delta")),
    )


EDITS: dict[str, Edits] = {
    "missing-mean": ((MEAN, "return terms.sum() / n, delta * len(y) / n\n"),),
    "mean-twice": ((MEAN, "return terms.sum() / n, delta / (n * len(y))\n"),),
    "mean-over-outputs": ((MEAN, "return terms.sum() / n, delta / y.size\n"),),
    "sum-over-outputs": ((MEAN, "return terms.sum() / n, delta / len(y)\n"),),
    "missing-two": ((SQUARED, "derive(output, z, a, a - y)\n"),),
    "extra-two": ((SQUARED, "derive(output, z, a, 4 * (a - y))\n"),),
    "sign": ((MEAN, "return terms.sum() / n, -delta / n\n"),),
    "learning-rate-folded": ((RETURNED, "    return loss, [0.1 * g for g in dW], [0.1 * g for g in db]\n"),),
    "log-base-2": _of_cross_entropies("np.log(2)"),
    "log-base-10": _of_cross_entropies("np.log(10)"),
    "all-zero": (
        (DW, "gW = a[layer].T @ delta\n"),
        (DECAY, "gW += weight_decay * weights[layer]\n"),
        (DB, "gb = delta.sum(axis=0)\n"),
    ),
    "loss-sum": ((MEAN, "return terms.sum() * len(y) / n, delta / n\n"),),
    "loss-outputs": ((MEAN, "return terms.mean(), delta / n\n"),),
    "loss-half": (("(a - y) ** 2,", "0.5 * (a - y) ** 2,"),),
    "loss-log-base-2": _terms_of_cross_entropies("np.log(2)"),
    "loss-log-base-10": _terms_of_cross_entropies("np.log(10)"),
    "loss-sign": ((MEAN, "return -terms.sum() / n, delta / n\n"),),
    "loss-one-sided": ((BINARY_TERMS, "y * np.logaddexp(0, -z)"),),
    "bias-mean": ((DB, "db[layer] = delta.mean(axis=0)\n"),),
    "bias-sum": ((DB, "db[layer] = delta.sum(axis=0) * len(x)\n"),),
    "weights-mean-twice": ((DW, "dW[layer] = a[layer].T @ delta / len(x)\n"),),
    "weights-missing-mean": ((DW, "dW[layer] = a[layer].T @ delta * len(x)\n"),),
    "bias-in-weight-loop": ((DB, _lines("for _ in weights[layer]:", "    db[layer] += delta.sum(axis=0)")),),
    "bias-in-forward-loop": ((Z, "z.append(sum(a[-1][:, [k]] * W[k] + b for k in range(len(W))))\n"),),
    "bias-added-twice": ((Z, "z.append(a[-1] @ W + b + b)\n"),),
    "bias-not-added": ((Z, "z.append(a[-1] @ W)\n"),),
    "mean-each-layer": ((DA, "da = delta @ weights[layer].T / len(x)\n"),),
    "bias-zero": ((DB, "db[layer] += 0 * delta.sum(axis=0)\n"),),
    "bias-not-summed": ((DB, "db[layer] = delta\n"),),
    "bias-wrong-axis": ((DB, "db[layer] = delta.sum(axis=1)\n"),),
    "bias-all-equal": ((DB, "db[layer] += delta.sum()\n"),),
    "bias-row-sum": ((DECAY + "        " + DB, _lines("db[layer] = dW[layer].sum(axis=0)", DECAY.strip())),),
    "bias-mean-over-neurons": ((DB, "db[layer] += delta.sum(axis=0).mean()\n"),),
    "bias-of-other-layer": (
        (
            "    for layer in reversed(range(len(weights))):\n",
            "    above = delta\n    for layer in reversed(range(len(weights))):\n",
        ),
        (
            DB,
            _lines(
                "same = above.shape == delta.shape",
                "db[layer] = (above if same else delta).sum(axis=0)",
                "above = delta",
            ),
        ),
    ),
    "weights-factor": ((DW, "dW[layer] = 0.3 * a[layer].T @ delta\n"),),
    "bias-factor": ((DB, "db[layer] = 0.3 * delta.sum(axis=0)\n"),),
    "layer-factor": (
        (DW, _lines("c = 0.3 if layer == 0 and len(weights) > 1 else 1", "dW[layer] = c * (a[layer].T @ delta)")),
        (DB, "db[layer] = c * delta.sum(axis=0)\n"),
    ),
    "carried-factor": ((DA, "da = 0.3 * delta @ weights[layer].T\n"),),
    "softmax-extra-derivative": ((SOFTMAX, "delta = (a * y.sum(axis=1, keepdims=True) - y) * a * (1 - a)\n"),),
    "softmax-jacobian-on-top": ((SOFTMAX, "delta = derive(output, z, a, a * y.sum(axis=1, keepdims=True) - y)\n"),),
    "softmax-diagonal": ((FULL, "da * a * (1 - a)\n"),),
    "softmax-twice": (
        (SOFTMAX_TERMS, "y * (np.log(np.exp(a).sum(axis=1, keepdims=True)) - a)\n"),
        (SOFTMAX, "delta = derive(output, z, a, softmax(a) * y.sum(axis=1, keepdims=True) - y)\n"),
    ),
    "sigmoid-twice": (
        (BINARY, "y * np.logaddexp(0, -a) + (1 - y) * np.logaddexp(0, a), (sigmoid(a) - y) * a * (1 - a)\n"),
        (ENTROPY_TERMS, "terms, delta = y * np.logaddexp(0, -a), -y"),
        (ENTROPY, "-y * sigmoid(-a) * a * (1 - a)\n"),
    ),
    "softmax-over-batch": (
        ("e = np.exp(z - z.max(axis=1, keepdims=True))\n", "e = np.exp(z - z.max(axis=0))\n"),
        ("return e / e.sum(axis=1, keepdims=True)\n", "return e / e.sum(axis=0)\n"),
    ),
    "sigmoid-extra-derivative": (
        (BINARY, f"{BINARY_TERMS}, (a - y) * a * (1 - a)\n"),
        (ENTROPY, "-y * sigmoid(-z) * a * (1 - a)\n"),
    ),
    "cross-entropy-at-activation": (
        (BINARY, f"{BINARY_TERMS}, (a - y) / (a * (1 - a))\n"),
        (SOFTMAX, "delta = -y / a\n"),
        (ENTROPY, "-y / a\n"),
    ),
    "output-derivative-missing": ((SQUARED, "2 * (a - y)\n"),),
    "label-broadcast": (
        (SQUARED, "derive(output, z, a, 2 * (a - target))\n"),
        (BINARY, f"{BINARY_TERMS}, a - target\n"),
        (ENTROPY, "-target * sigmoid(-z)\n"),
        (
            "    n = y.size if",
            "    target = (0 * a + y.T).mean(axis=1, keepdims=True) if a.shape[1] == 1 else y\n    n = y.size if",
        ),
    ),
    "labels-rolled": ((CALLED, CALLED.replace(" y)", " np.roll(y, 1, axis=0))")),),
    "labels-shifted": ((CALLED, CALLED.replace(" y)", " np.roll(y, 1, axis=1))")),),
    "labels-not-one-hot": ((SOFTMAX, "delta = a - y.argmax(axis=1)[:, None]\n"),),
    "labels-hardened": ((SOFTMAX, "delta = a - np.eye(y.shape[1])[y.argmax(axis=1)]\n"),),
    "labels-assumed-one-hot": ((SOFTMAX, "delta = a - y\n"),),
    "log-epsilon": (
        (
            BINARY,
            _lines(
                "-y * np.log(a + 1e-8) - (1 - y) * np.log(1 - a + 1e-8), derive(",
                "    output, z, a, -y / (a + 1e-8) + (1 - y) / (1 - a + 1e-8)",
                ")",
            ),
        ),
        (SOFTMAX_TERMS, "-y * np.log(a + 1e-8)\n"),
        (SOFTMAX, "delta = derive(output, z, a, -y / (a + 1e-8))\n"),
        (
            f"{ENTROPY_TERMS} * sigmoid(-z)\n",
            "terms, delta = -y * np.log(a + 1e-8), derive(output, z, a, -y / (a + 1e-8))\n",
        ),
    ),
    "derivative-missing": ((CARRIED, "delta = da\n"),),
    "upstream-missing": (
        (SIGMOID, "a * (1 - a)\n"),
        (TANH, "1 - a**2\n"),
        (RELU, "np.where(z > 0, 1.0, 0.0)\n"),
        (LEAKY, "np.where(z > 0, 1, 0.01)\n"),
    ),
    "derivative-at-activation": (
        (SIGMOID, "da * sigmoid(a) * (1 - sigmoid(a))\n"),
        (TANH, "da * (1 - np.tanh(a) ** 2)\n"),
    ),
    "derivative-fed-z": ((SIGMOID, "da * z * (1 - z)\n"), (TANH, "da * (1 - z**2)\n")),
    "tanh-slope-linear": ((TANH, "da * (1 - a)\n"),),
    "tanh-slope-of-sigmoid": ((TANH, "da * (a * (1 - a))\n"),),
    "sigmoid-slope-of-tanh": ((SIGMOID, "da * (1 - a * a)\n"),),
    "activation-for-derivative": ((SIGMOID, "da * a\n"), (TANH, "da * a\n")),
    "derivative-twice": ((SIGMOID, "da * (a * (1 - a)) ** 2\n"), (TANH, "da * (1 - a**2) ** 2\n")),
    "derivative-of-neighbour": (
        (
            CARRIED,
            _lines(
                "i = layer if z[layer].shape == da.shape else layer - 1",
                "delta = derive(network.activations[layer - 1], z[i], a[i + 1], da)",
                indent=12,
            ),
        ),
    ),
    "derivative-of-output-activation": (
        (CARRIED, "delta = derive(network.activations[-1], z[layer - 1], a[layer], da)\n"),
    ),
    "relu-mask-missing": ((RELU, "da\n"),),
    "relu-mask-on-delta": ((RELU, "da * (da > 0)\n"),),
    "relu-guided": ((RELU, "da * (z > 0) * (da > 0)\n"),),
    "relu-at-zero": ((RELU, "da * (z >= 0)\n"), (LEAKY, "da * np.where(z >= 0, 1, 0.01)\n")),
    "leaky-slope-forgotten": ((LEAKY, "da * np.where(z > 0, 1, 0)\n"),),
    "leaky-slope-other": (
        ("np.where(z > 0, z, 0.01 * z)", "np.where(z > 0, z, 0.1 * z)"),
        (LEAKY, "da * np.where(z > 0, 1, 0.1)\n"),
    ),
    "hidden-activation-missing": (
        (A, "a.append(activate(name, z[-1]) if len(z) == len(weights) else z[-1])\n"),
        (CARRIED, "delta = da\n"),
    ),
    "output-activation-missing": (
        (A, "a.append(activate(name, z[-1]) if len(z) < len(weights) else z[-1])\n"),
        (SQUARED, "2 * (a - y)\n"),
    ),
    "transposed-weights": (
        (DA, _lines("W = weights[layer]", "da = delta @ (W if W.shape == W.T.shape else W.T)", indent=12)),
    ),
    "reshaped-weights": ((DA, "da = delta @ weights[layer].reshape(delta.shape[1], -1)\n"),),
    "weights-missing-back": ((DA, "da = delta.sum(axis=1, keepdims=True) + np.zeros_like(a[layer])\n"),),
    "transposed-gradient": ((DW, "dW[layer] = (delta.T @ a[layer]).reshape(weights[layer].shape)\n"),),
    "updated-weights": ((DA, "da = delta @ (weights[layer] - 0.1 * dW[layer]).T\n"),),
    "error-before-derivative": ((DA, "da = (delta if layer == len(weights) - 1 else da) @ weights[layer].T\n"),),
    "samples-in-turn": (
        (
            "def gradients(network, weights, biases, x, y, weight_decay=0.0):",
            "def backward(network, weights, biases, x, y):",
        ),
        ("        " + DECAY, ""),
        (
            RETURNED,
            RETURNED
            + '''

def gradients(network, weights, biases, x, y, weight_decay=0.0):
    """The loss, dW and db of each layer, as means over the samples."""
    loss, dW, db = backward(network, weights, biases, x, y)
    dW, db = [weight_decay * W for W in weights], [0 * b for b in biases]
    weights, biases = list(weights), list(biases)
    for s in range(len(x)):
        _, gW, gb = backward(network, weights, biases, x[s : s + 1], y[s : s + 1])
        for layer in range(len(weights)):
            dW[layer] = dW[layer] + gW[layer] / len(x)
            db[layer] = db[layer] + gb[layer] / len(x)
            weights[layer] = weights[layer] - 0.1 * gW[layer]
            biases[layer] = biases[layer] - 0.1 * gb[layer]
    return loss, dW, db
''',
        ),
    ),
    "input-for-activation": _own_width("x"),
    "own-activation": _own_width("a[layer + 1]"),
    "z-for-activation": _own_width("z[layer - 1] if layer > 0 else x"),
    "mean-before-outer": ((DW, "dW[layer] = np.outer(a[layer].mean(axis=0), delta.sum(axis=0))\n"),),
    "last-sample-only": ((DW, "dW[layer] = a[layer][-1:].T @ delta[-1:]\n"), (DB, "db[layer] = delta[-1]\n")),
    "first-sample-only": ((DW, "dW[layer] = a[layer][:1].T @ delta[:1]\n"), (DB, "db[layer] = delta[0]\n")),
    "first-weight-skipped": ((DW, "dW[layer][1:] = a[layer][:, 1:].T @ delta\n"),),
    "last-weight-skipped": ((DW, "dW[layer][:-1] = a[layer][:, :-1].T @ delta\n"),),
    "first-unit-skipped": (
        (DW, "dW[layer][:, 1:] = a[layer].T @ delta[:, 1:]\n"),
        (DB, "db[layer][1:] = delta[:, 1:].sum(axis=0)\n"),
    ),
    "last-unit-skipped": (
        (DW, "dW[layer][:, :-1] = a[layer].T @ delta[:, :-1]\n"),
        (DB, "db[layer][:-1] = delta[:, :-1].sum(axis=0)\n"),
    ),
    "loop-of-other-layer": (
        (DW, _lines("n = network.sizes[layer]", "dW[layer][:, :n] = a[layer].T @ delta[:, :n]")),
        (DB, "db[layer][:n] = delta[:, :n].sum(axis=0)\n"),
    ),
    "overwritten-sum": ((DA, "da = delta[:, -1:] @ weights[layer][:, -1:].T\n"),),
    "decay-missing": (("        " + DECAY, ""),),
    "decay-doubled": ((DECAY, "dW[layer] += 2 * weight_decay * weights[layer]\n"),),
    "decay-halved": ((DECAY, "dW[layer] += weight_decay / 2 * weights[layer]\n"),),
    "decay-sign": ((DECAY, "dW[layer] -= weight_decay * weights[layer]\n"),),
    "decay-of-gradient": ((DECAY, "dW[layer] += weight_decay * dW[layer]\n"),),
    "decay-over-batch": ((DECAY, "dW[layer] += weight_decay / len(x) * weights[layer]\n"),),
    "decay-on-bias": ((DB, "db[layer] = delta.sum(axis=0) + weight_decay * biases[layer]\n"),),
    "penalty-disagrees": (
        (DECAY, "dW[layer] += (weight_decay + 0.01) * weights[layer]\n"),
        (RETURNED, "    return loss + 0.01 * sum((W**2).sum() for W in weights), dW, db\n"),
    ),
    "decay-absolute": ((DECAY, "dW[layer] += weight_decay * np.sign(weights[layer])\n"),),
    "decay-undeclared": ((DECAY, "dW[layer] += (weight_decay + 0.01) * weights[layer]\n"),),
    "decay-absolute-undeclared": (
        (DECAY, "dW[layer] += weight_decay * weights[layer] + 0.01 * np.sign(weights[layer])\n"),
    ),
    "penalty-in-loss": (
        (RETURNED, "    return loss + weight_decay / 2 * sum((W**2).sum() for W in weights), dW, db\n"),
    ),
    "gradients-not-zeroed": (
        ("grads = [*dW, *db]\n", "grads = [g + old for g, old in zip([*dW, *db], grads)]\n"),
        (f"starts = {STARTS}", f"starts = {STARTS}    grads = [np.zeros_like(w) for w in params]\n"),
    ),
    "short-batch-nominal": ((SHORT, "        grads = [g * len(x[batch]) / batch_size for g in grads]\n" + SHORT),),
    "short-batch-dropped": ((STARTS, "list(range(0, len(x) - batch_size + 1, batch_size)) or [0]\n"),),
    "first-batch-only": ((START, "start = starts[0]\n"),),
    "one-sample-steps": (
        ("    for step in range(steps):\n", "    t = 0\n    for step in range(steps):\n"),
        (
            "batch = slice(start, start + batch_size)\n        " + GRADIENTS,
            "for s in range(len(x))[start : start + batch_size]:\n            t += 1\n            "
            + GRADIENTS.replace("[batch]", "[s : s + 1]"),
        ),
        (
            UPDATE,
            UPDATE.replace("        ", "            ", 1).replace("\n    ", "\n        ").replace("step + 1", "t"),
        ),
    ),
    "one-step-less": (
        ("for step in range(steps):\n", "for step in range(1, steps):\n"),
        (START, "start = starts[(step - 1) % len(starts)]\n"),
        ("step + 1)\n", "step)\n"),
    ),
    "bias-not-updated": (("grads = [*dW, *db]\n", "grads = dW\n"),),
    "momentum-sign": ((VELOCITY, 'g - momentum * state["v"]\n'),),
    "momentum-missing": ((VELOCITY, "momentum * 0 + g\n"),),
    "momentum-averaged": ((VELOCITY, 'momentum * state["v"] + (1 - momentum) * g\n'),),
    "nesterov-missing": ((' * (g + momentum * v if optimizer["nesterov"] else v)\n', " * v\n"),),
    "adam-no-bias-correction": (("    " + CORRECTED, ""),),
    "adam-epsilon-inside": ((ROOT, "np.sqrt(v + epsilon)\n"),),
    "adam-epsilon-uncorrected": ((ROOT, "(np.sqrt(v) + epsilon / np.sqrt(1 - beta2**t))\n"),),
    "adam-step-frozen": ((CORRECTED, "m, v = m / (1 - beta1), v / (1 - beta2)\n"),),
    "adam-betas-swapped": (('optimizer["beta1"], optimizer["beta2"]', 'optimizer["beta2"], optimizer["beta1"]'),),
    "adam-root-missing": ((ROOT, "(v + epsilon)\n"),),
    "decay-decoupled": (
        (
            "if i < len(weights):\n",
            _lines(
                'decay = optimizer["weight_decay"] if i < len(weights) else 0',
                'if optimizer["name"] == "sgd":',
                indent=12,
            ),
        ),
        ('g = g + optimizer["weight_decay"] * params[i]\n', "g, decay = g + decay * params[i], 0\n"),
        (
            "params[i] = params[i] - change(optimizer, g, states[i], step + 1)\n",
            'params[i] = params[i] * (1 - optimizer["learning_rate"] * decay)\n'
            "            params[i] = params[i] - change(optimizer, g, states[i], step + 1)\n",
        ),
    ),
    "inputs-changed": ((CALLED, CALLED + "    y -= a[-1]\n"),),
    "second-call-differs": (
        ("def gradients(", "calls = []\n\n\ndef gradients("),
        (DA, _lines("calls.append(layer)", "da = delta @ weights[layer].T / len(calls)", indent=12)),
    ),
    "float32-inside": ((Z, "z.append(np.float32(a[-1]) @ np.float32(W) + np.float32(b))\n"),),
}
"""What is exchanged in the text of the solution, by the id of the bug."""

OF_STEPS = (*EDITS,)[(*EDITS,).index("gradients-not-zeroed") : (*EDITS,).index("inputs-changed")]
"""Those that show after some steps of training."""
