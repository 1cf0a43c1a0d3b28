"""Two heads on a small BERT: the topic of a sentence and its stars, balanced in a Trainer.

Run it: python examples/transformers_trainer.py (needs transformers and accelerate)
"""

import random
import tempfile
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import BertConfig, BertModel, TrainingArguments, set_seed

import equipoise
from equipoise.integrations.transformers import WeightedTrainer

TOPICS = [["boat", "goal", "team", "race"], ["stock", "bank", "trade", "price"]]
OPINIONS = ["awful", "poor", "fair", "good", "great"]
WORDS = ["[CLS]", "the", "of", *TOPICS[0], *TOPICS[1], *OPINIONS]


class Classifier(nn.Module):
    """BERT and two heads, which gives the loss of each task."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
        self.bert = BertModel(BertConfig(vocab_size=len(WORDS), num_hidden_layers=2, **sizes))
        self.topic, self.stars = nn.Linear(32, len(TOPICS)), nn.Linear(32, 1)

    def forward(self, input_ids: Tensor, topic_labels: Tensor, stars_labels: Tensor) -> Any:
        """Losses by task, and what the heads say."""
        features = self.bert(input_ids).pooler_output
        topic, stars = self.topic(features), self.stars(features).squeeze(1)
        losses = {
            "topic": cross_entropy(topic, topic_labels),
            "stars": mse_loss(stars, stars_labels),
        }
        return {"losses": losses, "topic": topic, "stars": stars}


def sentence() -> dict[str, Any]:
    """Five words about a topic, with an opinion that is worth stars."""
    topic, stars = random.randrange(len(TOPICS)), random.randrange(len(OPINIONS))
    words = ["[CLS]", "the", OPINIONS[stars], *random.choices(TOPICS[topic], k=2)]
    ids = [WORDS.index(word) for word in words]
    return {"input_ids": ids, "topic_labels": topic, "stars_labels": float(stars)}


def main() -> None:
    """Train, and show what is logged."""
    set_seed(0)
    data = [sentence() for _ in range(640)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=5,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=2,
            learning_rate=2e-3,
            logging_steps=20,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = WeightedTrainer(
            Classifier(),
            arguments,
            weighting=equipoise.SLAW(["topic", "stars"]),
            train_dataset=data[:512],
            eval_dataset=data[512:],
        )
        trainer.train()
        trainer.evaluate()


if __name__ == "__main__":
    main()
