"""The configuration of a run: every key of the YAML file, and the command-line flag of each.

A flag is a key and a key is a flag: the command line is made from the fields below.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backprop_ref.backends import names as backend_names
from backprop_ref.data.named import NAMES
from backprop_ref.data.preprocessing import NORMALIZATIONS
from backprop_ref.network import ACTIVATIONS, LOSSES
from backprop_ref.optimizers import OPTIMIZERS, SCHEDULES
from backprop_ref.parameters import DTYPES, SCHEMES


def key(default: Any, flag: str, help: str, **limits: Any) -> Any:
    """A field with its flag."""
    return Field(default, description=help, json_schema_extra={"flag": flag}, **limits)


Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the file; keys that it does not have are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Logging(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = key("INFO", "--log-level", "How much is logged.")
    file: str = key("logs/app.log", "--log-file", "Rotating log file, inside the run folder.")


class Data(Section):
    dataset: str | None = key(None, "--dataset", f"Built-in set: {', '.join(NAMES)}; also encoder-N-M-N.")
    path: str | None = key(None, "--data-path", "CSV file in place of a built-in set.")
    label_column: str | int | None = key(None, "--label-column", "Name or position (from 0) of the label in the CSV; default: the last.")
    header: bool | None = key(None, "--header", "Whether the CSV's first line names the columns; default: looked at.")
    task: Literal["classification", "regression"] | None = key(
        None, "--task", "What is learnt; default: what the built-in set is, else classification."
    )
    n_samples: Positive | None = key(None, "--n-samples", "Size of a generated set.")
    n_features: Positive | None = key(None, "--n-features", "Features of a generated set; patterns of the encoder.")
    n_classes: Annotated[int, Field(ge=2)] | None = key(None, "--n-classes", "Classes of a generated set.")
    noise: Annotated[float, Field(ge=0.0)] | None = key(None, "--noise", "Noise of a generated set.")
    random_seed: Seed | None = key(None, "--data-seed", "Seed of generated data and of the split; default: the seed of training.")
    test_size: Share | None = key(None, "--test-size", "Share of the rows kept for the final test, 0 for none; default: 0.2 (xor, encoder: 0).")
    validation_size: Share = key(0.0, "--validation-size", "Share of the training rows kept for validation after each epoch.")
    normalize: Literal[NORMALIZATIONS] | None = key(  # type: ignore[valid-type]
        None, "--normalize", "By the training rows' statistics; default: standardize (xor, encoder: none)."
    )


class NetworkSection(Section):
    hidden_layers: list[Positive] | None = key(None, "--hidden-size", "Widths of the hidden layers, as 64,32 or repeated; 'none' for no hidden layer.")
    hidden_activations: list[Literal[ACTIVATIONS]] | Literal[ACTIVATIONS] | None = key(  # type: ignore[valid-type]
        None, "--activation", f"Of the hidden layers, one for all or one each: {', '.join(ACTIVATIONS)}."
    )
    output_activation: Literal[ACTIVATIONS] | None = key(  # type: ignore[valid-type]
        None, "--output-activation", "Default: softmax for classes, linear for regression."
    )
    weight_init: Literal[tuple(SCHEMES)] | None = key(  # type: ignore[valid-type]
        None, "--weight-init", f"{', '.join(SCHEMES)}; default: he for relu, else xavier."
    )
    loss: str | None = key(None, "--loss", f"{', '.join(f'{name} ({short})' for name, short in LOSSES.items())}; default: by the output.")


class Training(Section):
    epochs: Annotated[int, Field(ge=0)] | None = key(None, "--epochs", "Passes over the training rows.")
    learning_rate: Annotated[float, Field(ge=0.0, lt=math.inf)] | None = key(None, "--learning-rate", "Step size η; default: the optimizer's for this set.")
    batch_size: Annotated[int, Field(ge=1)] | Literal["full"] | None = key(None, "--batch-size", "Rows per update; 1 is online, 'full' the whole set.")
    optimizer: Literal[tuple(OPTIMIZERS)] | None = key(None, "--optimizer", f"{' or '.join(OPTIMIZERS)}.")  # type: ignore[valid-type]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = key(0.0, "--momentum", "μ of sgd.")
    nesterov: bool = key(False, "--nesterov", "Nesterov's form of momentum.")
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = key(0.9, "--beta1", "β1 of adam.")
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = key(0.999, "--beta2", "β2 of adam.")
    epsilon: Annotated[float, Field(ge=0.0)] = key(1e-8, "--epsilon", "ε of adam.")
    weight_decay: Annotated[float, Field(ge=0.0)] = key(0.0, "--weight-decay", "λ: adds λ·W to the gradient of W.")
    schedule: Literal[tuple(SCHEDULES)] = key("constant", "--schedule", f"Of the learning rate: {', '.join(SCHEDULES)}.")  # type: ignore[valid-type]
    step_epochs: Positive = key(30, "--step-epochs", "schedule step: epochs between two steps.")
    step_factor: Annotated[float, Field(ge=0.0)] = key(0.1, "--step-factor", "schedule step: what each multiplies the learning rate by.")
    minimum_factor: Annotated[float, Field(ge=0.0)] = key(0.0, "--minimum-factor", "schedule cosine: share of the learning rate at the end.")
    shuffle: bool = key(True, "--shuffle", "A new order of the rows in each epoch.")
    patience: Positive | None = key(None, "--patience", "Stop after this many epochs without a better validation loss, and restore the best.")
    min_delta: Annotated[float, Field(ge=0.0)] = key(0.0, "--min-delta", "What counts as better, for --patience.")
    shards: Positive = key(1, "--shards", "Parts into which each batch is cut, for reproducible sums over workers.")
    seed: Seed | None = key(None, "--seed", "Seed of everything: data, split, initial weights, order. Default 1.")


class BackendSection(Section):
    name: str | None = key(None, "--backend", f"{', '.join(backend_names())}, or package.module:object.")
    numerics: Literal["fast", "reproducible"] | None = key(None, "--numerics", "fast, or reproducible to the bit.")
    dtype: Literal[DTYPES] | None = key(None, "--dtype", "float64 or float32.")  # type: ignore[valid-type]
    device: str | None = key(None, "--device", "Device of the backend.")
    threads: Positive | None = key(None, "--threads", "Threads of the backend.")


class Run(Section):
    dir: str | None = key(None, "--run-dir", "New folder for this run; default: ./runs/NAME-N.")
    resume: str | None = key(None, "--resume", "Folder of a run to go on with, by its own configuration.")
    output: str | None = key(None, "--output", "File to write the results to as JSON, besides the run folder's.")
    json_: bool = Field(
        False, alias="json", description="Print the results as JSON.", json_schema_extra={"flag": "--json"}
    )


class Config(Section):
    """A whole configuration file."""

    logging: Logging = Logging()
    data: Data = Data()
    network: NetworkSection = NetworkSection()
    training: Training = Training()
    backend: BackendSection = BackendSection()
    run: Run = Run()


def flags():
    """Every flag with its section, key and field, in the order of the file."""
    found = {}
    for section, part in Config.model_fields.items():
        for name, info in part.annotation.model_fields.items():
            found[info.json_schema_extra["flag"]] = (section, info.alias or name, info)
    return found
