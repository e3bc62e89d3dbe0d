"""Models of the library whose networks are set, by hand, to the exact answers of the linear-Gaussian yardstick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.networks.heads import NormalHead
from mmvae.posteriors import JointEncoder
from mmvae.testing.linear_gaussian import LinearGaussian
from mmvae.vaes import DMVAE, JMVAE, JNF, MMVAE, MVAE, MVTCAE, TELBO, MoPoE, MultimodalVAE

Kind = Literal["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE", "DMVAE", "TELBO", "JNF"]


def exact_model(yardstick: LinearGaussian, kind: Kind) -> MultimodalVAE:
    """A model that is as exact as its family of posteriors allows.

    What holds of each, where p_S is the exact posterior of a subset:

    - ``"MVAE"``: experts are the messages of the modalities, so the posterior of every subset is exact.
    - ``"MoPoE"``: the same experts, the prior in every product: each component is exact for its own subset.
    - ``"MMVAE"``: experts are p_{m} (Gaussian, standard prior): the posterior of every subset is the even mixture of
      those of its members; exact for single modalities.
    - ``"JMVAE"``: the joint network gives p_X and the unimodal ones p_{m}; exact for these.
    - ``"MVTCAE"``: experts are messages times the M-th root of the prior: their product is exact for the whole.

    - ``"TELBO"`` and ``"JNF"``: the same networks, and products in which the prior counts once: the posterior of every
      subset is exact. JNF, whose flow is the identity at the start, has no private latents.
    - ``"DMVAE"``: shared experts are messages and private ones p_{m}: the posterior of every subset is exact. Needs
      private latents.

    With private latents all of this holds column by column: a private column has one expert, its owner's. Models with
    covariates are not made: their encoders are not linear.

    Args:
        yardstick: with orthogonal loadings, without covariates.
        kind: of the model.

    Raises:
        ValueError: if diagonal Gaussians cannot be exact.
    """
    modalities, layout = yardstick.modalities(), yardstick.layout
    private: dict[str, Any] = {"private_dim": dict(layout.private) or None}
    if kind == "MVAE":
        model: MultimodalVAE = MVAE(modalities, layout.shared, **private)
        prior_share = 0.0
    elif kind == "MoPoE":
        model = MoPoE(modalities, layout.shared, prior_expert="all", **private)
        prior_share = 0.0
    elif kind == "MMVAE":
        model = MMVAE(modalities, layout.shared, family="normal", learned_prior_scale=False, **private)
        prior_share = 1.0
    elif kind == "DMVAE":
        model = DMVAE(modalities, layout.shared, dict(layout.private))
        prior_share = 0.0
    elif kind in ("JMVAE", "TELBO", "JNF"):
        widest = max(len(offset) for offset in yardstick.offsets.values())
        recipe: Any = {"JMVAE": JMVAE, "TELBO": TELBO, "JNF": JNF}[kind]
        options = {} if kind == "JNF" else private
        model = recipe(modalities, layout.shared, trunk_width=2 * widest, hidden=2 * layout.size, **options)
        assert isinstance(model.joint_posterior, JointEncoder)
        _set_joint_encoder(model.joint_posterior, yardstick)
        prior_share = 1.0
    else:
        model = MVTCAE(modalities, layout.shared, **private)
        prior_share = 1 / len(modalities)
    for name in yardstick.names:
        shares = torch.full((layout.size,), prior_share)
        if kind in ("MVTCAE", "DMVAE"):  # of a private column there is one expert, which has the whole prior
            shares[layout.columns(name)] = 1.0
        own = layout.own(name)
        precision = _diagonal_precision(yardstick, (name,), shares)
        pull = _pulls(yardstick, (name,), precision)[name][own]
        _set_head(model.experts.heads[name], pull, precision[own], yardstick, name)
    return model


def _diagonal_precision(
    yardstick: LinearGaussian, members: tuple[str, ...], prior_share: float | Tensor
) -> Float[Tensor, "D"]:
    for name in members:
        yardstick.require_diagonal(name)
    return prior_share + torch.stack([yardstick.precisions[name].diagonal() for name in members]).sum(0)


def _pulls(yardstick: LinearGaussian, members: tuple[str, ...], precision: Tensor) -> Mapping[str, Tensor]:
    """``{name: A_m [D, P_m]}`` such that the location is Σ_m A_m (x_m - b_m)."""
    return {name: (yardstick.loadings[name] / precision).T / yardstick.scales[name] ** 2 for name in members}


def _set_head(head: nn.Module, pull: Tensor, precision: Tensor, yardstick: LinearGaussian, name: str) -> None:
    assert isinstance(head, NormalHead)
    bias = torch.cat([-pull @ yardstick.offsets[name], -precision.log()])  # location, log-variance
    _set_linear(head.linear, torch.cat([pull, torch.zeros_like(pull)]), bias)


def _set_joint_encoder(encoder: JointEncoder, yardstick: LinearGaussian) -> None:
    """A linear map through two layers of ReLU: every number x travels as relu(x) and relu(-x)."""
    precision = _diagonal_precision(yardstick, yardstick.names, 1.0)
    pulls = _pulls(yardstick, yardstick.names, precision)
    columns = []
    for name in encoder.trunks:
        trunk = encoder.trunks[name]
        assert isinstance(trunk, nn.Sequential)
        into = trunk[1]
        assert isinstance(into, nn.Linear)
        size = into.in_features
        spare = torch.zeros(into.out_features - 2 * size, size)
        _set_linear(into, torch.cat([torch.eye(size), -torch.eye(size), spare]), torch.zeros(into.out_features))
        columns += [pulls[name], -pulls[name], torch.zeros(len(precision), len(spare))]
    loc = torch.cat([column.double() for column in columns], 1)  # [D, widths of all trunks]
    offset = -torch.stack([pulls[name] @ yardstick.offsets[name] for name in yardstick.names]).sum(0)
    hidden = encoder.hidden[0]
    assert isinstance(hidden, nn.Linear)
    _set_linear(hidden, torch.cat([loc, -loc]), torch.cat([offset, -offset]))
    identity, nothing = torch.eye(len(precision)), torch.zeros(len(precision))
    rows = torch.cat([torch.cat([identity, -identity], 1), torch.zeros(len(precision), 2 * len(precision))])
    _set_linear(encoder.head.linear, rows, torch.cat([nothing, -precision.log()]))


def _set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
