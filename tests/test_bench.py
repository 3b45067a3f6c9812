"""The benchmark refuses what is wrong, says what it ran on, loses nothing, and fits exponents that are there."""

import contextlib
import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.benchmarks import against, timing
from backprop_ref.benchmarks import check as bench_check
from backprop_ref.benchmarks import run as bench
from backprop_ref.benchmarks.check import EXACT, WITHIN_BOUND, Checks, LeftOut, Truth, WrongGradient
from backprop_ref.benchmarks.contestants import EMULATED, OnBackend
from backprop_ref.benchmarks.ladder import LADDER, Task, fitted_exponent
from backprop_ref.benchmarks.machine import FEATURES, machine
from backprop_ref.benchmarks.timing import in_turn, spread
from backprop_ref.cli import run as command_line
from backprop_ref.cli.bench import show_changes
from backprop_ref.report.charts import benchmarks as charts_bench
from backprop_ref.report.page import page

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["2-4-1", "8-3-8"]
PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]


def loaded(path):
    """A program of the repository that is no part of the package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Wrong(NumpyBackend):
    """NumPy with a gradient that is off by a factor, in one pair."""

    name = "wrong"
    trainer = None
    factor = 1.0 + 1e-6

    def affine_backward(self, delta, a):
        dW, db = super().affine_backward(delta, a)
        return dW * self.factor, db


class Slow(NumpyBackend):
    """NumPy in which a step takes a while."""

    name = "slow"
    trainer = None

    def loss_backward(self, *arguments):
        time.sleep(bench_check.LONGEST_EPOCH_SECONDS / 50)
        return super().loss_backward(*arguments)


class Halting(OnBackend):
    """Stops training after the first batch of an epoch, although the first step is right."""

    def run(self, epochs):
        self._train(self.task.first_batch, np.arange(self.task.batch)[None, :])


@cache
def checks_of(rung, dtype):
    return Checks(Task(LADDER[rung], dtype, threads=1))


def made(kind, task):
    return OnBackend(task, kind(np, Fast(np)), steps_ahead=0)


def plan(makers, **options):
    return bench.Plan(makers, **{"rungs": SMALL, "rounds": 3, "round_seconds": 0.001, "threads": 1, **options})


@pytest.fixture(autouse=True, scope="module")
def soon():
    """The bandwidth of memory is measured on few bytes, and nobody waits for threads to come to rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[machine.__module__], "BANDWIDTH_BYTES", 2**20)
        patch.setattr(timing, "SETTLE_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def result():
    """A short run on NumPy, with what was left out, and a scaling; nobody is too slow, however busy the machine is."""
    makers = bench.backend_makers(["numpy"], threads=1) | {"wrong": lambda task: made(Wrong, task)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_check, "LONGEST_EPOCH_SECONDS", np.inf)
        return bench.run(plan(makers, dtypes=["float64", "float32"], scaling=["numpy fast"], quick=True))


@pytest.mark.few(4, 20)
@pytest.mark.seldom(backend="numba", dtype="float32")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rung", [*SMALL, pytest.param("20-128-64-32-3", marks=pytest.mark.long)])
def test_every_backend_passes_its_checks(backend, rung, dtype):
    if EMULATED in backend.device:
        pytest.skip(f"{backend.device} is never timed, and its gradients are checked in test_cuda_host.py")
    checks = checks_of(rung, dtype)
    task = checks.task
    if task.rung.multiplications > 10**5 and backend.name in {"python", "array_api_strict"}:
        pytest.skip("slow, and tried on the smaller ones")
    with contextlib.suppress(LeftOut):
        verdict = checks.verdict(OnBackend(task, backend, steps_ahead=0))
        assert verdict == EXACT or (verdict == WITHIN_BOUND and backend.numerics == "fast")


@pytest.mark.more
def test_a_wrong_gradient_is_refused_and_never_timed(result):
    for case in (case for case in result["cases"] if case["name"] == "wrong"):
        if case["dtype"] == "float64":
            assert case["error"] == "WrongGradient" and case["step_seconds"] is None and case["verdict"] is None
            assert re.search(r"layer \d, W\[\d, \d\] is .* rounding explains", case["left_out"])
    assert [case["error"] for case in result["cases"] if case["name"] == "wrong"].count("WrongGradient") >= len(SMALL)


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.5, 2.0, np.nan])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rung", ["2-4-1", "2-5-1", "64-128-10"])
def test_gross_errors_are_found_on_every_rung_in_either_precision(rung, dtype, factor, monkeypatch):
    monkeypatch.setattr(Wrong, "factor", factor)
    checks = checks_of(rung, dtype)
    with pytest.raises(WrongGradient):
        checks.verdict(made(Wrong, checks.task))


def test_reproducible_numerics_need_the_bits():
    task = Task(LADDER["8-3-8"], "float64")
    x, y = task.first_batch
    truth = Truth(task.network, task.params, x, y)
    _, gradient = br.value_and_grad(task.network, task.params, x, y, backend="numpy", numerics="reproducible")
    assert truth.of_gradient(gradient, "reproducible") == EXACT
    gradient.flat[0] = np.nextafter(gradient.flat[0], 1.0)
    assert truth.of_gradient(gradient, "fast") == WITHIN_BOUND
    with pytest.raises(WrongGradient, match="not the bits"):
        truth.of_gradient(gradient, "reproducible")


def test_an_entry_that_is_wrong_is_named():
    task = Task(LADDER["2-4-1"], "float64")
    truth = Truth(task.network, task.params, *task.first_batch)
    for change, name in ((("W", 1, (2, 0)), r"layer 1, W\[2, 0\]"), (("b", 0, (3,)), r"layer 0, b\[3\]")):
        gradient = br.Parameters(truth.bits.copy(), task.params.sizes)
        part, layer, entry = change
        getattr(gradient, part)[layer][entry] += 1e-3
        with pytest.raises(WrongGradient, match=name):
            truth.of_gradient(gradient)


def test_steps_that_are_left_out_show():
    checks = checks_of("2-4-1", "float64")
    with pytest.raises(WrongGradient, match="epoch leads elsewhere"):
        checks.verdict(Halting(checks.task, br.get_backend("numpy")))


def test_who_is_slow_is_left_out_with_the_reason():
    found = bench.run(plan({"slow": lambda task: made(Slow, task)}, rungs=["2-4-1"]))
    case = found["cases"][0]
    assert case["error"] == "LeftOut" and "takes" in case["left_out"] and case["step_seconds"] is None


def test_an_emulated_device_gives_no_figure():
    backend = br.get_backend("numpy")
    emulated = NumpyBackend(np, Fast(np))
    emulated.name, emulated.device = "cupy", "cuda:0 (host emulation)"
    task = Task(LADDER["2-4-1"], "float64")
    assert OnBackend(task, backend).name == "numpy fast"
    with pytest.raises(br.BackendUnavailable, match="never timed"):
        OnBackend(task, emulated)


def test_data_keeps_clear_of_subnormal_numbers_and_is_fresh():
    for rung in LADDER.values():
        task = Task(rung, "float32")
        x, y = task.data
        assert task.batches >= 4 and len(x) == len(y) == task.batches * task.batch
        assert len(np.unique(x[:, 0])) > 0.99 * len(x)
        assert set(np.unique(y)) == {0.0, 1.0}


def test_machine_says_what_figures_depend_on():
    found = machine(2)
    assert set(found["features"]) <= set(FEATURES)
    assert found["threads"] == 2 and found["processor"] and found["python"] and found["packages"]["numpy"]
    assert "OPENBLAS_CORETYPE" in found["environment"]
    assert any(library["num_threads"] for library in found["libraries"])
    json.dumps(found, allow_nan=False)


@pytest.mark.more
def test_the_result_is_complete(result):
    assert set(result) == {
        *("format", "machine", "settings", "interrupted", "memory_bandwidth", "cases", "scaling"),
    }
    assert result["format"] == bench.FORMAT and not result["interrupted"]
    assert 0 < result["memory_bandwidth"]["low"] <= result["memory_bandwidth"]["high"]
    wanted = {(rung, dtype, name) for rung in SMALL for dtype in ("float64", "float32") for name in bench.LIMITS}
    wanted |= {(rung, dtype, f"numpy {kind}") for rung, dtype, _ in wanted for kind in bench.NUMERICS}
    timed = {(case["rung"], case["dtype"], case["name"]): case for case in result["cases"] if case["step_seconds"]}
    assert wanted <= set(timed)
    for key in wanted:
        case = timed[key]
        assert len(case["rounds"]) == 3 and case["steps_a_round"] >= 1
        assert 0 < case["step_seconds"]["low"] <= case["step_seconds"]["median"] <= case["step_seconds"]["high"]
        assert case["kind"] == "limit" or (case["verdict"] and case["of_limit"]["products"]["median"] > 0)
    assert {series["vary"] for series in result["scaling"]} == {"width", "batch", "depth", "rows"}
    assert all(len(series["points"]) > 1 and np.isfinite(series["exponent"]) for series in result["scaling"])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_exponents_are_those_of_made_up_data(power):
    values = [4, 16, 64, 256]
    assert fitted_exponent(values, [3e-6 * value**power for value in values]) == pytest.approx(power, abs=1e-12)
    assert fitted_exponent([8], [1.0]) is None


def older(*rounds, **other):
    """A run of one case whose rounds took so long, in times of the products alone."""
    where = {"processor": "one", "libraries": [], "threads": 1, "cores_allowed": 1} | other
    times = dict(zip(("median", "low", "high"), spread(rounds), strict=True))
    case = {"rung": "2-4-1", "dtype": "float64", "name": "numpy fast", "kind": "backend", "step_seconds": times}
    return {"format": bench.FORMAT, "machine": where, "cases": [case | {"of_limit": {"products": times}}]}


def test_a_slowdown_beyond_the_quartiles_is_told(capsys):
    before = older(1.0, 1.1, 1.2)
    for now, verdict in (((1.1, 1.2, 1.3), ""), ((1.4, 1.5, 1.6), "SLOWER"), ((0.5, 0.6, 0.7), "faster")):
        (change,) = against.changes(before, older(*now))
        assert change.verdict == verdict
        assert show_changes([change]) == (verdict == "SLOWER")
        assert capsys.readouterr().out.startswith(verdict and f"{verdict}: 2-4-1 float64 numpy fast: ")
    assert against.changes(before, {"cases": []}) == []


def test_a_run_elsewhere_or_no_run_at_all_is_refused(tmp_path, capsys):
    path = tmp_path / "bench.json"
    for text, message in (
        (None, "No such file"),
        ("{}", "no bench.json"),
        ("[" * 10**5, "no bench.json"),
        (json.dumps({"format": bench.FORMAT, "cases": [], "machine": 1}), "damaged"),
        (json.dumps(older(1.0)), "measured elsewhere (processor one, here"),
    ):
        if text is not None:
            path.write_text(text)
        assert command_line(["bench", "--quick", "--out", str(tmp_path / "out"), "--against", str(path)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_larger_rungs_are_there_by_name():
    deep, data = bench.rung_of("-".join(["100", *["64"] * 16, "1"])), bench.rung_of("10-100-1")
    assert deep.network.n_layers == 17 and Task(data, "float32").batches * data.batch == 10**6


def test_spread_is_median_and_quartiles():
    assert spread([5, 1, 3, 2, 4]) == (3, 2, 4)
    assert spread([2.0]) == (2.0, 2.0, 2.0)


@pytest.mark.more
def test_everybody_runs_once_a_round_in_changing_order():
    calls = []

    class Contestant:
        steps = 1

        def __init__(self, name):
            self.run = lambda epochs: calls.append(name)

        scope = staticmethod(contextlib.nullcontext)

        def restart(self, learning_rate):
            pass

    names, done = ("one", "two", "three"), []
    in_turn({name: Contestant(name) for name in names}, dict.fromkeys(names, 1), 8, done)
    rounds = [tuple(calls[start : start + 3]) for start in range(0, 24, 3)]
    assert all(sorted(each) == sorted(names) for each in rounds) and len(set(rounds)) > 1
    assert [list(seconds) for seconds in done] == [list(names)] * 8


@pytest.mark.more
def test_ctrl_c_keeps_the_rounds_that_are_done(monkeypatch):
    rounds, usual = [], bench.in_turn

    def in_turn(contestants, epochs, count, done):
        usual(contestants, epochs, 2, done)
        rounds.append(done)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bench, "in_turn", in_turn)
    found = bench.run(plan(bench.backend_makers(["numpy"], threads=1)))
    assert found["interrupted"]
    assert {case["rung"] for case in found["cases"] if len(case["rounds"]) == 2} == set(SMALL)
    assert "interrupted" in page("Benchmark", charts_bench.sections(found))


def charts_of(result):
    return {chart.title: chart.figure for section in charts_bench.sections(result) for chart in section.charts}


@pytest.mark.more
def test_the_page_says_where_and_what(result):
    html = page("Benchmark", charts_bench.sections(result))
    assert result["machine"]["processor"] in html
    for title in ("Time per training step, float64", "Which to choose, float32", "Time per step against depth"):
        assert title in html and any(title in each for each in charts_of(result))


@pytest.mark.more
def test_charts_show_what_was_measured(result):
    charts = charts_of(result)
    lines = {line["name"]: line for line in charts["Time per training step, float64"]["data"]}
    case = next(case for case in result["cases"] if case["name"] == "numpy fast" and case["dtype"] == "float64")
    assert lines["numpy fast"]["y"][0] == pytest.approx(1e6 * case["step_seconds"]["median"], rel=1e-5)
    which = charts["Which to choose, float64"]["data"]
    assert "products" in lines and "products" not in {line["name"] for line in which}
    assert all(min(line["y"][place] for line in which) == 1.0 for place in range(len(SMALL)))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder that `bench --quick` wrote, what it printed, and how long it took."""
    folder = tmp_path_factory.mktemp("quick") / "out"
    command = [*PROGRAM, "bench", "--quick", "--backends", "numpy", "--threads", "1", "--no-scaling", "--json"]
    done = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True, check=True)
    return SimpleNamespace(folder=folder, printed=done.stdout, errors=done.stderr)


@pytest.mark.more
def test_quick_writes_json_csv_and_html(quick):
    assert {path.name for path in quick.folder.iterdir()} == {"bench.json", "bench.csv", "bench.html"}
    written = json.loads((quick.folder / "bench.json").read_text())
    assert json.loads(quick.printed) == written and not quick.errors
    assert {case["dtype"] for case in written["cases"]} == {"float64"}
    rows = list(csv.DictReader((quick.folder / "bench.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [case["name"] for case in written["cases"]]
    assert float(rows[0]["step_seconds_median"]) == written["cases"][0]["step_seconds"]["median"]


@pytest.mark.more
def test_nothing_is_overwritten(quick, capsys):
    before = (quick.folder / "bench.json").read_bytes()
    assert command_line(["bench", "--quick", "--backends", "numpy", "--out", str(quick.folder)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert (quick.folder / "bench.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backends", "nunpy"], "did you mean 'numpy'"),
        (["--dtype", "float16"], "unknown dtype 'float16'"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_line(["bench", "--quick", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_images_without_kaleido_are_refused_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command_line(["bench", "--quick", "--images", str(tmp_path / "i"), "--out", str(tmp_path / "out")]) == 2
    assert "backprop-ref[image]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.more
def test_ctrl_c_ends_the_command_with_its_files(tmp_path):
    command = [*PROGRAM, "bench", "--backends", "numpy", "--no-scaling", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "interrupted" in out
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["interrupted"]


@pytest.mark.more
def test_a_benchmark_runs_by_itself_and_says_where(tmp_path):
    """``pytest bench --benchmark-only`` with the JSON that people keep."""
    kept = tmp_path / "kept.json"
    command = [
        *(sys.executable, "-m", "pytest", "bench/bench_transfer.py", "--benchmark-only", "-q", "-k", "numpy-fast"),
        *("-p", "no:cacheprovider", f"--benchmark-json={kept}"),
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # no worker's
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(kept.read_text())
    assert found["machine_info"]["backprop_ref"]["processor"]
    assert {figure["extra_info"]["numerics"] for figure in found["benchmarks"]} == {"fast"}


def test_peers_that_are_installed_compute_the_same():
    import peers

    task = Task(LADDER["8-3-8"], "float64")
    checks, seen = Checks(task), []
    for name, make in peers.makers(["C", "naive numpy"]).items():
        with contextlib.suppress(LeftOut):
            seen.append((name, checks.verdict(make(task))))
    assert ("naive numpy", WITHIN_BOUND) in seen


def test_a_peer_that_is_not_installed_is_a_named_absence(monkeypatch):
    import peers

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "peers.torch_peers", raising=False)
    with pytest.raises(LeftOut, match="torch is not installed"):
        peers.makers()["torch eager"](Task(LADDER["2-4-1"], "float64"))


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The program that writes the tables, on a page and a README of a test's own."""
    program = loaded(ROOT / "ci/readme_table.py")
    for name in ("PAGE", "README"):
        monkeypatch.setattr(program, name, tmp_path / name)
        getattr(program, name).write_text(f"before\n{program.START}old\n{program.END}after\n")
    monkeypatch.setattr(program, "README_ROWS", ("2-4-1",))
    return program


def test_the_page_has_a_row_for_each_rung_and_the_readme_a_few_of_them(result, tables, tmp_path):
    source = tmp_path / "bench.json"
    source.write_text(json.dumps(result))
    assert tables.main([str(source), "--check"]) == 1
    assert tables.PAGE.read_text() == f"before\n{tables.START}old\n{tables.END}after\n"
    assert tables.main([str(source)]) == 0
    assert tables.main([str(source), "--check"]) == 0
    page, readme = tables.PAGE.read_text().splitlines(), tables.README.read_text().splitlines()
    assert len(page) == 2 + 2 + 4 + 2 + 2
    assert page[4].startswith("| 2-4-1 | 4 | float64 | **") and "numpy fast" in page[4]
    assert page[-3].startswith("Medians of 3 rounds")
    assert readme[2].startswith("| network | batch | ours |")
    assert len(readme) == 2 + 2 + 1 + 2
    assert readme[4].startswith("| 2-4-1 | 4 | **") and readme[-1] == "after"


def test_results_are_kept_by_processor(result, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "ci"))
    program, source = loaded(ROOT / "ci/results_page.py"), tmp_path / "bench.json"
    assert program.main(["--check"]) == 0
    monkeypatch.setattr(program, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(program, "PAGE", tmp_path / "results.md")
    source.write_text(json.dumps(result))
    for _ in range(2):
        assert program.main([str(source)]) == 0 and program.main(["--check"]) == 0
        (kept,) = (tmp_path / "results").iterdir()
    assert {row["rung"] for row in json.loads(kept.read_text())["rows"]} == set(SMALL)
    lines = program.PAGE.read_text().splitlines()
    assert lines.count("| processor | 2-4-1 | 8-3-8 |") == 2
    assert sum(line.startswith(f"| {result['machine']['processor']}, ") for line in lines) == 2


def test_a_text_without_markers_is_named(tables):
    tables.README.write_text("no table\n")
    with pytest.raises(SystemExit, match="README: the lines <!-- benchmarks"):
        tables.main([])


def test_the_readme_shows_what_the_page_says():
    assert loaded(ROOT / "ci/readme_table.py").main(["--check"]) == 0
