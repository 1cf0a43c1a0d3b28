import sys
from dataclasses import replace

import pytest
import torch
from study.toy import held_out, noisy, toy
from torch import nn

import equipoise
from equipoise.cli import main
from equipoise.errors import UserError
from equipoise.study.methods import WEIGHTINGS, check_methods, default_methods, find_methods
from equipoise.task import SLAW, Constant


def checked(text, problem=None):
    return [method.label for method in check_methods(text, problem or toy())]


def made(text, problem, seed=0):
    (method,) = find_methods(text, problem)
    return method.make(problem, seed, problem.network())


def test_names_in_any_case():
    problem = toy(ideal_weights=[1.0, 2.0])
    given = "slaw,TorchJD/pcgrad,slaw+torchjd/PCGRAD,torchjd/Sum,IDEAL+torchjd/mgda"
    proper = "slaw,torchjd/PCGrad,slaw+torchjd/PCGrad,torchjd/Sum,ideal+torchjd/MGDA"
    assert ",".join(checked(given, problem)) == proper
    assert ",".join(checked(default_methods(problem), problem)) == default_methods(problem)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("torchjd/PCGard", "did you mean 'torchjd/PCGrad'?"),
        ("slaw+torchjd/PCGard", "did you mean 'torchjd/PCGrad'?"),
        ("slow+torchjd/PCGrad", "did you mean 'slaw'?"),
        ("slaw+dwa", "'slaw+dwa' is no method: DWA takes nothing in front"),
        ("slaw+constant", "'slaw+constant' is no method: Constant takes nothing in front"),
        ("slgate+slaw", "'slgate+slaw' is no method: SLAW takes nothing in front"),
        ("slgate+slgate", "'slgate+slgate' is no method: SLGate cannot stand in front"),
        ("slgate+torchjd/PCGrad", "SLGate cannot stand in front of torchjd/PCGrad"),
        ("torchjd/UW+slgate", "UW cannot stand in front of SLGate"),
        ("slaw+torchjd/PCGrad+slgate", "PCGrad cannot stand in front of SLGate"),
        ("probedgradientnorm+slgate", "ProbedGradientNorm cannot stand in front of SLGate"),
        ("slaw+torchjd/Sum", "'slaw+torchjd/Sum' is no method"),
        ("torchjd/MGDA+torchjd/PCGrad", "MGDA cannot stand in front of torchjd/PCGrad"),
        ("torchjd/DWA", "torchjd/DWA cannot be compared"),
        ("torchjd/PCGrad,torchjd/pcgrad", "'torchjd/PCGrad' is named twice"),
        ("slaw,dwa,slaw(beta=0.99)", "'slaw' is named twice"),
        ("slaw(beta=0.9),slaw( beta=9e-1 )", "'slaw(beta=0.9)' is named twice"),
        ("ideal+torchjd/PCGrad", "ideal weights"),
        ("slaw(beta=1)", "slaw(beta=1.0): beta must be"),
        ("slaw(initial=[1, 2, 3])", "slaw(initial=[1.0, 2.0, 3.0]): initial must be (2,)"),
        ("slgrad(lookahead=-1)", "slgrad(lookahead=-1.0): lookahead must be a positive number"),
        ("torchjd/CAGrad(c=-1)", "torchjd/CAGrad: "),
    ],
)
def test_wrong_names(names, words):
    with pytest.raises(UserError) as error:
        check_methods(names, held_out())
    assert words in str(error.value)


def test_the_ideal_has_no_options():
    with pytest.raises(UserError, match="constant has initial"):
        check_methods("ideal(initial=[1, 2])", toy(ideal_weights=[1.0, 2.0]))


@pytest.mark.parametrize("name", ["slgate", "slaw+slgate", "cosinegate"])
def test_a_method_that_serves_a_main_task_needs_one(name):
    with pytest.raises(UserError, match="`main`"):
        check_methods(name, toy())
    assert checked(name, held_out()) == [name]


def test_a_method_that_asks_for_samples_held_out_needs_them():
    problem = replace(held_out(), held_out=None)
    assert checked("cosinegate", problem) == ["cosinegate"]
    with pytest.raises(UserError, match="`held_out`"):
        check_methods("slaw+slgrad", problem)


def test_a_composition_is_made():
    weighting = made("slaw(beta=0.5)+torchjd/PCGrad", toy())
    assert isinstance(weighting.before, SLAW)
    assert weighting.before.moments.beta == 0.5
    assert weighting.tasks == weighting.before.tasks == ("a", "b")
    before = made("ideal+torchjd/PCGrad", toy(ideal_weights=[0.5, 1.5])).before
    assert isinstance(before, Constant)
    assert before.weights.tolist() == [0.5, 1.5]
    assert type(made("slaw+slgate", held_out())) is WEIGHTINGS["slgate"]


def test_the_problem_says_what_is_shared_unless_the_text_does():
    problem = held_out()
    trunk = [(4, 3), (4,)]
    for text in ("slgate", "gradnorm", "torchjd/PCGrad"):
        weighting = made(text, problem)
        assert [tuple(each.shape) for each in weighting._shared] == trunk
    assert made("slgate(shared='border')", problem)._shared is None


@pytest.mark.parametrize("name", ["torchjd/Krum", "slaw+torchjd/Krum"])
def test_a_method_that_needs_more_tasks_says_which_can(name):
    with pytest.raises(UserError) as error:
        check_methods(name, toy())
    said = str(error.value)
    assert said.startswith("torchjd/Krum cannot serve this problem, and torchjd/PCGrad can: ")
    assert "at least 3 tasks, and there are 2" in said
    assert checked(name, toy(tasks=["a", "b", "c"])) == [name]


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, above):
        return above


def test_a_method_that_the_network_does_not_serve_says_which_can():
    def losses(outputs, batch):
        _, targets, mask = batch
        return (NoForwardMode.apply(outputs) - targets).square(), mask

    problem = toy(losses=losses)
    assert checked("slaw,gradnorm", problem) == ["slaw", "gradnorm"]
    with pytest.raises(UserError) as error:
        check_methods("slaw,probedgradientnorm(every=2)", problem)
    said = str(error.value)
    assert said.startswith("probedgradientnorm(every=2) cannot serve this problem, and slaw can: ")
    assert "NoForwardMode" in said


def test_a_problem_that_shares_nothing():
    with pytest.raises(UserError, match="gradnorm: shared holds no parameter"):
        check_methods("gradnorm", toy(shared=lambda network: []))


def test_a_fault_of_the_problem_is_not_laid_to_a_method():
    def losses(outputs, batch):
        raise ValueError("no such column")

    assert checked("slaw", toy(losses=losses)) == ["slaw"]


@pytest.fixture
def listing(monkeypatch, capsys):
    def listing(*method):
        monkeypatch.setattr(sys, "argv", ["equipoise", "methods", *method])
        main()
        return capsys.readouterr().out

    return listing


def test_all_are_listed(listing):
    lines = listing().splitlines()
    assert all(any(line.startswith(f"{name}  ") for line in lines) for name in WEIGHTINGS)
    at = next(index for index, line in enumerate(lines) if line.startswith("torchjd/PCGrad  "))
    assert "Gradient Surgery for Multi-Task Learning" in lines[at]
    assert "tasks backward" in lines[at + 1]
    assert "https://arxiv.org/pdf/2001.06782" in lines[at + 1]
    assert any(line.startswith("torchjd/MoDo  left out: ") for line in lines)
    assert "slaw+torchjd/PCGrad" in lines[-1]


def test_the_options_of_one_are_shown(listing):
    said = listing("slaw")
    assert "slaw  Scaled Loss Approximate Weighting" in said
    assert "    beta=0.99  averaging factor of the statistics, in [0, 1).\n" in said
    assert "    nonfinite='propagate'  what to do about a loss that is NaN" in said
    assert "    maximize=False  whether the objective is better" in listing("slaw+slgate")
    assert "    c=0.5  The scale of the radius" in listing("torchjd/cagrad")
    assert "seed (that of the run by default)" in listing("random")
    assert "temperature" not in listing("torchjd/DWA")


def test_a_missing_solver_is_listed(listing, monkeypatch):
    from torchjd import _mixins

    monkeypatch.setattr(_mixins, "find_spec", lambda name: None)
    assert 'pip install "torchjd[nash_mtl]"' in listing()


def test_without_torchjd(listing, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    for name in [each for each in sys.modules if each.startswith("equipoise.peers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(equipoise, "peers", raising=False)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[baselines\]'"):
        check_methods("torchjd/PCGrad", toy())
    assert checked("slaw,slgate", noisy()) == ["slaw", "slgate"]
    assert "pip install 'equipoise[baselines]'" in listing()


def test_methods_that_draw_numbers_draw_others_with_another_seed():
    def drawn(text, seed):
        weighting = made(text, toy(), seed)
        weighting(torch.ones(2))
        return weighting.weights.tolist()

    assert drawn("random", 0) != drawn("random", 1)
    assert drawn("random(seed=7)", 0) == drawn("random(seed=7)", 1) == drawn("random", 7)


def test_a_class_that_is_no_weighting_is_refused(monkeypatch, tmp_path):
    (tmp_path / "mine_wrong.py").write_text("class Weighting:\n    pass\nvalue = 3\n")
    monkeypatch.chdir(tmp_path)
    for name, words in {
        "mine_wrong:Weighting": "subclass of equipoise.LossWeighting",
        "mine_wrong:value": "subclass of equipoise.LossWeighting",
        "mine_wrong:Other": "mine_wrong has no 'Other'",
        "mine_nowhere:Other": "there is no module 'mine_nowhere'",
        "mine_wrong:": "module:attribute",
        ":Weighting": "module:attribute",
        ".mine_wrong:Weighting": "module:attribute",
    }.items():
        with pytest.raises(UserError) as error:
            check_methods(name, toy())
        assert words in str(error.value)


def test_networks_are_not_part_of_a_weighting():
    weighting = made("slgate", held_out())
    assert not any(isinstance(each, nn.Linear) for each in weighting.modules())
