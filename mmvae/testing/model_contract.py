"""What every probabilistic model must do: inherit, implement the factory method, and let pytest run it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.modality import Modality
from mmvae.subsets import powerset
from mmvae.testing.autoencoder_contract import AutoencoderContract
from mmvae.vaes import MultimodalVAE


class ModelContract(AutoencoderContract):
    """Tests of one probabilistic model, over three small modalities: real numbers, bits and codes.

    Example:
        .. code-block:: python

            class TestMyModel(ModelContract):
                def make_model(self, modalities):
                    return MyModel(modalities, latent_dim=2)
    """

    @abstractmethod
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        """A model to test."""

    # Inference.

    def test_latents_have_the_shapes_of_the_contract(self) -> None:
        """A latent of ``latent_dim`` columns with positive scales, from every subset in any order."""
        model, data = self.make(), self.make_data()
        for subset in powerset(model.names):
            latents = model.infer(data, subset)
            assert latents.mean.shape == latents.scale.shape == latents.sample().shape == (6, model.latent_dim)
            assert latents.distribution.event_shape == (model.latent_dim,)
            assert (latents.scale > 0).all()
            torch.testing.assert_close(model.infer(data, tuple(reversed(subset))).scale, latents.scale)

    def numbers_of(self, model: Any, data: dict[str, Tensor], observed: dict[str, Tensor]) -> list[Tensor]:
        """Latents and bounds."""
        numbers = super().numbers_of(model, data, observed)
        numbers.append(model.elbo(data, observed=observed))
        return [*numbers, model.log_likelihood(data, observed=observed, num_samples=5)]

    def test_shared_and_private_latents_are_columns_of_the_whole(self) -> None:
        """Their moments are those of the columns; without private latents the shared part is the whole."""
        model, data = self.make(), self.make_data()
        layout = model.layout
        assert layout.size == model.latent_dim
        latents = model.infer(data, model.names[:1])
        assert tuple(latents.private) == tuple(layout.private)
        for name, part in ((None, latents.shared), *latents.private.items()):
            columns = layout.columns(name)
            assert part.distribution.event_shape == (len(range(*columns.indices(layout.size))),)
            torch.testing.assert_close(part.mean, latents.mean[:, columns])
            torch.testing.assert_close(part.scale, latents.scale[:, columns])
        if layout.is_shared:
            assert latents.shared is latents

    def test_decoders_read_the_shared_latents_and_their_own(self) -> None:
        """A private column changes the data of its modality, and of no other."""
        model = self.make()
        z = torch.zeros(1, model.latent_dim)
        known = self.make_covariates()
        before = {name: each.mean for name, each in model.decode(z, covariates=known).items() if name != "codes"}
        for owner in model.layout.private:
            moved = z.clone()
            moved[:, model.layout.columns(owner)] = 3.0
            for name, each in model.decode(moved, tuple(before), known).items():
                assert torch.equal(each.mean, before[name]) == (name != owner)

    def test_private_latents_of_what_is_missing_follow_the_prior(self) -> None:
        """Of a standard prior: zero mean and the prior's scale."""
        model, data = self.make(), self.make_data()
        for owner in model.layout.private:
            others = [name for name in model.names if name != owner]
            latents = model.infer(data, others).private[owner]
            torch.testing.assert_close(latents.mean, torch.zeros_like(latents.mean))
            standard = model.experts.family(0.0, 1.0).stddev
            torch.testing.assert_close(latents.scale, standard.expand_as(latents.scale))

    # Prior and covariates.

    def test_draws_of_the_prior_match_its_density(self) -> None:
        """The importance-weighted mean of a wide proposal over the prior's density is one, and draws score finitely."""
        model = self.make()
        prior = model.prior(model.covariates.encode(model.covariates.of_rows(1, {}, self.make_covariates())))
        z = prior.sample(torch.Size((64,)))
        assert z.shape[-1] == model.latent_dim
        assert prior.log_prob(z).isfinite().all()
        if model.latent_dim <= 4:
            proposal = torch.distributions.StudentT(5.0, 0.0, 2.0)
            points = proposal.sample((20_000, *prior.batch_shape, model.latent_dim))
            with torch.no_grad():
                ratio = (prior.log_prob(points) - proposal.log_prob(points).sum(-1)).double().exp()
            assert (ratio.mean() - 1).abs() < 5 * ratio.std() / ratio.numel() ** 0.5 + 1e-3

    def test_scores_are_those_of_the_program(self) -> None:
        """log p(x_m | z), the prior's density, and their gradients: straight, and by the trace of the Pyro program."""
        model, observed = self.make(), self.make_observed()
        batch = model.prepare(self.make_data(), observed)
        results = []
        for traced in (False, True):
            z = torch.linspace(-1, 1, 6 * model.latent_dim).reshape(6, -1).requires_grad_()
            if traced:
                trace = pyro.poutine.trace(pyro.poutine.condition(model.model, data={"z": z})).get_trace(batch)
                trace.compute_log_prob()
                scores = {name: trace.nodes[name]["log_prob"] for name in batch.names}
                prior = trace.nodes["z"]["log_prob"]
            else:
                scores, prior = model.score(batch, z), model.prior(batch.context).log_prob(z)
            total = sum(scores.values(), start=prior)
            gradients = torch.autograd.grad(total.sum(), [z, *model.decoders.parameters()])
            results.append([*scores.values(), prior, *gradients])
        for straight, traced_value in zip(*results, strict=True):
            torch.testing.assert_close(straight, traced_value)

    # Training.

    def test_terms_of_the_loss(self) -> None:
        """The expected log-likelihood of each modality, the KL and the bound."""
        model = self.make()
        assert {*model.names, "kl", "elbo"} <= set(model.loss(self.make_data()).terms)

    def test_svi_trains(self) -> None:
        """Pyro's own engine takes the programs of the model, and steps lower the loss."""
        model, data = self.make(), self.make_data(64)
        svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
        losses = [svi.step(data) for _ in range(40)]
        assert sum(losses[-10:]) < sum(losses[:10])

    # Generation.

    def test_samples_have_the_form_of_data(self) -> None:
        """Every modality comes back from draws of the prior, in shape and type."""
        model, data = self.make(), self.make_data()
        self.check_form(self._sampled(model, 4), (4,), data)

    def _sampled(self, model: Any, num_samples: int) -> dict[str, Tensor]:
        known = self.make_covariates()
        return model.sample(num_samples, covariates=known) if known else model.sample(num_samples)

    # Bounds.

    def test_elbo_is_below_the_likelihood(self) -> None:
        """For every subset, on the average of a batch: the mean log-weight is the ELBO, its log-mean is above it."""
        model, data = self.make(), self.make_data(32)
        for subset in powerset(model.names):
            weights = model.log_weights(data, subset, num_samples=256)
            likelihood = model.log_likelihood(data, subset, num_samples=256)
            with torch.no_grad():
                elbo = model.elbo(data, subset, num_samples=256)
            assert weights.shape == (256, 32)
            assert likelihood.shape == elbo.shape == (32,)
            standard_error = weights.var(0).sum().sqrt() / 32 / 16
            assert (elbo.mean() - weights.mean()).abs() <= 5 * standard_error
            assert elbo.mean() <= likelihood.mean() + 4 * standard_error

    def test_bounds_of_rows_are_their_own(self) -> None:
        """They do not depend on the rows beside them, draw by draw, nor on the size of the batch, on the average."""
        model, batch = self.make(), Batch(self.make_data(), self.make_observed())
        others = batch[[0, 1, 2, 0, 2, 1]]
        for bound in (model.elbo, model.log_likelihood):
            values = []
            for each in (batch, others):
                torch.manual_seed(3)
                values.append(bound(each, num_samples=4)[:3].detach())
            torch.testing.assert_close(*values)
        together = model.log_weights(batch, num_samples=256)
        apart = torch.cat([model.log_weights(rows, num_samples=256) for rows in (batch[:1], batch[1:])], 1)
        standard_error = ((together.var(0) + apart.var(0)) / 256).sqrt()
        assert ((together.mean(0) - apart.mean(0)).abs() <= 5 * standard_error + 1e-4).all()

    # Pyro.

    def test_predictive_draws_what_is_missing(self) -> None:
        """A modality that is ``None`` in the batch is drawn; sites bear the names of the modalities."""
        model, data = self.make(), self.make_data()
        batch = Batch({**data, "bits": None})
        for parallel in (False, True):
            draws = pyro.infer.Predictive(model.model, guide=model.guide, num_samples=3, parallel=parallel)(batch)
            assert draws["bits"].shape == (3, 6, 2, 2)
            assert draws["bits"].unique().tolist() == [0.0, 1.0]

    def test_nuts_samples_the_latent(self) -> None:
        """Hamiltonian Monte Carlo runs on the program, over ``"z"`` alone."""
        model, data = self.make(), self.make_data(2)
        kernel = pyro.infer.NUTS(model.model, max_tree_depth=2)
        chain = pyro.infer.MCMC(kernel, num_samples=2, warmup_steps=1, disable_progbar=True)
        chain.run(data)
        samples = chain.get_samples()
        assert set(samples) == {"z"}
        assert samples["z"].shape == (2, 2, model.latent_dim)

    # Manners.

    def test_bounds_and_draws_leave_everything_as_it_was(self) -> None:
        """Modes, part by part, weights and Pyro's parameters stay; random numbers are never reseeded."""
        model, data = self.make(), self.make_data()
        model.train()
        next(iter(model.decoders.values())).eval()
        modes = [part.training for part in model.modules()]
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            latents = infer(model, data, model.names[:1])
            model.elbo(data)
            model.log_likelihood(data, num_samples=2)
            model.generate(latents)
            self._sampled(model, 2)
            states.append(torch.rand(()))
        assert states[0] != states[1]
        assert [part.training for part in model.modules()] == modes
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert len(pyro.get_param_store()) == 0
