"""Statistics of codes by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mmvae.codebooks import code_histogram, owners, perplexity, sharing, usage


def test_histograms_leave_out_what_is_not_there() -> None:
    codes = torch.tensor([[0, 3, -1], [3, 3, 1]])
    assert code_histogram(codes, 5).tolist() == [1, 1, 0, 3, 0]
    assert code_histogram(codes[:0], 2).tolist() == [0, 0]


def test_usage_and_perplexity() -> None:
    histogram = torch.tensor([1, 1, 0, 2])
    assert usage(histogram) == 0.75
    assert float(perplexity(histogram)) == pytest.approx(math.exp(0.5 * math.log(4) + 0.5 * math.log(2)))
    assert float(perplexity(torch.full((7,), 3))) == pytest.approx(7)
    assert perplexity(torch.tensor([0, 5])) == 1


def test_sharing() -> None:
    histograms = {
        "image": torch.tensor([90, 5, 5, 0, 0]),
        "sound": torch.tensor([0, 4, 5, 0, 1]),  # a tenth as many codes: brought to the same sum
        "text": torch.tensor([1, 90, 5, 0, 4]),
    }
    # Shares of the codes in %: image 90 5 5 0 0, sound 0 40 50 0 10, text 1 90 5 0 4. Code 0 is the image's (1 of 91 is
    # the text's), 1 has sound and text (5 of 135 the image's), so has 4; 2 has sound alone (5 of 60 each), 3 nobody.
    torch.testing.assert_close(sharing(histograms), torch.tensor([2 / 4, 2 / 4, 0]).double())
    torch.testing.assert_close(sharing(histograms, least=0.05), torch.tensor([1 / 4, 2 / 4, 1 / 4]).double())


def test_owners() -> None:
    image, sound, text = torch.tensor([90, 10, 0, 0]), torch.tensor([0, 9, 0, 91]), torch.tensor([60, 40, 0, 0])
    histograms = {"image": image, "sound": sound, "text": text}
    assert owners(histograms).tolist() == [2, 3, 0, 1]
    assert owners(histograms, least=0.2).tolist() == [2, 1, 0, 1]  # of 59, image has 10 and sound 9
    many = {str(number): torch.tensor([1, 0]) for number in range(12)}  # each has less than a tenth
    assert owners(many).tolist() == [12, 0]


def test_every_code_in_use_has_an_owner() -> None:
    histograms = {name: torch.randint(0, 9, (50,)) for name in "abc"}
    assert float(sharing(histograms).sum()) == pytest.approx(1)
    same = torch.tensor([3, 2, 0])
    assert sharing(dict.fromkeys("abc", same), least=1 / 3).tolist() == [0, 0, 1]


@pytest.mark.parametrize("least", [0.0, 0.6])
def test_least_shares_that_leave_codes_without_an_owner(least: float) -> None:
    histogram = torch.tensor([1, 2])
    with pytest.raises(ValueError, match=r"least: expected a share above 0 and at most 1/2, got"):
        sharing({"image": histogram, "text": histogram}, least)
