"""Fréchet distance between features of generated and of real data."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.abilities import Samples
from mmvae.evaluation.context import Context
from mmvae.evaluation.generation import generated, generator_of, no_judges, readings, real, real_readings
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row
from mmvae.files import reading
from mmvae.subsets import label
from mmvae.words import Words


class Inception(nn.Module):
    """Images to the 2048 features of the Inception network that FID is defined by (pytorch-fid's).

    Args:
        weights: the file that pytorch-fid publishes (``pt_inception-2015-12-05-6726825d.pth``), or the same weights as
            safetensors. Nothing is downloaded, and no code in the file is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold the weights of this network.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from pytorch_fid import inception

        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(f"inception_weights: no file {path}.")
        state = _read(path)
        # The constructor fetches its weights from the network, and knows no other way.
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
            try:
                self.network: nn.Module = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
            except RuntimeError as error:
                raise ValueError(f"inception_weights: {path} does not fit pytorch-fid's network: {error}") from error
        self.network.eval()

    @staticmethod
    def reads(data: Tensor) -> bool:
        """Whether data is images ``[N, C, H, W]``, grey or in colour."""
        return data.ndim == 4 and data.shape[1] in (1, 3) and data.is_floating_point()

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
        """2048 features for each image, on the CPU.

        Args:
            images: in [0, 1]; what lies outside is clipped. Grey ones are repeated in three channels.
        """
        device = next(self.network.parameters()).device
        colour = images.to(device, torch.float32).clamp(0, 1).expand(-1, 3, -1, -1)
        return self.network(colour)[0].flatten(1).cpu()


def _read(path: Path) -> dict[str, Any]:
    from safetensors.torch import load

    with reading(path, "inception_weights", "Expected a file of weights; fetch pytorch-fid's again."):
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        try:
            state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError("it is no file of weights, or holds code, which is not run") from error
    if not isinstance(state, dict):
        raise ValueError(f"inception_weights: {path} holds no weights by name, but a {type(state).__name__}.")
    return state


_FEW = 2


@metric(
    Words("fid", "FID", "Fréchet distance between Inception features of generated and of real images.", better="lower"),
    Words(
        "classifier_feature_fd",
        "Fréchet distance (classifier)",
        "Between features of generated and of real data, in the classifiers' space.",
        better="lower",
    ),
    about="generation",
    kinds="that generate",
    beside=("classifier_accuracy",),
)
def frechet(context: Context) -> Iterator[Row]:
    """Fréchet distances of generated to real data, per subset and target, and of prior samples (given nothing).

    Rows ``fid``, for images, if the Inception weights are given; and ``classifier_feature_fd``, by the penultimate
    layer of the classifiers, which is comparable with no published FID and only within one set of classifiers.
    Decoder means are compared with the real data of the target.

    Source: Heusel et al. 2017.
    """
    generator_of(context)
    sources: list[tuple[str, ...] | None] = [each for each in context.subsets if len(context.rows(each))]
    if isinstance(context.model, Samples):
        sources.insert(0, None)
    if context.inception_weights is not None:
        yield from _inception(context, sources)
    else:
        context.note("fid: left out, since there are no Inception weights; pass inception_weights=.")
    if context.classifiers:
        yield from _by_classifiers(context, sources)
    else:
        context.note(f"classifier_feature_fd: left out, since {no_judges(context)}.")


def frechet_distance(
    mean: Float[Tensor, "F"],
    covariance: Float[Tensor, "F F"],
    other_mean: Float[Tensor, "F"],
    other: Float[Tensor, "F F"],
) -> float:
    """|m - m'|² + tr(C + C' - 2 (C C')^½) between two Gaussians, the squared 2-Wasserstein distance.

    The trace of the root is that of the symmetric matrix C^½ C' C^½, which has the eigenvalues of C C'; covariances
    may be singular.

    Args:
        mean: m.
        covariance: C.
        other_mean: m'.
        other: C'.

    Source: Dowson and Landau 1982.
    """
    mean, covariance, other_mean, other = (each.double() for each in (mean, covariance, other_mean, other))
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    product = root @ other @ root
    trace_of_root = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * trace_of_root
    return max(float(distance), 0.0)


def feature_distance(features: Float[Tensor, "N F"], others: Float[Tensor, "K F"]) -> float:
    """The Fréchet distance of the Gaussians fitted to two sets of features, of two or more each."""
    return frechet_distance(*_moments(features), *_moments(others))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.double()
    return features.mean(0), features.mT.cov().reshape(features.shape[1], features.shape[1])


def _by_classifiers(context: Context, sources: list[tuple[str, ...] | None]) -> Iterator[Row]:
    metric = "classifier_feature_fd"
    names = [name for name in context.names if name in context.classifiers and _has_moments(context, metric, name)]
    for subset in context.each("classifier-feature FD", sources):
        found = readings(context, subset)
        for name in names:
            features, truth = found[name].features, real_readings(context, name).features
            if features is None or truth is None:
                context.note(f"{metric}: left out for {name}, whose classifier has no features(x).")
            else:
                yield from _row(context, metric, features, truth, subset, name)


def _inception(context: Context, sources: list[tuple[str, ...] | None]) -> Iterator[Row]:
    assert context.inception_weights is not None
    images = [name for name in context.names if Inception.reads(context.data.data[name])]
    images = [name for name in images if _has_moments(context, "fid", name)]
    network = Inception(context.inception_weights).to(context.device)
    truth = {name: torch.cat([network(batch[name]) for batch in real(context, name)]) for name in images}
    for subset in context.each("FID", sources):
        found: dict[str, list[Tensor]] = {name: [] for name in images}
        for batch in generated(context, subset):
            for name in images:
                found[name].append(network(batch[name]))
        for name in images:
            yield from _row(context, "fid", torch.cat(found[name]), truth[name], subset, name)


def _has_moments(context: Context, metric: str, name: str) -> bool:
    """Whether there are enough real data of a modality for a covariance; if not, that is noted."""
    enough = len(context.rows((name,))) >= _FEW
    if not enough:
        context.note(f"{metric}: left out for {name}, which fewer than {_FEW} rows have.")
    return enough


def _row(
    context: Context, metric: str, features: Tensor, truth: Tensor, subset: tuple[str, ...] | None, target: str
) -> Iterator[Row]:
    if len(features) < _FEW:
        context.note(f"{metric}: left out for {target} from {label(subset or ())}, which fewer than {_FEW} rows have.")
        return
    few = min(len(features), len(truth)) <= features.shape[1]
    note = "fewer data than features: the covariance is singular" if few else None
    distance = feature_distance(features, truth)
    yield make_row(metric, distance, subset or (), target, n=len(features), n_real=len(truth), note=note)
