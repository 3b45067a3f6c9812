"""The per-neuron loops: the order they promise, one source for Python and Numba, threads, and what is compiled."""

import inspect
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from backprop_ref.kernels import elementary, neuron_loops, scalars
from backprop_ref.kernels.compiling import compiled, linked
from helpers import more

import backprop_ref as br
from backprop_ref import formulas
from backprop_ref.backends.numba import loops

each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
LOOPS = neuron_loops.plain("float64")


@pytest.fixture(params=["python", "numba"])
def backend(request):
    return br.get_backend(request.param, "reproducible", threads=1)


@each_dtype
def test_sums_are_in_order(backend, dtype):
    """With h half the distance from 1 to the next number: 1 + h + h = 1, and h + h + 1 is above 1."""
    h = np.finfo(dtype).eps / 2
    up, down = np.array([[1.0, h, h]], dtype), np.array([[h, h, 1.0]], dtype)
    one = np.ones((3, 1), dtype)
    zero = np.zeros(1, dtype)
    assert backend.affine_forward(up, one, zero) == 1.0
    assert backend.affine_forward(down, one, zero) > 1.0
    assert backend.affine_forward(up[:, 1:], one[1:], np.ones(1, dtype)) == 1.0  # it starts at b
    for row, above in ((up, False), (down, True)):
        (dW,), (db,) = backend.affine_backward(row.T.copy(), one)
        assert (dW > 1.0, db > 1.0) == (above, above)
        assert (backend.affine_backward_input(row, one.T.copy()) > 1.0) == above
        y = np.sqrt(row)
        total = backend.loss_forward("sum_squared_error", "linear", y, y, 0.0 * y)
        squares = y * y
        assert total == (squares[0, 0] + squares[0, 1]) + squares[0, 2]


@each_dtype
def test_sums_start_at_plus_zero(backend, dtype):
    minus = np.array([[-0.0]], dtype)
    one = np.ones((1, 1), dtype)
    for made in (*backend.affine_backward(minus, one), backend.affine_backward_input(minus, one)):
        assert not np.signbit(made).any()
    assert np.signbit(backend.affine_forward(minus, one, minus[0])).all()  # -0 + -0 * 1, from b
    assert not np.signbit(backend.activation_forward("relu", minus)).any()


@each_dtype
def test_products_are_rounded_before_they_are_added(backend, dtype):
    """(1 + h)(1 - h) = 1 - h^2 rounds to 1, so 1 is left of it less 0; fused, -h^2 would remain."""
    h = np.finfo(dtype).eps
    a, W, b = (np.full(shape, value, dtype) for shape, value in (((1, 1), 1 + h), ((1, 1), 1 - h), ((1,), -1)))
    assert backend.affine_forward(a, W, b) == 0.0


def test_numba_compiles_the_very_functions():
    """All but the loops of rules over rows, which are cut into passes."""
    compiled, tables = loops("float64"), formulas.ACTIVATIONS | formulas.TERMS
    over_rows = {f"{name}_{half}" for name, rule in tables.items() if rule.by_rows for half in ("forward", "backward")}
    plain = {name: function for name, function in LOOPS.items() if "(" not in name}
    assert {*plain} == {name for name in compiled if "(" not in name}
    for name, function in plain.items():
        assert (compiled[name].py_func.__code__ is function.__code__) == (name not in over_rows)
    assert {f"{name}_{half}" for name in br.network.ACTIVATIONS for half in ("forward", "backward")} < set(LOOPS)


def arguments(name, dtype):
    """Numba types for a loop's arguments, by their names."""
    real = getattr(numba.types, dtype)
    kinds = {"n": real, "loss": numba.types.Array(real, 0, "C"), "b": real[::1], "db": real[::1], "w": real[::1]}
    return tuple(kinds.get(argument, real[:, ::1]) for argument in inspect.signature(LOOPS[name]).parameters)


def test_what_is_linked_into_other_code_refuses_python():
    @linked
    def inner(x):
        return x + 1.0

    def outer(x):
        return inner(x)

    assert compiled(outer, cache=False)(2.0) == 3.0
    with pytest.raises(TypeError):
        inner(2.0)


@pytest.mark.parametrize(("dtype", "first"), [("float64", 0), ("float32", 1), more("float64", 1), more("float32", 0)])
@pytest.mark.more
def test_compiled_code_stays_in_its_dtype_and_fuses_nothing(dtype, first):
    """No float64 in float32 code, no fast-math flag, no fused multiply-add: by type, by LLVM and by instruction.

    Of every second loop, from the first or the second on.
    """
    other, word = {"float64": ("float32", " float "), "float32": ("float64", " double ")}[dtype]
    for name in itertools.islice(LOOPS, first, None, 2):
        dispatcher = loops(dtype, cache=False)[name]
        dispatcher.compile(arguments(name, dtype))
        (made,) = dispatcher.overloads.values()
        types = {str(kind) for kind in made.type_annotation.typemap.values()}
        assert not [kind for kind in types if other in kind or "complex" in kind], name
        (text,) = dispatcher.inspect_llvm().values()
        text = "".join(part for part in text.split("\ndefine ") if "cpython" not in part.partition("(")[0])
        assert dispatcher.py_func.__qualname__ in text
        assert word not in text, name
        assert not any(flag in text for flag in (" fast ", "reassoc", "contract", "llvm.fma", "llvm.fmuladd")), name
        (assembly,) = dispatcher.inspect_asm().values()
        assert not any(fused in assembly for fused in ("vfmadd", "vfnmadd", "vfmsub", "fmadd", "fmla")), name


# Threads.


def large(dtype="float64"):
    """A layer that is large enough for threads, and what numpy makes of it."""
    rng = np.random.Generator(np.random.PCG64(1))
    a, W, delta = (rng.random(shape).astype(dtype) - 0.5 for shape in ((65, 130), (130, 67), (65, 67)))
    return a, W, W[0].copy(), delta


def pairs(backend, a, W, b, delta):
    with backend.scope():
        z, da = backend.affine_forward(a, W, b), backend.affine_backward_input(delta, W)
        return [array.tobytes() for array in (z, *backend.affine_backward(delta, a), da)]


needs_two = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba was started with one thread")


@needs_two
@each_dtype
def test_one_and_two_threads_give_the_same_bits(dtype):
    expected = pairs(br.get_backend("numpy", "reproducible"), *large(dtype))
    for threads in (1, 2, None):
        assert pairs(br.get_backend("numba", "reproducible", threads=threads), *large(dtype)) == expected


@needs_two
def test_large_layers_alone_use_threads(monkeypatch):
    module = sys.modules["backprop_ref.backends.numba"]
    asked = []
    monkeypatch.setattr(module, "loops", lambda dtype, shared=False: asked.append(shared) or loops(dtype, shared))
    for threads, shared in ((1, False), (2, True)):
        asked.clear()
        pairs(br.get_backend("numba", "reproducible", threads=threads), *large())
        assert asked == [shared] * 3
    asked.clear()
    pairs(br.get_backend("numba", threads=2), *(array[:5, :5] for array in large()[:2]), np.ones(5), np.ones((5, 5)))
    assert asked == [False] * 3


@needs_two
def test_the_number_of_threads_is_restored():
    before = numba.get_num_threads()
    for threads in (2, 1):
        with br.get_backend("numba", threads=threads).scope():
            pass
        assert numba.get_num_threads() == before


def test_more_threads_than_numba_has_are_refused():
    most = numba.config.NUMBA_NUM_THREADS
    with pytest.raises(br.InvalidInput, match=f"cannot use {most + 1} threads: Numba was started with {most};"):
        br.get_backend("numba", threads=most + 1)


@pytest.mark.parametrize("name", ["numba", "python"])
def test_another_device_is_refused(name):
    with pytest.raises(br.InvalidInput, match=f"backend {name} has no device 'cuda': its only device is cpu"):
        br.get_backend(name, device="cuda")


def test_an_unknown_activation_is_refused(backend):
    with pytest.raises(br.InvalidInput, match="unknown activation 'sigmund': did you mean 'sigmoid'"):
        backend.activation_forward("sigmund", np.ones((1, 1)))


TOGETHER = """
import sys, threading, test_neuron_loops as t, backprop_ref as br
backend = br.get_backend("numba", "reproducible", threads=2)
expected = t.pairs(br.get_backend("numpy", "reproducible"), *t.large())
wrong = []
def work():
    for _ in range(30):
        if t.pairs(backend, *t.large()) != expected:
            wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(wrong))
"""


def fresh(code, **variables):
    """What a fresh Python prints, with these environment variables."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_several_threads_at_once_are_safe():
    """Numba's own pool ends the process when it is entered twice."""
    assert fresh(TOGETHER, NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER="workqueue") == "0"


# What is kept on disk.

STEP = """
import backprop_ref as br, numpy as np
from backprop_ref.backends.numba import loops
from backprop_ref.kernels import scalars
network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
params = network.init(seed=1)
br.value_and_grad(network, params, np.ones((4, 2)), np.ones((4, 1)), backend="numba", numerics="reproducible")
everything = [*loops("float64").values(), *scalars.functions("float64")]
count = lambda name: sum(sum(getattr(f.stats, name).values()) for f in everything if hasattr(f, "stats"))
print(count("cache_hits"), count("cache_misses"), sum(len(f.overloads) for f in everything if hasattr(f, "overloads")))
"""


@pytest.mark.more
def test_a_second_process_compiles_nothing(tmp_path):
    """Every function it runs is loaded; and the inner ones, kept as parts of these, are not even looked at."""
    first, second = (fresh(STEP, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert int(first[1]) > 5
    hits, misses, overloads = map(int, second)
    assert misses == 0
    assert hits == overloads > 5


SQUARE = """
from backprop_ref.kernels.compiling import compiled

function = compiled(lambda x: x * x)
print(function(3.0), sum(function.stats.cache_hits.values()))
"""


@pytest.mark.parametrize("damage", [b"", b"damaged", bytes(100)], ids=["empty", "text", "zeros"])
@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.more
def test_a_damaged_file_is_written_anew(kind, damage, tmp_path):
    program = tmp_path / "square.py"
    program.write_text(SQUARE)

    def found():
        return fresh(f"import runpy; runpy.run_path({str(program)!r})", NUMBA_CACHE_DIR=str(tmp_path)).split()

    assert found() == ["9.0", "0"]
    (file,) = tmp_path.rglob(kind)
    file.write_bytes(damage)
    assert found() == ["9.0", "0"]
    assert found() == ["9.0", "1"]


def test_where_nothing_can_be_stored_it_is_compiled_all_the_same():
    space = {}
    exec(compile("def double(x):\n    return x + x", "no such file", "exec"), space)
    assert compiled(space["double"])(2.0) == 4.0


CLOSURE = """
import sys
from backprop_ref.kernels.compiling import compiled, linked

def adding(number):
    inner = compiled(lambda x: x + number, forceinline=True)
    return compiled(lambda x: inner(x) + 1)

function = adding(float(sys.argv[1]))
print(function(1.0), sum(function.stats.cache_hits.values()))
"""


@pytest.mark.more
def test_machine_code_is_found_by_what_is_in_a_closure(tmp_path):
    """Another process finds it; with another number in a function that it calls it is other code."""
    (tmp_path / "adding.py").write_text(CLOSURE)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run(number):
        command = [sys.executable, str(tmp_path / "adding.py"), number]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()

    assert [run("1"), run("1"), run("2")] == [["3.0", "0"], ["3.0", "1"], ["4.0", "0"]]


def test_no_machine_code_is_stored_among_the_sources(tmp_path):
    """It would outlive an uninstalled package, and the folder left behind hides one that is installed as editable."""
    started, sources = time.time() - 1.0, Path(neuron_loops.__file__).parent
    fresh(STEP, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    there = tmp_path if sys.prefix == sys.base_prefix else Path(sys.prefix, "var")
    assert list(there.rglob("*.nbc"))
    assert not [path for path in sources.rglob("*.nb[ic]") if path.stat().st_mtime > started]


def test_names_are_of_one_function_each():
    """Linked code is told apart by names: the same name must not stand for two functions, in whatever process."""
    by_dtype = [[*scalars.functions(dtype), *loops(dtype).values()] for dtype in ("float64", "float32")]
    for made in (*by_dtype, list(loops("float64", shared=True).values())):
        assert len({f.py_func.__qualname__ for f in made}) == len(made)
    codes = {}
    for f in itertools.chain(*by_dtype):
        assert codes.setdefault(f.py_func.__qualname__, f.py_func.__code__) is f.py_func.__code__


@each_dtype
@pytest.mark.parametrize("name", elementary.Elementary._fields)
def test_compiled_elementary_functions_have_the_bits_of_the_arrays(name, dtype):
    x = np.concatenate([np.linspace(-80.0, 80.0, 801), 2.0 ** np.arange(-140, 120), [0.0, -0.0, np.inf, -np.inf]])
    x = {"cospi": np.linspace(0, 1, 801), "log": abs(x), "log1p": abs(x)}.get(name, x).astype(dtype)
    function = getattr(scalars.functions(dtype), name)
    with np.errstate(all="ignore"):
        expected = getattr(elementary.for_numpy(dtype), name)(x)
    got = np.array([function(value) for value in x], dtype)
    assert got.tobytes() == expected.tobytes()


def test_importing_the_package_does_not_import_numba():
    code = "import sys, backprop_ref, backprop_ref.kernels.neuron_loops; print('numba' in sys.modules)"
    assert fresh(code) == "False"


def in_another_process(code, **environment):
    """What a fresh Python prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_without_compilation_the_loops_train_as_they_are():
    code = """
import backprop_ref as br
network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
for backend in ("numba", "numpy"):
    how = {"epochs": 2, "backend": backend, "numerics": "reproducible"}
    print(br.train(network, network.init(1), [[0.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]], **how).params.sha256())
"""
    ours, expected = in_another_process(code, NUMBA_DISABLE_JIT="1")
    assert ours == expected


@needs_two
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_computes_alone():
    """Numba's threads are not there in a child; some threading layers end it when it asks for them."""
    code = """
import multiprocessing, numpy as np, backprop_ref as br
network = br.Network([200, 160, 5], ["tanh", "linear"], "mse")
x, y = network.init(1).flat[:12800].reshape(64, 200), np.ones((64, 5))

def trained(_=None):
    how = {"epochs": 2, "batch_size": 64, "backend": "numba", "threads": 2, "numerics": "reproducible"}
    return br.train(network, network.init(1), x, y, **how).params.sha256()

print(trained())
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(trained, [None]).get(timeout=120)[0])
"""
    parent, child = in_another_process(code)
    assert parent == child
