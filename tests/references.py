"""Every weighting of tasks once more: plain float64 NumPy, written from papers and authors' code.

Nothing here comes from Equipoise, nothing is fast, and nothing treats special cases: all losses are
present, finite and positive. Each function takes ``losses`` ``(steps, tasks)`` and returns
``(steps, tasks)``: the weights that follow once the losses of a step are known. Whether an author
uses these in that step already or in the next one is said where it is the next one.

Weights that a source makes sum to 1 sum to ``sum(initial)`` here, ones if ``initial`` is ``None``.
"""

from functools import cache
from itertools import pairwise
from statistics import NormalDist
from zlib import crc32

import numpy as np


def start(losses, initial):
    losses = np.asarray(losses, dtype=np.float64)
    weights = np.ones(losses.shape[1]) if initial is None else np.array(initial, dtype=np.float64)
    return losses, weights


def shared_out(parts, total):
    return total * parts / np.sum(parts)


def softmax(scores, total=1.0):
    return shared_out(np.exp(scores - np.max(scores)), total)


@cache
def shares(count, beta, corrected=True):
    """How much each of ``count`` values contributes to their running average.

    ``beta`` is ``None`` for the plain average of all. ``corrected``: plain averages as long as they
    forget faster, exponential ones from then on; otherwise exponential ones that start at zero.
    """
    found = np.zeros(count)
    for t in range(1, count + 1):
        kept = 1 - 1 / t if beta is None else min(beta, 1 - 1 / t) if corrected else beta
        found *= kept
        found[t - 1] = 1 - kept
    return found


# Without state


def constant(losses, initial=None):
    """The weights that were given."""
    losses, initial = start(losses, initial)
    return np.tile(initial, (len(losses), 1))


def uncertaintysoftmax(losses, temperature=1.0, initial=None):
    """UW-SO, arXiv 2408.07985, the paper: a softmax of 1 / (temperature × loss)."""
    losses, initial = start(losses, initial)
    return np.array([softmax(1 / (temperature * row), initial.sum()) for row in losses])


def geometricmean(losses, initial=None):
    """GLS, arXiv 1904.08492, the paper: the derivatives of the geometric mean by each loss.

    ``initial``, in proportion, are the exponents; the paper has them equal.
    """
    losses, initial = start(losses, initial)
    powers = initial / initial.sum()
    return np.array([powers * np.prod(row**powers) / row for row in losses])


# Random


def mixed(word):
    """The hash behind Equipoise's draws, on Python's integers."""
    word = (word + 0x9E3779B9) % 2**32
    for _ in range(2):
        word = (((word >> 16) ^ word) * 0x45D9F3B) % 2**32
    return (word >> 16) ^ word


def uniform(seed, step, purpose=0):
    """In (0, 1): the middle of one of 2²⁴ equal parts."""
    return ((mixed(mixed(mixed(seed) ^ step) ^ purpose) >> 8) + 0.5) / 2**24


def random(losses, seed=0, names=None, initial=None):
    """RLW, arXiv 2111.10603, the paper: the softmax of normal numbers, with Equipoise's draws."""
    losses, initial = start(losses, initial)
    names = range(losses.shape[1]) if names is None else names
    words = [crc32(str(name).encode()) for name in names]
    history = []
    for step in range(len(losses)):
        numbers = [NormalDist().inv_cdf(uniform(seed, step, word)) for word in words]
        history.append(softmax(np.array(numbers), initial.sum()))
    return np.array(history)


# The spread of the losses


def slaw(losses, beta=0.99, floor=1e-5, warmup=1, averaging="reference", bounds=None, initial=None):
    """SLAW, arXiv 2109.08218: the standard deviation from the history of a task, in two passes.

    ``averaging="reference"`` has the authors' code's schedule, ``"paper"`` the text's averages,
    which start at zero. ``floor="relative"`` (1e-5 of the mean), ``warmup`` and ``bounds`` are
    Equipoise's own.
    """
    losses, initial = start(losses, initial)
    history = [initial]
    for t in range(2, len(losses) + 1):
        if t <= warmup:
            history.append(initial)
            continue
        if averaging == "paper":
            weight = shares(t, beta, corrected=False)
            mean = weight @ losses[:t]
            variance = weight @ losses[:t] ** 2 - mean**2
        else:
            weight = shares(t, beta)
            mean = weight @ losses[:t]
            variance = weight @ (losses[:t] - mean) ** 2
        lowest = 1e-5 * np.abs(mean) if floor == "relative" else floor
        weights = shared_out(1 / np.maximum(np.sqrt(variance), lowest), initial.sum())
        history.append(weights if bounds is None else bounded(weights, *bounds))
    return np.array(history)


def bounded(weights, low, high):
    """The clipped multiple of ``weights`` with the same sum, by bisection."""
    lowest, highest = -80.0, 80.0
    for _ in range(200):
        middle = (lowest + highest) / 2
        if np.clip(np.exp(middle) * weights, low, high).sum() < weights.sum():
            lowest = middle
        else:
            highest = middle
    return np.clip(np.exp(middle) * weights, low, high)


def slaw_authors(losses, beta=0.99, initial=None):
    """SLAW as its authors' code has it: running averages of the loss and of its square.

    Plain ones in the first ``round(1 / (1 - beta))`` steps; the weights stay where the difference
    of the averages is negative for any task.
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    history = []
    for t, row in enumerate(losses, start=1):
        kept = (t - 1) / t if t <= round(1 / (1 - beta)) else beta
        mean = kept * mean + (1 - kept) * row
        square = kept * square + (1 - kept) * row**2
        variance = square - mean**2
        if t > 1 and (variance >= 0).all():
            weights = shared_out(1 / np.maximum(np.sqrt(variance), 1e-5), total)
        history.append(weights)
    return np.array(history)


def cov(losses, beta=None, epsilon=1e-8, initial=None):
    """CoV-Weighting, arXiv 2009.01717, the paper's order: a step's losses count in its weights.

    From the history of each task: standard deviation over mean of the ratios of each loss to the
    average of those before it; ``epsilon``, added to the variance, is the authors' code's.
    With ``beta`` all averages are exponential ones, the spread's as well: Equipoise's form, see
    :func:`cov_authors`.
    """
    losses, initial = start(losses, initial)
    ratios = [np.ones_like(initial)]
    for t in range(1, len(losses)):
        ratios.append(losses[t] / (shares(t, beta) @ losses[:t]))
    ratios = np.array(ratios)
    history = [initial]
    for t in range(2, len(losses) + 1):
        weight = shares(t, beta)
        mean = weight @ ratios[:t]
        variance = weight @ (ratios[:t] - mean) ** 2
        history.append(shared_out(np.sqrt(variance + epsilon) / mean, initial.sum()))
    return np.array(history)


def cov_authors(losses, decay=None, epsilon=1e-8, initial=None):
    """CoV-Weighting as its authors' code has it; they use these weights in the next step.

    ``decay`` is kept of the two means from the second step on, without correction. The sum of
    squares does not decay: it is Welford's, by products of the deviations from the mean before and
    after, over the number of steps.
    """
    losses, initial = start(losses, initial)
    mean_loss, mean_ratio, squares = (np.zeros_like(initial) for _ in range(3))
    history = []
    for t, row in enumerate(losses, start=1):
        ratio = row / row if t == 1 else row / mean_loss
        kept = 0.0 if t == 1 else 1 - 1 / t if decay is None else decay
        before, mean_ratio = mean_ratio, kept * mean_ratio + (1 - kept) * ratio
        squares = squares + (ratio - before) * (ratio - mean_ratio)
        mean_loss = kept * mean_loss + (1 - kept) * row
        spread = np.sqrt(squares / t + epsilon)
        weights = initial if t == 1 else shared_out(spread / mean_ratio, initial.sum())
        history.append(weights)
    return np.array(history)


# The change of the losses


def dwa(losses, temperature=2.0, beta=0.9, initial=None):
    """DWA, arXiv 1803.10704, per step: ratio of running averages that start as plain ones."""
    losses, initial = start(losses, initial)
    averages = [shares(t, beta) @ losses[:t] for t in range(1, len(losses) + 1)]
    before = [averages[0], *averages[:-1]]
    ratios = [now / then for now, then in zip(averages, before, strict=True)]
    return np.array([softmax(ratio / temperature, initial.sum()) for ratio in ratios])


def dwa_slaw_authors(losses, temperature=2.0, beta=0.9, initial=None):
    """DWA as the SLAW authors' code has it: exponential averages that start at the first loss.

    They use these weights in the next step.
    """
    losses, initial = start(losses, initial)
    average = losses[0]
    history = []
    for row in losses:
        before, average = average, beta * average + (1 - beta) * row
        if not history:
            average = before
        history.append(softmax(average / before / temperature, initial.sum()))
    return np.array(history)


def dwa_epochs(losses, period, temperature=2.0, initial=None):
    """DWA as its own authors have it: a row of ``period`` steps has a weight for all of them.

    From the means of the losses in the two epochs before; ``initial`` in the first two.
    """
    losses, initial = start(losses, initial)
    means = [losses[t : t + period].mean(0) for t in range(0, len(losses), period)]
    history = []
    for t in range(len(losses)):
        epoch = t // period
        if epoch < 2:
            history.append(initial)
        else:
            ratio = means[epoch - 1] / means[epoch - 2]
            history.append(softmax(ratio / temperature, initial.sum()))
    return np.array(history)


def softadapt(losses, sharpness=0.1, beta=0.0, normalized=False, loss_weighted=False, initial=None):
    """SoftAdapt, arXiv 1912.12355, with the difference of the last two losses.

    ``normalized`` by the sum of the absolute differences, ``loss_weighted`` by the last loss: what
    the first release of the authors' code means to do. ``beta``, averages in place of the losses,
    is Equipoise's own.
    """
    losses, initial = start(losses, initial)
    averages = [shares(t, beta) @ losses[:t] for t in range(1, len(losses) + 1)]
    history = [initial]
    for before, now in pairwise(averages):
        slopes = now - before
        if normalized:
            slopes = slopes / np.abs(slopes).sum()
        parts = np.exp(sharpness * (slopes - slopes.max()))
        history.append(shared_out(now * parts if loss_weighted else parts, initial.sum()))
    return np.array(history)


def forward_difference(points):
    """Coefficients of the derivative at the first of equally spaced points, of highest order."""
    powers = np.vander(np.arange(points), increasing=True).T
    return np.linalg.solve(powers.astype(np.float64), np.eye(points)[1])


def softadapt_authors(losses, sharpness=0.1, window=2, variant="original", initial=None):
    """SoftAdapt as the second release of the authors' code has it, of the last ``window`` losses.

    The slope is a forward difference of order ``window - 1``, that is, at the window's first loss;
    1e-8 is added to the denominator. ``variant="normalized"`` divides the slopes by their sum,
    signs included; ``"loss-weighted"`` multiplies by the mean loss of the window.
    """
    losses, initial = start(losses, initial)
    coefficients = forward_difference(window)
    history = []
    for t in range(1, len(losses) + 1):
        if t < window:
            history.append(initial)
            continue
        recent = losses[t - window : t]
        slopes = coefficients @ recent
        if variant == "normalized":
            slopes = slopes / slopes.sum()
        parts = np.exp(sharpness * (slopes - slopes.max()))
        if variant == "loss-weighted":
            parts = parts * recent.mean(0)
        history.append(initial.sum() * parts / (parts.sum() + 1e-8))
    return np.array(history)


def softadapt_authors_normalized(losses, **options):
    """See :func:`softadapt_authors`."""
    return softadapt_authors(losses, variant="normalized", **options)


def softadapt_authors_loss_weighted(losses, **options):
    """See :func:`softadapt_authors`."""
    return softadapt_authors(losses, variant="loss-weighted", **options)


# The progress of the losses


def lbtw(losses, alpha=0.5, period=100, initial=None):
    """LBTW, AAAI 2019, as the SLAW authors' code has it, who use these weights in the next step.

    Not rescaled; the initial weights are a factor (they forget theirs).
    """
    losses, initial = start(losses, initial)
    return np.array(
        [initial * (row / losses[t // period * period]) ** alpha for t, row in enumerate(losses)]
    )


def lbtw_rescaled(losses, alpha=0.5, period=100, initial=None):
    """LBTW as its own authors' code has it: rescaled at each step; ``period`` is an epoch."""
    losses, initial = start(losses, initial)
    return np.array(
        [shared_out(row, initial.sum()) for row in lbtw(losses, alpha, period, initial)]
    )


def lookback(steps, keep=1.0, seed=0):
    """ReLoBRaLo's ρ for each step, by Equipoise's draws."""
    return np.array([float(uniform(seed, step) < keep) for step in range(steps)])


def relobralo(losses, rho=None, alpha=0.999, temperature=0.1, initial=None):
    """ReLoBRaLo, arXiv 2110.09813, the paper's equations, from the initial weights on.

    ``rho`` is 0 or 1 for each step, ones if ``None``.
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    rho = np.ones(len(losses)) if rho is None else rho
    history = [weights]
    for t in range(1, len(losses)):
        since_first = softmax(losses[t] / (temperature * losses[0]), total)
        since_last = softmax(losses[t] / (temperature * losses[t - 1]), total)
        past = rho[t] * weights + (1 - rho[t]) * since_first
        weights = alpha * past + (1 - alpha) * since_last
        history.append(weights)
    return np.array(history)


def relobralo_authors(losses, rho=None, alpha=0.999, temperature=1.0, epsilon=1e-12, initial=None):
    """ReLoBRaLo as the authors' repository has it.

    α is 1 in the first step, 0 in the second, then itself. The first losses that later steps look
    back to are those of the *second* step; until then they are 1, and so are the last ones in the
    first step.
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    rho = np.ones(len(losses)) if rho is None else rho
    first = last = np.ones_like(weights)
    history = []
    for t, row in enumerate(losses):
        kept = (1.0, 0.0)[t] if t < 2 else alpha
        since_first = softmax(row / (temperature * first + epsilon), total)
        since_last = softmax(row / (temperature * last + epsilon), total)
        past = rho[t] * weights + (1 - rho[t]) * since_first
        weights = kept * past + (1 - kept) * since_last
        first, last = row if t == 1 else first, row
        history.append(weights)
    return np.array(history)


def relobralo_authors_notebook(
    losses, rho=None, alpha=0.999, temperature=0.1, epsilon=1e-7, initial=None
):
    """ReLoBRaLo as the first author's article and notebooks have it.

    As :func:`relobralo_authors`, but ρ is 1 in the first two steps, and later steps look back to
    the losses of the first. (The article does not say what its epsilon is.)
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    rho = np.ones(len(losses)) if rho is None else rho
    history = [weights]
    for t in range(1, len(losses)):
        since_first = softmax(losses[t] / (temperature * losses[0] + epsilon), total)
        since_last = softmax(losses[t] / (temperature * losses[t - 1] + epsilon), total)
        if t == 1:
            weights = since_last
        else:
            past = rho[t] * weights + (1 - rho[t]) * since_first
            weights = alpha * past + (1 - alpha) * since_last
        history.append(weights)
    return np.array(history)


# Learned


def uncertainty(losses, rate=0.1, initial=None):
    """Uncertainty weighting, arXiv 1705.07115, with w L + log σ² / 2, w = 1 / (2σ²).

    log σ² learns by gradient descent at ``rate``; the weights are those after the step.
    """
    losses, initial = start(losses, initial)
    logarithm = -np.log(2 * initial)
    history = []
    for row in losses:
        logarithm = logarithm - rate * (1 - np.exp(-logarithm) * row) / 2
        history.append(np.exp(-logarithm) / 2)
    return np.array(history)


def gradnorm(losses, norms, asymmetry=0.12, lr=0.025, lowest=1e-3, initial=None):
    """GradNorm, arXiv 1711.02257, with Adam and the derivative written out.

    The weights are kept at ``lowest`` or more before they are scaled back to their sum, which is
    Equipoise's own.
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    momentum, squares = np.zeros_like(weights), np.zeros_like(weights)
    history = []
    for t, (row, norm) in enumerate(zip(losses, norms, strict=True), start=1):
        rate = row / losses[0]
        target = np.mean(weights * norm) * (rate / rate.mean()) ** asymmetry
        gradient = np.sign(weights * norm - target) * norm
        momentum = 0.9 * momentum + (1 - 0.9) * gradient
        squares = 0.999 * squares + (1 - 0.999) * gradient**2
        direction = momentum / (1 - 0.9**t) / (np.sqrt(squares / (1 - 0.999**t)) + 1e-8)
        weights = shared_out(np.maximum(weights - lr * direction, lowest), total)
        history.append(weights)
    return np.array(history)


def gradnorm_slaw_authors(losses, norms, **options):
    """GradNorm as the SLAW authors' code has it: nothing keeps a weight from becoming negative."""
    return gradnorm(losses, norms, lowest=-np.inf, **options)


# Gradient norms


def inversegradientnorm(losses, norms, initial=None):
    """The exact form of SLAW, arXiv 2109.08218, the paper's equation."""
    losses, initial = start(losses, initial)
    return np.array([shared_out(1 / np.asarray(row), initial.sum()) for row in norms])


def inversegradientnorm_authors(losses, norms, initial=None):
    """The exact form of SLAW as its authors' code has it: norms are taken to be 1e-5 at least."""
    return inversegradientnorm(losses, np.maximum(norms, 1e-5), initial)


def probedgradientnorm(losses, derivatives, beta=0.99, every=1, initial=None):
    """The same from running averages of squared directional derivatives ``(steps, probes, tasks)``.

    Equipoise's own equation; steps between two probed ones keep the weights.
    """
    losses, weights = start(losses, initial)
    total = weights.sum()
    squares, history = [], []
    for t, rows in enumerate(derivatives):
        if t % every == 0:
            squares.append(np.mean(np.square(rows), axis=0))
            average = shares(len(squares), beta) @ np.array(squares)
            weights = shared_out(1 / np.sqrt(average), total)
        history.append(weights)
    return np.array(history)
