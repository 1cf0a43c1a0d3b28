"""Lightning: metrics in its logs, state in its checkpoints, statistics once a batch."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from equipoise.weighting import Needs, Weighting

__all__ = ["WeightingCallback", "closing"]


def closing(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer steps after this batch: for ``weighting.accumulate(closing=…)``."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class WeightingCallback(Callback):
    """Does for a weighting that a ``training_step`` calls what Lightning does for a network.

    ``weighting.metrics()`` is logged every ``log_every_n_steps``, and the state is in checkpoints,
    also of a weighting that is no part of the module. Where an optimizer calls ``training_step``
    more than once a batch, such as LBFGS, the first call alone enters the statistics, and the
    others have its weights; what cannot be had by task weights alone raises a ``TypeError``.

    Args:
        weighting: the weighting, or the name of the module's attribute that is one.
    """

    def __init__(self, weighting: Weighting | str = "weighting") -> None:
        self._given = weighting
        self._module: LightningModule | None = None
        self._learns = True

    @property
    def weighting(self) -> Weighting:
        """The weighting; one given by name is known once a trainer has the module."""
        given = self._given
        found = attrgetter(given)(self._module) if isinstance(given, str) else given
        if not isinstance(found, Weighting):
            raise TypeError(f"give a weighting or name one of the module; {given} is {found!r}")
        return found

    @property
    def state_key(self) -> str:
        """What the state is saved under: several callbacks are told apart by name or method."""
        name = self._given if isinstance(self._given, str) else type(self._given).__name__
        return self._generate_state_key(weighting=name)

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:  # noqa: D102
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        """The weighting's, unless it is a part of the module and so saved with that."""
        modules = () if self._module is None else self._module.modules()
        return {} if self.weighting in modules else self.weighting.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give it to the weighting, which continues bit for bit."""
        self.weighting.load_state_dict(state)

    def on_train_batch_start(self, *_: Any) -> None:
        """Remember whether the weighting learns."""
        self._learns = self.weighting.training

    def on_before_backward(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Learn no more: what follows are other looks at the same batch."""
        if not module.automatic_optimization:
            return
        weighting = self.weighting
        again = self._learns and not weighting.training
        if again and (not weighting.takes_losses or Needs.OPTIMIZER in weighting.needs):
            raise TypeError(
                f"{type(weighting).__name__} is more than a weight for each task, so the optimizer "
                "cannot look at a batch again with the weights of its first look: take another "
                "optimizer, or a weighting of losses such as SLAW"
            )
        weighting.eval()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Let it learn again, and log."""
        self.weighting.train(self._learns)
        # As Lightning's own callbacks ask: metrics are read from the device for a log alone.
        if trainer._logger_connector.should_update_logs:
            module.log_dict(self.weighting.metrics())

    def on_exception(self, *_: Any) -> None:
        """Let it learn again."""
        self.weighting.train(self._learns)
