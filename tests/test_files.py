"""Files: made over nothing, replaced only where they are one's own, and written through no link; real processes."""

import ast
import json
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import PROGRAM, command, parameters, samples, tree

import backprop_ref as br
from backprop_ref import cli
from backprop_ref.conformance.vectors import files as vectors
from backprop_ref.experiments.run_folder import new_folder
from backprop_ref.files import create, open_in_place, replace
from backprop_ref.network.model_file import load_all
from backprop_ref.traces.recorder import Recorder

PACKAGE = Path(br.__file__).parent
NETWORK = br.Network([3, 4], ["softmax"], "ce")
TRAIN = ["train", "moons", "--epochs", "2", "--backend", "numpy"]
TRACES = ["--trace", "binary,csv"]
FILES = (
    "config.yaml",
    "results.json",
    "history.csv",
    "checkpoint.safetensors",
    "trace.bin",
    "trace.csv",
    "logs/app.log",
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = command(*TRAIN, *TRACES, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(finished, folder):
    """A copy of it."""
    return shutil.copytree(finished, folder / "run")


@pytest.fixture
def outside(folder):
    """A folder of somebody's."""
    (folder / "outside" / "deeper").mkdir(parents=True)
    (folder / "outside" / "precious.txt").write_text("precious\n" * 9)
    (folder / "outside" / "deeper" / "more.txt").write_text("more\n")
    return folder / "outside"


@pytest.fixture
def refused(folder, capfd):
    """Has a command line refused, in one line and with status 2, without any change to any file; gives the line."""

    def refused(*arguments):
        before = tree(folder)
        assert cli.run([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert tree(folder) == before
        return err

    return refused


# --- create, replace, open_in_place ---


def taken(name, kind):
    """Something that has a name already."""
    path = Path(name)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("mine")
    else:
        if kind == "link":
            Path("target").write_text("mine")
        elif kind == "link to a folder":
            Path("target").mkdir()
        path.symlink_to("target")
    return path


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link", "link to a folder", "link that leads nowhere"])
def test_a_new_file_takes_no_name_that_is_taken(folder, kind):
    taken("f", kind)
    before = tree(folder)
    with pytest.raises(FileExistsError):
        create("f", "theirs")
    assert tree(folder) == before


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a folder", "link that leads nowhere"])
def test_only_a_file_is_replaced_or_gone_on_with(folder, kind):
    taken("f", kind)
    before = tree(folder)
    with pytest.raises(br.InvalidInput, match="^f: (a link|no file), and is neither followed nor replaced"):
        replace("f", "theirs")
    for mode in ("a", "r+b"):
        with pytest.raises(br.InvalidInput, match="^f: (a link|no file), and is neither followed nor replaced"):
            open_in_place("f", mode)
    assert tree(folder) == before


def test_a_file_of_two_names_is_not_gone_on_with():
    Path("mine").write_text("mine")
    os.link("mine", "f")
    with pytest.raises(br.InvalidInput, match="f: has a second name"):
        open_in_place("f", "a")
    replace("f", "theirs")
    assert (Path("f").read_text(), Path("mine").read_text()) == ("theirs", "mine")


def test_what_is_replaced_keeps_its_permissions(folder):
    replace("f", "first")
    Path("f").chmod(0o640)
    replace("f", "second")
    assert (Path("f").read_text(), Path("f").stat().st_mode & 0o777) == ("second", 0o640)
    assert [path.name for path in folder.iterdir()] == ["f"]


@pytest.mark.more
def test_of_many_processes_one_makes_the_file(folder):
    program = (
        "import sys\nfrom backprop_ref.files import create\nprint('ready', flush=True)\nsys.stdin.read()\n"
        "try: create('f', sys.argv[1] * 100_000)\nexcept FileExistsError: sys.exit(3)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen([PROGRAM[0], "-c", program, letter], **pipes) for letter in "abcdef"]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.close()
    status = [process.wait() for process in started]
    for process in started:
        process.stdout.close()
    assert sorted(status) == [0, 3, 3, 3, 3, 3]
    assert Path("f").read_text() == "abcdef"[status.index(0)] * 100_000
    assert [path.name for path in folder.iterdir()] == ["f"]


def test_a_file_system_without_hard_links(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create("f", "first")
    with pytest.raises(FileExistsError):
        create("f", "second")
    assert Path("f").read_text() == "first"
    assert [path.name for path in folder.iterdir()] == ["f"]


def test_a_model_is_saved_through_no_link(folder, outside):
    Path("m").symlink_to("outside/precious.txt")
    before = tree(folder)
    with pytest.raises(br.InvalidInput, match="m: a link"):
        br.save("m", NETWORK, parameters(NETWORK))
    assert tree(folder) == before


# --- what a command line names ---

OUTPUTS = {
    "train": [*TRAIN, "--output"],
    "predict": ["predict", "run", "--data-path", "moons.csv", "--output"],
    "data": ["data", "moons", "--out"],
    "explain": ["explain", "xor", "--output"],
    "verify": ["verify", "--answers", "mine.json", "--html"],
    "report": ["report", "run", "--out"],
}
STATUS = dict.fromkeys(OUTPUTS, 0) | {"verify": 1}


@pytest.fixture
def sources(run):
    """What these commands read."""
    assert cli.run(["data", "moons", "--out", "moons.csv"]) == 0
    Path("mine.json").write_text(json.dumps([{"name": vectors.shipped_cases()[0].name, "loss": 0.5}]))


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", ["file", "folder", "link", "link to a folder", "link that leads nowhere"])
def test_an_output_goes_over_nothing(sources, refused, capfd, kind):
    capfd.readouterr()
    taken("out", kind)
    for arguments in OUTPUTS.values():
        assert f"{arguments[-1]} out: exists already, and nothing is overwritten" in refused(*arguments, "out")


@pytest.mark.few(1)
@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_goes_into_a_pipe_or_standard_output(sources, capfdbinary, what):
    assert cli.run([*OUTPUTS[what], "file"]) == STATUS[what]
    beginning = Path("file").read_bytes()[:64]
    assert len(beginning) == 64
    os.mkfifo("pipe")
    with ThreadPoolExecutor() as pool:
        found = pool.submit(Path("pipe").read_bytes)
        assert cli.run([*OUTPUTS[what], "pipe"]) == STATUS[what]
        assert found.result().startswith(beginning)
    for path in ("/dev/stdout", "/dev/fd/1", "/dev/stderr"):
        capfdbinary.readouterr()
        assert cli.run([*OUTPUTS[what], path]) == STATUS[what]
        out, err = capfdbinary.readouterr()
        assert ((out if path != "/dev/stderr" else err).count(beginning)) == 1
    assert cli.run([*OUTPUTS[what], "/dev/null"]) == STATUS[what]


@pytest.mark.more
def test_standard_output_that_is_a_file_goes_on_where_it_was(folder):
    Path("f").write_text("there\n")
    for mode in ("ab", "r+b"):
        with Path("f").open(mode) as file:
            file.seek(0, os.SEEK_END)
            for _ in range(2):
                subprocess.run([*PROGRAM, *OUTPUTS["data"], "/dev/stdout"], stdout=file, check=True)
    lines = Path("f").read_text().splitlines()
    assert len(lines) == 1 + 4 * 401
    assert lines[0] == "there"
    assert lines.count("x0,x1,target") == 4


def test_a_process_refuses_what_is_there(folder):
    Path("out").write_text("mine")
    before = tree(folder)
    done = command(*TRAIN, "--output", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --output out: exists already, and nothing is overwritten; give another name\n"
    assert tree(folder) == before


def test_resuming_goes_over_no_output(run, outside, refused):
    for name in ("outside/precious.txt", "run/results.json", "run/history.csv"):
        said = refused("train", "--resume", "run", "--epochs", "3", "--output", name)
        assert f"--output {name}: exists already, and nothing is overwritten" in said
    assert cli.run(["train", "--resume", "run", "--epochs", "3", "--output", "new.json"]) == 0
    assert Path("new.json").read_bytes() == (run / "results.json").read_bytes()


@pytest.mark.parametrize(
    "section", ["{output: outside/new.json}", "{output: outside/precious.txt}", "{resume: outside}", "{json: true}"]
)
def test_a_run_folder_does_not_say_where_output_goes(run, outside, refused, section):
    with (run / "config.yaml").open("a") as file:
        file.write(f"run: {section}\n")
    for what in (["train", "--resume", "run", "--epochs", "3"], ["evaluate", "run"], ["gradcheck", "run"]):
        assert "run/config.yaml: section run: only the command line says where a run goes" in refused(*what)


@pytest.mark.parametrize("key", ["output", "dir", "resume"])
def test_a_sweeps_file_does_not_say_where_output_goes(run, refused, key):
    Path("c.yaml").write_text(
        f"run: {{{key}: run}}\ndata: {{dataset: xor}}\ntraining: {{epochs: 2}}\nsweep: {{seed: 1}}\n"
    )
    assert f"c.yaml: run.{key}: the runs of a sweep go into its own folder" in refused("sweep", "--config", "c.yaml")


def test_a_file_that_the_command_line_names_may_say_it(refused, capfd):
    Path("c.yaml").write_text("run: {output: new.json}\ndata: {dataset: xor}\ntraining: {epochs: 2}\n")
    assert cli.run(["train", "--config", "c.yaml"]) == 0
    assert json.loads(Path("new.json").read_text())["epochs"] == 2
    capfd.readouterr()
    assert "new.json: exists already" in refused("train", "--config", "c.yaml")


def started_training(*arguments):
    """A training without an end, once it has a checkpoint with an epoch."""
    forever = ["train", "moons", "--epochs", "100000000", "--backend", "numpy", "--run-dir", "run", *arguments]
    process = subprocess.Popen([*PROGRAM, *forever], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not Path("run/history.csv").exists():
        assert process.poll() is None
    return process


@pytest.mark.more
@pytest.mark.parametrize("kind", ["file", "link that leads nowhere"])
def test_an_output_that_came_into_being_meanwhile_stays(folder, kind):
    process = started_training("--output", "out")
    taken("out", kind)
    before = tree(folder, but="run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    said = "error: --output out: exists already, and nothing is overwritten; the results are in run/results.json\n"
    assert err == said
    assert tree(folder, but="run") == before
    results = json.loads(Path("run/results.json").read_text())
    assert results["epochs"] == load_all("run")[2]["progress"]["epoch"] > 0


@pytest.mark.more
def test_results_that_came_into_being_meanwhile_stay(folder):
    process = started_training("--output", "out")
    Path("run/results.json").write_text("mine")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 2
    assert "run/results.json: exists already" in err
    assert "the network is in run/checkpoint.safetensors" in err
    assert Path("run/results.json").read_text() == "mine"
    assert load_all("run")[2]["progress"]["epoch"] > 0


def test_training_in_a_folder_with_a_history_of_somebodys(folder):
    Path("history.csv").write_text("mine")
    x, y = samples(NETWORK, 9)
    before = tree(folder)
    with pytest.raises(br.InvalidInput, match="already holds a checkpoint.safetensors or history.csv that is no run"):
        br.train(NETWORK, parameters(NETWORK), x, y, epochs=1, run_dir=folder)
    assert tree(folder) == before


def test_a_failed_start_leaves_a_folder_as_it_was(folder):
    Path("f.csv").write_text("a,b,kind\n1e39,2,x\n-1e39,3,y\n")
    what = ["train", "--data-path", "f.csv", "--dtype", "float32", "--normalize", "none", "--log-file", "a/b/c.log"]
    before = tree(folder)
    assert cli.run([*what, "--run-dir", "new"]) == 2
    assert tree(folder) == before
    Path("there").mkdir(mode=0o750)
    assert cli.run([*what, "--run-dir", "there"]) == 2
    assert Path("there").stat().st_mode & 0o777 == 0o750
    assert not list(Path("there").iterdir())


def test_a_failed_start_leaves_files_of_somebodys(folder):
    for name in ("mine.txt", "logs/mine.txt", "config.yaml/mine.txt"):
        with pytest.raises(br.InvalidInput), new_folder("new", "iris", "", "logs/app.log"):
            Path("new/logs").mkdir()
            Path("new/logs/app.log").touch()
            if name.startswith("config"):
                Path("new/config.yaml").unlink()
            Path("new", name).parent.mkdir(exist_ok=True)
            Path("new", name).write_text("mine")
            raise br.InvalidInput("no good")
        assert Path("new", name).read_text() == "mine"
        shutil.rmtree("new")


# --- links in a run folder ---


@pytest.mark.few(4)
@pytest.mark.parametrize("name", [*FILES, "logs/app.log.1", "logs", "trace.parquet"])
@pytest.mark.parametrize("to", ["outside/precious.txt", "outside", "outside/nothing"])
def test_a_link_in_a_run_folder_is_refused(folder, run, outside, refused, name, to):
    """Also one to the file itself, moved outside."""
    path = run / name
    if to == "outside/precious.txt" and path.is_file():
        path.rename(folder / to)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(folder / to)
    said = refused("train", "--resume", "run", "--epochs", "4")
    follows = to != "outside/precious.txt"  # what is read first is not there then
    assert f"run/{name}: a link" in said or (follows and name in ("config.yaml", "checkpoint.safetensors"))


@pytest.mark.parametrize("name", ["history.csv", "checkpoint.safetensors", "trace.bin", "trace.csv"])
def test_the_library_follows_no_link_either(outside, name):
    x, y = samples(NETWORK, 9)

    def train(epochs, **options):
        recorder = Recorder("run", ["binary", "csv"], every=1)
        br.train(NETWORK, parameters(NETWORK), x, y, epochs=epochs, run_dir="run", trace=recorder, **options)

    train(1)
    Path("run", name).rename("outside/precious.txt")
    Path("run", name).symlink_to(outside / "precious.txt")
    before = tree(outside)
    with pytest.raises(br.InvalidInput, match=f"run/{name}: a link"):
        train(2, resume=True)
    assert tree(outside) == before


@pytest.mark.parametrize("name", ["results.json", "trace.bin", "logs/app.log"])
@pytest.mark.more
def test_a_process_refuses_a_link(folder, run, outside, name):
    (run / name).unlink()
    (run / name).symlink_to(outside / "new")
    before = tree(folder)
    done = command("train", "--resume", "run", "--epochs", "4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: run/{name}: a link, and is neither followed nor replaced")
    assert tree(folder) == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.few(3)
def test_a_second_name_of_a_runs_file_keeps_its_content(run, outside, capfd, name):
    """As a backup has it: what is written in place is refused, and the others part."""
    os.link(run / name, outside / "backup")
    before = tree(outside)["backup"][-1]
    in_place = name in ("trace.bin", "trace.csv", "logs/app.log")
    assert cli.run(["train", "--resume", "run", "--epochs", "4"]) == (2 if in_place else 0)
    assert (outside / "backup").read_bytes() == before
    assert ("has a second name" in capfd.readouterr().err) == in_place


def test_the_way_to_a_run_folder_may_lead_through_links(folder, run):
    Path("elsewhere").mkdir()
    run.rename("elsewhere/run")
    Path("way").symlink_to("elsewhere")
    Path("run").symlink_to("way/run")
    for path in ("run", "way/run"):
        assert cli.run(["train", "--resume", path, "--epochs", "4"]) == 0


def test_a_report_is_made_beside_a_link(run, outside, capfd):
    (run / "report.html").symlink_to(outside / "new.html")
    before = tree(outside)
    assert cli.run(["report", "run"]) == 0
    assert capfd.readouterr().out == "report: run/report-2.html\n"
    assert tree(outside) == before


# --- vectors ---


@pytest.mark.parametrize("name", ["index.json", "schema.json", "cases/mine.json", ".hidden", "notes/deeper.txt"])
def test_vectors_go_into_no_folder_that_holds_something(folder, refused, name):
    path = folder / "v" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert "v is not empty, and nothing is overwritten" in refused("vectors", "--out", "v")


def test_vectors_go_into_no_folder_that_holds_vectors(refused):
    shutil.copytree(vectors.SHIPPED, "v")
    refused("vectors", "--out", "v")


@pytest.mark.parametrize("name", ["b.json", "cases"])
def test_vectors_go_over_nothing_that_comes_meanwhile(folder, outside, name):
    """As `write` meets it after `generate`."""
    Path("v").mkdir()
    Path("v", name).symlink_to(outside if name == "cases" else outside / "precious.txt")
    before = tree(outside)
    with pytest.raises(br.InvalidInput, match="exists already|a link"):
        vectors.write("v", {"a.json": b"a", "b.json": b"b", "cases/c.json": b"c"})
    assert tree(outside) == before


# --- every place in the package that writes ---

ELSEWHERE = {
    ("kernels/cuda_cupy.py", "NamedTemporaryFile"): "the cache of compiled kernels, beside CuPy's own",
    ("conformance/submissions/calling.py", "open"): "os.devnull",
}
WRITERS = {"write_text", "write_bytes", "rmtree", "NamedTemporaryFile", "mkstemp", "savez", "tofile", "move"}


def writes(file):
    """Names of what a file calls that makes, empties or removes files by itself."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            modes = [
                set(each.value) for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            emptying = any(flag in ast.unparse(node) for flag in ("O_CREAT", "O_TRUNC", "os.truncate"))
            if name in WRITERS or emptying or (name == "open" and any(mode & set("wa+") for mode in modes)):
                yield name


@pytest.mark.more
def test_files_are_written_in_one_place():
    """`files.py` writes; others open to read, or with x, which goes over nothing."""
    roots = {PACKAGE: "", Path(br.kernels.__file__).parent: "kernels/"}
    found = {
        (f"{prefix}{path.relative_to(root)}", name)
        for root, prefix in roots.items()
        for path in root.rglob("*.py")
        for name in writes(path)
        if path != PACKAGE / "files.py"
    }
    assert found == set(ELSEWHERE)
