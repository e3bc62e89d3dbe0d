"""The loss of FCID is that of its source; pooled and split codes; what is shared, and what reaches what."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import codebooks.loss_reference as reference
import pytest
import torch
from codebooks.makers import SMALL, fcid, make_data, make_steps, without_dropout
from codebooks.test_codebook import reached, weights_of
from torch import Tensor

import mmvae
from mmvae.models import FCID
from mmvae.nn import CodeSteps
from mmvae.testing import InferenceContract

FINE, NAMES = ("audio", "video"), ("audio", "video", "text")


class TestFCID(InferenceContract):
    def build(self) -> FCID:
        return fcid(positions=True, stem="conv")

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return make_data("FCID", size)

    def is_fitted_aside(self, name: str) -> bool:
        return name.startswith("clubs")


class TestFCIDWithSplitCodes(InferenceContract):
    def build(self) -> FCID:
        return FCID({"audio": 3}, {"text": CodeSteps(5)}, **SMALL, code_mode="split", cpc=0.0)

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        data = make_data("FCID", size)
        return {"audio": data["audio"], "text": data["text"][:, :4]}

    def is_fitted_aside(self, name: str) -> bool:
        return name.startswith("clubs")


def by_hand(model: Any, data: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The vectors of each modality, from the layers."""
    tokens = {name: model.steps[name](data[name]) for name in NAMES}
    steps = {name: model.encoders[name](tokens[name]) for name in NAMES}
    pooled = {name: model.pooling(name).linear(steps[name].mean(1)) for name in NAMES}
    return {
        "tokens": tokens,
        "steps": steps,
        "own": {name: model.specific[name](tokens[name]) for name in FINE},
        "pooled": pooled,
        "general": {name: model.pooling(name).general(pooled[name]) for name in NAMES},
        "specific": {name: model.pooling(name).specific(pooled[name]) for name in NAMES},
    }


def squared(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean()


@pytest.mark.parametrize("fine_alignment", ["cpc", "info_nce"])
def test_the_loss_is_that_of_the_source(fine_alignment: Any) -> None:
    """Each term against loops; the codes are those from before the update."""
    model, data = without_dropout(fcid(fine_alignment=fine_alignment, temperature=0.2)), make_data("FCID")
    model.loss(data)  # the codebook starts
    quantiser = copy.deepcopy(model.quantiser)
    codebook = quantiser.codebook
    torch.manual_seed(5)
    terms = model.loss(data).terms
    assert not torch.equal(model.codebook, codebook)
    x = by_hand(model, data)
    general = {name: x["general"][name][:, None] for name in NAMES}  # one step
    chosen = {name: each[:, 0] for name, each in reference.nearest_codes(general, codebook).items()}
    torch.manual_seed(5)
    quantiser(general)  # draws come first
    club = sum(reference.club(model.clubs[f"fine_{name}"], x["steps"][name], x["own"][name]) for name in FINE)
    text = general["text"], x["specific"]["text"][:, None]
    both = torch.cat([general[name] for name in FINE]), torch.cat([x["specific"][name][:, None] for name in FINE])
    club = club + reference.club(model.clubs["coarse_text"], *text) + reference.club(model.clubs["coarse"], *both)
    if fine_alignment == "cpc":
        fine = reference.cross_cpc(model.cpc, {name: x["steps"][name] for name in FINE})
    else:
        audio, video = (x["steps"][name].mean(1) for name in FINE)
        fine = reference.info_nce(audio, video, 0.2) + reference.info_nce(video, audio, 0.2)
        assert model.cpc is None
    expected = {
        "commitment": reference.commitment(general, {name: each[:, None] for name, each in chosen.items()}),
        "reconstruction_fine": sum(
            squared(model.decoders[name](x["steps"][name], x["own"][name]), x["tokens"][name]) for name in FINE
        ),
        "reconstruction_coarse": sum(
            squared(model.coarse_decoders[name](chosen[name], x["specific"][name]), x["pooled"][name]) for name in NAMES
        ),
        "club": club,
        "cpc": fine,
        "matching": reference.code_matching(general, codebook),
        "coarse_alignment": sum(
            reference.info_nce(x["general"][name], x["general"]["text"], 0.2) for name in FINE
        ),
        "readout": sum(
            squared(
                model.readouts[name](torch.cat([chosen[source] for source in NAMES]), x["tokens"][name].shape[1]),
                x["tokens"][name].repeat(3, 1, 1),
            )
            for name in NAMES
        ),
    }  # fmt: skip
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=lambda message, name=name: f"{name}: {message}")


def test_fine_modalities_are_pooled_by_one_module() -> None:
    model = FCID({"audio": 3, "video": 2}, {"text": 2, "tags": 2}, **SMALL)
    assert model.pooling("audio") is model.pooling("video")
    assert model.pooling("audio").linear is model.pooling("video").linear
    pools = {id(model.pooling(name)) for name in model.names}
    assert len(pools) == 3
    assert set(model.clubs) == {"fine_audio", "fine_video", "coarse_text", "coarse_tags", "coarse"}


def test_coarse_alignment_reaches_the_fine_encoders() -> None:
    model = fcid(**weights_of("FCID", coarse_alignment=1.0), code_dim=16)
    model.loss(make_data("FCID")).total.backward()
    for part in ("encoders.audio", "encoders.video", "encoders.text", "fine_pooling", "coarse_poolings.text"):
        assert any(name.startswith(f"{part}.") for name in reached(model)), part


def test_several_modalities_in_each_group() -> None:
    """Each fine modality is aligned with each coarse one."""
    model = FCID(
        {"a": 3, "b": 2, "c": 4}, {"t": 2, "u": 5}, **SMALL, **weights_of("FCID", coarse_alignment=1.0), temperature=0.3
    ).eval()
    sizes = {"a": (4, 3), "b": (4, 2), "c": (4, 4), "t": (1, 2), "u": (7, 5)}
    data = {name: torch.randn(5, *size) for name, size in sizes.items()}
    general = {name: model.infer(data, name).diagnostics["features"] for name in sizes}
    expected = sum(reference.info_nce(general[one], general[other], 0.3) for one, other in product("abc", "tu"))
    torch.testing.assert_close(model.loss(data).terms["coarse_alignment"], expected)
    assert FCID({"a": 3}, {"t": 2}, **SMALL).loss({"a": data["a"], "t": data["t"]}).total.isfinite()


# Switches.


def test_split_codes_are_those_of_steps_alone() -> None:
    model, data = fcid(code_mode="split").eval(), make_data("FCID")
    split = model.infer(data, "audio")
    model.code_mode = "pooled"
    assert split.mean.shape == (6, 4, 4)
    assert split.codes is not None
    assert split.codes.shape == (6, 4)
    features = model.encoders["audio"](data["audio"])
    for step in range(4):
        expected = model.pooling("audio").general(model.pooling("audio").linear(features[:, step]))
        torch.testing.assert_close(split.diagnostics["features"][:, step], expected)
    pooled = model.infer(data, "audio")
    assert pooled.mean.shape == (6, 4)
    expected = model.pooling("audio").general(model.pooling("audio").linear(features.mean(1)))
    torch.testing.assert_close(pooled.diagnostics["features"], expected)
    torch.manual_seed(1)
    one = model.loss(data).total
    model.code_mode = "split"
    torch.manual_seed(1)
    assert torch.equal(model.loss(data).total, one)  # training pools
    with pytest.raises(ValueError, match=r"their steps differ: \{'audio': 4, 'text': 5\}"):
        model.infer(data, ("audio", "text"))


def test_pooled_codes_are_of_the_steps_that_are_there() -> None:
    model, data, steps = fcid().eval(), make_data("FCID"), make_steps()
    features = model.infer(data, "audio", observed={"audio": steps["audio"] | ~steps["audio"].any(1, True)})
    short = model.infer({"audio": data["audio"][:1, :2]})
    torch.testing.assert_close(features.diagnostics["features"][:1], short.diagnostics["features"])
    together = model.infer(data, ("audio", "text"), observed=steps)
    text = model.infer(data, "text")
    assert together.codes is not None
    assert (together.codes >= 0).all()
    torch.testing.assert_close(together.diagnostics["features"][3], text.diagnostics["features"][3])
    expected = (short.diagnostics["features"][0] + text.diagnostics["features"][0]) / 2
    torch.testing.assert_close(together.diagnostics["features"][0], expected)


# Generation.


def test_data_is_read_off_the_codes() -> None:
    """As many steps as the longest datum of training had, or as every datum has; split codes are averaged."""
    model, data = fcid(), make_data("FCID")
    model.loss({"text": data["text"][:, :3]})
    latents = model.infer(data, "audio")
    assert {name: value.shape for name, value in model.generate(latents).items()} == {
        "audio": (6, 1, 3),  # never met
        "video": (6, 1, 3, 4),
        "text": (6, 3),
    }
    model.loss(data)
    model.eval()
    assert model.generate(latents)["text"].shape == (6, 5)
    pooled = model.infer(data, "audio")
    torch.testing.assert_close(model.generate(pooled)["audio"], model.readouts["audio"](pooled.mean, 4))
    model.code_mode = "split"
    split = model.infer(
        data, "audio", observed={"audio": make_steps()["audio"] | torch.eye(6, 4).bool()[[1, 2, 3, 0, 4, 5]]}
    )
    assert split.codes is not None
    means = torch.stack([z[codes >= 0].mean(0) for z, codes in zip(split.mean, split.codes, strict=True)])
    torch.testing.assert_close(model.generate(split)["audio"], model.readouts["audio"](means, 4))


def test_readouts_leave_the_representation_as_it_is() -> None:
    """The gradients of all other parameters are the same with and without."""
    grads = []
    for readout in (0.0, 7.0):
        model = without_dropout(fcid(readout=readout))
        torch.manual_seed(2)
        model.loss(make_data("FCID")).total.backward()
        grads.append({name: each.grad for name, each in model.named_parameters() if not name.startswith("readouts")})
    assert grads[0].keys() == grads[1].keys()
    for name, one in grads[0].items():
        other = grads[1][name]
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


# Arguments.


def test_groups_and_options_are_checked() -> None:
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        ({}, {"t": 2}, {}, "fine: at least one modality"),
        ({"a": 3}, {}, {}, "coarse: at least one modality"),
        ({"a": 3}, {"a": 2}, {}, "a: a modality is fine or coarse, and this one is both"),
        ({"a": 3}, {"t": 2}, {"fine_alignment": "dtw"}, "fine_alignment: expected 'cpc' or 'info_nce', got 'dtw'"),
        ({"a": 3}, {"t": 2}, {"code_mode": "both"}, "code_mode: expected 'pooled' or 'split', got 'both'"),
        ({"a": 3}, {"t": 2}, {"temperature": 0.0}, "temperature: expected a number above 0"),
    ]
    for fine, coarse, options, message in cases:
        with pytest.raises(ValueError, match=message):
            FCID(fine, coarse, **SMALL, **options)
    with pytest.raises(TypeError, match="fine: expected a dict by modality"):
        FCID(["a"], {"t": 2}, **SMALL)  # type: ignore[arg-type]
    model = FCID({"a": 3}, {"t": 2}, **SMALL, max_steps=4)
    with pytest.raises(ValueError, match="t: got 5 steps, but positions are learned for 4"):
        model.loss({"a": torch.randn(2, 4, 3), "t": torch.randn(2, 5, 2)})


def test_modalities_that_say_the_same_come_to_share_codes() -> None:
    """What is learned of the codes of one modality holds for most of the others; data is made of any of them."""
    torch.manual_seed(0)
    classes = torch.arange(96) % 3
    views = {"audio": torch.randn(3, 5), "video": torch.randn(3, 6), "text": torch.randn(3, 4)}
    data = {k: 2 * view[classes][:, None] + 0.3 * torch.randn(96, 3, view.shape[1]) for k, view in views.items()}
    small: dict[str, Any] = {"num_codes": 12, "code_dim": 16, "heads": 2, "dropout": 0.0, "club": 0.0}
    model = FCID({"audio": 5, "video": 6}, {"text": 4}, **small)
    mmvae.fit(model, data, epochs=20, batch_size=32, lr=3e-3, progress=False, device="cpu")
    codes = {name: mmvae.infer(model, data, name).codes for name in data}
    counts = torch.zeros(12, 3).index_put_((codes["audio"], classes), torch.ones(96), accumulate=True)
    for name in ("video", "text"):
        assert (counts.argmax(-1)[codes[name]] == classes).float().mean() > 0.55
    generated = model.generate(mmvae.infer(model, data, "text"))["audio"].mean(1)
    assert (torch.cdist(generated, 2 * views["audio"]).argmin(-1) == classes).float().mean() > 0.9
