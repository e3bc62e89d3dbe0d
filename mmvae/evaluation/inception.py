"""The network of the Fréchet inception distance, with weights from a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Inception(nn.Module):
    """Images to the 2048 features of the Inception network that FID is defined by (pytorch-fid's).

    Args:
        weights: the file that pytorch-fid publishes (``pt_inception-2015-12-05-6726825d.pth``), or the same weights as
            safetensors. Nothing is downloaded, and no code in the file is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold the weights of this network.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from pytorch_fid import inception

        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(f"inception_weights: no file {path}.")
        state = _read(path)
        # The constructor fetches its weights from the network, and knows no other way.
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
            try:
                self.network: nn.Module = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
            except RuntimeError as error:
                raise ValueError(f"inception_weights: {path} does not fit pytorch-fid's network: {error}") from error
        self.network.eval()

    @staticmethod
    def reads(data: Tensor) -> bool:
        """Whether data is images ``[N, C, H, W]``, grey or in colour."""
        return data.ndim == 4 and data.shape[1] in (1, 3) and data.is_floating_point()

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
        """2048 features for each image, on the CPU.

        Args:
            images: in [0, 1]; what lies outside is clipped. Grey ones are repeated in three channels.
        """
        device = next(self.network.parameters()).device
        colour = images.to(device, torch.float32).clamp(0, 1).expand(-1, 3, -1, -1)
        return self.network(colour)[0].flatten(1).cpu()


def _read(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"inception_weights: {path} is damaged, or no file of weights; fetch pytorch-fid's again."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"inception_weights: {path} holds no weights by name, but a {type(state).__name__}.")
    return state
