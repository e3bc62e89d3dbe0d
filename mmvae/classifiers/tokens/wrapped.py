"""A module of unknown make as a token encoder."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder, joined_mask
from mmvae.classifiers.tokens.hooks import REFUSALS, appended, in_two_passes, recorded
from mmvae.classifiers.tokens.huggingface import HuggingFaceEncoder
from mmvae.classifiers.tokens.torchvision import TorchvisionViT
from mmvae.modes import mode
from mmvae.networks.masked import masked_mean

Output = Callable[[Any], Sequence[Tensor | None]]
"""From what a module returns to ``(cls, tokens)``; a class token of ``None`` asks for the mean of the tokens."""


class WrappedEncoder(TokenEncoder):
    """A module that returns class token and tokens, as a token encoder; made by :func:`wrap_encoder`.

    A mask reaches the module if its ``forward`` has an argument ``mask``, and the output in any case. Extra tokens are
    put behind what the submodule ``embed`` gives and expected back behind the others; as nothing is known of the
    module's attention, ``isolate`` takes two passes.

    Args:
        module: the module.
        output: as of :func:`wrap_encoder`.
        hidden: as of :func:`wrap_encoder`.
        embed: as of :func:`wrap_encoder`.
        dtype: as of :func:`wrap_encoder`.
        shape: as of :func:`wrap_encoder`.
        dim: as of :func:`wrap_encoder`.

    Attributes:
        module: as given.
        blocks: names of the submodules whose outputs are the hidden states.
    """

    def __init__(
        self,
        module: nn.Module,
        output: Literal["auto"] | Output = "auto",
        hidden: str | Sequence[str] | None = "auto",
        embed: str | None = None,
        dtype: torch.dtype | None = None,
        shape: tuple[int, ...] | None = None,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.output: Any = output
        self.blocks = _named_blocks(module, hidden)
        self.embed = embed
        self.dtype = dtype or torch.float32
        self.shape = shape
        self.takes_extra = embed is not None
        self.takes_mask = "mask" in inspect.signature(module.forward).parameters
        self.offers_hidden = hidden is not None
        self.depth = len(self.blocks) or 1
        self.tried = False
        if shape is not None:
            example = torch.zeros(2, *shape, dtype=self.dtype, device=_device(module))
            if self.dtype.is_floating_point:
                example = torch.linspace(0, 1, example.numel(), device=example.device).view_as(example)
            self._try_out(example, dim)
        elif dim is None:
            raise ValueError(
                f"{self.name}: expected the shape of one datum, to try the module out, or the width of its tokens, got "
                f"neither; give wrap_encoder(module, shape=...) or dim=...."
            )
        else:
            self.dim = dim
            self.offers_hidden = bool(self.blocks)

    @property
    def name(self) -> str:
        """The module's."""
        return type(self.module).__name__

    def settings(self) -> dict[str, Any]:
        """What is read of the module's output, and the parts of the module with their sizes."""
        return {"output": _identity(self.output), "blocks": self.blocks, "module": repr(self.module)}

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        self.check(inputs, extra)
        if not self.tried and len(inputs):
            self._try_out(inputs[:2], self.dim)
        if extra is not None and isolate:
            return in_two_passes(lambda tokens: self._encode(inputs, mask, tokens), extra)
        return self._encode(inputs, mask, extra)

    def _encode(
        self, inputs: Tensor, mask: Bool[Tensor, "N T"] | None, extra: Float[Tensor, "k d"] | None
    ) -> EncoderOutput:
        blocks = [self.module.get_submodule(name) for name in self.blocks]
        arguments = {"mask": mask} if self.takes_mask and mask is not None else {}
        with appended(self.module, self.embed or "", extra), recorded(blocks) as states:
            returned = self.module(inputs, **arguments)
        cls, tokens = self._read(returned)
        num_extra = 0 if extra is None else len(extra)
        num_tokens = tokens.shape[1] - num_extra
        tokens, behind = tokens[:, :num_tokens], tokens[:, num_tokens:]
        mask = joined_mask(self.name, mask, None, (len(inputs), num_tokens))
        cls = masked_mean(tokens, mask) if cls is None else cls
        hidden = None
        if self.offers_hidden:
            # The first of the hidden states in an output are the embedded tokens, in the libraries that give them.
            states = states if self.blocks else list(getattr(returned, "hidden_states", None) or ())[1:]
            states = [state[:, : state.shape[1] - num_extra] for state in states]
            hidden = tuple(_led(state, mask) if state.shape[1] == num_tokens else state for state in states) or None
        return EncoderOutput(cls, tokens, mask, hidden, None if extra is None else behind)

    def _read(self, returned: Any) -> tuple[Tensor | None, Tensor]:
        """Class token and tokens."""
        if self.output != "auto":
            returned = self.output(returned)
        elif hasattr(returned, "last_hidden_state"):
            returned = returned.last_hidden_state
        if isinstance(returned, Tensor) and returned.ndim == 3:
            return returned[:, 0], returned[:, 1:]
        if isinstance(returned, (tuple, list)) and len(returned) == 2:
            cls, tokens = returned
            return cls, tokens
        raise TypeError(
            f"{self.name}: expected (cls, tokens), an object with last_hidden_state or a tensor [N, 1 + n, d], got "
            f"{_described(returned)}; say what is what: wrap_encoder(module, output=lambda returned: (cls, tokens))."
        )

    def _try_out(self, example: Tensor, dim: int | None) -> None:
        """Checks what the module makes of an example, once.

        Raises:
            ValueError: for tokens, hidden states or extra tokens that are not as they should be.
        """
        with mode(self.module, training=False), torch.no_grad():
            cls, tokens = self._read(self.module(example))
            _check_tokens(self.name, cls, tokens, len(example), dim)
            self.dim = tokens.shape[2]
            output = self._encode(example, None, None)
            whole = (len(tokens), 1 + tokens.shape[1], self.dim)
            for state in output.hidden or ():
                if state.shape != whole:
                    raise ValueError(
                        f"{self.name}: expected hidden states of shape {list(whole)}, or without a class token, got "
                        f"{list(state.shape)}; name blocks that give tokens of one width, or none: hidden=None."
                    )
            self.offers_hidden, self.depth = output.hidden is not None, len(output.layers)
            if self.embed is not None:
                self._check_extra(example, self.embed, 1 + tokens.shape[1])
        self.tried = True

    def _check_extra(self, example: Tensor, embed: str, expected: int) -> None:
        extra = torch.linspace(-1, 1, self.dim, device=example.device)[None]
        try:
            with appended(self.module, embed, extra):
                came = f"{self._read(self.module(example))[1].shape[1]}"
        except REFUSALS as error:
            came = f"the error {error!s:.200}"
        if came != str(expected):
            raise ValueError(
                f"{self.name}: expected {expected} tokens with one more behind the output of {embed!r}, got {came}; "
                f"give the name of the submodule that embeds the data, to [N, S, {self.dim}], or no embed."
            )


def _check_tokens(name: str, cls: Any, tokens: Any, rows: int, dim: int | None) -> None:
    """Refuses what are no class tokens ``[N, d]`` (or none) and tokens ``[N, n, d]``, real and finite."""
    if dim is None and isinstance(tokens, Tensor) and tokens.ndim == 3:
        dim = tokens.shape[2]
    parts = {"tokens": tokens} if cls is None else {"cls": cls, "tokens": tokens}
    fits = isinstance(tokens, Tensor) and tokens.ndim == 3 and (tokens.shape[0], tokens.shape[2]) == (rows, dim)
    if not fits or not (cls is None or (isinstance(cls, Tensor) and cls.shape == (rows, dim))):
        width = "d" if dim is None else dim
        raise ValueError(
            f"{name}: expected of {rows} data points cls [{rows}, {width}] and tokens [{rows}, n, {width}], got "
            f"{_described((cls, tokens))}; say what is what: wrap_encoder(module, output=lambda returned: (cls, "
            f"tokens))."
        )
    for part, value in parts.items():
        if not value.is_floating_point() or not value.isfinite().all():
            what = "NaN or infinity" if value.is_floating_point() else str(value.dtype)
            raise ValueError(f"{name}: expected {part} of finite real numbers, got {what}; check the module's weights.")


def _named_blocks(module: nn.Module, hidden: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the submodules whose outputs are the hidden states."""
    if hidden is None or hidden == "auto":
        return ()
    if isinstance(hidden, str):
        return tuple(f"{hidden}.{name}" for name, _ in module.get_submodule(hidden).named_children())
    return tuple(hidden)


def _identity(output: Any) -> Any:
    """What tells a function from others, also in another process: its code and the values that it holds."""
    code = getattr(output, "__code__", None)
    if code is None:
        return repr(output)
    held = [cell.cell_contents for cell in output.__closure__ or ()]
    return [code.co_code.hex(), code.co_names, *(repr(each) for each in (code.co_consts, output.__defaults__, held))]


def _led(state: Float[Tensor, "N n d"], mask: Bool[Tensor, "N n"] | None) -> Float[Tensor, "N S d"]:
    """A hidden state that has no class token, with the mean of the valid tokens in its place."""
    return torch.cat([masked_mean(state, mask)[:, None], state], 1)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_described(part) for part in value)})"
    return type(value).__name__


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def wrap_encoder(
    module: nn.Module,
    output: Literal["auto"] | Output = "auto",
    hidden: str | Sequence[str] | None = "auto",
    embed: str | None = None,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
    dim: int | None = None,
) -> TokenEncoder:
    """A token encoder around a module that makes tokens.

    A :class:`TokenEncoder` is returned as it is. A torchvision ``VisionTransformer`` becomes a :class:`TorchvisionViT`
    and a Hugging Face ``PreTrainedModel`` a :class:`HuggingFaceEncoder`, unless ``output`` or ``hidden`` is given;
    everything else becomes a :class:`WrappedEncoder`. The module is neither copied nor frozen: see :class:`Frozen`.

    Args:
        module: from data ``[N, *shape]`` to a pair ``(cls [N, d], tokens [N, n, d])``, an object with
            ``last_hidden_state [N, 1 + n, d]``, or a tensor ``[N, 1 + n, d]``.
        output: from what the module returns to ``(cls, tokens)``, for modules that return anything else; ``cls`` may
            be ``None`` where there is no class token.
        hidden: names of the submodules whose outputs are the hidden states, or of one whose children they are;
            ``"auto"`` for the ``hidden_states`` of what the module returns, ``None`` for no hidden states.
        embed: name of the submodule that gives the embedded tokens, behind which extra ones can stand.
        dtype: of the data, ``torch.float32`` unless told otherwise, ``torch.int64`` for ids.
        shape: of one datum; with it the module is tried out here, without it at its first call.
        dim: d, needed without a shape only.

    Raises:
        ValueError: for a module whose tokens are none, or for neither ``shape`` nor ``dim``.
        TypeError: for a module that returns something else.
    """
    if isinstance(module, TokenEncoder):
        return module
    if output == "auto" and hidden == "auto":
        if _is_a(module, "transformers.modeling_utils", "PreTrainedModel"):
            return HuggingFaceEncoder(module, embed=embed, shape=shape)
        if _is_a(module, "torchvision.models.vision_transformer", "VisionTransformer"):
            return TorchvisionViT(module)
    return WrappedEncoder(module, output, hidden, embed, dtype, shape, dim)


def _is_a(module: nn.Module, library: str, name: str) -> bool:
    """Whether a module is of a class that need not be imported for this: an instance comes with its library."""
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(module, getattr(loaded, name))
