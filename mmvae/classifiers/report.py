"""What the report of a classifier shows: scores by subset, which classes are mixed up, where its encoders look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from mmvae.abilities import Evaluated, Predicts
from mmvae.classifiers.attention import AttentionMaps, attention_maps, own_encoder
from mmvae.classifiers.classifier import MultimodalClassifier
from mmvae.classifiers.confusion import ConfusionMatrix, Predictions, confusion_matrix, predictions
from mmvae.classifiers.metrics import classification_scores
from mmvae.classifiers.tokens import TokenEncoder, encoder_facts
from mmvae.evaluation.registry import metric_words
from mmvae.labels import Classes
from mmvae.plotting.figures.cells import Render
from mmvae.plotting.figures.inputs import spread
from mmvae.plotting.figures.scores import rows_of
from mmvae.plotting.reports.model_tables import sizes
from mmvae.plotting.reports.page import Page, number
from mmvae.plotting.reports.pictures import Drawing, Picture, show
from mmvae.plotting.reports.sections import Reported, section
from mmvae.plotting.reports.training_tables import seconds_per_step
from mmvae.sources import Data
from mmvae.subsets import label

_MOST_CLASSES = 40
_LOOKED_AT = 2000
_HASH = 12


@section("before training")
def encoders(reported: Reported) -> None:
    """Which weights the token encoders have, if the model has any."""
    if token_encoders(reported.model):
        reported.page.section("Encoders")
        write_encoders(reported.page, reported.model, seconds_per_step(reported.metrics, reported.training))


@section("after evaluation")
def classification(reported: Reported) -> None:
    """What a classifier predicts, if the data has labels, and where it looks."""
    page, model, data = reported.page, reported.model, reported.data
    if not isinstance(model, Predicts):
        return
    page.section("Classification")
    batch = spread(data, _LOOKED_AT)
    if batch.labels is None:
        page.paragraph("The data looked at has no labels.")
    else:
        with page.attempt("predictions"):
            found = predictions(model, batch)
            # Those that were evaluated stand in the report already.
            if not any(row["metric"] == "f1_macro" for row in rows_of(reported.evaluation or ())):
                write_classification(page, found)
            show(page, reported.folder, classification_pictures(found, batch.classes))
    show(page, reported.folder, attention_pictures(model, data, reported.render))


def token_encoders(model: object) -> dict[str, TokenEncoder]:
    """The token encoders of a model by modality; none for models of other networks."""
    found = getattr(model, "encoders", None)
    if not isinstance(found, nn.ModuleDict):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, TokenEncoder)}


def write_encoders(page: Page, model: Any, step: float | None) -> None:
    """A table of the token encoders of a model: which weights they have, and how much of them learns.

    Args:
        page: to write on.
        model: with token encoders.
        step: what a step of training took, in seconds, if that is known.
    """
    facts = {name: encoder_facts(encoder) for name, encoder in token_encoders(model).items()}
    page.table(
        ["modality", "encoder", "weights (SHA-256)", "frozen parameters", "trainable parameters"],
        [
            [name, each.name, each.hash[:_HASH], f"{each.frozen:,}", f"{each.trainable:,}"]
            for name, each in facts.items()
        ],
        "Encoders of equal weights and settings have equal hashes, so that a random one is not taken for a pretrained "
        "one.",
    )
    every, learning = sizes(model)
    pace = "" if step is None else f" A step of training took {number(1000 * step)} ms."
    page.paragraph(f"The whole model has {every:,} parameters, of which {learning:,} learn.{pace}")


def write_classification(page: Page, found: Predictions) -> None:
    """A table of what predictions are worth, given each subset.

    Args:
        page: to write on.
        found: as :func:`~mmvae.classifiers.confusion.predictions` gives it.

    Raises:
        Unavailable: for labels that do not fit the model.
    """
    worth = {subset: classification_scores(*each) for subset, each in found.items()}
    metrics = list(dict.fromkeys(metric for scores in worth.values() for metric in scores))
    rows = [[label(subset), *(_cell(scores.get(metric)) for metric in metrics)] for subset, scores in worth.items()]
    meanings = (f"{metric_words(metric).title}: {metric_words(metric).meaning}" for metric in metrics)
    caption = f"Of the data looked at, those that have all of what is given. {' '.join(meanings)}"
    page.table(["given", *(metric_words(metric).title for metric in metrics)], rows, caption)


def classification_pictures(found: Predictions, classes: Classes | None = None) -> Iterator[Drawing]:
    """Which classes are taken for which; nothing where data have several labels, or more classes than can be shown."""
    logits, labels = next(iter(found.values()))
    if labels.ndim == 1 and logits.shape[1] <= _MOST_CLASSES:
        yield Drawing("confusion matrices", lambda: _confusion(found, classes))


def _confusion(found: Predictions, classes: Classes | None) -> Picture:
    arrays = ConfusionMatrix.of_predictions(found, classes)
    right = "; ".join(f"{label(s)} {a:.1%}" for s, a in zip(arrays.subsets, arrays.accuracy, strict=True))
    return Picture(
        "confusion_matrix",
        confusion_matrix(arrays),
        f"Confusion matrices given each subset. Predicted rightly: {right}.",
        "Which classes are taken for which. Rows are true classes, columns what is predicted, in per cent of the row, "
        "over the data that have all of what is given. Off the diagonal: confusions. A column that is dark from top to "
        "bottom is the answer that the classifier falls back on when it knows too little.",
    )


def attention_pictures(model: Evaluated, data: Data, render: Render | None) -> Iterator[Drawing]:
    """Where the encoders look, if some are of the library's own."""
    if not isinstance(model, MultimodalClassifier):
        return
    names = [name for name in spread(data, 1).names if name in model.names]
    if not any(own_encoder(model.encoder(name)) for name in names):
        return
    yield Drawing("attention maps", lambda: _attention(model, data, render))


def _attention(model: MultimodalClassifier, data: Data, render: Render | None) -> Picture:
    arrays = AttentionMaps.of(model, data)
    lookers = "; ".join(f"{name}: {', '.join(each)}" for name, each in arrays.weights.items())
    return Picture(
        "attention_maps",
        attention_maps(arrays, render),
        f"Attention maps over the tokens of a few data points. Who looks: {lookers}.",
        "Where the encoders look. Attention of the last block, mean over the heads, from the class token and from the "
        "proxy tokens that stand for other modalities, if there are any; full orange is four times an even share or "
        "more, and a map of one pale colour looks everywhere alike. What a token "
        "looks at is not yet what it uses. A proxy that looks elsewhere than the class token has found something of "
        "its own to tell about the other modality.",
    )


def _cell(score: tuple[float, float] | None) -> str | None:
    if score is None:
        return None
    value, error = score
    return f"{number(value)} ± {error:.2g}"
