"""The CUDA C kernels of ``cuda/`` and of the table of formulas as one text for one dtype, with the constants of
``elementary.py``.

Whoever compiles the text (NVRTC on the user's machine, nvcc or NVRTC in the checks, a C++ compiler for the emulation
in the tests) is to pass the `OPTIONS` or their like.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import cuda_rules
from .elementary import CONSTANTS, FORMAT

OPTIONS: dict[bool, tuple[str, ...]] = {
    True: (),
    False: ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"),
}
"""For the compiler, by whether the kernels are the fast ones: else nothing is fused, nothing flushed to zero."""

THREADS = 256
"""In every block: each kernel is launched with so many."""

TILE = 16
"""Rows and columns of what a block of a tiled product computes; TILE² = THREADS."""

_FOLDER = Path(__file__).parent / "cuda"
_FILES = ("real.cuh", "elementary.cuh", "affine.cu", "sums.cu", "batches.cu")
_TYPES = {  # REAL, BITS, prefix of the intrinsics, and how to see a number's bits
    "float64": ("double", "unsigned long long", "d", "__double_as_longlong", "__longlong_as_double"),
    "float32": ("float", "unsigned int", "f", "__float_as_int", "__int_as_float"),
}
_SINGLE = (
    *("log2_e", "ln2_hi", "ln2_lo", "exp_top", "exp_bottom", "lift", "above"),
    *("sqrt2", "below", "log1p_middle", "log1p_reach", "flat", "tanh_seam", "tiny", "magic"),
    *("digits", "coarse", "erf_seam", "erf_edge", "erf_m", "erf_hi", "erf_lo", "erf_top"),
)
_POLYNOMIALS = ("exp", "log", "tanh", "erf", "erf_middle", "erfc")
_KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')


class Parameter(NamedTuple):
    """One parameter of a kernel: ``const real* W_kj`` is a pointer to real numbers that are only read.

    A ``rounded`` is a real number of the same size.
    """

    kind: str
    """real or integer."""
    pointer: bool
    constant: bool
    name: str


@cache
def source(dtype: str, fast: bool = False) -> str:
    """The kernels' text; `fast`: products and sums may be fused, exp, log and the like are the library's."""
    real, *files = (f'#line 1 "{name}"\n{(_FOLDER / name).read_text(encoding="utf-8")}' for name in _FILES)
    rules = f'#line 1 "rules.cu"\n{cuda_rules.source()}'
    fast_or_not = "#define FAST" if fast else ""
    return "\n".join([constants(dtype), fast_or_not, real, *polynomials(dtype, fast), *files, rules])


def constants(dtype: str) -> str:
    """Types, sizes, and the single constants of ``elementary.py``, as macros."""
    real, bits, prefix, to_bits, from_bits = _TYPES[dtype]
    field, bias, _ = FORMAT[dtype]
    infinite = int(np.array(np.inf, dtype).view(f"uint{8 * np.dtype(dtype).itemsize}"))
    macros = {
        "REAL": real,
        "BITS": bits,
        "ROUNDED(operation)": f"__{prefix}##operation##_rn",
        "TO_BITS": to_bits,
        "FROM_BITS": from_bits,
        "FIELD": field,
        "BIAS": bias,
        "IMPLICIT": f"real{{{(2.0**field + bias).hex()}}}",
        "INFINITE": f"{infinite:#x}u" if dtype == "float32" else f"{infinite:#x}ull",
        "NOT_A_NUMBER": f"(INFINITE | (BITS)1 << {field - 1})",
        "THREADS": THREADS,
        "TILE": TILE,
    }
    macros |= {name.upper(): f"real{{{CONSTANTS[dtype][name]}}}" for name in _SINGLE}
    return "".join(f"#define {name} {value}\n" for name, value in macros.items())


def polynomials(dtype: str, fast: bool) -> Iterator[str]:
    """The polynomials of ``elementary.py`` as arrays, lowest power first; the library's functions need none."""
    for name in () if fast else _POLYNOMIALS:
        yield f"__constant__ real {name.upper()}[] = {{{', '.join(CONSTANTS[dtype][name].split())}}};"


def kernels(text: str) -> dict[str, list[Parameter]]:
    """The kernels of a source text: name -> its `Parameter` list."""
    return {name: [_parameter(each) for each in listed.split(",")] for name, listed in _KERNEL.findall(text)}


def _parameter(text: str) -> Parameter:
    *qualifiers, name = text.replace("*", " * ").split()
    kind = "integer" if "integer" in qualifiers else "real"
    return Parameter(kind, "*" in qualifiers, "const" in qualifiers, name)
