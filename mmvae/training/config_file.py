"""The file ``config.json`` of a model or a run, which a person can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmvae
from mmvae.digest import digest
from mmvae.storage import read_json, write_json
from mmvae.training.configuration import Description, first_difference, from_format_1

CONFIG_FILE = "config.json"
FORMAT = 2

BELONGS_TO = "description"
"""Entry of the metadata of weights and of checkpoints: digest of the description that they belong to."""


def write_configuration(folder: Path, model: Description, training: Mapping[str, Any] | None = None) -> None:
    """Write ``config.json``: the description of a model and, for a run, the settings of its training."""
    configuration: dict[str, Any] = {"format": FORMAT, "mmvae": mmvae.__version__, "model": _for_people(model)}
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
    if configuration["format"] not in (1, FORMAT):
        raise ValueError(
            f"{path} has format {configuration['format']}, written by mmvae {configuration['mmvae']}; this is mmvae "
            f"{mmvae.__version__}, which reads formats 1 to {FORMAT}. Install that version of mmvae."
        )
    if not isinstance(configuration["model"], dict) or "arguments" not in configuration["model"]:
        raise ValueError(f"{damaged}. Restore it from a copy.")
    described = from_format_1 if configuration["format"] == 1 else _for_us
    try:
        configuration["model"] = described(configuration["model"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{damaged} ({error!r}). Restore it from a copy.") from error
    return configuration


def _for_people(model: Description) -> Description:
    """A description whose modalities stand in a list of their own, as plain mappings, if they are the library's."""
    modalities = model["arguments"].get("modalities")
    if not isinstance(modalities, list) or any(each.get("class") != "Modality" for each in modalities):
        return model
    rest = {name: value for name, value in model["arguments"].items() if name != "modalities"}
    return {**model, "arguments": rest, "modalities": [each["arguments"] for each in modalities]}


def _for_us(model: Description) -> Description:
    """The inverse of :func:`_for_people`."""
    if "modalities" not in model:
        return model
    modalities = [{"class": "Modality", "arguments": dict(each)} for each in model["modalities"]]
    arguments = {"modalities": modalities, **model["arguments"]}
    return {**{name: value for name, value in model.items() if name != "modalities"}, "arguments": arguments}


def difference_from(configuration: Mapping[str, Any], description: Any) -> str | None:
    """Say where the model of a configuration differs first from another description; ``None`` where it does not.

    Configurations of format 1 say nothing of parts of their own, and lack the arguments that came later.
    """
    is_old = configuration["format"] == 1
    return first_difference(
        configuration["model"], description, by_weights=is_old, complete=not may_lack_arguments(configuration)
    )


def may_lack_arguments(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration may lack what this version of the library has."""
    return configuration["format"] != FORMAT or _numbers(configuration["mmvae"]) < _numbers(mmvae.__version__)


def is_of_another_version(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration was written in another format, or by another version of the library."""
    return (configuration["format"], _numbers(configuration["mmvae"])) != (FORMAT, _numbers(mmvae.__version__))


def description_digest(configuration: Mapping[str, Any]) -> str:
    """The digest of the description of a model, by which weights know theirs."""
    return digest({}, json.dumps(configuration["model"], sort_keys=True))


def _numbers(version: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", str(version)))
