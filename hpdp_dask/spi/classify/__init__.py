"""Classifiers of diffraction patterns: six methods that learn from labelled frames, one interface.

`svm`, `svm-threshold`, `kmeans` and `spectral` look at rotation-invariant feature vectors, `mlp`
and `cnn` at pictures of the frames themselves. `train` takes both kinds, with the labels of those
frames that a person has looked at, and gives a `Model`; `Classify` applies one to stored or
arriving frames.

    labelled      which frames have labels, and whether they suffice
    space         standardised features and their principal components
    svm           support vectors with calibrated probabilities
    clusters      k-means and spectral clustering, matched to classes by the labelled frames
    pictures      frames as small pictures about the beam
    networks      the perceptron and the convolutional network
    model         `train`, and the `Model` that it gives
    stored        a model as JSON and arrays
    recipe        whether a model learnt from features like those of a stack
    measure       `Classify`, frame by frame
    stage         all of it over a stack
    scores        confusion, precision and recall, calibration
    trainings     trainings that are judged by frames they have not seen
    validation    cross-validation, the learning curve
    comparison    all methods on the same labelled frames

References
----------
Bobkov et al. 2015, J. Synchrotron Rad. 22, 1345 (feature vectors, support vector machine); Platt
1999 in Advances in Large Margin Classifiers (calibration); Chow 1970, IEEE Trans. Inf. Theory 16,
41 (the reject option).
"""

from hpdp_dask.spi.classify.measure import Classify
from hpdp_dask.spi.classify.model import (
    DEFAULT_THRESHOLD,
    FEATURE_METHODS,
    METHODS,
    PICTURE_METHODS,
    Model,
    train,
)
from hpdp_dask.spi.classify.stored import load_model, save_model

__all__ = [
    "DEFAULT_THRESHOLD",
    "FEATURE_METHODS",
    "METHODS",
    "PICTURE_METHODS",
    "Classify",
    "Model",
    "load_model",
    "save_model",
    "train",
]
