"""TELBO and JNF: a joint encoder, and posteriors of single modalities that learn along with it or after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights
from mmvae.autoencoders.parts import checked_names, make_encoders, make_likelihoods
from mmvae.choices import check_choice
from mmvae.covariates import Covariates
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.objectives import SampledAlignment, Stage, TripleELBO
from mmvae.objectives.schedules import Weight
from mmvae.posteriors import CorrectedProduct, Flow, Fusion, JointEncoder
from mmvae.priors import Prior
from mmvae.vaes.base import MultimodalVAE

Students = Literal["along", "after"]
"""When the posteriors of single modalities learn."""

_TEACHER = (
    "joint_posterior.trunks",
    "joint_posterior.hidden",
    "joint_posterior.head",
    "decoders",
    "likelihoods",
    "prior",
)
_STUDENTS = ("experts", "joint_posterior.between")


class TELBO(MultimodalVAE):
    """A joint encoder trained by the ELBO of all, and one encoder for each modality trained by its own ELBO.

    Between one modality and all, the posterior is the product of the unimodal ones in which the prior counts once. Does
    not train on incomplete data, which the joint encoder cannot read; infers from it all the same.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the shared latent.
        unimodal: Weight of the bounds of single modalities.
        beta: KL weight of the objective, a number or a schedule.
        students: ``"along"``, all in one stage, or ``"after"``: the stage ``"joint"`` trains joint encoder and
            decoders, then ``"students"`` the unimodal encoders alone.
        trunk_width: Width of each modality's branch in the joint encoder.
        hidden: Width of the joint encoder's layer over all branches.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        private_dim: Size of each modality's private latent: one for all, by name, or ``None`` for none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.

    Raises:
        ValueError: For another word of ``students``, or sizes out of range.

    Source: Vedantam et al. 2018, "Generative models of visually grounded imagination", for two modalities. More of them
    and the second stage follow Senellart's MultiVae; the product between one and all is this library's.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        unimodal: Weight = 1.0,
        beta: Weight = 1.0,
        students: Students = "along",
        trunk_width: int = 256,
        hidden: int = 512,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
    ) -> None:
        check_choice("students", students, ("along", "after"))
        layout = Layout.of(checked_names(modalities), latent_dim, private_dim)
        super().__init__(
            modalities,
            layout,
            joint_posterior=_joint(modalities, layout, trunk_width, hidden, CorrectedProduct(), covariates),
            objective=TripleELBO(beta, unimodal),
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
            augmentation=augmentation,
        )
        self.students = students

    @property
    def stages(self) -> tuple[Stage, ...]:
        """None, or two: ``"joint"`` and ``"students"``."""
        if self.students == "along":
            return ()
        joint = TripleELBO(**{**self.objective.arguments, "unimodal": 0.0})
        return Stage("joint", _TEACHER, joint), Stage("students", ("experts",), self.objective)


class JNF(MultimodalVAE):
    """A joint encoder, and a normalising flow that learns the posteriors of all other subsets from its draws.

    The flow stands on the product of unimodal Gaussians in which the prior counts once, and reads its location and
    scale. In the first stage joint encoder and decoders learn; in the second, with both frozen, unimodal encoders and
    flow. Does not train on incomplete data, which the joint encoder cannot read; infers from it all the same.

    Args:
        modalities: What the model sees.
        latent_dim: Size of the latent.
        beta: KL weight of the objective, a number or a schedule.
        students: ``"after"`` for the two stages ``"joint"`` and ``"students"``, or ``"along"`` for a single one.
        transforms: Number of coupling layers of the flow.
        flow_hidden: Width of the hidden layers of their networks.
        bins: Number of bins of the splines.
        trunk_width: Width of each modality's branch in the joint encoder.
        hidden: Width of the joint encoder's layer over all branches.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities.

    Raises:
        ValueError: For another word of ``students``, or sizes out of range.

    Source: Senellart and Allassonnière 2025, "Bridging the inference gap in multimodal variational autoencoders".
    Departures: one flow for all subsets, conditioned on the product, in the place of one unconditional flow for each
    modality and Hamiltonian Monte Carlo for several; the prior is divided out |S| - 1 times, as Bayes' rule asks.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        beta: Weight = 1.0,
        students: Students = "after",
        transforms: int = 2,
        flow_hidden: int = 64,
        bins: int = 8,
        trunk_width: int = 256,
        hidden: int = 512,
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
    ) -> None:
        check_choice("students", students, ("along", "after"))
        layout = Layout.of(checked_names(modalities), latent_dim, None)
        flow = Flow(CorrectedProduct(), layout.size, transforms, flow_hidden, bins)
        super().__init__(
            modalities,
            layout,
            joint_posterior=_joint(modalities, layout, trunk_width, hidden, flow, covariates),
            objective=SampledAlignment(beta=beta),
            prior=prior,
            covariates=covariates,
            weights=weights,
            contrast=contrast,
        )
        self.students = students

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Two, ``"joint"`` and ``"students"``, or none."""
        if self.students == "along":
            return ()
        joint = SampledAlignment(**{**self.objective.arguments, "alpha": 0.0})
        return Stage("joint", _TEACHER, joint), Stage("students", _STUDENTS, self.objective)


def _joint(
    modalities: Sequence[Modality],
    layout: Layout,
    trunk_width: int,
    hidden: int,
    between: Fusion,
    covariates: CovariateLevels,
) -> JointEncoder:
    encoders, features = make_encoders(modalities, make_likelihoods(modalities))
    context = Covariates(covariates).size
    return JointEncoder(encoders, features, layout.size, trunk_width, hidden, between, context)
