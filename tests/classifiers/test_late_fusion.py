"""The baseline: class tokens side by side, a filling for what is missing, encoders frozen or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.models import LateFusion
from mmvae.nn import TextTransformer, TokenEncoder, ViT
from mmvae.testing import InferenceContract

SIZES: dict[str, Any] = {"depth": 2, "heads": 2}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
OBSERVED = {
    "image": torch.tensor([True, True, False, False, True, True]),
    "text": torch.tensor([True, False, True, True, True, False]),
}


def encoders() -> dict[str, nn.Module]:
    """Of different widths, with the same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "image": ViT((1, 4, 4), patch=2, dim=4, **SIZES),
            "text": TextTransformer(9, 5, padding=0, dim=8, **SIZES),
        }


def make_data(size: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    data = {
        "image": torch.rand(size, 1, 4, 4, generator=generator),
        "text": torch.randint(1, 9, (size, 5), generator=generator),
    }
    data["text"][:2, 3:] = 0
    return data


def class_tokens() -> dict[str, Tensor]:
    """Of the encoders alone."""
    data, found = make_data(), {}
    for name, encoder in encoders().items():
        assert isinstance(encoder, TokenEncoder)
        with torch.no_grad():
            found[name] = encoder.eval()(data[name]).cls
    return found


def fit(model: LateFusion, data: dict[str, Tensor], labels: Tensor, **options: Any) -> None:
    mmvae.fit(model, data, labels=labels, **{"batch_size": 16, "progress": False, "device": "cpu", **options})


class TestLateFusion(InferenceContract):
    def build(self) -> LateFusion:
        return LateFusion(encoders(), 3)

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return make_data(size)

    def make_labels(self, size: int = 6) -> Tensor:
        return torch.arange(size) % 3


class TestMeansOfEncodersThatLearn(TestLateFusion):
    def build(self) -> LateFusion:
        return LateFusion(encoders(), 3, missing="mean", fusion="sum", freeze=False)


@pytest.mark.parametrize("missing", ["zeros", "mean"])
def test_class_tokens_stand_side_by_side_and_fillings_where_they_are_missing(missing: Any) -> None:
    model, tokens = LateFusion(encoders(), 3, missing=missing), class_tokens()
    model.train().loss(Batch(make_data(), OBSERVED, LABELS))  # takes the means of what is observed
    found = model.eval().infer(make_data(), observed=OBSERVED).mean
    expected = []
    for name, value in tokens.items():
        filling = value[OBSERVED[name]].mean(0) if missing == "mean" else torch.zeros(value.shape[1])
        expected.append(torch.where(OBSERVED[name][:, None], value, filling))
    torch.testing.assert_close(found, torch.cat(expected, 1))
    assert model.latent_dim == 12


@pytest.mark.parametrize("missing", ["zeros", "mean"])
def test_a_sum_is_of_tokens_of_the_largest_width(missing: Any) -> None:
    model, tokens = LateFusion(encoders(), 3, missing=missing, fusion="sum"), class_tokens()
    model.train().loss(Batch(make_data(), labels=LABELS))
    found = model.eval().infer({"text": make_data()["text"]}).mean
    absent = model.maps["image"](tokens["image"].mean(0)) if missing == "mean" else 0
    torch.testing.assert_close(found, tokens["text"] + absent)
    whole = model.infer(make_data()).mean
    torch.testing.assert_close(whole, tokens["text"] + model.maps["image"](tokens["image"]))


def test_means_are_taken_in_training_alone_and_saved(tmp_path: Path) -> None:
    model = LateFusion(encoders(), 3, missing="mean").eval()
    model.loss(Batch(make_data(), labels=LABELS))
    assert not model.means["image"].mean.any()  # type: ignore[union-attr,operator]
    fit(model, make_data(), LABELS, epochs=2, batch_size=2)
    torch.testing.assert_close(model.means["image"].mean, class_tokens()["image"].mean(0))
    again = mmvae.load(mmvae.save(model, tmp_path))
    text = {"text": make_data()["text"]}
    assert torch.equal(mmvae.infer(again, text).mean, mmvae.infer(model, text).mean)


@pytest.mark.parametrize("freeze", [True, False])
def test_encoders_learn_unless_frozen(freeze: bool) -> None:
    """And those that were given do not in any case."""
    given = encoders()
    model = LateFusion(given, 3, freeze=freeze)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, make_data(), LABELS, epochs=1)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved >= {"head.weight", "head.bias"}
    assert any(name.startswith("encoders.") for name in moved) == (not freeze)
    for name, encoder in encoders().items():
        same = zip(encoder.state_dict().values(), given[name].state_dict().values(), strict=True)
        assert all(torch.equal(first, second) for first, second in same)


def test_an_encoder_is_pretrained_on_labels() -> None:
    """One modality, whose encoder learns; afterwards, frozen, it tells the classes to a head of another model."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(2, (64,), generator=generator)
    images = torch.rand(64, 1, 4, 4, generator=generator)
    images[:, :, :2] += 0.5 * classes[:, None, None, None]
    pretrained = LateFusion({"image": encoders()["image"]}, 2, freeze=False)
    fit(pretrained, {"image": images}, classes, epochs=20, lr=0.02)
    model = LateFusion({"image": pretrained.encoders["image"], "text": encoders()["text"]}, 2, modality_dropout=True)
    texts = torch.randint(1, 9, (64, 5), generator=generator)
    fit(model, {"image": images, "text": texts}, classes, epochs=10, lr=0.1)
    right = model.predict(mmvae.infer(model, {"image": images})).argmax(1) == classes
    assert right.float().mean() > 0.9


def test_several_labels_each() -> None:
    model = LateFusion(encoders(), 2, task="multi-label")
    labels = torch.stack([LABELS == 0, LABELS != 1], 1).long()
    loss = model.loss(Batch(make_data(), OBSERVED, labels))
    logits = model.predict(model.infer(make_data(), observed=OBSERVED))
    expected = nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    torch.testing.assert_close(loss.total, expected)


@pytest.mark.parametrize("missing", ["zeros", "mean"])
def test_features_in_the_place_of_data(missing: Any) -> None:
    """The same latents; training on features trains the model on data."""
    model, data = LateFusion(encoders(), 3, missing=missing), make_data()
    features = model.features(Batch(data, OBSERVED, LABELS))
    on_features = model.on_features()
    fit(on_features, features, None, epochs=2)  # type: ignore[arg-type]
    latents = mmvae.infer(model, data, observed=OBSERVED)
    torch.testing.assert_close(mmvae.infer(on_features, features).mean, latents.mean)
    assert torch.equal(on_features.predict(latents), model.predict(latents))
    with pytest.raises(ValueError, match="features are for frozen encoders"):
        LateFusion(encoders(), 3, freeze=False).features(data)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="missing: expected one of 'zeros', 'mean', got 'ones'"):
        LateFusion(encoders(), 3, missing="ones")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fusion: expected one of 'concat', 'sum', got 'gated'"):
        LateFusion(encoders(), 3, fusion="gated")  # type: ignore[arg-type]
