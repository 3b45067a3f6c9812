"""What is said of one network, or of several that a submission does not tell apart."""

from typing import NamedTuple

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, OWN_TERMS, RIGHT, WRONG, Finding

ORDER = (RIGHT, CONVENTION, OWN_TERMS, WRONG, NOT_JUDGED)


class Judgement(NamedTuple):
    """A verdict with what it rests on."""

    verdict: str
    network: str
    findings: tuple[Finding, ...] = ()
    conventions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    plain: bool = True
    """Whether golden vectors, which have soft labels and no penalty, can be answered like that, in their precision."""

    @property
    def cost(self) -> int:
        """How much an explanation has to say: rules without a name weigh most."""
        return sum(4 * max(len(one.layers), 1) if _nameless(one) else 1 for one in self.findings)

    @property
    def named(self) -> bool:
        """Whether every rule that is off has a name or is a factor."""
        return not any(map(_nameless, self.findings))


def _nameless(finding):
    return finding.confidence == "measured" and finding.id != "tensor-factor"


def known_bug(name: str, quantity: str, layers: tuple[int, ...] = (), measured: str = "", network: str = "") -> Finding:
    """The finding of a known bug."""
    bug = BY_ID[name]
    return Finding(bug.id, bug.text, quantity, layers, bug.right, measured or bug.wrong, bug.hint, network=network)
