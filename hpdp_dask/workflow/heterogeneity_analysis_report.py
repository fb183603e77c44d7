"""The report of an analysis: pictures of latent space, volumes and landscape, and what they say."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.landscape import Landscape
from hpdp_dask.cryoem.heterogeneity.particle_views import smoothed
from hpdp_dask.numerics.latent_path import principal_axes
from hpdp_dask.workflow.figures import central_slices, image_gallery
from hpdp_dask.workflow.heterogeneity_analysis_charts import (
    density_chart,
    plane_chart,
    shares_chart,
)
from hpdp_dask.workflow.report import Section, Table
from hpdp_dask.workflow.surfaces import colours_of, surface_gallery, write_movie

if TYPE_CHECKING:
    import pandas as pd

    from hpdp_dask.workflow.heterogeneity_analysis import Shown

#: A rank correlation from which on the report points to it.
_STRIKING = 0.2


def analysis_sections(folder: Path, shown: Shown) -> list[Section]:
    """Tell what was found; the movie is written into the folder."""
    sections = [_space(shown), _clusters(shown)]
    for place, (points, volumes) in enumerate(shown.along, start=1):
        sections.append(_component(folder, shown, place, points, volumes))
    sections.append(_way(shown))
    if shown.landscape is not None:
        sections += [_landscape(shown, shown.landscape), _states(shown, shown.landscape)]
    sections.append(_companions(shown))
    return sections


def cell_rows(
    table: pd.DataFrame, column: str, images: np.ndarray | None = None
) -> tuple[list[str], list[list[Any]]]:
    """Give heads and rows that tell of the groups of images in a column of the table.

    Parameters
    ----------
    table : pandas.DataFrame
    column : str
        Of numbers of groups, from 0.
    images : (k,) ndarray of int, optional
        An image that stands for each.
    """
    labels = table[column].to_numpy()
    halves = table["half_set"].to_numpy() if "half_set" in table else None
    heads = ["Cluster", "Images", "Share (%)", "Standard error (%)"]
    heads += ["Share of half 1 (%)", "Share of half 2 (%)"] if halves is not None else []
    heads += ["Nearest image"] if images is not None else []
    rows: list[list[Any]] = []
    for number in range(int(labels.max()) + 1):
        mine = labels == number
        share = float(mine.mean())
        row: list[Any] = [number, int(mine.sum()), 100.0 * share]
        row.append(100.0 * float(np.sqrt(share * (1.0 - share) / len(mine))))
        if halves is not None:
            row += [
                100.0 * float(mine[halves == h].mean()) if (halves == h).any() else None
                for h in (0, 1)
            ]
        rows.append([*row, *([str(images[number])] if images is not None else [])])
    return heads, rows


def write_rows(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as text with commas."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        writer.writerows(rows)


def _plane(shown: Shown) -> tuple[np.ndarray, tuple[str, str]]:
    """Give the first components of the images, or the only one beside its posterior's width."""
    table = shown.table
    if "pc2" not in table:
        return table[["pc1", "width1"]].to_numpy(), ("Component 1", "Width of the posterior")
    return table[["pc1", "pc2"]].to_numpy(), ("Component 1", "Component 2")


def _at(shown: Shown, points: np.ndarray) -> np.ndarray:
    """Give points of the latent space in the plane of the first components."""
    names = [name for name in shown.table if str(name).rstrip("0123456789") == "z"]
    z = shown.table[names].to_numpy(np.float64)
    plane = _plane(shown)[0].astype(np.float64)
    if "pc2" not in shown.table:
        near = np.abs(points[:, :1] - z.T).argmin(1)
        return plane[near]
    solved = np.linalg.lstsq(z - z.mean(0), plane, rcond=None)[0]
    return (points - z.mean(0)) @ solved


def _space(shown: Shown) -> Section:
    points, names = _plane(shown)
    cells = [str(number) for number in range(len(shown.cells.centres))]
    first = shown.table["pc1"].to_numpy()
    charts = [
        plane_chart(
            points,
            first,
            names,
            "Principal components; numbers are those of the clusters",
            marks=_at(shown, shown.cells.centres),
            numbers=cells,
        ),
        density_chart(points, names, "Density of the images"),
    ]
    if "umap1" in shown.table:
        plane = shown.table[["umap1", "umap2"]].to_numpy()
        charts.append(
            plane_chart(
                plane,
                first,
                ("UMAP 1", "UMAP 2"),
                "UMAP; distances between far images mean nothing",
                marks=plane[shown.cells.images],
                numbers=cells,
                bar="Component 1",
            )
        )
    z = shown.table[[name for name in shown.table if str(name).rstrip("0123456789") == "z"]]
    charts.append(
        shares_chart(principal_axes(z.to_numpy())[1], "latent variables", "What components hold")
    )
    return Section(
        "Latent space",
        "A point for each image, coloured by the first principal component.",
        charts,
    )


def _clusters(shown: Shown) -> Section:
    cells, size = shown.cells, shown.pixel_size
    first = _at(shown, cells.centres)[:, 0]
    labels = [str(number) for number in range(len(cells.centres))]
    images = [f"cluster {number}: image {place}" for number, place in enumerate(cells.images)]
    return Section(
        "Clusters of k-means",
        "K-means divides the images into cells, whether there are gaps between them or not. The "
        "colour of a volume is that of its place along the first component. Images are smoothed.",
        [
            surface_gallery(
                shown.cell_volumes,
                size,
                colours_of(first),
                labels,
                "Volumes at the centres, along z; x →, y ↑",
            ),
            image_gallery(
                smoothed(shown.cell_images), size, images, "The image nearest to each centre"
            ),
        ],
        Table(*cell_rows(shown.table, "cluster", cells.images)),
    )


def _component(
    folder: Path, shown: Shown, place: int, points: np.ndarray, volumes: list[np.ndarray]
) -> Section:
    size = shown.pixel_size
    colours = colours_of(np.arange(len(points)))
    labels = [str(number) for number in range(1, len(points) + 1)]
    figures: list[Any] = []
    if place == 1:
        figures.append(write_movie(folder / "movie.gif", volumes, size))
    figures += [
        surface_gallery(volumes, size, colours, labels, "Along z; x →, y ↑"),
        surface_gallery(volumes, size, colours, labels, "Along y; x →, z ↑", axis=1),
        central_slices(volumes[0], size, "Central slices of the first volume"),
        central_slices(volumes[-1], size, "Central slices of the last volume"),
        central_slices(
            volumes[-1] - volumes[0], size, "Central slices of their difference", signed=True
        ),
    ]
    return Section(
        f"Volumes along component {place}",
        "Each at the mean of the twentieth of the images about a percentile of the component.",
        figures,
    )


def _way(shown: Shown) -> Section:
    images, chosen, volumes = shown.way
    points, names = _plane(shown)
    colours = colours_of(np.arange(len(chosen)))
    labels = [f"image {place}" for place in chosen]
    first = shown.table["pc1"].to_numpy()
    return Section(
        "Volumes along the way through neighbours",
        f"The shortest way through {len(images)} images from neighbour to neighbour; volumes at "
        f"{len(chosen)} of them.",
        [
            plane_chart(points, first, names, "The way", marks=points[images], line=True),
            surface_gallery(volumes, shown.pixel_size, colours, labels, "Along z; x →, y ↑"),
        ],
    )


def _landscape(shown: Shown, landscape: Landscape) -> Section:
    second = landscape.at_images.shape[1] > 1
    points = landscape.at_images[:, :2]
    names = tuple(
        f"Volume component {k} ({landscape.shares[k - 1]:.0%})" for k in (1, 2)[: 1 + second]
    )
    charts = []
    if second:
        pair = (names[0], names[1])
        one = len(landscape.clusters.shares) == 1
        colours = shown.table["pc1"].to_numpy() if one else landscape.clusters.labels
        told = "component 1 of the latent space" if one else "state"
        charts = [
            plane_chart(points, colours, pair, f"Images, coloured by their {told}"),
            density_chart(points, pair, "Density of the images"),
        ]
    eigen = [
        central_slices(
            component,
            landscape.voxel_size,
            f"Volume component {k}: central slices of what volumes differ by",
            signed=True,
        )
        for k, component in enumerate(landscape.components[:2], start=1)
    ]
    return Section(
        "Landscape of volumes",
        f"Principal components of {len(landscape.centres)} coarse volumes from all over the latent "
        "space, inside a mask; images are placed by interpolation, which explains "
        f"{landscape.explained:.1%} of the variance of volumes that it was not given. One unit is "
        "the length of the mean volume. Where images are dense the landscape is deep; its depth "
        "is a free energy only if images are as they were in equilibrium, and is blurred by the "
        "width of the posteriors.",
        [shares_chart(landscape.shares, "volumes", "What components hold"), *charts, *eigen],
    )


def _states(shown: Shown, landscape: Landscape) -> Section:
    clusters = landscape.clusters
    count = len(clusters.shares)
    if count == 1:
        return Section(
            "States",
            "No valley in the density of the images parts them into clusters: either there is one "
            "state, or conformations go over into each other. Ask for a number of clusters with "
            "--landscape-clusters to divide them all the same.",
        )
    heads, rows = cell_rows(shown.table, "landscape_cluster")
    valleys = np.where(np.eye(count, dtype=bool), 0.0, clusters.valleys).max(1)
    for row, valley in zip(rows, valleys, strict=True):
        row.append(100.0 * float(valley))
    labels = [f"{number}: {share:.1%}" for number, share in enumerate(clusters.shares)]
    return Section(
        "States",
        "Clusters of the images in the landscape. The last column says how deep the shallowest "
        "valley about a cluster is: the density of images there, in percent of that at the lower "
        "of both tops. Above 50 clusters are parts of one cloud.",
        [
            surface_gallery(
                shown.states,
                shown.pixel_size,
                colours_of(np.arange(count)),
                labels,
                "A volume of each state with its occupancy, along z; x →, y ↑",
            ),
            surface_gallery(
                shown.states,
                shown.pixel_size,
                colours_of(np.arange(count)),
                labels,
                "Along y; x →, z ↑",
                axis=1,
            ),
        ],
        Table([*heads, "Valley (%)"], rows),
    )


def _companions(shown: Shown) -> Section:
    found = shown.companions
    count = len(found[0][1]) if found else 0
    striking = [name for name, row in found if max(map(abs, row)) >= _STRIKING]
    text = (
        "Rank correlations of components with what is known of the particles. Conformations do "
        "not know of defocus or pose; where a component does, it may be of the imaging, of "
        "errors of CTF or poses, or of views that hide a motion."
    )
    if striking:
        text += f" Look at {', '.join(striking)}."
    heads = ["Column", *(f"Component {k}" for k in range(1, count + 1))]
    return Section(
        "What components go with", text, table=Table(heads, [[name, *row] for name, row in found])
    )
