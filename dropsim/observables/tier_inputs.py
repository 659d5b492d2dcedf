"""What the droplet tier takes from a particle run, each as an `Estimate`.

Every function raises AnalysisError, and says what is missing, where a run cannot give its number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, KDTree, QhullError
from scipy.stats import t as student_t

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import (
    DropletTrack,
    Floats,
    Integers,
    checked_frames,
    in_droplet,
    is_sulfur,
    periodic_points,
    periodic_tree,
)
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import mean_estimate
from dropsim.units import NM2_PER_PS_IN_NM2_PER_S, concentration_mM

# A core point farther than this from every bead is a void; a liquid has none, a bent droplet has.
_VOID_NM = 1.05
_VOID_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class ContactLaw:
    """N_c = prefactor R^power. prefactor: nm^-power, N_c at R = 1 nm; power: pure number."""

    prefactor: Estimate
    power: Estimate


def _ratio_estimate(count: Floats, volume: Floats, scale: float, unit: str, method: str) -> Estimate:
    """scale sum(count) / sum(volume) over correlated frames; error from the linearised residuals."""
    ratio = count.sum() / volume.sum()
    residual = mean_estimate((count - ratio * volume) / volume.mean() * scale, unit)
    value = float(ratio * scale)
    low, high = residual.interval_95
    return dataclasses.replace(residual, value=value, method=method, interval=(value + low, value + high))


def _core(points: Floats, depth_nm: float) -> tuple[int, float] | None:
    """Beads and volume of the convex hull moved inwards by depth_nm; None if nothing is left.

    (-1, 0) where the core has voids, so that the hull is not the droplet's shape.
    """
    if points.shape[0] < 5:
        return None
    try:
        planes = ConvexHull(points).equations.copy()
    except QhullError:
        return None
    planes[:, 3] += depth_nm
    # Centre of the largest ball inside: maximise s with n.x + s <= -d.
    ones = np.ones((planes.shape[0], 1))
    best = linprog(
        [0.0, 0.0, 0.0, -1.0],
        A_ub=np.hstack([planes[:, :3], ones]),
        b_ub=-planes[:, 3],
        bounds=[(None, None)] * 3 + [(None, None)],
    )
    if best.status != 0 or best.x[3] < 0.1:
        return None
    try:
        corners = HalfspaceIntersection(planes, best.x[:3]).intersections
        volume = float(ConvexHull(corners).volume)
    except QhullError:
        return None
    # The corners of the hull made it what it is: they do not count, whatever rounding says.
    inside = np.all(points @ planes[:, :3].T + planes[:, 3] < -1e-9, axis=1)
    axes = [np.arange(low, high, 0.35) for low, high in zip(corners.min(axis=0), corners.max(axis=0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[np.all(grid @ planes[:, :3].T + planes[:, 3] <= 0, axis=1)]
    if grid.shape[0] and np.mean(KDTree(points).query(grid)[0] > _VOID_NM) > _VOID_SHARE:
        return -1, 0.0
    return int(np.count_nonzero(inside)), volume


def dense_density(tracks: Sequence[DropletTrack], *, depth_nm: float = 0.6, minimum_size: int = 40) -> Estimate:
    """Sulfur beads per nm^3 inside droplets, free of the interface.

    rho_d = sum n / sum V over frames and droplets, n the members inside the core and V its volume; the
    core is the convex hull of the members with every face moved inwards by depth_nm. A hull is fixed
    by the outermost beads alone, so counting inside it is unbiased (exactly, for uncorrelated beads in
    a convex body: B. Efron, Biometrika 52, 331 (1965), doi 10.1093/biomet/52.3-4.331), while spheres
    about the centre of mass cut walls and flat droplets.
    tracks: of `track_droplets`; depth_nm: width of the interface that is left out, about one bead;
    minimum_size: members below which a frame is not used. Frames in which the droplet percolates, or
    whose core has voids (a bent droplet, whose hull is not its shape), are not used; `method` counts
    them. Returns nm^-3. Raises AnalysisError if no frame is left.
    Validity: one dense phase; a density of several phases (Li2S grains) is an average over them.
    """
    count: dict[int, float] = {}
    volume: dict[int, float] = {}
    bent = 0
    for track in tracks:
        for frame, points, percolating in zip(track.frame, track.relative_position, track.percolating, strict=True):
            core = None if percolating or points.shape[0] < minimum_size else _core(points, depth_nm)
            if core is None:
                continue
            if core[0] < 0:
                bent += 1
                continue
            count[int(frame)] = count.get(int(frame), 0.0) + core[0]
            volume[int(frame)] = volume.get(int(frame), 0.0) + core[1]
    if not count:
        raise AnalysisError(
            f"no droplet of at least {minimum_size} beads has a compact core deeper than {depth_nm} nm "
            f"({bent} had voids); run longer or larger, or take the density from a planar slab"
        )
    frames = sorted(count)
    n, v = np.array([count[f] for f in frames]), np.array([volume[f] for f in frames])
    method = f"beads / volume {depth_nm} nm below the convex hull, {n.size} frames, {bent} bent ones left out"
    return _ratio_estimate(n, v, 1.0, "nm^-3", method)


def vapour_concentration_mM(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    labels: ArrayLike,
    *,
    minimum_size: int,
    z_range: tuple[float, float],
    exclusion_nm: float = 1.5,
    grid_nm: float = 0.35,
) -> Estimate:
    """Concentration of sulfur beads in the free solution that coexists with droplets, in mM.

    c = sum_t n(t) / sum_t V(t): n beads of no droplet, V the volume of the same region: z_range, more
    than exclusion_nm from every bead of a droplet. Only frames with a droplet count.
    position: (T, N, 3) nm; species, labels: (T, N), labels of `cluster_labels_series`; lengths: (3,) nm;
    minimum_size: members that make a droplet; z_range: (low, high) nm, heights taken as solution (leave
    out what is adsorbed on the walls); grid_nm: spacing of the points that measure V.
    Returns mM. Without a single bead: value 0, error nan, and an upper bound as if all frames were one.
    Raises AnalysisError without droplets or free volume.
    Validity: a curved droplet's vapour exceeds the saturation concentration of a flat surface.
    """
    where, code, box = checked_frames(position, species, lengths)
    low, high = z_range
    if not 0 <= low < high <= box[2]:
        raise AnalysisError(f"z_range is {z_range}; give 0 <= low < high <= {box[2]} nm")
    droplet = in_droplet(labels, minimum_size)
    span = np.array([box[0], box[1], high - low])
    cells = np.maximum(1, np.ceil(span / grid_nm).astype(int))
    axes = [(np.arange(n) + 0.5) * s / n for n, s in zip(cells, span, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) + np.array([0.0, 0.0, low])
    probe = periodic_points(grid, box)
    count, volume = [], []
    for p, s, d in zip(where, code, droplet, strict=True):
        if not d.any():
            continue
        tree = periodic_tree(p[d], box)
        far = np.isinf(tree.query(probe, distance_upper_bound=exclusion_nm)[0])
        volume.append(float(far.mean() * np.prod(span)))
        alone = p[is_sulfur(s) & ~d & (p[:, 2] > low) & (p[:, 2] < high)]
        near = tree.query(periodic_points(alone, box), distance_upper_bound=exclusion_nm)[0]
        count.append(float(np.isinf(near).sum()))
    n, v = np.array(count), np.array(volume)
    if n.size == 0:
        raise AnalysisError(f"no frame has a droplet of {minimum_size} beads; without coexistence there is no vapour")
    if v.sum() <= 0:
        raise AnalysisError(f"no volume is farther than {exclusion_nm} nm from the droplets; use a larger box")
    where_taken = f"{exclusion_nm} nm off droplets of >= {minimum_size}, z {low:g} to {high:g} nm"
    method = f"beads / volume {where_taken}, {n.size} frames"
    if n.sum() == 0:
        top = concentration_mM(3.0 / float(v.mean()))
        note = "; no bead seen: no error, 95 % bound 3 / V as if all frames were one"
        return Estimate(0.0, math.nan, "mM", float(n.size), method + note, interval=(0.0, top))
    return _ratio_estimate(n, v, concentration_mM(1.0), "mM", method)


def _runs(track: DropletTrack) -> list[slice]:
    """Stretches of a track without a missing or percolating frame."""
    good = np.flatnonzero(~track.percolating)
    if good.size == 0:
        return []
    breaks = np.flatnonzero((np.diff(good) != 1) | (np.diff(track.frame[good]) != 1)) + 1
    return [slice(int(g[0]), int(g[-1]) + 1) for g in np.split(good, breaks)]


def _relative_msd(position: Floats, present: np.ndarray, lag: int) -> tuple[float, float]:
    """Mean squared displacement at one lag (frames) about the common centre, and displacements behind it."""
    held = np.cumsum(np.concatenate([np.zeros((1, present.shape[1]), dtype=np.int64), present]), axis=0)
    stays = held[lag + 1 :] - held[: -lag - 1] == lag + 1
    moved = np.where(stays[..., None], position[lag:] - position[:-lag], 0.0)
    n = stays.sum(axis=1)
    use = n >= 2
    moved, stays, n = moved[use], stays[use], n[use]
    # About the mean of the beads present at both ends: members that come and go do not shift it.
    moved = np.where(stays[..., None], moved - (moved.sum(axis=1) / n[:, None])[:, None, :], 0.0)
    freedom = float(np.sum(n - 1))
    return (float(np.sum(moved**2)) / freedom if freedom else math.nan), freedom


def dense_diffusivity(
    tracks: Sequence[DropletTrack], *, lag_window_ps: tuple[float, float], n_blocks: int = 5
) -> Estimate:
    """Self-diffusivity of sulfur beads inside a droplet, relative to its centre of mass, in nm^2/s.

    D = slope of <|dr_i - <dr>|^2> n / (n - 1) against lag, over 6: straight line through the lags of the
    window; dr_i is the displacement of the n beads that stay members from one end of the lag to the
    other, <dr> their mean; n / (n - 1) gives back the degree of freedom that <dr> takes.
    tracks: of `track_droplets`, with times in ps, evenly spaced; lag_window_ps: (shortest, longest), at
    least two frames apart. Error: scatter of contiguous time blocks of the droplets, not of beads,
    which are correlated. Returns nm^2/s.
    Raises AnalysisError for uneven frames, fewer than two lags or blocks, and for a displacement at the
    longest lag beyond 0.6 R_g^2, where the droplet's surface bends the line.
    Validity: an upper bound as far as the droplet rotates, since rotation is not removed; the surface
    lowers it, by 1 - (S/V) 4 sqrt(D t / pi) / 9 in <r^2>/(6 D t) at short times (Mitra et al., Phys. Rev.
    Lett. 68, 3555 (1992), doi 10.1103/PhysRevLett.68.3555).
    """
    pieces = [(track, run) for track in tracks for run in _runs(track)]
    steps = np.concatenate([np.diff(track.time[run]) for track, run in pieces]) if pieces else np.zeros(0)
    if steps.size == 0:
        raise AnalysisError("no droplet is seen in two frames in a row; record more often")
    step = float(np.median(steps))
    if np.any(np.abs(steps - step) > 1e-6 * step):
        raise AnalysisError(f"frames are {steps.min()} to {steps.max()} ps apart; give evenly spaced frames")
    first, last = math.ceil(lag_window_ps[0] / step - 1e-9), math.floor(lag_window_ps[1] / step + 1e-9)
    first = max(first, 1)
    if last <= first:
        raise AnalysisError(f"lag_window_ps {lag_window_ps} holds fewer than two lags of {step} ps; widen it")
    lags = np.arange(first, last + 1)
    length = max(2 * last, sum(run.stop - run.start for _, run in pieces) // n_blocks)
    slopes, weights, farthest, size = [], [], [], []
    for track, run in pieces:
        n = (run.stop - run.start) // length
        for k in range(n):
            frames = range(run.start + k * length, run.start + (k + 1) * length)
            beads = np.unique(np.concatenate([track.members[f] for f in frames]))
            position, present = np.zeros((length, beads.size, 3)), np.zeros((length, beads.size), dtype=bool)
            for row, f in enumerate(frames):
                column = np.searchsorted(beads, track.members[f])
                position[row, column], present[row, column] = track.relative_position[f], True
            msd = [_relative_msd(position, present, int(lag)) for lag in lags]
            if msd[-1][1] == 0:
                continue
            slopes.append(np.polyfit(lags * step, [m for m, _ in msd], 1)[0] / 6)
            weights.append(msd[0][1])
            farthest.append(msd[-1][0])
            size.append(
                float(np.mean(track.radius_of_gyration[run.start + k * length : run.start + (k + 1) * length] ** 2))
            )
    if len(slopes) < 2:
        raise AnalysisError(
            f"the droplets last fewer than two blocks of {length * step} ps; run longer or take shorter lags"
        )
    w = np.array(weights) / np.sum(weights)
    moved, extent = math.sqrt(float(np.sum(w * farthest))), math.sqrt(float(np.sum(w * size)))
    if moved**2 > 0.6 * extent**2:
        raise AnalysisError(
            f"beads move {moved:.3g} nm in the longest lag, too far at a gyration radius of {extent:.3g} nm; "
            f"shorten lag_window_ps {lag_window_ps}"
        )
    mean = float(np.sum(w * slopes))
    error = math.sqrt(float(np.sum(w**2 * (np.array(slopes) - mean) ** 2)) * len(slopes) / (len(slopes) - 1))
    half = float(student_t.ppf(0.975, len(slopes) - 1)) * error
    scale = NM2_PER_PS_IN_NM2_PER_S
    return Estimate(
        mean * scale,
        error * scale,
        "nm^2/s",
        float(1 / np.sum(w**2)),
        f"slope of the relative MSD, lags {first * step:g} to {last * step:g} ps, {len(slopes)} blocks; "
        "includes rotation (upper bound)",
        interval=((mean - half) * scale, (mean + half) * scale),
    )


def contact_samples(
    tracks: Sequence[DropletTrack], contacts: ArrayLike, *, block_frames: int
) -> tuple[Floats, Floats, Integers]:
    """Pairs of footprint radius and contact number over frames and droplets, with the group of each.

    R = sqrt(A / pi), A the projected area; N_c = sum of c_i over the members.
    contacts: (T, N) of `contact_numbers`; block_frames: frames of one droplet that make one group, as
    long as its shape remembers. Returns R (K,) nm, N_c (K,), group (K,).
    """
    c = np.asarray(contacts)
    radius = [np.sqrt(track.projected_area / math.pi) for track in tracks]
    number = [
        np.array([c[f, m].sum() for f, m in zip(track.frame, track.members, strict=True)], dtype=np.float64)
        for track in tracks
    ]
    block = [np.stack([np.full(t.frame.size, t.identity), t.frame // block_frames], axis=1) for t in tracks]
    if not radius:
        raise AnalysisError("there are no droplets; contacts need at least one track")
    group = np.unique(np.concatenate(block), axis=0, return_inverse=True)[1]
    return np.concatenate(radius), np.concatenate(number), np.asarray(group, dtype=np.int64).ravel()


def contacts_power_law(radius: ArrayLike, contacts: ArrayLike, group: ArrayLike | None = None) -> ContactLaw:
    """Fit of N_c = a R^m: how the number of charge-transfer contacts grows with the droplet.

    Solves sum_k (N_c,k - mu_k) (1, ln R_k) = 0 with mu = a R^m (the Poisson score with logarithmic link;
    zeros count, and the variance need not be Poisson). Covariance by leaving out one of the G groups at a
    time, (G - 1) / G sum_g d_g d_g^T, d_g = (A - A_g)^-1 s_g the Newton step without group g, A = sum mu
    x x^T, s_g the group's score; intervals from Student's t with G - 2 degrees of freedom.
    radius: (K,) nm, positive; contacts: (K,) counts; group: (K,) labels of samples that are correlated
    (`contact_samples`), None for independent samples. Returns prefactor (nm^-m) and power.
    Raises AnalysisError for one radius only, no contacts at all, or fewer than four groups.
    Validity: m and a are strongly anticorrelated; below about ten groups the errors are too small.
    """
    r, y = np.asarray(radius, dtype=np.float64), np.asarray(contacts, dtype=np.float64)
    label = np.arange(r.size) if group is None else np.unique(np.asarray(group), return_inverse=True)[1].ravel()
    if r.ndim != 1 or y.shape != r.shape or label.shape != r.shape:
        raise AnalysisError(f"radius {r.shape}, contacts {y.shape} and group {label.shape} must be of one length")
    if not (np.all(np.isfinite(r)) and np.all(r > 0) and np.all(np.isfinite(y)) and np.all(y >= 0)):
        raise AnalysisError("radii must be positive and contact numbers non-negative and finite")
    n_groups = int(label.max()) + 1 if label.size else 0
    if n_groups < 4:
        raise AnalysisError(f"{n_groups} independent groups of samples; a power law with errors needs four")
    if np.ptp(np.log(r)) < 1e-6 or y.sum() == 0:
        raise AnalysisError("all radii are equal or no droplet touches a centre; m cannot be had")
    shift = float(np.mean(np.log(r)))
    x = np.stack([np.ones_like(r), np.log(r) - shift], axis=1)
    beta = np.array([math.log(y.mean()), 0.0])
    for _ in range(200):
        mu = np.exp(x @ beta)
        step = np.linalg.solve(x.T @ (x * mu[:, None]), x.T @ (y - mu))
        # Newton on a convex likelihood: a bounded step keeps the exponential in range.
        beta = beta + step / max(1.0, float(np.max(np.abs(step))))
        if np.max(np.abs(step)) < 1e-12:
            break
    else:
        raise AnalysisError("the fit of N_c = a R^m did not converge; only droplets of one size touch a centre")
    mu = np.exp(x @ beta)
    score, bread = np.zeros((n_groups, 2)), np.zeros((n_groups, 2, 2))
    np.add.at(score, label, (y - mu)[:, None] * x)
    np.add.at(bread, label, mu[:, None, None] * x[:, :, None] * x[:, None, :])
    without = bread.sum(axis=0) - bread
    if np.any(np.linalg.det(without) <= 1e-12 * np.linalg.det(bread.sum(axis=0))):
        raise AnalysisError("one group alone fixes the exponent; give droplets of more sizes, or longer runs")
    change = np.linalg.solve(without, score[..., None])[..., 0]
    covariance = change.T @ change * (n_groups - 1) / n_groups
    at_one = np.array([1.0, -shift])
    log_a, se_log_a = float(at_one @ beta), math.sqrt(float(at_one @ covariance @ at_one))
    m, se_m = float(beta[1]), math.sqrt(float(covariance[1, 1]))
    quantile = float(student_t.ppf(0.975, n_groups - 2))
    method = f"Poisson score fit of N_c = a R^m, {r.size} samples, errors from {n_groups} groups"
    a = math.exp(log_a)
    spread = (math.exp(log_a - quantile * se_log_a), math.exp(log_a + quantile * se_log_a))
    return ContactLaw(
        prefactor=Estimate(a, a * se_log_a, "nm^-m", float(n_groups), method, interval=spread),
        power=Estimate(m, se_m, "1", float(n_groups), method, interval=(m - quantile * se_m, m + quantile * se_m)),
    )


def distance_to_droplets(
    position: ArrayLike, species: ArrayLike, lengths: ArrayLike, labels: ArrayLike, minimum_size: int
) -> Floats:
    """Distance of each sulfur bead to the nearest other sulfur bead that belongs to a droplet, nm.

    position: (T, N, 3) nm; species, labels: (T, N); lengths: (3,) nm. Returns (T, N): nan for beads
    without sulfur, inf in frames without a droplet of minimum_size members.
    """
    where, code, box = checked_frames(position, species, lengths)
    droplet = in_droplet(labels, minimum_size)
    out = np.where(is_sulfur(code), np.inf, np.nan)
    for row, p, s, d in zip(out, where, is_sulfur(code), droplet, strict=True):
        if not d.any():
            continue
        tree = periodic_tree(p[d], box)
        row[s & ~d] = tree.query(periodic_points(p[s & ~d], box))[0]
        # Itself comes first, at distance zero.
        row[d] = tree.query(periodic_points(p[d], box), k=2)[0][:, 1]
    return out


def capture_probability(
    distance: ArrayLike, time: ArrayLike, *, contact_nm: float, escape_nm: float, residence_time: float
) -> Estimate:
    """Probability that a free sulfur bead which touches a droplet stays for a residence time.

    p = captured / encounters. A bead is free after it was seen beyond escape_nm; an encounter begins in
    the first frame after that in which it is nearer than contact_nm; it is captured if no frame up to
    the first one at least residence_time later finds it beyond escape_nm, and has escaped otherwise.
    The two distances keep a bead that rattles at the surface from being counted again and again.
    Encounters too near the end of the run to be decided are left out, whatever came of them.
    distance: (T, N) nm of `distance_to_droplets`, nan for beads that are not followed; time: (T,).
    Error: Wilson's with one standard deviation; interval: Wilson's 95 %; encounters count as
    independent. Raises AnalysisError for no encounter, or escape_nm <= contact_nm.
    Validity: frames much closer than the time to cross from contact_nm to escape_nm; a droplet that
    falls below its minimum size lets all beads escape.
    """
    d, clock = np.asarray(distance, dtype=np.float64), np.asarray(time, dtype=np.float64)
    if d.ndim != 2 or clock.shape != (d.shape[0],) or np.any(np.diff(clock) <= 0):
        raise AnalysisError(f"give distances (frames, beads) and increasing times, got {d.shape} and {clock.shape}")
    if not 0 < contact_nm < escape_nm or not residence_time > 0:
        raise AnalysisError(f"give 0 < contact_nm < escape_nm, got {contact_nm} and {escape_nm}; residence_time > 0")
    free = np.zeros(d.shape[1], dtype=bool)
    start = np.full(d.shape[1], np.nan)
    captured = encounters = 0
    slack = 1e-9 * residence_time
    for row, now in zip(d, clock, strict=True):
        out, touching = row > escape_nm, row < contact_nm
        engaged = ~np.isnan(start)
        decidable = clock[-1] - start >= residence_time - slack
        lost = engaged & out
        kept = engaged & ~out & (now - start >= residence_time - slack)
        encounters += int(np.count_nonzero((lost & decidable) | kept))
        captured += int(np.count_nonzero(kept))
        start[lost | kept] = np.nan
        fresh = ~engaged & free & touching
        start[fresh] = now
        free = (free | out) & ~fresh & ~kept
    if encounters == 0:
        raise AnalysisError(f"no free bead came within {contact_nm} nm of a droplet in time to be decided; run longer")
    n, p = encounters, captured / encounters

    def wilson(z: float) -> tuple[float, float]:
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    low, high = wilson(1.0)
    method = f"{captured} of {n} encounters within {contact_nm} nm last {residence_time:g} within {escape_nm} nm"
    return Estimate(p, (high - low) / 2, "1", float(n), method, interval=wilson(1.959964))
