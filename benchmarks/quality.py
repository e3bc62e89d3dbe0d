"""How good models are that the two libraries train, from the same weights, on the same data, by the same judges."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import torch
from measures import peer_coherence
from polymnist_task import Task
from protocol import Case
from sides import train, train_peer
from torch import nn

import mmvae
from mmvae.evaluation.results import members
from mmvae.subsets import powerset
from mmvae.vaes.base import MultimodalVAE

Scores = dict[str, float]

LIBRARIES = ("mmvae", "MultiVae", "MultiVae, its own inference")
"""Whose training; the last is scored by MultiVae's evaluator of coherence, the others by this library."""


def both_trained(
    case: Case,
    task: Task,
    judges: Mapping[str, nn.Module],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    device: str,
    num_samples: int,
    likelihood_rows: int,
) -> dict[str, Scores]:
    """The scores of a model that each library trained, by :data:`LIBRARIES`.

    Both start from the same weights. What MultiVae learned is carried over into this library's model, so that the two
    differ in nothing but their training.
    """
    from peers import make_peer, peer_data, take_parameters

    settings = {"epochs": epochs, "batch_size": batch_size, "device": device, "seed": seed}
    sampling = {"num_samples": num_samples, "likelihood_rows": likelihood_rows}
    ours, theirs = task.make_model(case, seed), task.make_model(case, seed)
    peer = make_peer(ours)
    train(ours, task.train.data, **settings)
    train_peer(peer, peer_data(ours, task.train.data), **settings)
    take_parameters(theirs.to(device), peer)
    own = peer_coherence(peer.eval(), task.test, judges, device, reconstructions=False)
    sizes = range(1, len(task.test.names))
    found = [
        scores(ours, task, judges, **sampling),
        scores(theirs, task, judges, **sampling),
        {f"coherence given {size}": own[f"mean_coherence_{size}"] for size in sizes}
        | {"joint coherence": own["joint_coherence_prior"]},
    ]
    return dict(zip(LIBRARIES, found, strict=True))


def scores(
    model: MultimodalVAE, task: Task, judges: Mapping[str, nn.Module], *, num_samples: int, likelihood_rows: int
) -> Scores:
    """Coherence by the number of modalities given, joint coherence, linear probes, and log p of all, in nats."""
    names = task.test.names
    common = {"max_data": len(task.test), "num_samples": num_samples, "likelihood_rows": likelihood_rows}
    judged = mmvae.evaluate(
        model,
        task.test,
        ["coherence", "joint_coherence", "linear_probe"],
        train=task.train,
        classifiers=judges,
        subsets=powerset(names),
        progress=False,
        **common,
    )
    whole = mmvae.evaluate(model, task.test, ["log_likelihood"], subsets=[None], progress=False, **common)
    found: Scores = {}
    for size in range(1, len(names)):
        rows = [
            row["value"]
            for row in judged.select("coherence")
            if len(members(row["given"])) == size and row["target"] not in members(row["given"])
        ]
        found[f"coherence given {size}"] = statistics.mean(rows)
    found["joint coherence"] = judged.value("joint_coherence")
    found["probe of one"] = statistics.mean(judged.value("linear_probe_all", name) for name in names)
    found["probe of all"] = judged.value("linear_probe_all", names)
    found["log-likelihood"] = whole.value("log_likelihood")
    return found


@torch.no_grad()
def judge_accuracy(task: Task, judges: Mapping[str, nn.Module]) -> float:
    """The share of the real test images that the judges read aright, which no coherence should exceed by much."""
    labels = task.test.labels
    assert labels is not None
    right = []
    for name, judge in judges.items():
        device = next(judge.parameters()).device
        right.append((judge(task.test.data[name].to(device)).argmax(-1).cpu() == labels).double().mean())
    return float(torch.stack(right).mean())


def mean_and_spread(values: Iterable[float | None]) -> str:
    """The mean and the standard deviation of what is known, as a table shows them."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    digits = 1 if abs(known[0]) > 10 else 3
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


def difference(ours: Sequence[float], others: Sequence[float]) -> tuple[float, bool]:
    """Of the means over seeds, and whether it is larger than both standard deviations together."""
    found = statistics.mean(ours) - statistics.mean(others)
    return found, abs(found) > statistics.stdev(ours) + statistics.stdev(others)
