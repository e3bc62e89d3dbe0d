"""MoLT and CMPT with one part changed, as their ablation measures them."""

from __future__ import annotations

from typing import Any

import torch
from missing.stand_in import StandIn, dummy_datum
from torch import Tensor, nn
from torch.nn import functional

from mmvae.classifiers.molt import Inputs
from mmvae.models import CMPT, MoLT
from mmvae.nn import CCALoss, LatentTuning, LayerMean, Precomputed, TunedLatents


class WithoutAttention(MoLT):
    """The modalities do not read each other."""

    def make_tuning(self, dims: tuple[int, int], layers: int, common_dim: int) -> LatentTuning:
        """Without cross-attention."""
        return LatentTuning(dims, layers, common_dim, cross_attention=False)


class SideBySide(nn.Module):
    """Two vectors one behind the other: ``[*, d], [*, d] -> [*, 2 d]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = 2 * dim

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """``[*, 2 d]``."""
        return torch.cat([one, other], -1)


class Concatenated(MoLT):
    """The latents of both modalities are concatenated, not multiplied."""

    def make_join(self, common_dim: int, window: int) -> nn.Module:
        """Without products."""
        return SideBySide(common_dim)


class PlainMean(MoLT):
    """Layers are averaged without a learned mixture."""

    def make_mean(self, layers: int, dim: int) -> LayerMean:
        """Without weights."""
        return LayerMean(layers, dim, "mean")


class Frobenius(MoLT):
    """The loss is the root of the sum of the squared correlations."""

    def make_correlation(self) -> CCALoss:
        """Of another norm."""
        return CCALoss(norm="frobenius")


class Squared(MoLT):
    """The loss is the sum of the squared correlations."""

    def make_correlation(self) -> CCALoss:
        """Of another norm."""
        return CCALoss(norm="squared")


class BeforeAttention(MoLT):
    """The loss correlates the projections, in which the modalities have not met."""

    correlated = ("before",)


class StandIns(MoLT):
    """Fixed hidden states in the place of null tokens."""

    stand_ins: nn.ModuleDict

    def make_tuning(self, dims: tuple[int, int], layers: int, common_dim: int) -> LatentTuning:
        """Without null tokens."""
        return LatentTuning(dims, layers, common_dim, null_tokens=False)

    def stand_in(self, name: str) -> StandIn:
        """What stands in for a modality."""
        return self.stand_ins[name]  # type: ignore[return-value]

    def _tune(self, inputs: Inputs, shown: dict[str, Tensor]) -> TunedLatents:
        """The latents of both modalities, with what stands in for them in the rows that are not shown one."""
        first, second = self.names
        one, other = self.stand_in(first), self.stand_in(second)
        own = self.tuning.project((one.states.unbind(), other.states.unbind()))
        a, valid_a = one.fill(inputs.tokens[0], own[0], inputs.valid[0], shown[first])
        b, valid_b = other.fill(inputs.tokens[1], own[1], inputs.valid[1], shown[second])
        return super()._tune(Inputs((a, b), (valid_a, valid_b)), shown)


class ZeroFeatures(StandIns):
    """Zeros in the place of the hidden states of a missing modality."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stand_ins = nn.ModuleDict(
            {name: StandIn.of_zeros(len(layers), self.encoder(name).dim) for name, layers in self.read_layers.items()}
        )


class DummyInput(StandIns):
    """The hidden states of a dummy datum in the place of those of a missing modality: white images, the id zero."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stand_ins = nn.ModuleDict(
            {
                name: StandIn.of_datum(self.encoder(name), dummy_datum(name, self.encoder(name), None), layers)
                for name, layers in self.read_layers.items()
            }
        )

    def feature_arguments(self) -> dict[str, Any]:
        """Encoders whose data are features, of as many tokens as the dummies have."""
        encoders = {}
        for name in self.names:
            layers, tokens, dim = self.stand_in(name).states.shape
            encoders[name] = Precomputed(dim, layers, tokens - 1)
        return {"encoders": encoders}


class Isolated(CMPT):
    """Other tokens do not look at the proxies."""

    isolate_proxy = True


class Detached(CMPT):
    """No gradient of the alignment reaches the class tokens."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        """Squared errors, of the proxies alone."""
        return super().distances(proxy, token.detach())


class Cosine(CMPT):
    """Proxies are aligned by their direction."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        """One minus the cosine, of each row."""
        return 1 - functional.cosine_similarity(proxy, token, dim=-1)


class SmoothL1(CMPT):
    """Proxies are aligned by errors whose tails are linear."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        """Of each row and feature."""
        return functional.smooth_l1_loss(proxy, token, reduction="none")
