"""MVAE's objective beside Pyro's own, and the subsets that it draws."""

from __future__ import annotations

import pytest
import torch
from objectives.parts import make
from objectives.reference import record
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from mmvae.objectives import SubsetELBO


@pytest.mark.parametrize("missing", [False, True])
def test_joint_term_is_what_trace_mean_field_elbo_gives(missing: bool) -> None:
    """In value and in its gradients, for the same noise."""
    model, data = make("MVAE")
    observed = {"bits": torch.tensor([True, False, True, True, False, True])} if missing else None
    batch = model.prepare(data, observed)
    drawn = record(model)
    elbo = model.loss(batch).terms["elbo"]
    trace = poutine.trace(model.guide).get_trace(batch)
    posterior = trace.nodes["z"]["fn"].base_dist
    noise = (drawn[0].z[0].float() - posterior.loc) / posterior.scale  # the subset of all comes first
    trace.nodes["z"]["value"] = posterior.loc + posterior.scale * noise.detach()
    guide = poutine.replay(model.guide, trace)
    loss = TraceMeanField_ELBO().differentiable_loss(model.model, guide, batch)
    torch.testing.assert_close(-loss / 6, elbo)
    parameters = dict(model.named_parameters())
    theirs = torch.autograd.grad(-loss / 6, list(parameters.values()))
    ours = torch.autograd.grad(elbo, list(parameters.values()))
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        assert one.abs().max() > 0, name
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_random_subsets_are_neither_single_nor_whole() -> None:
    model, data = make("MVAE", num_random_subsets=40)
    drawn = record(model)
    model.loss(data)
    members = torch.zeros(44, 3)
    for column, name in enumerate(model.names):
        members[drawn[0].rows[name], column] = 1
    sizes = members.sum(1)
    assert sizes[0] == 3
    assert sizes[1:4].tolist() == [1, 1, 1]
    assert (sizes[4:] == 2).all()
    assert len(members[4:].unique(dim=0)) == 3


def test_fewer_than_no_random_subsets() -> None:
    with pytest.raises(ValueError, match="num_random_subsets: expected at least 0, got -1"):
        make("MVAE", num_random_subsets=-1)


def test_one_modality_is_counted_once() -> None:
    model, data = make("MVAE", 1)
    drawn = record(model)
    loss = model.loss(data)
    assert drawn[0].z.shape == (1, 6, 2)
    torch.testing.assert_close(loss.terms["elbo"], loss.terms["real"] - loss.terms["kl"])


def test_batch_that_holds_some_modalities() -> None:
    """Subsets of which it holds nothing are left out."""
    model, data = make("MVAE")
    drawn = record(model)
    SubsetELBO()(model, model.prepare({name: data[name] for name in ("real", "codes")}))
    assert drawn[0].z.shape == (3, 6, 2)
