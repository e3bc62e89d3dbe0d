"""The folder of a run: what it may be opened for, and how a new one starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvae.training.checkpoint import Checkpoints, State
from mmvae.training.configuration import describe, difference, first_difference
from mmvae.training.journal import METRICS_FILE, TENSORBOARD_FOLDER
from mmvae.training.saving import CONFIG_FILE, MODEL_FILE, read_configuration, write_configuration


def existing_run(folder: Path, model: Any, training: Mapping[str, Any], resume: bool) -> State | None:
    """The last checkpoint of the run in a folder, ``None`` where a new run may start.

    Args:
        folder: which may not be there yet.
        model: to be trained.
        training: the settings that the run depends on.
        resume: whether to continue a run that is there.

    Raises:
        ValueError: if the folder holds a saved model, another run, or the same run and ``resume`` is not set; or if it
            is damaged.
    """
    if not (folder / CONFIG_FILE).exists():
        return None
    configuration = read_configuration(folder)
    advice = "Choose another folder, or delete that one."
    if "training" not in configuration:
        raise ValueError(f"out: {folder} holds a saved model, not a run. {advice}")
    found = first_difference(configuration["model"], describe(model))
    found = found or difference(_of_all(configuration["training"]), _of_all(training))
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
    return state


def _of_all(training: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the rows that all processes have of a step in the place of those of each process."""
    fixed = {name: value for name, value in training.items() if name not in ("batch_size", "devices")}
    return {"batch_size x devices": training.get("batch_size", 0) * training.get("devices", 1), **fixed}


def start_run(folder: Path, model: Any, training: Mapping[str, Any]) -> None:
    """Makes the folder of a new run: ``config.json``, and nothing of a run that never came to a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (METRICS_FILE, MODEL_FILE):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    write_configuration(folder, describe(model), training)
