"""Tables of pandas as data, and back: numbers, counts, categories, texts, dates, and what is missing of them."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from mmvae.likelihoods import Bernoulli, Categorical, Columns, Likelihood, NegativeBinomial, Normal
from mmvae.likelihoods.table import check_column, look_like_counts
from mmvae.modality import Modality

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "count", "truth", "category", "date", "duration"]

_DAY = 86_400 * 10**9
"""Nanoseconds."""

_FEW_TEXTS = 20
_SHARE_OF_TEXTS = 0.5
"""So many different texts, and this share of all, make a column one of names or notes rather than of categories."""


@dataclass(frozen=True, eq=False)
class _Column:
    """How a column is written as numbers.

    Attributes:
        name: Name in the frame.
        kind: Kind of its values.
        dtype: Type in the frame.
        likelihood: Likelihood that scores it.
        categories: Values that codes stand for.
        origin: Nanoseconds, since 1970 for a date, from which days are counted: the mean.
    """

    name: Any
    kind: Kind
    dtype: Any
    likelihood: Likelihood
    categories: tuple[Any, ...] = ()
    origin: int = 0

    def numbers(self, values: pd.Series) -> np.ndarray:
        """The values as float64, NaN where one is missing.

        Raises:
            ValueError: For a value that the column's likelihood cannot score.
            TypeError: For values of another kind.
        """
        missing = values.isna().to_numpy()
        found = np.full(len(values), np.nan)
        known = values[~missing]
        if self.kind == "category":
            codes = {value: code for code, value in enumerate(self.categories)}
            unknown = next((value for value in known if value not in codes), None)
            if unknown is not None:
                raise ValueError(
                    f"column {self.name!r}: holds {unknown!r}, which the table was made without; leave it missing, or "
                    f"make the table with all categories."
                )
            found[~missing] = [codes[value] for value in known]
            return found
        is_time = self.kind in ("date", "duration")
        expected = self.kind if is_time else "number"
        if _kind_of(values.dtype) != expected:
            odd = next((each for each in known if _kind_of_value(each) != expected), None)
            if odd is not None:
                raise TypeError(
                    f"column {self.name!r}: holds {odd!r}, where the table was made of {expected}s; convert the "
                    f"column, or leave the value missing."
                )
        if is_time:
            found[~missing] = (_nanoseconds(known) - self.origin) / _DAY
        else:
            found[~missing] = known.to_numpy(dtype=np.float64)
            self._check(found, missing)
        return found

    def _check(self, numbers: np.ndarray, missing: np.ndarray) -> None:
        """Refuse numbers that the likelihood cannot score."""
        if missing.all():
            return
        if np.isinf(numbers).any():
            raise ValueError(f"column {self.name!r}: holds infinite values; clip or replace them.")
        whole = np.where(missing, numbers[~missing][0], numbers)
        try:
            check_column(f"column {self.name!r}", torch.from_numpy(whole), self.likelihood)
        except ValueError as error:
            raise ValueError(
                f"{error} Correct the value, or make the table with likelihoods={{{self.name!r}: "
                f'mmvae.likelihoods.Normal("by_feature")}}, which scores all real numbers.'
            ) from error

    def values(self, numbers: np.ndarray) -> Any:
        """Numbers of a model as values of the column: whole where these are counts, dates where they are dates."""
        import pandas as pd

        if self.kind == "category":
            codes = numbers.round().clip(0, len(self.categories) - 1).astype(int)
            return [self.categories[code] for code in codes]
        if self.kind == "truth":
            return [bool(value) if _is_bool(self.dtype) else float(value) for value in numbers >= 0.5]
        if self.kind in ("date", "duration"):
            whole = (numbers * _DAY).round().astype(np.int64) + self.origin
            if self.kind == "duration":
                return pd.to_timedelta(whole, unit="ns")
            dates = pd.to_datetime(whole, unit="ns", utc=True)
            zone = getattr(self.dtype, "tz", None)
            return dates.tz_localize(None) if zone is None else dates.tz_convert(zone)
        return numbers.round() if self.kind == "count" or _is_whole(self.dtype) else numbers


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A frame as data of modalities, one for each group of its columns.

    Attributes:
        modalities: Modalities for a model: each takes single missing values and has a likelihood for each column.
        data: ``{name: float64 [N, P]}``, for :func:`mmvae.fit`, :func:`mmvae.infer` and :func:`mmvae.impute`; NaN where
            a value is missing. Categories are codes, dates and durations are days from their mean.
        columns: ``{name: names of the columns}`` of each modality.
        left_out: ``{column: reason}``: columns that no model sees; :meth:`to_frame` keeps them as they are.
    """

    modalities: list[Modality]
    data: dict[str, Tensor]
    columns: dict[str, list[Any]]
    left_out: dict[Any, str]
    _frame: pd.DataFrame = field(repr=False)
    _encoded: dict[str, list[_Column]] = field(repr=False)

    def __len__(self) -> int:
        return len(self._frame)

    def __repr__(self) -> str:
        """Which likelihood each column has."""
        lines = [f"  {each.name}: {cast('Columns', each.likelihood).words()}" for each in self.modalities]
        return "\n".join([f"Table of {len(self)} rows", *lines])

    def to_frame(self, filled: Mapping[str, Tensor]) -> pd.DataFrame:
        """The frame with its missing values filled; every other value, the index, columns and types stay.

        Args:
            filled: ``{name: [N, P]}`` of the modalities, as :func:`mmvae.impute` gives it, or ends of its intervals.
                Values that are NaN there stay missing. A modality that it lacks stays as it is.

        Raises:
            ValueError: For other numbers of rows or columns than the table has.
        """
        frame = self._frame.copy()
        for name, columns in self._encoded.items():
            if name not in filled:
                continue
            numbers = torch.as_tensor(filled[name]).detach().double().cpu().numpy()
            if numbers.shape != (len(frame), len(columns)):
                raise ValueError(
                    f"{name}: expected numbers of shape {(len(frame), len(columns))}, a row for each row of the frame, "
                    f"got {numbers.shape}."
                )
            for place, column in enumerate(columns):
                holes = frame[column.name].isna().to_numpy() & ~np.isnan(numbers[:, place])
                if holes.any():
                    frame[column.name] = _with(frame[column.name], holes, column.values(numbers[holes, place]))
        return frame

    def like(self, frame: pd.DataFrame) -> Table:
        """Another frame as data of the same modalities, such as rows for testing.

        A column that it lacks is missing in every row.

        Args:
            frame: Frame with the columns that this table was made of; others are left out.

        Raises:
            ValueError: For a category that this table was made without, a number that the likelihood of its column
                cannot score (a fraction among counts, for one), or a row without any value.
            TypeError: For something that is not a frame, or values of another kind.
        """
        _pandas(frame)
        whole = frame.copy()
        for columns in self._encoded.values():
            for column in columns:
                if column.name not in whole:
                    import pandas as pd

                    whole[column.name] = pd.Series([None] * len(whole), index=whole.index).astype(_nullable(column))
        data = _encode(whole, self._encoded)
        return Table(self.modalities, data, self.columns, self.left_out, whole, self._encoded)


def from_frame(
    frame: pd.DataFrame,
    groups: Mapping[str, Sequence[Any]] | None = None,
    likelihoods: Mapping[Any, Likelihood] | None = None,
) -> Table:
    """A table of pandas as data of a model, holes included.

    The type of a column decides on its likelihood, ``likelihoods=`` overrides it, and ``print(table)`` shows it:

    - floating-point numbers are ``Normal("by_feature")``, whatever their values;
    - integers are ``Bernoulli()`` if they are only 0 and 1, ``NegativeBinomial()`` if they look like counts (none is
      negative, and the smallest is at most half of the largest), otherwise ``Normal("by_feature")``;
    - truth values are ``Bernoulli()``, categories and texts ``Categorical(K)``, dates and durations
      ``Normal("by_feature")`` in days.

    pandas turns integers of which some are missing into floating-point numbers; ``frame.convert_dtypes()`` makes them
    integers again. Integers that stand for categories cannot be told from counts: make them
    ``frame[column].astype("category")``.

    Columns without a value, and texts of which nearly each is another, are left out with a warning.

    Args:
        frame: N rows. Missing are NaN, ``None``, ``NaT`` and ``NA``.
        groups: ``{name: columns}``, each group a modality; columns in no group are left out. By default all columns are
            one modality, ``"table"``.
        likelihoods: ``{column: likelihood}`` in the place of those that the types give. One of ``Categorical(K)`` takes
            a column of whole numbers as codes.

    Raises:
        ImportError: If pandas is not installed.
        TypeError: For something that is not a frame, or a column of values that have no likelihood here.
        ValueError: For unknown columns, a value that the likelihood of its column cannot score, a row without any value
            in the groups, or no columns.

    Example:
        >>> import mmvae, pandas as pd
        >>> frame = pd.DataFrame({"price": [1.5, None, 2.5], "kind": ["a", "b", None], "visits": [3, 0, 12]})
        >>> table = mmvae.data.from_frame(frame)
        >>> table.data["table"].shape, table.columns["table"]
        (torch.Size([3, 3]), ['price', 'kind', 'visits'])
        >>> table.to_frame({"table": table.data["table"].nan_to_num(1.0)})["kind"].tolist()
        ['a', 'b', 'b']
    """
    _pandas(frame)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"frame: two columns are called {twice!r}; rename one of them.")
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"frame: expected rows and columns, got the shape {frame.shape}.")
    chosen = _groups(frame, groups)
    given = dict(likelihoods or {})
    unknown = [name for name in given if name not in frame.columns]
    if unknown:
        raise ValueError(
            f"likelihoods: the frame has no column {unknown[0]!r}; its columns are {_names(frame.columns)}."
        )
    left_out: dict[Any, str] = {}
    encoded: dict[str, list[_Column]] = {}
    modalities = []
    for group, names in chosen.items():
        of_group: dict[str, Likelihood] = {}
        encoded[group] = []
        for name in names:
            found = _column(frame[name], given.get(name))
            if isinstance(found, str):
                left_out[name] = found
                continue
            column, likelihood = found
            encoded[group].append(column)
            of_group[str(name)] = likelihood
        if len(of_group) < len(encoded[group]):
            raise ValueError(f"{group}: names of columns must differ as texts, got {_names(names)}; rename them.")
        if not of_group:
            raise ValueError(f"{group}: none of its columns can be used: {_reasons(left_out)}.")
        modalities.append(Modality(group, (len(of_group),), Columns(of_group), missing="cells"))
    if left_out:
        warnings.warn(f"from_frame: left out {_reasons(left_out)}.", stacklevel=2)
    columns = {group: [column.name for column in each] for group, each in encoded.items()}
    return Table(modalities, _encode(frame, encoded), columns, left_out, frame.copy(), encoded)


def _pandas(frame: Any) -> None:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('from_frame needs pandas; install it with pip install "mmvae[frames]".') from error
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"frame: expected a pandas.DataFrame, got {type(frame).__name__}; of another library take its to_pandas()."
        )


def _groups(frame: pd.DataFrame, groups: Mapping[str, Sequence[Any]] | None) -> dict[str, list[Any]]:
    if groups is None:
        return {"table": list(frame.columns)}
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError(f"groups: expected a dict from names of modalities to columns, got {groups!r}.")
    chosen = {group: [names] if isinstance(names, str) else list(names) for group, names in groups.items()}
    seen: dict[Any, str] = {}
    for group, names in chosen.items():
        if not names:
            raise ValueError(f"groups: {group!r} has no columns; name at least one.")
        for name in names:
            if name not in frame.columns:
                raise ValueError(
                    f"groups: {group!r} has the column {name!r}, which the frame lacks; its columns are "
                    f"{_names(frame.columns)}."
                )
            if name in seen:
                raise ValueError(f"groups: the column {name!r} is in {seen[name]!r} and in {group!r}; take it once.")
            seen[name] = group
    return chosen


def _column(values: pd.Series, likelihood: Likelihood | None) -> tuple[_Column, Likelihood] | str:
    """A column and its likelihood, or why there is none."""
    import pandas as pd

    name, dtype, known = values.name, values.dtype, values.dropna()
    if not len(known):
        return "it has no value"
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_categories(name, dtype, tuple(dtype.categories), likelihood)
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        kind: Kind = "duration" if pd.api.types.is_timedelta64_dtype(dtype) else "date"
        origin = int(_nanoseconds(known).astype(np.float64).mean())
        chosen = likelihood or Normal("by_feature")
        return _Column(name, kind, dtype, chosen, origin=origin), chosen
    if pd.api.types.is_bool_dtype(dtype) or all(isinstance(each, bool | np.bool_) for each in known):
        chosen = likelihood or Bernoulli()
        return _Column(name, "truth", dtype, chosen), chosen
    if not pd.api.types.is_numeric_dtype(dtype):
        return _of_objects(name, dtype, known, likelihood)
    if pd.api.types.is_complex_dtype(dtype):
        raise TypeError(f"column {name!r}: holds complex numbers; split them into real and imaginary parts.")
    return _of_numbers(name, dtype, known, likelihood)


def _of_numbers(name: Any, dtype: Any, known: pd.Series, likelihood: Likelihood | None) -> tuple[_Column, Likelihood]:
    numbers = known.to_numpy(dtype=np.float64)
    chosen = likelihood or _likelihood_of(numbers, dtype)
    is_bits = isinstance(chosen, Bernoulli) and set(np.unique(numbers)) <= {0.0, 1.0}
    is_count = not is_bits and not chosen.scores_transformed and bool((numbers == numbers.round()).all())
    return _Column(name, "truth" if is_bits else "count" if is_count else "number", dtype, chosen), chosen


def _likelihood_of(numbers: np.ndarray, dtype: Any) -> Likelihood:
    """The likelihood of numbers that nobody chose one for."""
    if _is_whole(dtype):
        if set(np.unique(numbers)) <= {0.0, 1.0}:
            return Bernoulli()
        if look_like_counts(float(numbers.min()), float(numbers.max())):
            return NegativeBinomial()
    return Normal("by_feature")


def _of_objects(
    name: Any, dtype: Any, known: pd.Series, likelihood: Likelihood | None
) -> tuple[_Column, Likelihood] | str:
    """Texts, and dates that came as objects of Python."""
    import pandas as pd

    texts = [isinstance(each, str) for each in known]
    if all(texts):
        different = known.nunique()
        if different > _FEW_TEXTS and different > _SHARE_OF_TEXTS * len(known):
            return f"it holds {different} different texts in {len(known)} rows; drop it, or make it a category"
        return _of_categories(name, dtype, tuple(sorted(known.unique())), likelihood)
    if any(texts):
        odd = next(each for each in known if not isinstance(each, str))
        raise TypeError(f"column {name!r}: holds texts and {odd!r}; give all of them in one form.")
    if all(isinstance(each, datetime.date) for each in known):
        raise TypeError(f"column {name!r}: holds dates as objects; convert it with pandas.to_datetime.")
    try:
        pd.to_numeric(known)
    except (TypeError, ValueError) as error:
        odd = known.iloc[0]
        raise TypeError(
            f"column {name!r}: holds {odd!r} of type {type(odd).__name__}; convert it to numbers, texts or dates."
        ) from error
    raise TypeError(f"column {name!r}: holds numbers as objects; convert it with pandas.to_numeric.")


def _of_categories(
    name: Any, dtype: Any, categories: tuple[Any, ...], likelihood: Likelihood | None
) -> tuple[_Column, Likelihood]:
    if likelihood is None:
        made = Categorical(max(2, len(categories)))
        return _Column(name, "category", dtype, made, categories), made
    if not isinstance(likelihood, Categorical) or likelihood.num_categories < len(categories):
        raise ValueError(
            f"column {name!r}: holds {len(categories)} categories, so it needs Categorical({len(categories)}), got "
            f"{likelihood!r}."
        )
    return _Column(name, "category", dtype, likelihood, categories), likelihood


def _encode(frame: pd.DataFrame, encoded: Mapping[str, Sequence[_Column]]) -> dict[str, Tensor]:
    arrays = {
        group: np.stack([column.numbers(frame[column.name]) for column in columns], 1)
        for group, columns in encoded.items()
    }
    empty = np.all([np.isnan(array).all(1) for array in arrays.values()], 0)
    if empty.any():
        row = int(empty.nonzero()[0][0])
        raise ValueError(
            f"frame: {int(empty.sum())} rows (the first is {row}, {frame.index[row]!r}) have no value in "
            f"{', '.join(map(repr, arrays))}; leave them out, with frame.dropna(how='all') for one."
        )
    return {group: torch.from_numpy(array) for group, array in arrays.items()}


def _with(column: pd.Series, holes: np.ndarray, values: Any) -> pd.Series:
    """The column with values in its holes, of the same type."""
    import pandas as pd

    filled = column.copy()
    fitting = pd.Series(values, index=column.index[holes])
    if not isinstance(column.dtype, pd.CategoricalDtype) and fitting.dtype != column.dtype:
        fitting = fitting.astype(column.dtype)
    filled[holes] = fitting.array
    return filled


def _kind_of(dtype: Any) -> str | None:
    """Whether values of a type are numbers, dates or durations; ``None`` where only the values can tell."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "date"
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "duration"
    return "number" if pd.api.types.is_numeric_dtype(dtype) else None


def _kind_of_value(value: Any) -> str | None:
    """Whether a value is a number, a date or a duration; ``None`` for anything else."""
    if isinstance(value, datetime.date | np.datetime64):
        return "date"
    if isinstance(value, datetime.timedelta | np.timedelta64):
        return "duration"
    return "number" if isinstance(value, Real | np.bool_) else None


def _nanoseconds(values: pd.Series) -> np.ndarray:
    """Dates or durations as whole nanoseconds."""
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return values.to_numpy(dtype="timedelta64[ns]").astype(np.int64)
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.to_numpy(dtype="datetime64[ns]").astype(np.int64)


def _nullable(column: _Column) -> Any:
    """A type of the column's kind that can be missing."""
    if column.kind in ("date", "duration") or column.categories:
        return column.dtype
    if _is_bool(column.dtype):
        return "boolean"
    return "Int64" if _is_whole(column.dtype) else column.dtype


def _is_bool(dtype: Any) -> bool:
    import pandas as pd

    return pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_object_dtype(dtype)


def _is_whole(dtype: Any) -> bool:
    import pandas as pd

    return pd.api.types.is_integer_dtype(dtype)


def _names(names: Any) -> str:
    return ", ".join(map(repr, names))


def _reasons(left_out: Mapping[Any, str]) -> str:
    return "; ".join(f"{name!r}, since {reason}" for name, reason in left_out.items())
