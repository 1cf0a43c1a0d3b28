"""A network that learns all targets at once, and what it predicts for labels that it never saw.

Each fold of each target is predicted by networks that learned from the target's other folds and
from the other targets; two a fold, averaged. They are looked at again and again while they learn,
and what counts is the look at which the given labels are likeliest, out of fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise, product
from pathlib import Path

import numpy as np
import torch
from joblib import Memory, Parallel, delayed
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from equipoise.losses import task_losses
from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.folds import FOLDS, folds_of, inputs_key, kept, scale_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NETWORKS = 2
"""Of each fold."""
TRAININGS = FOLDS * NETWORKS
BATCH = 128
EPOCHS = 20
FEWEST_STEPS = 600
LOOKS = 10
"""The last after all steps, each before it after a 1.4th of these."""
TINY = 1e-6


def by_network(
    labelled: Labelled,
    targets: Sequence[Target],
    *,
    seed: int,
    jobs: int,
    cache: Path,
    advance: Callable[[], None],
) -> list[Floats]:
    """What networks predict for the samples of each target.

    Args:
        labelled: the samples, with a ``network``.
        targets: of them, with the labels to learn from.
        seed: of folds and networks.
        jobs: trainings at once.
        cache: folder of what is done, which is not done again.
        advance: called after each of the ``TRAININGS``.

    Returns:
        By target probabilities ``(samples, classes)`` or predictions ``(samples,)``.
    """
    sizes = [max(len(target.classes), 1) for target in targets]
    folds = _fold_of_labels(labelled, targets, seed)
    labels = np.stack([_learned(target) for target in targets], 1)
    outputs = Memory(cache, verbose=0).cache(_outputs, ignore=["inputs", "network"])
    key = inputs_key(labelled)
    trainings = [(fold, number) for number, fold in product(range(NETWORKS), range(FOLDS))]
    calls = (
        delayed(kept)(
            outputs,
            labelled.inputs,
            labelled.network,
            key,
            labels,
            folds,
            sizes,
            fold,
            NETWORKS * seed + number,
        )
        for fold, number in trainings
    )
    found = np.zeros((NETWORKS, LOOKS, len(labels), sum(sizes)), np.float16)
    done = Parallel(jobs, return_as="generator")(calls)
    for (fold, number), own in zip(trainings, done, strict=True):
        looked_at = (folds == fold).any(1)
        for target, columns in enumerate(_columns(sizes)):
            rows = folds[:, target] == fold
            found[number][:, rows, columns] = own[:, rows[looked_at], columns]
        advance()
    return [
        _best(torch.from_numpy(found[..., columns]).float(), target)
        for target, columns in zip(targets, _columns(sizes), strict=True)
    ]


def _fold_of_labels(labelled: Labelled, targets: Sequence[Target], seed: int) -> Ints:
    """The fold of each label ``(samples, targets)``, -1 where there is none."""
    folds = np.full((len(labelled.rows), len(targets)), -1)
    for place, target in enumerate(targets):
        for number, (_, test) in enumerate(folds_of(target, labelled.groups, seed)):
            folds[test, place] = number
    return folds


def _learned(target: Target) -> NDArray[np.float32]:
    """Labels to learn from: indices of classes, or robustly scaled numbers."""
    if target.classes:
        return target.values.astype(np.float32)
    centre, spread = scale_of(target)
    return ((target.values - centre) / spread).astype(np.float32)


def _columns(sizes: Sequence[int]) -> list[slice]:
    """The outputs of each target."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(*pair) for pair in pairwise(ends)]


def _outputs(
    inputs: NDArray[np.float32],
    network: Callable[[int], nn.Module],
    _: str,
    labels: NDArray[np.float32],
    folds: Ints,
    sizes: Sequence[int],
    fold: int,
    seed: int,
) -> NDArray[np.float16]:
    """Of the samples with a label in a fold, at every look ``(looks, rows, outputs)``."""
    learned = (folds >= 0) & (folds != fold)
    rows, test = np.flatnonzero(learned.any(1)), inputs[(folds == fold).any(1)]
    steps = max(FEWEST_STEPS, EPOCHS * -(-len(rows) // BATCH))
    looks = {round(steps / 2 ** (number / 2)) for number in range(LOOKS)}
    found = []
    with torch.random.fork_rng([]):
        torch.manual_seed(FOLDS * seed + fold)
        model = network(sum(sizes))
        optimizer = torch.optim.AdamW(model.parameters())
        batches = islice(_batches(rows, np.random.default_rng((seed, fold))), steps)
        for step, batch in enumerate(batches, start=1):
            outputs = model(torch.from_numpy(inputs[batch]))
            losses = _losses(outputs, torch.from_numpy(labels[batch]), sizes)
            optimizer.zero_grad()
            total = task_losses(losses, torch.from_numpy(learned[batch]))[0].sum()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step in looks:
                found.append(_looked(model, torch.from_numpy(test)))
    return torch.stack(found).numpy()


def _batches(rows: Ints, generator: np.random.Generator) -> Iterator[Ints]:
    """Epoch after epoch, without an end."""
    while True:
        drawn = generator.permutation(rows)
        yield from (drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH))


def _losses(outputs: Tensor, labels: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cross-entropies and Huber losses ``(samples, targets)``, numbers where a label is missing."""
    parts = zip(torch.split(outputs, list(sizes), 1), labels.nan_to_num().T, strict=True)
    return torch.stack([_loss(output, label) for output, label in parts], 1)


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape[1] > 1:
        return functional.cross_entropy(outputs, labels.long(), reduction="none")
    return functional.huber_loss(outputs[:, 0], labels, reduction="none")


@torch.no_grad()
def _looked(model: nn.Module, test: Tensor) -> Tensor:
    model.eval()
    found = torch.cat([model(part) for part in torch.split(test, 10 * BATCH)]).half()
    model.train()
    return found


def _best(outputs: Tensor, target: Target) -> Floats:
    """Predictions of the look that makes the labels likeliest, from all networks' outputs.

    Args:
        outputs: ``(networks, looks, samples, outputs)``.
        target: with the labels to learn from.
    """
    there = torch.from_numpy(~np.isnan(target.values))
    labels = torch.from_numpy(_learned(target))[there]
    predictions = (outputs.softmax(-1) if target.classes else outputs).mean(0)
    scored = predictions.clamp(min=TINY).log() if target.classes else predictions
    losses = [float(_loss(each[there], labels).mean()) for each in scored]
    best: Floats = predictions[int(np.argmin(losses))].double().numpy()
    if target.classes:
        return best
    centre, spread = scale_of(target)
    return centre + spread * best[:, 0]
