"""The objective of iterative amortized inference: a refined joint posterior, and unimodal ones aligned to it."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, Loss, Objective, make_loss
from mmvae.objectives.judging import Judge
from mmvae.objectives.schedules import Weight, checked, weight_at
from mmvae.posteriors import Experts, JointNetwork, JointPosterior
from mmvae.refinement.amortized import Path, unroll
from mmvae.refinement.bound import Bound, Slope, Terms
from mmvae.refinement.gaussian import Gaussian
from mmvae.refinement.network import RefinementNetwork
from mmvae.words import Words, declare_terms

declare_terms(
    Words(
        "initial_elbo",
        "ELBO before refinement",
        "Of the posterior that refinement starts from.",
        unit="nats per datum",
        better="higher",
    ),
    of_bound=True,
)


AlignTo = Literal["refined", "initial"]
KLDirection = Literal["teacher_first", "student_first"]
StepWeights = Literal["even", "late"]


class Iterating(Generative, Protocol):
    """A model with networks for the start of refinement and for its steps."""

    @property
    def joint_posterior(self) -> JointNetwork:
        """Gives λ_0."""

    @property
    def refinement(self) -> RefinementNetwork:
        """Takes λ_t to λ_{t+1}."""


class RefinedELBO(Objective):
    """L(λ_0) + (1/T) Σ_{t=1..T} L(λ_t) - α Σ_m KL(q(z; λ_T) || q_m(z | x_m)), each part for weights of its own.

    L is the ELBO with modality weights and β. L(λ_0) trains the joint posterior, the mean over the steps trains the
    refinement network, L(λ_T) the decoders, and the alignment the unimodal posteriors (the students), for whom the
    refined posterior (the teacher) is a constant.

    In the value of the loss L(λ_T) counts in full, as it does for the decoders.

    One pass through the decoders serves the loss of step t and, as its slope, the input of step t + 1; T + 1 passes in
    all.

    Args:
        num_steps: T. With 0, λ_T is λ_0, which then trains the decoders as well.
        alpha: weight of the alignment.
        beta: KL weight.
        align_to: the posterior that the students are aligned to, ``"refined"`` or, as the control, ``"initial"``.
        kl_direction: ``"teacher_first"``, KL(teacher || student), under which students cover whatever the teacher may
            say, or ``"student_first"``.
        stop_grad_teacher: whether the alignment leaves the teacher alone.
        num_samples: K, draws per datum for each evaluation of L.
        step_weights: of the steps in the loss of the network, ``"even"`` or ``"late"`` (t / T).
        through_time: let the loss of a step reach the steps before it.
        features_learn: let the loss of the network reach the encoders whose features it reads.
        initial_trains_decoders: let L(λ_0) train the decoders too.

    Source: a reconstruction from the abstract of Oshima et al. 2024, arXiv 2410.11403; the loss of the steps is that
    of Marino et al. 2018.
    """

    def __init__(
        self,
        num_steps: int = 5,
        *,
        alpha: Weight = 1.0,
        beta: Weight = 1.0,
        align_to: AlignTo = "refined",
        kl_direction: KLDirection = "teacher_first",
        stop_grad_teacher: bool = True,
        num_samples: int = 1,
        step_weights: StepWeights = "even",
        through_time: bool = False,
        features_learn: bool = False,
        initial_trains_decoders: bool = False,
    ) -> None:
        check_choice("align_to", align_to, ("refined", "initial"))
        check_choice("kl_direction", kl_direction, ("teacher_first", "student_first"))
        check_choice("step_weights", step_weights, ("even", "late"))
        self.num_steps, self.num_samples = num_steps, num_samples
        self.alpha, self.beta = checked("alpha", alpha), checked("beta", beta)
        self.align_to, self.kl_direction, self.stop_grad_teacher = align_to, kl_direction, stop_grad_teacher
        self.step_weights, self.through_time, self.features_learn = step_weights, through_time, features_learn
        self.initial_trains_decoders = initial_trains_decoders

    def refusal(self, posterior: JointPosterior) -> str | None:
        """Refinement starts from networks that see all modalities."""
        if isinstance(posterior, JointNetwork):
            return None
        return "Refinement starts from networks that see all modalities. Pair it with JointEncoder or JointProduct."

    def __call__(self, model: Iterating, batch: Batch) -> Loss:  # type: ignore[override]  # needs these networks
        """The loss of a batch, which must be complete."""
        alpha, beta = weight_at(self.alpha, model.epoch), weight_at(self.beta, model.epoch)
        bound = Bound(model, batch, model.weights, beta)
        features, *start = model.joint_posterior.read(batch)
        features = features if self.features_learn else features.detach()
        path = unroll(
            model.refinement,
            bound,
            features,
            Gaussian(*start),
            self.num_steps,
            self._noise,
            through_time=self.through_time,
        )
        climbed = self._climbed(path, bound)
        last = path.iterates[-1]
        if path.slopes:  # λ_T counts for the network with the share of its step, for the decoders in full
            last = Gaussian(*(_scaled_gradient(each, self._shares()[-1]) for each in last))
        terms = self._terms(bound, last)
        alignment = self._alignment(path, model.experts(batch))
        total = (beta * terms.kl + alpha * alignment - bound.reconstruction(terms)).mean() - climbed
        others = {"alignment": alignment.mean()}
        if path.slopes:
            log_p, kl = path.slopes[0].terms
            others["initial_elbo"] = (sum(log_p.values(), start=-kl)).mean()
        return make_loss(total, batch, terms.log_likelihoods, terms.kl, **others)

    def judged_by(self, model: Generative) -> Judge:
        """What validation compares: the alignment where the unimodal posteriors learn alone, as in a second stage."""
        students, usual = model.experts, super().judged_by(model)
        if not isinstance(model, nn.Module) or not isinstance(students, nn.Module):
            return usual
        learning = {id(each) for each in model.parameters() if each.requires_grad}
        return Judge("alignment", "lower") if learning <= {id(each) for each in students.parameters()} else usual

    def _noise(self, q: Gaussian) -> Tensor:
        return torch.randn(self.num_samples, *q.loc.shape, dtype=q.loc.dtype, device=q.loc.device)

    def _terms(self, bound: Bound, q: Gaussian) -> Terms:
        """With gradients for everything."""
        posterior = q.distribution
        return bound.terms(posterior, posterior.rsample(() if self.num_samples == 1 else (self.num_samples,)))

    def _shares(self) -> list[float]:
        """The weights of λ_1, ..., λ_T in the loss of the network, which add up to 1."""
        raw = [1.0 if self.step_weights == "even" else float(step) for step in range(1, self.num_steps + 1)]
        return [each / sum(raw) for each in raw]

    def _climbed(self, path: Path, bound: Bound) -> Tensor | float:
        """L(λ_0) + Σ_{t<T} share_t L(λ_t), mean per datum, with gradients for λ_0 and the network alone."""
        total: Tensor | float = 0.0
        for q, slope, share in zip(path.iterates, path.slopes, [1.0, *self._shares()], strict=False):
            if slope is path.slopes[0] and self.initial_trains_decoders:
                climbed = bound.value(self._terms(bound, q))
            else:
                climbed = _with_slope(q, slope)
            total = total + share * climbed.mean()
        return total

    def _alignment(self, path: Path, students: Experts) -> Tensor:
        """Σ_m of the KL between teacher and student m, ``[N]``."""
        teacher = path.iterates[-1 if self.align_to == "refined" else 0]
        if self.stop_grad_teacher:
            teacher = teacher.detach()
        pair = (teacher.distribution, students.distribution)  # [N], [M, N]
        to_each = divergence(*pair) if self.kl_direction == "teacher_first" else divergence(*reversed(pair))
        return students.sum_over(to_each)


def _with_slope(q: Gaussian, slope: Slope) -> Tensor:
    """The bound at q, ``[N]``, whose gradient with respect to q is the slope that is known already."""
    rise = (slope.loc * q.loc + slope.log_variance * q.log_variance).sum(-1)
    return rise + (slope.value - rise).detach()


def _scaled_gradient(value: Tensor, share: float) -> Tensor:
    """The value, of whose gradient only a share gets through."""
    return share * value + (1 - share) * value.detach()
