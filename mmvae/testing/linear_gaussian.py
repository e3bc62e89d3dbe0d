"""The linear-Gaussian yardstick: a multimodal model whose posteriors and likelihoods are known in closed form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from mmvae import likelihoods
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.subsets import Subset, canonical


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """p(z) = N(0, I) and p(x_m | z) = N(W_m z + b_m, σ_m² I), with its exact answers in float64.

    With private latents the loading of a modality is zero at the private columns of the others. With covariates c the
    prior is N(A c, I) and the mean of x_m is W_m z + B_m c + b_m.

    For a subset S the posterior is N(μ, Λ⁻¹) with Λ = I + Σ_{m in S} W_mᵀ W_m / σ_m² and
    μ = Λ⁻¹ Σ_{m in S} W_mᵀ (x_m - b_m) / σ_m². Where every W_mᵀ W_m is diagonal (:meth:`orthogonal`), diagonal
    Gaussians can be exact, and so can the models of the library (:func:`mmvae.testing.exact_model`).

    Args:
        loadings: ``{name: W_m [P_m, D]}``.
        offsets: ``{name: b_m [P_m]}``.
        scales: ``{name: σ_m}``.
        layout: Columns of the latent; by default all are shared.
        effects: ``{name: B_m [P_m, C]}``, of covariates on the data; by default there are none.
        shift: A ``[D, C]``, of covariates on the latent.

    Source: Tipping and Bishop 1999, "Probabilistic principal component analysis", for one modality.
    """

    loadings: Mapping[str, Tensor]
    offsets: Mapping[str, Tensor]
    scales: Mapping[str, float]
    layout: Layout = field(default=None)  # type: ignore[assignment]
    effects: Mapping[str, Tensor] = field(default_factory=dict)
    shift: Tensor | None = None

    def __post_init__(self) -> None:
        if self.layout is None:
            object.__setattr__(self, "layout", Layout(self.latent_dim))

    @classmethod
    def random(
        cls,
        sizes: Mapping[str, int],
        latent_dim: int,
        seed: int = 0,
        *,
        private_dim: int | Mapping[str, int] | None = None,
        covariates: int = 0,
    ) -> LinearGaussian:
        """A model whose posteriors have correlations between the latent dimensions.

        Args:
            sizes: ``{name: P_m}``, how many numbers a datum of each modality has.
            latent_dim: Number of shared latent columns.
            seed: of loadings, offsets and scales; the global random state is not touched.
            private_dim: Number of private columns: one for all modalities, by name, or none.
            covariates: C, number of covariates.
        """
        generator = torch.Generator().manual_seed(seed)
        layout = Layout.of(tuple(sizes), latent_dim, private_dim)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        widths = {name: layout.width(name) for name in sizes}
        loadings = {
            name: layout.place(normal(size, widths[name]) / math.sqrt(widths[name]), name, 0.0)
            for name, size in sizes.items()
        }
        offsets = {name: normal(size) for name, size in sizes.items()}
        scales = {name: 0.5 + float(torch.rand((), generator=generator)) for name in sizes}
        if not covariates:
            return cls(loadings, offsets, scales, layout)
        effects = {name: normal(size, covariates) for name, size in sizes.items()}
        return cls(loadings, offsets, scales, layout, effects, normal(layout.size, covariates))

    @classmethod
    def orthogonal(
        cls,
        sizes: Mapping[str, int],
        latent_dim: int,
        seed: int = 0,
        *,
        private_dim: int | Mapping[str, int] | None = None,
        covariates: int = 0,
    ) -> LinearGaussian:
        """A model whose posteriors are diagonal for every subset: the columns of each W_m are orthogonal.

        Args:
            sizes: ``{name: P_m}``, each at least the number of columns that the modality speaks of.
            latent_dim: Number of shared latent columns.
            seed: as of :meth:`random`.
            private_dim: as of :meth:`random`.
            covariates: as of :meth:`random`.

        Raises:
            ValueError: if a modality has fewer numbers than columns that it speaks of.
        """
        model = cls.random(sizes, latent_dim, seed, private_dim=private_dim, covariates=covariates)
        loadings = {}
        for name, size in sizes.items():
            width = model.layout.width(name)
            if size < width:
                raise ValueError(f"{name}: {width} orthogonal columns need at least as many rows, got {size}.")
            own = model.layout.read(model.loadings[name], name)
            loadings[name] = model.layout.place(torch.linalg.qr(own)[0] * own.norm(dim=0), name, 0.0)
        return dataclasses.replace(model, loadings=loadings)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities."""
        return tuple(self.loadings)

    @property
    def latent_dim(self) -> int:
        """D, number of all latent columns."""
        return next(iter(self.loadings.values())).shape[1]

    @property
    def num_covariates(self) -> int:
        """C."""
        return 0 if self.shift is None else self.shift.shape[1]

    @property
    def covariates(self) -> dict[str, None]:
        """The covariates for a model of the library: numbers of the names ``"c0"``, ``"c1"``, ..."""
        return {f"c{index}": None for index in range(self.num_covariates)}

    def sample_covariates(self, num_samples: int, seed: int = 1) -> dict[str, Float[Tensor, "N"]]:
        """Standard normal covariates of rows, float32."""
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(num_samples, generator=generator) for name in self.covariates}

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
                transform=None,  # its decoders give data
            )
            for name in self.names
        ]

    def sample(
        self, num_samples: int, seed: int = 0, covariates: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "N P"]]:
        """Data of every modality, float32; the global random state is not touched."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(num_samples, self.latent_dim, generator=generator, dtype=torch.float64)
        z = z + self.prior_mean(covariates)
        data = {}
        for name, loading in self.loadings.items():
            noise = torch.randn(num_samples, len(loading), generator=generator, dtype=torch.float64)
            data[name] = (z @ loading.T + self.offset(name, covariates) + self.scales[name] * noise).float()
        return data

    # The exact answers.

    def prior_mean(self, covariates: Mapping[str, Tensor] | None = None) -> Float[Tensor, "N D"] | float:
        """A c of each row; zero without covariates."""
        return 0.0 if self.shift is None else self._stacked(covariates) @ self.shift.T

    def offset(self, name: str, covariates: Mapping[str, Tensor] | None = None) -> Float[Tensor, "*N P"]:
        """B_m c + b_m of each row; b_m without covariates."""
        if self.shift is None:
            return self.offsets[name]
        return self._stacked(covariates) @ self.effects[name].T + self.offsets[name]

    def posterior(
        self, data: Mapping[str, Tensor], subset: Subset = None, covariates: Mapping[str, Tensor] | None = None
    ) -> MultivariateNormal:
        """p(z | x_S), or p(z | x_S, c), of batch shape ``[N]``."""
        members = canonical(subset, self.names)
        precision = self._precision(members)
        natural = torch.stack([self._pull(name, data[name], covariates) for name in members]).sum(0)
        natural = natural + self.prior_mean(covariates)  # whose precision is one
        return MultivariateNormal(torch.linalg.solve(precision, natural.T).T, precision_matrix=precision)

    def log_likelihood(
        self, data: Mapping[str, Tensor], subset: Subset = None, covariates: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "N"]:
        """log p(x_S), or log p(x_S | c), in nats."""
        members = canonical(subset, self.names)
        loading = torch.cat([self.loadings[name] for name in members])
        offset = torch.cat([self.offset(name, covariates) for name in members], -1)
        if self.shift is not None:
            offset = offset + self._stacked(covariates) @ (loading @ self.shift).T
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

    # With holes: single numbers of a row are missing.

    def posterior_of_cells(
        self, data: Mapping[str, Tensor], present: Mapping[str, Bool[Tensor, "N P"]]
    ) -> MultivariateNormal:
        """p(z | the numbers of x that are present), of batch shape ``[N]``; without covariates."""
        precision = torch.eye(self.latent_dim, dtype=torch.float64)
        pull = torch.zeros(self.latent_dim, dtype=torch.float64)
        for name, mask in present.items():
            weights = mask.double() / self.scales[name] ** 2  # [N, P]
            loading, apart = self.loadings[name], self._apart(name, data[name], mask)
            precision = precision + torch.einsum("np,pd,pe->nde", weights, loading, loading)
            pull = pull + (weights * apart) @ loading
        return MultivariateNormal(torch.linalg.solve(precision, pull), precision_matrix=precision)

    def log_likelihood_of_cells(
        self, data: Mapping[str, Tensor], present: Mapping[str, Bool[Tensor, "N P"]]
    ) -> Float[Tensor, "N"]:
        """log p(the numbers of x that are present), in nats: log p(x, z) - log p(z | x) at z = 0."""
        zero = torch.zeros(self.latent_dim, dtype=torch.float64)
        prior = Normal(zero, torch.ones_like(zero)).log_prob(zero).sum()
        total = prior - self.posterior_of_cells(data, present).log_prob(zero)
        for name, mask in present.items():
            noise = Normal(0.0, torch.tensor(self.scales[name], dtype=torch.float64))
            total = total + (noise.log_prob(self._apart(name, data[name], mask)) * mask).sum(-1)
        return total

    def predictive_of_cells(
        self, data: Mapping[str, Tensor], present: Mapping[str, Bool[Tensor, "N P"]]
    ) -> dict[str, Normal]:
        """p(x_mj | the numbers that are present) of every number by itself, noise included, ``{name: [N, P]}``."""
        posterior = self.posterior_of_cells(data, present)
        found = {}
        for name, loading in self.loadings.items():
            variance = torch.einsum("pd,nde,pe->np", loading, posterior.covariance_matrix, loading)
            scale = (variance + self.scales[name] ** 2).sqrt()
            found[name] = Normal(posterior.mean @ loading.T + self.offsets[name], scale)
        return found

    def _apart(self, name: str, x: Tensor, mask: Tensor) -> Float[Tensor, "N P"]:
        """x - b where it is present, zero elsewhere."""
        return torch.where(mask, x.double() - self.offsets[name], 0.0)

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
        own = precision.diagonal()[self.layout.own(name)]
        if not torch.allclose(precision, precision.diagonal().diag(), atol=1e-9) or (own <= 0).any():
            raise ValueError(
                f"{name}: no diagonal Gaussian is exact, for the columns of its loading are not orthogonal; make the "
                f"yardstick with LinearGaussian.orthogonal."
            )

    # Help for the above.

    def _precision(self, members: tuple[str, ...]) -> Float[Tensor, "D D"]:
        prior = torch.eye(self.latent_dim, dtype=torch.float64)
        return prior + torch.stack([self.precisions[name] for name in members]).sum(0)

    def _stacked(self, covariates: Mapping[str, Tensor] | None) -> Float[Tensor, "N C"]:
        """The covariates as one matrix, float64."""
        if covariates is None:
            raise ValueError(f"covariates: this yardstick needs {', '.join(map(repr, self.covariates))}.")
        return torch.stack([covariates[name].double() for name in self.covariates], -1)

    def _pull(self, name: str, x: Tensor, covariates: Mapping[str, Tensor] | None = None) -> Float[Tensor, "N D"]:
        """W_mᵀ (x - b_m) / σ_m², where b_m is the offset that covariates give."""
        return (x.double() - self.offset(name, covariates)) @ self.loadings[name] / self.scales[name] ** 2

    def _decoder(self, name: str) -> nn.Linear:
        loading = self.layout.read(self.loadings[name], name)
        if self.shift is not None:
            loading = torch.cat([loading, self.effects[name]], 1)
        decoder = nn.Linear(loading.shape[1], loading.shape[0])
        decoder.load_state_dict({"weight": loading.float(), "bias": self.offsets[name].float()})
        return decoder
