import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from problems.scored import scored
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from equipoise.errors import UserError
from equipoise.losses import task_losses
from equipoise.problems import OVERALL
from equipoise.problems.parts import split_at_random, split_by_group, split_by_time, strata
from equipoise.problems.table.table import table

SIZE = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=SIZE)
COLOURS = np.array(["red", "green", "blue"])[RNG.integers(3, size=SIZE)]
GRADES = np.array(["low", "mid", "mid", "top"])[RNG.integers(4, size=SIZE)]


def frame(**columns):
    """A feature of numbers, one of categories; a target of each kind."""
    return pd.DataFrame(
        {
            "x": X,
            "colour": COLOURS,
            "price": 1e4 + 300 * X + RNG.normal(size=SIZE),
            "sold": np.where(X > 0, "yes", "no"),
            "grade": GRADES,
            "stars": np.arange(SIZE) % 5 + 1,
            **columns,
        }
    )


TARGETS = ("price", "sold", "grade", "stars")


@pytest.fixture
def write(tmp_path):
    def write(content, name="own.csv"):
        path = tmp_path / name
        if name.endswith(".parquet"):
            content.to_parquet(path)
        else:
            content.to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def make(write):
    def make(content, targets=TARGETS, name="own.csv", **options):
        return table(write(content, name), targets, **options)

    return make


@pytest.fixture
def error(make):
    def error(content, targets=TARGETS, **options):
        with pytest.raises(UserError) as caught:
            make(content, targets, **options)
        return str(caught.value)

    return error


def every(part):
    return part[torch.arange(len(part))]


def parts(problem):
    return problem.train, problem.validation, problem.test


def note(problem, start):
    (found,) = (each for each in problem.notes if each.startswith(start))
    return found


def _double(problem):
    torch.manual_seed(0)
    return problem.network().double()


def _doubled(batch):
    inputs, labels, mask = batch
    return inputs.double(), labels.double(), mask


# Kinds


def test_kinds_are_found_and_said(make):
    problem = make(frame(), ("stars", "sold", "price", "grade"))
    assert problem.tasks == ["price", "sold", "stars", "grade"]
    assert note(problem, "Learned as regression") == "Learned as regression: 'price'."
    assert note(problem, "Learned as binary") == "Learned as binary: 'sold' ('yes' is 1)."
    assert note(problem, "Learned as multiclass").endswith(
        "'stars' (5 classes), 'grade' (3 classes)."
    )
    assert [len(part) for part in parts(problem)] == [240, 30, 30]
    assert list(problem.goals) == ["score", "RMSE", "average precision", "accuracy"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1], "binary"),
        ([0.0, 1.0], "binary"),
        ([3, 7], "binary"),
        ([True, False], "binary"),
        (["a", "b"], "binary"),
        (["a", "b", "c"], "multiclass"),
        (list(range(10)), "multiclass"),
        (list(range(11)), "regression"),
        ([0.5, 1, 2], "regression"),
    ],
)
@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
@pytest.mark.parametrize("missing", [False, True])
def test_kind_of_values(make, values, kind, name, missing):
    column = pd.Series(values * SIZE, dtype=object)[:SIZE].infer_objects()
    if missing:
        column = column.convert_dtypes().mask(np.arange(SIZE) % 7 == 0)
    problem = make(frame(own=column), ("own",), name=name)
    assert note(problem, "Learned as").startswith(f"Learned as {kind}")
    mask = torch.cat([every(part)[2] for part in parts(problem)])
    assert len(mask) == SIZE - missing * len(range(0, SIZE, 7))


def test_kinds_can_be_given(make):
    problem = make(frame(), ("stars", "sold"), kinds=("stars=regression", "sold=multiclass"))
    assert note(problem, "Learned as regression") == "Learned as regression: 'stars'."
    assert note(problem, "Learned as multiclass").endswith("'sold' (2 classes).")


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("stars",), ["NAME=KIND", "'stars'"]),
        (("star=binary",), ["not a target", "did you mean 'stars'?"]),
        (("stars=multi",), ["no kind 'multi'", "did you mean 'multiclass'?"]),
        (("stars=binary",), ["'stars'", "5 values"]),
        (("grade=regression",), ["'grade'", "as a number", "`kinds`"]),
    ],
)
def test_wrong_kinds(error, kinds, words):
    message = error(frame(), kinds=kinds)
    assert all(word in message for word in words), message


def test_the_main_task(make):
    assert make(frame()).main is None
    assert make(frame(), main="sold").deciding == "sold"


def numbered(**columns):
    """Where the feature of numbers is the row in the file, from 1."""
    return frame(x=np.arange(SIZE) + 1.0, **columns)


def file_rows(problem, part):
    """The rows of a part in the file, from the feature standardised by those trained on."""
    x = every(part)[0][:, 0].numpy()
    trained = np.array(problem.rows)
    return np.round(trained.mean() + trained.std() * x).astype(int).tolist()


def test_rows_are_those_of_the_file(make):
    unlabelled = np.arange(SIZE) % 7 == 0
    columns = {name: frame()[name].astype(object).mask(unlabelled) for name in TARGETS}
    problem = make(numbered(**columns))
    assert len(problem.rows) == len(problem.train)
    assert file_rows(problem, problem.train) == list(problem.rows)
    assert not {row - 1 for row in problem.rows} & set(np.flatnonzero(unlabelled))


@pytest.mark.parametrize("share", [None, 0.5])
def test_with_a_main_task_a_share_is_held_out(make, share):
    options = {} if share is None else {"held_out": share}
    plain = make(numbered())
    problem = make(numbered(), main="sold", **options)
    held = [*every(problem.held_out)[0]]
    size = round(240 * (share or 0.2))
    assert (len(held), len(problem.train)) == (size, 240 - size)
    assert note(problem, "Rows held out for the weightings").endswith(f"by no method: {size}.")
    own = file_rows(problem, problem.held_out)
    assert file_rows(problem, problem.train) == list(problem.rows)
    assert sorted([*own, *problem.rows]) == sorted(plain.rows)
    for one, other in zip(parts(problem)[1:], parts(plain)[1:], strict=True):
        assert file_rows(problem, one) == file_rows(plain, other)


def test_what_is_held_out_is_not_fitted_to(make):
    content = numbered()
    problem = make(content, main="price")
    price = content["price"].to_numpy()
    train = price[np.array(problem.rows) - 1]
    own = price[np.array(file_rows(problem, problem.held_out)) - 1]
    column = problem.tasks.index("price")
    np.testing.assert_allclose(
        every(problem.held_out)[1][:, column], (own - train.mean()) / train.std(), rtol=1e-3
    )
    assert every(problem.train)[0][:, 0].mean() == pytest.approx(0, abs=1e-5)
    assert every(problem.train)[0][:, 0].std(correction=0) == pytest.approx(1, rel=1e-4)


def test_groups_are_held_out_whole(make):
    problem = make(numbered(patient=np.arange(SIZE) // 5), main="price", group="patient")
    own, train = (
        {(row - 1) // 5 for row in file_rows(problem, part)}
        for part in (problem.held_out, problem.train)
    )
    assert own
    assert not own & train


def test_none_is_held_out_where_none_is_asked_for(make, error):
    for problem in (make(frame()), make(frame(), main="sold", held_out=0)):
        assert problem.held_out is None
        assert len(problem.train) == 240
        assert not any("held out" in each for each in problem.notes)
    assert "`held_out`" in error(frame(), main="sold", held_out=1.5)


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": ("prise",)}, ["`targets`", "did you mean 'price'?"]),
        ({"targets": ("price", "price")}, ["more than once"]),
        ({"features": ("x", "price")}, ["`targets` and `features` both name 'price'"]),
        ({"features": ("y",)}, ["`features`", "no column 'y'"]),
        ({"leave_out": ("price",)}, ["`targets` and `leave_out`", "'price'"]),
        ({"leave_out": ("colr",)}, ["did you mean 'colour'?"]),
        ({"features": ("x",), "group": "x"}, ["`features` and `leave_out`, `group`", "'x'"]),
        ({"group": "colour", "time": "x"}, ["one of them"]),
        ({"main": "prise"}, ["`main`", "did you mean 'price'?"]),
        ({"main": "x"}, ["`main`", "'x' is none of `targets`"]),
        ({"leave_out": ("x", "colour")}, ["no column left", "`features`"]),
        ({"categorical": ("colur",)}, ["`categorical`", "did you mean 'colour'?"]),
        ({"trunk": (64, "many")}, ["`trunk`", "64,'many'"]),
        ({"trunk": ()}, ["`trunk`", "none"]),
        ({"head": -1}, ["`head`", "-1"]),
        ({"group": "colour"}, []),
    ],
)
def test_wrong_options(error, make, options, words):
    options = {"targets": TARGETS, **options}
    if not words:
        assert make(frame(), **options)
        return
    message = error(frame(), **options)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (1, ["one value", "'own'", "`targets`"]),
        (np.nan, ["one value only or none", "'own'"]),
        ([f"id {row}" for row in range(SIZE)], ["300 classes in 300 rows", "'own'"]),
        ([f"{row // 2} h" for row in range(SIZE)], []),
        (pd.date_range("2020-01-01", periods=SIZE), ["'own'", "dates"]),
        (["1", "2", "n/k"] * 100, ["mixes numbers (200 cells, such as '1')", "`kinds`"]),
        (np.where(X > 2, np.inf, X), ["'own'", "infinite"]),
    ],
)
def test_unusable_target(error, make, own, words):
    if not words:
        assert make(frame(own=own), ("own",))
        return
    message = error(frame(own=own), ("own", "price"))
    assert all(word in message for word in words), message
    assert "own.csv" in message


def test_numbers_with_a_class_each(error):
    message = error(frame(), ("price",), kinds=("price=multiclass",))
    assert "300 classes in 300 rows" in message
    assert "`kinds`, as in price=regression" in message


@pytest.mark.parametrize("chosen", [None, ("x", "own")])
@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            pd.date_range("2020-01-01", periods=SIZE),
            ["'own'", "dates", "`time`", "`leave_out`", "month"],
        ),
        (["31/12/2020", "01/02/2021"] * 150, ["'own'", "dates"]),
        (["2020-01-05 10:00", "2021-02-07 11:30"] * 150, ["'own'", "dates"]),
        (["1", "2", "n/k"] * 100, ["mixes numbers", "such as 'n/k'", "`categorical`"]),
        (np.where(X > 2, np.inf, X), ["'own'", "infinite"]),
    ],
)
def test_unusable_feature(error, chosen, own, words):
    message = error(frame(own=own), features=chosen)
    assert all(word in message for word in words), message
    assert "own.csv" in message


def test_a_constant_feature(error, make):
    assert "'own'" in note(make(frame(own=3)), "Left out: columns of one value")
    assert "one value only" in error(frame(own=3), features=("x", "own"))
    # Where some are missing, that is a feature.
    assert "Left out" not in " ".join(make(frame(own=np.where(X > 0, 3, np.nan))).notes)


def test_too_few_rows(error):
    assert "19 rows" in error(frame(price=np.where(np.arange(SIZE) < 19, X, np.nan)), ("price",))


def test_all_is_no_task(error):
    assert "'all'" in error(frame(all=X), ("all", "price"))


def test_ids_are_left_out_and_said_so(make):
    content = frame(key=[f"k{row}" for row in range(SIZE)], number=np.arange(SIZE)[::-1] + 7)
    problem = make(content)
    assert "'key'" in note(problem, "Left out: columns of text")
    assert "'number'" in note(problem, "Left out: columns that number the rows")
    assert every(problem.train)[0].shape[1] == 1 + 3
    assert every(make(content, features=("number", "x")).train)[0].shape[1] == 2


# Files


def test_parquet_is_as_csv(make):
    content = frame()
    content.loc[::5, "x"] = np.nan
    content.loc[::7, "colour"] = None
    content["stars"] = content["stars"].astype("Int64").mask(np.arange(SIZE) % 3 == 0)
    content["flag"] = np.arange(SIZE) % 2 == 0
    one, other = (make(content, name=name) for name in ("own.csv", "own.parquet"))
    for mine, theirs in zip(parts(one), parts(other), strict=True):
        for first, second in zip(every(mine), every(theirs), strict=True):
            torch.testing.assert_close(first, second)


def test_a_stored_index_is_a_column(write):
    path = write(frame().set_index("x"), "own.parquet")
    assert every(table(path, ("price",), features=("x",)).train)[0].shape[1] == 1


def test_parquet_without_the_column(write):
    with pytest.raises(
        UserError, match=r"no column 'prise' in .*own.parquet; did you mean 'price'"
    ):
        table(write(frame(), "own.parquet"), ("prise",))


def test_parquet_of_lists(write):
    path = write(frame(own=[[1, 2]] * SIZE), "own.parquet")
    with pytest.raises(UserError, match="neither numbers nor text"):
        table(path, TARGETS)


def test_no_parquet_file(tmp_path):
    path = tmp_path / "own.parquet"
    with pytest.raises(UserError, match="cannot read"):
        table(path, TARGETS)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UserError, match="as a Parquet file"):
        table(path, TARGETS)


def test_without_pyarrow(write, monkeypatch):
    path = write(frame(), "own.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[table\]'"):
        table(path, TARGETS)


# Features


def test_features_are_fitted_to_the_training_part(make):
    content = frame(y=np.where(X > 1, np.nan, 1e6 + X), price=np.arange(SIZE) + 0.5)
    problem = make(content, ("price",), features=("x", "y"), time="stars")
    order = np.argsort(content["stars"].to_numpy(), kind="stable")
    train = content.iloc[order[: len(problem.train)]]
    x, y = train["x"], train["y"]
    filled = y.fillna(y.median())
    expected = np.stack(
        [
            (x - x.mean()) / x.std(ddof=0),
            (filled - filled.mean()) / filled.std(ddof=0),
            (y.isna() - y.isna().mean()) / y.isna().std(ddof=0),
        ],
        1,
    )
    np.testing.assert_allclose(every(problem.train)[0], expected, atol=1e-4)
    labels = (train["price"] - train["price"].mean()) / train["price"].std(ddof=0)
    np.testing.assert_allclose(every(problem.train)[1][:, 0], labels, atol=1e-5)


def test_categories_rare_unseen_and_missing(make):
    when = np.arange(SIZE)
    own = np.array(["a", "b"], object)[when % 2]
    own[when % 10 == 3] = None
    own[5] = own[6] = "rare"
    own[-10:] = "unseen"
    problem = make(frame(own=own, when=when), ("price",), features=("own",), time="when")
    train, test = every(problem.train)[0], every(problem.test)[0]
    assert train.shape[1] == 4
    assert (train.sum(1) == 1).all()
    assert (test.sum(1) == 1).all()
    assert torch.equal(test[-10:], train[5].expand(10, -1))
    assert train[:, train[3].argmax()].sum() == 24


def test_numbers_may_be_categories(make):
    content = frame(code=np.arange(SIZE) % 4 * 1000, mixed=["1", "2", "3+"] * 100)
    problem = make(content, features=("code", "mixed"), categorical=("code", "mixed"))
    assert every(problem.train)[0].shape[1] == 7
    assert every(problem.train)[0].unique().tolist() == [0, 1]


def test_features_that_a_part_lacks(make):
    content = frame(own=np.where(np.arange(SIZE) < 250, np.nan, X), when=np.arange(SIZE))
    inputs = every(make(content, time="when", features=("x", "own")).test)[0]
    assert inputs.isfinite().all()


# Labels


def test_missing_labels_count_nowhere(make):
    content = frame()
    content.loc[::2, "price"] = np.nan
    content.loc[::3, "grade"] = None
    content.loc[::6, ["sold", "stars"]] = None
    problem = make(content)
    assert "Left out: rows without a label: 50." in problem.notes
    counts = sum(every(part)[2].sum(0) for part in parts(problem))
    assert counts.tolist() == [150, 250, 200, 250]
    losses, mask = problem.loss_function(problem.network(), every(problem.train))
    assert losses.isfinite().all()
    assert torch.equal(mask, every(problem.train)[2])


def test_targets_that_cannot_be_learned_are_left_out(make, error):
    late = np.where(np.arange(SIZE) < 280, np.nan, X)
    problem = make(frame(late=late, when=np.arange(SIZE)), ("price", "late"), time="when")
    assert problem.tasks == ["price"]
    assert note(problem, "Left out: targets without").endswith("'late': 1.")
    message = error(
        frame(late=late, when=np.arange(SIZE)), ("price", "late"), time="when", main="late"
    )
    assert "`main`: nothing can be learned of 'late'" in message
    early = np.where(np.arange(SIZE) < 280, 0.0, X)
    message = error(frame(early=early, when=np.arange(SIZE)), ("early",), time="when")
    assert "no target" in message


# Losses and metrics


@pytest.mark.parametrize("head", [0, 3])
@pytest.mark.parametrize(
    "targets", [TARGETS, ("price",), ("sold",), ("grade", "stars"), ("stars",), ("price", "stars")]
)
def test_losses_equal_a_loop(make, targets, head):
    content = frame()
    content.loc[::4, list(targets)] = None
    content.loc[::4, targets[0]] = frame()[targets[0]]
    problem = make(content, targets, head=head, trunk=(8,))
    network = _double(problem)
    batch = _doubled(every(problem.train))
    losses, mask = problem.loss_function(network, batch)
    hidden = network.trunk(batch[0])
    outputs = [network.heads(hidden).detach()[:, index] for index in range(_outputs(network))]
    sizes = {"grade": 3, "stars": 5}
    most = max((sizes.get(name, 1) for name in targets), default=1)
    place = 0
    for task, name in enumerate(problem.tasks):
        labels = batch[1][:, task]
        if name == "price":
            expected = (outputs[place] - labels) ** 2
        elif name == "sold":
            probability = torch.sigmoid(outputs[place])
            expected = -torch.log(torch.where(labels > 0, probability, 1 - probability))
        else:
            own = torch.stack(outputs[place : place + sizes[name]], 1)
            expected = -torch.log_softmax(own, 1)[range(len(labels)), labels.long()]
        place += most if name in sizes else 1
        torch.testing.assert_close(losses[:, task][mask[:, task]], expected[mask[:, task]])
    assert place == len(outputs)


def _outputs(network):
    return getattr(network.heads, "last", network.heads).out_features


def test_deep_heads_are_a_network_each(make):
    network = _double(make(frame(), head=3, trunk=(8, 6)))
    features = torch.randn(5, 6, dtype=torch.double)
    heads = network.heads
    found = heads(features)
    place = 0
    for task, size in enumerate([1, 1, 5, 5]):
        weight = heads.hidden.weight[3 * task : 3 * task + 3]
        bias = heads.hidden.bias[3 * task : 3 * task + 3]
        hidden = torch.relu(features @ weight.T + bias)
        for row in range(place, place + size):
            expected = hidden @ heads.last.weight[row] + heads.last.bias[row]
            torch.testing.assert_close(found[:, row], expected)
        place += size
    assert place == found.shape[1]


def test_the_trunk_is_shared_and_has_its_widths(make):
    problem = make(frame(), trunk=(32, 16))
    network = problem.network()
    shapes = [tuple(each.shape) for each in problem.shared(network)]
    assert shapes == [(32, 4), (32,), (16, 32), (16,)]


def test_gradients_are_finite_and_absent_classes_get_none(make):
    problem = make(frame(), ("grade", "stars"))
    network = problem.network()
    losses, mask = problem.loss_function(network, every(problem.train))
    task_losses(losses, mask)[0].sum().backward()
    gradient = network.heads.weight.grad
    assert all(each.grad.isfinite().all() for each in network.parameters())
    assert not gradient[3:5].any()
    assert gradient[:3].any(1).all()
    assert gradient[5:].any(1).all()


def _measure(problem, network, part):
    with torch.no_grad():
        return scored(problem, network, part)


def test_metrics_are_scikit_learns(make):
    content = frame()
    content.loc[::4, ["price", "grade"]] = None
    problem = make(content)
    network = _double(problem)
    inputs, labels, mask = _doubled(every(problem.train))
    part = torch.utils.data.TensorDataset(inputs, labels, mask)
    found = _measure(problem, network, part)
    outputs = network(inputs)
    classes = outputs["multiclass"].argmax(2)
    pairs = {
        name: (labels[mask[:, task], task], output[mask[:, task]].detach())
        for task, (name, output) in enumerate(
            zip(
                problem.tasks,
                [outputs["regression"][:, 0], outputs["binary"][:, 0], *classes.T],
                strict=True,
            )
        )
    }
    scores = {
        "price": r2_score(*pairs["price"]),
        "sold": roc_auc_score(*pairs["sold"]),
        "grade": balanced_accuracy_score(*pairs["grade"]),
        "stars": balanced_accuracy_score(*pairs["stars"]),
    }
    assert found["score"] == pytest.approx({OVERALL: np.mean(list(scores.values())), **scores})
    rmse = root_mean_squared_error(*pairs["price"])
    train = content["price"].dropna()
    assert found["RMSE"][OVERALL] == pytest.approx(rmse)
    assert found["RMSE"]["price"] == pytest.approx(rmse * train.std(), rel=0.1)
    precision = average_precision_score(*pairs["sold"])
    assert found["average precision"] == pytest.approx({OVERALL: precision, "sold": precision})
    accuracies = [accuracy_score(*pairs[name]) for name in ("grade", "stars")]
    assert list(found["accuracy"].values()) == pytest.approx([np.mean(accuracies), *accuracies])


def test_undefined_metrics_are_left_out_of_the_mean(make):
    problem = make(frame())
    network = problem.network()
    _, labels, mask = problem.test.tensors
    labels[:, 1] = 1
    mask[:, 2] = False
    found = _measure(problem, network, problem.test)
    assert math.isnan(found["score"]["sold"])
    assert math.isnan(found["score"]["grade"])
    mean = np.mean([found["score"]["price"], found["score"]["stars"]])
    assert found["score"][OVERALL] == pytest.approx(mean)
    assert math.isnan(found["average precision"][OVERALL])
    torch.nn.init.constant_(network.heads.bias, torch.nan)
    found = _measure(problem, network, problem.test)
    assert all(math.isnan(value) for values in found.values() for value in values.values())


# Splits


def test_strata_are_kept(make):
    rare = np.where(np.arange(SIZE) % 15 == 0, "rare", "usual")
    problem = make(frame(rare=rare), ("rare",))
    labels = [every(part)[1] for part in parts(problem)]
    assert [int((each == 0).sum()) for each in labels] == [16, 2, 2]


def test_strata_of_columns():
    first = np.repeat([0, 1], [60, 40])
    second = np.concatenate([np.repeat([0, 1], 30), np.repeat([0, 1], [35, 5])])
    found = strata([first, second], 100)
    assert len(np.unique(found)) == 4
    for column in (first, second):
        together = pd.Series(found).groupby(column).nunique()
        assert together.tolist() == [2, 2]
    # What is too rare in a stratum of the first column is a stratum of its own.
    assert sorted(np.bincount(found)) == [5, 30, 30, 35]
    many = [np.random.default_rng(seed).integers(2, size=100) for seed in range(50)]
    assert len(np.unique(strata(many, 100))) < 30
    assert (strata([], 5) == 0).all()


def _check_partition(found, size):
    assert sorted(np.concatenate(found)) == list(range(size))


@pytest.mark.parametrize("size", [20, 99, 1000])
def test_random_split(size):
    stratum = np.arange(size) % 3
    first, again, other = (split_at_random(stratum, seed) for seed in (0, 0, 1))
    _check_partition(first, size)
    assert [len(part) for part in first[1:]] == pytest.approx([size / 10] * 2, abs=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[2], other[2])


@pytest.mark.parametrize("groups", [3, 5, 40, 300])
def test_group_split(groups):
    group = np.random.default_rng(0).integers(groups, size=600)
    for seed in range(5):
        found = split_by_group(group, seed)
        _check_partition(found, 600)
        own = [set(group[part]) for part in found]
        assert all(own)
        assert not own[0] & own[1]
        assert not (own[0] | own[1]) & own[2]
        assert len(found[1]) >= 60 <= len(found[2])
        if groups > 30:
            assert len(found[0]) > 400


def test_large_groups_are_trained_on():
    group = np.concatenate([np.zeros(500, int), np.arange(1, 501)])
    assert all(0 in group[split_by_group(group, seed)[0]] for seed in range(10))


def test_groups_of_a_row_are_a_random_split():
    found = split_by_group(np.arange(105), 0)
    assert [len(part) for part in found] == [85, 10, 10]


def test_time_split():
    times = np.random.default_rng(0).integers(50, size=500)
    found = split_by_time(times)
    _check_partition(found, 500)
    assert times[found[0]].max() < times[found[1]].min()
    assert times[found[1]].max() < times[found[2]].min()
    assert [len(part) for part in found] == pytest.approx([400, 50, 50], abs=25)


def test_by_group(make, error):
    group = [f"site {row % 30}" for row in range(SIZE)]
    content = frame(site=group, price=np.arange(SIZE) % 30 + 0.5)
    problem = make(content, ("price",), group="site")
    seen = [set(every(part)[1][:, 0].tolist()) for part in parts(problem)]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 30
    assert every(problem.train)[0].shape[1] == 1 + 3 + 2 + 3 + 1
    assert "too few" in error(frame(site=["a", "b"] * 150), group="site")
    assert "empty cells" in error(frame(site=["a", None] * 150), group="site")


@pytest.mark.parametrize("form", [None, "%Y-%m-%d", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S", "number"])
@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_by_time(make, form, name):
    day = np.random.default_rng(0).permutation(SIZE)
    when = pd.Series(pd.Timestamp("2019-11-20") + pd.to_timedelta(day, unit="D"))
    if form == "number":
        when = pd.Series(day)
    elif form:
        when = when.dt.strftime(form)
    problem = make(frame(when=when, price=day + 0.5), ("price",), time="when", name=name)
    last = [float(every(part)[1][:, 0].max()) for part in parts(problem)]
    first = [float(every(part)[1][:, 0].min()) for part in parts(problem)]
    assert last[0] < first[1] < last[1] < first[2]
    assert [len(part) for part in parts(problem)] == [240, 30, 30]


def test_times_that_are_none(error):
    assert "'colour'" in error(frame(), time="colour")
    assert "2024-01-31" in error(frame(when=["01/02/2020", "02/01/2020"] * 150), time="when")
    assert "empty cells" in error(frame(when=["2020-01-02", None] * 150), time="when")
    assert "too few" in error(frame(when=["2020-01-02", "2020-01-03"] * 150), time="when")


def test_repeated_rows_are_said(make):
    content = pd.concat([frame(), frame()[:20]])
    assert any(
        "repeat the features" in each and each.endswith(": 20.") for each in make(content).notes
    )


# Training


def test_it_learns(make):
    content = frame(grade=np.array(["low", "mid", "top"])[np.digitize(X, [-0.5, 0.5])])
    problem = make(content, ("price", "sold", "grade"))
    torch.manual_seed(0)
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), 1e-2)
    for _ in range(150):
        losses, mask = problem.loss_function(network, every(problem.train))
        optimizer.zero_grad()
        task_losses(losses, mask)[0].sum().backward()
        optimizer.step()
    found = _measure(problem, network, problem.test)["score"]
    assert min(found.values()) > 0.85


def test_700_targets(write):
    rng = np.random.default_rng(0)
    inputs, size = rng.normal(size=(1_000, 5)), 700
    values = inputs @ rng.normal(size=(5, size)) + rng.normal(size=(1_000, size))
    values[:, 300:500] = values[:, 300:500] > 0
    values[:, 500:] = np.digitize(values[:, 500:], [-1, 1])
    values[rng.random(values.shape) < 0.3] = np.nan
    targets = tuple(f"y{index}" for index in range(size))
    columns = [*(f"x{index}" for index in range(5)), *targets]
    path = write(pd.DataFrame(np.hstack([inputs, values]), columns=columns), "many.parquet")
    problem = table(path, targets)
    losses, mask = problem.loss_function(problem.network(), problem.train[torch.arange(256)])
    means, counts = task_losses(losses, mask)
    means.sum().backward()
    assert len(problem.tasks) == size
    assert means.isfinite().all()
    assert counts.min() > 100
    assert any("'y300'" in each and "and 190 more" in each for each in problem.notes)


# Real files


def test_adult(data_folder):
    problem = table(
        data_folder / "adult.csv.gz",
        ("income", "marital_status"),
        leave_out=("split", "relationship"),
    )
    assert problem.tasks == ["income", "marital_status"]
    assert "Learned as binary: 'income' ('>50K' is 1)." in problem.notes
    assert "Learned as multiclass: 'marital_status' (7 classes)." in problem.notes
    assert sum(map(len, parts(problem))) == 48_842
    shares = [float((every(part)[1][:, 0] == 1).float().mean()) for part in parts(problem)]
    assert shares == pytest.approx([0.2393] * 3, abs=0.001)


def test_sarcos(data_folder):
    targets = tuple(f"tau{index}" for index in range(1, 8))
    problem = table(data_folder / "sarcos_inv_test.csv.gz", targets)
    assert list(problem.goals) == ["score", "RMSE"]
    inputs, labels, mask = every(problem.train)
    assert inputs.shape == (3_559, 21)
    assert mask.all()
    torch.testing.assert_close(labels.std(0, correction=0), torch.ones(7))
    assert every(problem.test)[0].mean(0).abs().max() < 0.2


def test_enb(data_folder):
    problem = table(data_folder / "enb.csv", ("Y1", "Y2"))
    assert note(problem, "Learned as regression").endswith("'Y1', 'Y2'.")
    assert [len(part) for part in parts(problem)] == [614, 77, 77]
