"""Codes without an order."""

from __future__ import annotations

from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from mmvae.likelihoods.base import Likelihood, require


class Categorical(Likelihood):
    """Integer codes from 0 to ``num_categories - 1``; the decoder gives logits ``[..., *shape, num_categories]``."""

    data_dtype = torch.int64
    scores_transformed = False

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_categories = int(num_categories)

    def forward(self, parameters: Tensor) -> Distribution:
        """A categorical distribution of logits ``parameters [..., *shape, num_categories]``."""
        return dist.Categorical(logits=parameters.log_softmax(-1))  # which large logits do not round

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*shape, num_categories)``."""
        return (*shape, self.num_categories)

    def point(self, distribution: Distribution) -> Tensor:
        """The most probable code at each place, int64."""
        return distribution.mode

    def agreed(self, points: Tensor, distribution: Distribution) -> Tensor:
        """The code that is the most probable in the mixture, int64."""
        while not isinstance(distribution, dist.Categorical):
            distribution = cast("Any", distribution).base_dist
        return distribution.probs.mean(0).argmax(-1)

    @property
    def is_ordered(self) -> bool:
        """They have not."""
        return False

    def conform(self, name: str, data: Tensor) -> Tensor:
        """Integer codes as int64; one-hot or real-valued data is refused."""
        if data.is_floating_point() or data.dtype == torch.bool:
            raise TypeError(
                f"{name}: Categorical scores integer codes, got {data.dtype}; convert one-hot data with "
                f"x.argmax(-1), whole numbers with x.long()."
            )
        return self._cast(name, data)

    def check_support(self, name: str, data: Tensor) -> None:
        """Codes must lie in 0 .. num_categories - 1."""
        inside = (data >= 0) & (data < self.num_categories)
        require(name, data, inside, f"Categorical({self.num_categories}) scores codes 0 to {self.num_categories - 1}")
