"""``infer(missing="nan")``: rows that have no member of the subset are NaN, and all others as if they were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

import mmvae
from mmvae import Batch, Modality, likelihoods, models

ROWS = 9
A = torch.tensor([1, 1, 0, 0, 1, 1, 0, 1, 0], dtype=torch.bool)
B = torch.tensor([1, 0, 1, 0, 1, 1, 0, 0, 1], dtype=torch.bool)


def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(ROWS, 3, generator=generator), "b": torch.randint(4, (ROWS, 6), generator=generator)}


class Items(Dataset[Any]):
    """Rows as dicts, without what is missing."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Any]:
        here = {"a": bool(A[row]), "b": bool(B[row]) or not bool(A[row])}
        return {name: value[row] if here[name] else None for name, value in data().items()}


def vae(kind: str = "MVAE", **options: Any) -> Any:
    torch.manual_seed(0)
    modalities = [Modality("a", (3,), likelihoods.Normal()), Modality("b", (6,), likelihoods.Categorical(4))]
    return getattr(models, kind)(modalities, latent_dim=2, **options)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "MMVAEPlus"])
@pytest.mark.parametrize("subset", ["a", "b", ("a", "b"), None])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_other_rows_are_as_if_they_were_alone(kind: str, subset: Any, batch_size: int) -> None:
    model = vae(kind, private_dim=1) if kind == "MMVAEPlus" else vae(kind)
    known = {"a": A, "b": B}.get(subset, A | B)
    latents = mmvae.infer(model, data(), subset, observed={"a": A, "b": B}, missing="nan", batch_size=batch_size)
    left = Batch(data(), {"a": A, "b": B})[known.nonzero().flatten()]
    expected = mmvae.infer(model, left, subset)
    assert torch.equal(latents.known, known)
    assert latents.subset == expected.subset
    assert len(latents) == ROWS
    for found, wanted in ((latents.mean, expected.mean), (latents.scale, expected.scale)):
        torch.testing.assert_close(found[known], wanted)
        assert found[~known].isnan().all()
    draws = latents.sample(5)
    assert draws.shape == (5, *latents.mean.shape)
    assert draws[:, ~known].isnan().all()
    torch.testing.assert_close(
        latents.distribution.log_prob(draws)[:, known], expected.distribution.log_prob(draws[:, known])
    )
    torch.testing.assert_close(latents.shared.mean[known], expected.shared.mean)
    assert latents.shared.mean[~known].isnan().all()


def test_generation_leaves_gaps_too() -> None:
    model = vae()
    latents = mmvae.infer(model, data(), "a", observed={"a": A}, missing="nan")
    expected = model.generate(latents.without_gaps())
    for number in (None, 3):
        made = model.generate(latents, num_samples=number)
        rows = made["a"].movedim(-2, 0) if number else made["a"]
        assert rows[~A].isnan().all()
        assert rows[A].isfinite().all()
        codes = made["b"].movedim(-2, 0) if number else made["b"]
        assert (codes[~A] == -1).all()
        assert (codes[A] >= 0).all()
    torch.testing.assert_close(model.generate(latents)["a"][A], expected["a"])


def test_items_of_which_some_lack_the_subset() -> None:
    model = vae()
    for batch_size in (1, 2, 9):
        latents = mmvae.infer(model, Items(), "a", missing="nan", batch_size=batch_size)
        expected = mmvae.infer(model, data(), "a", observed={"a": A}, missing="nan")
        torch.testing.assert_close(latents.mean, expected.mean, equal_nan=True)
        both = mmvae.infer(model, Items(), ("a", "b"), missing="nan", batch_size=batch_size)
        assert both.subset == ("a", "b")
        assert both.known.all()


class ItemsWithNothing(Dataset[Any]):
    """Rows as dicts, of which the first lack every modality."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {} if row < 4 else {name: value[row] for name, value in data().items()}


@pytest.mark.parametrize("subset", ["a", None])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_items_that_lack_every_modality(subset: Any, batch_size: int) -> None:
    latents = mmvae.infer(vae(), ItemsWithNothing(), subset, missing="nan", batch_size=batch_size)
    known = torch.arange(ROWS) >= 4
    assert torch.equal(latents.known, known)
    expected = mmvae.infer(vae(), data(), subset)
    torch.testing.assert_close(latents.mean[known], expected.mean[known])
    message = r"rows \(the first is 0\) have none of 'a', 'b' observed|holds no data for 'a'"
    with pytest.raises(ValueError, match=message):
        mmvae.infer(vae(), ItemsWithNothing(), subset, batch_size=batch_size)
    with pytest.raises(ValueError, match=r"rows \(the first is \d+\) have none of 'a', 'b' observed"):
        mmvae.fit(vae(), ItemsWithNothing(), epochs=1, batch_size=2, progress=False)


def test_covariates_stay_with_all_rows() -> None:
    model = vae(covariates={"site": 3})
    site = torch.arange(ROWS) % 3
    latents = mmvae.infer(model, data(), "a", observed={"a": A}, covariates={"site": site}, missing="nan", batch_size=2)
    assert torch.equal(latents.covariates["site"], site)
    made = model.generate(latents)["a"]
    assert torch.equal(made.isfinite().all(1), A)
    alone = mmvae.infer(model, Batch(data(), {"a": A}, covariates={"site": site})[A.nonzero().flatten()], "a")
    torch.testing.assert_close(made[A], model.generate(alone)["a"])
    others = model.generate(latents, covariates={"site": 1})["a"]
    assert torch.equal(others.isfinite().all(1), A)


def test_refined_rows() -> None:
    latents = mmvae.infer(
        vae(), data(), "a", observed={"a": A}, missing="nan", refine="gradient", steps=2, batch_size=4
    )
    assert latents.elbo_trace is not None
    assert latents.elbo_trace.shape == (3, ROWS)
    assert torch.equal(latents.elbo_trace.isfinite().all(0), A)
    assert torch.equal(latents.mean.isfinite().all(1), A)


def test_classifiers_predict_nothing_of_such_rows() -> None:
    torch.manual_seed(0)
    encoders = {name: mmvae.nn.ViT((1, 4, 4), patch=2, dim=4, depth=1, heads=2) for name in "ab"}
    model = models.LateFusion(encoders, num_classes=3).eval()
    images = torch.randn(ROWS, 1, 4, 4)
    latents = mmvae.infer(model, {"a": images, "b": images}, "a", observed={"a": A}, missing="nan")
    logits = model.predict(latents)
    assert torch.equal(logits.isfinite().all(1), A)


def test_codebooks_give_no_code_to_such_rows() -> None:
    torch.manual_seed(0)
    model = models.DCID({"a": 3, "b": 3}, code_dim=4, num_codes=5, layers=1, heads=2, cpc=0.0).eval()
    steps = {name: torch.randn(ROWS, 4, 3) for name in "ab"}
    latents = mmvae.infer(model, steps, "a", observed={"a": A}, missing="nan")
    assert latents.codes is not None
    assert ((latents.codes >= 0) == A[:, None]).all()
    assert torch.equal(latents.mean.isfinite().all(-1).all(-1), A)
    made = model.generate(latents, num_samples=2)
    assert torch.equal(made["b"].isfinite().all(-1).all(-1), A.expand(2, -1))


def test_rows_are_as_they_were_where_nothing_is_missing() -> None:
    model = vae()
    latents = mmvae.infer(model, data(), missing="nan")
    assert torch.equal(latents.mean, mmvae.infer(model, data()).mean)
    assert latents.known.all()
    assert type(latents.distribution) is type(mmvae.infer(model, data()).distribution)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"subset: no row has any of 'a', .*; ask for another"):
        mmvae.infer(vae(), data(), "a", observed={"a": torch.zeros(ROWS, dtype=torch.bool)}, missing="nan")
    with pytest.raises(ValueError, match="subset: unknown modality 'c'"):
        mmvae.infer(vae(), data(), "c", missing="nan")
    with pytest.raises(ValueError, match=r"missing: expected one of 'error', 'nan', got 'zero'"):
        mmvae.infer(vae(), data(), missing="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"""have none of 'a' observed.*infer\(missing="nan"\)"""):
        mmvae.infer(vae(), data(), "a", observed={"a": A})
