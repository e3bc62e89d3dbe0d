"""Any module that makes tokens, as a token encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from mmvae.nn.tokens.base import TokenEncoder
from mmvae.nn.tokens.huggingface import HuggingFaceEncoder
from mmvae.nn.tokens.torchvision import TorchvisionViT
from mmvae.nn.tokens.wrapped import Output, WrappedEncoder


def wrap_encoder(
    module: nn.Module,
    output: Literal["auto"] | Output = "auto",
    hidden: str | Sequence[str] | None = "auto",
    embed: str | None = None,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
    dim: int | None = None,
) -> TokenEncoder:
    """A token encoder around a module that makes tokens.

    A :class:`TokenEncoder` is returned as it is. A torchvision ``VisionTransformer`` becomes a :class:`TorchvisionViT`
    and a Hugging Face ``PreTrainedModel`` a :class:`HuggingFaceEncoder`, unless ``output`` or ``hidden`` is given;
    everything else becomes a :class:`WrappedEncoder`. The module is neither copied nor frozen: see :class:`Frozen`.

    Args:
        module: from data ``[N, *shape]`` to a pair ``(cls [N, d], tokens [N, n, d])``, an object with
            ``last_hidden_state [N, 1 + n, d]``, or a tensor ``[N, 1 + n, d]``.
        output: from what the module returns to ``(cls, tokens)``, for modules that return anything else; ``cls`` may
            be ``None`` where there is no class token.
        hidden: names of the submodules whose outputs are the hidden states, or of one whose children they are;
            ``"auto"`` for the ``hidden_states`` of what the module returns, ``None`` for no hidden states.
        embed: name of the submodule that gives the embedded tokens, behind which extra ones can stand.
        dtype: of the data, ``torch.float32`` unless told otherwise, ``torch.int64`` for ids.
        shape: of one datum; with it the module is tried out here, without it at its first call.
        dim: d, needed without a shape only.

    Raises:
        ValueError: for a module whose tokens are none, or for neither ``shape`` nor ``dim``.
        TypeError: for a module that returns something else.
    """
    if isinstance(module, TokenEncoder):
        return module
    if output == "auto" and hidden == "auto":
        if _is_a(module, "transformers.modeling_utils", "PreTrainedModel"):
            return HuggingFaceEncoder(module, embed=embed, shape=shape)
        if _is_a(module, "torchvision.models.vision_transformer", "VisionTransformer"):
            return TorchvisionViT(module)
    return WrappedEncoder(module, output, hidden, embed, dtype, shape, dim)


def _is_a(module: nn.Module, library: str, name: str) -> bool:
    """Whether a module is of a class that need not be imported for this: an instance comes with its library."""
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(module, getattr(loaded, name))
