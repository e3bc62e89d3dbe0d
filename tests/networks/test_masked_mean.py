"""The mean of those vectors that are there."""

from __future__ import annotations

import torch

from mmvae.networks.masked import masked_mean


def test_it_is_of_the_valid_vectors_and_zero_where_there_are_none() -> None:
    vectors = torch.randn(3, 4, 2)
    valid = torch.tensor([[True, True, True, True], [True, False, False, True], [False, False, False, False]])
    expected = torch.stack([vectors[0].mean(0), vectors[1, [0, 3]].mean(0), torch.zeros(2)])
    torch.testing.assert_close(masked_mean(vectors, valid), expected)
    torch.testing.assert_close(masked_mean(vectors, None), vectors.mean(1))
