"""From pseudo-inputs to the posteriors of a model, for priors that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.likelihoods import Likelihood
from mmvae.modality import Modality
from mmvae.posteriors import Fusion, JointNetwork, JointPosterior, UnimodalExperts


class PseudoEncoder:
    """The encoders and the fusion of a model, for complete inputs: real data, or features in the place of codes.

    It is not a module: the networks remain the model's.

    Args:
        modalities: What the model sees.
        likelihoods: Its likelihoods, by name.
        experts: Its unimodal posteriors.
        joint_posterior: Its joint posterior, a fusion, or a joint network with one between one modality and all.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        likelihoods: nn.ModuleDict,
        experts: UnimodalExperts,
        joint_posterior: JointPosterior,
    ) -> None:
        self._modalities, self._likelihoods = tuple(modalities), likelihoods
        self._experts, self._joint_posterior = experts, joint_posterior

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one input of each modality."""
        widths = self._experts.widths
        codes = self._of_codes
        return {
            each.name: (widths[each.name],) if each.name in codes else tuple(each.shape) for each in self._modalities
        }

    def inputs_of(self, batch: Batch) -> dict[str, Tensor]:
        """Data, or features of codes, of the rows of a batch."""
        codes = self._of_codes
        features = self._experts.features(batch.restrict(codes)) if codes else {}
        return {**{name: batch.data[name] for name in batch.names if name not in codes}, **features}

    def __call__(self, inputs: Mapping[str, Tensor]) -> Distribution:
        """The fusion of all modalities, of batch shape ``[C]``.

        Raises:
            ValueError: For a joint posterior without a fusion.
        """
        joint = self._joint_posterior
        fusion = joint.between if isinstance(joint, JointNetwork) else joint
        if not isinstance(fusion, Fusion):
            raise ValueError(
                f"prior: Vamp needs a fusion of experts, got {type(fusion).__name__}; take priors.GaussianMixture(20)."
            )
        codes = self._of_codes
        real = {name: value for name, value in inputs.items() if name not in codes}
        found = {**inputs, **(self._experts.features(Batch.trusted(real)) if real else {})}
        features = {each.name: found[each.name] for each in self._modalities}
        return fusion.fuse(self._experts.from_features(features, Batch.trusted(features)))

    @property
    def _of_codes(self) -> list[str]:
        """Modalities whose data are whole numbers."""
        types = {each.name: cast("Likelihood", self._likelihoods[each.name]).data_dtype for each in self._modalities}
        return [name for name, kind in types.items() if not kind.is_floating_point]
