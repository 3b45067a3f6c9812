"""A trained network as one JavaScript module that needs no library, for a browser or node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backprop_ref.exchange.program import Program
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.kernels.plain_code import JavaScript, functions, identifier, number
from backprop_ref.network.model_file import Model

IN_A_LINE = 6
EACH = """\
// a function of one neuron, of each of a layer
const each = (f) => (z_j, a_j, n_out) => {
  for (let j = 0; j < n_out; ++j) a_j[j] = f(z_j[j]);
};
"""
OUTPUTS = """\
// The outputs for one row of features.
export function outputs(features) {{
  if (features.length !== {n}) throw new RangeError(`{n} features are needed, not ${{features.length}}`);
  let a = {first};
  for (const {{ W, b, by }} of layers) {{
    const n_out = b.length;
    const z_j = b.map((z, j) => {{
      for (let k = 0; k < a.length; ++k) z = {added};
      return z;
    }});
    const a_j = new Array(n_out);
    by(z_j, a_j, n_out);
    a = a_j;
  }}
  return {last};
}}
"""
BEST = """\
// The name of the class of one row of features.
export function predict(features) {{
  const a = outputs(features);
  return classes[{best}];
}}
"""


def write(model: Model, path: Path) -> bytes:
    """The file's text."""
    return "\n".join(_parts(Program.of(model, path), path.name)).encode()


def _parts(program: Program, file: str) -> Iterator[str]:
    shown = ", ".join([*["0"] * min(3, program.n_features), *["…"] * (program.n_features > 3)])
    names = "outputs, predict" if program.classes else "outputs"
    usage = [*program.header(), "", f'    import {{ {names} }} from "./{file}";', f"    outputs([{shown}]);"]
    usage += [f"    predict([{shown}]);  // the name of a class"] if program.classes else []
    yield "".join(f"// {line}".rstrip() + "\n" for line in usage)
    if program.dtype == "float32":
        yield "const fround = Math.fround;\n"
    yield functions(JavaScript, program.activations, program.dtype)
    yield EACH
    layers = zip(program.params.W, program.params.b, program.network.activations, strict=True)
    yield "const layers = [\n" + "".join(_layer(W, b, name) for W, b, name in layers) + "];\n"
    yield _outputs(program)
    if program.classes:
        best = "a.reduce((best, x, j) => (x > a[best] ? j : best), 0)"
        best = f"a[0] > {number(program.least)} ? 1 : 0" if program.network.sizes[-1] == 1 else best
        yield f"export const classes = {json.dumps(program.classes)};\n"
        yield BEST.format(best=best)


def _layer(W: npt.ArrayLike, b: npt.ArrayLike, name: str) -> str:
    by = identifier(name) if ACTIVATIONS[name].by_rows else f"each({identifier(name)})"
    by = "each((z) => z)" if name == "linear" else by
    return f"  {{\n    by: {by},\n    W: {_array(W, 4)},\n    b: {_array(b, 4)},\n  }},\n"


def _array(values: npt.ArrayLike, before: int = 0) -> str:
    numbers = [number(float(value)) for value in np.asarray(values).ravel()]
    lines = (", ".join(numbers[i : i + IN_A_LINE]) for i in range(0, len(numbers), IN_A_LINE))
    return "[\n" + "".join(f"{' ' * before}  {line},\n" for line in lines) + f"{' ' * before}]"


def _outputs(program: Program) -> str:
    """The function from features to outputs, after its constants."""
    preparation, single = program.preprocessing, program.dtype == "float32"
    constants: dict[str, str] = {}

    def rounded(text: str) -> str:
        return f"fround({text})" if single else text

    first, last = f"Array.from(features, {'fround' if single else 'Number'})", "a"
    if preparation is not None:
        constants |= {"shift": _array(preparation.shift), "scale_of": _array(preparation.scale)}
        first = "Array.from(features, Number)"
        if preparation.fill:
            constants |= {"fill": _array(preparation.fill), "indicators": f"{[*preparation.indicators]}"}
            told = "indicators.map((i) => (Number.isNaN(Number(features[i])) ? 1 : 0))"
            first += f".map((x, j) => (Number.isNaN(x) ? fill[j] : x)).concat({told})"
        first += f".map((x, j) => {rounded('(x - shift[j]) / scale_of[j]')})"
        if preparation.targets:
            constants["target_scale"] = _array(preparation.target_scale)
            constants["target_shift"] = _array(preparation.target_shift)
            last = "a.map((y, j) => y * target_scale[j] + target_shift[j])"
        elif preparation.classes is None:  # in the precision of the network
            by, less = (JavaScript((), program.dtype).literal(value) for value in program.units)
            scaled = rounded(f"a[0] * {by}")
            last = f"[{rounded(f'{scaled} + {less}')}]"
    product = rounded("a[k] * W[k * n_out + j]")
    text = OUTPUTS.format(n=program.n_features, first=first, added=rounded(f"z + {product}"), last=last)
    return "\n".join([*(f"const {name} = {value};\n" for name, value in constants.items()), text])
