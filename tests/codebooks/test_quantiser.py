"""Quantisation against brute force, and the moving averages of the codebook against loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae.codebooks.quantiser import at_same_step, attended, mixed_targets
from mmvae.codebooks.vectors import nearest, squared_distances
from mmvae.nn import Quantiser, code_matching

NAMES = ("audio", "video", "text")
Features = dict[str, Tensor]


def vectors(names: tuple[str, ...] = NAMES, shape: tuple[int, ...] = (5, 4, 3)) -> Features:
    return {name: torch.randn(shape) for name in names}


def everywhere(features: Features) -> Features:
    return {name: torch.ones(each.shape[:-1], dtype=torch.bool) for name, each in features.items()}


def with_holes(features: Features) -> Features:
    """Holes of single steps, a row that lacks the second modality, and one that lacks all but the first."""
    valid = {name: torch.rand(each.shape[:-1]) > 0.3 for name, each in features.items()}
    first, *others = valid.values()
    first[:2] = True
    for mask in others[:1]:
        mask[0] = False
    for mask in others:
        mask[1] = False
    return valid


def quantiser(**arguments: Any) -> Quantiser:
    """Twelve codes of width 3 that have moved already."""
    made = Quantiser(12, 3, **arguments)
    for _ in range(2):
        made(vectors())
    return made


# Assignment


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_codes_are_the_nearest(offset: float) -> None:
    points, codebook = torch.randn(50, 4, 6) + offset, torch.randn(30, 6) + offset
    distances = (points.double().unsqueeze(-2) - codebook.double()).square().sum(-1)  # [50, 4, 30]
    assert torch.equal(nearest(points, codebook), distances.argmin(-1))
    torch.testing.assert_close(squared_distances(points, codebook).double(), distances, rtol=1e-3, atol=1e-4)


def test_codes_are_the_nearest_under_autocast() -> None:
    points, codebook = torch.randn(500, 6), torch.randn(30, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(points, codebook), torch.cdist(points, codebook).argmin(-1))


def test_vectors_are_codes_and_gradients_pass_through() -> None:
    each, features = quantiser().eval(), vectors()
    features["audio"].requires_grad_()
    found = each.assign(features["audio"])
    assert torch.equal(found.vectors, each.codebook[found.codes])
    slope = torch.randn_like(found.vectors)
    found.vectors.backward(slope)
    assert torch.equal(features["audio"].grad, slope)  # type: ignore[arg-type]


def test_forward_and_assign_agree() -> None:
    each, features = quantiser().eval(), vectors()
    valid = with_holes(features)
    quantised, _ = each(features, valid)
    for name in NAMES:
        alone = each.assign(features[name], valid[name])
        assert torch.equal(quantised[name].codes, alone.codes)
        assert torch.equal(quantised[name].vectors, alone.vectors)
        assert (alone.codes[~valid[name]] == -1).all()
        assert (alone.vectors[~valid[name]] == 0).all()
        assert (alone.codes[valid[name]] >= 0).all()


def test_nothing_here_is_a_parameter() -> None:
    each = quantiser()
    assert not list(each.parameters())
    assert not any(value.requires_grad for value in each.state_dict().values())


def test_only_forward_in_training_mode_updates() -> None:
    each = quantiser()
    before = {name: value.clone() for name, value in each.state_dict().items()}
    each.assign(vectors()["audio"])
    each.eval()(vectors())
    assert all(torch.equal(value, before[name]) for name, value in each.state_dict().items())
    each.train()(vectors())
    assert not torch.equal(each.codebook, before["codebook"])


@pytest.mark.parametrize("update", ["safe", "reference", "paper"])
def test_losses_over_the_codebook_outlive_the_update(update: Any) -> None:
    """Distances to the codes that were chosen can be differentiated after the update, in the encoders alone."""
    each, features = Quantiser(12, 3, update=update), vectors()
    for value in features.values():
        value.requires_grad_()
    quantised, commitment = each(features)
    codebook = quantised["audio"].codebook
    assert not torch.equal(codebook, each.codebook)
    assert torch.equal(quantised["text"].codes, nearest(features["text"], codebook))
    (code_matching(features, codebook) + commitment + quantised["video"].vectors.sum()).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in features.values())


# Updates


def slow_targets(features: Features, valid: Features, update: str) -> Features:
    """The mixed target of each vector, vector by vector."""
    targets = {name: torch.zeros_like(each) for name, each in features.items()}
    for name, each in features.items():
        for row, step in valid[name].nonzero().tolist():
            own, partners = each[row, step], []
            for other in features:
                if other == name:
                    continue
                if update == "paper":
                    keys = [features[other][row, s] for s in valid[other][row].nonzero().flatten().tolist()]
                    if keys:
                        weights = [math.exp(float(own @ key) / math.sqrt(len(own))) for key in keys]
                        partners.append(sum(w * key for w, key in zip(weights, keys, strict=True)) / sum(weights))
                elif valid[other][row, step]:
                    partners.append(features[other][row, step])
            share = 0.5 / len(partners) if partners else 0.0
            targets[name][row, step] = (1 - share * len(partners)) * own + sum(share * each for each in partners)
    return targets


def slow_update(each: Quantiser, features: Features, valid: Features) -> dict[str, Tensor]:
    """The state after one batch, code by code."""
    decay, names = each.decay, list(features)
    targets = slow_targets(features, valid, each.update)
    codes = {name: nearest(value, each.codebook) for name, value in features.items()}
    counts, sums = each.counts.tolist(), [each.sums[code].clone() for code in range(each.num_codes)]
    groups = [[name] for name in names] if each.update == "reference" else [names]
    for group in groups:
        for code in range(each.num_codes):
            won = [
                targets[name][row, step]
                for name in group
                for row, step in valid[name].nonzero().tolist()
                if codes[name][row, step] == code
            ]
            counts[code] = decay * counts[code] + (1 - decay) * len(won)
            sums[code] = decay * sums[code] + (1 - decay) * sum(won, torch.zeros(each.dim))
        if each.update == "reference":
            total = sum(counts)
            counts = [(count + 1e-5) / (total + each.num_codes * 1e-5) * total for count in counts]
    codebook = torch.stack([total / count for total, count in zip(sums, counts, strict=True)])
    return {"counts": torch.tensor(counts), "sums": torch.stack(sums), "codebook": codebook}


@pytest.mark.parametrize("update", ["safe", "reference", "paper"])
@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], NAMES, (*NAMES, "depth")], ids=len)
@pytest.mark.parametrize("holes", [everywhere, with_holes])
def test_one_update(update: Any, names: tuple[str, ...], holes: Callable[[Features], Features]) -> None:
    each, features = quantiser(update=update, decay=0.9), vectors(names)
    valid = holes(features)
    expected = slow_update(each, features, valid)
    each(features, valid)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(each, name), value)


@pytest.mark.parametrize(("names", "weights"), [(NAMES[:2], (1 / 2, 1 / 2)), (NAMES, (1 / 2, 1 / 4, 1 / 4))])
def test_weights_of_the_mixed_targets(names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    features = vectors(names)
    found = mixed_targets(features, everywhere(features), at_same_step)["audio"]
    expected = sum(weight * features[name] for name, weight in zip(names, weights, strict=True))
    torch.testing.assert_close(found, expected)


def test_attention_over_one_step_is_that_step() -> None:
    features = vectors(shape=(5, 3))
    torch.testing.assert_close(
        mixed_targets(features, everywhere(features), attended),
        mixed_targets(features, everywhere(features), at_same_step),
    )


@pytest.mark.parametrize("update", ["safe", "paper"])
def test_without_memory_a_code_is_the_mean_of_its_targets(update: Any) -> None:
    each, features = quantiser(update=update, decay=0.0), vectors()
    before = each.codebook
    targets = slow_targets(features, everywhere(features), update)
    quantised, _ = each(features)
    for code in range(12):
        won = torch.cat([targets[name][quantised[name].codes == code] for name in NAMES])
        torch.testing.assert_close(each.codebook[code], won.mean(0) if len(won) else before[code])


def test_equal_modalities_count_as_a_larger_batch() -> None:
    """Nothing is mixed where all say the same."""
    joint, alone = quantiser(), Quantiser(12, 3)
    alone.load_state_dict(joint.state_dict())
    each = torch.randn(5, 4, 3)
    joint(dict.fromkeys(NAMES, each))
    alone({"all": each.repeat(3, 1, 1)})
    torch.testing.assert_close(joint.codebook, alone.codebook)
    torch.testing.assert_close(joint.counts, alone.counts)


def test_without_crossing_each_modality_is_by_itself() -> None:
    crossed, alone, before, features = quantiser(cross=False), Quantiser(12, 3), Quantiser(12, 3), vectors()
    alone.load_state_dict(crossed.state_dict())
    before.load_state_dict(crossed.state_dict())
    features["text"] = features["text"][:, :2]  # steps may differ
    _, loss = crossed(features)
    alone({"all": torch.cat([each.reshape(-1, 3) for each in features.values()])})
    torch.testing.assert_close(crossed.codebook, alone.codebook)
    single = [before.eval()({name: each})[1] for name, each in features.items()]
    torch.testing.assert_close(loss, torch.stack(single).sum())


@pytest.mark.parametrize("update", ["safe", "paper"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_codebook_is_sums_over_counts(update: Any, decay: float) -> None:
    """After every update and reset, and over hundreds of idle batches too."""
    each = Quantiser(12, 3, update=update, decay=decay, reset_after=3)
    for batch in range(12):
        features = vectors() if batch % 4 else {name: torch.full((2, 1, 3), 7.0) for name in NAMES}
        each(features, with_holes(features))
        assert each.codebook.isfinite().all()
        assert (each.counts > 0).all()
        assert torch.equal(each.codebook, each.sums / each.counts.unsqueeze(-1))
    each.reset_after = None
    far = each.codebook[each.codebook.norm(dim=-1).argmin()].clone()
    for _ in range(600):
        each({"audio": torch.full((1, 3), 7.0)})
    assert torch.equal(each.codebook, each.sums / each.counts.unsqueeze(-1))
    assert (each.codebook - far).abs().sum(-1).min() < 1e-3  # a code that wins nothing stays where it is


def test_reference_throws_off_what_the_first_batch_leaves_out() -> None:
    """As the authors' code does: the smoothed count of such a code is near zero, its sum is not."""
    each = Quantiser(12, 3, update="reference")
    before = each.codebook
    each({"audio": torch.full((4, 3), 5.0)})
    idle = each.idle > 0
    assert idle.sum() == 11
    assert (each.codebook[idle].norm(dim=-1) > 1e3 * before[idle].norm(dim=-1)).all()


@pytest.mark.parametrize("update", ["safe", "reference"])
def test_an_absent_modality_changes_nothing(update: Any) -> None:
    each, alone = quantiser(update=update), Quantiser(12, 3, update=update)
    alone.load_state_dict(each.state_dict())
    features = vectors()
    valid = everywhere(features)
    valid["text"][:] = False
    features["text"][:] = torch.nan
    quantised, loss = each(features, valid)
    present = {name: features[name] for name in ("audio", "video")}
    _, expected = alone(present)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(each.codebook, alone.codebook)
    assert (quantised["text"].vectors == 0).all()


def test_values_under_a_false_mask_reach_no_number() -> None:
    one, other, features = quantiser(), Quantiser(12, 3), vectors()
    other.load_state_dict(one.state_dict())
    valid = with_holes(features)
    changed = {name: torch.where(valid[name].unsqueeze(-1), each, torch.nan) for name, each in features.items()}
    for value in (*features.values(), *changed.values()):
        value.requires_grad_()
    (found, loss), (expected, its_loss) = one(features, valid), other(changed, valid)
    assert torch.equal(loss, its_loss)
    assert torch.equal(one.codebook, other.codebook)
    (loss + found["audio"].vectors.sum()).backward()
    (its_loss + expected["audio"].vectors.sum()).backward()
    for name in NAMES:
        assert torch.equal(found[name].vectors, expected[name].vectors)
        assert torch.equal(features[name].grad, changed[name].grad)  # type: ignore[arg-type]


# The start


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], NAMES], ids=len)
def test_codes_start_where_the_modalities_of_the_first_batch_meet(names: tuple[str, ...]) -> None:
    each, features = Quantiser(12, 3, decay=0.999999), vectors(names)
    valid = with_holes(features)
    each(features, valid)
    middles = []
    for row, step in torch.stack(list(valid.values())).any(0).nonzero().tolist():
        there = [features[name][row, step] for name in names if valid[name][row, step]]
        middles.append(torch.stack(there).mean(0))
    apart = torch.cdist(each.codebook, torch.stack(middles)).min(-1)
    assert (apart.values < 0.1).all()
    assert len(apart.indices.unique()) == 12
    torch.testing.assert_close(each.counts, torch.ones(12), rtol=1e-4, atol=0)
    assert each.started


def test_without_crossing_codes_start_at_vectors() -> None:
    each = Quantiser(12, 3, cross=False, decay=0.999999)
    features = {"audio": torch.randn(4, 3), "text": torch.randn(5, 3)}
    each(features)
    apart = torch.cdist(each.codebook, torch.cat(list(features.values()))).min(-1)
    assert (apart.values < 0.1).all()
    assert len(apart.indices.unique()) == 9


@pytest.mark.parametrize("cross", [False, True])
def test_codes_start_apart_by_a_hundredth_of_the_spread(cross: bool) -> None:
    """Of what is there, in each dimension; to within five standard errors."""
    each, features = Quantiser(4000, 3, decay=0.999999, cross=cross), {"audio": torch.randn(5, 3) * torch.arange(1, 4)}
    valid = torch.tensor([True, True, False, True, True])
    each(features, {"audio": valid})
    start, places = each.sums, features["audio"][valid]
    nearest_place = torch.cdist(start, places).argmin(-1)
    assert torch.equal(nearest_place.bincount(), torch.full((4,), 1000))  # in turn
    noise = (start - places[nearest_place]).std(0)
    torch.testing.assert_close(noise, 0.01 * places.std(0, correction=0), rtol=5 / math.sqrt(8000), atol=1e-3)


def test_a_first_batch_of_few_vectors() -> None:
    each = Quantiser(12, 3)
    each({"audio": torch.randn(2, 3)})
    assert len(each.codebook.unique(dim=0)) == 12  # a little apart


def test_codes_start_with_the_first_batch_that_has_a_vector() -> None:
    each, features = Quantiser(12, 3), {"audio": torch.full((4, 3), 7.0)}
    before = each.codebook.clone()
    quantised, loss = each(features, {"audio": torch.zeros(4, dtype=torch.bool)})
    assert loss == 0
    assert (quantised["audio"].codes == -1).all()
    torch.testing.assert_close(each.codebook, before)
    assert not each.started
    each(features)
    torch.testing.assert_close(each.codebook, torch.full((12, 3), 7.0))
    assert each.started


def test_the_random_start_and_resets_follow_the_global_generator() -> None:
    def codebook(seed: int) -> Tensor:
        torch.manual_seed(seed)
        each = Quantiser(12, 3, reset_after=1)
        features = {name: torch.arange(60.0).reshape(5, 4, 3) for name in NAMES}
        for _ in range(3):
            each(features)
        return each.codebook

    assert torch.equal(codebook(1), codebook(1))
    assert not torch.equal(codebook(1), codebook(2))


# Reset


def one_sided(reset_after: int = 4, **arguments: Any) -> Quantiser:
    """Two codes, of which vectors near zero choose the first."""
    each = Quantiser(2, 3, reset_after=reset_after, **arguments)
    each.codebook = torch.tensor([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])
    each.counts, each.sums = torch.ones(2), each.codebook.clone()
    each.started = torch.tensor(True)
    return each


@pytest.mark.parametrize("update", ["safe", "paper"])
def test_an_idle_code_starts_again_next_to_a_used_one(update: Any) -> None:
    each, near_zero = one_sided(update=update), {"audio": torch.zeros(4, 3)}
    for _ in range(3):
        each(near_zero)
    assert each.idle.tolist() == [0, 3]
    torch.testing.assert_close(each.codebook[1], torch.full((3,), 9.0))
    each(near_zero)
    assert each.idle.tolist() == [0, 0]
    assert 0 < each.codebook[1].abs().max() <= 1 / 1024
    each({"audio": 0.1 * (each.codebook[:1] - each.codebook[1:])})  # it wins nothing
    assert each.idle.tolist() == [0, 1]
    assert each.codebook[1].abs().max() <= 1 / 1024


def test_codes_that_wait_themselves_are_no_donors() -> None:
    """A donor was used within the last third of the time that a code may go unused."""
    each = Quantiser(12, 3, reset_after=6, decay=0.999)
    each.codebook = torch.arange(12.0).unsqueeze(-1).expand(12, 3).clone()
    each.counts, each.sums, each.started = torch.ones(12), each.codebook.clone(), torch.tensor(True)
    for batch in range(6):
        used = [2, 5] if batch == 5 else [2, 5, 7] if batch == 4 else [2, 5, 7, 9]
        each({"audio": each.codebook[used]})
    donors = each.codebook[[0, 1, 3, 4, 6, 8, 10, 11], 0].round().unique().tolist()
    assert set(donors) <= {2, 5, 7}
    assert len(donors) > 1


def test_every_donor_is_as_likely() -> None:
    """To within five standard errors; each code draws by itself, so neighbours have the same as often as any two."""
    each = Quantiser(4000, 3, reset_after=1, decay=0.999)
    each.codebook = torch.arange(4000.0).unsqueeze(-1).expand(4000, 3).clone()
    each.counts, each.sums, each.started = torch.ones(4000), each.codebook.clone(), torch.tensor(True)
    used = [7, 1000, 2600, 3999]
    each({"audio": each.codebook[used]})
    lent = torch.cdist(each.codebook, torch.tensor(used).float().unsqueeze(-1).expand(4, 3)).argmin(-1)
    shares = [*((lent.bincount() - 1) / 3996), (lent[1:] == lent[:-1]).float().mean()]
    assert all(abs(share - 0.25) < 5 * (0.25 * 0.75 / 3996) ** 0.5 for share in shares)


def test_the_reference_takes_a_reset_back() -> None:
    each, near_zero = one_sided(update="reference"), {"audio": torch.zeros(4, 3)}
    for _ in range(4):
        each(near_zero)
    assert each.codebook[1].abs().max() <= 1 / 1024
    each({"audio": 0.1 * (each.codebook[:1] - each.codebook[1:])})
    assert each.codebook[1].min() > 8


def test_never_reset() -> None:
    each = one_sided(1)
    each.reset_after = None
    for _ in range(5):
        each({"audio": torch.zeros(4, 3)})
    assert each.idle.tolist() == [0, 5]


@pytest.mark.parametrize(("reset", "is_kept"), [("any", True), ("both", False)])
def test_a_code_of_one_modality(reset: Any, is_kept: bool) -> None:
    each = one_sided(reset=reset, decay=0.999)
    features = {"audio": torch.zeros(4, 3), "video": torch.zeros(4, 3)}
    features["video"][0] = 9.0  # the second code is the video's alone
    for _ in range(4):
        each(features)
    assert bool(each.codebook[1].min() > 8) is is_kept


def test_a_code_of_both_modalities_in_different_batches() -> None:
    each = one_sided(reset="both", decay=0.999)
    for batch in range(9):
        features = {"audio": torch.zeros(4, 3), "video": torch.zeros(4, 3)}
        features[("audio", "video")[batch % 2]][0] = 9.0
        each(features)
        assert each.codebook[1].min() > 8
        assert each.idle[1] == (batch + 1) % 2
        assert each.seen[1] == (batch + 1) % 2


def test_when_no_code_is_used_all_are_donors() -> None:
    each = one_sided(1, reset="both")
    features = {"audio": torch.zeros(4, 3), "video": torch.full((4, 3), 9.0)}
    each(features, {"video": torch.zeros(4, dtype=torch.bool)})
    assert each.codebook.isfinite().all()


# Commitment


@pytest.mark.parametrize(("form", "scale"), [("reference", 2.0), ("paper", 1.0)])
@pytest.mark.parametrize("names", [NAMES[:2], NAMES], ids=len)
def test_commitment(form: Any, scale: float, names: tuple[str, ...]) -> None:
    """Two modalities: 2 β own + β other; three: 2 β own + β/2 each; the paper's form is half of that."""
    each, features = quantiser(commitment_form=form, commitment=0.3), vectors(names)
    quantised, loss = each.eval()(features)
    expected = torch.zeros(())
    for name in names:
        for other in names:
            weight = 1.0 if other == name else 0.5 / (len(names) - 1)
            codes = each.codebook[quantised[other].codes]
            expected += scale * 0.3 * weight * torch.nn.functional.mse_loss(features[name], codes)
    torch.testing.assert_close(loss, expected)


def test_commitment_with_holes() -> None:
    """Vector by vector: the modalities that are there share the half; the mean is over the modality's own vectors."""
    each, features = quantiser().eval(), vectors()
    valid = with_holes(features)
    quantised, loss = each(features, valid)
    expected = 0.0
    for name in NAMES:
        places = valid[name].nonzero().tolist()
        for row, step in places:
            others = [other for other in NAMES if other != name and valid[other][row, step]]
            for other, weight in [(name, 2.0), *((other, 1 / len(others)) for other in others)]:
                code = each.codebook[quantised[other].codes[row, step]]
                expected += 0.25 * weight * float((features[name][row, step] - code).square().mean()) / len(places)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_commitment_pulls_the_vectors_alone() -> None:
    each, features = quantiser().eval(), vectors(NAMES[:1])
    features["audio"].requires_grad_()
    quantised, loss = each(features)
    loss.backward()
    apart = features["audio"].detach() - quantised["audio"].vectors.detach()
    torch.testing.assert_close(features["audio"].grad, 2 * 0.25 * 2 * apart / apart.numel())


# State and errors


@pytest.mark.parametrize("update", ["safe", "reference", "paper"])
def test_a_run_that_stops_continues_bit_for_bit(update: Any) -> None:
    each, batches = Quantiser(12, 3, update=update, reset_after=2), [vectors(shape=(2, 2, 3)) for _ in range(12)]
    for batch in batches[:5]:
        each(batch)
    again = Quantiser(12, 3, update=update, reset_after=2)
    again.load_state_dict({name: value.clone() for name, value in each.state_dict().items()})
    state = torch.get_rng_state()
    for batch in batches[5:]:
        each(batch)
    torch.set_rng_state(state)
    for batch in batches[5:]:
        again(batch)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in each.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"update": "plain"}, "update: expected 'safe' or 'reference' or 'paper', got 'plain'"),
        ({"commitment_form": "code"}, "commitment_form: expected 'reference' or 'paper', got 'code'"),
        ({"reset": "all"}, "reset: expected 'any' or 'both', got 'all'"),
        ({"num_codes": 1}, "at least 2 codes of width 1, got 1 of width 3"),
        ({"decay": 1.0}, "decay: expected at least 0 and below 1, got 1.0"),
        ({"reset_after": 0}, "reset_after: expected at least 1, got 0"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantiser(**{"num_codes": 12, "dim": 3, **arguments})


def test_vectors_that_do_not_fit() -> None:
    each = Quantiser(12, 3)
    with pytest.raises(ValueError, match="text: expected vectors of width 3 as the codes, got 4"):
        each({"audio": torch.randn(2, 3), "text": torch.randn(2, 4)})
    with pytest.raises(ValueError, match=r"text: expected the steps of 'audio', \(2, 5\), got \(2, 1\).*cross=False"):
        each({"audio": torch.randn(2, 5, 3), "text": torch.randn(2, 1, 3)})
    with pytest.raises(ValueError, match=r"audio: expected a mask of shape \(2, 5\), one entry a vector, got \(2,\)"):
        each({"audio": torch.randn(2, 5, 3)}, {"audio": torch.ones(2, dtype=torch.bool)})
