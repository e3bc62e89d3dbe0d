from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from data.birds.made import captions, colour, write_caption_files, write_caption_folder, write_images
from PIL import Image

from mmvae.data import CaptionVocabulary, MultimodalDataset, SourceNotFound, cub, cub_captions, cub_vocabulary
from mmvae.data.birds.cub_files import TEST_SPECIES

REAL = os.environ.get("MMVAE_DATA")


@pytest.fixture
def birds(tmp_path):
    """A folder of 16 images of four classes, with captions of Reed's form."""
    write_caption_folder(tmp_path, write_images(tmp_path))
    return tmp_path


def shown(dataset: MultimodalDataset) -> list[tuple[int, int]]:
    """Class and number of the image of each data point, by its colour."""
    pixels = (dataset.everything().data["image"][:, :2, 32, 48] * 255 / 20).round().long()
    return [(red, green) for red, green in pixels.tolist()]


def read(dataset: MultimodalDataset, vocabulary: CaptionVocabulary) -> list[str]:
    return [vocabulary.decode(codes) for codes in dataset.everything().data["text"]]


def test_captions_become_words_an_end_and_padding():
    vocabulary = CaptionVocabulary(["a", "bird's", "red", "tail", ",", "&", "."], length=12)
    assert vocabulary.shape == (12,)
    assert len(vocabulary) == 10
    codes = vocabulary.encode("A bird's RED-tail, & `green` .")
    assert codes.dtype == torch.int64
    assert codes.tolist() == [3, 4, 5, 6, 7, 8, 2, 9, 1, 0, 0, 0]
    assert vocabulary.decode(codes) == "a bird's red tail, & <unknown>."


def test_long_captions_are_cut_and_still_end():
    vocabulary = CaptionVocabulary(["a", "b", "c"], length=3)
    assert vocabulary.encode("a b c a b c").tolist() == [3, 4, 1]
    assert vocabulary.encode("").tolist() == [1, 0, 0]


def test_decoding_stops_at_the_end_passes_over_padding_and_needs_no_end():
    vocabulary = CaptionVocabulary(["a", "b", "(", ")", "!"], length=6)
    assert vocabulary.decode(torch.tensor([3, 0, 4, 1, 3])) == "a b"
    assert vocabulary.decode(torch.tensor([4, 4, 4, 4, 4])) == "b b b b b"
    assert vocabulary.decode(torch.tensor([1, 4, 4, 4, 4])) == ""
    assert vocabulary.decode(vocabulary.encode("a (b)!")) == "a (b)!"
    for codes in (torch.tensor([8]), torch.tensor([-1]), torch.tensor([[3]])):
        with pytest.raises(ValueError, match=r"0\.\.7"):
            vocabulary.decode(codes)


def test_words_are_kept_by_how_often_they_occur():
    heard = ["B b b, b", "a a a", "c c", "d d d."]
    assert CaptionVocabulary.of(heard).words == ("b", "a", "d")
    assert CaptionVocabulary.of(heard, min_count=1).words == ("b", "a", "d", "c", ",", ".")
    assert CaptionVocabulary.of(reversed(heard)) == CaptionVocabulary.of(heard)


def test_a_vocabulary_is_json(tmp_path):
    vocabulary = CaptionVocabulary(["it's", "a", "bird", "."], length=9)
    vocabulary.save(tmp_path / "new" / "vocabulary.json")
    assert json.loads((tmp_path / "new" / "vocabulary.json").read_text())["words"] == ["it's", "a", "bird", "."]
    assert CaptionVocabulary.load(tmp_path / "new" / "vocabulary.json") == vocabulary
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["vocabulary.json"]
    for content in ("{", "[]", '{"words": ["a"]}'):
        (tmp_path / "damaged.json").write_text(content)
        with pytest.raises(ValueError, match=r"damaged\.json is damaged"):
            CaptionVocabulary.load(tmp_path / "damaged.json")


@pytest.mark.parametrize(
    ("words", "length", "message"),
    [(["a", "a"], 4, "twice"), (["A"], 4, "no word"), (["a b"], 4, "no word"), (["a"], 1, "at least 2")],
)
def test_vocabularies_that_make_no_sense(words, length, message):
    with pytest.raises(ValueError, match=message):
        CaptionVocabulary(words, length)


@pytest.mark.parametrize("form", ["cvpr2016_cub", "text_c10", "mmvae", "below CUB"])
@pytest.mark.parametrize("split", ["official", "classes"])
def test_images_captions_and_classes_belong_together(tmp_path, form, split):
    folder = tmp_path / "CUB" if form == "below CUB" else tmp_path
    written = write_images(folder)
    if form in ("cvpr2016_cub", "below CUB"):
        write_caption_folder(folder, written)
    elif form == "text_c10":
        write_caption_folder(folder, written, "text_c10")
    else:
        write_caption_files(folder, written)
    vocabulary = CaptionVocabulary.of((line for _, *bird in written for line in captions(*bird)), min_count=1)
    seen: dict[bool, set[tuple[int, int]]] = {}
    for train in (True, False):
        dataset = cub(tmp_path, train, split=split, vocabulary=vocabulary)
        assert dataset.shapes == {"image": (3, 64, 64), "text": (32,)}
        assert len(dataset) == 80
        images, texts = shown(dataset), read(dataset, vocabulary)
        assert dataset.labels.tolist() == [species - 1 for species, _ in images]
        expected = {bird: {text.lower() for text in captions(*bird)} for bird in images}
        for bird, text in zip(images, texts, strict=True):
            expected[bird].remove(text)  # each caption once, beside its own image
        assert not any(expected.values())
        seen[train] = set(images)
    assert not seen[True] & seen[False]
    if split == "official":
        assert {number % 2 for _, number in seen[True]} == {0}
        assert {species for species, _ in seen[False]} == {1, 2, 4, 5}
    else:
        assert {species for species, _ in seen[True]} == {2, 5}
        assert {species for species, _ in seen[False]} == {1, 4}


def test_images_keep_their_colours_and_are_squeezed(birds):
    batch = cub(birds, size=1).everything()
    image = (batch.data["image"][0] * 255).movedim(0, -1)
    assert (image[:, :14] > 240).all()  # a quarter of the width is white
    assert (image[:, 18:] - torch.tensor(colour(*shown(cub(birds, size=1))[0])).float()).abs().max() < 8


def test_cropping_cuts_a_square_around_the_box(birds):
    """Boxes are 40 x 40 around (60, 30): the square of 60 around it reaches from 30 to 80, where the picture ends."""
    image = cub(birds, size=1, crop=True).everything().data["image"]
    assert (image[:, :2] < 0.9).all()  # no white is left
    lists = birds / "CUB_200_2011" / "bounding_boxes.txt"
    lists.write_text(lists.read_text().replace("40.0 10.0", "20.0 10.0"))  # from 10 on, of which 10 are white, of 60
    white = (cub(birds, size=1, crop=True).everything().data["image"][0].amin(0) > 0.95).float().mean(0)
    assert white[:9].min() == 1
    assert white[13:].max() == 0
    lists.write_text(lists.read_text().replace("20.0 10.0", "500.0 10.0"))
    with pytest.raises(ValueError, match="outside of its image, 80 x 60"):
        cub(birds, crop=True)


def test_sizes_shares_and_captions_of_an_image(birds):
    vocabulary = cub_vocabulary(birds)
    once = cub(birds, captions_per_image=1)
    assert len(once) == len(set(shown(once))) == 8
    assert all("has 0 wings" in text for text in read(once, cub_vocabulary(birds, min_count=1)) if "<unk" not in text)
    some = cub(birds, captions_per_image=2, size=5)
    assert len(some) == 5
    assert len(set(shown(some))) == 3
    parts = [cub(birds, share=share, vocabulary=vocabulary) for share in ((0.0, 0.5), (0.5, 1.0))]
    assert [len(part) for part in parts] == [40, 40]
    assert not set(shown(parts[0])) & set(shown(parts[1]))
    assert set(parts[0].labels.tolist()) == set(parts[1].labels.tolist()) == {0, 1, 3, 4}


def test_the_order_is_random_and_always_the_same(birds):
    first, second = cub(birds), cub(birds)
    assert first.labels.tolist() == second.labels.tolist()
    assert shown(first) == shown(second)
    assert len(set(first.labels[:20].tolist())) > 1
    assert first.labels.tolist() != sorted(first.labels.tolist())


def test_the_vocabulary_is_that_of_the_training_captions_alone(birds):
    extra = birds / "cvpr2016_cub" / "text_c10" / "001.Black_footed_Albatross"
    for path in extra.glob("*.txt"):
        path.write_text("zyzzyva\n" * 10)
    assert "zyzzyva" in cub_vocabulary(birds).words  # the official split trains on some of them
    assert "zyzzyva" not in cub_vocabulary(birds, split="classes").words
    test = cub(birds, False, split="classes")
    assert any(text == "<unknown>" for text in read(test, cub_vocabulary(birds, split="classes")))


def test_small_images_are_kept_and_damaged_ones_made_again(birds, tmp_path):
    cache = tmp_path / "cache"
    first = cub(birds, cache=cache).everything().data["image"]
    (kept,) = cache.iterdir()
    for path in birds.rglob("*.jpg"):
        path.unlink()
    assert torch.equal(cub(birds, cache=cache).everything().data["image"], first)
    with pytest.raises(SourceNotFound, match=r"\.jpg in .*, and did not find it"):
        cub(birds, crop=True, cache=cache)
    kept.write_bytes(kept.read_bytes()[:-10])
    write_images(birds)
    assert torch.equal(cub(birds, cache=cache).everything().data["image"], first)
    assert torch.equal(cub(birds, cache=cache).everything().data["image"], first)


def test_grey_images_become_colour_images(birds):
    for path in birds.rglob("*.jpg"):
        Image.new("L", (30, 50), 128).save(path)
    image = cub(birds, size=1).everything().data["image"]
    assert torch.allclose(image, torch.full((1, 3, 64, 64), 128 / 255), atol=0.02)


def test_absent_files_are_named_with_their_place(tmp_path, monkeypatch):
    monkeypatch.delenv("MMVAE_DATA", raising=False)
    with pytest.raises(SourceNotFound, match="CUB_200_2011, but no folder of data sets is given"):
        cub()
    with pytest.raises(SourceNotFound, match=r"looked for CUB_200_2011 in .*/CUB, and did not find it"):
        cub(tmp_path)
    written = write_images(tmp_path)
    with pytest.raises(SourceNotFound, match=r"text_c10 or text_trainvalclasses\.txt in") as error:
        cub(tmp_path, split="classes")
    assert "\n" not in str(error.value)
    write_caption_files(tmp_path, written)
    (tmp_path / "text_trainvalclasses.txt").unlink()
    with pytest.raises(SourceNotFound, match=r"text_trainvalclasses\.txt"):
        cub_vocabulary(tmp_path)
    assert len(cub_captions(tmp_path, train=False)) == 8
    write_caption_folder(tmp_path, written[1:])
    with pytest.raises(SourceNotFound, match=r"Black_footed_Albatross_0000_9000\.txt in"):
        cub(tmp_path)
    (tmp_path / "CUB_200_2011" / "bounding_boxes.txt").unlink()
    with pytest.raises(SourceNotFound, match=r"bounding_boxes\.txt in"):
        cub(tmp_path)


def test_the_environment_names_the_folder(birds, monkeypatch):
    monkeypatch.setenv("MMVAE_DATA", str(birds))
    assert len(cub()) == 80


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images.txt", lambda text: text + "1 twice.jpg\n", "line 17"),
        ("images.txt", lambda text: text.replace("1 0", "1 a b 0", 1), "line 1 "),
        ("image_class_labels.txt", lambda text: text[: text.rindex("\n", 0, -1)], "not list the same images"),
        ("image_class_labels.txt", lambda text: text.replace(" 2", " two"), "two"),
        ("bounding_boxes.txt", lambda text: text.replace("40.0", "wide"), "wide"),
    ],
)
def test_damaged_lists_are_told(birds, file, change, message):
    path = birds / "CUB_200_2011" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        cub(birds)


def test_damaged_images_are_told(birds):
    for path in birds.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"\.jpg is damaged"):
        cub(birds)


def test_damaged_captions_are_told(tmp_path):
    written = write_images(tmp_path)
    write_caption_files(tmp_path, written)
    path = tmp_path / "text_testclasses.txt"
    whole = path.read_text()
    for content, message in (
        (whole[: whole.rindex("This")], "79 lines"),
        (whole.replace(captions(1, 0)[3], ""), "1 of them empty"),
        ("", "0 lines"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            cub_captions(tmp_path, train=False)
    path.write_text("".join(whole.splitlines(keepends=True)[:70]))
    with pytest.raises(ValueError, match=r"captions for 7 images, but images\.txt lists 8"):
        cub(tmp_path)
    write_caption_folder(tmp_path, written)
    first = next(tmp_path.rglob("text_c10/*/*_0000_*.txt"))
    first.write_text("\n".join(["one", "", "two"]))
    with pytest.raises(ValueError, match="has 2 captions, expected 10"):
        cub(tmp_path)


def test_arguments_out_of_range(birds):
    for arguments, message in (
        ({"captions_per_image": 11}, "captions_per_image: expected 1 to 10, got 11"),
        ({"split": "species"}, "split: expected one of 'official', 'classes'"),
        ({"share": (0.5, 0.2)}, "a share lies between"),
        ({"size": 0}, "size: expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            cub(birds, **arguments)


def test_odd_bytes_and_more_than_ten_captions_are_endured(birds):
    for path in birds.rglob("text_c10/*/*.txt"):
        path.write_bytes(b"\n\xff\xfea bird\r\n" + b"a red bird.\n" * 12)
    texts = read(cub(birds), cub_vocabulary(birds))
    assert texts.count("a bird") == 8
    assert texts.count("a red bird.") == 72


def test_species_to_test_on():
    assert len(TEST_SPECIES) == 50
    assert min(TEST_SPECIES) == 1
    assert max(TEST_SPECIES) <= 200


@pytest.mark.skipif(
    not REAL or not (Path(REAL) / "CUB" / "text_testclasses.txt").exists(),
    reason="MMVAE_DATA names no folder with CUB/text_testclasses.txt",
)
def test_the_real_test_captions():
    ten_each = cub_captions(REAL, train=False)
    assert len(ten_each) == 2933
    assert {len(ten) for ten in ten_each} == {10}
    lines = [line for ten in ten_each for line in ten]
    assert lines[0].startswith("the medium sized bird has a dark grey color")
    vocabulary = CaptionVocabulary.of(lines)
    assert 1000 < len(vocabulary) < 1500
    assert {"bird", "white", ",", ".", "it's"} <= set(vocabulary.words)
    codes = torch.stack([vocabulary.encode(line) for line in lines[::7]])
    assert (codes == 1).sum(1).eq(1).all()
    assert ((codes == 2).sum() / (codes > 1).sum()).item() < 0.01  # words that are seen less than three times are rare
    whole = [vocabulary.decode(code) == line for code, line in zip(codes, lines[::7], strict=True)]
    assert sum(whole) / len(whole) > 0.9  # the others are longer than 31 words, or have a rare one
