"""Low-rank adapters: a few trainable numbers in the attention of an encoder that is otherwise frozen.

They are of this library's own making, since they must reach packed attention (``nn.MultiheadAttention``) and the
library's own encoders without a further dependency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

_ROLES: dict[str, tuple[str, ...]] = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
    "output": ("output", "out_proj", "o_proj", "out_lin", "attention.output.dense"),
}
"""What the four matrices of attention are called, as the ends of the paths of linear layers."""

_PACKED = ("query", "key", "value")
"""The row blocks of a matrix that holds three in one, in their order."""

_PACKED_LINEAR = ("qkv", "in_proj")
"""What such a matrix is called where it is a linear layer."""


class LowRank(nn.Module):
    """A weight plus a product of low rank, ``W + (alpha / rank) B A``, in some of its row blocks.

    A parametrisation (:mod:`torch.nn.utils.parametrize`): whoever reads the weight gets the sum, so that it reaches
    layers that are called and weights that are read directly alike. ``B`` starts at zero, and the sum at ``W``.

    Args:
        weight: W, ``[out, in]``, for its shape, type and device.
        rank: of the product, in each block.
        alpha: the product is multiplied by ``alpha / rank``; by default by one.
        blocks: how many equal row blocks the weight has.
        adapted: which of them are changed.

    Source: Hu et al. 2022, "LoRA".
    """

    def __init__(
        self,
        weight: Float[Tensor, "out in"],
        rank: int = 1,
        alpha: float | None = None,
        blocks: int = 1,
        adapted: Sequence[int] = (0,),
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank: expected at least 1, got {rank}; leave the adapters out for none.")
        rows, columns = weight.shape
        self.blocks, self.adapted = blocks, tuple(adapted)
        self.scale = 1.0 if alpha is None else alpha / rank
        self.down = nn.Parameter(weight.new_empty(len(self.adapted), rank, columns))  # A of each block
        self.up = nn.Parameter(weight.new_zeros(len(self.adapted), rows // blocks, rank))  # B of each block
        nn.init.uniform_(self.down, -(columns**-0.5), columns**-0.5)  # as nn.Linear starts

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """The adapted weight."""
        parts = list(weight.chunk(self.blocks))
        for index, up, down in zip(self.adapted, self.up, self.down, strict=True):
            parts[index] = torch.addmm(parts[index], up, down, alpha=self.scale)
        return parts[0] if self.blocks == 1 else torch.cat(parts)


def add_lora(
    module: nn.Module, rank: int = 1, targets: Sequence[str] = ("query", "value"), alpha: float | None = None
) -> int:
    """Puts low-rank adapters into an encoder, in place, and freezes everything else in it.

    The outputs stay what they were until the adapters are trained. Each adapter is a parametrisation of a weight, so
    the gradient of that weight is computed on the way to its own, two matrices of thin shape.

    Args:
        module: any network with linear layers or ``nn.MultiheadAttention`` in it.
        rank: of the change of each matrix.
        targets: which matrices: ``"query"``, ``"key"``, ``"value"`` and ``"output"`` are found under the names that
            attention commonly gives them (``q_proj``, for one) and in packed weights; anything else is the end of
            the path of a linear layer, such as ``"intermediate.dense"``.
        alpha: the change is multiplied by ``alpha / rank``; by default by one.

    Returns:
        How many matrices were adapted; three in one count by their row blocks.

    Raises:
        ValueError: for a target that the module does not have, or a module that has adapters already.
    """
    if any(isinstance(part, LowRank) for part in module.modules()):
        raise ValueError("the module has low-rank adapters already; merge_lora makes them part of its weights.")
    sites = [site for path, part in module.named_modules() for site in _sites(path, part, targets)]
    found = {target for site in sites for target in site.targets}
    absent = [target for target in targets if target not in found]
    if absent or not targets:
        raise ValueError(
            f"targets: no matrix for {', '.join(map(repr, absent)) or 'an empty list'} in this "
            f"{type(module).__name__}, whose linear layers are {_linear_layers(module)}. Name the ends of their paths."
        )
    module.requires_grad_(False)
    for site in sites:
        weight = getattr(site.module, site.weight)
        adapter = LowRank(weight, rank, alpha, site.blocks, site.adapted)
        _adapt(site.module, site.weight, adapter)
    return sum(len(site.adapted) for site in sites)


def merge_lora(module: nn.Module) -> int:
    """Makes the low-rank adapters of a module part of its weights, in place, which are plain tensors again.

    The outputs stay what they are, to within rounding, and cost what they did without adapters.

    Returns:
        How many matrices were merged; three in one count by their row blocks.
    """
    merged = 0
    for part in [part for part in module.modules() if parametrize.is_parametrized(part)]:
        chains = part.parametrizations
        assert isinstance(chains, nn.ModuleDict)
        count = sum(len(each.adapted) for each in chains.modules() if isinstance(each, LowRank))
        if not count:
            continue
        merged += count
        weights = {name: nn.Parameter(getattr(part, name).detach().clone(), False) for name in chains}
        # By hand: PyTorch's own removal would take the weight away from the copies of this module too, since they have
        # the class in common that it made for the parametrisation.
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, weight in weights.items():
            part.register_parameter(name, weight)
    return merged


def _adapt(module: nn.Module, weight: str, adapter: nn.Module) -> None:
    """Put an adapter onto a weight, so that the module can still be pickled, as worker processes need it."""
    parametrize.register_parametrization(module, weight, adapter)
    type(module).__reduce_ex__ = _reduced  # type: ignore[method-assign, assignment]  # PyTorch's own refuses


def _reduced(module: nn.Module, protocol: Any) -> tuple[Any, ...]:
    """What pickle keeps of an adapted module: the module without adapters, and these by the names of their weights."""
    kind: Any = parametrize.type_before_parametrizations(module)
    plain = kind.__new__(kind)
    state, parts = dict(vars(module)), dict(module._modules)
    chains: Any = parts.pop("parametrizations")
    originals = {name: chain.original for name, chain in chains.items()}
    vars(plain).update(state, _modules=parts, _parameters={**module._parameters, **originals})
    return _adapted_again, (plain, [(name, adapter) for name, chain in chains.items() for adapter in chain])


def _adapted_again(module: nn.Module, adapters: Sequence[tuple[str, nn.Module]]) -> nn.Module:
    for name, adapter in adapters:
        _adapt(module, name, adapter)
    return module


@dataclass(frozen=True)
class _Site:
    """A weight that is to be adapted: of which module, by which targets, in which of its row blocks."""

    module: nn.Module
    weight: str
    targets: tuple[str, ...]
    blocks: int = 1
    adapted: tuple[int, ...] = (0,)


def _sites(path: str, part: nn.Module, targets: Sequence[str]) -> Iterator[_Site]:
    """The weights of one part of a network that the targets ask for."""
    packed = tuple(target for target in _PACKED if target in targets)
    blocks = tuple(_PACKED.index(target) for target in packed)
    if isinstance(part, nn.MultiheadAttention):
        if part.in_proj_weight is not None and packed:
            yield _Site(part, "in_proj_weight", packed, len(_PACKED), blocks)
        elif packed:  # keys or values of another width than the queries have matrices of their own
            yield from (_Site(part, f"{target[0]}_proj_weight", (target,)) for target in packed)
    elif isinstance(part, nn.Linear):
        matching = tuple(
            target for target in targets if any(_ends_in(path, end) for end in _ROLES.get(target, (target,)))
        )
        if matching:
            yield _Site(part, "weight", matching)
        elif packed and part.out_features % len(_PACKED) == 0 and any(_ends_in(path, end) for end in _PACKED_LINEAR):
            yield _Site(part, "weight", packed, len(_PACKED), blocks)


def _ends_in(path: str, end: str) -> bool:
    """Whether the last names of a dotted path are these."""
    return f".{path}".endswith(f".{end}")


def _linear_layers(module: nn.Module) -> str:
    """The distinct names of a network's linear layers, for a message."""
    names = {
        ".".join(path.split(".")[-2:]): None for path, part in module.named_modules() if isinstance(part, nn.Linear)
    }
    shown = [repr(name) for name in names][:12]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "") if names else "none"
