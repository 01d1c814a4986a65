"""Pictures of any size, and encoded ones, in a TensorFlow graph: decoded and cropped as `kdzoo.data` does.

The pixels of JPEG and PNG files are the same. Those of the resampled picture differ from what `apps.predict` sees by at
most 1 of 255, since there it is rounded after each of the two directions, and TensorFlow at the end alone. Logits of a
wrn10-1, which spread over 8 to 25, differed by up to 0.02. Beside that, EXIF orientation is ignored, 16 bits are cut to
8 instead of rounded, JPEGs in CMYK get other colours, and formats other than JPEG and PNG are refused.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

MOST_PIXELS = 2**26  # of an encoded picture: a small file may hold a picture that fills the memory of a server
_PNG_HEADER = 29  # bytes to the end of the first chunk's content
_RATIOS = (1, 2, 4, 8)  # at which libjpeg decodes a JPEG


@dataclasses.dataclass(frozen=True)
class PictureGraph:
    """What brings pictures to a network's size.

    Attributes:
        image_shape: (height, width, channels) of the network's images.
        share: of the longest possible sides of a picture that are seen, see `kdzoo.data.crops.centre_box`.
        background: the colour behind transparent pixels: red, green, blue, 0 to 255.
    """

    image_shape: tuple[int, int, int]
    share: float = 1.0
    background: Sequence[int] = (255, 255, 255)

    def resize(self, pictures: Any) -> Any:
        """Returns the centred rectangle of pictures of one size, resampled, as images.

        Args:
            pictures: uint8 [n, h, w, channels], of any h and w.

        Returns:
            uint8 [n, *image_shape].
        """
        import tensorflow as tf

        size = tf.shape(pictures)[1:3]
        return self._resample(_checked(pictures, tf.reduce_all(size > 0), "A picture must have pixels"), size, 1)

    def decode(self, encoded: Any) -> Any:
        """Returns pictures as images, each decoded and resampled on its own: the memory is that of one picture.

        Args:
            encoded: string [n], each the content of a JPEG or PNG file.

        Returns:
            uint8 [n, *image_shape]. Damaged ones and those of more than 2^26 pixels raise `InvalidArgumentError`.
        """
        import tensorflow as tf

        return tf.map_fn(
            self._decode, encoded, fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8), parallel_iterations=1
        )

    def _decode(self, data: Any) -> Any:
        import tensorflow as tf

        is_jpeg = tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff")
        is_png = tf.equal(tf.strings.substr(data, 0, 8), b"\x89PNG\r\n\x1a\n")
        data = _checked(data, is_jpeg | is_png, "A picture must be a JPEG or PNG file")
        image = tf.cond(is_jpeg, lambda: self._decode_jpeg(data), lambda: self._decode_png(data))[0]
        if self.image_shape[2] == 1:  # Pillow's formula
            weighted = tf.reduce_sum(tf.cast(image, tf.int32) * [19595, 38470, 7471], axis=-1, keepdims=True)
            image = tf.cast(tf.bitwise.right_shift(weighted + 2**15, 16), tf.uint8)
        return tf.ensure_shape(image, self.image_shape)

    def _decode_jpeg(self, data: Any) -> Any:
        """A JPEG is decoded at a half, a quarter or an eighth of its size if that is enough."""
        import tensorflow as tf

        size = tf.io.extract_jpeg_shape(data)[:2]
        data = _checked_size(data, size)
        scale = self._scale(size)
        step = tf.reduce_sum(tf.cast(scale >= [2.0, 4.0, 8.0], tf.int32))

        def decode(ratio: int) -> Any:
            # The other method of decoding is faster, but differs from libjpeg's own.
            pixels = tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
            return self._resample(pixels[None], size, ratio)

        return tf.switch_case(step, [lambda ratio=ratio: decode(ratio) for ratio in _RATIOS])

    def _decode_png(self, data: Any) -> Any:
        import tensorflow as tf

        data = _checked(data, tf.strings.length(data) >= _PNG_HEADER, "A PNG file must have a header")
        size = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)[::-1]  # width first
        data = _checked_size(data, size)
        bits = tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0]
        pixels = tf.io.decode_png(data, channels=4)
        alpha = pixels[..., 3:]
        # Without an alpha channel TensorFlow fills it with the largest number of the file's bits: 1, 3, 15 or 255.
        largest = tf.cast(2 ** tf.minimum(tf.cast(bits, tf.int32), 8) - 1, tf.uint8)
        opaque = tf.reduce_all(alpha == 255) | tf.reduce_all(alpha == largest)
        visible = tf.cond(opaque, lambda: pixels[..., :3], lambda: self._blend(pixels[..., :3], alpha))
        return self._resample(visible[None], size, 1)

    def _blend(self, colours: Any, alpha: Any) -> Any:
        """Pixels over the background: uint16 suffices, since 255^2 is below 2^16."""
        import tensorflow as tf

        opacity = tf.cast(alpha, tf.uint16)
        behind = tf.constant(list(self.background), tf.uint16) * (tf.constant(255, tf.uint16) - opacity)
        total = tf.cast(colours, tf.uint16) * opacity + behind
        return tf.cast((total + tf.constant(127, tf.uint16)) // tf.constant(255, tf.uint16), tf.uint8)

    def _scale(self, size: Any) -> Any:
        """Pixels of a picture of this size that one pixel of an image spans, in each direction."""
        import tensorflow as tf

        height, width, _ = self.image_shape
        return tf.reduce_min(tf.cast(size, tf.float64) / [height, width]) * self.share

    def _resample(self, pixels: Any, size: Any, ratio: int) -> Any:
        """Images, uint8 [n, height, width, c], of the centre of pictures.

        Args:
            pixels: uint8 [n, h, w, c].
            size: (h, w) of the pictures.
            ratio: by which the pixels are fewer in each direction, rounded up.
        """
        import tensorflow as tf

        shape = tf.constant(self.image_shape[:2])
        scale = self._scale(size)
        corner = (tf.cast(size, tf.float64) - tf.cast(shape, tf.float64) * scale) / 2
        resampled = tf.raw_ops.ScaleAndTranslate(
            images=pixels,
            size=shape,
            scale=tf.cast(tf.fill([2], ratio / scale), tf.float32),
            translation=tf.cast(-corner / scale, tf.float32),
            kernel_type="triangle",  # Pillow's bilinear filter
            antialias=True,
        )
        return tf.cast(tf.clip_by_value(tf.round(resampled), 0, 255), tf.uint8)


def _checked_size(data: Any, size: Any) -> Any:
    import tensorflow as tf

    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    right = tf.reduce_all(size > 0) & (pixels <= MOST_PIXELS)
    return _checked(data, right, f"A picture must have from 1 to {MOST_PIXELS} pixels")


def _checked(data: Any, right: Any, message: str) -> Any:
    """Returns data that is there only once the check has passed: a decoder does not wait for an assertion by itself."""
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(right, [message])]):
        return tf.identity(data)
