from __future__ import annotations

import pytest
import torch

from mmvae import Batch
from mmvae.sources import InMemory
from mmvae.training.feed import Feed, split


def make_feed(rows=23, batch_size=4, **options):
    source = InMemory(Batch({"row": torch.arange(rows)[:, None]}))
    return Feed(source, torch.arange(rows), batch_size, **options)


def rows_of(batches):
    return [row for batch in batches for row in batch.data["row"].flatten().tolist()]


def test_each_epoch_is_a_permutation_of_its_own():
    feed = make_feed()
    first, second = rows_of(feed.shuffled(0)), rows_of(feed.shuffled(1))
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second
    assert rows_of(make_feed().shuffled(1)) == second
    assert rows_of(make_feed(seed=1).shuffled(1)) != second


def test_an_epoch_goes_on_where_it_stopped():
    whole = [batch.data["row"] for batch in make_feed().shuffled(2)]
    rest = [batch.data["row"] for batch in make_feed().shuffled(2, first_step=4)]
    assert make_feed().steps == len(whole) == 6
    assert all(torch.equal(*pair) for pair in zip(whole[4:], rest, strict=True))


@pytest.mark.parametrize(("rows", "world"), [(23, 2), (24, 2), (23, 3), (2, 5)])
def test_processes_share_the_rows(rows, world):
    feeds = [make_feed(rows, seed=4, rank=rank, world=world) for rank in range(world)]
    shares = [rows_of(feed.shuffled(0)) for feed in feeds]
    assert len({len(share) for share in shares}) == 1
    everything = [row for share in shares for row in share]
    assert set(everything) == set(range(rows))
    assert len(everything) < rows + world
    in_order = [row for feed in feeds for row in rows_of(feed.in_order())]
    assert sorted(in_order) == list(range(rows))


def test_processes_together_see_the_order_of_one():
    alone = rows_of(make_feed(24).shuffled(3))
    shares = [rows_of(make_feed(24, rank=rank, world=2).shuffled(3)) for rank in range(2)]
    assert [row for pair in zip(*shares, strict=True) for row in pair] == alone


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    rows_of(make_feed().shuffled(0))
    split(100, 0.3, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_split_is_disjoint_and_complete():
    rows, held_out = split(101, 0.3, 5)
    assert len(held_out) == 30
    assert sorted([*rows.tolist(), *held_out.tolist()]) == list(range(101))
    assert not torch.equal(split(101, 0.3, 6)[1], held_out)
