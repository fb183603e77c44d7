"""An initial model from nothing: no reference, no poses.

Mini-batches of images are compared with slices of a few maps in all orientations of a grid and
folded into running sums, from random orientations at low resolution to a finer one (stepwise
expectation-maximisation: Cappé & Moulines 2009, J. R. Stat. Soc. B 71, 593; stochastic search
for maps: Punjani et al. 2017, Nat. Methods 14, 290).

    settings      what is asked, and what each pass does: resolution, images, memory of the sums
    model         the files of an iteration; sums to maps
    expectation   a pass; the first, with random orientations, and the others
    loop          the passes in their order, as `dataflow.iterate` runs them
    orient        maps turned to the axes of a point group
    stage         `initial_model`: search, axes, a second search with symmetry
"""

from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.cryoem.initial_model.stage import InitialModel, initial_model, settings_for

__all__ = ["InitialModel", "Settings", "State", "initial_model", "settings_for"]
