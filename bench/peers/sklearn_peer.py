"""scikit-learn's MLPClassifier and its own training loop."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from backprop_ref.backends.numpy import blas_threads
from backprop_ref.benchmarks.check import LeftOut
from peers import Peer

ACTIVATION = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


class ScikitLearn(Peer):
    """Its `fit` for so many epochs, from our parameters."""

    extra = "adds a weight decay of 0, clips log-probabilities, measures progress each epoch, checks data each fit"

    def __init__(self, task):
        network = task.network
        if not network.loss.endswith("cross_entropy"):
            raise LeftOut("scikit-learn has no squared error of a sigmoid output")
        y = task.data[1]
        self.labels = y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0].astype(int)
        self.model = MLPClassifier(
            network.sizes[1:-1],
            activation=ACTIVATION[network.activations[0]],
            solver="sgd",
            alpha=0.0,
            batch_size=task.batch,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
            warm_start=True,
            tol=0.0,
            random_state=1,
            max_iter=1,
        )
        self.model.n_iter_no_change = 10**9
        self.task = task
        with self.scope():
            self._fit()
        super().__init__(task)

    def scope(self):
        return blas_threads(self.task.threads)

    def restart(self, learning_rate):
        self.model.learning_rate_init = learning_rate
        self.model.coefs_ = [W.copy() for W in self.task.params.W]
        self.model.intercepts_ = [b.copy() for b in self.task.params.b]

    def run(self, epochs):
        self.model.max_iter = epochs
        self._fit()

    def first_step(self, learning_rate):
        self.restart(learning_rate)
        del self.model._optimizer
        with self.scope():  # which, unlike `fit`, takes a batch that lacks a class
            self.model.partial_fit(self.task.first_batch[0], self.labels[: self.task.batch])
        return self.parameters()

    def parameters(self):
        return self.from_arrays(self.model.coefs_, self.model.intercepts_)

    def _fit(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.task.data[0], self.labels)
