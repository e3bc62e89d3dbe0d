"""The function fit()."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmvae.abilities import Trains
from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.modes import mode
from mmvae.multimodal import MultimodalModel
from mmvae.objectives import Judge
from mmvae.seeds import derive_seed
from mmvae.sources import Data, InBlocks, InMemory, Placeable, Source, as_source
from mmvae.streams import Streamed, as_stream
from mmvae.training.balancing import Choice, ChoosesWeights, are_open, choose, chosen_before
from mmvae.training.checked import CheckedOnce, sound
from mmvae.training.checkpoint import Checkpoints
from mmvae.training.data_look import columns_in_words, warn_of_odd_data
from mmvae.training.display import Display
from mmvae.training.engine import Engine, MakeOptimizer
from mmvae.training.feed import Feed, RowFeed, split
from mmvae.training.fingerprint import data_in_words, schedule_in_words
from mmvae.training.first_look import is_at_hand, sample_of_rows, sample_of_stream, settle_transforms, take_transforms
from mmvae.training.folder import existing_run, start_run
from mmvae.training.journal import MetricsFile, TensorBoard
from mmvae.training.learning_rate import Schedule
from mmvae.training.lock import RunLock
from mmvae.training.loop import Loop
from mmvae.training.plan import epochs_of, plan, settings_of
from mmvae.training.randomness import randomness_kept, seed_generators
from mmvae.training.run import Run
from mmvae.training.settings import Acceleration, MatmulPrecision, Precision, Settings
from mmvae.training.stream_feed import StreamFeed
from mmvae.training.switches import Interrupts, environment, validated_distributions
from mmvae.training.switches import matmul_precision as switched_matmul_precision
from mmvae.training.watchers import Watchers, checked_watchers

_NOISE = "noise"
_SHARE_OF_GPU_MEMORY = 0.5
"""Data that takes no more than this share of the free memory of a GPU is kept there."""


@numbers_checked
def fit(
    model: Trains,
    data: Data | Streamed | DataLoader[Any],
    *,
    labels: Any = None,
    observed: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
    epochs: int | Mapping[str, int],
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    optimizer: MakeOptimizer | None = None,
    schedule: Schedule | None = None,
    max_grad_norm: float | None = None,
    validation: Data | Streamed | DataLoader[Any] | float | None = None,
    patience: int | None = None,
    select: str | Judge | None = None,
    restore_best: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    device: str | torch.device = "auto",
    devices: int = 1,
    precision: Precision = "32-true",
    matmul_precision: MatmulPrecision | None = None,
    acceleration: Acceleration = "none",
    validate_args: bool = False,
    checkpoint_seconds: float = 600.0,
    watch: Sequence[Any] = (),
    progress: bool = True,
) -> Run:
    """Trains a model.

    Without ``out`` nothing is written. With it, the folder gets ``config.json``, ``model.safetensors`` (for
    :func:`mmvae.load`), ``metrics.csv``, ``tensorboard/`` and ``checkpoints/``, from which a run that was stopped
    continues with ``resume=True``: on the CPU bit for bit as if it had never stopped, from the middle of an epoch too.
    With another number of processes, and as many rows a step in all, it continues on the same data with other draws.

    **Which weights.** With ``validation``, the model and ``model.safetensors`` hold the weights of the epoch of the
    best validation score, otherwise the latest; the checkpoint always has the latest. The objective says what the
    score is (:meth:`mmvae.objectives.Objective.judged_by`): the ELBO, or the loss where modality weights or beta lead
    training elsewhere. Classifiers are judged by the loss of their task, other models by their loss. ``select`` names
    another term.

    **Ctrl-C** takes effect after the current step: a checkpoint is written, the model gets its weights as above, and
    ``KeyboardInterrupt`` is raised, so that a script stops; catch it to go on with the model as it is. A second
    Ctrl-C interrupts at once. SIGTERM, with which schedulers end a job, does the same with ``SystemExit``.

    **One run at a time** has a folder. The lock of a process that has died is taken over.

    The model stays on the device of the training, in the mode (training or evaluation) in which it came. The global
    random generators and switches are left as they were.

    Args:
        model: any model of the library; it is changed in place. ``model.epoch`` goes on from where it is.
        data: a dict of tensors or arrays, a :class:`~mmvae.Batch`, or a dataset (see
            :func:`mmvae.sources.as_source`). Data in memory is checked once, and kept on the GPU if there is room;
            so are the tables of a :class:`mmvae.data.MultimodalDataset` that draws and reads nothing anew.
            Or a stream: an ``IterableDataset`` or a ``DataLoader``, with a length or in :class:`mmvae.data.Streamed`.
        labels: ``[N, ...]``, beside data in memory; for models that are trained on them.
        observed: ``{name: bool [N]}``, beside data in memory: what is missing.
        covariates: ``{name: numbers [N]}``, beside data in memory, for a model that has some. Other data for
            validation brings its own: pass a :class:`~mmvae.Batch`.
        epochs: how often to go through the data, in all; a run that is resumed does what is left of them. Of a model
            with stages, how often in each, or ``{stage: epochs}``; 0 skips a stage.
        batch_size: rows of a step, on each device, so that a step sees ``batch_size`` times the number of devices; a
            ``DataLoader`` has its own.
        lr: learning rate.
        weight_decay: decoupled, as in AdamW; of matrices, not of biases, norms and tokens.
        optimizer: makes another optimiser than AdamW from the parameters, as
            ``functools.partial(torch.optim.SGD, lr=0.1)`` does; ``lr`` and ``weight_decay`` are then not used.
        schedule: of the learning rate, from the share of the training that is done to a factor, such as
            :func:`mmvae.training.warmup_cosine`; by default it stays. A run with a schedule is resumed with the same
            number of epochs.
        max_grad_norm: gradients are scaled down to this norm, part by part for models that name parts.
        validation: other data, or the fraction of the data to hold out (chosen by the seed; not of a stream); looked
            at after each epoch, always with the same random draws.
        patience: stop when the validation score has not improved for this many epochs; of a model with stages, go on
            with the next one.
        select: Term that validation compares: ``"loss"``, ``"elbo"``, ``"alignment"`` or another term of the loss, the
            name of a modality (its log-likelihood), ``"imputation"`` (the error with which hidden validation data is
            filled in), or a :class:`mmvae.objectives.Judge`, which also says whether higher is better. The loss in
            validation is the one at the end of all schedules of its weights.
        restore_best: with validation, keep the weights of its best score; ``False`` keeps the latest weights.
        seed: of the order of the data and of all draws.
        out: folder of the run.
        resume: continue the run in ``out``, if there is one.
        device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.
        devices: of each machine; with more than one, a process for each runs the whole script (distributed data
            parallel), and the gradients are those of one process that has all their rows. Under ``torchrun`` or
            SLURM's ``srun`` leave it out: the processes are those that it started, on several machines too.
        precision: ``"32-true"``, ``"bf16-mixed"`` or ``"16-mixed"``.
        matmul_precision: of products of float32 matrices on a GPU: ``"highest"`` keeps all digits, ``"high"`` lets it
            use TensorFloat32, ``"medium"`` bfloat16 (:func:`torch.set_float32_matmul_precision`); by default as the
            program has set it.
        acceleration: ``"none"``; ``"auto"`` captures the training step as a CUDA graph where there is a GPU and the
            step allows it, and otherwise says in a line why not; ``"graph"`` raises an error instead; ``"compile"``
            compiles the loss with :func:`torch.compile`. Capturing is experimental: tested on the CPU only, never run
            on a GPU. See the page "Fast training".
        validate_args: let Pyro check the arguments of all distributions; slower.
        checkpoint_seconds: write a checkpoint at least this often, besides the one after each epoch.
        watch: Watchers, objects with methods ``begin(run)``, ``epoch(rows, model)`` and ``end(run)``, each optional;
            see :class:`mmvae.training.Watcher` and the page "Watchers". ``epoch`` may return ``"stop"``. With several
            processes, the main one calls them.
        progress: show a bar, or a line for each epoch where the output is no terminal.

    Returns:
        The run: the model, its folder and its metrics.

    Raises:
        ValueError: for data that does not fit the model, settings out of their range, or a folder that holds another
            run, files of another program, or the same run and ``resume`` is not set, or in which a run is under way;
            with ``acceleration="graph"``, if steps cannot be captured.
        TypeError: for a watcher without any of the three methods.
        FloatingPointError: if the loss is no longer finite; names the epoch, the step and the term at fault. The last
            good checkpoint is kept.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
        SystemExit: On SIGTERM, after a checkpoint was written.
        RuntimeError: if another process of the run ends before its time; names the checkpoint.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> data = {"a": torch.randn(64, 4), "b": torch.randn(64, 4)}
        >>> run = mmvae.fit(vae, data, epochs=2, validation=0.25, progress=False)
        >>> [(row["epoch"], row["split"]) for row in run.metrics]
        [(1, 'train'), (1, 'validation'), (2, 'train'), (2, 'validation')]
    """
    if not isinstance(model, Trains):
        raise TypeError(
            f"model: expected a model of the library, or a module that offers what mmvae.abilities.Trains lists, got "
            f"{type(model).__name__}. Derive your model from mmvae.models.MultimodalModel."
        )
    stages = plan(model, epochs, select)
    settings = Settings(
        epochs=epochs_of(stages),
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        optimizer="AdamW" if optimizer is None else _name(optimizer),
        schedule="constant" if schedule is None else _name(schedule),
        max_grad_norm=max_grad_norm,
        patience=patience,
        restore_best=restore_best,
        seed=seed,
        precision=precision,
        devices=devices,
        checkpoint_seconds=checkpoint_seconds,
        acceleration=acceleration,
        matmul_precision=matmul_precision,
    )
    if patience is not None and validation is None:
        raise ValueError("patience: early stopping looks at validation data; pass validation=, a fraction or data.")
    if select is not None and validation is None:
        raise ValueError("select: it names what validation compares; pass validation=, a fraction or data.")
    watch = checked_watchers(watch)
    if resume and out is None:
        raise ValueError("resume: there is nothing to resume from without the folder of the run; pass out=.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(randomness_kept())
        if devices == 1:  # several processes find each other through the environment
            stack.enter_context(environment())
        parts = _parts(data, observed, labels, covariates, validation, seed, model)
        engine = Engine(device, settings)
        folder = None if out is None else Path(out)
        state = None
        if folder is not None:
            stack.enter_context(_one_at_a_time(folder, engine))
        sample = functools.cache(lambda: _sample(parts[0], settings))
        choice = None
        if are_open(model):
            make = functools.partial(engine.fresh_optimizer, model, optimizer)
            choice = _chosen(model, sample, settings, engine, make, folder)
            cast("ChoosesWeights", model).choose_weights(choice.weights)
            stages = plan(model, epochs, select)  # weights decide what judges
        if folder is not None:
            training = {**settings.fixed(), "devices": engine.world, **_sizes(*parts), **_facts(*parts)}
            make = functools.partial(engine.fresh_optimizer, model, optimizer)
            if choice is not None:
                training["weights"] = choice.weights
            training |= settings_of(model, stages, validation is not None, make)
            if schedule is not None:
                training["schedule_factors"] = schedule_in_words(schedule)
            state = existing_run(folder, model, training, resume)
            engine.barrier()
            if engine.is_main and state is None:
                start_run(folder, model, training)
            engine.barrier()
        model.to(engine.device)
        if state is None:
            settle_transforms(model, sample, engine.agreed)
            if engine.is_main and (sample.cache_info().currsize or _is_at_hand(parts[0])):
                warn_of_odd_data(model, sample())
        else:
            take_transforms(model, state["model"])
        _encode_anew(parts, model)
        checkpoints = Checkpoints(folder)
        feeds = _feeds(*parts, engine, settings, model)
        all_epochs = sum(stage.epochs for stage in stages)
        display = Display(all_epochs, feeds[0].steps) if progress and engine.is_main else None
        say = _nothing if display is None else display.say
        if state is None:
            for line in [*columns_in_words(model), *([choice.words] if choice is not None and choice.words else [])]:
                say(line)
        files = [] if folder is None else [MetricsFile(folder), TensorBoard(folder)]
        shown = [] if display is None else [display]
        kept = f"Training is kept in the last checkpoint: {checkpoints}."
        watchers = Watchers([*files, *shown, *watch] if engine.is_main else [], engine.agreed, kept)
        stack.enter_context(validated_distributions(validate_args))
        stack.enter_context(switched_matmul_precision(matmul_precision))
        stack.enter_context(mode(cast("nn.Module", model), training=True))
        seed_generators(derive_seed(seed, _NOISE, engine.rank))

        def set_up() -> None:
            engine.setup(model, optimizer, schedule)
            engine.accelerate(say)

        loop = Loop(model, engine, set_up, stages, *feeds, settings, checkpoints)
        stack.callback(loop.leave)
        loop.start(state)
        advice = f"The last checkpoint: {checkpoints}. Start the script again, with resume=True, to go on from it."
        with engine.losses_named(advice):
            run = loop.run(watchers, stack.enter_context(Interrupts()), say)
            engine.barrier()  # all that was written is there, for every process, when fit returns
    return run


def _nothing(text: str) -> None:
    """Takes a line for the user where none is shown."""


@dataclass(frozen=True)
class _Chosen:
    """Which rows of a source take part."""

    source: Source
    rows: Int64[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.rows)


_Part = _Chosen | Streamed


def _parts(
    data: Any,
    observed: Mapping[str, Any] | None,
    labels: Any,
    covariates: Mapping[str, Any] | None,
    validation: Any,
    seed: int,
    model: Trains,
) -> tuple[_Part, _Part | None]:
    """What is for training, and what for validation."""
    stream = as_stream(data)
    if stream is not None and not (observed is None and labels is None and covariates is None):
        raise TypeError("observed, labels and covariates go with tensors; a stream must yield its own, item by item.")
    if isinstance(validation, float):
        if stream is not None:
            raise ValueError("validation: no fraction of a stream can be held out; pass other data.")
        source = _prepared(as_source(data, observed, labels, covariates), model)
        rows, held_out = split(len(source), validation, seed)
        return _Chosen(source, rows), _Chosen(source, held_out)
    other = None if validation is None else as_stream(validation) or _all_of(as_source(validation), model)
    return stream or _all_of(as_source(data, observed, labels, covariates), model), other


def _all_of(source: Source, model: Trains) -> _Chosen:
    return _Chosen(_prepared(source, model), torch.arange(len(source)))


def _sample(part: _Part, settings: Settings) -> Batch:
    """Some of the training data, on which transforms are fitted."""
    if isinstance(part, Streamed):
        return sample_of_stream(part, settings.batch_size, settings.seed)
    return sample_of_rows(part.source, part.rows)


def _chosen(
    model: Any,
    sample: Callable[[], Batch],
    settings: Settings,
    engine: Engine,
    make: Callable[[], torch.optim.Optimizer],
    folder: Path | None,
) -> Choice:
    """The weights of the modalities: those that the run in the folder chose, or the best of short runs."""
    saved = engine.agreed(chosen_before(folder) if engine.is_main else None)
    if saved is not None:
        return Choice(saved, "")
    model.to(engine.device)
    settle_transforms(model, sample, engine.agreed)
    found = None
    if engine.is_main:
        known = model.prepare(_without_context(sample()))
        found = choose(model, known, settings, make)
    return cast("Choice", engine.agreed(found))


def _without_context(batch: Batch) -> Batch:
    """A batch whose covariates are still to be encoded; it may be the caller's, and stays as it is."""
    anew = batch.map(lambda value: value)
    anew.context = None
    return anew


def _is_at_hand(part: _Part) -> bool:
    """Whether data lies in memory, so that looking at some of it costs little."""
    return isinstance(part, _Chosen) and is_at_hand(part.source)


def _encode_anew(parts: tuple[_Part, _Part | None], model: Trains) -> None:
    """Encodes the covariates of data in memory, which was prepared before their scales were known."""
    for part in parts:
        if isinstance(part, _Chosen) and isinstance(part.source, InMemory) and part.source.whole.context is not None:
            anew = _without_context(part.source.whole)
            part.source.whole = cast("MultimodalModel", model).encode_covariates(anew)  # which has made the context


def _sizes(part: _Part, validation: _Part | None) -> dict[str, Any]:
    """What the order of the steps follows from, besides the seed."""
    sizes: dict[str, Any] = {"rows": len(part), "validation_rows": 0 if validation is None else len(validation)}
    blocks = part.source.blocks if isinstance(part, _Chosen) and isinstance(part.source, InBlocks) else None
    return sizes if blocks is None else {**sizes, "blocks": asdict(blocks)}


@contextlib.contextmanager
def _one_at_a_time(folder: Path, engine: Engine) -> Iterator[None]:
    """Holds the lock of a run folder; all processes hear whether the main one has got it."""
    refusal: ValueError | OSError | None = None
    with contextlib.ExitStack() as stack:
        if engine.is_main:
            try:
                stack.enter_context(RunLock(folder))
            except (ValueError, OSError) as error:
                refusal = error
        refusal = engine.gather(refusal)[0]
        if refusal is not None:
            raise refusal
        yield


def _facts(part: _Part, validation: _Part | None) -> dict[str, Any]:
    """What tells data from other data of the same size; nothing of a stream."""
    facts: dict[str, Any] = {}
    for prefix, each in (("", part), ("validation_", validation)):
        if isinstance(each, _Chosen) and (
            not prefix or not isinstance(part, _Chosen) or each.source is not part.source
        ):
            facts |= {f"{prefix}{kind}": words for kind, words in data_in_words(each.source).items()}
    return facts


def _feeds(
    part: _Part, validation: _Part | None, engine: Engine, settings: Settings, model: Trains
) -> tuple[Feed, Feed | None]:
    """The feeds of training and validation."""
    options = (settings.batch_size, settings.seed, engine.rank, engine.world)
    placed: dict[int, Source] = {}  # a source that both have is moved once

    def feed(part: _Part) -> Feed:
        if isinstance(part, Streamed):
            return StreamFeed(part, *options)
        if id(part.source) not in placed:
            placed[id(part.source)] = _placed(part.source, engine.device, model)
        return RowFeed(placed[id(part.source)], part.rows, *options)

    return feed(part), None if validation is None else feed(validation)


def _prepared(source: Source, model: Trains) -> Source:
    """Data in memory checked, and cast, once for all epochs; other sources are checked batch by batch."""
    if not isinstance(source, InMemory):
        return source
    model.to(source.whole.device)  # so that the data, which may be large, stays where it is
    return InMemory(sound(source.whole, model))


def _placed(source: Source, device: torch.device, model: Trains) -> Source:
    """Data in memory moved to the device of the training, if it is small enough to stay there."""
    if isinstance(source, Placeable) and device.type == "cuda":
        size = source.bytes_in_memory
        if size is not None and size <= _SHARE_OF_GPU_MEMORY * torch.cuda.mem_get_info(device)[0]:
            return CheckedOnce(source.to(device), model)
    if not isinstance(source, InMemory):
        return source
    if device.type == "cuda" and source.whole.device != device:
        size = sum(value.numel() * value.element_size() for value in source.whole.data.values())
        if size > _SHARE_OF_GPU_MEMORY * torch.cuda.mem_get_info(device)[0]:
            return source
    return InMemory(source.whole.to(device))


def _name(part: Callable[..., Any]) -> str:
    """An optimiser or a schedule in words that are the same at each run."""
    if isinstance(part, functools.partial):
        keywords = ", ".join(f"{name}={value!r}" for name, value in sorted(part.keywords.items()))
        return f"{part.func.__qualname__.lstrip('_')}({keywords})"
    return str(getattr(part, "__qualname__", type(part).__qualname__))
