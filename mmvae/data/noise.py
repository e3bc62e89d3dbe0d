"""Noise on data: the same for every model that is tried on it, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from mmvae.batch import Batch
from mmvae.seeds import derive_seed, stream
from mmvae.sources import Data, InBlocks, as_source, is_uniform

Noise = Callable[..., Tensor]
"""Noise on the data of a modality, called with them, ``seed=`` and ``rows=``: a function of this file, its level filled
in."""

# Each row draws from a stream of its own number: no row's noise depends on the rows beside it. What is drawn does not
# depend on the level, which only scales it or compares with it: a higher level is the same noise, and more of it.


def add_noise(
    values: Float[Tensor, "N ..."],
    sigma: float,
    scale: Float[Tensor, "..."] | float = 1.0,
    *,
    seed: int = 0,
    rows: Int64[Tensor, "N"] | None = None,
) -> Float[Tensor, "N ..."]:
    """The values plus independent normal noise of standard deviation ``sigma * scale``.

    Args:
        values: of any shape: images as the model sees them (normalised), features, tokens.
        sigma: the level, from 0.
        scale: what the level is relative to: a number, or a tensor that broadcasts to a datum, such as the standard
            deviation of each feature (:func:`feature_statistics`).
        seed: of the noise.
        rows: numbers of the data points, by which they draw; 0 to N - 1 by default. Batches that are given the numbers
            of their rows get the noise that the whole would.

    Raises:
        ValueError: for a negative level.
    """
    if not sigma >= 0:
        raise ValueError(f"noise: the level is a standard deviation from 0, got {sigma!r}.")
    drawn = _each_row(len(values), rows, seed, lambda generator: torch.randn(values.shape[1:], generator=generator))
    noise = drawn.to(values.device, values.dtype)
    return values + sigma * torch.as_tensor(scale, dtype=values.dtype, device=values.device) * noise


def mask_tokens(
    tokens: Int64[Tensor, "N T"],
    share: float,
    mask: int,
    special: Collection[int] = (),
    *,
    seed: int = 0,
    rows: Int64[Tensor, "N"] | None = None,
) -> Int64[Tensor, "N T"]:
    """The tokens, each of them replaced by the mask token with this probability, special ones excepted.

    Args:
        tokens: ids.
        share: of the tokens that are not special, the share that is replaced, on average: each one independently, so
            that short texts lose theirs at the same rate as long ones.
        mask: the id that takes their place.
        special: ids that stay: padding, the beginning, the end.
        seed: of the draw.
        rows: numbers of the data points, as for :func:`add_noise`.

    Raises:
        ValueError: for a share outside [0, 1].
    """
    chosen = _chosen(tokens.shape[:2], share, seed, rows).to(tokens.device)
    kept = torch.isin(tokens, torch.tensor(sorted(special), dtype=tokens.dtype, device=tokens.device))
    return torch.where(chosen & ~kept, mask, tokens)


def mask_features(
    tokens: Float[Tensor, "N T *d"],
    share: float,
    mean: Float[Tensor, "*d"],
    skip: int = 0,
    *,
    seed: int = 0,
    rows: Int64[Tensor, "N"] | None = None,
) -> Float[Tensor, "N T *d"]:
    """The tokens, each of them replaced by the mean token with this probability: what :func:`mask_tokens` is for ids.

    Args:
        tokens: features of tokens.
        share: of the tokens, the share that is replaced, on average.
        mean: the token that takes their place (:func:`feature_statistics`).
        skip: the first so many tokens stay: 1 where they begin with a class token.
        seed: of the draw.
        rows: numbers of the data points, as for :func:`add_noise`.

    Raises:
        ValueError: for a share outside [0, 1].
    """
    chosen = _chosen(tokens.shape[:2], share, seed, rows).to(tokens.device)
    chosen[:, :skip] = False
    return torch.where(chosen.reshape(*chosen.shape, *(1,) * (tokens.ndim - 2)), mean, tokens)


def feature_statistics(
    tokens: Float[Tensor, "N T *d"], valid: Bool[Tensor, "N T"] | None = None
) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
    """Mean and standard deviation of each feature over all tokens of all rows, of the training data as a rule.

    Args:
        tokens: features of tokens; ``[N, 1, d]`` where a datum is one vector of features.
        valid: false for tokens that do not count.

    Raises:
        ValueError: for fewer than two tokens.
    """
    counted = tokens.flatten(0, 1) if valid is None else tokens[valid]
    if len(counted) < 2:
        raise ValueError(f"noise: a standard deviation needs at least two valid tokens, got {len(counted)}.")
    return counted.mean(0), counted.std(0)


class Noisy:
    """Data with noise that is drawn once: every visit and every model sees the same.

    It goes wherever data goes. Modalities draw independently of each other. What is missing stays missing, and padding
    stays padding where the data has masks of its steps.

    Args:
        data: anything that holds multimodal data.
        noise: by modality, one of :func:`add_noise`, :func:`mask_tokens` and :func:`mask_features`, its level filled in
            by ``functools.partial``; others stay as they are.
        seed: of all the noise.

    Raises:
        ValueError: by :meth:`batch`, for noise on a modality that the data does not hold.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from mmvae.data import Noisy, add_noise
        >>> noisy = Noisy({"image": torch.zeros(8, 1, 4, 4)}, {"image": partial(add_noise, sigma=0.5)})
        >>> torch.equal(noisy.batch(torch.tensor([5])).data["image"], noisy.batch(torch.arange(8)).data["image"][5:6])
        True
    """

    def __init__(self, data: Data, noise: Mapping[str, Noise], seed: int = 0) -> None:
        self.source = as_source(data)
        self.noise = dict(noise)
        self.seed = seed
        self.blocks = self.source.blocks if isinstance(self.source, InBlocks) else None
        self.is_uniform = is_uniform(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Int64[Tensor, "B"]) -> Batch:
        """The data points at ``rows``, with their noise."""
        clean = self.source.batch(rows)
        absent = [name for name in self.noise if name not in (*clean.data, *clean.absent)]
        if absent:
            raise ValueError(f"noise: on {absent[0]!r}, but the data holds {', '.join(map(repr, clean.data))}.")
        noisy = {
            name: self.noise[name](value, seed=derive_seed(self.seed, "noise", name), rows=rows)
            if name in self.noise
            else value
            for name, value in clean.data.items()
        }
        nothing = torch.zeros(clean.size, dtype=torch.bool)
        observed = {**clean.masks, **dict.fromkeys(clean.absent, nothing)}
        return Batch(
            noisy, observed, clean.labels, clean.covariates
        )  # which puts zeros where a datum, or a step of it, is missing


def _chosen(shape: Collection[int], share: float, seed: int, rows: Int64[Tensor, "N"] | None) -> Bool[Tensor, "N T"]:
    """True with probability ``share``; what is chosen at a share is chosen at every higher one."""
    if not 0 <= share <= 1:
        raise ValueError(f"noise: the share of tokens that are replaced lies in [0, 1], got {share!r}.")
    size, length = shape
    return _each_row(size, rows, seed, lambda generator: torch.rand(length, generator=generator)) < share


def _each_row(
    size: int, rows: Int64[Tensor, "N"] | None, seed: int, draw: Callable[[torch.Generator], Tensor]
) -> Shaped[Tensor, "N ..."]:
    numbers = range(size) if rows is None else rows.tolist()
    return torch.stack([draw(stream(seed, "noise", number)) for number in numbers])
