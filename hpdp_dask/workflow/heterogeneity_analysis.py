"""The recipe of `hpdp cryoem heterogeneity analyze`: what is in the latent space of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from hpdp_dask.cryoem.heterogeneity.analysis import (
    AnalysisSettings,
    Cells,
    companions,
    divide,
    way_through,
)
from hpdp_dask.cryoem.heterogeneity.landscape import Landscape, map_landscape
from hpdp_dask.cryoem.heterogeneity.table import (
    ANALYSIS,
    TABLE_FILE,
    new_table,
    stack_of,
    trained_input,
)
from hpdp_dask.cryoem.heterogeneity.volume_files import VolumeFolder, write_volumes
from hpdp_dask.cryoem.heterogeneity.volumes import (
    LATENT_FILE,
    WEIGHTS_FILE,
    read_conformations,
    read_latent,
)
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.numerics.latent_embedding import embed
from hpdp_dask.numerics.latent_path import points_along
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: Images in the midst of a cluster whose mean its volume is made at, as a share; and the fewest.
_MIDST, _FEWEST = 0.05, 5


@dataclass(frozen=True)
class Shown:
    """What the report shows.

    Attributes
    ----------
    table : pandas.DataFrame
    cells : Cells
    cell_volumes : list of (N, N, N) ndarray
    cell_images : (k, N, N) ndarray
        The images that stand for the cells, as recorded.
    along : list of (points, volumes)
        For each component: (m, zdim) ndarray, and volumes there.
    way : (images, chosen, volumes)
        Through neighbours, see `way_through`.
    landscape : Landscape or None
    states : list of (N, N, N) ndarray
        A volume of each of its clusters.
    companions : list
        As `companions` gives it.
    pixel_size : float
        Å.
    """

    table: pd.DataFrame
    cells: Cells
    cell_volumes: list[np.ndarray]
    cell_images: np.ndarray
    along: list[tuple[np.ndarray, list[np.ndarray]]]
    way: tuple[np.ndarray, np.ndarray, list[np.ndarray]]
    landscape: Landscape | None
    states: list[np.ndarray]
    companions: list[tuple[str, list[float]]]
    pixel_size: float


def run_analysis(
    folder: Path,
    settings: AnalysisSettings,
    *,
    client: Client | None = None,
    command: Sequence[str],
    stack: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Look at what a training found, and write it down.

    Parameters
    ----------
    folder : Path
        As `run_heterogeneity_training` made it. The folder `analysis` is written inside:
        `table.parquet` (a row an image, see `table.read_table`), `clusters` (volumes of the cells
        of k-means), `components` and `path` (volumes along them), `landscape`, `movie.gif`,
        `report.html`, `run.json`.
    settings : AnalysisSettings
    client : Client, optional
        Whose workers make the volumes; by default this process does.
    command : sequence of str
        The words of the command line, for the record.
    stack : Path, optional
        Where the stack is now, if it was moved.
    overwrite : bool, optional
    progress : Progress, optional
    say : callable, optional
        Told in words of workers that are stuck.

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        The folder is none of a training, the stack is gone or another, or a setting is wrong.
    """
    conformations = read_conformations(folder)
    if not conformations.architecture.zdim:
        raise InputError(
            f"{folder}: was trained with --zdim 0, so there is one volume and nothing to analyse."
        )
    table = new_table(folder)
    settings.check(len(table))
    stack_path = stack_of(folder, stack)
    with output_folder(
        folder / ANALYSIS,
        command=command,
        parameters=asdict(settings),
        inputs=[folder / WEIGHTS_FILE, folder / LATENT_FILE, stack_path],
        seed=settings.seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        _compare_stacks(run, folder, stack is not None)
        work = _Work(client=client, progress=progress, say=say)
        shown = _analyse(run, conformations.pixel_size, table, stack_path, settings, work)
        return _finish(run, settings, shown, client)


class _Work(TypedDict):
    """Who makes volumes, and who is told."""

    client: Client | None
    progress: Progress | None
    say: Callable[[str], None] | None


def _compare_stacks(run: RunFolder, folder: Path, moved: bool) -> None:
    """See whether the stack is still that of the training."""
    now = run.record.inputs[-1]
    if now.sha256 == trained_input(folder)["sha256"]:
        return
    if moved:
        raise InputError(
            f"{now.path}: is not the stack that {folder} was trained on, though it has as many "
            "particles (its digest is another); say with --stack where that one is."
        )
    run.warn(
        f"{now.path} was changed since the training; images that stand for clusters are shown as "
        "they are there now."
    )


def _analyse(
    run: RunFolder,
    pixel_size: float,
    table: pd.DataFrame,
    stack_path: Path,
    settings: AnalysisSettings,
    work: _Work,
) -> Shown:
    trained = run.target.parent
    z = read_latent(trained)
    zdim = z.shape[1]
    with run.stage("cells"):
        cells = divide(z, settings.clusters, settings.seed)
        images, chosen = way_through(z, settings.anchors, settings.along, settings.seed)
    if zdim > 2:
        with run.stage("umap"):
            table["umap1"], table["umap2"] = embed(z, settings.seed).T
    table["cluster"] = cells.labels
    along = [points_along(z, settings.along, k) for k in range(min(settings.components, zdim))]
    with run.stage("volumes"):
        centres = VolumeFolder.at(run.path / "clusters", cells.centres, first=0)
        components = [
            VolumeFolder.at(run.path / "components" / f"pc{k}", points)
            for k, points in enumerate(along, start=1)
        ]
        way = VolumeFolder.at(run.path / "path", z[chosen])
        write_volumes(trained, [centres, *components, way], **work)
    landscape, states = None, []
    if settings.landscape:
        with run.stage("landscape"):
            landscape = map_landscape(
                trained,
                z,
                settings.landscape,
                settings.landscape_clusters,
                scratch=run.path,
                seed=settings.seed,
                **work,
            )
            for place, values in enumerate(landscape.at_images.T, start=1):
                table[f"landscape{place}"] = values
            table["landscape_cluster"] = landscape.clusters.labels
            midsts = _midsts(z, landscape.clusters.labels)
            made = VolumeFolder.at(run.path / "landscape", midsts, first=0)
            write_volumes(trained, [made], **work)
            states = made.read()
            _write_landscape(run.path / "landscape", landscape)
    pictures = ImageReader(stack_path).take(cells.images).astype(np.float32)
    return Shown(
        table,
        cells,
        centres.read(),
        pictures,
        [(points, made.read()) for points, made in zip(along, components, strict=True)],
        (images, chosen, way.read()),
        landscape,
        states,
        companions(table, min(zdim, 4)),
        pixel_size,
    )


def _midsts(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give, for each cluster, the mean of the images that are nearest to its mean."""
    found = []
    for cluster in range(labels.max() + 1):
        members = z[labels == cluster] if (labels == cluster).any() else z
        many = min(len(members), max(_FEWEST, round(_MIDST * len(members))))
        distance = np.linalg.norm(members - members.mean(0), axis=1)
        found.append(members[np.argsort(distance, kind="stable")[:many]].mean(0))
    return np.stack(found)


def _write_landscape(folder: Path, landscape: Landscape) -> None:
    for place, component in enumerate(landscape.components, start=1):
        write_map(folder / f"component_{place}.mrc", component, landscape.voxel_size)
    write_map(folder / "mean.mrc", landscape.mean, landscape.voxel_size)
    write_map(folder / "mask.mrc", landscape.mask, landscape.voxel_size)
    np.savez(
        folder / "landscape.npz",
        z=landscape.centres.astype(np.float32),
        weights=landscape.weights,
        components=landscape.at_centres,
        shares=landscape.shares,
        valleys=landscape.clusters.valleys,
    )


def _finish(
    run: RunFolder, settings: AnalysisSettings, shown: Shown, client: Client | None
) -> RunRecord:
    from hpdp_dask.workflow.heterogeneity_analysis_report import (
        analysis_sections,
        cell_rows,
        write_rows,
    )
    from hpdp_dask.workflow.report import write_report

    shown.table.to_parquet(run.path / TABLE_FILE, index=False)
    write_rows(run.path / "clusters.csv", *cell_rows(shown.table, "cluster", shown.cells.images))
    images, chosen, _ = shown.way
    np.savetxt(run.path / "path" / "images.txt", images, "%d")
    headline = {"Particles": f"{len(shown.table):,}", "Clusters of k-means": str(settings.clusters)}
    results = {"particles": len(shown.table), "path_images": chosen.tolist()}
    if shown.landscape is not None:
        states = shown.landscape.clusters
        write_rows(run.path / "landscape.csv", *cell_rows(shown.table, "landscape_cluster"))
        headline["States of the landscape"] = str(len(states.shares))
        results |= {
            "states": len(states.shares),
            "occupancies": states.shares.tolist(),
            "valleys": states.valleys.tolist(),
            "landscape_shares": shown.landscape.shares.tolist(),
            "interpolation": shown.landscape.explained,
        }
    with run.stage("draw"):
        sections = analysis_sections(run.path, shown)
    record = run.finish(results, cluster={} if client is None else describe_cluster(client))
    write_report(
        run.path / "report.html",
        "Analysis of heterogeneity",
        run.target.parent.name,
        headline,
        sections,
        record,
    )
    return record
