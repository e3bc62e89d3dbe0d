"""How a latent is laid out: one flat vector whose columns are shared by all modalities, or private to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.arguments import Remembers
from mmvae.choices import check_count


@dataclass(frozen=True)
class Layout(Remembers):
    """The columns of a latent vector: the shared ones first, then the private ones of each modality in turn.

    Args:
        shared: Number of columns that all modalities share, at least 1.
        private: Number of further columns that belong to one modality alone, by name; a modality left out has none.

    Raises:
        ValueError: For a shared part below 1 or a private part below 0.
        TypeError: For a size that is not a whole number.

    Example:
        >>> layout = Layout(shared=4, private={"image": 2, "text": 1})
        >>> layout.size, layout.columns("image"), layout.columns("text")
        (7, slice(4, 6, None), slice(6, 7, None))
    """

    shared: int
    private: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared", _size("latent_dim", self.shared, 1))
        sizes = {name: _size(f"private_dim of {name!r}", size, 0) for name, size in self.private.items()}
        object.__setattr__(self, "private", {name: size for name, size in sizes.items() if size})

    @classmethod
    def of(cls, names: Sequence[str], latent_dim: int | Layout, private_dim: int | Mapping[str, int] | None) -> Layout:
        """Return the layout that the arguments of a recipe ask for.

        Args:
            names: Modalities of the model.
            latent_dim: Size of the shared part, or a whole layout.
            private_dim: Size of each modality's private part: one number for all, by name, or ``None`` for none.

        Raises:
            ValueError: For a private part of an unknown modality, sizes out of range, or two layouts at once.
            TypeError: For a size that is not a whole number.
        """
        if isinstance(latent_dim, Layout):
            if private_dim is not None:
                raise ValueError("private_dim: latent_dim is a Layout already; set the private sizes there.")
            layout = latent_dim
        elif private_dim is None:
            layout = cls(latent_dim)
        elif isinstance(private_dim, Mapping):
            layout = cls(latent_dim, private_dim)
        else:
            layout = cls(latent_dim, dict.fromkeys(names, private_dim))
        unknown = [name for name in layout.private if name not in names]
        if unknown:
            raise ValueError(
                f"private_dim: {unknown[0]!r} is not a modality of this model; choose among "
                f"{', '.join(map(repr, names))}."
            )
        ordered = {name: layout.private[name] for name in names if name in layout.private}
        return cls(layout.shared, ordered)

    @property
    def size(self) -> int:
        """D, the number of all columns."""
        return self.shared + sum(self.private.values())

    @property
    def is_shared(self) -> bool:
        """Whether every column is shared."""
        return not self.private

    def columns(self, name: str | None = None) -> slice:
        """The private columns of a modality; without a name, the shared columns."""
        if name is None:
            return slice(0, self.shared)
        start = self.shared
        for other, size in self.private.items():
            if other == name:
                return slice(start, start + size)
            start += size
        return slice(self.size, self.size)

    def width(self, name: str) -> int:
        """Number of columns that a modality speaks of and its decoder reads: the shared ones and its own."""
        return self.shared + self.private.get(name, 0)

    def own(self, name: str) -> list[int]:
        """Indices of the columns that a modality speaks of, ``width`` of them: the shared ones and its own."""
        return [*range(self.shared), *range(self.size)[self.columns(name)]]

    def read(self, z: Tensor, name: str) -> Tensor:
        """Return the columns ``[..., width]`` of latents ``[..., D]`` that the decoder of a modality reads."""
        if self.is_shared:
            return z
        return torch.cat([z[..., : self.shared], z[..., self.columns(name)]], -1)

    def place(self, values: Tensor, name: str, elsewhere: float) -> Tensor:
        """Return ``[..., D]`` with the values ``[..., width]`` at a modality's columns and a constant at all others.

        The inverse of :meth:`read`.
        """
        if self.is_shared:
            return values
        columns = self.columns(name)
        whole = values.new_full((*values.shape[:-1], self.size), elsewhere)
        whole[..., : self.shared] = values[..., : self.shared]
        whole[..., columns] = values[..., self.shared :]
        return whole

    def speaks(self, names: Sequence[str], device: torch.device | None = None) -> Bool[Tensor, "M D"] | None:
        """Return which columns each modality speaks of, or ``None`` if each speaks of all."""
        if self.is_shared:
            return None
        return _speaks(self.shared, tuple(self.private.items()), tuple(names), device or torch.device("cpu"))


def _size(what: str, size: int, least: int) -> int:
    check_count(what, size, least)
    return int(size)


@lru_cache
def _speaks(
    shared: int, private: tuple[tuple[str, int], ...], names: tuple[str, ...], device: torch.device
) -> Bool[Tensor, "M D"]:
    """The same at each step, and so kept on the device: a step that copied it there would wait."""
    layout = Layout(shared, dict(private))
    with torch.inference_mode(False):  # it outlives the mode in which it is first asked for
        mask = torch.zeros(len(names), layout.size, dtype=torch.bool)
        for row, name in enumerate(names):
            mask[row, layout.own(name)] = True
        return mask.to(device)
