"""Nearest subspace: a feature belongs to the class whose subspace leaves the smallest residual.

    U^k = the r eigenvectors of V^k with the largest eigenvalues          |z - U^k U^k' z|^2 = |z|^2 - |U^k' z|^2

so that the largest |U^k' z| wins. Directions whose eigenvalue is below 1e-6 of the largest are dropped: where a class has fewer samples
than r, they would be arbitrary. Second moments are not centered (the "SVD" of the sources). The centered form ("PCA") has subspaces through the
classes' means m^k, of the r largest eigenvectors of V^k - m^k m^k', and the smallest |z - m^k|^2 - |U^k' (z - m^k)|^2 wins. It tells z from -z.

Yu et al., NeurIPS 2020 (arXiv 2006.08558), section 3.1 and its public code (30 components, both forms).
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.representation.training_features import SMALLEST_EIGENVALUE

PIECE_BYTES = 32 << 20
"""Memory for projections at a time."""


def bases(eigenvalues: Tensor, eigenvectors: Tensor, dim: int) -> Tensor:
    """U^k as rows [..., dim, d], of eigenvalues [..., d], rising, and eigenvectors [..., d, d] in columns; dropped directions are 0."""
    kept = eigenvalues[..., -dim:] > SMALLEST_EIGENVALUE * eigenvalues[..., -1:]
    return eigenvectors[..., -dim:].mT * kept.unsqueeze(-1)


def nearest(z: Tensor, subspaces: Tensor, candidates: Tensor) -> Tensor:
    """[n, M] the class of each feature by each of M sets of subspaces, -1 where there is none.

    z: [n, d]; subspaces: [M, num_classes, dim, d]; candidates: bool [M, num_classes], others are never chosen
    """
    flat = subspaces.flatten(0, 2)
    pieces = max(1, -(-len(z) * len(flat) * z.element_size() // PIECE_BYTES))
    return torch.cat(
        [
            chosen((part @ flat.mT).square().unflatten(1, subspaces.shape[:3]).sum(3), candidates)
            for part in z.tensor_split(min(pieces, max(1, len(z))))
        ]
    )


def nearest_centered(z: Tensor, means: Tensor, subspaces: Tensor, candidates: Tensor) -> Tensor:
    """As `nearest`, of subspaces through means m^k [M, num_classes, d]."""
    offsets = torch.einsum("mkrd,mkd->mkr", subspaces, means)  # U^k' m^k
    flat, num_rows = subspaces.flatten(0, 2), means.shape[0] * means.shape[1]
    pieces = max(1, -(-len(z) * len(flat) * z.element_size() // PIECE_BYTES))
    found = []
    for part in z.tensor_split(min(pieces, max(1, len(z)))):
        inside = ((part @ flat.mT).unflatten(1, subspaces.shape[:3]) - offsets).square().sum(3)
        beside = part.square().sum(1, keepdim=True) - 2 * part @ means.view(num_rows, -1).mT
        distance = beside.unflatten(1, means.shape[:2]) + means.square().sum(2)
        found.append(chosen(inside - distance, candidates))
    return torch.cat(found)


def chosen(scores: Tensor, candidates: Tensor) -> Tensor:
    """[n, M] the class with the largest score, -1 where none is a finite number. scores: [n, M, num_classes]; candidates: bool [M,
    num_classes]."""
    best = scores.masked_fill(~candidates, -torch.inf).max(-1)
    return torch.where(best.values.isfinite(), best.indices, -1)
