"""The models written by hand do what this library's do, so that their times can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import bare
import pytest
import torch
from protocol import RECIPES
from sides import training_step
from torch import nn

from mmvae.vaes.base import MultimodalVAE

COLUMNS, HIDDEN, ROWS = (7, 5, 3), (6, 4), 16


def parameter_pairs(ours: MultimodalVAE, by_hand: bare.Bare) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of both models, one beside the other."""
    for place, name in enumerate(ours.names):
        encoder = chain(ours.experts.encoders[name].parameters(), ours.experts.heads[name].parameters())
        yield from zip(encoder, by_hand.encoders[place].parameters(), strict=True)
        yield from zip(ours.decoders[name].parameters(), by_hand.decoders[place].parameters(), strict=True)
    if isinstance(by_hand, bare.BareJMVAE):
        joint = chain(by_hand.trunks.parameters(), by_hand.joint.parameters())
        yield from zip(ours.joint_posterior.parameters(), joint, strict=True)
    if isinstance(by_hand, bare.BareMMVAE):
        yield ours.prior.raw_scale, by_hand.raw_prior_scale


@pytest.mark.parametrize("case", list(RECIPES))
def test_losses_and_gradients_are_the_same(case):
    ours, data = bare.make_model(case, COLUMNS, HIDDEN), bare.make_data(COLUMNS, ROWS)
    by_hand = bare.BARE[case](ours)
    pairs = list(parameter_pairs(ours, by_hand))
    assert {id(each) for _, each in pairs} == {id(each) for each in by_hand.parameters()}
    torch.manual_seed(1)
    expected = ours.loss(data).total
    torch.manual_seed(1)
    found = by_hand(list(data.values()))
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    for own, other in pairs:
        torch.testing.assert_close(other.grad, own.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", list(RECIPES))
def test_steps_lead_to_the_same_weights(case):
    ours, data = bare.make_model(case, COLUMNS, HIDDEN), bare.make_data(COLUMNS, ROWS)
    by_hand = bare.BARE[case](ours)
    before = [parameter.detach().clone() for parameter in by_hand.parameters()]
    for step in (training_step(ours, data), bare.bare_step(by_hand, data)):
        torch.manual_seed(1)
        for _ in range(3):
            step()
    assert all(not torch.equal(one, other) for one, other in zip(before, by_hand.parameters(), strict=True))
    for own, other in parameter_pairs(ours, by_hand):
        torch.testing.assert_close(other, own, rtol=1e-4, atol=1e-5)


def test_a_training_by_hand_takes_every_row_once_an_epoch():
    ours, data = bare.make_model("MVTCAE", COLUMNS, HIDDEN), bare.make_data(COLUMNS, 40)
    history = bare.bare_training(bare.BARE["MVTCAE"](ours), data, epochs=8, batch_size=16)
    assert len(history) == 8
    assert history[-1] < history[0]


@pytest.mark.usefixtures("threads_kept")
def test_a_call_writes_the_verdict_and_a_row_for_each_model(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    config = bare.Config(
        models=("MVAE", "MoPoE"),
        columns=COLUMNS,
        hidden=HIDDEN,
        batch_size=8,
        steps=1,
        rows=16,
        epochs=1,
        turns=(1, 1),
        peer=False,
        out=tmp_path / "page.md",
    )
    bare.main(config)
    page = config.out.read_text()
    assert page.startswith("# Beside MultiVae\n\n## Beside bare PyTorch\n\nA training step of this library takes ")
    assert "| MVAE | " in page
    assert "| MoPoE | " in page


def test_ratios_are_those_of_turns():
    found = bare.Found.of({"bare": (2.0, 4.0, 1.0), "mmvae": (4.0, 4.0, 3.0)}, steps=2)
    assert found.median("bare") == 1000
    assert found.ratio("mmvae", "bare") == 2
    assert torch.isnan(torch.tensor(found.ratio("MultiVae", "mmvae")))
