"""What inference returns: a distribution over the latent, and the subset it was inferred from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.distributions import Distribution

from mmvae.choices import numbers_checked
from mmvae.distributions import WithGaps, mean_of, select_columns, variance_of
from mmvae.layout import Layout


@dataclass(frozen=True, eq=False)
class Latents:
    """The posterior of N data points, given a subset of their modalities.

    Attributes:
        distribution: q(z | x_S), of ``batch_shape [N]`` and ``event_shape [D]``; a point mass for deterministic models.
            Latents that are sequences have the event shape ``[T, D]``.
        subset: the modalities that inference looked at, in the model's order.
        elbo_trace: where the posterior was refined step by step, the bound that was climbed, in nats, before the first
            step and after each, ``[steps + 1, N]``; otherwise ``None``.
        diagnostics: what else is known of the inference, by name, each ``[N, ...]``: ``"r_hat"`` and
            ``"effective_sample_size"``, ``[N, D]``, of Monte Carlo chains; ``"features"``, what was quantised, of
            models with a codebook.
        codes: of models with a codebook, which of its vectors the latents are, ``[N]`` or ``[N, T]``, -1 at steps that
            are not there; otherwise ``None``.
        layout: Columns of the latent, shared and private; ``None`` where all are shared.
        covariates: ``{name: tensor [N]}``, what is known of each row; they stay with the latents for generation.
    """

    distribution: Distribution
    subset: tuple[str, ...]
    elbo_trace: Float[Tensor, "steps N"] | None = None
    diagnostics: Mapping[str, Float[Tensor, "N *D"]] = field(default_factory=dict)
    codes: Int64[Tensor, "N *T"] | None = None
    layout: Layout | None = None
    covariates: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Float[Tensor, "N *T D"]:
        """The posterior mean of each data point."""
        return mean_of(self.distribution)

    @property
    def scale(self) -> Float[Tensor, "N *T D"]:
        """The posterior standard deviation of each data point, per latent dimension."""
        return variance_of(self.distribution).sqrt()

    @property
    def known(self) -> Bool[Tensor, "N"]:
        """Rows that had a member of the subset: all but those that ``infer(missing="nan")`` gave as NaN."""
        if isinstance(self.distribution, WithGaps):
            return self.distribution.rows
        return torch.ones(len(self), dtype=torch.bool)

    def with_gaps(self, rows: Bool[Tensor, "N"], covariates: Mapping[str, Tensor]) -> Latents:
        """These latents of n rows as latents of N, of which the others are NaN, and -1 where they are codes.

        Args:
            rows: True at the n rows.
            covariates: ``{name: tensor [N]}``, of all rows.
        """
        whole = WithGaps(self.distribution, rows)
        return replace(
            self,
            distribution=whole,
            elbo_trace=None if self.elbo_trace is None else whole.spread(self.elbo_trace, 1),
            diagnostics={name: whole.spread(value) for name, value in self.diagnostics.items()},
            codes=None if self.codes is None else whole.spread(self.codes),
            covariates=covariates,
        )

    def without_gaps(self) -> Latents:
        """The latents of the rows that are known; itself, if all are."""
        if not isinstance(self.distribution, WithGaps):
            return self
        places = self.distribution.places
        return replace(
            self,
            distribution=self.distribution.known,
            elbo_trace=None if self.elbo_trace is None else self.elbo_trace[:, places],
            diagnostics={name: value[places] for name, value in self.diagnostics.items()},
            codes=None if self.codes is None else self.codes[places],
            covariates={name: value[places.to(value.device)] for name, value in self.covariates.items()},
        )

    def spread(self, values: Tensor, axis: int = 0) -> Tensor:
        """What was made of :meth:`without_gaps`, as of all rows: NaN, or -1, where a row is not known."""
        return self.distribution.spread(values, axis) if isinstance(self.distribution, WithGaps) else values

    @property
    def shared(self) -> Latents:
        """The latents that all modalities share; the whole, of a model without private latents."""
        return self if self.layout is None or self.layout.is_shared else self._of_columns(self.layout.columns())

    @property
    def private(self) -> dict[str, Latents]:
        """The private latents by modality; empty, of a model without them."""
        if self.layout is None:
            return {}
        return {name: self._of_columns(self.layout.columns(name)) for name in self.layout.private}

    def _of_columns(self, columns: slice) -> Latents:
        return Latents(select_columns(self.distribution, columns), self.subset, covariates=self.covariates)

    @numbers_checked
    def sample(self, num_samples: int | None = None) -> Float[Tensor, "*K N *T D"]:
        """Draws from the posterior: ``[num_samples, N, D]``, or one draw ``[N, D]`` without a number."""
        return self.distribution.sample(() if num_samples is None else (num_samples,))

    def __len__(self) -> int:
        return self.distribution.batch_shape[0]


def check_latents(latents: object, hint: str = "") -> None:
    """Refuses what is no latents, such as a tensor.

    Args:
        latents: what a user handed in.
        hint: what to do instead, for the error.

    Raises:
        TypeError: for something else.
    """
    if not isinstance(latents, Latents):
        raise TypeError(f"latents: expected what infer returns, got {type(latents).__name__}{hint and f'; {hint}'}.")
