"""Inference as a program that runs without this library: from the data of a subset to its latents."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmvae.abilities import Predicts
from mmvae.batch import Batch
from mmvae.files import write_whole
from mmvae.multimodal import MultimodalModel
from mmvae.subsets import Subset
from mmvae.vaes import IterativeVAE

_EXAMPLE_ROWS = 3
"""Of zeros, by which a program is traced, and which its file holds: data does not go in. One would be a constant."""


def export(
    model: MultimodalModel, data: Batch | Mapping[str, Any], path: str | Path | None = None, subset: Subset = None
) -> ExportedProgram:
    """The encoder path of a subset as a program of PyTorch's operators, for any number of rows.

    The program takes ``{name: tensor [N, *shape]}`` of the members of the subset, complete, in the types that the model
    computes with (float32; int64 for codes and ids), and gives what :func:`mmvae.infer` would:

    - ``"mean"``, ``[N, D]``, and ``"scale"``, the standard deviation, where the posterior is no point mass; of a
      mixture those of the mixture;
    - ``"codes"`` of models with a codebook;
    - ``"logits"`` of classifiers.

    Nothing of the data is checked in it, and nothing may be missing: no mask goes in. Sequences keep the number of
    steps of the example.

    A ``.pt2`` file is PyTorch's own format, with a pickle of an example (zeros, none of the data), and loading it may
    run code: load what you trust. An ``.onnx`` file, for other runtimes, takes the members of the subset as inputs of
    their names and gives outputs named as above; it holds no pickle.

    Args:
        model: any model of the library; exported in evaluation mode, on its device, and left as it was.
        data: an example that holds the subset, complete; what it says does not matter, but for the shapes.
        path: a file to write: ``*.pt2`` for ``torch.export.load(path).module()``, or ``*.onnx``, which needs the
            packages of ``mmvae[onnx]``.
        subset: one name, several in any order, or ``None`` for all that the example holds.

    Returns:
        The program; ``.module()`` of it is called with the dict.

    Raises:
        ValueError: for data that does not fit or lacks a value, or a path of another ending.
        TypeError: for a model whose inference computes gradients (:class:`~mmvae.models.IterativeVAE`, given all
            modalities), or cannot be exported for another reason, which is given.
        ImportError: for an ``.onnx`` file without these packages.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> program = mmvae.export(vae, {"a": torch.randn(3, 4)}).module()
        >>> program({"a": torch.randn(5, 4)})["mean"].shape
        torch.Size([5, 2])
    """
    if path is not None and Path(path).suffix not in (".pt2", ".onnx"):
        raise ValueError(f"path: an exported program is a file of the ending .pt2 or .onnx, got {str(path)!r}.")
    if path is not None and Path(path).suffix == ".onnx":
        _require_onnxscript(Path(path))
    batch = model.prepare(data)
    batch = batch.restrict(batch.names if subset is None else model._members(subset))
    if not batch.complete or batch.cells:
        raise ValueError("data: the example must be complete, without masks; a program takes complete data.")
    if isinstance(model, IterativeVAE) and model.num_steps and set(batch.names) == set(model.names):
        raise TypeError(
            f"{type(model).__name__}: inference from {', '.join(map(repr, batch.names))} computes gradients of the "
            f"bound, which no exported program can; export its students, that is, fewer modalities."
        )
    # Files, and other runtimes, hold weights as rows of numbers, whatever order is the fastest here.
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()
    path_of_subset = _EncoderPath(model)
    zeros = {name: value.new_zeros(_EXAMPLE_ROWS, *value.shape[1:]) for name, value in batch.data.items()}
    rows = Dim("rows", min=1)
    with torch.no_grad(), pyro.validation_enabled(False), sdpa_kernel(SDPBackend.MATH):
        try:
            outputs = tuple(path_of_subset(zeros))  # what is built at first use must be built of real tensors
            program = torch.export.export(
                path_of_subset, (zeros,), dynamic_shapes=({name: {0: rows} for name in batch.names},), strict=False
            )
        except Exception as error:
            raise TypeError(
                f"{type(model).__name__}: inference from {', '.join(map(repr, batch.names))} is no fixed program of "
                f"PyTorch's operators ({type(error).__name__}; see above)."
            ) from error
    if path is not None and Path(path).suffix == ".onnx":
        _write_onnx(program, Path(path), batch.names, outputs)
    elif path is not None:
        write_whole(Path(path), lambda file: _save(program, file))
    return program


class _EncoderPath(nn.Module):
    """From data by name to what inference gives, by name."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self.model = model
        self._forms = model.forms  # those of the copy that is exported

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the latents."""
        latents = self.model.latents(Batch.trusted(dict(data), conforms_to=self._forms))
        found = {"mean": latents.mean}
        if latents.codes is not None:
            found["codes"] = latents.codes
        elif isinstance(self.model, Predicts):
            found["logits"] = self.model.predict(latents)
        elif not isinstance(latents.distribution, dist.Delta):
            found["scale"] = latents.scale
        return found


def _save(program: ExportedProgram, path: Path) -> None:
    with open(path, "wb") as file:  # a path would have to end in .pt2
        torch.export.save(program, file)


def _require_onnxscript(path: Path) -> None:
    """Asked before a program is made, which takes a while."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'path: {path.name} needs the package onnxscript: pip install "mmvae[onnx]".') from error


def _write_onnx(program: ExportedProgram, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for name in set(inputs) & set(outputs):
        raise ValueError(
            f"path: {path.name} would have an input and an output of the name {name!r}; write a .pt2 file."
        )
    converted = torch.onnx.export(program, dynamo=True, verbose=False)
    assert converted is not None  # it is, with dynamo=True
    graph = converted.model.graph
    between = [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for number, value in enumerate(between):
        if value.name in (*inputs, *outputs):
            value.name = f"{value.name}_{number}"
    for value, name in zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True):
        value.name = name
    write_whole(path, lambda file: converted.save(file, external_data=False))
