"""Message-passing network for pairwise gains: links tell each other their gains and powers, several times over.

    x_k = (H_kk, 1, p_k),   p_k = 1 at first
    m_k = max over j != k of M(x_j, H_kj, H_jk)          element by element; 0 where there is no other link
    p_k = sigmoid(z_k),   z_k = u(m_k, x_k)              `iterations` times with the same M and u; the scores are the last z

M: two linear layers, each with ReLU; u: two linear layers with ReLU between them. The 1 stands for the weight of a link's rate, which is the
same for all here.

Shen, Shi, Zhang and Letaief, "A graph neural network approach for scalable wireless power control", Globecom Workshops 2019, and "Graph neural
networks for scalable radio resource management", IEEE J. Sel. Areas Commun. 2021 (arXiv 2007.07632), sizes as in their public code: M is 5-16-32,
u 35-16-1, 3 iterations. Layers start as linear layers of torch do (`flat.uniform_layers`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from learners.fields import check_count
from learners.models.controller import Controller, checked_widths
from learners.models.flat import Shapes, uniform_layers
from learners.models.permutation_layers import linear
from learners.quantities import Count, Width

STATE = 3
"""Numbers in x_k."""
EDGE = 2


class MessagePassing(Controller):
    """input_shape: (K_max, K_max + 1). message: widths of the two layers of M. update: of the hidden layer of u. iterations: how often
    messages are sent.

    The defaults make 1,233 parameters, whatever K_max.
    """

    controls = "matrix"

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        message: tuple[Width, Width] = (16, 32),
        update: Width = 16,
        iterations: Count = 3,
    ) -> None:
        super().__init__(input_shape, num_classes)
        first, second = checked_widths("message", message)
        check_count("update", update)
        check_count("iterations", iterations)
        self._iterations = iterations
        self.shapes: Shapes = (
            (first, STATE + EDGE), (first,), (second, first), (second,),
            (update, second + STATE), (update,), (1, update), (1,),
        )  # fmt: skip

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        W1, b1, W2, b2, U1, c1, U2, c2 = parameters
        gains, presence = inputs[..., :-1], inputs[..., -1]
        own = gains.diagonal(dim1=-2, dim2=-1)
        others = 1 - torch.eye(gains.shape[-1], dtype=gains.dtype, device=gains.device)
        heard = (presence.unsqueeze(-2) * others).unsqueeze(-1)  # [..., K, K, 1], 0 for padding and oneself
        edges = linear(torch.stack((gains, gains.mT), -1), W1[:, STATE:], b1)  # the same in every iteration
        powers, scores = presence, presence
        for _ in range(self._iterations):
            x = torch.stack((own, presence, powers), -1)
            messages = torch.relu(edges + linear(x, W1[:, :STATE]).unsqueeze(-3))
            messages = torch.relu(linear(messages, W2, b2)) * heard
            m = messages.amax(-2)
            scores = linear(torch.relu(linear(torch.cat((m, x), -1), U1, c1)), U2, c2).squeeze(-1) * presence
            powers = torch.sigmoid(scores) * presence
        return scores

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return uniform_layers(rng, self.shapes)
