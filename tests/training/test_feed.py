from __future__ import annotations

import pytest
import torch

from mmvae import Batch, Modality, likelihoods, models
from mmvae.sources import Blocks, InMemory
from mmvae.streams import Streamed
from mmvae.training import fit
from mmvae.training.feed import RowFeed, split
from mmvae.training.randomness import block_permutation


def make_feed(rows=23, batch_size=4, **options):
    source = InMemory(Batch({"row": torch.arange(rows)[:, None]}))
    return RowFeed(source, torch.arange(rows), batch_size, **options)


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


def in_blocks(rows, blocks, **options):
    source = InMemory(Batch({"row": torch.arange(rows)[:, None]}))
    source.blocks = blocks
    return RowFeed(source, torch.arange(rows), 10, **options)


@pytest.mark.parametrize(("rows", "blocks"), [(1000, Blocks(16, 4)), (1000, Blocks(1, 1)), (23, Blocks(50, 2))])
def test_an_epoch_in_blocks_is_a_permutation_of_its_own(rows, blocks):
    first, second = (rows_of(in_blocks(rows, blocks).shuffled(epoch)) for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(rows))
    assert first != second
    assert rows_of(in_blocks(rows, blocks).shuffled(1)) == second
    assert rows_of(in_blocks(rows, blocks, seed=1).shuffled(1)) != second
    rest = rows_of(in_blocks(rows, blocks).shuffled(1, first_step=2))
    assert rest == second[20:]


def test_processes_share_the_rows_in_blocks():
    alone = rows_of(in_blocks(1000, Blocks(16, 4)).shuffled(3))
    shares = [rows_of(in_blocks(1000, Blocks(16, 4), rank=rank, world=2).shuffled(3)) for rank in range(2)]
    assert [row for pair in zip(*shares, strict=True) for row in pair] == alone


def test_few_blocks_are_being_read_at_a_time():
    """Whatever 64 rows come one after another, they lie in few places; those of a full permutation lie everywhere."""

    def touched(blocks):
        order = torch.tensor(rows_of(in_blocks(1600, blocks).shuffled(0)))
        return max(len(part.div(16, rounding_mode="floor").unique()) for part in order.split(64))

    assert touched(Blocks(16, 4)) <= 4 * 2 * 2  # blocks begin anywhere, and 64 rows may lie in two buffers
    assert touched(None) > 30


def test_rows_in_blocks_come_at_every_place_alike():
    """Over many epochs the place of a row is uniform, by a chi-square statistic over tenths of the epoch."""
    rows, epochs = 500, 400
    orders = torch.stack([block_permutation(rows, 20, 5, seed) for seed in range(epochs)])
    places = orders.argsort(1)  # [epochs, rows]
    tenths = places.div(rows // 10, rounding_mode="floor")
    counts = torch.stack([(tenths == tenth).sum(0) for tenth in range(10)]).double()  # [10, rows]
    chi_square = ((counts - epochs / 10) ** 2 / (epochs / 10)).sum(0)  # 9 degrees of freedom
    assert 8 < float(chi_square.mean()) < 10
    assert float(chi_square.max()) < 40  # exceeded by a uniform place with probability 1e-5


def test_fewer_blocks_than_are_mixed_are_a_full_permutation():
    """Then rows that were neighbours are as far apart as any two are: a third of the epoch on average."""
    order = torch.tensor(rows_of(in_blocks(2000, Blocks(16, 200)).shuffled(0)))
    places = order.argsort()
    assert abs(float((places[1:] - places[:-1]).abs().double().mean()) / 2000 - 1 / 3) < 0.03
    near = torch.tensor(rows_of(in_blocks(2000, Blocks(16, 4)).shuffled(0))).argsort()
    assert float((near[1:] - near[:-1]).abs().double().mean()) / 2000 < 0.1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 15, 22])
@pytest.mark.parametrize("world", [1, 2])
def test_no_batch_is_a_single_row_that_was_left_over(rows, batch_size, world):
    for rank in range(world):
        feed = make_feed(rows, batch_size, rank=rank, world=world)
        sizes = [len(batch) for batch in feed.shuffled(0)]
        assert len(sizes) == feed.steps
        assert sum(sizes) == feed.share
        assert all(size == batch_size for size in sizes[:-1])
        assert sizes[-1] <= batch_size + 1
        assert sizes[-1] > 1 or batch_size == 1 or sum(sizes) == 1
        again = [len(batch) for batch in feed.shuffled(0, first_step=len(sizes) - 1)]
        assert again == sizes[-1:]


@pytest.mark.parametrize(("length", "batch_size"), [(9, 4), (8, 4), (1, 4), (5, 4), (7, 2), (3, 1)])
def test_streams_are_cut_like_rows(length, batch_size):
    items = [{"row": torch.tensor([float(row)])} for row in range(length)]
    stream = Streamed(items, length=length)
    sizes = [len(batch) for batch in stream.batches(batch_size)]
    assert sizes == [len(batch) for batch in make_feed(length, batch_size).in_order()]
    assert len(sizes) == stream.steps(batch_size)


def normed():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())


def decoder(size):
    return torch.nn.Sequential(torch.nn.Linear(size, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 6))


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE", "IterativeVAE"])
def test_batch_norm_learns_from_any_number_of_rows(kind):
    modalities = [Modality(n, (6,), likelihoods.Normal(), encoder=normed, decoder=decoder) for n in "ab"]
    for rows in (65, 64, 33):
        vae = getattr(models, kind)(modalities, latent_dim=2)
        run = fit(vae, {n: torch.randn(rows, 6) for n in "ab"}, epochs=1, batch_size=32, progress=False, device="cpu")
        assert torch.tensor(run.metrics[-1]["loss"]).isfinite()


def test_batch_norm_in_batches_of_one_row_is_refused_with_the_remedy():
    vae = models.MVAE([Modality(n, (6,), likelihoods.Normal(), encoder=normed) for n in "ab"], latent_dim=2)
    with pytest.raises(ValueError, match=r"a batch of 1 row has no statistics .*Pass batch_size= of 2 or more"):
        fit(vae, {n: torch.randn(3, 6) for n in "ab"}, epochs=1, batch_size=1, progress=False, device="cpu")
