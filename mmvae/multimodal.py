"""What all models of the library share: names of modalities, checked batches, inference from a subset, a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.batch import Batch, Form
from mmvae.covariates import Covariates
from mmvae.latents import Latents
from mmvae.modes import in_evaluation_mode
from mmvae.objectives import Loss, Stage
from mmvae.subsets import Subset, canonical
from mmvae.transforms import Transform


class MultimodalModel(Remembers, nn.Module, ABC):
    """A model of several modalities, be it probabilistic, a classifier or a codebook.

    Args:
        names: of the modalities, in the model's order.
        covariates: What is known of every row; by default nothing.

    Attributes:
        names: as given.
        covariates: as given.
        epoch: how many epochs the model was trained for (a scalar buffer); schedules of weights read it.
        seen: which modalities some row had that ``fit`` trained on (a buffer ``[M]``).
        arguments: of the recipe's constructor by name, as saved in the configuration.
        takes_steps: whether it looks at masks of the steps of sequences.
    """

    epoch: Tensor
    seen: Tensor
    takes_steps: bool = False

    def __init__(self, names: Sequence[str], covariates: Covariates | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        self.covariates = covariates or Covariates(None)
        self.register_buffer("epoch", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(len(self.names), dtype=torch.bool))

    # What a model must say.

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """Of one datum of each modality; ``None`` where any shape will do."""

    @property
    @abstractmethod
    def forms(self) -> Mapping[str, Form] | nn.ModuleDict:
        """Check and cast the data of each modality; the same object at every call."""

    @abstractmethod
    def loss(self, batch: Batch | Mapping[str, Any], observed: Mapping[str, Any] | None = None) -> Loss:
        """The training loss of a batch.

        Args:
            batch: N data points.
            observed: ``{name: bool [N]}``, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on, mean per datum; ``.terms``, by name.

        Raises:
            ValueError: for data that does not fit, or is incomplete where the model cannot train on that.
        """

    @abstractmethod
    def latents(self, batch: Batch) -> Latents:
        """The latents given all that a batch holds, which must conform; what :meth:`infer` gives.

        Args:
            batch: N data points, restricted to the subset; every row has a modality observed.
        """

    # What it may say otherwise.

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in which ``fit`` trains the model, in order.

        Empty, as here, for a single one in which every part learns for :meth:`loss`.
        """
        return ()

    # What it then can do.

    @in_evaluation_mode
    def infer(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Latents:
        """The posterior of each datum given a subset of its modalities; the plain computation on one batch.

        Runs in evaluation mode, whatever mode the model is in.

        Args:
            batch: N data points.
            subset: one name, several in any order, or ``None`` for all that is observed.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            covariates: ``{name: numbers [N]}``, beside the data or in the batch.

        Returns:
            The latents. A row of which some members of the subset are missing is inferred from the others.

        Raises:
            ValueError: if the batch does not hold the subset, or a row has no member of it.
        """
        return self.latents(self.prepare(batch, observed, covariates).restrict(self._members(subset)))

    def prepare(
        self,
        data: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Data as a batch in this model's order and types, checked, on the model's device.

        Raises:
            ValueError: for anything that the model cannot compute with; the message names the modality.
            TypeError: for data of the wrong kind.
        """
        if not isinstance(data, Batch) or data.conforms_to is not self.forms:  # one that conforms is trusted
            self._require_float32()
        batch = Batch.of(data, observed, covariates).conform(self.shapes, self.forms).to(self.device)
        if not torch.is_inference_mode_enabled() and any(value.is_inference() for value in batch.data.values()):
            batch = batch.map(torch.clone)  # of what was made in inference mode no gradient can be taken
        self.check_cells(batch)
        return self.encode_covariates(batch)

    def check_cells(self, batch: Batch) -> None:
        """Raise ``ValueError`` for rows that are there in part, where the model takes them as a whole."""
        for name, mask in batch.cells.items():
            if not self.takes_cells(name, batch):
                whole = mask.reshape(len(mask), -1)
                partly = whole.any(1) & ~whole.all(1)
                first = int(partly.nonzero()[0]) if bool(partly.any()) else 0
                raise ValueError(
                    f"{name}: row {first} is NaN in part, or masked so ({int(partly.sum())} such rows), and "
                    f"{type(self).__name__} takes each row of it as a whole. Fill the values in, make the whole row "
                    f'NaN, or for a VAE make it Modality({name!r}, ..., missing="cells").'
                )

    def takes_cells(self, name: str, batch: Batch) -> bool:
        """Whether the model takes rows of a modality that are there in part, as this batch masks them.

        Models that look at steps take masks of the steps of sequences; by default nothing else is taken.
        """
        is_sequence = batch.data[name].ndim > 2 or not batch.data[name].is_floating_point()
        return self.takes_steps and batch.cells[name].ndim == 2 and is_sequence

    @property
    def needs_fitting(self) -> bool:
        """Whether transforms, or the scales of numeric covariates, are still to be fitted to training data."""
        return not all(each.is_fitted for each in self.modules() if isinstance(each, Transform))

    def fit_transforms(self, batch: Batch) -> None:
        """Find the scales of numeric covariates, unless that was done before.

        Args:
            batch: Training data, or a sample of it.
        """
        if self.covariates.levels:
            self.covariates.fit(self.covariates.conform(batch.covariates))

    def _require_float32(self) -> None:
        if self.epoch.dtype != torch.float32:
            raise ValueError(
                f"{self.names[0]}: the weights of this {type(self).__name__} are {self.epoch.dtype}, but data and "
                f"densities are float32; call model.float(). For half precision in training pass precision= to fit."
            )

    def encode_covariates(self, batch: Batch) -> Batch:
        """The batch with its covariates checked and, as networks read them, in :attr:`~mmvae.Batch.context`.

        Raises:
            ValueError: For a covariate that the model does not have, or one that is missing.
        """
        if batch.context is None and (batch.covariates or self.covariates.levels):
            batch.covariates = self.covariates.conform(batch.covariates)
            batch.context = self.covariates.encode(batch.covariates)
        return batch

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return self.epoch.device

    def unseen(self, subset: Subset = None) -> tuple[str, ...]:
        """Return the members of a subset that no row had that the model was trained on, by default of all modalities.

        A model that ``fit`` has not trained says nothing.
        """
        if not float(self.epoch):
            return ()
        members = canonical(subset, self.names)
        return tuple(n for n, seen in zip(self.names, self.seen.tolist(), strict=True) if n in members and not seen)

    def _members(self, subset: Subset) -> tuple[str, ...] | None:
        """The subset in the model's order, so that an unknown name is reported as such; ``None`` stays."""
        return None if subset is None else canonical(subset, self.names)
