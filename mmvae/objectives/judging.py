"""What judges a model in validation: one term, and which end of it is the good one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from mmvae.choices import check_choice
from mmvae.words import Better, better_end


@dataclass(frozen=True)
class Judge:
    """The term that validation compares: the best epoch, early stopping and the weights that are kept follow it.

    Args:
        term: ``"loss"``, or the name of a term of the loss.
        better: Whether ``"higher"`` or ``"lower"`` values are better.

    Raises:
        ValueError: For another word than these two.
    """

    term: str
    better: Better

    def __post_init__(self) -> None:
        check_choice("better", self.better, get_args(Better))

    def score(self, row: Mapping[str, Any]) -> float:
        """The value of a row of metrics, with its sign turned where lower is better: higher scores are better.

        Raises:
            ValueError: If the row has no such term; names those that it has.
        """
        if self.term not in row:
            terms = ", ".join(repr(name) for name, value in row.items() if isinstance(value, float))
            raise ValueError(f"select: no term {self.term!r} is recorded. Choose among {terms}.")
        return float(row[self.term]) if self.better == "higher" else -float(row[self.term])


BY_ELBO = Judge("elbo", "higher")
BY_LOSS = Judge("loss", "lower")


def judge_named(term: str, modalities: Collection[str]) -> Judge:
    """The judge by a term of this name.

    Args:
        term: ``"loss"``, a term of the library, or a modality: its expected log-likelihood, higher is better.
        modalities: Names of the modalities of the model.

    Raises:
        ValueError: For a term whose good end is not known.
    """
    better = "higher" if term in modalities else better_end(term)
    if better is None:
        raise ValueError(
            f"select: it is not known whether higher or lower values of {term!r} are better. Pass "
            f'mmvae.objectives.Judge({term!r}, "higher"), or "lower".'
        )
    return Judge(term, better)


def usual_judge(terms: Collection[str]) -> Judge:
    """The judge of a model that names none: the ELBO, for classifiers the loss of the task, otherwise the loss.

    Args:
        terms: Names of the terms that are recorded.
    """
    return next((judge for judge in (BY_ELBO, Judge("task", "lower")) if judge.term in terms), BY_LOSS)
