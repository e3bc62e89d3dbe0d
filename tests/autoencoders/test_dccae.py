"""DCCAE: the contract, canonical correlations in closed form, coordinates in which modalities meet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Modality, likelihoods
from mmvae.models import DCCAE, MultimodalAutoencoder
from mmvae.networks.canonical_coordinates import CanonicalCoordinates
from mmvae.testing import AutoencoderContract

pytestmark = pytest.mark.filterwarnings("ignore:canonical correlations of views")


class TestDCCAE(AutoencoderContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
        return DCCAE(modalities, 2)


class TestConditionalDCCAE(AutoencoderContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalAutoencoder:
        return DCCAE(modalities, 2, covariates={"age": None}, norm="squared")

    def make_covariates(self) -> dict[str, float]:
        return {"age": 0.25}


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Canonical correlations by orthonormal bases of the centred views."""
    bases = [np.linalg.qr(each - each.mean(0))[0] for each in (a, b)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def views(rows: int = 2000, widths: tuple[int, ...] = (4, 5), seed: int = 0) -> dict[str, Tensor]:
    """Views of two common causes among noise."""
    generator = torch.Generator().manual_seed(seed)
    cause = torch.randn(rows, 2, generator=generator)
    found = {}
    for name, width in zip("abc", widths, strict=False):
        mixing = torch.randn(2, width, generator=generator)
        found[name] = cause @ mixing + torch.randn(rows, width, generator=generator) + 3.0
    return found


def linear(data: dict[str, Tensor], latent_dim: int, **options: Any) -> DCCAE:
    """A model with linear encoders and decoders."""
    torch.manual_seed(0)
    modalities = [
        Modality(
            name,
            (value.shape[1],),
            likelihoods.Normal(),
            nn.Identity(),
            lambda latent_dim, width=value.shape[1]: nn.Linear(latent_dim, width),
            transform=None,
        )
        for name, value in data.items()
    ]
    return DCCAE(modalities, latent_dim, **options)


def test_correlation_of_invertible_linear_encoders_is_that_of_the_data() -> None:
    data = views(widths=(4, 4))
    model = linear(data, 4, ridge=1e-7)
    expected = correlations(data["a"].double().numpy(), data["b"].double().numpy()).mean()
    assert float(model.loss(data).terms["cca"].detach()) == pytest.approx(-expected, abs=1e-5)
    model = linear(data, 4, ridge=1e-7, norm="squared")
    squares = np.square(correlations(data["a"].double().numpy(), data["b"].double().numpy())).mean()
    assert float(model.loss(data).terms["cca"].detach()) == pytest.approx(-squares, abs=1e-5)


def test_training_finds_the_leading_canonical_correlations() -> None:
    data = views()
    model = linear(data, 2, cca=1000.0, ridge=1e-6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        model.train().loss(data).total.backward()
        optimizer.step()
    expected = correlations(data["a"].numpy(), data["b"].numpy())[:2].mean()
    assert float(model.loss(data).terms["cca"].detach()) == pytest.approx(-expected, abs=2e-3)
    assert expected > 1.5 * correlations(data["a"].numpy(), data["b"].numpy())[2:].mean()


def by_loops(model: Any, data: dict[str, Tensor], observed: dict[str, Tensor]) -> Tensor:
    """The loss, row by row and pair by pair, of encodings that are decoded as they are."""
    encodings = {name: model.encoding.heads[name](model.encoding.encoders[name](data[name])) for name in model.names}
    total = torch.zeros((), dtype=torch.float64)
    rows = len(next(iter(data.values())))
    for row in range(rows):
        for name in model.names:
            if observed[name][row]:
                parameters = model.decoders[name](encodings[name][row : row + 1])
                log_p = model.likelihoods[name](parameters).log_prob(data[name][row : row + 1]).sum()
                total = total - model.weights[name] * log_p / rows
    pairs = []
    for a, b in combinations(model.names, 2):
        both = observed[a] & observed[b]
        whitened = []
        for each in (encodings[a][both], encodings[b][both]):
            centred = each - each.mean(0)
            values, vectors = torch.linalg.eigh(centred.T @ centred)
            whitened.append(centred @ vectors @ torch.diag(values.rsqrt()) @ vectors.T)
        pairs.append(torch.linalg.svdvals(whitened[0].T @ whitened[1]).sum())
    return total - model.cca * sum(pairs) / len(pairs)


def test_value_and_gradient_are_those_of_slow_loops() -> None:
    parts = TestDCCAE()
    torch.manual_seed(0)
    model = DCCAE(parts.make_modalities(), 2, cca=3.0, ridge=1e-9)
    data = parts.make_data(24)
    observed = {name: torch.rand(24) < 0.8 for name in data}
    observed["real"] |= ~(observed["bits"] | observed["codes"])
    slow = copy.deepcopy(model).double()
    double = {name: value.double() if value.is_floating_point() else value for name, value in data.items()}
    expected = by_loops(slow, double, observed)
    expected.backward()
    for training in (False, True):
        model.train(training).zero_grad()
        total = model.loss(Batch(data, observed)).total
        total.backward()
        torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
        for one, other in zip(model.parameters(), slow.parameters(), strict=True):
            torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-3, atol=1e-4)


# Coordinates.


def test_two_views_agree_by_their_canonical_correlations() -> None:
    data = views(widths=(4, 4))
    both = torch.stack(list(data.values()))
    coordinates = CanonicalCoordinates(("a", "b"), 4)
    for _ in range(20):
        coordinates.update(("a", "b"), both)
    common = coordinates.common(("a", "b"), both).double()
    assert common.mean(1).abs().max() < 1e-5
    for view in common:
        torch.testing.assert_close(view.T @ view / 2000, torch.eye(4).double(), atol=0.02, rtol=0.0)
    crossed = common[0].T @ common[1] / 2000
    torch.testing.assert_close(crossed, crossed.T, atol=2e-3, rtol=0.0)
    expected = correlations(data["a"].numpy(), data["b"].numpy()).sum()
    assert crossed.trace() == pytest.approx(expected, rel=5e-3)
    for place, name in enumerate("ab"):
        torch.testing.assert_close(coordinates.own(name, common[place].float()), both[place], atol=1e-3, rtol=0.0)


def test_three_views_agree_better_than_whitening_makes_them() -> None:
    data = views(widths=(4, 4, 4))
    whole = torch.stack(list(data.values()))

    def agreement(coordinates: CanonicalCoordinates) -> float:
        common = coordinates.common("abc", whole)
        return float(sum((common[a] * common[b]).sum(-1).mean() for a, b in combinations(range(3), 2)))

    coordinates = CanonicalCoordinates("abc", 4)
    found = []
    for _ in range(30):
        coordinates.update("abc", whole)
        found.append(agreement(coordinates))
    assert all(later >= earlier - 0.02 for earlier, later in pairwise(found))
    pairs = [correlations(data[a].numpy(), data[b].numpy()).sum() for a, b in combinations("abc", 2)]
    assert found[-1] <= sum(pairs)  # each pair could do no better by itself
    assert found[-1] >= 0.9 * sum(pairs)


def test_moments_are_of_the_rows_that_have_a_view() -> None:
    """Values of rows without a view change nothing, and a view that nobody has stays where it is."""
    data = views(64, (3, 3, 3))
    whole = torch.stack(list(data.values()))
    present = torch.ones(3, 64)
    present[1, ::2] = 0
    present[2] = 0
    noisy = torch.where(present.unsqueeze(-1) > 0, whole, torch.nan)
    masked, fewer = CanonicalCoordinates("abc", 3), CanonicalCoordinates("abc", 3)
    masked.update("abc", noisy, present)
    fewer.update("abc", whole, present)
    for name, value in masked.state_dict().items():
        assert torch.equal(value, fewer.state_dict()[name])
    assert torch.equal(masked.maps[2], torch.eye(3))
    alone = CanonicalCoordinates("a", 3)
    alone.update("a", whole[1:2, 1::2])
    torch.testing.assert_close(masked.maps[1] @ masked.maps[1].mT, (alone.maps[0] @ alone.maps[0].mT), atol=10, rtol=10)
    covariance = masked.back[1] @ masked.back[1].mT  # whatever the rotation
    torch.testing.assert_close(covariance, alone.back[0] @ alone.back[0].mT)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_maps_have_an_inverse_however_few_the_rows(rows: int) -> None:
    coordinates = CanonicalCoordinates("ab", 6)
    both = torch.randn(2, rows, 6, generator=torch.Generator().manual_seed(1))
    coordinates.update("ab", both)
    torch.testing.assert_close(coordinates.maps @ coordinates.back, torch.eye(6).expand(2, 6, 6), atol=1e-3, rtol=0.0)
    assert coordinates.maps.isfinite().all()


def test_what_is_not_finite_leaves_rotations_as_they_were() -> None:
    coordinates = CanonicalCoordinates("ab", 2)
    coordinates.update("ab", torch.full((2, 5, 2), torch.nan))
    assert torch.equal(coordinates.rotation, torch.eye(2).double().expand(2, 2, 2))


# Use.


def test_a_modality_is_generated_from_another_as_by_regression_of_what_they_share() -> None:
    """After training: better than the mean of the data, and nearly as well as the best linear map can."""
    whole = views(3000, (4, 4))
    data, test = ({name: value[part] for name, value in whole.items()} for part in (slice(1000), slice(1000, None)))
    model = linear(data, 2, cca=100.0)
    mmvae.fit(model, data, epochs=100, batch_size=200, lr=0.02, progress=False)
    generated = model.generate(mmvae.infer(model, {"a": test["a"]}))["b"]
    error = (generated - test["b"]).square().mean()
    seen, unseen = (torch.cat([each["a"], torch.ones(len(each["a"]), 1)], 1) for each in (data, test))
    least = (unseen @ torch.linalg.lstsq(seen, data["b"]).solution - test["b"]).square().mean()
    spread = test["b"].var(0).mean()
    assert error < least + 0.3 * (spread - least)


def test_what_a_modality_says_of_itself_is_its_own_reconstruction() -> None:
    data = views(200, (4, 4))
    model = linear(data, 2)
    for _ in range(3):
        model.train().loss(data)
    model.eval()
    own = model.generate(model.infer({"a": data["a"]}))["a"]
    encoding = model.encoding(model.prepare({"a": data["a"]}))[0]
    torch.testing.assert_close(own, model.decoders["a"](encoding), atol=1e-4, rtol=1e-4)
