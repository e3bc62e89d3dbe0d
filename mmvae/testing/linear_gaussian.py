"""The linear-Gaussian yardstick: a multimodal model whose posteriors and likelihoods are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from mmvae import likelihoods
from mmvae.modality import Modality
from mmvae.subsets import Subset, canonical


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """p(z) = N(0, I) and p(x_m | z) = N(W_m z + b_m, σ_m² I), with its exact answers in float64.

    For a subset S the posterior is N(μ, Λ⁻¹) with Λ = I + Σ_{m in S} W_mᵀ W_m / σ_m² and
    μ = Λ⁻¹ Σ_{m in S} W_mᵀ (x_m - b_m) / σ_m². Where every W_mᵀ W_m is diagonal (:meth:`orthogonal`), diagonal
    Gaussians can be exact, and so can the models of the library (:func:`mmvae.testing.exact_model`).

    Args:
        loadings: ``{name: W_m [P_m, D]}``.
        offsets: ``{name: b_m [P_m]}``.
        scales: ``{name: σ_m}``.

    Source: Tipping and Bishop 1999, "Probabilistic principal component analysis", for one modality.
    """

    loadings: Mapping[str, Tensor]
    offsets: Mapping[str, Tensor]
    scales: Mapping[str, float]

    @classmethod
    def random(cls, sizes: Mapping[str, int], latent_dim: int, seed: int = 0) -> LinearGaussian:
        """A model whose posteriors have correlations between the latent dimensions.

        Args:
            sizes: ``{name: P_m}``, how many numbers a datum of each modality has.
            latent_dim: D.
            seed: of loadings, offsets and scales; the global random state is not touched.
        """
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        loadings = {name: normal(size, latent_dim) / math.sqrt(latent_dim) for name, size in sizes.items()}
        offsets = {name: normal(size) for name, size in sizes.items()}
        scales = {name: 0.5 + float(torch.rand((), generator=generator)) for name in sizes}
        return cls(loadings, offsets, scales)

    @classmethod
    def orthogonal(cls, sizes: Mapping[str, int], latent_dim: int, seed: int = 0) -> LinearGaussian:
        """A model whose posteriors are diagonal for every subset: the columns of each W_m are orthogonal.

        Args:
            sizes: ``{name: P_m}``, each at least D.
            latent_dim: D.
            seed: as of :meth:`random`.

        Raises:
            ValueError: if a modality has fewer numbers than the latent has dimensions.
        """
        for name, size in sizes.items():
            if size < latent_dim:
                raise ValueError(f"{name}: {latent_dim} orthogonal columns need at least as many rows, got {size}.")
        model = cls.random(sizes, latent_dim, seed)
        loadings = {name: torch.linalg.qr(each)[0] * each.norm(dim=0) for name, each in model.loadings.items()}
        return cls(loadings, model.offsets, model.scales)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities."""
        return tuple(self.loadings)

    @property
    def latent_dim(self) -> int:
        """D."""
        return next(iter(self.loadings.values())).shape[1]

    @cached_property
    def precisions(self) -> dict[str, Float[Tensor, "D D"]]:
        """``{name: W_mᵀ W_m / σ_m²}``, the precision of each modality's likelihood as a function of z."""
        return {name: each.T @ each / self.scales[name] ** 2 for name, each in self.loadings.items()}

    def modalities(self) -> list[Modality]:
        """These modalities for a model of the library: encoders that pass the data on, and the true decoders."""
        return [
            Modality(
                name,
                shape=(len(self.offsets[name]),),
                likelihood=likelihoods.Normal(self.scales[name]),
                encoder=nn.Flatten(),
                decoder=lambda latent_dim, name=name: self._decoder(name),  # type: ignore[misc]
            )
            for name in self.names
        ]

    def sample(self, num_samples: int, seed: int = 0) -> dict[str, Float[Tensor, "N P"]]:
        """Data of every modality, float32; the global random state is not touched."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(num_samples, self.latent_dim, generator=generator, dtype=torch.float64)
        data = {}
        for name, loading in self.loadings.items():
            noise = torch.randn(num_samples, len(loading), generator=generator, dtype=torch.float64)
            data[name] = (z @ loading.T + self.offsets[name] + self.scales[name] * noise).float()
        return data

    # The exact answers.

    def posterior(self, data: Mapping[str, Tensor], subset: Subset = None) -> MultivariateNormal:
        """p(z | x_S), of batch shape ``[N]``."""
        members = canonical(subset, self.names)
        precision = self._precision(members)
        natural = torch.stack([self._pull(name, data[name]) for name in members]).sum(0)
        return MultivariateNormal(torch.linalg.solve(precision, natural.T).T, precision_matrix=precision)

    def log_likelihood(self, data: Mapping[str, Tensor], subset: Subset = None) -> Float[Tensor, "N"]:
        """log p(x_S), in nats."""
        members = canonical(subset, self.names)
        loading = torch.cat([self.loadings[name] for name in members])
        offset = torch.cat([self.offsets[name] for name in members])
        noise = torch.cat([torch.full_like(self.offsets[name], self.scales[name] ** 2) for name in members])
        x = torch.cat([data[name].double() for name in members], -1)
        return MultivariateNormal(offset, loading @ loading.T + noise.diag()).log_prob(x)

    def conditional_log_likelihood(
        self, data: Mapping[str, Tensor], target: Subset, subset: Subset
    ) -> Float[Tensor, "N"]:
        """log p(x_T | x_S), in nats, of the members of ``target`` that ``subset`` does not hold."""
        given = canonical(subset, self.names)
        both = {*given, *canonical(target, self.names)}
        return self.log_likelihood(data, both) - self.log_likelihood(data, given)

    def mean_field(self, data: Mapping[str, Tensor], subset: Subset = None) -> Independent:
        """The diagonal Gaussian that maximises the ELBO: the exact means, and the conditional variances 1 / Λ_dd."""
        members = canonical(subset, self.names)
        scale = self._precision(members).diagonal().rsqrt()
        return Independent(Normal(self.posterior(data, members).mean, scale), 1)

    def mean_field_elbo(self, data: Mapping[str, Tensor], subset: Subset = None) -> Float[Tensor, "N"]:
        """The ELBO of :meth:`mean_field`, in nats: no diagonal Gaussian has a higher one."""
        base = self.mean_field(data, subset).base_dist
        diagonal = MultivariateNormal(base.loc, scale_tril=base.scale.diag_embed())
        return self.log_likelihood(data, subset) - kl_divergence(diagonal, self.posterior(data, subset))

    def message(self, data: Mapping[str, Tensor], name: str) -> Independent:
        """p(x_m | z) as a function of z, normalised, where W_mᵀ W_m is diagonal and of full rank.

        The product of the messages of a subset and the prior is the exact posterior.

        Raises:
            ValueError: if the message is no diagonal Gaussian.
        """
        precision = self.precisions[name].diagonal()
        self.require_diagonal(name)
        return Independent(Normal(self._pull(name, data[name]) / precision, precision.rsqrt()), 1)

    def require_diagonal(self, name: str) -> None:
        """Raises ``ValueError`` if the message of a modality is no diagonal Gaussian."""
        precision = self.precisions[name]
        if not torch.allclose(precision, precision.diagonal().diag(), atol=1e-9) or (precision.diagonal() <= 0).any():
            raise ValueError(
                f"{name}: no diagonal Gaussian is exact, for the columns of its loading are not orthogonal; make the "
                f"yardstick with LinearGaussian.orthogonal."
            )

    # Help for the above.

    def _precision(self, members: tuple[str, ...]) -> Float[Tensor, "D D"]:
        prior = torch.eye(self.latent_dim, dtype=torch.float64)
        return prior + torch.stack([self.precisions[name] for name in members]).sum(0)

    def _pull(self, name: str, x: Tensor) -> Float[Tensor, "N D"]:
        """W_mᵀ (x - b_m) / σ_m²."""
        return (x.double() - self.offsets[name]) @ self.loadings[name] / self.scales[name] ** 2

    def _decoder(self, name: str) -> nn.Linear:
        loading = self.loadings[name]
        decoder = nn.Linear(loading.shape[1], loading.shape[0])
        decoder.load_state_dict({"weight": loading.float(), "bias": self.offsets[name].float()})
        return decoder
