"""Showing a module's parameters to Pyro without its global parameter store."""

from __future__ import annotations

import weakref
from typing import Any

from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import nn


def expose_parameters(prefix: str, module: nn.Module) -> None:
    """Announces each parameter of ``module`` as a ``param`` site, so that ``pyro.infer.SVI`` finds and trains it.

    ``pyro.module`` would also copy them into the global parameter store, where a second model of the same name would
    find the weights of the first.
    """
    if not am_i_wrapped():
        return
    for name, parameter in module.named_parameters():
        parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]  # what SVI looks for
        _announce(parameter, name=f"{prefix}.{name}")


@effectful(type="param")
def _announce(parameter: nn.Parameter, **_: Any) -> nn.Parameter:
    return parameter
