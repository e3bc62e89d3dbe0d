"""The yardstick: draws from the true posterior of a few data, by Hamiltonian Monte Carlo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.infer import MCMC, NUTS
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.distributions import MixtureOfExperts
from mmvae.latents import Latents
from mmvae.refinement.base import Refinable, Refiner
from mmvae.refinement.chains import effective_draws, rank_r_hat
from mmvae.refinement.gaussian import Gaussian


@numbers_checked
class HMC(Refiner):
    """Draws from p(z | x_S) by the No-U-Turn sampler of Pyro, each row by itself; for a few rows.

    The posterior that comes back is the empirical distribution of the draws of all chains, with ``mean``, ``scale``
    and ``sample``, but no density. ``latents.diagnostics`` has ``"r_hat"`` (near 1 where the chains agree, infinite
    where they do not move) and ``"effective_sample_size"``, ``[N, D]``. There is no ``elbo_trace``: chains climb
    nothing.

    Chains start apart, so that ``"r_hat"`` can notice what a single start would not reach: the first at the model's
    posterior, the second at a draw of the prior, the next ones at the other components of the posterior if it is a
    mixture, and so on in turn. Starts at the posterior are draws of twice its scale. To start in each of C components,
    take C + 1 chains.

    Args:
        steps: draws that are kept of each chain, at least 4.
        warmup: draws before them, in which step size and mass matrix adapt; by default as many as are kept.
        chains: at least 2.
        max_tree_depth: a draw takes at most 2 to this power steps, each through all decoders and back; lower it to save
            time where the posterior is far narrower in some directions than in others.
        seed: of everything that is drawn. Each chain of each row has draws of its own, which follow from this seed, the
            data of the row and the number of the chain: batches and neighbours do not matter. Global generators are
            left as they were.

    Raises:
        ValueError: for too few steps or chains.

    Source: Hoffman and Gelman 2014, "The No-U-Turn sampler"; R-hat and effective sample size: see
    :mod:`mmvae.refinement.chains`.
    """

    def __init__(
        self,
        steps: int = 200,
        *,
        warmup: int | None = None,
        chains: int = 4,
        max_tree_depth: int = 10,
        seed: int = 0,
    ) -> None:
        if steps < 4:
            raise ValueError(f"steps: HMC needs at least 4 draws of each chain for its diagnostics, got {steps}.")
        if chains < 2:
            raise ValueError(f"chains: expected at least 2, so that they can be compared, got {chains}.")
        self.steps, self.chains, self.seed = steps, chains, seed
        self.warmup = steps if warmup is None else warmup
        self.max_tree_depth = max_tree_depth

    def __call__(self, model: Refinable, batch: Batch, start: Distribution | None = None) -> Latents:
        """The draws of all rows."""
        with torch.no_grad():
            places = _places(model.posterior(batch) if start is None else start)
        devices = [batch.device] if batch.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            draws = torch.stack([self._sample(model, batch[row : row + 1], places[row]) for row in range(batch.size)])
        diagnostics = {
            "r_hat": torch.stack([rank_r_hat(each) for each in draws]),
            "effective_sample_size": torch.stack([effective_draws(each) for each in draws]),
        }
        flat = draws.flatten(1, 2)  # [N, C K, D]
        empirical = dist.Empirical(flat, flat.new_zeros(flat.shape[:2]))
        return Latents(empirical, batch.names, diagnostics=diagnostics)

    def _sample(self, model: Refinable, datum: Batch, places: Gaussian) -> Float[Tensor, "C K D"]:
        """The chains of one row, whose posterior has its components at ``places``, ``[P, D]``."""
        chains, digest = [], _digest(datum)
        for number in range(self.chains):
            torch.manual_seed(_seed(self.seed, digest, number))
            turn = number % (len(places.loc) + 1)
            if turn == 1:
                prior = model.prior(datum.context)
                z = prior.sample().reshape(places.loc.shape[-1:])
            else:
                place = max(turn - 1, 0)
                z = places.loc[place] + 2 * places.scale[place] * torch.randn_like(places.loc[place])
            kernel = NUTS(potential_fn=_potential(model, datum), max_tree_depth=self.max_tree_depth)
            chain = MCMC(
                kernel,
                num_samples=self.steps,
                warmup_steps=self.warmup,
                initial_params={"z": z.detach().unsqueeze(0)},
                disable_progbar=True,
            )
            chain.run(datum)
            chains.append(chain.get_samples()["z"].squeeze(1).detach())
        return torch.stack(chains)


def _potential(model: Refinable, datum: Batch) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """-log p(x_S, z) of one row as a function of z ``[1, D]``, in nats."""

    def potential(values: Mapping[str, Tensor]) -> Tensor:
        z = values["z"]
        return -sum(model.score(datum, z).values(), start=model.prior(datum.context).log_prob(z)).sum()

    return potential


def _places(posterior: Distribution) -> list[Gaussian]:
    """Where the posterior of each row is: the components that a row has of a mixture, or the one Gaussian like it."""
    if isinstance(posterior, MixtureOfExperts):
        loc, scale = posterior.loc, posterior.components.variance.sqrt()  # [C, N, D]
        there = posterior.weights > 0
        return [Gaussian(loc[there[:, row], row], scale[there[:, row], row]) for row in range(loc.shape[1])]
    q = Gaussian.of(posterior)
    return [Gaussian(loc.unsqueeze(0), scale.unsqueeze(0)) for loc, scale in zip(q.loc, q.scale, strict=True)]


def _digest(datum: Batch) -> bytes:
    """Of what one row holds in the modalities that it has."""
    digest = hashlib.sha256()
    for name in sorted(datum.names):
        observed = datum.observed[name]
        if bool(observed.any()):
            value = datum.data[name].detach()
            mask = observed.reshape(observed.shape + (1,) * (value.ndim - observed.ndim))
            seen = torch.where(mask, value, torch.zeros_like(value)).cpu().contiguous()
            digest.update(name.encode() + seen.numpy().tobytes())
    return digest.digest()


def _seed(seed: int, digest: bytes, number: int) -> int:
    """Of one chain of one row."""
    words = hashlib.sha256(f"{seed} {number} ".encode() + digest).digest()
    return int.from_bytes(words[:8], "big") >> 2
