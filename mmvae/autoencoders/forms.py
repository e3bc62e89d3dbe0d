"""What a VAE asks of the data of a modality, and what it shows of it to encoders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from mmvae.likelihoods import Likelihood
from mmvae.modality import Modality
from mmvae.transforms import Transform, spread


class ModalityForm:
    """The form of one modality: its likelihood checks the data, its transform says what encoders read.

    The parts are those of the model, which trains, moves and saves them.

    Args:
        likelihood: Checks and casts the data.
        transform: Transform of the modality, or ``None`` for the data as it is.
        is_read: Whether encoders read the data through it.
        has_cells: Whether rows may be there in part, so that encoders read the mask too.

    Attributes:
        data_dtype: Type of the data that the likelihood takes.
    """

    def __init__(self, likelihood: Likelihood, transform: Transform | None, is_read: bool, has_cells: bool) -> None:
        self._likelihood, self._transform, self._is_read = likelihood, transform, is_read
        self.has_cells = has_cells
        self.data_dtype = likelihood.data_dtype

    @property
    def hole(self) -> float | Tensor | None:
        """Placeholder of the likelihood for missing values, or one for each column."""
        return self._likelihood.hole

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data, checked by likelihood and transform, in the likelihood's type."""
        data = self._likelihood.conform(name, data)
        if self._transform is not None:
            self._transform.check(name, data)
        return data

    def inputs(self, data: Tensor, observed: Tensor | None) -> tuple[Tensor, ...]:
        """What the encoder of the modality is called with: the data and, with cells, its mask ``bool [N, *shape]``.

        Args:
            data: Data that conforms, ``[N, *shape]``.
            observed: Where it is present, bool ``[N]`` or with further dimensions; ``None`` for everywhere.
        """
        is_read = self._transform is not None and self._is_read
        seen = self._transform(data) if self._transform is not None and is_read else data
        if observed is None:
            return (seen, torch.ones_like(seen, dtype=torch.bool)) if self.has_cells else (seen,)
        present = spread(observed, seen)
        if is_read or self.has_cells:
            seen = torch.where(present, seen, torch.zeros((), dtype=seen.dtype, device=seen.device))
        return (seen, present) if self.has_cells else (seen,)


def make_forms(
    modalities: Sequence[Modality],
    likelihoods: Mapping[str, Likelihood],
    transforms: Mapping[str, Transform],
    read: Collection[str],
) -> dict[str, ModalityForm]:
    """The form of each modality.

    Args:
        modalities: Modalities of the model.
        likelihoods: Their likelihoods, by name.
        transforms: Transforms of the modalities that have one.
        read: Names of the modalities whose encoders read through it.
    """
    return {
        each.name: ModalityForm(
            likelihoods[each.name], transforms.get(each.name), each.name in read, each.missing == "cells"
        )
        for each in modalities
    }
