"""Numbers that tell one lattice from several, of the spots of a quadrant.

What pixels of a detector stand for in reciprocal space is known from the geometry. The spots q of
one lattice lie on planes: with each vector t of its direct lattice, q · t is a whole number. With
spots of several lattices on the image, a vector of the one says nothing of the others' spots. So
vectors that many spots agree on are searched, as indexing programs do (Steller, Bolotovsky &
Rossmann 1997, J. Appl. Cryst. 30, 1036), and counted is which share of the spots agrees on them.
To learn this from pictures takes far more of them.

Runs in PyTorch, over many quadrants at once, without gradients.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

#: A spot is so far above its background (square roots of counts; the noise is 0.5), or its mean
#: over nine pixels is by the second number times less.
_LEAST, _FOR_MEAN = 2.0, 2.6

#: Spots of a quadrant that are looked at, those of low resolution first; and of the first search.
_SPOTS, _FIRST = 256, 64

#: 1/Å: farther out spots are not looked at.
_FARTHEST = 0.5

#: Vectors are searched on a grid whose step is so much of 1 / |q| of the farthest spot of the
#: first search: steps to either side, planes along the beam, steps between planes.
_STEP, _STEPS, _PLANES, _BETWEEN = 0.55, 50, 11, 4.5

#: 1/Å: farther spots make the grid no finer, which would be too small for long cells.
_FINEST = 0.27

#: Shorter vectors than so many steps, and than so many Å, are none of a lattice.
_LEAST_STEPS, _SHORTEST = 5.0, 20.0

#: Vectors that are refined.
_VECTORS = 16

#: How far from a whole number q · t may be to count in each round of refining, and how many
#: spots take part; and in the end.
_ROUNDS = ((0.3, 64), (0.25, 128), (0.2, 256), (0.15, 256))
_AGREES = 0.1

#: Of how many of the best vectors together the share of spots is told that agree on all.
_TOGETHER = (2, 3, 5, 8, 16)

#: Numbers of a quadrant.
FEATURES = 12 + len(_TOGETHER)


def lattice_features(above: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Give numbers that tell one lattice from several.

    Parameters
    ----------
    above : (n, SIDE, SIDE) tensor of float32
        How far cells are above their background, square roots of counts.
    geometry : (n, 3) tensor of float32
        Wavelength (Å), distance (m), edge of a cell (m).

    Returns
    -------
    (n, FEATURES) tensor of float32
        Of the vectors that most spots of low resolution agree on, in the order of the share of
        all spots that do: the coherence of the first, the logarithm of the number of spots, the
        shares of the first, third, fifth and seventh; the shares that agree on all of the best 2,
        3, 5, 8 and 16; which shares of the spots agree on so many fifths of the vectors; and the
        mean of that.
    """
    with torch.no_grad(), torch.autocast(above.device.type, enabled=False):
        places, good = find_spots(above, geometry)
        coherence, vectors = search_vectors(places[:, :_FIRST], good[:, :_FIRST])
        return torch.cat([coherence[:, None], _agreement(places, good, vectors)], 1)


def find_spots(above: torch.Tensor, geometry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find spots, one at most in each square of four cells, those of low resolution first.

    Returns
    -------
    places : (n, spots, 3) tensor
        In reciprocal space, 1/Å.
    good : (n, spots) tensor
        1 for a spot, 0 where there are no more.
    """
    side = above.shape[-1]
    height = torch.maximum(above, _FOR_MEAN * _mean_of_nine(above.clamp(max=6.0)))
    highest, index = functional.max_pool2d(height[:, None], 4, return_indices=True)
    highest, index = highest.flatten(1), index.flatten(1)
    rough = _reciprocal(index % side, index // side, geometry).norm(dim=2)
    order = torch.where((highest > _LEAST) & (rough < _FARTHEST), 2.0 - rough, 0.0)
    found, chosen = order.topk(_SPOTS, 1)
    index = index.gather(1, chosen)
    row, column = index // side, index % side
    # the centre of gravity of the nine cells
    cells, total, right, below = above.flatten(1), 0.1, 0.0, 0.0
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            y, x = (row + down).clamp(0, side - 1), (column + across).clamp(0, side - 1)
            weight = cells.gather(1, y * side + x).clamp(0.0, 20.0)
            total, right, below = total + weight, right + across * weight, below + down * weight
    places = _reciprocal(column + right / total, row + below / total, geometry)
    return places, (found > 0).float()


def _mean_of_nine(cells: torch.Tensor) -> torch.Tensor:
    """Give the mean of each cell and the eight around it; 0 is around the image."""
    rows = cells.clone()
    rows[:, 1:] += cells[:, :-1]
    rows[:, :-1] += cells[:, 1:]
    total = rows.clone()
    total[..., 1:] += rows[..., :-1]
    total[..., :-1] += rows[..., 1:]
    return total / 9.0


def _reciprocal(column: torch.Tensor, row: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Give places in reciprocal space of cells, 1/Å: (n, spots, 3), the beam along the last."""
    wavelength, distance, size = (values[:, None] for values in geometry.unbind(1))
    x, y = (column + 0.5) * size, (row + 0.5) * size
    far = torch.sqrt(x**2 + y**2 + distance**2)
    return torch.stack([x, y, distance - far], 2) / (far * wavelength)[..., None]


def search_vectors(places: torch.Tensor, good: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Search vectors t of direct space that spots agree on: where ``|Σ exp(2 πi q · t)|`` is large.

    Parameters
    ----------
    places : (n, spots, 3) tensor
    good : (n, spots) tensor

    Returns
    -------
    coherence : (n,) tensor
        The largest sum, over the number of spots.
    vectors : (n, _VECTORS, 4) tensor
        Å, the best first; and the offset, so that q · t + offset is near to a whole number.
    """
    device = places.device
    farthest = (places.norm(dim=2) * good).amax(1).clamp(0.02, _FINEST)
    step = _STEP / farthest
    across = torch.arange(-_STEPS, _STEPS + 1, device=device, dtype=torch.float32)
    along = _BETWEEN * torch.arange(_PLANES, device=device, dtype=torch.float32)
    near = places * step[:, None, None]
    turns_x, turns_y = (_turns(near[:, :, axis, None] * across) for axis in (0, 1))
    turns_z = _turns(near[:, :, 2, None] * along) * good[..., None]
    sums = torch.stack(
        [
            torch.matmul((turns_x * turn[..., None]).transpose(1, 2), turns_y)
            for turn in turns_z.unbind(2)
        ],
        dim=1,
    )
    length = torch.sqrt(across[:, None] ** 2 + across**2 + along[:, None, None] ** 2)
    wrong = (length > _STEPS) | (length < _LEAST_STEPS)
    wrong = wrong | (length * step[:, None, None, None] < _SHORTEST)
    sizes = sums.abs().masked_fill(wrong, 0.0)
    # the best of each block of cells, if none of the blocks around has a better one
    blocks, index = functional.max_pool2d(sizes, 4, return_indices=True)
    peaks = functional.max_pool3d(blocks[:, None], 3, 1, 1)[:, 0] == blocks
    best, chosen = (blocks * peaks).flatten(1).topk(_VECTORS, 1)
    plane = chosen // blocks[0, 0].numel()
    chosen = index.flatten(1).gather(1, chosen)
    steps = len(across)
    there = sums.flatten(1).gather(1, plane * steps**2 + chosen)
    offset = -torch.angle(there) / (2.0 * math.pi)
    vectors = torch.stack(
        [
            *(across[chosen // steps], across[chosen % steps], along[plane]),
        ],
        dim=2,
    )
    vectors = torch.cat([vectors * step[:, None, None], offset[..., None]], 2)
    return best[:, 0] / good.sum(1).clamp(min=1.0), vectors


def _turns(phase: torch.Tensor) -> torch.Tensor:
    """Give exp(2 πi phase)."""
    angle = 2.0 * math.pi * phase
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _agreement(places: torch.Tensor, good: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Refine vectors by least squares over the spots that agree, and tell which spots do."""
    places = torch.cat([places, torch.ones_like(places[..., :1])], 2)
    number = good.sum(1).clamp(min=1.0)
    # keeps vectors where they are that too few spots tell of
    stiff = torch.diag(places.new_tensor([1e-6, 1e-6, 1e-6, 1e-3]))
    for limit, spots in _ROUNDS:
        near = places[:, :spots]
        off = _from_whole(near, vectors)
        weight = (off.abs() < limit) * good[:, None, :spots]
        square = torch.einsum("nvs,nsa,nsb->nvab", weight, near, near)
        square = square + stiff * number[:, None, None, None]
        side = torch.einsum("nvs,nsa->nva", -off * weight, near)
        vectors = vectors + torch.linalg.solve(square, side[..., None])[..., 0]
    agrees = (_from_whole(places, vectors).abs() < _AGREES) * good[:, None]
    share = agrees.sum(2) / number[:, None]
    share, order = share.sort(1, descending=True)
    agrees = agrees.gather(1, order[..., None].expand_as(agrees))
    together = [agrees[:, :best].prod(1).sum(1) / number for best in _TOGETHER]
    each = agrees.mean(1)
    fifth = (5.0 * each).long().clamp(max=4)
    fifths = functional.one_hot(fifth, 5) * good[..., None]
    return torch.cat(
        [
            torch.log(number)[:, None],
            share[:, :8:2],
            torch.stack(together, 1),
            fifths.sum(1) / number[:, None],
            (each.sum(1) / number)[:, None],
        ],
        dim=1,
    )


def _from_whole(places: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Give how far q · t + offset is from a whole number, (n, vectors, spots)."""
    phase = torch.einsum("nsa,nva->nvs", places, vectors)
    return phase - phase.round()
