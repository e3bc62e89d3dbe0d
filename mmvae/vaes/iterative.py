"""IterativeVAE: a joint posterior refined step by step, and unimodal posteriors aligned to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch.distributions import Distribution

from mmvae.autoencoders.base import CovariateLevels, Weights
from mmvae.autoencoders.parts import checked_names, make_encoders, make_likelihoods
from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.covariates import Covariates
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.objectives import Stage
from mmvae.objectives.schedules import LinearWarmup, Weight, weight_at
from mmvae.posteriors import CorrectedProduct, Fusion, JointEncoder, JointNetwork, JointProduct, Product
from mmvae.priors import Prior
from mmvae.refinement import Bound, Gaussian, RefinedELBO, RefinementNetwork
from mmvae.refinement.amortized import Path, shared_noise, unroll
from mmvae.refinement.objective import AlignTo, KLDirection, StepWeights
from mmvae.vaes.base import MultimodalVAE

_LEAST_SAMPLES = 4
"""Of the noise at inference, in pairs that cancel: rows share it, so one draw would push all of them the same way."""

_BETWEEN: dict[str, Callable[[], Fusion]] = {
    "product": lambda: Product(prior_expert=False),
    "corrected": CorrectedProduct,
}
_FREEZABLE = {
    "decoders": ("decoders", "likelihoods", "prior"),
    "joint_posterior": ("joint_posterior",),
    "refinement": ("refinement",),
    "experts": ("experts",),
}


class IterativeVAE(MultimodalVAE):
    """A joint posterior that is refined with all modalities, and unimodal posteriors (students) aligned to the result.

    Given all modalities, the posterior is the refined one; given one, its student; in between, a product of students.
    Nothing is refined unless a row has every modality, or :func:`mmvae.infer` is asked to. Does not train on incomplete
    data; infers from it all the same.

    A reconstruction from the abstract of the paper, whose body was out of reach: no number of it is reproduced.

    Args:
        modalities: what the model sees.
        latent_dim: D.
        base: where refinement starts: ``"joint"`` (a joint encoder, as JMVAE has), ``"mvae"`` or ``"mvtcae"`` (a
            product of experts with the prior, or without).
        num_steps: T, steps of refinement.
        alpha: weight of the alignment.
        beta: KL weight of the objective, a number or a schedule.
        align_to: what students are aligned to, the ``"refined"`` posterior or, as a control, the ``"initial"`` one.
        kl_direction: ``"teacher_first"``, KL(teacher || student), or ``"student_first"``.
        stop_grad_teacher: whether the alignment leaves the teacher alone.
        between: for subsets of several modalities but not all, the ``"product"`` of students, or the
            ``"corrected"`` one, in which the prior counts once.
        num_samples: K, draws per datum for each evaluation of the bound in training.
        step_weights: of the steps in the loss of the network, ``"even"`` or ``"late"``.
        through_time: let the loss of a step reach the steps before it.
        features_learn: let the loss of the network reach the encoders whose features it reads.
        initial_trains_decoders: let the bound before refinement train the decoders too.
        slope_lengths: also feed the network the lengths of the slopes.
        trunk_width: of each modality's branch in the joint encoder (of base ``"joint"``).
        hidden: width of the joint encoder's layer over all branches.
        refinement_hidden: width of the refinement network.
        refinement_layers: its highway layers.
        students: When the students learn: ``"along"`` with all other parts, or ``"after"`` them, in a second stage.
            ``fit`` then trains the stages ``"joint"``, in which all other parts learn without alignment, and
            ``"students"``, in which these are aligned to a teacher that no longer moves.
        prior: One of :mod:`mmvae.priors`; by default the standard normal.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities in the objective: ``None`` (their own), ``"balanced"``, ``"auto"`` or by
            name.
        frozen: parts that are not trained, among ``"decoders"``, ``"joint_posterior"``, ``"refinement"`` and
            ``"experts"`` (the students); likelihoods and prior go with the decoders.

    Raises:
        ValueError: for a setting that is none of those named.

    Source: Oshima, Suzuki and Matsuo 2024, "Enhancing unimodal latent representations in multimodal VAEs through
    iterative amortized inference", arXiv 2410.11403 (reconstruction).
    """

    objective: RefinedELBO

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        base: Literal["joint", "mvae", "mvtcae"] = "joint",
        num_steps: int = 5,
        alpha: Weight = 1.0,
        beta: Weight = 1.0,
        align_to: AlignTo = "refined",
        kl_direction: KLDirection = "teacher_first",
        stop_grad_teacher: bool = True,
        between: Literal["product", "corrected"] = "product",
        num_samples: int = 1,
        step_weights: StepWeights = "even",
        through_time: bool = False,
        features_learn: bool = False,
        initial_trains_decoders: bool = False,
        slope_lengths: bool = False,
        trunk_width: int = 256,
        hidden: int = 512,
        refinement_hidden: int = 256,
        refinement_layers: int = 2,
        students: Literal["along", "after"] = "along",
        prior: Prior | None = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        frozen: Sequence[str] = (),
    ) -> None:
        checked_names(modalities)
        check_choice("students", students, ("along", "after"))
        latent_dim = Layout(latent_dim).size
        if between not in _BETWEEN:
            raise ValueError(f'between: expected "product" or "corrected", got {between!r}.')
        initial = _initial_posterior(base, modalities, latent_dim, trunk_width, hidden, _BETWEEN[between](), covariates)
        super().__init__(
            modalities,
            latent_dim,
            joint_posterior=initial,
            objective=RefinedELBO(
                num_steps,
                alpha=alpha,
                beta=beta,
                align_to=align_to,
                kl_direction=kl_direction,
                stop_grad_teacher=stop_grad_teacher,
                num_samples=num_samples,
                step_weights=step_weights,
                through_time=through_time,
                features_learn=features_learn,
                initial_trains_decoders=initial_trains_decoders,
            ),
            prior=prior,
            covariates=covariates,
            weights=weights,
        )
        self.num_steps, self.students = num_steps, students
        self.refinement = RefinementNetwork(
            initial.num_features,
            latent_dim,
            hidden=refinement_hidden,
            layers=refinement_layers,
            slope_lengths=slope_lengths,
        )
        self._freeze(frozen)

    @classmethod
    def on(cls, vae: MultimodalVAE, **options: Any) -> IterativeVAE:
        """A model with new students, and a new refinement network, on the frozen generative model of another.

        Of an :class:`IterativeVAE` the refinement network is taken over and frozen as well: then students alone are
        trained, which is the second of two stages, and the way to compare what students may be aligned to.

        Args:
            vae: trained; it is copied from, not changed. Its joint posterior, frozen too, is where refinement starts.
            **options: of the constructor, in the place of those that follow from ``vae``.

        Raises:
            TypeError: for a model whose joint posterior is no single Gaussian.
        """
        source = vae.joint_posterior
        frozen = ["decoders", "joint_posterior"]
        beta = float(weight_at(vae.objective.beta, vae.epoch))  # where a schedule ended
        given: dict[str, Any] = {"weights": dict(vae.weights), "beta": beta}
        if isinstance(vae, IterativeVAE):
            given = {**vae.arguments, **given}
            frozen.append("refinement")
        elif isinstance(source, JointEncoder):
            given |= {"base": "joint"} | {k: v for k, v in vae.arguments.items() if k in ("trunk_width", "hidden")}
        elif isinstance(source, Product):
            given["base"] = "mvae" if source.prior_expert else "mvtcae"
        else:
            raise TypeError(
                f"{type(vae).__name__}: its joint posterior, {type(source).__name__}, is no single Gaussian, from "
                f"which refinement could start; take JMVAE, MVAE, MVTCAE or another IterativeVAE."
            )
        for name in ("modalities", "latent_dim"):
            given.pop(name, None)
        given["students"] = "along"  # this is the second stage
        model = cls(vae.modalities, vae.latent_dim, **{**given, "frozen": frozen, **options})
        for name in [name for part in frozen for name in _FREEZABLE[part]]:
            if name == "joint_posterior" and isinstance(model.joint_posterior, JointProduct):
                own = source.own if isinstance(source, JointProduct) else vae.experts
                model.joint_posterior.own.load_state_dict(own.state_dict())
            else:
                getattr(model, name).load_state_dict(getattr(vae, name).state_dict())
        return model.to(vae.device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """None, or two: ``"joint"`` and ``"students"``."""
        if self.students == "along":
            return ()
        joint = [name for part in _FREEZABLE if part != "experts" for name in _FREEZABLE[part]]
        settings = self.objective.arguments
        beta = self.objective.beta
        settled = (
            beta.end if isinstance(beta, LinearWarmup) else beta
        )  # the teacher is refined as at the end of "joint"
        return (
            Stage("joint", joint, RefinedELBO(**{**settings, "alpha": 0.0})),
            Stage("students", ["experts"], RefinedELBO(**{**settings, "beta": settled})),
        )

    def posterior(self, batch: Batch) -> Distribution:
        """The refined posterior where a row has every modality, that of the students where not."""
        initial = self._initial
        if self._is_whole(batch):
            return self.refinement_path(batch, self.num_steps)[1].iterates[-1].distribution
        students = initial.between(batch, self.experts)
        whole = initial.whole(batch)
        if set(batch.names) != set(self.names) or not bool(whole.any()):
            return students
        refined, other = Gaussian.of(self.posterior(batch[whole].restrict(None))), Gaussian.of(students)
        rows = whole.nonzero().flatten()
        return Gaussian(
            other.loc.index_copy(0, rows, refined.loc), other.scale.index_copy(0, rows, refined.scale)
        ).distribution

    def refinement_path(self, batch: Batch, steps: int, start: Distribution | None = None) -> tuple[Bound, Path]:
        """What the network makes of a batch in so many steps, and the bound that it climbs.

        Args:
            batch: N data points that conform. For modalities that it does not hold, the network reads zeros.
            steps: T.
            start: λ_0; by default the joint posterior where a row has every modality, that of the students where not.
        """
        features, *initial = self._initial.read(self._filled(batch))
        if start is not None:
            first = Gaussian.of(start)
        elif self._is_whole(batch):
            first = Gaussian(*initial)
        else:
            students = Gaussian.of(self._initial.between(batch, self.experts))
            first = Gaussian(*initial).where(self._initial.whole(batch), students)
        bound = Bound(self, batch, self.weights, weight_at(self.objective.beta, self.epoch))
        noise = shared_noise(max(_LEAST_SAMPLES, self.objective.num_samples), seed=0)
        return bound, unroll(self.refinement, bound, features, first, steps, noise)

    def _is_whole(self, batch: Batch) -> bool:
        """Whether every row has every modality."""
        return batch.complete and set(batch.names) == set(self.names)

    def _filled(self, batch: Batch) -> Batch:
        """The batch with zeros for the modalities that it does not hold, as missing rows of the others have."""
        if set(batch.names) == set(self.names):
            return batch
        zeros = {
            each.name: torch.zeros(
                batch.size, *each.shape, dtype=self._likelihood(each.name).data_dtype, device=batch.device
            )
            for each in self.modalities
        }
        nothing = torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        observed = {**dict.fromkeys(zeros, nothing), **batch.observed}
        return batch.derive({**zeros, **batch.data}, observed, cells=batch.cells, conforms_to=batch.conforms_to)

    def _freeze(self, parts: Sequence[str]) -> None:
        for part in parts:
            if part not in _FREEZABLE:
                raise ValueError(f"frozen: expected parts among {', '.join(map(repr, _FREEZABLE))}, got {part!r}.")
            for name in _FREEZABLE[part]:
                getattr(self, name).requires_grad_(False)

    @property
    def _initial(self) -> JointNetwork:
        assert isinstance(self.joint_posterior, JointNetwork)  # the constructor has made it
        return self.joint_posterior


def _initial_posterior(
    base: str,
    modalities: Sequence[Modality],
    latent_dim: int,
    trunk_width: int,
    hidden: int,
    between: Fusion,
    covariates: CovariateLevels,
) -> JointNetwork:
    encoders, features = make_encoders(modalities, make_likelihoods(modalities))
    context = Covariates(covariates).size
    if base == "joint":
        return JointEncoder(encoders, features, latent_dim, trunk_width, hidden, between, context)
    if base in ("mvae", "mvtcae"):
        return JointProduct(encoders, features, latent_dim, base == "mvae", between, context)
    raise ValueError(f'base: expected "joint", "mvae" or "mvtcae", got {base!r}.')
