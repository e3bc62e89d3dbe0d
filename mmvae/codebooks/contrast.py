"""Contrastive losses between modalities: InfoNCE, and cross-modal code matching."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmvae.codebooks.vectors import masked, squared_distances
from mmvae.collectives import gathered

_LEAST_SQUARE = 1e-12
"""Below it a distance has no slope worth following: the root's is infinite at zero."""

_LEAST_SHARE = 1e-10


def info_nce(
    query: Float[Tensor, "N D"],
    key: Float[Tensor, "N D"],
    temperature: float = 0.1,
    *,
    valid: Bool[Tensor, "N"] | None = None,
) -> Float[Tensor, ""]:
    """How badly each query tells its own key from those of the other rows, by cosine, in nats; mean over the rows.

    Args:
        query: of one modality.
        key: of the other; those of the other rows are the negatives. One direction only.
        temperature: τ, which divides the cosines.
        valid: rows that have both modalities; the others count neither as queries nor as negatives.

    Source: van den Oord et al. 2018, equation 4; on cosines with τ = 0.1 as in Huang et al. 2025 (FCID).
    """
    if valid is None:
        valid = torch.ones_like(query[:, 0], dtype=torch.bool)
    query, key, valid = gathered(functional.normalize(query, dim=-1), functional.normalize(key, dim=-1), valid)
    return matching_loss(inner_products(query, key) / temperature, valid, valid)


def code_matching(
    features: Mapping[str, Float[Tensor, "N *T D"]],
    codebook: Float[Tensor, "L D"],
    valid: Mapping[str, Bool[Tensor, "N *T"]] | None = None,
    *,
    form: Literal["reference", "symmetric"] = "reference",
) -> Float[Tensor, ""]:
    """How badly the codes near a row in one modality tell which row of another modality it belongs to, in nats.

    Each row is the mean over its steps of p(l) ∝ exp(-‖z - e_l‖), the shares in which it is near each code; rows are
    compared by the negative cross-entropy of these shares. Half the sum over the pairs of modalities.

    Args:
        features: the vectors of each modality before quantisation; T may differ.
        codebook: of a snapshot, such as ``Quantised.codebook``. Gradients reach the vectors alone.
        valid: where there is a vector; names left out are valid throughout. A pair of modalities is compared over the
            rows that have both.
        form: of the score of row i of modality a with row j of b. ``"symmetric"``: Σ_l p_i^a log p_j^b + p_j^b
            log p_i^a. ``"reference"``: with p_i^b log p_j^a as the second term, as in the authors' code, where it does
            not matter which of the two is a.

    Raises:
        ValueError: for another form.

    Source: Liu et al. 2021, "Cross-modal discrete representation learning", section 3.3; Xia et al. 2023.
    """
    if form not in ("reference", "symmetric"):
        raise ValueError(f"form: expected 'reference' or 'symmetric', got {form!r}.")
    vectors, masks = masked(features, valid)
    shares, rows = {}, {}
    for name, each in vectors.items():
        shares[name], rows[name] = gathered(*_shares(each, codebook.detach(), masks[name]))
    terms = [codebook.new_zeros(())]
    for one, other in combinations(features, 2):
        forwards = inner_products(shares[one], _log(shares[other]))
        backwards = inner_products(shares[other], _log(shares[one]))
        scores = forwards + (backwards if form == "reference" else backwards.T)
        both = rows[one] & rows[other]
        terms.append(matching_loss(scores, both, both))
    return 0.5 * torch.stack(terms).sum()


def inner_products(rows: Float[Tensor, "N D"], columns: Float[Tensor, "N D"]) -> Float[Tensor, "N N"]:
    """Of each row with each column; in single precision at least, since they end in exponentials."""
    precision = torch.promote_types(rows.dtype, torch.float32)
    with torch.autocast(rows.device.type, enabled=False):
        return rows.to(precision) @ columns.to(precision).T


def matching_loss(
    scores: Float[Tensor, "N N"],
    pairs: Bool[Tensor, "N"] | None = None,
    candidates: Bool[Tensor, "N"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding row i's partner, which is column i, among the columns by their scores, in nats.

    Args:
        scores: unnormalised log-probabilities of the columns, a row each.
        pairs: rows that have a partner; the mean is over these, and 0 if there are none. By default all.
        candidates: columns that may be the partner; by default all.
    """
    labels = torch.arange(len(scores), device=scores.device)
    if candidates is not None:
        scores = scores.masked_fill(~candidates, torch.finfo(scores.dtype).min)
    losses = functional.cross_entropy(scores, labels, reduction="none")
    if pairs is None:
        return losses.mean()
    return torch.where(pairs, losses, 0).sum() / pairs.sum().clamp_min(1)


def _shares(vectors: Tensor, codebook: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How near each row is to each code, ``[N, L]``, and whether it has any step, bool ``[N]``."""
    vectors = vectors.reshape(len(vectors), -1, vectors.shape[-1])  # [N, T, D]
    weights = mask.reshape(len(mask), -1, 1)  # [N, T, 1]
    distances = squared_distances(vectors, codebook).clamp_min(_LEAST_SQUARE).sqrt()
    count = weights.sum(1)
    return (torch.softmax(-distances, -1) * weights).sum(1) / count.clamp_min(1), count.squeeze(-1) > 0


def _log(shares: Tensor) -> Tensor:
    return (shares + _LEAST_SHARE).log()
