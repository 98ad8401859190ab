"""Random changes of training images, as functions of images and drawn numbers.

`crop_flip`, as usual for CIFAR-10 (He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2: "4
pixels are padded on each side, and a 32 x 32 crop is randomly sampled from the padded image or its horizontal flip"):

    out[c, i, j] = padded[c, i + a, j + b],   a, b uniform in 0 .. 2 padding;   mirrored left to right with probability 1/2

The border is black: 0 in the data set's own scale, before any normalization.
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Crops of their own size out of images with a border of zeros `padding` pixels wide.

    images: [B, channels, height, width]; offsets: int64 [B, 2], row and column of the crop in 0 .. 2 padding
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height) + (offsets[:, :1] - padding)  # [B, height]
    columns = torch.arange(width) + (offsets[:, 1:] - padding)  # [B, width]
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = inside_rows.unsqueeze(-1) & inside_columns.unsqueeze(-2)  # [B, height, width]
    places = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
    flat = images.flatten(2)
    taken = flat.gather(2, places.flatten(1).unsqueeze(1).expand(flat.shape)).reshape(images.shape)
    return torch.where(inside.unsqueeze(1), taken, 0)


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Images mirrored left to right where flips, bool [B], is True. images: [B, channels, height, width]."""
    return torch.where(flips[:, None, None, None], images.flip(-1), images)
