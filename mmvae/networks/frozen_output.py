"""Networks that judge without learning."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call


def frozen_output(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's output, of which its weights get no gradient."""
    return functional_call(network, {name: value.detach() for name, value in network.named_parameters()}, (inputs,))
