"""Hugging Face models from a folder on this machine, without a look at the network."""

from __future__ import annotations

from pathlib import Path

import torch

from mmvae.nn.tokens.abilities import Pooling
from mmvae.nn.tokens.huggingface import HuggingFaceEncoder


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
    with torch.random.fork_rng(devices=[]):  # weights of a head that are not in the folder are drawn
        model, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
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
