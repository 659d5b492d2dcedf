"""The material track: what it follows, and what it leaves out."""

import numpy as np
import pytest

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import S6, track_droplets
from dropsim.observables.motion import material_track

LENGTHS = np.array([10.0, 10.0, 10.0])


def droplet_frames(n_frames, shift, guests):
    """A 3 x 3 x 1 raft that moves by `shift` per frame; in `guests` frames a tenth bead is in touch with it."""
    raft = np.array([[0.9 * i, 0.9 * j, 5.0] for i in range(3) for j in range(3)]) + [8.5, 4.0, 0.0]
    position = np.empty((n_frames, 10, 3))
    for k in range(n_frames):
        position[k, :9] = raft + k * np.asarray(shift)
        position[k, 9] = position[k, 8] + ([0.9, 0.0, 0.0] if k in guests else [0.0, 0.0, 3.0])
    position[..., :2] %= 10.0
    return position, np.full((n_frames, 10), S6)


def test_follows_the_matter_and_not_the_guests():
    shift = np.array([0.13, -0.02, 0.01])
    position, species = droplet_frames(30, shift, guests={5, 6, 11, 20})
    (track,) = track_droplets(position, species, LENGTHS, np.arange(30.0), 8)
    moved = material_track(track, slice(0, 30), position, LENGTHS)
    np.testing.assert_allclose(moved - moved[0], np.arange(30)[:, None] * shift, atol=1e-9)
    outline = track.centroid - track.centroid[0] - np.arange(30)[:, None] * shift
    assert np.abs(outline).max() > 0.05  # the centroid does jump with its guests


def test_no_common_member_is_an_error():
    position, species = droplet_frames(4, [0.0, 0.0, 0.0], guests=set())
    (track,) = track_droplets(position, species, LENGTHS, np.arange(4.0), 8)
    members = (np.array([0, 1]), np.array([2, 3]), *track.members[2:])
    import dataclasses

    with pytest.raises(AnalysisError, match="keeps no member"):
        material_track(dataclasses.replace(track, members=members), slice(0, 4), position, LENGTHS)
