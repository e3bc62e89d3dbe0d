"""Tables of pandas: types, missing values, and the way back."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmvae
from mmvae import likelihoods, models
from mmvae.data import Table, from_frame

N = 40


def column(kind: str, generator: np.random.Generator, rows: int = N) -> pd.Series:
    """A column of some type, nothing missing."""
    numbers = generator.normal(size=rows)
    days = pd.to_timedelta(np.round(100 * numbers), unit="D")
    made: dict[str, Any] = {
        "float64": lambda: pd.Series(numbers * 1000 + 5),
        "float32": lambda: pd.Series(numbers.astype(np.float32)),
        "Float64": lambda: pd.Series(numbers).astype("Float64"),
        "int64": lambda: pd.Series(generator.poisson(5, rows) * 7),
        "Int64": lambda: pd.Series(generator.poisson(5, rows) * 7).astype("Int64"),
        "uint8": lambda: pd.Series(generator.poisson(5, rows).astype(np.uint8)),
        "negative": lambda: pd.Series(np.round(numbers * 10).astype(np.int64)),
        "bool": lambda: pd.Series(numbers > 0),
        "boolean": lambda: pd.Series(numbers > 0).astype("boolean"),
        "truth": lambda: pd.Series((numbers > 0).astype(np.int64)),
        "text": lambda: pd.Series(np.array(["blue", "green", "red"])[generator.integers(3, size=rows)]),
        "object": lambda: pd.Series(np.array(["blue", "red"])[generator.integers(2, size=rows)], dtype=object),
        "category": lambda: pd.Series(
            pd.Categorical(np.array(["S", "L"])[generator.integers(2, size=rows)], ["S", "L", "XL"])
        ),
        "codes": lambda: pd.Series(pd.Categorical(generator.integers(3, size=rows))),
        "date": lambda: pd.Series(pd.Timestamp("2021-05-01 13:07:09.123456789") + days),
        "zone": lambda: pd.Series(pd.Timestamp("2021-05-01", tz="Europe/Berlin") + days),
        "seconds": lambda: pd.Series(pd.Timestamp("2021-05-01") + days).astype("datetime64[s]"),
        "duration": lambda: pd.Series(pd.to_timedelta(5 + numbers, unit="h")),
    }
    return made[kind]()


KINDS = [
    *("float64", "float32", "Float64", "int64", "Int64", "uint8", "negative", "bool", "boolean", "truth", "text"),
    *("object", "category", "codes", "date", "zone", "seconds", "duration"),
]
LIKELIHOODS = {
    **dict.fromkeys(KINDS, likelihoods.Normal),
    **dict.fromkeys(("int64", "Int64", "uint8"), likelihoods.NegativeBinomial),
    **dict.fromkeys(("bool", "boolean", "truth"), likelihoods.Bernoulli),
    **dict.fromkeys(("text", "object", "category", "codes"), likelihoods.Categorical),
}


def with_holes(frame: pd.DataFrame, share: float, generator: np.random.Generator) -> pd.DataFrame:
    """The frame with missing values, none in the first column; types change as pandas changes them."""
    frame = frame.copy()
    for name in frame.columns[1:]:
        frame[name] = frame[name].where(generator.random(len(frame)) >= share)
    return frame


def everything(seed: int = 0, share: float = 0.3) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    whole = pd.DataFrame({kind: column(kind, generator) for kind in KINDS})
    return with_holes(whole, share, generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_type_decides_on_the_likelihood_and_comes_back(kind: str, share: float) -> None:
    generator = np.random.default_rng(0)
    values = column(kind, generator)
    frame = with_holes(pd.DataFrame({"first": np.arange(N) / 7, "x": values}), share, generator)
    table = from_frame(frame)
    columns = table.modalities[0].likelihood
    assert isinstance(columns, likelihoods.Columns)
    kinds = {place: found for found, places in columns.kinds() for place in places}
    became_real = frame["x"].dtype == "float64"  # as pandas keeps whole numbers of which some are missing
    assert kinds[1] is (likelihoods.Normal if became_real else LIKELIHOODS[kind])
    numbers = table.data["table"]
    assert numbers.shape == (N, 2)
    assert np.array_equal(numbers[:, 1].isnan().numpy(), frame["x"].isna().to_numpy())
    columns.conform("table", numbers.nan_to_num(0.0).float())  # what is known lies in the support
    # Filled with the numbers of the whole column, the frame is the whole column again, in its type.
    whole = from_frame(pd.DataFrame({"first": frame["first"], "x": values}))
    shift = 0.0
    if kind in ("date", "zone", "seconds", "duration"):  # counted from the mean
        shift = (frame["x"].mean() - values.mean()) / pd.Timedelta(days=1)
    filled = whole.data["table"] - torch.tensor([0.0, shift])
    again = table.to_frame({"table": filled})
    assert (again.dtypes == frame.dtypes).all()
    assert not again.isna().any().any()
    known = frame["x"].notna()
    pd.testing.assert_series_equal(again["x"][known], frame["x"][known])
    if kind in ("date", "zone", "seconds", "duration"):
        assert (again["x"] - values).abs().max() < pd.Timedelta(seconds=1)
    elif LIKELIHOODS[kind] is likelihoods.Normal and kind != "negative":
        np.testing.assert_allclose(again["x"].astype(float), values.astype(float), rtol=1e-6)
    else:
        assert (again["x"].astype(str).str.removesuffix(".0") == values.astype(str)).all() or (
            again["x"].astype(float) == values.astype(float)
        ).all()


@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.1, 0.6]), order=st.permutations(KINDS))
@settings(max_examples=15, deadline=None)
def test_what_is_known_never_changes(seed: int, share: float, order: list[str]) -> None:
    frame = everything(seed, share)[order]
    first = frame[order[0]]
    frame.insert(0, "whole", np.arange(N) * 1.5)
    frame.index = [f"row {place}" for place in range(N)]
    table = from_frame(frame)
    numbers = {"table": torch.rand_like(table.data["table"])}
    again = table.to_frame(numbers)
    assert list(again.columns) == list(frame.columns)
    assert again.index.equals(frame.index)
    assert (again.dtypes == frame.dtypes).all()
    assert not again.isna().any().any()
    for name in frame:
        known = frame[name].notna()
        pd.testing.assert_series_equal(again[name][known], frame[name][known])
    assert len(first) == N
    pd.testing.assert_frame_equal(table.to_frame({}), frame)
    pd.testing.assert_frame_equal(table.to_frame(table.data), frame)  # NaN fills nothing


def test_a_model_fills_what_is_missing() -> None:
    """Better than the most frequent value or the mean, by one hidden factor."""
    generator = np.random.default_rng(0)
    factor = generator.normal(size=300)
    whole = pd.DataFrame(
        {
            "price": 1000 * factor + 5000 + 100 * generator.normal(size=300),
            "visits": generator.poisson(np.exp(2 + factor)),
            "kind": np.where(factor > 0, "flat", "house"),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(100 * factor, unit="D"),
        }
    )
    frame = whole.convert_dtypes()
    hidden = generator.random(frame.shape) < 0.2
    hidden[hidden.all(1), 0] = False
    for place, name in enumerate(frame):
        frame[name] = frame[name].where(~hidden[:, place])
    table = from_frame(frame, {"sale": ["price", "when"], "house": ["kind", "visits"]})
    assert [modality.name for modality in table.modalities] == ["sale", "house"]
    torch.manual_seed(0)
    vae = models.MVTCAE(table.modalities, latent_dim=3)
    mmvae.fit(vae, table.data, epochs=50, batch_size=50, lr=3e-3, progress=False)
    imputed = mmvae.impute(vae, table.data, interval=0.9)
    filled, lower, upper = (table.to_frame(each) for each in (imputed, imputed.lower, imputed.upper))  # type: ignore[arg-type]
    assert (filled["kind"] == whole["kind"])[hidden[:, 2]].mean() > 0.9
    error = (filled["price"] - whole["price"])[hidden[:, 0]].std()
    assert error < 0.5 * whole["price"].std()
    days = (filled["when"] - whole["when"])[hidden[:, 3]] / pd.Timedelta(days=1)
    assert days.std() < 50
    assert (lower["price"] <= filled["price"]).all()
    assert (filled["price"] <= upper["price"]).all()
    inside = ((lower["price"] <= whole["price"]) & (whole["price"] <= upper["price"]))[hidden[:, 0]]
    assert inside.mean() > 0.6


def test_other_rows_are_written_alike() -> None:
    frame = everything()
    table = from_frame(frame)
    some = table.like(frame.iloc[::3])
    assert isinstance(some, Table)
    assert len(some) == 14
    torch.testing.assert_close(some.data["table"], table.data["table"][::3], equal_nan=True)
    assert some.modalities is table.modalities
    shuffled = table.like(frame[KINDS[::-1]])
    torch.testing.assert_close(shuffled.data["table"], table.data["table"], equal_nan=True)
    without = table.like(frame.drop(columns=["text", "date", "int64", "bool"]))
    places = [KINDS.index(kind) for kind in ("text", "date", "int64", "bool")]
    assert without.data["table"][:, places].isnan().all()
    filled = without.to_frame({"table": torch.nan_to_num(table.data["table"], 0.0)})
    assert set(filled["text"]) <= {"blue", "green", "red"}
    with pytest.raises(ValueError, match=r"column 'text': holds 'pink', which the table was made without"):
        table.like(frame.assign(text="pink"))


WHOLE: list[tuple[list[float], type]] = [
    ([0, 1, 1, 0], likelihoods.Bernoulli),
    ([0, 3, 12, 1], likelihoods.NegativeBinomial),
    ([1000, 244_755, 20_000, 3000], likelihoods.NegativeBinomial),
    ([1990, 2020, 2001, 2005], likelihoods.Normal),
    ([18, 90, 44, 31], likelihoods.NegativeBinomial),
    ([340, 460, 400, 401], likelihoods.Normal),
    ([-1, 5, 30, 0], likelihoods.Normal),
    ([7, 7, 7, 7], likelihoods.Normal),
]


def kinds_of(table: Table) -> list[type]:
    columns = table.modalities[0].likelihood
    assert isinstance(columns, likelihoods.Columns)
    kinds = {place: found for found, places in columns.kinds() for place in places}
    return [kinds[place] for place in sorted(kinds)]


@pytest.mark.parametrize(("values", "expected"), WHOLE)
def test_integers_are_counts_if_the_smallest_is_at_most_half_of_the_largest(
    values: list[float], expected: type
) -> None:
    for dtype in ("int64", "Int64", "uint32" if min(values) >= 0 else "int32"):
        assert kinds_of(from_frame(pd.DataFrame({"x": pd.Series(values, dtype=dtype)}))) == [expected]
    real = pd.DataFrame({"x": np.array(values, dtype=float)})
    real.loc[4] = np.nan
    real["y"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert kinds_of(from_frame(real)) == [likelihoods.Normal] * 2
    assert kinds_of(from_frame(real.convert_dtypes()))[0] is expected  # whole numbers again, with their holes


def test_a_table_says_which_likelihoods_its_columns_have() -> None:
    frame = pd.DataFrame({"price": [1.5, None], "visits": [3, 0], "kind": ["a", "b"], "when": [2001, 2002]})
    table = from_frame(frame, {"sale": ["price", "when"], "home": ["visits", "kind"]})
    assert str(table) == (
        "Table of 2 rows\n"
        "  sale: Normal for 'price', 'when'\n"
        "  home: NegativeBinomial for 'visits'; Categorical(2) for 'kind'"
    )


UNSUITABLE: list[tuple[Any, Any, type[Exception], str]] = [
    ([0, 3, 12], [2.5], ValueError, r"NegativeBinomial scores counts .*, got 2\.5 in row 0\. .*'x': .*Normal"),
    ([0, 3, 12], [3, -1], ValueError, r"NegativeBinomial scores counts .*, got -1\.0 in row 1\. .*'x': .*Normal"),
    ([0, 1, 1], [0.0, 0.5], ValueError, r"Bernoulli scores 0 and 1.*, got 0\.5 in row 1\. .*'x': .*Normal"),
    ([0, 1, 1], [3], ValueError, r"Bernoulli scores 0 and 1, got 3\.0 in row 0"),
    ([True, False], [2], ValueError, "Bernoulli scores 0 and 1, got 2"),
    ([0.5, 1.5], [np.inf], ValueError, "holds infinite values"),
    ([0.5, 1.5], ["many"], TypeError, "holds 'many', where the table was made of numbers"),
    (["a", "b"], [2.5], ValueError, r"holds 2\.5, which the table was made without"),
    (pd.to_datetime(["2020-01-01", "2020-02-02"]), [2.5], TypeError, r"holds 2\.5, where the table was made of dates"),
]


@pytest.mark.parametrize(("made", "later", "error", "message"), UNSUITABLE)
def test_later_values_that_do_not_suit_are_refused_before_a_model_sees_them(
    made: Any, later: list[Any], error: type[Exception], message: str
) -> None:
    table = from_frame(pd.DataFrame({"x": made, "y": np.arange(len(made)) / 2}))
    with pytest.raises(error, match=rf"column 'x': {message}"):
        table.like(pd.DataFrame({"x": later}))


def test_a_chosen_likelihood_is_held_against_its_column_at_once() -> None:
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"column 'x': NegativeBinomial scores counts .*, got 0\.5 in row 0"):
        from_frame(frame, likelihoods={"x": likelihoods.NegativeBinomial()})
    table = from_frame(frame, likelihoods={"y": likelihoods.Laplace("learned")})
    assert table.like(pd.DataFrame({"y": [0.25]})).data["table"][0, 1] == 0.25
    holes = table.like(pd.DataFrame({"x": [1.0], "y": [None]}))
    assert holes.to_frame({"table": torch.tensor([[1.0, 2.5]])})["y"].tolist() == [2.5]  # of a real column, not rounded


def test_likelihoods_of_columns_can_be_chosen() -> None:
    frame = pd.DataFrame({"stars": [0, 1, 2, 4, 1], "price": [1.0, 2.0, 3.0, 4.0, 9.0], "kind": list("ababa")})
    chosen = {"stars": likelihoods.Categorical(5), "price": likelihoods.Laplace("learned")}
    table = from_frame(frame, likelihoods=chosen)
    columns: Any = table.modalities[0].likelihood
    assert columns.categories == (5, None, 2)
    assert table.to_frame({"table": table.data["table"]}).equals(frame)
    with pytest.raises(ValueError, match=r"column 'price': Categorical scores whole numbers, got 0\.5 in row 0"):
        from_frame(frame.assign(price=0.5), likelihoods={"price": likelihoods.Categorical(3)})
    with pytest.raises(ValueError, match=r"column 'kind': holds 2 categories, so it needs Categorical\(2\)"):
        from_frame(frame, likelihoods={"kind": likelihoods.Normal()})
    with pytest.raises(ValueError, match=r"likelihoods: the frame has no column 'age'; its columns are 'stars'"):
        from_frame(frame, likelihoods={"age": likelihoods.Normal()})


def test_columns_that_say_nothing_are_left_out_and_kept() -> None:
    frame = pd.DataFrame(
        {"x": np.arange(N) / 3, "name": [f"person {row}" for row in range(N)], "empty": [None] * N, "note": [None] * N}
    )
    frame.loc[0, "note"] = "late"
    with pytest.warns(UserWarning, match=r"from_frame: left out 'name', since it holds 40 different texts in 40 rows"):
        table = from_frame(frame)
    assert list(table.left_out) == ["name", "empty"]
    assert table.columns == {"table": ["x", "note"]}
    pd.testing.assert_frame_equal(table.to_frame({"table": table.data["table"]}), frame)


ODD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ({"x": [1.0]}, {}, TypeError, "frame: expected a pandas.DataFrame, got dict"),
    (pd.DataFrame(), {}, ValueError, r"frame: expected rows and columns, got the shape \(0, 0\)"),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, ValueError, "two columns are called 'a'; rename one"),
    (pd.DataFrame({"x": [1.0, None]}), {}, ValueError, r"1 rows \(the first is 1, 1\) have no value in 'table'"),
    (pd.DataFrame({"x": [1.0, np.inf]}), {}, ValueError, "column 'x': holds infinite values; clip"),
    (pd.DataFrame({"x": [1j, 2.0]}), {}, TypeError, "column 'x': holds complex numbers"),
    (pd.DataFrame({"x": ["a", 2]}), {}, TypeError, "column 'x': holds texts and 2; give all of them in one form"),
    (pd.DataFrame({"x": [[1], [2]]}), {}, TypeError, r"column 'x': holds \[1\] of type list; convert it"),
    (
        pd.DataFrame({"x": [datetime.date(2020, 1, 1)]}, dtype=object),
        {},
        TypeError,
        "column 'x': holds dates as objects; convert it with pandas.to_datetime",
    ),
    (pd.DataFrame({"x": [1, 2]}, dtype=object), {}, TypeError, "column 'x': holds numbers as objects"),
    (pd.DataFrame({"x": [1.0]}), {"groups": {}}, ValueError, "groups: expected a dict from names of modalities"),
    (pd.DataFrame({"x": [1.0]}), {"groups": {"a": []}}, ValueError, "groups: 'a' has no columns"),
    (pd.DataFrame({"x": [1.0]}), {"groups": {"a": ["y"]}}, ValueError, "'a' has the column 'y', which the frame lacks"),
    (pd.DataFrame({"x": [1.0]}), {"groups": {"a": "x", "b": "x"}}, ValueError, "the column 'x' is in 'a' and in 'b'"),
    (pd.DataFrame({1: [1.0], "1": [2.0]}), {}, ValueError, "names of columns must differ as texts"),
]


@pytest.mark.parametrize(("frame", "options", "error", "message"), ODD, ids=[message[:40] for *_, message in ODD])
def test_errors_name_the_column(frame: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_frame(frame, **options)


def test_the_frame_is_left_as_it_is() -> None:
    frame = everything()
    before = frame.copy()
    table = from_frame(frame)
    table.to_frame({"table": torch.zeros_like(table.data["table"])})
    table.like(frame.iloc[:5])
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(ValueError, match=r"table: expected numbers of shape \(40, 18\), .* got \(3, 18\)"):
        table.to_frame({"table": torch.zeros(3, 18)})


def test_without_pandas_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r'from_frame needs pandas; install it with pip install "mmvae\[frames\]"'):
        from_frame(None)  # type: ignore[arg-type]
