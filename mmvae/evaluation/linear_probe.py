"""How well a linear classifier reads the class off the posterior mean."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row, share_error
from mmvae.subsets import label
from mmvae.words import Words

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

_FEW = 500
_MAX_ITERATIONS = 1000


@metric(
    Words(
        "linear_probe",
        "Linear probe (few labels)",
        "Accuracy of a linear classifier that was fitted on a few posterior means.",
        better="higher",
    ),
    Words(
        "linear_probe_all",
        "Linear probe",
        "Accuracy of a linear classifier that was fitted on posterior means.",
        better="higher",
    ),
    Words(
        "linear_probe_protocol",
        "Linear probe (protocol)",
        "With few labels, on latents that are not standardised: the published protocol.",
        better="higher",
    ),
    about="latent",
)
def linear_probe(context: Context) -> Iterator[Row]:
    """Accuracy of logistic regression on posterior means, per subset; one classifier for each row.

    - ``linear_probe``: fitted on 500 training rows drawn with replacement.
    - ``linear_probe_all``: fitted on all training rows of the evaluation.
    - ``linear_probe_protocol``: as ``linear_probe``, on the latents as they are.

    The first two standardise each latent dimension by its mean and standard deviation over the rows that they are
    fitted on. Without that, the penalty on the weights punishes small latents: the same latents times 0.01 lose most of
    their accuracy. The third is the published protocol; compare it with published numbers only.

    Each is scored on all evaluated rows that have the subset. Latents that are sequences are read step after step, as
    one long vector.

    Source: Sutter et al. 2021, the protocol of the published code (which drops the last, incomplete batch; this does
    not).
    """
    labels, train_labels = labels_for_probe(context)
    for subset in context.each_subset("linear probe"):
        test, train = context.inferred(subset), context.inferred_train(subset)
        known, learnt = labels[test.rows] >= 0, train_labels[train.rows] >= 0
        truth, classes = labels[test.rows][known], train_labels[train.rows][learnt]
        if not len(truth) or not len(classes):
            context.note(f"linear_probe: left out for {label(subset)}, which no data point with a known class has.")
            continue
        generator = torch.Generator().manual_seed(context.derived_seed("probe", subset))
        few, everything = torch.randint(len(classes), (_FEW,), generator=generator), torch.arange(len(classes))
        for name, chosen, standardised in (
            ("linear_probe", few, True),
            ("linear_probe_all", everything, True),
            ("linear_probe_protocol", few, False),
        ):
            if len(classes[chosen].unique()) < 2:
                context.note(f"{name}: left out for {label(subset)}, whose training points are all of one class.")
                continue
            predicted, note = fit_predict(
                train.flat[learnt][chosen], classes[chosen], test.flat[known], context.seed, standardised=standardised
            )
            accuracy = float((predicted == truth).double().mean())
            error = share_error(accuracy, len(truth))
            extras: dict[str, Any] = {"n": len(truth), "n_train": len(chosen), "note": note}
            yield make_row(name, accuracy, subset, stderr=error, **extras)


def labels_for_probe(context: Context) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "T"]]:
    """The classes of the evaluated and of the training data, -1 where unknown.

    A note says how many evaluated data points are of classes that the training data lacks: no probe can name those.

    Raises:
        Unavailable: if there are none.
    """
    labels, train_labels = context.labels, context.train_labels
    new = int((~torch.isin(labels, train_labels) & (labels >= 0)).sum())
    if new:
        context.note(f"labels: {new} data points are of classes that the training data lacks, and count as wrong.")
    return labels, train_labels


def fit_predict(
    features: Float[Tensor, "T D"],
    classes: Int64[Tensor, "T"],
    queries: Float[Tensor, "N D"],
    seed: int,
    *,
    standardised: bool,
) -> tuple[Int64[Tensor, "N"], str | None]:
    """Classes that scikit-learn's logistic regression predicts, and a note if it did not converge.

    Args:
        features: to fit on.
        classes: of ``features``.
        queries: to predict for.
        seed: ``random_state``.
        standardised: bring each feature to mean 0 and standard deviation 1 over ``features`` first.
    """
    if standardised:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(features.double().numpy())
        features, queries = (torch.as_tensor(scaler.transform(each.double().numpy())) for each in (features, queries))
    probe, note = fit_logistic(features, classes, seed)
    return torch.as_tensor(probe.predict(queries.numpy())), note


def fit_logistic(
    features: Float[Tensor, "T D"], classes: Int64[Tensor, "T"], seed: int, strength: float = 1.0
) -> tuple[LogisticRegression, str | None]:
    """Scikit-learn's logistic regression, and a note if it did not converge.

    Args:
        features: to fit on.
        classes: of ``features``.
        seed: ``random_state``.
        strength: C, the inverse of the weight of the penalty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=strength, solver="lbfgs", max_iter=_MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(features.numpy(), classes.numpy())
    stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return probe, f"not converged after {_MAX_ITERATIONS} iterations" if stopped else None
