"""What every model with decoders must do, be it a VAE or deterministic: generate, know covariates, refuse bad data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmvae.autoencoders import MultimodalAutoencoder
from mmvae.likelihoods import Bernoulli, Categorical, Normal
from mmvae.modality import Modality
from mmvae.testing.inference_contract import InferenceContract


class AutoencoderContract(InferenceContract):
    """Tests of one model with decoders, over three small modalities: real numbers, bits and codes.

    Inherit it for a deterministic autoencoder, and :class:`ModelContract` for a VAE.

    Example:
        .. code-block:: python

            class TestMyAutoencoder(AutoencoderContract):
                def make_model(self, modalities):
                    return MyAutoencoder(modalities, latent_dim=2)
    """

    rebuilds_itself = False

    @abstractmethod
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
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

    def build(self) -> MultimodalAutoencoder:
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

    # Generation.

    def test_generated_data_has_the_form_of_data(self) -> None:
        """Every modality comes back, from latents of any subset, in shape and type."""
        model, data = self.make(), self.make_data()
        latents = model.infer(data, "bits")
        self.check_form(model.generate(latents), (6,), data)
        self.check_form(model.generate(latents, num_samples=2), (2, 6), data)

    def check_form(self, generated: dict[str, Tensor], shape: tuple[int, ...], data: dict[str, Tensor]) -> None:
        """Generated data has all modalities, in shape and type those of data."""
        assert tuple(generated) == self.make().names
        for name, value in generated.items():
            assert value.shape == (*shape, *data[name].shape[1:])
            assert value.dtype == data[name].dtype
            assert value.isfinite().all()

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

    # Manners.

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
