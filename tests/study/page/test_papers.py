import re

from study.made_up import made_up_run

from equipoise.study.configuration import Study
from equipoise.study.page.papers import paper_table
from equipoise.study.page.tables import results_table
from equipoise.study.statistics import summarise


def summary():
    scores = {"constant": [0.5, 0.52], "slaw(spread='x_1')": [0.6, 0.63], "a|b": [0.1, 0.2]}
    runs = [
        made_up_run(method, seed, {"R²": {"all": value}})
        for method, own in scores.items()
        for seed, value in enumerate(own)
    ]
    return summarise(Study("toy", {}, {}, ("a",), {"R²": "max"}, ()), runs, {})


def test_markdown_has_a_cell_for_each_of_the_page_s():
    headings, rows = results_table(summary())
    first, rule, *body = paper_table(summary(), "markdown").split("\n")
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (first, rule, *body)]
    assert {len(each) for each in cells} == {1 + len(headings)}
    assert len(body) == len(rows)
    assert r"a\|b" in body[-1]
    assert body[0].startswith("| slaw(spread='x_1') | **0.61 ± ")


def test_latex_is_balanced_and_escaped():
    text = paper_table(summary(), "latex")
    assert text.startswith(r"\begin{tabular}{lrrrrrr}")
    assert text.endswith(r"\end{tabular}")
    assert r"slaw(spread='x\_1')" in text
    assert r"\textbf{0.61 $\pm$ " in text
    assert r"R$^2$" in text
    lines = [line for line in text.split("\n") if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {7}
    assert all(letter.isascii() or letter == "\N{NO-BREAK SPACE}" for letter in text)
