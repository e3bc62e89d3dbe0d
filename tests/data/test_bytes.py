"""Bytes mean the same in a dict, a batch, a dataset, a mapped folder and a stream of batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import MultimodalDataset, Noisy, write_mapped
from mmvae.evaluation import train_classifiers
from mmvae.sources import as_source, consecutive

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (12, 1, 8, 8), generator=GENERATOR).to(torch.uint8)
COUNTS = torch.randint(256, (12, 5), generator=GENERATOR).to(torch.uint8)
DATA = {"image": IMAGES, "counts": COUNTS}


class Items(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: value[row] for name, value in DATA.items()}


FORMS = {
    "dict": lambda folder: DATA,
    "arrays": lambda folder: {name: value.numpy() for name, value in DATA.items()},
    "batch": lambda folder: Batch(DATA),
    "dataset": lambda folder: MultimodalDataset(DATA),
    "items": lambda folder: Items(),
    "mapped": lambda folder: write_mapped(folder / "mapped", [DATA]),
    "noisy": lambda folder: Noisy(DATA, {}),
}

every_form = pytest.mark.parametrize("form", FORMS)


def new_vae() -> models.MVAE:
    torch.manual_seed(0)
    image = Modality("image", (1, 8, 8), likelihoods.Normal(0.5))
    return models.MVAE([image, Modality("counts", (5,), likelihoods.Poisson())], latent_dim=2)


@every_form
def test_bytes_of_images_are_grey_levels_and_other_bytes_are_numbers(form: str, tmp_path: Path) -> None:
    data, vae = FORMS[form](tmp_path), new_vae()
    plain = {"image": IMAGES.float() / 255, "counts": COUNTS.float()}
    source = as_source(data)
    for batch in (source.batch(torch.arange(12)), consecutive(source, 0, 12), consecutive(source, 0, 5)):
        assert torch.equal(batch.data["image"], plain["image"][: batch.size])
        assert torch.equal(batch.data["counts"].float(), plain["counts"][: batch.size])
    assert torch.equal(mmvae.infer(vae, data).mean, mmvae.infer(vae, plain).mean)
    if isinstance(data, dict | Batch):
        assert torch.equal(vae.infer(data).mean, vae.infer(plain).mean)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "mapped"])  # which is shuffled otherwise
def test_training_reads_bytes_alike(form: str, tmp_path: Path) -> None:
    plain = {"image": IMAGES.float() / 255, "counts": COUNTS.float()}
    losses = [
        mmvae.fit(new_vae(), each, epochs=2, batch_size=6, progress=False).metrics[-1]["loss"]
        for each in (FORMS[form](tmp_path), plain)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_streams_read_bytes_alike() -> None:
    def loss_of(*tensors: torch.Tensor) -> float:
        def batches(rows: list[tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
            return {name: torch.stack(values) for name, values in zip(DATA, zip(*rows, strict=True), strict=True)}

        loader = DataLoader(TensorDataset(*tensors), batch_size=6, collate_fn=batches)
        return mmvae.fit(new_vae(), loader, epochs=1, progress=False).metrics[-1]["loss"]

    assert loss_of(IMAGES, COUNTS) == pytest.approx(loss_of(IMAGES.float() / 255, COUNTS.float()), rel=1e-5)


def test_judges_see_what_models_generate() -> None:
    modality = Modality("image", (1, 8, 8), likelihoods.Normal())
    labels = torch.arange(12) % 2
    judges = [
        train_classifiers(Batch({"image": each}, labels=labels), [modality], steps=3)["image"]
        for each in (IMAGES, IMAGES.float() / 255)
    ]
    for one, other in zip(judges[0].state_dict().values(), judges[1].state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_bytes_stay_bytes_in_memory_and_on_the_disc(tmp_path: Path) -> None:
    assert Batch(DATA).data["image"].dtype == torch.uint8
    assert MultimodalDataset(DATA).bytes_in_memory == IMAGES.numel() + COUNTS.numel()
    FORMS["mapped"](tmp_path)
    assert (tmp_path / "mapped" / "image.npy").stat().st_size < 128 + 2 * IMAGES.numel()


def test_codes_in_bytes_of_an_image_are_an_error_that_says_what_to_do() -> None:
    maps = models.MVAE([Modality("image", (1, 8, 8), likelihoods.Categorical(256))], latent_dim=2)
    with pytest.raises(TypeError, match=r"Bytes \[N, C, H, W\] are read as grey levels .* with x.long\(\)"):
        maps.infer({"image": IMAGES})
    assert maps.infer({"image": IMAGES.long()}).mean.shape == (12, 2)
