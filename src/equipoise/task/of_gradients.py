"""What the weightings share that look at the parameters that the tasks share."""

from __future__ import annotations

from torch import Tensor

from equipoise.directional import gradient_norms, parameters_of_graph
from equipoise.losses import Losses, Mask
from equipoise.processes import processes
from equipoise.step import Step
from equipoise.task.base import TaskWeighting
from equipoise.weighting import Needs

__all__ = ["GradientWeighting", "SharedWeighting"]


class SharedWeighting(TaskWeighting):
    """A weighting that looks at the parameters that the tasks share."""

    def _shared_by(self, losses: Tensor, counts: Tensor | None) -> tuple[Tensor, ...] | None:
        """Those given, or what more than one task reaches; ``None`` while too few are present."""
        if self._shared is None:
            if processes() > 1:
                raise ValueError(
                    f"{type(self).__name__}: of several processes each may find others, so name "
                    "the parameters that the tasks share (shared=…)"
                )
            present = losses if counts is None else losses[counts > 0]
            found = parameters_of_graph(present) if len(present) > 1 or len(losses) == 1 else None
            self._shared = None if found is None else tuple(found)
        return self._shared


class GradientWeighting(SharedWeighting):
    """A weighting by the norm of each task's gradient in the shared parameters.

    ``shared`` may be a module, parameters, or one parameter, such as the weight of the last shared
    layer; of ``None`` the parameters are found that more than one task reaches.
    """

    takes_losses = True
    needs = Needs.LOSSES | Needs.GRADIENTS
    passes = "tasks backward"

    def forward(
        self, losses: Losses, counts: Tensor | None = None, *, mask: Mask | None = None
    ) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        The arguments are those of :meth:`LossWeighting.forward`. The graph of the losses is kept.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as said, the losses have no graph, or none
                depends on a shared parameter.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        values, counts = self._read(losses, counts, mask)
        if not self.training:
            return self._weighted(values, counts)
        if not values.requires_grad:
            raise ValueError(
                f"{type(self).__name__} takes gradients of the losses, and these have no graph: "
                "give them as the network made them, not detached and not under no_grad()"
            )
        shared = self._shared_by(values, counts)
        if shared is None:
            return self._weighted(values, counts)
        norms = gradient_norms(values, shared, counts).to(self.initial.dtype)
        weights = self.update(*self._gathered(values, counts), norms)
        return self._weighted(values, counts, weights)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        total: Tensor = self(*self._of(step))
        return total

    def update(self, losses: Tensor, counts: Tensor, norms: Tensor) -> Tensor:
        """New weights ``(tasks,)``: see :meth:`LossWeighting.update`.

        ``norms`` are those of the gradients of the whole batch, ``(tasks,)``; they may be infinite.
        """
        raise NotImplementedError
