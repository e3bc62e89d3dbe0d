"""Training and evaluation mode, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode; afterwards each part of the module has the mode in which it came."""
    before = {part: part.training for part in module.modules()}
    if any(was_training != training for was_training in before.values()):
        module.train(training)
    try:
        yield
    finally:
        for part, was_training in before.items():
            if part.training != was_training:  # to set it costs more than to look
                part.training = was_training
