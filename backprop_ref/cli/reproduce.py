"""backprop-ref reproduce."""

from backprop_ref.cli import show
from backprop_ref.commands import reproduce as train_again
from backprop_ref.training.ctrl_c import tidied


def reproduce(run, spot, backend, device, threads, as_json):
    """Trains a run again; 1 if anything differs."""
    with tidied():
        found = train_again(run, backend=backend, device=device, threads=threads, spot=spot)
    if as_json:
        show.as_json(found._asdict())
        return 0 if found.ok else 1
    for note in found.notes:
        show.say(note)
    if found.ok:
        of_run = "" if spot is None else " of the run"
        compared = f"weights compared after {found.compared} of them; sha256{of_run} {found.sha256}"
        if spot is None:
            show.line(f"IDENTICAL: {run}, {found.epochs:,} epochs on {found.backend}; {compared}")
            return 0
        trained = sum(end - begun for begun, end in found.spots)
        spans = ", ".join(f"{begun}-{end}" for begun, end in found.spots)
        show.line(
            f"IDENTICAL where trained again: {run}, {trained:,} of {found.epochs:,} epochs on {found.backend}, from "
            f"checkpoint to checkpoint: {spans}; {compared}"
        )
        return 0
    what = {"weights": "its weights are others", "record": "what is recorded of it is something else"}
    said = what.get(found.what, f"its {found.what} is another one")
    where = "the initial weights are others" if found.differs == 0 else f"first in epoch {found.differs:,}: {said}"
    show.line(f"DIFFERENT: {run}, {where}")
    return 1
