import pytest
import torch

from equipoise.errors import UserError
from equipoise.problems.noise import draw_corrupted, noise_notes, told_by_class

TASKS = ["a", "b", "c"]


def drawn(noise=0.3, noisy="all", main="b", samples=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return draw_corrupted(samples, TASKS, main, noise, noisy, generator)


def test_each_label_has_the_probability_by_itself():
    corrupted = drawn().double()
    assert corrupted.mean(0).tolist() == pytest.approx([0.3] * 3, abs=0.015)
    assert torch.corrcoef(corrupted.T).fill_diagonal_(0).abs().max() < 0.03


def test_only_the_main_task_and_the_same_labels_of_it():
    one, every = drawn(noisy="main"), drawn()
    assert torch.equal(one[:, 1], every[:, 1])
    assert not one[:, [0, 2]].any()


def test_less_noise_is_part_of_more():
    less, more = drawn(0.2), drawn(0.6)
    assert (less <= more).all()
    assert less.sum() < more.sum()


@pytest.mark.parametrize(("noise", "share"), [(0, 0), (1, 1)])
def test_none_and_all(noise, share):
    assert drawn(noise).double().mean() == share


def test_is_of_its_seed():
    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), drawn(seed=1))


@pytest.mark.parametrize("noise", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(noise):
    with pytest.raises(UserError, match="`noise`"):
        drawn(noise)


def test_notes_count():
    corrupted = torch.zeros(1_500, 3, dtype=torch.bool)
    assert noise_notes(corrupted, TASKS) == []
    corrupted[:1_200, 2] = True
    corrupted[3, 0] = True
    assert noise_notes(corrupted, TASKS) == [
        "Training labels made wrong, of 1,500 each: a 1, c 1,200."
    ]


def test_what_the_class_alone_tells():
    """Of a rare class that is half wrong, and a common one that is right: by counting pairs."""
    labels = torch.tensor([[0, 0, 0, 0, 1, 1]]).T
    corrupted = torch.tensor([[False, False, False, False, True, False]]).T
    # The wrong one is the rarer in 4 of 5 pairs with a clean one, and as common in 1.
    assert told_by_class(labels, corrupted) == pytest.approx((4 + 0.5) / 5)
    assert "ROC curve of 0.900" in noise_notes(corrupted, ["a"], labels)[1]


def test_an_exact_share_grows_with_the_noise():
    drawn = [
        draw_corrupted(10, ("a", "b"), "a", noise, "all", torch.Generator(), exact=True)
        for noise in (0.25, 0.5)
    ]
    assert [each.sum(0).tolist() for each in drawn] == [[2, 2], [5, 5]]
    assert (drawn[1] | ~drawn[0]).all()
