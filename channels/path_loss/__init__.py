"""Path loss: the mean attenuation of a link as a function of its geometry, one model a file.

    model          PathLoss: what a model answers (the terms are defined there)
    line_of_sight  LosModel: what the models with a line-of-sight state have in common
    ranges         ranges of validity: one warning an object, or an error with `strict`

The models are listed by name in `channels.registry`.
"""

from .free_space import FreeSpace, free_space_loss_db
from .log_distance import LogDistance, log_distance_loss_db
from .model import PathLoss
from .tr38901_umi import UmiStreetCanyon

__all__ = [
    "FreeSpace",
    "LogDistance",
    "PathLoss",
    "UmiStreetCanyon",
    "free_space_loss_db",
    "log_distance_loss_db",
]
