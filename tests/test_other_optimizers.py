"""Optimizers against those of torch and scikit-learn: equal settings, equal weights at first, samples as they come."""

import warnings

import numpy as np
import pytest
from helpers import parameters, samples

import backprop_ref as br

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "cross_entropy")
EPOCHS, BATCH = 5, 5
CLOSE = 1e-12
"""Of each tensor's largest entry: two hundred roundings and more on the way are 1e-14 or so."""

TORCH = {
    "sgd": (br.SGD(0.1), "SGD", {}),
    "momentum": (br.SGD(0.1, 0.9), "SGD", {"momentum": 0.9}),
    "nesterov": (br.SGD(0.1, 0.9, True), "SGD", {"momentum": 0.9, "nesterov": True}),
    "l2": (br.SGD(0.1, 0.9, weight_decay=0.01), "SGD", {"momentum": 0.9, "weight_decay": 0.01}),
    "adam": (br.Adam(0.01), "Adam", {"betas": (0.9, 0.999), "eps": 1e-8}),
    "adam l2": (br.Adam(0.01, weight_decay=0.1), "Adam", {"weight_decay": 0.1}),
    "adamw": (br.AdamW(0.01, weight_decay=0.1), "AdamW", {"weight_decay": 0.1}),
    "rmsprop": (br.RMSprop(0.01, rho=0.8), "RMSprop", {"alpha": 0.8, "eps": 1e-8}),
    "rmsprop l2": (br.RMSprop(0.01, weight_decay=0.1), "RMSprop", {"alpha": 0.9, "weight_decay": 0.1}),
    "elastic net": (br.SGD(0.1, 0.9, weight_decay=0.01, l1=0.02), "SGD", {"momentum": 0.9, "weight_decay": 0.01}),
    "clip_value": (br.Adam(0.01, clip_value=0.02), "Adam", {}),
    "adagrad": (br.AdaGrad(0.1, epsilon=1e-10), "Adagrad", {"eps": 1e-10}),
}
SKLEARN = {
    "sgd": (br.SGD(0.1), {"solver": "sgd", "momentum": 0.0}),
    "momentum": (br.SGD(0.1, 0.9), {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False}),
    "nesterov": (br.SGD(0.1, 0.9, True), {"solver": "sgd", "momentum": 0.9}),
    "l2": (br.SGD(0.1, l2=0.1), {"solver": "sgd", "momentum": 0.0, "alpha": 0.1}),
    "adam": (br.Adam(0.01, epsilon=1e-4, epsilon_hat=True), {"solver": "adam", "epsilon": 1e-4}),
    "adam l2": (br.Adam(0.01, epsilon_hat=True, weight_decay=0.1 / BATCH), {"solver": "adam", "alpha": 0.1}),
}


def ours(optimizer, x, y):
    trained = br.train(
        NETWORK, parameters(NETWORK), x, y, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, shuffle=False
    ).params
    return [*trained.W, *trained.b]


def assert_close(found, wanted):
    apart = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, wanted, strict=True)]
    assert max(apart) <= CLOSE, apart


@pytest.mark.parametrize("name", TORCH)
def test_torch_comes_to_the_same_weights(name):
    """Its biases are in a group that does not decay."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    optimizer, kind, settings = TORCH[name]
    x, y = samples(NETWORK, 13)
    start = parameters(NETWORK)
    W, b = ([torch.tensor(each, requires_grad=True) for each in arrays] for arrays in (start.W, start.b))
    groups = [{"params": W}, {"params": b, "weight_decay": 0.0}]
    theirs = getattr(torch.optim, kind)(groups, lr=optimizer.learning_rate, **settings)
    for _ in range(EPOCHS):
        for rows in (slice(at, at + BATCH) for at in range(0, len(x), BATCH)):
            theirs.zero_grad()
            a = torch.tanh(torch.tensor(x[rows]) @ W[0] + b[0])
            terms = torch.tensor(y[rows]) * torch.log_softmax(a @ W[1] + b[1], dim=1)
            loss = -terms.sum() / len(terms)
            for each in W:
                loss = loss + optimizer.l1 * each.abs().sum()
            loss.backward()
            if optimizer.clip_value:
                torch.nn.utils.clip_grad_value_([*W, *b], optimizer.clip_value)
            theirs.step()
    assert_close(ours(optimizer, x, y), [each.detach().numpy() for each in (*W, *b)])


@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learn_comes_to_the_same_weights(name):
    """Its alpha is divided by the samples of a batch; its ε is added before the bias correction."""
    from sklearn.neural_network import MLPClassifier

    optimizer, settings = SKLEARN[name]
    x, labels = samples(NETWORK, 3 * BATCH)[0], np.arange(3 * BATCH) % 4
    theirs = MLPClassifier(
        *((5,), "tanh"),
        **{"alpha": 0.0, **settings},
        batch_size=BATCH,
        learning_rate_init=optimizer.learning_rate,
        max_iter=EPOCHS,
        shuffle=False,
        warm_start=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that so few epochs are not enough
        theirs.fit(x, labels)
        start = parameters(NETWORK)
        theirs.coefs_, theirs.intercepts_ = ([each.copy() for each in arrays] for arrays in (start.W, start.b))
        theirs.fit(x, labels)
    assert theirs.n_iter_ == EPOCHS
    assert_close(ours(optimizer, x, br.one_hot(labels)), [*theirs.coefs_, *theirs.intercepts_])
