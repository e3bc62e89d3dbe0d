"""Training: encoders on one modality each, classifiers over them, and a VAE with a linear probe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from missing.digits import Splits
from missing.methods import CLASSES, Encoders, Method
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import ALPHABET, Missingness
from mmvae.nn import TextTransformer, ViT, canonical_correlations
from mmvae.subsets import powerset

Pretraining = Literal["labels", "masked"]
Training = Literal["complete", "incomplete"]
Predict = Callable[[Batch, Any], Tensor]
"""From data and a subset to classes, ``[N]``."""

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "mnist": functools.partial(ViT, (1, 28, 28), patch=7),
    "svhn": functools.partial(ViT, (3, 32, 32), patch=8),
    "usps": functools.partial(ViT, (1, 16, 16), patch=4),
    "text": functools.partial(TextTransformer, len(ALPHABET), 8),
}


def pretrained(
    name: str, splits: Splits, pretraining: Pretraining, epochs: int, seed: int, device: str, out: Path
) -> nn.Module:
    """An encoder that learned from its modality alone: to read the digit, or to fill in what is hidden of a datum."""
    torch.manual_seed(seed)
    encoder = {name: MAKERS[name]()}
    model: Any = models.MaskedReconstruction(encoder)
    if pretraining == "labels":
        model = models.LateFusion(encoder, CLASSES, freeze=False)
    longer = 2 if name == "svhn" else 1  # street digits take longer to learn
    mmvae.fit(
        model,
        splits.pretraining.restrict(name),
        validation=splits.validation.restrict(name),
        epochs=longer * epochs,
        batch_size=64,
        weight_decay=0.05,
        schedule=mmvae.training.warmup_cosine(0.1),
        seed=seed,
        device=device,
        out=out,
        resume=True,
    )
    model.cpu()
    return model.encoder(name) if pretraining == "labels" else model.encoder


def incomplete(batch: Batch, seed: int) -> Batch:
    """70 % of the rows lack a modality, each of the modalities as often."""
    table = Missingness.by_type(batch.size, 0.7, "all", batch.names, seed=seed)
    return Batch(batch.data, table.observed, batch.labels)


def seen(splits: Splits, training: Training, seed: int) -> Batch:
    """The training data under a condition."""
    return splits.train if training == "complete" else incomplete(splits.train, seed)


def train(
    method: Method,
    encoders: Encoders,
    splits: Splits,
    training: Training,
    epochs: int,
    seed: int,
    device: str,
    cache: Path,
) -> tuple[models.MultimodalClassifier, dict[str, Any]]:
    """A trained classifier, and what is known of its training."""
    torch.manual_seed(seed)
    model = method.over(encoders)
    before = correlations(model, splits.test)
    data, validation = seen(splits, training, seed), incomplete(splits.validation, seed + 1)
    trainee = model
    if isinstance(model, models.FrozenEncoderClassifier):
        data, validation = model.features(data, cache), model.features(validation, cache)
        trainee = model.on_features()
    run = mmvae.fit(
        trainee,
        data,
        validation=validation,
        epochs=epochs * method.epochs,
        batch_size=method.batch_size,
        lr=method.lr,
        weight_decay=1e-2,
        max_grad_norm=1.0,
        schedule=mmvae.training.warmup_cosine(0.1),
        seed=seed,
        device=device,
        progress=False,
    )
    model.cpu()
    epoch_seconds = [row["seconds"] for row in run.metrics if row["split"] == "train"]
    steps = len(epoch_seconds) * -(-len(data) // method.batch_size)
    return model.eval(), {
        "trained parameters": sum(each.numel() for each in model.parameters() if each.requires_grad),
        "milliseconds per step": 1000 * sum(epoch_seconds) / steps,
        "correlation before": before,
        "correlation after": correlations(model, splits.test),
    }


def predictor(model: models.MultimodalClassifier) -> Predict:
    """The classes that a classifier predicts."""

    @torch.no_grad()
    def predict(batch: Batch, subset: Any) -> Tensor:
        return model.predict(mmvae.infer(model, batch, subset)).argmax(-1)

    return predict


def probe(splits: Splits, training: Training, epochs: int, seed: int, device: str) -> tuple[Predict, dict[str, Any]]:
    """A MoPoE of all images, labelled or not, and one linear probe on the latents of all subsets."""
    torch.manual_seed(seed)
    vae = models.MoPoE([modality(name, splits.test) for name in splits.test.names], latent_dim=20, weights="balanced")
    labelled = seen(splits, training, seed)
    images = Batch.cat([splits.pretraining, labelled])
    mmvae.fit(vae, images, epochs=epochs, batch_size=64, seed=seed, device=device, progress=False)
    vae.cpu()
    assert labelled.labels is not None
    latents, classes = [], []
    for subset in powerset(labelled.names):
        rows = torch.stack([labelled.observed[name] for name in subset]).all(0).nonzero().flatten()
        latents.append(mmvae.infer(vae, labelled[rows], subset).mean)
        classes.append(labelled.labels[rows])
    linear = LogisticRegression(max_iter=1000).fit(torch.cat(latents).numpy(), torch.cat(classes).numpy())

    def predict(batch: Batch, subset: Any) -> Tensor:
        return torch.as_tensor(linear.predict(mmvae.infer(vae, batch, subset).mean.numpy()))

    size = sum(each.numel() for each in vae.parameters())
    return predict, {"trained parameters": size, "correlation after": correlations(vae, splits.test)}


def modality(name: str, batch: Batch) -> Modality:
    """A modality of the VAE: noisy images under a Laplace, letters under a categorical likelihood."""
    likelihood = likelihoods.Categorical(len(ALPHABET)) if name == "text" else likelihoods.Laplace(0.75)
    return Modality(name, tuple(batch.data[name].shape[1:]), likelihood)


def correlations(model: Any, test: Batch) -> Mapping[str, float]:
    """The mean canonical correlation of the latents of each pair of modalities alone."""
    latents = {name: mmvae.infer(model, test, name).mean for name in test.names}
    pairs = [(one, other) for place, one in enumerate(test.names) for other in test.names[place + 1 :]]
    return {f"{a}, {b}": float(canonical_correlations(latents[a], latents[b]).mean()) for a, b in pairs}
