"""Building a model that a file describes, within what its weights allow."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

_TIMES, _SPARE_NUMBERS = 4, 10**6
"""Constructors may make more numbers than are saved: some take copies, and some buffers are not saved."""

_REGISTERED_FOR_EACH, _SPARE_REGISTERED = 20, 10**4
"""Modules, parameters and buffers that are registered for each tensor that is saved; most have one or two."""


class TooLarge(ValueError):
    """A description asks for far more than its weights hold."""


@contextlib.contextmanager
def no_larger_than(shapes: Iterable[Sequence[int]]) -> Iterator[None]:
    """Stop this thread from building modules of far more numbers or parts than saved tensors of these shapes have.

    A description in a file may ask for the memory of the machine, or for layers without end. What it asks for is
    counted while modules are put together, before they are filled.

    Raises:
        TooLarge: In the midst of the constructor that goes too far.
    """
    sizes = [math.prod(shape) for shape in shapes]
    most_numbers = _TIMES * sum(sizes) + _SPARE_NUMBERS
    most_registered = _REGISTERED_FOR_EACH * len(sizes) + _SPARE_REGISTERED
    numbers, registered, thread = 0, 0, threading.get_ident()

    def count(module: Any, name: str, part: Any) -> None:
        nonlocal numbers, registered
        if threading.get_ident() != thread:  # the hooks are those of all threads
            return
        registered += 1
        numbers += part.numel() if isinstance(part, Tensor) else 0
        if numbers > most_numbers or registered > most_registered:
            raise TooLarge(f"it asks for more than {most_numbers:,} numbers or {most_registered:,} parts")

    with contextlib.ExitStack() as stack:
        for register in (
            register_module_parameter_registration_hook,
            register_module_buffer_registration_hook,
            register_module_module_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield
