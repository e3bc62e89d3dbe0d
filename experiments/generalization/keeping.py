"""What TOC leaves of a codebook: transfer at each number of kept dimensions, and what a source can see of it."""

from __future__ import annotations

import torch
from generalization.measuring import Read, infer_all, labelled_parts, mean
from generalization.tasks import Splits
from torch import Tensor

import mmvae
from mmvae.evaluation import Evaluation, LogisticHead, make_row, transfer_matrix
from mmvae.models import MultimodalModel
from mmvae.nn import Kept

SHARES = (1.0, 0.875, 0.77, 0.66, 0.56, 0.5, 0.25, 0.125)
"""Of the dimensions, what TOC keeps."""
RANDOM_DRAWS = 5


def how_many(codebook: Tensor, share: float) -> int:
    """The dimensions that make this share of a codebook's."""
    return max(1, round(share * codebook.shape[1]))


def kept_dimensions(codebook: Tensor, share: float, seed: int) -> dict[str, Read]:
    """What keeps this share of the dimensions, by name: TOC's criteria and modes, and controls."""
    width = codebook.shape[1]
    keep = how_many(codebook, share)
    alive = int((codebook.var(0) >= 1e-8).sum())
    readers: dict[str, Read] = {}
    if keep <= alive:
        for criterion in ("both", "similarity", "variance"):
            readers[criterion] = mmvae.toc(codebook, keep=keep, criterion=criterion)  # type: ignore[arg-type]
        readers["both, requantised"] = mmvae.toc(codebook, keep=keep, mode="requantise")
        readers["lowest"] = mmvae.toc(codebook, keep=keep, lowest=1.0)
        for balance in (0.3, 0.5, 0.9) if share <= 0.5 else ():
            readers[f"both, balance {balance}"] = mmvae.toc(codebook, keep=keep, balance=balance)
    generator = torch.Generator().manual_seed(seed)
    for draw in range(RANDOM_DRAWS):
        dims = torch.randperm(width, generator=generator)[:keep]
        readers[f"random {draw}"] = Kept(dims, torch.zeros(width), "slice", codebook[:, dims])
    centre, basis = codebook.mean(0), torch.linalg.svd(codebook - codebook.mean(0), full_matrices=False).Vh[:keep]
    readers["principal components"] = lambda latents: (latents.mean - centre) @ basis.T
    return readers


def toc_measured(model: MultimodalModel, splits: Splits, seed: int) -> Evaluation:
    """Transfer at each number of kept dimensions, and what each source alone can see of it.

    Rows ``"toc"`` from each source to each other modality, on test data, and ``"toc_validation"`` of each source at
    home, on validation data; ``kept`` says what was read: ``"everything"``, or the way of choosing with the share,
    ``"both 0.5"``.
    """
    inferred = infer_all(model, splits)
    codebook = model.codebook.detach().cpu()
    readers: dict[str, Read] = {"everything": mean}
    for share in SHARES:
        readers |= {f"{name} {share:g}": read for name, read in kept_dimensions(codebook, share, seed).items()}
    head = LogisticHead(strengths=(1.0,))
    rows = []
    for name, read in readers.items():
        parts = labelled_parts(inferred, splits, read)
        own = {at_home(source): each for source, each in parts["validation"].items()}
        transfer = transfer_matrix(parts["heads"], parts["validation"], {**parts["test"], **own}, head, seed=seed)
        for (source, target), value in transfer.accuracy.items():
            if target == at_home(source):
                rows.append(make_row("toc_validation", value, (source,), kept=name))
            elif target in parts["test"] and target != source:
                rows.append(make_row("toc", value, (source,), target, kept=name))
    return Evaluation(rows)


def at_home(source: str) -> str:
    """What the validation data of a source are called beside the test data."""
    return f"{source}, validation"


def best_shares(found: Evaluation) -> dict[str, float]:
    """By source, the share of dimensions that is best at home on validation data; the smallest of several as good."""
    known: dict[str, list[tuple[float, float]]] = {}
    for row in found.select("toc_validation"):
        way, _, share = row["kept"].rpartition(" ")
        if way == "both":
            known.setdefault(row["given"], []).append((row["value"], -float(share)))
    return {source: -max(each)[1] for source, each in known.items()}
