"""The public contract, line by line, as a user would write it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

import mmvae
from mmvae import Modality, likelihoods, models


class MyDec(nn.Module):
    """A decoder of one's own: ``[N, d] -> [N, 8, 71]``."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent_dim, 8 * 71), nn.Unflatten(1, (8, 71)))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent)


@pytest.fixture
def modalities() -> list[Modality]:
    my_module = nn.Sequential(nn.Embedding(71, 4), nn.Flatten(), nn.Linear(32, 16), nn.ReLU())
    mnist = Modality("mnist", shape=(1, 28, 28), likelihood=likelihoods.Laplace(scale=0.75))
    text = Modality(
        "text",
        shape=(8,),
        likelihood=likelihoods.Categorical(71),
        encoder=my_module,
        decoder=lambda d: MyDec(d),
        weight=10.0,
    )
    return [mnist, text]


@pytest.fixture
def data() -> dict[str, Tensor]:
    return {"mnist": torch.rand(12, 1, 28, 28), "text": torch.randint(0, 71, (12, 8))}


RECIPES: dict[str, Callable[[list[Modality]], Any]] = {
    "MoPoE": lambda modalities: models.MoPoE(modalities, latent_dim=20, beta=2.0),
    "MMVAE": lambda modalities: models.MMVAE(modalities, latent_dim=20, num_samples=3, beta=2.0),
    "JMVAE": lambda modalities: models.JMVAE(modalities, latent_dim=20, alpha=0.1, beta=2.0),
    "MVAE": lambda modalities: models.MVAE(modalities, latent_dim=20, beta=2.0),
    "MVTCAE": lambda modalities: models.MVTCAE(modalities, latent_dim=20, beta=2.0),
}
each_recipe = pytest.mark.parametrize("recipe", list(RECIPES))


@each_recipe
def test_the_page(recipe: str, modalities: list[Modality], data: dict[str, Tensor], tmp_path: Path) -> None:
    vae = RECIPES[recipe](modalities)
    out = tmp_path / "run"
    run = mmvae.fit(vae, data, epochs=1, batch_size=6, out=out, progress=False, device="cpu")
    assert run.model is vae
    assert Path(run.path) == out

    latents = mmvae.infer(vae, data, subset="mnist")
    assert latents.mean.shape == (12, 20)
    assert latents.sample(16).shape == (16, 12, 20)
    assert latents.distribution.batch_shape == (12,)
    assert latents.distribution.event_shape == (20,)
    assert latents.subset == ("mnist",)
    for subset in (["mnist", "text"], ["text", "mnist"], {"text", "mnist"}, None):
        assert mmvae.infer(vae, data, subset=subset).subset == ("mnist", "text")
    assert mmvae.infer(vae, {"text": data["text"]}).subset == ("text",)

    generated = vae.generate(latents)
    assert {name: tuple(value.shape) for name, value in generated.items()} == {
        "mnist": (12, 1, 28, 28),
        "text": (12, 8),
    }
    assert generated["text"].dtype == torch.int64
    assert vae.sample(64)["mnist"].shape == (64, 1, 28, 28)

    loss = vae.loss(data)
    loss.total.backward()
    assert loss.total.shape == ()
    assert {"mnist", "text", "kl", "elbo"} <= set(loss.terms)
    assert vae.elbo(data, subset=None).shape == (12,)
    assert vae.log_likelihood(data, subset=None, num_samples=5).shape == (12,)

    mmvae.save(vae, tmp_path / "saved")
    for folder in (out, tmp_path / "saved"):
        loaded = mmvae.load(folder, RECIPES[recipe](modalities))
        assert torch.equal(mmvae.infer(loaded, data).mean, mmvae.infer(vae, data).mean)


@each_recipe
def test_weights_act_on_training_alone(recipe: str, modalities: list[Modality], data: dict[str, Tensor]) -> None:
    """The ELBO and the likelihood are in honest nats, whatever the weights of modalities and of the KL."""
    torch.manual_seed(0)
    vae = RECIPES[recipe](modalities)
    plain = [Modality(each.name, each.shape, each.likelihood, each.encoder, each.decoder) for each in modalities]
    torch.manual_seed(0)
    other = getattr(models, recipe)(plain, 20)
    results = []
    for model in (vae, other):
        torch.manual_seed(1)
        with torch.no_grad():
            results.append((model.elbo(data), model.log_likelihood(data, num_samples=3), model.loss(data).total))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][2], results[1][2])


def test_pyro_programs(modalities: list[Modality], data: dict[str, Tensor]) -> None:
    vae = models.MVAE(modalities, latent_dim=3)
    trace = poutine.trace(vae.model).get_trace(data)
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample"] == ["data", "z", "mnist", "text"]
    assert trace.nodes["z"]["value"].shape == (12, 3)
    trace.compute_log_prob()
    assert trace.nodes["mnist"]["log_prob"].shape == (12,)
    guide = poutine.trace(vae.guide).get_trace(data, "text")
    assert guide.nodes["z"]["value"].shape == (12, 3)
    assert torch.equal(guide.nodes["z"]["fn"].mean, vae.infer(data, "text").mean)
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.TraceMeanField_ELBO())
    before = vae.decoders["text"].layers[0].weight.clone()
    svi.step(data)
    assert not torch.equal(before, vae.decoders["text"].layers[0].weight)


def test_weights_of_poutine_scale_nothing_in_the_program(modalities: list[Modality], data: dict[str, Tensor]) -> None:
    """The program is the honest joint density: weights belong to objectives."""
    vae = models.MVAE(modalities, latent_dim=3)
    trace = poutine.trace(vae.model).get_trace(data)
    trace.compute_log_prob()
    expected = vae.decode(trace.nodes["z"]["value"])["text"].log_prob(data["text"])
    torch.testing.assert_close(trace.nodes["text"]["log_prob"], expected)


def test_importing_is_light() -> None:
    """The training engine and what draws and reads pictures load where they are used."""
    code = (
        "import sys, mmvae; from mmvae import Modality, likelihoods, models; "
        "heavy = {'torchvision', 'matplotlib', 'lightning', 'transformers', 'sklearn', 'tensorboard', "
        "'mmvae.training', 'mmvae.evaluation', 'mmvae.plotting', 'mmvae.testing'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
