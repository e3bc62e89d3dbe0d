"""Adapters change nothing at first, reach every kind of attention, count as they should, and merge."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mmvae.nn import LowRank, TextTransformer, ViT, add_lora, merge_lora


class Packed(nn.Module):
    """A transformer of PyTorch's, whose attention keeps three matrices in one."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        memory = tokens[..., : self.attention.kdim]
        return self.layer(tokens + self.attention(tokens, memory, memory)[0])


class Fused(nn.Module):
    """One linear layer for queries, keys and values, as some vision libraries have it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value)


class HuggingFaceNames(nn.Module):
    """The linear layers of an encoder of a given size, as BERT names them; on no device, so at no cost."""

    def __init__(self, depth: int, dim: int, hidden: int) -> None:
        super().__init__()

        def layer() -> nn.ModuleDict:
            attention = {name: nn.Linear(dim, dim, device="meta") for name in ("query", "key", "value")}
            output = nn.ModuleDict({"dense": nn.Linear(dim, dim, device="meta")})
            return nn.ModuleDict(
                {
                    "attention": nn.ModuleDict({"self": nn.ModuleDict(attention), "output": output}),
                    "intermediate": nn.ModuleDict({"dense": nn.Linear(dim, hidden, device="meta")}),
                    "down": nn.ModuleDict({"dense": nn.Linear(hidden, dim, device="meta")}),
                }
            )

        self.layer = nn.ModuleList(layer() for _ in range(depth))


def own() -> tuple[nn.Module, Tensor]:
    return ViT((1, 4, 4), patch=2, dim=8, depth=2, heads=2), torch.randn(3, 1, 4, 4)


def vision() -> tuple[nn.Module, Tensor]:
    """The blocks of torchvision's transformer, which packs its attention."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=4, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=2
    )
    return model.encoder, torch.randn(3, 5, 8)


CASES = {
    "own": (own, 4),
    "packed": (lambda: (Packed(), torch.randn(3, 5, 8)), 4),
    "packed, other keys": (lambda: (Packed(kdim=6, vdim=6), torch.randn(3, 5, 8)), 4),
    "torchvision": (vision, 4),
    "fused": (lambda: (Fused(), torch.randn(3, 5, 8)), 2),
}


def outputs(module: nn.Module, data: Tensor) -> Tensor:
    found = module(data)
    return found if isinstance(found, Tensor) else found.final


def move(module: nn.Module) -> None:
    """Takes adapters away from where they start, where they do nothing."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("depth", "dim", "expected"), [(12, 768, (36_864, 73_728, 165_888)), (6, 384, (9_216, 18_432, 41_472))]
)
def test_counts_of_known_encoders(depth: int, dim: int, expected: tuple[int, int, int]) -> None:
    attention = ("query", "key", "value", "output")
    choices = [("query", "value"), attention, (*attention, "intermediate.dense", "down.dense")]
    for targets, count in zip(choices, expected, strict=True):
        module = HuggingFaceNames(depth, dim, 4 * dim)
        assert add_lora(module, 1, targets) == depth * len(targets)
        assert trainable(module) == count


@pytest.mark.parametrize("case", CASES)
def test_at_first_outputs_are_unchanged_and_all_else_is_frozen(case: str) -> None:
    make, matrices = CASES[case]
    module, data = make()
    before = outputs(module, data)
    assert add_lora(module, rank=2) == matrices
    torch.testing.assert_close(outputs(module, data), before, rtol=0, atol=1e-6)
    adapters = [part for part in module.modules() if isinstance(part, LowRank)]
    own = {id(parameter) for adapter in adapters for parameter in adapter.parameters()}
    assert all(parameter.requires_grad == (id(parameter) in own) for parameter in module.parameters())


@pytest.mark.parametrize("case", CASES)
def test_modes_agree_and_merged_weights_give_the_same(case: str) -> None:
    make, matrices = CASES[case]
    module, data = make()
    names = set(module.state_dict())
    before = outputs(module, data)
    add_lora(module, rank=2, alpha=3.0)
    move(module)
    training = outputs(module.train(), data)
    assert not torch.allclose(training, before, atol=1e-2)
    torch.testing.assert_close(outputs(module.eval(), data), training, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(outputs(module, data), training, rtol=0, atol=1e-5)
    assert merge_lora(module) == matrices
    assert set(module.state_dict()) == names
    assert not any(isinstance(part, LowRank) for part in module.modules())
    assert all(type(parameter) is nn.Parameter for parameter in module.parameters())
    torch.testing.assert_close(outputs(module, data), training, rtol=0, atol=1e-5)
    assert merge_lora(module) == 0


@pytest.mark.parametrize("case", CASES)
def test_a_step_moves_adapters_alone(case: str) -> None:
    make, _ = CASES[case]
    module, data = make()
    add_lora(module)
    move(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in module.parameters() if each.requires_grad], lr=1.0)
    outputs(module, data).square().sum().backward()
    optimiser.step()
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.endswith(("down", "up"))), name


def test_the_change_is_the_scaled_product_in_its_blocks() -> None:
    """Against the product written out; the block that is not asked for stays."""
    weight = torch.randn(9, 5)
    adapter = LowRank(weight, rank=2, alpha=3.0, blocks=3, adapted=(0, 2))
    assert torch.equal(adapter(weight), weight)
    move(adapter)
    change = adapter(weight) - weight
    for block, index in ((0, 0), (2, 1)):
        expected = 1.5 * adapter.up[index] @ adapter.down[index]
        torch.testing.assert_close(change[3 * block : 3 * block + 3], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(change[3:6], torch.zeros(3, 5))


def test_packed_attention_and_its_output_are_counted_once_each() -> None:
    module, data = Packed(), torch.randn(3, 5, 8)
    assert add_lora(module, targets=("query", "value", "output")) == 6
    move(module)
    expected = module(data)
    assert merge_lora(module) == 6
    torch.testing.assert_close(module(data), expected, rtol=0, atol=1e-5)


def test_merging_a_copy_leaves_the_module_alone() -> None:
    """And the other way round."""
    module, data = Packed(), torch.randn(3, 5, 8)
    add_lora(module)
    move(module)
    expected = module(data)
    twin = copy.deepcopy(module)
    merge_lora(twin)
    assert torch.equal(module(data), expected)
    merge_lora(module)
    for each in (module, twin):
        torch.testing.assert_close(each(data), expected, rtol=0, atol=1e-5)


def test_an_adapter_of_a_linear_layer_is_a_path_of_its_own() -> None:
    """W x + B A x, computed apart, and the gradients of A and B with it."""
    layer, data = nn.Sequential(), torch.randn(7, 6)
    layer.add_module("query", nn.Linear(6, 4))
    add_lora(layer, rank=2, targets=("query",))
    move(layer)
    linear = layer.query
    adapter = linear.parametrizations.weight[0]
    up, down = (each.detach().clone().requires_grad_() for each in (adapter.up, adapter.down))
    apart = (
        nn.functional.linear(data, linear.parametrizations.weight.original, linear.bias) + data @ down[0].T @ up[0].T
    )
    torch.testing.assert_close(layer(data), apart)
    layer(data).square().sum().backward()
    apart.square().sum().backward()
    torch.testing.assert_close(adapter.up.grad, up.grad)
    torch.testing.assert_close(adapter.down.grad, down.grad)


def test_text_encoders_have_the_same_names() -> None:
    module = TextTransformer(9, 5, dim=8, depth=3, heads=2)
    assert add_lora(module, targets=("query", "key", "value", "output")) == 12


def test_encoders_of_hugging_face() -> None:
    """Of both families of names."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=10, **sizes))
    vit = transformers.ViTModel(transformers.ViTConfig(image_size=4, patch_size=2, num_channels=1, **sizes))
    for module in (bert, vit):
        assert add_lora(module, targets=("query", "key", "value", "output")) == 8
        assert trainable(module) == 8 * 16


def test_an_unknown_target_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no matrix for 'wq' in this Fused, whose linear layers are 'qkv'"):
        add_lora(Fused(), targets=("query", "wq"))
    with pytest.raises(ValueError, match="whose linear layers are none"):
        add_lora(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="an empty list"):
        add_lora(Fused(), targets=())


def test_adapters_are_added_once() -> None:
    module = Fused()
    add_lora(module)
    with pytest.raises(ValueError, match="has low-rank adapters already"):
        add_lora(module)
    with pytest.raises(ValueError, match="rank: expected at least 1"):
        add_lora(Fused(), rank=0)
