"""The recipe of `hpdp cryoem heterogeneity analyze`: what is in the latent space of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
from hpdp_dask.cryoem.heterogeneity.volumes import (
    LATENT_FILE,
    WEIGHTS_FILE,
    Conformations,
    read_conformations,
    read_latent,
)
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.numerics.latent_embedding import embed
from hpdp_dask.numerics.latent_path import points_along
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.folder import RunFolder, output_folder

if TYPE_CHECKING:
    import pandas as pd

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
    command: Sequence[str],
    stack: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
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
    command : sequence of str
        The words of the command line, for the record.
    stack : Path, optional
        Where the stack is now, if it was moved.
    overwrite : bool, optional
    progress : Progress, optional

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
    ) as run:
        _compare_stacks(run, folder, stack is not None)
        shown = _analyse(run, conformations, table, stack_path, settings, progress)
        return _finish(run, settings, shown)


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
    conformations: Conformations,
    table: pd.DataFrame,
    stack_path: Path,
    settings: AnalysisSettings,
    progress: Progress | None,
) -> Shown:
    z = read_latent(run.target.parent)
    zdim = z.shape[1]
    components = min(settings.components, zdim)
    with run.stage("cells"):
        cells = divide(z, settings.clusters, settings.seed)
        images, chosen = way_through(z, settings.anchors, settings.along, settings.seed)
    if zdim > 2:
        with run.stage("umap"):
            table["umap1"], table["umap2"] = embed(z, settings.seed).T
    table["cluster"] = cells.labels
    number = settings.clusters + components * settings.along + len(chosen)
    with run.stage("volumes"):
        make = _Maker(run.path, conformations, _counting(progress, "volumes", number))
        cell_volumes = make("clusters", cells.centres, first=0)
        along = []
        for component in range(components):
            points = points_along(z, settings.along, component)
            along.append((points, make(f"components/pc{component + 1}", points)))
        way_volumes = make("path", z[chosen])
    landscape, states = None, []
    if settings.landscape:
        with run.stage("landscape"):
            landscape = map_landscape(
                conformations,
                z,
                settings.landscape,
                settings.landscape_clusters,
                seed=settings.seed,
                done=_counting(progress, "landscape", settings.landscape),
            )
            for place, values in enumerate(landscape.at_images.T, start=1):
                table[f"landscape{place}"] = values
            table["landscape_cluster"] = landscape.clusters.labels
            states = make("landscape", _midsts(z, landscape.clusters.labels), first=0)
            _write_landscape(run.path / "landscape", landscape)
    pictures = ImageReader(stack_path).take(cells.images).astype(np.float32)
    return Shown(
        table,
        cells,
        cell_volumes,
        pictures,
        along,
        (images, chosen, way_volumes),
        landscape,
        states,
        companions(table, min(zdim, 4)),
        conformations.pixel_size,
    )


class _Maker:
    """Makes volumes and writes them."""

    def __init__(
        self, path: Path, conformations: Conformations, done: Callable[[int], None]
    ) -> None:
        self._path, self._conformations, self._done = path, conformations, done

    def __call__(self, name: str, points: np.ndarray, first: int = 1) -> list[np.ndarray]:
        """Make the volumes at points, in a folder, numbered from the first number."""
        folder = self._path / name
        folder.mkdir(parents=True)
        made = []
        for number, point in enumerate(points, start=first):
            made.append(self._conformations.volume(np.array(point, dtype=np.float32)))
            path = folder / f"volume_{number:03d}.mrc"
            write_map(path, made[-1], self._conformations.pixel_size)
            self._done(1)
        np.save(folder / LATENT_FILE, np.asarray(points, dtype=np.float32))
        return made


def _counting(progress: Progress | None, name: str, number: int) -> Callable[[int], None]:
    return (lambda _made: None) if progress is None else progress.track(name, number).advance


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


def _finish(run: RunFolder, settings: AnalysisSettings, shown: Shown) -> RunRecord:
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
    record = run.finish(results)
    write_report(
        run.path / "report.html",
        "Analysis of heterogeneity",
        run.target.parent.name,
        headline,
        sections,
        record,
    )
    return record
