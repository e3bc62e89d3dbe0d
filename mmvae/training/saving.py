"""Saving and loading a model: ``config.json``, which a person can read, and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mmvae
from mmvae.storage import read_json, read_tensors, write_json, write_tensors
from mmvae.training.configuration import Description, describe, first_difference, rebuild

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
_FORMAT = 1


def save(model: Any, path: str | Path) -> Path:
    """Writes a model into a folder: ``config.json`` and ``model.safetensors``. Nothing is pickled.

    A folder that holds the same model, such as that of its run, gets the new weights. Files appear whole or not at
    all, whenever the process is killed.

    Args:
        model: any model of the library.
        path: of the folder; made if it is not there.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds another model, or is damaged.

    Example:
        >>> import tempfile, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = mmvae.load(mmvae.save(vae, folder))
        >>> again.names
        ('a', 'b')
    """
    folder = Path(path)
    description = describe(model)
    if (folder / CONFIG_FILE).exists():
        difference = first_difference(read_configuration(folder)["model"], description)
        if difference:
            raise ValueError(f"{folder} holds another model: {difference}. Choose another folder, or delete that one.")
    else:
        write_configuration(folder, description)
    write_weights(folder, tensors_of(model))
    return folder


def load(path: str | Path, model: Any = None) -> Any:
    """The model that :func:`save` or ``fit`` wrote into a folder.

    Args:
        path: of the folder.
        model: an instance that takes the weights; needed where the model has parts of your own (modules, lambdas,
            likelihoods, subclasses), which no file can rebuild. By default the model is built from ``config.json``.

    Returns:
        The model, on the CPU if it was built here, otherwise where it was.

    Raises:
        FileNotFoundError: if there is no such folder, or no model in it.
        ValueError: if the model has parts of your own and no instance is given, the instance is another model (the
            first difference is named), or a file is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; give one that mmvae.save or mmvae.fit wrote.")
    description = read_configuration(folder)["model"]
    if not (folder / MODEL_FILE).exists():
        raise FileNotFoundError(f"{folder} holds no weights yet: its run was stopped before the first checkpoint.")
    tensors, _ = read_tensors(folder / MODEL_FILE)
    if model is None:
        model = _rebuilt(description, folder)
    else:
        difference = first_difference(description, describe(model))
        if difference:
            raise ValueError(f"{folder} holds another model than the one given: {difference}.")
    set_tensors(model, tensors, folder / MODEL_FILE)
    return model


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes the weights of a model into its folder."""
    write_tensors(folder / MODEL_FILE, tensors)


def write_configuration(folder: Path, model: Description, training: Mapping[str, Any] | None = None) -> None:
    """Writes ``config.json``: the description of a model and, for a run, the settings of its training."""
    configuration: dict[str, Any] = {"format": _FORMAT, "mmvae": mmvae.__version__, "model": model}
    if training is not None:
        configuration["training"] = dict(training)
    write_json(folder / CONFIG_FILE, configuration)


def read_configuration(folder: Path) -> dict[str, Any]:
    """What ``config.json`` holds: ``"model"`` and, for a run, ``"training"``.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of a later version.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model: there is no {CONFIG_FILE} in it.")
    configuration = read_json(path)
    if not isinstance(configuration, dict) or not {"format", "model"} <= set(configuration):
        raise ValueError(f"{path} is damaged: it does not describe a model.")
    if configuration["format"] != _FORMAT:
        raise ValueError(f"{path} has format {configuration['format']}, this version of mmvae reads {_FORMAT}.")
    return configuration


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers of a model by name, as they are (not copied).

    Raises:
        TypeError: if a module keeps extra state that is no tensor.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: a {type(value).__name__} cannot be saved; keep such state in buffers.")
    return {name: value.detach() for name, value in state.items()}


def set_tensors(model: nn.Module, tensors: Mapping[str, Tensor], path: Path | None = None) -> None:
    """Copies weights and buffers into a model, in place.

    Args:
        model: which takes them.
        tensors: by name.
        path: of the file that they come from, for the message.

    Raises:
        ValueError: if names, shapes or types differ; the message has the first.
    """
    own = tensors_of(model)
    for name in dict.fromkeys([*own, *tensors]):
        difference = None
        if name not in tensors:
            difference = f"{name} is missing there"
        elif name not in own:
            difference = f"{name} is missing here"
        elif tensors[name].shape != own[name].shape:
            difference = f"{name} has shape {tuple(tensors[name].shape)} there and {tuple(own[name].shape)} here"
        elif tensors[name].dtype != own[name].dtype:
            difference = f"{name} is {tensors[name].dtype} there and {own[name].dtype} here"
        if difference:
            raise ValueError(f"{path or 'the checkpoint'} holds the weights of another model: {difference}.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def _rebuilt(description: Description, folder: Path) -> Any:
    try:
        with torch.random.fork_rng():  # its fresh weights are thrown away: no draws of the caller's
            return rebuild(description)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: it does not describe a model ({error!r}).") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
