"""Vector quantisation with one codebook for all modalities, learned by moving averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.codebooks.vectors import masked, nearest
from mmvae.collectives import gathered, is_spared, mean_over, of_first, summed
from mmvae.networks.masked import in_random_order, in_turn

Update = Literal["safe", "reference", "paper"]
Reset = Literal["any", "both"]

_SMOOTHING = 1e-5
"""Of the reference's counts."""

_LEAST_COUNT = 1e-6
"""A code that wins nothing keeps its place; below this its count would one day be zero, and its place 0 / 0."""

_RESET_NOISE = 1 / 1024

_START_NOISE = 0.01
"""Of the first codes, in standard deviations of the first batch: tells codes apart that start at the same vector."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """What vectors became.

    Attributes:
        codes: which code each vector chose, -1 where there is no vector.
        vectors: those codes, zeros where there is no vector; gradients pass through to the vectors that came.
        codebook: the codes as they were when they were chosen. Later updates leave this tensor as it is, so losses
            over it can be differentiated after them.
    """

    codes: Int64[Tensor, "N *T"]
    vectors: Float[Tensor, "N *T D"]
    codebook: Float[Tensor, "L D"]


@numbers_checked
class Quantiser(nn.Module):
    """One codebook for all modalities: vectors to their nearest codes, and codes to the vectors that chose them.

    In training mode a forward pass ends with an update: each code moves towards the vectors that chose it, of whatever
    modality, mixed half and half with the vectors of the other modalities at the same step, so that modalities which
    belong together come to share codes. Codes that nobody chooses start again next to one that is in use. Nothing here
    is a parameter: the codebook is learned by moving averages and not by gradients.

    Args:
        num_codes: L.
        dim: D, the width of vectors and codes.
        update: ``"safe"``: codes start where the modalities of the first batch meet, at their means at random steps, as
            averages that count for one vector, and move in one joint step a batch; a code that starts again does so as
            an average, too. ``"reference"``: as in
            the authors' code: codes start near zero with a count of zero, so that those which the first batch leaves
            out are thrown far off; each modality moves them in turn, so the decay of a batch is ``decay`` to the
            number of modalities; the next update takes most codes that started again back to where they were.
            ``"paper"``: ``"safe"``, with the other modality's vector at the same step replaced by an attention over
            all its steps, as the paper has it.
        decay: γ of the moving averages, in [0, 1).
        commitment: β.
        commitment_form: ``"reference"`` counts the vector's own code 2 β and those of the others β together,
            ``"paper"`` half as much.
        reset_after: batches in which a code may go unused before it starts again; ``None`` for ever.
        reset: a code counts as used if ``"any"`` modality chose it in that time, or only if each did (``"both"``, as
            in the paper).
        cross: mix modalities, in the update and in the commitment; ``False`` leaves each to itself.

    Attributes:
        codebook: ``[L, D]``. The codes of ``"reference"`` and those before the first batch are uniform in ±1/L (the
            authors' code has ±1/400 whatever L is).
        counts: ``[L]``, moving average of how many vectors a code wins in a batch.
        sums: ``[L, D]``, moving average of the sum of their targets. After each update, ``codebook = sums / counts``.
        idle: int64 ``[L]``, batches since a code was last used.
        seen: int64 ``[L]``, the modalities that chose a code since then, a bit for each in the order of ``features``.
        started: whether there was a first batch, one with a vector.

    Raises:
        ValueError: for a number, decay or name out of its range.

    In distributed training (within :func:`~mmvae.nn.together`, as in ``fit``), all processes count as one batch, and
    all have the same codebook.

    Source: van den Oord et al. 2017, appendix A.1 (moving averages); Xia et al. 2023, "Achieving cross modal
    generalization with multimodal unified representation", section 3.3 and equations 2, 7 and 8; the start, the
    averages of ``"safe"`` and the rules for missing modalities are this library's.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    idle: Tensor
    seen: Tensor
    started: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        update: Update = "safe",
        decay: float = 0.99,
        commitment: float = 0.25,
        commitment_form: Literal["reference", "paper"] = "reference",
        reset_after: int | None = 100,
        reset: Reset = "any",
        cross: bool = True,
    ) -> None:
        super().__init__()
        for argument, value, names in (
            ("update", update, get_args(Update)),
            ("commitment_form", commitment_form, tuple(FORMS)),
            ("reset", reset, get_args(Reset)),
        ):
            if value not in names:
                raise ValueError(f"{argument}: expected {' or '.join(map(repr, names))}, got {value!r}.")
        if num_codes < 2 or dim < 1:
            raise ValueError(f"codebook: expected at least 2 codes of width 1, got {num_codes} of width {dim}.")
        if not 0 <= decay < 1:
            raise ValueError(f"decay: expected at least 0 and below 1, got {decay}.")
        self.num_codes, self.dim = num_codes, dim
        self.update, self.decay = update, decay
        self.commitment, self.commitment_form = commitment, commitment_form
        self.reset_after, self.reset, self.cross = reset_after, reset, cross
        codebook = torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes)
        is_reference = update == "reference"
        self.register_buffer("codebook", codebook)
        self.register_buffer("counts", torch.zeros(num_codes) if is_reference else torch.ones(num_codes))
        self.register_buffer("sums", codebook.clone())
        self.register_buffer("idle", torch.zeros(num_codes, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(num_codes, dtype=torch.int64))
        self.register_buffer("started", torch.tensor(is_reference))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "N *T D"]],
        valid: Mapping[str, Bool[Tensor, "N *T"]] | None = None,
    ) -> tuple[dict[str, Quantised], Float[Tensor, ""]]:
        """The vectors of each modality quantised, and the commitment loss; then, in training mode, an update.

        All is computed with the codebook as it stood; the update comes last, and puts new tensors in the place of old.

        Args:
            features: the vectors by modality, at the same steps for all (unless ``cross=False``), or one a row,
                ``[N, D]``. A modality that misses rows is there for all N, with a mask.
            valid: where there is a vector; names left out are valid throughout. Values under a false mask reach no
                number.

        Raises:
            ValueError: for vectors of a wrong width, modalities whose steps differ, or a mask of another shape.
        """
        vectors, masks = self._checked(features, valid)
        if self.training and self.update != "reference":
            self._start(vectors, masks)
        quantised = {name: self._quantise(each, masks[name]) for name, each in vectors.items()}
        loss = commitment_loss(
            vectors,
            {name: each.vectors for name, each in quantised.items()},
            masks,
            weight=self.commitment * FORMS[self.commitment_form],
            cross=self.cross,
        )
        if self.training:
            with torch.no_grad():
                hits = self._learn(
                    self._targets(vectors, masks), {name: each.codes for name, each in quantised.items()}
                )
                self._reset(hits)
        return quantised, loss

    def assign(self, features: Float[Tensor, "N *T D"], valid: Bool[Tensor, "N *T"] | None = None) -> Quantised:
        """The vectors of one modality quantised, without an update, in training mode as well."""
        vectors, masks = self._checked({"features": features}, None if valid is None else {"features": valid})
        return self._quantise(vectors["features"], masks["features"])

    def extra_repr(self) -> str:
        """How it prints."""
        return f"num_codes={self.num_codes}, dim={self.dim}, update={self.update!r}, decay={self.decay}"

    def _checked(
        self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The vectors in the precision of the codebook, zeros where they are not valid, and a mask for each."""
        first = next(iter(features))
        for name, each in features.items():
            if each.shape[-1] != self.dim:
                raise ValueError(f"{name}: expected vectors of width {self.dim} as the codes, got {each.shape[-1]}.")
            if self.cross and each.shape != features[first].shape:
                raise ValueError(
                    f"{name}: expected the steps of {first!r}, {tuple(features[first].shape[:-1])}, got "
                    f"{tuple(each.shape[:-1])}; codes are mixed over modalities step by step. Bring both to the same "
                    f"steps, pool them, or take cross=False."
                )
        return masked({name: each.to(self.codebook.dtype) for name, each in features.items()}, valid)

    def _quantise(self, vectors: Tensor, mask: Tensor) -> Quantised:
        codes = nearest(vectors, self.codebook)
        chosen = torch.where(mask.unsqueeze(-1), self.codebook[codes], 0)
        passed_on = vectors - vectors.detach()  # zero, with the gradient of the vectors: the codes keep their last bit
        return Quantised(codes.masked_fill(~mask, -1), chosen + passed_on, self.codebook)

    def _targets(self, vectors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.cross:
            return vectors
        return mixed_targets(vectors, masks, attended if self.update == "paper" else at_same_step)

    @torch.no_grad()
    def _start(self, vectors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Puts the codes on vectors of the first batch, in random order, a little apart where there are too few.

        In later batches all is computed for nothing; less is lost than by waiting for the device.
        """
        if is_spared(~self.started):
            return
        found, there = gathered(*self._candidates(vectors, masks))
        number = there.sum().clamp_min(1)
        rows = in_random_order(there)[torch.arange(self.num_codes, device=found.device) % number]
        apart = torch.where(there.unsqueeze(-1), found - found.sum(0) / number, 0)
        deviation = (apart.square().sum(0) / number).sqrt()
        is_first = ~self.started & there.any()  # where nothing is there, a later batch will do
        self._put(is_first, found[rows] + _START_NOISE * deviation * torch.randn_like(self.codebook))
        self.started = self.started | is_first

    def _candidates(self, vectors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Where codes may start, ``[V, D]``: the mean over the modalities at each step, or each vector by itself.

        Zeros where there is none, and bool ``[V]``, where there is one.
        """
        if not self.cross:
            flat = [each.flatten(0, -2) for each in vectors.values()]
            return torch.cat(flat), torch.cat([mask.flatten() for mask in masks.values()])
        count = torch.stack(list(masks.values())).sum(0).flatten()
        total = torch.stack(list(vectors.values())).sum(0).flatten(0, -2)
        return total / count.clamp_min(1).unsqueeze(-1), count > 0

    def _learn(self, targets: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> Tensor:
        """Moves the codes; returns how many vectors of each modality chose each code, ``[M, L]``."""
        totals = torch.stack([_totals(targets[name], codes[name], self.num_codes) for name in targets])
        totals = summed(totals)  # [M, L, D + 1]: sums of targets and, last, how many there are
        if self.update == "reference":
            for each in totals:
                self._turn(each[:, :-1], each[:, -1])
        else:
            joint = totals.sum(0)
            self._step(joint[:, :-1], joint[:, -1])
        return totals[..., -1]

    def _step(self, sums: Tensor, hits: Tensor) -> None:
        """All modalities at once; a code that wins nothing keeps its place."""
        counts = self.decay * self.counts + (1 - self.decay) * hits
        sums = self.decay * self.sums + (1 - self.decay) * sums
        faint = counts < _LEAST_COUNT
        self.counts = counts.clamp_min(_LEAST_COUNT)
        self.sums = torch.where(faint.unsqueeze(-1), _LEAST_COUNT * self.codebook, sums)
        self.codebook = self.sums / self.counts.unsqueeze(-1)

    def _turn(self, sums: Tensor, hits: Tensor) -> None:
        """One modality, with smoothed counts; nothing happens if it has no vector in the batch."""
        counts = self.decay * self.counts + (1 - self.decay) * hits
        total = counts.sum()
        counts = (counts + _SMOOTHING) / (total + self.num_codes * _SMOOTHING) * total
        there = hits.sum() > 0
        self.counts = torch.where(there, counts, self.counts)
        self.sums = torch.where(there, self.decay * self.sums + (1 - self.decay) * sums, self.sums)
        self.codebook = torch.where(there, self.sums / self.counts.unsqueeze(-1), self.codebook)

    def _reset(self, hits: Tensor) -> None:
        """Starts codes again that were not used for too long, each next to one that was used lately."""
        bits = 2 ** torch.arange(len(hits), device=hits.device)
        self.seen = self.seen | ((hits > 0) * bits.unsqueeze(-1)).sum(0)
        used = self.seen > 0 if self.reset == "any" else self.seen == bits.sum()
        self.idle = torch.where(used, 0, self.idle + 1)
        self.seen = torch.where(used, 0, self.seen)
        if self.reset_after is None:
            return
        due = self.idle >= self.reset_after
        if is_spared(due):
            return
        donors = self.idle < max(1, self.reset_after // 3)  # 100 of 300 in the reference
        donors = donors | ~donors.any()
        number = donors.sum()
        drawn = (torch.rand(self.num_codes, device=due.device) * number).long().minimum(number - 1)  # by rounding up
        chosen = in_turn(donors)[drawn]
        self._put(due, self.codebook[chosen] + _RESET_NOISE * (2 * torch.rand_like(self.codebook) - 1))
        self.idle = torch.where(due, 0, self.idle)
        self.seen = torch.where(due, 0, self.seen)

    def _put(self, due: Tensor, places: Tensor) -> None:
        """Puts the codes that are due, all or each, at new places, as averages that count for one vector."""
        self.codebook = torch.where(due.unsqueeze(-1), of_first(places), self.codebook)
        if self.update != "reference":
            self.counts = torch.where(due, 1, self.counts)
            self.sums = torch.where(due.unsqueeze(-1), self.codebook, self.sums)


def _totals(targets: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Per code the sum of the targets that chose it and, last, their number, ``[L, D + 1]``."""
    codes = codes.flatten()
    rows = torch.cat([targets.reshape(len(codes), -1), targets.new_ones(len(codes), 1)], -1)
    rows = torch.where((codes >= 0).unsqueeze(-1), rows, 0)
    return targets.new_zeros(num_codes, rows.shape[-1]).index_add_(0, codes.clamp_min(0), rows)


FORMS = {"reference": 2.0, "paper": 1.0}
"""The weight of a modality's own code in units of β; those of the other modalities weigh half as much together."""


def commitment_loss(
    features: Mapping[str, Float[Tensor, "N *T D"]],
    chosen: Mapping[str, Float[Tensor, "N *T D"]],
    valid: Mapping[str, Bool[Tensor, "N *T"]],
    *,
    weight: float,
    cross: bool,
) -> Float[Tensor, ""]:
    """The squared distance of each vector to its own code and, at half weight, to those of the other modalities there.

    Means over the elements of all valid vectors of a modality, summed over the modalities. At each step, the modalities
    that are there share the half; a vector without any has its own term alone.

    Args:
        features: the vectors of each modality.
        chosen: the codes that they chose, of which no gradient is taken.
        valid: where there is a vector.
        weight: of the own term.
        cross: with the other modalities' codes.
    """
    terms = []
    for name, own in features.items():
        penalty = _distance(own, chosen[name])
        others = [other for other in features if other != name] if cross else []
        if others:
            present = torch.stack([valid[other] for other in others])  # [M - 1, N, *T]
            apart = torch.stack([_distance(own, chosen[other]) for other in others])
            penalty = penalty + 0.5 * (apart * present).sum(0) / present.sum(0).clamp_min(1)
        terms.append(mean_over(penalty, valid[name]))
    return weight * torch.stack(terms).sum()


def _distance(vectors: Tensor, codes: Tensor) -> Tensor:
    """The squared distance per element, ``[N, *T]``."""
    return (vectors - codes.detach()).square().mean(-1)


Partner = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a modality's own vectors, another's, and where those are valid, the partner of each own vector ``[N, *T, D]``,
and whether it has one, bool ``[N, *T]``."""


def mixed_targets(
    features: Mapping[str, Float[Tensor, "N *T D"]], valid: Mapping[str, Bool[Tensor, "N *T"]], partner: Partner
) -> dict[str, Float[Tensor, "N *T D"]]:
    """For each vector, half itself and half the mean of its partners in the other modalities.

    With two modalities the weights are 1/2 and 1/2, with three 1/2, 1/4 and 1/4, with M 1/2 and 1/(2 M - 2). Partners
    that are missing leave their share to those that are there; without any, the target is the vector itself.

    Args:
        features: the vectors of each modality, zeros where they are not valid.
        valid: where there is a vector.
        partner: says which vector of another modality goes with each.
    """
    targets = {}
    for name, own in features.items():
        total, count = torch.zeros_like(own), own.new_zeros(own.shape[:-1])
        for other, mask in valid.items():
            if other != name:
                vectors, present = partner(own, features[other], mask)
                total = total + torch.where(present.unsqueeze(-1), vectors, 0)
                count = count + present
        count = count.unsqueeze(-1)  # [N, *T, 1]
        targets[name] = torch.where(count > 0, 0.5 * own + 0.5 * total / count.clamp_min(1), own)
    return targets


def at_same_step(own: Tensor, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The vector of the other modality at the same step of the same row."""
    return other, valid


def attended(own: Tensor, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the other modality's vectors in the same row, weighted by a softmax of scaled inner products.

    Source: Xia et al. 2023, equation 7; the scale, the square root of the width, is that of ordinary attention.
    """
    queries, keys = _one_step_axis(own), _one_step_axis(other)  # [N, T, D]
    mask = valid.reshape(len(valid), 1, -1)  # [N, 1, T']
    scores = queries @ keys.mT / math.sqrt(own.shape[-1])
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), -1)
    present = mask.any(-1).expand(queries.shape[:2]).reshape(own.shape[:-1])
    return (weights @ keys).reshape(own.shape), present


def _one_step_axis(features: Tensor) -> Tensor:
    return features.reshape(len(features), -1, features.shape[-1])
