"""What a model may be asked. Whoever asks names the ability, never a class, so that any model may have it.

Every model infers and trains (:class:`Infers`, :class:`Trains`); the other abilities are what some families can do and
others cannot. Abilities that answer with parts of the core are told beside these parts: what objectives ask
(``mmvae.objectives.base.Generative``), what refinement asks (``mmvae.refinement.Refinable``), training in stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.covariates import Covariates
from mmvae.latents import Latents
from mmvae.modality import Modality
from mmvae.subsets import Subset

# Every model.


@runtime_checkable
class Infers(Protocol):
    """A model that gives the latents of a batch; every model does."""

    def infer(self, batch: Any, subset: Subset = None, observed: Any = None) -> Latents:
        """The posterior of each row of one batch, given a subset of its modalities."""


@runtime_checkable
class Evaluated(Infers, Protocol):
    """A model as metrics and figures see it: it infers, names its modalities, and is a module."""

    names: tuple[str, ...]
    training: bool

    def eval(self) -> Any:
        """Evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        """Training mode."""

    def modules(self) -> Iterator[nn.Module]:
        """The model and its parts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""


# What training asks.


@runtime_checkable
class Trains(Protocol):
    """A model as ``fit`` sees it: a module that checks its data and gives a loss; every model of the library is one."""

    names: tuple[str, ...]
    epoch: Tensor

    def prepare(self, data: Any, observed: Any = None) -> Batch:
        """Data as a batch that conforms, on the model's device."""

    def loss(self, batch: Any) -> Any:
        """The training loss: ``.total``, a scalar, mean per row, and ``.terms``, scalars by name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Its weights by name."""

    def state_dict(self) -> dict[str, Any]:
        """Its weights and buffers by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Takes over weights and buffers."""

    def to(self, device: Any) -> Any:
        """Moves it."""

    def train(self, mode: bool = True) -> Any:
        """Training mode."""


@runtime_checkable
class ChecksLabels(Protocol):
    """A model that is trained on labels."""

    def check_labels(self, labels: Tensor | None) -> None:
        """Raises ``ValueError`` or ``TypeError`` for labels that it cannot be trained on."""


@runtime_checkable
class HasObjective(Protocol):
    """A model whose loss is that of an objective."""

    objective: Any


@runtime_checkable
class HasInnerSteps(Protocol):
    """A model of which some networks are fitted on the side, some steps before each step of the others.

    Estimators of mutual information are such: their own loss fits them, and the model's loss only reads them.
    """

    inner_steps: int
    inner_lr: float

    def inner_parameters(self) -> Iterable[nn.Parameter]:
        """The weights of those networks, which the main optimiser leaves alone."""

    def inner_inputs(self, batch: Batch) -> Any:
        """What they are fitted on; run once per batch, without gradients."""

    def inner_loss(self, inputs: Any) -> Tensor:
        """The scalar that they minimise."""


@runtime_checkable
class HasParts(Protocol):
    """A model whose gradients are clipped part by part."""

    def gradient_parts(self) -> Iterable[Iterable[nn.Parameter]]:
        """The weights of each part."""


@runtime_checkable
class HasTokens(Protocol):
    """A model with learned tokens. They stand in rows of a matrix and yet are no map, so weight decay leaves them."""

    def token_parameters(self) -> Iterable[nn.Parameter]:
        """The tokens."""


# Probabilistic models.


@runtime_checkable
class Weighs(Protocol):
    """A model with densities, which can weigh draws of its posterior."""

    def log_weights(self, batch: Any, subset: Subset = None, num_samples: int = 1000) -> Tensor:
        """log p(x_S, z_k) - log q(z_k | x_S), in nats, ``[K, N]``."""


@runtime_checkable
class HasPrior(Protocol):
    """A model with a prior over its latent."""

    @property
    def prior(self) -> Callable[..., Distribution]:
        """Gives p(z), of batch shape ``[]`` and event shape ``[D]``; or p(z | c), given encoded covariates."""

    @property
    def covariates(self) -> Covariates:
        """What the model knows of every row."""


@runtime_checkable
class Samples(Protocol):
    """A model that makes data from draws of its prior."""

    def sample(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Data of every modality, ``{name: [num_samples, *shape]}``, given covariates if the model has some."""


@runtime_checkable
class Describes(Protocol):
    """A model that says what data its modalities are, as judges of generated data need to know."""

    modalities: Sequence[Modality]


@runtime_checkable
class Imputes(Evaluated, Describes, Protocol):
    """A model that says how the data of each row is distributed, by which its holes are filled."""

    def prepare(self, data: Any, observed: Any = None) -> Batch:
        """Data as a batch that conforms, on the model's device."""

    def predictive(self, batch: Batch, z: Tensor) -> dict[str, Distribution]:
        """p(x_m | z) of every modality, given latents ``[K, N, D]`` of the rows of a batch."""

    def agreed(self, name: str, distribution: Distribution) -> Tensor:
        """The one value of each row that stands for a mixture over the first dimension, ``[N, *shape]``."""

    def is_ordered(self, name: str) -> Tensor | bool:
        """Whether the values of a modality have an order, which codes lack; one for all, or by column."""


# Models that generate, that classify, that have codes.


@runtime_checkable
class Generates(Protocol):
    """A model that makes data from latents."""

    def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
        """Data of every modality, ``{name: [N, *shape]}``."""


@runtime_checkable
class Predicts(Protocol):
    """A model that classifies."""

    def predict(self, latents: Latents) -> Tensor:
        """The logits of classes or of labels, ``[N, C]``."""


@runtime_checkable
class HasCodebook(Protocol):
    """Anything with codes, such as the models of :mod:`mmvae.codebooks` and :class:`mmvae.nn.Quantiser`."""

    @property
    def codebook(self) -> Tensor:
        """The codes, ``[L, D]``."""


@runtime_checkable
class Noted(Protocol):
    """A model that says in words which of its variants it is, for a report."""

    note: str


_LACKS: dict[type, str] = {
    Weighs: "has no log_weights, so no densities",
    HasPrior: "has no prior",
    Samples: "has no prior to draw from (it has no method sample)",
    Imputes: "does not say how data is distributed (it has no method predictive)",
    Generates: "does not generate (it has no method generate)",
    Predicts: "does not classify (it has no method predict)",
    HasCodebook: "has no codebook (its latents have no codes)",
}


def lack(ability: type) -> str:
    """What a model without this ability lacks, as the end of a sentence that begins with the model."""
    return _LACKS.get(ability, f"is no model that {ability.__name__} describes")
