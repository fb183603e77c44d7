"""Training of networks on the images of a stack, here or on all workers of a cluster."""

from hpdp_dask.dataflow.training.apply import apply_network
from hpdp_dask.dataflow.training.learner import Learner, TrainingSettings
from hpdp_dask.dataflow.training.train import Trained, train_network

__all__ = ["Learner", "Trained", "TrainingSettings", "apply_network", "train_network"]
