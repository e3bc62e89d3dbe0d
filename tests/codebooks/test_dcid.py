"""The loss of DCID is that of its source; steps share codes; sequences may be of different lengths."""

from __future__ import annotations

import copy
from typing import Any

import codebooks.loss_reference as reference
import pytest
import torch
from codebooks.makers import SMALL, dcid, make_data, make_steps, without_dropout
from torch import Tensor

import mmvae
from mmvae.models import DCID
from mmvae.nn import FeatureSteps
from mmvae.testing import InferenceContract

NAMES = ("audio", "video", "text")


class TestDCID(InferenceContract):
    def build(self) -> DCID:
        return dcid(positions=True, stem="conv")

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return make_data("DCID", size)

    def is_fitted_aside(self, name: str) -> bool:
        return name.startswith("clubs")


def test_the_loss_is_that_of_the_source() -> None:
    """Each term against loops; the codes are those from before the update."""
    model, data = without_dropout(dcid()), make_data("DCID")
    model.loss(data)  # the codebook starts
    quantiser = copy.deepcopy(model.quantiser)
    codebook = quantiser.codebook
    torch.manual_seed(5)
    terms = model.loss(data).terms
    assert not torch.equal(model.codebook, codebook)
    tokens = {name: model.steps[name](data[name]) for name in NAMES}
    general = {name: model.encoders[name](tokens[name]) for name in NAMES}
    specific = {name: model.specific[name](tokens[name]) for name in NAMES}
    chosen = reference.nearest_codes(general, codebook)
    torch.manual_seed(5)
    quantiser(general)  # draws come first
    expected = {
        "reconstruction": sum(
            (model.decoders[name](chosen[name], specific[name]) - tokens[name]).square().mean() for name in NAMES
        ),
        "commitment": reference.commitment(general, chosen),
        "club": sum(reference.club(model.clubs[name], chosen[name], specific[name]) for name in NAMES),
        "cpc": reference.cross_cpc(model.cpc, general),
        "matching": reference.code_matching(general, codebook),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=lambda message, name=name: f"{name}: {message}")


def test_estimators_are_fitted_to_what_their_term_reads() -> None:
    model, data = dcid().eval(), make_data("DCID")
    general, specific, valid = model.inner_inputs(data)["audio"]
    torch.testing.assert_close(general, model.infer(data, "audio").mean)
    torch.testing.assert_close(specific, model.specific["audio"](data["audio"]))
    assert valid is None


def test_the_gradient_passes_through_the_codes() -> None:
    """Of a squared error of the quantised vectors, encoders get the gradient of the codes."""
    model, data = dcid().eval(), {"audio": make_data("DCID")["audio"]}
    latents = model.infer(data)
    features = latents.diagnostics["features"]
    (found,) = torch.autograd.grad(latents.mean.square().sum(), features)
    torch.testing.assert_close(found, 2 * model.codebook[latents.codes])


def test_a_plain_codebook_leaves_modalities_to_themselves() -> None:
    """Without the terms that align, the loss of two modalities is the sum of theirs."""
    plain: dict[str, Any] = {"club": 0.0, "cpc": 0.0, "matching": 0.0, "cross": False}
    model, data = dcid(**plain).eval(), make_data("DCID")
    together = model.loss(data).total
    torch.testing.assert_close(together, sum(model.loss({name: data[name]}).total for name in NAMES))
    assert dcid(**plain).cpc is None


# Steps that are not there.


def test_steps_that_are_not_there_have_no_code() -> None:
    model, data, steps = dcid().eval(), make_data("DCID"), make_steps()
    latents = model.infer(data, ("audio", "text"), observed=steps)
    there = steps["audio"] | steps["text"][:, None]
    assert latents.codes is not None
    assert torch.equal(latents.codes >= 0, there)
    assert not latents.mean[~there].any()
    assert not model.infer({"audio": data["audio"][:1]}, observed={"audio": steps["audio"][:1]}).mean[0, 2:].any()
    generated = model.generate(model.infer({"audio": data["audio"][:1]}, observed={"audio": steps["audio"][:1]}))
    assert not generated["audio"][0, 2:].any()
    assert generated["audio"][0, :2].all()


def test_codes_of_several_modalities_are_those_of_their_mean_at_each_step() -> None:
    model, data, steps = dcid().eval(), make_data("DCID"), make_steps()
    features = model.infer(data, ("audio", "text"), observed=steps).diagnostics["features"]
    audio = model.infer({"audio": data["audio"][:1, :2]}).diagnostics["features"]
    text = model.infer({"text": data["text"]}).diagnostics["features"]
    torch.testing.assert_close(features[0, :2], (audio[0] + text[0, :2]) / 2)
    torch.testing.assert_close(features[0, 2:], text[0, 2:])
    torch.testing.assert_close(features[3], text[3])


def test_more_padding_changes_nothing() -> None:
    model = DCID({"audio": 3, "voice": 2}, **SMALL, cpc=0.0).eval()
    data = {"audio": torch.randn(4, 5, 3), "voice": torch.randn(4, 5, 2)}
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 3:] = False
    longer = {name: torch.cat([value, torch.randn(4, 2, value.shape[-1])], 1) for name, value in data.items()}
    padded = torch.cat([mask, torch.zeros(4, 2, dtype=torch.bool)], 1)
    results = []
    for each, there in ((data, mask), (longer, padded)):
        observed = dict.fromkeys(data, there)
        torch.manual_seed(2)
        results.append((model.loss(each, observed), model.infer(each, observed=observed)))
    for name, value in results[0][0].terms.items():
        torch.testing.assert_close(results[1][0].terms[name], value)
    torch.testing.assert_close(results[1][1].mean[:, :5], results[0][1].mean)


def test_modalities_that_are_compared_have_the_same_steps() -> None:
    with pytest.raises(ValueError, match=r"steps differ: \{'audio': 4, 'video': 5\}.*take FCID"):
        DCID({"audio": FeatureSteps(3, 4), "video": FeatureSteps(3, 5)}, **SMALL)
    data = {"audio": torch.randn(6, 4, 3), "video": torch.randn(6, 5, 3)}
    model = DCID({"audio": 3, "video": 3}, **SMALL)
    with pytest.raises(ValueError, match=r"steps differ: \{'audio': 4, 'video': 5\}. Pad the shorter ones"):
        model.loss(data)
    with pytest.raises(ValueError, match="their steps differ"):
        model.infer(data)
    assert model.infer(data, "video").mean.shape == (6, 5, 4)
    assert DCID({"audio": 3, "video": 3}, **SMALL, cpc=0.0, cross=False).loss(data).total.isfinite()
    with pytest.raises(ValueError, match="expected at least 3 steps"):
        model.loss({name: value[:, :2] for name, value in data.items()})


# Generation, and the order of names.


def test_data_is_made_of_codes_and_the_mean_of_what_is_specific() -> None:
    model, data = without_dropout(dcid()), make_data("DCID")
    model.loss(data)
    model.loss({**data, "audio": 2 * data["audio"]})
    means = [model.specific["audio"](scale * data["audio"]).mean((0, 1)) for scale in (1, 2)]
    torch.testing.assert_close(model.specific_means["audio"].mean, (means[0] + means[1]) / 2)
    latents = model.eval().infer(data, "text")
    own = model.specific_means["audio"].mean.expand(6, 4, 4)
    torch.testing.assert_close(model.generate(latents)["audio"], model.decoders["audio"](latents.mean, own))


def test_the_order_of_names_does_not_matter() -> None:
    model, data = dcid(), make_data("DCID")
    turned = DCID(dict(reversed(model.arguments["modalities"].items())), **SMALL)
    turned.load_state_dict(model.state_dict())
    results = []
    for each in (model, turned):
        without_dropout(each)
        for _ in range(3):
            torch.manual_seed(4)
            each.loss(data)
        torch.manual_seed(4)
        results.append(each.loss(data).terms)
    for name in ("reconstruction", "commitment", "cpc", "matching", "perplexity"):
        torch.testing.assert_close(results[1][name], results[0][name])
    torch.testing.assert_close(turned.quantiser.seen, model.quantiser.seen)


def test_modalities_that_say_the_same_come_to_share_codes() -> None:
    """What is learned of the codes of one modality holds for those of the other, unless nothing aligns them."""
    torch.manual_seed(0)
    classes = torch.randint(4, (128,))
    views = {"audio": torch.randn(4, 5), "video": torch.randn(4, 6)}
    data = {k: 2 * view[classes][:, None] + 0.3 * torch.randn(128, 3, view.shape[1]) for k, view in views.items()}
    small: dict[str, Any] = {"num_codes": 16, "code_dim": 16, "heads": 2, "layers": 1, "dropout": 0.0, "club": 0.0}
    right = {}
    for aligned in (True, False):
        options = {} if aligned else {"cpc": 0.0, "matching": 0.0, "cross": False}
        torch.manual_seed(0)
        model = DCID({"audio": 5, "video": 6}, **small, **options)
        mmvae.fit(model, data, epochs=12, batch_size=32, lr=3e-3, progress=False, device="cpu")
        codes = {name: mmvae.infer(model, data, name).codes for name in data}
        counts = torch.zeros(16, 4)
        steps = classes[:, None].expand(128, 3)
        counts.index_put_((codes["audio"].flatten(), steps.flatten()), torch.ones(384), accumulate=True)
        right[aligned] = float((counts.argmax(-1)[codes["video"]] == steps).float().mean())
    assert right[True] > 0.85
    assert right[False] < 0.5
