"""Settings that are one of a few words."""

import re

import pytest

from mmvae.choices import check_choice


@pytest.mark.parametrize("value", ["max", None, ["mean"]])
def test_anything_but_a_choice_is_named_with_what_was_expected(value: object) -> None:
    check_choice("pool", "mean", ("mean", "cls"))
    message = re.escape(f"pool: expected one of 'mean', 'cls', got {value!r}.")
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_choice("pool", value, ("mean", "cls"))
