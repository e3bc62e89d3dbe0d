"""CMPT: cross-modal proxy tokens, which stand for the class token of a modality that is missing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import check_count, numbers_checked
from mmvae.classifiers.classifier import MultimodalClassifier, Shown
from mmvae.classifiers.fusion.slots import make_fusion, of_width
from mmvae.classifiers.lora import add_lora, merge_lora
from mmvae.classifiers.task import Task
from mmvae.classifiers.tokens import EncoderOutput, Frozen, TokenEncoder
from mmvae.collectives import gathered, mean_over, total
from mmvae.words import Words, declare_terms


@numbers_checked
class ProxyHead(nn.Module):
    """Learned tokens that read the tokens of an encoder, from outside: ``[N, n, d] -> [N, k, d]``.

    One layer of a transformer over the learned tokens and those of the encoder, of which the outputs at the learned
    ones are kept.

    Args:
        dim: d, the width of a token.
        count: k, how many are learned.
        dropout: of the layer.
    """

    def __init__(self, dim: int, count: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, dim))
        heads = math.gcd(4, dim)
        self.layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, batch_first=True)

    def forward(
        self, tokens: Float[Tensor, "N n d"], mask: Bool[Tensor, "N n"] | None = None
    ) -> Float[Tensor, "N k d"]:
        """The learned tokens after they have read the valid ones of each datum."""
        count = len(self.tokens)
        sequence = torch.cat([self.tokens.expand(tokens.shape[0], -1, -1), tokens], 1)
        hidden = None if mask is None else torch.cat([mask.new_zeros(mask.shape[0], count), ~mask], 1)
        return self.layer(sequence, src_key_padding_mask=hidden)[:, :count]


declare_terms(
    Words(
        "alignment", "Alignment of proxies", "Of proxies with the class tokens of their rows.", "mean distance", "lower"
    ),
    Words(
        "class_variance_*",
        "Class token, {}",
        "Falls towards zero if the targets of the alignment collapse.",
        "variance of a feature",
    ),
)


Place = Literal["inside", "outside"]
"""Where the proxy tokens of a modality live: among the tokens of its encoder, or behind it."""


class CMPT(MultimodalClassifier):
    """Frozen encoders with adapters of rank one, and a learned token for each pair of modalities that bridges them.

    Trains on incomplete data: a row that lacks modalities trains the task, complete pairs train the proxies too.

    The encoder of modality s carries one *proxy token* for each other modality t. Its output imitates the class token
    of t, and takes its place in a row that lacks t; where several modalities are there, their proxies are averaged.
    The tokens of all modalities, real or proxies, are added up, and a linear head reads the sum.

    The code of the authors and the full text of the paper could not be read: this is a reconstruction. Known from the
    authors themselves: frozen encoders with low-rank adapters of rank one, a token for each modality that approximates
    the missing class token from the available modality, no generator, joint training with weight 0.2 of the alignment,
    incomplete data in training and test. Known at second hand: the token passes through the adapted encoder with the
    others, mean squared error, a gate by what is there, the sum, modality dropout. Choices of this library: adapters on
    query and value in all layers without scaling or dropout, tokens behind the embedded ones without a position,
    started at N(0, 0.02²), maps between encoders of different width. What made no difference where it was measured is
    no argument; a subclass may set :attr:`isolate_proxy`, or have another :meth:`distances`.

    An encoder that has no place for learned tokens has them behind it, see :class:`~mmvae.nn.ProxyHead`;
    :attr:`places` and :attr:`note` say which variant runs.

    Args:
        encoders: ``{name: module}``; copied and frozen.
        num_classes: C.
        task: ``"single-label"`` (one class each) or ``"multi-label"`` (any number of labels each).
        modality_dropout: in training, show of each row a random non-empty subset of the modalities that it has.
        rank: of the adapters, one number or ``{name: rank}``; 0 for none.
        targets: the matrices that are adapted, see :func:`~mmvae.nn.add_lora`; one list or ``{name: list}``.
        num_proxies: tokens for each directed pair; their outputs are averaged.
        alignment: weight of the alignment loss.
        fusion: ``"sum"``, ``"gated"`` (a learned gate for each feature) or ``"concat"``.
        common_dim: d, to which class tokens and proxies of another width are mapped; by default the largest width.

    Attributes:
        isolate_proxy: keep the other tokens of an encoder from looking at the proxies, so that its class token is that
            of the encoder without them.
        places: ``{name: "inside" or "outside"}``, where the proxies that a modality gives live.
        adapted: ``{name: number}``, how many matrices of each encoder have an adapter.

    Raises:
        ValueError: for settings out of their range, or an encoder that has none of the targets.

    Source: Reza et al. 2025, "Robust multimodal learning via cross-modal proxy tokens"; adapters of Hu et al. 2022.
    Several sources of a missing modality: this library's reading, after a later method of that family.
    """

    isolate_proxy: bool = False

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        *,
        task: Task = "single-label",
        modality_dropout: bool = True,
        rank: int | Mapping[str, int] = 1,
        targets: Sequence[str] | Mapping[str, Sequence[str]] = ("query", "value"),
        num_proxies: int = 1,
        alignment: float = 0.2,
        fusion: Literal["sum", "gated", "concat"] = "sum",
        common_dim: int | None = None,
    ) -> None:
        super().__init__(encoders, num_classes, task=task, modality_dropout=modality_dropout)
        if num_proxies < 1:
            raise ValueError(f"num_proxies: expected at least 1, got {num_proxies}.")
        self.num_proxies, self.alignment = num_proxies, alignment
        self.ranks = {n: check_count("rank", each, 0) for n, each in _by_modality(rank, self.names, "rank").items()}
        self.adapted = {name: self._adapt(name, targets) for name in self.names}
        self._add_proxies()
        self._add_maps(common_dim or max(self.encoder(name).dim for name in self.names))
        self.fusion = make_fusion(fusion, [self.common_dim] * len(self.names))
        self.latent_dim = self.fusion.size
        self.head = nn.Linear(self.latent_dim, num_classes)

    def adopt(self, encoder: TokenEncoder) -> TokenEncoder:
        """A frozen copy of the encoder."""
        return Frozen(encoder)

    # Which variant it is.

    @property
    def note(self) -> str:
        """Which variant runs, in words for a report."""

        def said_of(name: str) -> str:
            rank, adapted = self.ranks[name], self.adapted[name]
            adapters = f"{adapted} matrices adapted at rank {rank}" if rank else "no adapters"
            return f"{name}: proxy tokens {self.places[name]} the encoder, {adapters}"

        return "; ".join(map(said_of, self.names))

    def merge(self) -> CMPT:
        """A copy whose adapters are part of the weights of its encoders, which are plain tensors; same outputs.

        The copy is a CMPT of ``rank=0``, and is saved and loaded as such. Trained on, its tokens and its head move.
        """
        given = self.arguments["encoders"].values()
        merged = copy.deepcopy(self, {id(each): each for each in given})  # these stay with their owner
        for encoder in merged.encoders.values():
            merge_lora(encoder)
        merged.arguments = {**self.arguments, "rank": 0}
        merged.ranks = dict.fromkeys(self.names, 0)
        merged.adapted = dict.fromkeys(self.names, 0)
        return merged

    def token_parameters(self) -> Iterator[nn.Parameter]:
        """The proxy tokens, which weight decay leaves alone."""
        yield from self.proxy_tokens.values()
        for head in self.proxy_heads.values():
            assert isinstance(head, ProxyHead)
            yield head.tokens

    # From a batch to a latent.

    def encode(self, batch: Batch) -> dict[str, EncoderOutput]:
        """The class token, the tokens and the proxies (as ``extra``) that the encoders make of each row."""
        return {name: self._encode(name, batch) for name in batch.names}

    def represent(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Float[Tensor, "N D"]:
        """The fused tokens: of each modality its class token where it is shown, otherwise its proxy."""
        proxies = {name: self._proxies(name, output) for name, output in encodings.items()}
        slots = []
        for target in self.names:
            slot = None
            sources = [source for source in encodings if source != target]
            if sources:
                there = torch.stack([shown[source] for source in sources])[..., None]  # [S, N, 1]
                stand_ins = torch.stack([proxies[source][target] for source in sources])  # [S, N, d]
                slot = (stand_ins * there).sum(0) / there.sum(0).clamp(min=1)
            if target in encodings:
                own = self._class_token(target, encodings[target])
                slot = own if slot is None else torch.where(shown[target][:, None], own, slot)
            assert slot is not None  # every row is shown some modality
            slots.append(slot)
        return self.fusion(slots)

    def regularisers(
        self, encodings: Mapping[str, EncoderOutput], batch: Batch, shown: Shown
    ) -> dict[str, tuple[float, Tensor]]:
        """``"alignment"`` of the proxies, of complete pairs, whatever is shown; and how far class tokens vary.

        ``"class_variance_<name>"``, which is no part of the loss, is the variance of a feature of the class token,
        mean over the features: it falls towards zero if the targets collapse.
        """
        terms = {"alignment": (self.alignment, self._misalignment(encodings, batch))}
        for name, output in encodings.items():
            (tokens,) = gathered(output.cls.detach()[_rows(batch, name)])
            if len(tokens):
                terms[f"class_variance_{name}"] = (0.0, tokens.var(0, correction=0).mean())
        return terms

    def distances(self, proxy: Float[Tensor, "N d"], token: Float[Tensor, "N d"]) -> Tensor:
        """Squared errors of proxies for class tokens, of each row and feature; their mean is the alignment."""
        return (proxy - token).square()

    def _encode(self, name: str, batch: Batch) -> EncoderOutput:
        if len(self.names) == 1:
            return self.run(name, batch)
        if self.places[name] == "inside":
            return self.run(name, batch, self.proxy_tokens[name], self.isolate_proxy)
        output = self.run(name, batch)
        extra = self.proxy_heads[name](output.tokens, output.mask)
        return EncoderOutput(output.cls, output.tokens, output.mask, output.hidden, extra)

    def _proxies(self, source: str, output: EncoderOutput) -> dict[str, Float[Tensor, "N d"]]:
        """By target, the proxies for its class token."""
        if output.extra is None:
            return {}
        each = output.extra.unflatten(1, (-1, self.num_proxies)).mean(2)  # [N, M - 1, d_s]
        maps = self.proxy_maps[source]
        assert isinstance(maps, nn.ModuleDict)
        return {target: to_common(each[:, index]) for index, (target, to_common) in enumerate(maps.items())}

    def _class_token(self, name: str, output: EncoderOutput) -> Float[Tensor, "N d"]:
        return self.class_maps[name](output.cls)

    def _misalignment(self, encodings: Mapping[str, EncoderOutput], batch: Batch) -> Tensor:
        """How far proxies are from the class tokens, mean over features, rows that have both, and directed pairs."""
        proxies = {name: self._proxies(name, output) for name, output in encodings.items()}
        targets = {name: self._class_token(name, output) for name, output in encodings.items()}
        distances = []
        for source, target in permutations(encodings, 2):
            rows = _rows(batch, source, target)
            proxy, token = proxies[source][target][rows], targets[target][rows]
            if total(len(proxy), proxy.device):
                distances.append(mean_over(self.distances(proxy, token)))
        return torch.stack(distances).mean() if distances else torch.zeros((), device=self.device)

    # What it is made of.

    def _adapt(self, name: str, targets: Any) -> int:
        """Puts adapters into the encoder of a modality; how many."""
        rank = self.ranks[name]
        if rank == 0:
            return 0
        wanted = _by_modality(targets, self.names, "targets")[name]
        try:
            return add_lora(self.encoder(name), rank, wanted)
        except ValueError as error:
            without = {each: 0 if each == name else rank for each, rank in self.ranks.items()}
            raise ValueError(f"{name}: {error} Or leave its adapters out: rank={without}.") from error

    def _add_proxies(self) -> None:
        """Learned tokens inside the encoders that have a place for them, heads behind the others."""
        count = (len(self.names) - 1) * self.num_proxies
        self.places: dict[str, Place] = {
            name: "inside" if self.encoder(name).takes_extra else "outside" for name in self.names
        }
        self.proxy_tokens, self.proxy_heads = nn.ParameterDict(), nn.ModuleDict()
        for name, place in self.places.items() if count else ():
            dim = self.encoder(name).dim
            if place == "inside":
                self.proxy_tokens[name] = nn.Parameter(0.02 * torch.randn(count, dim))
            else:
                self.proxy_heads[name] = ProxyHead(dim, count)

    def _add_maps(self, common_dim: int) -> None:
        """From the width of each encoder to the common one: of class tokens, and of each directed pair's proxies."""
        self.common_dim = common_dim
        dims = {name: self.encoder(name).dim for name in self.names}
        self.class_maps = nn.ModuleDict({name: of_width(dim, common_dim) for name, dim in dims.items()})
        self.proxy_maps = nn.ModuleDict(
            {
                source: nn.ModuleDict({target: of_width(dim, common_dim) for target in self.names if target != source})
                for source, dim in dims.items()
            }
        )


def _by_modality(value: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """A setting of each modality, given as one for all or by name."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    if set(value) != set(names):
        raise ValueError(
            f"{what}: expected one for each of {', '.join(map(repr, names))}, got {', '.join(map(repr, value))}."
        )
    return {name: value[name] for name in names}


def _rows(batch: Batch, *names: str) -> Tensor | slice:
    """The rows that have all these modalities; without looking at a device where no row lacks any."""
    if batch.complete:
        return slice(None)
    return torch.stack([batch.observed[name] for name in names]).all(0).nonzero().flatten()
