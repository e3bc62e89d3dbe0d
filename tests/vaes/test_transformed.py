"""Models whose modalities are transformed: exact densities, fitting, saving, and data of any scale."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models, transforms
from mmvae.data import Streamed
from mmvae.models import MultimodalVAE
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.testing import LinearGaussian, ModelContract, exact_model
from mmvae.training import fit
from mmvae.transforms import Log1p, LogNormalize, Standardize, Transform

SIZES = {"a": 3, "b": 2, "c": 4}
KINDS = ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def known(loc: Any, scale: Any, kind: type[Transform] = Standardize) -> Transform:
    """A transform that was fitted before."""
    loc, scale = torch.as_tensor(loc), torch.as_tensor(scale)
    transform = kind().for_shape(tuple(loc.shape))
    transform.loc.copy_(loc)
    transform.scale.copy_(scale)
    transform.fitted.fill_(True)
    return transform


# The contract of models, in data units and in the program.


class _Contract(ModelContract):
    kind = "MVAE"

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return getattr(models, self.kind)(modalities, 2)

    def make_modalities(self) -> list[Modality]:
        real, bits, codes = super().make_modalities()
        transform = known([0.5, -2.0, 1.0], [2.0, 0.3, 1.5])
        network = real.encoder, real.decoder
        return [
            Modality("real", (3,), likelihoods.Normal(0.7), *network, weight=2.0, transform=transform),
            Modality(
                "bits", (2, 2), bits.likelihood, bits.encoder, bits.decoder, transform=known([0.5, 0.4], [0.2, 3.0])
            ),
            codes,
        ]


class TestStandardisedMVAE(_Contract):
    pass


class TestStandardisedMMVAE(_Contract):
    kind = "MMVAE"


class TestStandardisedJMVAE(_Contract):
    kind = "JMVAE"
    trains_on_incomplete_data = False


class TestForEncodersAlone(_Contract):
    """Of real data that is scored as it is."""

    def make_modalities(self) -> list[Modality]:
        real, bits, codes = ModelContract.make_modalities(self)
        transform = Standardize(scored=False).for_shape((3,))
        transform.loc.copy_(torch.tensor([0.5, -2.0, 1.0]))
        transform.scale.copy_(torch.tensor([2.0, 0.3, 1.5]))
        transform.fitted.fill_(True)
        network = real.encoder, real.decoder
        return [
            Modality("real", (3,), likelihoods.Normal(0.7), *network, weight=2.0, transform=transform),
            bits,
            codes,
        ]


class TestLog1p(_Contract):
    """Of positive data, whose likelihood has no closed form in its units."""

    def make_modalities(self) -> list[Modality]:
        real, bits, codes = ModelContract.make_modalities(self)
        network, other = (real.encoder, real.decoder), (bits.encoder, bits.decoder)
        return [
            Modality(
                "real", (3,), likelihoods.Normal(0.7), *network, 2.0, known([0.5, -2.0, 1.0], [2.0, 0.3, 1.5], Log1p)
            ),
            Modality("bits", (2, 2), bits.likelihood, *other, transform=known([0.5, 0.4], [0.2, 3.0], Log1p)),
            codes,
        ]

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        data = super().make_data(size)
        return {**data, "real": data["real"].exp()}

    def test_decoders_read_the_shared_latents_and_their_own(self) -> None:
        """Left out: its likelihoods have no means in data units."""


def test_counts_are_scored_as_they_are_and_as_the_program_does() -> None:
    """Around the usual count of each column, without a Jacobian."""
    model, data = small(), table()
    model.fit_transforms(Batch(data))
    batch, z = model.prepare(data), torch.randn(60, 2)
    parameters = model.decoders["n"](z)
    log_mean = parameters[..., 0] + data["n"].log1p().mean(0).expm1().log()
    plain = likelihoods.NegativeBinomial()(torch.stack([log_mean, parameters[..., 1]], -1))
    expected = plain.log_prob(data["n"]).sum(-1)
    torch.testing.assert_close(model.score(batch, z)["n"], expected, rtol=1e-4, atol=1e-3)
    trace = pyro.poutine.trace(pyro.poutine.condition(model.model, data={"z": z})).get_trace(batch)
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["n"]["log_prob"], expected, rtol=1e-4, atol=1e-3)


IMAGES = {"grey": (1, 8, 8), "colour": (3, 9, 8), "volume": (2, 8, 8, 8)}


def of_images(likelihood: Any, transform: Any) -> Any:
    torch.manual_seed(0)
    return models.MoPoE([Modality(name, shape, likelihood, transform=transform) for name, shape in IMAGES.items()], 3)


def images(rows: int = 12) -> dict[str, Tensor]:
    """Of which every channel has a mean and a spread of its own."""
    generator = torch.Generator().manual_seed(1)
    found = {name: torch.rand(rows, *shape, generator=generator) for name, shape in IMAGES.items()}
    return {name: 0.3 * each + 0.2 * torch.arange(1, each.shape[1] + 1).reshape(-1, *(1,) * (each.ndim - 2))
            for name, each in found.items()}  # fmt: skip


@pytest.mark.parametrize(
    "likelihood", [likelihoods.Normal(0.5), likelihoods.Laplace(0.75), likelihoods.Normal("learned")]
)
def test_encoders_read_standardised_channels_and_likelihoods_score_images_as_they_are(likelihood: Any) -> None:
    data = images()
    model, plain = of_images(likelihood, "auto"), of_images(likelihood, None)
    model.fit_transforms(Batch(data))
    batch, z = model.prepare(data), torch.randn(12, 3)
    for name, shape in IMAGES.items():
        (seen,) = batch.inputs(name)
        within = [place for place in range(len(shape) + 1) if place != 1]
        torch.testing.assert_close(seen.mean(within), torch.zeros(shape[0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.std(within, correction=0), torch.ones(shape[0]), atol=1e-4, rtol=0)
        torch.testing.assert_close(model.decode(z)[name].mean, plain.decode(z)[name].mean, atol=0, rtol=0)
    found, expected = model.score(batch, z), plain.score(plain.prepare(data), z)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_brightness_and_contrast_of_all_images_do_not_reach_encoders() -> None:
    """Data in other units, channel by channel, gives the same latents."""
    data = images()
    model, other = (of_images(likelihoods.Laplace(), "auto") for _ in range(2))
    moved = {name: 40.0 * each - 7.0 for name, each in data.items()}
    model.fit_transforms(Batch(data))
    other.fit_transforms(Batch(moved))
    for name in IMAGES:
        found, expected = other.infer(moved, subset=name).mean, model.infer(data, subset=name).mean
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_what_only_encoders_read_is_saved_and_loaded(tmp_path: Path) -> None:
    model = models.MVAE([Modality("x", (1, 8, 8), likelihoods.Laplace(), transform=Log1p(scored=False))], 2)
    data = {"x": torch.rand(8, 1, 8, 8) + 0.5}
    fit(model, data, epochs=1, out=tmp_path / "run", progress=False, device="cpu")
    again = mmvae.load(tmp_path / "run")
    assert not again.transforms["x"].scored
    torch.testing.assert_close(again.infer(data).mean, model.infer(data).mean, atol=0, rtol=0)
    torch.testing.assert_close(
        again.score(again.prepare(data), torch.zeros(8, 2)), model.score(model.prepare(data), torch.zeros(8, 2))
    )


@pytest.mark.parametrize(
    "table", [likelihoods.Normal(), likelihoods.Columns({"a": likelihoods.Normal(), "b": likelihoods.Normal()})]
)
def test_single_columns_of_a_table_can_be_for_encoders_alone(table: Any) -> None:
    """Their share of the Jacobian is left out, and their values are scored as they are."""
    by_column = transforms.ByColumn({"a": Standardize(), "b": Standardize(scored=False)})
    torch.manual_seed(0)
    model = models.MVAE([Modality("x", (2,), table, transform=by_column)], 2)
    data = torch.randn(200, 2) * torch.tensor([5.0, 3.0]) + 4.0
    model.fit_transforms(Batch({"x": data}))
    batch, z = model.prepare({"x": data}), torch.randn(200, 2)
    (seen,) = batch.inputs("x")
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(2), rtol=1e-3, atol=1e-3)
    loc = model.decoders["x"](z)[..., :2] if isinstance(table, likelihoods.Normal) else model.decoders["x"](z)
    deviation = data[:, 0].std(correction=0)
    scale = model.likelihoods["x"].scale if isinstance(table, likelihoods.Normal) else torch.ones(())
    units = torch.stack([(data[:, 0] - data[:, 0].mean()) / deviation, data[:, 1]], 1)
    expected = torch.distributions.Normal(loc, scale).log_prob(units).sum(-1) - deviation.log()
    torch.testing.assert_close(model.score(batch, z)["x"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Standardize, Log1p])
def test_scored_must_be_true_or_false(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="scored must be True or False"):
        kind(scored="no")


# Exact answers.


def in_other_units(kind: str) -> tuple[LinearGaussian, Any, Any, dict[str, Tensor], dict[str, Tensor], float]:
    """A yardstick, its exact model, the same model of data in other units, both data, and log |du/dx| of a row."""
    yardstick = LinearGaussian.orthogonal(SIZES, 2, seed=3)
    data, jacobian = yardstick.sample(5), {}
    units = {}
    for place, name in enumerate(SIZES):
        generator = torch.Generator().manual_seed(place)
        loc = 1000 * torch.randn(SIZES[name], generator=generator)
        scale = 10 ** torch.linspace(-2, 3, SIZES[name])
        units[name] = known(loc, scale)
        jacobian[name] = -float(scale.log().sum())
    plain = exact_model(yardstick, kind)  # type: ignore[arg-type]
    modalities = [
        Modality(each.name, each.shape, each.likelihood, each.encoder, each.decoder, transform=units[each.name])
        for each in plain.modalities
    ]
    other = type(plain)(**{**plain.arguments, "modalities": modalities})
    other.load_state_dict({**other.state_dict(), **plain.state_dict()})
    return yardstick, plain, other, data, {n: units[n].inverse(x.double()) for n, x in data.items()}, jacobian


@each_kind
@pytest.mark.parametrize("subset", ["a", ("a", "c"), None])
def test_an_affine_transform_changes_densities_by_its_jacobian_and_nothing_else(kind: str, subset: Any) -> None:
    """Bounds, likelihoods and weights, draw by draw; posteriors stay."""
    _, plain, other, data, moved, jacobian = in_other_units(kind)
    members = SIZES if subset is None else [subset] if isinstance(subset, str) else subset
    expected = sum(jacobian[name] for name in members)
    torch.testing.assert_close(other.infer(moved, subset).mean, plain.infer(data, subset).mean, atol=2e-2, rtol=1e-3)
    for bound in ("elbo", "log_likelihood", "log_weights"):
        found = []
        for model, values in ((plain, data), (other, moved)):
            torch.manual_seed(0)
            found.append(getattr(model, bound)(values, subset, num_samples=7).detach())
        torch.testing.assert_close(found[1], found[0] + expected, atol=0.05, rtol=0)


def test_the_yardstick_in_other_units_gives_the_same_answers() -> None:
    """Its exact likelihoods and posteriors, up to the Jacobian."""
    yardstick, _, other, data, moved, jacobian = in_other_units("MVAE")
    for subset in ("a", ("b", "c"), None):
        members = SIZES if subset is None else [subset] if isinstance(subset, str) else subset
        exact = yardstick.log_likelihood(data, subset) + sum(jacobian[name] for name in members)
        torch.testing.assert_close(other.log_likelihood(moved, subset).double(), exact, atol=0.05, rtol=0)
        posterior = yardstick.posterior(data, subset)
        torch.testing.assert_close(other.infer(moved, subset).mean.double(), posterior.mean, atol=2e-2, rtol=1e-2)


def test_jacobians_count_the_rows_that_are_there() -> None:
    *_, other, _, moved, jacobian = in_other_units("MVAE")
    observed = {"a": torch.tensor([True, False, True, False, True])}
    z = torch.zeros(5, 2)
    scores = other.score(other.prepare(moved, observed), z)
    complete = other.score(other.prepare(moved), z)
    assert jacobian["a"] != 0
    assert torch.equal(scores["a"], torch.where(observed["a"], complete["a"], 0.0))
    wild = {**moved, "a": torch.where(observed["a"][:, None], moved["a"], torch.nan)}
    for name, score in other.score(other.prepare(wild), z).items():
        assert torch.equal(score, scores[name])


def test_densities_of_a_model_integrate_to_one() -> None:
    """p(x) over a grid of one number, in units of the data, seen through Log1p."""
    modality = Modality("x", (1,), likelihoods.Normal(0.5), transform=known([1.0], [0.7], Log1p))
    torch.manual_seed(0)
    model = models.MVAE([modality], 1)
    grid = torch.linspace(-0.9999, 60, 60_000)
    z = torch.randn(400, 1, 1)
    with torch.no_grad():
        distribution = model.decode(z)["x"]
        density = distribution.log_prob(grid[:, None]).exp().mean(0)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=5e-3)


# What is transformed.


def choices(**changes: Any) -> tuple[Transform | None, bool]:
    """The transform of a modality, and whether its encoder reads through it."""
    given = {"name": "x", "shape": (4,), "likelihood": likelihoods.Normal(), **changes}
    model = models.MVAE([Modality(**given)], 2)
    transform = dict(model.transforms.items()).get("x")
    data = torch.ones(1, *model.shapes["x"], dtype=model.likelihoods["x"].data_dtype)
    if transform is not None:
        transform.loc.fill_(3.0)
    (seen,) = model.prepare({"x": data}).inputs("x")
    return transform, not torch.equal(seen, data)


def own_encoder() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5))


def own_decoder(outputs: int = 4) -> Any:
    return lambda latent_dim: nn.Sequential(
        nn.Linear(latent_dim, outputs), nn.Unflatten(1, (4, outputs // 4)) if outputs > 4 else nn.Identity()
    )


def own_image_decoder(latent_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(latent_dim, 4), nn.Unflatten(1, (1, 2, 2)))


@pytest.mark.parametrize(
    ("changes", "kind", "is_read"),
    [
        ({}, Standardize, True),
        ({"likelihood": likelihoods.Laplace()}, Standardize, True),
        ({"shape": (6, 3)}, Standardize, True),
        ({"shape": ()}, Standardize, True),
        ({"shape": (1, 8, 8)}, Standardize, True),
        ({"shape": (1, 8, 8, 8), "likelihood": likelihoods.Laplace()}, Standardize, True),
        ({"shape": (1, 8, 8), "transform": None}, None, False),
        ({"shape": (1, 2, 2), "encoder": own_encoder()}, None, False),
        ({"shape": (1, 2, 2), "decoder": own_image_decoder}, Standardize, True),
        ({"transform": None}, None, False),
        ({"likelihood": likelihoods.Poisson()}, Log1p, True),
        ({"likelihood": likelihoods.NegativeBinomial(), "shape": (1, 8, 8)}, Log1p, True),
        ({"likelihood": likelihoods.NegativeBinomial(), "transform": None}, None, False),
        ({"likelihood": likelihoods.Bernoulli()}, None, False),
        ({"likelihood": likelihoods.ContinuousBernoulli()}, None, False),
        ({"likelihood": likelihoods.Categorical(3)}, None, False),
        ({"encoder": mmvae.nn.MLPEncoder((4,)), "decoder": lambda d: mmvae.nn.MLPDecoder(d, (4,))}, Standardize, True),
        ({"encoder": own_encoder()}, Standardize, False),
        ({"decoder": own_decoder()}, None, False),
        ({"encoder": own_encoder(), "likelihood": likelihoods.Poisson()}, Log1p, False),
        ({"decoder": own_decoder(8), "likelihood": likelihoods.NegativeBinomial()}, Log1p, True),
        ({"encoder": own_encoder(), "decoder": own_decoder(), "transform": Standardize()}, Standardize, True),
        ({"likelihood": likelihoods.Bernoulli(), "transform": Standardize()}, Standardize, True),
        ({"likelihood": likelihoods.Poisson(), "transform": LogNormalize(100.0)}, LogNormalize, True),
    ],
)  # fmt: skip
def test_defaults_follow_the_likelihood_and_whose_networks_they_are(
    changes: dict[str, Any], kind: type | None, is_read: bool
) -> None:
    transform, seen_through = choices(**changes)
    assert (None if transform is None else type(transform), seen_through) == (kind, is_read)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"transform": Standardize}, TypeError, r"x: transform must be one of mmvae.transforms, .*Standardize\(\)"),
        ({"transform": "log"}, TypeError, "x: transform must be"),
        ({"likelihood": likelihoods.Categorical(3), "transform": Standardize()}, ValueError, "x: .*scores codes; pass"),
        ({"transform": LogNormalize()}, ValueError, "x: .*has no inverse, so Normal .*likelihood of counts"),
    ],
)
def test_transforms_that_do_not_suit(changes: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        choices(**changes)


def test_data_that_a_transform_cannot_take_is_refused() -> None:
    model = models.MVAE([Modality("x", (2,), likelihoods.Normal(), transform=Log1p())], 1)
    with pytest.raises(ValueError, match="x: the transform Log1p takes values above -1, got -3"):
        model.loss({"x": torch.tensor([[0.0, -3.0]])})


# Fitting.


def table(rows: int = 60, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 2, generator=generator)
    noise = torch.randn(rows, 3, generator=generator)
    a = (z @ torch.randn(2, 3, generator=generator) + 0.3 * noise) * torch.tensor([0.01, 1.0, 1000.0]) + 50.0
    return {"a": a, "n": torch.poisson((z[:, :1] + torch.tensor([2.0, 6.0])).exp(), generator=generator)}


def small(size: int = 3, **options: Any) -> Any:
    """Two tables, with networks of the library of a few units."""
    torch.manual_seed(0)

    def networks(size: int, *parameters: int) -> dict[str, Any]:
        decoder = functools.partial(MLPDecoder, shape=(size, *parameters), hidden=(16,))
        return {"encoder": functools.partial(MLPEncoder, (size,), hidden=(16,)), "decoder": decoder}

    modalities = [
        Modality("a", (3,), likelihoods.Normal("learned"), **networks(3)),
        Modality("n", (2,), likelihoods.NegativeBinomial(), **networks(2, 2)),
    ]
    return models.MVTCAE(modalities, 2, **options)


def quiet(model: Any, data: Any, **options: Any) -> Any:
    return fit(model, data, **{"epochs": 1, "progress": False, "batch_size": 16, "device": "cpu", **options})


def test_fit_finds_the_scales_of_the_training_rows_alone() -> None:
    data = table()
    model = small()
    quiet(model, data)
    torch.testing.assert_close(model.transforms["a"].loc, data["a"].mean(0))
    torch.testing.assert_close(model.transforms["a"].scale, data["a"].std(0, correction=0))
    torch.testing.assert_close(model.transforms["n"].loc, data["n"].log1p().mean(0))
    other = small()
    quiet(other, data, validation=0.5)
    assert not torch.equal(other.transforms["a"].loc, model.transforms["a"].loc)
    apart = small()
    quiet(apart, data, validation={name: 1000 * value for name, value in data.items()})
    assert torch.equal(apart.transforms["a"].loc, model.transforms["a"].loc)


def test_rows_that_are_missing_do_not_move_the_scales() -> None:
    data = table()
    shown = torch.arange(60) < 30
    model, part = small(), small()
    quiet(model, {**data, "a": torch.where(shown[:, None], data["a"], 1e9)}, observed={"a": shown})
    quiet(part, {name: value[:30] for name, value in data.items()})
    torch.testing.assert_close(model.transforms["a"].loc, part.transforms["a"].loc)


def test_what_is_fitted_stays() -> None:
    """In a second training, and where the transform was fitted before the model was made."""
    data = table()
    model = small()
    quiet(model, data)
    before = {name: value.clone() for name, value in model.transforms.state_dict().items()}
    quiet(model, {name: value + 10 for name, value in data.items()})
    assert all(torch.equal(value, before[name]) for name, value in model.transforms.state_dict().items())
    assert not model.needs_fitting
    mine = known([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    own = models.MVAE([Modality("a", (3,), likelihoods.Normal(), transform=mine)], 2)
    quiet(own, {"a": data["a"]})
    assert own.transforms["a"].loc.tolist() == [1.0, 2.0, 3.0]


def test_transforms_are_saved_and_resumed(tmp_path: Path) -> None:
    data = table()
    whole, stopped = small(), small()
    quiet(whole, data, epochs=3)
    quiet(stopped, data, epochs=1, out=tmp_path)
    resumed = small()
    quiet(resumed, data, epochs=3, out=tmp_path, resume=True)
    loaded = mmvae.load(tmp_path)
    for model in (resumed, loaded):
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in whole.state_dict().items())
    assert torch.equal(loaded.infer(data).mean, whole.infer(data).mean)


def test_the_weights_of_a_run_that_continues_keep_their_units(tmp_path: Path) -> None:
    """A model that was trained before on other data is resumed with its own scales, not those of the data at hand."""
    data = table()
    first = small()
    quiet(first, {name: value + 7 for name, value in data.items()})
    quiet(first, data, epochs=1, out=tmp_path)
    again = small()
    quiet(again, data, epochs=2, out=tmp_path, resume=True)
    assert torch.equal(again.transforms["a"].loc, first.transforms["a"].loc)


class Items(torch.utils.data.IterableDataset):
    def __init__(self, data: dict[str, Tensor]) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return ({name: value[row] for name, value in self.data.items()} for row in range(len(self.data["a"])))


class Rows(torch.utils.data.Dataset):
    def __init__(self, data: dict[str, Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data["a"])

    def __getitem__(self, row: int) -> Any:
        return {name: value[row] for name, value in self.data.items()}


@pytest.mark.parametrize("kind", ["stream", "loader", "rows", "dataset"])
def test_scales_of_data_that_is_read(kind: str) -> None:
    data = table()
    sources = {
        "stream": Streamed(Items(data), length=60),
        "loader": torch.utils.data.DataLoader(Items(data), batch_size=16),
        "rows": Rows(data),
        "dataset": mmvae.data.MultimodalDataset(data),
    }
    if kind == "loader":
        sources["loader"] = Streamed(torch.utils.data.DataLoader(Rows(data), batch_size=16), length=4)
    model, plain = small(), small()
    state = torch.get_rng_state()
    quiet(model, sources[kind])
    assert torch.equal(torch.get_rng_state(), state)
    quiet(plain, data)
    torch.testing.assert_close(model.transforms["a"].loc, plain.transforms["a"].loc)
    torch.testing.assert_close(model.transforms["a"].scale, plain.transforms["a"].scale)


def test_a_loop_of_ones_own_fits_them_by_hand() -> None:
    model, data = small(), table()
    assert model.needs_fitting
    model.fit_transforms(Batch(data))
    torch.testing.assert_close(model.transforms["a"].loc, data["a"].mean(0))
    assert not model.needs_fitting


def test_generated_data_is_in_units_of_the_data() -> None:
    """What is inferred from the other table, and what is made of draws of the prior."""
    data = table(400)
    model = small()
    quiet(model, data, epochs=5, lr=5e-3)
    for made in (model.generate(model.infer(data, "n")), model.sample(400)):
        for name, value in data.items():
            apart = made[name].median(0).values - value.median(0).values
            assert (apart.abs() < 0.7 * value.std(0)).all()
            assert (made[name].std(0) < 2 * value.std(0)).all()
    torch.testing.assert_close(model.generate(model.infer(data))["a"], model.decode(model.infer(data).mean)["a"].mean)


# Covariates.


def with_age(ages: Tensor, data: dict[str, Tensor]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = models.MVAE(small().modalities[:1], 2, covariates={"age": None, "site": 2})
    known_rows = {"age": ages, "site": torch.arange(60) % 2}
    run = quiet(model, {"a": data["a"]}, covariates=known_rows, epochs=2)
    return model, run


def test_numeric_covariates_are_standardised_in_whatever_unit_they_come(tmp_path: Path) -> None:
    data, years = table(), torch.linspace(20, 80, 60)
    one, first = with_age(years, data)
    other, second = with_age(365.0 * years + 1e4, data)
    assert first.metrics[-1]["loss"] == pytest.approx(second.metrics[-1]["loss"], abs=1e-3)
    batch = one.prepare({"a": data["a"]}, covariates={"age": years, "site": 0})
    assert batch.context is not None
    assert abs(float(batch.context[:, 0].mean())) < 1e-5
    assert float(batch.context[:, 0].std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    latents = one.infer({"a": data["a"]}, covariates={"age": years, "site": 0})
    older = one.generate(latents, covariates={"age": 75.0})["a"]
    moved = other.infer({"a": data["a"]}, covariates={"age": 365.0 * years + 1e4, "site": 0})
    torch.testing.assert_close(
        older, other.generate(moved, covariates={"age": 365.0 * 75 + 1e4})["a"], rtol=1e-3, atol=1e-2
    )
    again = mmvae.load(mmvae.save(one, tmp_path))
    torch.testing.assert_close(again.infer({"a": data["a"]}, covariates={"age": years, "site": 0}).mean, latents.mean)
