"""Damaged and odd tables: each gives one sentence, or a sound result."""

import datetime
import decimal
import gzip

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from pyarrow import parquet

from equipoise.errors import UserError
from equipoise.problems.molecules.molecules import molecules
from equipoise.problems.table.table import table

SIZE = 60
RNG = np.random.default_rng(0)
ROWS = [f"{RNG.normal():.6f},{'uvw'[row % 3]},{RNG.normal():.6f},{row % 2}" for row in range(SIZE)]
NAMES = "x,z,price,sold"


def text(*, names=NAMES, rows=ROWS, end="\n"):
    return end.join([names, *rows]) + end


def with_cells(column, *cells):
    """The text with cells of a column, repeated as often as needed."""
    rows = [row.split(",") for row in ROWS]
    for row, cells_of in enumerate(rows):
        cells_of[NAMES.split(",").index(column)] = cells[row % len(cells)]
    return text(rows=[",".join(row) for row in rows])


def with_row(row, content):
    return text(rows=[*ROWS[:row], content, *ROWS[row:]])


BIG = "1234567890123456789012345678901"
SOUND = {
    "bom": "\ufeff" + text(),
    "windows": text(end="\r\n"),
    "old mac": text(end="\r"),
    "gzip": gzip.compress(text().encode()),
    "no end of line": text().rstrip(),
    "blank line": with_row(7, ""),
    "blank lines at the end": text() + "\n\n",
    "short row": with_row(3, "1,u"),
    "a row of commas": with_row(3, ",,,"),
    "quoted": with_cells("z", '"u"', '"v, w"', '"v ""w"""'),
    "lines within a cell": with_cells("z", '"u\nu"', "v"),
    "unicode": with_cells("z", "ü", "漢", "🙂"),
    "a huge cell": with_row(3, f"1,{'u' * 300_000},2,1"),
    "some missing": with_cells("x", "", "NA", "1.5", "nan"),
    "truth values": with_cells("z", "True", "false"),
    "numbers of 31 digits": with_cells("x", BIG, "1", "-5", "7"),
    "targets of 31 digits": with_cells("price", BIG, *map(str, range(30))),
    "beyond int64": with_cells("x", str(2**63), str(2**64 - 1), "1"),
    "beyond int64, negative": with_cells("x", str(-(2**63) - 1), "3", "1"),
    "beyond uint64": with_cells("price", str(2**64), *map(str, range(30))),
    "hexadecimal text": with_cells("z", "0x1A", "0x1B"),
    "small numbers": with_cells("price", *[f"{row}e-30" for row in range(1, 40)]),
    "tiny numbers": with_cells("x", *[f"{row}e-300" for row in range(1, 40)]),
    "spaces before cells": text().replace(",", ", "),
    "an empty name": text(names="x,,price,sold"),
    "a name of spaces": text(names="x,   ,price,sold"),
    "a name like a number": text(names="x,7,price,sold"),
    "an unnamed last column": text(names=NAMES + ",", rows=[row + ",1" for row in ROWS]),
    "all missing in a feature": with_cells("x", ""),
}
REFUSED = {
    "empty": (b"", "cannot read"),
    "blank": (b"\n\n", "begins with a blank line"),
    "header only": (text(rows=[]), "no rows"),
    "a blank line first": ("\n" + text(), "begins with a blank line"),
    "nul bytes": (text().encode().replace(b"u", b"\0"), "NUL"),
    "nul bytes in the header": (text().encode().replace(b"x", b"\0", 1), "NUL"),
    "nothing but nul bytes": (b"\0" * 500, "NUL"),
    "utf-16": (text().encode("utf-16"), "not in UTF-8"),
    "utf-32": (text().encode("utf-32"), ""),
    "latin-1": (with_cells("z", "ü", "é").encode("latin-1"), "not in UTF-8"),
    "long row": (with_row(3, "1,u,2,1,9"), "line 5"),
    "long rows": (text(rows=[row + ",1" for row in ROWS]), "more cells than columns"),
    "unclosed quote": (with_row(3, '1,"u,2,1'), "cannot read"),
    "unclosed quote in the header": ('"' + text(), "cannot read"),
    "semicolons": (text().replace(",", ";"), "no column 'price'"),
    "duplicate names": (text(names="x,x,price,sold"), "more than one column 'x'"),
    "a duplicate target": (text(names="x,z,price,price"), "more than one column 'price'"),
    "no gzip": (b"\x1f\x8b\x00broken", "cannot read"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\xff" * 50, "cannot read"),
    "all missing": (with_cells("price", ""), "'price'"),
    "one value": (with_cells("price", "3"), "one value only"),
    "infinite label": (with_cells("price", "inf", "1", "2.5"), "infinite"),
    "infinite feature": (with_cells("x", "-inf", "1", "2.5"), "infinite"),
    "numbers beyond float64": (with_cells("x", "1e400", "1", "2.5"), "infinite"),
    "integers beyond float64": (with_cells("x", "9" * 400, "1", "2"), "'x'"),
    "labels beyond their squares": (with_cells("price", "1e200", "1", "2.5"), "beyond 1e+150"),
    "features beyond their squares": (with_cells("x", "1e200", "1", "2.5"), "beyond 1e+150"),
    "labels too close": (with_cells("price", *[f"{k}e-300" for k in range(1, 40)]), "too close"),
    "numbers with units": (with_cells("price", "3 EUR", *map(str, range(20))), "mixes numbers"),
    "decimal commas": (with_cells("price", '"1,5"', '"2,5"', "3"), "'price'"),
    "dates as target": (with_cells("price", "2024-01-31", "2023-02-01"), "dates"),
    "dates as feature": (with_cells("x", "2024-01-31", "2023-02-01"), "dates"),
    "ids as target": (with_cells("price", *[f"id{row}" for row in range(60)]), "60 classes"),
    "too few rows": (text(rows=ROWS[:5]), "20 are needed"),
    "html": ("<html><body>Not found</body></html>\n", ""),
    "a page": ("<!DOCTYPE html>\n<html>\n<body>a, b, c, d, e</body></html>\n", ""),
}


def written(folder, content):
    path = folder / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if content[:2] == b"\x1f\x8b":
        path = path.rename(folder / "own.csv.gz")
    return path


def check_sound(problem):
    """Finite inputs and labels, and a network that takes them."""
    for part in (problem.train, problem.validation, problem.test):
        inputs, labels, mask = part[torch.arange(len(part))]
        assert inputs.isfinite().all() if inputs.is_floating_point() else True
        assert labels.isfinite().all()
        assert mask.any()
    losses, mask = problem.loss_function(problem.network(), problem.train[torch.arange(20)])
    assert losses[mask].isfinite().all()


@pytest.mark.parametrize("name", SOUND)
def test_odd_tables_are_read(tmp_path, name):
    problem = table(written(tmp_path, SOUND[name]), ("price", "sold"))
    assert problem.tasks in (["price", "sold"], ["sold", "price"])
    check_sound(problem)


def check_sentence(error):
    said = str(error.value)
    assert "\n" not in said.strip()
    assert len(said) < 600
    assert "--" not in said


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_tables_are_refused_in_a_sentence(tmp_path, name):
    content, words = REFUSED[name]
    with pytest.raises(UserError) as error:
        table(written(tmp_path, content), ("price", "sold"))
    check_sentence(error)
    assert "own.csv" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("name", [*SOUND, *REFUSED])
def test_as_molecules_they_are_refused_in_a_sentence(tmp_path, name):
    """The same texts have no SMILES: there is no problem to make of any."""
    content = SOUND.get(name) or REFUSED[name][0]
    with pytest.raises(UserError) as error:
        molecules(written(tmp_path, content), smiles="z", targets=("price",))
    check_sentence(error)


SMILES = [f"{head}C{tail}" for head in ("C", "N", "O", "F", "Cl", "Br") for tail in "ONFSPIC"]


@pytest.mark.parametrize("cell", [BIG, str(2**64), str(-(2**63) - 1), "1e100", "", "NA"])
def test_odd_labels_of_molecules(tmp_path, cell):
    lines = [f"{smiles},{row + 0.5 if row else cell}" for row, smiles in enumerate(SMILES)]
    check_sound(molecules(written(tmp_path, text(names="smiles,y", rows=lines))))


FRAME = pd.DataFrame(
    {"x": RNG.normal(size=SIZE), "price": RNG.normal(size=SIZE), "sold": np.arange(SIZE) % 2}
)
FEATURES = {
    "dates": (pd.date_range("2020-01-01", periods=SIZE), "dates"),
    "dates of Python": ([datetime.date(2020, 1, 1 + row % 9) for row in range(SIZE)], "dates"),
    "times with a zone": (pd.date_range("2020-01-01", periods=SIZE, tz="UTC"), "dates"),
    "durations": (pd.to_timedelta(np.arange(SIZE), unit="h"), "timedelta"),
    "periods": (pd.period_range("2020-01", periods=SIZE, freq="M"), "period"),
    "lists": ([[1, 2]] * SIZE, "'own'"),
    "dicts": ([{"a": row} for row in range(SIZE)], "'own'"),
    "bytes": ([b"a", b"b"] * 30, "bytes"),
    "complex numbers": (np.arange(SIZE) * 1j, "complex"),
    "numbers and text": ([1, "a"] * 30, "mixed"),
    "numbers and truth values": ([1.5, True] * 30, "'own'"),
    "infinities": (np.where(np.arange(SIZE) % 2, np.inf, 1), "infinite"),
    "integers beyond float64": ([10**400, 1] * 30, "beyond"),
    "decimals": ([decimal.Decimal("1.5"), decimal.Decimal(2)] * 30, None),
    "integers beyond int64": ([10**30, 1, 2] * 20, None),
    "categories": (pd.Categorical(["a", "b", None] * 20), None),
    "categories of numbers": (pd.Categorical([3, 1, 2] * 20), None),
    "truth values": ([True, False, None] * 20, None),
    "half precision": (np.linspace(0, 1, SIZE).astype(np.float16), None),
    "nothing": ([None] * SIZE, None),
}


@pytest.mark.parametrize("kind", ["frame", "parquet"])
@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("role", ["feature", "target"])
def test_columns_of_any_type(tmp_path, name, kind, role):
    cells, words = FEATURES[name]
    frame = FRAME.assign(own=pd.Series(cells))
    data = frame
    if kind == "parquet":
        data = tmp_path / "own.parquet"
        try:
            parquet.write_table(pyarrow.Table.from_pandas(frame), data)
        except (pyarrow.ArrowException, OverflowError):
            pytest.skip("Parquet cannot hold it")
    targets = ("price", "own") if role == "target" else ("price", "sold")
    try:
        problem = table(data, targets)
    except UserError as error:
        said = str(error)
        assert "'own'" in said
        assert ("the data frame" if kind == "frame" else "own.parquet") in said
        assert words is not None or (role, name) == ("target", "nothing")
        assert "\n" not in said
        if role == "feature" and kind == "frame":
            assert words in said
    else:
        check_sound(problem)
        assert words is None or kind == "parquet" or role == "target"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame(), "no rows"),
        (FRAME[:0], "no rows"),
        (FRAME.set_axis(["x", "price", "price"], axis=1), "more than one column 'price'"),
        (FRAME.rename(columns={"price": 5}), "no column 'price'"),
    ],
)
def test_odd_frames(frame, words):
    with pytest.raises(UserError, match=words) as error:
        table(frame, ("price", "sold"))
    assert "the data frame" in str(error.value)


def test_a_frame_is_as_its_file(tmp_path):
    """Whatever its index; and it is not changed."""
    frame = pd.DataFrame([row.split(",") for row in ROWS], columns=NAMES.split(","))
    frame = frame.astype({"x": float, "price": float, "sold": int})
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.index = frame.index[::-1] * 3
    before = frame.copy(deep=True)
    one, other = table(frame, ("price", "sold")), table(tmp_path / "own.csv", ("price", "sold"))
    pd.testing.assert_frame_equal(frame, before)
    assert one.rows == other.rows
    assert all(map(torch.equal, one.train.tensors, other.train.tensors))
    with torch.no_grad():
        network = one.network()
        found = one.predict(frame, [network])
        pd.testing.assert_frame_equal(found, other.predict(tmp_path / "own.csv", [network]))
    assert len(found) == SIZE


# Rows are lines


def test_a_blank_line_of_one_column_is_a_row(tmp_path):
    problem = table(FRAME, ("price", "sold"))
    lines = ["x", "0.5", "", "0.5", "-1.5", ""]
    path = written(tmp_path, "\n".join(lines) + "\n")
    with torch.no_grad():
        found = problem.predict(path, [problem.network()])
    assert len(found) == 5
    assert found.price[0] == found.price[2] != found.price[3]
    assert found.price[1] == found.price[4] != found.price[0]


def test_a_blank_line_shifts_no_row(tmp_path):
    """The rows of the audit are lines below the header."""
    problem = table(written(tmp_path, with_row(7, "")), ("price", "sold"))
    lines = with_row(7, "").splitlines()[1:]
    prices = [float(lines[row - 1].split(",")[2]) for row in problem.rows]
    train = np.array(prices)
    column = problem.tasks.index("price")
    expected = (train - train.mean()) / train.std()
    np.testing.assert_allclose(problem.train.tensors[1][:, column], expected, rtol=1e-4, atol=1e-5)
    assert 8 not in problem.rows


def test_a_number_out_of_proportion_is_refused_with_its_row():
    last = np.where(np.arange(SIZE) == SIZE - 1, 1e140, FRAME.x)
    labels = FRAME.price.mask(np.arange(SIZE) < 5)
    with pytest.raises(UserError, match="row 60 of the data frame holds a number too far"):
        table(
            FRAME.assign(x=last, price=labels, when=np.arange(SIZE)),
            ("price",),
            features=("x",),
            time="when",
        )


# Names of predictions


@pytest.mark.parametrize(
    ("names", "column"),
    [(("m", "m probability"), "m probability"), (("s", "s probability of 1"), None)],
)
def test_predictions_that_would_be_in_one_column_are_refused(names, column):
    first, second = names
    classes = np.array(["low", "mid", "top"])[np.arange(SIZE) % 3] if column else FRAME.sold
    frame = FRAME[["x"]].assign(**{first: classes, second: FRAME.price})
    with pytest.raises(UserError) as error:
        table(frame, names)
    assert all(repr(name) in str(error.value) for name in names)
    assert "rename" in str(error.value)


# Parameters that are no sizes or seeds

ABSURD = [-1, 2**64, 10**30, 10**5000, 1e30, float("nan"), "many", None, True, 2.0]


@pytest.mark.parametrize("value", ABSURD, ids=range(len(ABSURD)))
@pytest.mark.parametrize("name", ["split_seed", "head", "trunk"])
def test_absurd_numbers_of_a_table(name, value):
    with pytest.raises(UserError, match=f"^`{name}` must be") as error:
        table(FRAME, ("price",), **{name: (64, value) if name == "trunk" else value})
    assert len(str(error.value)) < 200


def test_layers_beyond_memory(monkeypatch):
    monkeypatch.setattr("equipoise.problems.memory.free_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"`trunk`|`head`"):
        table(FRAME, ("price",), trunk=(65_536,) * 2_000)
