"""Modules that declare what they keep, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["Stateful"]

Default: TypeAlias = Tensor | float | list[Tensor] | None


class Stateful(nn.Module):
    """A module whose state is declared with :meth:`add_state`, and nothing more has to be said.

    Resetting, saving, restoring, moving and casting follow. Floating state is float32, float64
    after ``.double()``, and never of lower precision: statistics need the digits.

    Args:
        size: entries of a state whose default is a number; ``None`` while they are not known.
    """

    _zero: Tensor

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self._size = size
        self._defaults: dict[str, Default] = {}
        # Of the dtype and on the device of what is made later; and a 0 where one is needed.
        self.register_buffer("_zero", torch.zeros((), dtype=torch.float32), persistent=False)

    def add_state(
        self, name: str, default: Default, *, learned: bool = False, persistent: bool = True
    ) -> None:
        """Declare state: an attribute of this name, with this value when new.

        Args:
            name: of the attribute.
            default: a tensor; or a number for ``(size,)`` of it, int64 for an integer and floating
                for a float. These are buffers, written in place. ``None`` for a tensor whose shape
                only use will tell, ``[]`` for a list of such: these are assigned.
            learned: whether it is a parameter, for an optimizer to move.
            persistent: whether it is saved.
        """
        if isinstance(default, Tensor):
            default = default.detach().to("cpu", copy=True)
        self._defaults[name] = default
        value = self._new(default)
        if isinstance(value, list):
            setattr(self, name, value)
        elif learned:
            self.register_parameter(name, None if value is None else nn.Parameter(value))
        else:
            self.register_buffer(name, value, persistent=persistent)

    @torch.no_grad()
    def reset(self) -> None:
        """Forget everything: as new."""
        for name, default in self._defaults.items():
            state = getattr(self, name)
            if default is None or state is None or isinstance(default, list):
                setattr(self, name, self._new(default))
            elif isinstance(default, Tensor):
                state.copy_(default)
            else:
                state.fill_(default)
        for child in self.children():
            if isinstance(child, Stateful):
                child.reset()

    def _new(self, default: Default) -> Tensor | list[Tensor] | None:
        """State as it is when new; of unknown size still none."""
        if isinstance(default, Tensor):
            dtype = self._zero.dtype if default.is_floating_point() else default.dtype
            return default.to(self._zero.device, dtype, copy=True)
        if isinstance(default, list):
            return []
        if default is None or self._size is None:
            return None
        dtype = torch.int64 if isinstance(default, int) else self._zero.dtype
        return torch.full((self._size,), default, dtype=dtype, device=self._zero.device)

    @property
    def _state(self) -> dict[str, Tensor]:
        """The buffers by name, for what runs at every step: attributes of a module are slow."""
        return self._buffers  # type: ignore[return-value]

    @property
    def _lists(self) -> list[str]:
        return [name for name, default in self._defaults.items() if isinstance(default, list)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Stateful:
        before, fn = self._zero.dtype, keeping_precision(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in self._lists:
            setattr(self, name, [fn(each) for each in getattr(self, name)])
        if self._zero.dtype.itemsize > before.itemsize:
            self._restore_digits(before)
        return self

    @torch.no_grad()
    def _restore_digits(self, before: torch.dtype) -> None:
        """What still has its default gets the digits that the narrower dtype had cut off."""
        for name, default in self._defaults.items():
            state = getattr(self, name)
            if isinstance(default, Tensor) and default.is_floating_point():
                exact = default.to(state)
                state.copy_(torch.where(state == default.to(before).to(state), exact, state))

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self._lists:
            for index, each in enumerate(getattr(self, name)):
                destination[f"{prefix}{name}.{index}"] = each if keep_vars else each.detach()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        own = dict(state_dict)
        for name in self._lists:
            found: list[Tensor] = []
            while (key := f"{prefix}{name}.{len(found)}") in own:
                found.append(own.pop(key).detach().to(self._zero.device, copy=True))
            setattr(self, name, found)
        super()._load_from_state_dict(own, prefix, *args)


def keeping_precision(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``fn``, which moves and casts, but never to floats below float32."""

    def kept(tensor: Tensor) -> Tensor:
        moved = fn(tensor)
        lowered = moved.is_floating_point() and moved.dtype.itemsize < 4
        return tensor.to(moved.device) if lowered else moved

    return kept


def check_shapes(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Refuse a tensor of another shape than the module's before anything is loaded.

    Raises:
        ValueError: naming it.
    """
    free = names_of_unknown_size(module, prefix)
    for name, tensor in module.state_dict(prefix=prefix, keep_vars=True).items():
        given = state.get(name)
        if name in free or name.endswith("_extra_state") or not isinstance(given, Tensor):
            continue
        if given.shape != tensor.shape:
            raise ValueError(
                f"the state's {name.removeprefix(prefix)} must be {tuple(tensor.shape)}, found "
                f"{tuple(given.shape)}"
            )


def make_room(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Buffers of unknown size of a module, and of those in it, as there are in a state to load."""
    free = names_of_unknown_size(module, prefix)
    for path, each in module.named_modules(None, prefix.rstrip("."), False):
        for name in each._buffers:
            if (key := f"{path}.{name}".lstrip(".")) in free:
                given = state.get(key)
                each._buffers[name] = None if given is None else torch.empty_like(given)


def names_of_unknown_size(module: nn.Module, prefix: str) -> set[str]:
    """Of the buffers whose shapes only use brings, the names that they have in a state."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, each in module.named_modules(None, prefix.rstrip("."), False)
        for name, buffer in each._buffers.items()
        if (isinstance(each, Stateful) and each._defaults.get(name, 0) is None)
        or (not isinstance(each, Stateful) and buffer is None)
    }


def names_of_lists(module: nn.Module, prefix: str) -> tuple[str, ...]:
    """How the names begin, in a state, of the tensors in lists of a module and of those in it."""
    return tuple(
        f"{path}.{name}.".lstrip(".")
        for path, each in module.named_modules(None, prefix.rstrip("."), False)
        if isinstance(each, Stateful)
        for name in each._lists
    )
