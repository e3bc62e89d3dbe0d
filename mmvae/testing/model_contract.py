"""What every probabilistic model must do: inherit, implement the factory method, and let pytest run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.likelihoods import Bernoulli, Categorical, Normal
from mmvae.modality import Modality
from mmvae.models import MultimodalVAE
from mmvae.subsets import powerset


class ModelContract(ABC):
    """Tests of one model, over three small modalities: real numbers, bits and codes.

    Example:
        .. code-block:: python

            class TestMyModel(ModelContract):
                def make_model(self, modalities):
                    return MyModel(modalities, latent_dim=2)
    """

    trains_on_incomplete_data: bool = True
    """Whether the objective takes rows that lack modalities; otherwise it must refuse them with a ``ValueError``."""

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

    def make(self) -> MultimodalVAE:
        """A model with the same weights at each call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
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

    def test_any_subset_in_any_order(self) -> None:
        """Every subset is inferred, with the shapes of the public contract; the order of names does not matter."""
        model, data = self.make(), self.make_data()
        turned = dict(reversed(data.items()))
        for subset in powerset(model.names):
            latents = model.infer(data, subset)
            assert latents.subset == subset
            assert latents.mean.shape == latents.scale.shape == latents.sample().shape == (6, model.latent_dim)
            assert latents.sample(3).shape == (3, 6, model.latent_dim)
            assert latents.distribution.batch_shape == (6,)
            assert latents.distribution.event_shape == (model.latent_dim,)
            assert len(latents) == 6
            assert latents.mean.isfinite().all()
            assert (latents.scale > 0).all()
            for same in (model.infer(turned, tuple(reversed(subset))), model.infer(data, set(subset))):
                torch.testing.assert_close(same.mean, latents.mean)
                torch.testing.assert_close(same.scale, latents.scale)
        assert torch.equal(model.infer(data).mean, model.infer(data, model.names).mean)
        assert torch.equal(model.infer(data, "bits").mean, model.infer({"bits": data["bits"]}).mean)

    def test_any_split_of_a_batch(self) -> None:
        """Latents of rows do not depend on the rows beside them, nor on the size of batches."""
        model, batch = self.make(), Batch(self.make_data(), self.make_observed())
        whole = infer(model, batch)
        for batch_size in (1, 4):
            parts = infer(model, batch, batch_size=batch_size)
            torch.testing.assert_close(parts.mean, whole.mean)
            torch.testing.assert_close(parts.scale, whole.scale)
            assert parts.distribution.batch_shape == (6,)

    def test_missing_rows_are_inferred_from_what_they_have(self) -> None:
        """A row under false masks has the posterior of the modalities that remain."""
        model, data, observed = self.make(), self.make_data(), self.make_observed()
        latents = model.infer(data, observed=observed)
        for row in range(6):
            subset = [name for name in model.names if observed[name][row]]
            alone = model.infer({name: data[name][row : row + 1] for name in subset})
            torch.testing.assert_close(alone.mean, latents.mean[row : row + 1])
            torch.testing.assert_close(alone.scale, latents.scale[row : row + 1])

    def test_values_under_a_false_mask_reach_nothing(self) -> None:
        """Latents, bounds, losses and gradients are the same, whatever stands under a false mask."""
        data, observed = self.make_data(), self.make_observed()
        noisy = {name: value.clone() for name, value in data.items()}
        noisy["real"][~observed["real"]] = float("nan")
        noisy["bits"][~observed["bits"]] = 1e30
        noisy["codes"][~observed["codes"]] = -7
        results = []
        for each in (data, noisy):
            model = self.make()
            torch.manual_seed(3)
            numbers = [model.infer(each, observed=observed).mean, model.elbo(each, observed=observed)]
            numbers.append(model.log_likelihood(each, observed=observed, num_samples=5))
            if self.trains_on_incomplete_data:
                loss = model.loss(each, observed=observed)
                loss.total.backward()
                numbers += [loss.total, *loss.terms.values()]
                numbers += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            results.append(numbers)
        for first, second in zip(*results, strict=True):
            assert first.isfinite().all()
            assert torch.equal(first, second)

    # Training.

    def test_loss_reaches_every_parameter(self) -> None:
        """A finite scalar with finite gradients for all parameters; terms are finite scalars by name."""
        model = self.make()
        loss = model.loss(self.make_data(64))
        assert loss.total.shape == ()
        assert {*model.names, "kl", "elbo"} <= set(loss.terms)
        assert all(term.shape == () and term.isfinite() for term in (loss.total, *loss.terms.values()))
        loss.total.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    def test_incomplete_data(self) -> None:
        """Trained on, where the model can; refused by name, where not."""
        import pytest

        model, data, observed = self.make(), self.make_data(), self.make_observed()
        partial = {name: data[name] for name in model.names[:2]}
        for batch in (Batch(data, observed), Batch(partial)):
            if self.trains_on_incomplete_data:
                assert model.loss(batch).total.isfinite()
            else:
                with pytest.raises(ValueError, match=r"incomplete.*codes"):
                    model.loss(batch)

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
            (model.sample(4), (4,)),
        ):
            assert tuple(generated) == model.names
            for name, value in generated.items():
                assert value.shape == (*shape, *data[name].shape[1:])
                assert value.dtype == data[name].dtype
                assert value.isfinite().all()

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

    def test_nothing_of_the_caller_is_changed(self) -> None:
        """Data, masks, modes of training and weights stay; random numbers are drawn and never reseeded."""
        model, data, observed = self.make(), self.make_data(), self.make_observed()
        before = {name: value.clone() for name, value in data.items()}
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        next(iter(model.decoders.values())).eval()
        modes = [part.training for part in model.modules()]
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            latents = infer(model, data, model.names[:1])
            model.infer(data, observed=observed)
            model.loss(data)
            model.elbo(data)
            model.log_likelihood(data, num_samples=2)
            model.generate(latents)
            model.sample(2)
            states.append(torch.rand(()))
        assert states[0] != states[1]
        assert [part.training for part in model.modules()] == modes
        assert all(torch.equal(data[name], before[name]) for name in data)
        assert set(observed) == set(data)
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

    def test_saved_and_loaded_it_is_the_same(self, tmp_path: Path) -> None:
        """Weights come back from a folder, bit by bit."""
        import mmvae

        model, data = self.make(), self.make_data()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        mmvae.save(model, tmp_path / "run")
        loaded = mmvae.load(tmp_path / "run", self.make())
        assert torch.equal(loaded.infer(data).mean, model.infer(data).mean)
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
