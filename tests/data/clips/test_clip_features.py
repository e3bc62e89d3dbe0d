"""Readers of features of clips, on small files in the published layouts."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.clips.made import EVENTS, STEPS, save, table, write_ave, write_avvp, write_vggsound_avel

from mmvae.data import ClipFeatures, SourceNotFound, ave, avvp, vggsound_avel


def loaded(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path)).float()


# VGGSound-AVEL


@pytest.mark.parametrize("where", ["", "VGGSound-AVEL"])
def test_clips_of_the_web_with_their_classes(tmp_path: Path, where: str) -> None:
    write_vggsound_avel(tmp_path / where)
    everything = vggsound_avel(tmp_path)
    assert len(everything) == 15
    assert everything.widths == {"audio": 5, "video": 6}
    assert everything.classes == ("dog barking", "frying, sizzling", "singing")
    assert everything.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert (everything.task, everything.notes, everything.step_labels) == ("single-label", (), {})
    assert everything.batch.steps == {}
    row = everything.clips.index("clip_12")
    assert torch.equal(everything.batch.data["audio"][row], loaded(tmp_path / where / "audio" / "clip_12.npy"))
    parts = {split: vggsound_avel(tmp_path, split).clips for split in ("train", "validation", "test")}
    assert parts["validation"] == ("clip_03", "clip_13", "clip_23")
    assert parts["test"] == ("clip_04", "clip_14", "clip_24")
    assert len(parts["train"]) == 9


@pytest.mark.parametrize("space", ["mean", "sum", "flat"])
def test_what_becomes_of_the_places_of_a_picture(tmp_path: Path, space: Any) -> None:
    write_vggsound_avel(tmp_path)
    read = vggsound_avel(tmp_path, "test", modalities=("video",), space=space).batch.data["video"][0]
    maps = loaded(tmp_path / "video" / "clip_04.npy")
    for step in range(STEPS):
        places = [maps[step, height, width] for height in range(2) for width in range(2)]
        expected = torch.cat(places) if space == "flat" else sum(places) / (4 if space == "mean" else 1)
        torch.testing.assert_close(read[step], expected)


def test_pictures_that_were_averaged_before_are_the_same(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path)
    before = vggsound_avel(tmp_path, modalities=("video",)).batch.data["video"]
    for path in (tmp_path / "video").iterdir():
        save(path, np.load(path).mean((1, 2)))
    torch.testing.assert_close(vggsound_avel(tmp_path, modalities=("video",)).batch.data["video"], before)


def test_texts_are_those_of_the_class_cut_to_ten_words(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path)
    data = vggsound_avel(tmp_path, modalities=("audio", "video", "text"))
    assert list(data.batch.steps) == ["text"]
    assert data.batch.steps["text"].sum(1).tolist() == [3] * 5 + [9] * 5 + [10] * 5
    for row, label in enumerate(data.labels):
        words = loaded(tmp_path / "text" / f"{data.classes[label]}.npy")[:10]
        assert torch.equal(data.batch.data["text"][row, : len(words)], words)


def test_seconds_without_sound_are_masked_and_further_ones_cut(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path)
    sounds = np.load(tmp_path / "audio" / "clip_00.npy")
    save(tmp_path / "audio" / "clip_00.npy", sounds[:7])
    save(tmp_path / "audio" / "clip_01.npy", np.concatenate([sounds, sounds[:1]]))
    save(tmp_path / "audio" / "clip_02.npy", sounds[:0])
    batch = vggsound_avel(tmp_path).batch
    assert batch.steps["audio"].sum(1).tolist() == [7, 10, 0, *[10] * 12]
    assert not batch.data["audio"][0, 7:].any()
    assert torch.equal(batch.data["audio"][1], torch.from_numpy(sounds))
    assert batch.observed["audio"].tolist() == [True, True, False, *[True] * 12]


def test_the_seconds_of_the_event_where_they_are_given(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path, labels=True)
    data = vggsound_avel(tmp_path, modalities=("audio", "text"))
    assert list(data.step_labels) == ["audio"]
    for row in range(len(data)):
        expected = torch.zeros(STEPS, 3, dtype=torch.bool)
        expected[row % 5 :, data.labels[row]] = True
        assert torch.equal(data.step_labels["audio"][row], expected)


def test_clips_that_lack_a_file_are_left_out_and_counted(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path)
    (tmp_path / "audio" / "clip_00.npy").unlink()
    (tmp_path / "video" / "clip_11.npy").unlink()
    data = vggsound_avel(tmp_path)
    assert data.notes == ("VGGSound-AVEL: 2 of 15 clips lack a file of features and are left out.",)
    assert {"clip_00", "clip_11"}.isdisjoint(data.clips)
    assert len(data) == 13
    assert len(vggsound_avel(tmp_path, modalities=("audio",))) == 14


@pytest.mark.parametrize("where", ["zip", ""])
def test_a_pickle_is_not_opened(tmp_path: Path, where: str) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    write_vggsound_avel(tmp_path)
    for path in (tmp_path / "video").iterdir():
        path.unlink()
    place = tmp_path / "video" / where / "clip_00.zip"
    place.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(place, "w") as packed:
        packed.writestr("clip_00.pkl", pickle.dumps(Malicious()))
    with pytest.raises(ValueError, match=r"clip_00\.zip holds a pickle.*numpy\.save to .*clip_00\.npy"):
        vggsound_avel(tmp_path)
    objects = io.BytesIO()
    np.save(objects, np.array([Malicious()], dtype=object), allow_pickle=True)
    for row in range(15):
        (tmp_path / "video" / f"clip_{row // 5}{row % 5}.npy").write_bytes(objects.getvalue())
    with pytest.raises(ValueError, match=r"clip_00\.npy is damaged.*it holds objects, which are pickles"):
        vggsound_avel(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((80, 6), np.float32), "has 80 steps; average them to 10"),
        (np.zeros((10, 6, 2), np.float32), r"should hold \[steps, width\] or"),
        (np.zeros((10, 9), np.float32), r"differ: clip_0\d\.npy has features of width 9?6?, and"),
        (np.array([["a"]]), "of numbers"),
    ],
)
def test_features_of_another_form_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    write_vggsound_avel(tmp_path)
    save(tmp_path / "video" / "clip_00.npy", values)
    with pytest.raises(ValueError, match=message):
        vggsound_avel(tmp_path)


def test_what_is_sought_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"VGGSound-AVEL: looked for vggsound-avel40k\.csv in "):
        vggsound_avel(tmp_path)
    write_vggsound_avel(tmp_path)
    (tmp_path / "text" / "singing.npy").unlink()
    with pytest.raises(SourceNotFound, match=r"1 of 3 files are absent; the first is singing\.npy"):
        vggsound_avel(tmp_path, modalities=("audio", "text"))
    for path in (tmp_path / "audio").iterdir():
        path.unlink()
    with pytest.raises(SourceNotFound, match="for 15 clips, and no clip has all its files"):
        vggsound_avel(tmp_path)


def test_a_list_without_a_column_and_labels_of_another_length(tmp_path: Path) -> None:
    write_vggsound_avel(tmp_path, labels=True)
    save(tmp_path / "label" / "clip_00.npy", np.zeros(9))
    with pytest.raises(ValueError, match="should hold 10 numbers, got 9"):
        vggsound_avel(tmp_path)
    table(tmp_path / "vggsound-avel40k.csv", ("category", "split"), [("dog barking", "train")], ",")
    with pytest.raises(ValueError, match=r"line 2 of .*vggsound-avel40k\.csv has no video_id"):
        vggsound_avel(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "dev"}, "split: expected one of"),
        ({"space": "max"}, "space: expected one of 'mean', 'sum', 'flat', got 'max'"),
        ({"modalities": ("audio", "smell")}, "modalities: expected some of"),
        ({"modalities": ()}, "modalities: expected some of"),
    ],
)
def test_arguments_that_are_none(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vggsound_avel(tmp_path, **wrong)


# AVE


@pytest.mark.parametrize("where", ["", "AVE", "AVE_feature", "AVE/data"])
def test_clips_with_an_event_in_some_of_the_seconds(tmp_path: Path, where: str) -> None:
    h5py = pytest.importorskip("h5py")
    write_ave(tmp_path / where)
    parts = {split: ave(tmp_path, split) for split in ("train", "validation", "test")}
    assert sorted(int(clip) for part in parts.values() for clip in part.clips) == list(range(18))
    with h5py.File(tmp_path / where / "audio_feature.h5") as file:
        sounds = torch.from_numpy(file["avadataset"][:])
    with h5py.File(tmp_path / where / "visual_feature.h5") as file:
        pictures = torch.from_numpy(file["avadataset"][:])
    for part in parts.values():
        clips = torch.tensor([int(clip) for clip in part.clips])
        assert not torch.equal(clips, clips.sort().values)  # the order of the file is not that of reading
        assert torch.equal(part.labels, clips % 3)
        assert torch.equal(part.batch.data["audio"], sounds[clips])
        torch.testing.assert_close(part.batch.data["video"], pictures[clips].mean((2, 3)).float())
        for row, clip in enumerate(clips):
            expected = torch.zeros(STEPS, 3, dtype=torch.bool)
            expected[clip % 4 :, clip % 3] = True
            assert torch.equal(part.step_labels["video"][row], expected)
            assert torch.equal(part.step_labels["audio"][row], expected)
    assert parts["test"].classes == ("event 0", "event 1", "event 2")


def test_maps_are_read_piece_by_piece_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    write_ave(tmp_path)
    whole = ave(tmp_path, space="sum").batch.data["video"]
    monkeypatch.setattr("mmvae.data.clips.clip_files._CHUNK", 2)
    assert torch.equal(ave(tmp_path, space="sum").batch.data["video"], whole)


def test_files_of_ave_that_do_not_belong_together(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_ave(tmp_path)
    with h5py.File(tmp_path / "labels.h5", "a") as file:
        file["avadataset"][:, :, :-1] = 0
    with pytest.raises(ValueError, match="no event happens in clip"):
        ave(tmp_path)
    with h5py.File(tmp_path / "audio_feature.h5", "w") as file:
        file["avadataset"] = np.zeros((3, 10, 5))
    with pytest.raises(ValueError, match=r"audio_feature\.h5 should hold 3 dimensions and clips up to"):
        ave(tmp_path)
    with h5py.File(tmp_path / "audio_feature.h5", "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(ValueError, match="should hold an array 'avadataset'; it holds features"):
        ave(tmp_path)
    (tmp_path / "audio_feature.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"audio_feature\.h5 is damaged.*Expected an HDF5 file"):
        ave(tmp_path)
    (tmp_path / "audio_feature.h5").unlink()
    with pytest.raises(SourceNotFound, match=r"looked for audio_feature\.h5"):
        ave(tmp_path)
    with pytest.raises(SourceNotFound, match=r"AVE: looked for test_order\.h5 in "):
        ave(tmp_path / "elsewhere", "test")


def test_without_h5py_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train_order.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'needs the package h5py: pip install "mmvae\[features\]"'):
        ave(tmp_path)


# AVVP


@pytest.mark.parametrize("where", ["", "AVVP", "AVVP/data"])
def test_what_is_heard_and_what_is_seen(tmp_path: Path, where: str) -> None:
    write_avvp(tmp_path / where)
    validation, test = avvp(tmp_path), avvp(tmp_path, "test")
    assert (len(validation), len(test)) == (6, 6)
    assert set(validation.clips).isdisjoint(test.clips)
    assert test.task == "multi-label"
    assert test.classes == EVENTS
    for row in range(6):
        heard, seen = test.step_labels["audio"][row], test.step_labels["video"][row]
        kind = row % 3
        assert heard[:, kind].tolist() == [True] * 5 + [False] * 5
        assert seen[:, kind].tolist() == [False] * 2 + [True] * 5 + [False] * 3
        assert (int(heard.sum()), int(seen.sum())) == (5, 5)
        assert test.labels[row].tolist() == [int(kind == each) for each in range(3)]
    assert torch.equal(test.batch.data["audio"][2], loaded(tmp_path / where / "audio" / f"{8:011d}.npy"))


def test_events_in_rows_of_their_own_and_in_lists_of_a_row_are_the_same(tmp_path: Path) -> None:
    write_avvp(tmp_path)
    name = f"{0:011d}_30_40"
    events = [(0, 1, "Singing"), (5, 9, "Singing"), (0, 5, "Bark"), (9, 9, "Bark")]
    columns = ("filename", "onset", "offset", "event_labels")
    table(tmp_path / "AVVP_eval_audio.csv", columns, [(name, *event) for event in events], "\t")
    apart = avvp(tmp_path)
    joined = [",".join(str(event[column]) for event in events) for column in range(3)]
    table(tmp_path / "AVVP_eval_audio.csv", columns, [(name, *joined)], "\t")
    together = avvp(tmp_path)
    assert torch.equal(apart.step_labels["audio"], together.step_labels["audio"])
    heard = together.step_labels["audio"][0]
    assert heard.nonzero().tolist() == sorted(
        [[step, 0] for step in range(5)] + [[step, 2] for step in (0, 5, 6, 7, 8)]
    )
    assert not together.step_labels["audio"][1:].any()
    assert together.labels[0].tolist() == [1, 0, 1]
    assert together.labels[1].tolist() == [0, 1, 0]  # is seen, and not heard


def test_damaged_lists_of_avvp(tmp_path: Path) -> None:
    write_avvp(tmp_path)
    columns = ("filename", "onset", "offset", "event_labels")
    for row in (("clip", "0,1", "5", "Bark"), ("clip", "zero", "5", "Bark")):
        table(tmp_path / "AVVP_eval_visual.csv", columns, [row], "\t")
        with pytest.raises(ValueError, match=r"line 2 of .*AVVP_eval_visual\.csv is damaged"):
            avvp(tmp_path)
    (tmp_path / "AVVP_eval_visual.csv").unlink()
    with pytest.raises(SourceNotFound, match=r"looked for AVVP_eval_visual\.csv"):
        avvp(tmp_path)
    with pytest.raises(ValueError, match="others are not annotated by second"):
        avvp(tmp_path, "train")  # type: ignore[arg-type]


# What all of them give


def test_a_subset_keeps_everything_together(tmp_path: Path) -> None:
    write_avvp(tmp_path)
    whole = avvp(tmp_path)
    part = whole.subset(torch.tensor([4, 1]))
    assert part.clips == (whole.clips[4], whole.clips[1])
    assert torch.equal(part.batch.data["video"], whole.batch.data["video"][[4, 1]])
    assert torch.equal(part.step_labels["audio"], whole.step_labels["audio"][[4, 1]])
    assert torch.equal(part.labels, whole.labels[[4, 1]])


def test_unequal_numbers_are_refused(tmp_path: Path) -> None:
    write_avvp(tmp_path)
    whole = avvp(tmp_path)
    with pytest.raises(ValueError, match=r"expected as many of each, got \{'batch': 6, 'clips': 1"):
        ClipFeatures(whole.name, whole.batch, whole.step_labels, whole.classes, whole.clips[:1])
