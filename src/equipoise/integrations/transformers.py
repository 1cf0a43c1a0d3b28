"""Transformers: a trainer whose loss is a weighting's, with its state in the checkpoints."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from equipoise.losses import Losses
from equipoise.weighting import Weighting

__all__ = ["WeightedTrainer"]


class WeightedTrainer(Trainer):
    """A ``Trainer`` that minimizes the weighted sum of the losses in the output of its model.

    Losses of micro-batches enter the statistics once a step, those of an evaluation never.
    ``loss/NAME`` and ``weight/NAME`` are logged, the state is in the checkpoints, and parameters
    are in the optimizer. Before another trainer: ``class Mine(WeightedTrainer, Seq2SeqTrainer)``.

    Args:
        weighting: one that is called with losses. All other arguments are those of ``Trainer``.
    """

    def __init__(self, *arguments: Any, weighting: Weighting, **options: Any) -> None:
        if not weighting.takes_losses:
            raise TypeError(f"{type(weighting).__name__} takes more than losses: choose another")
        super().__init__(*arguments, **options)
        self.weighting = weighting.to(self.args.device)
        self._closed = False
        # Or means of micro-batches are summed, for a model that says it takes more arguments.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False

    def task_losses(self, outputs: Any, inputs: dict[str, Any]) -> Losses:
        """What the weighting is called with: ``outputs["losses"]``, unless overridden."""
        return outputs["losses"]  # type: ignore[no-any-return]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of the losses of a micro-batch; and the outputs, if asked for."""
        outputs, weighting = model(**inputs), self.weighting
        if self._closed:
            weighting.zero_grad()  # a Trainer zeroes the gradients of its model alone
        parts = self.args.gradient_accumulation_steps > 1
        self._closed = closing = self.accelerator.sync_gradients
        with weighting.accumulate(closing=closing) if parts else nullcontext():
            loss = weighting(self.task_losses(outputs, inputs))
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.Optimizer:
        """The trainer's, with the weighting's parameters."""
        own = list(self.weighting.parameters()) if self.optimizer is None else []
        optimizer = super().create_optimizer(*arguments, **options)
        if own:
            optimizer.add_param_group({"params": own, "weight_decay": 0.0})
        return optimizer

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Log, and beside the loss of training what the weighting made of it."""
        super().log(logs | self.weighting.metrics() if "loss" in logs else logs, *arguments)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, and beside it the weighting's state."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            output_dir = output_dir or self.args.output_dir
            torch.save(self.weighting.state_dict(), f"{output_dir}/equipoise.pt")

    def train(self, resume_from_checkpoint: Any = None, *arguments: Any, **options: Any) -> Any:
        """Train; from a checkpoint, with the weighting as it was there."""
        if (last := resume_from_checkpoint) is True:
            last = get_last_checkpoint(self.args.output_dir)  # type: ignore[no-untyped-call]
        if last:
            self.weighting.load_state_dict(torch.load(f"{last}/equipoise.pt", weights_only=True))
        return super().train(resume_from_checkpoint, *arguments, **options)
