"""What is predicted, against the same arithmetic in pandas and NumPy."""

import numpy as np
import pandas as pd
import pytest
import torch

from equipoise.errors import UserError
from equipoise.problems.parts import split_by_time
from equipoise.problems.table.table import table
from equipoise.study.compare import compare
from equipoise.study.predict import predict

SIZE = 300
TARGETS = ("price", "sold", "grade", "stars")


def generated(size=SIZE, seed=0):
    """Numbers and categories with missing cells, a rare category, a target of each kind."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, size))
    colour = np.array(["red", "green", "blue", None], object)[rng.integers(4, size=size)]
    colour[5] = colour[7] = "mauve"
    return pd.DataFrame(
        {
            "when": np.arange(size),
            "x": np.where(rng.random(size) < 0.2, np.nan, 50 + 7 * x),
            "colour": colour,
            "y": y,
            "rooms": np.array(["1", "2", "3+"])[rng.integers(3, size=size)],
            "price": 1e4 + 300 * x + rng.normal(size=size),
            "sold": np.where(x + y > 0, "yes", "no"),
            "grade": np.array(["low", "mid", "top"])[np.digitize(y, [-0.5, 0.5])],
            "stars": np.arange(size) % 5 + 1,
        }
    )


def inputs_by_hand(train, new, numbers, categories):
    filled, marked = {}, {}
    for name in numbers:
        filled[name] = [part[name].fillna(train[name].median()) for part in (train, new)]
        if train[name].isna().any():
            marked[name] = [part[name].isna().astype(float) for part in (train, new)]
    columns = [
        (ours - theirs.mean()) / theirs.std(ddof=0)
        for theirs, ours in [*filled.values(), *marked.values()]
    ]
    for name in categories:
        counts = train[name].fillna("").value_counts()
        usual = sorted(counts.index[counts >= 10])
        cells = new[name].fillna("")
        columns += [cells == category for category in usual]
        columns += [~cells.isin(usual)] * bool((counts < 10).any())
    return np.stack([np.asarray(column, float) for column in columns], 1)


def outputs_by_hand(state, inputs):
    values = inputs
    layers = sorted({name.rpartition(".")[0] for name in state if name.startswith("trunk")})
    for layer in layers:
        weight, bias = state[f"{layer}.weight"].numpy(), state[f"{layer}.bias"].numpy()
        values = np.maximum(values @ weight.T + bias, 0)
    return values @ state["heads.weight"].numpy().T + state["heads.bias"].numpy()


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def check(found, outputs, train):
    """The columns of the generated table's predictions; ``outputs``: an array a network."""
    assert list(found) == [
        "price",
        "sold probability of yes",
        "grade",
        "grade probability",
        "stars",
        "stars probability",
    ]
    price = (found["price"] - train.price.mean()) / train.price.std(ddof=0)
    np.testing.assert_allclose(price, np.mean(outputs, 0)[:, 0], atol=1e-5)
    sold = np.mean([1 / (1 + np.exp(-each[:, 1])) for each in outputs], 0)
    np.testing.assert_allclose(found["sold probability of yes"], sold, rtol=1e-4)
    for name, start, classes in (("grade", 2, ["low", "mid", "top"]), ("stars", 7, range(1, 6))):
        own = [softmax(each[:, start : start + len(classes)]) for each in outputs]
        mean = np.mean(own, 0)
        likeliest = [str(list(classes)[index]) for index in mean.argmax(1)]
        assert found[name].astype(str).tolist() == likeliest
        np.testing.assert_allclose(found[f"{name} probability"], mean.max(1), rtol=1e-4)


@pytest.fixture
def own(tmp_path):
    """A file to learn from, and new rows without targets: missing cells, an unseen category."""
    content, new = generated(), generated(40, seed=1)
    new.loc[3, "colour"] = "violet"
    new.loc[4, ["x", "y", "colour", "rooms"]] = None
    new = new[["rooms", "y", "x", "colour"]].assign(remark="none")
    content.to_csv(tmp_path / "own.csv", index=False)
    new.to_csv(tmp_path / "new.csv", index=False)
    return content, new


def make(tmp_path, **options):
    return table(
        tmp_path / "own.csv", TARGETS, categorical=("rooms",), time="when", trunk=(8,), **options
    )


def predicted(problem, path, count=2):
    torch.manual_seed(0)
    networks = [problem.network() for _ in range(count)]
    with torch.no_grad():
        return problem.predict(path, networks), networks


def test_predictions_equal_those_by_hand(own, tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.problems.table.table.CHUNK", 7)
    content, new = own
    train = content.iloc[split_by_time(content.when.to_numpy())[0]]
    found, networks = predicted(make(tmp_path), tmp_path / "new.csv", count=3)
    inputs = inputs_by_hand(train, new, ["x", "y"], ["colour", "rooms"])
    check(found, [outputs_by_hand(each.state_dict(), inputs) for each in networks], train)


def test_a_study_predicts_with_the_networks_that_it_kept(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, new = own
    options = {"targets": TARGETS, "time": "when", "categorical": ["rooms"], "trunk": [8]}
    training = {"methods": "slaw", "seeds": 2, "steps": 50, "lr": 0.01, "progress": False}
    compare("table", options={"data": "own.csv", **options}, **training)
    train = content.iloc[split_by_time(content.when.to_numpy())[0]]
    inputs = inputs_by_hand(train, new, ["x", "y"], ["colour", "rooms"])
    states = [
        torch.load(tmp_path / f"results/table/runs/slaw/seed-{seed}/network.pt", weights_only=True)
        for seed in range(2)
    ]
    found = predict("results/table", "new.csv")
    pd.testing.assert_frame_equal(predict("results/table", pd.read_csv("new.csv")), found)
    check(found, [outputs_by_hand(state, inputs) for state in states], train)


def test_adult(data_folder, tmp_path):
    content = pd.read_csv(data_folder / "adult.csv.gz", skipinitialspace=True)
    numbers = ["education_num", "capital_gain", "hours_per_week"]
    categories = ["workclass", "native_country"]
    problem = table(
        data_folder / "adult.csv.gz",
        ("income",),
        features=(*numbers, *categories),
        time="age",
    )
    new = content[::1_000]
    new.to_csv(tmp_path / "new.csv", index=False)
    found, networks = predicted(problem, tmp_path / "new.csv")
    train = content.iloc[split_by_time(content.age.to_numpy())[0]]
    inputs = inputs_by_hand(train, new, numbers, categories)
    logits = [outputs_by_hand(each.state_dict(), inputs)[:, 0] for each in networks]
    assert list(found) == ["income probability of >50K"]
    expected = np.mean([1 / (1 + np.exp(-each)) for each in logits], 0)
    np.testing.assert_allclose(found.iloc[:, 0], expected, rtol=1e-4)


def test_a_category_is_the_same_in_any_file(own, tmp_path):
    problem = make(tmp_path)
    rows = own[1].iloc[:3].assign(rooms=["1", "2", "3+"])
    written = {"text": rows, "numbers": rows.iloc[:2], "parquet": rows.iloc[:2]}
    written["parquet"] = rows.iloc[:2].assign(rooms=[1.0, 2.0])
    found = []
    for name, part in written.items():
        path = tmp_path / (f"{name}.parquet" if name == "parquet" else f"{name}.csv")
        part.to_parquet(path) if name == "parquet" else part.to_csv(path, index=False)
        found.append(predicted(problem, path)[0][:2])
    assert abs(found[0].price.diff()[1]) > 1
    pd.testing.assert_frame_equal(found[0], found[1])
    pd.testing.assert_frame_equal(found[0], found[2])
    other = predicted(problem, _written(rows.assign(rooms="7"), tmp_path))[0]
    assert (other.price != predicted(problem, _written(rows, tmp_path))[0].price).all()


def test_truth_values_among_text_are_the_same_in_any_file(tmp_path):
    content = generated().assign(flag=np.array(["TRUE", "FALSE", "unknown"])[np.arange(SIZE) % 3])
    problem = table(_written(content, tmp_path), ("price",), features=("flag",))
    whole = predicted(problem, _written(content.iloc[:3], tmp_path))[0]
    alone = predicted(problem, _written(content.iloc[:1], tmp_path))[0]
    assert (np.diff(np.sort(whole.price)) > 1).all()
    assert alone.price[0] == pytest.approx(whole.price[0], abs=1e-3)


def _written(content, tmp_path):
    path = tmp_path / "written.csv"
    content.to_csv(path, index=False)
    return path


def test_a_column_without_a_cell(own, tmp_path):
    new = own[1].assign(x=np.nan, colour=None)
    found, _ = predicted(make(tmp_path), _written(new, tmp_path))
    assert len(found) == 40
    assert found.notna().all(axis=None)


def test_where_networks_overflow_there_is_no_prediction(own, tmp_path):
    new = own[1].assign(y=np.where(np.arange(40) == 1, 1e38, 0))
    problem = make(tmp_path)
    torch.manual_seed(0)
    network = problem.network()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 20)
    with torch.no_grad():
        found = problem.predict(_written(new, tmp_path), [network])
    assert found["grade"].isna().tolist() == (np.arange(40) == 1).tolist()
    assert found["grade probability"].isna().tolist() == (np.arange(40) == 1).tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": None}, ["no column 'x'"]),
        ({"colour": None}, ["no column 'colour'"]),
        ({"x": "n/k"}, ["'x'", "'n/k'", "numbers"]),
        ({"x": [*["5"] * 39, "five"]}, ["'x'", "'five'", "numbers"]),
        ({"y": "2024-01-31"}, ["'y'", "'2024-01-31'"]),
        ({"y": np.inf}, ["'y'", "infinite"]),
        ({"y": [0, 0, 1e100, *[0] * 37]}, ["row 3", "too far"]),
    ],
)
def test_new_rows_that_do_not_fit(own, tmp_path, changes, words):
    problem = make(tmp_path)
    new = own[1].assign(**changes)
    new = new.drop(columns=[name for name, cells in changes.items() if cells is None])
    with pytest.raises(UserError) as caught:
        predicted(problem, _written(new, tmp_path))
    assert all(word in str(caught.value) for word in [*words, "written.csv"]), caught.value
