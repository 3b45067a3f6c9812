"""Ready-made experiments: a grid, what stays the same in it, and what to look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

from backprop_ref.report.charts import sweeps as charts_sweep

ENCODER = {"--dataset": "encoder", "--epochs": "10000", "--batch-size": "1"}


class Classic(NamedTuple):
    """A ready-made sweep; grid and flags can be overridden from the command line."""

    title: str
    words: str
    grid: dict[str, list[str]]
    flags: dict[str, Any]
    charts: Callable


CLASSICS = {
    "initial-weights": Classic(
        "Effect of the initial weights",
        "The same network and data from other random weights. How long learning takes, and which code the hidden "
        "neurons find, depends on where it starts: one run says little.",
        {"seed": ["1", "2", "3", "4", "5"]},
        ENCODER,
        charts_sweep.initial_weights,
    ),
    "learning-rates": Classic(
        "Effect of the learning rate",
        "Ten step sizes. Too small a step learns slowly; from some size on the loss grows instead of falling, "
        "and nothing is learnt.",
        {
            "learning_rate": ["0.003", "0.01", "0.03", "0.1", "0.3", "1", "3", "10", "30", "100"],
            "seed": ["1", "2", "3", "4", "5"],
        },
        ENCODER,
        charts_sweep.learning_rates,
    ),
    "losses": Classic(
        "Sigmoid with squared error against softmax with cross-entropy",
        "The losses themselves cannot be compared; the share of right answers can. With the squared error, delta holds "
        "the factor a·(1 − a), which is nearly 0 where a neuron is sure and wrong; with cross-entropy it cancels.",
        {"loss": ["sigmoid+sse", "softmax+ce"], "seed": ["1", "2", "3", "4", "5"]},
        ENCODER,
        charts_sweep.losses,
    ),
    "vanishing-gradients": Classic(
        "Vanishing gradients by depth and activation",
        "The size of dW in each layer, before any training. Each sigmoid layer multiplies what comes back by at most "
        "1/4, so that deep down hardly anything arrives; tanh and relu hand on more.",
        {
            "activation": ["sigmoid", "tanh", "relu"],
            "width": ["16", "16x16", "x".join(["16"] * 4), "x".join(["16"] * 8)],
            "seed": ["1", "2", "3", "4", "5"],
        },
        {"--dataset": "encoder", "--epochs": "200", "--batch-size": "1"},
        charts_sweep.vanishing_gradients,
    ),
}
