"""What the classifiers add to frozen encoders: CMPT's tokens and adapters, and what MoLT saves by kept features.

The forward pass of an encoder with a proxy token and adapters of rank one, on query and value of all layers, beside the
bare encoder; with the adapters as parametrisations of the weights, as in training, and merged into them. And an epoch
of MoLT through its encoders beside one from features that were computed once. The two sides take turns.

    python benchmarks/proxy_cost.py --out docs/results/speed.md
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from results import conditions, table, write_section
from timing import Step, Timing, alternate
from torch import Tensor

import mmvae
from mmvae import Batch, models, nn
from mmvae.classifiers.tokens import TokenEncoder

Size = Literal["tiny", "small", "ViT-B"]
"""An encoder as the tables call it."""

VOCABULARY, LENGTH, CLASSES = 32, 16, 10


@dataclass(frozen=True)
class Config:
    """What is timed, and where the tables go."""

    encoders: tuple[Size, ...] = ("small", "ViT-B")
    """Whose forward pass is timed."""
    batch_sizes: tuple[int, ...] = (1, 16)
    repeats: int = 15
    """Pairs of forward passes."""
    rows: int = 2048
    """Data points of an epoch of MoLT."""
    epoch_encoder: Size = "small"
    epochs: int = 3
    """Pairs of epochs; none leaves MoLT out."""
    batch_size: int = 512
    """Of MoLT's steps."""
    threads: int = 2
    """Of PyTorch, on the CPU."""
    device: str = "cpu"
    out: Path | None = None
    """Markdown file into which the tables go; printed in any case."""


def image_encoder(size: Size) -> nn.ViT:
    """A vision transformer with weights that the seed decides."""
    torch.manual_seed(0)
    if size == "ViT-B":
        return nn.ViT((3, 224, 224), patch=16, dim=768, depth=12, heads=12, mlp_ratio=4.0)
    if size == "small":
        return nn.ViT((1, 28, 28), patch=7)
    return nn.ViT((1, 8, 8), patch=4, dim=8, depth=2, heads=2)


def text_encoder(size: Size) -> nn.TextTransformer:
    """The encoder of the other modality, small for all but the tiniest."""
    dim, depth, heads = (8, 2, 2) if size == "tiny" else (64, 4, 4)
    return nn.TextTransformer(VOCABULARY, LENGTH, dim=dim, depth=depth, heads=heads)


def forward(encoder: TokenEncoder, images: Tensor, extra: Tensor | None = None) -> Step:
    """A forward pass without gradients, as inference makes it."""

    def step() -> None:
        with torch.no_grad():
            encoder(images, None, extra)

    return step


def passes(size: Size, rows: int, repeats: int, device: str) -> tuple[Timing, Timing]:
    """The bare encoder beside that of CMPT, with its adapters apart and merged."""
    bare = nn.Frozen(image_encoder(size)).to(device)
    images = torch.rand(rows, *bare.shape or (), device=device)
    given = {"image": bare.encoder, "text": text_encoder(size)}
    apart = models.CMPT(given, CLASSES).to(device)
    merged = apart.merge()

    def beside(model: models.CMPT) -> Timing:
        token = model.proxy_tokens["image"].detach()
        one, other = forward(bare, images), forward(model.encoder("image"), images, token)
        return alternate(one, other, repeats, device=device)

    return beside(apart), beside(merged)


def proxies(config: Config) -> str:
    """A row for each encoder and batch size."""
    rows = []
    for size in config.encoders:
        for batch_size in config.batch_sizes:
            apart, merged = passes(size, batch_size, config.repeats, config.device)
            times = [statistics.median(each) * 1e3 for each in (apart.ours, apart.peer, merged.peer)]
            bare, with_adapters, with_merged = (f"{each:.1f}" for each in times)
            rows.append([size, str(batch_size), bare, with_adapters, f"{apart.ratio:.2f}", with_merged])
            rows[-1].append(f"{merged.ratio:.2f}")
            print(*rows[-1], flush=True)
    header = [
        "encoder",
        "batch",
        "bare, ms",
        "token and adapters, ms",
        "beside bare",
        "token, merged, ms",
        "beside bare",
    ]
    return table(header, rows)


def epochs(config: Config) -> str:
    """An epoch of MoLT through its encoders, and from their features."""
    size = config.epoch_encoder
    generator = torch.Generator().manual_seed(0)
    image = image_encoder(size)
    data = {
        "image": torch.rand(config.rows, *image.shape or (), generator=generator),
        "text": torch.randint(VOCABULARY, (config.rows, LENGTH), generator=generator),
    }
    labels = torch.randint(CLASSES, (config.rows,), generator=generator)
    given = {"image": image, "text": text_encoder(size)}
    model = models.MoLT(given, CLASSES, common_dim=min(64, image.dim)).to(config.device)
    started = time.perf_counter()
    features = model.features(Batch(data, labels=labels))
    once = time.perf_counter() - started
    on_features = model.on_features()

    def epoch(trained: models.MoLT, source: Batch) -> Step:
        def step() -> None:
            mmvae.fit(trained, source, epochs=1, batch_size=config.batch_size, device=config.device, progress=False)

        return step

    whole = Batch(data, labels=labels)
    timing = alternate(epoch(on_features, features), epoch(model, whole), config.epochs, 1, config.device)
    ours, theirs = (statistics.median(each) for each in (timing.ours, timing.peer))
    cells = [size, str(config.rows), f"{theirs:.2f}", f"{ours:.2f}", f"{timing.ratio:.1f}", f"{once:.2f}"]
    print(*cells, flush=True)
    return table(["encoders", "data", "through encoders, s", "from features, s", "ratio", "features, once, s"], [cells])


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    note = (
        f"Forward passes without gradients, medians of {config.repeats} in turn with the bare encoder; ratios are "
        f"medians over neighbours. small: `nn.ViT((1, 28, 28), patch=7)`; ViT-B: images of 224, patches of 16, 12 "
        f"layers of width 768. Adapters of rank 1 on query and value; apart, the adapted weights are formed at each "
        f"pass, whatever the batch."
    )
    parts = [proxies(config), note]
    if config.epochs:
        parts += ["An epoch of MoLT, in batches of " + f"{config.batch_size}:", epochs(config)]
    body = "\n\n".join([*parts, conditions(config.device)])
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, "Speed and memory beside MultiVae", "Proxy tokens and kept features", body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
