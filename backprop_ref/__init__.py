"""The reference implementation of backpropagation.

>>> import backprop_ref as br
>>> network = br.Network([2, 4, 1], activations=["sigmoid", "sigmoid"], loss="sum_squared_error")
>>> params = network.init(seed=1)
>>> loss, grads = br.value_and_grad(network, params, [[0.0, 1.0]], [[1.0]])
>>> grads.W[0].shape
(2, 4)
"""

from __future__ import annotations

from backprop_ref import starting  # noqa: F401 (before all others, as it says why)

# isort: split
from backprop_ref import import_path  # noqa: F401 (before all that Python has not imported by itself)

# isort: split
from typing import TYPE_CHECKING

import backprop_ref.report  # noqa: F401 (the folder comes first: its name is that of the function below)

# isort: split
from backprop_ref.api import evaluate, predict, trace, value_and_grad, vjp
from backprop_ref.backends import backends, get_backend
from backprop_ref.backends.base import BackendStatus, Trace
from backprop_ref.blocks.folder import open_folder
from backprop_ref.checking import verify
from backprop_ref.commands import compare, explain, explorer, gradcheck, report, reproduce, run, sweep
from backprop_ref.conformance.outcomes.outcome import Outcome
from backprop_ref.data.dataset import one_hot
from backprop_ref.data.named import load_dataset
from backprop_ref.data.tables import read_table
from backprop_ref.derivatives import (
    SampleGradients,
    gauss_newton,
    gradient_norms,
    hvp,
    input_gradients,
    jvp,
    per_sample_gradients,
)
from backprop_ref.dropout import dropout_masks
from backprop_ref.errors import BackendUnavailable, BackpropRefError, InvalidInput, TrainingDiverged
from backprop_ref.exchange.flax import from_flax, to_flax
from backprop_ref.exchange.formats import export, load
from backprop_ref.exchange.keras import from_keras, to_keras
from backprop_ref.exchange.onnx import from_onnx, to_onnx
from backprop_ref.exchange.sklearn import from_sklearn
from backprop_ref.exchange.torch import from_torch, to_torch
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model, save
from backprop_ref.network.own_activations import register_activation
from backprop_ref.notebook import live
from backprop_ref.optimizers import SGD, AdaGrad, Adam, AdamW, RMSprop
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.optimizers.schedules import Constant, Cosine, Step
from backprop_ref.parameters import Parameters
from backprop_ref.settings import use
from backprop_ref.training.checkpoint import load_state
from backprop_ref.training.rate_search import RateSearch, find_learning_rate
from backprop_ref.training.state import Epoch, Result, State
from backprop_ref.training.train import train
from backprop_ref.version import __version__

if TYPE_CHECKING:
    from backprop_ref.traces.recorder import Recorder

__all__ = [
    "LBFGS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BackendStatus",
    "BackendUnavailable",
    "BackpropRefError",
    "Constant",
    "Cosine",
    "Epoch",
    "InvalidInput",
    "Model",
    "Network",
    "Outcome",
    "Parameters",
    "RMSprop",
    "RateSearch",
    "Recorder",
    "Result",
    "SampleGradients",
    "State",
    "Step",
    "Trace",
    "TrainingDiverged",
    "__version__",
    "backends",
    "compare",
    "dropout_masks",
    "evaluate",
    "explain",
    "explorer",
    "export",
    "find_learning_rate",
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "gauss_newton",
    "get_backend",
    "gradcheck",
    "gradient_norms",
    "hvp",
    "input_gradients",
    "jvp",
    "live",
    "load",
    "load_dataset",
    "load_state",
    "one_hot",
    "open_folder",
    "per_sample_gradients",
    "predict",
    "read_table",
    "register_activation",
    "report",
    "reproduce",
    "run",
    "save",
    "sweep",
    "to_flax",
    "to_keras",
    "to_onnx",
    "to_torch",
    "trace",
    "train",
    "use",
    "value_and_grad",
    "verify",
    "vjp",
]


def __getattr__(name: str) -> type[Recorder]:
    """What is heavy to import comes when it is asked for."""
    if name != "Recorder":
        raise AttributeError(f"module 'backprop_ref' has no attribute '{name}'")
    from backprop_ref.traces.recorder import Recorder

    return Recorder
