"""How an estimator trains: the problem of a table, and the loop of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from equipoise.errors import UserError
from equipoise.problems.parts import Rows, samples_of, strata
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.table.features import Encoder, Features, fit_encoder
from equipoise.problems.table.kinds import KINDS, Kind, losses
from equipoise.problems.table.learned import learn
from equipoise.problems.table.network import Network
from equipoise.problems.table.predictions import EXPECTED, predicted
from equipoise.problems.table.scores import answers_of, scores_of
from equipoise.problems.table.table import CHUNK
from equipoise.problems.table.targets import Target
from equipoise.sklearn.labels import check_learnable
from equipoise.study.loop import Loop
from equipoise.study.methods import Method, check_made

Floats = NDArray[np.float64]

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, and what it takes to predict with it."""

    encoder: Encoder
    network: nn.Module
    """In float64, or a row's prediction would depend on the rows beside it by more than 1e-7."""
    places: list[tuple[Kind, int]]
    """The kind of each target, and its place among those of the kind."""
    centre: Floats
    """``(targets,)``: the mean of a target that is a number, in its units, else 0."""
    scale: Floats
    """Standard deviation of each, else 1."""
    weights: dict[str, float]
    """What each target's mean loss weighed at the last step."""
    losses: Floats
    """``(steps, targets)``: of each step's batch, NaN where it had no label."""

    def expected(self, inputs: Floats) -> list[Floats]:
        """For each target its number in its units, or the probabilities of its classes.

        Of a number and of the second of two classes ``(samples,)``, of more classes
        ``(samples, classes)``, padded to those of the target that has the most.
        """
        rows = torch.from_numpy(self.encoder.encode(_frame(inputs), "X")).double()
        with torch.no_grad():
            chunks = [self.network(chunk) for chunk in torch.split(rows, CHUNK)]
        whole = {
            kind: EXPECTED[kind](torch.cat([chunk[kind] for chunk in chunks])).numpy()
            for kind in chunks[0]
        }
        return [
            middle + unit * whole[kind][:, place]
            for (kind, place), middle, unit in zip(
                self.places, self.centre, self.scale, strict=True
            )
        ]


def train(
    inputs: Floats,
    given: Sequence[Target],
    method: Method,
    *,
    hidden: Sequence[int],
    recipe: Recipe,
    share: float,
    seed: int,
) -> Trained:
    """Train a network, and keep that of the step that is best on a share of the rows.

    Rows without any label are left out. The random numbers of the process stay as they are.

    Args:
        inputs: ``(samples, features)``, NaN where missing.
        given: targets, in the order in which they are to be predicted.
        method: how the losses are weighed.
        hidden: widths of the shared layers.
        recipe: steps, batch size and learning rate.
        share: of the rows, to choose the step on; with 0 the last step counts.
        seed: of the network's start, the order of the batches, and these rows.

    Raises:
        UserError: if a target cannot be learned, the method cannot run, or the training diverges.
    """
    targets = sorted(given, key=lambda target: KINDS.index(target.kind))
    rows, choosing = _parts(targets, share, seed)
    check_learnable(targets, rows)
    learned = learn(targets, rows, None, "y")
    frame = _frame(inputs)
    encoder = fit_encoder(frame, Features(list(frame.columns), [], []), rows, "X")
    # A problem has all parts, and is measured on them: a row costs nothing.
    samples, chosen_on, one = (
        samples_of(encoder.encode(frame.iloc[part], "X"), learned.labels[part])
        for part in (rows, choosing if len(choosing) else rows[:1], rows[:1])
    )
    widths = [samples.tensors[0].shape[1], *hidden]
    problem = Problem(
        tasks=learned.names,
        train=samples,
        validation=chosen_on,
        test=one,
        network=lambda: Network(widths, 0, learned.targets),
        shared=_trunk,
        losses=losses,
        answers=answers_of(learned.targets),
        scores=scores_of(learned),
        recipe=recipe,
        # The network of the best step is kept where there is something to predict.
        predict=lambda _, networks: predicted([one.tensors[0]], networks, learned),
    )
    with torch.random.fork_rng():
        check_made([method], problem)
        loop = Loop(
            problem, partial(method.make, problem, seed), seed=seed, recipe=recipe, device=CPU
        )
        while not loop.done:
            loop.step()
    record = loop.record
    if record.diverged_at is not None:
        raise UserError(
            f"a loss or weight is not finite at step {record.diverged_at}: give a lower "
            "`learning_rate_init`, or another `weighting`"
        )
    if len(choosing):
        assert record.network is not None
        loop.network.load_state_dict(record.network)
    weights = loop.weighting.weights_by_task()
    order = [targets.index(target) for target in given]
    return Trained(
        encoder=encoder,
        network=loop.network.double(),
        places=[_place(targets, target) for target in given],
        centre=learned.centre[order],
        scale=learned.scale[order],
        weights={target.name: weights[target.name] for target in given},
        losses=record.losses[:, order].double().numpy(),
    )


def _frame(inputs: Floats) -> pd.DataFrame:
    return pd.DataFrame(inputs, columns=[f"x{place}" for place in range(inputs.shape[1])])


def _place(targets: Sequence[Target], target: Target) -> tuple[Kind, int]:
    return target.kind, [each for each in targets if each.kind == target.kind].index(target)


def _parts(targets: Sequence[Target], share: float, seed: int) -> tuple[Rows, Rows]:
    """Rows with a label: those to train on, and a share of each stratum to choose the step on."""
    missing = np.stack([np.isnan(target.values) for target in targets])
    rows = np.flatnonzero(~missing.all(0))
    if not len(rows):
        return rows, rows
    columns = [
        (there if target.kind == "regression" else np.nan_to_num(target.values, nan=-1))[rows]
        for target, there in zip(targets, missing, strict=True)
    ]
    stratum = strata([column.astype(np.int64) for column in columns], len(rows))
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[np.argsort(stratum[order], kind="stable")]
    # Evenly spread over the shuffled strata, laid end to end.
    chosen = np.diff(np.floor(share * np.arange(len(rows) + 1))) > 0
    return np.sort(rows[order[~chosen]]), np.sort(rows[order[chosen]])


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()
