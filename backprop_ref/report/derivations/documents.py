"""How formulas and worked steps look: as text for a terminal, as Markdown with LaTeX, and as one HTML file."""

import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from backprop_ref.report.derivations.trees import ATOM, PRODUCT, SUM, Node
from backprop_ref.showing import as_markdown, scoped
from backprop_ref.text import as_html, page_without_scripts, printable

MOST_ROWS, MOST_COLUMNS = 8, 8
GREEK = {
    "delta": "δ",
    "eta": "η",
    "mu": "μ",
    "lambda": "λ",
    "lambda1": "λ1",
    "beta1": "β1",
    "beta2": "β2",
    "rho": "ρ",
    "epsilon": "ε",
}
LATEX = {name: rf"\{name}" for name in ("delta", "eta", "mu", "lambda", "rho", "epsilon")}
LATEX |= {"beta1": r"\beta_1", "beta2": r"\beta_2", "lambda1": r"\lambda_1", "[i=j]": "[i=j]", "…": r"\ldots"}
LATEX_OPERATORS = {"*": r"\cdot", "@": "", "⊙": r"\odot", "≥": r"\geq", "≤": r"\leq"}
HTML_OPERATORS = {"*": "·", "-": "−", "@": "\u2062", "<": "&lt;", ">": "&gt;"}
LINES = {1: "=", 2: "-"}
"""What stands below headings."""
MINUS = '<mo form="prefix">−</mo>'
PLUS, EQUALS = (f'<mo form="infix">{sign}</mo>' for sign in "+=")
LATEX |= {f"∂{name}": rf"\partial {name}" for name in ("a", "z", "W", "b", "L")}


class Heading(NamedTuple):
    """A heading; level 1 is the title."""

    level: int
    text: str


class Words(NamedTuple):
    """A paragraph."""

    text: str


class Equation(NamedTuple):
    """Trees that are equal, with the places of their indices for each."""

    parts: tuple
    label: str = ""


class Matrix(NamedTuple):
    """A named matrix or row vector in numbers."""

    name: Node
    values: np.ndarray


class Text:
    """Plain text, at most `width` columns wide where it can be broken; numbers of so many digits, sums of so many
    terms.
    """

    parentheses: Callable[..., str] = "({})".format
    transposed: Callable[..., str] = "{}.T".format
    power: Callable[..., str] = "{}^{}".format
    negative: Callable[..., str] = "-{}".format
    total: Callable[..., str] = "Σ_{} {}".format
    more: Callable[..., str] = "… {} more terms".format
    cases: Callable[..., str] = "{} if {} else {}".format
    chosen: Callable[..., str] = "({} if {})".format

    def __init__(self, digits, terms, width=79):
        self.digits, self.terms, self.width = digits, terms, width

    def document(self, blocks):
        """Everything, with a line at the end."""
        return "\n".join(line for block in blocks for line in self._lines(block)) + "\n"

    def _lines(self, block):
        match block:
            case Heading(level, text):
                text = printable(text)
                yield from [""] * (level > 1)
                yield text
                if level in LINES:
                    yield LINES[level] * min(len(text), self.width)
            case Words(text):
                yield from textwrap.wrap(printable(text), self.width, break_long_words=False, break_on_hyphens=False)
            case Equation(parts, label):
                text = " = ".join(tree.show(self, at)[1] for tree, at in parts)
                start = f"  {label}: " if label else "  "
                yield from textwrap.wrap(
                    text,
                    self.width,
                    initial_indent=start,
                    subsequent_indent="      ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            case Matrix(name, values):
                rows, columns = values.shape
                yield f"  {name.show(self, {})[1]} ({rows} × {columns}) ="
                yield from self._table(values)

    def _table(self, values):
        wide = max(len(self.number(value)[1]) for value in values.flat) + 2
        fitting = max(2, min(MOST_COLUMNS, (self.width - 8) // wide))
        cells = elided([[self.number(value)[1] for value in row] for row in values], MOST_ROWS, fitting)
        for row in cells:
            yield "    [" + "".join(f"{cell:>{wide if cell != '…' else 2}}" for cell in row) + " ]"

    def number(self, value):
        text = str(value) if isinstance(value, int) else f"{value + 0.0:.{self.digits}g}"
        if float(text) != float(value):  # rounded: zeros at the end are digits too
            text = f"{value:#.{self.digits}g}".replace(".e", "e").removesuffix(".")
        return (SUM if text.startswith("-") else ATOM), text

    def symbol(self, name, layer, below):
        indices = ("," if any(len(index) > 1 for index in below) else "").join(below)
        return name + (f"[{layer}]" if layer is not None else "") + (f"_{indices}" if below else "")

    def between(self, left, operator, right):
        return f"{left}·{right}" if operator == "*" else f"{left} {operator} {right}"

    def quotient(self, above, below):
        top = above[1] if above[0] >= PRODUCT else self.parentheses(above[1])
        return PRODUCT, f"{top}/{below[1] if below[0] == ATOM else self.parentheses(below[1])}"

    def call(self, name, text):
        return f"|{text}|" if name == "abs" else f"{name}({text})"


class Latex(Text):
    """Markdown with formulas in LaTeX."""

    parentheses = r"\left({}\right)".format
    transposed = r"{}^\top".format
    power = "{{{}}}^{{{}}}".format
    total = r"\sum_{{{}}} {}".format
    more = r"\ldots\ \text{{{} more terms}}".format
    cases = r"\begin{{cases}} {} & {} \\ {} & \text{{else}} \end{{cases}}".format
    chosen = r"\left({}\ \text{{if}}\ {}\right)".format

    def document(self, blocks):
        return "\n\n".join(self._block(block) for block in blocks) + "\n"

    def _block(self, block):
        match block:
            case Heading(level, text):
                return f"{'#' * level} {as_markdown(text)}"
            case Words(text):
                return as_markdown(text)
            case Equation(parts, label):
                formula = " = ".join(tree.show(self, at)[1] for tree, at in parts)
                return (f"{label}:\n" if label else "") + f"$${formula}$$"
            case Matrix(name, values):
                cells = elided([[self.number(value)[1] for value in row] for row in values], MOST_ROWS, MOST_COLUMNS)
                body = r" \\ ".join(" & ".join(r"\cdots" if cell == "…" else cell for cell in row) for row in cells)
                return rf"$${name.show(self, {})[1]} = \begin{{bmatrix}} {body} \end{{bmatrix}}$$"

    def number(self, value):
        holds, text = super().number(value)
        mantissa, _, exponent = text.partition("e")
        return (min(holds, PRODUCT), rf"{mantissa} \cdot 10^{{{int(exponent)}}}") if exponent else (holds, text)

    def symbol(self, name, layer, below):
        known = LATEX.get(name, name if len(name) == 1 else rf"\mathrm{{{name}}}")
        above = f"^{{[{layer}]}}" if layer is not None else ""
        return known + above + (f"_{{{','.join(below)}}}" if below else "")

    def between(self, left, operator, right):
        return f"{left} {LATEX_OPERATORS.get(operator, operator)} {right}"

    def quotient(self, above, below):
        return PRODUCT, rf"\frac{{{above[1]}}}{{{below[1]}}}"

    def call(self, name, text):
        if name in {"abs", "sqrt"}:
            return rf"\left|{text}\right|" if name == "abs" else rf"\sqrt{{{text}}}"
        known = rf"\operatorname{{{name}}}" if name in {"expm1", "log1p", "erf"} else rf"\{name}"
        return rf"{known}\left({text}\right)"


class Html(Text):
    """One HTML file, whose formulas are MathML; it needs no network."""

    parentheses = "<mrow><mo>(</mo>{}<mo>)</mo></mrow>".format
    transposed = "<msup>{}<mo>⊤</mo></msup>".format
    power = "<msup><mrow>{}</mrow><mrow>{}</mrow></msup>".format
    negative = f"{MINUS}{{}}".format
    total = "<munder><mo>∑</mo><mi>{}</mi></munder>{}".format
    more = "<mtext>… {} more terms</mtext>".format
    cases = (
        "<mrow><mo>{{</mo><mtable><mtr><mtd>{}</mtd><mtd>{}</mtd></mtr>"
        "<mtr><mtd>{}</mtd><mtd><mtext>else</mtext></mtd></mtr></mtable></mrow>"
    ).format
    chosen = "<mrow><mo>(</mo>{}<mtext>\u00a0if\u00a0</mtext>{}<mo>)</mo></mrow>".format

    def document(self, blocks):
        title = next((block.text for block in blocks if isinstance(block, Heading)), "")
        body = "\n".join(self._block(block) for block in blocks)
        return page_without_scripts(title, body, STYLE)

    def fragment(self, blocks):
        """The same for a notebook, whose own text keeps its style."""
        return scoped(FRAGMENT, "\n".join(self._block(block) for block in blocks))

    def _block(self, block):
        match block:
            case Heading(level, text):
                return f"<h{level}>{as_html(text)}</h{level}>"
            case Words(text):
                return f"<p>{as_html(text)}</p>"
            case Equation(parts, label):
                formula = EQUALS.join(tree.show(self, at)[1] for tree, at in parts)
                named = f"<span>{as_html(label)}</span> " if label else ""
                pieces = "<wbr>".join(f'<math displaystyle="true">{piece}</math>' for piece in breakable(formula))
                return f'<div class="formula scroll">{named}{pieces}</div>'
            case Matrix(name, values):
                cells = elided([[self.number(value)[1] for value in row] for row in values], MOST_ROWS, MOST_COLUMNS)
                rows = "".join(
                    "<mtr>" + "".join(f"<mtd>{'<mo>…</mo>' if cell == '…' else cell}</mtd>" for cell in row) + "</mtr>"
                    for row in cells
                )
                matrix = f"<mo>[</mo><mtable>{rows}</mtable><mo>]</mo>"
                shown = f"{name.show(self, {})[1]}<mo>=</mo><mrow>{matrix}</mrow>"
                return f'<div class="formula scroll"><math>{shown}</math></div>'

    def number(self, value):
        holds, text = super().number(value)
        sign, text = (MINUS, text[1:]) if text.startswith("-") else ("", text)
        mantissa, _, exponent = text.partition("e")
        if not exponent:
            return holds, f"{sign}<mn>{text}</mn>"
        raised = f"{MINUS if exponent.startswith('-') else ''}<mn>{abs(int(exponent))}</mn>"
        power = f"<msup><mn>10</mn><mrow>{raised}</mrow></msup>"
        return min(holds, PRODUCT), f"{sign}<mn>{mantissa}</mn><mo>·</mo>{power}"

    def symbol(self, name, layer, below):
        known = f"<mi>{GREEK.get(name, name)}</mi>"
        above = f"<mrow><mo>[</mo><mn>{layer}</mn><mo>]</mo></mrow>"
        under = "<mrow>" + "<mo>,</mo>".join(f"<mi>{index}</mi>" for index in below) + "</mrow>"
        if below and layer is not None:
            return f"<msubsup>{known}{under}{above}</msubsup>"
        if below:
            return f"<msub>{known}{under}</msub>"
        return known if layer is None else f"<msup>{known}{above}</msup>"

    def between(self, left, operator, right):
        if operator == "+":
            return f"{left}{PLUS}{right}"
        return f"{left}<mo>{HTML_OPERATORS.get(operator, operator)}</mo>{right}"

    def quotient(self, above, below):
        return PRODUCT, f"<mfrac><mrow>{above[1]}</mrow><mrow>{below[1]}</mrow></mfrac>"

    def call(self, name, text):
        if name == "sqrt":
            return f"<msqrt>{text}</msqrt>"
        if name == "abs":
            return f"<mrow><mo>|</mo>{text}<mo>|</mo></mrow>"
        return f"<mi>{name}</mi>{self.parentheses(text)}"


FRAGMENT = """
.formula { margin: .6em 0; padding-left: 2em; text-indent: -1em; overflow-x: auto; }
.formula span { display: inline-block; min-width: 5em; }
math { text-indent: 0; }
mtd { text-align: right; padding: .1em .5em; border: 0; }
"""

PAGES = {"terminal": Text, "markdown": Latex, "html": Html}

STYLE = """
main { max-width: 60rem; margin: 1.5rem auto; }
h1, h2, h3, p { overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
h3 { margin-top: 1.6rem; }
math {
  font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; text-indent: 0;
}
.formula { margin: 0.6rem 0; padding-left: 2rem; text-indent: -1rem; }
.formula span { display: inline-block; min-width: 5rem; }
@media (max-width: 480px) {
  .formula { padding-left: 1rem; }
  math { font-size: 0.88em; }
}
mtable { math-style: normal; }
mtd { text-align: right; padding: 0.1rem 0.5rem; }
"""


def breakable(formula):
    """MathML in pieces between which a line may break: at signs of equality, and at the terms of a sum."""
    pieces, depth, start = [], 0, 0
    for tag in re.finditer(r"<(/?)\w[^>]*>", formula):
        if depth == 0 and formula.startswith((PLUS, EQUALS), tag.start()):
            pieces.append(formula[start : tag.start()])
            start = tag.start()
        depth += -1 if tag[1] else 1
    return [*pieces, formula[start:]]


def elided(rows, most_rows, most_columns):
    """A table of text in which, where there are too many, rows and columns before the last give way to dots."""
    if len(rows[0]) > most_columns:
        rows = [[*row[: most_columns - 2], "…", row[-1]] for row in rows]
    return rows if len(rows) <= most_rows else [*rows[: most_rows - 2], ["…"] * len(rows[0]), rows[-1]]
