"""One configuration from flags, over LOG_LEVEL and RANDOM_SEED, over the file, over what suits the data."""

import os
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from backprop_ref import settings
from backprop_ref.asking import ask, called
from backprop_ref.data.named import NAMES
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.schema import OTHER_KEYS, Config, flags
from backprop_ref.files import content, path_of, refuse_ways_out
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.network import loss_name
from backprop_ref.optimizers.lbfgs import METHODS
from backprop_ref.stored import read_text

# What a run does where nothing else is said: on most data, on numbers to predict, and on some of the built-in sets.
SUITED: dict[str, dict[str, dict[str, Any]]] = {
    "any": {
        "data": {"test_size": 0.2, "normalize": "standardize"},
        "network": {"hidden": [128], "activation": "relu"},
        "training": {"epochs": 100, "batch_size": 32, "optimizer": "sgd", "schedule": "constant"},
    },
    "regression": {"training": {"optimizer": "adam"}},
    "xor": {
        "data": {"test_size": 0.0, "normalize": "none"},
        "network": {
            "hidden": [4],
            "activation": "sigmoid",
            "output_activation": "sigmoid",
            "loss": "sse",
        },
        "training": {"epochs": 20000, "batch_size": 1},
    },
    "encoder": {
        "data": {"test_size": 0.0, "normalize": "none"},
        "network": {"hidden": [3], "activation": "sigmoid"},
        "training": {"epochs": 2000, "batch_size": 1},
    },
    "digits": {
        "data": {"normalize": "minmax"},
        "network": {"hidden": [1024]},
        "training": {"epochs": 25, "batch_size": 64, "optimizer": "adam", "schedule": "cosine"},
    },
}
LEARNING_RATES: dict[Any, float] = {name: kind().learning_rate for name, kind in METHODS.items()}
LEARNING_RATES |= {("xor", "sgd"): 0.05, ("digits", "adam"): 0.004}
ENVIRONMENT = {
    "LOG_LEVEL": [("logging", "level")],
    "RANDOM_SEED": [("training", "seed"), ("data", "seed")],
}
OF_GENERATORS = ("n_samples", "n_features", "n_classes", "noise")
OF_TABLES = (
    *("target", "header", "drop", "id", "missing", "kinds", "missing_values", "decimal", "dates", "encoding", "sheet"),
    *("sample_weight", "validation_path", "block_rows", "readers"),
)
_OF_FILES = {"header", "encoding", "sheet", "validation_path", "block_rows", "readers"}
OF_RULES = ("task", "normalize", *(key for key in OF_TABLES if key not in _OF_FILES))
"""What a run has decided about its table."""
EARLIER_FLAGS = {
    "--label-column": "--target",
    "--hidden-size": "--hidden",
    "--weight-init": "--init",
    "--weight-inits": "--inits",
}
"""What flags were called before, which they still answer to."""


MOST_BYTES = 2**18
"""Of a configuration: YAML is read slowly."""
MOST_DIGITS = 400
"""Of a whole number."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no mapping may have a key twice."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):  # which YAML refuses
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node):
        if len(node.value) > MOST_DIGITS:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_config(path, besides=()):
    """The YAML file as nested dictionaries, to be checked with everything else; null counts as left out.

    Sections named in `besides`, which are no part of a run's configuration, may be there too.
    """
    try:
        content = yaml.load(read_text(path_of(path, "config"), MOST_BYTES), _Loader)
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; check the path of {ask('--config')}") from None
    except InvalidInput:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or error
        raise InvalidInput(f"{path}{place}: not YAML ({problem}); mend that line") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: sections such as 'training:' are needed at the top, found {reprlib.repr(content)}")
    for section, values in content.items():
        if section not in (*Config.model_fields, *besides):
            raise InvalidInput(f"{path}: {unknown('section', section, Config.model_fields)}")
        if not isinstance(values, dict | None):
            raise InvalidInput(f"{path}: section {section} needs keys with values, found {reprlib.repr(values)}")
    return {section: _named(path, section, values or {}) for section, values in content.items()}


def _named(path, section, values):
    """The keys of a section by the names that they have now, with one value as a list where several are meant."""
    other, found = OTHER_KEYS.get(section, {}), {}
    called: dict[str, str] = {}
    for key, value in values.items():
        name = other.get(str(key), str(key))
        if value is not None and name in found:
            raise InvalidInput(f"{path}: {section}.{called[name]} and {section}.{key} are the same; give one of them")
        called[name] = str(key)
        if value is not None:
            found[name] = value
    if isinstance(found.get("kinds"), dict):
        found["kinds"] = [f"{column}={kind}" for column, kind in found["kinds"].items()]
    for key in LISTS if section == "data" else ():
        if isinstance(found.get(key), str | int) and not isinstance(found.get(key), bool):
            found[key] = [str(found[key])]
        elif isinstance(found.get(key), list):
            found[key] = [str(each) if isinstance(each, str | int | float) else each for each in found[key]]
    return found


LISTS = ("target", "drop", "id", "kinds", "missing_values")


def dotenv(folder="."):
    """NAME=value lines of a ``.env`` file as a dictionary: quoted or not, ``export`` and comments allowed."""
    path = Path(folder) / ".env"
    text = content(path, MOST_BYTES).decode(errors="replace") if path.is_file() else ""
    pair = re.compile(r"""\s*(?:export\s+)?(\w+)\s*=\s*(?:(["'])(.*?)\2|(.*?))\s*(?:(?<!\S)#.*)?""")
    found = filter(None, map(pair.fullmatch, text.splitlines()))
    return {match[1]: match[3] or match[4] or "" for match in found}


def check_backend(name, source, given=None):
    """Refuses a backend ``module:object`` that a file names: it is code, and whoever wrote the file is not asked.

    The same name on the command line (`given`), by `use` or in the environment allows it; built-in and installed
    backends are never refused.
    """
    if name and ":" in name and name not in (given, settings.resolve("backend")):
        raise InvalidInput(
            f"{source}: backend {name} is code from elsewhere, which no file may have run; "
            f"if you trust it, give {ask('--backend', name)}"
        )


def merge(
    given: Mapping[str, Any],
    path: Any = None,
    environment: bool = True,
    besides: Collection[str] = (),
    given_as: Mapping[str, str] | None = None,
    computing: bool = True,
) -> Config:
    """The `Config` from flags given (flag -> value), the environment, a ``.env``, and a file.

    `environment` is False for a run that goes on by its own configuration: flags and the file alone. `besides` are
    sections of the file that are left to others, `given_as` what messages call a flag that was given by another name.
    Where nothing is computed on the backend (`computing`), its name is left out.
    """
    content, table = {} if path is None else _content(path, besides, environment), flags()
    given, told = {EARLIER_FLAGS.get(flag, flag): value for flag, value in given.items()}, set[tuple[str, str]]()
    sources = {(section, key): f"{path}: {section}.{key}" for section, values in content.items() for key in values}

    def put(section, key, value, source):
        content.setdefault(section, {})[key] = value
        sources[section, key] = source

    if environment:
        for name, value, source in _variables():
            for section, key in ENVIRONMENT[name]:
                put(section, key, value, source)
        for key in settings.DEFAULTS:
            if settings.from_environment(key) is not None:
                content.get("backend", {}).pop("name" if key == "backend" else key, None)
    if {"--dataset", "--data-path"} & set(given):
        for key in ("dataset", "path", "task", *OF_GENERATORS, *OF_TABLES):
            content.get("data", {}).pop(key, None)
    for flag, value in given.items():
        section, key, _ = table[flag]
        source = called((given_as or {}).get(flag, flag))
        told.add((section, key))
        put(section, key, [str(value)] if key in LISTS and isinstance(value, str | int) else value, source)
        if flag == "--seed" and "--data-seed" not in given:
            put("data", "seed", value, source)
    try:
        config = Config(**content)
    except ValidationError as error:
        raise _explained(error.errors(), sources, path, table) from None
    if not computing:
        config.backend.name = None
    elif path is not None:
        check_backend(config.backend.name, path, given.get("--backend"))
    return _checked(config, sources, told)


def _content(path, besides, environment):
    """The sections of a file, but those `besides`; one that goes on by its own configuration has no say in where."""
    if not environment:
        refuse_ways_out(Path(path).parent, Path(path).name)
    content = read_config(path, besides)
    if content.get("run") and not environment:
        raise InvalidInput(f"{path}: section run: only the command line says where a run goes; remove that section")
    return {section: values for section, values in content.items() if section not in besides}


def _variables():
    """Name, value and source of the variables of `ENVIRONMENT` that are set and not empty."""
    found = dotenv()
    for name in ENVIRONMENT:
        for value, source in ((os.environ.get(name, ""), name), (found.get(name, ""), f".env: {name}")):
            if value.strip():
                yield name, value.strip(), source
                break


def _checked(config, sources, told):
    """What a single field cannot say; `told` are the keys that flags were given for."""
    data, seeds = config.data, (config.training.seed, config.data.seed)
    config.training.seed = next((seed for seed in seeds if seed is not None), 1)
    data.seed = next((seed for seed in reversed(seeds) if seed is not None), 1)
    if data.dataset and data.dataset not in NAMES and ((named := path_of(data.dataset)).suffix or named.is_dir()):
        if not named.exists():
            raise InvalidInput(f"{data.dataset}: no such file; check the path")
        if data.path is None:
            data.path, data.dataset = data.dataset, None
            sources["data", "path"] = sources["data", "dataset"]
    if data.dataset and data.path:
        raise InvalidInput(f"both {sources['data', 'dataset']} and {sources['data', 'path']}: give one of them")
    if data.dataset is None and data.path is None:
        if data.task is not None:
            data.dataset = data.task
        elif any(getattr(data, key) is not None for key in OF_GENERATORS):
            data.dataset = "classification"
    _check_folds(data, sources, told)
    for key in OF_GENERATORS if data.path else OF_TABLES if data.dataset else ():
        if getattr(data, key) is not None:
            kind = "a CSV file" if data.path else "a built-in data set"
            raise InvalidInput(f"{sources['data', key]}: nothing that {kind} has; leave it out")
    for key in OF_RULES if config.training.start and data.path else ():
        if getattr(data, key) is not None and (key != "normalize" or ("data", key) in told):
            source = f"{sources.get(('data', key), '')} with {ask('--from')}"
            raise InvalidInput(f"{source}: the table is read by the rules of that run; leave it out")
    return config


def _check_folds(data, sources, told):
    """Which rows are the test is said once."""
    if data.fold is not None and data.folds is None:
        raise InvalidInput(
            f"{sources['data', 'fold']}: one of how many is needed; give {ask('--folds')} too, or leave it out"
        )
    if data.folds is not None and ("data", "test_size") in told:
        raise InvalidInput(
            f"{ask('--test-size')} with {ask('--folds')}: of {data.folds} folds each is the test once, "
            f"1/{data.folds} of the rows; "
            "leave out one of the two"
        )


def suit(config, name, task):
    """Fills in what was left open, for a data set of this name ('' for a file's) and task."""
    kind, *sizes = name.split("-")
    if sizes and config.network.hidden is None:
        config.network.hidden = [int(sizes[1])]
    if config.training.optimizer == "lbfgs":
        _suit_lbfgs(config.training)
    for suited in (SUITED.get(kind, {}), SUITED.get(task, {}), SUITED["any"]):
        for section, values in suited.items():
            for key, value in values.items():
                if getattr(getattr(config, section), key) is None:
                    setattr(getattr(config, section), key, value)
    network, training = config.network, config.training
    hidden = network.activation
    hidden = [hidden] if isinstance(hidden, str) else hidden
    network.activation = hidden * len(network.hidden) if len(hidden) == 1 else hidden
    if len(network.activation) != len(network.hidden):
        raise InvalidInput(
            f"network.activation ({ask('--activation')}): {len(hidden)} for {len(network.hidden)} "
            "hidden layers; give one for all, or one for each"
        )
    if isinstance(training.dropout, list) and len(training.dropout) == 1:
        training.dropout = training.dropout[0]
    if network.output_activation is None:
        outputs = () if network.loss is None else LOSSES[loss_name(network.loss)].outputs
        by_loss = "softmax" if not outputs or "softmax" in outputs else outputs[0]
        network.output_activation = by_loss if task == "classification" else "linear"
    if network.loss is None:
        by_output = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"} if task == "classification" else {}
        network.loss = by_output.get(network.output_activation, "mean_squared_error")
    if network.init is None:
        relu = any(ACTIVATIONS.parts(name)[0].endswith("relu") for name in network.activation)
        network.init = "he" if relu else "xavier"
    _suit_optimizer(training, kind)


def _suit_lbfgs(training):
    """Fills in what L-BFGS needs, and refuses what it cannot do with."""
    training.batch_size, training.schedule = training.batch_size or "full", training.schedule or "constant"
    if training.batch_size != "full":
        raise InvalidInput(
            f"training.batch_size ({ask('--batch-size')}): lbfgs takes all rows in each step; leave it out"
        )


def _suit_optimizer(training, kind):
    """Fills in what the optimizer was not told, and refuses what it does not have."""
    optimizer = training.optimizer
    if training.learning_rate is None:
        training.learning_rate = LEARNING_RATES.get((kind, optimizer), LEARNING_RATES[optimizer])
    if training.weight_decay is None:
        training.weight_decay = METHODS[optimizer]().weight_decay
    names = {name: [each.name for each in fields(of)] for name, of in METHODS.items()}
    for key, field in type(training).model_fields.items():
        owners = [name for name, of in names.items() if key in of]
        if owners and optimizer not in owners and getattr(training, key) != field.default:
            flag = field.json_schema_extra["flag"]
            raise InvalidInput(
                f"training.{key} ({ask(flag)}) is {owners[0]}'s; leave it out with {optimizer}, or use "
                f"{ask('--optimizer', owners[0])}"
            )


def dump(config):
    """The configuration as YAML text that `read_config` reads back, but for where its run goes."""
    return yaml.safe_dump(config.model_dump(by_alias=True, exclude={"run"}), sort_keys=False, allow_unicode=True)


# By pydantic's name for the problem, or its first word.
NEEDED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list such as [64, 32]",
    "finite": "a finite number",
    "greater": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal": "{expected}",
}


def _explained(problems, sources, path, table):
    """Validation errors of one value in one line: where it came from, what is wrong, what is allowed."""
    if len(problems[0]["loc"]) < 2:
        raise InvalidInput(f"{path}: {'.'.join(map(str, problems[0]['loc']))}: {problems[0]['msg']}")
    section, key = place = problems[0]["loc"][:2]
    if problems[0]["type"] == "extra_forbidden":
        keys = [name for where, name, _ in table.values() if where == section]
        return InvalidInput(f"{path}: {unknown(f'key of {section}', key, keys)}")
    problems = [problem for problem in problems if problem["loc"][:2] == place]
    depth = max(len(problem["loc"]) for problem in problems)
    problems = [problem for problem in problems if len(problem["loc"]) == depth]
    return refused(sources[place], problems)


def refused(source, problems):
    """An `InvalidInput` for a value from `source` with which pydantic found these problems."""
    needed = list(dict.fromkeys(map(_needed, problems)))
    if len(needed) > 1 and NEEDED["list"] in needed:
        needed.remove(NEEDED["list"])
    allowed, shown = " or ".join(needed).replace("'", ""), reprlib.repr(problems[0]["input"])
    return InvalidInput(f"{source}: {shown} is not allowed; {allowed} is needed")


def _needed(problem):
    kind = problem["type"]
    return NEEDED.get(kind, NEEDED[kind.partition("_")[0]]).format(**problem.get("ctx", {}))
