"""Time series: shapes, gradients, masks of steps and of single numbers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.nn import (
    SeriesConvDecoder,
    SeriesConvEncoder,
    SeriesGRUDecoder,
    SeriesGRUEncoder,
    SeriesTransformerDecoder,
    SeriesTransformerEncoder,
)

ENCODERS = {"conv": SeriesConvEncoder, "gru": SeriesGRUEncoder, "transformer": SeriesTransformerEncoder}
DECODERS = {"conv": SeriesConvDecoder, "gru": SeriesGRUDecoder, "transformer": SeriesTransformerDecoder}
POOLED = ["gru", "transformer"]

encoders = pytest.mark.parametrize("kind", ENCODERS)


def encoder_of(kind: str, length: int, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return ENCODERS[kind]((length, channels), width=8).eval()


def assert_gradients(module: nn.Module, output: torch.Tensor) -> None:
    assert output.isfinite().all()
    output.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@encoders
@pytest.mark.parametrize("length", [2, 3, 8, 17, 63, 64, 67, 130, 515])
def test_series_of_any_length(kind: str, length: int) -> None:
    encoder, decoder = ENCODERS[kind]((length, 3), width=8), DECODERS[kind](5, (length, 3, 2), width=8)
    features = encoder(torch.randn(2, length, 3))
    assert features.ndim == 2
    assert_gradients(encoder, features)
    series = decoder(torch.randn(2, 5))
    assert series.shape == (2, length, 3, 2)
    assert_gradients(decoder, series)


@encoders
@pytest.mark.parametrize("per_step", [True, False], ids=["steps", "numbers"])
def test_values_under_a_mask_change_nothing(kind: str, per_step: bool) -> None:
    encoder, generator = encoder_of(kind, 12), torch.Generator().manual_seed(1)
    series = torch.randn(6, 12, 3, generator=generator)
    observed = torch.rand((6, 12) if per_step else (6, 12, 3), generator=generator) < 0.6
    observed[0] = False
    hidden = ~(observed.unsqueeze(-1) if per_step else observed).expand_as(series)
    features = encoder(series, observed)
    assert features.isfinite().all()
    for other in (99.0, torch.nan):
        torch.testing.assert_close(encoder(series.masked_fill(hidden, other), observed), features, rtol=0, atol=0)
    assert not torch.allclose(features[1:], encoder(series)[1:])  # and the mask is read


@encoders
def test_a_mask_that_hides_nothing_says_what_no_mask_says(kind: str) -> None:
    encoder, series = encoder_of(kind, 12), torch.randn(4, 12, 3)
    for shape in ((4, 12), (4, 12, 3)):
        torch.testing.assert_close(encoder(series, torch.ones(shape, dtype=torch.bool)), encoder(series))


@pytest.mark.parametrize("kind", POOLED)
def test_padding_at_the_end_changes_nothing(kind: str) -> None:
    """A padded batch gives the features that each series has by itself."""
    encoder = encoder_of(kind, 12)
    series, lengths = torch.randn(4, 12, 3), torch.tensor([12, 7, 1, 4])
    features = encoder(series, torch.arange(12) < lengths[:, None])
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(series[row : row + 1, :length])
        torch.testing.assert_close(features[row : row + 1], alone)


def test_a_gru_skips_steps_that_are_missing() -> None:
    encoder, series = encoder_of("gru", 12), torch.randn(5, 12, 3)
    observed = torch.rand(5, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    features = encoder(series, observed)
    for row in range(5):
        torch.testing.assert_close(features[row : row + 1], encoder(series[row : row + 1, observed[row]]))


def test_rows_without_a_step_have_features_of_zero() -> None:
    for kind in POOLED:
        features = encoder_of(kind, 12)(torch.randn(2, 12, 3), torch.tensor([[False] * 12, [True] * 12]))
        assert (features[0] == 0).all()
        assert (features[1] != 0).any()


def test_attention_heads_divide_the_width() -> None:
    for make in (
        functools.partial(SeriesTransformerEncoder, (8, 2)),
        functools.partial(SeriesTransformerDecoder, 3, (8, 2)),
    ):
        with pytest.raises(ValueError, match=r"heads: expected a divisor of width, which is 10, got 4"):
            make(width=10)


def waves(rows: int, length: int) -> torch.Tensor:
    """Sine and cosine of one random phase, frequency and amplitude a row, with little noise, ``[N, T, 2]``."""
    generator = torch.Generator().manual_seed(3)
    phase, pitch, size = torch.rand(3, rows, 1, generator=generator)
    angle = 2 * torch.pi * (phase + (1 + pitch) * torch.linspace(0, 1, length))
    clean = (0.5 + size).unsqueeze(-1) * torch.stack([angle.sin(), angle.cos()], -1)
    return clean + 0.05 * torch.randn(clean.shape, generator=generator)


def test_default_networks_learn_series_and_volumes(tmp_path: Path) -> None:
    """Far fewer parameters than MLPs have (0.6 and 1.1 million), and the data comes back from its latent."""
    series = waves(500, 32)
    places = torch.linspace(-1, 1, 8)
    height = series[:, 0, :1]  # what both share
    volumes = (-4 * (places - height).square())[:, None, :, None, None].exp().expand(-1, 1, 8, 8, 8)
    modalities = [
        Modality("series", (32, 2), likelihoods.Normal(0.1)),
        Modality("volume", (1, 8, 8, 8), likelihoods.Normal(0.1)),
    ]
    torch.manual_seed(0)
    vae = models.MVAE(modalities, latent_dim=6)
    assert sum(each.numel() for each in vae.parameters()) < 400_000
    train = {"series": series[:400], "volume": volumes[:400]}
    mmvae.fit(vae, train, epochs=12, batch_size=50, out=tmp_path / "run", progress=False)
    test = {"series": series[400:], "volume": volumes[400:]}
    again = vae.generate(mmvae.infer(vae, test))
    for name, value in test.items():
        assert (again[name] - value).square().mean() < 0.5 * value.var(), name
    loaded: Any = mmvae.load(tmp_path / "run")
    assert mmvae.infer(loaded, test).mean.equal(mmvae.infer(vae, test).mean)


@encoders
def test_chosen_networks_are_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    series = Modality(
        "series",
        (9, 2),
        likelihoods.Normal(),
        encoder=functools.partial(ENCODERS[kind], (9, 2), width=8, dropout=0.1),
        decoder=functools.partial(DECODERS[kind], shape=(9, 2), width=8, dropout=0.1),
    )
    vae, data = models.MVAE([series], latent_dim=2), {"series": torch.randn(4, 9, 2)}
    mmvae.save(vae, tmp_path / "model")
    loaded: Any = mmvae.load(tmp_path / "model")
    assert loaded.infer(data).mean.equal(vae.infer(data).mean)
    assert vae.loss(data).total.isfinite()


@pytest.mark.parametrize("kind", [None, *ENCODERS])
def test_series_of_different_length_in_a_vae(kind: str | None) -> None:
    """Padding is neither read nor scored, whatever stands in it."""
    torch.manual_seed(0)
    encoder = None if kind is None else functools.partial(ENCODERS[kind], (12, 2), width=8)
    series = Modality("series", (12, 2), likelihoods.Normal(), encoder=encoder, missing="cells", transform=None)
    vae = models.MVAE([series], latent_dim=2).eval()
    observed = torch.arange(12) < torch.tensor([12, 5, 1])[:, None]
    data = torch.randn(3, 12, 2)
    other = torch.where(observed.unsqueeze(-1), data, 7.0)
    found = [vae.infer({"series": each}, observed={"series": observed}) for each in (data, other)]
    assert torch.equal(found[0].mean, found[1].mean)
    bounds = []
    for each in (data, other):
        torch.manual_seed(1)
        bounds.append(vae.elbo({"series": each}, observed={"series": observed}))
    assert torch.equal(bounds[0], bounds[1])
    assert vae.loss({"series": data}, {"series": observed}).total.isfinite()
