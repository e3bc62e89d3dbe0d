"""What is hidden does not show, what is predicted is what was hidden, and an encoder learns by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.models import LateFusion, MaskedReconstruction
from mmvae.models.masked_reconstruction import hide
from mmvae.nn import TextTransformer, ViT
from mmvae.testing import InferenceContract

SIZES: dict[str, Any] = {"dim": 8, "depth": 2, "heads": 2}


def image_model(**options: Any) -> MaskedReconstruction:
    return MaskedReconstruction({"image": ViT((2, 4, 6), patch=2, **SIZES)}, **options)


def text_model(**options: Any) -> MaskedReconstruction:
    return MaskedReconstruction({"text": TextTransformer(9, 6, padding=0, **SIZES)}, **options)


def make_images(size: int = 6) -> Tensor:
    return torch.rand(size, 2, 4, 6, generator=torch.Generator().manual_seed(2))


def make_texts(size: int = 6) -> Tensor:
    texts = torch.randint(1, 9, (size, 6), generator=torch.Generator().manual_seed(2))
    texts[::2, 3:] = 0
    return texts


class TestOfImages(InferenceContract):
    def build(self) -> MaskedReconstruction:
        return image_model()

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return {"image": make_images(size)}


class TestOfTexts(InferenceContract):
    def build(self) -> MaskedReconstruction:
        return text_model(ratio=0.3, decoder_depth=2)

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return {"text": make_texts(size)}


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_share_of_valid_tokens_that_is_hidden(ratio: float) -> None:
    valid = torch.arange(10) < torch.tensor([10, 7, 4, 2, 1, 0])[:, None]
    hidden = hide(valid, ratio)
    assert not (hidden & ~valid).any()
    expected = {0.1: [1, 1, 1, 1, 1, 0], 0.5: [5, 4, 2, 1, 1, 0], 0.9: [9, 6, 4, 2, 1, 0]}[ratio]
    assert hidden.sum(1).tolist() == expected


def test_every_token_is_hidden_as_often_as_another() -> None:
    """To within five standard errors."""
    shares = hide(torch.ones(4000, 8, dtype=torch.bool), 0.25).float().mean(0)
    assert (shares - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize("make", [image_model, text_model])
def test_nothing_of_what_is_hidden_reaches_its_prediction(make: Any) -> None:
    """Not even as padding of the shorter rows."""
    model = make().eval()
    (name,) = model.names
    data = make_images() if name == "image" else make_texts()
    other = data.clone()
    valid = model._valid(data, None)
    hidden = hide(valid, 0.5)
    showing = valid & ~hidden
    if name == "image":
        patches = hidden.unflatten(1, (2, 3)).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
        other = torch.where(patches, torch.randn_like(other), other)
    else:
        other[hidden] = 8
    assert not torch.equal(data, other)
    first, second = (model._decode(model._encode(each, showing), hidden) for each in (data, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize("make", [image_model, text_model])
def test_the_encoder_sees_what_shows_and_nothing_else(make: Any) -> None:
    """Row by row, on the tokens that show alone."""
    model = make().eval()
    (name,) = model.names
    data = make_images() if name == "image" else make_texts()
    valid = model._valid(data, None)
    showing = valid & ~hide(valid, 0.5)
    found = model._encode(data, showing)
    for row in range(len(data)):
        places = [0, *(1 + showing[row].nonzero().flatten()).tolist()]
        embedded = model.encoder.embedding(data[row : row + 1])[:, places]
        torch.testing.assert_close(found[row], model.encoder.run(embedded)[0][0, 0])


def test_errors_are_of_hidden_tokens_alone() -> None:
    """Against a loop over them."""
    images, texts = make_images(), make_texts()
    for model, data in ((image_model(), {"image": images}), (text_model(), {"text": texts})):
        (name,) = model.names
        torch.manual_seed(3)
        loss = model.loss(data)
        torch.manual_seed(3)
        valid = model._valid(data[name], None)
        hidden = hide(valid, 0.5)
        predicted = model.head(model._decode(model._encode(data[name], valid & ~hidden), hidden))
        errors = []
        for row, place in hidden.nonzero().tolist():
            if name == "image":
                top, left = 2 * (place // 3), 2 * (place % 3)
                patch = images[row, :, top : top + 2, left : left + 2].flatten()
                errors.append((predicted[row, place] - patch).square().mean())
            else:
                errors.append(-predicted[row, place].log_softmax(-1)[texts[row, place]])
        torch.testing.assert_close(loss.total, torch.stack(errors).mean())
        assert torch.equal(loss.terms["reconstruction"], loss.total)


def test_what_is_hidden_is_drawn_anew() -> None:
    model, data = image_model(), {"image": make_images()}
    assert model.loss(data).total != model.loss(data).total


def test_steps_that_are_missing_are_not_predicted() -> None:
    """Under a mask of steps, as under padding."""
    model = MaskedReconstruction({"text": TextTransformer(9, 6, **SIZES)})
    steps = make_texts() != 0
    valid = model._valid(make_texts(), steps)
    assert torch.equal(valid, steps)
    assert model.loss(Batch({"text": make_texts()}, {"text": steps})).total.isfinite()


def test_the_latent_is_the_class_token() -> None:
    model, images = image_model().eval(), make_images()
    latents = model.infer({"image": images})
    assert torch.equal(latents.mean, model.encoder(images).cls)
    assert not latents.scale.any()


def test_an_encoder_learns_and_is_handed_on() -> None:
    """Patches that are alike are predicted better than by their mean, and the class token tells the class."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(2, (128,), generator=generator)
    images = torch.rand(128, 1, 4, 4, generator=generator) * 0.2 + classes[:, None, None, None]
    given = ViT((1, 4, 4), patch=2, **SIZES)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    model = MaskedReconstruction({"image": given})
    options: dict[str, Any] = {"batch_size": 32, "lr": 0.01, "progress": False, "device": "cpu"}
    run = mmvae.fit(model, {"image": images}, epochs=12, **options)
    assert run.metrics[-1]["reconstruction"] < 0.25 * float(images.var())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    classifier = LateFusion({"image": model.encoder}, 2)
    mmvae.fit(classifier, {"image": images}, labels=classes, epochs=5, **{**options, "lr": 0.1})
    logits = classifier.predict(mmvae.infer(classifier, {"image": images}))
    assert (logits.argmax(1) == classes).float().mean() > 0.9


def test_bad_settings_are_named() -> None:
    encoder = ViT((1, 4, 4), patch=2, **SIZES)
    with pytest.raises(ValueError, match="one encoder is pretrained at a time, got 'a', 'b'"):
        MaskedReconstruction({"a": encoder, "b": encoder})
    with pytest.raises(TypeError, match="image: expected one of the library's own encoders"):
        MaskedReconstruction({"image": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="ratio: expected a share between 0 and 1, got 1"):
        MaskedReconstruction({"image": encoder}, ratio=1.0)
