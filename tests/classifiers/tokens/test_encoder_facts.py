"""What reports say of encoders."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from mmvae.nn import Frozen, TextTransformer, ViT, add_lora, encoder_facts, wrap_encoder


def encoder(heads: int = 2) -> ViT:
    torch.manual_seed(1)
    return ViT((1, 4, 4), patch=2, dim=8, depth=1, heads=heads)


def test_names_and_counts() -> None:
    learning, frozen = encoder_facts(encoder()), encoder_facts(Frozen(encoder()))
    total = sum(parameter.numel() for parameter in encoder().parameters())
    assert (learning.name, learning.trainable, learning.frozen) == ("ViT", total, 0)
    assert (frozen.name, frozen.trainable, frozen.frozen) == ("ViT", 0, total)
    assert str(frozen) == f"ViT {frozen.hash[:12]}: {total:,} frozen and 0 trainable parameters"


def test_the_hash_is_that_of_weights_and_settings() -> None:
    facts = encoder_facts(encoder())
    assert len(facts.hash) == hashlib.sha256().digest_size * 2
    assert encoder_facts(encoder()).hash == facts.hash == encoder_facts(Frozen(encoder())).hash
    other_heads = encoder(heads=4)
    other_heads.load_state_dict(encoder().state_dict())
    assert encoder_facts(other_heads).hash != facts.hash
    touched = encoder()
    with torch.no_grad():
        touched.transformer.norm.bias[0] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    assert encoder_facts(touched).hash != facts.hash


def test_half_precision_and_scalars_are_hashed_too() -> None:
    module = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(4))
    wrapped = wrap_encoder(module, shape=(4, 3))
    before = encoder_facts(wrapped).hash
    module[1].num_batches_tracked.add_(1)
    assert encoder_facts(wrapped).hash != before
    assert encoder_facts(wrapped.to(torch.bfloat16)).hash not in (before, encoder_facts(wrapped.float()).hash)


def test_every_kind_has_facts(case: Any) -> None:
    facts = encoder_facts(case.encoder)
    assert facts.frozen + facts.trainable == sum(parameter.numel() for parameter in case.encoder.parameters())
    assert facts.hash == encoder_facts(Frozen(case.encoder)).hash


def test_padding_is_a_setting() -> None:
    one, other = TextTransformer(5, 3, dim=8, heads=2), TextTransformer(5, 3, dim=8, heads=2, padding=0)
    other.load_state_dict(one.state_dict())
    assert encoder_facts(one).hash != encoder_facts(other).hash


def test_what_is_read_of_a_modules_output_is_a_setting() -> None:
    """Otherwise features that were kept of one reading would be taken for those of another."""
    module = nn.Linear(2, 6)

    def reading(first: int) -> str:
        return encoder_facts(wrap_encoder(module, lambda out: (out[:, first], out[:, 1:]), shape=(3, 2))).hash

    mean = encoder_facts(wrap_encoder(module, lambda out: (None, out), shape=(3, 2))).hash
    plain = encoder_facts(wrap_encoder(module, shape=(3, 2))).hash
    assert reading(0) == reading(0)
    assert len({reading(0), reading(1), mean, plain}) == 4


def test_adapters_that_learn_are_no_part_of_the_encoder() -> None:
    """Those that are frozen decide what it says, and are."""
    plain, adapted = encoder_facts(encoder()).hash, Frozen(encoder())
    add_lora(adapted, targets=("query", "output"))
    assert encoder_facts(adapted).hash == plain
    assert encoder_facts(adapted).trainable > 0
    assert encoder_facts(Frozen(adapted.encoder)).hash != plain
