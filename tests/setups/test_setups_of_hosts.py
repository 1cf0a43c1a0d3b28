"""In the loops of others: weights and gradients of a plain loop in float64, or one sentence."""

import pytest
import torch
from setups import table
from setups.hosts import HOSTS
from setups.loop import Network, losses, made, step_of

pytestmark = [
    # Of a tiny run on a machine that could do more.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    # Lightning 2.6 uses what PyTorch 2.13 is about to drop.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]
FLOAT32 = ("Fabric", "scikit-learn")
"""What gives back outputs in float32, or trains in it."""


@pytest.mark.parametrize("method", table.EVERYTHING)
@pytest.mark.parametrize("host", HOSTS)
def test_one_process(host, method):
    train, by_hand = HOSTS[host]
    if table.expected(host, method) == table.REFUSED:
        with pytest.raises((TypeError, ValueError)) as refused:
            train(method)
        assert len(str(refused.value).split()) > 5
        assert method.rpartition("/")[2] in str(refused.value)
        return
    close = 1e-5 if host in FLOAT32 else 1e-9
    torch.testing.assert_close(train(method), by_hand(method), rtol=close, atol=close)


@pytest.mark.parametrize("method", table.KINDS["samples"])
def test_a_loop_of_ones_own_keeps_the_weights_of_samples_for_lbfgs(method):
    network = Network().double()
    weighting = made(method, network, network.shared).double()
    step = step_of(0, network)
    total = weighting.weigh(step)
    again, _ = losses(network, step.batch)
    kept = (weighting.weights * again).sum()
    torch.testing.assert_close(kept, total)
    found, expected = (torch.autograd.grad(each, network.parameters()) for each in (kept, total))
    torch.testing.assert_close(found, expected)
