"""The losses of the models with a codebook, written in loops from their formulas."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

Vectors = dict[str, Tensor]
"""By modality, [N, T, D]; coarse vectors have a T of 1."""

BETA = 0.25


def nearest_codes(vectors: Vectors, codebook: Tensor) -> Vectors:
    """The code that each vector is nearest to, [N, T, D]."""
    return {name: codebook[torch.cdist(each, codebook).argmin(-1)] for name, each in vectors.items()}


def commitment(vectors: Vectors, chosen: Vectors) -> Tensor:
    """2 β to the own code, β shared by those of the other modalities."""
    total = torch.zeros(())
    for name, each in vectors.items():
        others = [other for other in vectors if other != name]
        total = total + 2 * BETA * (each - chosen[name]).square().mean()
        for other in others:
            total = total + BETA / len(others) * (each - chosen[other]).square().mean()
    return total


def standardised(vectors: Tensor) -> Tensor:
    """Each dimension over rows and steps; zero where it does not vary."""
    found = torch.zeros_like(vectors)
    for place in range(vectors.shape[-1]):
        values = vectors[..., place]
        if values.max() > values.min():
            found[..., place] = (values - values.mean()) / values.std(correction=0)
    return found


def club(network: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The estimate of mutual information of standardised vectors; draws one permutation of the rows."""
    x, y = standardised(x), standardised(y)
    mean, log_variance = network.mean(x), network.log_variance(x)
    order = torch.rand(len(x)).argsort()
    total = torch.zeros(())
    for row in range(len(x)):
        gap = torch.zeros(y.shape[-1])
        for step in range(x.shape[1]):
            apart = (mean[row, step] - y[order[row], step]).square()
            gap = gap + (apart - (mean[row, step] - y[row, step]).square()) / x.shape[1]
        total = total + (gap * (-log_variance[row].mean(0)).exp()).sum()
    return total / (2 * len(x))


def cross_cpc(network: torch.nn.Module, vectors: Vectors) -> Tensor:
    """Prediction of the next step of each modality from each; draws the last step of the context."""
    names = sorted(vectors)
    rows, steps, _ = vectors[names[0]].shape
    t = int(torch.randint(1, steps - 1, ()))
    total = torch.zeros(())
    for place, source in enumerate(names):
        context = network.readers[place](vectors[source][:, : t + 1])[0][:, t]
        said = network.heads[place](context)
        for target in names:
            for row in range(rows):
                scores = torch.stack([vectors[target][row, t + 1] @ said[other] for other in range(rows)])
                weight = 0.1 if source == target else 1.0
                total = total - weight * torch.log_softmax(scores, 0)[row] / rows
    return total


def code_matching(vectors: Vectors, codebook: Tensor) -> Tensor:
    """Half the sum over pairs of modalities of how badly shares of codes find the row they belong to."""
    shares = {k: torch.softmax(-torch.cdist(each, codebook), -1).mean(1) for k, each in vectors.items()}
    total = torch.zeros(())
    for one, other in combinations(vectors, 2):
        for row in range(len(shares[one])):
            scores = [
                shares[one][row] @ (shares[other][column] + 1e-10).log()
                + shares[other][row] @ (shares[one][column] + 1e-10).log()
                for column in range(len(shares[one]))
            ]
            total = total - torch.log_softmax(torch.stack(scores), 0)[row] / len(scores)
    return 0.5 * total


def info_nce(query: Tensor, key: Tensor, temperature: float = 0.1) -> Tensor:
    """How badly each query finds its key among the others, by cosine."""
    total = torch.zeros(())
    for row in range(len(query)):
        scores = torch.stack([torch.cosine_similarity(query[row], each, 0) for each in key]) / temperature
        total = total - torch.log_softmax(scores, 0)[row] / len(key)
    return total
