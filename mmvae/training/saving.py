"""Saving and loading a model: ``config.json``, which a person can read, and ``model.safetensors``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import mmvae
from mmvae.multimodal import MultimodalModel
from mmvae.storage import TensorFile, read_metadata, write_tensors
from mmvae.training.bounded import TooLarge, no_larger_than
from mmvae.training.checkpoint import CHECKPOINT_FILE, Checkpoints, Position, in_words, position_in, weights_in
from mmvae.training.config_file import (
    BELONGS_TO,
    CONFIG_FILE,
    FORMAT,
    description_digest,
    difference_from,
    is_of_another_version,
    may_lack_arguments,
    read_configuration,
    write_configuration,
)
from mmvae.training.configuration import describe, rebuild, user_parts
from mmvae.training.switches import validated_distributions

MODEL_FILE = "model.safetensors"


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
        ValueError: if the folder holds another model, weights that this library did not write, or is damaged.

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
    require_own_files(folder, (MODEL_FILE,))
    if (folder / CONFIG_FILE).exists():
        found = difference_from(read_configuration(folder), description)
        if found:
            raise ValueError(f"{folder} holds another model: {found}. Choose another folder, or delete that one.")
    else:
        write_configuration(folder, description)
    write_weights(folder, tensors_of(model), description_digest(read_configuration(folder)))
    return folder


def load(path: str | Path, model: Any = None) -> Any:
    """The model that :func:`save` or ``fit`` wrote into a folder.

    Weights and description are verified by their digests. Where a run was killed between its last checkpoint and its
    last ``model.safetensors``, the weights come from the checkpoint. A description is built without memory first, and
    compared with the weights: what asks for more than these hold is refused.

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
    weights = _weights_of(folder, configuration)
    if model is None:
        model = _rebuilt(configuration, folder / CONFIG_FILE, weights)
    else:
        found = difference_from(configuration, describe(model))
        if found:
            raise ValueError(f"{folder} holds another model than the one given: {found}.")
    set_tensors(model, weights.tensors, weights.path)
    return model.eval()


def write_weights(
    folder: Path, tensors: Mapping[str, Tensor], description: str, position: Position | None = None
) -> None:
    """Write the weights of a model into its folder.

    Args:
        folder: Of the model.
        tensors: Weights and buffers by name.
        description: Digest of the description in ``config.json`` that they belong to.
        position: How far the run had come that has them; ``None`` for weights that no run wrote.
    """
    belongs_to = {BELONGS_TO: description}
    write_tensors(folder / MODEL_FILE, tensors, belongs_to if position is None else belongs_to | in_words(position))


def weights_position(folder: Path) -> Position | None:
    """How far the run had come whose weights lie in a folder; ``None`` for weights that no run wrote."""
    path = folder / MODEL_FILE
    return position_in(read_metadata(path)) if path.exists() else (0, 0)


def require_own_files(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder whose files this library did not provably write, before it puts others in their place.

    Args:
        folder: To be written to.
        names: Files and folders there that would be replaced or added to.

    Raises:
        ValueError: If one of them is there without a ``config.json``, or the weights are not sealed.
    """
    advice = "Choose another folder, or move it away."
    if not (folder / CONFIG_FILE).exists():
        there = [name for name in names if (folder / name).is_file() or any(folder.joinpath(name).glob("*"))]
        if there:
            raise ValueError(f"{folder} holds {there[0]}, but no {CONFIG_FILE}: mmvae did not write it. {advice}")
        return
    is_foreign = (folder / MODEL_FILE).exists() and read_metadata(folder / MODEL_FILE) is None
    if is_foreign and read_configuration(folder)["format"] != 1:
        raise ValueError(f"{folder / MODEL_FILE} has no digest: mmvae did not write it. {advice}")


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


_LATER = {"seen": torch.tensor(True)}
"""Buffers that earlier versions did not have, and what stands for them: a model of theirs says nothing of modalities
that it never saw."""


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
    found = _other_shapes(tensors, own)
    types = ((name, tensors[name].dtype, own[name].dtype) for name in own if not found and name in tensors)
    found = found or next(
        (f"{name} is {one} there and {other} here" for name, one, other in types if one != other), None
    )
    if found:
        raise ValueError(f"{path or 'the checkpoint'} holds the weights of another model: {found}.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name] if name in tensors else _LATER[name])


def _other_shapes(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Where the names or shapes of saved weights and those of a model differ first, as a clause."""
    for name in dict.fromkeys([*own, *saved]):
        if name not in saved and name not in _LATER:
            is_of_transform = name.startswith("transforms.")
            hint = "; its modality had none: make it with transform=None" if is_of_transform else ""
            return f"{name} is missing there{hint}"
        if name not in own:
            return f"{name} is missing here"
        if name in saved and saved[name].shape != own[name].shape:
            return f"{name} has shape {tuple(saved[name].shape)} there and {tuple(own[name].shape)} here"
    return None


class _Weights(NamedTuple):
    """The weights of a folder for use.

    Attributes:
        path: File that they come from.
        tensors: Weights and buffers by name, verified.
        belongs_to: Digest of the description that they were written for; ``None`` in format 1.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    belongs_to: str | None


def _weights_of(folder: Path, configuration: Mapping[str, Any]) -> _Weights:
    """The weights of a folder: from the checkpoint of its run where a kill kept them from their own file."""
    path, checkpoints = folder / MODEL_FILE, Checkpoints(folder)
    sealed = configuration["format"] != 1
    file = TensorFile(path) if path.exists() else None
    at = (0, 0) if file is None else position_in(file.metadata)
    try:
        newest = checkpoints.position() if sealed and at is not None else None
        state = checkpoints.read() if newest is not None and at is not None and newest > at else None
    except ValueError as error:
        if file is None:
            raise
        warnings.warn(f"{error} The weights are those of {path}, which may be older.", stacklevel=3)
        state = None
    if state is not None:
        return _Weights(folder / CHECKPOINT_FILE, weights_in(state), state[BELONGS_TO])
    if file is None:
        raise FileNotFoundError(f"{folder} holds no weights yet: its run was stopped before the first checkpoint.")
    return _Weights(path, file.tensors(sealed), file.metadata.get(BELONGS_TO))


def _rebuilt(configuration: Mapping[str, Any], path: Path, weights: _Weights) -> Any:
    """The model that a configuration describes, with fresh weights of the shapes of the saved ones.

    Args:
        configuration: As it was read.
        path: Of its file, for the message.
        weights: Saved ones.
    """
    parts = list(user_parts(configuration["model"]))
    if parts:
        raise ValueError(
            f"{path.parent}: the model has parts that its description cannot build: {'; '.join(parts)}. Build the "
            f"model as you did for training, and pass it: mmvae.load(path, model=vae)."
        )
    try:
        if weights.belongs_to not in (None, description_digest(configuration)):
            raise ValueError(f"{weights.path.name} was written for another description")
        with no_larger_than(tensor.shape for tensor in weights.tensors.values()):
            _require_fit(configuration, weights)
            with torch.random.fork_rng():  # its fresh weights are thrown away: no draws of the caller's
                return _built(configuration)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if is_of_another_version(configuration):
            raise ValueError(
                f"{path} was written in format {configuration['format']} by mmvae {configuration['mmvae']}. This is "
                f"mmvae {mmvae.__version__} (format {FORMAT}), which cannot build that model: {error}. Install mmvae "
                f"{configuration['mmvae']} to load it."
            ) from error
        raise ValueError(
            f"{path} is damaged: it does not describe a model of mmvae {mmvae.__version__} ({error}). Restore it from "
            f"a copy."
        ) from error


def _require_fit(configuration: Mapping[str, Any], weights: _Weights) -> None:
    """Refuse a description of a model of other weights, before memory is taken for it."""
    try:
        with validated_distributions(False), torch.device("meta"):
            model = _built(configuration)
    except TooLarge:
        raise
    except Exception:  # some constructors look at values; what is really wrong shows when it is built for good
        return
    found = _other_shapes(weights.tensors, tensors_of(model))
    if found:
        raise ValueError(f"{weights.path.name} holds other weights than those of that model: {found}")


def _built(configuration: Mapping[str, Any]) -> MultimodalModel:
    model = rebuild(configuration["model"], complete=not may_lack_arguments(configuration))
    if not isinstance(model, MultimodalModel):
        raise TypeError(f"a {type(model).__name__} is not a model")
    return model
