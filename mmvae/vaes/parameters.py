"""Showing a module's parameters to Pyro without its global parameter store."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import nn


class _Itself(weakref.ref[nn.Parameter]):
    """What SVI calls to get a parameter. A copy of a model gets its own with its first step, so none is pickled."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return type(None), ()


def expose_parameters(prefix: str, module: nn.Module) -> None:
    """Announces each parameter of ``module`` as a ``param`` site, so that ``pyro.infer.SVI`` finds and trains it.

    ``pyro.module`` would also copy them into the global parameter store, where a second model of the same name would
    find the weights of the first.
    """
    if not am_i_wrapped():
        return
    if _is_traced():
        raise NotImplementedError(
            "Pyro's JIT (JitTrace_ELBO and its kin) takes weights from the parameter store, where those of this "
            "library are not, and fixes the number of rows. Take Trace_ELBO or TraceMeanField_ELBO; for faster "
            'training see fit(acceleration="compile").'
        )
    for name, parameter in module.named_parameters():
        parameter.unconstrained = _Itself(parameter)  # type: ignore[attr-defined]  # what SVI looks for
        _announce(parameter, name=f"{prefix}.{name}")


def _is_traced() -> bool:
    """Whether Pyro's JIT is looking for the parameters of a program."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "pyro.ops.jit":
            return True
    return False


@effectful(type="param")
def _announce(parameter: nn.Parameter, **_: Any) -> nn.Parameter:
    return parameter
