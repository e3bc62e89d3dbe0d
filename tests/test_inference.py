from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import mmvae
from mmvae import Batch, Modality, likelihoods, models


class Items(Dataset):
    def __init__(self, data: dict[str, torch.Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data["a"])

    def __getitem__(self, index: int) -> Any:
        return {name: value[index] for name, value in self.data.items()}


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(10, 3), "b": torch.randn(10, 3)}


def make(kind: str = "MVAE") -> Any:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    modalities = [
        Modality(name, (3,), likelihoods.Normal(), encoder, lambda latent_dim: nn.Linear(latent_dim, 3))
        for name in ("a", "b")
    ]
    return getattr(models, kind)(modalities, 2)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE"])
def test_any_form_of_data_gives_the_same(kind: str, data: dict[str, torch.Tensor]) -> None:
    model = make(kind)
    expected = mmvae.infer(model, data)
    assert expected.subset == ("a", "b")
    for form in (Batch(data), Items(data), {name: value.numpy() for name, value in data.items()}):
        for batch_size in (3, 1024):
            torch.testing.assert_close(mmvae.infer(model, form, batch_size=batch_size).mean, expected.mean)


def test_evaluation_mode_without_gradients(data: dict[str, torch.Tensor]) -> None:
    model = make()
    assert torch.equal(mmvae.infer(model, data).mean, mmvae.infer(model, data).mean)  # no dropout
    assert not mmvae.infer(model, data).mean.requires_grad
    assert all(part.training for part in model.modules())


def test_masks_beside_the_data(data: dict[str, torch.Tensor]) -> None:
    model = make()
    observed = {"a": torch.arange(10) < 5}
    latents = mmvae.infer(model, data, observed=observed, batch_size=4)
    torch.testing.assert_close(latents.mean[:5], mmvae.infer(model, data).mean[:5])
    torch.testing.assert_close(latents.mean[5:], mmvae.infer(model, data, "b").mean[5:])


def test_progress_is_shown_where_asked_for(data: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    mmvae.infer(make(), data)
    assert not capsys.readouterr().out
    mmvae.infer(make(), data, batch_size=5, progress=True)
    assert "inferring" in capsys.readouterr().out


def test_errors_pass_through_and_the_mode_comes_back(data: dict[str, torch.Tensor]) -> None:
    model = make()
    with pytest.raises(ValueError, match="voice"):
        mmvae.infer(model, data, "voice")
    assert all(part.training for part in model.modules())
