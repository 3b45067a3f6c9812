"""A trained network as one file of C99 that needs no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backprop_ref.exchange.program import Program
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.kernels.plain_code import C, c_number, functions, identifier
from backprop_ref.network.model_file import Model

IN_A_LINE = 4
GUARDS = """\
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__FAST_MATH__) || (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)
#error "each operation has to be rounded once: no -ffast-math, and SSE2 instead of x87"
#endif
"""
AFFINE = """\
/* z = a W + b, each sum from the bias on in order */
static void affine(const real *a, const real *W, const real *b, int n_in, int n_out, real *z)
{
    for (int j = 0; j < n_out; ++j) {
        z[j] = b[j];
        for (int k = 0; k < n_in; ++k) {
            const real product = a[k] * W[k * n_out + j];
            z[j] = z[j] + product;
        }
    }
}
"""
MAIN = """\
#ifdef {upper}_MAIN
#include <stdio.h>

/* a line of outputs for each line of {n} numbers on standard input{and_class} */
int main(void)
{{
    double features[{n}], outputs[{n_out}];
    for (long row = 1;; ++row) {{
        int read = 0, end = 0;
        while (read < {n} && scanf("%lf%*[, \\t\\r]", features + read) == 1)
            ++read;
        if (read == 0 && feof(stdin))
            return 0;
        if (read < {n} || ((end = getchar()) != '\\n' && end != EOF)) {{
            fprintf(stderr, "row %ld: {n} numbers are needed\\n", row);
            return 1;
        }}
        {name}_outputs(features, outputs);
        for (int j = 0; j < {n_out}; ++j)
            printf(j ? " %.17g" : "%.17g", outputs[j]);
{print_class}        printf("\\n");
    }}
}}
#endif
"""


def write(model: Model, path: Path) -> bytes:
    """The file's text."""
    return "\n".join(_parts(Program.of(model, path), path.name)).encode()


def _parts(program: Program, file: str) -> Iterator[str]:
    yield _comment(program, file)
    yield GUARDS
    yield f"typedef {'float' if program.dtype == 'float32' else 'double'} real;\n"
    yield functions(C, program.activations, program.dtype)
    yield AFFINE
    for layer, (W, b) in enumerate(zip(program.params.W, program.params.b, strict=True)):
        yield _array(f"W{layer}", "real", W, program.dtype) + _array(f"b{layer}", "real", b, program.dtype)
    yield _outputs(program)
    if program.classes:
        yield _class(program)
    sizes = {"n": program.n_features, "n_out": program.network.sizes[-1], "name": program.name}
    called = (
        f'        printf(" %s", {program.name}_classes[{program.name}_class(features)]);\n' if program.classes else ""
    )
    and_class = ", and its class" if called else ""
    yield MAIN.format(upper=program.name.upper(), and_class=and_class, print_class=called, **sizes)


def _comment(program: Program, file: str) -> str:
    name, n_out = program.name, program.network.sizes[-1]
    used = [
        "",
        f"    void {name}_outputs(const double features[{program.n_features}], double outputs[{n_out}]);",
        *([f"    int {name}_class(const double features[{program.n_features}]);"] if program.classes else []),
        *([f"    const char *const {name}_classes[{len(program.classes)}];"] if program.classes else []),
        "",
        f"Compile: cc -std=c99 -O2 -ffp-contract=off -c {file}",
        f"Try:     cc -std=c99 -O2 -ffp-contract=off -D{name.upper()}_MAIN {file} -o {name}",
    ]
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in (*program.header(), *used)) + " */\n"


def _array(name: str, kind: str, values: npt.ArrayLike, dtype: str) -> str:
    numbers = [c_number(float(value), dtype) for value in np.asarray(values).ravel()]
    lines = (", ".join(numbers[i : i + IN_A_LINE]) for i in range(0, len(numbers), IN_A_LINE))
    body = "".join(f"    {line},\n" for line in lines)
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{body}}};\n"


def _outputs(program: Program) -> str:
    """The function from features to outputs, with its constants."""
    network, preparation = program.network, program.preprocessing
    constants, lines = "", []
    row = max(network.sizes)
    lines.append(f"real a[{row}], z[{row}];")
    if preparation is None:
        lines += _loop(network.sizes[0], "a[j] = (real)features[j];")
    else:
        constants += _array("shift", "double", preparation.shift, "float64")
        constants += _array("scale_of", "double", preparation.scale, "float64")
        source = "features[j]"
        if preparation.fill:
            constants += _array("fill", "double", preparation.fill, "float64")
            source = "(features[j] != features[j] ? fill[j] : features[j])"
        lines += _loop(program.n_features, f"a[j] = (real)(({source} - shift[j]) / scale_of[j]);")
        for place, feature in enumerate(preparation.indicators, program.n_features):
            missing = f"(features[{feature}] != features[{feature}] ? 1.0 : 0.0)"
            lines.append(f"a[{place}] = (real)(({missing} - shift[{place}]) / scale_of[{place}]);")
    for layer, (name, n_in, n_out) in enumerate(_layers(program)):
        lines.append(f"affine(a, W{layer}, b{layer}, {n_in}, {n_out}, z);")
        if ACTIVATIONS[name].by_rows:
            lines.append(f"{identifier(name)}_of(z, a, {n_out});")
        else:
            lines += _loop(n_out, f"a[j] = {'z[j]' if name == 'linear' else f'{identifier(name)}_of(z[j])'};")
    n_out = network.sizes[-1]
    if preparation is None or preparation.classes is not None:
        lines += _loop(n_out, "outputs[j] = a[j];")
    elif preparation.targets:
        constants += _array("target_scale", "double", preparation.target_scale, "float64")
        constants += _array("target_shift", "double", preparation.target_shift, "float64")
        lines += _loop(n_out, "outputs[j] = a[j] * target_scale[j];")
        lines += _loop(n_out, "outputs[j] = outputs[j] + target_shift[j];")
    else:  # in the precision of the network, as there it is one number for all rows
        by, less = (C((), program.dtype).literal(value) for value in program.units)
        lines += [f"a[0] = a[0] * {by};", f"outputs[0] = a[0] + {less};"]
    arguments = f"const double features[{program.n_features}], double outputs[{n_out}]"
    body = "".join(f"    {line}\n" for line in lines)
    head = f"void {program.name}_outputs({arguments})"
    return f"{constants}\n{head};\n\n{head}\n{{\n{body}}}\n"


def _layers(program: Program) -> Iterable[tuple[str, int, int]]:
    return zip(program.network.activations, program.network.sizes[:-1], program.network.sizes[1:], strict=True)


def _loop(n: int, statement: str) -> list[str]:
    return [f"for (int j = 0; j < {n}; ++j)", f"    {statement}"]


def _class(program: Program) -> str:
    name, n_out, n = program.name, program.network.sizes[-1], program.n_features
    names = "".join(f"    {quoted(each)},\n" for each in program.classes)
    head = f"int {name}_class(const double features[{n}])"
    larger = (
        [f"return outputs[0] > {program.least!r};"]
        if n_out == 1
        else [
            "int best = 0;",
            f"for (int j = 1; j < {n_out}; ++j)",
            "    if (outputs[j] > outputs[best])",
            "        best = j;",
            "return best;",
        ]
    )
    lines = [f"double outputs[{n_out}];", f"{name}_outputs(features, outputs);", *larger]
    body = "".join(f"    {line}\n" for line in lines)
    declared = f"extern const char *const {name}_classes[{len(program.classes)}];"
    array = f"const char *const {name}_classes[{len(program.classes)}] = {{\n{names}}};"
    return f"{declared}\n{array}\n\n{head};\n\n{head}\n{{\n{body}}}\n"


def quoted(text: str) -> str:
    """A text in C's quotation marks; what is no plain letter as the octal number of its UTF-8 bytes."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
