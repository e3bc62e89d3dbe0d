"""Saving and loading a model: ``config.json``, which a person can read, and ``model.safetensors``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mmvae
from mmvae.multimodal import MultimodalModel
from mmvae.storage import read_json, read_tensors, write_json, write_tensors
from mmvae.training.configuration import Description, describe, first_difference, from_format_1, rebuild, user_parts

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
_FORMAT = 2


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
        found = difference_from(read_configuration(folder), description)
        if found:
            raise ValueError(f"{folder} holds another model: {found}. Choose another folder, or delete that one.")
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
        The model in evaluation mode, on the CPU if it was built here, otherwise where it was.

    Raises:
        FileNotFoundError: if there is no such folder, or no model in it.
        ValueError: if the model has parts of your own and no instance is given, the instance is another model (the
            first difference is named), or a file is damaged.
        TypeError: for a class in the place of an instance.
    """
    if isinstance(model, type):
        raise TypeError(
            f"model: expected an instance that takes the weights, got the class {model.__name__}; make one, or leave "
            f"model= out, if no part of it is your own."
        )
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; give one that mmvae.save or mmvae.fit wrote.")
    configuration = read_configuration(folder)
    if not (folder / MODEL_FILE).exists():
        raise FileNotFoundError(f"{folder} holds no weights yet: its run was stopped before the first checkpoint.")
    tensors, _ = read_tensors(folder / MODEL_FILE)
    if model is None:
        model = _rebuilt(configuration, folder / CONFIG_FILE)
    else:
        found = difference_from(configuration, describe(model))
        if found:
            raise ValueError(f"{folder} holds another model than the one given: {found}.")
    set_tensors(model, tensors, folder / MODEL_FILE)
    return model.eval()


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
    """Read ``config.json``: ``"format"``, ``"mmvae"`` (the version), ``"model"`` and, for a run, ``"training"``.

    The description of a model in an earlier format comes in today's form.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or of a later format.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model: there is no {CONFIG_FILE} in it.")
    configuration = read_json(path)
    damaged = f"{path} is damaged: it does not describe a model"
    if not isinstance(configuration, dict) or not {"format", "mmvae", "model"} <= set(configuration):
        raise ValueError(f"{damaged}. Restore it from a copy.")
    if configuration["format"] == 1:
        try:
            configuration["model"] = from_format_1(configuration["model"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{damaged} ({error!r}). Restore it from a copy.") from error
    elif configuration["format"] != _FORMAT:
        raise ValueError(
            f"{path} has format {configuration['format']}, written by mmvae {configuration['mmvae']}; this is mmvae "
            f"{mmvae.__version__}, which reads formats 1 to {_FORMAT}. Install that version of mmvae."
        )
    if not isinstance(configuration["model"], dict) or "arguments" not in configuration["model"]:
        raise ValueError(f"{damaged}. Restore it from a copy.")
    return configuration


def difference_from(configuration: Mapping[str, Any], description: Any) -> str | None:
    """Say where the model of a configuration differs first from another description; ``None`` where it does not.

    Configurations of format 1 say nothing of parts of their own, and lack the arguments that came later.
    """
    is_old = configuration["format"] == 1
    return first_difference(
        configuration["model"], description, by_weights=is_old, complete=not _is_earlier(configuration)
    )


def _is_earlier(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration may lack what this version of the library has."""
    return configuration["format"] != _FORMAT or _numbers(configuration["mmvae"]) < _numbers(mmvae.__version__)


def _numbers(version: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", str(version)))


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


def _rebuilt(configuration: Mapping[str, Any], path: Path) -> Any:
    """The model that a configuration describes, with fresh weights.

    Args:
        configuration: As it was read.
        path: Of its file, for the message.
    """
    parts = list(user_parts(configuration["model"]))
    if parts:
        raise ValueError(
            f"{path.parent}: the model has parts that its description cannot build: {'; '.join(parts)}. Build the "
            f"model as you did for training, and pass it: mmvae.load(path, model=vae)."
        )
    try:
        with torch.random.fork_rng():  # its fresh weights are thrown away: no draws of the caller's
            model = rebuild(configuration["model"], complete=not _is_earlier(configuration))
        if not isinstance(model, MultimodalModel):
            raise TypeError(f"a {type(model).__name__} is not a model")
        return model
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if (configuration["format"], _numbers(configuration["mmvae"])) != (_FORMAT, _numbers(mmvae.__version__)):
            raise ValueError(
                f"{path} was written in format {configuration['format']} by mmvae {configuration['mmvae']}. This is "
                f"mmvae {mmvae.__version__} (format {_FORMAT}), which cannot build that model: {error}. Install mmvae "
                f"{configuration['mmvae']} to load it."
            ) from error
        raise ValueError(
            f"{path} is damaged: it does not describe a model of mmvae {mmvae.__version__} ({error}). Restore it from "
            f"a copy."
        ) from error
