"""Images of printed digits for any list of labels, in two looks, from fonts that are installed anyway."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Int64, Integer, UInt8
from torch import Tensor

from mmvae.choices import check_choice
from mmvae.data.digits import plain_look, street_look
from mmvae.data.digits.glyphs import glyph_atlas
from mmvae.data.digits.row_draws import Draws
from mmvae.files import reading, write_whole

Style = Literal["plain", "street"]

_VERSION = 1  # to be raised with every change of what is drawn: it is part of the name of a cache file
_CHUNK = 64  # rows rendered together; no image depends on it


class _Look(NamedTuple):
    render: Callable[[Int64[Tensor, "N"], Draws], UInt8[Tensor, "N C H W"]]
    stream: int
    shape: tuple[int, int, int]
    uniforms: int
    normals: int


_LOOKS = {
    "plain": _Look(plain_look.plain, 1, (1, 28, 28), plain_look.UNIFORMS, 0),
    "street": _Look(street_look.street, 2, (3, 32, 32), street_look.UNIFORMS, street_look.NORMALS),
}


def rendered_digits(
    labels: Integer[Tensor, "N"] | Sequence[int], style: Style, seed: int = 0, cache: Path | None = None
) -> UInt8[Tensor, "N C H W"]:
    """Images of printed digits; row i shows the digit ``labels[i]``.

    A row depends on its label, its index, the style and the seed, and on nothing else: a longer list of labels
    begins with the same images. The two styles of one seed share nothing but the digit, so they can be
    used as two modalities of the same datum. PyTorch's global generator is neither read nor moved.
    A street image takes about a millisecond of one processor core, a plain one a tenth of that.

    Args:
        labels: N digits, 0 to 9.
        style: ``"plain"`` for upright white digits on black, ``[N, 1, 28, 28]``, as in MNIST but printed;
            ``"street"`` for colour images ``[N, 3, 32, 32]`` in the manner of street-view house numbers: a crop
            around one digit of a number, with its neighbours, plate, light, blur and noise.
        seed: of everything random, from 0.
        cache: folder to keep the images in, so that the same call is quick the next time. A file that is
            damaged is made again.

    Returns:
        Grey levels 0 to 255.

    Raises:
        ValueError: if there are no labels, a label is no digit, or the style is unknown.
        TypeError: if the labels are no whole numbers.

    Example:
        >>> rendered_digits([3, 1, 4], "street").shape
        torch.Size([3, 3, 32, 32])
    """
    check_choice("style", style, get_args(Style))
    if seed < 0:
        raise ValueError(f"seed: expected a whole number from 0, got {seed}.")
    digits = _digits(labels)
    if cache is None:
        return _render(digits, _LOOKS[style], seed)
    path = Path(cache) / f"rendered-{style}-{_key(digits, seed)}.npz"
    kept = _read(path, (len(digits), *_LOOKS[style].shape))
    if kept is None:
        images = kept = _render(digits, _LOOKS[style], seed)
        write_whole(path, lambda partial: _save(partial, images))
    return kept


@torch.no_grad()
def _render(digits: Int64[Tensor, "N"], look: _Look, seed: int) -> UInt8[Tensor, "N C H W"]:
    images = torch.empty(len(digits), *look.shape, dtype=torch.uint8)
    for start in range(0, len(digits), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(digits)))
        draws = Draws(seed, look.stream, rows, look.uniforms, look.normals)
        images[start : rows.stop] = look.render(digits[start : rows.stop], draws)
    return images


def _digits(labels: Any) -> Int64[Tensor, "N"]:
    digits = torch.as_tensor(labels).detach().cpu()
    if digits.ndim != 1 or not len(digits):
        raise ValueError(f"labels: expected at least one digit in a flat list, got shape {tuple(digits.shape)}.")
    if digits.is_floating_point() or digits.is_complex() or digits.dtype == torch.bool:
        raise TypeError(f"labels: expected whole numbers, got {digits.dtype}; try labels.long().")
    digits = digits.long()
    wrong = (digits < 0) | (digits > 9)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(f"labels: expected digits 0 to 9, got {int(digits[row])} in row {row}.")
    return digits


def _key(digits: Int64[Tensor, "N"], seed: int) -> str:
    """Of all that the images depend on, the installed fonts included."""
    digest = hashlib.sha256(f"{_VERSION} {seed}".encode())
    digest.update(digits.to(torch.uint8).numpy().tobytes())
    digest.update(glyph_atlas().distance.numpy().tobytes())
    return digest.hexdigest()[:24]


def _read(path: Path, shape: tuple[int, ...]) -> UInt8[Tensor, "N C H W"] | None:
    """What the file holds, or nothing if it is absent or unsound."""
    try:
        with reading(path), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            images = archive["images"]
    except (OSError, ValueError):
        return None
    return torch.from_numpy(images) if images.shape == shape and images.dtype == np.uint8 else None


def _save(path: Path, images: UInt8[Tensor, "N C H W"]) -> None:
    with open(path, "wb") as file:  # numpy adds .npz to a name that lacks it
        np.savez(file, images=images.numpy())  # noise does not compress
