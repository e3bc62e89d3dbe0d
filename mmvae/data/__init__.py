"""Data: readers, pairing by label, missingness tables, noise, datasets that hand out whole batches, rendered digits."""

from mmvae.data.birds.cub_files import cub_captions
from mmvae.data.birds.cub_task import cub, cub_vocabulary
from mmvae.data.birds.cub_words import CaptionVocabulary
from mmvae.data.cdsprites import cdsprites, sprite_attributes, sprite_captions, sprite_words
from mmvae.data.clips.ave import ave
from mmvae.data.clips.avvp import avvp
from mmvae.data.clips.clip_features import ClipFeatures
from mmvae.data.clips.vggsound_avel import vggsound_avel
from mmvae.data.dataset import MultimodalDataset
from mmvae.data.digits.digit_files import mnist, svhn, svhn_sample, usps
from mmvae.data.digits.digit_tasks import mnist_svhn_text, mnist_usps_text, polymnist_or_form
from mmvae.data.digits.digit_words import ALPHABET, DigitWords, decode, encode
from mmvae.data.digits.polymnist import polymnist, polymnist_form, polymnist_quadrant, polymnist_translated
from mmvae.data.digits.rendered import rendered_digits
from mmvae.data.frames import Table, from_frame
from mmvae.data.identifiable import IdentifiableSources, identifiable_sources
from mmvae.data.image_text.food101 import food101
from mmvae.data.image_text.hateful_memes import hateful_memes
from mmvae.data.image_text.image_files import ImageFiles
from mmvae.data.image_text.mm_imdb import mm_imdb
from mmvae.data.image_text.pictures_with_texts import ImageText
from mmvae.data.image_text.snli_ve import snli_ve
from mmvae.data.image_text.tokenizer import Tokenizer
from mmvae.data.images import LabelledImages, SourceNotFound, data_root
from mmvae.data.mapped_folders import mapped, write_mapped
from mmvae.data.mapped_rows import MappedRows
from mmvae.data.missingness import Missingness
from mmvae.data.noise import Noisy, add_noise, feature_statistics, mask_features, mask_tokens
from mmvae.data.omics import Cells, from_mudata
from mmvae.data.paired_sequences import PairedSequences, paired_sequences
from mmvae.data.pairing import pair_by_label, pair_images
from mmvae.data.rows import Rows, Sampler
from mmvae.sources import Blocks
from mmvae.streams import Streamed

__all__ = [
    "ALPHABET",
    "Blocks",
    "CaptionVocabulary",
    "Cells",
    "ClipFeatures",
    "DigitWords",
    "IdentifiableSources",
    "ImageFiles",
    "ImageText",
    "LabelledImages",
    "MappedRows",
    "Missingness",
    "MultimodalDataset",
    "Noisy",
    "PairedSequences",
    "Rows",
    "Sampler",
    "SourceNotFound",
    "Streamed",
    "Table",
    "Tokenizer",
    "add_noise",
    "ave",
    "avvp",
    "cdsprites",
    "cub",
    "cub_captions",
    "cub_vocabulary",
    "data_root",
    "decode",
    "encode",
    "feature_statistics",
    "food101",
    "from_frame",
    "from_mudata",
    "hateful_memes",
    "identifiable_sources",
    "mapped",
    "mask_features",
    "mask_tokens",
    "mm_imdb",
    "mnist",
    "mnist_svhn_text",
    "mnist_usps_text",
    "pair_by_label",
    "pair_images",
    "paired_sequences",
    "polymnist",
    "polymnist_form",
    "polymnist_or_form",
    "polymnist_quadrant",
    "polymnist_translated",
    "rendered_digits",
    "snli_ve",
    "sprite_attributes",
    "sprite_captions",
    "sprite_words",
    "svhn",
    "svhn_sample",
    "usps",
    "vggsound_avel",
    "write_mapped",
]
