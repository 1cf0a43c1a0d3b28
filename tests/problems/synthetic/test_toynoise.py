import pytest
import torch
from problems.scored import scored
from sklearn.metrics import mean_squared_error

from equipoise.errors import UserError
from equipoise.problems.synthetic.toynoise import HELD_OUT, OUTLIER, TRAINING, toynoise


@pytest.fixture(scope="module")
def clean():
    return toynoise(noise=0)


def every(part):
    return part[torch.arange(len(part))]


def test_sizes_are_the_papers(clean):
    assert [len(part) for part in (clean.train, clean.held_out, clean.test)] == [600, 200, 200]
    inputs, targets = clean.train[torch.arange(5)]
    assert (inputs.shape, targets.shape) == ((5, 250), (5, 2))
    assert clean.network()(inputs).shape == (5, 2)
    assert clean.validation is clean.held_out
    assert (clean.recipe.batch_size, clean.recipe.held_out_batch_size) == (16, 32)
    assert clean.recipe.steps == 100 * 38


def test_data_follow_the_equation(clean):
    """b and ε_k are the first numbers of the seed."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(250, generator=generator)
    own = 3.5**0.5 * torch.randn(2, 250, generator=generator)
    for part in (clean.train, clean.held_out, clean.test):
        inputs, targets = every(part)
        for task in range(2):
            expected = ((inputs * (base + own[task])).sum(1)).tanh().abs()
            torch.testing.assert_close(targets[:, task], expected, atol=1e-4, rtol=0)
    inputs = torch.cat([every(part)[0] for part in (clean.train, clean.held_out, clean.test)])
    assert inputs.mean() == pytest.approx(0, abs=0.01)
    assert inputs.std() == pytest.approx(1, abs=0.01)


def test_nearly_all_targets_are_near_one(clean):
    near = (every(clean.train)[1] > 0.9).double().mean()
    # |N(0, 4.5 · 250)| > atanh(0.9) = 1.47 has probability 0.965.
    assert near == pytest.approx(0.965, abs=0.02)


@pytest.mark.parametrize(
    ("noisy", "main", "shares"),
    [("main", "main", [0.4, 0]), ("main", "auxiliary", [0, 0.4]), ("all", "main", [0.4, 0.4])],
)
def test_outliers_are_where_it_says_and_nowhere_else(clean, noisy, main, shares):
    noisy = toynoise(noise=0.4, noisy=noisy, main=main)
    inputs, targets = every(noisy.train)
    clean_inputs, clean_targets = every(clean.train)
    assert torch.equal(inputs, clean_inputs)
    assert torch.equal(targets == -0.5, noisy.corrupted)
    assert torch.equal(targets[~noisy.corrupted], clean_targets[~noisy.corrupted])
    assert noisy.corrupted.double().mean(0).tolist() == shares
    assert noisy.main == main
    for part in ("held_out", "test"):
        for one, other in zip(
            every(getattr(noisy, part)), every(getattr(clean, part)), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize(("noise", "number"), [(0.4, 240), (0.3339, 200), (0.41, 246), (1.0, 600)])
def test_the_share_of_outliers_is_exact_and_rounded_down(noise, number):
    assert toynoise(noise=noise, noisy="all").corrupted.sum(0).tolist() == [number, number]


def test_each_task_has_two_layers_of_its_own(clean):
    network = clean.network()
    own = [len([each for each in head if hasattr(each, "weight")]) for head in network.heads]
    assert own == [2, 2]
    assert len(list(clean.shared(network))) == 6


def test_without_noise_nothing_is_known_to_be_wrong(clean):
    assert clean.corrupted is None
    assert (every(clean.train)[1] >= 0).all()
    assert len(clean.notes) == 1


def test_losses_and_metrics_are_squared_errors(clean):
    network = clean.network()
    inputs, targets = every(clean.test)
    with torch.no_grad():
        losses, mask = clean.loss_function(network, (inputs, targets))
        found = scored(clean, network, clean.test)["mean squared error"]
        outputs = network(inputs)
    assert mask is None
    own = [mean_squared_error(targets[:, task], outputs[:, task]) for task in range(2)]
    assert losses.mean(0).tolist() == pytest.approx(own, rel=1e-5)
    assert [found["main"], found["auxiliary"]] == pytest.approx(own)
    assert found["all"] == pytest.approx(sum(own) / 2)


def test_equal_weights_are_drawn_towards_the_outliers():
    problem = toynoise()
    torch.manual_seed(0)
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    for indices in torch.randperm(600).split(16) * 5:
        losses, _ = problem.loss_function(network, problem.train[indices])
        optimizer.zero_grad()
        losses.mean(0).sum().backward()
        optimizer.step()
    with torch.no_grad():
        outputs = network(every(problem.test)[0]).mean(0)
    # The mean of targets and outliers is 0.6 · 1 − 0.4 · 0.5 = 0.4.
    assert 0.1 < outputs[0] < 0.75
    assert outputs[1] == pytest.approx(1, abs=0.15)


def test_is_of_its_seed(clean):
    one, same, other = toynoise(), toynoise(), toynoise(data_seed=1)
    assert torch.equal(every(one.train)[1], every(same.train)[1])
    assert not torch.equal(every(one.train)[0], every(other.train)[0])


def test_a_noise_that_is_no_probability_is_refused():
    with pytest.raises(UserError, match="`noise`"):
        toynoise(noise=2)


def test_noise_of_the_held_out_part_is_there_and_nowhere_else():
    clean, dirty = toynoise(), toynoise(held_out_noise=0.25)
    (inputs, targets), (same, other) = clean.held_out.tensors, dirty.held_out.tensors
    assert torch.equal(inputs, same)
    changed = targets != other
    assert changed.sum(0).tolist() == [50, 0]
    assert (other[changed] == OUTLIER).all()
    for part in ("train", "test"):
        assert torch.equal(getattr(clean, part).tensors[1], getattr(dirty, part).tensors[1])
    wrong = dirty.labelled().wrong
    assert torch.equal(torch.from_numpy(wrong[TRAINING : TRAINING + HELD_OUT]), changed)
    assert wrong.sum() == dirty.corrupted.sum() + 50
    assert any("Held-out labels made wrong, of 200 each: main 50." in note for note in dirty.notes)
    with pytest.raises(UserError, match="`held_out_noise`"):
        toynoise(held_out_noise=-1)
