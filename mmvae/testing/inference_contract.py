"""What every model of the library must do, probabilistic or not: one latent of any subset, a loss, saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.multimodal import MultimodalModel
from mmvae.subsets import powerset


class InferenceContract(ABC):
    """Tests of any model. Inherit :class:`ModelContract` for a VAE, and this for a classifier or a codebook.

    Example:
        .. code-block:: python

            class TestMyClassifier(InferenceContract):
                def build(self):
                    return MyClassifier({"image": nn.ViT((1, 8, 8), 4), "text": nn.TextTransformer(9, 5)}, 3)

                def make_data(self, size=6): ...

                def make_labels(self, size=6): ...
    """

    trains_on_incomplete_data: bool = True
    """Whether the loss takes rows that lack modalities; otherwise it must refuse them with a ``ValueError``."""

    rebuilds_itself: bool = True
    """Whether ``mmvae.load`` can build the model from its folder alone, without parts of the user's."""

    @abstractmethod
    def build(self) -> Any:
        """A model to test."""

    @abstractmethod
    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        """Complete data, the same at each call."""

    def make_labels(self, size: int = 6) -> Tensor | None:
        """The labels of the data, for models that are trained on them."""
        return None

    def make(self) -> Any:
        """A model with the same weights at each call, in evaluation mode."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self._knowing(self.build().eval())

    def make_covariates(self) -> dict[str, float]:
        """A value of each covariate, for models that have some; tests that say nothing else take it for every row."""
        return {}

    def _knowing(self, model: Any) -> Any:
        """The model with these covariates wherever a test passes data without them."""
        known = self.make_covariates()
        if known:
            prepare = model.prepare

            def with_known(data: Any, observed: Any = None, covariates: Any = None) -> Batch:
                there = data.covariates if isinstance(data, Batch) else {}
                return prepare(data, observed, {**known, **there, **(covariates or {})})

            model.prepare = with_known
        return model

    def make_observed(self) -> dict[str, Tensor]:
        """A mask for six rows, each of which has something."""
        names = self.make().names
        shown = torch.arange(6)[:, None] % len(names) != torch.arange(len(names))  # each row lacks another
        shown = shown if len(names) > 1 else ~shown
        shown[0] = True
        return {name: shown[:, place].clone() for place, name in enumerate(names)}

    def noise(self, value: Tensor) -> Tensor:
        """What stands under a false mask to show that it reaches nothing."""
        return torch.full_like(value, float("nan") if value.is_floating_point() else -7)

    # Inference.

    def test_it_is_a_model(self) -> None:
        """What training, evaluation and reports rely on."""
        model = self.make()
        assert isinstance(model, MultimodalModel)
        assert model.epoch == 0

    def test_any_subset_in_any_order(self) -> None:
        """Every subset is inferred; the order of names does not matter."""
        model, data = self.make(), self.make_data()
        turned = dict(reversed(data.items()))
        for subset in powerset(model.names):
            latents = model.infer(data, subset)
            assert latents.subset == subset
            assert latents.distribution.batch_shape == (6,)
            assert latents.mean.shape == (6, *latents.distribution.event_shape)
            assert latents.sample(3).shape == (3, *latents.mean.shape)
            assert len(latents) == 6
            assert latents.mean.isfinite().all()
            for same in (model.infer(turned, tuple(reversed(subset))), model.infer(data, set(subset))):
                torch.testing.assert_close(same.mean, latents.mean)
        assert torch.equal(model.infer(data).mean, model.infer(data, model.names).mean)
        name = model.names[-1]
        assert torch.equal(model.infer(data, name).mean, model.infer({name: data[name]}).mean)

    def test_any_split_of_a_batch(self) -> None:
        """Latents of rows do not depend on the rows beside them, nor on the size of batches."""
        model, batch = self.make(), Batch(self.make_data(), self.make_observed())
        whole = infer(model, batch)
        for batch_size in (1, 4):
            parts = infer(model, batch, batch_size=batch_size)
            torch.testing.assert_close(parts.mean, whole.mean)
            torch.testing.assert_close(parts.scale, whole.scale)
            assert parts.distribution.batch_shape == (6,)
            assert (parts.codes is None) == (whole.codes is None)
            if parts.codes is not None and whole.codes is not None:
                assert torch.equal(parts.codes, whole.codes)

    def test_missing_rows_are_inferred_from_what_they_have(self) -> None:
        """A row under false masks has the latent of the modalities that remain."""
        model, data, observed = self.make(), self.make_data(), self.make_observed()
        latents = model.infer(data, observed=observed)
        for row in range(6):
            subset = [name for name in model.names if bool(observed[name][row].any())]
            within = {name: observed[name][row : row + 1] for name in subset if observed[name].ndim > 1}
            alone = model.infer({name: data[name][row : row + 1] for name in subset}, observed=within)
            torch.testing.assert_close(alone.mean, latents.mean[row : row + 1])
            torch.testing.assert_close(alone.scale, latents.scale[row : row + 1])

    def test_values_under_a_false_mask_reach_nothing(self) -> None:
        """Latents, losses and gradients are the same, whatever stands under a false mask."""
        data, observed = self.make_data(), self.make_observed()
        noisy = {name: value.clone() for name, value in data.items()}
        for name, value in noisy.items():
            value[~observed[name]] = self.noise(value[~observed[name]])
        results = []
        for each in (data, noisy):
            model = self.make()
            torch.manual_seed(3)
            numbers = self.numbers_of(model, each, observed)
            if self.trains_on_incomplete_data:
                loss = model.loss(Batch(each, observed, self.make_labels()))
                loss.total.backward()
                numbers += [loss.total, *loss.terms.values()]
                numbers += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            results.append(numbers)
        for first, second in zip(*results, strict=True):
            assert first.isfinite().all()
            assert torch.equal(first, second)

    def numbers_of(self, model: Any, data: dict[str, Tensor], observed: dict[str, Tensor]) -> list[Tensor]:
        """Numbers that must not depend on what stands under a false mask."""
        return [model.infer(data, observed=observed).mean]

    # Training.

    def test_loss_reaches_every_parameter(self) -> None:
        """A finite scalar with finite gradients for all parameters that are trained; terms are finite scalars."""
        model = self.make()
        loss = model.loss(Batch(self.make_data(64), labels=self.make_labels(64)))
        assert loss.total.shape == ()
        assert all(term.shape == () and term.isfinite() for term in (loss.total, *loss.terms.values()))
        loss.total.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not self.is_fitted_aside(name):
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name

    def is_fitted_aside(self, name: str) -> bool:
        """Whether a parameter is none of those that the loss trains."""
        return False

    def test_incomplete_data(self) -> None:
        """Trained on, where the model can; refused by name, where not."""
        import pytest

        model, data, observed = self.make(), self.make_data(), self.make_observed()
        partial = {name: data[name] for name in model.names[:-1] or model.names}
        for batch in (Batch(data, observed, self.make_labels()), Batch(partial, labels=self.make_labels())):
            if self.trains_on_incomplete_data:
                assert model.loss(batch).total.isfinite()
            else:
                with pytest.raises(ValueError, match=rf"incomplete.*{model.names[-1]}"):
                    model.loss(batch)

    # Manners.

    def test_nothing_of_the_caller_is_changed(self) -> None:
        """Data, masks, modes of training and weights stay; random numbers are drawn and never reseeded."""
        model, data, observed = self.make(), self.make_data(), self.make_observed()
        before = {name: value.clone() for name, value in data.items()}
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [part.training for part in model.modules()]
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            infer(model, data, model.names[:1])
            model.infer(data, observed=observed)
            model.loss(Batch(data, labels=self.make_labels()))
            states.append(torch.rand(()))
        assert states[0] != states[1]
        assert [part.training for part in model.modules()] == modes
        assert all(torch.equal(data[name], before[name]) for name in data)
        assert set(observed) == set(data)
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert len(pyro.get_param_store()) == 0

    def test_wrong_subsets_and_names_are_refused(self) -> None:
        """Each with an error that names what is wrong."""
        import pytest

        model, data = self.make(), self.make_data()
        first, last = model.names[0], model.names[-1]
        cases: list[tuple[Any, Any, str]] = [
            (data, "voice", "unknown modality 'voice'"),
            (data, [], "empty"),
            ({**data, "voice": data[first]}, None, "'voice' is no modality"),
            ({}, None, "no data"),
        ]
        if first != last:
            cases.append(({first: data[first]}, last, last))
            cases.append(({**data, first: data[first][:5]}, None, "unequal batch sizes"))
        for given, subset, message in cases:
            with pytest.raises(ValueError, match=message):
                model.infer(given, subset)

    def test_saved_and_loaded_it_is_the_same(self, tmp_path: Path) -> None:
        """Weights come back from a folder, bit by bit."""
        import mmvae

        model, data = self.make(), self.make_data()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        mmvae.save(model, tmp_path / "run")
        loaded = mmvae.load(tmp_path / "run", None if self.rebuilds_itself else self.make()).eval()
        assert torch.equal(loaded.infer(data).mean, model.infer(data).mean)
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
