"""Terms that any model with unimodal experts may add to its loss: contrast of modalities, and augmentation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.collectives import gathered
from mmvae.distributions import without_autocast
from mmvae.layout import Layout
from mmvae.objectives.base import Loss
from mmvae.posteriors import Experts
from mmvae.words import Words, declare_terms

declare_terms(
    *(
        Words(name, heading, meaning, unit="nats", better="lower")
        for name, heading, meaning in (
            ("contrast", "Contrast", "Cross-entropy of finding a row by the shared mean of another of its modalities."),
            (
                "augmentation",
                "Augmentation",
                "Cross-entropy of finding a row again after its private, or its shared, latent was exchanged.",
            ),
        )
    ),
    of_bound=True,
)


@runtime_checkable
class Decodes(Protocol):
    """A model that makes data of latents, and experts of data."""

    layout: Layout

    @property
    def experts(self) -> Callable[[Batch], Experts]:
        """Gives the unimodal posteriors of a batch."""

    def decoded(self, name: str, z: Float[Tensor, "N D"], batch: Batch) -> Float[Tensor, "N *shape"] | None:
        """The mean of a modality at latents, differentiable; ``None`` for codes, which have none."""


@numbers_checked
class FurtherTerms:
    """Terms of a loss beside its objective, each with a weight.

    ``contrast`` is InfoNCE between the shared means of each ordered pair of modalities, averaged over the pairs: among
    the rows that have the second modality, find the one that the first modality is of. Rows that lack either are left
    out. The score is the cosine.

    ``augmentation`` exchanges latents between rows. Modality m is decoded from its own shared latent and the private
    latent of the row before, encoded again, and must keep its shared mean; and the other way round. Of each modality
    with real data and a private latent, the mean of both cross-entropies; the mean over these modalities.

    Args:
        contrast: Weight of the contrast.
        augmentation: Weight of the augmentation.

    Raises:
        ValueError: For weights below zero.

    Source: Zhang, Shen and Wang 2026, "Information-disentangled multimodal VAE" (IDMVAE). Departures: sums are averages
    over pairs and modalities, as in the paper; the authors' code has M times as much. Candidates are rows of the other
    view, as in the paper; the code has those of the same view too.
    """

    def __init__(self, contrast: float = 0.0, augmentation: float = 0.0) -> None:
        self.contrast, self.augmentation = contrast, augmentation

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.contrast > 0 or self.augmentation > 0

    def check(self, layout: Layout) -> None:
        """Refuse an augmentation of latents that have nothing to exchange.

        Raises:
            ValueError: Says what to pass.
        """
        if self.augmentation > 0 and layout.is_shared:
            raise ValueError(
                "augmentation: it exchanges private latents, and this model has none; pass private_dim= too, or leave "
                "augmentation out."
            )

    def added(self, loss: Loss, model: Decodes, batch: Batch, experts: Experts) -> Loss:
        """The loss with these terms.

        Args:
            loss: Of the objective.
            model: Whose experts they are.
            batch: N rows that conform.
            experts: Unimodal posteriors of the batch.
        """
        total, terms = loss.total, dict(loss.terms)
        if self.contrast > 0:
            terms["contrast"] = contrast(experts)
            total = total + self.contrast * terms["contrast"]
        if self.augmentation > 0:
            terms["augmentation"] = augmentation(model, batch, experts)
            total = total + self.augmentation * terms["augmentation"]
        return Loss(total, terms, loss.rows)


def contrast(experts: Experts) -> Float[Tensor, ""]:
    """InfoNCE between the shared means of each ordered pair of modalities, in nats, mean over the pairs."""
    columns = experts.layout.columns()
    observed = experts.weights > 0
    found = [
        info_nce(experts.loc[one][:, columns], experts.loc[two][:, columns], observed[one], observed[two])
        for one, two in permutations(range(len(experts.names)), 2)
    ]
    return torch.stack(found).mean() if found else experts.loc.new_zeros(())


def augmentation(model: Decodes, batch: Batch, experts: Experts) -> Float[Tensor, ""]:
    """Cross-entropies of finding rows again after an exchange of latents, in nats, mean over modalities."""
    found = []
    shared = experts.layout.columns()
    for row, name in enumerate(experts.names):
        private = experts.layout.columns(name)
        if name not in experts.layout.private:
            continue
        z = experts.family(experts.loc[row], experts.scale[row]).rsample()
        before = z.roll(1, 0)
        has = experts.weights[row] > 0
        both = has & has.roll(1, 0)
        for kept, exchanged in ((shared, private), (private, shared)):
            mixed = z.clone()
            mixed[:, exchanged] = before[:, exchanged]
            data = model.decoded(name, mixed, batch)
            if data is None:
                break
            part = batch.derive({name: data}, None, conforms_to=batch.conforms_to)
            again = model.experts(part).loc[0][:, kept]
            found.append(info_nce(experts.loc[row][:, kept], again, both, both))
    return torch.stack(found).mean() if found else experts.loc.new_zeros(())


def info_nce(
    query: Float[Tensor, "N D"], key: Float[Tensor, "N D"], pairs: Bool[Tensor, "N"], candidates: Bool[Tensor, "N"]
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each row's key among all by the cosine with its query, in nats; over all processes.

    Args:
        query: What is asked with.
        key: What is to be found.
        pairs: Rows that have a query.
        candidates: Rows that have a key. The mean is over rows that have both, and 0 where there are none.
    """
    query, key, pairs, candidates = gathered(query, key, pairs, candidates)
    with without_autocast(query):
        scores = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).T
    scores = scores.masked_fill(~candidates, torch.finfo(scores.dtype).min)
    losses = scores.logsumexp(1) - scores.diagonal()
    both = pairs & candidates
    return torch.where(both, losses, 0.0).sum() / both.sum().clamp_min(1)


class Once:
    """A model whose encoders run once for a batch, however often they are asked; all else is the model's."""

    def __init__(self, model: Any, experts: Experts, batch: Batch) -> None:
        self._model, self._experts, self._batch = model, experts, batch

    def __getattr__(self, name: str) -> Any:
        """What the model has by this name."""
        return getattr(self._model, name)

    def experts(self, batch: Batch) -> Experts:
        """The experts that are known, or those of another batch."""
        return self._experts if batch is self._batch else self._model.experts(batch)
