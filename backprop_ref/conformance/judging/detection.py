"""Which layout somebody's code has: each is tried on a case whose sizes all differ, until the loss fits."""

from dataclasses import replace

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.judging.fitting import fit_factor
from backprop_ref.conformance.judging.outcome import Convention
from backprop_ref.conformance.submissions.conventions import Layout, layouts
from backprop_ref.errors import InvalidInput

GUESS = (
    "no layout makes the loss fit, so that in use is a guess, the first that runs; declare yours with --weights, "
    "--samples, --biases"
)

UNCALLED = "no layout could be called; taken as ours"


def find_layout(submission, cases) -> tuple[list[Convention], list[str]]:
    """Tries the layouts that are left open on a case or several, and keeps the one that fits."""
    if not hasattr(submission, "layouts"):
        return _layout_conventions(submission.layout, submission.declared, "declared"), []
    candidates = submission.layouts(layouts(submission.declared.layout()))
    if not candidates:
        raise InvalidInput("the layout declared does not fit the function's arguments: four of them mean no biases")
    best, fitting = _best(submission, cases, candidates)
    conventions = _layout_conventions(fitting[0], submission.declared, "detected" if best else "assumed")
    notes = _ambiguity(fitting, best)
    if best < 3 and any(value is not None for value in submission.declared.layout().values()):
        notes = _contradiction(submission, cases) or notes
    submission.layout = fitting[0]
    return conventions, notes


def _best(submission, cases, candidates) -> tuple[int, list[Layout]]:
    """The highest score, and the layouts that have it."""
    scores: dict[Layout, int] = {}
    for case in probes(cases):
        found = _scores(submission, case, candidates)
        if max(found.values()) > max(scores.values(), default=-1):
            scores = found
        if max(scores.values()) == 3:
            break
    else:
        for case in _others(cases) if max(scores.values()) == 0 else ():
            scores = _scores(submission, case, candidates)
            if max(scores.values()) > 0:
                break
    best = max(scores.values())
    return best, [layout for layout, score in scores.items() if score == best]


def _contradiction(submission, cases):
    """If another layout than that declared fits, which one."""
    best, fitting = _best(submission, cases, submission.layouts(layouts({})))
    if best < 3:
        return []
    flags = " ".join(f"{flag} {value}" for flag, value in fitting[0].describe().items())
    single = " --one-sample" if fitting[0].one_sample else ""
    return [f"the layout declared does not fit, and {flags}{single} does"]


def probes(cases):
    """Cases that tell layouts apart: all sizes and the batch distinct, none of them 1; one for each loss and output."""
    found: dict[tuple[str, str], Case] = {}
    for case in cases:
        sizes = [*case.network.sizes, len(case.x)]
        plain = case.deciding and case.da is None and not case.weight_decay
        if plain and len(set(sizes)) == len(sizes) and 1 not in sizes:
            found.setdefault((case.network.activations[-1], case.network.loss), case)
    return list(found.values()) or cases[:1]


def _others(cases):
    """A case of each kind and depth, for code that takes none of the probes."""
    plain = [case for case in cases if case.deciding and case.da is None and not case.weight_decay]
    return list({(case.network.activations, case.network.loss): case for case in plain}.values())


def _scores(submission, case, candidates) -> dict[Layout, int]:
    """How well each layout fits on one case; the unusual ones are not tried where a usual one does."""
    scores: dict[Layout, int] = {}
    for layout in candidates:
        unusual = layout.one_sample or layout.biases == "none"
        if not unusual or max(scores.values(), default=0) < 3:
            scores[layout] = _score(submission, case, layout)
    return scores


def _score(submission, case, layout) -> int:
    """3: the loss fits, or the gradient where there is none; 2: the shapes do; 1: something came out; 0: nothing."""
    answer = submission.answer(case, layout, twice=False)
    values = answer.values
    if values is None:
        return 0
    expected = (completed_without_biases(case) if layout.biases == "none" else case).expected
    truth, bound = expected.truth, expected.bound
    if values.loss is not None and fit_factor([(case, values.loss, truth.loss, bound.loss, None)]).all:
        return 3
    if not all(_same_shapes(getattr(values, name), getattr(truth, name)) for name in ("dW", "db")):
        return 1 if values.dW is None or not _same_shapes(values.dW, truth.dW) else 2
    if values.dW is None:
        return 1
    slack = None if answer.slack is None else answer.slack.dW
    return 3 if fit_factor([(case, values.dW, truth.dW, bound.dW, slack)]).all else 2


def _same_shapes(arrays, truth):
    """Whether arrays have the shapes due; none have."""
    return arrays is None or truth is None or [array.shape for array in arrays] == [array.shape for array in truth]


def _layout_conventions(layout, declared, how):
    told = declared.layout()
    words = {
        "weights": {"out-in": "W is (n_out, n_in)"},
        "samples": {"columns": "samples are columns", "flat": "a sample is a vector"},
        "biases": {"row": "b is (1, n)", "column": "b is (n, 1)", "none": "no biases"},
    }
    found = []
    for name, texts in words.items():
        value = getattr(layout, name)
        if value in texts:
            known = "declared" if told[name] is not None else how
            found.append(Convention(f"--{name} {value}", known, texts[value]))
    if layout.one_sample:
        known = "declared" if told["one_sample"] else how
        found.append(Convention("--one-sample", known, "one sample at a time; their mean is judged"))
    return found


def _ambiguity(fitting, best):
    if best == 0:
        return [UNCALLED]
    if best < 3:
        return [GUESS]
    others = {layout for layout in fitting[1:] if layout[:2] != fitting[0][:2] and layout.biases == fitting[0].biases}
    if others and not fitting[0].one_sample:
        texts = ", ".join(f"--weights {layout.weights} --samples {layout.samples}" for layout in sorted(others))
        return [f"ambiguous: {texts} fits as well; if that is meant, declare it"]
    return []


_WITHOUT: dict[str, Case] = {}


def completed_without_biases(case):
    """The case without biases, and what is expected of it; needs mpmath."""
    from backprop_ref.conformance.vectors.expected import completed

    if case.name not in _WITHOUT:
        _WITHOUT[case.name] = completed(without_biases(case))
    return _WITHOUT[case.name]


def without_biases(case: Case) -> Case:
    """The same case with all biases 0, for networks that have none."""
    params = case.params.copy()
    for b in params.b:
        b[:] = 0.0
    return replace(case, params=params, expected=None)
