"""What a report says of an encoder, so that a random one is not taken for a pretrained one."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from mmvae.classifiers.lora import LowRank
from mmvae.classifiers.tokens.base import TokenEncoder
from mmvae.classifiers.tokens.frozen import Frozen


@dataclass(frozen=True)
class EncoderFacts:
    """Which encoder it is, and how much of it learns.

    Attributes:
        name: of the encoder, or of the module inside it.
        hash: SHA-256 of its weights and of the settings that decide what it makes of them, hexadecimal; adapters that
            learn are left out, so that an encoder is known by its hash when it has some too.
        frozen: how many numbers of its parameters do not learn.
        trainable: how many do.
    """

    name: str
    hash: str
    frozen: int
    trainable: int

    def __str__(self) -> str:
        return f"{self.name} {self.hash[:12]}: {self.frozen:,} frozen and {self.trainable:,} trainable parameters"


def encoder_facts(encoder: TokenEncoder) -> EncoderFacts:
    """Name, hash and parameter counts of an encoder.

    Encoders of equal weights and settings have equal hashes, frozen or not, on any device.
    """
    bare = encoder.encoder if isinstance(encoder, Frozen) else encoder
    digest = hashlib.sha256(json.dumps([encoder.name, encoder.settings()], sort_keys=True, default=str).encode())
    for key, value in _weights(bare):
        value = value.detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    counts = {True: 0, False: 0}
    for parameter in encoder.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return EncoderFacts(encoder.name, digest.hexdigest(), frozen=counts[False], trainable=counts[True])


def _weights(encoder: TokenEncoder) -> list[tuple[str, Tensor]]:
    """Weights and buffers by name, under the names that they have without adapters, and without those that learn."""
    learning = {
        f"{path}.{key}"
        for path, part in encoder.named_modules()
        if isinstance(part, LowRank)
        for key, parameter in part.named_parameters()
        if parameter.requires_grad
    }
    named = {
        re.sub(r"parametrizations\.(\w+)\.original$", r"\1", key): value
        for key, value in encoder.state_dict().items()
        if key not in learning
    }
    return sorted(named.items())
