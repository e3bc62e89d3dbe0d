"""MultiVae's counterpart of a model of this library, with the same networks and the same weights.

MultiVae asks for encoders that return means and log-variances, decoders that return reconstructions, and one-hot text.
The classes here wrap this library's networks in that form, each with this library's linear head.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import (
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    JMVAEConfig,
    MMVAEConfig,
    MoPoE,
    MoPoEConfig,
    MVAEConfig,
    MVTCAEConfig,
)
from multivae.models.nn import BaseJointEncoder
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch import Tensor, nn

import mmvae
from mmvae import likelihoods
from mmvae.networks.mnist_svhn_text import TextEncoder
from mmvae.posteriors import JointEncoder
from mmvae.vaes.base import MultimodalVAE

for _name in ("multivae", "pythae"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class OneHotTextEncoder(nn.Module):
    """A :class:`TextEncoder` that reads one-hot text ``[N, 8, 71]``, by a convolution as in the protocol's source."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.symbols = encoder.symbols
        self.layers = encoder.layers

    def forward(self, one_hot: Tensor) -> Tensor:
        """Features ``[N, 128]``."""
        return self.layers(self.symbols(one_hot.movedim(-1, 1)))


class PeerEncoder(BaseEncoder):
    """Features and one linear head, as MultiVae wants them."""

    def __init__(self, encoder: nn.Module, linear: nn.Linear, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = linear
        self.latent_dim = latent_dim

    def forward(self, data: Tensor) -> ModelOutput:
        """Mean and log-variance (for Laplace posteriors, what its softmax turns into scales)."""
        embedding, log_covariance = self.linear(self.encoder(data)).chunk(2, -1)
        return ModelOutput(embedding=embedding, log_covariance=log_covariance)


class PeerDecoder(BaseDecoder):
    """A decoder, as MultiVae wants it."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> ModelOutput:
        """The parameters of the likelihood."""
        return ModelOutput(reconstruction=self.decoder(latent))


class PeerJointEncoder(BaseJointEncoder):
    """The joint encoder of this library's JMVAE, as MultiVae wants it."""

    def __init__(self, joint: JointEncoder, latent_dim: int) -> None:
        super().__init__()
        self.trunks = joint.trunks
        self.hidden = joint.hidden
        self.linear = joint.head.linear
        self.latent_dim = latent_dim

    def forward(self, data: Mapping[str, Tensor]) -> ModelOutput:
        """Mean and log-variance from all modalities."""
        features = torch.cat([trunk(data[name]) for name, trunk in self.trunks.items()], -1)
        embedding, log_covariance = self.linear(self.hidden(features)).chunk(2, -1)
        return ModelOutput(embedding=embedding, log_covariance=log_covariance)


def make_peer(ours: MultimodalVAE) -> nn.Module:
    """MultiVae's model with the settings of ``ours`` and copies of its networks.

    The warm-ups that MultiVae has by default are off, and MVAE's sub-sampling is on, as here. Weights lie in memory as
    PyTorch makes them, which MultiVae leaves as it is.

    Raises:
        TypeError: for a model or a likelihood that MultiVae does not have.
    """
    return _counterpart(copy.deepcopy(ours)).to(memory_format=torch.contiguous_format)


def _counterpart(ours: MultimodalVAE) -> nn.Module:
    encoders = {
        name: PeerEncoder(_reads_one_hot(encoder), ours.experts.heads[name].linear, ours.latent_dim)
        for name, encoder in ours.experts.encoders.items()
    }
    decoders = {name: PeerDecoder(decoder) for name, decoder in ours.decoders.items()}
    common = _common_settings(ours)
    objective: Any = ours.objective
    match ours:
        case mmvae.models.MVAE():
            return MVAE(MVAEConfig(**common, k=0, warmup=0, beta=objective.beta), encoders, decoders)
        case mmvae.models.MMVAE():
            laplace = ours.prior.family is mmvae.distributions.mixture_of_experts.dist.Laplace
            config = MMVAEConfig(
                **common,
                K=objective.num_samples,
                prior_and_posterior_dist="laplace_with_softmax" if laplace else "normal",
                learn_prior=ours.prior.raw_scale is not None,
            )
            return MMVAE(config, encoders, decoders)
        case mmvae.models.MoPoE():
            return MoPoE(MoPoEConfig(**common, beta=objective.beta), encoders, decoders)
        case mmvae.models.MVTCAE():
            config = MVTCAEConfig(**common, alpha=objective.alpha, beta=objective.beta)
            return MVTCAE(config, encoders, decoders)
        case mmvae.models.JMVAE():
            for trunk in ours.joint_posterior.trunks.values():
                trunk[0] = _reads_one_hot(trunk[0])
            joint = PeerJointEncoder(ours.joint_posterior, ours.latent_dim)
            config = JMVAEConfig(**common, alpha=objective.alpha, beta=objective.beta, warmup=0)
            return JMVAE(config, encoders, decoders, joint)
    raise TypeError(f"MultiVae has no counterpart of {type(ours).__name__} here.")


def parameter_pairs(ours: MultimodalVAE, peer: Any) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of the networks of a model and those of its counterpart, one beside the other."""
    for name in ours.names:
        for own, other in (
            (ours.experts.encoders[name], peer.encoders[name].encoder),
            (ours.experts.heads[name], peer.encoders[name].linear),
            (ours.decoders[name], peer.decoders[name].decoder),
        ):
            yield from zip(own.parameters(), other.parameters(), strict=True)
    if isinstance(ours.joint_posterior, JointEncoder):
        yield from zip(ours.joint_posterior.parameters(), peer.joint_encoder.parameters(), strict=True)


@torch.no_grad()
def take_parameters(ours: MultimodalVAE, peer: Any) -> None:
    """Gives a model of this library what its counterpart has learned, the prior included."""
    for own, other in parameter_pairs(ours, peer):
        own.copy_(other)
    if ours.prior.raw_scale is not None:  # MMVAE's, which both turn into scales by a softmax
        ours.prior.raw_scale.copy_(peer.prior_log_var[0])


def peer_data(ours: MultimodalVAE, data: Mapping[str, Tensor]) -> MultimodalBaseDataset:
    """Data as MultiVae wants it: codes one-hot."""
    converted = {}
    for name, value in data.items():
        likelihood = ours.likelihoods[name]
        if isinstance(likelihood, likelihoods.Categorical):
            value = nn.functional.one_hot(value, likelihood.num_categories).float()
        converted[name] = value
    return MultimodalBaseDataset(converted)


def _reads_one_hot(encoder: nn.Module) -> nn.Module:
    return OneHotTextEncoder(encoder) if isinstance(encoder, TextEncoder) else encoder


def _common_settings(ours: MultimodalVAE) -> dict[str, Any]:
    kinds, parameters = {}, {}
    for name, likelihood in ours.likelihoods.items():
        match likelihood:
            case likelihoods.Laplace():
                kinds[name], parameters[name] = "laplace", {"scale": float(likelihood.scale)}
            case likelihoods.Normal():
                kinds[name], parameters[name] = "normal", {"scale": float(likelihood.scale)}
            case likelihoods.Categorical():
                kinds[name] = "categorical"
            case _:
                raise TypeError(f"{name}: MultiVae has no likelihood {type(likelihood).__name__}.")
    return {
        "n_modalities": len(ours.names),
        "latent_dim": ours.latent_dim,
        "decoders_dist": kinds,
        "decoder_dist_params": parameters,
    }
