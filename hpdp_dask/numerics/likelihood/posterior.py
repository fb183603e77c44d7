"""From log-likelihoods to probabilities of poses, and which of them matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.likelihood.sums import pieces

#: Poses less probable than the best by more than this factor, exp(-40) = 4e-18, have none: far
#: below the rounding of any sum, and numbers near the least of float32 slow a CPU tenfold.
_DEEPEST = 40.0


@dataclass(frozen=True)
class Posterior:
    """How probable each pose of each image is.

    Attributes
    ----------
    responsibilities : (n, t, r) array of float32
        The probabilities, of sum 1 for each image.
    log_evidence : (n,) array of float64
        The log of the likelihood averaged over the priors: over that of the baseline, as the
        log-likelihoods were.
    expected_log_likelihood : (n,) array of float64
        The mean of the log-likelihood, without priors, over the poses as probable as they are.
    reference_probability : (n, r) array of float32
        Summed over shifts.
    shift_probability : (n, t) array of float32
        Summed over references.
    best_shift, best_reference : (n,) arrays of int
        The most probable pose.
    highest : (n,) array of float32
        Its probability.
    effective_number : (n,) array of float32
        Of poses: 1 / sum p², 1 if one is certain and t r if all are alike (Kish 1965).
    """

    responsibilities: Array
    log_evidence: Array
    expected_log_likelihood: Array
    reference_probability: Array
    shift_probability: Array
    best_shift: Array
    best_reference: Array
    highest: Array
    effective_number: Array


@dataclass(frozen=True)
class Significant:
    """The poses that hold nearly all of the probability, in order of images.

    Attributes
    ----------
    image, shift, reference : (k,) arrays of int
    probability : (k,) array of float32
    """

    image: Array
    shift: Array
    reference: Array
    probability: Array


def posterior_of(
    log_likelihoods: Array, log_reference_prior: Array, log_shift_prior: Array
) -> Posterior:
    """Turn log-likelihoods into probabilities of poses by Bayes' rule.

    Parameters
    ----------
    log_likelihoods : (n, t, r) array of float32
        Of `match`; *overwritten* by the responsibilities, since there is often no room for
        both (unless they are not contiguous, when they are copied).
    log_reference_prior : (n, r) or (1, r) array
        Of class and orientation; -inf for what is excluded.
    log_shift_prior : (n, t) or (1, t) array
        Of the shift.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError
        If an image is left without any possible pose.
    """
    xp = namespace(log_likelihoods)
    log_likelihoods = xp.ascontiguousarray(log_likelihoods, dtype=xp.float32)
    number, tried, of = log_likelihoods.shape
    on_references = xp.broadcast_to(xp.asarray(log_reference_prior, xp.float32), (number, of))
    on_shifts = xp.broadcast_to(xp.asarray(log_shift_prior, xp.float32), (number, tried))
    by_reference = xp.empty((number, of), xp.float32)
    by_shift = xp.empty((number, tried), xp.float32)
    evidence, mean, effective = (xp.empty(number, xp.float64) for _ in range(3))
    best, highest = xp.empty(number, xp.int64), xp.empty(number, xp.float32)
    nothing = xp.exp(xp.full(1, -_DEEPEST, xp.float32))
    for piece in pieces(number, 2 * 4 * tried * of, xp):
        values = log_likelihoods[piece]
        values += on_references[piece][:, None, :]
        values += on_shifts[piece][:, :, None]
        flat = values.reshape(len(values), -1)
        best[piece] = flat.argmax(axis=1)
        top = xp.take_along_axis(flat, best[piece][:, None], axis=1)
        if not bool(xp.isfinite(top).all()):
            raise ValueError("an image has no pose of finite log-likelihood")
        below = xp.maximum(flat - top, np.float32(-_DEEPEST))
        xp.exp(below, out=flat)
        flat -= nothing  # exactly 0 for all that is deepest
        total = values.sum(axis=1).sum(axis=1, dtype=xp.float64)
        flat /= total.astype(xp.float32)[:, None]
        by_reference[piece] = values.sum(axis=1)
        by_shift[piece] = values.sum(axis=2)
        highest[piece] = xp.take_along_axis(flat, best[piece][:, None], axis=1)[:, 0]
        effective[piece] = 1.0 / xp.einsum("nk,nk->n", flat, flat)
        evidence[piece] = top[:, 0] + xp.log(total)
        mean[piece] = top[:, 0] + xp.einsum("nk,nk->n", flat, below)
    mean -= _mean_prior(by_reference, on_references) + _mean_prior(by_shift, on_shifts)
    return Posterior(
        responsibilities=log_likelihoods,
        log_evidence=evidence,
        expected_log_likelihood=mean,
        reference_probability=by_reference,
        shift_probability=by_shift,
        best_shift=best // of,
        best_reference=best % of,
        highest=highest,
        effective_number=effective.astype(xp.float32),
    )


def _mean_prior(probability: Array, log_prior: Array) -> Array:
    """Average a log-prior, where what is excluded has no probability and counts nothing."""
    xp = namespace(probability)
    finite = xp.where(xp.isfinite(log_prior), log_prior, np.float32(0.0))
    return xp.einsum("nk,nk->n", probability, finite, dtype=xp.float64)


def significant_poses(responsibilities: Array, fraction: float = 0.999) -> Significant:
    """Select for each image the fewest poses that together hold a fraction of the probability.

    Poses as probable as the least of these are taken too, so that the choice does not depend on
    the order of poses; impossible ones never are. This is the adaptive oversampling of Tagare,
    Barthel & Sigworth 2010, J. Struct. Biol. 171, 256, with RELION's fraction.

    Parameters
    ----------
    responsibilities : (n, t, r) array of float32
        Of a `Posterior`.
    fraction : float, optional

    Returns
    -------
    Significant
    """
    xp = namespace(responsibilities)
    number, tried, of = responsibilities.shape
    poses = tried * of
    found = []
    for piece in pieces(number, 48 * poses, xp):
        flat = responsibilities[piece].reshape(-1)
        # Those up to (1 - fraction) / poses hold no more than 1 - fraction even if all are there;
        # so the wanted are among the others, which often are few.
        others = xp.flatnonzero(flat > (1.0 - fraction) / poses)
        values, rows = flat[others], others // poses
        counts = xp.bincount(rows, minlength=piece.stop - piece.start)
        columns = xp.arange(len(others)) - (xp.cumsum(counts) - counts)[rows]
        falling = xp.zeros((len(counts), int(counts.max())), dtype=xp.float32)
        falling[rows, columns] = -values
        falling.sort(axis=1)
        reached = xp.cumsum(falling, axis=1, dtype=xp.float64)
        last = xp.minimum((reached > -fraction).sum(axis=1), counts - 1)
        least = -falling[xp.arange(len(counts)), last]
        found.append(others[values >= least[rows]] + piece.start * poses)
    chosen = xp.concatenate(found)
    return Significant(
        image=chosen // poses,
        shift=chosen // of % tried,
        reference=chosen % of,
        probability=responsibilities.reshape(-1)[chosen],
    )
