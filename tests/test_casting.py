"""Every form in which numbers come is the same data."""

from __future__ import annotations

import array
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.casting import as_tensor, narrowed

NUMBERS = list("?bBhHiIlLqQefdg")
"""Every real type of numpy."""


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "as it is": lambda x: x,
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": read_only,
    "negative strides": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "every other element": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "in Fortran order": np.asfortranarray,
    "a list of lists": lambda x: x.tolist(),
    "a tuple of rows": tuple,
    "a list of tensors": lambda x: [torch.from_numpy(np.array(row, np.float64)) for row in x],
    "objects": lambda x: x.astype(object),
    "a masked array without a mask": np.ma.masked_array,
    "a buffer of doubles": lambda x: memoryview(np.ascontiguousarray(x, dtype=np.float64)),
    "an object that offers an array": lambda x: type("Own", (), {"__array__": lambda self, *a, **k: x})(),
    "a sparse matrix": lambda x: scipy.sparse.csr_matrix(x.astype(np.float64)),
    "a sparse array": lambda x: scipy.sparse.coo_array(x.astype(np.float64)),
    "a sparse tensor": lambda x: torch.from_numpy(x.astype(np.float64)).to_sparse(),
    "a sparse tensor by rows": lambda x: torch.from_numpy(x.astype(np.float64)).to_sparse_csr(),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda kind: arrays.arrays(
            np.dtype(kind),
            arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=4),
            elements=st.booleans() if kind == "?" else st.integers(0, 100),
        )
    ),
    st.sampled_from(sorted(FORMS)),
)
def test_forms_agree(values: np.ndarray, form: str) -> None:
    before = values.copy()
    tensor, there = as_tensor("x", FORMS[form](values))
    assert tensor.double().equal(torch.from_numpy(values.astype(np.float64)))
    assert there is None or bool(there.all())
    assert np.array_equal(values, before)
    if tensor.dtype != torch.bool:
        assert (tensor + 1).sum() >= 0  # PyTorch calculates with its type


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.bfloat16])
def test_tensors_of_types_without_arithmetic(dtype: torch.dtype) -> None:
    tensor, _ = as_tensor("x", torch.tensor([[1.0, 2.0], [0.0, 3.0]]).to(dtype))
    assert (tensor.double() + 1).tolist() == [[2, 3], [1, 4]]
    assert torch.where(tensor >= 1, tensor, tensor).sum() == 6


def test_the_memory_of_an_array_is_shared() -> None:
    values = np.zeros((3, 2), np.float32)
    assert as_tensor("x", values)[0].numpy().base is values or np.shares_memory(
        as_tensor("x", values)[0].numpy(), values
    )


@given(
    arrays.arrays(np.bool_, st.integers(1, 6)),
    st.sampled_from(["float32", "int64", "uint8", "uint16", ">f8"]),
    st.booleans(),
)
def test_a_numpy_mask_hides_rows(hidden: np.ndarray, kind: str, as_list: bool) -> None:
    values = np.arange(len(hidden) * 3).reshape(-1, 3).astype(kind)
    masked: Any = np.ma.masked_array(values, np.repeat(hidden[:, None], 3, 1))
    masked = list(masked) if as_list else masked
    batch = Batch({"x": masked, "y": torch.zeros(len(hidden), 1)})
    assert batch.observed["x"].tolist() == (~hidden).tolist()
    assert batch.complete == (not hidden.any())
    expected = np.where(hidden[:, None], 0, values.astype(np.float64))
    assert batch.data["x"].double().tolist() == expected.tolist()


def test_a_row_masked_in_part_is_there_in_part_unless_it_is_missing_anyway() -> None:
    masked = np.ma.masked_array(np.ones((3, 2)), [[False, False], [True, False], [True, True]])
    batch = Batch({"x": masked})
    assert batch.cells["x"].tolist() == [[True, True], [False, True], [False, False]]
    assert batch.observed["x"].tolist() == [True, True, False]
    assert Batch({"x": masked}, {"x": [True, False, True]}).observed["x"].tolist() == [True, False, False]


def test_a_numpy_mask_beside_a_mask_of_steps() -> None:
    masked = np.ma.masked_array(np.ones((2, 3, 1)), np.array([[[1]] * 3, [[0]] * 3]))
    batch = Batch({"x": masked}, {"x": torch.tensor([[True, True, False]] * 2)})
    assert batch.observed["x"].tolist() == [False, True]
    assert batch.steps["x"].tolist() == [[False] * 3, [True, True, False]]


@pytest.mark.parametrize(
    "value", [[None, [1, 2], [3, 4]], [None, torch.tensor([1, 2]), np.array([3, 4])], [None, (1.0, 2.0), [3, 4]]]
)
def test_rows_that_are_none_are_missing(value: Any) -> None:
    batch = Batch({"x": value})
    assert batch.observed["x"].tolist() == [False, True, True]
    assert batch.data["x"].tolist() == [[0, 0], [1, 2], [3, 4]]


def test_elements_that_are_none_are_nan() -> None:
    assert Batch({"x": np.array([[None, None], [1, 2.5]], object)}).observed["x"].tolist() == [False, True]
    assert Batch({"x": [[None, 1.0], [1.0, 2.0]]}).cells["x"].tolist() == [[False, True], [True, True]]


def test_numbers_of_other_libraries() -> None:
    assert as_tensor("x", [decimal.Decimal("0.5"), decimal.Decimal(2)])[0].tolist() == [0.5, 2]
    assert as_tensor("x", array.array("d", [1.5, 2]))[0].tolist() == [1.5, 2]
    assert as_tensor("x", [torch.tensor(1), 2, np.int8(3)])[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("text", TypeError, "x: expected a tensor or a numeric array, got str"),
        ({1: 2}, TypeError, "x: expected a tensor or a numeric array, got dict"),
        (object(), TypeError, "x: expected a tensor or a numeric array, got object"),
        (["a", "b"], TypeError, "x: holds text .*encode it as whole numbers"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "x: holds dates .*count days or seconds"),
        (np.array([1, 2], "m8[s]"), TypeError, "x: holds durations .*divide by a unit"),
        (np.zeros(2, [("a", "f4"), ("b", "i8")]), TypeError, "x: holds records .*a column for each"),
        (np.array([1, "a"], object), TypeError, "x: expected numbers, got 'a' of type str"),
        ([[1, 2], [3]], ValueError, "x: the 2 rows have different shapes; pad them"),
        (np.array([[1, 2], [3]], object), ValueError, "x: the 2 rows have different shapes"),
        ([torch.zeros(2), torch.zeros(3)], ValueError, "x: the 2 rows have different shapes"),
        ([None, None], TypeError, "x: every row is None; leave the modality out"),
        (np.array([2**63], np.uint64), ValueError, "x: holds 9223372036854775808, beyond the 64-bit integers"),
        ([10**400], ValueError, "x: holds a number beyond float64"),
        (
            torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
            TypeError,
            "x: got a nested tensor; pad",
        ),
    ],
)
def test_what_holds_no_numbers_is_refused_by_name(value: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        as_tensor("x", value)


def test_values_beyond_the_type_are_refused() -> None:
    assert narrowed("x", torch.tensor([[3e38]], dtype=torch.float64), torch.float32).isfinite().all()
    with pytest.raises(ValueError, match=r"x: row 1 holds 1e\+300, beyond torch.float32.*rescale"):
        narrowed("x", torch.tensor([[0.0], [1e300]], dtype=torch.float64), torch.float32)


SCORED = {
    "Categorical(256)": (likelihoods.Categorical(256), 255),
    "Categorical(300)": (likelihoods.Categorical(300), 299),
    "Categorical(2)": (likelihoods.Categorical(2), 1),
    "Poisson": (likelihoods.Poisson(), 30_000),
    "NegativeBinomial": (likelihoods.NegativeBinomial(), 30_000),
    "Bernoulli": (likelihoods.Bernoulli(), 1),
}


@pytest.mark.parametrize("what", sorted(SCORED))
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">u4"])
def test_whole_numbers_of_every_width_are_scored_alike(what: str, kind: str) -> None:
    likelihood, largest = SCORED[what]
    values = np.array([[0, min(largest, np.iinfo(kind).max)]]).astype(kind)
    batch = Batch({"x": values}).conform({"x": (2,)}, {"x": likelihood})
    expected = likelihood.conform("x", torch.from_numpy(values.astype(np.int64)))
    assert batch.data["x"].equal(expected)
    beyond = {"Poisson": None, "NegativeBinomial": None}.get(what, largest + 1)
    if beyond is not None and beyond <= np.iinfo(kind).max:
        with pytest.raises(ValueError, match=f"x: .*got {beyond}"):
            Batch({"x": np.array([[0, beyond]]).astype(kind)}).conform({"x": (2,)}, {"x": likelihood})


def test_codes_of_steps_in_bytes() -> None:
    steps = mmvae.nn.CodeSteps(256)
    assert steps.conform("x", torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[0, 255]]


def test_data_beyond_float32_is_named_by_inference() -> None:
    vae = models.MVAE([Modality("x", (2,), likelihoods.Normal())], latent_dim=1)
    with pytest.raises(ValueError, match=r"x: row 0 holds 1e\+300"):
        mmvae.infer(vae, {"x": np.full((3, 2), 1e300)})


class TestPandas:
    def test_tables_and_columns(self) -> None:
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})[::-1]
        assert as_tensor("x", table)[0].tolist() == [[3, 2.5], [2, 1.5], [1, 0.5]]
        assert as_tensor("x", table["a"])[0].tolist() == [3, 2, 1]
        assert as_tensor("x", pandas.Series([1, 2], dtype="UInt16"))[0].tolist() == [1, 2]

    def test_missing_numbers(self) -> None:
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame({"a": pandas.array([1, None], "Int64"), "b": pandas.array([2, None], "Float64")})
        batch: Any = Batch({"x": table})
        assert batch.observed["x"].tolist() == [True, False]
        mask = pandas.Series([True, False], index=[7, 9])
        assert Batch({"x": torch.zeros(2, 1)}, {"x": mask}).observed["x"].tolist() == [True, False]

    @pytest.mark.parametrize("kind", ["object", "category", "datetime64[ns]"])
    def test_columns_of_something_else_are_named(self, kind: str) -> None:
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame({"when": ["2020-01-01", "2020-01-02"], "n": [1, 2]}).astype({"when": kind})
        with pytest.raises(TypeError, match=r"x: column 'when' of the table is .*encode it"):
            as_tensor("x", table)


def test_masks_in_every_form() -> None:
    x = torch.zeros(2, 1)
    forms: list[Any] = [
        [True, False],
        (True, False),
        np.array([True, False]),
        torch.tensor([True, False]),
        read_only(np.array([True, False])),
        [torch.tensor(True), torch.tensor(False)],
    ]
    for mask in forms:
        assert Batch({"x": x}, {"x": mask}).observed["x"].tolist() == [True, False]
    assert Batch({"x": x}, {"x": None}).complete
    mask_of_none: Any = {"x": "yes"}
    with pytest.raises(TypeError, match="observed, the mask of 'x': expected a tensor"):
        Batch({"x": x}, mask_of_none)


def test_items_in_every_form_make_a_batch() -> None:
    items: list[Any] = [
        {"x": np.float32([1, 2]), "y": 1},
        {"x": np.array([3, 4], ">f4")[::-1], "y": np.uint16(2)},
        {"x": None, "y": torch.tensor(3)},
        {"x": np.ma.masked_all(2, np.float32), "y": 4},
    ]
    batch = mmvae.sources.collate(items)
    assert batch.observed["x"].tolist() == [True, True, False, False]
    assert batch.data["x"].tolist() == [[1, 2], [4, 3], [0, 0], [0, 0]]
    assert batch.data["y"].tolist() == [1, 2, 3, 4]
