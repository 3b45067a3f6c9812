"""``ci/cuda.py`` finds what must not be in a compiled kernel."""

import importlib.util
from pathlib import Path

import pytest
from backprop_ref.kernels import cuda_source

from backprop_ref.formulas import UPDATES

ROOT = Path(__file__).resolve().parent.parent
ADVANCE = "Compiling entry function 'advance_v1'\n 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
LOG = ADVANCE + "Used 20 registers, used 0 barriers"
PTX = ".visible .entry advance_v1()\n\tmad.lo.s64 %r1, %r2, %r3, %r4;\n\tadd.rn.f64 %d1, %d2, %d3;\n"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("_cuda_under_test", ROOT / "ci/cuda.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems(check, ptx=PTX, log=LOG, failed=False, fast=False):
    return list(check.wrong(check.Compiled(ptx, log, failed), {"advance_v1"}, set() if fast else {"advance_v1"}))


def test_clean_kernels_pass(check):
    assert not problems(check)
    assert not problems(check, f"{PTX}\tadd.s64 %r1, %r2, %r3;\n\tneg.f64 %d1, %d2;\n\tsetp.lt.f64 %p1, %d1, %d2;\n")
    assert check.registers(LOG) == {"advance_v1": 20}


@pytest.mark.parametrize(
    "operation",
    [
        *("fma.rn.f64", "@%p1 fma.rn.f32", "mad.rn.f32", "@!%p1 add.f64", "mul.f32", "sub.f32"),
        *("mul.ftz.f32", "div.full.f32", "sqrt.approx.f32"),
    ],
)
def test_operations_that_round_otherwise_are_found(check, operation):
    assert problems(check, f"{PTX}\t{operation} %f1, %f2, %f3, %f4;\n") == [f"{operation.split()[-1]} in the PTX"]
    assert not problems(check, f"{PTX}\t{operation} %f1, %f2, %f3, %f4;\n", fast=True)


def test_warnings_spills_and_silence_are_found(check):
    assert problems(check, log=LOG + "\nreal.cuh(3): warning #177-D: declared but never referenced")
    assert problems(check, log=LOG.replace("0 bytes spill stores", "8 bytes spill stores")) == [
        "0 bytes of stack, 8 and 0 of spills"
    ]
    assert problems(check, log=LOG.replace("0 bytes stack", "16 bytes stack"))
    assert problems(check, log="") == ["the compiler tells nothing of advance_v1"]
    assert problems(check, failed=True) == ["does not compile"]
    assert problems(check, ptx="") == ["no PTX of advance_v1"]


def test_updates_have_to_round_under_fast_numerics_too(check):
    text = cuda_source.source("float64", fast=True)
    names, exact = check.kernels(text, fast=True)
    assert exact == {f"{rule}_v1" for rule in ("weight_decay", *UPDATES)}
    assert check.kernels(text, fast=False) == (names, names)


@pytest.mark.parametrize(
    ("product", "options", "operation"),
    [
        ("fma(rate.value, g_i[i].value, 0.0)", cuda_source.OPTIONS[False], "fma.rn.f64"),
        ("rate.value * g_i[i].value", (), "mul.f64"),
    ],
)
@pytest.mark.more
def test_a_planted_product_that_is_or_may_be_fused_is_found(check, product, options, operation):
    """By whichever CUDA compiler is here."""
    try:
        compiler = check.find_compiler()
    except SystemExit as error:
        pytest.skip(str(error))
    text = cuda_source.source("float64")
    planted = text.replace("rate * g_i[i];", f"real{{{product}}};", 1)
    assert planted != text
    compiled = compiler.compiled(planted, options, "80")
    assert any(operation in problem for problem in check.wrong(compiled, set(), {"sgd_v1"}))
