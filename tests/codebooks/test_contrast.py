"""Contrastive losses by hand and by loops."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae.codebooks.contrast import matching_loss
from mmvae.nn import code_matching, info_nce


def test_info_nce_by_hand() -> None:
    """Cosines 1, 0 and 0.6, 0.8 over a temperature of 0.5."""
    query, key = torch.tensor([[2.0, 0.0], [0.3, 0.4]]), torch.tensor([[7.0, 0.0], [0.0, 0.1]])
    losses = [math.log(1 + math.exp((0 - 1) / 0.5)), math.log(1 + math.exp((0.6 - 0.8) / 0.5))]
    assert float(info_nce(query, key, 0.5)) == pytest.approx(sum(losses) / 2)
    assert float(info_nce(query, key)) == pytest.approx((math.log(1 + math.exp(-10)) + math.log(1 + math.exp(-2))) / 2)


def test_info_nce_goes_one_way() -> None:
    query, key = torch.randn(5, 3), torch.randn(5, 3)
    assert not torch.isclose(info_nce(query, key), info_nce(key, query))


def test_info_nce_of_rows_that_have_both() -> None:
    query, key = torch.randn(5, 3), torch.randn(5, 3)
    valid = torch.tensor([True, False, True, True, False])
    found = info_nce(query, key, valid=valid)
    torch.testing.assert_close(found, info_nce(query[valid], key[valid]))
    assert info_nce(query, key, valid=torch.zeros_like(valid)) == 0


def test_info_nce_of_zeros_and_of_equals() -> None:
    query = torch.zeros(4, 3, requires_grad=True)
    loss = info_nce(query, torch.zeros(4, 3))
    torch.testing.assert_close(loss, torch.tensor(4.0).log())
    loss.backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_info_nce_gradients() -> None:
    valid = torch.tensor([True, True, False, True])
    inputs = [torch.randn(4, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda query, key: info_nce(query, key, 0.5, valid=valid), inputs)


def test_matching_loss_without_pairs_has_no_gradient() -> None:
    scores = torch.randn(3, 3, requires_grad=True)
    nobody = torch.zeros(3, dtype=torch.bool)
    matching_loss(scores, nobody, nobody).backward()
    assert scores.grad is not None
    assert not scores.grad.any()


def slow_shares(vectors: Tensor, codebook: Tensor, valid: Tensor) -> list[list[float]]:
    """Row by row; [] for a row without steps."""
    rows = []
    for b in range(len(vectors)):
        steps = []
        for t in range(vectors.shape[1]):
            if valid[b, t]:
                weights = [math.exp(-float((vectors[b, t] - code).norm())) for code in codebook]
                steps.append([weight / sum(weights) for weight in weights])
        rows.append([sum(column) / len(steps) for column in zip(*steps, strict=True)])
    return rows


def slow_matching(features: dict[str, Tensor], codebook: Tensor, valid: dict[str, Tensor], form: str) -> float:
    shares = {name: slow_shares(features[name], codebook, valid[name]) for name in features}
    total = 0.0
    for a, v in combinations(features, 2):
        rows = [b for b in range(len(valid[a])) if shares[a][b] and shares[v][b]]
        loss = 0.0
        for i in rows:
            scores = {}
            for j in rows:
                pa, pv = shares[a], shares[v]
                back = (pv[i], pa[j]) if form == "reference" else (pv[j], pa[i])
                scores[j] = sum(p * math.log(q + 1e-10) for p, q in zip(pa[i], pv[j], strict=True))
                scores[j] += sum(p * math.log(q + 1e-10) for p, q in zip(*back, strict=True))
            loss += math.log(sum(math.exp(s) for s in scores.values())) - scores[i]
        total += 0.5 * loss / len(rows)
    return total


@pytest.mark.parametrize("form", ["reference", "symmetric"])
@pytest.mark.parametrize("has_holes", [False, True])
@pytest.mark.parametrize("names", ["av", "avt"])
def test_code_matching_element_by_element(form: Any, has_holes: bool, names: str) -> None:
    lengths = {"a": 3, "v": 3, "t": 2}  # steps need not be the same
    features = {name: 2 * torch.randn(4, lengths[name], 5) for name in names}
    valid = {name: torch.ones(4, lengths[name], dtype=torch.bool) for name in names}
    if has_holes:
        valid["a"][0] = False
        valid["v"][2] = False
        valid["v"][1, 1:] = False
    codebook = 2 * torch.randn(6, 5)
    found = code_matching(features, codebook, valid, form=form)
    assert float(found) == pytest.approx(slow_matching(features, codebook, valid, form), rel=1e-4)
    if not has_holes:
        torch.testing.assert_close(found, code_matching(features, codebook, form=form))


def test_swapping_modalities() -> None:
    """Leaves the reference form as it is, to the last bit; the symmetric one, whose softmax is over rows, changes."""
    one, other, codebook = 3 * torch.randn(6, 2, 4), 3 * torch.randn(6, 2, 4), torch.randn(5, 4)
    forwards, backwards = {"a": one, "b": other}, {"a": other, "b": one}
    assert torch.equal(code_matching(forwards, codebook), code_matching(backwards, codebook))
    symmetric = [code_matching(each, codebook, form="symmetric") for each in (forwards, backwards)]
    assert not torch.isclose(*symmetric)


def test_code_matching_of_one_vector_a_row() -> None:
    features, codebook = {name: torch.randn(6, 4) for name in "ab"}, torch.randn(5, 4)
    steps = {name: each.unsqueeze(1) for name, each in features.items()}
    torch.testing.assert_close(code_matching(features, codebook), code_matching(steps, codebook))
    assert code_matching({"a": features["a"]}, codebook) == 0


def test_vectors_on_their_codes_have_finite_gradients() -> None:
    codebook = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]])  # the distances are zero exactly
    features = {name: codebook[:3].clone().requires_grad_() for name in "ab"}
    loss = code_matching(features, codebook)
    loss.backward()
    assert loss.isfinite()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in features.values())


@pytest.mark.parametrize("form", ["reference", "symmetric"])
def test_code_matching_gradients_reach_the_vectors_alone(form: Any) -> None:
    codebook = torch.randn(5, 4, dtype=torch.double, requires_grad=True)
    inputs = [torch.randn(3, 2, 4, dtype=torch.double, requires_grad=True) for _ in range(3)]
    valid = {name: torch.rand(3, 2) > 0.2 for name in "avt"}

    def loss(*each: Tensor) -> Tensor:
        return code_matching(dict(zip("avt", each, strict=True)), codebook, valid, form=form)

    assert torch.autograd.gradcheck(loss, inputs)
    loss(*inputs).backward()
    assert codebook.grad is None


def test_nan_under_a_false_mask() -> None:
    features, codebook = {name: torch.randn(3, 2, 4) for name in "ab"}, torch.randn(5, 4)
    valid = {name: torch.tensor([[True, True], [True, False], [False, False]]) for name in "ab"}
    expected = code_matching(features, codebook, valid)
    hidden = {name: torch.where(valid[name].unsqueeze(-1), each, torch.nan) for name, each in features.items()}
    for each in hidden.values():
        each.requires_grad_()
    found = code_matching(hidden, codebook, valid)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in hidden.values())


def test_low_precision_does_not_reach_the_scores() -> None:
    """Under autocast, all products are taken in single precision."""
    features, codebook = {name: 3 * torch.randn(6, 2, 4) for name in "ab"}, 3 * torch.randn(5, 4)
    expected = code_matching(features, codebook), info_nce(features["a"][:, 0], features["b"][:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        found = code_matching(features, codebook), info_nce(features["a"][:, 0], features["b"][:, 0])
    torch.testing.assert_close(found, expected)


def test_masks_that_do_not_fit() -> None:
    features = {"audio": torch.randn(3, 2, 4), "text": torch.randn(3, 2, 4)}
    with pytest.raises(ValueError, match=r"text: expected a mask of shape \(3, 2\), one entry a vector, got \(3,\)"):
        code_matching(features, torch.randn(5, 4), {"text": torch.ones(3, dtype=torch.bool)})


def test_unknown_forms() -> None:
    with pytest.raises(ValueError, match="form: expected 'reference' or 'symmetric', got 'code'"):
        code_matching({}, torch.zeros(2, 2), form="code")  # type: ignore[arg-type]
