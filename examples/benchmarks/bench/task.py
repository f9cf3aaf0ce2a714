"""What is trained, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.data import Split
from bench.losses import Loss


@dataclass(frozen=True)
class Optimizer:
    """A class of `keras.optimizers` and its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def momentum(self) -> float | None:
        """Momentum of SGD; `None` for other optimizers, since only that of SGD moves its good rates."""
        return float(self.arguments.get("momentum", 0.0)) if self.name == "SGD" else None


SGD = Optimizer("SGD")
MOMENTUM = Optimizer("SGD", {"momentum": 0.9})
NESTEROV = Optimizer("SGD", {"momentum": 0.9, "nesterov": True})
ADAM = Optimizer("Adam")
ADAMW = Optimizer("AdamW", {"weight_decay": 0.01})
NADAM = Optimizer("Nadam")
ADAMAX = Optimizer("Adamax")
ADAFACTOR = Optimizer("Adafactor")
ADAGRAD = Optimizer("Adagrad")
RMSPROP = Optimizer("RMSprop")
LION = Optimizer("Lion")


@dataclass(frozen=True)
class Task:
    """Data, model, loss and optimizer, with the length of a training.

    Attributes:
        name: Name of the task, which is that of its file, too.
        data: Makes the data.
        model: Makes the model. What it puts out has no activation.
        loss: One number for each example.
        optimizer: The optimizer; its learning rate is set at each batch.
        batch: Rows in a batch.
        epochs: Epochs of a training; `None` where `batches` says how long it is.
        batches: Batches of a training, about: it has whole epochs, and at least two.
        judged: What the validation judges by, one number for each example; the loss by default.
        is_pretrained: Whether most of what is trained was trained before.
        warm: Batches at `warm_rate` that come before everything else and stand for pre-training.
        warm_rate: Learning rate of those.
        per_decade: Learning rates in a decade at which the task is trained in full.
        seeds: Seeds from which it is trained at each of them.
    """

    name: str
    data: Callable[[], Split]
    model: Callable[[], Any]
    loss: Loss
    optimizer: Optimizer
    batch: int
    epochs: int | None = None
    batches: int = 0
    judged: Loss | None = None
    is_pretrained: bool = False
    warm: int = 0
    warm_rate: float = 1e-3
    per_decade: int = 4
    seeds: int = 3

    def epochs_of(self, rows: int) -> int:
        """Return the epochs of a training on so many rows."""
        if self.epochs is not None:
            return self.epochs
        return max(2, round(self.batches / (rows / self.batch)))
