"""The pictures of the learning part, drawn from what the package computes: SVG in the colours of the page around it."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

import backprop_ref as br
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.text import as_html

WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 560, 260, 52, 40, 14, 120
Line = tuple[str, Iterable[float], Iterable[float]]


def plot(
    across: str, up: str, lines: Sequence[Line], log: bool = False, marks: Sequence[tuple[float, float]] = ()
) -> str:
    """Lines over common axes, each named at its right end; `log` is of both axes."""
    scaled = [
        (name, *(np.log10(v) if log else np.asarray(v, float) for v in (list(x), list(y)))) for name, x, y in lines
    ]
    low = [min(float(line[axis].min()) for line in scaled) for axis in (1, 2)]
    high = [max(float(line[axis].max()) for line in scaled) for axis in (1, 2)]

    def at_x(x: float) -> float:
        return LEFT + (x - low[0]) / (high[0] - low[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - BELOW - (y - low[1]) / (high[1] - low[1]) * (HEIGHT - BELOW - ABOVE)

    def label(value: float) -> str:
        return f'10<tspan dy="-5" font-size="9">{value:.0f}</tspan>' if log else f"{value:g}".replace("-", "−")

    parts = []
    for value in ticks(low[0], high[0], log):
        parts.append(
            f'<line class="grid" x1="{at_x(value):.1f}" x2="{at_x(value):.1f}" y1="{ABOVE}" y2="{HEIGHT - BELOW}"/>'
        )
        parts.append(
            f'<text x="{at_x(value):.1f}" y="{HEIGHT - BELOW + 16}" text-anchor="middle">{label(value)}</text>'
        )
    for value in ticks(low[1], high[1], log):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(value):.1f}" y2="{at_y(value):.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 7}" y="{at_y(value) + 4:.1f}" text-anchor="end">{label(value)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{as_html(across)}</text>')
    turned = f'transform="translate(12 {(HEIGHT - BELOW + ABOVE) / 2}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{as_html(up)}</text>')
    ends = apart([at_y(float(line[2][-1])) for line in scaled])
    for number, ((name, x, y), end) in enumerate(zip(scaled, ends, strict=True)):
        points = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline class="line c{number}" points="{points}"/>')
        parts.append(
            f'<text class="c{number}" x="{at_x(float(x[-1])) + 6:.1f}" y="{end + 4:.1f}">{as_html(name)}</text>'
        )
    parts += [f'<circle class="c0" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4.5"/>' for x, y in marks]
    said = f"{up} over {across}: {', '.join(line[0] for line in lines)}"
    return svg(WIDTH, HEIGHT, parts, said)


def signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def svg(width: int, height: int, parts: Iterable[str], said: str) -> str:
    head = f'<svg class="drawn" viewBox="0 0 {width} {height}" role="img" aria-label="{as_html(said)}">'
    return "\n".join([head, *parts, "</svg>"])


def ticks(low: float, high: float, whole: bool) -> list[float]:
    """Some five round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 6)
    step = max(step, 1) if whole else step
    return [round(step * n, 12) for n in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def apart(heights: Sequence[float], least: float = 14) -> list[float]:
    """The same heights, moved down where they are nearer to one another than a line of text."""
    moved, last = {}, -math.inf
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        moved[place] = last = max(heights[place], last + least)
    return [moved[place] for place in range(len(heights))]


def one_neuron() -> str:
    """The loss over one weight, and its slope where that weight is."""
    network = br.Network([1, 1], ["sigmoid"], "sum_squared_error")

    def at(weight: float) -> tuple[float, float]:
        loss, grads = br.value_and_grad(network, br.Parameters.from_arrays([[[weight]]], [[0.0]]), [[2.0]], [[1.0]])
        return loss, float(grads.W[0][0, 0])

    weights = np.linspace(-2, 2, 81)
    height, slope = at(-0.5)
    near = np.array([0.3, -1.3])
    lines = [("loss", weights, [at(w)[0] for w in weights]), ("slope dW", near, height + slope * (near + 0.5))]
    return plot("weight w", "loss", lines, marks=[(-0.5, height)])


def activation(name: str) -> str:
    """An activation and its derivative, as the backend computes them."""
    z = np.linspace(-4, 4, 160)  # through no kink
    network = br.Network([1, 1], [name], "sum_squared_error")
    params = br.Parameters.from_arrays([[[1.0]]], [[0.0]])
    a = br.predict(network, params, z[:, None])[:, 0]
    slope = br.jvp(network, params, z[:, None], br.Parameters.from_arrays([[[0.0]]], [[1.0]]))[:, 0]
    return plot("z", "a", [("a", z, a), ("da/dz", z, slope)])


def passes() -> str:
    """What goes forward and what comes back in a small network: a in each neuron, and delta beneath it."""
    network = br.Network([2, 3, 1], ["sigmoid", "sigmoid"], "sum_squared_error")
    seen = br.trace(network, network.init(seed=1), [[1.0, 0.0]], [[1.0]])
    layers = [[1.0, 0.0], *(list(a[0]) for a in seen.a)]
    columns = [70, 265, 460]
    parts, places = [], []
    for x, values in zip(columns, layers, strict=True):
        places.append([(x, 130 + 84 * (n - (len(values) - 1) / 2)) for n in range(len(values))])
    for left, right in zip(places, places[1:], strict=False):
        parts += [f'<line class="edge" x1="{a}" y1="{b}" x2="{c}" y2="{d}"/>' for a, b in left for c, d in right]
    for layer, (values, where) in enumerate(zip(layers, places, strict=True)):
        for n, (value, (x, y)) in enumerate(zip(values, where, strict=True)):
            parts.append(f'<circle class="node" cx="{x}" cy="{y}" r="33"/>')
            under = (
                f'<tspan class="c1" x="{x}" dy="16">δ {signed(seen.delta[layer - 1][0][n])}</tspan>' if layer else ""
            )
            name = "a" if layer else "x"
            text = f'<tspan x="{x}">{name} {value:.3g}</tspan>{under}'
            parts.append(f'<text text-anchor="middle" x="{x}" y="{y - 3 if layer else y + 4}">{text}</text>')
    return svg(WIDTH, 260, parts, "a network 2-3-1 with the activation and the error of each neuron")


def differences() -> str:
    """How wrong central differences are, over their step."""
    network = br.Network([2, 3, 1], ["tanh", "linear"], "mean_squared_error")
    params = network.init(seed=1)
    x, y = [[0.5, -1.0], [1.0, 2.0]], [[1.0], [0.0]]
    right = float(br.value_and_grad(network, params, x, y)[1].W[0][0, 0])
    steps = 10.0 ** np.arange(-12, 0.25, 0.25)

    def moved(by: float) -> float:
        weights = [np.array(W) for W in params.W]
        weights[0][0, 0] += by
        return br.value_and_grad(network, br.Parameters.from_arrays(weights, params.b), x, y)[0]

    errors = [max(abs((moved(h) - moved(-h)) / (2 * h) / right - 1), 1e-16) for h in steps]
    return plot("step h", "relative error", [("differences", steps, errors)], log=True)


def still_learning() -> str:
    """XOR learnt by the right gradient, by one without the mean, and by one without the derivative of the output."""
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    network = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sum_squared_error")

    def losses(error: Callable[[np.ndarray], np.ndarray]) -> list[float]:
        params = network.init(seed=1, scheme="xavier")
        (V, W), (c, b) = ([np.array(each) for each in part] for part in (params.W, params.b))
        found = []
        for _ in range(1200):
            a = 1 / (1 + np.exp(-(x @ V + c)))
            out = 1 / (1 + np.exp(-(a @ W + b)))
            found.append(float(((out - y) ** 2).sum() / 4))
            delta = error(out)
            back = delta @ W.T * a * (1 - a)
            V, W = V - 0.8 * x.T @ back, W - 0.8 * a.T @ delta
            c, b = c - 0.8 * back.sum(axis=0), b - 0.8 * delta.sum(axis=0)
        return found[::10]

    steps = np.arange(0, 1200, 10)
    lines = [
        ("right", steps, losses(lambda out: 2 * (out - y) * out * (1 - out) / 4)),
        ("no mean", steps, losses(lambda out: 2 * (out - y) * out * (1 - out))),
        ("no slope at output", steps, losses(lambda out: 2 * (out - y) / 4)),
    ]
    return plot("steps", "loss", lines)


FIGURES: dict[str, Callable[[], str]] = {
    "one-neuron": one_neuron,
    "sigmoid": lambda: activation("sigmoid"),
    "passes": passes,
    "differences": differences,
    "still-learning": still_learning,
}
ACTIVATION_FIGURES = {name: rule for name, rule in ACTIVATIONS.items() if not rule.by_rows}
