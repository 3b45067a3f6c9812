"""One configuration out of several: flags over LOG_LEVEL and RANDOM_SEED over the file over what suits the data set."""

import os
from pathlib import Path

import yaml
from pydantic import ValidationError

from backprop_ref import settings
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.schema import Config, flags

# What a run does where nothing else is said, by data set; "" is any other.
SUITED = {
    "": {
        "data": {"test_size": 0.2, "normalize": "standardize"},
        "network": {"hidden_layers": [128], "hidden_activations": "relu"},
        "training": {"epochs": 100, "batch_size": 32, "optimizer": "sgd"},
    },
    "xor": {
        "data": {"test_size": 0.0, "normalize": "none"},
        "network": {"hidden_layers": [4], "hidden_activations": "sigmoid", "output_activation": "sigmoid", "loss": "sse"},
        "training": {"epochs": 20000, "batch_size": 1, "optimizer": "sgd", "learning_rate": 0.05},
    },
    "encoder": {
        "data": {"test_size": 0.0, "normalize": "none"},
        "network": {"hidden_layers": [3], "hidden_activations": "sigmoid", "output_activation": "softmax", "loss": "ce"},
        "training": {"epochs": 2000, "batch_size": 1, "optimizer": "sgd", "learning_rate": 0.1},
    },
}
LEARNING_RATES = {"sgd": 0.1, "adam": 0.001}
ENVIRONMENT = {"LOG_LEVEL": [("logging", "level")], "RANDOM_SEED": [("training", "seed"), ("data", "random_seed")]}


def read_config(path):
    """The YAML file as nested dictionaries; checked later, with everything else."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; check the path of --config") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where else ""
        raise InvalidInput(f"{path}{place}: not YAML ({getattr(error, 'problem', None) or error})") from None
    content = content or {}
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: sections such as 'training:' are needed at the top, found {type(content).__name__}")
    for section, values in content.items():
        if section not in Config.model_fields:
            raise _named(path, unknown("section", section, Config.model_fields))
        if values is not None and not isinstance(values, dict):
            raise InvalidInput(f"{path}: section {section} needs keys with values, found {values!r}")
    return {section: dict(values or {}) for section, values in content.items()}


def dotenv(folder="."):
    """KEY=VALUE lines of a ``.env`` file, without those the environment sets itself."""
    path = Path(folder) / ".env"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    pairs = (line.removeprefix("export ").partition("=") for line in map(str.strip, lines) if "=" in line and not line.startswith("#"))
    values = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return {name: value for name, value in values.items() if not os.environ.get(name)}


def merge(given, path=None):
    """The `Config` from flags given (flag -> value), the environment, a ``.env``, and a file.

    Raises
    ------
    InvalidInput
        A value or key that is not allowed, with its flag or its place in the file, and what is allowed.
    """
    content, table = read_config(path) if path else {}, flags()
    sources = {(section, key): f"{path}: {section}.{key}" for section, values in content.items() for key in values}

    def put(section, key, value, source):
        content.setdefault(section, {})[key] = value
        sources[section, key] = source

    environment = {**dotenv(), **{name: value for name, value in os.environ.items() if value.strip()}}
    for name, places in ENVIRONMENT.items():
        for section, key in places if environment.get(name) else ():
            put(section, key, environment[name].upper() if name == "LOG_LEVEL" else environment[name], name)
    for key in ("backend", "numerics", "dtype", "device", "threads"):
        if settings.from_environment(key) is not None:
            content.get("backend", {}).pop("name" if key == "backend" else key, None)
    for flag, value in given.items():
        section, key, _ = table[flag]
        put(section, key, value, flag)
        if flag == "--seed" and "--data-seed" not in given:
            put("data", "random_seed", value, flag)
        for other in {"--dataset": "path", "--data-path": "dataset"}.get(flag), :
            if other and content.get("data", {}).get(other) is not None and f"--{other}" not in given:
                content["data"].pop(other)
    try:
        config = Config(**content)
    except ValidationError as error:
        raise _explained(error.errors()[0], sources, path, table) from None
    return _checked(config, sources)


def _checked(config, sources):
    """What a single field cannot say."""
    seeds = config.training.seed, config.data.random_seed
    config.training.seed = next((seed for seed in seeds if seed is not None), 1)
    config.data.random_seed = next((seed for seed in reversed(seeds) if seed is not None), 1)
    if config.data.dataset and config.data.path:
        raise InvalidInput("data: dataset and path are both given; give one of them")
    if not (config.data.dataset or config.data.path) and any(section == "data" for section, _ in sources):
        config.data.dataset = "classification"
    return config


def suit(config, kind, task):
    """Fills in what was left open, for a data set of this kind and task; returns the same `config`."""
    suited, general = SUITED.get(kind, {}), SUITED[""]
    for section in ("data", "network", "training"):
        for key, value in {**general[section], **suited.get(section, {})}.items():
            if getattr(getattr(config, section), key) is None:
                setattr(getattr(config, section), key, value)
    network, training = config.network, config.training
    hidden = network.hidden_activations
    network.hidden_activations = [hidden] * len(network.hidden_layers) if isinstance(hidden, str) else hidden
    if len(network.hidden_activations) != len(network.hidden_layers):
        raise InvalidInput(
            f"network.hidden_activations (--activation): {len(network.hidden_activations)} for {len(network.hidden_layers)} "
            "hidden layers; give one for all, or one for each"
        )
    if network.output_activation is None:
        by_loss = {"bce": "sigmoid", "binary_cross_entropy": "sigmoid"}.get(network.loss, "softmax")
        network.output_activation = by_loss if task == "classification" else "linear"
    if network.loss is None:
        by_output = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"} if task == "classification" else {}
        network.loss = by_output.get(network.output_activation, "mean_squared_error")
    if network.weight_init is None:
        relu = any(name.endswith("relu") for name in network.hidden_activations)
        network.weight_init = "he" if relu else "xavier"
    if training.learning_rate is None:
        training.learning_rate = LEARNING_RATES[training.optimizer]
    if training.momentum and training.optimizer != "sgd":
        raise InvalidInput("training.momentum (--momentum) is sgd's; leave it out with adam, or use --optimizer sgd")
    return config


def dump(config):
    """The configuration as YAML text that `read_config` reads back."""
    return yaml.safe_dump(config.model_dump(by_alias=True), sort_keys=False, allow_unicode=True)


def _named(path, error):
    return InvalidInput(f"{path}: {error}")


def _explained(problem, sources, path, table):
    """A validation error in one line: where the value came from, what is wrong, what is allowed."""
    section, key = problem["loc"][0], problem["loc"][1] if len(problem["loc"]) > 1 else None
    source = sources.get((section, key), f"{path}: {section}.{key}")
    if problem["type"] == "extra_forbidden":
        keys = [name for where, name, _ in table.values() if where == section]
        return InvalidInput(f"{path}: {unknown(f'key {section}.', key, keys)}".replace(". '", "."). replace("':", ":"))
    shown = problem["input"] if not isinstance(problem["input"], dict) else "…"
    allowed = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"].replace("'", "")
    return InvalidInput(f"{source}: {shown!r} is not allowed; {allowed} is needed")
