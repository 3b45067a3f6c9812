"""Wrong implementations written by hand, in several styles and independent of the catalogue, get their bug's name."""

import math
from dataclasses import replace

import numpy as np
import pytest
from submissions import evidence_of, usual_cases

from backprop_ref.conformance.cases import Values
from backprop_ref.conformance.diagnosis.diagnose import diagnose
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam

CASES = [case for case in usual_cases() if case.deciding]
PLAIN = [case for case in CASES if case.da is None and not case.weight_decay]
DTYPES = ["float64", "float32"]


def evidence(implementation, *bug, dtype="float64", cases=PLAIN):
    """What an implementation answers; cases for which it gives nothing are left out."""
    answers = [(case, implementation(case, *bug)) for case in cases if case.params.dtype == dtype]
    return [evidence_of(case, values) for case, values in answers if values is not None]


def named(found):
    return [(finding.id, finding.confidence) for finding in found]


def certain(found):
    return [finding.id for finding in found if finding.confidence == "certain"]


# ---- columns, sample after sample ----------------------------------------------------------------------------------


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigma_prime(z):
    return sigma(z) * (1.0 - sigma(z))


def columns(case, bug=""):
    """A network of sigmoids with squared error or cross-entropy: samples as columns, one after the other."""
    network, params = case.network, case.params
    if set(network.activations) != {"sigmoid"} or network.loss == "cross_entropy":
        return None
    weights, biases = [W.T.astype(float) for W in params.W], [b[:, None].astype(float) for b in params.b]
    nabla_w, nabla_b = [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
    total = 0.0
    for row, label in zip(case.x.astype(float), case.y.astype(float), strict=True):
        activations, zs = [row[:, None]], []
        for w, b in zip(weights, biases, strict=True):
            zs.append(w @ activations[-1] + b)
            activations.append(sigma(zs[-1]))
        out, y = activations[-1], label[:, None]
        means = out.size if network.loss in {"mean_squared_error", "binary_cross_entropy"} else 1
        seen = activations[1:] if bug == "derivative-at-activation" else zs
        if network.loss == "binary_cross_entropy":
            total += float((-y * np.log(out) - (1 - y) * np.log(1 - out)).sum()) / means
            delta = (out - y) / means
        else:
            total += float(((out - y) ** 2).sum()) / means
            delta = 2.0 * (out - y) / means * sigma_prime(seen[-1])
        if bug == "sign":
            delta = -delta
        for layer in range(1, network.n_layers + 1):
            if layer > 1:
                delta = weights[1 - layer].T @ delta
                if bug != "derivative-missing":
                    delta = delta * sigma_prime(seen[-layer])
                if bug == "derivative-twice":
                    delta = delta * sigma_prime(seen[-layer])
            if bug == "last-sample-only":
                nabla_w[-layer], nabla_b[-layer] = delta @ activations[-layer - 1].T, delta
            else:
                nabla_w[-layer] = nabla_w[-layer] + delta @ activations[-layer - 1].T
                nabla_b[-layer] = nabla_b[-layer] + delta
    m = len(case.x)
    once = 1 if bug in {"missing-mean", "last-sample-only"} else m
    return Values(
        dW=[g.T / once / (m if bug == "mean-twice" else 1) for g in nabla_w],
        db=[g[:, 0] / once / (m if bug in {"mean-twice", "bias-mean"} else 1) for g in nabla_b],
        loss=total / m,
    )


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "bug",
    [
        *("derivative-at-activation", "derivative-missing", "derivative-twice", "sign", "missing-mean", "mean-twice"),
        *("bias-mean", "last-sample-only"),
    ],
)
def test_code_with_columns(bug):
    more = [deep_sigmoids(case) for case in PLAIN if case.network.n_layers > 1]
    assert diagnose(evidence(columns, cases=PLAIN + more)) == []
    found = diagnose(evidence(columns, bug, cases=PLAIN + more))
    assert named(found) == [(bug, "certain")]


def deep_sigmoids(case):
    """The same case with sigmoids only, which columns() can do; nothing is shipped about it."""
    network = Network(case.network.sizes, ["sigmoid"] * case.network.n_layers, "sse")
    return replace(case, name=f"{case.name}-sigmoids", network=network, expected=None)


# ---- three nested loops in plain Python ----------------------------------------------------------------------------


def loops(case, bug=""):  # noqa: PLR0912 - the loops in one piece are the point
    """Tanh or relu layers and a linear output with squared error, neuron by neuron."""
    network, sizes = case.network, case.network.sizes
    if network.activations[-1] != "linear" or not set(network.activations[:-1]) <= {"tanh", "relu"}:
        return None
    W, b = [w.astype(float).tolist() for w in case.params.W], [v.astype(float).tolist() for v in case.params.b]
    x, y, m = case.x.astype(float).tolist(), case.y.astype(float).tolist(), len(case.x)
    n = m * sizes[-1] if network.loss == "mean_squared_error" else m
    layers = range(network.n_layers)
    a = [x]
    for layer in layers:
        rows = []
        for s in range(m):
            row = []
            for j in range(sizes[layer + 1]):
                total = b[layer][j]
                for k in range(sizes[layer]):
                    total += a[layer][s][k] * W[layer][k][j]
                    if bug == "bias-in-forward-loop" and k > 0:
                        total += b[layer][j]
                if network.activations[layer] == "tanh":
                    total = math.tanh(total)
                if network.activations[layer] == "relu":
                    total = max(total, 0.0)
                row.append(total)
            rows.append(row)
        a.append(rows)
    loss = sum((a[-1][s][j] - y[s][j]) ** 2 for s in range(m) for j in range(sizes[-1])) / n
    delta = [[2.0 * (a[-1][s][j] - y[s][j]) / n for j in range(sizes[-1])] for s in range(m)]
    dW = [[[0.0] * sizes[layer + 1] for _ in range(sizes[layer])] for layer in layers]
    db = [[0.0] * sizes[layer + 1] for layer in layers]
    for layer in reversed(layers):
        first = 1 if bug == "first-weight-skipped" else 0
        for j in range(sizes[layer + 1]):
            for s in range(m):
                for k in range(first, sizes[layer]):
                    left = a[layer + 1][s][j] if bug == "own-activation" else a[layer][s][k]
                    dW[layer][k][j] += left * delta[s][j]
                    if bug == "bias-in-weight-loop":
                        db[layer][j] += delta[s][j]
                if bug != "bias-in-weight-loop":
                    db[layer][j] += delta[s][j]
        if bug == "updated-weights":
            for k in range(sizes[layer]):
                for j in range(sizes[layer + 1]):
                    W[layer][k][j] -= 0.05 * dW[layer][k][j]
        if layer == 0:
            break
        before = []
        for s in range(m):
            row = []
            for k in range(sizes[layer]):
                da = 0.0
                for j in range(sizes[layer + 1]):
                    if bug == "overwritten-sum":
                        da = delta[s][j] * W[layer][k][j]
                    else:
                        da += delta[s][j] * W[layer][k][j]
                out = a[layer][s][k]
                if network.activations[layer - 1] == "relu":
                    row.append(da if out > 0.0 or bug == "relu-mask-missing" else 0.0)
                else:
                    row.append(da * (1.0 - out if bug == "tanh-slope-linear" else 1.0 - out * out))
            before.append(row)
        delta = before
    return Values(dW=[np.array(g) for g in dW], db=[np.array(g) for g in db], loss=loss)


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "bug",
    [
        *("bias-in-forward-loop", "first-weight-skipped", "bias-in-weight-loop", "updated-weights", "overwritten-sum"),
        *("relu-mask-missing", "tanh-slope-linear"),
    ],
)
def test_loops_neuron_by_neuron(bug, dtype):
    cases = [*PLAIN, *(linear_output(case) for case in PLAIN if case.network.n_layers > 1)]
    assert diagnose(evidence(loops, dtype=dtype, cases=cases)) == []
    assert named(diagnose(evidence(loops, bug, dtype=dtype, cases=cases))) == [(bug, "certain")]


def linear_output(case):
    """The same case with a linear output, and hidden layers that loops() knows."""
    hidden = [name if name in {"tanh", "relu"} else "tanh" for name in case.network.activations[:-1]]
    network = Network(case.network.sizes, [*hidden, "linear"], "mse")
    return replace(case, name=f"{case.name}-linear", network=network, expected=None)


def test_the_learning_rate_of_updated_weights_is_told():
    cases = [*PLAIN, *(linear_output(case) for case in PLAIN if case.network.n_layers > 1)]
    found = diagnose(evidence(loops, "updated-weights", cases=cases))
    assert "learning rate = 0.05" in found[0].evidence


# ---- matrices ------------------------------------------------------------------------------------------------------

PHI = {
    "sigmoid": sigma,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, z, np.asarray(0.01, z.dtype) * z),
    "linear": lambda z: z,
}
SLOPE = {
    "sigmoid": lambda z, a: a * (1 - a),
    "tanh": lambda z, a: 1 - a**2,
    "relu": lambda z, a: (z > 0).astype(z.dtype),
    "leaky_relu": lambda z, a: np.where(z > 0, 1, np.asarray(0.01, z.dtype)),
    "linear": lambda z, a: np.ones_like(z),
}


def softmax(z, axis=1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def matrices(case, bug="", params=None, batch=None, nominal=None):
    """Any network, a batch at once, in the precision of the case."""
    network, (W, b) = case.network, params or (case.params.W, case.params.b)
    x, y = batch or (case.x, case.y)
    a, z = [x], []
    for layer, name in enumerate(network.activations):
        z.append(a[-1] @ W[layer] + b[layer])
        a.append(softmax(z[-1]) if name == "softmax" else PHI[name](z[-1]))
    p, m = a[-1], nominal or len(x)
    n = m * y.shape[1] if network.loss in {"mean_squared_error", "binary_cross_entropy"} else m
    eps = 1e-7 if bug == "log-epsilon" else 0.0
    if network.loss.endswith("squared_error"):
        loss = ((p - y) ** 2).sum() / n
        da = 2 * (p - y) / n
        if bug == "label-broadcast" and y.shape[1] == 1:
            loss, da = ((p - y[:, 0]) ** 2).mean(), 2 * (p - y[:, 0]).mean(axis=1, keepdims=True) / m
        if bug == "missing-two":
            da = (p - y) / n
        delta = back(network.activations[-1], z[-1], p, da, "" if bug != "softmax-diagonal" else bug)
    else:
        loss = -(y * np.log(p + eps)).sum() / n
        if network.loss == "binary_cross_entropy":
            loss = (-(y * np.log(p + eps)) - (1 - y) * np.log(1 - p + eps)).sum() / n
        delta = (p - y) / n
        if network.loss == "cross_entropy" and network.activations[-1] == "sigmoid":
            delta = -y * (1 - p) / n
        if bug == "log-epsilon":
            return Values(loss=float(loss), **gradients(network, W, a, z, delta, bug))
        if bug == "softmax-extra-derivative" and network.activations[-1] == "softmax":
            delta = delta * p * (1 - p)
        if bug == "softmax-jacobian-on-top" and network.activations[-1] == "softmax":
            delta = p * (delta - (delta * p).sum(axis=1, keepdims=True))
        if bug == "sigmoid-extra-derivative" and network.activations[-1] == "sigmoid":
            delta = delta * p * (1 - p)
        if bug == "softmax-twice" and network.activations[-1] == "softmax":
            q = softmax(p)
            loss, e = -(y * np.log(q)).sum() / n, (q - y) / n
            delta = p * (e - (e * p).sum(axis=1, keepdims=True))
    return Values(loss=float(loss), **gradients(network, W, a, z, delta, bug))


def back(name, z, a, da, bug):  # noqa: PLR0911
    if name == "softmax" and bug == "softmax-diagonal":
        return da * a * (1 - a)
    if name == "softmax":
        return a * (da - (da * a).sum(axis=1, keepdims=True))
    if name == "tanh" and bug == "derivative-fed-z":
        return da * (1 - z**2)
    if name == "sigmoid" and bug == "derivative-fed-z":
        return da * z * (1 - z)
    if name == "leaky_relu" and bug == "leaky-slope-forgotten":
        return da * (z > 0)
    if name == "relu" and bug == "relu-at-zero":
        return da * (z >= 0)
    if name == "relu" and bug == "relu-mask-on-delta":
        return np.where(da > 0, da, 0)
    return da * SLOPE[name](z, a)


def gradients(network, W, a, z, delta, bug):
    dW, db = [None] * network.n_layers, [None] * network.n_layers
    for layer in reversed(range(network.n_layers)):
        left = a[layer]
        if bug == "z-for-activation" and layer:
            left = z[layer - 1]
        if bug == "mean-before-outer":
            dW[layer] = np.outer(left.mean(axis=0), delta.sum(axis=0))
        else:
            dW[layer] = left.T @ delta
        db[layer] = dW[layer].sum(axis=0) if bug == "bias-row-sum" else delta.sum(axis=0)
        if bug == "bias-not-summed":
            db[layer] = delta
        if layer:
            turned = W[layer].T
            if bug == "transposed-weights" and turned.shape[0] == turned.shape[1]:
                turned = W[layer]
            if bug == "reshaped-weights":
                turned = W[layer].reshape(turned.shape)
            delta = back(network.activations[layer - 1], z[layer - 1], a[layer], delta @ turned, bug)
            if bug == "mean-each-layer":
                delta = delta / len(delta)
    return {"dW": dW, "db": db}


@pytest.mark.few(8)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "bug",
    [
        *("softmax-extra-derivative", "softmax-jacobian-on-top", "sigmoid-extra-derivative", "softmax-twice"),
        *("softmax-diagonal", "label-broadcast", "missing-two", "derivative-fed-z", "leaky-slope-forgotten"),
        *("relu-at-zero", "relu-mask-on-delta", "z-for-activation", "mean-before-outer", "bias-row-sum"),
        *("bias-not-summed", "transposed-weights", "reshaped-weights", "mean-each-layer", "log-epsilon"),
    ],
)
def test_matrices(bug, dtype):
    assert diagnose(evidence(matrices, dtype=dtype)) == []
    given = evidence(matrices, bug, dtype=dtype)
    found = diagnose(given)
    if not found:  # no float32 case has what it needs: a square layer, one output, or digits enough
        assert dtype == "float32"
        assert bug in {"label-broadcast", "transposed-weights", "log-epsilon"}
        return
    assert found[0].id == bug
    assert set(certain(found)) <= {bug}
    if dtype == "float64":
        assert certain(found) == [bug]


# ---- steps ---------------------------------------------------------------------------------------------------------


def training(case, bug=""):
    """Only the weights after the three steps, with the update rules written out."""
    network, optimizer = case.network, case.optimizer
    W, b = [w.copy() for w in case.params.W], [v.copy() for v in case.params.b]
    parameters = W + b
    memory = [{"v": np.zeros_like(w), "m": np.zeros_like(w), "sum": np.zeros_like(w)} for w in parameters]
    for t, batch in enumerate(case.batches(), start=1):
        nominal = case.batch_size if bug == "short-batch-nominal" else None
        seen = matrices(case, params=(W, b), batch=batch, nominal=nominal)
        grads = [g + optimizer.weight_decay * w for g, w in zip(seen.dW, W, strict=True)] + list(seen.db)
        for w, g, kept in zip(parameters, grads, memory, strict=True):
            kept["sum"] += g
            w -= update(kept["sum"] if bug == "gradients-not-zeroed" else g, kept, optimizer, t, bug).astype(w.dtype)
    assert network.n_layers == len(W)
    return Values(W=W, b=b)


def update(g, kept, optimizer, t, bug):
    rate = optimizer.learning_rate
    if isinstance(optimizer, SGD):
        mu = -optimizer.momentum if bug == "momentum-sign" else optimizer.momentum
        kept["v"] = mu * kept["v"] + g
        return rate * (g + mu * kept["v"] if optimizer.nesterov else kept["v"])
    kept["m"] = optimizer.beta1 * kept["m"] + (1 - optimizer.beta1) * g
    kept["v"] = optimizer.beta2 * kept["v"] + (1 - optimizer.beta2) * g * g
    c1, c2 = 1 - optimizer.beta1**t, 1 - optimizer.beta2**t
    if bug == "adam-no-bias-correction":
        c1 = c2 = 1.0
    if bug == "adam-epsilon-inside":
        return rate * kept["m"] / c1 / np.sqrt(kept["v"] / c2 + optimizer.epsilon)
    return rate * kept["m"] / c1 / (np.sqrt(kept["v"] / c2) + optimizer.epsilon)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "bug",
    [
        *("gradients-not-zeroed", "short-batch-nominal", "momentum-sign", "adam-no-bias-correction"),
        "adam-epsilon-inside",
    ],
)
def test_only_the_weights_after_the_steps(bug):
    found = diagnose(evidence(training, bug, cases=[case for case in CASES if case.da is None]))
    assert named(found) == [(bug, "certain")]


def test_right_weights_after_the_steps_have_no_finding():
    cases = [case for case in CASES if case.da is None]
    assert any(isinstance(case.optimizer, Adam) for case in cases)
    assert diagnose(evidence(training, cases=cases)) == []


# ---- what is not in the catalogue ----------------------------------------------------------------------------------


@pytest.mark.more
def test_one_entry_off_is_unknown_and_located():
    given = evidence(matrices)
    given[3].values.dW[-1][1, 0] += 1e-3
    found = diagnose(given)
    assert named(found) == [("unknown", "measured")]
    assert (found[0].network, found[0].quantity, found[0].layer) == (
        given[3].case.name,
        "dW",
        given[3].case.network.n_layers - 1,
    )
    assert "[1][0]" in found[0].text


@pytest.mark.more
def test_a_constant_added_to_the_last_dW_is_unknown():
    given = evidence(matrices, cases=PLAIN[::3])
    for one in given:
        one.values.dW[-1][...] += 0.125
    found = diagnose(given)
    assert found[-1].id == "unknown"
    assert certain(found) == []


@pytest.mark.more
def test_noise_in_all_gradients_is_unknown():
    given, noise = evidence(matrices, cases=PLAIN[::3]), np.random.default_rng(7)
    for one in given:
        for g in one.values.dW:
            g *= 1.0 + 0.1 * noise.normal(size=g.shape)
    found = diagnose(given)
    assert found[-1].id == "unknown"
    assert certain(found) == []


def test_nan_is_not_right():
    given = evidence(matrices)
    given[0].values.db[0][0] = np.nan
    assert [finding.id for finding in diagnose(given)] == ["not-finite"]


def test_an_array_too_few_is_passed_over():
    given = evidence(matrices)
    assert diagnose([evidence_of(given[0].case, Values(dW=[]))]) == []


def test_two_bugs_at_once():
    def both(case):
        seen = matrices(case, "softmax-extra-derivative")
        return seen._replace(db=[g / len(case.x) for g in seen.db])

    assert sorted(named(diagnose(evidence(both)))) == [
        ("bias-mean", "certain"),
        ("softmax-extra-derivative", "certain"),
    ]


@pytest.mark.more
def test_bugs_in_different_activations_are_each_named():
    """Three bugs, of which each case shows one at most or the cases of one bug alone are enough to name it."""

    def several(case):
        names = {
            "tanh": "derivative-fed-z",
            "leaky_relu": "leaky-slope-forgotten",
            "relu": "relu-mask-on-delta",
        }
        hidden = set(case.network.activations[:-1])
        bug = names.get(*hidden, "") if len(hidden) == 1 else ""
        return matrices(case, bug) if len(hidden) < 2 and case.network.activations[-1] not in names else None

    found = {finding.id for finding in diagnose(evidence(several))}
    assert {"derivative-fed-z", "leaky-slope-forgotten", "relu-mask-on-delta"} <= found


def test_float32_inside_is_told_apart():
    def single(case):
        low = ([w.astype(np.float32) for w in case.params.W], [v.astype(np.float32) for v in case.params.b])
        seen = matrices(case, params=low, batch=(case.x.astype(np.float32), case.y.astype(np.float32)))
        return seen._replace(dW=[g.astype(float) for g in seen.dW], db=[g.astype(float) for g in seen.db])

    assert [finding.id for finding in diagnose(evidence(single))] == ["float32-inside"]


# ---- state ---------------------------------------------------------------------------------------------------------


def test_state_shows_in_a_second_call():
    one = evidence(matrices)[0]
    again = one.values._replace(dW=[2.0 * g for g in one.values.dW], db=[2.0 * g for g in one.values.db])
    assert named(diagnose([evidence_of(one.case, one.values, again=again)])) == [("gradients-not-zeroed", "certain")]
    other = one.values._replace(dW=[g + 1.0 for g in one.values.dW])
    assert named(diagnose([evidence_of(one.case, one.values, again=other)])) == [("second-call-differs", "certain")]
    assert named(diagnose([evidence_of(one.case, one.values, changed=("x",))])) == [("inputs-changed", "certain")]


# ---- penalties, shapes, precision ----------------------------------------------------------------------------------


def changed(change):
    """Evidence of the right numbers, changed by a function of the case."""
    return [
        evidence_of(case, change(case, case.expected.reference)) for case in PLAIN if case.params.dtype == "float64"
    ]


def answered(dW, db, loss):
    return Values(loss=float(loss), dW=dW, db=db)


def plus(gradients, arrays, factor=0.02):
    return [g + factor * p for g, p in zip(gradients, arrays, strict=True)]


def squares(arrays):
    return sum(float((p**2).sum()) for p in arrays)


def whole_square_of_the_penalty(case, values):
    W = case.params.W
    return answered(plus(values.dW, W), values.db, values.loss + 0.02 * squares(W))


def penalty_in_the_loss_alone(case, values):
    return answered(values.dW, values.db, values.loss + 0.01 * squares(case.params.W))


def decay_of_biases(case, values):
    return answered(values.dW, plus(values.db, case.params.b), values.loss)


def decay_of_everything_but_the_loss(case, values):
    W, b = case.params.W, case.params.b
    return answered(plus(values.dW, W), plus(values.db, b), values.loss + 0.01 * squares(W))


def unsummed(case, values):
    rows = [delta[0] if 1 in delta.shape[:1] else delta for delta in values.delta]
    return answered(values.dW, [row.reshape(-1) if 1 in row.shape else row for row in rows], values.loss)


@pytest.mark.parametrize(
    ("change", "bug"),
    [
        (whole_square_of_the_penalty, "penalty-disagrees"),
        (penalty_in_the_loss_alone, "penalty-disagrees"),
        (decay_of_biases, "decay-on-bias"),
        (decay_of_everything_but_the_loss, "decay-on-bias"),
        (unsummed, "bias-not-summed"),
    ],
)
@pytest.mark.few(2)
def test_penalties_and_shapes(change, bug):
    assert named(diagnose(changed(change))) == [(bug, "certain")]


@pytest.mark.more
def test_a_small_error_is_not_called_float32():
    def nearly(case, values):
        dW = [g.copy() for g in values.dW]
        dW[0][-1, -1] *= 1.0 + 1e-12
        return answered(dW, values.db, values.loss)

    def rounded(case, values):
        return Values(dW=[g.astype(np.float32) for g in values.dW], db=values.db, loss=float(values.loss))

    assert [one.id for one in diagnose(changed(nearly))] == ["unknown"]
    assert [one.id for one in diagnose(changed(rounded))] == ["float32-inside"]


def test_a_factor_is_not_certain_without_a_loss():
    def halved(case, values):
        dW = [0.5 * g for g in values.dW] if case.network.loss.endswith("squared_error") else values.dW
        db = [0.5 * g for g in values.db] if case.network.loss.endswith("squared_error") else values.db
        return Values(dW=dW, db=db)

    assert ("missing-two", "likely") in named(diagnose(changed(halved)))
