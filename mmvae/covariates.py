"""Covariates: what is known of every row, such as its batch or age, and is never inferred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmvae.choices import check_count
from mmvae.transforms import Standardize


class Covariates(nn.Module):
    """The covariates of a model, and how networks read them.

    A category becomes one column per level, 1 at its own. A number is one column, standardised by the mean and standard
    deviation of the training data (:meth:`fit`); until then it is read as it is.

    Args:
        levels: ``{name: number of levels}`` for a category, whose values are 0 to levels - 1; ``{name: None}`` for a
            number.

    Raises:
        ValueError: For a category with fewer than two levels.
        TypeError: For something that is neither a number of levels nor ``None``, or names that are not strings.

    Example:
        >>> Covariates({"batch": 3, "age": None}).size
        4
    """

    def __init__(self, levels: Mapping[str, int | None] | None) -> None:
        super().__init__()
        if levels is not None and not isinstance(levels, Mapping):
            raise TypeError(f"covariates: expected a dict from names to levels or None, got {levels!r}.")
        for name, count in (levels or {}).items():
            if not isinstance(name, str):
                raise TypeError(f"covariates: names are strings, got {name!r}.")
            if count is not None:
                check_count(f"covariates: the levels of {name!r}", count, 2)
        self.levels: dict[str, int | None] = dict(levels or {})
        self._numbers = [name for name, count in self.levels.items() if count is None]
        if self._numbers:
            self.standardize = Standardize().for_shape((len(self._numbers),))

    def fit(self, conformed: Mapping[str, Tensor]) -> None:
        """Find the mean and standard deviation of each number, unless that was done before.

        Args:
            conformed: Covariates of the training data, as :meth:`conform` gives them.
        """
        if self._numbers and not self.standardize.is_fitted:
            self.standardize.fit(torch.stack([conformed[name] for name in self._numbers], -1))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the covariates, in the order of their columns."""
        return tuple(self.levels)

    @property
    def size(self) -> int:
        """C, number of columns that networks read."""
        return sum(1 if count is None else count for count in self.levels.values())

    def conform(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Check covariates, and return them in the order of the model: int64 levels or float32 numbers, ``[N]``.

        Raises:
            ValueError: For a missing or unknown covariate, or a level that does not exist.
            TypeError: For levels that are not whole numbers.
        """
        for name in given:
            if name not in self.levels:
                known = f"it has {', '.join(map(repr, self.levels))}" if self.levels else "it has none"
                raise ValueError(f"covariates: {name!r} is not a covariate of this model; {known}.")
        for name in self.levels:
            if name not in given:
                raise ValueError(
                    f"covariates: {name!r} is missing. This model was made with it and needs it for every row; pass "
                    f'covariates={{"{name}": ...}} beside the data.'
                )
        return {name: self._checked(name, given[name]) for name in self.levels}

    def _checked(self, name: str, value: Tensor) -> Tensor:
        count = self.levels[name]
        if count is None:
            return value.to(torch.get_default_dtype())
        if value.is_floating_point() and not bool((value == value.round()).all()):
            raise TypeError(f"covariates: {name!r} has levels, whole numbers from 0 to {count - 1}, got fractions.")
        value = value.to(torch.int64)
        if value.device.type == "cpu" and not 0 <= int(value.min()) <= int(value.max()) < count:
            raise ValueError(
                f"covariates: {name!r} has levels 0 to {count - 1}, got {int(value.min())} to {int(value.max())}."
            )
        return value

    def encode(self, conformed: Mapping[str, Tensor]) -> Float[Tensor, "N C"] | None:
        """Return conformed covariates as the columns that networks read, or ``None`` without covariates."""
        columns = []
        for name, count in self.levels.items():
            value = conformed[name]
            if count is None:
                columns.append(self._standardised(name, value).unsqueeze(-1))
            else:
                columns.append(functional.one_hot(value, count).to(torch.get_default_dtype()))
        return torch.cat(columns, -1) if columns else None

    def _standardised(self, name: str, value: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        place = self._numbers.index(name)
        loc, scale = (each[place].to(value.device) for each in (self.standardize.loc, self.standardize.scale))
        return (value - loc) / scale

    def usual(self, name: str) -> Tensor:
        """Mean of a number in the training data, a scalar; 1 before :meth:`fit`."""
        mean = self.standardize.loc[self._numbers.index(name)]
        return torch.where(self.standardize.fitted, mean, 1.0)

    def of_rows(self, num_rows: int, known: Mapping[str, Any], changed: Mapping[str, Any] | None) -> dict[str, Tensor]:
        """Return the covariates of rows, some of them changed: one value for all rows, or one for each.

        Args:
            num_rows: N.
            known: ``{name: tensor [N]}``.
            changed: ``{name: value or values}`` in their place.

        Raises:
            ValueError: For values of another number of rows, and as :meth:`conform`.
        """
        given = {**known, **(changed or {})}
        tensors = {}
        for name, value in given.items():
            tensor = torch.as_tensor(value)
            tensor = tensor.expand(num_rows) if tensor.ndim == 0 else tensor
            if tensor.shape != (num_rows,):
                raise ValueError(
                    f"covariates: {name!r} must be one value, or one for each of the {num_rows} rows, got shape "
                    f"{tuple(tensor.shape)}."
                )
            tensors[name] = tensor
        return self.conform(tensors)
