"""A modality that no training row has is named: at the training, and whenever something is inferred from it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import mmvae
from mmvae import Batch, Modality, likelihoods, models

DATA = {name: torch.linspace(-1, 1, 40).reshape(20, 2) for name in "ab"}
NEVER = {"b": torch.zeros(20, dtype=torch.bool)}


def model() -> Any:
    torch.manual_seed(0)
    return models.MVAE([Modality(name, (2,), likelihoods.Normal()) for name in "ab"], latent_dim=2)


class Items(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, row: int) -> Any:
        return {"a": DATA["a"][row]}


LACKING: dict[str, Any] = {
    "masked": Batch(DATA, NEVER),
    "left out": {"a": DATA["a"]},
    "NaN": {"a": DATA["a"], "b": torch.full((20, 2), torch.nan)},
    "a dataset": Items(),
}


@pytest.mark.parametrize("way", sorted(LACKING))
def test_a_modality_that_no_row_has_is_named_in_training_and_inference(way: str, tmp_path: Any) -> None:
    vae = model()
    with pytest.warns(UserWarning, match=r"no training row has 'b': .* Leave it out of the model"):
        mmvae.fit(vae, LACKING[way], epochs=2, batch_size=8, progress=False, out=tmp_path / "run")
    assert vae.unseen() == ("b",)
    again = mmvae.load(tmp_path / "run")
    for each in (vae, again):
        with pytest.warns(UserWarning, match=r"infer: no training row had 'b'; .*Leave it out of the subset"):
            mmvae.infer(each, DATA, "b")
        with pytest.warns(UserWarning, match="infer: no training row had 'b'"):
            mmvae.infer(each, DATA)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mmvae.infer(each, DATA, "a")


def test_nothing_is_said_where_every_modality_was_seen(tmp_path: Any) -> None:
    vae = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmvae.infer(vae, DATA)  # not trained at all: its user knows
        rare = Batch(DATA, {"b": torch.arange(20) == 3})
        mmvae.fit(vae, rare, epochs=1, batch_size=4, progress=False)
        mmvae.infer(vae, DATA)
        mmvae.save(vae, tmp_path)
        mmvae.infer(mmvae.load(tmp_path), DATA)
    assert vae.seen.all()


def test_what_a_second_training_sees_is_added() -> None:
    vae = model()
    with pytest.warns(UserWarning, match="no training row has 'b'"):
        mmvae.fit(vae, LACKING["left out"], epochs=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmvae.fit(vae, {"b": DATA["b"]}, epochs=1, progress=False)
    assert vae.unseen() == ()


def test_weights_of_earlier_versions_say_nothing(tmp_path: Any) -> None:
    from mmvae.training.saving import set_tensors, tensors_of

    vae = model()
    earlier = {name: value.clone() for name, value in tensors_of(vae).items() if name != "seen"}
    earlier["epoch"] += 3
    set_tensors(vae, earlier)
    assert vae.unseen() == ()


def test_a_run_that_is_resumed_knows_it_too(tmp_path: Any) -> None:
    with pytest.warns(UserWarning, match="no training row has 'b'"):
        mmvae.fit(model(), LACKING["masked"], epochs=1, progress=False, out=tmp_path)
    vae = model()
    mmvae.fit(vae, LACKING["masked"], epochs=1, progress=False, out=tmp_path, resume=True)
    assert vae.unseen() == ("b",)
