import itertools
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from mmvae.batch import Batch
from mmvae.data import DigitWords, Missingness, MultimodalDataset, decode
from mmvae.data.digits.digit_words import WORDS
from mmvae.sources import as_source, collate

N = 40


def base(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (15, 1, 4, 4), generator=generator).to(torch.uint8),
        "vector": torch.randn(20, 3, generator=generator),
    }


def tables(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(15, (N,), generator=generator),
        "vector": torch.randint(20, (N,), generator=generator),
    }


def labels() -> torch.Tensor:
    return torch.arange(N) % 10


def plain() -> MultimodalDataset:
    return MultimodalDataset(base(), tables(), labels())


def with_text(seed: int = 0) -> MultimodalDataset:
    return MultimodalDataset({**base(), "text": DigitWords()}, tables(), labels(), seed=seed)


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(first.data[name], second.data[name]) for name in (*first.names, *second.names))


def test_a_batch_gathers_base_rows_by_their_index():
    rows = torch.tensor([7, 0, 7, 39])
    batch = plain().batch(rows)
    image = torch.stack([base()["image"][int(tables()["image"][row])].float() / 255 for row in rows])
    vector = torch.stack([base()["vector"][int(tables()["vector"][row])] for row in rows])
    assert torch.equal(batch.data["image"], image)
    assert torch.equal(batch.data["vector"], vector)
    assert batch.labels.tolist() == [7, 0, 7, 9]
    assert batch.complete


def test_bytes_of_images_become_floats_from_0_to_1_and_other_types_stay():
    levels = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    codes = torch.arange(256).reshape(-1, 1)
    batch = MultimodalDataset({"levels": levels, "codes": codes, "bytes": codes.to(torch.uint8)}).everything()
    assert torch.equal(batch.data["bytes"], codes.to(torch.uint8))  # counts or codes, since no image is a vector
    assert batch.data["levels"].dtype == torch.float32
    assert torch.equal(batch.data["levels"], levels.float() / 255)
    assert (float(batch.data["levels"][0]), float(batch.data["levels"][255])) == (0.0, 1.0)
    assert batch.data["codes"].dtype == torch.int64
    assert batch.labels is None


def test_items_are_the_rows_of_the_batch():
    observed = Missingness.draw(N, {"image": 0.4, "vector": 0.5}).observed
    for dataset in (plain(), plain().with_observed(observed)):
        batch = collate([dataset[row] for row in (3, -1, 5)])
        expected = dataset.batch(torch.tensor([3, N - 1, 5]))
        assert equal(batch, expected)
        assert all(torch.equal(batch.observed[name], expected.observed[name]) for name in batch.names)
        assert torch.equal(batch.labels, expected.labels)
    with pytest.raises(IndexError):
        plain()[N]


def test_the_loader_of_torch_yields_the_batches():
    dataset = plain()
    loaded = list(DataLoader(dataset, batch_size=16, collate_fn=collate))
    assert equal(Batch.cat(loaded), dataset.everything())


def test_the_dataset_is_a_source_of_the_library():
    dataset = plain()
    assert as_source(dataset) is dataset


def test_the_order_of_the_modalities_does_not_matter():
    forward = with_text()
    backward = MultimodalDataset({"text": DigitWords(), **dict(reversed(base().items()))}, tables(), labels())
    rows = torch.arange(10)
    assert equal(forward.batch(rows), backward.batch(rows))


def test_text_is_drawn_again_at_each_access_and_shows_the_label():
    dataset = with_text()
    first, second = dataset.everything(), dataset.everything()
    assert not torch.equal(first.data["text"], second.data["text"])
    for batch in (first, second):
        words = [text.strip() for text in decode(batch.data["text"])]
        assert words == [WORDS[label] for label in batch.labels.tolist()]


def test_the_state_of_the_draws_can_be_taken_up_again():
    dataset, rows = with_text(), torch.arange(N)
    dataset.batch(rows)
    state = dataset.state_dict()
    ahead = [dataset.batch(rows).data["text"] for _ in range(3)]
    fresh = with_text()
    fresh.load_state_dict(state)
    assert all(torch.equal(fresh.batch(rows).data["text"], text) for text in ahead)
    assert all(value.dtype == torch.uint8 for value in state.values())
    with pytest.raises(ValueError, match=r"\['text'\]"):
        fresh.load_state_dict({})


def test_draws_are_seeded_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    texts = [with_text(seed).everything().data["text"] for seed in (0, 0, 1)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_drawn_once_stays_as_it_is():
    dataset = with_text()
    fixed = dataset.drawn_once()
    assert equal(fixed.everything(), fixed.everything())
    assert equal(fixed.everything(), dataset.everything())
    assert torch.equal(fixed.subset([5, 3]).everything().data["text"], fixed.batch([5, 3]).data["text"])
    assert fixed.state_dict() == {}


def test_a_subset_is_its_rows_and_does_not_advance_the_whole():
    dataset, rows = with_text(), torch.tensor([9, 2, 30])
    state = dataset.state_dict()["text"]
    part = dataset.subset(rows)
    batch, expected = part.everything(), dataset.drawn_once().batch(rows)
    assert torch.equal(batch.data["image"], expected.data["image"])
    assert torch.equal(batch.labels, expected.labels)
    assert torch.equal(dataset.state_dict()["text"], state)
    assert torch.equal(part.subset([1]).everything().data["vector"], dataset.batch([2]).data["vector"])
    for wrong in ([], [N], [-1]):
        with pytest.raises(ValueError, match="data"):
            dataset.subset(wrong)


@pytest.mark.parametrize("parts", [(0.5, 0.25, 0.25), (20, 10, 10)])
def test_a_split_is_disjoint_seeded_and_complete(parts):
    dataset = MultimodalDataset({"row": torch.arange(N).reshape(-1, 1)})
    pieces = [part.everything().data["row"].flatten().tolist() for part in dataset.split(parts, seed=1)]
    assert [len(piece) for piece in pieces] == [20, 10, 10]
    assert sorted(itertools.chain(*pieces)) == list(range(N))
    assert pieces[0] == dataset.split(parts, seed=1)[0].everything().data["row"].flatten().tolist()
    assert pieces[0] != dataset.split(parts, seed=2)[0].everything().data["row"].flatten().tolist()


@pytest.mark.parametrize("parts", [(0.9, 0.2), (30, 11), (40, 0), (1.0, 0.001)])
def test_a_split_that_cannot_be_had(parts):
    with pytest.raises(ValueError, match="cannot split 40"):
        plain().split(parts)


def test_what_is_missing_reaches_no_number():
    observed = {"image": labels() > 4, "vector": labels() < 7}
    other = base()
    other["image"] = 255 - other["image"]
    masked = [MultimodalDataset(data, tables(), labels(), observed).everything() for data in (base(), other)]
    hidden = labels() <= 4
    assert torch.equal(masked[0].data["image"][hidden], torch.zeros(20, 1, 4, 4))
    assert torch.equal(masked[0].data["image"][hidden], masked[1].data["image"][hidden])
    assert torch.equal(masked[0].observed["image"], observed["image"])
    assert not masked[0].complete
    checked = Batch(masked[0].data, masked[0].observed, masked[0].labels)
    assert equal(checked, masked[0])


def test_masks_join_what_is_missing_already():
    dataset = plain().with_observed({"image": labels() > 4}).with_observed({"image": labels() != 6})
    assert torch.equal(dataset.everything().observed["image"], (labels() > 4) & (labels() != 6))
    assert dataset.subset([0, 6, 7]).everything().observed["image"].tolist() == [False, False, True]
    assert plain().with_observed({"image": labels() >= 0}).everything().complete


def test_some_modalities_of_a_dataset_alone():
    observed = {"image": labels() > 4, "vector": labels() < 7}
    whole = with_text().with_observed(observed)
    part = whole.restrict(("text", "vector"))
    assert part.names == ("vector", "text")
    assert part.shapes == {"vector": (3,), "text": (8,)}
    assert part.labels is whole.labels
    batch = part.everything()
    assert torch.equal(batch.observed["vector"], observed["vector"])
    assert equal(batch, whole.everything().restrict(("vector", "text")))  # the same draws of words
    assert whole.names == ("image", "vector", "text")
    with pytest.raises(ValueError, match=r"20 rows \(the first is 0\) have no modality at all"):
        whole.restrict("image")
    assert whole.subset((labels() > 4).nonzero().flatten()).restrict("image").everything().complete
    with pytest.raises(ValueError, match="unknown modality 'sound'"):
        whole.restrict("sound")


def test_base_rows_that_are_nan_throughout_count_as_missing():
    data = base()
    data["vector"][4] = torch.nan
    dataset = MultimodalDataset(data, tables(), labels())
    batch = dataset.everything()
    assert torch.equal(batch.observed["vector"], tables()["vector"] != 4)
    assert bool(batch.data["vector"].isfinite().all())


def test_single_numbers_of_base_rows_may_be_missing():
    data = base()
    data["vector"][5, 0], data["vector"][6] = torch.nan, torch.nan
    dataset = MultimodalDataset(data, tables(), labels())
    for copy in (dataset, dataset.to("cpu"), dataset.subset(torch.arange(N))):
        batch = copy.everything()
        hit = tables()["vector"] == 5
        assert torch.equal(~batch.cells["vector"][:, 0], hit | (tables()["vector"] == 6))
        assert torch.equal(batch.observed["vector"], tables()["vector"] != 6)
        assert bool(batch.data["vector"].isfinite().all())
    row = int(hit.nonzero()[0])
    item, _ = dataset[row]
    assert item["vector"].isnan().tolist() == [True] + [False] * (len(item["vector"]) - 1)
    assert torch.equal(collate([dataset[row]]).cells["vector"], dataset.batch([row]).cells["vector"])


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"sound": torch.ones(N).bool()}, ValueError, "a mask for 'sound'"),
        ({"image": torch.ones(N)}, TypeError, "must be boolean"),
        ({"image": torch.ones(N - 1).bool()}, ValueError, "must have shape"),
        ({"image": labels() > 0, "vector": labels() > 0}, ValueError, "4 rows .* have no modality at all"),
    ],
)
def test_masks_that_do_not_fit(masks, error, message):
    with pytest.raises(error, match=message):
        plain().with_observed(masks)


@pytest.mark.parametrize(
    ("sources", "index", "label", "error", "message"),
    [
        ({}, {}, None, ValueError, "no data"),
        ({"a": torch.zeros(0, 2)}, {}, None, ValueError, "zero rows"),
        ({"a": torch.zeros(3, 2), "b": torch.zeros(4, 2)}, {}, None, ValueError, "unequal"),
        ({"a": torch.zeros(3, 2)}, {"a": torch.tensor([3])}, None, ValueError, r"0\.\.2"),
        ({"a": torch.zeros(3, 2)}, {"a": torch.tensor([0.0])}, None, TypeError, "int64"),
        ({"a": torch.zeros(3, 2)}, {"b": torch.tensor([0])}, None, ValueError, "a table for 'b'"),
        ({"a": torch.zeros(3, 2)}, {}, torch.zeros(4), ValueError, "unequal"),
        ({"a": {1: 2}}, {}, None, TypeError, "a: expected a tensor"),
        ({"a": torch.zeros(3, 2), "t": DigitWords()}, {}, None, ValueError, "t: a sampler draws from the labels"),
        ({"t": DigitWords()}, {}, torch.tensor([10]), ValueError, r"t: the sampler cannot draw for the labels \[10\]"),
        ({"t": DigitWords()}, {}, torch.tensor([-1]), ValueError, "t: the sampler cannot draw"),
        ({"t": DigitWords()}, {"t": torch.tensor([0])}, torch.tensor([1]), ValueError, "takes no index"),
    ],
)
def test_bad_input_is_told(sources, index, label, error, message):
    with pytest.raises(error, match=message):
        MultimodalDataset(sources, index, label)


def test_everything_and_its_first_rows():
    assert plain().everything().size == N
    assert equal(plain().everything(5), plain().batch(range(5)))
    assert plain().everything(1000).size == N


def test_moving_keeps_the_draws_and_the_original():
    dataset = with_text()
    moved = dataset.to("cpu")
    first = moved.everything()
    assert equal(first, dataset.everything())
    assert moved.device == torch.device("cpu")
    moved.everything()
    assert not torch.equal(moved.state_dict()["text"], dataset.state_dict()["text"])


def test_a_dataset_can_be_sent_to_a_worker():
    dataset = with_text()
    dataset.batch([0])
    assert equal(pickle.loads(pickle.dumps(dataset)).everything(), dataset.everything())


def test_workers_do_not_draw_alike():
    dataset = MultimodalDataset({"text": DigitWords()}, labels=torch.ones(64, dtype=torch.int64))
    loader = DataLoader(
        dataset, batch_size=32, num_workers=2, collate_fn=collate, generator=torch.Generator().manual_seed(0)
    )
    first, second = (batch.data["text"] for batch in loader)
    assert not torch.equal(first, second)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_dataset_on_a_device_hands_out_the_same():
    observed = Missingness.draw(N, {"image": 0.4, "vector": 0.5, "text": 0.2}).observed
    dataset = with_text().with_observed(observed)
    moved = dataset.to("cuda")
    for rows in (torch.arange(N), torch.arange(N, device="cuda")):
        here, there = dataset.batch(rows.cpu()), moved.batch(rows)
        assert there.device.type == "cuda"
        assert equal(here, there.to("cpu"))
        assert all(torch.equal(mask, there.observed[name].cpu()) for name, mask in here.observed.items())
