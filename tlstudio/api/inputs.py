"""Names of inputs that preprocessors and heads agree on, whichever plugin they come from."""

from __future__ import annotations

__all__ = ["CONTEXT", "GEOMETRY", "IMAGE_SIZE", "SCALE", "TARGETS"]

GEOMETRY = "geometry"
"""Input of an image preprocessor: an affine map ``[2, 3]`` from pixels of the upright image to those of the input.

Float32; it takes ``(x, y, 1)`` to ``(x', y')``, corners to corners: (0, 0) is the upper left corner of an image, not
the centre of its first pixel. The input that it leads to is ``pixels``, ``[3, height, width]`` of each sample.
"""

SCALE = "scale"
"""Input of a preprocessor of series: level and spread of what is forecast, ``[2]`` float32, in its own unit.

Forecasts are learned as ``(value - level) / spread``.
"""

IMAGE_SIZE = "image_size"
"""Input of an image preprocessor: height and width of the upright image in pixels, ``[2]`` int64."""

TARGETS = "targets"
"""Input of a preprocessor that is asked for logits: for each of its places the token that should come there, ``[T]``.

Int64, -100 where nothing is to be learned (a question, padding, all of a sample without label). As many as the
backbone gives logits for the sample, so that the logits ``[t]`` are compared with the target ``[t]``. Of hidden tokens,
what stood there; of the columns of a row ``[C]`` float32, the standardised number or the place of the category, NaN
where nothing was hidden.
"""

CONTEXT = "context"
"""Input that the head takes besides features: what its `TargetEncoder.context` says of each sample, ``[B, ...]``."""
