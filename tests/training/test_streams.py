"""Training on data that comes one item after another."""

from __future__ import annotations

import dataclasses
import random
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from training.interrupting import interrupt

import mmvae
from mmvae import models
from mmvae.data import Streamed
from mmvae.sources import collate
from mmvae.training import fit
from mmvae.training.stream_feed import StreamFeed

quiet = partial(fit, progress=False, batch_size=8, device="cpu")  # five steps an epoch


class Items(IterableDataset):
    """The rows of data in their order; workers share them out among themselves."""

    def __init__(self, data, rows=40):
        self.data, self.rows = data, rows

    def item(self, row):
        return {name: value[row] for name, value in self.data.items()}

    def __iter__(self):
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return (self.item(row) for row in range(first, self.rows, step))


class Known(Items):
    def __len__(self):
        return self.rows


class Shuffled(Known):
    """In an order of the global generator, noise from it as well, and a shift that follows the epoch."""

    def __init__(self, data):
        super().__init__(data)
        self.epoch = -1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        for row in random.sample(range(self.rows), self.rows):
            item = self.item(row)
            yield {**item, "image": item["image"] + 0.1 * torch.randn(2, 3) + 0.1 * self.epoch}


class Stateful(Known):
    """Noise from a generator of its own, which goes on from epoch to epoch."""

    def __init__(self, data):
        super().__init__(data)
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        for row in range(self.rows):
            item = self.item(row)
            yield {**item, "image": item["image"] + torch.randn(2, 3, generator=self.generator)}

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


class Mapped(Dataset):
    """Map-style, for loaders that shuffle."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return {name: value[row] for name, value in self.data.items()}


def shuffling_loader(data):
    return DataLoader(Mapped(data), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(7))


def feed_of(stream, batch_size=8, **options):
    return StreamFeed(stream, batch_size, **options)


def numbers(rows=40):
    return {"row": torch.arange(rows)[:, None]}


def rows_of(batches):
    return [row for batch in batches for row in batch.data["row"].flatten().tolist()]


def test_a_stream_trains_as_its_rows_in_order_do(new_model, data, assert_same):
    run = quiet(new_model(), Known(data), epochs=2, validation=data)
    model = new_model()
    batches = DataLoader(Mapped(data), batch_size=8)
    assert_same(run.model, quiet(model, batches, epochs=2, validation=DataLoader(Mapped(data), batch_size=8)).model)
    assert [row["split"] for row in run.metrics] == ["train", "validation"] * 2


def test_a_step_is_a_batch_whatever_the_workers_give():
    feed = feed_of(Streamed(Items(numbers()), length=40, workers=2), batch_size=9)
    sizes = [batch.size for batch in feed.shuffled(0)]
    assert sizes == [9, 9, 9, 9, 4]
    first, second = rows_of(feed.shuffled(0)), rows_of(feed.shuffled(0))
    assert sorted(first) == list(range(40))
    assert first == second


def test_an_epoch_is_as_long_as_was_said():
    assert rows_of(feed_of(Streamed(Items(numbers()), length=20)).shuffled(0)) == list(range(20))
    loader = DataLoader(Mapped(numbers()), batch_size=8)
    assert rows_of(feed_of(Streamed(loader, length=2), batch_size=3).shuffled(0)) == list(range(16))


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_a_stream(workers):
    stream = Streamed(Items(numbers()), length=40, workers=workers)
    shares = [rows_of(feed_of(stream, rank=rank, world=2).shuffled(0)) for rank in range(2)]
    assert [len(share) for share in shares] == [20, 20]
    assert sorted(shares[0] + shares[1]) == list(range(40))


def test_processes_share_a_stream_that_shuffles():
    class Randomly(Items):
        def __iter__(self):
            return (self.item(row) for row in random.sample(range(41), 41))

    stream = Streamed(Randomly(numbers(41)), length=41)
    shares = [rows_of(feed_of(stream, rank=rank, world=3).shuffled(1)) for rank in range(3)]
    assert [len(share) for share in shares] == [13, 13, 13]
    assert len({row for share in shares for row in share}) == 39


@pytest.mark.parametrize("make", [Known, Shuffled, Stateful, shuffling_loader])
@pytest.mark.parametrize("calls", [2, 8])
def test_ctrl_c_anywhere(new_model, data, tmp_path, assert_same, timeless, make, calls):
    whole = quiet(new_model(), make(data), epochs=2, validation=data)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), calls), make(data), epochs=2, validation=data, out=tmp_path)
    resumed = quiet(new_model(seed=9), make(data), epochs=2, validation=data, out=tmp_path, resume=True)
    assert_same(whole.model, resumed.model)
    assert timeless(whole) == timeless(resumed)


def test_ctrl_c_with_workers(new_model, data, tmp_path, assert_same):
    stream = partial(Streamed, workers=2)
    whole = quiet(new_model(), stream(Shuffled(data), length=40), epochs=1, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupt(new_model(), 3), stream(Shuffled(data), length=40), epochs=1, batch_size=4, out=tmp_path)
    resumed = quiet(
        new_model(seed=9), stream(Shuffled(data), length=40), epochs=1, batch_size=4, out=tmp_path, resume=True
    )
    assert_same(whole.model, resumed.model)


def test_epochs_differ_and_the_model_draws_as_if_the_stream_did_not():
    feed = feed_of(Streamed(Shuffled({"row": torch.arange(40)[:, None], "image": torch.zeros(40, 2, 3)})))
    before = torch.get_rng_state()
    first, second = rows_of(feed.shuffled(0)), rows_of(feed.shuffled(1))
    assert first != second
    assert torch.equal(before, torch.get_rng_state())


def test_items_with_labels_and_loaders_of_batches(new_model, data):
    class Labelled(Known):
        def item(self, row):
            return super().item(row), row

    batch = next(feed_of(Streamed(Labelled(data))).shuffled(0))
    assert batch.labels.tolist() == list(range(8))
    for options in ({"collate_fn": collate}, {}):  # batches, or what PyTorch makes of pairs: lists
        batch = next(feed_of(Streamed(DataLoader(Labelled(data), batch_size=8, **options))).shuffled(0))
        assert batch.labels.tolist() == list(range(8))


def test_a_stream_that_ends_early(new_model, data):
    with pytest.raises(ValueError, match=r"ended in epoch 1 after 40 rows of its 41; .*length="):
        quiet(new_model(), Streamed(Items(data), length=41), epochs=1)
    with pytest.raises(ValueError, match=r"gave nothing in epoch 1, where a length of 5"):
        quiet(new_model(), Streamed(Items(data, rows=0), length=5), epochs=1)
    with pytest.raises(ValueError, match=r"the loader ended in epoch 1 after 5 of 6 batches"):
        quiet(new_model(), Streamed(DataLoader(Mapped(data), batch_size=8), length=6), epochs=1)
    with pytest.raises(ValueError, match=r"ended in epoch 1 after 20 rows of its share of the length, 21"):
        list(feed_of(Streamed(Items(data), length=42), rank=0, world=2).shuffled(0))


def test_a_stream_that_cannot_start_again(new_model, data):
    class Once:
        def __init__(self):
            self.items = iter(Items(data))

        def __iter__(self):
            return self.items

    with pytest.raises(ValueError, match=r"gave nothing in epoch 1.*Look that it starts again"):
        quiet(new_model(), Streamed(Once(), length=40), epochs=2)  # whose beginning was looked at
    as_it_is = [dataclasses.replace(each, transform=None) for each in new_model().modalities]
    with pytest.raises(ValueError, match=r"gave nothing in epoch 2.*Look that it starts again"):
        quiet(models.MoPoE(as_it_is, 3), Streamed(Once(), length=40), epochs=2)
    with pytest.raises(TypeError, match="a generator can be gone through only once"):
        Streamed(iter(Items(data)), length=40)


def test_what_is_no_stream(new_model, data):
    with pytest.raises(TypeError, match=r"does not know its length; .*length="):
        quiet(new_model(), Items(data), epochs=1)
    with pytest.raises(TypeError, match="a int cannot be iterated"):
        Streamed(3, length=3)
    with pytest.raises(ValueError, match="a length from 1 on"):
        Streamed(Items(data), length=0)
    with pytest.raises(ValueError, match="a DataLoader has its own"):
        Streamed(DataLoader(Mapped(data)), workers=2)
    with pytest.raises(ValueError, match="no fraction of a stream"):
        quiet(new_model(), Known(data), epochs=1, validation=0.5)
    with pytest.raises(TypeError, match="a stream must yield its own"):
        quiet(new_model(), Known(data), epochs=1, labels=torch.arange(40))
    with pytest.raises(ValueError, match="3 processes cannot share a stream of length 2"):
        feed_of(Streamed(Items(data), length=2), world=3)
    with pytest.raises(TypeError, match="Only fit takes streams"):
        mmvae.infer(new_model(), Known(data))
    with pytest.raises(TypeError, match="expected batches that are dicts of tensors"):
        quiet(new_model(), DataLoader([torch.zeros(2)]), epochs=1)


def test_a_run_is_resumed_with_the_same_length(new_model, data, tmp_path):
    quiet(new_model(), Streamed(Items(data), length=40), epochs=1, out=tmp_path)
    with pytest.raises(ValueError, match="rows is 40 there and 32 here"):
        quiet(new_model(), Streamed(Items(data), length=32), epochs=2, out=tmp_path, resume=True)
