"""The configuration: every flag a key and every key a flag, who overrides whom, and what a wrong value is told."""

import json
import re
from pathlib import Path

import pytest
import yaml

import backprop_ref as br
from backprop_ref import network
from backprop_ref.asking import by_flags
from backprop_ref.cli import run
from backprop_ref.cli.app import command as command_line
from backprop_ref.experiments.config import dotenv, merge, suit
from backprop_ref.experiments.schema import Config, flags


@pytest.fixture(autouse=True)
def _as_the_command_line():
    """Flags are what `merge` is given here, and what its messages name."""
    with by_flags():
        yield


# flag -> (text on the command line, value in the file)
VALUES = {
    "--log-level": ("debug", "DEBUG"),
    "--log-file": ("a/b.log", "a/b.log"),
    "--dataset": ("iris", "iris"),
    "--data-path": ("f.csv", "f.csv"),
    "--target": (["kind"], ["kind"]),
    "--header": (True, True),
    "--task": ("regression", "regression"),
    "--drop": (["a", "b"], ["a", "b"]),
    "--id": (["a"], ["a"]),
    "--missing": ("mean", "mean"),
    "--as": (["a=category"], ["a=category"]),
    "--missing-value": (["-999"], ["-999"]),
    "--decimal": (",", ","),
    "--dates": ("day-first", "day-first"),
    "--encoding": ("cp1252", "cp1252"),
    "--sheet": ("Two", "Two"),
    "--sample-weight": ("often", "often"),
    "--validation-path": ("v.csv", "v.csv"),
    "--block-rows": ("512", 512),
    "--readers": ("2", 2),
    "--n-samples": ("50", 50),
    "--n-features": ("4", 4),
    "--n-classes": ("5", 5),
    "--noise": ("0.5", 0.5),
    "--folds": ("3", 3),
    "--fold": ("1", 1),
    "--from": ("earlier", "earlier"),
    "--data-seed": ("9", 9),
    "--test-size": (".25", 0.25),
    "--validation-size": ("0.125", 0.125),
    "--normalize": ("minmax", "minmax"),
    "--hidden": (["8", "4"], [8, 4]),
    "--activation": (["tanh", "relu"], ["tanh", "relu"]),
    "--output-activation": ("sigmoid", "sigmoid"),
    "--init": ("he_uniform", "he_uniform"),
    "--loss": ("mse", "mse"),
    "--epochs": ("3", 3),
    "--learning-rate": ("1e-2", 0.01),
    "--batch-size": ("full", "full"),
    "--optimizer": ("adam", "adam"),
    "--momentum": ("0.9", 0.9),
    "--nesterov": (True, True),
    "--rate-in-velocity": (True, True),
    "--beta1": ("0.8", 0.8),
    "--beta2": ("0.99", 0.99),
    "--rho": ("0.99", 0.99),
    "--epsilon-hat": (True, True),
    "--epsilon": ("1e-7", 1e-7),
    "--l1": ("0.001", 0.001),
    "--l2": ("0.01", 0.01),
    "--clip-value": ("0.5", 0.5),
    "--clip-norm": ("2.5", 2.5),
    "--max-norm": ("3", 3.0),
    "--weight-decay": ("0.001", 0.001),
    "--dropout": (["0.25", "0.5"], [0.25, 0.5]),
    "--class-weight": ("balanced", "balanced"),
    "--memory": ("5", 5),
    "--evaluations": ("30", 30),
    "--schedule": ("cosine", "cosine"),
    "--step-epochs": ("5", 5),
    "--step-factor": ("0.3", 0.3),
    "--minimum-factor": ("0.05", 0.05),
    "--shuffle": (False, False),
    "--patience": ("7", 7),
    "--min-delta": ("0.01", 0.01),
    "--shards": ("2", 2),
    "--seed": ("4", 4),
    "--backend": ("array_api_strict", "array_api_strict"),
    "--numerics": ("reproducible", "reproducible"),
    "--dtype": ("float32", "float32"),
    "--device": ("device1", "device1"),
    "--threads": ("2", 2),
    "--trace": (["csv", "binary"], ["csv", "binary"]),
    "--trace-every": ("10", 10),
    "--trace-samples": (["0", "3"], [0, 3]),
    "--trace-digits": ("17", 17),
    "--keep-checkpoints": (True, True),
    "--run-dir": ("out", "out"),
    "--resume": ("old", "old"),
    "--output": ("r.json", "r.json"),
    "--json": (True, True),
}
OF_TABLES = ("--target", "--header", "--drop", "--id", "--missing", "--as", "--missing-value", "--decimal", "--dates")
OF_TABLES += ("--encoding", "--sheet", "--sample-weight", "--validation-path", "--block-rows", "--readers")
BESIDE = {"--fold": {"--folds": "5"}} | {flag: {"--data-path": "f.csv"} for flag in OF_TABLES}

# the example of the project's description, with fewer epochs
EXAMPLE = """
logging:  {level: INFO, file: logs/app.log}            # rotating file, inside the run folder
data:     {n_samples: 1000, n_features: 20, n_classes: 3, seed: 42}   # or dataset: NAME, or path: FILE.csv
network:  {hidden: [128, 64, 32], activation: [relu, relu, relu], output_activation: softmax, init: he}
training: {epochs: 2, learning_rate: 0.01, batch_size: 32}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(capsys):
    """Runs ``train … --json`` and gives the results and the resolved configuration."""

    def train(*arguments):
        status = run(["train", *arguments, "--json"])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        results = json.loads(out)
        return results, yaml.safe_load(Path(results["run_dir"], "config.yaml").read_text())

    return train


def write(content, name="c.yaml"):
    Path(name).write_text(content)
    return name


def value_of(config, flag):
    section, key, _ = flags()[flag]
    return config.model_dump(by_alias=True)[section][key]


@pytest.mark.parametrize("flag", [["--rho", "0.5"], ["--momentum", "0.5"], ["--beta1", "0.5"], ["--epsilon-hat"]])
def test_a_setting_of_another_optimizer_is_refused(capsys, flag):
    assert run(["train", "iris", "--optimizer", "adagrad", *flag]) == 2
    assert f"({flag[0]}) is " in capsys.readouterr().err


def test_adamw_decays_by_default_and_others_do_not(trained):
    for optimizer, usual in (("adamw", 0.01), ("adam", 0.0)):
        config = trained("xor", "--optimizer", optimizer, "--epochs", "1")[1]
        assert config["training"]["weight_decay"] == usual


def test_every_key_has_a_flag():
    keys = {(section, key) for section, values in Config().model_dump(by_alias=True).items() for key in values}
    assert {(section, key) for section, key, _ in flags().values()} == keys
    assert len(flags()) == len(keys)
    assert set(VALUES) == set(flags())


NOT_OF_A_FILE = {"--config", "--find-rate", "--help", "--help-all"}


def test_train_takes_every_flag_and_no_other():
    options = {name for parameter in command_line().commands["train"].params for name in parameter.opts}
    assert {name for name in options if name.startswith("--")} - NOT_OF_A_FILE == set(flags())
    assert "dataset" in options


@pytest.mark.parametrize("flag", VALUES)
def test_a_flag_and_its_key_say_the_same(flag):
    text, value = VALUES[flag]
    section, key, _ = flags()[flag]
    file = write(yaml.safe_dump({section: {key: value}}))
    beside = BESIDE.get(flag, {})
    assert value_of(merge(beside), flag) != value
    assert value_of(merge({**beside, flag: text}), flag) == value
    if not beside:
        assert value_of(merge({}, file), flag) == value


def test_flags_and_file_train_the_same_network(trained):
    left_out = {
        *OF_TABLES,
        "--from",
        "--folds",
        "--fold",
        "--data-path",
        "--task",
        "--run-dir",
        "--resume",
        "--output",
        "--json",
    }
    left_out |= {
        "--n-samples",
        "--n-features",
        "--n-classes",
        "--noise",
        "--momentum",
        "--nesterov",
        "--rate-in-velocity",
        "--rho",
        "--memory",
        "--evaluations",
        "--clip-norm",
    }
    content, arguments = {}, []
    for flag in set(VALUES) - left_out:
        text, value = VALUES[flag]
        section, key, _ = flags()[flag]
        content.setdefault(section, {})[key] = value
        if isinstance(value, bool):
            arguments.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:
            arguments += [flag, ",".join(text) if isinstance(text, list) else text]
    by_flags, by_file = trained(*arguments), trained("--config", write(yaml.safe_dump(content)))
    assert by_flags[1] == by_file[1]
    assert by_flags[0]["sha256"] == by_file[0]["sha256"]
    content["network"]["loss"] = "mean_squared_error"
    for section, values in content.items():
        assert {key: by_file[1][section][key] for key in values} == values


def test_the_example_works_as_it_is(trained):
    results, config = trained("--config", write(EXAMPLE))
    assert results["network"]["sizes"] == [20, 128, 64, 32, 3]
    assert results["rows"] == {"train": 800, "validation": 0, "test": 200}
    assert (config["data"]["seed"], config["training"]["seed"]) == (42, 42)


def test_the_resolved_configuration_gives_the_same_network_again(trained):
    first, config = trained("iris", "--epochs", "2", "--validation-size", "0.2", "--patience", "3", "--seed", "5")
    second, again = trained("--config", f"{first['run_dir']}/config.yaml")
    assert (second["sha256"], again) == (first["sha256"], config)
    assert second["run_dir"] != first["run_dir"]


# --- who overrides whom ---


@pytest.mark.parametrize("given", ["flag", "environment", ".env", "file", "default"])
def test_flag_environment_dotenv_file_default(given, monkeypatch):
    sources = ["flag", "environment", ".env", "file", "default"]
    present = sources[sources.index(given) :]
    write("logging: {level: ERROR}\ntraining: {seed: 4}\ndata: {seed: 5}" if "file" in present else "")
    if "environment" in present:
        monkeypatch.setenv("RANDOM_SEED", "2")
        monkeypatch.setenv("LOG_LEVEL", "warning")
    if ".env" in present:
        write("RANDOM_SEED=3\nLOG_LEVEL=debug\n", ".env")
    given_flags = {"--seed": "1", "--log-level": "INFO"} if "flag" in present else {}
    config = merge(given_flags, "c.yaml")
    seeds, level = {
        "flag": ((1, 1), "INFO"),
        "environment": ((2, 2), "WARNING"),
        ".env": ((3, 3), "DEBUG"),
        "file": ((4, 5), "ERROR"),
        "default": ((1, 1), "INFO"),
    }[given]
    assert (config.training.seed, config.data.seed) == seeds
    assert config.logging.level == level


def test_empty_variables_are_not_set(monkeypatch):
    for name in ("RANDOM_SEED", "LOG_LEVEL"):
        monkeypatch.setenv(name, " ")
    write("RANDOM_SEED=\nLOG_LEVEL=''\n", ".env")
    config = merge({}, write("logging: {level: ERROR}\ntraining: {seed: 4}"))
    assert (config.training.seed, config.logging.level) == (4, "ERROR")


def test_one_seed_alone_stands_for_both():
    assert merge({}, write("training: {seed: 4}")).data.seed == 4
    assert merge({}, write("data: {seed: 4}")).training.seed == 4
    both = merge({"--seed": "6", "--data-seed": "7"}, write("data: {seed: 4}"))
    assert (both.training.seed, both.data.seed) == (6, 7)


@pytest.mark.parametrize(
    ("key", "in_file", "in_environment", "by_flag"),
    [
        ("numerics", "fast", "reproducible", "fast"),
        ("dtype", "float64", "float32", "float64"),
        ("threads", 1, "2", "3"),
        ("name", "numpy", "array_api_strict", "numpy"),
    ],
)
def test_the_backends_settings(key, in_file, in_environment, by_flag, trained, monkeypatch):
    flag = "--backend" if key == "name" else f"--{key}"
    file = write(yaml.safe_dump({"backend": {key: in_file}, "data": {"dataset": "iris"}, "training": {"epochs": 1}}))
    assert trained("--config", file)[1]["backend"][key] == in_file
    monkeypatch.setenv(f"BACKPROP_REF_{flag.removeprefix('--').upper()}", in_environment)
    assert str(trained("--config", file)[1]["backend"][key]) == in_environment
    assert str(trained("--config", file, flag, by_flag)[1]["backend"][key]) == by_flag
    monkeypatch.setenv(f"BACKPROP_REF_{flag.removeprefix('--').upper()}", "")
    assert trained("--config", file)[1]["backend"][key] == in_file


def test_the_device_from_the_environment(trained, monkeypatch):
    monkeypatch.setenv("BACKPROP_REF_DEVICE", "device1")
    file = write("{backend: {name: array_api_strict, device: nowhere}, data: {dataset: iris}, training: {epochs: 1}}")
    assert trained("--config", file)[1]["backend"]["device"] == "device1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("RANDOM_SEED=5", "5"),
        ("  RANDOM_SEED = 5  ", "5"),
        ('RANDOM_SEED="5"', "5"),
        ("export RANDOM_SEED='5' # why", "5"),
        ("export\tRANDOM_SEED=5 # why", "5"),
        ("RANDOM_SEED=5#6", "5#6"),
        ('RANDOM_SEED="5 # 6"', "5 # 6"),
        ("RANDOM_SEED=", ""),
        ("RANDOM_SEED= # nothing", ""),
        ("OTHER=1\nRANDOM_SEED=5\n\nnonsense\n=7", "5"),
        ("#RANDOM_SEED=5", None),
        ("NOT_RANDOM_SEED=5", None),
    ],
)
def test_dotenv(text, value):
    write(text + "\n", ".env")
    assert dotenv().get("RANDOM_SEED") == value


def test_a_dotenv_that_is_no_text_is_no_harm(folder):
    (folder / ".env").write_bytes(b"\xff\xfe\0RANDOM_SEED=3\n")
    assert merge({}).training.seed == 1


# --- data named by a flag in place of the file's ---


def test_data_named_by_a_flag_replace_the_files():
    file = write("data: {n_samples: 9, n_classes: 4, seed: 3, test_size: 0.5}")
    assert merge({}, file).data.dataset == "classification"
    data = merge({"--dataset": "iris"}, file).data
    assert (data.dataset, data.n_samples, data.seed, data.test_size) == ("iris", None, 3, 0.5)
    data = merge({"--data-path": "f.csv"}, write("data: {dataset: digits, task: classification}")).data
    assert (data.path, data.dataset, data.task) == ("f.csv", None, None)


def test_null_is_as_good_as_nothing():
    file = write("data: {dataset: null}\ntraining: {momentum: null, epochs: null}\nnetwork:\nbackend: {}\n")
    assert merge({}, file) == merge({})


# --- what is refused, and how ---


def refused(message, given=None, file=None):
    with pytest.raises(br.InvalidInput) as caught:
        merge(given or {}, file)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "c.yaml: sections such as 'training:' are needed at the top, found ['a']"),
        ("hello", "c.yaml: sections such as 'training:' are needed at the top, found 'hello'"),
        ("0", "c.yaml: sections such as 'training:' are needed at the top, found 0"),
        ("training: [1]", "c.yaml: section training needs keys with values, found [1]"),
        (
            "trainig: {}",
            "c.yaml: unknown section 'trainig': did you mean 'training'? "
            "known are backend, data, logging, network, run, trace, training",
        ),
        ("1: {}", "c.yaml: unknown section '1': known are backend, data, logging, network, run, trace, training"),
        (
            "backend: {nmae: numpy}",
            "c.yaml: unknown key of backend 'nmae': did you mean 'name'? "
            "known are device, dtype, name, numerics, threads",
        ),
        ("logging: {1: 2}", "c.yaml: unknown key of logging '1': known are file, level"),
        ("data: {dataset: a, path: b}", "both c.yaml: data.dataset and c.yaml: data.path: give one of them"),
        (
            "data: {path: a, noise: 1}",
            "c.yaml: data.noise: nothing that a CSV file has; leave it out",
        ),
        (
            "data: {dataset: iris, header: true}",
            "c.yaml: data.header: nothing that a built-in data set has; leave it out",
        ),
    ],
)
def test_a_file_that_makes_no_sense(content, message):
    refused(message, file=write(content))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("? [a, b]\n: 1\n", "c.yaml, line 1: not YAML (found unhashable key)"),
        ("training: {}\ntraining:\n  epochs: 3\n", "c.yaml, line 2: not YAML (training stands there twice)"),
        ("training:\n  epochs: 3\n  seed: 1\n  epochs: 4\n", "c.yaml, line 4: not YAML (epochs stands there twice)"),
        ("a: [1\n", "c.yaml, line 2: not YAML"),
        ("training:\n\tepochs: 3\n", "c.yaml, line 2: not YAML"),
    ],
)
def test_what_is_no_yaml_is_named_by_its_line(content, where):
    with pytest.raises(br.InvalidInput, match=re.escape(where)):
        merge({}, write(content))


def test_files_that_cannot_be_read(folder):
    refused("absent.yaml: no such file; check the path of --config", file="absent.yaml")
    refused(".: not a regular file but a folder; give a file in it", file=".")
    (folder / "latin.yaml").write_bytes("data: {dataset: é}".encode("latin-1"))
    with pytest.raises(br.InvalidInput, match=r"latin.yaml: cannot be read \(not UTF-8 text\); save it as UTF-8"):
        merge({}, "latin.yaml")


LOSS_NAMES = list(dict.fromkeys([*network.LOSSES, *network.LOSSES.values()]))
ACTIVATIONS = " or ".join([", ".join(network.ACTIVATIONS[:-1]), network.ACTIVATIONS[-1]])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.batch_size", "abc", "'abc' is not allowed; a whole number or full is needed"),
        ("training.batch_size", 0, "0 is not allowed; 1 or more or full is needed"),
        ("training.batch_size", [1], "[1] is not allowed; a whole number or full is needed"),
        ("training.epochs", 1.5, "1.5 is not allowed; a whole number is needed"),
        ("training.epochs", -1, "-1 is not allowed; 0 or more is needed"),
        ("training.epochs", True, "'True' is not allowed; a whole number is needed"),
        ("training.learning_rate", float("nan"), "nan is not allowed; a finite number is needed"),
        ("training.learning_rate", {"a": 1}, "{'a': 1} is not allowed; a number is needed"),
        ("training.momentum", 1, "1 is not allowed; less than 1 is needed"),
        (
            "training.optimizer",
            ["sgd"],
            "['sgd'] is not allowed; sgd, adam, adamw, rmsprop, adagrad or lbfgs is needed",
        ),
        ("training.shuffle", "maybe", "'maybe' is not allowed; true or false is needed"),
        ("training.seed", "x" * 99, "'xxxxxxxxxxxx...xxxxxxxxxxxxx' is not allowed; a whole number is needed"),
        ("network.hidden", {"a": 1}, "{'a': 1} is not allowed; a list such as [64, 32] is needed"),
        ("network.hidden", [64, "x"], "'x' is not allowed; a whole number is needed"),
        ("network.hidden", [64, 0], "0 is not allowed; 1 or more is needed"),
        ("network.activation", "foo", f"'foo' is not allowed; {ACTIVATIONS} is needed"),
        ("network.activation", ["foo"], f"'foo' is not allowed; {ACTIVATIONS} is needed"),
        (
            "network.activation",
            ["elu(-1)"],
            "'elu(-1)' is not allowed; elu(α) with a number α above 0, or elu alone for 1, is needed",
        ),
        ("network.activation", 3, f"3 is not allowed; {ACTIVATIONS} is needed"),
        ("network.output_activation", "Relu", f"'Relu' is not allowed; {ACTIVATIONS} is needed"),
        (
            "network.loss",
            "sqare",
            f"'sqare' is not allowed; {', '.join(LOSS_NAMES[:-1])} or {LOSS_NAMES[-1]} is needed",
        ),
        ("data.target", {"a": 1}, "{'a': 1} is not allowed; a list such as [64, 32] is needed"),
        ("data.path", "", "'' is not allowed; text is needed"),
        ("data.test_size", 20, "20 is not allowed; less than 1 is needed"),
        ("logging.level", "loud", "'LOUD' is not allowed; DEBUG, INFO, WARNING or ERROR is needed"),
        ("backend.dtype", "float16", "'float16' is not allowed; float64 or float32 is needed"),
    ],
)
def test_a_wrong_value_is_told_what_is_allowed(key, value, message):
    section, _, name = key.partition(".")
    refused(f"c.yaml: {key}: {message}", file=write(yaml.safe_dump({section: {name: value}})))
    flag = next(flag for flag, (where, key, _) in flags().items() if (where, key) == (section, name))
    refused(f"{flag}: {message}", {flag: value})


@pytest.mark.parametrize("name", ["RANDOM_SEED", "LOG_LEVEL"])
def test_a_wrong_variable_is_named(name, monkeypatch):
    write(f"{name}=wrong\n", ".env")
    with pytest.raises(br.InvalidInput, match=rf"^\.env: {name}: "):
        merge({})
    monkeypatch.setenv(name, "wrong")
    with pytest.raises(br.InvalidInput, match=rf"^{name}: "):
        merge({})


def test_a_csv_of_numbers_to_predict_is_trained_by_adam():
    config = merge({"--data-path": "numbers.csv", "--task": "regression"})
    suit(config, "", "regression")
    assert (config.training.optimizer, config.training.learning_rate) == ("adam", 0.001)
