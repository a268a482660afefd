"""Loads data sets as tf.data pipelines of uint8 images or float vectors."""

from snf_tf.data.augmentation import flip_and_shift
from snf_tf.data.dataset import Dataset, batches, training_batches
from snf_tf.data.loading import load_dataset

__all__ = ["Dataset", "batches", "flip_and_shift", "load_dataset", "training_batches"]
