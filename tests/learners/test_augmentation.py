"""Crops and flips against a loop over pixels, and the draws that they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.augmentation import crop, flip
from learners.batching import BatchStream


def cropped(image: np.ndarray, row: int, column: int, padding: int) -> np.ndarray:
    """image [channels, height, width]: cut [height, width] out of the padded image at (row, column)."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    return padded[:, row : row + height, column : column + width]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.uint8])
@pytest.mark.parametrize(("shape", "padding"), [((3, 7, 5), 2), ((1, 4, 4), 5)])
def test_crops_and_flips_equal_a_loop_over_images(
    shape: tuple[int, int, int], padding: int, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(1, 256, (20, *shape))).to(dtype)
    offsets, flips = rng.integers(0, 2 * padding + 1, (20, 2)), rng.random(20) < 0.5
    offsets[:2] = 0, 2 * padding  # the extremes
    expected = np.stack([cropped(images[i].numpy(), *offsets[i], padding) for i in range(20)])
    ours = crop(images, torch.from_numpy(offsets), padding)
    assert ours.dtype == dtype
    assert np.array_equal(ours.numpy(), expected)
    mirrored = np.stack([image[:, :, ::-1] if mirror else image for image, mirror in zip(expected, flips)])
    assert np.array_equal(flip(ours, torch.from_numpy(flips)).numpy(), mirrored)
    assert 0 < flips.sum() < 20


def test_offsets_are_uniform_and_half_of_the_images_are_mirrored() -> None:
    """Chi-square of n = 20,000 offsets over 5 values has 4 degrees of freedom: mean 4, variance 8; flips: binomial. Limits: 4
    standard deviations above, 4 standard errors around."""
    stream = BatchStream(np.arange(10), np.random.default_rng(1), torch.float32, lambda: np.random.default_rng(2))
    offsets, flips = stream.draw(100, steps=100, crop_padding=2).augmentation
    assert offsets.shape == (100, 100, 2)
    assert flips.shape == (100, 100)
    counts = np.bincount(offsets.numpy().ravel(), minlength=5)
    assert len(counts) == 5
    assert ((counts - 4000) ** 2 / 4000).sum() < 4 + 4 * np.sqrt(8)
    assert float(flips.float().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 100)


def test_augmentation_leaves_the_order_of_samples_alone() -> None:
    plain = BatchStream(np.arange(30), np.random.default_rng(1), torch.float32)
    changed = BatchStream(np.arange(30), np.random.default_rng(1), torch.float32, lambda: np.random.default_rng(2))
    for how in ({"steps": 3}, {"epochs": 2}, {"steps": 1}):
        batches = changed.draw(8, **how, crop_padding=4)
        assert torch.equal(batches.indices, plain.draw(8, **how).indices)
        assert len(batches.steps) == 4
    assert plain.draw(8, steps=1).augmentation == ()
    with pytest.raises(ValueError, match="crop_padding = 4: this stream has no generator"):
        plain.draw(8, steps=1, crop_padding=4)


def test_crops_and_flips_go_on_from_draw_to_draw() -> None:
    stream = BatchStream(np.arange(10), np.random.default_rng(1), torch.float32, lambda: np.random.default_rng(2))
    first, second = (stream.draw(100, steps=1, crop_padding=2).augmentation for _ in range(2))
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])


@pytest.mark.parametrize("how", [{"steps": 3}, {"epochs": 2}])
@pytest.mark.parametrize("crop_padding", [None, 2])
def test_an_estimate_has_the_shapes_of_a_draw(how: dict[str, int], crop_padding: int | None) -> None:
    drawn = BatchStream(np.arange(30), np.random.default_rng(1), torch.float32, lambda: np.random.default_rng(2))
    shapes = BatchStream(np.arange(30), None, torch.float32)
    one, other = (stream.draw(8, **how, crop_padding=crop_padding) for stream in (drawn, shapes))
    assert [(part.shape, part.dtype) for part in one.steps] == [(part.shape, part.dtype) for part in other.steps]
    assert (one.num_steps, one.work) == (other.num_steps, other.work)


def test_all_samples_come_once_in_order() -> None:
    stream = BatchStream(np.arange(5, 18), None, torch.float64)
    batches = stream.all_samples(4)
    assert batches.num_steps == 4
    assert batches.work == 13 / 16
    assert batches.indices[batches.weights > 0].tolist() == list(range(5, 18))
    assert batches.indices.min() >= 5
    assert stream.all_samples(4) is batches
