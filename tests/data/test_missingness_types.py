"""Tables by type: the counts of the published protocol, nested rates, and any number of modalities."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from mmvae.data import Missingness


def missing(table: Missingness) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in table.observed.items()}


def lost(table: Missingness) -> torch.Tensor:
    """How many modalities each row lost."""
    return torch.stack([~mask for mask in table.observed.values()]).sum(0)


@pytest.mark.parametrize(
    ("rows", "kind", "expected"),
    [
        (7_799, "text", {"image": 0, "text": 5_459}),
        (7_799, "image", {"image": 5_459, "text": 0}),
        (7_799, "both", {"image": 2_729, "text": 2_730}),
        (15_552, "text", {"image": 0, "text": 10_886}),
        (15_552, "image", {"image": 10_886, "text": 0}),
        (15_552, "both", {"image": 5_443, "text": 5_443}),
    ],
)
def test_the_counts_of_the_published_protocol_at_70_percent(rows, kind, expected):
    table = Missingness.by_type(rows, 0.7, kind)
    assert missing(table) == expected
    assert int((lost(table) == 0).sum()) == {7_799: 2_340, 15_552: 4_666}[rows]
    assert int(lost(table).max()) == 1
    assert sum(table.rates.values()) == pytest.approx(0.7)


def test_the_draw_has_the_distribution_of_the_protocol():
    """All incomplete rows marked for the text, a random half of them re-marked for the image: over many seeds, every
    row goes missing equally often in either, and pairs of rows as often as without replacement."""
    rows, draws = 6, 4_000
    tables = [Missingness.by_type(rows, 0.5, "both", seed=seed) for seed in range(draws)]  # 3 rows: 2 text, 1 image
    text, image = (
        torch.stack([~table.observed[name] for table in tables]).double() for name in ("text", "image")
    )  # [draws, rows]
    assert bool((text.sum(1) == 2).all())
    assert bool((image.sum(1) == 1).all())
    for share, chance in ((text.mean(0), 2 / 6), (image.mean(0), 1 / 6)):
        assert float((share - chance).abs().max()) < 4.5 * (chance * (1 - chance) / draws) ** 0.5
    both_text = torch.stack([text[:, a] * text[:, b] for a, b in itertools.combinations(range(rows), 2)]).mean(1)
    assert float((both_text - 1 / 15).abs().max()) < 4.5 * (1 / 15 / draws) ** 0.5
    text_and_image = torch.stack([text[:, a] * image[:, b] for a, b in itertools.permutations(range(rows), 2)]).mean(1)
    assert float((text_and_image - 2 / 30).abs().max()) < 4.5 * (1 / 15 / draws) ** 0.5


@pytest.mark.parametrize("kind", ["text", "image", "both"])
def test_a_curve_is_nested_from_nothing_to_everything(kind):
    curve = Missingness.curve(97, kind, seed=3)
    assert list(curve) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    for (low, fewer), (high, more) in itertools.pairwise(curve.items()):
        assert int(lost(fewer).sum()) == int(97 * low)
        assert int(lost(more).sum()) == int(97 * high)
        for name in ("image", "text"):
            assert not bool((more.observed[name] & ~fewer.observed[name]).any())  # what is missing stays missing
    assert not bool(lost(curve[0.0]).any())
    assert bool((lost(curve[1.0]) == 1).all())
    if kind != "both":
        assert not bool(curve[1.0].observed[kind].any())


def test_a_table_of_a_curve_is_the_table_of_its_rate():
    curve = Missingness.curve(50, "text", rates=(0.3,), seed=1)
    assert list(curve) == [0.3]
    assert curve[0.3].hash == Missingness.by_type(50, 0.3, "text", seed=1).hash


def test_more_than_two_modalities_share_the_rows_as_equally_as_may_be():
    names = ("video", "audio", "text")
    everything = Missingness.by_type(80, 0.4, "all", names)  # 32 rows
    assert missing(everything) == {"audio": 10, "text": 11, "video": 11}
    assert int(lost(everything).max()) == 1
    assert everything.hash == Missingness.by_type(80, 0.4, "both", names[::-1]).hash
    assert everything.kind == "audio+text+video"
    two = Missingness.by_type(80, 0.4, ("text", "audio"), names)
    assert missing(two) == {"audio": 16, "text": 16, "video": 0}
    assert two.hash == Missingness.by_type(80, 0.4, ("audio", "text"), names).hash
    assert missing(Missingness.by_type(80, 1.0, "video", names)) == {"audio": 0, "text": 0, "video": 80}


def test_a_modality_may_be_called_all():
    table = Missingness.by_type(10, 0.5, "all", ("all", "other"))
    assert missing(table) == {"all": 5, "other": 0}


def test_seeds_and_types_draw_independently_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    table = Missingness.by_type(500, 0.5, "text", seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (Missingness.by_type(500, 0.5, "text", seed=6), Missingness.by_type(500, 0.5, "image", seed=5)):
        agree = int((lost(table) & lost(other)).sum())
        assert abs(agree - 125) < 5 * (500 * 0.25 * 0.75) ** 0.5


def test_a_table_is_kept_in_a_file_and_used_again(tmp_path):
    path = tmp_path / "tables" / "text-70.npz"
    first = Missingness.by_type(100, 0.7, "text", seed=1).kept_in(path)
    written = path.read_bytes()
    again = Missingness.by_type(100, 0.7, "text", ("text", "image"), seed=1).kept_in(path)
    assert path.read_bytes() == written
    assert again.hash == first.hash
    assert (again.kind, again.seed, dict(again.rates)) == ("text", 1, {"image": 0.0, "text": 0.7})
    others = (
        Missingness.by_type(101, 0.7, "text", seed=1),
        Missingness.by_type(100, 0.5, "text", seed=1),
        Missingness.by_type(100, 0.7, "image", seed=1),
        Missingness.by_type(100, 0.7, "text", seed=2),
        Missingness.draw(100, {"image": 0.0, "text": 0.7}, seed=1),
    )
    for other in others:
        with pytest.raises(ValueError, match="use another path"):
            other.kept_in(path)


def test_what_is_kept_is_what_counts_not_how_it_would_be_drawn_today(tmp_path):
    path = tmp_path / "table.npz"
    drawn = Missingness.by_type(10, 0.5, "text", seed=1)
    other = {"image": drawn.observed["image"], "text": ~drawn.observed["text"]}
    kept = Missingness(other, drawn.rates, drawn.seed, kind=drawn.kind)
    kept.save(path)
    assert drawn.kept_in(path).hash == kept.hash != drawn.hash


def test_tables_that_were_drawn_by_rates_are_described_as_ever(tmp_path):
    """So that files that exist keep their hash."""
    path = tmp_path / "table.npz"
    Missingness.draw(20, {"a": 0.3, "b": 0.2}).save(path)
    with np.load(path, allow_pickle=False) as file:
        description = json.loads(str(file["description"]))
    assert set(description) == {"format", "names", "size", "rates", "seed", "labels_hash", "hash"}
    assert Missingness.load(path).kind is None


def test_a_table_of_films_serves_their_texts():
    table = Missingness.by_type(4, 0.5, "text", seed=0)
    films = torch.tensor([0, 0, 1, 3, 3, 3])
    masks = table.at(films)
    assert masks["image"].all()
    assert masks["text"].tolist() == [bool(table.observed["text"][film]) for film in films]


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"a type is one of 'image', 'text', several of them, or 'both' or 'all'"):
        Missingness.by_type(10, 0.5, "audio")
    with pytest.raises(ValueError, match=r"a type is one of"):
        Missingness.by_type(10, 0.5, ())
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], got 70"):
        Missingness.by_type(10, 70, "text")
    with pytest.raises(ValueError, match=r"at least two different ones are needed, got \['text'\]"):
        Missingness.by_type(10, 0.5, "text", ("text",))
    with pytest.raises(ValueError, match=r"at least two different ones"):
        Missingness.by_type(10, 0.5, "text", ("text", "text"))
    with pytest.raises(ValueError, match=r"at least one row"):
        Missingness.by_type(0, 0.5, "text")
