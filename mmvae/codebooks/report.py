"""What the report of a model with a codebook shows: who uses which codes."""

from __future__ import annotations

from collections.abc import Iterator

from mmvae.abilities import HasCodebook
from mmvae.codebooks.code_usage import CodeUsage, code_usage
from mmvae.plotting.reports.page import Page
from mmvae.plotting.reports.pictures import Drawing, Picture, show
from mmvae.plotting.reports.sections import Reported, section
from mmvae.words import modalities


@section("after evaluation")
def codebook(reported: Reported) -> None:
    """Who uses which codes, of a model with a codebook."""
    if isinstance(reported.model, HasCodebook):
        reported.page.section("Codebook")
        with reported.page.attempt("codebook"):
            usage = CodeUsage.of(reported.model, reported.data)
            show(reported.page, reported.folder, codebook_pictures(usage))
            write_codebook(reported.page, usage)


def write_codebook(page: Page, arrays: CodeUsage) -> None:
    """Tables of how many codes each modality uses, and of how many modalities own a code."""
    size = arrays.counts.shape[1]
    together = arrays.counts.sum(0)
    page.table(
        ["modality", "vectors", "codes in use", "share of the codebook", "perplexity"],
        [
            [name, int(counts.sum()), int((counts > 0).sum()), f"{(counts > 0).mean():.1%}", float(perplexity)]
            for name, counts, perplexity in zip(arrays.names, arrays.counts, arrays.perplexity, strict=True)
        ],
        f"Of {size} codes, {int((together > 0).sum())} are in use by some modality, each inferred from by itself, over "
        "the data looked at. Perplexity: how many codes are in use, if all were used equally.",
    )
    page.table(
        ["owned by", "share of the codes in use"],
        [[modalities(count), f"{share:.1%}"] for count, share in enumerate(arrays.owned, 1)],
        "A modality owns a code if at least a tenth of what the code is used for, with modalities weighing the same, "
        "is its own.",
    )


def codebook_pictures(arrays: CodeUsage) -> Iterator[Drawing]:
    """How often each code is used, by whom."""
    yield Drawing("use of the codes", lambda: _usage(arrays))


def _usage(arrays: CodeUsage) -> Picture:
    owned = "; ".join(f"{count}: {share:.0%}" for count, share in enumerate(arrays.owned, 1))
    return Picture(
        "code_usage",
        code_usage(arrays),
        f"Bars of the use of each code by {', '.join(arrays.names)}. Shares of the codes in use by number of owners: "
        f"{owned}.",
        "Who uses which codes. Each bar is a code; its height is its share of the vectors of each modality, stacked. "
        "Codes that many modalities own stand on the left. A codebook that modalities share lets a classifier of the "
        "codes of one read those of another; bars of one colour are codes it will meet for the first time there.",
    )
