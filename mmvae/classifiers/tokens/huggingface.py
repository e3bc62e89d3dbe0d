"""Hugging Face's encoders of images and text as token encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.base import EncoderOutput, TokenEncoder, joined_mask
from mmvae.classifiers.tokens.blocks import attention_mask
from mmvae.classifiers.tokens.hooks import appended, in_two_passes
from mmvae.classifiers.tokens.huggingface_trial import Pooling, call, end_of_text, try_out
from mmvae.files import reading
from mmvae.networks.masked import masked_mean


class HuggingFaceEncoder(TokenEncoder):
    """A Hugging Face ``PreTrainedModel`` of images or text as a token encoder; heads on top of it are left aside.

    What the module can do is tried out on a small example when it is wrapped: whether it is causal, heeds masks, gives
    hidden states, and lets tokens in behind its embeddings. Ids of padding are masked. All of ``cls``, ``tokens`` and
    ``extra`` have been through the last norm, also in CLIP's vision model, whose own output has it on the class token
    alone. CLIP's text model is causal and pools the token at the end of the text: that one is ``cls`` (and no valid one
    of ``tokens``), what follows it is padding, and an extra token behind the text sees all of it and is seen by none of
    it, isolated or not.

    Args:
        module: a model that returns ``last_hidden_state``, or one with such a ``base_model`` inside.
        pooling: what ``cls`` is: ``"cls"`` for the first token, ``"mean"`` for the mean of the valid ones (sentence
            encoders), ``"end"`` for the one at the end of the text; ``"auto"`` for the end in causal models of text,
            the mean in models of images that have no more tokens than patches, and the first token elsewhere.
        embed: name of the submodule that gives the embedded tokens, ``"embeddings"`` unless told otherwise.
        shape: of one datum, ``(C, H, W)`` or ``(length,)``; by default that of the configuration for images, and any
            length for text.

    Attributes:
        module: the model without heads.
        abilities: what it was found to do.

    Raises:
        TypeError: for a module of another kind of data.
        ValueError: for a module that gives no tokens, whose attention takes no masks, or that lets no tokens in behind
            a submodule that was named.
    """

    def __init__(
        self,
        module: nn.Module,
        pooling: Pooling = "auto",
        embed: str | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.module = cast(Any, module.base_model)
        self.embed = embed or "embeddings"
        self.abilities = try_out(self.module, pooling, self.embed, shape)
        self.dim, self.depth, self.shape = self.abilities.dim, self.abilities.depth, self.abilities.shape
        self.dtype = torch.int64 if self.abilities.is_text else torch.float32
        self.offers_hidden, self.takes_extra = self.abilities.offers_hidden, self.abilities.takes_extra
        if embed is not None and not self.takes_extra:
            parts = [part for part, _ in self.module.named_children()]
            raise ValueError(
                f"{self.name}: expected embedded tokens, [N, S, {self.dim}], from the submodule {embed!r}, behind "
                f"which more tokens can stand; that did not work out. The model's parts are {', '.join(parts)}."
            )

    @property
    def name(self) -> str:
        """Hugging Face's."""
        return type(self.module).__name__

    def settings(self) -> dict[str, Any]:
        """The pooling, and the configuration without what says where it comes from."""
        config = self.module.config.to_dict()
        for key in ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"):
            config.pop(key, None)
        return {"pooling": self.abilities.pooling, "config": config}

    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points; see :meth:`TokenEncoder.forward`."""
        self.check(inputs, extra)
        can = self.abilities
        if can.is_text and inputs.ndim != 2:
            raise ValueError(f"{self.name}: expected ids of shape [N, length], got {list(inputs.shape)}.")
        if extra is not None and isolate and not (can.heeds_pairs or can.causal):
            return in_two_passes(lambda tokens: self(inputs, mask, tokens), extra)
        length = inputs.shape[1] if can.is_text else can.length
        end = end_of_text(self.module.config, inputs) if can.pooling == "end" else None
        mask = joined_mask(
            self.name, mask, self._no_padding(inputs, end), (len(inputs), length - (can.pooling == "cls"))
        )
        if mask is not None and not can.heeds_padding and not mask.all():
            raise ValueError(
                f"{self.name}: a mask was given, or ids of padding, but this model looks at all tokens whatever a mask "
                f"says; give data without padding."
            )
        with appended(self.module, self.embed, extra):
            output = call(self.module, inputs, self._visible(mask, end, (len(inputs), length), extra, isolate))
        final = output.last_hidden_state
        if can.last_norm is not None:
            final = self.module.get_submodule(can.last_norm)(final)
        whole = self._led(final[:, :length], mask, end)
        hidden = None
        if can.offers_hidden:  # the first of Hugging Face's are the embedded tokens
            hidden = tuple(self._led(state[:, :length], mask, end) for state in output.hidden_states[1:])
        return EncoderOutput(whole[:, 0], whole[:, 1:], mask, hidden, None if extra is None else final[:, length:])

    def _no_padding(self, inputs: Tensor, end: Tensor | None) -> Bool[Tensor, "N n"] | None:
        """Which tokens, without that of the class, are valid by the data alone; ``None`` for all."""
        if end is not None:
            return torch.arange(inputs.shape[1], device=inputs.device) < end[:, None]
        padding = self.module.config.pad_token_id if self.abilities.is_text else None
        if padding is None:
            return None
        return inputs[:, 1 if self.abilities.pooling == "cls" else 0 :] != padding

    def _visible(
        self,
        mask: Bool[Tensor, "N n"] | None,
        end: Tensor | None,
        size: tuple[int, int],
        extra: Float[Tensor, "k d"] | None,
        isolate: bool,
    ) -> Tensor | None:
        """What may be looked at, in the form of :func:`call`; ``None`` for everything.

        Args:
            mask: which tokens, without that of the class, are valid.
            end: where the text ends, if its class token is there.
            size: ``(N, S)``, the tokens with that of the class.
            extra: tokens behind them.
            isolate: whether the S tokens do not look at those.
        """
        if not self.abilities.heeds_padding:
            return None
        num_extra = 0 if extra is None else len(extra)
        apart = isolate and num_extra > 0 and not self.abilities.causal
        if mask is None:
            if not apart:
                return None
            valid = torch.ones(size, dtype=torch.bool, device=self.module.device)
        elif self.abilities.pooling == "cls":
            valid = nn.functional.pad(mask, (1, 0), value=True)
        elif end is not None:
            valid = mask | (torch.arange(size[1], device=mask.device) == end[:, None])
        else:
            valid = mask
        if self.abilities.is_text and not apart:
            return nn.functional.pad(valid, (0, num_extra), value=True)
        return attention_mask(valid, num_extra, apart)

    def _led(
        self, states: Float[Tensor, "N S d"], mask: Bool[Tensor, "N n"] | None, end: Tensor | None
    ) -> Float[Tensor, "N T d"]:
        """The states with the class token, or what stands for it, in front."""
        if self.abilities.pooling == "cls":
            return states
        rows = torch.arange(len(states), device=states.device)
        first = masked_mean(states, mask) if end is None else states[rows, end]
        return torch.cat([first[:, None], states], 1)


def huggingface_encoder(
    folder: str | Path,
    pooling: Pooling = "auto",
    part: str | None = None,
    embed: str | None = None,
    shape: tuple[int, ...] | None = None,
) -> HuggingFaceEncoder:
    """The token encoder in a folder that ``save_pretrained`` wrote; nothing is downloaded, unpickled or run from it.

    Sentence encoders want ``pooling="mean"``, CLIP's folders ``part="vision_model"`` or ``part="text_model"``.

    Args:
        folder: with ``config.json`` and weights in ``*.safetensors``.
        pooling: as of :class:`HuggingFaceEncoder`.
        part: name of the submodule to take, of models that have several.
        embed: as of :class:`HuggingFaceEncoder`.
        shape: as of :class:`HuggingFaceEncoder`.

    Raises:
        ImportError: without the package ``transformers``.
        ValueError: for a folder that does not hold such a model, or not all of its weights.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"huggingface_encoder: expected a folder with config.json and *.safetensors, got {str(folder)!r}; nothing "
            f"is downloaded here: on a machine with a network, load the model and call save_pretrained(folder)."
        )
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ImportError("huggingface_encoder needs transformers; install mmvae[transformers].") from error
    advice = "Expected a model that transformers can read without code of the folder's."
    with (
        reading(folder, "huggingface_encoder", advice),
        torch.random.fork_rng(devices=[]),  # weights of a head that are not in the folder are drawn
    ):
        try:
            model, report = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except ValueError as error:
            if "trust_remote_code" in str(error):  # which it advises to switch on
                raise ValueError("code in it would have to be run, which is not done") from error
            raise
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(
            f"huggingface_encoder: {str(folder)!r} holds no weights for {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}; they would be random. Give a folder of the whole model."
        )
    parts = [name for name, _ in model.named_children()]
    if part is not None and part not in parts:
        raise ValueError(f"part: expected one of {', '.join(parts)}, got {part!r}.")
    return HuggingFaceEncoder(model if part is None else model.get_submodule(part), pooling, embed, shape)
