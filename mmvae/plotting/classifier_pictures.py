"""What the report of a classifier shows: scores by subset, which classes are mixed up, where its encoders look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmvae.evaluation.classification import classification_scores
from mmvae.labels import Classes
from mmvae.models.classifier import MultimodalClassifier
from mmvae.plotting.attention import AttentionMaps, own_encoder
from mmvae.plotting.attention_picture import attention_maps
from mmvae.plotting.cells import Render
from mmvae.plotting.confusion import ConfusionMatrix, Predictions, confusion_matrix
from mmvae.plotting.inputs import spread
from mmvae.plotting.metric_names import metric_name
from mmvae.plotting.page import Page, number
from mmvae.plotting.pictures import Drawing, Picture
from mmvae.sources import Data
from mmvae.subsets import label

_MOST_CLASSES = 40


def write_classification(page: Page, found: Predictions) -> None:
    """A table of what predictions are worth, given each subset.

    Args:
        page: to write on.
        found: as :func:`~mmvae.plotting.confusion.predictions` gives it.

    Raises:
        Unavailable: for labels that do not fit the model.
    """
    worth = {subset: classification_scores(*each) for subset, each in found.items()}
    metrics = list(dict.fromkeys(metric for scores in worth.values() for metric in scores))
    rows = [[label(subset), *(_cell(scores.get(metric)) for metric in metrics)] for subset, scores in worth.items()]
    meanings = (f"{metric_name(metric).name}: {metric_name(metric).meaning}" for metric in metrics)
    caption = f"Of the data looked at, those that have all of what is given. {' '.join(meanings)}"
    page.table(["given", *(metric_name(metric).name for metric in metrics)], rows, caption)


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


def attention_pictures(model: Any, data: Data, render: Render | None) -> Iterator[Drawing]:
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
