"""Pictures of samples in a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 96
"""Height and width in pixels beyond which a picture is made smaller, unless told."""


def data_uri(picture: NDArray[np.uint8], largest: int = LARGEST) -> str:
    """A picture ``(height, width, 1 or 3)`` as a PNG in a data URI, smaller if it is large."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    image.thumbnail((largest, largest))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
