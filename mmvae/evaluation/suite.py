"""The one call that evaluates a model, and the metrics it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmvae.abilities import Describes, Evaluated
from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.evaluation.context import Context, device_of, gather, observed_names, rows_to_gather, rows_with_any
from mmvae.evaluation.disentanglement import private_classes
from mmvae.evaluation.judges import train_classifiers
from mmvae.evaluation.registry import METRICS, Measure, costly_metrics
from mmvae.evaluation.results import Evaluation, OtherKind, Row, Unavailable, words_of
from mmvae.families import load
from mmvae.labels import class_numbers, joined_classes
from mmvae.likelihoods import Columns
from mmvae.modality import Modality
from mmvae.modes import mode
from mmvae.multimodal import MultimodalModel
from mmvae.sources import Data, Source, as_source
from mmvae.subsets import Subset, canonical, label, powerset

if TYPE_CHECKING:
    from rich.progress import Progress

_MOST_WITH_POWERSET = 4


@numbers_checked
def evaluate(
    model: Evaluated,
    dataset: Data,
    metrics: Sequence[str | Measure] | None = None,
    *,
    covariates: Mapping[str, Any] | None = None,
    train: Data | None = None,
    classifiers: Mapping[str, nn.Module] | None = None,
    subsets: Iterable[Subset] | None = None,
    num_samples: int = 1000,
    max_data: int = 10_000,
    likelihood_rows: int = 1000,
    seed: int = 0,
    batch_size: int = 1024,
    inception_weights: str | Path | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
    private_labels: Mapping[str, Any] | None = None,
    train_private_labels: Mapping[str, Any] | None = None,
) -> Evaluation:
    """How good a model's inference and generation are, as rows of numbers.

    A data point counts for a subset if it has every member of it; ``n`` says how many did. What the model or the data
    does not allow is left out, and so is what fails; :attr:`Evaluation.notes` says why. What is about models of another
    kind, such as the codebook of a model without one, is passed over unless it was asked for. The model, its mode and
    the state of random number generators are as before afterwards.

    Args:
        model: any model of the library.
        dataset: held-out data, with labels where metrics need classes. A dataset that draws some modality at each
            access is read once.
        metrics: names from :data:`METRICS`, or callables of your own from a :class:`Context` to rows. By default all
            but the costly ones (:func:`costly_metrics`), which ``[*METRICS]`` has too.
        covariates: ``{name: numbers [N]}``, beside ``dataset`` in memory, for a model that has some.
        train: labelled training data, to fit linear probes and classifiers on.
        classifiers: ``{name: module}``, from data to logits, as judges of what is generated; a method ``features``
            gives their penultimate layer. By default they are trained on ``train``.
        subsets: on which to report. By default all of them; from five modalities on each alone, all but one, and all.
        num_samples: K, importance samples per data point.
        max_data: the most data points of ``dataset`` and of ``train`` to look at, drawn without replacement
            (classifiers learn from all of ``train``); also the number of draws from the prior.
        likelihood_rows: the most data points to sample importance for, which costs K decodings each.
        seed: of everything that is drawn.
        batch_size: rows at a time; changes no number.
        inception_weights: the file of pytorch-fid's weights, for FID.
        cache: a folder for trained classifiers.
        progress: show bars.
        private_labels: ``{modality: classes [N]}``, one for each row of ``dataset``: classes of what this modality has
            for itself, such as the quadrant that a digit stands in; by default those that the dataset has. The metric
            ``disentanglement`` reads them; labels of ``dataset`` are the classes that all modalities share.
        train_private_labels: the same of ``train``, ``{modality: classes [T]}``.

    Raises:
        ValueError: for an unknown metric or modality, data that does not fit the model, private labels that are not one
            class for each row, or sizes below one.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> data = {"a": torch.randn(50, 4), "b": torch.randn(50, 4)}
        >>> evaluation = evaluate(vae, data, ["cosine", "active_units"], progress=False)
        >>> evaluation.value("active_units", "a+b") <= 2
        True
    """
    load("metrics")
    chosen = _metrics(metrics)
    sizes = {"num_samples": num_samples, "max_data": max_data, "likelihood_rows": likelihood_rows}
    for name, size in (sizes | {"batch_size": batch_size}).items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}.")
    with _undisturbed(model, (classifiers or {}).values()), torch.no_grad(), _progress(progress) as bars:
        evaluated = as_source(dataset, covariates=covariates)
        data = gather(evaluated, max_data, seed)
        source = None if train is None else as_source(train)
        train_batch = None if source is None else gather(source, max_data, seed + 1)
        private, train_private = private_classes(
            _private_labels_of(dataset, model.names) if private_labels is None else private_labels,
            _private_labels_of(train, model.names) if train_private_labels is None else train_private_labels,
            model.names,
            len(evaluated),
            None if source is None else len(source),
        )
        looked_at = rows_to_gather(len(evaluated), max_data, seed)
        trained_on = rows_to_gather(0 if source is None else len(source), max_data, seed + 1)
        data, train_batch = _numbered_alike(data, train_batch)
        names = observed_names(model, data)
        if not names:
            raise ValueError(f"data: holds none of the model's modalities, {', '.join(map(repr, model.names))}.")
        if isinstance(model, MultimodalModel):  # at once, since a metric that fails later is but a note
            conforming = data[rows_with_any(data, names)].restrict(names).conform(model.shapes, model.forms)
            model.check_cells(conforming)
        wanted, notes = _subsets(subsets, tuple(model.names), names)
        order = torch.randperm(data.size, generator=torch.Generator().manual_seed(seed))
        weighed = torch.zeros(data.size, dtype=torch.bool)
        weighed[order[:likelihood_rows]] = True

        def judges() -> Mapping[str, nn.Module]:
            return classifiers if classifiers is not None else _trained(context, source, seed, cache)

        context = Context(
            model,
            data,
            train=train_batch,
            subsets=wanted,
            classifiers=judges,
            num_samples=num_samples,
            weighed=weighed,
            prior_samples=max_data,
            seed=seed,
            batch_size=batch_size,
            classifiers_learned=classifiers is None,
            inception_weights=None if inception_weights is None else Path(inception_weights),
            progress=bars,
            asked=metrics is not None,
            private_labels={name: classes[looked_at] for name, classes in private.items()},
            train_private_labels={name: classes[trained_on] for name, classes in train_private.items()},
        )
        context.notes += notes
        rows: list[Row] = []
        for name, metric in context.each("evaluating", list(chosen.items())):
            try:
                rows.extend({"metric": name, "given": "", "target": ""} | row for row in metric(context))
            except Unavailable as reason:
                if metrics is not None or not isinstance(reason, OtherKind):
                    context.note(f"{name}: left out, since {reason}.")
            except Exception as error:  # one that fails must not cost the others
                context.note(f"{name}: failed. {words_of(error)}")
    settings = {"model": type(model).__name__, "modalities": list(names), "seed": seed, **sizes}
    return Evaluation(rows, context.notes, settings | {"n": data.size})


def _metrics(metrics: Sequence[str | Measure] | None) -> dict[str, Measure]:
    """The metrics to compute, by name, each behind those that are computed whenever it is."""
    if isinstance(metrics, str):
        raise ValueError(f"metrics: expected several metrics, got {metrics!r}; write [{metrics!r}].")
    chosen: dict[str, Measure] = {}
    costly = costly_metrics()
    for metric in [name for name in METRICS if name not in costly] if metrics is None else metrics:
        if callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__)
            if {**METRICS, **chosen}.get(name, metric) is not metric:
                raise ValueError(f"metrics: two metrics are called {name!r}; rename the function of your own.")
            chosen[name] = metric
        elif metric in METRICS:
            for other in METRICS[metric].beside:
                chosen.setdefault(other, METRICS[other])
            chosen[metric] = METRICS[metric]
        else:
            raise ValueError(f"metrics: unknown metric {metric!r}; choose among {', '.join(map(repr, METRICS))}.")
    return chosen


def _private_labels_of(data: Data | None, names: Sequence[str]) -> dict[str, Any]:
    """The private labels that a dataset has, of the model's modalities."""
    return {name: classes for name, classes in getattr(data, "private_labels", {}).items() if name in names}


def _subsets(
    subsets: Iterable[Subset] | None, all_names: tuple[str, ...], names: tuple[str, ...]
) -> tuple[list[tuple[str, ...]], list[str]]:
    """The subsets to report on, each once and in the model's order, and notes on those that no data point can have."""
    if subsets is None:
        return default_subsets(names), []
    if isinstance(subsets, str):
        raise ValueError(f"subsets: expected several subsets, got {subsets!r}; write [{subsets!r}].")
    wanted = dict.fromkeys(names if subset is None else canonical(subset, all_names) for subset in subsets)
    there = [subset for subset in wanted if set(subset) <= set(names)]
    return there, [f"{label(each)}: left out, since the data lacks it." for each in wanted if each not in there]


def default_subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets of up to four modalities; of more, each alone, all but one, and all."""
    subsets = powerset(names)
    if len(names) <= _MOST_WITH_POWERSET:
        return subsets
    return [subset for subset in subsets if len(subset) in (1, len(names) - 1, len(names))]


def _trained(context: Context, source: Source | None, seed: int, cache: str | Path | None) -> Mapping[str, nn.Module]:
    """Classifiers trained on the training data; none, if it has no classes, or nobody says what the data are."""
    if source is None or context.train is None or not isinstance(context.model, Describes):
        return {}
    try:
        found = context.train_labels
    except Unavailable:
        return {}
    known = [each for each in context.model.modalities if isinstance(each, Modality)]
    modalities = [each for each in known if each.size > 1 and not isinstance(each.likelihood, Columns)]
    if len(modalities) < len(known):
        names = ", ".join(each.name for each in known if each not in modalities)
        context.note(
            f"coherence: no judge for {names}, since a column or a table needs none; pass classifiers= for one."
        )
    others = class_numbers(context.data.labels)
    num_classes = 1 + max(int(labels.max()) for labels in (found, others) if labels is not None)
    options: dict[str, Any] = {"num_classes": num_classes, "classes": context.train.classes, "cache": cache}
    return train_classifiers(source, modalities, seed=seed, device=context.device, **options)


def _numbered_alike(data: Batch, train: Batch | None) -> tuple[Batch, Batch | None]:
    """The two with one numbering of classes that are named.

    Raises:
        ValueError: if the labels of one are names and those of the other numbers.
    """
    if train is None or train.labels is None or data.labels is None:
        return data, train
    classes = joined_classes([data.classes, train.classes])
    return data.in_classes(classes), train.in_classes(classes)


@contextmanager
def _undisturbed(model: Any, classifiers: Iterable[nn.Module]) -> Iterator[None]:
    """Evaluation mode, and afterwards every mode and every random number generator as it was."""
    device = device_of(model)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        for module in (model, *classifiers):
            stack.enter_context(mode(module, training=False))
        yield


def _progress(shown: bool) -> Progress:
    from rich.progress import Progress

    return Progress(transient=True, disable=not shown)
