"""How far the posterior of a model is from the best of its family, and the best of the family from the true one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Distribution, Independent

from mmvae.batch import Batch
from mmvae.evaluation.context import Context, is_point_mass
from mmvae.evaluation.importance import diagnostics, mean_row
from mmvae.evaluation.pareto import effective_sample_size, pareto_k
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.refinement import Bound, Gaussian, Gradient, Refinable
from mmvae.refinement.amortized import RefinesItself
from mmvae.refinement.balanced_noise import balanced_noise
from mmvae.refinement.bound import draws_at_a_time
from mmvae.subsets import label
from mmvae.words import Words

_MOST_ROWS = 64
"""Data points for each subset: each is decoded a few thousand times."""

_STEPS = 60
"""Of ascent. On binarised digits, 200 steps raised the bound by less than 0.001 nats over what 40 had reached."""

_DRAWS = 256
"""At least so many latents does each bound average over, and twice as many as the latent has dimensions."""

_LEAST_GAP = 0.01
"""Below this mean gap, in nats, there is nothing to close, and the closed share would be one of rounding errors."""

_MATCHED = "of the Gaussian with the posterior's mean and variance"


@metric(
    Words(
        "amortization_gap",
        "Amortisation gap",
        "By how much the best Gaussian for each datum has a higher ELBO than the posterior of the model.",
        unit="nats",
        better="lower",
    ),
    Words(
        "approximation_gap",
        "Approximation gap",
        "By how much the log-likelihood is above the ELBO of the best Gaussian for each datum.",
        unit="nats",
        better="lower",
    ),
    Words(
        "initial_gap",
        "Gap before refinement",
        "By how much the best Gaussian for each datum has a higher ELBO than the posterior before refinement.",
        unit="nats",
        better="lower",
    ),
    Words(
        "refinement_gain", "Gain of refinement", "By how much the model's own refinement raises the ELBO.", unit="nats"
    ),
    Words(
        "refinement_gain_weighted",
        "Gain of refinement (weighted)",
        "By how much the model's own refinement raises the bound of training, which it climbs.",
    ),
    Words(
        "closed_share",
        "Share of the gap closed",
        "Gain of refinement over the gap before it, 1 if nothing remains.",
        better="higher",
    ),
    about="inference",
    kinds="with densities",
    costly="decodes each row a few thousand times",
)
def inference_gaps(context: Context) -> Iterator[Row]:
    """log p(x_S) - L(λ) in two parts, per subset, in honest nats (without training weights).

    L(λ) = E_q(z;λ)[log p(x_S, z) - log q(z; λ)] is the bound at a diagonal Gaussian; λ* is where gradient ascent on
    each data point's own parameters arrives, from the posterior of the model.

    - ``amortization_gap``: L(λ*) - L(λ) at the posterior of the model. A posterior that is no Gaussian, such as a
      mixture, is represented by the Gaussian of its mean and variance, and the row has a note that says so.
    - ``approximation_gap``: log p(x_S) - L(λ*). The likelihood is importance-sampled from q(z; λ*), which gives a lower
      bound on average; so the gap is one too. Extras as of :func:`~mmvae.evaluation.importance.log_likelihood`.

    For a model that refines its posterior itself, for the subset of all modalities also, with λ_0 before and λ_T after
    its refinement (λ_T is the posterior of the model):

    - ``initial_gap``: L(λ*) - L(λ_0).
    - ``refinement_gain``: L(λ_T) - L(λ_0); and ``refinement_gain_weighted``, the same of the bound that the refinement
      climbs, with the modality and KL weights of training.
    - ``closed_share``: (L(λ_T) - L(λ_0)) / (L(λ*) - L(λ_0)), the ratio of the means.

    All bounds of a row average over the same noise, which is not the noise that ascent climbed on: so differences are
    sharp, and λ* does not look better than it is. Each row has noise of its own, so that standard errors have it in
    them. Over at most 64 of the data points that importance is sampled for, drawn at random.

    Source: Cremer et al. 2018, "Inference suboptimality in variational autoencoders".
    """
    model = context.model
    if not isinstance(model, Refinable):
        raise Unavailable(f"{type(model).__name__} has no generative program, on which a bound could be climbed")
    for subset in context.each_subset("inference gaps"):
        rows = _rows(context, subset)
        if len(rows):
            yield from _gaps(context, model, subset, rows)
        else:
            context.note(
                f"{label(subset)}: no inference gaps, since none of the data points chosen for likelihoods has all of "
                f"it; raise likelihood_rows."
            )


def _rows(context: Context, subset: tuple[str, ...]) -> Int64[Tensor, "n"]:
    """The first few in one random order of all data points, so that subsets share as many as they can."""
    generator = torch.Generator().manual_seed(context.derived_seed("gaps", "rows"))
    order = torch.randperm(context.data.size, generator=generator)
    allowed = context.weighed & torch.isin(torch.arange(context.data.size), context.rows(subset))
    return order[allowed[order]][:_MOST_ROWS].sort().values


def _gaps(context: Context, model: Refinable, subset: tuple[str, ...], rows: Int64[Tensor, "n"]) -> Iterator[Row]:
    batch = model.prepare(context.data[rows.to(context.data.device)].restrict(subset))
    posterior = model.posterior(batch)
    if is_point_mass(posterior):
        raise Unavailable(f"the posterior of {type(model).__name__} is a point mass, which has no density")
    ascent = Gradient(_STEPS, seed=context.derived_seed("gaps", "climbed"))
    best = Gaussian.of(ascent(model, batch, posterior).distribution)
    noise = _noise_of_rows(context.derived_seed("gaps", "measured"), best.loc)
    bound = Bound(model, batch)
    optimum, own = (bound.at(q, noise) for q in (best, Gaussian.of(posterior)))
    note = None if _is_gaussian(posterior) else _MATCHED
    yield mean_row("amortization_gap", (optimum - own).cpu(), subset, note=note)

    context.reseed("gaps", "weights", subset)
    weights = _log_weights(model, batch, best, context.num_samples).double()
    likelihood = weights.logsumexp(0) - math.log(context.num_samples)
    found = effective_sample_size(weights).cpu(), pareto_k(weights).cpu()
    extras = diagnostics(context, "approximation_gap", subset, *found)
    yield mean_row("approximation_gap", (likelihood - optimum).cpu(), subset, **extras)

    if isinstance(model, RefinesItself) and set(subset) == set(model.names):
        yield from _own_refinement(context, model, batch, noise, optimum)


def _own_refinement(
    context: Context, model: RefinesItself, batch: Batch, noise: Float[Tensor, "K N D"], optimum: Float[Tensor, "N"]
) -> Iterator[Row]:
    """The rows of a model that refines, given all modalities."""
    climbed, path = model.refinement_path(batch, model.num_steps)
    honest = Bound(climbed.model, batch)
    before, after = path.iterates[0], path.iterates[-1]
    initial, refined = (honest.at(q, noise) for q in (before, after))
    gap, gain = (optimum - initial).cpu(), (refined - initial).cpu()
    weighted = (climbed.at(after, noise) - climbed.at(before, noise)).cpu()
    yield mean_row("initial_gap", gap, batch.names)
    yield mean_row("refinement_gain", gain, batch.names)
    yield mean_row("refinement_gain_weighted", weighted, batch.names)
    whole = float(gap.mean())
    if not whole >= _LEAST_GAP:  # so written for a gap that is not a number
        context.note(
            f"closed_share: left out, since the gap before refinement, {whole:.2g} nats, leaves none to close."
        )
        return
    share = float(gain.mean()) / whole
    error = mean_and_error(gain - share * gap)[1] / whole  # of a ratio of means, to first order
    yield make_row("closed_share", share, batch.names, stderr=error, n=len(gap))


def _noise_of_rows(seed: int, loc: Float[Tensor, "N D"]) -> Float[Tensor, "K N D"]:
    """Balanced noise for each row by itself. Noise that rows shared would not average out over them, unseen by the
    spread between rows."""
    generator = torch.Generator().manual_seed(seed)
    count = max(_DRAWS, 2 * loc.shape[-1])
    return torch.cat([balanced_noise(count, loc.shape[-1], generator, loc) for _ in loc], 1)


def _log_weights(model: Refinable, batch: Batch, q: Gaussian, num_samples: int) -> Float[Tensor, "K N"]:
    """log p(x, z_k) - log q(z_k), z_k drawn from q, in nats."""
    proposal, prior = q.distribution, model.prior(batch.context)

    def weigh(z: Tensor) -> Tensor:
        log_p = sum(model.score(batch, z).values(), start=prior.log_prob(z))
        return log_p - proposal.log_prob(z)

    return torch.cat([weigh(z) for z in proposal.sample((num_samples,)).split(draws_at_a_time(len(q.loc)))])


def _is_gaussian(distribution: Distribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, dist.Normal)
