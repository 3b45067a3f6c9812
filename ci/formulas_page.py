"""Writes the losses and activations into .docs/gradients.md; ``--check`` only says whether it would change."""

import sys
import textwrap
from pathlib import Path

from backprop_ref.formulas import ACTIVATIONS, LOSSES

PAGE = Path(__file__).resolve().parent.parent / ".docs/gradients.md"
FIRST, LAST = "| loss | is | output activations |\n", "<!-- up to here by python ci/formulas_page.py -->\n"


def listed():
    """A row for each loss, and the names of the activations."""
    yield FIRST + "|---|---|---|\n"
    for name, loss in LOSSES.items():
        short = f" ({loss.short})" if loss.short not in {name, f"{name}(1.0)"} else ""
        mean = "mean over batch and outputs" if loss.over_outputs else "sum over outputs, mean over batch,"
        meaning = loss.meaning.replace("|", chr(92) + "|")
        outputs = "all" if set(loss.outputs) == set(ACTIVATIONS) else ", ".join(loss.outputs)
        yield f"| `{name}`{short} | {mean} {meaning} | {outputs} |\n"
    yield "\n" + textwrap.fill(f"Activations, in any layer: {', '.join(ACTIVATIONS)}.", 120) + "\n"


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("formulas_page.py: nothing, or --check")
    text = PAGE.read_text(encoding="utf-8")
    made = text[: text.index(FIRST)] + "".join(listed()) + text[text.index(LAST) :]
    if arguments == ["--check"]:
        print(f"{PAGE.name}: {'current' if text == made else 'to be written again: python ci/formulas_page.py'}")
        return 0 if text == made else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
