"""A loss that is no longer finite stops the run and is named; the last good checkpoint stays."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch

from mmvae import models
from mmvae.objectives import Loss
from mmvae.training import fit

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch


class Broken(torch.nn.Module):
    """A decoder that gives NaN from a call on."""

    def __init__(self, decoder, calls):
        super().__init__()
        self.decoder, self.calls = decoder, calls

    def forward(self, z):
        self.calls -= 1
        output = self.decoder(z)
        return output * math.nan if self.calls < 0 else output


def broken(model, name="text", calls=7):
    model.decoders[name] = Broken(model.decoders[name], calls)
    return model


def test_epoch_step_and_term_are_named(new_model, data):
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 3: the loss is not finite; the term at fault: text\."):
        quiet(broken(new_model()), data, epochs=3)


def test_the_last_good_checkpoint_is_kept(new_model, data, tmp_path, assert_same):
    with pytest.raises(FloatingPointError, match=r"checkpoints.*last.safetensors"):
        quiet(broken(new_model()), data, epochs=3, out=tmp_path)
    resumed = quiet(broken(new_model(seed=9), calls=1000), data, epochs=3, out=tmp_path, resume=True)
    assert_same(resumed.model.decoders["text"].decoder, quiet(new_model(), data, epochs=3).model.decoders["text"])


def test_a_check_every_so_many_steps(new_model, new_data):
    """A long epoch is not trained to its end on NaN."""
    model = broken(new_model(), calls=70)
    calls = []
    model.decoders["image"].register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 71: .*: text"):
        quiet(model, new_data(1000), epochs=1, batch_size=2)
    assert len(calls) == 100


def test_a_scale_that_explodes(new_model, data):
    """Data far from what 32 bits can square, taken as it is."""
    huge = {**data, "image": data["image"] * 1e38}
    as_it_is = [dataclasses.replace(each, transform=None) for each in new_model().modalities]
    with (
        pytest.warns(UserWarning, match=r"image: values reach .*Standardize"),
        pytest.raises(FloatingPointError, match=r"epoch 1, step 1: .*: image"),
    ):
        quiet(models.MoPoE(as_it_is, 3), huge, epochs=1)


def test_the_whole_is_named_where_it_alone_is_at_fault(new_model, data):
    model = new_model()
    inner = model.objective
    model.objective = lambda owner, batch: Loss(inner(owner, batch).total / 0.0, inner(owner, batch).terms)
    with pytest.raises(FloatingPointError, match=r"the term at fault: loss\."):
        quiet(model, data, epochs=1)


def test_gradients_that_are_not_finite(new_model, data, tmp_path):
    """The loss of the last step is fine, the weights after it are not: they must not be kept."""
    model = new_model()
    inner = model.objective
    calls = []

    def steep(owner, batch):
        calls.append(1)
        loss = inner(owner, batch)
        weight = owner.decoders["image"].layers[2].bias
        root = (weight - weight.detach()).abs().sum().sqrt()  # zero, with an infinite slope
        return Loss(loss.total + root, loss.terms) if len(calls) == 10 else loss

    model.objective = steep
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 5: the weight decoders.image.layers.2.bias"):
        quiet(model, data, epochs=2, out=tmp_path)


def test_validation_that_is_not_finite(new_model, data, new_data):
    other = new_data(10)
    other["image"][9] = 3e38
    with pytest.raises(FloatingPointError, match=r"epoch 1, validation batch 2: .*: image"):
        quiet(new_model(), data, epochs=1, validation=other)
