"""Models on the disk: readable, rebuilt from JSON alone, and equal bit for bit."""

from __future__ import annotations

import functools
import json
import random
import resource
import time

import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import save_file

import mmvae
from mmvae import Modality, likelihoods, models, nn
from mmvae.objectives import LinearWarmup
from mmvae.storage import read_tensors
from mmvae.training import load, save
from mmvae.training.config_file import description_digest, read_configuration
from mmvae.training.saving import write_weights

RECIPES = [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE]


def protocol_model(recipe):
    modalities = [
        Modality("mnist", (1, 28, 28), likelihoods.Laplace(0.75), nn.MNISTEncoder, nn.MNISTDecoder),
        Modality("svhn", (3, 32, 32), likelihoods.Laplace(0.75), nn.SVHNEncoder(), nn.SVHNDecoder),
        Modality("text", (8,), likelihoods.Categorical(71), nn.TextEncoder, nn.TextDecoder, weight=10.0),
    ]
    return recipe(modalities, 20, weights="balanced")


def default_model(recipe):
    modalities = [
        Modality("vector", (3,), likelihoods.Normal("learned")),
        Modality("codes", (5,), likelihoods.Categorical(num_categories=4)),
        Modality("binary", (2, 2), likelihoods.Bernoulli(relaxed=True)),
        Modality("counts", (4,), likelihoods.NegativeBinomial()),
    ]
    return recipe(modalities, latent_dim=3, beta=LinearWarmup(2.0, epochs=5), weights={"codes": 3.0})


@pytest.mark.parametrize("make", [protocol_model, default_model])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_comes_back(make, recipe, tmp_path, assert_same):
    model = make(recipe)
    model.epoch.fill_(2.5)
    assert save(model, tmp_path / "deep" / "folder") == tmp_path / "deep" / "folder"
    before = torch.get_rng_state()
    again = load(tmp_path / "deep" / "folder")
    assert torch.equal(torch.get_rng_state(), before)
    assert type(again) is recipe
    assert_same(model, again)
    assert again.weights == model.weights
    assert vars(again.objective) == vars(model.objective)
    assert [str(part) for part in again.modules()] == [str(part) for part in model.modules()]
    assert {path.name for path in (tmp_path / "deep" / "folder").iterdir()} == {"config.json", "model.safetensors"}


def test_infers_the_same(new_model, data, tmp_path):
    model = new_model()
    again = load(save(model, tmp_path))
    assert torch.equal(mmvae.infer(model, data).mean, mmvae.infer(again, data).mean)


def test_the_configuration_is_readable(model, tmp_path):
    save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"]["class"] == "models.MoPoE"
    arguments = config["model"]["arguments"]
    assert arguments["latent_dim"] == 3
    assert arguments["beta"] == 1.0  # defaults too, which another version may change
    image = config["model"]["modalities"][0]
    assert (image["name"], image["shape"], image["weight"]) == ("image", [2, 3], 1.0)
    assert image["likelihood"] == {"class": "likelihoods.Laplace", "arguments": {"scale": 0.75}}
    decoder = {"class": "nn.MLPDecoder", "positional": [], "arguments": {"shape": [2, 3], "hidden": [6]}}
    assert image["decoder"] == decoder


def test_saving_again_takes_the_place_of_the_weights(new_model, tmp_path, assert_same):
    save(new_model(), tmp_path)
    save(new_model(seed=3), tmp_path)
    assert_same(load(tmp_path), new_model(seed=3))


def test_saving_into_the_folder_of_a_run(new_model, data, tmp_path, assert_same):
    run = mmvae.fit(new_model(), data, epochs=1, out=tmp_path, progress=False)
    before = (tmp_path / "config.json").read_text()
    save(run.model, tmp_path)
    assert (tmp_path / "config.json").read_text() == before
    assert_same(load(tmp_path), run.model)


def test_another_model_is_not_overwritten(new_model, tmp_path):
    save(new_model(), tmp_path)
    with pytest.raises(ValueError, match=r"holds another model: the model is a MoPoE there and a MVAE here. Choose"):
        save(new_model(models.MVAE), tmp_path)


def own_parts(seed=0):
    torch.manual_seed(seed)
    modalities = [
        Modality("a", (4,), lambda x: dist.StudentT(4.0, x, 1.0), encoder=torch.nn.Linear(4, 5)),
        Modality("b", (2,), likelihoods.Normal(), decoder=lambda d: torch.nn.Linear(d, 2)),
    ]
    return models.MVAE(modalities, latent_dim=2)


def test_parts_of_your_own(tmp_path, assert_same):
    model = own_parts()
    save(model, tmp_path)
    with pytest.raises(
        ValueError, match=r"modalities.a.likelihood \(.*own_parts.*lambda.*\); modalities.a.encoder"
    ) as info:
        load(tmp_path)
    assert "modalities.b.decoder" in str(info.value)
    assert "mmvae.load(path, model=vae)" in str(info.value)
    other = own_parts(seed=3)
    assert load(tmp_path, model=other) is other
    assert_same(model, other)


class OwnVAE(models.MVAE):
    def __init__(self, modalities, latent_dim, *, depth=2):
        super().__init__(modalities, latent_dim)
        self.depth = depth


def test_a_subclass_of_your_own(new_model, tmp_path, assert_same):
    save(new_model(OwnVAE, depth=3), tmp_path)
    with pytest.raises(ValueError, match=r"cannot build: model \(.*OwnVAE\)"):
        load(tmp_path)
    assert_same(load(tmp_path, model=new_model(OwnVAE, seed=4, depth=3)), new_model(OwnVAE, depth=3))
    with pytest.raises(ValueError, match=r"the model is a OwnVAE of your own there and a MVAE here"):
        load(tmp_path, model=new_model(models.MVAE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "picture"}, "modalities.image.name is 'image' there and 'picture' here"),
        ({"shape": (3, 2), "encoder": None, "decoder": None}, "modalities.image.shape.0 is 2 there and 3 here"),
        ({"likelihood": likelihoods.Laplace(0.5)}, "modalities.image.likelihood.scale is 0.75 there and 0.5"),
        ({"likelihood": likelihoods.Normal()}, "likelihood is a Laplace there and a Normal here"),
        ({"encoder": nn.MLPEncoder}, None),
    ],
)
def test_a_checkpoint_of_another_model(new_model, tmp_path, change, message):
    model = new_model()
    save(model, tmp_path)
    image, text = model.modalities
    fields = {name: getattr(image, name) for name in ("name", "shape", "likelihood", "encoder", "decoder", "weight")}
    if message is None:  # a network of the user's, whose weights tell the difference
        change = {"encoder": lambda: nn.MLPEncoder((2, 3), (7,))}
        message = r"model.safetensors holds the weights of another model: .* has shape \(6, 6\) there and \(7, 6\) here"
    other = models.MoPoE([Modality(**{**fields, **change}), text], latent_dim=3)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, model=other)


def test_fewer_modalities_and_another_latent_size(new_model, tmp_path):
    model = new_model()
    save(model, tmp_path)
    with pytest.raises(ValueError, match=r"modalities is image, text there and image here"):
        load(tmp_path, model=models.MoPoE(model.modalities[:1], latent_dim=3))
    with pytest.raises(ValueError, match=r"one given: latent_dim is 3 there and 4 here"):
        load(tmp_path, model=models.MoPoE(model.modalities, latent_dim=4))


def test_damaged_files(model, tmp_path):
    save(model, tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole = weights.read_bytes()
    for part in (whole[:-1], whole[:100], whole[:4], b""):
        weights.write_bytes(part)
        with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
            load(tmp_path)
    weights.write_bytes(whole)
    text = config.read_text()
    broken = [text[:50], "[]", "{}", '{"format": 2, "model": {}}', '{"format": 1, "mmvae": "0.1.0", "model": {}}']
    broken += [text.replace('"beta"', '"gamma"'), text.replace("MoPoE", "NoPoE")]
    for each in broken:
        config.write_text(each)
        with pytest.raises(ValueError, match=r"config.json is damaged"):
            load(tmp_path)
    config.write_text(text.replace('"format": 2', '"format": 3').replace('"0.1.0"', '"0.9.0"'))
    with pytest.raises(
        ValueError, match=r"has format 3, written by mmvae 0.9.0; this is mmvae .* Install that version"
    ):
        load(tmp_path)


def edited(folder, change):
    """Edits config.json; the weights are made to belong to it, as one who means harm would."""
    config = json.loads((folder / "config.json").read_text())
    change(config["model"])
    (folder / "config.json").write_text(json.dumps(config))
    tensors, _ = read_tensors(folder / "model.safetensors")
    write_weights(folder, tensors, description_digest(read_configuration(folder)))


def image(model):
    return model["modalities"][0]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model["arguments"].update(latent_dim=10**9),
        lambda model: model["arguments"].update(latent_dim=10**30),
        lambda model: image(model).update(shape=[10**6, 10**6]),
        lambda model: image(model)["encoder"]["arguments"].update(hidden=[50_000, 50_000]),
        lambda model: image(model)["encoder"]["arguments"].update(hidden=[1] * 10**5),
        lambda model: image(model)["decoder"]["arguments"].update(hidden=[50_000, 50_000]),
        lambda model: model["modalities"].extend({**image(model), "name": f"m{number}"} for number in range(3000)),
    ],
)
def test_a_description_that_asks_for_the_machine_is_refused_at_once(new_model, tmp_path, change):
    save(new_model(), tmp_path)
    edited(tmp_path, change)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=rf"{tmp_path}/config.json is damaged"):
        load(tmp_path)
    assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_layers_without_end_are_refused_at_once(tmp_path):
    vit = nn.ViT((1, 4, 4), patch=2, dim=4, depth=1, heads=2)
    save(models.LateFusion({"image": vit}, 3), tmp_path)
    edited(tmp_path, lambda model: model["arguments"]["encoders"]["image"]["arguments"].update(depth=10**9))
    with pytest.raises(ValueError, match=r"it asks for more than .* numbers or .* parts"):
        load(tmp_path)


def test_a_description_of_other_shapes_is_refused_by_name(new_model, tmp_path):
    save(new_model(), tmp_path)
    edited(tmp_path, lambda model: model["arguments"].update(latent_dim=4))
    with pytest.raises(
        ValueError, match=r"holds other weights than those of that model: .* has shape \(6, 6\) there and \(8, 6\) here"
    ):
        load(tmp_path)


@pytest.mark.parametrize("change", [{"beta": 2.0}, {"prior_expert": "all"}, {"seed": 1}])
def test_a_description_that_changed_since_the_weights_were_written_is_refused(new_model, tmp_path, change):
    """Nothing but the digest tells: the weights fit."""
    save(new_model(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["arguments"].update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config.json is damaged.*safetensors was written for another description"):
        load(tmp_path)


def test_every_changed_byte_of_the_weights_is_noticed(new_model, tmp_path):
    save(new_model(), tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for place in random.Random(0).sample(range(len(whole)), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path} is damaged"):
            load(tmp_path)


def test_weights_of_another_program_are_not_overwritten_or_loaded(new_model, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights of another program")
    with pytest.raises(ValueError, match=r"holds model.safetensors, but no config.json: mmvae did not write it"):
        save(new_model(), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights of another program"
    (tmp_path / "model.safetensors").unlink()
    save(new_model(), tmp_path)
    save_file(dict(new_model(seed=1).state_dict()), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors has no digest"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"model.safetensors has no digest: mmvae did not write it"):
        save(new_model(), tmp_path)


def test_files_of_a_later_version_name_it(new_model, tmp_path):
    save(new_model(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["mmvae"] = "99.1.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    load(tmp_path)  # which knows all that stands in it
    edited(tmp_path, lambda model: model["arguments"].update(later=1))
    with pytest.raises(ValueError, match=r"written in format 2 by mmvae 99.1.0. This is mmvae .* no argument 'later'"):
        load(tmp_path)


def test_missing_files(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no model"):
        load(tmp_path)
    save(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no weights yet"):
        load(tmp_path)


def test_tied_weights_are_saved(data, tmp_path, assert_same):
    def tied(seed):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(4, 4)
        encoder = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
        modality = Modality("a", (4,), likelihoods.Normal(), encoder=encoder)
        return models.MVAE([modality], latent_dim=2)

    save(tied(0), tmp_path)
    assert_same(load(tmp_path, model=tied(1)), tied(0))


def test_nothing_is_pickled(new_model, data, tmp_path, monkeypatch):
    import pickle

    def refuse(*_, **__):
        raise AssertionError("pickled")

    mmvae.fit(new_model(), data, epochs=1, out=tmp_path / "before", progress=False)  # libraries pickle when they load
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    mmvae.fit(new_model(), data, epochs=1, out=tmp_path, progress=False, validation=0.5)
    mmvae.fit(new_model(), data, epochs=2, out=tmp_path, progress=False, validation=0.5, resume=True)
    load(save(new_model(), tmp_path / "other"))


def test_networks_bound_by_position(tmp_path, assert_same):
    encoder = functools.partial(nn.MLPEncoder, (4,), (3,))
    model = models.MVAE([Modality("a", (4,), likelihoods.Normal(), encoder=encoder)], latent_dim=2)
    assert_same(load(save(model, tmp_path)), model)
