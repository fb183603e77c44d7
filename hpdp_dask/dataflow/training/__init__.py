"""Training of networks on the images of a stack, here or on all workers of a cluster."""

from hpdp_dask.dataflow.training.apply import apply_network
from hpdp_dask.dataflow.training.learner import PLACE, STEP, Learner, TrainingSettings
from hpdp_dask.dataflow.training.spread import apply_to_all
from hpdp_dask.dataflow.training.train import Trained, train_network

__all__ = [
    "PLACE",
    "STEP",
    "Learner",
    "Trained",
    "TrainingSettings",
    "apply_network",
    "apply_to_all",
    "train_network",
]
