"""The objective of iterative amortized inference once more: row by row, step by step, and one loss after another.

Here every part of the objective is a loss of its own, differentiated with respect to the parameters that it is to
train and no others, so nothing needs to be stopped, scaled or reused. Slopes come from autograd on the row's own bound.
Networks are the model's, and so is the noise, which is read off the latents that the objective drew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from objectives.reference import Drawn, Gaussian, kl_normal, log_normal
from objectives.reference import Reference as Base
from torch import Tensor

from mmvae import refinement
from mmvae.refinement.bound import Slope, Terms

Path = list[Gaussian]


@dataclass
class Options:
    """Of the objective, with its defaults."""

    num_steps: int = 5
    alpha: float = 1.0
    beta: float = 1.0
    align_to: str = "refined"
    kl_direction: str = "teacher_first"
    stop_grad_teacher: bool = True
    num_samples: int = 1
    step_weights: str = "even"
    through_time: bool = False
    features_learn: bool = False
    initial_trains_decoders: bool = False

    @property
    def shares(self) -> list[float]:
        """Of the steps 1, ..., T in the loss of the network."""
        if self.step_weights == "even":
            return [1 / self.num_steps] * self.num_steps
        return [2 * step / (self.num_steps * (self.num_steps + 1)) for step in range(1, self.num_steps + 1)]


class Reference(Base):
    """The loss of an IterativeVAE, its terms and its gradients, all in float64."""

    def __init__(self, model: Any, data: dict[str, Tensor], drawn: list[Drawn], options: Options) -> None:
        super().__init__(model, data, None)
        self.options = options
        self.noise: list[list[Tensor]] = []  # of each row, for each pass through the decoders, [K, D]
        self.paths: list[Path] = []
        self.gradients: dict[int, Tensor] = {}
        self.value = torch.zeros((), dtype=torch.float64)
        self.terms: dict[str, float] = {}
        for row in range(self.size):
            self._visit(row, [each.z.reshape(-1, self.size, model.latent_dim)[:, row] for each in drawn])
        self.terms["elbo"] = sum(self.terms[name] for name in self.names) - self.terms["kl"]

    def log_p(self, name: str, row: int, z: Tensor) -> Tensor:
        if name != "real":
            return super().log_p(name, row, z)
        scale = self.model.likelihoods["real"].log_scale.exp() + 1e-3
        return log_normal(self.data["real"][row].double(), self.model.decoders["real"](z[None])[0], scale)

    def bound(self, row: int, q: Gaussian, noise: Tensor) -> Tensor:
        """L(q), weighted."""
        total = -self.options.beta * kl_normal(q, self.prior())
        for epsilon in noise:
            total = total + self.weighted(row, q[0] + q[1] * epsilon, self.names) / len(noise)
        return total

    def start(self, row: int) -> tuple[Tensor, Gaussian]:
        """Features and λ_0."""
        posterior = self.model.joint_posterior
        own = posterior.trunks if hasattr(posterior, "trunks") else posterior.own.encoders
        features = []
        for name in self.names:
            x = self.data[name][row : row + 1]
            features.append(own[name](x.double() if x.is_floating_point() else x)[0])
        if hasattr(posterior, "trunks"):
            loc, scale = posterior.head(posterior.hidden(torch.cat(features)[None]))
            return torch.cat(features), (loc[0], scale[0])
        precision = torch.full((self.model.latent_dim,), float(posterior.product.prior_expert), dtype=torch.float64)
        weighted = torch.zeros_like(precision)
        for name, feature in zip(self.names, features, strict=True):
            loc, scale = posterior.own.heads[name](feature[None])
            precision = precision + 1 / scale[0] ** 2
            weighted = weighted + loc[0] / scale[0] ** 2
        return torch.cat(features), (weighted / precision, 1 / precision.sqrt())

    def step(self, row: int, features: Tensor, q: Gaussian, noise: Tensor) -> Gaussian:
        """λ_{t+1}: the slope is a number, the network is what gradients flow through."""
        loc, log_variance = q[0].detach().requires_grad_(), (2 * q[1].detach().log()).requires_grad_()
        value = self.bound(row, (loc, (log_variance / 2).exp()), noise)
        slope = torch.autograd.grad(value, (loc, log_variance))
        nothing = torch.zeros(1, dtype=torch.float64)
        following = self.model.refinement(
            features[None],
            refinement.Gaussian(q[0][None], q[1][None]),
            Slope(Terms({}, nothing), nothing, slope[0][None], slope[1][None]),
        )
        return following.loc[0], following.scale[0]

    def _visit(self, row: int, draws: list[Tensor]) -> None:
        options = self.options
        features, initial = self.start(row)
        if not options.features_learn:
            features = features.detach()
        path, noise = [initial], []
        for z in draws[: options.num_steps]:
            loc, scale = path[-1]
            noise.append(((z - loc) / scale).detach())
            if not options.through_time or len(path) == 1:
                loc, scale = loc.detach(), scale.detach()
            path.append(self.step(row, features, (loc, scale), noise[-1]))
        noise.append(((draws[-1] - path[-1][0]) / path[-1][1]).detach())
        first = noise[0]
        if options.initial_trains_decoders and options.num_steps:
            first = ((draws[-2] - initial[0]) / initial[1]).detach()
        self.paths.append(path)
        self.noise.append(noise)
        self._train(row, path, noise, first)

    def _train(self, row: int, path: Path, noise: list[Tensor], first: Tensor) -> None:
        options, model = self.options, self.model
        generative = [*model.decoders.parameters(), *model.likelihoods.parameters()]
        encoders, network = list(model.joint_posterior.parameters()), list(model.refinement.parameters())
        through_network = network + encoders * options.features_learn

        last = self.bound(row, path[-1], noise[-1])
        self.value = self.value - last.detach() / self.size
        self._descend(-last, generative)

        if options.num_steps:
            initial = self.bound(row, path[0], first)
            self.value = self.value - initial.detach() / self.size
            self._descend(-initial, encoders + generative * options.initial_trains_decoders)
            for step, share in enumerate(options.shares, start=1):
                climbed = self.bound(row, path[step], noise[step])
                self._descend(-share * climbed, through_network)
                if step < options.num_steps:
                    self.value = self.value - share * climbed.detach() / self.size
        else:
            self._descend(-last, encoders)

        loc, scale = path[-1] if options.align_to == "refined" else path[0]
        alignment = torch.zeros((), dtype=torch.float64)
        for name in self.names:
            pair = ((loc, scale), self.expert(name, row))
            alignment = alignment + kl_normal(*(pair if options.kl_direction == "teacher_first" else pair[::-1]))
        self.value = self.value + options.alpha * alignment.detach() / self.size
        self._descend(options.alpha * alignment, list(model.experts.parameters()))
        if not options.stop_grad_teacher:
            refined = options.align_to == "refined" and options.num_steps
            self._descend(options.alpha * alignment, through_network if refined else encoders)

        self._count("alignment", alignment)
        self._count("kl", kl_normal(path[-1], self.prior()))
        for name in self.names:
            self._count(name, self._expected(row, name, path[-1], noise[-1]))
        if options.num_steps:
            honest = sum(self._expected(row, name, path[0], noise[0]) for name in self.names)
            self._count("initial_elbo", honest - kl_normal(path[0], self.prior()))  # type: ignore[arg-type]

    def _expected(self, row: int, name: str, q: Gaussian, noise: Tensor) -> Tensor:
        return torch.stack([self.log_p(name, row, q[0] + q[1] * epsilon) for epsilon in noise]).mean()

    def _descend(self, loss: Tensor, parameters: list[Any]) -> None:
        gradients = torch.autograd.grad(loss / self.size, parameters, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                self.gradients[id(parameter)] = self.gradients.get(id(parameter), 0) + gradient

    def _count(self, name: str, term: Tensor) -> None:
        self.terms[name] = self.terms.get(name, 0.0) + float(term.detach()) / self.size
