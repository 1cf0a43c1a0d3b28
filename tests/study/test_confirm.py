import numpy as np
import pytest
from scipy import stats
from study.made_up import made_up_run
from study.toy import toy

from equipoise import compare
from equipoise.errors import UserError
from equipoise.study.configuration import Study
from equipoise.study.confirm import FIRST, confirmations
from equipoise.study.results import open_study
from equipoise.study.statistics import summarise
from equipoise.study.verdict import verdict


def asked(out, **options):
    usual = {"methods": "constant,slaw,dwa", "seeds": 2, "steps": 8, "progress": False}
    return compare(toy(), out=out, **{**usual, **options})


def test_the_leading_method_is_confirmed_on_fresh_seeds_alone(tmp_path):
    plain = asked(tmp_path / "plain")
    leader = next(row.method for row in plain.comparison.eligible if row.method != "constant")
    found = asked(tmp_path / "confirmed", confirm=4)
    (confirmed,) = found.comparison.confirmed
    fresh = {
        method: [
            run.facts.metrics["error"]["all"]
            for run in sorted(found.runs, key=lambda run: run.facts.seed)
            if run.facts.method == method and run.facts.seed >= FIRST
        ]
        for method in ("constant", "slaw", "dwa")
    }
    assert {method: len(values) for method, values in fresh.items() if values} == {
        "constant": 4,
        leader: 4,
    }
    test = stats.ttest_rel(fresh["constant"], fresh[leader])  # lower is better
    assert (confirmed.method, confirmed.seeds) == (leader, 4)
    assert confirmed.p_value == pytest.approx(test.pvalue)
    low, high = test.confidence_interval(0.95)
    lead = confirmed.lead
    assert (lead.mean - lead.half_width, lead.mean + lead.half_width) == pytest.approx((low, high))
    assert f"On 4 fresh seeds {leader} " in found.verdict
    # Nothing else has changed by it.
    for one, other in zip(found.comparison.methods, plain.comparison.methods, strict=True):
        assert one.metrics == other.metrics
        assert one.difference == other.difference
    assert f"On 4 fresh seeds {leader} " in found.page.read_text(encoding="utf-8")


def test_what_is_confirmed_is_kept(tmp_path):
    before = asked(tmp_path, confirm=3)
    times = {run.files: (run.files / "run.json").stat().st_mtime_ns for run in before.runs}
    after = asked(tmp_path, confirm=3)
    assert {run.files: (run.files / "run.json").stat().st_mtime_ns for run in after.runs} == times
    assert open_study(tmp_path).comparison.confirmed == before.comparison.confirmed
    assert after.comparison.finished


def test_more_than_one_leader_can_be_confirmed(tmp_path):
    found = asked(tmp_path, confirm=2, confirm_top=2)
    assert {each.method for each in found.comparison.confirmed} == {"slaw", "dwa"}


def test_several_are_adjusted_as_holm_says():
    generator = np.random.default_rng(0)
    base = generator.normal(size=12)
    values = {"constant": dict(enumerate(base))}
    for shift, name in enumerate("abc"):
        values[name] = dict(enumerate(base + 0.3 * shift + 0.5 * generator.normal(size=12)))
    raw = {name: stats.ttest_rel(list(values[name].values()), base).pvalue for name in "abc"}
    first, second, third = sorted(raw, key=raw.get)
    expected = [3 * raw[first], max(3 * raw[first], 2 * raw[second])]
    expected = np.minimum([*expected, max(expected[1], raw[third])], 1)
    found = {each.method: each.p_value for each in confirmations(values)}
    assert [found[name] for name in (first, second, third)] == pytest.approx(
        np.minimum(expected, 1)
    )


@pytest.mark.parametrize(
    ("shift", "said"),
    [(0.5, "is better than equal weights: 0.5"), (-0.5, "is worse than"), (0.0, "cannot be told")],
)
def test_the_sentence(shift, said):
    generator = np.random.default_rng(1)
    runs = [
        made_up_run(method, seed, {"score": {"all": value + 0.01 * generator.standard_normal()}})
        for method, value in {"constant": 0.5, "slaw": 0.5 + shift}.items()
        for seed in (0, 1, *range(FIRST, FIRST + 5))
    ]
    study = Study("toy", {}, {}, ("a",), {"score": "max"}, ())
    assert f"On 5 fresh seeds slaw {said}" in verdict(summarise(study, runs, {}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"confirm": -1}, "`confirm`"),
        ({"confirm": 1}, "at least 2 seeds"),
        ({"confirm": 3, "confirm_top": 0}, "`confirm_top`"),
        ({"confirm": 3, "methods": "slaw,dwa"}, "add constant to `methods`"),
    ],
)
def test_what_cannot_be_confirmed(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        asked(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
