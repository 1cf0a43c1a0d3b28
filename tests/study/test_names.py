"""Texts that name methods with options."""

import ast
import inspect
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given
from study.toy import toy

from equipoise import SLAW, GradNorm, LossWeighting, SLGate
from equipoise.errors import UserError
from equipoise.study.arguments import options_of
from equipoise.study.meanings import meanings
from equipoise.study.methods import WEIGHTINGS, find_methods, torchjd_methods


def labels(text):
    return [method.label for method in find_methods(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slaw", ["slaw"]),
        (" SLAW ,dwa ", ["slaw", "dwa"]),
        ("slaw()", ["slaw"]),
        ("slaw(beta=0.9)", ["slaw(beta=0.9)"]),
        ("slaw( beta = 9e-1, )", ["slaw(beta=0.9)"]),
        ("slaw(beta=0.99)", ["slaw"]),
        ("gradnorm(alpha=1)", ["gradnorm(alpha=1.0)"]),
        ("slaw(warmup=20,beta=.9)", ["slaw(beta=0.9, warmup=20)"]),
        ("slaw(bounds=[0.1,10])", ["slaw(bounds=(0.1, 10.0))"]),
        ("slaw(floor='relative'),slaw(floor=1e-5)", ["slaw(floor='relative')", "slaw"]),
        ('slaw(averaging="paper")', ["slaw(averaging='paper')"]),
        ("constant(initial=(1,2,3))", ["constant(initial=[1.0, 2.0, 3.0])"]),
        ("constant(initial={'a,(': 1, 'b)+': 2})", ["constant(initial={'a,(': 1.0, 'b)+': 2.0})"]),
        ("lbtw(normalized=True)", ["lbtw(normalized=True)"]),
        ("softadapt(sharpness=-1)", ["softadapt(sharpness=-1.0)"]),
        ("slgate(shared='border',maximize=True)", ["slgate(shared='border', maximize=True)"]),
        ("slgrad(lookahead=None)", ["slgrad"]),
        ("slaw(beta=0.9)+slgate", ["slaw(beta=0.9)+slgate"]),
        ("slaw + torchjd/pcgrad", ["slaw+torchjd/PCGrad"]),
        ("torchjd/CAGrad(c=1),torchjd/cagrad(c=0.5)", ["torchjd/CAGrad(c=1.0)", "torchjd/CAGrad"]),
    ],
)
def test_a_method_has_one_label_however_it_is_spelt(text, expected):
    assert labels(text) == expected
    assert labels(",".join(expected)) == expected


def test_what_a_study_sets_is_kept_also_where_it_is_the_constructors_default():
    assert inspect.signature(WEIGHTINGS["random"]).parameters["seed"].default == 0
    assert labels("random(seed=0)") == ["random(seed=0)"]
    assert inspect.signature(SLGate).parameters["shared"].default == "all"
    assert labels("slgate(shared='all')") == ["slgate(shared='all')"]


DEEP = "[" * 5_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no method"),
        ("slaw,", "'' is no method"),
        ("slaw,,dwa", "'' is no method"),
        ("+slgate", "'' is no method"),
        ("(beta=0.9)", "is no method"),
        ("slaw(beta=0.9", "is no method"),
        ("slaw(beta=0.9,dwa", "is no method"),
        ("slaw)beta=0.9(", "is no method"),
        ("slaw beta=0.9", "is no method"),
        ("slaw(0.9)", "by name"),
        ("slaw(0.9, beta=0.9)", "by name"),
        ("slaw(*[0.9])", "by name"),
        ("slaw(**{'beta': 0.9})", "by name"),
        ("slaw(beta=0.9)(beta=0.8)", "cannot be read"),
        ("slaw(beta=0.9) if 1 else dwa()", "cannot be read"),
        ("slaw(beta=)", "cannot be read"),
        ("slaw(beta=0.9, beta=0.9)", "beta is given twice"),
        ("slaw(beta=0.9\0)", "cannot be read"),
        ("slaw(beta=1 - 0.1)", "the value of beta must be a number"),
        ("slaw(beta=high)", "the value of beta must be a number"),
        ("slaw(beta=__import__('os').getpid())", "the value of beta must be a number"),
        ("__import__('os').system('true')", "cannot be read"),
        ("slaw(beat=0.9)", "slaw has no option 'beat': did you mean 'beta'?"),
        ("torchjd/PCGrad(c=1)", "torchjd/PCGrad has no option 'c'"),
        ("slaw(tasks=3)", "no option 'tasks'"),
        ("slgate(main='a')", "no option 'main'"),
        ("slgate(objective=None)", "no option 'objective'"),
        ("gradnorm(shared='all')", "no option 'shared'"),
        ("torchjd/FAMO(shape=3)", "no option 'shape'"),
        ("slaw(beta='0.9')", "slaw: beta must be a number, found '0.9'"),
        ("slaw(beta=True)", "beta must be a number, found True"),
        ("slaw(beta=1e999)", "beta must be a number, found inf"),
        (f"slaw(beta=1{'0' * 400})", "beta must be a number, found 1000"),
        ("slaw(warmup=1.0)", "warmup must be an integer, found 1.0"),
        ("lbtw(normalized=1)", "normalized must be True or False, found 1"),
        ("slaw(averaging='text')", "averaging must be 'reference' or 'paper', found 'text'"),
        ("slaw(bounds=(1, 2, 3))", "bounds must be (a number, a number) or None"),
        ("slaw(initial=['a'])", "initial must be [a number, …] or {a text in quotes: a number, …}"),
        ("slgate(shared='trunk')", "shared must be 'border' or 'all', found 'trunk'"),
        ("x" * 10_000, "there is no method 'xxx"),
        ("slaw(" * 2_000, "is no method"),
        (f"slaw(beta={DEEP})", "cannot be read"),
        (f"slaw(beta={DEEP}{DEEP.replace('[', ']')})", "cannot be read"),
        (f"slaw(beta={'-' * 10_000}1)", "cannot be read"),
        (f"slaw(warmup=0x{'f' * 10_000})", "the value of warmup must be a number"),
        (f"slaw({','.join(f'o{number}=1' for number in range(1_500))})", "no option 'o0'"),
    ],
    ids=lambda text: text[:40],
)
def test_what_names_no_method_is_one_sentence(text, words):
    with pytest.raises(UserError) as error:
        find_methods(text)
    said = str(error.value)
    assert words in said
    assert len(said) < 400
    assert "\n" not in said


@given(st.text(alphabet="slaw(beta=0.9)[]{}'\"\\,+*:/ \n1e", max_size=40))
def test_any_text_names_methods_or_is_refused(text):
    try:
        found = labels(text)
    except UserError:
        return
    assert labels(",".join(found)) == found


FLOATS = st.floats(0, 1, exclude_max=True)


@given(FLOATS, st.integers(1, 10**6), st.none() | st.tuples(FLOATS, FLOATS))
def test_options_arrive_as_python_reads_them(beta, warmup, bounds):
    (method,) = find_methods(f"slaw(warmup={warmup}, bounds={bounds}, beta={beta!r})")
    given = {"beta": beta, "bounds": bounds, "warmup": warmup}
    defaults = {"beta": 0.99, "bounds": None, "warmup": 1}
    expected = {name: value for name, value in given.items() if value != defaults[name]}
    assert method.parts[0].options == expected
    call = ast.parse(method.label, mode="eval").body
    written = {each.arg: ast.literal_eval(each.value) for each in getattr(call, "keywords", [])}
    assert written == expected


def test_the_constructor_gets_what_the_label_says():
    problem = toy()
    (method,) = find_methods("slaw(beta=0.5, bounds=(0.1, 10), averaging='paper')")
    weighting = method.make(problem, 0, problem.network())
    assert isinstance(weighting, SLAW)
    assert weighting.moments.beta == 0.5
    assert weighting.bounds == (0.1, 10)
    assert weighting.averaging == "paper"


def own():
    class Own(LossWeighting):
        """One of one's own.

        Args:
            tasks: see :class:`~equipoise.task.base.TaskWeighting`.
            pull (float): how strongly :math:`\\alpha` pulls,
                on all.
            nonfinite: see there.
        """

        def __init__(self, tasks, *, pull: float = 2, name="x", more=None, nonfinite="propagate"):
            super().__init__(tasks, nonfinite=nonfinite)

    return Own


def test_options_of_a_class_of_ones_own():
    options = options_of(own())
    assert list(options) == ["pull", "name", "more", "nonfinite"]
    assert str(options["pull"]) == "pull=2"
    known = meanings(own())
    assert known["pull"] == "how strongly alpha pulls, on all."
    assert known["nonfinite"].startswith("what to do about a loss that is NaN")


def test_options_that_are_passed_on_are_options_too():
    class Passing(SLAW):
        """SLAW, more of it."""

        def __init__(self, tasks, *, more: int = 1, **options):
            super().__init__(tasks, **options)

    assert list(options_of(Passing)) == ["more", *options_of(SLAW)]
    assert meanings(Passing)["beta"] == meanings(SLAW)["beta"]


def test_every_option_has_a_meaning():
    kinds = {**WEIGHTINGS, **torchjd_methods()}
    for name, kind in kinds.items():
        if not (name.startswith("torchjd/") and kind.left_out()):
            known = meanings(kind)
            assert not [option for option in options_of(kind) if not known.get(option)], name
            assert not [text for text in known.values() if re.search(":class:|``|see there", text)]


def test_parameters_of_a_model_are_no_option():
    assert "shared" not in options_of(GradNorm)
    assert "shared" in options_of(SLGate)
