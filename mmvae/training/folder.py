"""The folder of a run: what it may be opened for, and how a new one starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvae.abilities import Trains
from mmvae.training.checkpoint import CHECKPOINT_FILE, Checkpoints, State
from mmvae.training.config_file import CONFIG_FILE, difference_from, read_configuration, write_configuration
from mmvae.training.configuration import describe, first_difference
from mmvae.training.journal import METRICS_FILE, TENSORBOARD_FOLDER, read_metrics
from mmvae.training.saving import MODEL_FILE, require_own_files

_DATA = tuple(f"{part}{kind}" for part in ("", "validation_") for kind in ("data", "covariates", "labels"))
"""Settings that tell the data of a run from other data."""


def existing_run(folder: Path, model: Trains, training: Mapping[str, Any], resume: bool) -> State | None:
    """The last checkpoint of the run in a folder, ``None`` where a new run may start.

    Args:
        folder: which may not be there yet.
        model: to be trained.
        training: the settings that the run depends on.
        resume: whether to continue a run that is there.

    Raises:
        ValueError: If the folder holds files that this library did not write, a saved model, another run, the same run
            and ``resume`` is not set, or the weights or metrics of this run without its checkpoint; or if it is
            damaged.
    """
    require_own_files(folder, (METRICS_FILE, MODEL_FILE, TENSORBOARD_FOLDER, CHECKPOINT_FILE.parent.name))
    if not (folder / CONFIG_FILE).exists():
        return None
    configuration = read_configuration(folder)
    advice = "Choose another folder, or delete that one."
    if "training" not in configuration:
        raise ValueError(f"out: {folder} holds a saved model, not a run. {advice}")
    if configuration["format"] == 1:
        raise ValueError(
            f"out: {folder} holds a run that mmvae {configuration['mmvae']} began in format 1, which does not say all "
            f"that a run depends on. mmvae.load reads its weights; to train, choose another folder."
        )
    saved = configuration["training"]
    if not isinstance(saved, dict) or not {"batch_size", "devices"} <= set(saved):
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: settings of the run are missing. Restore it from a copy.")
    found = difference_from(configuration, describe(model))
    found = found or first_difference(_of_all(saved), _of_all(training)) or _other_data(saved, training)
    if found:
        raise ValueError(
            f"out: {folder} holds a run of another configuration: {found}. {advice} (A run is resumed with the "
            f"settings with which it began; epochs, patience and the device may change, and the number of "
            f"devices if the rows of a step, batch_size x devices, stay as many.)"
        )
    state = Checkpoints(folder).read()
    if state is not None and not resume:
        raise ValueError(
            f"out: {folder} holds this run already, after {state['epoch']} epochs. Pass resume=True to continue it, or "
            f"choose another folder, or delete that one."
        )
    if state is None:
        _require_nothing_to_lose(folder)
    return state


def _require_nothing_to_lose(folder: Path) -> None:
    """Refuse to begin a run again whose checkpoint is gone, but whose weights or metrics are kept."""
    kept = [MODEL_FILE] if (folder / MODEL_FILE).exists() else []
    kept += [METRICS_FILE] if (folder / METRICS_FILE).exists() and read_metrics(folder / METRICS_FILE) else []
    if kept:
        raise ValueError(
            f"out: {folder} holds {kept[0]} of this run, but no checkpoint to resume from. mmvae.load gives its model. "
            f"To train again, choose another folder, or delete that one."
        )


def _of_all(training: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the rows that all processes have of a step in the place of those of each process."""
    fixed = {name: value for name, value in training.items() if name not in ("batch_size", "devices", *_DATA)}
    return {"batch_size x devices": training["batch_size"] * training["devices"], **fixed}


def _other_data(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Which of the data has other values than the run began with, as a clause; ``None`` if none has."""
    for kind in _DATA:
        one, other = saved.get(kind, {}), given.get(kind, {})
        if isinstance(one, dict) and isinstance(other, dict):
            changed = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
            if changed:
                return f"{kind}: the values of {changed[0]!r} are not those with which the run began"
        elif one != other:
            return f"{kind} are not those with which the run began"
    return None


def start_run(folder: Path, model: Trains, training: Mapping[str, Any]) -> None:
    """Make the folder of a new run, with its ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(folder, describe(model), training)
