"""Data: readers, pairing by label, missingness tables, datasets that hand out whole batches, rendered digits."""

from mmvae.data.cub_files import cub_captions
from mmvae.data.cub_task import cub, cub_vocabulary
from mmvae.data.cub_words import CaptionVocabulary
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.digits import mnist_svhn_text, mnist_usps_text, polymnist_or_form
from mmvae.data.images import LabelledImages, SourceNotFound, data_root
from mmvae.data.missingness import Missingness
from mmvae.data.overlay import polymnist, polymnist_form
from mmvae.data.pairing import pair_by_label, pair_images
from mmvae.data.readers import mnist, svhn, svhn_sample, usps
from mmvae.data.rendered import rendered_digits
from mmvae.data.rows import Rows, Sampler
from mmvae.data.text import ALPHABET, DigitWords, decode, encode

__all__ = [
    "ALPHABET",
    "CaptionVocabulary",
    "DigitWords",
    "LabelledImages",
    "Missingness",
    "MultimodalDataset",
    "Rows",
    "Sampler",
    "SourceNotFound",
    "cub",
    "cub_captions",
    "cub_vocabulary",
    "data_root",
    "decode",
    "encode",
    "mnist",
    "mnist_svhn_text",
    "mnist_usps_text",
    "pair_by_label",
    "pair_images",
    "polymnist",
    "polymnist_form",
    "polymnist_or_form",
    "rendered_digits",
    "svhn",
    "svhn_sample",
    "usps",
]
