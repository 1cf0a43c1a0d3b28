"""What the weightings of samples share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import (
    ENGINES,
    Computation,
    Engine,
    Shared,
    border_parameters,
    engine_for,
    is_sharded,
    random_state_kept,
    refuse_fsdp1,
    shared_parameters,
    unwrapped,
)
from equipoise.errors import near_match
from equipoise.losses import LossFunction, loss_function, task_losses, task_names
from equipoise.processes import gathered, processes, summed
from equipoise.scalars import with_parts
from equipoise.step import Step
from equipoise.weighting import Weighting

__all__ = ["SampleWeighting", "normalised", "task_means"]

SHARED = ("border", "all")


class SampleWeighting(Weighting):
    r"""Losses of every sample of every task in, :math:`\sum_{ik} w_{ik} l_{ik}` out.

    The weights are constants to autograd. They follow from the alignments
    :math:`c_{ik} = v \cdot \nabla l_{ik}` with the gradient :math:`v` of an objective, over the
    parameters that the tasks share: the first-order gain of the objective from a step on a loss.
    One pass gives all of them, whatever the number of samples and tasks: see
    :func:`~equipoise.alignments`.

    Uniform weights are 1 / (labels of the task), so that the scalar is the sum of the tasks' mean
    losses, as of every weighting.

    In training mode a call derives new weights. After ``.eval()``, or under ``torch.no_grad()``, it
    weighs the mean losses of the tasks by the last task weights. A NaN in a loss or in an alignment
    shows in the scalar. Of several processes each weighs its samples as one process would that had
    all of them; what comes back is scaled so that the mean of the processes' gradients, which
    DistributedDataParallel takes, is right.

    Model and losses are not part of the state. A method subclasses
    :class:`~equipoise.sample.heldout.HeldOutWeighting` or
    :class:`~equipoise.sample.batch.BatchWeighting`, by where its direction comes from, and says in
    :meth:`weigh_samples` how weights follow from alignments.

    Args:
        losses: ``losses(model, batch)`` gives the loss of each sample: a tensor
            ``(samples, tasks)``, or by name tensors ``(samples,)``, floating; or a pair of that and
            the labels present, boolean in the same form. A missing label has weight 0, and its loss
            must be a number nonetheless (:func:`~equipoise.present`). Gets held-out batches too,
            unless ``objective`` does.
        model: the network. It may be wrapped in DistributedDataParallel, compiled, or sharded.
        main: the task that the others are to serve: a name, or an index.
        shared: the parameters that the tasks share: a module, parameters, or one parameter.
            ``"all"``: those that the main task and at least one other reach. ``"border"``: of these
            the last layer that every task passes, which costs least. Both are found at the first
            batch with labels of the main task and of another; until then weights are uniform.
        engine: see :func:`~equipoise.alignments`; ``"auto"`` decides at the first step.
        tasks: number of tasks, or their names, in the order of the columns; not needed where
            ``losses`` gives names, and the first batch all of them.

    Attributes:
        steps: calls in training mode.
    """

    steps: int
    _weights: Tensor | None
    _alignments: Tensor | None
    shared_only: ClassVar[bool] = False
    """Whether the weights count in the shared parameters alone, and the others learn from uniform
    ones."""

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | Literal["border", "all"] = "all",
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        if engine != "auto" and engine not in ENGINES:
            raise ValueError(f"engine must be one of auto, {', '.join(ENGINES)}, found {engine!r}")
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a module, found {type(model).__name__}")
        if isinstance(shared, str) and shared not in SHARED:
            raise ValueError(
                f"shared must be 'border', 'all', or the parameters themselves, found {shared!r}"
            )
        refuse_fsdp1(model)
        one_pass = getattr(model, "static_graph", False) or any(map(is_sharded, model.parameters()))
        if self.shared_only and one_pass:
            raise ValueError(
                f"{type(self).__name__} takes two backward passes, one for what the tasks share, "
                "and FSDP2 and DistributedDataParallel with static_graph=True know one: leave "
                "static_graph out, or take SLGate or HydaLearn"
            )
        given = None if isinstance(shared, str) else shared
        super().__init__(tasks, shared=given)
        self._find_shared = border_parameters if shared == "border" else shared_parameters
        # In a tuple, or the model would count as a part of the weighting, saved and moved with it.
        self._of = (losses, model)
        self._engine = engine
        self._checked = False
        self._before: Weighting | None = None
        self._given_main = main
        self.add_number("steps", 0)
        self.add_state("_weights", None)
        self.add_state("_alignments", None)
        if self.tasks:
            self._main = self._main_of(self.tasks)

    @property
    def main(self) -> str:
        """The name of the main task."""
        return self.tasks[self._main]

    @property
    def weights(self) -> Tensor:
        """The weights of the last call, detached, ``(samples, tasks)``; of this process's batch."""
        return self._of_last_call(self._weights)

    @property
    def alignments(self) -> Tensor:
        """The alignments of the last call, ``(samples, tasks)``; 0 where there is no label."""
        return self._of_last_call(self._alignments)

    @property
    def sample_weights(self) -> Tensor:
        """Sums of the weights of the last call over the tasks, ``(samples,)``."""
        return self.weights.sum(1)

    @property
    def task_weights(self) -> Tensor:
        """Sums of the weights over the samples of the last step, of all processes, ``(tasks,)``."""
        if not self.tasks:
            raise RuntimeError("the tasks are not known yet: call the weighting first")
        return super().task_weights

    def preceded_by(self, first: Weighting) -> Weighting:
        """The weighting itself, with one of the tasks' weighted mean losses in front of it.

        Within each task this one decides which samples count; ``first`` sees the weighted mean
        :math:`\\bar L_k = \\sum_i w_{ik} l_{ik} / \\sum_i w_{ik}` of each task and gives it a
        weight :math:`v_k`; the scalar is :math:`\\sum_{ik} v_k w_{ik} l_{ik}`.

        Raises:
            TypeError: if ``first`` is not called with task losses alone.
            ValueError: if it has other tasks, or another stands in front already.
        """
        if not first.takes_losses:
            raise TypeError(
                f"{type(first).__name__} cannot stand in front of {type(self).__name__}: there are "
                "only the weighted mean losses, which a LossWeighting or a GradientWeighting takes"
            )
        if self._before is not None:
            raise ValueError(
                f"{type(self._before).__name__} stands in front of {type(self).__name__} already"
            )
        if self.tasks and self.tasks != first.tasks:
            raise ValueError(f"the tasks differ: {list(first.tasks)} and {list(self.tasks)}")
        if not self.tasks:
            self._name(first.tasks)
        self._before = first
        return self

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        if not (self.training and torch.is_grad_enabled()):
            return self.task_weights.to(step.losses).dot(step.losses)
        alignments = self._align(step)
        losses, mask = with_mask(*step.sample_losses)
        if losses.device != self._zero.device:
            self.to(losses.device)
        weights, uniform, task_weights = self._weigh_together(alignments, mask)
        total = self._total(weights, uniform, torch.where(mask, losses, 0))
        if self._before is not None:  # which has spoken by now
            task_weights, weights = task_weights * self._balance, weights * self._balance
        self._task_weights.copy_(
            torch.where(task_weights.isfinite().all(), task_weights, self._task_weights)
        )
        self._weights = weights
        self.steps += 1
        return total

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        """Weights from alignments.

        Args:
            alignments: ``(samples, tasks)``, positive where a step on the loss helps, 0 where there
                is no label; of the samples of all processes. They may be NaN or infinite, which the
                weights are to show.
            uniform: the uniform weights, 1 / (labels of the task): 0 where there is no label.

        Returns:
            Weights ``(samples, tasks)``, 0 where there is no label.
        """
        raise NotImplementedError

    def _weigh_together(
        self, alignments: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and uniform ones of this process's samples, and the sums of all by task."""
        labels = mask.to(self._zero.dtype)
        if alignments is None:
            known = torch.zeros_like(labels)
        else:
            known = torch.where(mask, alignments.to(labels), 0)
        self._alignments = known
        (everywhere, all_labels), own = gathered([known, labels])
        uniform = uniform_weights(all_labels)
        weights = uniform if alignments is None else self.weigh_samples(everywhere, uniform)
        return weights[own], uniform[own], weights.sum(0)

    def _total(self, weights: Tensor, uniform: Tensor, losses: Tensor) -> Tensor:
        """The scalar whose mean over the processes is the weighted sum over all their samples."""
        sums = (weights * losses).sum(0) * processes()
        total = sums.sum() if self._before is None else self._balanced(sums, weights)
        if not self.shared_only or self._shared is None:
            return total
        uniform_sums = (uniform * losses).sum(0) * processes()
        others = uniform_sums.dot(self._balance.to(uniform_sums))
        served = {id(parameter) for parameter in (*self._shared, *self.parameters())}
        own = [each for each in self._of[1].parameters() if each.requires_grad]
        return with_parts(
            [
                (total, [*self._shared, *self.parameters()]),
                (others, [each for each in own if id(each) not in served]),
            ]
        )

    def _balanced(self, sums: Tensor, weights: Tensor) -> Tensor:
        """The scalar of the weighting in front, which sees the tasks' weighted means."""
        assert self._before is not None
        shares = weights.sum(0) * processes()
        means = sums / torch.where(shares > 0, shares, 1)
        total: Tensor = self._before(means, shares)
        # There each task had its whole share, of all processes.
        everywhere = summed(shares) / processes()
        whole = sums / torch.where(everywhere > 0, everywhere, 1)
        return total + self._balance.to(sums).dot(sums - whole)

    @property
    def _balance(self) -> Tensor:
        """What the weighting in front gave the tasks, ``(tasks,)``; ones if there is none."""
        if self._before is None:
            return torch.ones_like(self._task_weights)
        return self._before.task_weights

    def _step(self, batch: Any, held_out: Any = None) -> Step:
        """The step of a batch, with the names that may have to be found out at the first."""
        losses, model = self._of
        if not self.tasks:
            self._name(_names_of(losses, model, batch))
        return Step(loss_function(losses, self.tasks), model, batch, held_out)

    def _losses_of(self, step: Step) -> LossFunction:
        """The step's losses, checked to be those of these tasks."""
        return loss_function(step.loss_function, self.tasks)

    def _align(self, step: Step) -> Tensor | None:
        """Alignments ``(samples, tasks)``; ``None`` while the shared parameters are not known."""
        if self._shared is None:
            self._shared = self._find(step)
            if self._shared is None:
                return None
        direction = self._direction(step, list(self._shared))
        if not self._checked:
            # Once: it costs a step, and reads from the device.
            self._engine = engine_for(
                step.loss_function,
                step.model,
                step.batch,
                shared=self._shared,
                engine=self._engine,
            )
            self._checked = True
        return step.sample_derivatives(direction, self._shared, engine=self._engine, check=False)

    def _find(self, step: Step) -> tuple[Tensor, ...] | None:
        """The shared parameters, the same on every process; ``None`` while no batch can tell."""
        found = self._find_shared(self._losses_of(step), step.model, step.batch, self._main)
        if processes() == 1:
            return None if found is None else tuple(found)
        known = {id(parameter) for parameter in found or ()}
        own: list[Tensor] = list(step.model.parameters())
        everywhere = summed(torch.tensor([id(each) in known for each in own]).to(self._zero))
        agreed = [each for each, times in zip(own, everywhere, strict=True) if times == processes()]
        return tuple(agreed) or None

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        """Of the shared parameters, that in which the objective becomes worse."""
        raise NotImplementedError

    @staticmethod
    def _means_to_derive(found: tuple[Tensor, Tensor | None]) -> Tensor:
        """Task losses ``(tasks,)`` whose gradients, averaged over processes, are of all samples."""
        losses, counts = task_losses(*found)
        return losses * counts * processes() / summed(counts).clamp(min=1)

    def _main_loss(self, step: Step) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor]]:
        """The mean loss of the main task, and the number of its labels."""

        def main_loss(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
            losses, counts = task_losses(*self._losses_of(step)(model, batch))
            return losses[self._main], counts[self._main]

        return main_loss

    def _of_last_call(self, found: Tensor | None) -> Tensor:
        if found is None:
            raise RuntimeError(
                "there are no weights yet: call the weighting in training mode first"
            )
        return found

    def _name(self, tasks: tuple[str, ...]) -> None:
        """Take in the names, now that they are known."""
        self._main = self._main_of(tasks)
        self.tasks = tasks
        self._size = len(tasks)
        self.reset()

    def _main_of(self, tasks: tuple[str, ...]) -> int:
        main = self._given_main
        if isinstance(main, int) and not isinstance(main, bool):
            if not 0 <= main < len(tasks):
                raise ValueError(f"main must be below the number of tasks, {len(tasks)}: {main}")
            return main
        if main not in tasks:
            raise ValueError(
                f"main: there is no task {main!r}: {near_match(str(main), tasks)} If the first "
                "batch can lack it, name all tasks: tasks=[…]"
            )
        return tasks.index(main)

    def _identity(self) -> dict[str, Any]:
        main = self.main if self.tasks else self._given_main
        return {**super()._identity(), "main task": main}

    def _refuse_others(self, saved: Mapping[str, Any]) -> None:
        if not self.tasks and saved.get("tasks"):
            self._name(tuple(saved["tasks"]))
        super()._refuse_others(saved)


def task_means(values: Tensor, uniform: Tensor) -> Tensor:
    """Mean of each task's values over its labels, ``(tasks,)``; 0 if it has none."""
    return (uniform * values).sum(0)


def normalised(gains: Tensor, fallback: Tensor | float) -> Tensor:
    """Gains ``(samples, tasks)`` ≥ 0 with the sum ``tasks``; or the fallback if all are 0."""
    total = gains.sum()
    return torch.where(total == 0, fallback, gains / total * gains.shape[1])


def with_mask(losses: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Losses, and the mask of the labels present also where all are."""
    return losses, torch.ones_like(losses, dtype=torch.bool) if mask is None else mask


def uniform_weights(labels: Tensor) -> Tensor:
    """Of labels, 1 or 0, the weights whose weighted sum is the sum of the tasks' mean losses."""
    return labels / labels.sum(0).clamp(min=1)


def _names_of(
    losses: Callable[[nn.Module, Any], Any], model: nn.Module, batch: Any
) -> tuple[str, ...]:
    computation = Computation(losses, unwrapped(model))
    with torch.no_grad(), random_state_kept(model):
        found = computation.call(batch, computation.copied_buffers())
    values = found[0] if isinstance(found, tuple) else found
    if isinstance(values, Mapping):
        return task_names(values)
    columns, _ = loss_function(lambda *_: found)(model, batch)
    return task_names(columns.shape[1])
