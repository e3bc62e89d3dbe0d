"""Parts of a model that learn, while the others are frozen."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence

from torch import nn


@contextlib.contextmanager
def learning(model: nn.Module, learns: Sequence[str] | None) -> Iterator[None]:
    """Freezes all parts but some, and gives them back as they were.

    A frozen part requires no gradient and is in evaluation mode, so that its dropout is off and its batch norm keeps
    its statistics. Parts that learn keep what is frozen in them.

    Args:
        model: In training mode.
        learns: Names of the parts that learn; ``None`` for all.
    """
    if learns is None:
        yield
        return
    parts = [part_of(model, name) for name in learns]
    kept = {id(each) for part in parts for each in ([part] if isinstance(part, nn.Parameter) else part.parameters())}
    frozen = [each for each in model.parameters() if each.requires_grad and id(each) not in kept]
    awake = {module for part in parts if isinstance(part, nn.Module) for module in part.modules()}
    awake |= {model, *(each for name in learns for each in _owners(model, name))}
    idle = [module for module in model.modules() if module.training and module not in awake]
    for parameter in frozen:
        parameter.requires_grad_(False)
    for module in idle:
        module.training = False  # not eval(), which would reach into parts that learn
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        for module in idle:
            module.training = True


def part_of(model: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """A part of a model by its name, dotted for parts of parts.

    Raises:
        ValueError: If the model has no submodule or parameter of this name; the message has those that it has.
    """
    try:
        part = operator.attrgetter(name)(model)
    except AttributeError:
        part = None
    if isinstance(part, nn.Module | nn.Parameter):
        return part
    names = [key for key, _ in model.named_children()] + [key for key, _ in model.named_parameters(recurse=False)]
    raise ValueError(f"{type(model).__name__} has no part {name!r}. Its parts are {', '.join(map(repr, names))}.")


def _owners(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules that a dotted name goes through."""
    keys = name.split(".")[:-1]
    return [model.get_submodule(".".join(keys[: count + 1])) for count in range(len(keys))]
