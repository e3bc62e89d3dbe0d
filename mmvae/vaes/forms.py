"""What a VAE asks of the data of a modality, and what it shows of it to encoders."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from mmvae.likelihoods import Likelihood
from mmvae.transforms import Transform, spread


class ModalityForm:
    """The form of one modality: its likelihood checks the data, its transform says what encoders read.

    The parts are those of the model, which trains, moves and saves them.

    Args:
        likelihood: Checks and casts the data.
        transform: Transform of the modality, or ``None`` for the data as it is.
        is_read: Whether encoders read the data through it.

    Attributes:
        hole: Placeholder of the likelihood for missing values.
    """

    def __init__(self, likelihood: Likelihood, transform: Transform | None, is_read: bool) -> None:
        self._likelihood, self._transform, self._is_read = likelihood, transform, is_read
        self.hole = likelihood.hole

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data, checked by likelihood and transform, in the likelihood's type."""
        data = self._likelihood.conform(name, data)
        if self._transform is not None:
            self._transform.check(name, data)
        return data

    def inputs(self, data: Tensor, observed: Tensor | None) -> tuple[Tensor, ...]:
        """What the encoder of the modality is called with.

        Args:
            data: Data that conforms, ``[N, *shape]``.
            observed: Where it is present, bool ``[N]``; ``None`` for everywhere.
        """
        if self._transform is None or not self._is_read:
            return (data,)
        seen = self._transform(data)
        return (seen if observed is None else torch.where(spread(observed, seen), seen, 0.0),)


def make_forms(
    likelihoods: Mapping[str, Likelihood], transforms: Mapping[str, Transform], read: Collection[str]
) -> dict[str, ModalityForm]:
    """The form of each modality.

    Args:
        likelihoods: Likelihoods by name.
        transforms: Transforms of the modalities that have one.
        read: Names of the modalities whose encoders read through it.
    """
    return {name: ModalityForm(each, transforms.get(name), name in read) for name, each in likelihoods.items()}
