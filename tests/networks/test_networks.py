"""Shapes, gradients, and the choice of default networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmvae import likelihoods
from mmvae.modes import mode
from mmvae.networks.heads import budgeted_scale
from mmvae.nn import (
    MLP,
    CodesDecoder,
    CodesEncoder,
    ConvDecoder,
    ConvEncoder,
    LaplaceHead,
    MLPDecoder,
    MLPEncoder,
    MNISTDecoder,
    MNISTEncoder,
    NormalHead,
    SeriesConvDecoder,
    SeriesConvEncoder,
    SVHNDecoder,
    SVHNEncoder,
    TextDecoder,
    TextEncoder,
    default_decoder,
    default_encoder,
)


def assert_trains(module: nn.Module, output: torch.Tensor) -> None:
    assert output.isfinite().all()
    output.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 13), (3, 17, 31), (1, 64, 48), (1, 8, 40)]
)
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    encoder, decoder = ConvEncoder(shape, width=4), ConvDecoder(5, shape, width=4)
    features = encoder(torch.randn(2, *shape))
    assert features.ndim == 2
    assert_trains(encoder, features)
    image = decoder(torch.randn(2, 5))
    assert image.shape == (2, *shape)
    assert_trains(decoder, image)


def test_images_with_several_parameters_a_pixel() -> None:
    """The parameters of a pixel stand last, each channel with its own."""
    decoder = ConvDecoder(5, (3, 9, 10, 2), width=4)
    assert decoder(torch.randn(2, 5)).shape == (2, 3, 9, 10, 2)


@pytest.mark.parametrize("shape", [(2, 9), (3, 67), (1, 8, 9, 11), (2, 16, 8, 8)])
def test_sequences_and_volumes_of_any_size(shape: tuple[int, ...]) -> None:
    sides = len(shape) - 1
    encoder, decoder = ConvEncoder(shape, width=4), ConvDecoder(5, (*shape, 2), width=4, sides=sides)
    features = encoder(torch.randn(2, *shape))
    assert features.ndim == 2
    assert_trains(encoder, features)
    output = decoder(torch.randn(2, 5))
    assert output.shape == (2, *shape, 2)
    assert_trains(decoder, output)


def test_convolutions_need_sides() -> None:
    for shape in ((3,), (3, 1), (1, 8, 8, 8, 8)):
        with pytest.raises(ValueError, match=r"shape: convolutions need \(channels, \*sides\)"):
            ConvEncoder(shape)
    with pytest.raises(ValueError, match="one to three sides of at least 2"):
        ConvDecoder(5, (3, 8), sides=2)


NORMED = {
    "mlp": (lambda **options: MLPEncoder((6,), (8, 8), **options), (6,)),
    "mlp decoder": (lambda **options: MLPDecoder(6, (4,), (8, 8), **options), (6,)),
    "image": (lambda **options: ConvEncoder((2, 8, 8), 4, **options), (2, 8, 8)),
    "image decoder": (lambda **options: ConvDecoder(6, (2, 16, 16), 4, **options), (6,)),
    "volume": (lambda **options: ConvEncoder((1, 8, 8, 8), 4, **options), (1, 8, 8, 8)),
    "volume decoder": (lambda **options: ConvDecoder(6, (1, 16, 16, 16), 4, sides=3, **options), (6,)),
    "series": (lambda **options: SeriesConvEncoder((16, 2), 4, **options), (16, 2)),
    "series decoder": (lambda **options: SeriesConvDecoder(6, (16, 2), 4, **options), (6,)),
}


@pytest.mark.parametrize("network", NORMED)
def test_norm_and_dropout(network: str) -> None:
    """Layer norm treats each row by itself, batch norm looks at others in training, dropout draws in training."""
    make, shape = NORMED[network]
    torch.manual_seed(0)
    data = torch.randn(6, *shape)
    plain, layer, batch, dropped = make(), make(norm="layer"), make(norm="batch"), make(dropout=0.5)
    assert_trains(layer, layer(data))
    assert_trains(batch, batch(data))
    torch.testing.assert_close(layer(data)[:2], layer(data[:2]))
    assert not torch.allclose(batch(data)[:2], batch(data[:2]))
    assert not torch.equal(dropped(data), dropped(data))
    with mode(dropped, training=False):
        assert torch.equal(dropped(data), dropped(data))
    assert len(layer.state_dict()) > len(plain.state_dict()) == len(dropped.state_dict())
    with pytest.raises(ValueError, match=r"norm: expected one of 'batch', 'layer' or None, got 'group'"):
        make(norm="group")
    with pytest.raises(ValueError, match=r"dropout: expected a share from 0 to below 1, got 1.0"):
        make(dropout=1.0)


@pytest.mark.parametrize("length", [4, 5, 7, 8, 32])
def test_codes_of_any_length(length: int) -> None:
    encoder, decoder = CodesEncoder((length,), 6, width=8), CodesDecoder(5, (length, 6), width=8)
    features = encoder(torch.randint(0, 6, (2, length)))
    assert features.ndim == 2
    assert_trains(encoder, features)
    logits = decoder(torch.randn(2, 5))
    assert logits.shape == (2, length, 6)
    assert_trains(decoder, logits)


def test_mlps() -> None:
    assert [type(layer) for layer in MLP((3, 4, 5))] == [nn.Linear, nn.ReLU, nn.Linear]
    assert MLPEncoder((2, 3), hidden=(7,))(torch.randn(4, 2, 3)).shape == (4, 7)
    assert MLPDecoder(5, (2, 3), hidden=(7,))(torch.randn(4, 5)).shape == (4, 2, 3)
    assert MLPDecoder(5, (), hidden=(7,))(torch.randn(4, 5)).shape == (4,)


@pytest.mark.parametrize(
    ("encoder", "decoder", "data", "features", "parameters"),
    [
        (MNISTEncoder(), MNISTDecoder(20), torch.rand(2, 1, 28, 28), 400, (1, 28, 28)),
        (SVHNEncoder(), SVHNDecoder(20), torch.rand(2, 3, 32, 32), 128, (3, 32, 32)),
        (TextEncoder(), TextDecoder(20), torch.randint(0, 71, (2, 8)), 128, (8, 71)),
    ],
    ids=["mnist", "svhn", "text"],
)
def test_networks_of_the_protocol(encoder, decoder, data, features, parameters) -> None:  # type: ignore[no-untyped-def]
    found = encoder(data)
    assert found.shape == (2, features)
    assert_trains(encoder, found)
    output = decoder(torch.randn(2, 20))
    assert output.shape == (2, *parameters)
    assert_trains(decoder, output)


def layers_of(network: nn.Module) -> list[tuple[object, ...]]:
    """What a network is made of, activations and all, but for what only reshapes."""
    found: list[tuple[object, ...]] = []
    for part in network.modules():
        if isinstance(part, nn.Linear):
            found.append(("linear", part.in_features, part.out_features))
        elif isinstance(part, nn.modules.conv._ConvNd):
            kind = "transposed" if part.transposed else "conv"
            sizes = (part.kernel_size[0], part.stride[0], int(part.padding[0]))
            found.append((kind, part.in_channels, part.out_channels, *sizes))
        elif isinstance(part, nn.ReLU | nn.Sigmoid):
            found.append((type(part).__name__.lower(),))
    return found


RELU = ("relu",)


def with_relus(*layers: tuple[object, ...]) -> list[tuple[object, ...]]:
    return [each for layer in layers for each in (layer, RELU)]


def test_networks_of_the_protocol_layer_by_layer() -> None:
    """As in the code of Sutter et al. 2021; the heads of 20 are the model's."""
    assert layers_of(MNISTEncoder()) == with_relus(("linear", 784, 400))
    assert layers_of(MNISTDecoder(20)) == [*with_relus(("linear", 20, 400)), ("linear", 400, 784), ("sigmoid",)]
    assert layers_of(SVHNEncoder()) == with_relus(
        ("conv", 3, 32, 4, 2, 1), ("conv", 32, 64, 4, 2, 1), ("conv", 64, 64, 4, 2, 1), ("conv", 64, 128, 4, 2, 0)
    )
    assert layers_of(SVHNDecoder(20)) == [
        *with_relus(
            ("linear", 20, 128),
            ("transposed", 128, 64, 4, 1, 0),
            ("transposed", 64, 64, 4, 2, 1),
            ("transposed", 64, 32, 4, 2, 1),
        ),
        ("transposed", 32, 3, 4, 2, 1),
    ]
    assert layers_of(TextEncoder()) == with_relus(
        ("conv", 71, 128, 1, 1, 0), ("conv", 128, 128, 4, 2, 1), ("conv", 128, 128, 4, 2, 0)
    )
    assert layers_of(TextDecoder(20)) == [
        *with_relus(("linear", 20, 128), ("transposed", 128, 128, 4, 1, 0), ("transposed", 128, 128, 4, 2, 1)),
        ("conv", 128, 71, 1, 1, 0),
    ]


def test_text_encoder_convolves_one_hot_symbols() -> None:
    encoder, codes = TextEncoder(), torch.randint(0, 71, (3, 8))
    one_hot = nn.functional.one_hot(codes, 71).float().movedim(-1, 1)
    torch.testing.assert_close(encoder(codes), encoder.layers(encoder.symbols(one_hot)))


@pytest.mark.parametrize("head", [NormalHead, LaplaceHead])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_stacked_outputs_are_read_as_one_by_one(head: type, latent_dim: int) -> None:
    heads, features = [head(5, latent_dim) for _ in range(3)], 30 * torch.randn(4, 5)
    stacked = heads[0].read(torch.stack([each.outputs(features) for each in heads]))
    for found, alone in zip(stacked, zip(*(each(features) for each in heads), strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(alone), rtol=0, atol=0)


def test_heads() -> None:
    features = 30 * torch.randn(64, 5)
    loc, scale = NormalHead(5, 3)(features)
    assert loc.shape == scale.shape == (64, 3)
    assert scale.min() >= 1.2e-4
    assert scale.max() <= 8104
    head = NormalHead(5, 3)
    moderate = torch.randn(4, 5)
    torch.testing.assert_close(head(moderate)[1].square().log(), head.linear(moderate)[:, 3:])
    _, scale = LaplaceHead(5, 3)(features)
    assert (scale > 0).all()
    torch.testing.assert_close(scale.mean(-1), torch.ones(64))


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("head", [NormalHead, LaplaceHead])
def test_scales_of_heads_have_gradients_whatever_the_features(head: type, latent_dim: int, size: float) -> None:
    made = head(5, latent_dim)
    features = size * torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    _, scale = made(features)
    assert scale.isfinite().all()
    assert (scale > 0).all()
    for row in range(0, 64, 16):
        for each in scale[row]:
            (gradient,) = torch.autograd.grad(each, made.linear.weight, retain_graph=True)
            assert gradient.isfinite().all()
            assert (gradient[latent_dim:] != 0).any()


def test_a_laplace_head_of_one_dimension_has_a_free_scale() -> None:
    head = LaplaceHead(5, 1)
    features = torch.randn(64, 5)
    _, scale = head(features)
    torch.testing.assert_close(scale, head.linear(features)[:, 1:].exp())
    assert scale.std() > 0.01


def test_budgets_are_a_softmax_as_far_as_its_floor_shows() -> None:
    raw = torch.randn(50, 4) * 3
    torch.testing.assert_close(budgeted_scale(raw), 4 * raw.softmax(-1) + 1e-6)
    far = torch.tensor([[0.0, 1e4, -1e4]], requires_grad=True)
    scale = budgeted_scale(far)
    torch.testing.assert_close(scale, torch.tensor([[1e-6, 3.0, 1e-6]]), atol=4e-6, rtol=1e-5)
    scale[0, 0].backward()
    assert far.grad is not None
    assert far.grad[0, 0] > 0
    assert far.grad[0, 1] < 0


@pytest.mark.parametrize("head", [NormalHead, LaplaceHead])
def test_heads_stay_in_float32_under_autocast(head: type) -> None:
    made, features = head(40, 3), torch.randn(16, 40)
    expected = made(features.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(features.bfloat16())
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("shape", "likelihood", "kinds"),
    [
        ((1, 28, 28), likelihoods.Laplace(), (ConvEncoder, ConvDecoder)),
        ((3, 8, 9), likelihoods.NegativeBinomial(), (ConvEncoder, ConvDecoder)),
        ((3, 4, 4), likelihoods.Normal(), (MLPEncoder, MLPDecoder)),
        ((30,), likelihoods.NegativeBinomial(), (MLPEncoder, MLPDecoder)),
        ((8,), likelihoods.Categorical(6), (CodesEncoder, CodesDecoder)),
        ((2,), likelihoods.Categorical(6), (nn.Sequential, MLPDecoder)),
        ((), likelihoods.Categorical(6), (nn.Sequential, MLPDecoder)),
        ((), likelihoods.Normal(), (MLPEncoder, MLPDecoder)),
        ((1, 9, 9), likelihoods.Categorical(4), (nn.Sequential, ConvDecoder)),
        ((200, 6), likelihoods.Normal(), (SeriesConvEncoder, SeriesConvDecoder)),
        ((8, 2), likelihoods.NegativeBinomial(), (SeriesConvEncoder, SeriesConvDecoder)),
        ((7, 2), likelihoods.Normal(), (MLPEncoder, MLPDecoder)),
        ((9, 2), likelihoods.Categorical(4), (nn.Sequential, SeriesConvDecoder)),
        ((1, 8, 9, 10), likelihoods.Normal(), (ConvEncoder, ConvDecoder)),
        ((2, 8, 8, 8), likelihoods.NegativeBinomial(), (ConvEncoder, ConvDecoder)),
        ((1, 4, 8, 8), likelihoods.Normal(), (MLPEncoder, MLPDecoder)),
    ],
)
def test_default_networks(shape, likelihood, kinds) -> None:  # type: ignore[no-untyped-def]
    encoder, decoder = default_encoder(shape, likelihood), default_decoder(shape, likelihood, 5)
    assert (type(encoder), type(decoder)) == kinds
    data = torch.zeros(2, *shape, dtype=likelihood.data_dtype)
    assert encoder(data).ndim == 2
    parameters = decoder(torch.randn(2, 5))
    assert parameters.shape == (2, *likelihood.parameter_shape(shape))
    assert likelihood(parameters).log_prob(data).shape == (2, *shape)


def test_modes_come_back_part_by_part() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    module[1].eval()
    before = [part.training for part in module.modules()]
    with pytest.raises(RuntimeError), mode(module, training=False):  # noqa: PT012
        assert not any(part.training for part in module.modules())
        raise RuntimeError
    assert [part.training for part in module.modules()] == before
