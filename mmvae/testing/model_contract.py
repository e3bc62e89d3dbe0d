"""What every probabilistic model must do: inherit, implement the factory method, and let pytest run it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.likelihoods import Bernoulli, Categorical, Normal
from mmvae.modality import Modality
from mmvae.subsets import powerset
from mmvae.testing.inference_contract import InferenceContract
from mmvae.vaes import MultimodalVAE


class ModelContract(InferenceContract):
    """Tests of one probabilistic model, over three small modalities: real numbers, bits and codes.

    Example:
        .. code-block:: python

            class TestMyModel(ModelContract):
                def make_model(self, modalities):
                    return MyModel(modalities, latent_dim=2)
    """

    rebuilds_itself = False

    @abstractmethod
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        """A model to test."""

    def make_modalities(self) -> list[Modality]:
        """The modalities of the tests, with networks of a few weights."""

        def decoder(*shape: int) -> Any:
            size = int(torch.Size(shape).numel())
            return lambda latent_dim: nn.Sequential(
                nn.Linear(latent_dim, 6), nn.Tanh(), nn.Linear(6, size), nn.Unflatten(1, shape)
            )

        codes = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 5), nn.Tanh())
        return [
            Modality("real", (3,), Normal(0.7), nn.Sequential(nn.Linear(3, 5), nn.Tanh()), decoder(3), weight=2.0),
            Modality("bits", (2, 2), Bernoulli(), nn.Sequential(nn.Flatten(), nn.Linear(4, 5)), decoder(2, 2)),
            Modality("codes", (2,), Categorical(4), codes, decoder(2, 4)),
        ]

    def build(self) -> MultimodalVAE:
        """A model over the modalities of the tests."""
        return self.make_model(self.make_modalities())

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        """Complete data for the modalities of the tests, the same at each call."""
        generator = torch.Generator().manual_seed(1)
        return {
            "real": torch.randn(size, 3, generator=generator),
            "bits": torch.randint(0, 2, (size, 2, 2), generator=generator).float(),
            "codes": torch.randint(0, 4, (size, 2), generator=generator),
        }

    def make_observed(self) -> dict[str, Tensor]:
        """A mask for six rows, each of which has something."""
        return {
            "real": torch.tensor([True, True, False, False, True, False]),
            "bits": torch.tensor([True, False, True, False, True, False]),
            "codes": torch.tensor([True, False, False, True, True, True]),
        }

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

    def test_covariates_are_needed_and_remembered(self) -> None:
        """Data without them is refused by name; latents remember them; generation changes with others."""
        import pytest

        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.build().eval()
        known, data = self.make_covariates(), self.make_data()
        assert set(known) == set(model.covariates.names)
        latents = model.infer(data, covariates=known)
        assert {name: float(value[0]) for name, value in latents.covariates.items()} == known
        for name in known:
            with pytest.raises(ValueError, match=f"covariates: {name!r} is missing"):
                model.infer(data, covariates={other: known[other] for other in known if other != name})
            other = {**known, name: 1.0 - known[name]}
            assert not torch.equal(model.infer(data, covariates=other).mean, latents.mean)
            assert not torch.equal(model.generate(latents, covariates=other)["real"], model.generate(latents)["real"])
            mixed = {**known, name: torch.tensor([known[name], other[name]] * 3)}
            both = model.infer(data, covariates=mixed).mean
            torch.testing.assert_close(both[::2], latents.mean[::2])
            torch.testing.assert_close(both[1::2], model.infer(data, covariates=other).mean[1::2])
        with pytest.raises(ValueError, match="'flavour' is not a covariate"):
            model.infer(data, covariates={**known, "flavour": 1.0})

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

    def test_generated_data_has_the_form_of_data(self) -> None:
        """Every modality comes back, from latents of any subset and from the prior, in shape and type."""
        model, data = self.make(), self.make_data()
        latents = model.infer(data, "bits")
        for generated, shape in (
            (model.generate(latents), (6,)),
            (model.generate(latents, num_samples=2), (2, 6)),
            (self._sampled(model, 4), (4,)),
        ):
            assert tuple(generated) == model.names
            for name, value in generated.items():
                assert value.shape == (*shape, *data[name].shape[1:])
                assert value.dtype == data[name].dtype
                assert value.isfinite().all()

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

    def test_bad_input_is_refused(self) -> None:
        """Each with an error that names what is wrong."""
        import pytest

        model, data = self.make(), self.make_data()
        part = data["real"].clone()
        part[2, 1] = float("nan")
        infinite = data["real"].clone()
        infinite[3, 0] = float("inf")
        cases: list[tuple[Any, Any, str]] = [
            (data, "voice", "unknown modality 'voice'"),
            (data, [], "empty"),
            ({"real": data["real"]}, "bits", "bits"),
            ({**data, "voice": data["real"]}, None, "'voice' is no modality"),
            ({}, None, "no data"),
            ({**data, "real": data["real"][:, :2]}, None, "real: expected"),
            ({**data, "real": data["real"].long()}, None, "real: Normal"),
            ({**data, "codes": data["codes"].float()}, None, "codes: Categorical"),
            ({**data, "codes": data["codes"] + 9}, None, "codes: Categorical"),
            ({**data, "bits": data["bits"] * 0.5 + 0.25}, None, "bits: Bernoulli"),
            ({**data, "real": part}, None, "real: row 2 is NaN in part"),
            ({**data, "real": infinite}, None, "real: row 3 holds infinite"),
            ({**data, "real": data["real"][:5]}, None, "unequal batch sizes"),
            ({"real": torch.full((2, 3), float("nan"))}, None, "observed"),
        ]
        for given, subset, message in cases:
            with pytest.raises((ValueError, TypeError), match=message):
                model.infer(given, subset)
        for given, subset, message in cases:
            if subset is None:
                with pytest.raises((ValueError, TypeError), match=message):
                    model.loss(given)
