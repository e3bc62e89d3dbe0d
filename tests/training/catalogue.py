"""A small model of every kind that the library has, and batches for it, on which steps can be traced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmvae import Batch, Modality, likelihoods, models, nn

ROWS = 8


@dataclass(frozen=True)
class Case:
    """A model and what it trains on."""

    make: Callable[[], Any]
    data: Callable[[], dict[str, Tensor]]
    classes: int | None = None
    steps: Callable[[], dict[str, Tensor]] = dict
    """Masks of steps."""

    def model(self) -> Any:
        torch.manual_seed(0)
        return self.make().train()

    def batch(self, model: Any, seed: int, observed: dict[str, Tensor] | None = None) -> Batch:
        """A batch that conforms, as the loop's are; ``observed`` in the place of the case's own masks."""
        torch.manual_seed(seed)
        data = self.data()
        labels = None if self.classes is None else torch.randint(self.classes, (ROWS,))
        return model.prepare(Batch(data, self.steps() if observed is None else observed, labels))


def _modalities(count: int = 3) -> list[Modality]:
    kinds = [
        ("image", (1, 8, 8), likelihoods.Laplace(scale=0.75)),
        ("text", (5,), likelihoods.Categorical(4)),
        ("table", (4,), likelihoods.Normal()),
    ]
    return [Modality(name, shape, likelihood) for name, shape, likelihood in kinds[:count]]


def _of_vae() -> dict[str, Tensor]:
    return {
        "image": torch.rand(ROWS, 1, 8, 8),
        "text": torch.randint(4, (ROWS, 5)),
        "table": torch.randn(ROWS, 4),
    }


def _vae(recipe: Any, **arguments: Any) -> Case:
    return Case(lambda: recipe(_modalities(), latent_dim=3, **arguments), _of_vae)


def _encoders() -> dict[str, Any]:
    return {
        "image": nn.ViT((1, 8, 8), patch=4, dim=8, depth=2, heads=2),
        "text": nn.TextTransformer(12, 6, dim=8, depth=2, heads=2),
    }


def _of_classifier() -> dict[str, Tensor]:
    return {"image": torch.rand(ROWS, 1, 8, 8), "text": torch.randint(1, 12, (ROWS, 6))}


def _classifier(recipe: Any, **arguments: Any) -> Case:
    return Case(lambda: recipe(_encoders(), 3, **arguments), _of_classifier, 3)


class OnBoth(models.MoLT):
    """With a loss on the latents before and after the attention."""

    correlated = ("after", "before")


class Frobenius(models.MoLT):
    """With a loss of another norm."""

    def make_correlation(self) -> nn.CCALoss:
        return nn.CCALoss(norm="frobenius")


def _molt(kind: Any = models.MoLT, **arguments: Any) -> Case:
    small: dict[str, Any] = {
        "common_dim": 2,
        "fusion_dim": 8,
        "fusion_heads": 2,
    }  # four rows by width
    return _classifier(kind, **small, **arguments)


def _of_steps() -> dict[str, Tensor]:
    return {"audio": torch.randn(ROWS, 6, 5), "video": torch.randn(ROWS, 6, 7)}


def _of_three() -> dict[str, Tensor]:
    return {
        "image": torch.rand(ROWS, 1, 16, 24),
        "audio": torch.randn(ROWS, 6, 5),
        "text": torch.randint(4, (ROWS, 4)),
    }


def _lengths() -> dict[str, Tensor]:
    """Sequences of one to all steps."""
    lengths = torch.randint(1, 7, (2, ROWS, 1))
    return {name: torch.arange(6) < length for name, length in zip(("audio", "video"), lengths, strict=True)}


def _codebook(recipe: Any, *groups: dict[str, Any], **arguments: Any) -> Case:
    small: dict[str, Any] = {"num_codes": 6, "code_dim": 4, "layers": 1, "heads": 2, "club_hidden": 8}
    small |= {"inner_steps": 2, "reset_after": 1}  # codes start again at the second step
    data = _of_steps if issubclass(recipe, models.DCID) else _of_three
    return Case(lambda: recipe(*groups, **{**small, **arguments}), data)


def _fcid(**arguments: Any) -> Case:
    fine, coarse = {"image": nn.PatchSteps((1, 16, 24), 8), "audio": 5}, {"text": nn.CodeSteps(4)}
    return _codebook(models.FCID, fine, coarse, stem="conv", positions=True, **arguments)


def with_codebook(kind: Any, **options: Any) -> Any:
    """A recipe whose codebook is moved in another way."""

    class Other(kind):
        def make_quantiser(
            self, num_codes: int, code_dim: int, commitment: float, cross: bool, reset_after: Any
        ) -> Any:
            given = {"commitment": commitment, "cross": cross, "reset_after": reset_after, **options}
            return nn.Quantiser(num_codes, code_dim, **given)

    return Other


def _dcid(kind: Any = models.DCID, **arguments: Any) -> Case:
    return _codebook(kind, {"audio": 5, "video": 7}, **arguments)


CASES: dict[str, Case] = {
    "MVAE": _vae(models.MVAE),
    "MVAE, random subsets": _vae(models.MVAE, num_random_subsets=1),
    "MMVAE": _vae(models.MMVAE),
    "MMVAE, dreg": _vae(models.MMVAE, objective="dreg", num_samples=2),
    "MMVAE, iwae": _vae(models.MMVAE, objective="iwae", num_samples=2),
    "MoPoE": _vae(models.MoPoE),
    "JMVAE": _vae(models.JMVAE, warmup_epochs=2),
    "MVTCAE": _vae(models.MVTCAE),
    "MMVAEPlus": _vae(models.MMVAEPlus, private_dim=2),
    "MMVAEPlus, iwae": _vae(models.MMVAEPlus, private_dim={"image": 2}, objective="iwae", num_samples=2),
    "CMVAE": _vae(models.CMVAE, private_dim=1, num_clusters=3),
    "DMVAE": _vae(models.DMVAE, private_dim=2),
    "WeightedMVAE": _vae(models.WeightedMVAE),
    "CoDEVAE": _vae(models.CoDEVAE),
    "HoelderVAE": _vae(models.HoelderVAE, num_samples=2),
    "HELVAE": _vae(models.HELVAE),
    "MMJSD": _vae(models.MMJSD),
    "MCVAE": _vae(models.MCVAE),
    "CRMVAE": _vae(models.CRMVAE),
    "MMVM": _vae(models.MMVM),
    "TELBO": _vae(models.TELBO, trunk_width=8, hidden=8),
    "JNF": _vae(models.JNF, trunk_width=8, hidden=8, flow_hidden=8),
    "CVAE": _vae(models.CVAE),
    "IDMVAE": _vae(models.IDMVAE, private_dim=2),
    "SetVAE": _vae(models.SetVAE, hidden=8, pooled=8),
    "DVCCA": _vae(models.DVCCA, private_dim=1),
    "MHVAE": _vae(models.MHVAE, levels=2, hidden=8),
    "DCCAE": Case(lambda: models.DCCAE(_modalities(), 2), _of_vae),  # four rows by width
    "MAAE": _vae(models.MAAE, hidden=8),
    "MWAE": _vae(models.MWAE),
    "MWAE, critic": _vae(models.MWAE, distance="critic", hidden=8, inner_steps=2),
    "IterativeVAE": _vae(models.IterativeVAE, num_steps=1, trunk_width=8, hidden=8, refinement_hidden=8),
    "MoLT": _molt(modality_dropout=False),
    "MoLT, dropout": _molt(OnBoth),
    "MoLT, Frobenius": _molt(Frobenius),
    "CMPT": _classifier(models.CMPT),
    "CMPT, dropout": _classifier(models.CMPT, modality_dropout=True),
    "LateFusion": _classifier(models.LateFusion),
    "LateFusion, mean": _classifier(models.LateFusion, missing="mean", modality_dropout=True),
    "MaskedReconstruction": Case(
        lambda: models.MaskedReconstruction({"image": _encoders()["image"]}),
        lambda: {"image": torch.rand(ROWS, 1, 8, 8)},
    ),
    "MaskedReconstruction, text": Case(
        lambda: models.MaskedReconstruction({"text": _encoders()["text"]}),
        lambda: {"text": torch.randint(1, 12, (ROWS, 6))},
    ),
    "MaskedReconstruction, padding": Case(
        lambda: models.MaskedReconstruction({"text": nn.TextTransformer(12, 6, dim=8, depth=2, heads=2, padding=0)}),
        lambda: {"text": torch.randint(12, (ROWS, 6)) * _lengths()["audio"]},
    ),
    "MaskedReconstruction, lengths": Case(
        lambda: models.MaskedReconstruction({"text": _encoders()["text"]}),
        lambda: {"text": torch.randint(1, 12, (ROWS, 6))},
        steps=lambda: {"text": _lengths()["audio"]},
    ),
    "DCID": _dcid(),
    "DCID, reference": _dcid(with_codebook(models.DCID, update="reference", reset="both")),
    "DCID, lengths": replace(_dcid(with_codebook(models.DCID, update="paper"), cpc_horizon=2), steps=_lengths),
    "FCID": _fcid(),
    "FCID, apart": _fcid(fine_alignment="info_nce", cross=False, club=0, reset_after=None),
}
