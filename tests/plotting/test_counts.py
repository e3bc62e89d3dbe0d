"""Numbers of modalities in words."""

from __future__ import annotations

from mmvae.plotting.words import describe_term, metric_name, modalities


def test_words_up_to_four_then_figures() -> None:
    assert [modalities(count) for count in (1, "2", 5)] == ["one modality", "two modalities", "5 modalities"]


def test_metrics_and_terms_use_the_same_words() -> None:
    assert metric_name("codebook_owned_by_4").name == "Codes owned by four modalities"
    assert describe_term("used_by_4", ()).heading == "Used by four modalities"
