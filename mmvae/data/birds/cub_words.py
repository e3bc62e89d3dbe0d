"""The vocabulary of captions: from sentences to sequences of codes of one length, and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from mmvae.files import reading, write_whole

PAD, END, UNKNOWN = range(3)
_SPECIAL = ("<pad>", "<end>", "<unknown>")
_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*|[.,!?()&]")


@dataclass(frozen=True)
class CaptionVocabulary:
    """The words that have a code of their own, and how captions are written in codes.

    Captions are read in lower case. A word is a run of the letters a to z and digits, in which an apostrophe may stand
    ("it's"); each of the marks ``. , ! ? ( ) &`` is a word of its own; whatever else there is only separates words, so
    "long-tailed" is two of them. A caption becomes its words, the end token, and padding; of a longer one the first
    ``length - 1`` words are kept.

    Args:
        words: in the order of their codes, which start at 3: 0 is padding, 1 the end, 2 an unknown word.
        length: L, of every coded caption.

    Attributes:
        shape: ``(L,)``, of one datum.

    Raises:
        ValueError: for a length below two, or words that occur twice or are none.

    Example:
        >>> vocabulary = CaptionVocabulary(["this", "bird", "is", "red", "."], length=8)
        >>> vocabulary.encode("This bird is bright-red.").tolist()
        [3, 4, 5, 2, 6, 7, 1, 0]
        >>> vocabulary.decode(vocabulary.encode("This bird is red."))
        'this bird is red.'
    """

    words: Sequence[str]
    length: int = 32
    _codes: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if self.length < 2:
            raise ValueError(f"captions: a length of at least 2 is needed, for a word and the end, got {self.length}.")
        for code, word in enumerate(self.words, len(_SPECIAL)):
            if word in self._codes or not _TOKEN.fullmatch(word):
                what = "occurs twice in" if word in self._codes else "is no word of"
                raise ValueError(f"captions: {word!r} {what} the vocabulary; build one with CaptionVocabulary.of().")
            self._codes[word] = code

    @classmethod
    def of(cls, captions: Iterable[str], min_count: int = 3, length: int = 32) -> CaptionVocabulary:
        """The words that occur at least ``min_count`` times, the most frequent first, equals in alphabetical order.

        Source: Shi et al. 2019 (MMVAE), the CUB task; their code, which splits sentences with NLTK, keeps words that
        occur more than three times.
        """
        counts = Counter(word for caption in captions for word in _TOKEN.findall(caption.lower()))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)), length)

    @property
    def shape(self) -> tuple[int]:
        """Of one row."""
        return (self.length,)

    def __len__(self) -> int:
        """How many codes there are: what a categorical likelihood is told."""
        return len(_SPECIAL) + len(self.words)

    def encode(self, caption: str) -> Int64[Tensor, "L"]:
        """The codes of a caption."""
        found = _TOKEN.findall(caption.lower())[: self.length - 1]
        codes = [*(self._codes.get(word, UNKNOWN) for word in found), END]
        return torch.tensor(codes + [PAD] * (self.length - len(codes)))

    def decode(self, codes: Int64[Tensor, "L"]) -> str:
        """The caption up to its end, or as far as it goes if it has none; unknown words are ``<unknown>``.

        Raises:
            ValueError: unless the codes are a row of numbers from 0 to ``len(self) - 1``.
        """
        if codes.ndim != 1 or (codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < len(self)):
            raise ValueError(f"captions: expected codes [L] in 0..{len(self) - 1}, got shape {tuple(codes.shape)}.")
        sequence = codes.tolist()
        until = sequence.index(END) if END in sequence else len(sequence)
        names = (*_SPECIAL, *self.words)
        text = " ".join(names[code] for code in sequence[:until] if code != PAD)
        return re.sub(r" (?=[.,!?)])|(?<=\() ", "", text)

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON, atomically."""
        content = json.dumps({"length": self.length, "words": self.words}, indent=0)
        write_whole(Path(path), lambda partial: partial.write_text(content, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> CaptionVocabulary:
        """The vocabulary that :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if the file is damaged.
        """
        with reading(path, "captions", "Expected a vocabulary that CaptionVocabulary.save wrote."):
            content = json.loads(Path(path).read_bytes().decode("utf-8"))
            return cls(content["words"], content["length"])
