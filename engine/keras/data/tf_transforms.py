"""Decodes, crops and resizes images with TensorFlow operations, which run without the GIL; Pillow reads the rest.

Crops are those of `gputrain.engine.dataloading.random_resized_crop`, from the same random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gputrain.engine.configuration.sections.data_settings import DataConfig
from gputrain.engine.dataloading.random_resized_crop import DRAWS, TRIES
from gputrain.engine.imaging import jpeg_damage, pillow_decode
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.keras.library import tf

_RATIO = (3 / 4, 4 / 3)
_X, _Y, _FIRST_TRY = 1, 2, 3
"""Positions in the random numbers of a sample, as in `random_resized_crop`."""
_JPEG = b"\xff\xd8\xff"
_DCT = "INTEGER_ACCURATE"
"""As in other decoders; TensorFlow's default differs by some grey levels."""


@dataclass(frozen=True, slots=True)
class View:
    """How samples are cut from images."""

    random: bool
    """Random resized crop; else a centre crop of the resized image."""
    size: int
    resize: int
    """Short side of the image before the centre crop."""
    min_scale: float
    decoding: Decoding = DEFAULT_DECODING
    squash: bool = False
    """Whether the long side, too, is resized to `resize`."""

    def pixels(self, path: Any, draws: Any) -> Any:
        """uint8 (size, size, 3) of the image file `path`, cut as its `draws` say, float64 (DRAWS,)."""
        data = tf.io.read_file(path)
        is_jpeg = tf.equal(tf.strings.substr(data, 0, len(_JPEG)), _JPEG)
        shown = self._random if self.random else self._centre
        found = tf.cond(
            tf.logical_and(is_jpeg, _is_plain(data)),
            lambda: shown(data, draws, jpeg=True),
            lambda: shown(data, draws, jpeg=False),
        )
        # uint8, as copied to the device.
        bytes_ = tf.cast(tf.clip_by_value(tf.round(found), 0, 255), tf.uint8)
        return tf.ensure_shape(bytes_, (self.size, self.size, 3))

    def _random(self, data: Any, draws: Any, *, jpeg: bool) -> Any:
        if jpeg:
            shape = tf.image.extract_jpeg_shape(data)
            left, top, width, height = random_box(draws, shape[1], shape[0], self.min_scale)
            # Decodes only the crop of a JPEG.
            part = tf.stack((top, left, height, width))
            box = _not_filled(tf.image.decode_and_crop_jpeg(data, part, 3, dct_method=_DCT), data)
        else:
            image = self._decoded(data)
            shape = tf.shape(image)
            left, top, width, height = random_box(draws, shape[1], shape[0], self.min_scale)
            box = image[top : top + height, left : left + width]
        return tf.image.resize(box, (self.size, self.size), self.decoding.interpolation, antialias=True)

    def _centre(self, data: Any, _draws: Any, *, jpeg: bool) -> Any:
        image = _not_filled(tf.image.decode_jpeg(data, 3, dct_method=_DCT), data) if jpeg else self._decoded(data)
        rows, columns, top, left = _resized(tf.shape(image), self.resize, self.size, squash=self.squash)
        whole = tf.image.resize(image, tf.stack((rows, columns)), self.decoding.interpolation, antialias=True)
        return whole[top : top + self.size, left : left + self.size]

    def _decoded(self, data: Any) -> Any:
        """uint8 (height, width, 3) of a file that is no plain JPEG: plain PNGs by TensorFlow, others by Pillow.

        TensorFlow reads the colours of palette BMPs as grey levels, and no WebP with transparency or several frames.
        """

        def by_pillow(content: Any) -> Any:
            return pillow_decode.decode_upright(_bytes(content), self.decoding)

        image = tf.cond(
            _is_plain(data),
            lambda: tf.io.decode_png(data, 3),
            lambda: tf.numpy_function(by_pillow, [data], tf.uint8, stateful=False),
        )
        image.set_shape((None, None, 3))
        return image


def view_of(data: DataConfig, decoding: Decoding, *, train: bool) -> View:
    """How the samples of a run are cut, for training or for validation."""
    random = train and data.augment == "crop_flip"
    squash = data.crop_mode == "squash"
    return View(random, data.image_size, data.val_resize, data.crop_min_scale, decoding, squash)


def _not_filled(pixels: Any, data: Any) -> Any:
    """Decoded pixels (height, width, 3) of a JPEG; an error if their last row fills in for missing data."""

    def refuse_early_end(content: Any) -> Any:
        if jpeg_damage.ends_early(_bytes(content)):
            raise pillow_decode.CannotDecodeError(jpeg_damage.ENDS_EARLY)
        return np.bool_(True)

    checked = tf.cond(
        tf.reduce_all(tf.equal(pixels[-1], jpeg_damage.FILL)),
        lambda: tf.numpy_function(refuse_early_end, [data], tf.bool, stateful=False),
        lambda: tf.constant(True),
    )
    with tf.control_dependencies([checked]):
        return tf.identity(pixels)


def _is_plain_file(data: Any) -> Any:
    return np.bool_(pillow_decode.is_plain(_bytes(data)))


def _bytes(value: Any) -> bytes:
    """numpy_function passes bytes in a graph and arrays of one object outside."""
    return value if isinstance(value, bytes) else bytes(value.item())


def _is_plain(data: Any) -> Any:
    """bool scalar: TensorFlow decodes the file to the same pixels as the PyTorch engine."""
    found = tf.numpy_function(_is_plain_file, [data], tf.bool, stateful=False)
    return tf.ensure_shape(found, ())


def random_box(draws: Any, width: Any, height: Any, min_scale: float) -> tuple[Any, Any, Any, Any]:
    """int32 left, top, width and height as in `random_resized_crop.random_box`, from `draws` float64 (DRAWS,)."""
    wide, high = tf.cast(width, tf.float64), tf.cast(height, tf.float64)
    tries = tf.reshape(draws[_FIRST_TRY:DRAWS], (TRIES, 2))
    low, up = math.log(_RATIO[0]), math.log(_RATIO[1])
    target = wide * high * (min_scale + (1 - min_scale) * tries[:, 0])
    ratio = tf.exp(low + (up - low) * tries[:, 1])
    w, h = tf.round(tf.sqrt(target * ratio)), tf.round(tf.sqrt(target / ratio))
    fits = (w > 0) & (w <= wide) & (h > 0) & (h <= high)
    first = tf.argmax(tf.cast(fits, tf.int32))
    left, top = tf.floor(draws[_X] * (wide - w[first] + 1)), tf.floor(draws[_Y] * (high - h[first] + 1))
    # If no try fits: the largest centre crop with an allowed aspect ratio.
    ratio = tf.clip_by_value(wide / high, *_RATIO)
    most_w, most_h = tf.minimum(wide, tf.round(high * ratio)), tf.minimum(high, tf.round(wide / ratio))
    middle = (tf.math.floordiv(wide - most_w, 2), tf.math.floordiv(high - most_h, 2), most_w, most_h)
    found = tf.where(tf.reduce_any(fits), tf.stack((left, top, w[first], h[first])), tf.stack(middle))
    left, top, w, h = tf.unstack(tf.cast(found, tf.int32))
    return left, top, w, h


def _resized(shape: Any, resize: int, size: int, *, squash: bool) -> tuple[Any, Any, Any, Any]:
    """Rows and columns of the whole image, and where its centre begins, as in `random_resized_crop.centre`."""
    height, width = shape[0], shape[1]
    short = max(resize, size)
    ratio = 1 if squash else tf.maximum(height, width) / tf.minimum(height, width)
    long = tf.cast(short * ratio, tf.int32)
    rows, columns = tf.where(width <= height, long, short), tf.where(width <= height, short, long)
    top = tf.cast(tf.round((rows - size) / 2), tf.int32)
    left = tf.cast(tf.round((columns - size) / 2), tf.int32)
    return rows, columns, top, left
