import csv
import io
import math

import numpy as np
import pandas as pd
import pytest

from equipoise.study.csv import csv_text


def rows(frame):
    return list(csv.reader(io.StringIO(csv_text(frame))))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1-1", "-x", "-1.5.2", "-1\n=1", "@SUM(A1)", "\t=1", "\n=1"]
)
@pytest.mark.parametrize("kind", [object, "string", "category"])
def test_no_text_is_a_formula(text, kind):
    frame = pd.DataFrame({text: pd.Series([text, "plain", "a=1", ""], dtype=kind)})
    assert rows(frame) == [[f"'{text}"], [f"'{text}"], ["plain"], ["a=1"], [""]]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_break_starts_no_row(end):
    frame = pd.DataFrame({f"a{end}=1": [f"b{end}=1", f"{end}=1"]})
    assert rows(frame) == [["a\n=1"], ["b\n=1"], ["'\n=1"]]


def test_numbers_stay():
    numbers = pd.DataFrame(
        {"a": [-1, 2], "b": [-0.5, math.nan], "c": [True, False], "d": np.float32([-0.1, 1e-9])}
    )
    assert csv_text(numbers) == numbers.to_csv(index=False)
    mixed = pd.DataFrame({"e": [-3, "-3", None]}, dtype=object)
    assert rows(mixed)[1:3] == [["-3"], ["-3"]]


@pytest.mark.parametrize("text", ["-1.5", "+2", "-.5", "-3.", "-1e-9", "+1E+5"])
def test_a_text_that_is_a_plain_number_stays(text):
    assert rows(pd.DataFrame({text: [text]})) == [[text], [text]]


def test_the_table_itself_stays_and_may_be_odd():
    frame = pd.DataFrame([["=a", 1, "b"]], columns=["x", "x", 0], index=[7])
    before = frame.copy()
    assert rows(frame) == [["x", "x", "0"], ["'=a", "1", "b"]]
    pd.testing.assert_frame_equal(frame, before)
    assert csv_text(frame.iloc[:0]) == "x,x,0\n"


def test_text_is_read_back_whole():
    texts = ["a,b", 'say "no"', "two\nlines", "é", "1e5"]
    found = pd.read_csv(io.StringIO(csv_text(pd.DataFrame({"text": texts}))), dtype=str)
    assert found["text"].tolist() == texts
