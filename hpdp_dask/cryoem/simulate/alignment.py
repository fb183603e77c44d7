"""Where the axes of an assembly lie: from superposed chains to the setting of a point group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hpdp_dask.numerics.rotations import angular_distance, matrix_to_rotation_vector

#: Degrees by which a rotation that was found may differ from the operator that it stands for.
TOLERANCE = 5.0

#: Degrees by which two frames of the same group fit the motions alike.
ALIKE = 0.5


@dataclass(frozen=True)
class Motion:
    """A rigid motion of column vectors, `x -> rotation x + translation`.

    Attributes
    ----------
    rotation : (3, 3) ndarray
    translation : (3,) ndarray
    """

    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True)
class Frame:
    """The frame of a point group, `x -> rotation (x - centre)`.

    Attributes
    ----------
    rotation : (3, 3) ndarray
    centre : (3,) ndarray
    """

    rotation: np.ndarray
    centre: np.ndarray

    def apply(self, positions: np.ndarray) -> np.ndarray:
        """Bring (n, 3) positions into the frame."""
        return np.asarray((positions - self.centre) @ self.rotation.T)


def superpose(moving: np.ndarray, fixed: np.ndarray) -> tuple[Motion, float]:
    """Find the rigid motion that brings points nearest to others.

    Parameters
    ----------
    moving, fixed : (n, 3) ndarray
        Points in the same order.

    Returns
    -------
    motion : Motion
    distance : float
        Root mean square of what remains between them (Kabsch 1976, Acta Cryst. A32, 922).
    """
    from_centre, to_centre = moving.mean(axis=0), fixed.mean(axis=0)
    turn, remaining = Rotation.align_vectors(fixed - to_centre, moving - from_centre)
    rotation = np.asarray(turn.as_matrix())
    motion = Motion(rotation, to_centre - rotation @ from_centre)
    return motion, float(remaining / np.sqrt(len(moving)))


def find_frame(
    motions: Sequence[Motion], operators: np.ndarray, origin: np.ndarray
) -> tuple[Frame, list[int]] | None:
    """Find the frame in which motions of an assembly onto itself are a group's operators.

    Parameters
    ----------
    motions : sequence of Motion
        The identity among them; more than those of the group may be there.
    operators : (n, 3, 3) ndarray
        The group's rotations on column vectors, the identity first.
    origin : (3,) ndarray
        The centre where the group leaves it free: along the axis of a cyclic group.

    Returns
    -------
    frame : Frame
        Of those that do (a group has several), the one that turns the assembly least.
    chosen : list of int
        The motion that stands for each operator.

    None if some operator has no motion within `TOLERANCE` in any frame.
    """
    rotations = np.stack([motion.rotation for motion in motions])
    found: list[tuple[float, np.ndarray, list[int]]] = []
    for rotation in _candidates(rotations, operators):
        turned = rotation @ rotations @ rotation.T
        distances = angular_distance(operators[:, None], turned[None])
        chosen = distances.argmin(axis=1).tolist()
        found.append((float(distances.min(axis=1).max()), rotation, chosen))
    best = min((misfit for misfit, _, _ in found), default=np.inf)
    if best > TOLERANCE:
        return None
    # Of those that fit alike, the one of the smallest angle, which has the largest trace.
    alike = [item for item in found if item[0] < best + ALIKE]
    _, rotation, chosen = max(alike, key=lambda item: round(float(np.trace(item[1])), 3))
    for _ in range(5):  # its average over the group is nearer to the frame of all the motions
        mean = np.mean(np.swapaxes(operators, 1, 2) @ rotation @ rotations[chosen], axis=0)
        left, _, right = np.linalg.svd(mean)
        rotation = left @ right
    # The centre stays where it is under all motions; the smallest step there from the origin.
    moves = np.concatenate([motions[i].rotation - np.eye(3) for i in chosen])
    steps = np.concatenate(
        [origin - motions[i].rotation @ origin - motions[i].translation for i in chosen]
    )
    centre = origin + np.linalg.lstsq(moves, steps, rcond=1e-3)[0]
    return Frame(rotation, centre), chosen


def _candidates(rotations: np.ndarray, operators: np.ndarray) -> Iterator[np.ndarray]:
    """Give the rotations that bring axes that were found onto axes of the group."""
    found = matrix_to_rotation_vector(rotations)
    wanted = matrix_to_rotation_vector(operators[1:])
    angles = np.linalg.norm(wanted, axis=1)
    if not len(wanted):
        yield np.eye(3)
        return
    first = wanted[angles.argmin()]
    apart = np.linalg.norm(np.cross(first, wanted), axis=1) > 1e-6
    second = wanted[apart][angles[apart].argmin()] if apart.any() else None
    for one in _alike(found, first):
        if second is None:
            yield _onto(first, one)
            continue
        for two in _alike(found, second):
            if abs(_angle(one, two) - _angle(first, second)) < np.radians(TOLERANCE):
                turn, _ = Rotation.align_vectors([first, second], [one, two])
                yield np.asarray(turn.as_matrix())


def _alike(found: np.ndarray, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Give the rotation vectors with the angle of one, in both directions if it is a half turn."""
    size = np.linalg.norm(wanted)
    for vector in found[abs(np.linalg.norm(found, axis=1) - size) < np.radians(TOLERANCE)]:
        yield vector
        if size > np.pi - 1e-3:
            yield -vector


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _onto(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Give the smallest rotation that brings the direction of one vector onto another's."""
    axis = np.cross(found, wanted)
    sine = np.linalg.norm(axis)
    if sine < 1e-9 * np.linalg.norm(found) * np.linalg.norm(wanted):
        # along it, or against it: then a half turn about any axis across
        across = np.cross(wanted, np.eye(3)[abs(wanted).argmin()])
        turn = np.zeros(3) if found @ wanted > 0 else np.pi * across / np.linalg.norm(across)
        return np.asarray(Rotation.from_rotvec(turn).as_matrix())
    turn = axis / sine * _angle(found, wanted)
    return np.asarray(Rotation.from_rotvec(turn).as_matrix())
