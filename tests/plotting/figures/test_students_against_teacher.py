"""Students against their teacher: the numbers of the posteriors, and panels that show them."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import mmvae
from mmvae import Batch, models, plot
from mmvae.testing import LinearGaussian, exact_model
from mmvae.vaes.base import MultimodalVAE

YARDSTICK = LinearGaussian.orthogonal({"a": 3, "b": 4}, latent_dim=2)
DATA = YARDSTICK.sample(40)


def test_students_and_teacher_are_the_posteriors_given_one_and_all() -> None:
    arrays = plot.StudentsAgainstTeacher.of(exact_model(YARDSTICK, "JMVAE"), DATA)
    teacher = YARDSTICK.posterior(DATA)
    assert arrays.names == ("a", "b")
    np.testing.assert_allclose(arrays.teacher_mean, teacher.mean, atol=1e-4)
    np.testing.assert_allclose(arrays.teacher_scale, teacher.variance.sqrt().expand(40, 2), rtol=1e-4)
    for place, name in enumerate(arrays.names):
        student = YARDSTICK.posterior(DATA, name)
        np.testing.assert_allclose(arrays.student_mean[place], student.mean, atol=1e-4)
        np.testing.assert_allclose(arrays.student_scale[place], student.variance.sqrt().expand(40, 2), rtol=1e-4)
        cosine = torch.cosine_similarity(student.mean, teacher.mean)
        np.testing.assert_allclose(arrays.cosine[place], cosine, atol=1e-3)
        pairs = torch.nn.functional.normalize(student.mean) @ torch.nn.functional.normalize(teacher.mean).T
        apart = pairs[~torch.eye(40, dtype=torch.bool)].numpy()  # of different data
        assert all(np.abs(apart - each).min() < 1e-3 for each in arrays.cosine_shuffled[place])
        assert arrays.cosine[place].mean() > arrays.cosine_shuffled[place].mean() + 0.3
    assert (arrays.student_scale >= arrays.teacher_scale).all()


def test_the_teacher_of_a_model_that_refines_itself_is_refined(model: MultimodalVAE, batch: Batch) -> None:
    torch.manual_seed(0)
    refining = models.IterativeVAE(model.modalities, 4, trunk_width=8, hidden=8, refinement_hidden=8)
    arrays = plot.StudentsAgainstTeacher.of(refining, batch)
    whole = batch[[row for row in range(12) if row not in (2, 5)]]  # the rows that have everything
    np.testing.assert_allclose(arrays.teacher_mean, mmvae.infer(refining, whole).mean, atol=1e-5)
    np.testing.assert_allclose(arrays.student_mean[1], mmvae.infer(refining, whole, "codes").mean, atol=1e-5)


def test_explained_variance() -> None:
    generator = np.random.default_rng(0)
    teacher = generator.normal(size=(50, 3)) + np.array([0.0, 5.0, -5.0])
    half = 0.5 * (teacher + teacher.mean(0))
    students = np.stack([teacher, half, np.broadcast_to(teacher.mean(0), teacher.shape)])
    ones, cosine = np.ones_like(teacher), np.ones((3, 50))
    arrays = plot.StudentsAgainstTeacher(("a", "b", "c"), teacher, ones, students, np.stack([ones] * 3), cosine, cosine)
    np.testing.assert_allclose(arrays.explained, [1, 0.75, 0], atol=1e-12)


def test_panels_show_counts_and_shares() -> None:
    arrays = plot.StudentsAgainstTeacher.of(exact_model(YARDSTICK, "JMVAE"), DATA)
    figure = plot.students_against_teacher(arrays)
    assert len(figure.axes) == 6
    for place in range(2):
        means, scales, cosines = figure.axes[3 * place : 3 * place + 3]
        assert f"R² {arrays.explained[place]:.2f}" in means.get_title("left")
        assert means.collections[0].get_array().sum() == 80  # every dimension of every datum
        ratio = np.exp(np.log(arrays.student_scale[place] / arrays.teacher_scale).mean())
        assert f"{ratio:.2f}" in scales.get_title("left")
        assert sum(patch.get_height() for patch in cosines.patches[:40]) == pytest.approx(1)
        assert f"cosine {arrays.cosine[place].mean():.2f}" in cosines.get_title("left")


def test_point_masses_have_no_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(YARDSTICK, "MVAE")
    monkeypatch.setattr(model, "posterior", lambda batch: dist.Delta(torch.zeros(batch.size, 2)).to_event(1))
    with pytest.raises(ValueError, match="MVAE: its posteriors are point masses"):
        plot.StudentsAgainstTeacher.of(model, DATA)


def test_a_single_modality_leaves_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="at least 2 modalities and 2 data points that have them all, got 1 and 40"):
        plot.StudentsAgainstTeacher.of(exact_model(YARDSTICK, "MVAE"), {"a": DATA["a"]})
