"""What the checker finds in current releases of other libraries, measured again where they are installed.

``python ci/wild.py`` says of each: still there, gone, or not installed. The page is .docs/found-in-the-wild.md.
"""

import contextlib
import os
import sys
import warnings
from importlib import metadata

import numpy as np
import scipy.optimize

import backprop_ref as br

ABSENT = {"torch": "pip install torch", "keras": "pip install keras jax", "scikit-learn": "pip install scikit-learn"}


def several_outputs():
    """scikit-learn: MLPRegressor's gradient over the derivative of its loss, for several outputs."""
    from backprop_ref.conformance.examples.sklearn_mlp import step

    ratios, random = {}, np.random.default_rng(1)
    for n_out in (1, 2, 3, 5):
        network = br.Network([3, 4, n_out], ["tanh", "linear"], "mse")
        x, y, params = random.normal(size=(7, 3)), random.normal(size=(7, n_out)), network.init(seed=1)
        before = params.b[-1].copy()

        def told(shift, network=network, x=x, y=y, params=params):
            """Its loss with the first bias moved, and that bias after the step."""
            weights, biases = [W.copy() for W in params.W], [b.copy() for b in params.b]
            biases[-1][0] += shift
            return step(network, weights, biases, x, y, learning_rate=0.5), biases[-1][0]

        gradient = (before[0] - told(0.0)[1]) / 0.5
        derivative = (told(1e-4)[0] - told(-1e-4)[0]) / 2e-4
        ratios[n_out] = gradient / derivative
    text = ", ".join(f"{ratio:.6f} for {n_out}" for n_out, ratio in ratios.items())
    return abs(ratios[5] - 5.0) < 0.5, f"gradient over the derivative of its own loss, by number of outputs: {text}"


def clipped_loss():
    """scikit-learn: MLPClassifier's gradient and the derivative of its loss on unscaled wine; what lbfgs does."""
    from sklearn.datasets import load_wine
    from sklearn.neural_network import MLPClassifier

    x, labels = load_wine(return_X_y=True)
    y, network = br.one_hot(labels, 3), br.Network([13, 20, 3], ["relu", "softmax"], "ce")

    def begun(seed, rate=1e-300):
        """A classifier after one step of gradient descent."""
        how = {"solver": "sgd", "momentum": 0.0, "batch_size": len(x), "shuffle": False, "learning_rate_init": rate}
        model = MLPClassifier((20,), alpha=0.0, random_state=seed, **how)
        return model.partial_fit(x, labels, classes=np.unique(labels))

    def loss_with(model, bias):
        model.intercepts_[-1][0] = bias
        return model.partial_fit(x, labels).loss_

    first = begun(0)
    bias = float(first.intercepts_[-1][0])
    gradient = bias - float(begun(0, rate=1.0).intercepts_[-1][0])
    derivative = (loss_with(first, bias + 1e-4) - loss_with(first, bias - 1e-4)) / 2e-4
    rows = []
    for seed in range(3):
        theirs = MLPClassifier((20,), solver="lbfgs", alpha=0.0, max_iter=500, random_state=seed).fit(x, labels)
        start = br.Parameters.from_arrays(begun(seed).coefs_, begun(seed).intercepts_)

        def pair(flat, sizes=start.sizes):
            loss, grads = br.value_and_grad(network, br.Parameters(flat.copy(), sizes), x, y)
            return loss, grads.flat

        options = {"maxiter": 500, "maxfun": 15000, "gtol": 1e-4}
        found = scipy.optimize.minimize(pair, start.flat, jac=True, method="L-BFGS-B", options=options)
        a = br.predict(network, br.Parameters(found.x, start.sizes), x)
        right = float((a.argmax(axis=1) == labels).mean())
        rows.append(f"{theirs.n_iter_} ({theirs.score(x, labels):.2f}) and {found.nit} ({right:.2f})")
    text = f"first bias of the output at the start: gradient {gradient:.4f}, derivative of the loss {derivative:.4f}; "
    text += f"iterations (accuracy) of lbfgs, and of the same by the loss without clipping: {'; '.join(rows)}"
    return abs(gradient - derivative) > 1e-3, text


def flat_probabilities():
    """Keras: where the gradient of the default cross-entropies, which take probabilities, becomes 0."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    def binary(z):
        return keras.losses.BinaryCrossentropy()(np.zeros((1, 1), "float32"), keras.ops.sigmoid(z))

    def categorical(z):
        logits = jax.numpy.concatenate([z, jax.numpy.zeros((1, 1))], axis=1)
        return keras.losses.CategoricalCrossentropy()(np.array([[0.0, 1.0]], "float32"), keras.ops.softmax(logits))

    texts, zero = [], []
    for loss in (binary, categorical):
        sizes = {z: float(jax.grad(loss)(jax.numpy.full((1, 1), float(z)))[0, 0]) for z in range(1, 40)}
        first = next((z for z, size in sizes.items() if size == 0.0), None)
        zero.append(first)
        texts.append(f"{loss.__name__}: 0 from z = {first}" if first else f"{loss.__name__}: never 0 up to z = 39")
        texts[-1] += f", {sizes[15]:.3f} at z = 15"
    return any(zero), f"dLoss/dz where the label is the other class and 1 is right: {'; '.join(texts)}"


def overflowing_margin():
    """torch: soft_margin_loss in float32."""
    import torch

    found = {}
    for z in (-88.0, -89.0):
        x = torch.tensor([z], requires_grad=True)
        loss = torch.nn.functional.soft_margin_loss(x, torch.tensor([1.0]))
        loss.backward()
        found[z] = (loss.item(), x.grad.item())
    text = "; ".join(f"z = {z:g}: loss {loss:g}, gradient {slope:g}" for z, (loss, slope) in found.items())
    return not np.isfinite(found[-89.0][1]), f"label 1, float32, right are −z and −1: {text}"


FINDINGS = (
    ("scikit-learn", several_outputs),
    ("scikit-learn", clipped_loss),
    ("keras", flat_probabilities),
    ("torch", overflowing_margin),
)


def main():
    warnings.simplefilter("ignore")
    for library, measure in FINDINGS:
        title = measure.__doc__.partition(":")[2].strip()
        try:
            version = metadata.version(library)
            with contextlib.redirect_stderr(sys.stdout):
                there, text = measure()
        except (metadata.PackageNotFoundError, ImportError) as error:
            print(f"{library}: not installed ({ABSENT[library]}): {error}\n  {title}\n")
            continue
        print(f"{library} {version}: {'still there' if there else 'gone'}\n  {title}\n  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
