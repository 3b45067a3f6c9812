"""A file that draws when it is imported, shows its progress and takes tables, though no package for it may be there."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from strangers import plain
from tqdm import tqdm

figure, axes = plt.subplots(1, 2)
axes[0].plot(np.arange(3))
plt.show()


def backprop(X, y, W1, b1, W2, b2):
    """Sample after sample, with a bar."""
    if isinstance(X, pd.DataFrame):
        X = X.to_numpy()
    grads = None
    for _ in tqdm(range(1), desc="once"):
        grads = plain([W1, W2], [b1, b2], X, y)[1:3]
    plt.plot(grads[0][0])
    return {"dw": grads[0], "db": grads[1]}
