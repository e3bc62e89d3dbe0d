"""From pseudo-inputs to the posteriors of a model, for priors that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from mmvae.autoencoders.forms import ModalityForm
from mmvae.batch import Batch
from mmvae.posteriors import Fusion, JointNetwork, JointPosterior, UnimodalExperts


class PseudoEncoder:
    """The encoders and the fusion of a model, for complete inputs: what encoders read, and features instead of codes.

    It is not a module: the networks remain the model's.

    Args:
        shapes: Shape of one row of each modality.
        forms: What the model shows of each modality to its encoder.
        experts: Its unimodal posteriors.
        joint_posterior: Its joint posterior, a fusion, or a joint network with one between one modality and all.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        forms: Mapping[str, ModalityForm],
        experts: UnimodalExperts,
        joint_posterior: JointPosterior,
    ) -> None:
        self._shapes, self._forms = dict(shapes), dict(forms)
        self._experts, self.joint_posterior = experts, joint_posterior

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one input of each modality."""
        widths = self._experts.widths
        codes = self._of_codes
        return {name: (widths[name],) if name in codes else shape for name, shape in self._shapes.items()}

    def inputs_of(self, batch: Batch) -> dict[str, Tensor]:
        """What encoders read, or features of codes, of the rows of a batch."""
        codes = self._of_codes
        features = self._experts.features(batch.restrict(codes)) if codes else {}
        read = {name: self._forms[name].inputs(batch.data[name], None)[0] for name in batch.names if name not in codes}
        return {**read, **features}

    def __call__(self, inputs: Mapping[str, Tensor]) -> Distribution:
        """The fusion of all modalities, of batch shape ``[C]``.

        Raises:
            ValueError: For a joint posterior without a fusion.
        """
        joint = self.joint_posterior
        fusion = joint.between if isinstance(joint, JointNetwork) else joint
        if not isinstance(fusion, Fusion):
            raise ValueError(
                f"prior: Vamp needs a fusion of experts, got {type(fusion).__name__}; take priors.GaussianMixture(20)."
            )
        codes = self._of_codes
        features = {name: inputs[name] if name in codes else self._feature(name, inputs[name]) for name in self._shapes}
        return fusion.fuse(self._experts.from_features(features, Batch.trusted(features)))

    @property
    def _of_codes(self) -> list[str]:
        """Modalities whose data are whole numbers."""
        return [name for name, form in self._forms.items() if not form.data_dtype.is_floating_point]

    def _feature(self, name: str, read: Tensor) -> Tensor:
        """What the encoder of a modality makes of complete rows."""
        mask = (torch.ones_like(read, dtype=torch.bool),) if self._forms[name].has_cells else ()
        return cast("Tensor", self._experts.encoders[name](read, *mask))
