"""Text of the digit tasks: English digit words as strings of eight characters, coded by an alphabet of 71."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

ALPHABET = string.ascii_lowercase + string.digits + "-,;.!?:'\"\\/|_@#$%^&*~`+" + "-=<>()[]{} \n"
"""The 71 symbols of the MNIST-SVHN-Text protocol in its order; "-" occurs twice, and the first one is used."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_BLANK = ALPHABET.index(" ")


def encode(texts: str | Sequence[str], length: int = 8) -> Int64[Tensor, "N length"]:
    """The codes of the texts, each filled with blanks on the right.

    Raises:
        ValueError: for a text longer than ``length``, or a symbol that the alphabet lacks.
    """
    rows = [texts] if isinstance(texts, str) else list(texts)
    codes = torch.full((len(rows), length), _BLANK)
    for row, text in enumerate(rows):
        if len(text) > length:
            raise ValueError(f"text: {text!r} has {len(text)} characters, but at most {length} fit.")
        for position, symbol in enumerate(text):
            code = ALPHABET.find(symbol)
            if code < 0:
                raise ValueError(f"text: {symbol!r} of {text!r} is not among the {len(ALPHABET)} symbols.")
            codes[row, position] = code
    return codes


def decode(codes: Int64[Tensor, "N length"]) -> list[str]:
    """The texts of the codes, blanks kept; the inverse of :func:`encode` but for the blanks on the right.

    Raises:
        ValueError: unless the codes are a matrix of numbers in 0..70.
    """
    if codes.ndim != 2 or (codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < len(ALPHABET)):
        raise ValueError(f"text: expected codes [N, length] in 0..{len(ALPHABET) - 1}, got shape {tuple(codes.shape)}.")
    return ["".join(ALPHABET[code] for code in row) for row in codes.tolist()]


class DigitWords:
    """Draws the word of a digit at a random place in a string of eight characters, blanks elsewhere.

    The word of L letters starts at a position that is uniform on 0..7 - L, both included, so that the last character
    is always blank, as in the published protocol.

    Attributes:
        shape: ``(8,)``, of one datum.
        num_symbols: 71, what a categorical likelihood is told.
        name: how tables call the source.

    Source: Sutter et al. 2021 (MoPoE), the MNIST-SVHN-Text task.
    """

    shape = (8,)
    num_symbols = len(ALPHABET)
    name = "English digit words"

    def __init__(self) -> None:
        length = self.shape[0]
        places = [length - len(word) for word in WORDS]  # starts 0..7 - L are 8 - L places
        most = max(places)
        texts = [
            " " * min(start, count - 1) + word
            for word, count in zip(WORDS, places, strict=True)
            for start in range(most)
        ]
        self._codes = encode(texts).reshape(len(WORDS), most, length)
        self._places = torch.tensor(places)
        # A number below a common multiple of all counts, modulo a count, is exactly uniform.
        self._multiple = math.lcm(*places)

    def draw(self, labels: Int64[Tensor, "N"], generator: torch.Generator) -> Int64[Tensor, "N 8"]:
        """New strings for these digits, on the device of ``labels``; the generator lies on the CPU.

        Raises:
            IndexError: for a label above 9 (on the CPU; labels are checked once, by the dataset).
        """
        device = labels.device
        numbers = torch.randint(self._multiple, (len(labels),), generator=generator).to(device, non_blocking=True)
        if self._codes.device != device:
            self._codes, self._places = self._codes.to(device), self._places.to(device)
        return self._codes[labels, numbers % self._places[labels]]
