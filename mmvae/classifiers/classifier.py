"""What all classifiers share: deterministic latents of any subset, logits, a task loss, modality dropout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.casting import narrowed
from mmvae.classifiers.task import Task, checked_labels, checked_task, share_right, task_loss
from mmvae.classifiers.tokens import EncoderOutput, TokenEncoder, wrap_encoder
from mmvae.distributions import point_mass
from mmvae.latents import Latents, check_latents
from mmvae.modality import checked_modality_names
from mmvae.modes import in_evaluation_mode
from mmvae.multimodal import MultimodalModel
from mmvae.objectives import Loss

Shown = Mapping[str, Bool[Tensor, "N"]]
"""By modality (all of the model's), the rows in which the classifier may look at it."""


class MultimodalClassifier(MultimodalModel):
    """Token encoders, a latent made of those that are there, and a head; classifiers are recipes over these.

    A recipe says what the latent of a row is (:meth:`represent`), given what the encoders say (:meth:`encode`) and what
    is shown, and makes a ``head`` from it to logits.

    Args:
        encoders: ``{name: module}``; each a :class:`~mmvae.nn.TokenEncoder`, or what
            :func:`~mmvae.nn.wrap_encoder` makes one of. Copied.
        num_classes: C.
        task: ``"single-label"`` (one class each) or ``"multi-label"`` (any number of labels each).
        modality_dropout: in training, show of each row a random non-empty subset of the modalities that it has, all
            subsets being as likely.

    Attributes:
        encoders: by modality.
        num_classes: C.
        task: as given.
        latent_dim: D.

    Raises:
        ValueError: for no encoder, a name that is reserved, or an unknown task.
        TypeError: for something that is no encoder.
    """

    head: nn.Module
    latent_dim: int
    takes_steps = True

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, *, task: Task, modality_dropout: bool
    ) -> None:
        super().__init__(checked_modality_names(encoders, "encoders"))
        checked_task(task, num_classes)
        self.num_classes, self.task, self.modality_dropout = num_classes, task, modality_dropout
        self.encoders = nn.ModuleDict({name: self.adopt(wrap_encoder(each)) for name, each in encoders.items()})
        self._forms = {name: EncoderInputs(self.encoder(name)) for name in self.names}

    # What a recipe must say, and may say otherwise.

    @abstractmethod
    def adopt(self, encoder: TokenEncoder) -> TokenEncoder:
        """The encoder as this model uses it, a copy of the one given: frozen, adapted, or as it is."""

    @abstractmethod
    def represent(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Float[Tensor, "N D"]:
        """The latent of each row.

        Args:
            encodings: of the modalities in the batch; rows that lack one hold zeros there.
            shown: every row is shown a modality.
        """

    def encode(self, batch: Batch) -> dict[str, EncoderOutput]:
        """What each encoder says of the rows that have its modality; zeros for the others."""
        return {name: self.run(name, batch) for name in batch.names}

    def regularisers(
        self, encodings: Mapping[str, EncoderOutput], batch: Batch, shown: Shown
    ) -> dict[str, tuple[float, Tensor]]:
        """What is added to the task's loss: by name, a weight and a scalar."""
        return {}

    # What it then can do.

    def latents(self, batch: Batch) -> Latents:
        """A point mass at each row's representation, given all that a batch holds, which must conform."""
        return Latents(point_mass(self.represent(self.encode(batch), self._observed(batch))), batch.names)

    @in_evaluation_mode
    def predict(self, latents: Latents) -> Float[Tensor, "N C"]:
        """The logits of the classes, or of each label; NaN where the latents of a row are.

        Args:
            latents: of N data points, as :meth:`infer` gives them.

        Raises:
            TypeError: for something that is no latents, such as a tensor.
        """
        check_latents(latents)
        return latents.spread(self.head(latents.without_gaps().mean))

    def loss(self, batch: Batch | Mapping[str, Any], observed: Mapping[str, Any] | None = None) -> Loss:
        """The training loss of a batch with labels.

        Rows without a known label (``None``, NaN or below 0) take part in the regularisers alone.

        Args:
            batch: N data points, with labels.
            observed: ``{name: bool [N]}``, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on, mean per datum; ``.terms``: ``"task"`` (cross-entropy in
            nats), ``"accuracy"`` (share of data, or of labels, predicted rightly) and the regularisers, unweighted.

        Raises:
            ValueError: for data or labels that do not fit.
        """
        given, classes = (batch.labels, batch.classes) if isinstance(batch, Batch) else (None, None)
        labels = checked_labels(given, self.task, self.num_classes, classes)  # before they are moved
        batch = self.prepare(batch, observed)
        labels = labels.to(batch.device)
        encodings = self.encode(batch)
        shown = self._observed(batch)
        if self.training and self.modality_dropout:
            shown = random_subsets(shown)
        logits = self.head(self.represent(encodings, shown))
        task = task_loss(logits, labels, self.task)
        terms = {"task": task, "accuracy": share_right(logits.detach(), labels, self.task)}
        total = task
        for name, (weight, value) in self.regularisers(encodings, batch, shown).items():
            total = total + weight * value
            terms[name] = value
        return Loss(total, terms)

    def check_labels(self, labels: Tensor | None) -> None:
        """Refuses labels that this model cannot be trained on, wherever they lie.

        Raises:
            ValueError: for no labels, a wrong shape, or values that are no classes.
            TypeError: for classes that are not whole numbers.
        """
        checked_labels(None if labels is None else labels.cpu(), self.task, self.num_classes)

    # Help for the above.

    def run(self, name: str, batch: Batch, extra: Tensor | None = None, isolate: bool = False) -> EncoderOutput:
        """What the encoder of a modality says of the rows that have it, and of no other; zeros elsewhere.

        Args:
            name: of a modality that the batch holds.
            batch: N data points.
            extra: learned tokens to run with the others, see :class:`~mmvae.nn.TokenEncoder`.
            isolate: keep the other tokens from looking at them.
        """
        encoder, data, steps = self.encoder(name), batch.data[name], batch.steps.get(name)
        observed = batch.observed[name]
        if batch.complete or bool(observed.all()):
            return encoder(data, steps, extra, isolate)
        rows = observed.nonzero().flatten()
        some = rows if len(rows) else torch.zeros(1, dtype=torch.int64, device=rows.device)  # no encoder takes no row
        output = encoder(data[some], None if steps is None else steps[some], extra, isolate)
        return _spread(output, rows, batch.size)

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Of one datum of each modality; ``None`` where its encoder does not say."""
        return {name: self.encoder(name).shape for name in self.names}

    @property
    def forms(self) -> Mapping[str, EncoderInputs]:
        """The encoders' inputs."""
        return self._forms

    def encoder(self, name: str) -> TokenEncoder:
        """The encoder of a modality."""
        encoder = self.encoders[name]
        assert isinstance(encoder, TokenEncoder)
        return encoder

    def _observed(self, batch: Batch) -> dict[str, Tensor]:
        """What is observed of all modalities of the model, those that the batch lacks included."""
        nothing = torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        return {name: batch.observed.get(name, nothing) for name in self.names}


class EncoderInputs:
    """What an encoder takes: numbers of its type."""

    hole = 0.0

    def __init__(self, encoder: TokenEncoder) -> None:
        self._dtype = encoder.dtype

    def conform(self, name: str, data: Tensor) -> Tensor:
        """The data in the encoder's type.

        Raises:
            TypeError: for real numbers where it takes codes, or whole ones (images in bytes) where it takes real ones.
        """
        takes_real = self._dtype.is_floating_point
        if data.is_floating_point() != takes_real or data.is_complex() or data.dtype == torch.bool:
            what = "real numbers" if takes_real else "whole numbers (token ids)"
            hint = "; convert, for images with x.float() / 255." if takes_real else "."
            raise TypeError(f"{name}: its encoder takes {what}, got {data.dtype}{hint}")
        return narrowed(name, data, self._dtype)


def _spread(output: EncoderOutput, rows: Tensor, size: int) -> EncoderOutput:
    """The output for some rows as one for ``size`` rows, the others holding zeros (and no valid token)."""

    def spread(value: Tensor) -> Tensor:
        return value.new_zeros(size, *value.shape[1:]).index_copy(0, rows, value[: len(rows)])

    return EncoderOutput(
        spread(output.cls),
        spread(output.tokens),
        None if output.mask is None else spread(output.mask),
        None if output.hidden is None else tuple(map(spread, output.hidden)),
        None if output.extra is None else spread(output.extra),
    )


def random_subsets(present: Shown) -> dict[str, Tensor]:
    """For each row a non-empty subset of the modalities that it has, all of them as likely.

    Args:
        present: bool ``[N]`` by modality; every row has at least one.
    """
    table = torch.stack(list(present.values()), 1)  # [N, M]
    subsets = 2 ** table.sum(1, keepdim=True) - 1  # how many each row has, [N, 1]
    chosen = 1 + (torch.rand(subsets.shape, dtype=torch.float64, device=table.device) * subsets).long()
    bit = (table.cumsum(1) - 1).clamp_min(0)  # the place of a modality among those that the row has
    kept = table & ((chosen >> bit) & 1).bool()
    return dict(zip(present, kept.unbind(1), strict=True))
