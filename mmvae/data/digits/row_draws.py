"""Random numbers of which each row of a batch has its own, whatever rows stand beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Draws:
    """Numbers for the rows of a batch; each call takes the next ones.

    A row's numbers depend on the seed, the stream and the row's index alone, so an image is the same in whatever
    batch it is rendered.

    Args:
        seed: of the whole set of images.
        stream: keeps sets of the same seed apart.
        rows: indices of the rows in the whole set.
        uniforms: how many uniform numbers a row may ask for.
        normals: how many normal numbers a row may ask for.
    """

    def __init__(self, seed: int, stream: int, rows: Sequence[int], uniforms: int, normals: int = 0) -> None:
        self._uniform = torch.empty(len(rows), uniforms)
        self._normal = torch.empty(len(rows), normals)
        generator = torch.Generator()
        for index, row in enumerate(rows):
            # The generator of the CPU takes 32 bits; the odd factors spread seeds and streams over them.
            generator.manual_seed((row + seed * 0x9E3779B1 + stream * 0x85EBCA6B) % 2**32)
            self._uniform[index].uniform_(generator=generator)
            self._normal[index].normal_(generator=generator)
        self._next_uniform = self._next_normal = 0

    def unit(self, *shape: int) -> Float[Tensor, "N *shape"]:
        """Uniform in [0, 1)."""
        count = int(torch.Size(shape).numel())
        taken = self._uniform[:, self._next_uniform : self._next_uniform + count]
        self._next_uniform += count
        return taken.reshape(-1, *shape)

    def between(self, low: float, high: float, *shape: int) -> Float[Tensor, "N *shape"]:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit(*shape)

    def bell(self, scale: float, *shape: int) -> Float[Tensor, "N *shape"]:
        """About normal with this standard deviation, and never beyond three of them."""
        return scale * 2 * (self.unit(*shape, 3).sum(-1) - 1.5)

    def chance(self, probability: float, *shape: int) -> Bool[Tensor, "N *shape"]:
        """True with this probability."""
        return self.unit(*shape) < probability

    def below(self, bound: int, *shape: int) -> Int64[Tensor, "N *shape"]:
        """A whole number from 0 to bound - 1."""
        return (self.unit(*shape) * bound).long().clamp_(max=bound - 1)

    def noise(self, *shape: int) -> Float[Tensor, "N *shape"]:
        """Standard normal."""
        count = int(torch.Size(shape).numel())
        taken = self._normal[:, self._next_normal : self._next_normal + count]
        self._next_normal += count
        return taken.reshape(-1, *shape)
