"""Numbers in words: what metrics and terms of losses are called, their unit, their meaning, and their good end.

Whoever computes a number declares its words beside it; reports, curves, the display and the documentation read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mmvae.choices import check_choice

Better = Literal["higher", "lower"]
"""The good end of a number."""

_COUNTS = {"1": "one modality", "2": "two modalities", "3": "three modalities", "4": "four modalities"}


@dataclass(frozen=True)
class Words:
    """A number in words.

    Args:
        name: Its key: the ``metric`` of a row, or a column of ``metrics.csv``. One ``*`` stands for any text.
        heading: Title of its column or panel, without the unit; a ``{}`` in it is filled with what stands for the
            ``*``.
        meaning: A sentence for readers.
        unit: Unit, or what the number counts; empty where the heading says it.
        better: Whether ``"higher"`` or ``"lower"`` values are better; ``None`` where neither is.
        fill: Text for the heading, from what stands for the ``*``.

    Raises:
        ValueError: For a good end that is neither.

    Example:
        >>> owned = Words("used_by_*", "Used by {}", fill=modalities)
        >>> owned.of("used_by_2").heading
        'Used by two modalities'
    """

    name: str
    heading: str
    meaning: str = ""
    unit: str = ""
    better: Better | None = None
    fill: Callable[[str], str] = str

    def __post_init__(self) -> None:
        if self.better is not None:
            check_choice("better", self.better, get_args(Better))

    @property
    def title(self) -> str:
        """The heading with the unit in parentheses."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def of(self, name: str) -> Words | None:
        """The words of a number of this name, or ``None`` if they are about other numbers."""
        head, star, tail = self.name.partition("*")
        if not star:
            return self if name == self.name else None
        if not (name.startswith(head) and name.endswith(tail)) or len(name) <= len(head) + len(tail):
            return None
        filling = name[len(head) : len(name) - len(tail)]
        return replace(self, name=name, heading=self.heading.format(self.fill(filling)))


def modalities(count: int | str) -> str:
    """``"one modality"``, ``"two modalities"``, ...; in figures beyond four."""
    return _COUNTS.get(str(count), f"{count} modalities")


_LOSS = "loss"
_BOUND: list[Words] = []
_OTHERS: list[Words] = []


def declare_terms(*terms: Words, of_bound: bool = False) -> None:
    """Make the words of terms of a loss known.

    Args:
        terms: Words of the terms, by the names that ``Loss.terms`` has.
        of_bound: Whether the loss is a bound on a likelihood, or a likelihood at points. Its further terms are the
            expected log-likelihoods of modalities, under their names.
    """
    (_BOUND if of_bound else _OTHERS).extend(terms)


def term_words(term: str, recorded: Collection[str]) -> Words:
    """The words of a term; one that nobody declared is called by its name.

    Args:
        term: Name of a term, or ``"loss"``.
        recorded: Names of all terms of the same loss. Where they include ``"elbo"`` or ``"kl"``, as those of a
            VAE do, or ``"log_likelihood"``, as those of a deterministic autoencoder do, terms that are not declared
            are modalities.
    """
    is_of_points = "log_likelihood" in recorded
    is_bound = "elbo" in recorded or "kl" in recorded or is_of_points
    if term == _LOSS:
        unit = "nats per datum" if is_bound else "mean over the data"
        return Words(_LOSS, "Training loss", "What training minimises, with all weights.", unit, "lower")
    for words in _BOUND if is_bound else _OTHERS:
        found = words.of(term)
        if found is not None:
            return found
    if is_bound:
        where = "at the points of what was given" if is_of_points else "under the posterior"
        meaning = f"Expected log-likelihood of {term} {where}."
        return Words(term, term, meaning, "nats per datum", "higher")
    return Words(term, term, unit="mean over the data")


def better_end(term: str) -> Better | None:
    """The good end of a term of any loss of the library, or ``None`` if it is not known."""
    if term == _LOSS:
        return "lower"
    found = (words.of(term) for words in (*_BOUND, *_OTHERS))
    return next((words.better for words in found if words is not None and words.better), None)
