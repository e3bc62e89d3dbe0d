from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from data.image_text.made import (
    DISHES,
    lines,
    picture,
    write_food101,
    write_hateful_memes,
    write_mm_imdb,
    write_snli_ve,
)
from PIL import Image

from mmvae.data import (
    CaptionVocabulary,
    ImageFiles,
    ImageText,
    Missingness,
    SourceNotFound,
    Tokenizer,
    food101,
    hateful_memes,
    mm_imdb,
    snli_ve,
)

LETTERS = Tokenizer(lambda texts: [[ord(letter) for letter in text] for text in texts], 12, padding=0, vocabulary=128)


def numbers(data: ImageText) -> list[int]:
    """The last number in each text."""
    return [int(text.rstrip(".").split()[-1]) for text in data.texts]


# MM-IMDb


@pytest.mark.parametrize("where", ["", "mmimdb", "MM-IMDb"])
def test_films_with_their_plots_posters_and_genres(tmp_path, where):
    write_mm_imdb(tmp_path / where)
    train = mm_imdb(tmp_path, "train")
    assert train.name == "MM-IMDb"
    assert train.texts == tuple(f"Plot {plot} of film {film}." for film in (3, 6, 9) for plot in range(film // 3))
    assert [path.name for path in train.images] == [f"{film:07d}.jpeg" for film in (3, 6, 6, 9, 9, 9)]
    assert train.groups.tolist() == [0, 1, 1, 2, 2, 2]
    assert train.num_groups == 3
    assert train.task == "multi-label"
    assert train.labels.shape == (6, 23)
    named = [[train.classes[place] for place in row.nonzero().flatten()] for row in train.labels]
    assert named == [[], ["Film-Noir"], ["Film-Noir"], *[["Comedy", "Romance"]] * 3]  # News and Reality-TV do not count
    assert train.notes == ("MM-IMDb: 1 of 4 films have no plot and are left out.",)
    assert numbers(mm_imdb(tmp_path, "validation")) == [1, 4, 7, 10]
    assert numbers(mm_imdb(tmp_path, "test")) == [2, 5, 8, 11]
    assert mm_imdb(tmp_path, "test").notes == ()


def test_the_first_plot_of_each_film_alone(tmp_path):
    write_mm_imdb(tmp_path)
    first = mm_imdb(tmp_path, "train", plots="first")
    assert numbers(first) == [3, 6, 9]
    assert first.groups.tolist() == [0, 1, 2]


def test_films_in_the_folders_of_some_mirrors(tmp_path):
    write_mm_imdb(tmp_path, folder="labels")
    assert numbers(mm_imdb(tmp_path, "test")) == [2, 5, 8, 11]


def test_the_root_may_be_an_environment_variable(tmp_path, monkeypatch):
    write_mm_imdb(tmp_path)
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path))
    assert len(mm_imdb(split="test")) == 4
    monkeypatch.delenv("MMVAE_DATA")
    with pytest.raises(SourceNotFound, match=r"no folder of data sets is given \(MMVAE_DATA\)"):
        mm_imdb(split="test")


def test_what_is_wrong_with_the_films_is_said(tmp_path):
    with pytest.raises(SourceNotFound, match=r"MM-IMDb: looked for split.json in .*mmimdb"):
        mm_imdb(tmp_path)
    write_mm_imdb(tmp_path)
    with pytest.raises(ValueError, match=r"split: expected one of 'train', 'validation', 'test', got 'dev'"):
        mm_imdb(tmp_path, "dev")
    with pytest.raises(ValueError, match=r"plots: expected one of 'all', 'first', got 'last'"):
        mm_imdb(tmp_path, plots="last")
    (tmp_path / "dataset" / "0000009.jpeg").unlink()
    with pytest.raises(SourceNotFound, match=r"1 of 3 files are absent; the first is 0000009.jpeg"):
        mm_imdb(tmp_path)
    (tmp_path / "dataset" / "0000003.json").write_text("{}")
    with pytest.raises(ValueError, match=r'0000003.json should be an object with a list "plot" and a list "genres"'):
        mm_imdb(tmp_path)
    (tmp_path / "dataset" / "0000003.json").write_text("{")
    with pytest.raises(ValueError, match=r"0000003.json is damaged"):
        mm_imdb(tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"training": []}))
    with pytest.raises(ValueError, match=r"one of them 'train'"):
        mm_imdb(tmp_path)


# UPMC Food-101


def test_dishes_with_their_titles(tmp_path):
    write_food101(tmp_path)
    test = food101(tmp_path, "test")
    assert test.classes == DISHES
    assert test.task == "single-label"
    assert test.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert test.texts[5] == "How to cook, baby_back_ribs number 0"
    assert test.images[5] == tmp_path / "images" / "test" / "baby_back_ribs" / "baby_back_ribs_0.jpg"
    assert test.notes == ()


def test_dishes_without_a_title_are_left_out_and_a_tenth_of_each_dish_is_for_validation(tmp_path):
    write_food101(tmp_path, per_dish=11)
    train, validation = (food101(tmp_path, split) for split in ("train", "validation"))
    assert train.notes == ("UPMC Food-101: 3 photographs of train_titles.csv have no title and are left out.",)
    assert train.labels.bincount().tolist() == [9, 9, 9]
    assert validation.labels.bincount().tolist() == [1, 1, 1]
    assert len({*train.images, *validation.images}) == 30
    assert food101(tmp_path, "validation").images == validation.images


def test_a_file_may_say_which_dishes_are_for_validation(tmp_path):
    write_food101(tmp_path)
    held_out = [f"{dish}_{number}.jpg" for dish in DISHES for number in (0, 3, 4)]
    rest = [f"{dish}_{number}.jpg" for dish in DISHES for number in (1, 2)]
    (tmp_path / "split.json").write_text(json.dumps({"train": rest, "val": held_out, "test": []}))
    assert sorted(path.name for path in food101(tmp_path, "train").images) == sorted(rest)
    validation = food101(tmp_path, "validation")
    assert sorted({path.name for path in validation.images}) == sorted({*held_out} - {f"{d}_0.jpg" for d in DISHES})
    assert validation.notes == ("UPMC Food-101: 3 photographs of train_titles.csv have no title and are left out.",)


def test_lists_of_dishes_may_have_a_heading_and_lack_the_dish(tmp_path):
    write_food101(tmp_path)
    path = tmp_path / "texts" / "test_titles.csv"
    cut = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(["image,title", *cut]))
    test = food101(tmp_path, "test")
    assert test.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    path.write_text("\n".join([*cut, "no image,title"]))
    with pytest.raises(ValueError, match=r"line 16 of .*test_titles.csv should begin with a file name"):
        food101(tmp_path, "test")


def test_what_is_wrong_with_the_dishes_is_said(tmp_path):
    with pytest.raises(SourceNotFound, match=r"looked for texts/train_titles.csv in .*food101"):
        food101(tmp_path)
    write_food101(tmp_path)
    (tmp_path / "images" / "test" / "pho" / "pho_2.jpg").unlink()
    with pytest.raises(SourceNotFound, match=r"1 of 15 files are absent; the first is pho_2.jpg"):
        food101(tmp_path, "test")
    (tmp_path / "split.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r"one of them 'train'"):
        food101(tmp_path, "train")
    (tmp_path / "texts" / "test_titles.csv").unlink()
    with pytest.raises(SourceNotFound, match=r"the first is test_titles.csv"):
        food101(tmp_path, "test")


# Hateful Memes


def test_memes_with_their_text(tmp_path):
    write_hateful_memes(tmp_path / "hateful_memes")
    for split, start in (("train", 0), ("validation", 100), ("test", 200)):
        data = hateful_memes(tmp_path, split)
        assert numbers(data) == list(range(start, start + 8))
        assert data.labels.tolist() == [0, 1] * 4
        assert data.images[1] == tmp_path / "hateful_memes" / "img" / f"{start + 1:05d}.png"
    assert data.classes[1] == "hateful"


def test_what_is_wrong_with_the_memes_is_said(tmp_path):
    write_hateful_memes(tmp_path)
    with pytest.raises(ValueError, match=r"8 of 8 memes in .*test_unseen.jsonl have no label 0 or 1"):
        hateful_memes(tmp_path, "test_unseen")
    with pytest.raises(SourceNotFound, match=r"looked for .*dev_unseen.jsonl"):
        hateful_memes(tmp_path, "validation_unseen")
    lines(tmp_path / "train.jsonl", [{"img": "img/00001.png", "label": 0}])
    with pytest.raises(ValueError, match=r"line 1 of .*train.jsonl lacks text; expected an object with img, text"):
        hateful_memes(tmp_path)
    (tmp_path / "train.jsonl").write_text('\n{"img"')
    with pytest.raises(ValueError, match=r"line 2 of .*train.jsonl is damaged"):
        hateful_memes(tmp_path)


# SNLI-VE


@pytest.mark.parametrize("folder", ["flickr30k_images", "flickr30k-images"])
def test_sentences_about_pictures(tmp_path, folder):
    write_snli_ve(tmp_path, folder)
    data = snli_ve(tmp_path, "validation")
    assert data.classes == ("entailment", "neutral", "contradiction")
    assert data.labels.tolist() == [2, 0, 1] * 3
    assert data.texts[:3] == ("contradiction of 0", "entailment of 0", "neutral of 0")
    assert [path.name for path in data.images[2:4]] == ["10.jpg", "11.jpg"]
    assert data.notes == ("SNLI-VE: 3 sentences without an agreed label are left out.",)


def test_pictures_may_lie_in_the_root_and_sentences_below_it(tmp_path):
    write_snli_ve(tmp_path)
    (tmp_path / "SNLI-VE").mkdir()
    for path in tmp_path.glob("*.jsonl"):
        path.rename(tmp_path / "SNLI-VE" / path.name)
    assert len(snli_ve(tmp_path, "test")) == 9


def test_what_is_wrong_with_the_sentences_is_said(tmp_path):
    item = {"sentence2": "a", "gold_label": "neutral"}
    lines(tmp_path / "snli_ve_train.jsonl", [item])
    with pytest.raises(SourceNotFound, match=r"looked for .*flickr30k_images or .*flickr30k-images"):
        snli_ve(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"should say which picture, as Flickr30K_ID"):
        snli_ve(tmp_path)
    lines(tmp_path / "snli_ve_train.jsonl", [{**item, "Flikr30kID": "7.jpg"}])
    with pytest.raises(SourceNotFound, match=r"the first is 7.jpg"):
        snli_ve(tmp_path)


# What readers return


def data(tmp_path: Path, size: int = 12, per_group: int = 2) -> ImageText:
    """Texts of two about an image each."""
    groups = torch.arange(size) // per_group
    images = [tmp_path / f"{group}.png" for group in groups.tolist()]
    for place, path in enumerate(images):
        picture(path, (10 * (place // per_group), 100, 200))
    labels = torch.arange(size) // per_group % 2
    return ImageText(
        "made", tuple(images), tuple(f"text number {n}" for n in range(size)), labels, ("even", "odd"), groups
    )


def test_data_points_are_chosen_with_all_that_belongs_to_them(tmp_path):
    chosen = data(tmp_path).subset(torch.tensor([9, 2, 8]))
    assert numbers(chosen) == [9, 2, 8]
    assert [path.stem for path in chosen.images] == ["4", "1", "4"]
    assert chosen.labels.tolist() == [0, 1, 0]
    assert chosen.groups.tolist() == [1, 0, 1]
    assert chosen.num_groups == 2


def test_shares_keep_groups_together_and_are_everything(tmp_path):
    whole = data(tmp_path, size=40)
    parts = [whole.share(0, 0.75, seed=1), whole.share(0.75, 1, seed=1)]
    assert [len(part) for part in parts] == [30, 10]
    assert sorted(n for part in parts for n in numbers(part)) == list(range(40))
    assert not {*parts[0].images} & {*parts[1].images}
    assert numbers(whole.share(0.75, 1, seed=2)) != numbers(parts[1])


def test_shares_of_single_data_points_keep_the_classes_in_proportion(tmp_path):
    part = data(tmp_path, size=40, per_group=1).share(0, 0.3)
    assert part.labels.bincount().tolist() == [6, 6]


def test_a_table_of_what_is_missing_is_one_of_groups(tmp_path):
    whole = data(tmp_path)
    table = Missingness.by_type(whole.num_groups, 0.5, "text")
    masks = whole.masks(table)
    assert masks["text"].reshape(6, 2).float().mean(1).tolist() == table.observed["text"].float().tolist()
    with pytest.raises(ValueError, match=r"a table of 12 rows, but 6 are needed, one for each group"):
        whole.masks(Missingness.by_type(12, 0.5, "text"))


def test_the_dataset_is_what_models_see(tmp_path):
    whole = data(tmp_path)
    dataset = whole.dataset(LETTERS, size=8, normalisation="none", fit="crop")
    assert dataset.names == ("image", "text")
    assert dataset.shapes == {"image": (3, 8, 8), "text": (12,)}
    batch = dataset.batch([11, 0])
    assert batch.data["image"].dtype == torch.float32
    colour = batch.data["image"][:, :, 4, 4] * 255
    assert colour.round().tolist() == [[50, 100, 200], [0, 100, 200]]
    assert batch.data["text"][1].tolist() == [ord(letter) for letter in "text number "]
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    hidden = dataset.with_observed(whole.masks(Missingness.by_type(6, 1.0, "image"))).batch([11])
    assert not bool(hidden.observed["image"])
    assert not bool(hidden.data["image"].any())
    assert dataset.subset([3]).split([1])[0].batch([0]).data["text"].shape == (1, 12)


def test_labels_of_several_genres_come_with_the_data(tmp_path):
    write_mm_imdb(tmp_path)
    films = mm_imdb(tmp_path, "test")
    labels = films.dataset(LETTERS, size=4).batch([1, 2]).labels
    assert labels is not None
    assert torch.equal(labels, films.labels[1:3])


def test_labels_and_sizes_must_fit(tmp_path):
    whole = data(tmp_path)
    with pytest.raises(ValueError, match=r"expected as many of each, and at least one"):
        ImageText("made", whole.images, whole.texts[1:], whole.labels, whole.classes, whole.groups)
    for labels in (whole.labels + 1, whole.labels - 1, torch.zeros(12, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"expected labels \[N\] in 0..1, or \[N, 2\] of 0 and 1"):
            ImageText("made", whole.images, whole.texts, labels, whole.classes, whole.groups)


# Images


def test_the_middle_is_cut_out_or_all_is_squeezed(tmp_path):
    picture(tmp_path / "wide.png", (0, 0, 0), (30, 15))  # white bands of 5 pixels: the middle 15 show 0 of them
    cut, squeezed = (ImageFiles([tmp_path / "wide.png"], 6, fit=fit).take(torch.tensor([0]))[0, 0] for fit in
                     ("crop", "squeeze"))  # fmt: skip
    assert float(cut.max()) == 0.0
    torch.testing.assert_close(squeezed[0, [0, 2, 3, 5]], torch.tensor([1.0, 0, 0, 1.0]), atol=0.15, rtol=0)
    picture(tmp_path / "tall.png", (0, 0, 0), (15, 30))
    assert ImageFiles([tmp_path / "tall.png"], 6).take(torch.tensor([0])).shape == (1, 3, 6, 6)


@pytest.mark.parametrize(
    ("normalisation", "mean", "spread"),
    [
        ("none", (0, 0, 0), (1, 1, 1)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("clip", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ],
)
def test_colours_are_normalised(tmp_path, normalisation, mean, spread):
    Image.new("RGB", (4, 4), (51, 102, 255)).save(tmp_path / "a.png")
    taken = ImageFiles([tmp_path / "a.png"], 2, normalisation=normalisation).take(torch.tensor([0]))[0, :, 0, 0]
    expected = [(value - m) / s for value, m, s in zip((0.2, 0.4, 1.0), mean, spread, strict=True)]
    torch.testing.assert_close(taken, torch.tensor(expected))


def test_grey_and_transparent_pictures_become_colours(tmp_path):
    Image.new("L", (4, 4), 51).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 4), (0, 255, 0, 0)).save(tmp_path / "clear.png")
    taken = ImageFiles([tmp_path / "grey.png", tmp_path / "clear.png"], 2).take(torch.tensor([1, 0]))
    torch.testing.assert_close(taken[1, :, 0, 0], torch.full((3,), 0.2))
    assert taken[0].shape == (3, 2, 2)


def test_kept_images_are_decoded_once(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        picture(path, (50 * number, 0, 0), (6, 6))
    kept, fresh = (ImageFiles(paths, 3, normalisation="clip", keep=keep) for keep in (True, False))
    rows = torch.tensor([2, 0, 2])
    expected = fresh.take(rows)
    assert torch.equal(kept.take(rows), expected)
    for path in paths:
        path.unlink()
    assert torch.equal(kept.take(rows), expected)
    assert torch.equal(kept.to(torch.device("cpu")).take(rows), expected)
    with pytest.raises(SourceNotFound, match=r"looked for 1.png in"):
        kept.take(torch.tensor([1]))
    assert kept.take(torch.arange(0)).shape == (0, 3, 3, 3)


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a.png is damaged"):
        ImageFiles([tmp_path / "a.png"], 2).take(torch.tensor([0]))
    with pytest.raises(ValueError, match=r"normalisation: expected one of 'none', 'half', 'imagenet', 'clip'"):
        ImageFiles([tmp_path / "a.png"], 2, normalisation="inception")
    with pytest.raises(ValueError, match=r"fit: expected one of 'crop', 'squeeze'"):
        ImageFiles([tmp_path / "a.png"], 2, fit="pad")
    with pytest.raises(ValueError, match=r"a size of at least 1"):
        ImageFiles([tmp_path / "a.png"], 0)


# Texts


def test_texts_become_ids_of_one_length():
    assert LETTERS(["ab", "much too long a text"]).tolist() == [[97, 98, *[0] * 10], [ord(x) for x in "much too lon"]]
    assert LETTERS.special == {0}
    with pytest.raises(ValueError, match=r"'' has no token"):
        LETTERS(["a", ""])
    with pytest.raises(ValueError, match=r"ids lie in 0..127, got 228"):
        LETTERS(["ä"])
    with pytest.raises(ValueError, match=r"a padding below the 128 ids"):
        Tokenizer(LETTERS.ids, 4, padding=128, vocabulary=128)


def test_words_of_the_library():
    vocabulary = CaptionVocabulary.of(["a red bird", "a blue bird"], min_count=1, length=6)
    tokenizer = Tokenizer.of_words(vocabulary)
    assert torch.equal(tokenizer(["a red dog"])[0], vocabulary.encode("a red dog"))
    assert (tokenizer.padding, tokenizer.mask, tokenizer.special) == (0, 2, {0, 1})
    assert tokenizer.vocabulary == len(vocabulary)


def test_no_code_of_a_tokenizers_folder_is_run(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask
    mapped = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(mapped))
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import PreTrainedTokenizer\n"
        "class EvilTokenizer(PreTrainedTokenizer): pass\n"
    )
    with pytest.raises(ValueError, match=rf"tokenizer: {tmp_path} is damaged.*without code of the folder's"):
        Tokenizer.huggingface(str(tmp_path), 5)
    assert not ran.exists()


def test_the_tokenizer_of_a_pretrained_model_is_read_from_its_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "bird"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    tokenizer = Tokenizer.huggingface(tmp_path / "bert", length=5)
    assert tokenizer(["a red bird", "a red red red bird"]).tolist() == [[2, 5, 6, 7, 3], [2, 5, 6, 6, 3]]
    assert tokenizer(["red", ""]).tolist() == [[2, 6, 3, 0, 0], [2, 3, 0, 0, 0]]
    assert (tokenizer.padding, tokenizer.mask, tokenizer.special) == (0, 4, {0, 2, 3})
    assert tokenizer.vocabulary == 8
    assert Tokenizer.huggingface(tmp_path / "bert", 4, padding=1)(["red"]).tolist() == [[2, 6, 3, 1]]
    with pytest.raises(ValueError, match=r"is no folder; nothing is downloaded"):
        Tokenizer.huggingface(tmp_path / "gone", length=5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Expected one that transformers can read"):
        Tokenizer.huggingface(tmp_path / "empty", length=5)
