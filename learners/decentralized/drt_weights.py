"""Deep relative trust between models, and the layer-wise mixing weights that follow from it.

Layer p of models k and l differs by (norms are Euclidean)

    r_kl^(p) = |w_k^(p) - w_l^(p)| / |w_k^(p)|,      DRT(w_k, w_l) = prod_p (1 + r_kl^(p)) - 1

Bernstein, Vahdat, Yue and Liu, "On the distance between two neural networks and the stability of learning", NeurIPS 2020 (arXiv
2002.03432). Not symmetric: the norm below is that of the first.

One descent step on the penalty 1/2 sum_l c_lk F(r_kl), with the norms below held fixed, pulls layer p of model k towards
that of l in proportion to c_lk kappa_lk^(p). Kernels kappa, without their common factor 1 / |w_k^(p)|^2:

    classic   F = sum_p r_p^2 (plain diffusion)     1
    prod_sq   prod_p (1 + r_p^2) - 1                prod_{q != p} (1 + r_q^2)
    log_sq    sum_p log(1 + r_p^2)                  1 / (1 + r_p^2)
    drt_sq    DRT^2                                 DRT prod_{q != p} (1 + r_q) / r_p
    log_abs   sum_p log(1 + r_p)                    1 / (r_p (1 + r_p))

The last two have no limit as r -> 0: r is at least 1e-6 there, and kappa is divided by its mean over all neighbors and layers.
Then kappa is clipped to [1/N, N]; N = 1 is plain diffusion with the weights c exactly. Two normalizations:

    residual  a_lk^(p) = c_lk kappa_lk^(p), scaled down in a layer where they sum to more than 1 - a_min; the rest is k's own
    simplex   a_lk^(p) = c_lk kappa_lk^(p) / (c_kk + sum_m c_mk kappa_mk^(p)),   a_kk likewise

symmetric (residual only): both ends take the smaller of the two kappas that they can both compute, and instead of the scaling
a_lk <= (1 - a_min) / max(d_k, d_l), which both know from the degrees: A^(p) is symmetric and doubly stochastic.

The distance and the derivation of the kernels are sound; that the ICASSP 2025 paper (see `drt_diffusion`) uses one of these
kernels, this clipping or these normalizations is a reconstruction that was not confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

from learners.models.flat import Shapes

KERNELS = ("classic", "prod_sq", "log_sq", "drt_sq", "log_abs")
SINGULAR = ("drt_sq", "log_abs")
NORMALIZATIONS = ("residual", "simplex")
LAYERS = ("module", "tensor")

MIN_NORM = 1e-12
MIN_DISTANCE = 1e-6


@cache
def layer_sizes(shapes: Shapes, layers: str = "module") -> tuple[int, ...]:
    """Lengths of the layers, in the order of the flat vector. "module": a weight with all that follows it up to the next weight
    (biases, scales and shifts of its normalization, which start at 0 or 1); "tensor": every tensor by itself."""
    sizes: list[int] = []
    for shape in shapes:
        if layers == "module" and len(shape) < 2 and sizes:
            sizes[-1] += prod(shape)
        else:
            sizes.append(prod(shape))
    return tuple(sizes)


def layer_norms(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """[..., num_layers] of x [..., num_params]."""
    return torch.stack([torch.linalg.vector_norm(part, dim=-1) for part in x.split(list(sizes), -1)], -1)


def distances(difference: Tensor, norms: Tensor, least: float = 0.0) -> Tensor:
    """r [..., num_layers] of the layers' norms of a difference and of the model that it is measured against; `least` in a
    layer whose own norm is (nearly) 0."""
    r = difference / norms.clamp(min=MIN_NORM)
    return torch.where(norms < MIN_NORM, least, r.clamp(min=least))


def deep_relative_trust(r: Tensor) -> Tensor:
    """DRT [...] of r [..., num_layers]; by logarithms, since the product of many layers overflows."""
    return torch.expm1(torch.log1p(r).sum(-1))


def log_kernel(r: Tensor, kernel: str) -> Tensor:
    """log kappa, like r [..., num_layers]."""
    if kernel == "classic":
        return torch.zeros_like(r)
    if kernel == "prod_sq":
        grown = torch.log1p(r * r)
        return grown.sum(-1, keepdim=True) - grown
    if kernel == "log_sq":
        return -torch.log1p(r * r)
    grown = torch.log1p(r)
    if kernel == "log_abs":
        return -grown - torch.log(r)
    whole = grown.sum(-1, keepdim=True)  # drt_sq: log(e^whole - 1) + ...
    return whole + torch.log(-torch.expm1(-whole)) + (whole - grown) - torch.log(r)


def clipped(log_kappa: Tensor, present: Tensor, kernel: str, max_ratio: float) -> Tensor:
    """kappa [m, num_layers], relative to its mean where the kernel is singular, within [1/N, N]. present: bool [m, num_layers],
    what there is to average."""
    if max_ratio == 1:
        return torch.ones_like(log_kappa)
    if kernel in SINGULAR:
        some = torch.where(present, log_kappa, -torch.inf)
        count = present.sum().clamp(min=1)
        log_kappa = log_kappa - (some.flatten().logsumexp(0).clamp(min=-1e30) - torch.log(count.to(log_kappa.dtype)))
    return torch.exp(log_kappa).clamp(1 / max_ratio, max_ratio)


def kappas(gaps: Tensor, norms: Tensor, present: Tensor, kernel: str, max_ratio: float) -> Tensor:
    """kappa [m, num_layers], clipped, of the layers' norms of differences [m, num_layers] and of the model that they are measured
    against [num_layers] or [m, num_layers]. A layer whose own norm is (nearly) 0 is averaged as in plain diffusion, kappa = 1,
    and counts in no mean: relative to nothing, any difference would rule all layers. present: see `clipped`."""
    least = MIN_DISTANCE if kernel in SINGULAR else 0.0
    measurable = norms >= MIN_NORM
    log_kappa = log_kernel(distances(gaps, norms, least), kernel)
    return torch.where(measurable, clipped(log_kappa, present & measurable, kernel, max_ratio), 1)


def residual(c: Tensor, kappa: Tensor, min_own_weight: float) -> Tensor:
    """a [m, num_layers], the neighbors' weights, of c [m, num_layers]; what is missing to 1 is the device's own."""
    a = c * kappa
    total = a.sum(0)
    return a * torch.where(total > 1 - min_own_weight, (1 - min_own_weight) / total, 1.0)


def simplex(c: Tensor, kappa: Tensor) -> Tensor:
    """As `residual`, normalized with the device's own kappa = 1."""
    a = c * kappa
    return a / (1 - c.sum(0) + a.sum(0))
