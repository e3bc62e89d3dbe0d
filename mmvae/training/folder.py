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
    found = found or difference(configuration["training"], dict(training))
    if found:
        raise ValueError(
            f"out: {folder} holds a run of another configuration: {found}. {advice} (A run is resumed with the "
            f"settings with which it began; epochs, patience and the device may change.)"
        )
    state = Checkpoints(folder).read()
    if state is not None and not resume:
        raise ValueError(
            f"out: {folder} holds this run already, after {state['epoch']} epochs. Pass resume=True to continue it, or "
            f"choose another folder, or delete that one."
        )
    return state


def start_run(folder: Path, model: Any, training: Mapping[str, Any]) -> None:
    """Makes the folder of a new run: ``config.json``, and nothing of a run that never came to a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (METRICS_FILE, MODEL_FILE):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    write_configuration(folder, describe(model), training)
