"""Any name that a modality may bear works everywhere; any other is refused with a reason."""

from __future__ import annotations

import inspect
import string
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

import mmvae
from mmvae import Modality, likelihoods, models, words
from mmvae.evaluation.results import members
from mmvae.modality import RESERVED_NAMES, check_name
from mmvae.subsets import label, powerset

TRICKY = [
    "rna",
    "é",
    "a b",
    "[bold]x",
    "$x$",
    "<b>",
    "a,b",
    'a"b',
    "a'b",
    "100%",
    "a=b",
    "{0}",
    "a|b",
    "0",
    "名",
    "a:b",
]
REFUSED = [
    *(
        "",
        " ",
        "a.b",
        ".a",
        "a+b",
        "+",
        "a/b",
        "/tmp/a",
        "a\\b",
        "..",
        "a\n",
        "a\tb",
        "\x1b[31m",
        "-a",
        "=a",
        "@a",
        " a",
    ),
    *(
        "a ",
        "\u200e",
        "_a",
        "a" * 101,
        "'a",
        "z",
        "data",
        "loss",
        "epoch",
        "split",
        "seconds",
        "alignment",
        "kl",
        "elbo",
    ),
    *("conditional_kl", "training", "keys", "items", "forward", "observed", "labels", "total", "perplexity", "iwae"),
]

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def allowed(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", TRICKY)
def test_odd_names_are_fine(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_would_be_ambiguous_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"modality name: .*(choose another|expected 1 to 100)"):
        Modality(name, (3,), likelihoods.Normal())


@settings(max_examples=200)
@given(NAMES)
def test_no_name_that_is_allowed_can_do_harm(name: str) -> None:
    if not allowed(name):
        return
    assert name[0] not in "=+-@'\t\r"  # a formula in a spreadsheet
    assert not set(name) & set("./\\+")
    assert name.isprintable()
    assert Path("folder", f"{name}.npy").parent == Path("folder")
    assert not hasattr(nn.ModuleDict(), name)


@settings(max_examples=100)
@given(st.lists(NAMES.filter(allowed), min_size=1, max_size=4, unique=True))
@example(["a", "b", "ab"])
def test_labels_of_subsets_are_unambiguous(names: list[str]) -> None:
    subsets = powerset(names)
    assert len({label(subset) for subset in subsets}) == len(subsets)
    assert all(members(label(subset)) == frozenset(subset) for subset in subsets)


def rows_after_training(name: str, folder: Path | None) -> Any:
    torch.manual_seed(0)
    vae = models.MVTCAE([Modality(each, (3,), likelihoods.Normal()) for each in (name, "other")], latent_dim=2)
    data = {name: torch.linspace(-1, 1, 60).reshape(20, 3), "other": torch.linspace(1, -1, 60).reshape(20, 3)}
    return vae, mmvae.fit(vae, data, epochs=1, validation=0.25, progress=False, out=folder)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES.filter(allowed))
@example(name="[bold]x")
@example(name="a,b\"c'd")
@example(name="$x_^$")
def test_a_run_is_the_same_whatever_its_modality_is_called(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run") / "run"
    _, plain = rows_after_training("x", None)
    vae, run = rows_after_training(name, folder)
    for row, expected in zip(run.metrics, plain.metrics, strict=True):
        renamed = {name if key == "x" else key: value for key, value in expected.items() if key != "seconds"}
        assert {key: value for key, value in row.items() if key != "seconds"} == renamed
    again = mmvae.training.Run.load(folder)
    assert [{**row, "seconds": 0} for row in again.metrics] == [{**row, "seconds": 0} for row in run.metrics]
    assert again.model.names == vae.names


def terms_of_library_models() -> dict[str, set[str]]:
    """The terms of the losses of models that also have one by the name of each modality."""
    found = {}
    for kind in (getattr(models, name) for name in models.__all__):
        if not issubclass(kind, models.MultimodalVAE) or kind is models.MultimodalVAE:
            continue
        torch.manual_seed(0)
        needed = [each.name for each in inspect.signature(kind).parameters.values() if each.default is each.empty]
        sizes = dict.fromkeys((name for name in needed if name not in ("modalities", "kwargs", "options")), 2)
        vae = kind([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], **sizes)
        loss = vae.loss({name: torch.randn(8, 3) for name in "ab"})
        found[kind.__name__] = set(loss.terms) - {"a", "b"}
    return found


def test_every_term_of_the_library_is_a_reserved_name() -> None:
    found = terms_of_library_models()
    assert {"MVAE", "JMVAE", "MVTCAE"} <= found.keys()
    assert {kind: terms - RESERVED_NAMES for kind, terms in found.items() if terms - RESERVED_NAMES} == {}


def test_every_term_that_is_declared_is_a_reserved_name() -> None:
    declared = {each.name for each in (*words._BOUND, *words._OTHERS)}
    assert "elbo" in declared
    assert {name for name in declared if "*" not in name} <= RESERVED_NAMES


def test_suggestions_can_be_taken() -> None:
    for name in ("loss", "a.b", "left/right", "a+b"):
        with pytest.raises(ValueError, match="such as") as caught:
            check_name(name)
        check_name(str(caught.value).rsplit("such as ", 1)[1].rstrip(".").strip("'"))


@pytest.mark.parametrize("letters", [string.ascii_letters + string.digits])
def test_single_letters_and_digits_are_names(letters: str) -> None:
    for letter in letters:
        if letter not in RESERVED_NAMES:
            check_name(letter)
