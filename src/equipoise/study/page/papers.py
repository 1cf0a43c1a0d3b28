"""The table of results for a paper, in Markdown or LaTeX."""

from __future__ import annotations

from equipoise.study.page.tables import Cell, results_table
from equipoise.study.summary import Summary

LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "σ": r"$\sigma$",
    "–": "--",
    "°": r"$^\circ$",
    "²": "$^2$",
}


def paper_table(summary: Summary, form: str) -> str:
    """The table of results; the best are bold.

    Args:
        summary: the comparison.
        form: ``"markdown"`` or ``"latex"``, for the package booktabs.
    """
    headings, rows = results_table(summary)
    return _latex(headings, rows) if form == "latex" else _markdown(headings, rows)


def _markdown(headings: list[str], rows: list[tuple[str, list[Cell]]]) -> str:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"

    body = [
        line([name, *(f"**{cell.text}**" if cell.best else cell.text for cell in cells)])
        for name, cells in rows
    ]
    rule = "|".join(["", "---", *["---:"] * len(headings), ""])
    return "\n".join([line(["method", *headings]), rule, *body])


def _latex(headings: list[str], rows: list[tuple[str, list[Cell]]]) -> str:
    def line(cells: list[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    body = [line([_escaped(name), *(_bold(cell) for cell in cells)]) for name, cells in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(headings)}}}",
            r"\toprule",
            line(["method", *map(_escaped, headings)]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _bold(cell: Cell) -> str:
    return rf"\textbf{{{_escaped(cell.text)}}}" if cell.best else _escaped(cell.text)


def _escaped(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
