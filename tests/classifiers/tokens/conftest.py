"""Encoders of every kind, small and random, each with what its own library makes of the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from mmvae.nn import HuggingFaceEncoder, TextTransformer, TokenEncoder, TorchvisionViT, ViT, wrap_encoder

Bare = Callable[[Tensor], tuple[Tensor, Tensor, list[Tensor]]]


@dataclass
class Case:
    """An encoder in evaluation mode and data for it, of which token 1 can be changed alone."""

    encoder: TokenEncoder
    inputs: Tensor
    change_token_1: Callable[[Tensor], Tensor]
    bare: Bare | None = None  # class token, other tokens and hidden states by the library that the module is from
    sees_extra: bool = True  # whether the other tokens look at those put behind them
    heeds_mask: bool = True


class Mixer(nn.Module):
    """A module of unknown make: numbers ``[N, 5, 3]`` embedded with a class token, two layers that mix all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.lift = nn.Linear(3, 8)
        self.embedding = nn.Identity()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True) for _ in range(2)
        )

    def forward(self, data: Tensor) -> Tensor:
        tokens = self.embedding(torch.cat([self.first.expand(len(data), -1, -1), self.lift(data)], 1))
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


def change_second_patch(images: Tensor) -> Tensor:
    changed = images.clone()
    changed[:, :, :4, 4:8] += 1
    return changed


def change_id(position: int) -> Callable[[Tensor], Tensor]:
    def change(ids: Tensor) -> Tensor:
        changed = ids.clone()
        changed[:, position] = 47 - changed[:, position]
        return changed

    return change


def ids() -> Tensor:
    return torch.randint(5, 40, (4, 9))


def vit() -> Case:
    encoder = ViT((3, 12, 16), patch=4, dim=16, depth=2, heads=2, dropout=0.3)
    return Case(encoder, torch.rand(4, 3, 12, 16), change_second_patch)


def text() -> Case:
    encoder = TextTransformer(50, 9, dim=16, depth=2, heads=2, dropout=0.3, padding=0)
    return Case(encoder, ids(), change_id(1))


def torchvision() -> Case:
    from torchvision.models import VisionTransformer

    module = VisionTransformer(16, 4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1).eval()
    nn.init.normal_(module.conv_proj.weight)

    def bare(images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        tokens = torch.cat([module.class_token.expand(len(images), -1, -1), module._process_input(images)], 1)
        hidden = [tokens + module.encoder.pos_embedding]
        for layer in module.encoder.layers:
            hidden.append(layer(hidden[-1]))
        final = module.encoder(tokens)
        return final[:, 0], final[:, 1:], hidden[1:]

    return Case(TorchvisionViT(module), torch.rand(4, 3, 16, 16), change_second_patch, bare)


def _sizes() -> dict[str, int]:
    return {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def _enlarged(module: nn.Module) -> nn.Module:
    """Weights so large that tokens notice each other, which those of the libraries' start hardly do."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return module.eval()


def hf_vit(attention: str = "sdpa") -> Case:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(image_size=16, patch_size=4, attn_implementation=attention, **_sizes())
    module = _enlarged(transformers.ViTModel(config))

    def bare(images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        output = module(images, output_hidden_states=True)
        return output.last_hidden_state[:, 0], output.last_hidden_state[:, 1:], output.hidden_states[1:]

    return Case(HuggingFaceEncoder(module), torch.rand(4, 3, 16, 16), change_second_patch, bare)


def clip_vision(attention: str = "sdpa") -> Case:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(image_size=16, patch_size=4, attn_implementation=attention, **_sizes())
    module = _enlarged(transformers.CLIPVisionModel(config))

    def bare(images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        output = module(images, output_hidden_states=True)
        tokens = module.post_layernorm(output.last_hidden_state[:, 1:])
        return output.pooler_output, tokens, output.hidden_states[1:]

    return Case(HuggingFaceEncoder(module), torch.rand(4, 3, 16, 16), change_second_patch, bare)


def bert(attention: str = "sdpa") -> Case:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, max_position_embeddings=20, attn_implementation=attention, **_sizes()
    )
    module = _enlarged(transformers.BertModel(config))

    def bare(ids: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        output = module(ids, output_hidden_states=True)
        return output.last_hidden_state[:, 0], output.last_hidden_state[:, 1:], output.hidden_states[1:]

    return Case(HuggingFaceEncoder(module), ids(), change_id(2), bare)


def sentence() -> Case:
    case = bert()
    module = case.encoder.module

    def bare(ids: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        output = module(ids, output_hidden_states=True)
        hidden = [torch.cat([state.mean(1, keepdim=True), state], 1) for state in output.hidden_states[1:]]
        return output.last_hidden_state.mean(1), output.last_hidden_state, hidden

    return Case(HuggingFaceEncoder(module, pooling="mean"), ids(), change_id(1), bare)


def clip_text(attention: str = "sdpa") -> Case:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=50,
        max_position_embeddings=20,
        bos_token_id=48,
        eos_token_id=49,
        pad_token_id=49,
        attn_implementation=attention,
        **_sizes(),
    )
    module = _enlarged(transformers.CLIPTextModel(config))
    data = ids()
    data[:, 0], data[0, 5:], data[1:, 8] = 48, 49, 49

    def bare(ids: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        output = module(ids, output_hidden_states=True)
        end = (ids == 49).int().argmax(1)
        hidden = [
            torch.cat([state[torch.arange(len(ids)), end][:, None], state], 1) for state in output.hidden_states[1:]
        ]
        return output.pooler_output, output.last_hidden_state, hidden

    return Case(HuggingFaceEncoder(module), data, change_id(1), bare, sees_extra=False)


def wrapped() -> Case:
    module = Mixer().eval()

    def bare(data: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        tokens = torch.cat([module.first.expand(len(data), -1, -1), module.lift(data)], 1)
        hidden = [tokens]
        for layer in module.layers:
            hidden.append(layer(hidden[-1]))
        return hidden[-1][:, 0], hidden[-1][:, 1:], hidden[1:]

    def change(data: Tensor) -> Tensor:
        return data + torch.eye(5)[1][:, None]

    encoder = wrap_encoder(module, hidden="layers", embed="embedding", shape=(5, 3))
    return Case(encoder, torch.randn(4, 5, 3), change, bare, heeds_mask=False)


KINDS: dict[str, Callable[[], Case]] = {
    "ViT": vit,
    "TextTransformer": text,
    "torchvision": torchvision,
    "hf-vit": hf_vit,
    "hf-vit-eager": lambda: hf_vit("eager"),
    "clip-vision": clip_vision,
    "clip-vision-eager": lambda: clip_vision("eager"),
    "bert": bert,
    "bert-eager": lambda: bert("eager"),
    "sentence": sentence,
    "clip-text": clip_text,
    "clip-text-eager": lambda: clip_text("eager"),
    "wrapped": wrapped,
}


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    """Each kind in turn."""
    case = KINDS[request.param]()
    case.encoder.eval()
    return case


@pytest.fixture
def kinds() -> dict[str, Callable[[], Case]]:
    """All kinds by name."""
    return KINDS
