"""Inference as an exported program: every model, from one modality and from all, equal to ``infer``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from codebooks.makers import MAKERS
from codebooks.makers import make_data as make_codebook_data
from objectives.parts import make
from torch import Tensor

import mmvae
from mmvae import nn

VAES: dict[str, dict[str, Any]] = {
    "MVAE": {},
    "MMVAE": {},
    "MoPoE": {},
    "JMVAE": {"trunk_width": 4, "hidden": 8},
    "MVTCAE": {},
    "MMVAEPlus": {"private_dim": 1},
    "CMVAE": {"private_dim": 1, "num_clusters": 3},
    "DMVAE": {"private_dim": 1},
    "WeightedMVAE": {},
    "CoDEVAE": {},
    "HoelderVAE": {},
    "HELVAE": {},
    "MMJSD": {},
    "MCVAE": {},
    "CRMVAE": {},
    "MMVM": {},
    "TELBO": {"trunk_width": 4, "hidden": 8},
    "JNF": {"trunk_width": 4, "hidden": 8, "flow_hidden": 8},
    "CVAE": {},
    "IDMVAE": {"private_dim": 1, "augmentation": 0.0},
    "SetVAE": {"hidden": 8, "pooled": 8},
    "DVCCA": {},
    "MHVAE": {"levels": 2, "hidden": 8},
    "IterativeVAE": {"trunk_width": 4, "hidden": 8, "num_steps": 2},
}
POINTS: dict[str, dict[str, Any]] = {"DCCAE": {}, "MAAE": {}, "MWAE": {}}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "LateFusion": {"missing": "mean"},
    "MoLT": {"common_dim": 4, "fusion_dim": 8, "max_layers": 1},
    "CMPT": {},
}


@pytest.fixture(autouse=True)
def _types_unchecked() -> Iterator[None]:
    """While a program is traced, sizes are symbols, which no annotation allows."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def build(kind: str) -> tuple[Any, dict[str, Tensor]]:
    """A small model and data for it."""
    if kind in VAES or kind in POINTS:
        return make(kind, **{**VAES, **POINTS}[kind])
    if kind in MAKERS:
        data = make_codebook_data(kind)
        return MAKERS[kind](), data
    image = nn.ViT((1, 4, 4), 2, dim=8, depth=2, heads=2)
    text = nn.TextTransformer(9, 5, dim=8, depth=2, heads=2)
    data = {"image": torch.rand(6, 1, 4, 4), "text": torch.randint(1, 9, (6, 5))}
    if kind == "MaskedReconstruction":
        return mmvae.models.MaskedReconstruction({"image": image}), {"image": data["image"]}
    return getattr(mmvae.models, kind)({"image": image, "text": text}, 3, **CLASSIFIERS[kind]), data


RECIPES = sorted(
    name
    for name in mmvae.models.__all__
    if not inspect.isabstract(getattr(mmvae.models, name)) and name != "MultimodalVAE"
)


def assert_inferred(kind: str, found: dict[str, Tensor], model: Any, expected: mmvae.Latents) -> None:
    """What a program gave is what inference gives, by the names of its kind."""
    torch.testing.assert_close(found["mean"], expected.mean, rtol=1e-5, atol=1e-5)
    if kind in VAES:
        assert set(found) == {"mean", "scale"}
        torch.testing.assert_close(found["scale"], expected.scale, rtol=1e-5, atol=1e-5)
    elif kind in MAKERS:
        assert set(found) == {"mean", "codes"}
        assert torch.equal(found["codes"], expected.codes)  # type: ignore[arg-type]
    elif kind in CLASSIFIERS:
        assert set(found) == {"mean", "logits"}
        model.eval()
        torch.testing.assert_close(found["logits"], model.predict(expected), rtol=1e-5, atol=1e-5)
    else:
        assert set(found) == {"mean"}


@pytest.mark.parametrize("subset", ["first", "last", "all"])
@pytest.mark.parametrize("kind", RECIPES)
def test_a_program_gives_what_inference_gives(kind: str, subset: str) -> None:
    """For other data, and another number of rows, than those of the example; the model stays as it was."""
    model, data = build(kind)
    names = {"first": model.names[:1], "last": model.names[-1:], "all": model.names}[subset]
    if kind == "IterativeVAE" and subset == "all":
        with pytest.raises(TypeError, match="IterativeVAE: inference from 'real', 'bits', 'codes' computes gradients"):
            mmvae.export(model, data, subset=names)
        return
    if kind == "FCID" and subset == "all":
        names = model.names[:2]  # the others have another number of steps
    model.train()
    program = mmvae.export(model, {name: value[:3] for name, value in data.items()}, subset=names[::-1]).module()
    assert model.training
    for rows in (slice(0, 1), slice(0, 6)):
        some = {name: data[name][rows] for name in names}
        found, expected = program(some), mmvae.infer(model, some, names)
        assert_inferred(kind, found, model, expected)


@pytest.mark.parametrize("kind", RECIPES)
def test_an_onnx_file_gives_what_inference_gives(kind: str, tmp_path: Path) -> None:
    """In a runtime without PyTorch, for other data, and another number of rows, than those of the example."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, data = build(kind)
    names = model.names[:1] if kind in MAKERS else model.names[:2]  # codebooks take long to convert
    mmvae.export(model, data, tmp_path / "model.onnx", names)
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for rows in (slice(0, 1), slice(0, 6)):
        some = {name: data[name][rows] for name in names}
        values = session.run(None, {name: value.numpy() for name, value in some.items()})
        found = {each.name: torch.from_numpy(value) for each, value in zip(session.get_outputs(), values, strict=True)}
        expected = mmvae.infer(model, some, names)
        assert_inferred(kind, found, model, expected)


def test_an_onnx_file_of_modalities_called_as_what_is_in_the_program(tmp_path: Path) -> None:
    """Their names are those of inputs, whatever operators and outputs are called."""
    runtime = pytest.importorskip("onnxruntime")
    modalities = [mmvae.Modality(name, (2,), mmvae.likelihoods.Normal()) for name in ("add", "linear")]
    model, data = mmvae.models.MVAE(modalities, 2), {"linear": torch.randn(4, 2), "add": torch.randn(4, 2)}
    mmvae.export(model, data, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (mean,) = session.run(["mean"], {name: value.numpy() for name, value in data.items()})
    torch.testing.assert_close(torch.from_numpy(mean), mmvae.infer(model, data).mean, rtol=1e-5, atol=1e-5)
    model = mmvae.models.MVAE([mmvae.Modality("mean", (2,), mmvae.likelihoods.Normal())], 2)
    with pytest.raises(ValueError, match=r"model\.onnx would have an input and an output of the name 'mean'"):
        mmvae.export(model, {"mean": data["add"]}, tmp_path / "model.onnx")


def test_an_onnx_file_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = build("MVAE")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"model\.onnx needs the package onnxscript: pip install"):
        mmvae.export(model, data, tmp_path / "model.onnx")
    assert not any(tmp_path.iterdir())


def test_a_file(tmp_path: Path) -> None:
    """Written whole, and loaded without this library; weights are constants of the program."""
    model, data = build("MoPoE")
    path = tmp_path / "new" / "mopoe.pt2"
    mmvae.export(model, data, path, "bits")
    assert [each.name for each in path.parent.iterdir()] == ["mopoe.pt2"]
    program = torch.export.load(path).module()
    expected = mmvae.infer(model, data, "bits")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(program({"bits": data["bits"]})["mean"], expected.mean)


def test_a_file_of_convolutions(tmp_path: Path) -> None:
    """Whose weights lie in another order in memory."""
    image = mmvae.Modality("image", (3, 16, 16), mmvae.likelihoods.Laplace())
    model, data = mmvae.models.MVTCAE([image], 2), {"image": torch.rand(4, 3, 16, 16)}
    expected = mmvae.infer(model, data).mean
    mmvae.export(model, data, tmp_path / "image.pt2")
    found = torch.export.load(tmp_path / "image.pt2").module()(data)
    torch.testing.assert_close(found["mean"], expected)
    runtime = pytest.importorskip("onnxruntime")
    mmvae.export(model, data, tmp_path / "image.onnx")
    session = runtime.InferenceSession(tmp_path / "image.onnx", providers=["CPUExecutionProvider"])
    (mean,) = session.run(["mean"], {"image": data["image"].numpy()})
    torch.testing.assert_close(torch.from_numpy(mean), expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    model, data = build("MVAE")
    masks = {"bits": torch.arange(6) > 0}
    with pytest.raises(ValueError, match="data: the example must be complete"):
        mmvae.export(model, mmvae.Batch(data, masks))
    with pytest.raises(ValueError, match=r"path: .* ending \.pt2 or \.onnx, got .*model\.pt'"):
        mmvae.export(model, data, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="unknown modality 'voice'"):
        mmvae.export(model, data, subset="voice")
    assert mmvae.export(model, mmvae.Batch(data, masks), subset="real") is not None
