"""Texts as token ids of one length, by a tokenizer of the user, of a pretrained model, or of words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.data.birds.cub_words import END, PAD, UNKNOWN, CaptionVocabulary
from mmvae.files import reading


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """How texts become codes: the ids of their tokens, filled up with padding to one length.

    Args:
        ids: from texts to the ids of each, special ones (beginning, end) included. What is longer than ``length`` is
            cut here; a tokenizer that puts an end last should cut by itself.
        length: T.
        padding: the id that fills up.
        vocabulary: how many ids there are.
        mask: the id that stands for a token that is hidden; ``None`` if the vocabulary has none.
        special: ids that are no part of a text, padding among them.

    Raises:
        ValueError: for a length below 1, or a padding that is no id of the vocabulary.

    Example:
        >>> letters = Tokenizer(lambda texts: [[ord(letter) for letter in text] for text in texts], length=4,
        ...                     padding=0, vocabulary=128)
        >>> letters(["ab", "letters"]).tolist()
        [[97, 98, 0, 0], [108, 101, 116, 116]]
    """

    ids: Callable[[Sequence[str]], Iterable[Sequence[int]]]
    length: int
    padding: int
    vocabulary: int
    mask: int | None = None
    special: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.length < 1 or not 0 <= self.padding < self.vocabulary:
            raise ValueError(
                f"tokenizer: expected a length of at least 1 and a padding below the {self.vocabulary} ids of the "
                f"vocabulary, got {self.length} and {self.padding}."
            )
        object.__setattr__(self, "special", self.special | {self.padding})

    def __call__(self, texts: Sequence[str]) -> Int64[Tensor, "N T"]:
        """The codes of the texts.

        Raises:
            ValueError: for a text without any token, or an id outside the vocabulary.
        """
        codes = torch.full((len(texts), self.length), self.padding)
        for row, (text, ids) in enumerate(zip(texts, self.ids(texts), strict=True)):
            found = torch.as_tensor(ids, dtype=torch.int64)[: self.length]
            if not len(found):
                raise ValueError(f"tokenizer: {text!r} has no token; let the tokenizer add one, such as an end.")
            codes[row, : len(found)] = found
        if len(texts) and not 0 <= int(codes.min()) <= int(codes.max()) < self.vocabulary:
            raise ValueError(f"tokenizer: ids lie in 0..{self.vocabulary - 1}, got {int(codes.max())}.")
        return codes

    @classmethod
    def of_words(cls, vocabulary: CaptionVocabulary) -> Tokenizer:
        """Words, by a vocabulary of the library's own; the code of an unknown word serves as mask."""
        return cls(
            lambda texts: [vocabulary.encode(text).tolist() for text in texts],
            length=vocabulary.length,
            padding=PAD,
            vocabulary=len(vocabulary),
            mask=UNKNOWN,
            special=frozenset({PAD, END}),
        )

    @classmethod
    def huggingface(cls, tokenizer: Any, length: int, padding: int | None = None) -> Tokenizer:
        """That of a pretrained model.

        Args:
            tokenizer: a local folder with its files, from which it is read without looking at any network, or a
                tokenizer of ``transformers``. Longer texts are cut such that special tokens stay.
            length: T.
            padding: the id that fills up; the tokenizer's own by default.

        Raises:
            ImportError: without the package ``transformers``, if a folder is given.
            ValueError: for a folder without a tokenizer, or a tokenizer that has no id for padding.
        """
        known = _read(Path(tokenizer)) if isinstance(tokenizer, str | Path) else tokenizer
        fill = known.pad_token_id if padding is None else padding
        if fill is None:
            raise ValueError(
                "tokenizer: it has no token for padding; pass padding=, an id that its encoder leaves out."
            )
        return cls(
            lambda texts: known(list(texts), truncation=True, max_length=length)["input_ids"],
            length=length,
            padding=int(fill),
            vocabulary=len(known),
            mask=known.mask_token_id,
            special=frozenset(known.all_special_ids) - {known.mask_token_id, known.unk_token_id},
        )


def _read(folder: Path) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError("Tokenizer.huggingface needs transformers; install mmvae[transformers].") from error
    if not folder.is_dir():
        raise ValueError(f"tokenizer: {folder} is no folder; nothing is downloaded, so name a local one.")
    with reading(folder, "tokenizer", "Expected one that transformers can read without code of the folder's."):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except ValueError as error:
            if "trust_remote_code" in str(error):  # which it advises to switch on
                raise ValueError("code in it would have to be run, which is not done") from error
            raise
