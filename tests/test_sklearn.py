"""Estimators train as a study does, and behave as scikit-learn wants it."""

import pickle
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import equipoise
from equipoise.errors import UserError
from equipoise.problems.problem import Recipe
from equipoise.problems.table.table import table
from equipoise.sklearn import MultiTaskClassifier, MultiTaskRegressor
from equipoise.study.loop import Loop
from equipoise.study.methods import find_methods

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
SIZE, STEPS, SEED = 120, 20, 3
X = RNG.normal(size=(SIZE, 4))
Y = np.stack([X[:, 0] + X[:, 1] ** 2, 1_000 * X[:, 2] - 7_000], 1)
Y += RNG.normal(size=Y.shape) * [0.1, 100]
LACKING = Y.copy()
LACKING[::3, 0] = LACKING[1::3, 1] = np.nan
QUICK = {
    "hidden_layer_sizes": (16, 8),
    "steps": STEPS,
    "batch_size": 32,
    "learning_rate_init": 1e-2,
}
Regressor = partial(MultiTaskRegressor, **QUICK, validation_fraction=0, random_state=SEED)
Classifier = partial(MultiTaskClassifier, **QUICK, validation_fraction=0, random_state=SEED)
RECIPE = Recipe(
    steps=STEPS,
    batch_size=32,
    lr=1e-2,
    optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
)
LEARNS = {"steps": 80, "hidden_layer_sizes": (32,), "learning_rate_init": 0.02}


# What scikit-learn asks


# Skipped are arrays of other libraries, which an environment variable turns on, and the form of a
# decision_function, which a classifier need not have.
@parametrize_with_checks([MultiTaskRegressor(**LEARNS), MultiTaskClassifier(**LEARNS)])
def test_estimator_checks(estimator, check):
    check(estimator)


# It is the study


def by_hand(columns, targets, weighting):
    """The table problem, the network that a study's loop trains, and the rows it is trained on."""
    frame = pd.DataFrame(X, columns=list("abcd")).assign(**columns)
    problem = table(frame, targets, features=tuple("abcd"), trunk=(16, 8), recipe=RECIPE)
    (method,) = find_methods(weighting)
    loop = Loop(
        problem,
        partial(method.make, problem, SEED),
        seed=SEED,
        recipe=RECIPE,
        device=torch.device("cpu"),
    )
    while not loop.done:
        loop.step()
    return problem, loop, np.array(problem.rows) - 1, frame


@pytest.mark.parametrize("weighting", ["slaw", "uncertainty", "gradnorm", "random", "constant"])
def test_numbers_are_learned_as_by_a_study(weighting):
    columns = {"first": LACKING[:, 0], "second": LACKING[:, 1]}
    problem, loop, rows, _ = by_hand(columns, ("first", "second"), weighting)
    labels = pd.DataFrame(columns).iloc[rows]
    model = Regressor(weighting).fit(X[rows], labels)
    inputs = problem.train[torch.arange(len(rows))][0]
    with torch.no_grad():
        outputs = loop.network.double()(inputs.double())["regression"].numpy()
    expected = np.nanmean(labels, 0) + np.nanstd(labels, 0) * outputs
    assert np.array_equal(model.predict(X[rows]), expected)
    assert model.weights_by_target_ == loop.weighting.weights_by_task()
    assert np.array_equal(model.loss_curve_, loop.record.losses.double(), equal_nan=True)
    assert model.n_iter_ == STEPS


def test_classes_are_learned_as_by_a_study():
    columns = {
        "grade": np.where(RNG.random(SIZE) < 0.2, None, np.digitize(X[:, 0], [-0.5, 0.5])),
        "sold": np.where(X[:, 1] > 0, "yes", "no"),
        "size": np.array(list("smlx"))[RNG.integers(4, size=SIZE)],
    }
    columns["grade"] = pd.Series(columns["grade"], dtype=float)
    problem, loop, rows, frame = by_hand(columns, tuple(columns), "slaw")
    assert problem.tasks == ["sold", "grade", "size"]
    model = Classifier().fit(X[rows], frame[list(columns)].iloc[rows])
    loop.network.eval()
    with torch.no_grad():
        expected = problem.predict(frame, [loop.network])
    grade, sold, size = model.predict_proba(X)
    assert [each.shape[1] for each in (grade, sold, size)] == [3, 2, 4]
    found = sold[:, 1], grade.max(1), size.max(1)
    names = "sold probability of yes", "grade probability", "size probability"
    for name, own in zip(names, found, strict=True):
        np.testing.assert_allclose(own, expected[name], rtol=0, atol=1e-6)
    predicted = model.predict(X)
    assert predicted[:, 0].astype(int).astype(str).tolist() == expected["grade"].tolist()
    assert predicted[:, 2].tolist() == expected["size"].tolist()
    assert list(model.weights_by_target_) == ["grade", "sold", "size"]
    assert model.weights_by_target_ == loop.weighting.weights_by_task()


# Missing labels


def test_missing_labels_are_learned_as_by_a_plain_loop_without_them():
    model = Regressor("constant").fit(X, LACKING)
    inputs = torch.from_numpy((X - X.mean(0)) / X.std(0)).float()
    centre, scale = np.nanmean(LACKING, 0), np.nanstd(LACKING, 0)
    labels = torch.from_numpy((LACKING - centre) / scale).float()
    torch.manual_seed(SEED)
    layers = nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator, order = torch.Generator().manual_seed(SEED), torch.empty(0)
    for _ in range(STEPS):
        if not len(order):
            order = torch.randperm(SIZE, generator=generator)
        rows, order = order[:32], order[32:]
        loss = torch.zeros(())
        for task in range(2):
            own = rows[~labels[rows, task].isnan()]
            loss = loss + (network(inputs[own])[:, task] - labels[own, task]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        expected = network(inputs).numpy()
    np.testing.assert_allclose((model.predict(X) - centre) / scale, expected, rtol=0, atol=1e-5)


def test_rows_without_a_label_change_nothing():
    extra = RNG.normal(size=(30, 4)) * 100
    place = RNG.permutation(SIZE + 30)
    inputs = np.empty((SIZE + 30, 4))
    labels = np.full((SIZE + 30, 2), np.nan)
    ours = np.sort(place[:SIZE])
    inputs[ours], inputs[np.sort(place[SIZE:])], labels[ours] = X, extra, LACKING
    expected = Regressor().fit(X, LACKING).predict(X)
    assert np.array_equal(Regressor().fit(inputs, labels).predict(X), expected)


def test_the_score_is_that_of_the_labels_there_are():
    model = Regressor().fit(X, LACKING)
    predicted = model.predict(X)
    assert model.score(X, Y) == pytest.approx(r2_score(Y, predicted))
    weights = RNG.random(SIZE)
    first, second = (
        r2_score(LACKING[rows, task], predicted[rows, task], sample_weight=weights[rows])
        for task, rows in enumerate(~np.isnan(LACKING).T)
    )
    assert model.score(X, LACKING, weights) == pytest.approx((first + second) / 2)
    labels = (np.nanmean(LACKING, 0) < LACKING).astype(float)
    labels[np.isnan(LACKING)] = np.nan
    classifier = Classifier().fit(X, labels)
    first, second = (
        accuracy_score(labels[rows, task], classifier.predict(X)[rows, task])
        for task, rows in enumerate(~np.isnan(labels).T)
    )
    assert classifier.score(X, labels) == pytest.approx((first + second) / 2)
    one = Classifier().fit(X, labels[:, 1])
    rows = ~np.isnan(labels[:, 1])
    assert one.score(X, labels[:, 1]) == accuracy_score(labels[rows, 1], one.predict(X[rows]))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "b", None] * 40, object),
        pd.Series(["a", "b", None] * 40),
        pd.Series(["a", "b", np.nan] * 40, dtype="category"),
        ["a", "b", None] * 40,
    ],
    ids=["objects", "series", "categories", "list"],
)
def test_text_may_be_missing(labels):
    model = Classifier().fit(X, labels)
    assert model.classes_.tolist() == ["a", "b"]
    known = np.arange(SIZE) % 3 < 2
    same = Classifier().fit(X[known], np.array(["a", "b"] * 40))
    assert np.array_equal(model.predict_proba(X), same.predict_proba(X))
    assert set(model.predict(X)) <= {"a", "b"}


# Which step counts


def test_the_step_that_is_best_on_rows_set_aside_counts():
    inputs = RNG.normal(size=(48, 4))
    labels = inputs[:, 0] + RNG.normal(size=48)
    options = {"learning_rate_init": 0.05, "batch_size": 12}
    model = Regressor(validation_fraction=0.25, steps=60, **options).fit(inputs, labels)
    # Rows that are set aside are those whose labels do not enter the losses of the first steps.
    few = Regressor(validation_fraction=0.25, steps=3, **options)
    usual = few.fit(inputs, labels).loss_curve_
    aside = np.array(
        [
            np.array_equal(few.fit(inputs, labels + 9 * (np.arange(48) == row)).loss_curve_, usual)
            for row in range(48)
        ]
    )
    assert aside.sum() == 12
    at = {}
    for steps in range(6, 61, 6):
        at[steps] = Regressor(steps=steps, **options).fit(inputs[~aside], labels[~aside])
    scores = {steps: each.score(inputs[aside], labels[aside]) for steps, each in at.items()}
    best = max(scores, key=scores.get)
    assert best < 60  # it overfits, or the test would prove nothing
    assert np.array_equal(model.predict(inputs), at[best].predict(inputs))


# Units and forms


def test_predictions_are_in_the_units_of_the_labels():
    usual = Regressor().fit(X, LACKING).predict(X)
    units = np.array([2.0**10, 2.0**-20])  # exact in any precision
    assert np.array_equal(Regressor().fit(X, LACKING * units).predict(X), usual * units)
    moved = Regressor().fit(X, LACKING + 5_000).predict(X)
    np.testing.assert_allclose(moved, usual + 5_000, rtol=1e-6)


def test_predictions_have_the_form_of_the_labels():
    both = Regressor().fit(X, Y)
    assert both.predict(X).shape == (SIZE, 2)
    assert both.n_outputs_ == 2
    flat, column = Regressor().fit(X, Y[:, 0]), Regressor().fit(X, Y[:, :1])
    assert flat.predict(X).shape == (SIZE,)
    assert np.array_equal(flat.predict(X)[:, None], column.predict(X))
    classes = (Y.mean(0) < Y).astype(int)
    one = Classifier().fit(X, classes[:, :1])
    assert one.predict(X).shape == (SIZE, 1)
    assert one.predict_proba(X).shape == (SIZE, 2)
    assert one.classes_.tolist() == [0, 1]
    several = Classifier().fit(X, classes > 0)
    assert several.predict(X).dtype == bool
    assert [each.tolist() for each in several.classes_] == [[False, True]] * 2
    for own, each in zip(several.predict(X).T, several.predict_proba(X), strict=True):
        assert np.array_equal(own, each[:, 1] > 0.5)


def test_frames_give_names():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = Regressor().fit(frame, pd.DataFrame(Y, columns=["price", "rent"]))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert list(model.weights_by_target_) == ["price", "rent"]
    assert list(Regressor().fit(frame, Y).weights_by_target_) == ["y0", "y1"]
    assert list(Regressor().fit(frame, pd.Series(Y[:, 0], name="rent")).weights_by_target_) == [
        "rent"
    ]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("dcba")])


def test_missing_features_are_their_median():
    lacking = X.copy()
    lacking[::5, 2] = np.nan
    model = Regressor().fit(X, Y)
    filled = np.where(np.isnan(lacking), np.median(X, 0), lacking)
    assert np.array_equal(model.predict(lacking), model.predict(filled))
    assert np.isfinite(Regressor().fit(lacking, Y).predict(lacking)).all()


# Random numbers


@pytest.mark.parametrize("estimator", [Regressor, Classifier])
def test_the_same_seed_learns_the_same(estimator):
    labels = Y if estimator is Regressor else (Y.mean(0) < Y).astype(int)
    options = {"validation_fraction": 0.2}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = estimator(**options).fit(X, labels)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    torch.manual_seed(77)
    second = estimator(**options).fit(X, labels)
    assert np.array_equal(first.predict(X), second.predict(X))
    assert np.array_equal(first.loss_curve_, second.loss_curve_)
    other = estimator(**{**options, "random_state": SEED + 1}).fit(X, labels)
    assert not np.array_equal(first.loss_curve_, other.loss_curve_)


def test_a_random_state_is_drawn_from():
    drawn = [np.random.RandomState(5) for _ in range(2)]
    first, second = (Regressor(random_state=each).fit(X, Y).predict(X) for each in drawn)
    assert np.array_equal(first, second)
    assert not np.array_equal(Regressor(random_state=drawn[0]).fit(X, Y).predict(X), first)


# Among the tools of scikit-learn


@pytest.mark.parametrize("weighting", ["slaw(bounds=(0.1, 10))", equipoise.SLAW])
def test_clones_and_pickles(weighting):
    model = Regressor(weighting).fit(X, LACKING)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert np.array_equal(copy.fit(X, LACKING).predict(X), model.predict(X))


def test_a_pickle_holds_no_training_data():
    small, large = (
        len(pickle.dumps(Regressor(steps=1).fit(np.tile(X, (n, 1)), np.tile(Y, (n, 1)))))
        for n in (1, 50)
    )
    assert abs(large - small) < 100


def test_a_search_in_a_pipeline_chooses_a_weighting():
    pipeline = make_pipeline(PolynomialFeatures(include_bias=False), Regressor())
    grid = {"multitaskregressor__weighting": ["constant", "slaw", "dwa"]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, LACKING)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 3
    assert search.best_params_ == search.cv_results_["params"][int(scores.argmax())]
    labels = np.where(np.isnan(LACKING), np.nan, np.nanmean(LACKING, 0) < LACKING)
    search = GridSearchCV(Classifier(), {"weighting": ["constant", "slaw"]}, cv=KFold(3))
    assert 0.5 < search.fit(X, labels).best_score_ <= 1


def test_the_example_prints_its_choice(capsys):
    runpy.run_path(str(ROOT / "examples" / "scikit_learn.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert said.count("learning rate") == 6
    assert float(said.partition("best: ")[2].split()[2]) > 0.7


def test_the_core_does_not_load_it():
    code = "import equipoise, sys; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "slgate"}, "slgate needs a main task, held-out batches, and an estimator"),
        ({"weighting": equipoise.CosineGate}, "CosineGate needs a main task"),
        ({"weighting": "slaw+slgrad"}, r"slaw\+slgrad needs"),
        ({"weighting": "slow"}, "did you mean 'slaw'"),
        ({"weighting": "slaw(speed=1)"}, "speed"),
        ({"weighting": "slaw,dwa"}, "must name one method, found 2"),
        ({"weighting": "slaw(bounds=(2, 1))"}, "slaw"),
        ({"weighting": 3}, "`weighting` must be the name of a method"),
        ({"hidden_layer_sizes": ()}, "`hidden_layer_sizes` must be widths"),
        ({"hidden_layer_sizes": (8, 0.5)}, "`hidden_layer_sizes` must be widths"),
        ({"steps": 0}, "`steps` must be a whole number"),
        ({"batch_size": "auto"}, "`batch_size` must be a whole number"),
        ({"learning_rate_init": -1}, "`learning_rate_init` must be a positive number"),
        ({"learning_rate_init": 1e20}, "not finite at step .*`learning_rate_init`"),
        ({"validation_fraction": 1.0}, "`validation_fraction` must be a share"),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        Regressor(**options).fit(X, LACKING)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    options = {
        "hidden_layer_sizes": np.array([16, 8]),
        "steps": np.int64(STEPS),
        "learning_rate_init": np.float64(1e-2),
        "random_state": np.int32(SEED),
    }
    expected = Regressor().fit(X, Y).predict(X)
    assert np.array_equal(Regressor(**options).fit(X, Y).predict(X), expected)


def with_column(column):
    return np.stack([Y[:, 0], np.broadcast_to(column, SIZE)], 1)


@pytest.mark.parametrize(
    ("estimator", "labels", "message"),
    [
        (Regressor, with_column(np.nan), "target 'y1' of y must have two different numbers"),
        (Regressor, with_column(3), "target 'y1' of y must have two different numbers"),
        (Regressor, np.full(SIZE, np.nan), "target 'y0' of y must have"),
        (Regressor, Y[:-1], "inconsistent numbers of samples"),
        (Regressor, pd.DataFrame(Y, columns=["a", "a"]), "'a'"),
        (Classifier, ["a"] * SIZE, "target 'y0' of y must have two different classes"),
        (Classifier, Y[:, 0], "Unknown label type"),
        (Classifier, np.array(["a", 1] * 60, object), "mixes labels"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(estimator, labels, message):
    with pytest.raises(ValueError, match=message):
        estimator().fit(X, labels)


def test_labels_that_cannot_score_are_refused():
    model = Regressor().fit(X, Y)
    with pytest.raises(UserError, match="y has 1 targets, and the estimator was fitted to 2"):
        model.score(X, Y[:, 0])
    with pytest.raises(UserError, match="no target of y has 2 labels"):
        model.score(X, np.full(Y.shape, np.nan))
