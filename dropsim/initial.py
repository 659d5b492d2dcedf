"""Where the mobile beads stand before the first step: at random, in a film on the electrode, or in a droplet.

Plain numpy on the host. Each way takes the same leading arguments and gives positions without overlaps, which the
minimiser can relax; all numbers come from the seed and the replica. A state from a file is read in
`structure_files`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dropsim.errors import BuildError
from dropsim.system import LI, S6, SPECIES

# Two beads closer than this fraction of sigma are never placed; the minimiser does the rest.
INSERTION_FRACTION = 0.85
INSERTION_TRIES = 20_000
# Below this many beads they are placed one after the other, all earlier ones looked at each time.
CELLS_FROM = 2000
MOST_TRIALS = 65_536  # of a batch, which bounds the memory
FEWEST_TRIALS = 256
# Li2S6 per nm^3 of the liquid that these beads form at a permittivity of 10.
DENSE_DENSITY_PER_NM3 = 2.1
LI_PER_S6 = 2
# Beads of a droplet leave their lattice sites by up to this part of the lattice constant along each axis, ...
JITTER = 0.03
# ... and stay apart by this fraction of sigma.
LATTICE_FRACTION = 0.7
# Antifluorite: sulfur on the face-centred sites of the cube, Li in the middle of its eight octants.
_SULFUR_SITES = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4
_LI_SITES = np.array([[x, y, z] for x in (1, 3) for y in (1, 3) for z in (1, 3)]) / 4

Allowed = Callable[[np.ndarray], np.ndarray]  # (M, 3) nm -> (M,) bool


def insert_random(
    species: np.ndarray,
    sigma: np.ndarray,
    box: np.ndarray,
    z_range: np.ndarray,
    site_position: np.ndarray,
    site_species: np.ndarray,
    periodic_z: bool,
    seed: int,
    replica: int,
) -> np.ndarray:
    """Random positions without overlaps in the whole box.

    |r_i - r_j| > 0.85 (sigma_i + sigma_j) / 2 for the nearest images, fixed sites included; a trial is uniform in x
    and y and in the z range of its species.

    species: (N,) int, numbers of SPECIES; sigma: (K,) float, nm, 0 for a site that holds no place; box: (3,) float,
    nm; z_range: (K, 2) float, nm, lowest and highest z of each species; site_position: (C, 3) float, nm, and
    site_species: (C,) int, fixed sites; periodic_z: whether z is periodic as x and y are; seed, replica: key of the
    random numbers (Philox).
    Returns (N, 3) float, nm. Raises BuildError where a bead takes more than 20,000 tries.
    Validity: below 2000 beads they are placed in their order, one after the other (time N^2); from there on in
    batches over a grid of cells, the largest species first (time N), with other numbers. Random sequential
    insertion of equal spheres ends at a packing fraction of about 0.38 of the cores (Feder, J. Theor. Biol. 87, 237
    (1980), doi 10.1016/0022-5193(80)90358-6), here 0.85 sigma wide.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, replica]))
    check_z_range(species, z_range, float(box[2]))
    remedy = "the box is too full; lower electrolyte.li2s6_mM or litfsi_mM, or raise box.height_nm"
    if len(species) < CELLS_FROM:
        sites = (site_position, site_species)
        return _insert_in_order(species, sigma, box, z_range, sites, periodic_z, generator, remedy)
    cells = _Cells(box, periodic_z, sigma, species, site_position, site_species)
    return _insert_by_cells(species, sigma, z_range, cells, generator, remedy)


def layered_film(
    species: np.ndarray,
    sigma: np.ndarray,
    box: np.ndarray,
    z_range: np.ndarray,
    site_position: np.ndarray,
    site_species: np.ndarray,
    periodic_z: bool,
    seed: int,
    replica: int,
    *,
    film_height_nm: float | None = None,
    density_per_nm3: float = DENSE_DENSITY_PER_NM3,
) -> np.ndarray:
    """A dense layer of all beads on the electrode, of uniform composition, with nothing above it.

    h = z_low(S6) + (1 / (rho L_x L_y)) sum_i sigma_i^3 / (sigma_S6^3 + 2 sigma_Li^3), so that Li2S6 alone has the
    density rho and other salt takes room in proportion to the volume of its beads.

    The leading arguments are those of `insert_random`. film_height_nm -> h: nm, upper bound of z; None: computed;
    density_per_nm3 -> rho: Li2S6 per nm^3, not used where the height is given.
    Returns (N, 3) float, nm, each bead between its own lowest z and h, at random and without overlaps. Raises
    BuildError where the film is higher than the box or too thin for the beads.
    Validity: as `insert_random`; with the default beads up to about 3 Li2S6/nm^3.
    Source: the layered compact start of the interface runs of Zhou et al., Nature 621, 75 (2023),
    doi 10.1038/s41586-023-06326-8.
    """
    height = film_height_nm
    if height is None:
        _check_positive("density_per_nm3", density_per_nm3)
        unit = sigma[S6] ** 3 + LI_PER_S6 * sigma[LI] ** 3
        volume = float(np.sum(sigma[species] ** 3) / unit) / density_per_nm3
        height = float(z_range[S6, 0]) + volume / float(box[0] * box[1])
    _check_positive("film_height_nm", height)
    top = float(np.max(z_range[species, 1])) if len(species) else float(box[2])
    if height > top:
        raise BuildError(
            f"a film of {height:.4g} nm does not fit under z = {top:.4g} nm: raise box.height_nm or density_per_nm3, "
            "or lower film_height_nm or the number of beads"
        )
    generator = np.random.Generator(np.random.Philox(key=[seed, replica]))
    layer = np.column_stack([z_range[:, 0], np.minimum(z_range[:, 1], height)])
    for kind in np.unique(species):
        if layer[kind, 1] <= layer[kind, 0]:
            raise BuildError(
                f"film_height_nm = {height:.4g} is below {layer[kind, 0]:.4g} nm, where {SPECIES[kind]} begins"
            )
    remedy = f"a film of {height:.4g} nm is too dense; raise film_height_nm or lower density_per_nm3"
    # The film leaves the rest of the box empty, but its beads may meet across a periodic border of z.
    cells = _Cells(box, periodic_z, sigma, species, site_position, site_species)
    return _insert_by_cells(species, sigma, layer, cells, generator, remedy)


def compact_droplet(
    species: np.ndarray,
    sigma: np.ndarray,
    box: np.ndarray,
    z_range: np.ndarray,
    site_position: np.ndarray,
    site_species: np.ndarray,
    periodic_z: bool,
    seed: int,
    replica: int,
    *,
    n_units: int | None = None,
    density_per_nm3: float = DENSE_DENSITY_PER_NM3,
    contact_angle_deg: float | None = 90.0,
    centre_xy_nm: tuple[float, float] | None = None,
    centre_height_nm: float | None = None,
) -> np.ndarray:
    """One neutral droplet of Li2S6, a cap on the electrode or a sphere in the bulk; all other beads around it.

    Sites of an antifluorite lattice (S6 face-centred, Li between four S6) of constant a = (4 / rho)^(1/3), turned
    and moved at random, are taken in the order of the radius R of the smallest shape that holds them: the n first
    for S6, the 2n first for Li. With the electrode's plane z_0, the distance d from the axis, z above z_0 and the
    contact angle t, a cap has R sin^2 t = z cos t + (z^2 + d^2 sin^2 t)^(1/2); a sphere has R = |r - r_c|. Each
    bead then leaves its site by up to 0.03 a along each axis.

    The leading arguments are those of `insert_random`. n_units -> n: S6 in the droplet; None: all;
    density_per_nm3 -> rho: Li2S6 per nm^3; contact_angle_deg -> t: degrees, 90 for a hemisphere; None: a sphere;
    centre_xy_nm: (x, y) of the axis, nm; None: the middle; centre_height_nm: z of the middle of a sphere, nm; None:
    the middle of the box. A height given makes it a sphere.
    Returns (N, 3) float, nm, wrapped in the periodic directions: the first n sulfur and 2n Li of `species` are the
    droplet, the others stand at random outside of it. Beads of the droplet are at least 0.7 of their mixed sigma
    apart, all others 0.85.
    Raises BuildError where the droplet does not fit in the box, asks for more than there is, or is denser than its
    beads allow. Validity: the lattice is a start only; it melts at the permittivities of interest.
    """
    sulfur, lithium = np.flatnonzero(species == S6), np.flatnonzero(species == LI)
    n = len(sulfur) if n_units is None else n_units
    if not 1 <= n <= len(sulfur) or LI_PER_S6 * n > len(lithium):
        raise BuildError(
            f"a droplet of n_units = {n} needs {n} S6 and {LI_PER_S6 * n} Li, at least one unit; "
            f"there are {len(sulfur)} S6 and {len(lithium)} Li: change n_units or electrolyte.li2s6_mM"
        )
    _check_positive("density_per_nm3", density_per_nm3)
    check_z_range(species, z_range, float(box[2]))
    _check_lattice(density_per_nm3, sigma)
    generator = np.random.Generator(np.random.Philox(key=[seed, replica]))

    floating = contact_angle_deg is None or centre_height_nm is not None
    angle = math.pi if contact_angle_deg is None else math.radians(contact_angle_deg)
    if not 0.0 < angle <= math.pi:
        raise BuildError(f"contact_angle_deg = {contact_angle_deg}: give more than 0 and up to 180")
    plane = float(z_range[[S6, LI], 0].min())
    height = float(box[2]) / 2 if centre_height_nm is None else centre_height_nm
    x, y = (float(box[0]) / 2, float(box[1]) / 2) if centre_xy_nm is None else centre_xy_nm
    centre = np.array([x, y, height if floating else plane])

    def radius_of(position: np.ndarray) -> np.ndarray:
        apart = _nearest(position - centre, box, (True, True, periodic_z and floating))
        return np.sqrt(np.sum(apart**2, axis=-1)) if floating else _cap_radius(apart, angle)

    cells = _Cells(box, periodic_z, sigma, species, site_position, site_species)
    inside = _lattice_points(n, density_per_nm3, centre, None if floating else angle, z_range, cells, sigma, generator)
    _check_fit(inside, centre, box, sigma, z_range, periodic_z, floating)
    radius = float(radius_of(np.concatenate(inside)).max())

    position = np.empty((len(species), 3))
    rest = np.ones(len(species), bool)
    for beads, points in ((sulfur[:n], inside[0]), (lithium[: LI_PER_S6 * n], inside[1])):
        position[beads] = _wrapped(points, box, periodic_z)
        rest[beads] = False
        cells.add(position[beads], float(sigma[species[beads[0]]]))
    remedy = "the room around the droplet is too full; raise box.height_nm or box.lateral_nm, or n_units"
    position[rest] = _insert_by_cells(
        species[rest], sigma, z_range, cells, generator, remedy, lambda trial: radius_of(trial) > radius
    )
    return position


def check_z_range(species: np.ndarray, z_range: np.ndarray, height: float) -> None:
    """Raise BuildError where a species of the system has no z to be at.

    species: (N,) int; z_range: (K, 2) float, nm; height: of the box, nm, for the message.
    """
    for kind in np.unique(species):
        if z_range[kind, 1] <= z_range[kind, 0]:
            raise BuildError(f"box.height_nm = {height:g} leaves no room for {SPECIES[kind]}: raise it")


class _Cells:
    """The beads placed so far, found by the cell of a grid that they are in.

    `first[c]` is a bead of cell c and `following[b]` the next one of the same cell, -1 ends the chain. Cells are
    as wide as the largest distance that is asked about, so that 27 of them hold every overlap.
    """

    def __init__(
        self,
        box: np.ndarray,
        periodic_z: bool,
        sigma: np.ndarray,
        species: np.ndarray,
        site_position: np.ndarray,
        site_species: np.ndarray,
    ) -> None:
        room = len(species) + len(site_species) + MOST_TRIALS
        present = np.concatenate([sigma[species], sigma[site_species], [1e-3]])
        # In a dilute box wider cells do: more than one per bead would only cost memory.
        widest = max(INSERTION_FRACTION * float(present.max()), float(np.prod(box) / room) ** (1 / 3))
        self.box = np.asarray(box, np.float64)
        self.periodic = (True, True, periodic_z)
        self.shape = np.maximum(1, np.floor(self.box / widest).astype(np.int64))
        self.first = np.full(int(np.prod(self.shape)), -1, np.int64)
        self.following = np.full(room, -1, np.int64)
        self.position = np.empty((room, 3))
        self.sigma = np.empty(room)
        self.n = 0
        for kind in np.unique(site_species):
            self.add(site_position[site_species == kind], float(sigma[kind]))

    def add(self, position: np.ndarray, sigma: float) -> None:
        """Beads of one species that stay, (M, 3) nm; whether they overlap is not asked."""
        for start in range(0, len(position), MOST_TRIALS):
            self._link(position[start : start + MOST_TRIALS], sigma)
            self.n += len(position[start : start + MOST_TRIALS])

    def add_without_overlaps(self, trial: np.ndarray, sigma: float, most: int) -> np.ndarray:
        """Take up to `most` of the trials (M, 3) nm that overlap neither with beads nor with earlier such trials."""
        hit, _ = self.overlaps(trial, np.full(len(trial), sigma))
        trial = np.delete(trial, np.unique(hit), axis=0)
        touched, before = self._link(trial, sigma)
        later, bead = self.overlaps(trial, np.full(len(trial), sigma), oldest=self.n)
        earlier = bead - self.n
        free = np.ones(len(trial), bool)
        free[later[earlier < later]] = False
        self.first[touched] = before
        taken = trial[free][:most]
        self.add(taken, sigma)
        return taken

    def overlaps(self, position: np.ndarray, sigma: np.ndarray, *, oldest: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (row of `position`, bead) at most 0.85 of their mixed sigma apart; a pair may come twice.

        oldest: beads before this number are left out; the newest are at the front of every chain.
        """
        row, bead = self._neighbourhood(position)
        row, bead = row[bead >= oldest], bead[bead >= oldest]
        rows, beads = [], []
        while len(bead):
            apart = _nearest(self.position[bead] - position[row], self.box, self.periodic)
            near = INSERTION_FRACTION * 0.5 * (self.sigma[bead] + sigma[row])
            hit = np.einsum("ij,ij->i", apart, apart) <= near**2
            rows.append(row[hit])
            beads.append(bead[hit])
            bead = self.following[bead]
            row, bead = row[bead >= oldest], bead[bead >= oldest]
        empty = np.empty(0, np.int64)
        return np.concatenate([empty, *rows]), np.concatenate([empty, *beads])

    def _neighbourhood(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `position` with the first bead of each cell around them that is not empty."""
        home = self._coordinates(position)
        rows, beads = [], []
        for x in (-1, 0, 1):
            for y in (-1, 0, 1):
                for z in (-1, 0, 1):
                    cell = home + np.array([x, y, z])
                    exists = (self.periodic[2] | ((cell[:, 2] >= 0) & (cell[:, 2] < self.shape[2]))).astype(bool)
                    bead = np.where(exists, self.first[self._number(cell % self.shape)], -1)
                    found = np.flatnonzero(bead >= 0)
                    rows.append(found)
                    beads.append(bead[found])
        return np.concatenate(rows), np.concatenate(beads)

    def _coordinates(self, position: np.ndarray) -> np.ndarray:
        return np.clip(np.floor(position / self.box * self.shape).astype(np.int64), 0, self.shape - 1)

    def _number(self, cell: np.ndarray) -> np.ndarray:
        return (cell[:, 0] * self.shape[1] + cell[:, 1]) * self.shape[2] + cell[:, 2]

    def _link(self, position: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Put beads after those that count, in front of the chains; the cells touched and their old chains."""
        beads = np.arange(self.n, self.n + len(position))
        self.position[beads], self.sigma[beads] = position, sigma
        cell = self._number(self._coordinates(position))
        order = np.argsort(cell, kind="stable")
        beads, cell = beads[order], cell[order]
        starts = np.ones(len(cell), bool)
        starts[1:] = cell[1:] != cell[:-1]
        ends = np.roll(starts, -1)
        touched = cell[starts]
        before = self.first[touched]
        self.following[beads] = np.where(starts, self.first[cell], np.roll(beads, 1))
        self.first[cell[ends]] = beads[ends]
        return touched, before


def _insert_in_order(
    species: np.ndarray,
    sigma: np.ndarray,
    box: np.ndarray,
    z_range: np.ndarray,
    sites: tuple[np.ndarray, np.ndarray],
    periodic_z: bool,
    generator: np.random.Generator,
    remedy: str,
) -> np.ndarray:
    """One bead after the other, each tried until it overlaps with none before it."""
    site_position, site_species = sites
    placed = np.concatenate([site_position.reshape(-1, 3), np.empty((len(species), 3))])
    placed_sigma = np.concatenate([sigma[site_species], np.empty(len(species))])
    n_placed = len(site_position)
    for bead, kind in enumerate(species):
        low, high = z_range[kind]
        extent = np.array([box[0], box[1], high - low])
        for _ in range(INSERTION_TRIES):
            trial = generator.random(3) * extent
            trial[2] += low
            apart = _nearest(placed[:n_placed] - trial, box, (True, True, periodic_z))
            near = INSERTION_FRACTION * 0.5 * (placed_sigma[:n_placed] + sigma[kind])
            if np.all(np.einsum("ij,ij->i", apart, apart) > near**2):
                break
        else:
            raise BuildError(
                f"no room for {SPECIES[kind]} number {bead + 1} of {len(species)} after {INSERTION_TRIES} tries: "
                f"{remedy}"
            )
        placed[n_placed], placed_sigma[n_placed] = trial, sigma[kind]
        n_placed += 1
    return placed[len(site_position) :]


def _insert_by_cells(
    species: np.ndarray,
    sigma: np.ndarray,
    z_range: np.ndarray,
    cells: _Cells,
    generator: np.random.Generator,
    remedy: str,
    allowed: Allowed | None = None,
) -> np.ndarray:
    """Batches of trials, the largest species first, which leaves the most room for the others."""
    position = np.empty((len(species), 3))
    kinds = np.unique(species)
    for kind in kinds[np.argsort(-sigma[kinds], kind="stable")]:
        beads = np.flatnonzero(species == kind)
        low, high = z_range[kind]
        extent = np.array([cells.box[0], cells.box[1], high - low])
        done, n_tried, n_taken, rate = 0, 0, 0, 1.0
        while done < len(beads):
            n_trials = math.ceil((len(beads) - done) / rate)
            trial = generator.random((min(max(n_trials, FEWEST_TRIALS), MOST_TRIALS), 3)) * extent
            trial[:, 2] += low
            n_trials = len(trial)
            if allowed is not None:
                trial = trial[allowed(trial)]
            taken = cells.add_without_overlaps(trial, float(sigma[kind]), len(beads) - done)
            position[beads[done : done + len(taken)]] = taken
            done += len(taken)
            n_tried, n_taken = n_tried + n_trials, n_taken + len(taken)
            if n_tried >= INSERTION_TRIES:
                if done < len(beads) and n_taken * INSERTION_TRIES < n_tried:
                    raise BuildError(
                        f"no room for {SPECIES[kind]} number {done + 1} of {len(beads)}: {n_taken} of the last "
                        f"{n_tried} tries; {remedy}"
                    )
                n_tried, n_taken = 0, 0
            rate = max(len(taken) / n_trials, 0.01)
    return position


def _lattice_points(
    n: int,
    density: float,
    centre: np.ndarray,
    angle: float | None,
    z_range: np.ndarray,
    cells: _Cells,
    sigma: np.ndarray,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of n S6 and 2n Li of a droplet, not wrapped; `angle` None means a sphere."""
    constant = (4.0 / density) ** (1 / 3)
    turn, triangle = np.linalg.qr(generator.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(triangle))  # uniform over all orientations
    origin = generator.random(3) * constant
    share = 1.0 if angle is None else (2 - 3 * math.cos(angle) + math.cos(angle) ** 3) / 4  # of the sphere's volume
    radius = (3 * n / (4 * math.pi * density * share)) ** (1 / 3)
    # From the middle of its foot a flat cap is farthest at its rim, a high one at its top.
    reach = radius if angle is None else radius * max(math.sin(angle), 1 - math.cos(angle))
    while True:
        half = math.ceil(reach / constant) + 4
        corner = np.indices((2 * half,) * 3).reshape(3, -1).T - half
        found, beyond = [], False
        for kind, basis, wanted in ((S6, _SULFUR_SITES, n), (LI, _LI_SITES, LI_PER_S6 * n)):
            points = ((corner[:, None, :] + basis).reshape(-1, 3) * constant + origin) @ turn.T
            points = points[np.sum(points**2, axis=1) < (reach + constant) ** 2]
            points += generator.uniform(-JITTER, JITTER, points.shape) * constant
            if angle is not None:
                points = points[points[:, 2] + centre[2] >= z_range[kind, 0]]
            blocked, _ = cells.overlaps(
                _wrapped(points + centre, cells.box, cells.periodic[2]), np.full(len(points), sigma[kind])
            )
            points = np.delete(points, np.unique(blocked), axis=0)
            size = np.sqrt(np.sum(points**2, axis=1)) if angle is None else _cap_radius(points, angle)
            order = np.argsort(size, kind="stable")[:wanted]
            largest = np.sqrt(np.sum(points[order] ** 2, axis=1)).max(initial=0.0)
            beyond |= len(order) < wanted or largest > reach + 0.5 * constant
            found.append(points[order] + centre)
        if not beyond:
            return found[0], found[1]
        reach *= 1.25


def _cap_radius(apart: np.ndarray, angle: float) -> np.ndarray:
    """Radius of curvature of the smallest cap on the plane z = 0 about the origin that holds a point, nm."""
    sine, cosine = math.sin(angle), math.cos(angle)
    z = apart[..., 2]
    squared = np.sum(apart[..., :2] ** 2, axis=-1)
    root = np.sqrt(z**2 + squared * sine**2)
    # The conjugate form where the two terms cancel: it holds up to 180 degrees, a sphere that touches.
    with np.errstate(divide="ignore", invalid="ignore"):
        obtuse = (squared + z**2) / (root - z * cosine)
    return (root + z * cosine) / sine**2 if cosine >= 0 else np.where(root > 0, obtuse, 0.0)


def _check_lattice(density: float, sigma: np.ndarray) -> None:
    """Whether the neighbours on the lattice stay apart, whatever their jitter."""
    neighbours = ((S6, LI, math.sqrt(3) / 4), (LI, LI, 0.5), (S6, S6, math.sqrt(0.5)))
    largest = min(
        4 * ((distance - 2 * math.sqrt(3) * JITTER) / (LATTICE_FRACTION * 0.5 * (sigma[i] + sigma[j]))) ** 3
        for i, j, distance in neighbours
    )
    if density > largest:
        raise BuildError(
            f"density_per_nm3 = {density:g} puts beads of a droplet closer than {LATTICE_FRACTION} sigma: give at most "
            f"{math.floor(largest * 100) / 100:g}, or lower sigma_nm in species"
        )


def _check_fit(
    inside: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    box: np.ndarray,
    sigma: np.ndarray,
    z_range: np.ndarray,
    periodic_z: bool,
    floating: bool,
) -> None:
    """Raise BuildError where a droplet, (S6, Li), meets its own image, the electrode or the top of the box."""
    images = floating and periodic_z
    width = np.ptp(np.concatenate(inside), axis=0) + float(max(sigma[S6], sigma[LI]))
    if np.any(width[:2] > box[:2]) or (images and width[2] > box[2]):
        size = " x ".join(f"{length:.3g}" for length in width)
        raise BuildError(
            f"the droplet takes {size} nm and would meet its periodic image: raise box.lateral_nm"
            f"{' or box.height_nm' if images else ''}, or lower n_units"
        )
    for kind, points in zip((S6, LI), inside, strict=True):
        low, high = z_range[kind]
        bottom, top = float(points[:, 2].min()), float(points[:, 2].max())
        if not images and (bottom < low or top > high):
            raise BuildError(
                f"{SPECIES[kind]} of the droplet about z = {centre[2]:.3g} nm would be at z = {bottom:.3g} to "
                f"{top:.3g} nm, where {low:.3g} to {high:.3g} nm is free: change centre_height_nm, raise "
                "box.height_nm or lower n_units"
            )


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BuildError(f"{name} = {value}: give a number above 0")


def _nearest(apart: np.ndarray, box: np.ndarray, periodic: tuple[bool, bool, bool]) -> np.ndarray:
    """Displacements to the nearest images, (..., 3) nm."""
    n = 3 if periodic[2] else 2
    planar = apart[..., :n]
    return np.concatenate([planar - box[:n] * np.round(planar / box[:n]), apart[..., n:]], axis=-1)


def _wrapped(position: np.ndarray, box: np.ndarray, periodic_z: bool) -> np.ndarray:
    """Positions in [0, L) of the periodic directions."""
    wrapped = np.array(position)
    n = 3 if periodic_z else 2
    wrapped[:, :n] %= box[:n]
    # A negative number below the rounding of L comes out as L itself.
    wrapped[:, :n][wrapped[:, :n] >= box[:n]] = 0.0
    return wrapped
