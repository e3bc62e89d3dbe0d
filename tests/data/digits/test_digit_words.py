import pytest
import torch

from mmvae.data import ALPHABET, DigitWords, decode, encode
from mmvae.data.digits.digit_words import WORDS


def draws(labels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return DigitWords().draw(labels, torch.Generator().manual_seed(seed))


def test_the_alphabet_has_71_symbols_of_which_the_dash_occurs_twice():
    assert len(ALPHABET) == 71
    assert len(set(ALPHABET)) == 70
    assert ALPHABET.count("-") == 2


def test_encode_and_decode_are_inverse_and_the_first_dash_is_used():
    texts = ["  seven ", "a-b/c\\'\"", "\n{}[]()="]
    codes = encode(texts)
    assert codes.dtype == torch.int64
    assert codes.shape == (3, 8)
    assert decode(codes) == texts
    assert int(encode("-")[0, 0]) == ALPHABET.index("-")
    assert decode(encode("two")) == ["two     "]


@pytest.mark.parametrize(("text", "message"), [("too long a text", "at most 8"), ("Ä", "not among the 71")])
def test_text_that_cannot_be_encoded(text, message):
    with pytest.raises(ValueError, match=message):
        encode(text)


def test_codes_that_are_none():
    with pytest.raises(ValueError, match=r"0\.\.70"):
        decode(torch.tensor([[71]]))


def test_every_string_is_the_word_of_its_digit_among_blanks():
    labels = torch.arange(10).repeat(50)
    for text, label in zip(decode(draws(labels)), labels.tolist(), strict=True):
        assert len(text) == 8
        assert text.strip() == WORDS[label]


def test_starts_are_uniform_on_the_places_of_the_protocol():
    """A word of L letters starts on 0..7-L, all alike, so the last character is blank."""
    for label, word in enumerate(WORDS):
        codes = draws(torch.full((6000,), label), seed=label)
        starts = torch.tensor([len(text) - len(text.lstrip()) for text in decode(codes)])
        places = 8 - len(word)
        counts = torch.bincount(starts, minlength=8)
        assert counts[places:].sum() == 0
        expected = 6000 / places
        assert (counts[:places] - expected).abs().max() < 5 * expected**0.5  # five standard errors
        assert bool((codes[:, 7] == ALPHABET.index(" ")).all())


def test_draws_belong_to_the_generator_alone():
    labels = torch.arange(10).repeat(5)
    before = torch.get_rng_state()
    assert torch.equal(draws(labels, 1), draws(labels, 1))
    assert not torch.equal(draws(labels, 1), draws(labels, 2))
    assert torch.equal(torch.get_rng_state(), before)
