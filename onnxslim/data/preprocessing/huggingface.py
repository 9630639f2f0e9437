"""Hugging Face's ``preprocessor_config.json`` as a :class:`~onnxslim.data.preprocessing.image_transform.Preprocess`.

The keys are those of transformers' image processors. An old config writes ``size`` as one number: processors that
also crop mean the shorter side by it, the others a square. ConvNeXT's ``crop_pct`` resizes to ``size / crop_pct`` and
crops when the size is below 384. Detectors resize the shorter side and bound the longer one; they pad the images of a batch
to one size, which images that run one by one do not need. Without ``resample`` the filter is bilinear, as in most
processors. What this tool cannot do (other padding, offsets) is refused rather than left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxslim.core.errors import InvalidDataError, UnsupportedError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.preprocessing.image_transform import Preprocess, ResizeSize, check_channels

#: Pillow's numbering of filters, as ``resample`` spells them.
_RESAMPLE_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: Steps with no counterpart here, when they are switched on.
_UNSUPPORTED_KEYS = (
    "do_pad", "rescale_offset", "do_thumbnail", "do_align_long_axis", "size_divisor", "size_divisibility",
)  # fmt: skip
_CONVNEXT_MIN_UNCROPPED = 384


#: What the hub calls the file.
CONFIG_NAME = "preprocessor_config.json"


def read_config(path: Path) -> Preprocess:
    """The preprocessing that a config describes.

    Raises:
        UsageError: No such file.
        InvalidDataError: It is no such config.
        UnsupportedError: It asks for a step that this tool does not have; the message names the key.
    """
    try:
        config = json.loads(check_regular_file(path).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("not an object")
        return _convert(config, str(path))
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise InvalidDataError(f"{path} is not a preprocessor_config.json: {error!r}") from error


def _convert(config: Mapping[str, Any], name: str) -> Preprocess:
    size = config.get("size")
    longest = size.get("longest_edge") if isinstance(size, dict) else None
    unsupported = [key for key in _UNSUPPORTED_KEYS if config.get(key)]
    if longest is not None and "shortest_edge" not in config["size"]:
        unsupported.append("longest_edge")
    elif longest is not None and not config.get("pad_size"):
        unsupported = [key for key in unsupported if key != "do_pad"]  # only to the size of the largest of a batch
    if unsupported:
        raise UnsupportedError(
            f"{name}: {', '.join(unsupported)} cannot be done here", hint="prepare the arrays yourself, as an .npz"
        )
    crops = bool(config.get("do_center_crop"))
    crop = _read_sides(config["crop_size"]) if crops else None
    resize = _read_resize(config["size"], crops) if config.get("do_resize", True) and "size" in config else None
    if "crop_pct" in config and isinstance(resize, int):
        crop = (resize, resize)
        resize = int(resize / config["crop_pct"]) if resize < _CONVNEXT_MIN_UNCROPPED else crop
        crop = crop if isinstance(resize, int) else None
    normalize = config.get("do_normalize", "image_mean" in config)
    return check_channels(
        Preprocess(
            resize=resize,
            longest=None if longest is None else int(longest),
            crop=crop,
            scale=1 / float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=_to_floats(config["image_mean"]) if normalize else (0.0,),
            std=_to_floats(config["image_std"]) if normalize else (1.0,),
            color="bgr" if config.get("do_flip_channel_order") else "rgb",
            interpolation=_RESAMPLE_FILTERS[int(config.get("resample", 2))],
        )
    )


def _to_floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _read_resize(size: Any, crops: bool) -> ResizeSize:
    if isinstance(size, int):
        return size if crops else (size, size)
    return int(size["shortest_edge"]) if "shortest_edge" in size else _read_sides(size)


def _read_sides(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return (int(size["shortest_edge"]),) * 2
    return int(size["height"]), int(size["width"])
