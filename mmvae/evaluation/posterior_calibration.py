"""Whether a posterior can be believed: simulation-based calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mmvae.choices import check_count, check_number
from mmvae.evaluation.context import Context, device_of
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OtherKind, Row, make_row
from mmvae.inference import infer
from mmvae.modes import mode
from mmvae.refinement import Refine
from mmvae.seeds import derive_seed, seeded
from mmvae.subsets import Subset, canonical
from mmvae.vaes.base import MultimodalVAE
from mmvae.words import Words

_LEVELS = (0.5, 0.9)
"""Of the intervals whose coverage the metric reports."""

_ROWS, _DRAWS = 1000, 99


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of latents among draws of the posterior of the data that they generated.

    If the posterior is exact, each rank is uniform over 0, ..., K. Ranks heaped at both ends show a posterior that is
    too narrow. Ranks in the middle show one that is too wide, and ranks at one end one that is shifted.

    Attributes:
        ranks: How many of the K draws lie below the latent, int64 ``[N, D]``, on the CPU.
        num_draws: K.
        subset: Modalities that the posterior was given.

    Source: Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based calibration".
    """

    ranks: Int64[Tensor, "N D"]
    num_draws: int
    subset: tuple[str, ...]

    def distances(self) -> Float64[Tensor, "D"]:
        """The largest distance between the distribution of the ranks and the uniform one, for each latent dimension.

        It is Kolmogorov's distance: 0 for exactly uniform ranks, close to 1 for ranks that are all at one end.
        """
        counts = _histogram(self.ranks, self.num_draws + 1)
        found = counts.cumsum(0) / len(self.ranks)
        expected = torch.arange(1, self.num_draws + 2, dtype=torch.float64) / (self.num_draws + 1)
        return (found - expected.unsqueeze(1)).abs().amax(0)

    def band(self, level: float = 0.95) -> float:
        """The distance that uniform ranks exceed with a probability of at most ``1 - level``, in any dimension.

        Args:
            level: Confidence, above 0 and below 1.

        Source: the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant, joined over dimensions.
        """
        rows, dims = self.ranks.shape
        return math.sqrt(math.log(2 * dims / (1 - _checked_level(level))) / (2 * rows))

    @property
    def is_uniform(self) -> bool:
        """Whether no dimension exceeds the band of 95 %: nothing speaks against the posterior."""
        return float(self.distances().max()) <= self.band()

    def coverage(self, level: float) -> Float64[Tensor, "D"]:
        """The share of latents inside the central interval of their posterior, for each dimension.

        The interval holds the ranks nearest to the middle; of an exact posterior the share is ``level`` on average, as
        the interval that lies between two ranks is weighed in proportion.

        Args:
            level: Probability of the interval, above 0 and below 1.
        """
        places = self.num_draws + 1
        edge = 0.5 * (1 - _checked_level(level)) * places  # so many ranks lie outside at each end, a part of one too
        inside = (torch.arange(places, dtype=torch.float64) + 1 - edge).clamp(0, 1)
        weight = (inside + inside.flip(0) - 1).clamp(min=0)
        return (_histogram(self.ranks, places) * weight.unsqueeze(1)).sum(0) / len(self.ranks)


def simulation_based_calibration(
    model: MultimodalVAE,
    subset: Subset = None,
    *,
    num_rows: int = _ROWS,
    num_draws: int = _DRAWS,
    refine: Refine | None = None,
    steps: int | None = None,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Ranks:
    """Ranks of latents among draws of the posterior of the data that they generate.

    Draws latents from the prior and data from the decoders, infers from the subset of that data, and ranks each latent
    among draws of its posterior. If inference is exact for the model, every rank is uniform. This asks whether q(z | x)
    is the posterior of **this** model, and says nothing on whether the model fits real data.

    Args:
        model: A VAE.
        subset: Modalities that inference sees; by default all.
        num_rows: N, latents to draw.
        num_draws: K, draws of each posterior.
        refine: As of :func:`mmvae.infer`: whether the refined posterior is calibrated.
        steps: Steps of refinement.
        covariates: ``{name: value or values [N]}``, for a model that has some.
        seed: Seed of all draws; the generators of the caller stay as they are.

    Raises:
        TypeError: For a model without a prior over latents.
        ValueError: For an unknown modality, or a number below 1.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> ranks = mmvae.evaluation.simulation_based_calibration(vae, "a", num_rows=100)
        >>> ranks.ranks.shape, ranks.subset
        (torch.Size([100, 2]), ('a',))
    """
    if not isinstance(model, MultimodalVAE):
        raise TypeError(f"{type(model).__name__} has no prior and no decoders to simulate from; give it a VAE.")
    members = canonical(subset, model.names)
    check_count("num_rows", num_rows, 1)
    check_count("num_draws", num_draws, 1)
    known = {name: value.cpu() for name, value in model.covariates.of_rows(num_rows, {}, covariates).items()}
    with torch.no_grad(), mode(model, training=False), seeded(derive_seed(seed, "calibration"), device_of(model)):
        z = model.sample_latents(num_rows, known)
        data = {name: each.sample() for name, each in model.decode(z, members, known).items()}
        found = infer(model, data, members, refine=refine, steps=steps, covariates=known, progress=False)
        below = torch.zeros(z.shape, dtype=torch.int64)
        for _ in range(num_draws):  # one at a time: K N D numbers would be many
            below += (found.sample().cpu() < z.cpu()).long()
    return Ranks(below, num_draws, members)


@metric(
    Words(
        "calibration_distance",
        "Distance of ranks from uniform",
        "Latents and data are simulated from the model; an exact posterior gives uniform ranks, at a distance that "
        "stays below the row calibration_band.",
        better="lower",
    ),
    Words("calibration_band", "Distance that an exact posterior may reach", "With a confidence of 95 %."),
    *(
        Words(
            f"posterior_coverage_{round(100 * level)}",
            f"Coverage of {level:.0%} intervals",
            "Share of simulated latents inside the central interval of their posterior; the level itself is right.",
        )
        for level in _LEVELS
    ),
    about="inference",
    kinds="VAEs",
    costly="simulates data and infers from it",
)
def posterior_calibration(context: Context) -> Iterator[Row]:
    """Whether the posterior of each subset is that of the model, by simulation-based calibration.

    Simulates 1,000 latents and their data, at the covariates of the evaluated rows where the model has some.

    - ``calibration_distance``: largest distance of the ranks from uniform ones, over the latent dimensions.
    - ``calibration_band``: the distance that an exact posterior exceeds in one evaluation of twenty.
    - ``posterior_coverage_50`` and ``_90``: mean over the dimensions of the coverage of central intervals.
    """
    model: Any = context.model
    if not isinstance(model, MultimodalVAE):
        raise OtherKind(f"{type(model).__name__} has no prior and no decoders to simulate from")
    rows = context.data.size
    known = {name: values[torch.arange(_ROWS) % rows] for name, values in context.data.covariates.items()}
    for subset in context.each_subset("posterior calibration"):
        ranks = simulation_based_calibration(
            model, subset, covariates=known, seed=context.derived_seed("calibration", subset)
        )
        yield make_row("calibration_distance", float(ranks.distances().max()), subset, n=_ROWS)
        yield make_row("calibration_band", ranks.band(), subset, n=_ROWS)
        for level in _LEVELS:
            share = float(ranks.coverage(level).mean())
            yield make_row(f"posterior_coverage_{round(100 * level)}", share, subset, n=_ROWS)


def _histogram(ranks: Int64[Tensor, "N D"], places: int) -> Float64[Tensor, "R D"]:
    """How often each rank occurs in each dimension."""
    return torch.stack([each.bincount(minlength=places) for each in ranks.T], 1).double()


def _checked_level(level: float) -> float:
    level = check_number("level", level)
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability above 0 and below 1, got {level}.")
    return level
