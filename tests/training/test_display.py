"""What training shows in a terminal."""

from __future__ import annotations

import re

from mmvae.training import fit


def test_a_bar_in_a_terminal(model, data, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # to Rich this is a terminal
    monkeypatch.setenv("COLUMNS", "160")
    run = fit(model, data, epochs=2, batch_size=8, validation=0.25, device="cpu")
    captured = capsys.readouterr()
    assert not captured.out
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.err)
    last = shown[shown.rindex("epoch") :]
    assert "2/2" in last
    assert f"{run.metrics[-2]['elbo']:.2f}" in last
    assert f"validation elbo {run.metrics[-1]['elbo']:.2f}" in last


def test_nothing_where_nothing_is_asked_for(model, data, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fit(model, data, epochs=1, device="cpu", progress=False)
    captured = capsys.readouterr()
    assert not captured.out + captured.err
