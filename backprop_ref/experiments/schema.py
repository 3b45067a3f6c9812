"""The configuration of a run: every key of the YAML file, and the command-line flag of each.

A flag is a key and a key is a flag: the command line is made from the fields below.
"""

import contextlib
import json
from collections.abc import Container, Iterable
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from backprop_ref import formulas, network
from backprop_ref.backends import names as backend_names
from backprop_ref.data.columns import KINDS, MISSING, ORDERS
from backprop_ref.data.named import NAMES
from backprop_ref.data.preprocessing import NORMALIZATIONS
from backprop_ref.errors import InvalidInput
from backprop_ref.network import ACTIVATIONS, LOSSES
from backprop_ref.network.initialisers import SCHEMES
from backprop_ref.optimizers.lbfgs import METHODS
from backprop_ref.optimizers.schedules import SCHEDULES
from backprop_ref.parameters import DTYPES
from backprop_ref.traces.sinks import SINKS


def key(default: Any, flag: str, help: str) -> Any:
    """A field with its flag."""
    return Field(default, description=help, json_schema_extra={"flag": flag})


def one_of(names: Iterable[str], known: Container[str] = ()) -> BeforeValidator:
    """What a value has to be, for `Annotated`; `known` holds what else it may be."""
    *others, last = names
    expected = f"{', '.join(others)} or {last}"

    def check(value):
        if value not in (*others, last) and not (isinstance(value, str) and value in known):
            raise PydanticCustomError("literal_error", "one of a few names", {"expected": expected})
        return value

    return BeforeValidator(check)


def _rates() -> str:
    """What the learning rate of each optimizer is by default."""
    return ", ".join(f"{name} {kind().learning_rate:g}" for name, kind in METHODS.items())


def activation_name(name):
    """Our name of an activation that another library calls otherwise, and the one spelling of its number."""
    return _named(network.activation_name, name)


def loss_name(name):
    """The same of a loss; a short name stays."""
    return name if name in LOSSES.values() else _named(network.loss_name, name)


def _named(name_of, name):
    try:
        return name_of(name) if isinstance(name, str) else name
    except InvalidInput as error:
        expected = str(error).partition(": ")[2].removesuffix(" is needed")
        raise PydanticCustomError("literal_error", "another number", {"expected": expected}) from None


def weights_of_classes(value):
    """'balanced', or a mapping of class to weight, which a command line gives as JSON."""
    if isinstance(value, str) and value != "balanced":
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict):
        return {str(name): weight for name, weight in value.items()}
    if value not in (None, "balanced"):
        expected = 'balanced, or a weight for each class such as {"setosa": 2},'
        raise PydanticCustomError("literal_error", "balanced or weights", {"expected": expected})
    return value


EARLIER_KEYS = {
    "data": {"label_column": "target", "random_seed": "seed"},
    "network": {"hidden_layers": "hidden", "hidden_activations": "activation", "weight_init": "init"},
}
"""What keys were called before, which are still read."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
LOSS_NAMES = tuple(dict.fromkeys([*LOSSES, *LOSSES.values()]))
Activation = Annotated[str, one_of(ACTIVATIONS, formulas.ACTIVATIONS), BeforeValidator(activation_name)]


class Section(BaseModel):
    """A part of the file; keys that it does not have are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)
    earlier: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values):
        return (
            {cls.earlier.get(key, key): value for key, value in values.items()} if isinstance(values, dict) else values
        )

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value, info):
        """True is not 1; where several are meant, a single value is a list of one."""
        annotation = cls.model_fields[info.field_name].annotation
        wanted = bool in (annotation, *get_args(annotation))
        value = str(value) if isinstance(value, bool) and not wanted else value
        several = [get_origin(part) for part in get_args(annotation)] == [list, None]
        return [value] if several and isinstance(value, str | int | float) else value


class Logging(Section):
    level: Annotated[str, one_of(LEVELS), BeforeValidator(lambda level: str(level).upper())] = key(
        "INFO", "--log-level", f"How much is logged: {', '.join(LEVELS)}."
    )
    file: Text = key("logs/app.log", "--log-file", "Rotating log file, inside the run folder.")


class Data(Section):
    earlier = EARLIER_KEYS["data"]
    dataset: Text | None = key(None, "--dataset", f"Built-in set: {', '.join(NAMES)}, encoder-N-M-N.")
    path: Text | None = key(
        None,
        "--data-path",
        "A table of your own: CSV (also packed), Excel, Parquet, JSON, ARFF, libsvm, npy, npz; or, larger than memory, "
        "a folder of X.npy and y.npy, Arrow or Parquet files.",
    )
    target: list[Text] | None = key(
        None, "--target", "Name or position (from 0) of the column to learn; several are quantities. Default: the last."
    )
    header: bool | None = key(None, "--header", "Whether the first line names the columns; default: by its looks.")
    task: Annotated[str, one_of(["classification", "regression"])] | None = key(
        None, "--task", "classification or regression; default: by the looks of the target."
    )
    drop: list[Text] | None = key(None, "--drop", "Columns to leave out.")
    id: list[Text] | None = key(None, "--id", "Columns to leave out, and to keep beside predictions.")
    missing: Annotated[str, one_of(MISSING)] | None = key(
        None,
        "--missing",
        f"What to do where a value is missing: {', '.join(MISSING)}; default: error. With mean, median and "
        "most-frequent, of the training rows, a further feature says that it was missing.",
    )
    kinds: list[Text] | None = key(
        None, "--as", f"What a column is, as COLUMN=KIND: {', '.join(KINDS[:5])}; default: by its looks."
    )
    missing_values: list[Text] | None = key(
        None, "--missing-value", "Texts that stand for a missing value, besides the usual such as NA and ?."
    )
    decimal: Annotated[str, one_of([".", ","])] | None = key(
        None, "--decimal", "Decimal mark, . or , where the cells leave it open."
    )
    dates: Annotated[str, one_of(list(ORDERS))] | None = key(
        None, "--dates", "day-first, month-first or year-first, where the cells leave it open."
    )
    encoding: Text | None = key(None, "--encoding", "Of a text file; default: UTF-8, or what it looks like.")
    sheet: Text | None = key(None, "--sheet", "Of a spreadsheet; default: the largest.")
    sample_weight: Text | None = key(
        None, "--sample-weight", "Column that says what each row counts in the loss, 0 or more; it is no input."
    )
    validation_path: Text | None = key(
        None, "--validation-path", "A table like that of --data-path, to look at after each epoch."
    )
    block_rows: Count | None = key(
        None,
        "--block-rows",
        "Of a folder: rows that are read and shuffled together. Default: those of Parquet's row groups, else 65536.",
    )
    readers: Annotated[int, Field(ge=0, le=64)] | None = key(
        None, "--readers", "Of a folder: threads that read ahead of training; they change no bit. Default: 1."
    )
    n_samples: Annotated[int, Field(ge=1, le=10**7)] | None = key(None, "--n-samples", "Size of a generated set.")
    n_features: Annotated[int, Field(ge=1, le=10**5)] | None = key(
        None, "--n-features", "Features of a generated set; patterns of the encoder."
    )
    n_classes: Annotated[int, Field(ge=2, le=10**5)] | None = key(None, "--n-classes", "Classes of a generated set.")
    noise: NotNegative | None = key(None, "--noise", "Noise of a generated set.")
    folds: Annotated[int, Field(ge=2)] | None = key(
        None, "--folds", "Train that many times, each time with another part of the rows kept for the test."
    )
    fold: Seed | None = key(None, "--fold", "Only this one of --folds, from 0.")
    seed: Seed | None = key(
        None, "--data-seed", "Seed of generated data and of the split; default: the seed of training."
    )
    test_size: Share | None = key(
        None, "--test-size", "Share of the rows kept for the final test; default: 0.2 (xor, encoder: 0)."
    )
    validation_size: Share = key(
        0.0, "--validation-size", "Share of the training rows kept for validation after each epoch."
    )
    normalize: Annotated[str, one_of(NORMALIZATIONS)] | None = key(
        None,
        "--normalize",
        f"{', '.join(NORMALIZATIONS)}, by the training rows' statistics; default: standardize (xor, encoder: none).",
    )


class NetworkSection(Section):
    earlier = EARLIER_KEYS["network"]
    hidden: list[Count] | None = key(
        None,
        "--hidden",
        "Widths of the hidden layers, as 64,32 or repeated; 'none' for no hidden layer.",
    )
    activation: list[Activation] | Activation | None = key(
        None, "--activation", f"Of the hidden layers, one for all or one each: {', '.join(ACTIVATIONS)}."
    )
    output_activation: Activation | None = key(
        None, "--output-activation", "Default: softmax for classes, linear for regression."
    )
    init: Annotated[str, one_of(SCHEMES)] | None = key(
        None, "--init", f"{', '.join(SCHEMES)}; default: he for relu, else xavier."
    )
    loss: Annotated[str, one_of(LOSS_NAMES, formulas.LOSSES), BeforeValidator(loss_name)] | None = key(
        None,
        "--loss",
        f"{', '.join(f'{name} ({short})' for name, short in LOSSES.items())}; default: by the output.",
    )


class Training(Section):
    epochs: Annotated[int, Field(ge=0, le=2**53)] | None = key(None, "--epochs", "Passes over the training rows.")
    learning_rate: NotNegative | None = key(None, "--learning-rate", f"Step size η; default: {_rates()} (xor: 0.05).")
    batch_size: Count | Literal["full"] | None = key(
        None, "--batch-size", "Rows per update; 1 is online, 'full' the whole set."
    )
    optimizer: Annotated[str, one_of(METHODS)] | None = key(
        None, "--optimizer", f"{', '.join(METHODS)}; default: sgd, for regression adam."
    )
    momentum: Share = key(0.0, "--momentum", "μ of sgd.")
    nesterov: bool = key(False, "--nesterov", "Nesterov's form of momentum.")
    rate_in_velocity: bool = key(False, "--rate-in-velocity", "sgd: v ← μ·v − η·g, as Keras and scikit-learn have it.")
    beta1: Share = key(0.9, "--beta1", "β1 of adam and adamw.")
    beta2: Share = key(0.999, "--beta2", "β2 of adam and adamw.")
    rho: Share = key(0.9, "--rho", "ρ of rmsprop.")
    epsilon: NotNegative = key(1e-8, "--epsilon", "ε of adam, adamw, rmsprop and adagrad.")
    epsilon_hat: bool = key(False, "--epsilon-hat", "adam, adamw: ε before the bias correction.")
    weight_decay: NotNegative | None = key(
        None, "--weight-decay", "λ: adds λ·W to the gradient of W; adamw: takes η·λ·W from W. Default: 0, adamw 0.01."
    )
    l1: NotNegative = key(0.0, "--l1", "λ₁: adds λ₁·sign(W) to the gradient of W.")
    l2: NotNegative = key(0.0, "--l2", "λ₂ of a penalty λ₂/(2n)·ΣW² in the loss of a batch of n rows.")
    clip_value: Positive | None = key(None, "--clip-value", "Clips each entry of the gradient to this size.")
    clip_norm: Positive | None = key(None, "--clip-norm", "Scales a gradient with a larger norm to this one.")
    max_norm: Positive | None = key(None, "--max-norm", "Scales weights into a neuron with a larger norm to this one.")
    class_weight: Annotated[
        Literal["balanced"] | dict[str, NotNegative] | None, BeforeValidator(weights_of_classes)
    ] = key(
        None,
        "--class-weight",
        "What rows of a class count in the loss of training: balanced (all classes the same), or JSON such as "
        "'{\"rare\": 10}', where others count 1.",
    )
    dropout: list[Share] | Share | None = key(
        None, "--dropout", "p with which hidden units are left out: one for all hidden layers, or one each."
    )
    memory: Annotated[int, Field(ge=1, le=1000)] = key(10, "--memory", "lbfgs: steps that the Hessian is guessed from.")
    evaluations: Annotated[int, Field(ge=1, le=1000)] = key(
        25, "--evaluations", "lbfgs: of a line search, at most, after the first."
    )
    schedule: Annotated[str, one_of(SCHEDULES)] | None = key(
        None, "--schedule", f"Of the learning rate: {', '.join(SCHEDULES)}; default: what suits the set."
    )
    step_epochs: Count = key(30, "--step-epochs", "schedule step: epochs between two steps.")
    step_factor: NotNegative = key(0.1, "--step-factor", "schedule step: what each multiplies the learning rate by.")
    minimum_factor: NotNegative = key(
        0.0, "--minimum-factor", "schedule cosine: share of the learning rate at the end."
    )
    shuffle: bool = key(True, "--shuffle", "A new order of the rows in each epoch.")
    patience: Count | None = key(
        None,
        "--patience",
        "Stop after this many epochs without a better validation loss (without validation: training loss), "
        "and restore the best.",
    )
    min_delta: NotNegative = key(0.0, "--min-delta", "What counts as better, for --patience.")
    shards: Count = key(1, "--shards", "Parts into which each batch is cut, for reproducible sums over workers.")
    start: Text | None = key(
        None, "--from", "Folder of a run from whose weights to start; a table is read by the rules of that run."
    )
    seed: Seed | None = key(None, "--seed", "Seed of everything: data, split, initial weights, order. Default 1.")


class BackendSection(Section):
    name: Text | None = key(None, "--backend", f"{', '.join(backend_names())}, or package.module:object.")
    numerics: Annotated[str, one_of(["fast", "reproducible"])] | None = key(
        None, "--numerics", "fast, or reproducible to the bit."
    )
    dtype: Annotated[str, one_of(DTYPES)] | None = key(None, "--dtype", "float64 or float32.")
    device: Text | None = key(None, "--device", "Device of the backend.")
    threads: Count | None = key(None, "--threads", "Threads of the backend.")


class Trace(Section):
    sinks: list[Annotated[str, one_of(SINKS)]] | None = key(
        None, "--trace", f"Write every z, a, delta, weight, bias and gradient of some epochs, as {', '.join(SINKS)}."
    )
    every: Count | None = key(
        None, "--trace-every", "Trace each n-th epoch; default: each one; if only binary, at most about 1000."
    )
    samples: list[Annotated[int, Field(ge=0)]] | None = key(
        None, "--trace-samples", "Training rows to trace, from 0, as 0,3 or repeated; default: the first 8."
    )
    digits: Annotated[int, Field(ge=1, lt=18)] | None = key(
        None, "--trace-digits", "Digits in CSV, 17 at most; default: the fewest that read back as the same number."
    )
    checkpoints: bool = key(False, "--keep-checkpoints", "Keep some checkpoints, for reproduce --spot.")


class Run(Section):
    dir: Text | None = key(None, "--run-dir", "New folder for this run; default: ./runs/NAME-N.")
    resume: Text | None = key(None, "--resume", "Folder of a run to go on with, by its own configuration.")
    output: Text | None = key(None, "--output", "File to write the results to as JSON, besides the run folder's.")
    json_: bool = Field(
        default=False, alias="json", description="Print the results as JSON.", json_schema_extra={"flag": "--json"}
    )


class Config(Section):
    """A whole configuration file."""

    logging: Logging = Field(default_factory=Logging)
    data: Data = Field(default_factory=Data)
    network: NetworkSection = Field(default_factory=NetworkSection)
    training: Training = Field(default_factory=Training)
    backend: BackendSection = Field(default_factory=BackendSection)
    trace: Trace = Field(default_factory=Trace)
    run: Run = Field(default_factory=Run)


def flags() -> dict[str, Any]:
    """Every flag with its section, key and field, in the order of the file."""
    found = {}
    for section, part in Config.model_fields.items():
        of: Any = part.annotation
        for name, info in of.model_fields.items():
            found[info.json_schema_extra["flag"]] = (section, info.alias or name, info)
    return found


OTHER_KEYS = {
    section: {
        **EARLIER_KEYS.get(section, {}),
        **{
            name: key
            for flag, (of, key, _) in flags().items()
            if of == section and (name := flag.removeprefix("--").replace("-", "_")) != key
        },
    }
    for section in Config.model_fields
}
"""What a key of a file may be called besides its name: as it was before, and as its flag is."""
