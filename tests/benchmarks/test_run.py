"""One command measures both libraries, keeps what is finished, and says what the numbers say."""

from __future__ import annotations

import functools

import pytest
import torch

pytest.importorskip("multivae", reason="MultiVae is not installed; see the extra 'peers'")

import run as command
from benchmark_page import quality_section, speed_section
from measures import MEASURES, Bench
from peers import make_peer, peer_data, take_parameters
from polymnist_task import Task
from presets import PRESETS
from profiles import busy_share, covered, highest, is_network, network_share, peak_allocated
from quality import LIBRARIES
from timing import Timing

SMOKE = PRESETS["smoke"]


@functools.cache
def task() -> Task:
    """Noise in the place of images: no timing and no carrying over depends on what data holds."""
    from mmvae import Batch

    generator = torch.Generator().manual_seed(0)
    parts = [
        Batch(
            {name: torch.rand(rows, 3, 28, 28, generator=generator) for name in ("m0", "m1")},
            labels=torch.arange(rows) % 10,
        )
        for rows in (40, 20)
    ]
    return Task(*parts, "noise", width=2)


class Judge(torch.nn.Module):
    """Reads a class off the first pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :10]


@pytest.mark.parametrize("case", command.CASES)
def test_both_sides_of_every_measure_run(case):
    judges = {"m0": Judge(), "m1": Judge()}
    bench = Bench(case, task(), "cpu", 8, 16, 2, 3, judges)
    for measure in MEASURES.values():
        ours, peer = measure.sides(bench)
        ours()
        peer()


@pytest.mark.parametrize("case", command.CASES)
def test_what_the_peer_learned_is_carried_over(case):
    trained, fresh = task().make_model(case, seed=1), task().make_model(case, seed=0)
    peer = make_peer(trained)
    if case.startswith("MMVAE"):
        peer.prior_log_var.data.normal_()
    take_parameters(fresh, peer)
    prior = ("prior.raw_scale",)
    for (name, own), other in zip(fresh.named_parameters(), trained.parameters(), strict=True):
        assert name in prior or torch.equal(own, other), name
    if case.startswith("MMVAE"):
        torch.testing.assert_close(fresh.prior.scale, peer.pz_params[1][0], atol=1e-5, rtol=1e-4)
    data = task().test.data
    peer.eval()
    given = peer.encode(peer_data(fresh, data), ["m1"], return_mean=True).z
    torch.testing.assert_close(fresh.eval().infer(data, "m1").mean, given, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("threads_kept")
def test_a_call_writes_the_page_and_keeps_what_it_measured(tmp_path, monkeypatch):
    config = command.Config(
        preset="smoke", models=("MVAE",), device="cpu", data=tmp_path, work=tmp_path / "work", out=tmp_path / "page.md"
    )
    command.main(config)
    page = config.out.read_text()
    for word in ("## Speed and memory", "## Quality after training", "| MVAE | MultiVae, its own inference |"):
        assert word in page

    def again(*arguments, **settings):
        raise AssertionError("measured again")

    monkeypatch.setattr(command, "alternate", again)
    monkeypatch.setattr(command, "both_trained", again)
    monkeypatch.setattr(command, "profiled", again)
    command.main(config)
    assert config.out.read_text() == page


def test_other_settings_are_measured_anew(tmp_path):
    first = command.Run(PRESETS["smoke"], "cpu", None, tmp_path)
    other = command.Run(PRESETS["laptop"], "cpu", None, tmp_path)
    assert first.part("a", lambda: 1) == 1
    assert first.part("a", lambda: 2) == 1
    assert other.part("a", lambda: 3) == 3


def timings() -> dict[str, Timing]:
    slow = Timing((1.0, 1.0, 1.0), (0.5, 0.6, 0.7))
    return {name: slow if name == "coherence" else Timing((1.0,), (2.0,)) for name in MEASURES}


def test_the_page_says_where_this_library_is_behind():
    profiles = {"MVAE": {"memory": [2.0, 3.0], "network": [0.5, 0.4]}, "MoPoE": {"memory": [2.0, 12.0]}}
    text = speed_section(SMOKE, "noise", {"MVAE": timings(), "MoPoE": timings()}, profiles, "- command")
    assert "three of four pairs or more: evaluation of coherence of MVAE, evaluation of coherence of MoPoE." in text
    assert "| Evaluation of coherence | 0.60 | 0.60 | MVAE |" in text
    assert "| Memory of a training step | 3.00 | 1.50 | MVAE |" in text
    assert "| MVAE | 1.000 | 0.600 | 0.60 [0.55, 0.65] | 3 |" in text
    assert "GPU is busy" not in text
    assert "| MVAE | 0.50 | 0.40 | 2.00 | 4.00 |" in text
    busy = {case: found | {"busy": [0.5, 0.75, 0.25]} for case, found in profiles.items()}
    assert "| MoPoE | 0.50 | 0.75 | 0.25 |" in speed_section(SMOKE, "noise", {"MVAE": timings()}, busy, "")


def test_the_page_says_which_differences_exceed_the_spread():
    def seed(ours: float, peer: float) -> dict[str, dict[str, float]]:
        return dict(zip(LIBRARIES, ({"a": ours, "b": 0.5}, {"a": peer, "b": ours}, {"a": peer}), strict=True))

    text = quality_section(SMOKE, "noise", {"MVAE": [seed(0.6, 0.1), seed(0.7, 0.2)]}, 0.9, "- command")
    assert "together: a of MVAE (+0.5), b of MVAE (-0.15). Of 2 comparisons." in text
    assert "every seed: a of MVAE (+0.5), b of MVAE (-0.15). 2 of 2; chance alone would give 1.0." in text
    mixed = quality_section(SMOKE, "noise", {"MVAE": [seed(0.6, 0.1), seed(0.1, 0.2)]}, 0.9, "- command")
    assert "every seed: none. 0 of 2;" in mixed
    assert "| MVAE | MultiVae, its own inference | 0.150 ± 0.071 |  |" in text
    assert "no spread" in quality_section(SMOKE, "noise", {"MVAE": [seed(0.6, 0.1)]}, 0.9, "")


def test_the_most_that_is_held_at_once():
    size = 2**18  # floats: one MiB

    def one_after_the_other() -> None:
        for _ in range(3):
            torch.ones(size)

    held = []
    assert peak_allocated(one_after_the_other) == pytest.approx(1, abs=0.01)
    assert peak_allocated(lambda: held.extend(torch.ones(size) for _ in range(3))) == pytest.approx(3, abs=0.01)
    assert highest([3, -1, 4, -6]) == 6
    assert highest([-3, 1]) == 0


def test_the_share_of_networks_is_that_of_their_operators():
    factor, images, kernel = torch.ones(300, 300), torch.ones(4, 8, 32, 32), torch.ones(8, 8, 3, 3, requires_grad=True)

    def convolution() -> None:
        torch.nn.functional.conv2d(images, kernel).sum().backward()

    assert 0 < network_share(lambda: factor @ factor) < 1
    assert 0 < network_share(convolution) < 1
    assert network_share(lambda: factor.exp().sum()) == 0
    assert is_network("aten::convolution_backward")
    assert not is_network("aten::max_pool2d")
    assert not is_network("autograd::engine::evaluate_function: ConvolutionBackward0")


def test_spans_that_overlap_count_once():
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.7)]) == 4.0
    assert covered([]) == 0.0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_busy_for_a_part_of_the_time():
    factor = torch.ones(2048, 2048, device="cuda")
    assert 0 < busy_share(lambda: factor @ factor) <= 1
    assert peak_allocated(lambda: factor @ factor, "cuda") == pytest.approx(16, abs=1)
