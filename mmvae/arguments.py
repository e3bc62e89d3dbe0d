"""One memory of constructor arguments, for every part of a model that is saved in words."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any


class Remembers:
    """A part that remembers the arguments of its constructor, so that a description can rebuild it.

    Models, likelihoods, posteriors, objectives, priors, schedules, transforms and networks inherit it, beside
    ``nn.Module`` or alone.

    Attributes:
        arguments: Arguments of the constructor by name, as the caller passed them; defaults are left out.
    """

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the part, and bind what the constructor is about to receive."""
        part = super().__new__(cls)
        arguments: dict[str, Any] = {}
        with contextlib.suppress(TypeError):  # wrong arguments: the constructor says so in its own words
            bound = inspect.signature(cls.__init__).bind_partial(part, *args, **kwargs)
            arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
        object.__setattr__(part, "arguments", arguments)
        return part
