"""The error rates of the comparison of many methods, by simulation."""

import numpy as np
import pytest
from scipy import stats

from equipoise.study.inference import (
    against,
    collapsed,
    detectable,
    largest_rate,
    may_be_best,
)

STUDIES = 2_000
KINDS = ("normal", "clones", "few noisy", "noisy reference", "collapse")


def equal_methods(kind, seeds, methods, *, studies=STUDIES):
    """Studies of methods with equal means, the first of them the reference.

    What seeds do to all methods is half of the variance.
    """
    generator = np.random.default_rng(KINDS.index(kind))
    common = generator.standard_normal((studies, seeds, 1))
    values = common * generator.uniform(0.5, 1.5, (studies, 1, methods))
    values = (values + generator.standard_normal((studies, seeds, methods))) / 2**0.5
    if kind == "clones":
        same = 1 + round(0.8 * (methods - 1))
        noise = generator.standard_normal((studies, seeds, same - 1))
        values[..., 1:same] = values[..., :1] + 0.01 * noise
    if kind == "few noisy":
        values[..., -max(1, methods // 10) :] *= 10
    if kind == "noisy reference":
        values[..., 0] *= 4
    if kind == "collapse":
        values -= 10 * (generator.random(values.shape) < 0.05)
    return values


@pytest.mark.parametrize(("methods", "seeds"), [(5, 3), (30, 3), (30, 5), (10, 10)])
@pytest.mark.parametrize("kind", KINDS)
def test_of_equal_methods_hardly_any_is_called_better(kind, methods, seeds):
    values = equal_methods(kind, seeds, methods)
    mean, half_width = against(values[..., 1:], values[..., 0])
    assert (np.abs(mean) > half_width).any(1).mean() <= 0.065
    assert (mean > half_width).any(1).mean() <= 0.035


def test_paired_t_tests_call_many_better():
    """Without this the test above would say nothing."""
    values = equal_methods("normal", 3, 30)
    test = stats.ttest_rel(values[..., 1:], values[..., [0]], axis=1)
    assert ((test.pvalue < 0.05) & (test.statistic > 0)).any(1).mean() > 0.3


def test_two_standard_deviations_are_found_by_five_seeds_of_ten_methods():
    values = equal_methods("normal", 5, 10)
    values[..., 4] += 2
    mean, half_width = against(values[..., 1:], values[..., 0])
    assert (mean > half_width)[:, 3].mean() >= 0.58


@pytest.mark.parametrize("lead", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["normal", "few noisy"])
def test_the_best_is_among_those_that_may_be(kind, lead):
    values = equal_methods(kind, 5, 10)
    values[..., 1] += lead
    kept = may_be_best(values)
    assert kept[:, 1].mean() >= 1 - 0.065
    if lead == 2 and kind == "normal":
        assert kept[:, 2:].mean() < 0.6


@pytest.mark.parametrize(("methods", "seeds"), [(2, 5), (10, 3), (10, 10)])
def test_the_detectable_difference_is_found_in_four_of_five_studies(methods, seeds):
    values = np.random.default_rng(7).standard_normal((4_000, seeds, methods))
    found = [detectable(each[:, 1:], each[:, 0]) for each in values]
    values[..., 1] += np.sqrt(np.mean(np.square(found)))  # in proportion to the spread
    mean, half_width = against(values[..., 1:], values[..., 0])
    assert (mean > half_width)[:, 0].mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_one_method_gets_student_s_interval(seeds):
    values = np.random.default_rng(0).standard_normal((seeds, 2))
    mean, half_width = against(values[:, 1:], values[:, 0])
    low, high = stats.ttest_rel(values[:, 1], values[:, 0]).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == (pytest.approx(low), pytest.approx(high))


def test_parts_drawn_anew_widen_intervals_as_nadeau_and_bengio_say():
    values = np.random.default_rng(0).standard_normal((10, 4))
    _, same = against(values[:, 1:], values[:, 0])
    _, anew = against(values[:, 1:], values[:, 0], overlap=1 / 8)
    assert anew / same == pytest.approx(np.full(3, np.sqrt((1 / 10 + 1 / 8) / (1 / 10))))
    wider = detectable(values[:, 1:], values[:, 0], overlap=1 / 8)
    assert wider > detectable(values[:, 1:], values[:, 0])


def test_one_seed_tells_nothing():
    values = np.array([[0.1, 0.9, 0.5]])
    mean, half_width = against(values[:, 1:], values[:, 0])
    assert mean == pytest.approx([0.8, 0.4])
    assert np.isnan(half_width).all()
    assert may_be_best(values).all()
    assert np.isnan(detectable(values[:, 1:], values[:, 0]))


@pytest.mark.parametrize("level", [9.0, 1.0, -9.0])
def test_a_method_that_varies_more_than_others_has_not_collapsed(level):
    """Wherever it ends; but one of its runs that is far from its others has."""
    steady = np.array([1.0, 1.001, 0.999])[:, None] * np.ones((3, 5))
    varying = level + np.array([[0.0], [0.1], [-0.5]])
    assert not collapsed(np.hstack([steady, varying])).any()
    varying[2] -= 3
    assert np.argwhere(collapsed(np.hstack([steady, varying]))).tolist() == [[2, 5]]


def test_which_runs_collapsed():
    generator = np.random.default_rng(0)
    values = generator.standard_normal((5, 10)) + np.arange(10)
    assert not collapsed(values).any()
    values[2, 3] -= 30
    assert np.argwhere(collapsed(values)).tolist() == [[2, 3]]
    assert not collapsed(np.ones((3, 2))).any()


@pytest.mark.parametrize(("events", "runs"), [(0, 10), (0, 3), (1, 5), (4, 5)])
def test_the_largest_rate_of_an_event(events, runs):
    rate = largest_rate(events, runs)
    assert stats.binom.cdf(events, runs, rate) == pytest.approx(0.05)


def test_the_largest_rate_by_hand():
    assert largest_rate(0, 10) == pytest.approx(0.2589, abs=1e-4)
    assert largest_rate(3, 3) == 1
