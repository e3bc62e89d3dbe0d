"""A script that trains every model for some steps, as one process or as several: ``same_batch.py FOLDER DEVICES``.

So that numbers of processes can be compared, nothing is left to chance: what is drawn depends on the place in the last
axis of a tensor alone, which is never that of the rows; permutations of rows turn the order round; dropout is off.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, likelihoods, models, nn
from mmvae.distributions import MixtureOfExperts
from mmvae.sources import as_source


class OnBoth(models.MoLT):
    """With a loss on the latents before and after the attention."""

    correlated = ("after", "before")


class Cosine(models.CMPT):
    """Aligned by directions."""

    def distances(self, proxy: Tensor, token: Tensor) -> Tensor:
        """Of each row."""
        return 1 - torch.nn.functional.cosine_similarity(proxy, token, dim=-1)


def with_codebook(kind: Any, **options: Any) -> Any:
    """A recipe whose codebook is moved in another way."""

    class Other(kind):
        def make_quantiser(
            self, num_codes: int, code_dim: int, commitment: float, cross: bool, reset_after: Any
        ) -> Any:
            given = {"commitment": commitment, "cross": cross, "reset_after": reset_after, **options}
            return nn.Quantiser(num_codes, code_dim, **given)

    return Other


ROWS, BATCH = 48, 24


def fixed(*size: Any, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    """Numbers between 0 and 1 that differ along the last axis alone."""
    shape = torch.Size(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
    last = torch.arange(shape[-1] if shape else 1, dtype=dtype, device=device)
    return ((0.37 + 0.61803398875 * last) % 1).expand(shape).clone() if shape else last.sum() * 0 + 0.37


def without_chance() -> None:
    """Puts rules in the place of draws, for the rest of the process."""
    chance: Any = torch
    chance.rand = lambda *size, **options: fixed(*size, **{"dtype": torch.float32, **options})
    chance.randn = lambda *size, **options: 2 * chance.rand(*size, **options) - 1
    chance.rand_like = lambda value: fixed(value.numel(), dtype=value.dtype).reshape(value.shape)  # of codebooks
    chance.randn_like = lambda value: 2 * fixed(value.shape, dtype=value.dtype) - 1
    chance.randperm = lambda size, **_: torch.arange(size).flip(0)
    chance.randint = lambda low, high, size, **_: torch.full(size, low)
    mmvae.codebooks.club.in_random_order = lambda rows: torch.arange(len(rows)).flip(0)
    standard: Any = lambda shape, dtype, device: 2 * fixed(shape, dtype=dtype) - 1  # noqa: E731
    torch.distributions.normal._standard_normal = standard  # type: ignore[attr-defined]
    laplace: Any = torch.distributions.Laplace
    # MoPoE deals its components out over a batch; here a row's follows from the row itself.
    position: Any = lambda mixture: (7.31 * mixture.loc.detach().sum((0, -1))).remainder(1.0).unsqueeze(0)  # noqa: E731
    mixtures: Any = MixtureOfExperts
    mixtures.batch_rsample = lambda self: self._draw(self._component_at(position(self))).squeeze(0)
    laplace.rsample = lambda self, shape=(): self.icdf(fixed(self._extended_shape(shape), dtype=self.loc.dtype))


def vae(recipe: Any, **options: Any) -> Any:
    small: Any = {
        "encoder": partial(nn.MLPEncoder, (4,), hidden=(6,)),
        "decoder": partial(nn.MLPDecoder, shape=(4,), hidden=(6,)),
    }
    names = ("a", "b")
    return recipe([Modality(name, (4,), likelihoods.Normal(), **small) for name in names], latent_dim=3, **options)


def encoders() -> dict[str, torch.nn.Module]:
    sizes: Any = {"dim": 4, "depth": 2, "heads": 2, "dropout": 0.0}
    return {"a": nn.ViT((1, 4, 4), patch=2, **sizes), "b": nn.TextTransformer(9, 5, padding=0, **sizes)}


def vectors(number: int = 2) -> dict[str, Tensor]:
    return {name: torch.randn(ROWS, 4) for name, _ in zip("abc", range(number), strict=False)}


def pictures_and_texts() -> dict[str, Tensor]:
    texts = torch.randint(1, 9, (ROWS, 5))
    length = torch.randint(1, 6, (ROWS, 1))
    return {"a": torch.rand(ROWS, 1, 4, 4), "b": torch.where(torch.arange(5) < length, texts, 0)}


def sequences(number: int) -> dict[str, Tensor]:
    return {name: torch.randn(ROWS, 5, 3) for name, _ in zip("abc", range(number), strict=False)}


def holes(data: dict[str, Tensor], modulus: int = 3) -> Batch:
    """The data without some modality in some rows, which fall on the processes unevenly."""
    rows = torch.arange(ROWS)
    observed = {name: torch.ones(ROWS, dtype=torch.bool) for name in data}
    for index, mask in enumerate(list(observed.values())[:2]):
        mask[(rows * rows + index) % (modulus + 2 * index) == index] = False
    some = torch.stack(list(observed.values())).any(0)
    observed[next(iter(data))] |= ~some
    return Batch(data, observed, torch.arange(ROWS) % 3)


def labelled(data: dict[str, Tensor]) -> Batch:
    return Batch(data, labels=torch.arange(ROWS) % 3)


def cases() -> Iterator[tuple[str, Callable[[], Any], Any]]:
    for recipe in (models.MVAE, models.MMVAE, models.MoPoE, models.MVTCAE):
        yield recipe.__name__, partial(vae, recipe), Batch(vectors())
        yield f"{recipe.__name__}-holes", partial(vae, recipe), holes(vectors())
    for recipe in (models.MMVAEPlus, models.CMVAE):
        yield recipe.__name__, partial(vae, recipe, private_dim=1), Batch(vectors())
        yield f"{recipe.__name__}-holes", partial(vae, recipe, private_dim=1), holes(vectors())
    yield "DMVAE", partial(vae, models.DMVAE, private_dim=1), Batch(vectors())
    yield "DMVAE-holes", partial(vae, models.DMVAE, private_dim=1), holes(vectors())
    yield "WeightedMVAE", partial(vae, models.WeightedMVAE), Batch(vectors())
    yield "WeightedMVAE-holes", partial(vae, models.WeightedMVAE), holes(vectors())
    yield "CoDEVAE", partial(vae, models.CoDEVAE), Batch(vectors())
    yield "CoDEVAE-holes", partial(vae, models.CoDEVAE), holes(vectors())
    yield "HoelderVAE", partial(vae, models.HoelderVAE), Batch(vectors())
    yield "HoelderVAE-holes", partial(vae, models.HoelderVAE), holes(vectors())
    yield "HELVAE", partial(vae, models.HELVAE), Batch(vectors())
    yield "HELVAE-holes", partial(vae, models.HELVAE), holes(vectors())
    yield "MMJSD", partial(vae, models.MMJSD), Batch(vectors())
    yield "MMJSD-holes", partial(vae, models.MMJSD), holes(vectors())
    yield "MCVAE", partial(vae, models.MCVAE), Batch(vectors())
    yield "MCVAE-holes", partial(vae, models.MCVAE), holes(vectors())
    yield "CRMVAE", partial(vae, models.CRMVAE), Batch(vectors())
    yield "CRMVAE-holes", partial(vae, models.CRMVAE), holes(vectors())
    yield "MMVM", partial(vae, models.MMVM), Batch(vectors())
    yield "MMVM-holes", partial(vae, models.MMVM), holes(vectors())
    yield "TELBO", partial(vae, models.TELBO, trunk_width=4, hidden=8), Batch(vectors())
    yield "JNF", partial(vae, models.JNF, trunk_width=4, hidden=8, flow_hidden=8), Batch(vectors())
    yield "CVAE", partial(vae, models.CVAE), Batch(vectors())
    yield "CVAE-holes", partial(vae, models.CVAE), holes(vectors())
    yield "IDMVAE", partial(vae, models.IDMVAE, private_dim=1, augmentation=0.0), Batch(vectors())
    yield "IDMVAE-holes", partial(vae, models.IDMVAE, private_dim=1, augmentation=0.0), holes(vectors())
    yield "SetVAE", partial(vae, models.SetVAE, hidden=8, pooled=8), Batch(vectors())
    yield "SetVAE-holes", partial(vae, models.SetVAE, hidden=8, pooled=8), holes(vectors())
    yield "DVCCA", partial(vae, models.DVCCA), Batch(vectors())
    yield "DVCCA-holes", partial(vae, models.DVCCA), holes(vectors())
    yield "MHVAE", partial(vae, models.MHVAE, levels=2, hidden=8), Batch(vectors())
    yield "MHVAE-holes", partial(vae, models.MHVAE, levels=2, hidden=8), holes(vectors())
    matched: Any = {"hidden": 8, "inner_steps": 2}
    for name, make in (
        ("DCCAE", partial(vae, models.DCCAE)),
        ("MAAE", partial(vae, models.MAAE, **matched)),
        ("MWAE", partial(vae, models.MWAE)),
        ("MWAE-critic", partial(vae, models.MWAE, distance="critic", **matched)),
    ):
        yield name, make, Batch(vectors())
        yield f"{name}-holes", make, holes(vectors())
    yield "MMVAE-DReG", partial(vae, models.MMVAE, num_samples=3), Batch(vectors())
    yield "JMVAE", partial(vae, models.JMVAE, alpha=0.5), Batch(vectors())
    yield "IterativeVAE", partial(vae, models.IterativeVAE, num_steps=2, refinement_hidden=6), Batch(vectors())
    still: Any = {"modality_dropout": False}
    molt: Any = {**still, "common_dim": 4, "fusion_dim": 4, "fusion_heads": 1, "dropout": 0.0}
    for name, make in (
        ("MoLT", lambda: models.MoLT(encoders(), 3, **molt)),
        ("MoLT-both", lambda: OnBoth(encoders(), 3, cca=1.0, **molt)),
        ("CMPT", lambda: models.CMPT(encoders(), 3, alignment=1.0, **still)),
        ("CMPT-cosine", lambda: Cosine(encoders(), 3, **still)),
        ("LateFusion", lambda: models.LateFusion(encoders(), 3, missing="mean", freeze=False)),
    ):
        yield name, make, labelled(pictures_and_texts())
        yield f"{name}-holes", make, holes(pictures_and_texts())
    for name in ("a", "b"):
        picked = {name: pictures_and_texts()[name]}
        yield f"MaskedReconstruction-{name}", partial(masked, name), Batch(picked)
    small: Any = {"num_codes": 6, "code_dim": 4, "heads": 2, "layers": 1, "dropout": 0.0, "club_hidden": 5}
    small |= {"inner_steps": 2, "reset_after": 1}
    fine, coarse = {"a": 3, "b": 3}, {"c": 3}
    for name, make, number in (
        ("DCID", lambda: models.DCID(fine, **small), 2),
        ("DCID-paper", lambda: with_codebook(models.DCID, update="paper")(fine, **small), 2),
        ("DCID-reference", lambda: with_codebook(models.DCID, update="reference", reset="both")(fine, **small), 2),
        ("FCID", lambda: models.FCID(fine, coarse, **small), 3),
        ("FCID-info-nce", lambda: models.FCID(fine, coarse, **small, fine_alignment="info_nce"), 3),
    ):
        yield name, make, Batch(sequences(number))
        yield f"{name}-holes", make, holes(sequences(number))
        yield f"{name}-items-holes", make, Items(sequences(number))


class Items(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Few rows of the second modality: one of two processes may have none at a step."""

    def __init__(self, data: dict[str, Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: value[row] for name, value in self.data.items() if name != "b" or row % 16 == 0}


def masked(name: str) -> Any:
    return models.MaskedReconstruction({name: encoders()[name]}, ratio=0.5)


def main(folder: Path, devices: int) -> None:
    """Two epochs of two steps of plain gradient descent, for each model."""
    warnings.simplefilter("ignore")
    torch.manual_seed(6)  # data of which no vector is as near to two codes, to within rounding
    found = list(cases())
    built = []
    for name, make, data in found:
        torch.manual_seed(1)
        built.append((name, make(), data))
    without_chance()
    from mmvae.nn import CLUB

    whole = CLUB.bound
    metrics = {}
    for name, model, data in built:
        # Among rows with holes, which permutation is which depends on the order of the rows: the mean over all of them.
        uneven: Any = partial(_over_all, whole)
        CLUB.bound = _method(uneven) if name.endswith("-holes") else whole  # type: ignore[method-assign]
        if hasattr(model, "quantiser"):
            everything = as_source(data).batch(torch.arange(ROWS))
            model.loss(everything)  # the codes start, at vectors that are chosen by their place among all
        run = mmvae.fit(
            model,
            data,
            epochs=2,
            batch_size=BATCH // devices,
            optimizer=partial(torch.optim.SGD, lr=0.1),
            max_grad_norm=1.0,
            device="cpu",
            devices=devices,
            progress=False,
        )
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        mmvae.storage.write_tensors(folder / f"{name}-{devices}-{rank}.safetensors", model.state_dict())
        metrics[name] = [
            {key: value for key, value in row.items() if key not in ("seconds", "split", "stage")}
            for row in run.metrics
        ]
    if rank == 0:
        (folder / f"metrics-{devices}.json").write_text(json.dumps(metrics))


def _over_all(bound: Any, club: Any, *arguments: Any, **_: Any) -> Tensor:
    return bound(club, *arguments, negatives="all")


def _method(function: Any) -> Any:
    return lambda self, *arguments, **options: function(self, *arguments, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
