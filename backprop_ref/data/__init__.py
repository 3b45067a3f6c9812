"""Data to train on: built-in sets by name, CSV files, and what is done to them before training."""

from backprop_ref.data.dataset import Dataset, one_hot
from backprop_ref.data.named import NAMES, load_dataset
from backprop_ref.data.preprocessing import Preprocessing, fold, split
from backprop_ref.data.tables import read_csv, read_table, write_csv

__all__ = [
    "NAMES",
    "Dataset",
    "Preprocessing",
    "fold",
    "load_dataset",
    "one_hot",
    "read_csv",
    "read_table",
    "split",
    "write_csv",
]
