"""Classifiers over encoders that do not learn: what these make of the data can be computed once and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.classifiers.classifier import MultimodalClassifier
from mmvae.classifiers.feature_cache import Features, FeatureWriter, Fingerprint, place_of, read
from mmvae.classifiers.tokens import Frozen, Precomputed, TokenEncoder, encoder_facts
from mmvae.modes import in_evaluation_mode
from mmvae.sources import Data, Source, as_source

_FORMAT = 1
"""To be raised when the features change, so that older files are not taken for the new."""

_LONG_WORK = 50
"""From this many batches on, progress is shown."""


class FrozenEncoderClassifier(MultimodalClassifier):
    """A classifier whose encoders are frozen; all that it learns stands behind them.

    Training on the data runs the encoders at every step. Training on features runs them once::

        features = model.features(data, cache="features")     # hidden states, kept on disk
        mmvae.fit(model.on_features(), features, epochs=20, batch_size=512)
        mmvae.infer(model, data)                               # the same weights, on data

    """

    def adopt(self, encoder: TokenEncoder) -> TokenEncoder:
        """A frozen copy of the encoder."""
        return Frozen(encoder)

    @property
    def read_layers(self) -> dict[str, tuple[int, ...]]:
        """Which layers of each encoder the model reads, besides the final tokens; here the last."""
        return {name: (self.encoder(name).depth - 1,) for name in self.names}

    # Features in the place of data.

    @torch.no_grad()
    @in_evaluation_mode
    def features(
        self,
        data: Data,
        cache: str | Path | None = None,
        *,
        batch_size: int = 128,
        progress: bool | None = None,
    ) -> Batch:
        """What the encoders make of the data, to train :meth:`on_features` with; labels stay as they are.

        Args:
            data: a dict of tensors or arrays, a :class:`~mmvae.Batch` (with labels, to have them in the result), or a
                dataset that gives the same at every reading.
            cache: a folder in which the features are kept, for each modality under a hash of its encoder and of the
                data, and from which they are taken if they are there. They are then mapped from the disk into memory
                instead of loaded, so that they may be larger than it. Damaged files are noticed and written anew.
            batch_size: rows at a time.
            progress: show a bar; by default only for long work.

        Returns:
            ``{name: [N, 1 + n, L + 1, d]}``: the hidden states of the layers that the model reads and, last, the final
            tokens; masks of their steps where there is padding.

        Raises:
            ValueError: if an encoder learns, the data does not fit, its batches have different numbers of steps, or it
                changes from one reading to the next.
        """
        self._require_frozen()
        source = as_source(data)
        batches = _Batches(source, batch_size, progress)
        if cache is None:
            return _as_batch(*self._compute(batches, {name: FeatureWriter(name, len(source)) for name in self.names}))
        keys, labels = self._keys(batches)
        places = {name: place_of(Path(cache), name, key) for name, key in keys.items()}
        found = {name: read(place, keys[name]) for name, place in places.items()}
        writers = {name: FeatureWriter(name, len(source), places[name]) for name in self.names if found[name] is None}
        if writers:
            found |= self._compute(batches, writers, keys)[0]
        return _as_batch({name: found[name] for name in self.names}, labels)

    def on_features(self) -> FrozenEncoderClassifier:
        """This model for :meth:`features` in the place of data; it shares all weights that learn with this one.

        Training one of them trains both. The device is that of the weights that learn: after training on a GPU this
        model follows at its next use.
        """
        self._require_frozen()
        changed = self.feature_arguments()
        encoders = changed["encoders"]
        model: Any = type(self).__new__(type(self), **{**self.arguments, **changed})
        vars(model).update({name: value for name, value in vars(self).items() if name != "arguments"})
        MultimodalClassifier.__init__(
            model, encoders, self.num_classes, task=self.task, modality_dropout=self.modality_dropout
        )
        model._parameters, model._buffers, model.training = self._parameters, self._buffers, self.training
        for name, part in self._modules.items():
            model._modules.setdefault(name, part)  # all but the encoders
        return model

    def feature_arguments(self) -> dict[str, Any]:
        """The arguments of :meth:`on_features` that are not those of this model, the ``encoders`` among them."""
        layers = self.read_layers
        return {"encoders": {name: Precomputed(self.encoder(name).dim, len(layers[name])) for name in self.names}}

    def prepare(
        self,
        data: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Data as a batch in this model's order and types, checked, on the model's device."""
        first = next(self.encoders.parameters(), None)
        if first is not None and first.device != self.device:  # the model on features was moved, and what both share
            self.to(self.device)
        return super().prepare(data, observed, covariates)

    def _compute(
        self, batches: _Batches, writers: Mapping[str, FeatureWriter], keys: Mapping[str, dict[str, Any]] | None = None
    ) -> tuple[dict[str, Features | None], list[Tensor | None]]:
        """The features of the modalities that have a writer, and the labels.

        Args:
            batches: of the data.
            writers: for each modality, closed at the end.
            keys: what the features are kept under.
        """
        prints = {name: Fingerprint(name) for name in writers}
        labels = []
        try:
            for start, batch in batches:
                labels.append(batch.labels)
                for name, writer in writers.items():
                    if keys is not None:
                        prints[name].add(batch)
                    if name in batch.data:
                        writer.add(start, self._features(name, batch))
            for name in writers:
                if keys is not None and prints[name].hexdigest() != keys[name]["data"]:
                    raise ValueError(
                        f"{name}: the data changes from one reading to the next, so that its features cannot be kept; "
                        f"fix the draws of the dataset, or leave the cache out."
                    )
            return {name: writer.finish((keys or {}).get(name, {})) for name, writer in writers.items()}, labels
        finally:
            for writer in writers.values():
                writer.close()

    def _features(self, name: str, batch: Batch) -> Features:
        batch = self.prepare(batch)
        output = self.run(name, batch)
        layers = output.layers
        states = torch.stack([*(layers[index] for index in self.read_layers[name]), output.final], 2)
        valid = output.valid & batch.observed[name][:, None]
        return Features(torch.where(valid[..., None, None], states, 0), valid)

    def _keys(self, batches: _Batches) -> tuple[dict[str, dict[str, Any]], list[Tensor | None]]:
        """What the features of each modality depend on, in plain values, and the labels."""
        prints = {name: Fingerprint(name) for name in self.names}
        labels = []
        for _, batch in batches.in_silence():
            labels.append(batch.labels)
            for each in prints.values():
                each.add(batch)
        keys = {}
        for name, layers in self.read_layers.items():
            facts = encoder_facts(self.encoder(name))
            encoder = {"encoder": facts.name, "weights": facts.hash, "layers": list(layers)}
            keys[name] = {"format": _FORMAT, **encoder, "data": prints[name].hexdigest()}
        return keys, labels

    def _require_frozen(self) -> None:
        for name in self.names:
            learns = sum(each.numel() for each in self.encoder(name).parameters() if each.requires_grad)
            if learns:
                raise ValueError(
                    f"{name}: its encoder has {learns:,} weights that learn, so that what it makes of the data changes "
                    f"in training; features are for frozen encoders."
                )


class _Batches:
    """The rows of a source in order, each batch with the number of its first row.

    Args:
        source: of N data points.
        batch_size: rows at a time.
        progress: show a bar; by default only for long work.
    """

    def __init__(self, source: Source, batch_size: int, progress: bool | None) -> None:
        self._source, self._size = source, batch_size
        self._starts = range(0, len(source), batch_size)
        self._shows = len(self._starts) >= _LONG_WORK if progress is None else progress

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        if self._shows:
            from rich.progress import track

            return self._read(track(self._starts, description="encoding"))
        return self._read(self._starts)

    def in_silence(self) -> Iterator[tuple[int, Batch]]:
        """Without a bar."""
        return self._read(self._starts)

    def _read(self, starts: Iterable[int]) -> Iterator[tuple[int, Batch]]:
        for start in starts:
            yield start, self._source.batch(torch.arange(start, min(start + self._size, len(self._source))))


def _as_batch(found: Mapping[str, Features | None], labels: list[Tensor | None]) -> Batch:
    features = {name: each for name, each in found.items() if each is not None}
    observed = {name: each.valid[:, 0] for name, each in features.items()}
    complete = all(bool(mask.all()) for mask in observed.values())
    return Batch.trusted(
        {name: each.states for name, each in features.items()},
        None if complete else observed,
        None if labels[0] is None else torch.cat(labels).cpu(),  # type: ignore[arg-type]
        cells={
            name: each.valid for name, each in features.items() if not torch.equal(each.valid.all(1), observed[name])
        },
    )
