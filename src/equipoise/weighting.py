"""What every weighting is: the one contract."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from equipoise.directional import Shared, parameters_of
from equipoise.losses import LossFunction, by_task, task_names
from equipoise.state import Stateful, check_shapes, make_room, names_of_lists, names_of_unknown_size
from equipoise.step import Step

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Needs", "Weighting"]


class Needs(Flag):
    """What a method asks of a training step."""

    LOSSES = auto()
    """Task losses."""
    AFTERWARDS = auto()
    """The losses of a batch once more, after the optimizer's step."""
    GRADIENTS = auto()
    """Gradients of the shared parameters, of each task."""
    DERIVATIVES = auto()
    """Derivatives of the losses along a direction in the shared parameters."""
    MAIN = auto()
    """A task that the others are to serve."""
    HELD_OUT = auto()
    """Batches held out from training, with labels of the main task."""
    OPTIMIZER = auto()
    """A place in the optimizer for parameters of its own."""

    def __str__(self) -> str:
        return ", ".join(text for need, text in _PROSE.items() if need in self)


_PROSE = {
    Needs.LOSSES: "task losses",
    Needs.AFTERWARDS: "the losses once more after the step",
    Needs.GRADIENTS: "gradients of the shared parameters",
    Needs.DERIVATIVES: "derivatives of the losses along a direction",
    Needs.MAIN: "a main task",
    Needs.HELD_OUT: "held-out batches",
    Needs.OPTIMIZER: "its parameters in the optimizer",
}


class Weighting(Stateful):
    """Losses in, a scalar to call ``backward()`` on out.

    Equal weights give the sum over the tasks of their mean losses, so that a learning rate means
    the same to every method. In training mode a call updates the weights first, after ``.eval()``
    it uses those of the tasks as they are. What is kept is declared (:meth:`add_state`); it is all
    in ``state_dict()``, and what is restored continues bit for bit. The state of another method, or
    of other tasks, is refused before anything is loaded.

    A method subclasses :class:`LossWeighting`, :class:`GradientWeighting`, :class:`TaskWeighting`,
    :class:`HeldOutWeighting` or :class:`SampleWeighting`. ``first + second`` puts a weighting of
    tasks in front of an aggregator of gradients, or of a weighting of samples.

    Attributes:
        tasks: the names; ``()`` before they are known.
        needs: what the method asks of a step.
        resumes: whether all that it keeps is in ``state_dict()``.
        distributes: whether several processes together weigh as one with the whole batch.
        passes: extra passes that a step costs, for people to read.
        source: where the method comes from.
    """

    needs: ClassVar[Needs] = Needs.LOSSES
    takes_losses: ClassVar[bool] = False
    """Whether it can be called with task losses and their counts alone."""
    resumes: ClassVar[bool] = True
    """Whether all that it keeps is in ``state_dict()``."""
    distributes: ClassVar[bool] = True
    """Whether several processes together weigh as one with the whole batch."""
    passes: ClassVar[str] = "none"
    source: ClassVar[str] = ""

    _task_weights: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str] | None,
        *,
        shared: Shared | None = None,
    ) -> None:
        self.tasks: tuple[str, ...] = () if tasks is None else task_names(tasks)
        super().__init__(len(self.tasks) or None)
        # In a tuple, or parameters of the model would be saved and moved with the weighting.
        self._shared = None if shared is None else tuple(parameters_of(shared))
        self._numbers: dict[str, int | None] = {}
        self.add_state("_task_weights", 1.0)

    @classmethod
    def made_for(
        cls,
        tasks: Iterable[str],
        losses: LossFunction,
        model: nn.Module,
        *,
        shared: Shared,
        main: str | None = None,
        **options: Any,
    ) -> Self:
        """The weighting for a network and its losses, with these options: how a study makes it.

        Raises:
            ValueError: if it serves a main task and there is none; and what the constructor raises.
        """
        if Needs.MAIN in cls.needs and main is None:
            raise ValueError(f"{cls.__name__} serves a main task, and there is none")
        offered: dict[str, Any] = {
            "tasks": tasks,
            "losses": losses,
            "model": model,
            "shared": shared,
            "main": main,
        }
        taken = _parameter_names(cls)
        return cls(**{name: offered[name] for name in offered if name in taken} | options)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`: how whoever treats methods alike calls."""
        raise NotImplementedError

    @property
    def weights(self) -> Tensor:
        """The weights that the last call used, detached."""
        raise NotImplementedError

    @property
    def task_weights(self) -> Tensor:
        """Of the last call, what each task's mean loss weighs, detached, ``(tasks,)``."""
        return self._task_weights.clone()

    def weights_by_task(self) -> dict[str, float]:
        """:attr:`task_weights` by name. Reads from the device."""
        return by_task(self.task_weights, self.tasks)

    def metrics(self) -> dict[str, float]:
        """The last call by task, for any logger: ``weight/NAME``, of task losses ``loss/NAME`` too.

        Reads from the device, once.
        """
        return {f"weight/{name}": weight for name, weight in self.weights_by_task().items()}

    def accumulate(self, *, closing: bool) -> AbstractContextManager[None]:
        """Around the call for a micro-batch: see :meth:`LossWeighting.accumulate`.

        Raises:
            TypeError: if the method looks at more than the losses.
        """
        raise TypeError(
            f"{type(self).__name__} looks at more than losses, so it cannot put micro-batches "
            "together: call it once a step with the whole batch, or take a weighting of losses"
        )

    def __add__(self, second: Weighting) -> Weighting:
        if not isinstance(second, Weighting):
            return NotImplemented
        return second.preceded_by(self)

    def preceded_by(self, first: Weighting) -> Weighting:
        """The weighting with another in front, which balances the tasks.

        Raises:
            TypeError: if one of them cannot stand there.
        """
        raise TypeError(
            f"{type(self).__name__} takes nothing in front: + puts a weighting of tasks in front "
            "of an aggregator of gradients or a weighting of samples, as in SLAW(…) + SLGate(…)"
        )

    def add_number(self, name: str, value: int, *, resets: bool = True) -> None:
        """Declare a number that the host has to know, an attribute of this name; it is saved.

        One that does not reset is a part of what the weighting is, such as a seed.
        """
        self._numbers[name] = value if resets else None
        setattr(self, name, value)

    def reset(self) -> None:
        """Forget everything but names and parameters: as new."""
        super().reset()
        for name, value in self._numbers.items():
            if value is not None:
                setattr(self, name, value)

    def extra_repr(self) -> str:
        """Names of the tasks, or their number where there are many."""
        return ", ".join(self.tasks) if len(self.tasks) <= 8 else f"{len(self.tasks)} tasks"

    def get_extra_state(self) -> Tensor:
        """Which method and tasks it is, and its numbers: text in a tensor, which any file takes."""
        return self._encoded()

    def _encoded(self, **more: Any) -> Tensor:
        numbers = {name: getattr(self, name) for name in self._numbers}
        text = json.dumps({**self._identity(), "numbers": numbers, **more})
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the numbers; whose state it is has been looked at by then."""
        for name, value in decoded(state)["numbers"].items():
            setattr(self, name, value)

    def _identity(self) -> dict[str, Any]:
        """What the state of another weighting differs in."""
        return {"method": type(self).__name__, "tasks": list(self.tasks)}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        _, strict, *_ = args
        # PyTorch loads what fits and complains then: what is to be refused would be half loaded.
        given = state_dict.get(f"{prefix}_extra_state")
        if given is not None:
            self._refuse_others(decoded(given))
        check_shapes(self, state_dict, prefix)
        if strict:
            self._check_names(state_dict, prefix)
        make_room(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _refuse_others(self, saved: Mapping[str, Any]) -> None:
        own = self._identity()
        if saved["method"] != own["method"]:
            raise ValueError(f"this state is of {saved['method']}, not of {own['method']}")
        for name in own:
            if saved.get(name) != own[name]:
                raise ValueError(f"this state is for the {name} {saved.get(name)}, not {own[name]}")

    def _check_names(self, state: Mapping[str, Any], prefix: str) -> None:
        given = {name for name in state if name.startswith(prefix)}
        wanted = set(self.state_dict(prefix=prefix))
        # What only use brings may be there or not.
        free = names_of_unknown_size(self, prefix)
        lists = names_of_lists(self, prefix)
        given, wanted = (
            {name for name in names if name not in free and not name.startswith(lists)}
            for names in (given, wanted)
        )
        if given != wanted:
            raise ValueError(
                f"this is no state of {type(self).__name__}: it lacks {sorted(wanted - given)} and "
                f"has {sorted(given - wanted)} too much"
            )


def _parameter_names(kind: type) -> set[str]:
    """What a constructor takes, by way of ``**options`` too."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters
            names |= set(parameters)
            if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
                break
    return names


def decoded(state: Tensor) -> dict[str, Any]:
    """What an extra state says."""
    try:
        found: dict[str, Any] = json.loads(bytes(state.tolist()))
        return {"method": None, "numbers": {}, **found}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError("this state is none of a weighting of this version") from error
