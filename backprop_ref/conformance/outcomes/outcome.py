"""What is said of a submission: a verdict, and each rule that is off."""

from dataclasses import asdict, dataclass, field
from typing import Any

RIGHT = "RIGHT"
OWN_TERMS = "RIGHT IN ITS OWN TERMS"
CONVENTION = "CONVENTION"
WRONG = "WRONG"
NOT_JUDGED = "NOT JUDGED"
EXIT = {RIGHT: 0, OWN_TERMS: 0, CONVENTION: 0, WRONG: 1, NOT_JUDGED: 2}
"""The exit status of each verdict."""


@dataclass(frozen=True)
class Finding:
    """A rule that is off, or, if `acceptable`, another convention.

    Attributes
    ----------
    id : str
        Stable; one of the catalogue's where the measured rule is a known bug.
    text : str
    quantity : str
        delta, dW, db, loss, z or state.
    layers : tuple of int
        Where it was measured.
    right, measured : str
        The formula that is due, and the one that was found.
    remedy : str
    confidence : str
        certain: nothing else that is known gives the same numbers; likely: others would as well, or it explains a
        part; possible: it is one of several explanations; measured: the rule has no name.
    others : tuple of str
        Ids of these others.
    network : str
        The network, or the golden vector, in which it shows.
    evidence : str
        How closely it explains the numbers, if that is not to the last digit.
    """

    id: str
    text: str
    quantity: str = ""
    layers: tuple[int, ...] = ()
    right: str = ""
    measured: str = ""
    remedy: str = ""
    confidence: str = "certain"
    others: tuple[str, ...] = ()
    acceptable: bool = False
    network: str = ""
    evidence: str = ""

    @property
    def layer(self) -> int | None:
        """The layer nearest to the output where it was measured."""
        return max(self.layers) if self.layers else None


@dataclass
class Outcome:
    """What is to be said of a submission; `print` shows it as text, and a notebook as a page.

    Attributes
    ----------
    verdict : str
        RIGHT, RIGHT IN ITS OWN TERMS, CONVENTION, WRONG or NOT JUDGED.
    networks : list of str
        The networks for which the verdict holds.
    others : list of str
        Networks for which it was asked and is not made.
    findings : list of Finding
    conventions : list of str
    notes : list of str
    reason : str
        Why it is not judged.
    vectors : dict of str to int
        How many golden vectors were EXACT, WITHIN BOUND, WRONG, or had no answer.
    calls : int
    cases : list of dict
        Of a file of answers, the verdict on each golden vector and each tensor.
    prevented, not_prevented : list of str
        What its process was kept from, and what not; both are empty where it is called here.
    plain : bool
        Whether golden vectors can be answered like the networks: they have biases, soft labels and no penalty.

    Examples
    --------
    >>> from backprop_ref import Outcome
    >>> print(Outcome("mine.py:gradients", "RIGHT", networks=["2-2-1:sigmoid,sigmoid:sse"]))
    mine.py:gradients: RIGHT
      for 2-2-1:sigmoid,sigmoid:sse
    """

    target: str
    verdict: str
    networks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    conventions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    vectors: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    cases: list[dict[str, Any]] = field(default_factory=list)
    plain: bool = True
    prevented: list[str] = field(default_factory=list)
    not_prevented: list[str] = field(default_factory=list)

    @property
    def exit(self) -> int:
        """0 if it is right, in our convention or another; 1 if it is wrong; 2 if it could not be judged."""
        return EXIT[self.verdict]

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        findings = [{**asdict(one), "layer": one.layer} for one in self.findings]
        found = {name: part for name, part in asdict(self).items() if name != "plain"}
        return {**found, "findings": findings, "exit": self.exit}

    def __str__(self) -> str:
        """What the terminal shows."""
        from backprop_ref.conformance.outcomes.words import lines

        return "\n".join(text for _, text in lines(self))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from backprop_ref.conformance.outcomes.page import fragment

        return fragment(self)

    def _repr_markdown_(self) -> str:
        """The same where a notebook takes Markdown."""
        from backprop_ref import showing
        from backprop_ref.conformance.outcomes.words import HEADING, lines

        return showing.markdown(f"{said}:" if kind == HEADING else said for kind, said in lines(self, 10_000) if said)
