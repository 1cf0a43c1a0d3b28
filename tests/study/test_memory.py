import pytest
import torch
from study.toy import toy
from torch import nn

from equipoise.errors import UserError
from equipoise.study import memory
from equipoise.study.memory import LIBRARIES, check_memory, footprint, jacobians
from equipoise.study.methods import find_methods

CPU = torch.device("cpu")


def wide(shared=1000, tasks=50):
    """A problem whose gradients of all tasks are larger than everything else."""

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Linear(3, shared, bias=False)
            self.heads = nn.Linear(shared, tasks, bias=False)

        def forward(self, inputs):
            return self.heads(self.trunk(inputs))

    return toy(
        tasks=[f"t{index}" for index in range(tasks)],
        network=Wide,
        losses=lambda outputs, batch: (outputs.square(), None),
    )


@pytest.fixture
def free(monkeypatch):
    def free(size):
        monkeypatch.setattr(memory, "free_memory", lambda device: size)

    return free


def needed(problem):
    return footprint(problem, problem.recipe, CPU)


def test_what_is_needed_is_that_of_the_tensors():
    problem = wide()
    needs = needed(problem)
    assert needs.shared == 3 * 1000
    assert needs.gradient == 4 * 3 * 1000
    # Parameters, gradients and both averages of Adam's at least.
    assert needs.network >= 4 * 4 * (3 * 1000 + 1000 * 50)
    # A backward pass needs the trunk's inputs and outputs, and the outputs to be squared.
    batch = problem.recipe.batch_size
    assert batch * 4 * (3 + 1000 + 50) <= needs.batch <= 3 * batch * 4 * (3 + 1000 + 2 * 50)
    assert needs.record == 2 * 4 * problem.recipe.steps * 50


def test_a_batch_is_no_larger_than_the_training_part():
    problem = wide()
    recipe = problem.recipe.__class__(**{**vars(problem.recipe), "batch_size": 10**9})
    assert footprint(problem, recipe, CPU).batch < 50 * 4 * 10_000


def test_jacobians_count_where_a_method_holds_them(free):
    problem = wide()
    needs = needed(problem)
    free(needs.total + jacobians(*find_methods("torchjd/PCGrad")) * 50 * needs.gradient)
    check_memory(problem, find_methods("slaw,gradnorm,torchjd/PCGrad"), problem.recipe, CPU)
    with pytest.raises(UserError, match=r"torchjd/ConFIG needs about"):
        check_memory(problem, find_methods("slaw,torchjd/ConFIG"), problem.recipe, CPU)
    free(needs.total)
    check_memory(problem, find_methods("slaw,gradnorm,torchjd/FAMO"), problem.recipe, CPU)
    with pytest.raises(UserError, match=r"slaw\(beta=0.9\)\+torchjd/PCGrad needs about"):
        check_memory(problem, find_methods("slaw(beta=0.9)+torchjd/PCGrad"), problem.recipe, CPU)


@pytest.mark.parametrize(
    ("methods", "other"),
    [("torchjd/PCGrad,dwa(beta=0.5)", "dwa(beta=0.5)"), ("torchjd/PCGrad", "slaw")],
)
def test_the_sentence_says_why_and_what_could_serve(free, methods, other):
    problem = wide(shared=20_000, tasks=500)
    free(300_000_000 + LIBRARIES)
    with pytest.raises(UserError) as error:
        check_memory(problem, find_methods(methods), problem.recipe, CPU)
    said = str(error.value)
    assert "0.1 GB of it for the gradients of 500 tasks in 60,000 shared parameters" in said
    assert "0.4 GB are free" in said
    assert said.endswith(f"such as {other}")


def test_a_step_that_fits_with_no_method(free):
    problem = wide()
    free(needed(problem).total - 1)
    with pytest.raises(UserError, match="`batch_size`"):
        check_memory(problem, find_methods("slaw"), problem.recipe, CPU)


def test_the_random_state_is_left_alone():
    problem = wide()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    needed(problem)
    assert torch.equal(torch.rand(3), expected)


def test_no_shared_parameters():
    assert needed(toy(shared=lambda network: [])).gradient == 0
