"""What judges a model follows from what its training improves."""

from __future__ import annotations

from typing import Any

import pytest

from mmvae import Modality, likelihoods, models
from mmvae.objectives import Judge, LinearWarmup
from mmvae.objectives.judging import BY_ELBO, BY_LOSS, judge_named, usual_judge

RECIPES = [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE, models.IterativeVAE]


def make(recipe: Any, **options: Any) -> Any:
    modalities = [Modality(name, (3,), likelihoods.Normal(0.5)) for name in ("a", "b")]
    return recipe(modalities, latent_dim=2, **options)


def bound(recipe: Any, judge: Judge) -> Judge:
    """In the place of the ELBO the importance-weighted bound, where that is what training raises."""
    return Judge("iwae", "higher") if recipe is models.MMVAE and judge == BY_ELBO else judge


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, BY_ELBO),
        ({"beta": 2.5}, BY_LOSS),
        ({"beta": LinearWarmup(end=1.0, epochs=5)}, BY_ELBO),
        ({"beta": LinearWarmup(end=0.5, epochs=5, start=1.0)}, BY_LOSS),
        ({"weights": {"a": 1.0, "b": 3.0}}, BY_LOSS),
        ({"weights": {"a": 1.0, "b": 1.0}}, BY_ELBO),
    ],
)
def test_the_elbo_judges_plain_elbos_and_the_loss_all_else(recipe: Any, options: Any, expected: Judge) -> None:
    model = make(recipe, **options)
    assert model.objective.judged_by(model) == bound(recipe, expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_loss_judges_models_with_a_frozen_part(recipe: Any) -> None:
    model = make(recipe)
    model.decoders["a"].requires_grad_(False)
    assert model.objective.judged_by(model) == bound(recipe, BY_ELBO)  # the other decoder learns
    model.decoders.requires_grad_(False)
    assert model.objective.judged_by(model) == BY_LOSS


def test_students_that_learn_alone_are_judged_by_their_alignment() -> None:
    first = make(models.IterativeVAE)
    students = models.IterativeVAE.on(first)
    assert students.objective.judged_by(students) == Judge("alignment", "lower")
    with_network = models.IterativeVAE.on(make(models.JMVAE))  # the refinement network learns too
    assert with_network.objective.judged_by(with_network) == BY_LOSS


def test_schedules_settle_where_the_longest_ends() -> None:
    assert make(models.MVAE).objective.settled_after == 0
    assert make(models.MVAE, beta=LinearWarmup(epochs=7.5)).objective.settled_after == 7.5
    both = make(models.JMVAE, alpha=LinearWarmup(epochs=3), beta=LinearWarmup(epochs=2), warmup_epochs=4)
    assert both.objective.settled_after == 4


def test_scores_turn_the_sign_where_lower_is_better() -> None:
    row = {"epoch": 1, "loss": 3.0, "elbo": -2.0}
    assert BY_LOSS.score(row) == -3.0
    assert BY_ELBO.score(row) == -2.0
    with pytest.raises(ValueError, match=r"no term 'kl' is recorded. Choose among 'loss', 'elbo'\."):
        Judge("kl", "lower").score(row)
    with pytest.raises(ValueError, match=r"better: expected one of 'higher', 'lower', got 'up'"):
        Judge("kl", "up")  # type: ignore[arg-type]


def test_terms_have_a_good_end() -> None:
    assert judge_named("alignment", ("a",)) == Judge("alignment", "lower")
    assert judge_named("accuracy", ("a",)) == Judge("accuracy", "higher")
    assert judge_named("a", ("a",)) == Judge("a", "higher")
    with pytest.raises(ValueError, match=r'of \'mine\' are better. Pass mmvae.objectives.Judge\(\'mine\', "higher"\)'):
        judge_named("mine", ("a",))


def test_models_without_a_judge_are_judged_by_what_they_record() -> None:
    assert usual_judge(["loss", "elbo", "task"]) == BY_ELBO
    assert usual_judge(["loss", "task", "accuracy"]) == Judge("task", "lower")
    assert usual_judge(["loss", "perplexity"]) == BY_LOSS
