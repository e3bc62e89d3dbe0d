"""What a Hugging Face model can do, found out by trying it on a small example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from mmvae.classifiers.tokens.blocks import attention_mask
from mmvae.classifiers.tokens.hooks import REFUSALS, appended
from mmvae.modes import mode

Pooling = Literal["auto", "cls", "mean", "end"]
"""What stands for the whole: the first token, the mean of the valid ones, or the one at the end of the text."""

_EXAMPLE_LENGTH = 8


@dataclass(frozen=True)
class Abilities:
    """What a Hugging Face model takes and gives.

    Attributes:
        is_text: it takes ids, otherwise images.
        shape: of one datum; ``None`` for text of any length.
        length: how many tokens an image has; 0 for text.
        dim: the width of a token.
        depth: how many hidden states there are; 1 where there are none.
        offers_hidden: whether there are hidden states.
        heeds_padding: whether tokens can be hidden from all others.
        heeds_pairs: whether tokens can be hidden from some and not from others.
        takes_extra: whether tokens can be put behind the embedded ones.
        causal: each token sees itself and those before it only.
        pooling: what stands for the whole.
        last_norm: name of a norm that the model applies to the class token only; ``None`` where it is applied to all.
    """

    is_text: bool
    shape: tuple[int, ...] | None
    length: int
    dim: int
    depth: int
    offers_hidden: bool
    heeds_padding: bool
    heeds_pairs: bool
    takes_extra: bool
    causal: bool
    pooling: Pooling
    last_norm: str | None


def call(module: Any, inputs: Tensor, mask: Bool[Tensor, "N S"] | Bool[Tensor, "N 1 Q K"] | None = None) -> Any:
    """The output of a Hugging Face model with all hidden states.

    Args:
        module: the model.
        inputs: ``[N, *shape]``.
        mask: true where a token may be looked at, by all ``[N, S]`` or by each of the queries ``[N, 1, Q, S]``.
    """
    arguments = {module.main_input_name: inputs, "output_hidden_states": True, "return_dict": True}
    if mask is not None and mask.ndim == 2:
        arguments["attention_mask"] = mask.long()
    elif mask is not None:
        mask = mask.expand(-1, -1, mask.shape[-1], -1)
        if module.config._attn_implementation == "eager":  # adds the mask to the scores
            numbers = torch.zeros(mask.shape, dtype=module.dtype, device=mask.device)
            mask = numbers.masked_fill(~mask, torch.finfo(module.dtype).min)
        arguments["attention_mask"] = mask
    return module(**arguments)


def try_out(module: Any, pooling: Pooling, embed: str, shape: tuple[int, ...] | None) -> Abilities:
    """What ``module`` can do; the arguments are those of :class:`HuggingFaceEncoder`, which names the errors."""
    kind, config = type(module).__name__, module.config
    if module.main_input_name not in ("pixel_values", "input_ids"):
        raise TypeError(
            f"{kind}: expected a model of images (pixel_values) or of text (input_ids), got one of "
            f"{module.main_input_name}; wrap a module of your own around it that returns (cls, tokens)."
        )
    if config._attn_implementation not in ("sdpa", "eager"):
        raise ValueError(
            f'{kind}: expected attention that takes masks, "sdpa" or "eager", got {config._attn_implementation!r}; '
            f'call module.set_attn_implementation("sdpa").'
        )
    is_text = module.main_input_name == "input_ids"
    if shape is None and not is_text:
        shape = _image_shape(kind, config)
    example = (_example_ids(config, shape) if is_text else _example_image(shape)).to(module.device)
    with mode(module, training=False), torch.no_grad():
        plain = _plain(module, example)
        tokens = plain.last_hidden_state
        hidden = plain.hidden_states or ()
        regular = len(hidden) > 1 and all(state.shape == tokens.shape for state in hidden)
        causal = is_text and _is_causal(module, example, tokens)
        visible = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        partly = visible.clone()
        partly[:, 1:2] = False
        heeds_pairs = _changes(module, example, attention_mask(partly), tokens)
        heeds_padding = _changes(module, example, partly, tokens) if is_text else heeds_pairs
        takes_extra = _lets_in(module, example, embed, tokens, heeds_padding and is_text)
    return Abilities(
        is_text=is_text,
        shape=shape,
        length=0 if is_text else tokens.shape[1],
        dim=tokens.shape[2],
        depth=len(hidden) - 1 if regular else 1,
        offers_hidden=regular,
        heeds_padding=heeds_padding,
        heeds_pairs=heeds_pairs,
        takes_extra=takes_extra,
        causal=causal,
        pooling=_resolve(pooling, config, causal, tokens.shape[1], None if is_text else shape),
        last_norm=_last_norm(module, plain),
    )


def end_of_text(config: Any, ids: Tensor) -> Tensor:
    """Where each text ends, ``[N]``: at its first end-of-text id, or at 0 where it has none.

    Configurations of CLIP from before that id was corrected name 2, and mean the highest id of the text.
    """
    if config.eos_token_id == 2 and config.model_type.startswith("clip"):
        return ids.argmax(-1)
    return (ids == config.eos_token_id).int().argmax(-1)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _image_shape(kind: str, config: Any) -> tuple[int, ...]:
    if not hasattr(config, "num_channels") or not hasattr(config, "image_size"):
        raise ValueError(f"{kind}: its configuration names no size of images; give shape=(C, H, W).")
    return (config.num_channels, *_pair(config.image_size))


def _example_image(shape: tuple[int, ...] | None) -> Tensor:
    assert shape is not None  # images have one
    example = torch.ones(2, *shape)
    return torch.linspace(0, 1, example.numel()).view_as(example)


def _example_ids(config: Any, shape: tuple[int, ...] | None) -> Tensor:
    length = _EXAMPLE_LENGTH if shape is None else shape[0]
    special = [getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")]
    vocabulary = getattr(config, "vocab_size", _EXAMPLE_LENGTH)  # a model of several parts has none, and is refused
    ordinary = [symbol for symbol in range(min(vocabulary, 4 * _EXAMPLE_LENGTH)) if symbol not in special] or [0]
    return torch.tensor(ordinary)[torch.arange(2 * length) % len(ordinary)].view(2, length)


def _plain(module: Any, example: Tensor) -> Any:
    kind = type(module).__name__
    try:
        output = call(module, example)
    except REFUSALS as error:
        raise ValueError(
            f"{kind}: expected tokens from an example of shape {list(example.shape)}, got the error {error!s:.200}; of "
            f"a model of several parts, give the one for images or the one for text."
        ) from error
    tokens = getattr(output, "last_hidden_state", None)
    if tokens is None or tokens.ndim != 3 or len(tokens) != len(example):
        got = f"shape {list(tokens.shape)}" if tokens is not None else "none"
        raise ValueError(
            f"{kind}: expected a last_hidden_state of shape [N, S, d], got {got}; wrap a module of your own around "
            f"it that returns (cls, tokens)."
        )
    if not tokens.isfinite().all():
        raise ValueError(f"{kind}: expected finite tokens, got NaN or infinity from an example; check its weights.")
    return output


def _is_causal(module: Any, example: Tensor, tokens: Tensor) -> bool:
    """Whether the first token stays the same when the last one changes."""
    other = example.clone()
    other[:, -1] = example[:, 0]
    return torch.equal(call(module, other).last_hidden_state[:, 0], tokens[:, 0])


def _changes(module: Any, example: Tensor, mask: Tensor, tokens: Tensor) -> bool:
    """Whether a mask makes a difference."""
    try:
        return not torch.equal(call(module, example, mask).last_hidden_state, tokens)
    except REFUSALS:
        return False


def _lets_in(module: Any, example: Tensor, embed: str, tokens: Tensor, with_mask: bool) -> bool:
    """Whether a token that is put behind the embedded ones comes out at the end."""
    rows, length, dim = tokens.shape
    extra = torch.linspace(-1, 1, dim, dtype=tokens.dtype, device=tokens.device)[None]
    mask = torch.ones(rows, length + 1, dtype=torch.bool, device=tokens.device) if with_mask else None
    try:
        with appended(module, embed, extra):
            return call(module, example, mask).last_hidden_state.shape == (rows, length + 1, dim)
    except REFUSALS:
        return False


def _resolve(pooling: Pooling, config: Any, causal: bool, length: int, image: tuple[int, ...] | None) -> Pooling:
    if pooling == "auto" and image is None:
        pooling = "end" if causal else "cls"
    elif pooling == "auto":
        assert image is not None
        rows, columns = _pair(getattr(config, "patch_size", 1))
        pooling = "mean" if length <= (image[1] // rows) * (image[2] // columns) else "cls"
    if pooling == "end" and (image is not None or not isinstance(config.eos_token_id, int)):
        raise ValueError(
            f'{config.model_type}: pooling="end" is for models of text whose configuration has an end-of-text id; give '
            f'pooling="cls" or "mean", or set module.config.eos_token_id.'
        )
    return pooling


def _last_norm(module: nn.Module, plain: Any) -> str | None:
    """The norm that stands between the class token of ``last_hidden_state`` and the pooled one, as in CLIP's vision."""
    norm, pooled = getattr(module, "post_layernorm", None), getattr(plain, "pooler_output", None)
    if norm is None or pooled is None:
        return None
    first = plain.last_hidden_state[:, 0]
    return "post_layernorm" if pooled.shape == first.shape and torch.allclose(pooled, norm(first), atol=1e-5) else None
