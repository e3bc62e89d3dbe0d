import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae.data import Missingness


def shares(table: Missingness) -> dict[str, float]:
    return {name: 1 - float(mask.double().mean()) for name, mask in table.observed.items()}


def same(first: Missingness, second: Missingness) -> bool:
    return first.observed.keys() == second.observed.keys() and all(
        torch.equal(mask, second.observed[name]) for name, mask in first.observed.items()
    )


@pytest.mark.parametrize(
    "rates",
    [
        {"a": 0.5, "b": 0.5, "c": 0.5},
        {"a": 0.9, "b": 0.2, "c": 0.0},
        {"a": 0.8, "b": 0.7, "c": 0.3},
        {"a": 0.5, "b": 0.5},  # exactly one modality per row
        {"a": 0.3, "b": 0.7, "c": 1.0},
        {"a": 0.0, "b": 1.0},
    ],
)
def test_the_rates_are_those_asked_for_although_every_row_keeps_a_modality(rates):
    size = 40_000
    table = Missingness.draw(size, rates, seed=1)
    assert bool(torch.stack(list(table.observed.values())).any(0).all())
    for name, share in shares(table).items():
        error = (rates[name] * (1 - rates[name]) / size) ** 0.5
        assert abs(share - rates[name]) <= 4.5 * error


def test_modalities_go_missing_independently_but_for_the_rows_that_would_be_empty():
    """The joint probabilities of two modalities at rates (r, s): P(both) = (1-P)(1-r)(1-s), from the construction."""
    size, rates = 200_000, {"a": 0.4, "b": 0.5, "c": 0.6}
    table = Missingness.draw(size, rates, seed=0)
    lost = 0.0
    for _ in range(1000):  # the smallest fixed point, by iteration from below
        lost = float(np.prod([rate + lost * (1 - rate) for rate in rates.values()]))
    both = (table.observed["a"] & table.observed["b"]).double().mean()
    assert abs(float(both) - (1 - lost) * 0.6 * 0.5) < 5 * (0.25 / size) ** 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 2**31))
def test_no_row_is_empty_for_any_rates_that_can_be_had(rates, seed):
    named = {f"m{place}": rate for place, rate in enumerate(rates)}
    if sum(1 - rate for rate in rates) < 1 - 1e-6:
        with pytest.raises(ValueError, match="every row keeps at least one"):
            Missingness.draw(50, named, seed)
    else:
        table = Missingness.draw(50, named, seed)
        assert bool(torch.stack(list(table.observed.values())).any(0).all())
        assert all(not mask.any() for name, mask in table.observed.items() if named[name] == 1)
        assert all(mask.all() for name, mask in table.observed.items() if named[name] == 0)


def test_rates_by_label():
    labels = torch.arange(2).repeat(20_000)
    table = Missingness.draw(labels, {"a": {0: 0.1, 1: 0.7}, "b": 0.2}, seed=3)
    missing = ~table.observed["a"]
    assert abs(float(missing[labels == 0].double().mean()) - 0.1) < 0.01
    assert abs(float(missing[labels == 1].double().mean()) - 0.7) < 0.015
    assert abs(float((~table.observed["b"])[labels == 1].double().mean()) - 0.2) < 0.015


def test_the_draw_is_seeded_ignores_the_order_of_names_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    table = Missingness.draw(500, {"a": 0.3, "b": 0.6}, seed=5)
    turned = Missingness.draw(500, {"b": 0.6, "a": 0.3}, seed=5)
    assert all(torch.equal(table.observed[name], turned.observed[name]) for name in "ab")
    assert table.hash == turned.hash
    assert table.hash != Missingness.draw(500, {"a": 0.3, "b": 0.6}, seed=6).hash
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rates", [{"a": 0.3, "b": 0.6}, {"b": {0: 0.25, 1: 1 / 3}, "a": 0.125}])
def test_a_stored_table_comes_back_bit_for_bit(tmp_path, rates):
    labels = torch.arange(2).repeat(501)
    table = Missingness.draw(labels, rates, seed=7)
    table.save(tmp_path / "deep" / "table.npz")
    loaded = Missingness.load(tmp_path / "deep" / "table.npz")
    assert same(table, loaded)
    assert (loaded.rates, loaded.seed, loaded.hash) == (table.rates, table.seed, table.hash)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.npz"]


def test_a_table_is_drawn_once_and_then_used_again(tmp_path):
    path = tmp_path / "table.npz"
    first = Missingness.stored(path, 100, {"a": 0.3, "b": 0.6}, seed=1)
    written = path.read_bytes()
    second = Missingness.stored(path, 100, {"b": 0.6, "a": 0.3}, seed=1)
    assert same(first, second)
    assert path.read_bytes() == written
    for rows, rates, seed in ((101, first.rates, 1), (100, {"a": 0.4, "b": 0.6}, 1), (100, first.rates, 2)):
        with pytest.raises(ValueError, match="use another path"):
            Missingness.stored(path, rows, rates, seed)


def test_a_table_by_label_is_not_used_for_other_labels(tmp_path):
    labels, rates = torch.arange(2).repeat(10), {"a": {0: 0.1, 1: 0.7}, "b": 0.2}
    Missingness.stored(tmp_path / "t.npz", labels, rates)
    Missingness.stored(tmp_path / "t.npz", labels, rates)
    with pytest.raises(ValueError, match="other labels"):
        Missingness.stored(tmp_path / "t.npz", labels.flip(0), rates)


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "table.npz"
    Missingness.draw(100, {"a": 0.3, "b": 0.6}).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        Missingness.load(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged"):
        Missingness.load(path)
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match=r"Expected a table that Missingness\.save wrote"):
        Missingness.load(path)


def test_a_changed_bit_is_noticed(tmp_path):
    path = tmp_path / "table.npz"
    Missingness.draw(100, {"a": 0.3, "b": 0.6}).save(path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    arrays["observed_0"][3] ^= 4
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="does not fit the hash"):
        Missingness.load(path)


def test_no_file_is_no_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Missingness.load(tmp_path / "none.npz")


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"'?a'?: the rate"):
        Missingness.draw(10, {"a": 1.2, "b": 0.0})
    with pytest.raises(ValueError, match="need the labels"):
        Missingness.draw(10, {"a": {0: 0.5}, "b": 0.0})
    with pytest.raises(ValueError, match="no rate for the label 1"):
        Missingness.draw(torch.tensor([0, 1]), {"a": {0: 0.5}, "b": 0.0})
    with pytest.raises(ValueError, match=r"keep 0\.5 modalities per row"):
        Missingness.draw(10, {"a": 0.7, "b": 0.8})
    with pytest.raises(ValueError, match="at least one modality"):
        Missingness.draw(10, {})
    with pytest.raises(ValueError, match="at least one row"):
        Missingness.draw(0, {"a": 0.0})
