import sys
from dataclasses import replace

import pytest
import torch
from study.toy import toy
from torch import nn

import equipoise
from equipoise.cli import main
from equipoise.errors import UserError
from equipoise.study.methods import WEIGHTINGS, check_methods, default_methods, make_weighting
from equipoise.task import SLAW, Constant


def test_names_in_any_case():
    problem = toy(ideal_weights=[1.0, 2.0])
    given = ["slaw", "TorchJD/pcgrad", "slaw+torchjd/PCGRAD", "torchjd/Sum", "ideal+torchjd/mgda"]
    proper = ["slaw", "torchjd/PCGrad", "slaw+torchjd/PCGrad", "torchjd/Sum", "ideal+torchjd/MGDA"]
    assert check_methods(given, problem) == proper
    for name in default_methods(problem):
        assert check_methods([name], problem) == [name]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["torchjd/PCGard"], "did you mean 'torchjd/PCGrad'?"),
        (["slaw+torchjd/PCGard"], "did you mean 'torchjd/PCGrad'?"),
        (["slow+torchjd/PCGrad"], "did you mean 'slaw'?"),
        (["slaw+dwa"], "slaw+torchjd/PCGrad"),
        (["slaw+torchjd/Sum"], "slaw+torchjd/PCGrad"),
        (["torchjd/MGDA+torchjd/PCGrad"], "slaw+torchjd/PCGrad"),
        (["+torchjd/PCGrad"], "there is no method ''"),
        (["torchjd/DWA"], "torchjd/DWA cannot be compared"),
        (["torchjd/PCGrad", "torchjd/pcgrad"], "'torchjd/PCGrad' is named twice"),
        (["ideal+torchjd/PCGrad"], "ideal weights"),
    ],
)
def test_wrong_names(names, words):
    with pytest.raises(UserError) as error:
        check_methods(names, toy())
    assert words in str(error.value)


def test_a_composition_is_made():
    weighting = make_weighting("slaw+torchjd/PCGrad", toy(), 0, nn.Identity())
    assert isinstance(weighting.before, SLAW)
    assert weighting.tasks == weighting.before.tasks == ("a", "b")
    problem = toy(ideal_weights=[0.5, 1.5])
    before = make_weighting("ideal+torchjd/PCGrad", problem, 0, nn.Identity()).before
    assert isinstance(before, Constant)
    assert before.weights.tolist() == [0.5, 1.5]
    assert isinstance(
        make_weighting("slaw", replace(problem), 0, nn.Identity()), WEIGHTINGS["slaw"]
    )


@pytest.mark.parametrize("name", ["torchjd/Krum", "slaw+torchjd/Krum"])
def test_a_method_that_needs_more_tasks_says_which_can(name):
    with pytest.raises(UserError) as error:
        check_methods([name], toy())
    said = str(error.value)
    assert said.startswith("torchjd/Krum cannot serve this problem, and torchjd/PCGrad can: ")
    assert "at least 3 tasks, and there are 2" in said
    three = toy(tasks=["a", "b", "c"])
    assert check_methods([name], three) == [name]


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, above):
        return above


def test_a_method_that_the_network_does_not_serve_says_which_can():
    def losses(network, batch):
        inputs, targets, mask = batch
        return (NoForwardMode.apply(network(inputs)) - targets).square(), mask

    problem = toy(losses=losses)
    assert check_methods(["slaw", "gradnorm"], problem) == ["slaw", "gradnorm"]
    with pytest.raises(UserError) as error:
        check_methods(["slaw", "probedgradientnorm"], problem)
    said = str(error.value)
    assert said.startswith("probedgradientnorm cannot serve this problem, and slaw can: ")
    assert "NoForwardMode" in said
    with pytest.raises(UserError, match="gradnorm cannot serve this problem, and slaw can"):
        check_methods(["gradnorm"], toy(shared=lambda network: []))


def test_a_fault_of_the_problem_is_not_laid_to_a_method():
    def losses(network, batch):
        raise ValueError("no such column")

    assert check_methods(["slaw"], toy(losses=losses)) == ["slaw"]


@pytest.fixture
def listing(monkeypatch, capsys):
    def listing():
        monkeypatch.setattr(sys, "argv", ["equipoise", "methods"])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
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


def test_a_missing_solver_is_listed(listing, monkeypatch):
    from torchjd import _mixins

    monkeypatch.setattr(_mixins, "find_spec", lambda name: None)
    assert 'pip install "torchjd[nash_mtl]"' in listing()


def test_without_torchjd(listing, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.delitem(sys.modules, "equipoise.peers", raising=False)
    monkeypatch.delattr(equipoise, "peers", raising=False)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[baselines\]'"):
        check_methods(["torchjd/PCGrad"], toy())
    assert check_methods(["slaw"], toy()) == ["slaw"]
    assert "pip install 'equipoise[baselines]'" in listing()


def test_methods_that_draw_numbers_draw_others_with_another_seed():
    first, second = (make_weighting("random", toy(), seed, nn.Identity()) for seed in (0, 1))
    losses = torch.ones(2)
    first(losses), second(losses)
    assert not torch.equal(first.weights, second.weights)
