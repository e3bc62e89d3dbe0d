"""Reaching into other people's modules for the length of one call, and leaving them as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.base import EncoderOutput

REFUSALS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""What modules raise at things that they were not made for."""


@contextlib.contextmanager
def appended(module: nn.Module, name: str, extra: Float[Tensor, "k d"] | None) -> Iterator[None]:
    """As long as it lasts, what the submodule ``name`` gives, ``[N, S, d]``, has the extra tokens behind it."""
    if extra is None:
        yield
        return

    def append(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return torch.cat([output, extra.to(output.dtype).expand(len(output), -1, -1)], 1)

    handle = module.get_submodule(name).register_forward_hook(append)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def recorded(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that fills with the outputs of ``modules`` in the order of their calls; of a tuple, with its first."""
    outputs: list[Tensor] = []

    def record(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(record) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def with_arguments(modules: Iterable[nn.Module], arguments: dict[str, Any]) -> Iterator[None]:
    """As long as it lasts, ``modules`` are called with these arguments by name besides those that they are given."""

    def add(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, **arguments}

    handles = [module.register_forward_pre_hook(add, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def in_two_passes(
    encode: Callable[[Float[Tensor, "k d"] | None], EncoderOutput], extra: Float[Tensor, "k d"]
) -> EncoderOutput:
    """The tokens from a pass without the extra ones, which they then cannot have seen; the extra ones from another."""
    return replace(encode(None), extra=encode(extra).extra)
