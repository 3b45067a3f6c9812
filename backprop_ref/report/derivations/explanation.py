"""A step explained, for a terminal, a notebook or a file."""

from dataclasses import dataclass
from typing import Any

from backprop_ref.report.derivations.documents import PAGES, Html


@dataclass(frozen=True, repr=False)
class Explanation:
    """One step in numbers, with its formulas; `print` shows it as text, a notebook with formulas.

    Attributes
    ----------
    blocks : list
        Headings, sentences, equations and matrices, for `documents.PAGES`.
    digits, terms : int
        Significant digits of numbers; terms of a sum that are shown.
    """

    blocks: list[Any]
    digits: int
    terms: int

    def document(self, form: str = "terminal", width: int = 79) -> str:
        """As 'terminal', 'markdown' (with LaTeX), or 'html', a file that needs no network."""
        document: str = PAGES[form](self.digits, self.terms, width).document(self.blocks)
        return document

    def __str__(self) -> str:
        return self.document()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows; formulas are MathML."""
        fragment: str = Html(self.digits, self.terms).fragment(self.blocks)
        return fragment

    def _repr_markdown_(self) -> str:
        """The same as Markdown with LaTeX."""
        return self.document("markdown")
