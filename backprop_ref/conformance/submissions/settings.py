"""What an argument of somebody's function or class means, by its name."""

import functools
import re
from typing import Any

from backprop_ref.conformance.cases import Case


def words(text: str) -> tuple[str, ...]:
    """Names, written one after the other."""
    return tuple(text.split())


OUR_RATE = 2.0**-6  # a power of two: dividing by it rounds nothing
RATES = (
    "learning_rate",
    "lr",
    "eta",
    "alpha",
    "step_size",
    "rate",
    "l_rate",
    "learn_rate",
    *words("lernrate taux pas tasa 学习率"),
)
INIT_RATE = "learning_rate_init"

SIZES = words(
    """
    sizes layer_sizes layers layer_dims dims shape architecture topology structure layers_dims layer_dimensions
    n_units units layers_sizes num_neurons nodes
    """
)
HIDDEN = words("hidden_layer_sizes hidden_sizes hidden_layers hidden_dims")
AFTER = words("nouts n_outs layer_outs out_sizes outs")
"""Names of an argument for the sizes of all layers but the first."""
ONE_HIDDEN = words(
    """
    hidden_size n_hidden hidden_dim num_hidden n_h hidden hidden_units nh hidden_n hidden_nodes num_hiddens
    hidden_neurons hidden_layer_size n_hid hid h verdeckt versteckt n_verdeckt n_caches caches n_ocultas ocultas 隐藏维
    隐藏层大小
    """
)
INPUTS = words(
    """
    n_in n_inputs input_size input_dim num_inputs n_x inputs n_features input_nodes n_input num_input ni input_n
    input_layer_size n_i in_dim in_features nin eingaben n_eingaben n_entrees entrees n_entradas entradas
    输入维 输入大小
    """
)
OUTPUTS = words(
    """
    n_out n_outputs output_size output_dim num_outputs n_y outputs n_classes no output_nodes n_output num_output
    output_n num_labels n_labels num_classes n_o out_dim out_features output_layer_size nout
    ausgaben n_ausgaben n_sorties sorties n_salidas salidas 输出维 输出大小
    """
)
WIDTHS = (*INPUTS, *ONE_HIDDEN, *OUTPUTS)
"""Names of arguments for the size of one layer."""
ONCE = words(
    """
    epochs n_epochs max_iter n_iter num_epochs iterations num_iterations steps epoch n_iterations iters num_iters
    n_iters max_epochs nb_epochs num_passes repeat rounds n_rounds epochen runden epoques epocas 轮数 迭代次数
    """
)
DECAY = words(
    """
    weight_decay l2 lam reg regularization lambda lambd lmbda lamda lambda_ plambda v_lambda lamb reg_lambda l2_reg
    l2_lambda lambda1 wd reg_strength regularization_strength
    """
)
"""Names of an argument for the λ of a penalty on the weights."""
NOTHING = (*DECAY, *words("momentum dropout decay mu l1"))
QUIET = words("verbose shuffle early_stopping nesterovs_momentum warm_start print_cost plot debug")
BATCH = words("batch_size mini_batch_size minibatch_size m n n_samples n_examples")
ACTIVATION = words(
    "activation hidden_activation act nonlinearity activation_function activation_fn activation_func act_fn"
)
TOLD = ("network", "activations", "loss", *ACTIVATION, "output_activation", "out_activation", "loss_function")
"""Names of arguments that tell a network apart from others of its sizes."""

SETTINGS = {
    *SIZES,
    *HIDDEN,
    *AFTER,
    *ONE_HIDDEN,
    *INPUTS,
    *OUTPUTS,
    *ONCE,
    *NOTHING,
    *QUIET,
    *BATCH,
    *TOLD,
    *RATES,
    INIT_RATE,
}
SETTINGS |= {"n_layers", "seed", "random_state", "solver", "optimizer"}
"""Names of the arguments that `known` has a value for, but for numbered hidden layers."""

INTERMEDIATE = words("cache caches zs memory a1 z1 a2 z2 al y_hat y_pred")
"""Names of what a forward pass hands to a backward pass."""

_NAMES = {
    "network": "network net nn spec mlp",
    "x": """x xs input inputs datax feature features sample samples a0 in inp img image images xi example examples row
    rows signal signals point points
    eingabe eingaben eingang entree entrees entrada entradas 输入 特征 样本""",
    "y": """y ys t ts target targets label labels ytrue truth expected desired d output outputs groundtruth yi classes
    expectedoutput expectedoutputs targetoutput targetoutputs desiredoutput desiredoutputs trueoutput actualoutput
    ziel ziele soll zielwert zielwerte cible cibles objetivo etiquetas 标签 目标""",
    "weights": """weights weight w ws weightlist weightmatrices coefs kernels wlist weightss
    matrices wmat gewichte poids pesos 权重""",
    "biases": """biases bias b bs biaslist biasvectors intercept intercepts blist
    offset offsets schwellwerte schwellen biais sesgos 偏置""",
    "params": "params parameters param parameter p state variables model weightsandbiases layers",
    "theta": "theta thetas flat vec vector nnparams unrolled thetavec flatparams parametervector wvec",
    "pairs": "data traindata trainingdata minibatch batch pairs dataset trainset trainingset",
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
_BESIDE = set(words("train training set batch data all the my mini list i in number of total"))
"""Parts of names that say nothing of what an argument is."""
_LAYER = r"(?:_?(?:\d+|hidden|output|out|input|in|xh|hy|hh|ih|ho|io|h|o|i|y|x|l\d))+"
_WEIGHT = re.compile(rf"^(?:w|weights?|theta|syn|wt|mat|gewichte?|poids|pesos?|权重){_LAYER}$")
_BIAS = re.compile(rf"^(?:b|bias|biases|beta|schwellen?|biais|sesgos?|偏置){_LAYER}$")
_OF = r"^(?:(?:hidden|output|out|input|in|layer|first|second|third)_?\d*_?)+"
_WEIGHT_OF, _BIAS_OF = re.compile(rf"{_OF}(?:w|weights?)$"), re.compile(rf"{_OF}(?:b|bias|biases)$")


@functools.lru_cache(4096)
def role(name: str) -> str:
    """What a function's argument is: a key of `_NAMES`, ``W`` or ``b`` of one layer, ``rate``; empty if unknown."""
    if setting(name) in RATES:
        return "rate"
    for parts in _readings(name):
        if "".join(parts) in _ROLES:
            return _ROLES["".join(parts)]
    plain = "_".join(_parts(name))
    if _WEIGHT.match(plain) or _WEIGHT_OF.match(plain):
        return "W"
    return "b" if _BIAS.match(plain) or _BIAS_OF.match(plain) else ""


@functools.lru_cache(4096)
def setting(name: str) -> str:
    """The name under which `known` has a value for an argument; empty if it has none."""
    for parts in _readings(name):
        plain = "_".join(parts)
        if plain in SETTINGS or re.sub(r"_?\d+$", "", plain) in ONE_HIDDEN:
            return plain
    joined = "".join(_parts(name))
    return _JOINED[joined] if len(joined) > SHORT and joined in _JOINED else _width(name)


_JOINED = {name.replace("_", ""): name for name in sorted(SETTINGS)}
SHORT = 4
"""Names so short that are written together, such as nin, say little."""
_COUNTS = set(words("n num number of nb size sizes dim dims dimension nodes neurons units count layer width"))
_ENDS = {"n_in": words("input inputs in features visible"), "n_hidden": words("hidden middle")}
_ENDS |= {"n_out": words("output outputs out classes labels targets")}


def _width(name):
    """Of a name such as ``number_of_input_neurons``, the setting: a word for a layer and one for its size."""
    parts = {part for word in _parts(name) for part in _apart(word)}
    for found, ends in _ENDS.items():
        if parts & set(ends) and parts & (_COUNTS - {"layer", "of"}) and parts <= {*ends, *_COUNTS}:
            return found
    return ""


def _apart(word):
    """``inputnodes`` as two words."""
    for ends in _ENDS.values():
        for end in ends:
            if len(end) > 2 and word.startswith(end) and word[len(end) :] in _COUNTS:
                return end, word[len(end) :]
    return (word,)


def _parts(name):
    """The words of a name, whether it is written with underscores or with capitals."""
    return [part for part in re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_") if part]


def _readings(name):
    """The words of a name, and those that say something."""
    parts = _parts(name)
    said = [part for part in parts if part not in _BESIDE]
    return [parts, said] if said else [parts]


def known(case: Case, rate: float | None) -> dict[str, Any]:
    """Values for settings, by what they are usually called."""
    found = _known(case.network, len(case.x), float(case.weight_decay), rate)
    return {name: list(value) if isinstance(value, list) else value for name, value in found.items()}


@functools.lru_cache(64)
def _known(network, samples, weight_decay, rate):
    sizes, activations = list(network.sizes), list(network.activations)
    found: dict[str, Any] = dict.fromkeys(SIZES, sizes)
    found |= dict.fromkeys(HIDDEN, sizes[1:-1]) | dict.fromkeys(AFTER, sizes[1:])
    found |= dict.fromkeys(INPUTS, sizes[0]) | dict.fromkeys(OUTPUTS, sizes[-1])
    if len(sizes) == 3:
        found |= dict.fromkeys(ONE_HIDDEN, sizes[1])
    found |= {f"{name}{layer}": size for layer, size in enumerate(sizes[1:-1], 1) for name in _numbered(ONE_HIDDEN)}
    hidden = activations[0] if len(activations) > 1 else activations[-1]
    found |= {"network": network, "activations": activations, "n_layers": len(activations)}
    found |= dict.fromkeys(("loss", "loss_function"), network.loss)
    found |= dict.fromkeys(ACTIVATION, hidden)
    found |= dict.fromkeys(("output_activation", "out_activation"), activations[-1])
    found |= dict.fromkeys(ONCE, 1) | dict.fromkeys((*NOTHING, "alpha"), 0.0) | dict.fromkeys(QUIET, False)
    found |= dict.fromkeys(DECAY, weight_decay)
    found |= dict.fromkeys(BATCH, samples)
    found |= dict.fromkeys(("seed", "random_state"), 1) | {"solver": "sgd", "optimizer": "sgd"}
    rate = OUR_RATE if rate is None else rate
    return found | {name: rate for name in (*RATES, INIT_RATE) if name != "alpha"}


def hidden_layers(names) -> int | None:
    """How many hidden layers a signature has an argument for, each its own; None if it has none such."""
    hidden = [found for name in names if re.sub(r"_?\d+$", "", found := setting(name)) in ONE_HIDDEN]
    return len([name for name in hidden if name[-1].isdigit()]) or len(hidden) or None


def _numbered(names):
    return [f"{name}{mark}" for name in names for mark in ("", "_")]
