"""moeclip.Dataset"""

from __future__ import annotations

import operator
from typing import Any, Iterator, Optional, Sequence, Union

import numpy as np

from ._core import Owner, Path, c_path, c_text, c_texts, choose, own, py_text, set_numbers
from ._errors import check, new_error
from ._images import UInt8Array
from ._native import ffi, lib

_SPLITS = {"train": lib.MOECLIP_TRAIN, "test": lib.MOECLIP_TEST}


class Dataset(Owner):
    """Labelled pictures, split into train and test: a folder of class folders, IDX, CIFAR or CSV files, or one of the
    benchmarks' sets (moeclip/dataset.h describes the layouts).

    split: which part `len`, `[i]` and iteration mean, "train" or "test"; `with_split` gives the other one. Learning uses
    the train part and evaluating the test part whatever it is. name: None is the last part of the path. train_fraction
    and split_seed: of sets without a split of their own. classes: names by label, in place of the set's own.
    max_per_class: at most so many pictures of each class in each part, or a pair (train, test), drawn with `seed`; 0 is
    all.

    Raises FileError, FormatError, ArgumentError.
    """

    _what = "data set"

    def __init__(self, path: Path, *, split: str = "train", name: Optional[str] = None,
                 train_fraction: Optional[float] = None, split_seed: Optional[int] = None,
                 classes: Optional[Sequence[str]] = None,
                 max_per_class: Optional[Union[int, tuple[int, int]]] = None, seed: Optional[int] = None) -> None:
        self._handle: Any = None
        self._split = choose(split, _SPLITS, "split")
        options, out, err = ffi.new("moeclip_dataset_options *"), ffi.new("moeclip_dataset **"), new_error()
        lib.moeclip_dataset_options_defaults(options)
        set_numbers(options, {"train_fraction": train_fraction, "split_seed": split_seed, "seed": seed})
        keep: list[Any] = []
        if name is not None:
            keep.append(c_text(name, "name"))
            options.name = keep[-1]
        if classes is not None:
            array, options.n_classes = c_texts(classes, "classes")
            keep.append(array)
            options.classes = array
        if max_per_class is not None:
            pair = max_per_class if isinstance(max_per_class, tuple) else (max_per_class, max_per_class)
            if len(pair) != 2 or any(operator.index(n) < 0 for n in pair):
                raise ValueError(f"max_per_class must be a number of at least 0 or a pair of them, not {max_per_class!r}")
            options.max_per_class = list(pair)
        check(lib.moeclip_dataset_open(c_path(path, "path"), options, out, err), err)
        self._handle = own(out[0], lib.moeclip_dataset_destroy)

    def _copy(self, handle: Any, split: int) -> Dataset:
        other = Dataset.__new__(Dataset)
        other._handle, other._split = handle, split
        return other

    def with_split(self, split: str) -> Dataset:
        """The same set, where `len`, `[i]` and iteration mean that part of it."""
        return self._copy(self._get(), choose(split, _SPLITS, "split"))

    def renamed(self, name: str) -> Dataset:
        """The same set by another name, as which it is learned."""
        handle, err, out = self._get(), new_error(), ffi.new("moeclip_dataset **")
        n = lib.moeclip_dataset_classes(handle)
        classes = ffi.new("moeclip_class_of[]", [(handle, label) for label in range(n)])
        check(lib.moeclip_dataset_select(classes, n, c_text(name, "name"), out, err), err)
        return self._copy(own(out[0], lib.moeclip_dataset_destroy, handle), self._split)

    @property
    def name(self) -> str:
        return py_text(lib.moeclip_dataset_name(self._get()))

    @property
    def path(self) -> str:
        return py_text(lib.moeclip_dataset_path(self._get()))

    @property
    def format(self) -> str:
        """"folder", "idx", "cifar10", "cifar100", "csv", or the name of a benchmark's set."""
        return py_text(lib.moeclip_dataset_format(self._get()))

    @property
    def split(self) -> str:
        return {number: name for name, number in _SPLITS.items()}[self._split]

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        handle = self._get()
        n = lib.moeclip_dataset_classes(handle)
        return [py_text(lib.moeclip_dataset_class_name(handle, label)) for label in range(n)]

    @property
    def left_out(self) -> dict[str, int]:
        """Pictures in a folder of class folders that are not in the set: "kind", of a kind that is not read (GIF, HEIC
        ...), and "loose", in no class's folder."""
        kinds = {"kind": lib.MOECLIP_LEFT_OUT_KIND, "loose": lib.MOECLIP_LEFT_OUT_LOOSE}
        return {name: int(lib.moeclip_dataset_left_out(self._get(), why, ffi.NULL)) for name, why in kinds.items()}

    def __len__(self) -> int:
        n: int = lib.moeclip_dataset_count(self._get(), self._split)
        return n

    def _place(self, i: int) -> int:
        n, at = len(self), operator.index(i)
        if at < -n or at >= n:
            raise IndexError(f"picture {at} of {n}")
        return at + n if at < 0 else at

    def label(self, i: int) -> int:
        """The label of picture i, which is not decoded for that."""
        label: int = lib.moeclip_dataset_label(self._get(), self._split, self._place(i))
        return label

    def item_name(self, i: int) -> str:
        """The file of picture i, or FILE#ROW."""
        name = ffi.new("char[]", 4096)
        check(lib.moeclip_dataset_item_name(self._get(), self._split, self._place(i), name, len(name)), new_error())
        return py_text(name)

    def __getitem__(self, i: int) -> tuple[UInt8Array, int]:
        """Picture i, uint8 [height, width, 3], and its label. IndexError beyond the end; FormatError for a broken one."""
        handle, at, err = self._get(), self._place(i), new_error()
        image = ffi.new("moeclip_image *")
        check(lib.moeclip_dataset_load(handle, self._split, at, image, err), err)
        try:
            memory = ffi.buffer(image.rgb, 3 * image.width * image.height)
            pixels = np.frombuffer(memory, np.uint8).reshape(image.height, image.width, 3).copy()
        finally:
            lib.moeclip_image_clear(image)
        return pixels, lib.moeclip_dataset_label(handle, self._split, at)

    def __iter__(self) -> Iterator[tuple[UInt8Array, int]]:
        for i in range(len(self)):
            yield self[i]

    def __repr__(self) -> str:
        if self._handle is None:
            return "<moeclip.Dataset, closed>"
        return f"<moeclip.Dataset {self.name!r}, {len(self)} pictures to {self.split}, {len(self.classes)} classes>"
