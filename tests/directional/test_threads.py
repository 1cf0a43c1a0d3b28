"""Two threads that weigh at once, and forward mode that is in use already."""

import threading

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from settings import by_loops, setting, squared_errors
from torch.nn import functional

from equipoise import alignments
from equipoise.directional import random_direction


@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
@pytest.mark.parametrize("trunk", ["mlp", "attention", "lstm"])
def test_two_threads(trunk, engine):
    """Each with a model of its own; both are in a pass before either goes on, if that can be."""
    settings = [setting(trunk) for _ in range(2)]
    directions = [random_direction(model[0], 1) for model, _ in settings]
    expected = [
        by_loops(model, batch, direction, list(model[0].parameters()))[1]
        for (model, batch), direction in zip(settings, directions, strict=True)
    ]
    attention, mkldnn = functional.scaled_dot_product_attention, torch.backends.mkldnn.enabled
    meeting = threading.Barrier(2)
    found, errors = {}, []

    def losses(model, batch):
        try:
            meeting.wait(0.05)
        except threading.BrokenBarrierError:  # the other waits until this pass is over
            meeting.reset()
        return squared_errors(model, batch)

    def work(number):
        (model, batch), direction = settings[number], directions[number]
        try:
            for _ in range(3):
                found[number] = alignments(
                    losses, model, batch, direction, shared=model[0], engine=engine, check=False
                )[2]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number, (_, batch) in enumerate(settings):
        mask = batch[2]
        torch.testing.assert_close(
            found[number][mask], expected[number][mask], rtol=1e-6, atol=1e-6
        )
    assert functional.scaled_dot_product_attention is attention
    assert torch.backends.mkldnn.enabled is mkldnn
    assert torch.backends.cuda.flash_sdp_enabled()


def test_forward_mode_that_is_in_use():
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)
    arguments = (squared_errors, model, batch, direction)
    with forward_mode.dual_level():
        with pytest.raises(RuntimeError, match=r"one forward mode.*in use.*outside of dual_level"):
            alignments(*arguments, shared=model[0], engine="forward", check=False)
        with pytest.warns(UserWarning, match=r"in use here.*taking the engine 'reverse'"):
            found = alignments(*arguments, shared=model[0])
        forward_mode.make_dual(torch.ones(1), torch.ones(1))  # it is as it was
    expected = by_loops(model, batch, direction, list(model[0].parameters()))[1]
    torch.testing.assert_close(found[2][batch[2]], expected[batch[2]])
