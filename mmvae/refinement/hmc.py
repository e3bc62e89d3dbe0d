"""The yardstick: draws from the true posterior of a few data, by Hamiltonian Monte Carlo."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.latents import Latents
from mmvae.refinement.base import Refinable, Refiner
from mmvae.refinement.gaussian import Gaussian


class HMC(Refiner):
    """Draws from p(z | x_S) by the No-U-Turn sampler of Pyro, each datum by itself; for a few data.

    The posterior that comes back is the empirical distribution of the draws of all chains, with ``mean``, ``scale``
    and ``sample``, but no density. ``latents.diagnostics`` has ``"r_hat"`` (near 1 where the chains agree) and
    ``"effective_sample_size"``, ``[N, D]``. There is no ``elbo_trace``: chains climb nothing.

    Args:
        steps: draws that are kept of each chain, at least 4.
        warmup: draws before them, in which step size and mass matrix adapt; by default as many as are kept.
        chains: at least 2, started at draws of the model's posterior of twice its scale.
        max_tree_depth: a draw takes at most 2 to this power steps, each through all decoders and back; lower it to save
            time where the posterior is far narrower in some directions than in others.
        seed: of everything that is drawn; global generators are left as they were.

    Raises:
        ValueError: for too few steps or chains.

    Source: Hoffman and Gelman 2014, "The No-U-Turn sampler"; split R-hat of Gelman et al. 2013.
    """

    def __init__(
        self,
        steps: int = 200,
        *,
        warmup: int | None = None,
        chains: int = 2,
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
        """The draws of all data."""
        with torch.no_grad():
            q = Gaussian.of(model.posterior(batch) if start is None else start)
        devices = [batch.device] if batch.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            rows = [
                self._sample(model, batch[row : row + 1], Gaussian(q.loc[row], q.scale[row]), self.seed)
                for row in range(batch.size)
            ]
        draws = torch.stack(rows)  # [N, C, K, D]
        diagnostics = {
            "r_hat": torch.stack([split_gelman_rubin(each) for each in draws]),
            "effective_sample_size": torch.stack([effective_sample_size(each) for each in draws]),
        }
        flat = draws.flatten(1, 2)  # [N, C K, D]
        empirical = dist.Empirical(flat, flat.new_zeros(flat.shape[:2]))
        return Latents(empirical, batch.names, diagnostics=diagnostics)

    def _sample(self, model: Refinable, datum: Batch, q: Gaussian, seed: int) -> Float[Tensor, "C K D"]:
        """The chains of one datum, whose posterior is started from ``q``, ``[D]``."""
        torch.manual_seed(seed)
        chains = []
        for _ in range(self.chains):
            kernel = NUTS(model.generative, max_tree_depth=self.max_tree_depth)
            kernel.initial_params = {"z": (q.loc + 2 * q.scale * torch.randn_like(q.loc)).unsqueeze(0)}
            chain = MCMC(kernel, num_samples=self.steps, warmup_steps=self.warmup, disable_progbar=True)
            chain.run(datum)
            chains.append(chain.get_samples()["z"].squeeze(1).detach())
        return torch.stack(chains)
