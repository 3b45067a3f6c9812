"""A report in words, for the terminal and the page."""

from backprop_ref.conformance.cases import QUANTITIES, WITHOUT_LAYERS, tensor_name
from backprop_ref.conformance.judging.outcome import NOT_JUDGED, Report
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG


def tally(report: Report) -> dict[str, dict[str, int]]:
    """How many tensors of each quantity got which verdict, over the deciding cases."""
    rows: dict[str, dict[str, int]] = {}
    for one in report.cases:
        if one.case.deciding or report.strict:
            for (name, _), verdict in one.verdicts.items():
                rows.setdefault(name, dict.fromkeys((EXACT, WITHIN_BOUND, WRONG), 0))[verdict] += 1
    return {name: rows[name] for name in QUANTITIES if name in rows}


def summary(report: Report) -> str:
    """How many cases were judged, and what came out."""
    counts = report.counts()
    judged = sum(count for verdict, count in counts.items() if verdict != NOT_JUDGED)
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if verdict != NOT_JUDGED)
    skipped = f"; {counts[NOT_JUDGED]} not judged" if NOT_JUDGED in counts else ""
    return f"{judged} cases judged: {parts}{skipped}" if judged else f"no case could be judged{skipped}"


def largest_error(report: Report) -> list[str]:
    """The tensor whose error is the largest share of its bound; none if all are EXACT or one is wrong."""
    found = [
        (detail.bounds, detail.ulp, tensor_name(key), one.case.name)
        for one in report.cases
        for key, detail in one.details.items()
        if (one.case.deciding or report.strict) and detail.verdict == WITHIN_BOUND
    ]
    if not found or report.verdict == WRONG:
        return []
    share, ulp, name, case = max(found)
    return [f"largest error within a bound: {share:.2g} of it, {ulp:.3g} ulp, {name} in case {case}"]


def describe_wrong(report: Report) -> list[str]:
    """The first wrong quantity in words: which, where, by how much, and what was right before it."""
    wrong = report.first_wrong
    if wrong is None:
        return []
    one = next(one for one in report.cases if one.case.name == wrong.case)
    n = one.case.network.n_layers
    where = "" if wrong.quantity in WITHOUT_LAYERS else f" of layer {wrong.layer} (of 0 to {n - 1})"
    lines = [f"{wrong.quantity}{where} in case {wrong.case}"]
    entry = wrong.entry
    if entry is not None:
        index = f"entry [{', '.join(map(str, entry.where))}]: " if entry.where else ""
        lines.append(f"{index}yours {entry.yours:.17g}, right {entry.truth:.17g}, bound {entry.bound:.1e}")
    else:
        lines.append(wrong.words)
    before = [tensor_name(key) for key, verdict in one.verdicts.items() if verdict in {EXACT, WITHIN_BOUND}]
    if before:
        lines.append(f"right in that case: {', '.join(before)}")
    return lines
