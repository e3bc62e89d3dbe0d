"""Numbers in words: patterns, counts, and the terms of every model of the library."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmvae import Modality, likelihoods, models, objectives
from mmvae.evaluation import metric_words
from mmvae.words import Words, better_end, modalities, term_words

NAMES = st.text("abcdefgh_123", min_size=1, max_size=8)


def test_words_up_to_four_then_figures() -> None:
    assert [modalities(count) for count in (1, "2", 5)] == ["one modality", "two modalities", "5 modalities"]


def test_metrics_and_terms_use_the_same_words() -> None:
    assert metric_words("codebook_owned_by_4").title == "Codes owned by four modalities"
    assert term_words("used_by_4", ()).heading == "Used by four modalities"


@given(head=NAMES, filling=NAMES, other=NAMES)
def test_a_star_stands_for_any_text(head: str, filling: str, other: str) -> None:
    words = Words(f"{head}.*", "Of {}", unit="nats")
    found = words.of(f"{head}.{filling}")
    assert found is not None
    assert (found.name, found.heading, found.title) == (f"{head}.{filling}", f"Of {filling}", f"Of {filling} (nats)")
    assert words.of(f"{head}.") is None
    assert words.of(other) is None
    assert Words(other, "Other").of(other) == Words(other, "Other")
    assert Words(other, "Other").of(f"{other}x") is None


def test_the_good_end_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="better: expected one of 'higher', 'lower', got 'more'"):
        Words("a", "A", better="more")  # type: ignore[arg-type]
    assert better_end("loss") == "lower"
    assert better_end("accuracy") == "higher"
    assert better_end("perplexity") is None
    assert better_end("unheard_of") is None


def vaes() -> list[Any]:
    modalities = [Modality(name, (3,), likelihoods.Normal()) for name in ("a", "b")]
    known = {"modalities": modalities, "latent_dim": 2, "private_dim": 1, "num_clusters": 2}
    made = []
    for kind in vars(models).values():
        if inspect.isclass(kind) and issubclass(kind, models.MultimodalVAE) and kind is not models.MultimodalVAE:
            parameters = inspect.signature(kind).parameters.values()
            made.append(kind(**{each.name: known[each.name] for each in parameters if each.default is each.empty}))
    made += [models.MMVAE(modalities, latent_dim=2, num_samples=2, objective=each) for each in ("iwae", "elbo")]
    return made


@pytest.mark.parametrize("model", vaes(), ids=lambda model: type(model).__name__)
def test_every_term_of_a_vae_is_declared_or_a_modality(model: Any) -> None:
    terms = model.loss({"a": torch.randn(4, 3), "b": torch.randn(4, 3)}).terms
    assert ("elbo" in terms) == (not isinstance(model, models.MMVM))  # which bounds no joint likelihood
    for name in terms:
        words = term_words(name, terms)
        assert words.unit in ("nats per datum", "nats")  # the latter of what is no mean over rows
        assert words.better is not None or name == "entropy"  # of learned weights, with no good end
        assert words.meaning.endswith(".")
        assert (words.heading == name) == (name in model.names)


@pytest.mark.parametrize("kind", [models.DCCAE, models.MAAE, models.MWAE])
@pytest.mark.filterwarnings("ignore:canonical correlations of views")
def test_every_term_of_an_autoencoder_is_declared_or_a_modality(kind: Any) -> None:
    model = kind([Modality(name, (3,), likelihoods.Normal()) for name in ("a", "b")], 2)
    terms = model.loss({"a": torch.randn(4, 3), "b": torch.randn(4, 3)}).terms
    assert "log_likelihood" in terms
    for name in terms:
        words = term_words(name, terms)
        assert words.unit
        assert words.better == ("higher" if name in (*model.names, "log_likelihood") else "lower")
        assert words.meaning.endswith(".")
        assert (words.heading == name) == (name in model.names)
    assert term_words("a", terms).meaning == "Expected log-likelihood of a at the points of what was given."


def test_every_objective_of_the_library_was_asked() -> None:
    """The models above cover them: a new objective needs a model here, so that its terms are looked at."""
    kinds = {
        each for each in vars(objectives).values() if inspect.isclass(each) and issubclass(each, objectives.Objective)
    }
    asked = {type(model.objective) for model in vaes()}
    library = {each for each in kinds if each.__module__.startswith("mmvae.") and not inspect.isabstract(each)}
    assert library - asked <= {objectives.ELBO, objectives.StratifiedDReG}  # these add no term to those of others
