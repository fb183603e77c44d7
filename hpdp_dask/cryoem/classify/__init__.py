"""Two-dimensional classification: images sorted and aligned into averages of classes.

Expectation-maximisation with a Gaussian likelihood and the CTF. Each class average, turned in
its plane, is compared with every image in every shift; the images, weighted by how probable
each class and pose is, make the next averages. Most passes take a part of the images and add it
to sums that fade (stepwise EM), the last take all.

    model         the averages, the noise, and their files
    first         the first of them
    schedule      which shells, angles, shifts and images a pass takes; the state between passes
    expectation   one pass: compare, sum
    sums          what a pass adds up
    maximization  the next averages from the sums
    quality       how good classes and particles are
    loop          the passes in order
    writing       the files that are left
    stage         all of it over a stack

References
----------
Sigworth 1998, J. Struct. Biol. 122, 328; Scheres et al. 2005, J. Mol. Biol. 348, 139; Scheres
2012, J. Struct. Biol. 180, 519 (prior on the averages, growth of resolution); Cappé & Moulines
2009, J. R. Stat. Soc. B 71, 593 (stepwise EM).
"""

from hpdp_dask.cryoem.classify.quality import DEFAULT_SCORE
from hpdp_dask.cryoem.classify.schedule import Settings, State
from hpdp_dask.cryoem.classify.stage import Classification, classify2d

__all__ = ["DEFAULT_SCORE", "Classification", "Settings", "State", "classify2d"]
