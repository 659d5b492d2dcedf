"""Where a droplet's matter goes, as against where its outline goes.

The centroid of a small droplet jumps whenever members join or leave, by far more than its matter moves; a
diffusivity or a force read off that track measures the exchange of members. A microscope sees the outline of a
large droplet, where one member more does not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import DropletTrack, minimum_image

Floats = NDArray[np.float64]


def material_track(track: DropletTrack, rows: slice, position: ArrayLike, lengths: ArrayLike) -> Floats:
    """Accumulated mean displacement of the members that stay, from frame to frame.

    X_{k+1} = X_k + <r_i(k+1) - r_i(k)>_i,  i over the members at both k and k+1;  X_0: the centroid

    track, rows: a droplet and a stretch of its frames without gaps; position: (T, N, 3) nm, wrapped, the frames
    that the droplet was tracked in; lengths: (3,) nm. Returns (K, 3) nm. Raises AnalysisError where no member
    stays from one frame to the next. Validity: members move less than half the box between frames.
    """
    where, box = np.asarray(position, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    frames, members = track.frame[rows], track.members[rows]
    out = np.empty((len(frames), 3))
    out[0] = track.centroid[rows][0]
    for k in range(len(frames) - 1):
        stay = np.intersect1d(members[k], members[k + 1], assume_unique=True)
        if not stay.size:
            raise AnalysisError("a droplet keeps no member from one frame to the next: record more often")
        moved = minimum_image(where[frames[k + 1], stay] - where[frames[k], stay], box)
        out[k + 1] = out[k] + moved.mean(axis=0)
    return out
