"""Hugging Face's models: text of any length, padding, heads, folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmvae.nn import HuggingFaceEncoder, encoder_facts, huggingface_encoder

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def bert(kind: str = "BertModel", **settings: Any) -> Any:
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=20, **SIZES, **settings)
    return getattr(transformers, kind)(config).eval()


def clip(**settings: Any) -> Any:
    text = {"vocab_size": 50, "max_position_embeddings": 20, "bos_token_id": 48, "eos_token_id": 49, **SIZES}
    image = {"image_size": 16, "patch_size": 8, **SIZES}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=image, **settings)).eval()


@pytest.mark.parametrize("kind", ["bert", "bert-eager", "sentence", "clip-text", "clip-text-eager"])
@pytest.mark.parametrize("isolate", [False, True])
def test_padding_ids_are_no_tokens(kinds: Any, kind: str, isolate: bool) -> None:
    encoder, ids = kinds[kind]().encoder, kinds[kind]().inputs[1:]
    padded = torch.nn.functional.pad(ids, (0, 3), value=encoder.module.config.pad_token_id)
    extra = torch.randn(2, encoder.dim)
    short, long = encoder(ids, None, extra, isolate), encoder(padded, None, extra, isolate)
    torch.testing.assert_close(short.cls, long.cls, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(short.extra, long.extra, atol=1e-5, rtol=1e-5)
    places = short.tokens.shape[1]
    valid = torch.ones(short.tokens.shape[:2], dtype=torch.bool) if short.mask is None else short.mask
    assert torch.equal(long.mask[:, :places], valid)
    assert not long.mask[:, places:].any()
    torch.testing.assert_close(short.tokens[valid], long.tokens[:, :places][valid], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_is_what_the_library_makes_of_its_own_mask(attention: str) -> None:
    module = bert(attn_implementation=attention)
    ids = torch.tensor([[2, 7, 9, 0, 0], [2, 8, 7, 6, 5]])
    bare = module(ids, attention_mask=(ids != 0).long()).last_hidden_state
    output = HuggingFaceEncoder(module)(ids)
    torch.testing.assert_close(output.final[0, :3], bare[0, :3])
    torch.testing.assert_close(output.final[1], bare[1])


def test_a_row_of_padding_has_a_mean_of_zeros() -> None:
    encoder = HuggingFaceEncoder(bert(), pooling="mean")
    output = encoder(torch.zeros(2, 5, dtype=torch.int64), None, torch.randn(1, 16), isolate=True)
    assert not output.cls.any()
    assert output.final.isfinite().all()
    assert output.extra.isfinite().all()


def test_the_end_of_a_text_for_clip_of_old_is_its_highest_id() -> None:
    config = transformers.CLIPTextConfig(vocab_size=50, max_position_embeddings=20, eos_token_id=2, **SIZES)
    module = transformers.CLIPTextModel(config).eval()
    ids = torch.tensor([[48, 5, 6, 49, 0, 0], [48, 5, 49, 49, 49, 49]])
    output = HuggingFaceEncoder(module)(ids)
    torch.testing.assert_close(output.cls, module(ids).pooler_output)
    assert output.mask.sum(1).tolist() == [3, 2]


def test_heads_are_left_aside() -> None:
    whole = bert("BertForMaskedLM")
    encoder, ids = HuggingFaceEncoder(whole), torch.randint(5, 50, (2, 4))
    assert encoder.name == "BertModel"
    torch.testing.assert_close(encoder(ids).final, whole.bert(ids).last_hidden_state)


def test_images_without_a_class_token_have_the_mean_for_one() -> None:
    config = transformers.SiglipVisionConfig(image_size=16, patch_size=8, **SIZES)
    module = transformers.SiglipVisionModel(config).eval()
    output = HuggingFaceEncoder(module)(torch.rand(2, 3, 16, 16))
    assert output.tokens.shape == (2, 4, 16)
    torch.testing.assert_close(output.cls, output.tokens.mean(1))


def test_a_model_that_heeds_no_mask_gets_two_passes_and_no_padding() -> None:
    config = transformers.FNetConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, intermediate_size=24, max_position_embeddings=20
    )
    encoder = HuggingFaceEncoder(transformers.FNetModel(config).eval())
    ids, extra = torch.randint(5, 50, (2, 6)), torch.randn(1, 16)
    assert torch.equal(encoder(ids, None, extra, isolate=True).cls, encoder(ids).cls)
    assert not torch.allclose(encoder(ids, None, extra).cls, encoder(ids).cls)
    ids[1, 5] = config.pad_token_id
    with pytest.raises(
        ValueError, match=r"FNetModel: a mask was given, or ids of padding, but this model looks at all"
    ):
        encoder(ids)


def test_a_place_for_extra_tokens_can_be_named() -> None:
    config = transformers.AlbertConfig(vocab_size=50, embedding_size=8, max_position_embeddings=20, **SIZES)
    module = transformers.AlbertModel(config).eval()
    assert not HuggingFaceEncoder(module).takes_extra  # its embeddings are narrower than its tokens
    encoder = HuggingFaceEncoder(module, embed="encoder.embedding_hidden_mapping_in")
    ids, extra = torch.randint(5, 50, (2, 6)), torch.randn(1, 16)
    torch.testing.assert_close(encoder(ids, None, extra, isolate=True).cls, encoder(ids).cls)
    with pytest.raises(ValueError, match=r"AlbertModel: expected embedded tokens.*'pooler'.*parts are embeddings, enc"):
        HuggingFaceEncoder(module, embed="pooler")


def test_what_is_no_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CLIPModel: expected tokens from an example.*the one for images or the one"):
        HuggingFaceEncoder(clip())
    with pytest.raises(ValueError, match=r'bert: pooling="end" is for models of text whose configuration has an end'):
        HuggingFaceEncoder(bert(), pooling="end")
    flexible = bert()
    flexible.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match=r"BertModel: expected attention that takes masks.*got 'flex_attention'"):
        HuggingFaceEncoder(flexible)
    sound = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(conv_dim=(8,), conv_kernel=(4,), conv_stride=(2,), **SIZES)
    )
    with pytest.raises(TypeError, match=r"Wav2Vec2Model: expected a model of images .* got one of input_values"):
        HuggingFaceEncoder(sound)
    broken = bert()
    broken.embeddings.word_embeddings.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"BertModel: expected finite tokens, got NaN"):
        HuggingFaceEncoder(broken)


def test_a_folder_gives_the_model_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, ids = bert("BertForMaskedLM"), torch.randint(5, 50, (2, 4))
    module.save_pretrained(tmp_path)

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    environment, state = dict(os.environ), torch.get_rng_state()
    encoder = huggingface_encoder(tmp_path)  # a pooler, which nobody reads, is not in the folder
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(encoder(ids).final, module.bert(ids).last_hidden_state)
    pooled = huggingface_encoder(str(tmp_path), pooling="mean")
    torch.testing.assert_close(pooled(ids).cls, module.bert(ids).last_hidden_state.mean(1))


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    bert().to(torch.bfloat16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in huggingface_encoder(tmp_path).parameters()} == {torch.float32}


def test_a_part_of_a_model_of_several(tmp_path: Path) -> None:
    module = clip()
    module.save_pretrained(tmp_path)
    image, text = huggingface_encoder(tmp_path, part="vision_model"), huggingface_encoder(tmp_path, part="text_model")
    images, ids = torch.rand(2, 3, 16, 16), torch.tensor([[48, 5, 49], [48, 6, 49]])
    torch.testing.assert_close(image(images).cls, module.vision_model(images).pooler_output)
    torch.testing.assert_close(text(ids).cls, module.text_model(ids).pooler_output)
    with pytest.raises(ValueError, match=r"part: expected one of .*text_model.*, got 'tower'"):
        huggingface_encoder(tmp_path, part="tower")


def test_folders_that_hold_no_whole_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder with config.json and \*.safetensors, got .*nothing is"):
        huggingface_encoder("bert-base-uncased")
    bert().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "layer.1" not in name},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=r"holds no weights for encoder.layer.1.* and more; they would be random"):
        huggingface_encoder(tmp_path)


def test_equal_weights_are_told_apart_by_their_pooling_but_not_by_their_folder(tmp_path: Path) -> None:
    module = bert()
    module.save_pretrained(tmp_path)
    here = encoder_facts(HuggingFaceEncoder(module)).hash
    assert encoder_facts(huggingface_encoder(tmp_path)).hash == here
    assert encoder_facts(huggingface_encoder(tmp_path, pooling="mean")).hash != here
