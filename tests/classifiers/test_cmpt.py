"""Proxy tokens stand for what is missing, and nothing else in the frozen encoders moves."""

from __future__ import annotations

import functools
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.models import CMPT
from mmvae.nn import Frozen, LowRank, ProxyHead, TextTransformer, TokenEncoder, ViT, wrap_encoder
from mmvae.testing import InferenceContract

SIZES: dict[str, Any] = {"dim": 8, "depth": 2, "heads": 2}
PADDING = 0


class Outside(nn.Module):
    """An encoder that gives a class token and tokens, and takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.query(data).sigmoid() * self.value(data)
        return tokens.mean(1), tokens


def encoders(three: bool = False, **options: Any) -> dict[str, nn.Module]:
    """The same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found: dict[str, nn.Module] = {
            "image": ViT((1, 4, 4), patch=2, **{**SIZES, **options}),
            "text": TextTransformer(9, 5, padding=PADDING, **SIZES),
        }
        return {**found, "sound": TextTransformer(4, 3, **SIZES)} if three else found


class Isolated(CMPT):
    """No other token looks at a proxy."""

    isolate_proxy = True


class Detached(CMPT):
    """No gradient of the alignment reaches the class tokens."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        return super().distances(proxy, token.detach())


class IsolatedAndDetached(Isolated, Detached):
    """Both."""


class Cosine(CMPT):
    """The alignment is of directions, one number for each row."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        return 1 - nn.functional.cosine_similarity(proxy, token, dim=-1)


def make(three: bool = False, num_classes: int = 3, given: Any = None, kind: type[CMPT] = CMPT, **options: Any) -> CMPT:
    """A model whose adapters have left the place where they do nothing."""
    torch.manual_seed(1)
    model = kind(encoders(three) if given is None else given, num_classes, **options)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, LowRank):
                part.up.normal_(std=0.3)
    return model


def make_data(size: int = 6, three: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    data = {
        "image": torch.rand(size, 1, 4, 4, generator=generator),
        "text": torch.randint(1, 9, (size, 5), generator=generator),
    }
    data["text"][:2, 3:] = PADDING
    return {**data, "sound": torch.randint(4, (size, 3), generator=generator)} if three else data


OBSERVED = {
    "image": torch.tensor([True, True, False, False, True, False]),
    "text": torch.tensor([True, False, True, False, True, True]),
    "sound": torch.tensor([True, False, False, True, False, True]),
}
PAIR = {"image": torch.tensor([True, True, False, False, True, True]), "text": OBSERVED["text"] | ~OBSERVED["image"]}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class TestCMPT(InferenceContract):
    def build(self) -> CMPT:
        return CMPT(encoders(three=True), 3)

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return make_data(size, three=True)

    def make_labels(self, size: int = 6) -> Tensor:
        return torch.arange(size) % 3


def gradients(model: CMPT, *names: str) -> list[float]:
    """The largest gradient of each parameter of these names."""
    found = [each for key, each in model.named_parameters() if any(name in key for name in names)]
    assert found
    return [0.0 if each.grad is None else float(each.grad.abs().max()) for each in found]


def count_calls(model: CMPT) -> dict[str, int]:
    """How often each encoder runs, from now on."""
    calls = dict.fromkeys(model.names, 0)

    def count(name: str, *_: object) -> None:
        calls[name] += 1

    for name in model.names:
        model.encoder(name).register_forward_hook(functools.partial(count, name))
    return calls


# What is frozen, and what starts where.


@pytest.mark.parametrize("isolate", [True, False])
def test_at_first_the_class_token_is_that_of_the_encoder(isolate: bool) -> None:
    """With proxies that no other token sees, to within rounding; otherwise it is shifted by them."""
    given, data = encoders(), make_data()
    model = (Isolated if isolate else CMPT)(given, 3).eval()
    for name, output in model.encode(model.prepare(data)).items():
        encoder = given[name]
        assert isinstance(encoder, TokenEncoder)
        distance = (output.cls - encoder.eval()(data[name]).cls).abs().max()
        assert (distance < 1e-6) == isolate


def test_adapters_tokens_and_head_learn_and_nothing_else() -> None:
    """A step of training moves exactly those."""
    model = make(fusion="gated").train()
    assert not any(part.training for name in model.names for part in model.encoder(name).modules())
    for name, parameter in model.named_parameters():
        is_adapter = name.endswith(("0.down", "0.up"))
        is_behind = name.startswith(("proxy_tokens.", "fusion.", "head."))
        assert parameter.requires_grad == (is_adapter or is_behind), name
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    model.loss(Batch(make_data(), labels=LABELS)).total.backward()
    optimiser.step()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == trainable


def test_encoders_given_stay_as_they_are() -> None:
    given = encoders()
    before = {name: value.clone() for name, value in given["image"].state_dict().items()}
    model = make(given=given)
    mmvae.fit(model, make_data(), labels=LABELS, epochs=1, batch_size=3, progress=False, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in given["image"].state_dict().items())
    assert all(parameter.requires_grad for parameter in given["image"].parameters())


def test_counts() -> None:
    """Rank one on query and value of two layers, a token for each directed pair."""
    model = CMPT(encoders(three=True), 3, num_proxies=2)
    adapters = sum(
        each.numel() for name, each in model.named_parameters() if "parametrizations" in name and each.requires_grad
    )
    assert model.adapted == {"image": 4, "text": 4, "sound": 4}
    assert adapters == 3 * 4 * 16
    assert {name: tuple(each.shape) for name, each in model.proxy_tokens.items()} == dict.fromkeys(model.names, (4, 8))
    assert model.note.startswith("image: proxy tokens inside the encoder, 4 matrices adapted at rank 1; text:")


# What stands in for what.


@pytest.mark.parametrize("three", [False, True])
@pytest.mark.parametrize("fusion", ["sum", "gated", "concat"])
def test_slots_row_by_row(three: bool, fusion: Any) -> None:
    """Each row by itself, with the encoders alone: its class tokens, and the mean of the proxies that its own give."""
    model, data = make(three, fusion=fusion, num_proxies=2).eval(), make_data(three=three)
    observed = {name: OBSERVED[name] for name in model.names} if three else PAIR
    found = model.infer(data, observed=observed).mean
    for row in range(6):
        has = [name for name in model.names if observed[name][row]]
        outputs = {name: model.encoder(name)(data[name][row : row + 1], None, model.proxy_tokens[name]) for name in has}
        slots = []
        for target in model.names:
            if target in has:
                slots.append(outputs[target].cls[0])
                continue
            stand_ins = []
            for source in has:
                index = [name for name in model.names if name != source].index(target)
                extra = outputs[source].extra
                assert extra is not None
                stand_ins.append((extra[0, 2 * index] + extra[0, 2 * index + 1]) / 2)
            slots.append(sum(stand_ins[1:], start=stand_ins[0]) / len(stand_ins))
        if fusion == "sum":
            expected = sum(slots[1:], start=slots[0])
        elif fusion == "concat":
            expected = torch.cat(slots)
        else:
            logits = model.fusion.gate(torch.cat(slots))  # type: ignore[operator]
            if three:
                shares = torch.stack([logits[:8], logits[8:], torch.zeros(8)]).softmax(0)
            else:
                shares = torch.stack([logits.sigmoid(), 1 - logits.sigmoid()])
            expected = sum(share * slot for share, slot in zip(shares, slots, strict=True))
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_tokens_do_not_decay() -> None:
    """One encoder has its proxies inside, one outside; with nothing missing and no alignment, none has a gradient."""
    given = {"image": encoders()["image"], "other": wrap_encoder(Outside(), shape=(3, 4))}
    model = Isolated(given, 3, modality_dropout=False, alignment=0.0, rank=0)
    tokens = [each.detach().clone() for each in model.token_parameters()]
    assert [each.shape for each in tokens] == [(1, 8), (1, 8)]
    weight = model.proxy_heads["other"].layer.linear1.weight.detach().clone()  # type: ignore[union-attr]
    data = {"image": make_data()["image"], "other": torch.rand(6, 3, 4)}
    settings: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.5, "device": "cpu", "progress": False}
    mmvae.fit(model, data, labels=LABELS, epochs=1, batch_size=6, **settings)
    assert all(map(torch.equal, tokens, model.token_parameters()))
    torch.testing.assert_close(model.proxy_heads["other"].layer.linear1.weight, 0.95 * weight)  # type: ignore[union-attr]


def test_what_is_missing_has_no_effect_at_all() -> None:
    """Latents, losses and gradients are the same bits, whatever stands under a false mask."""
    data, observed = make_data(three=True), OBSERVED
    noisy = {name: value.clone() for name, value in data.items()}
    noisy["image"][~observed["image"]] = float("nan")
    noisy["text"][~observed["text"]] = -7
    noisy["sound"][~observed["sound"]] = 10**6
    results = []
    for each in (data, noisy):
        model = make(three=True).eval()
        latents = model.infer(each, observed=observed)
        loss = model.loss(Batch(each, observed, LABELS))
        loss.total.backward()
        numbers = [latents.mean, model.predict(latents), loss.total, *loss.terms.values()]
        results.append(numbers + [each.grad for each in model.parameters() if each.grad is not None])
    for first, second in zip(*results, strict=True):
        assert first.isfinite().all()
        assert torch.equal(first, second)


def test_padding_has_no_effect_on_a_proxy() -> None:
    model, data = make().eval(), make_data()
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[:, 3:] = False
    other = data["text"].clone()
    other[:, 3:] = 8
    first, second = (
        model.encoder("text")(each, mask, model.proxy_tokens["text"]).extra for each in (data["text"], other)
    )
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_only_encoders_of_modalities_that_are_there_run() -> None:
    model, data = make(three=True).eval(), make_data(three=True)
    calls = count_calls(model)
    mmvae.infer(model, data, subset="text")
    assert calls == {"image": 0, "text": 1, "sound": 0}
    mmvae.infer(model, {"image": data["image"], "sound": data["sound"]})
    assert calls == {"image": 1, "text": 1, "sound": 1}


@pytest.mark.parametrize("isolate", [True, False])
def test_the_task_reaches_proxies_that_are_used(isolate: bool) -> None:
    """When the other modality is missing; when nothing is, only through the tokens that see them."""
    data = make_data()
    model = make(kind=Isolated if isolate else CMPT, alignment=0.0, modality_dropout=False)
    model.loss(Batch({"image": data["image"]}, labels=LABELS)).total.backward()
    assert gradients(model, "proxy_tokens.image")[0] > 0
    model.zero_grad()
    model.loss(Batch(data, labels=LABELS)).total.backward()
    assert all((each == 0) == isolate for each in gradients(model, "proxy_tokens"))


# Alignment.


def misalignment(model: CMPT, batch: Batch) -> Tensor:
    prepared = model.prepare(batch)
    encodings = model.encode(prepared)
    return model.regularisers(encodings, prepared, prepared.observed)["alignment"][1]


@pytest.mark.parametrize("kind", [CMPT, Cosine])
def test_alignment_is_the_mean_distance_of_complete_pairs(kind: type[CMPT]) -> None:
    """Against a loop over directed pairs and rows; a row that lacks one of a pair changes nothing."""
    model, data = make(three=True, kind=kind).eval(), make_data(three=True)
    encodings = model.encode(model.prepare(data))
    of_pairs = []
    for source, target in product(model.names, model.names):
        if source == target:
            continue
        index = [name for name in model.names if name != source].index(target)
        extra = encodings[source].extra
        assert extra is not None
        of_rows = []
        for row in range(6):
            if OBSERVED[source][row] and OBSERVED[target][row]:
                proxy, token = extra[row, index], encodings[target].cls[row]
                if kind is Cosine:
                    of_rows.append(1 - proxy @ token / (proxy.norm() * token.norm()))
                else:
                    of_rows.append((proxy - token).square().mean())
        of_pairs.append(sum(of_rows, start=torch.zeros(())) / len(of_rows))
    expected = sum(of_pairs, start=torch.zeros(())) / len(of_pairs)
    torch.testing.assert_close(misalignment(model, Batch(data, OBSERVED)), expected)


def test_alignment_of_proxies_that_equal_their_targets_is_nothing() -> None:
    """Both encoders alike, and proxies that are their class tokens themselves."""
    encoder, image = encoders()["image"], make_data()["image"]
    model = make(given={"left": encoder, "right": encoder}, rank=0).eval()
    for side in ("left", "right"):
        embedding = model.encoder(side).encoder.embedding  # type: ignore[union-attr]
        with torch.no_grad():
            embedding.class_token.copy_(torch.randn(8))
            embedding.positions[0].zero_()
            model.proxy_tokens[side][0] = embedding.class_token
    with torch.no_grad():
        model.encoder("right").load_state_dict(model.encoder("left").state_dict())
        model.proxy_tokens["right"].copy_(model.proxy_tokens["left"])
    assert misalignment(model, Batch({"left": image, "right": image})) < 1e-10
    assert misalignment(model, Batch({"left": image, "right": image.flip(0)})) > 1e-3


def test_alignment_without_complete_pairs_is_nothing() -> None:
    model, data = make().eval(), make_data()
    observed = {"image": PAIR["image"], "text": ~PAIR["image"]}
    for batch in (Batch(data, observed, LABELS), Batch({"image": data["image"]}, labels=LABELS)):
        loss = model.loss(batch)
        assert loss.terms["alignment"] == 0
        assert torch.equal(loss.total, loss.terms["task"])
        loss.total.backward()
    torch.testing.assert_close(
        misalignment(model, Batch(data, PAIR)),
        misalignment(model, Batch({name: value[[0, 4, 5]] for name, value in data.items()})),
    )


def test_alignment_looks_at_what_is_there_and_not_at_what_is_shown() -> None:
    model, batch = make(), Batch(make_data(), labels=LABELS)
    expected = model.eval().loss(batch).terms["alignment"]
    assert torch.equal(model.train().loss(batch).terms["alignment"], expected)
    loss = model.eval().loss(batch)
    torch.testing.assert_close(loss.total, loss.terms["task"] + 0.2 * loss.terms["alignment"])


@pytest.mark.parametrize("detach", [True, False])
def test_targets_learn_of_the_alignment_unless_detached(detach: bool) -> None:
    """The class token of a modality that gives no proxy to the other direction."""
    data = make_data()
    model = make(kind=IsolatedAndDetached if detach else Isolated)
    prepared = model.prepare(data)
    encodings = model.encode(prepared)
    for output in encodings.values():
        output.cls.retain_grad()
        assert output.extra is not None
        output.extra.retain_grad()
    model.regularisers(encodings, prepared, prepared.observed)["alignment"][1].backward()
    for output in encodings.values():
        assert output.extra is not None
        assert output.extra.grad is not None
        assert output.extra.grad.abs().max() > 0
        assert (output.cls.grad is None or not output.cls.grad.any()) == detach


def test_the_variance_of_class_tokens_is_told() -> None:
    model, data = make().eval(), make_data()
    loss = model.loss(Batch(data, PAIR, LABELS))
    tokens = model.encode(model.prepare(Batch(data, PAIR)))["image"].cls[PAIR["image"]]
    torch.testing.assert_close(loss.terms["class_variance_image"], tokens.var(0, correction=0).mean())
    assert not loss.terms["class_variance_image"].requires_grad


# Variants.


def test_encoders_of_other_widths_meet_in_the_largest() -> None:
    model = make(given=encoders(dim=4), num_classes=2).eval()
    assert model.latent_dim == model.common_dim == 8
    assert [type(model.class_maps[name]) for name in ("image", "text")] == [nn.Linear, nn.Identity]
    for subset in ("image", "text", ["image", "text"]):
        assert model.infer(make_data(), subset).mean.isfinite().all()  # type: ignore[arg-type]
    assert make(common_dim=5).latent_dim == 5
    loss = model.loss(Batch(make_data(), labels=LABELS % 2))
    loss.total.backward()
    assert min(gradients(model, "maps")) > 0


def test_an_encoder_without_a_place_for_tokens_has_them_outside() -> None:
    """And the model says so; the other encoder has them inside."""
    data = {"sensor": torch.randn(6, 7, 4), "text": make_data()["text"]}
    given = {"sensor": wrap_encoder(Outside(), shape=(7, 4)), "text": encoders()["text"]}
    assert make(given=given).adapted == {"sensor": 2, "text": 4}
    model = make(given=given, rank={"sensor": 0, "text": 1}).eval()
    assert model.places == {"sensor": "outside", "text": "inside"}
    assert "sensor: proxy tokens outside the encoder, no adapters" in model.note
    alone = model.infer(data, "sensor").mean
    output = model.encoder("sensor")(data["sensor"])
    proxy = model.proxy_heads["sensor"](output.tokens, output.mask)[:, 0]
    torch.testing.assert_close(alone, output.cls + proxy)
    loss = model.loss(Batch(data, {"sensor": PAIR["image"], "text": PAIR["text"]}, LABELS))
    loss.total.backward()
    assert min(gradients(model, "proxy_heads.sensor.tokens", "proxy_tokens")) > 0


def test_outside_heads_look_at_valid_tokens_alone() -> None:
    head, tokens = ProxyHead(8, 2).eval(), torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] * 5])
    other = torch.where(mask[..., None], tokens, torch.full_like(tokens, 9.0))
    torch.testing.assert_close(head(tokens, mask), head(other, mask))
    torch.testing.assert_close(head(tokens, mask)[1], head(tokens[1:2, :3])[0])


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_it_learns_with_data_missing(task: Any) -> None:
    """Each class is told by either modality; after training one of them is enough."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(2, (96,), generator=generator)
    data = {
        "image": torch.rand(96, 1, 4, 4, generator=generator) * 0.3 + classes[:, None, None, None],
        "text": torch.randint(1, 5, (96, 5), generator=generator) + 4 * classes[:, None],
    }
    observed = {"image": torch.rand(96, generator=generator) < 0.7}
    labels = torch.stack([classes, 1 - classes], 1) if task == "multi-label" else classes
    model = CMPT(encoders(), 2, task=task)
    options: dict[str, Any] = {"epochs": 6, "batch_size": 16, "lr": 0.02, "progress": False, "device": "cpu"}
    mmvae.fit(model, data, labels=labels, observed=observed, **options)
    for subset in (None, "image", "text"):
        logits = model.predict(mmvae.infer(model, data, subset))
        assert (logits.argmax(1) == (1 - classes if task == "multi-label" else classes)).float().mean() > 0.9


# Saved, merged, refused.


def test_merged_weights_give_the_same_and_the_model_is_left_alone() -> None:
    model, data = make().eval(), make_data()
    before = model.infer(data, "image").mean
    merged = model.merge()
    assert any(isinstance(part, LowRank) for part in model.modules())
    assert not any(isinstance(part, LowRank) for part in merged.modules())
    for subset in ("image", "text", ["image", "text"]):
        torch.testing.assert_close(merged.infer(data, subset).mean, model.infer(data, subset).mean, rtol=0, atol=1e-5)
    assert set(merged.state_dict()) == set(CMPT(encoders(), 3, rank=0).state_dict())
    assert "no adapters" in merged.note
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert torch.equal(model.infer(data, "image").mean, before)


@pytest.mark.parametrize("merged", [True, False])
def test_save_and_load(merged: bool, tmp_path: Path) -> None:
    model, data = make(targets=("query", "value", "output")).eval(), make_data()
    if merged:
        model = model.merge()
    again = mmvae.load(mmvae.save(model, tmp_path))
    assert type(again) is CMPT
    assert again.adapted == model.adapted
    for subset in ("image", ["image", "text"]):
        assert torch.equal(mmvae.infer(again, data, subset).mean, mmvae.infer(model, data, subset).mean)


def test_a_single_modality_needs_no_proxies() -> None:
    model = make(given={"image": encoders()["image"]})
    assert not list(model.proxy_tokens)
    loss = model.loss(Batch({"image": make_data()["image"]}, labels=LABELS))
    assert loss.terms["alignment"] == 0
    assert model.infer({"image": make_data()["image"]}).mean.shape == (6, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": {"image": 1}}, "rank: expected one for each of 'image', 'text', got 'image'"),
        ({"targets": ("wq",)}, r"image: targets: no matrix for 'wq' .* rank={'image': 0, 'text': 1}"),
        ({"num_proxies": 0}, "num_proxies: expected at least 1"),
        ({"common_dim": 0}, "common_dim: expected at least 1, got 0"),
        ({"alignment": -1.0}, "alignment: expected a number of at least 0"),
        ({"fusion": "product"}, "fusion: expected one of 'sum', 'gated', 'concat', got 'product'"),
    ],
)
def test_bad_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMPT(encoders(), 3, **options)


def test_nothing_to_infer_from_is_an_error() -> None:
    model, data = make(), make_data()
    observed = {name: torch.zeros(6, dtype=torch.bool) for name in model.names}
    with pytest.raises(ValueError, match="none of 'image', 'text' observed"):
        model.infer(data, observed=observed)


def test_frozen_encoders_may_be_given() -> None:
    given = {name: Frozen(each) for name, each in encoders().items()}
    model = make(given=given)
    assert model.places == {"image": "inside", "text": "inside"}
    assert model.adapted == {"image": 4, "text": 4}


def other_libraries() -> dict[str, nn.Module]:
    """Small encoders of torchvision (whose attention is packed) and of Hugging Face, with random weights."""
    transformers = pytest.importorskip("transformers")
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    text = transformers.BertModel(transformers.BertConfig(vocab_size=9, max_position_embeddings=8, **sizes))
    image = VisionTransformer(image_size=4, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16)
    return {"image": image.eval(), "text": text.eval()}


@pytest.mark.parametrize("isolate", [True, False])
def test_encoders_of_other_libraries_have_tokens_and_adapters_inside(isolate: bool, tmp_path: Path) -> None:
    given = other_libraries()
    data = {"image": torch.rand(6, 3, 4, 4), "text": make_data()["text"]}
    kind = IsolatedAndDetached if isolate else Detached
    model = make(given=given, kind=kind)
    assert model.places == {"image": "inside", "text": "inside"}
    assert model.adapted == {"image": 4, "text": 4}
    model.train().loss(Batch(data, PAIR, LABELS)).total.backward()
    assert min(gradients(model, "proxy_tokens", "0.up")) > 0
    merged = model.eval().merge()
    for subset in ("image", "text", ["image", "text"]):
        torch.testing.assert_close(merged.infer(data, subset).mean, model.infer(data, subset).mean, rtol=0, atol=1e-5)
    for each in (model, merged):
        folder = mmvae.save(each, tmp_path / str(each is merged))
        again = mmvae.load(folder, kind(given, 3, rank=0 if each is merged else 1))
        assert torch.equal(again.eval().infer(data).mean, each.infer(data).mean)
