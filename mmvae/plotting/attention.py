"""Where the class token of an encoder, and the proxy tokens beside it, look: over patches of images and over text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from mmvae.models.classifier import MultimodalClassifier
from mmvae.models.cmpt import CMPT
from mmvae.nn.tokens import Frozen, TokenEncoder, ViT
from mmvae.nn.tokens.own import OwnEncoder
from mmvae.plotting.inputs import distinct_rows, evaluating, require, shown_labels, spread
from mmvae.sources import Data

CLASS_TOKEN = "class token"
_POOL = 500


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention that learned tokens pay to the tokens of R data points, in the last block, mean over the heads.

    What is left to one is paid to the class token and to other learned tokens.

    Attributes:
        names: of the modalities.
        data: ``{name: [R, *shape]}``.
        observed: ``{name: [R]}``.
        weights: by modality and by who looks, ``[R, n]``, NaN where the datum lacks the modality. The class token of
            each encoder looks and, in a CMPT, the proxies that live inside it (the mean of those for one target).
        grids: by modality, how many patches there are below and beside each other; none for text.
        unavailable: why there is nothing about a modality, or about its proxies.
    """

    names: tuple[str, ...]
    data: dict[str, Shaped[np.ndarray, "R ..."]]
    observed: dict[str, Bool[np.ndarray, "R"]]
    weights: dict[str, dict[str, Float[np.ndarray, "R n"]]]
    grids: dict[str, tuple[int, int]]
    unavailable: dict[str, str]

    @classmethod
    def of(cls, model: Any, data: Data, rows: int = 6) -> AttentionMaps:
        """What the library's own encoders (``nn.ViT``, ``nn.TextTransformer``) of a classifier look at.

        Encoders of other libraries, and precomputed features, do not show their attention; ``unavailable`` says so.

        Args:
            model: a classifier.
            data: of which some points are shown, of different classes where it has labels.
            rows: R, at most.

        Raises:
            TypeError: for a model that is no classifier, or has no encoder of the library's own.
        """
        require(model, MultimodalClassifier, "has no token encoders; this plot needs a classifier, such as CMPT")
        pool = spread(data, _POOL)
        batch = model.prepare(pool[distinct_rows(shown_labels(pool), pool.size, rows).tolist()])
        own = {name: encoder for name in batch.names if (encoder := own_encoder(model.encoder(name))) is not None}
        if not own:
            kinds = ", ".join(model.encoder(name).name for name in batch.names)
            raise TypeError(
                f"attention is available for the library's own encoders, nn.ViT and nn.TextTransformer, alone; this "
                f"model has {kinds}."
            )
        unavailable = {
            name: f"{model.encoder(name).name} is none of the library's own encoders"
            for name in batch.names
            if name not in own
        }
        with evaluating(model, 0), ExitStack() as stack:
            recorded = {name: stack.enter_context(recorded_attention(encoder)) for name, encoder in own.items()}
            model.encode(batch)
        weights = {}
        for name, encoder in own.items():
            (attention,), observed = recorded[name], batch.observed[name]
            lookers, reason = _lookers(model, name)
            if reason:
                unavailable[name] = reason
            count = _tokens(encoder, batch.data[name])
            weights[name] = {
                looker: _spread_out(attention[:, _places(places, count), 1 : 1 + count], observed)
                for looker, places in lookers.items()
            }
        arrays = {name: value.detach().cpu().numpy() for name, value in batch.data.items()}
        masks = {name: mask.cpu().numpy() for name, mask in batch.observed.items()}
        grids = {name: encoder.embedding.steps.grid for name, encoder in own.items() if isinstance(encoder, ViT)}
        return cls(batch.names, arrays, masks, weights, grids, unavailable)


def own_encoder(encoder: TokenEncoder) -> OwnEncoder | None:
    """The encoder, frozen or not, if it is of the library's own, otherwise ``None``."""
    inner = encoder.encoder if isinstance(encoder, Frozen) else encoder
    return inner if isinstance(inner, OwnEncoder) else None


@contextmanager
def recorded_attention(encoder: OwnEncoder) -> Iterator[list[Float[Tensor, "N Q K"]]]:
    """While this lasts, each pass through the encoder adds the attention of its last block, mean over the heads.

    Args:
        encoder: one of the library's own.
    """
    block: Any = encoder.transformer.blocks[-1]
    recorded: list[Tensor] = []
    parts: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            parts[name] = output.unflatten(-1, (block.heads, -1)).transpose(1, 2)  # [N, H, S, d / H]

        return hook

    def finish(module: Any, inputs: Sequence[Any], output: Tensor) -> None:
        query, key = parts.pop("query"), parts.pop("key")
        scores = query @ key.mT / query.shape[-1] ** 0.5
        attend = inputs[1] if len(inputs) > 1 else None
        if attend is not None:
            scores = scores.masked_fill(~attend, -torch.inf)
        recorded.append(scores.softmax(-1).mean(1))

    handles = [
        block.query.register_forward_hook(keep("query")),
        block.key.register_forward_hook(keep("key")),
        block.register_forward_hook(finish),
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _lookers(model: MultimodalClassifier, name: str) -> tuple[Mapping[str, range | None], str]:
    """Who looks in an encoder: places behind its tokens (``None``: the class token); and why some do not show."""
    lookers: dict[str, range | None] = {CLASS_TOKEN: None}
    others = [other for other in model.names if other != name]
    if not isinstance(model, CMPT) or not others:
        return lookers, ""
    if model.places[name] == "outside":
        return lookers, "its proxies live behind the encoder"
    each = model.num_proxies
    lookers |= {f"proxy for {other}": range(place * each, (place + 1) * each) for place, other in enumerate(others)}
    return lookers, ""


def _places(places: range | None, count: int) -> list[int]:
    """Of the tokens that look, in the sequence of the class token, ``count`` others, and learned ones."""
    return [0] if places is None else [1 + count + place for place in places]


def _spread_out(attention: Float[Tensor, "r Q n"], observed: Bool[Tensor, "R"]) -> Float[np.ndarray, "R n"]:
    """The mean over those who look, NaN in the rows that were not run."""
    weights = np.full((len(observed), attention.shape[-1]), np.nan)
    if bool(observed.any()):
        weights[observed.cpu().numpy()] = attention.mean(1).double().cpu().numpy()
    return weights


def _tokens(encoder: OwnEncoder, data: Tensor) -> int:
    """How many tokens a datum has."""
    return encoder.embedding.steps.length if isinstance(encoder, ViT) else data.shape[1]
