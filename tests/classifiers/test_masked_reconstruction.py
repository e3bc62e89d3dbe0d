"""What is hidden does not show, what is predicted is what was hidden, and an encoder learns by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.classifiers.masked_reconstruction import hide
from mmvae.models import LateFusion, MaskedReconstruction
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


def hidden_and_showing(model: MaskedReconstruction, data: Tensor, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """Where the next loss hides tokens and where they show, bool ``[N, 6]``: those with the least noise are hidden."""
    state = torch.get_rng_state()
    noise = torch.rand(len(data), 6)
    torch.set_rng_state(state)
    valid = model._valid(data, None)
    valid = torch.ones(len(data), 6, dtype=torch.bool) if valid is None else valid
    hidden = torch.zeros_like(valid)
    for row in range(len(data)):
        places = sorted(valid[row].nonzero().flatten().tolist(), key=lambda place: float(noise[row, place]))
        hidden[row, places[: max(1, round(ratio * len(places)))]] = True
    return hidden, valid & ~hidden


@pytest.mark.parametrize("make", [image_model, text_model])
def test_nothing_of_what_is_hidden_reaches_its_prediction(make: Any) -> None:
    """Not even as padding of the shorter rows."""
    model = make().eval()
    (name,) = model.names
    data = make_images() if name == "image" else make_texts()
    other = data.clone()
    mask, _ = hidden_and_showing(model, data)
    hidden, showing = hide(data if name == "text" else model.encoder.patches(data), model._valid(data, None), 0.5)
    if name == "image":
        patches = mask.unflatten(1, (2, 3)).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
        other = torch.where(patches, torch.randn_like(other), other)
    else:
        other[mask] = 8
    assert not torch.equal(data, other)
    first, second = (model._decode(model._encode(each, showing), hidden) for each in (data, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize("make", [image_model, text_model])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
def test_errors_are_of_hidden_tokens_alone(make: Any, ratio: float) -> None:
    """Datum by datum and place by place: the encoder sees what shows and nothing else, the decoder its class token."""
    model = make(ratio=ratio)
    (name,) = model.names
    data = make_images() if name == "image" else make_texts()
    hidden, showing = hidden_and_showing(model, data, ratio)
    errors = []
    for row in range(len(data)):
        places = [0, *(1 + showing[row].nonzero().flatten()).tolist()]
        embedded = model.encoder.embedding(data[row : row + 1])[:, places]
        token = model.encoder.run(embedded)[0][:, :1] + model.positions[:1]
        where = hidden[row].nonzero().flatten().tolist()
        asked = [model.mask_token + model.positions[1 + place] for place in where]
        predicted = model.head(model.decoder(torch.cat([token, torch.stack(asked)[None]], 1))[0][0, 1:])
        for place, guess in zip(where, predicted, strict=True):
            if name == "image":
                top, left = 2 * (place // 3), 2 * (place % 3)
                patch = data[row, :, top : top + 2, left : left + 2].flatten()
                errors.append((guess - patch).square().mean())
            else:
                errors.append(-guess.log_softmax(-1)[data[row, place]])
    expected = torch.stack(errors).mean()
    learned = [each for each in model.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(expected, learned, allow_unused=True)
    loss = model.loss({name: data})
    torch.testing.assert_close(loss.total, expected)
    assert torch.equal(loss.terms["reconstruction"], loss.total)
    for found, gradient in zip(torch.autograd.grad(loss.total, learned, allow_unused=True), gradients, strict=True):
        torch.testing.assert_close(found, torch.zeros_like(found) if gradient is None else gradient)


def test_a_batch_without_tokens_costs_nothing() -> None:
    """Of texts that are padding throughout."""
    loss = text_model().loss({"text": torch.zeros(3, 6, dtype=torch.int64)}).total
    assert loss == 0
    loss.backward()


def test_what_is_hidden_is_drawn_anew() -> None:
    model, data = image_model(), {"image": make_images()}
    assert model.loss(data).total != model.loss(data).total


def test_steps_that_are_missing_are_not_predicted() -> None:
    """Under a mask of steps, as under padding."""
    padded, model = text_model(), MaskedReconstruction({"text": TextTransformer(9, 6, **SIZES)})
    model.load_state_dict(padded.state_dict())
    losses = []
    for each, batch in (
        (padded, Batch({"text": make_texts()})),
        (model, Batch({"text": make_texts()}, {"text": make_texts() != 0})),
    ):
        torch.manual_seed(3)
        losses.append(each.loss(batch).total)
    assert torch.equal(*losses)


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
