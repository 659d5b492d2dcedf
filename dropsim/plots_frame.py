"""One frame as a picture: beads as circles of their true radius, seen from above and from the side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dropsim.observables.droplets import LI2S, LI2S2, S6, VACANT, is_sulfur
from dropsim.plots_style import CENTRE, INK, INTERMEDIATE, LIQUID, MUTED, SOLID, wall_strip

Floats = NDArray[np.float64]
View = Literal["top", "side"]

# In the program's order of the species: Li, S6, TFSI, Li2S, Li2S2, vacant slots of the Li+ reservoir, Mo, N.
NAMES = ("Li⁺", "S₆²⁻", "TFSI⁻", "Li₂S unit", "Li₂S₂ unit", "vacant", "Mo", "N (charge only)")
COLOURS = ("#8E86A8", LIQUID, "#B9DDB0", SOLID, INTERMEDIATE, "#FFFFFF", CENTRE, "#8A8A8A")
MO, N_RING = 6, 7
# The ring's atoms have no core: a dot of this radius marks their charge.
RING_DOT_NM = 0.07
CURVES = ("final_position", "final_species", "lengths", "site_position", "site_species", "sigma")
# How far the farthest bead is faded towards white.
FADE = 0.5
WALL_NM = 0.35


@dataclasses.dataclass(frozen=True)
class Scene:
    """Beads and sites of one frame. position, site_position: (N, 3) nm, wrapped in x and y; species,
    site_species: (N,) codes; lengths: (3,) nm; sigma: (8,) nm by code; periodic_z: no walls, z repeats."""

    position: Floats
    species: np.ndarray
    lengths: Floats
    site_position: Floats
    site_species: np.ndarray
    sigma: Floats
    periodic_z: bool = False


def scene_from_curves(curves: Mapping[str, np.ndarray]) -> Scene | None:
    """The final frame of a run's curves, None where they lack it."""
    if any(name not in curves for name in CURVES):
        return None
    values = {name: np.asarray(curves[name]) for name in CURVES}
    species = values["final_species"].astype(int)
    # A vacant slot of the reservoir is nothing that could be seen.
    there = species != VACANT
    return Scene(
        values["final_position"].astype(np.float64)[there],
        species[there],
        values["lengths"].astype(np.float64),
        values["site_position"].astype(np.float64).reshape(-1, 3),
        values["site_species"].astype(int).reshape(-1),
        values["sigma"].astype(np.float64),
        bool(curves.get("periodic_z", False)),
    )


def centred(scene: Scene) -> Scene:
    """The scene shifted in x and y so that its sulfur lies around the middle of the box.

    The shift is the circular mean of the sulfur beads; x and y are periodic, so nothing but the origin changes.
    """
    sulfur = is_sulfur(scene.species)
    if not sulfur.any():
        return scene
    lateral = scene.lengths[:2]
    phase = np.exp(2j * np.pi * scene.position[sulfur, :2] / lateral).mean(axis=0)
    shift = np.append(0.5 * lateral - np.angle(phase) / (2 * np.pi) * lateral, 0.0)

    def moved(position: Floats) -> Floats:
        out = position + shift
        out[:, :2] %= lateral
        return out

    return dataclasses.replace(scene, position=moved(scene.position), site_position=moved(scene.site_position))


def _radii(scene: Scene, code: np.ndarray) -> Floats:
    sigma = scene.sigma.copy()
    sigma[N_RING] = 2.0 * RING_DOT_NM
    return 0.5 * sigma[code]


def _with_images(
    point: Floats, radius: Floats, periods: tuple[float | None, float | None]
) -> tuple[Floats, np.ndarray]:
    """Circles and their images that reach over a periodic edge: places (M, 2), index of the original (M,)."""
    places, index = point, np.arange(len(point))
    for axis, period in enumerate(periods):
        if period is None:
            continue
        reach = radius[index]
        low, high = places[:, axis] < reach, places[:, axis] > period - reach
        step = np.zeros(2)
        step[axis] = period
        places = np.concatenate([places, places[low] + step, places[high] - step])
        index = np.concatenate([index, index[low], index[high]])
    return places, index


def draw_view(axes: Axes, scene: Scene, view: View, *, scale_bar_nm: float = 2.0, ticks: bool = True) -> None:
    """Draw a frame from above (x to the right, y up) or from the side (x to the right, z up).

    Nearer beads cover farther ones, which are faded; circles are cut at the box and go on at the opposite edge.
    Dashed edges are periodic, solid ones walls; from above, a ring marks every Mo that beads may hide.
    """
    horizontal, vertical = float(scene.lengths[0]), float(scene.lengths[1 if view == "top" else 2])
    point = np.concatenate([scene.position, scene.site_position])
    code = np.concatenate([scene.species, scene.site_species])
    near = point[:, 2] if view == "top" else -point[:, 1]
    plane = point[:, [0, 1]] if view == "top" else point[:, [0, 2]]
    order = np.argsort(near, kind="stable")
    plane, code = plane[order], code[order]
    radius = _radii(scene, code)
    fade = FADE * (1.0 - np.linspace(0.0, 1.0, len(code)))[:, None]
    colour = np.array([to_rgb(c) for c in COLOURS])[code]
    face, edge = colour + (1.0 - colour) * fade, 0.62 * colour + (1.0 - 0.62 * colour) * fade

    axes.set_aspect("equal")
    repeats = view == "top" or scene.periodic_z
    below = 0.0 if repeats else WALL_NM
    margin = 0.02 * horizontal
    axes.set_xlim(-margin, horizontal + margin)
    axes.set_ylim(-below - margin, vertical + 0.09 * horizontal)
    box = Rectangle((0, 0), horizontal, vertical, fill=False, linewidth=0.0, transform=axes.transData)
    axes.add_patch(box)
    places, index = _with_images(plane, radius, (horizontal, vertical if repeats else None))
    first = np.argsort(index, kind="stable")
    places, index = places[first], index[first]
    width = 2.0 * radius[index]
    beads = EllipseCollection(
        width,
        width,
        np.zeros(len(width)),
        units="xy",
        offsets=places,
        offset_transform=axes.transData,
        facecolors=face[index],
        edgecolors=edge[index],
        linewidths=0.3,
        zorder=2,
    )
    axes.add_collection(beads)
    beads.set_clip_path(box)
    if view == "top":
        _ring_centres(axes, scene, box)
    _edges(axes, horizontal, vertical, repeats)
    _scale_bar(axes, horizontal, vertical, scale_bar_nm)
    for side in axes.spines.values():
        side.set_visible(False)
    if ticks:
        axes.set_xlabel("x (nm)")
        axes.set_ylabel("y (nm)" if view == "top" else "z (nm)")
    else:
        axes.set_xticks([])
        axes.set_yticks([])


def _ring_centres(axes: Axes, scene: Scene, box: Rectangle) -> None:
    """Outlines of the Mo, above everything."""
    mo = scene.site_position[scene.site_species == MO]
    if not len(mo):
        return
    radius = np.full(len(mo), 0.5 * scene.sigma[MO])
    places, index = _with_images(mo[:, :2], radius, (float(scene.lengths[0]), float(scene.lengths[1])))
    width = 2.0 * radius[index]
    for colour, line in (("white", 1.9), (CENTRE, 1.0)):
        rings = EllipseCollection(
            width,
            width,
            np.zeros(len(width)),
            units="xy",
            offsets=places,
            offset_transform=axes.transData,
            facecolors="none",
            edgecolors=colour,
            linewidths=line,
            zorder=3,
        )
        axes.add_collection(rings)
        rings.set_clip_path(box)


def _edges(axes: Axes, horizontal: float, vertical: float, repeats: bool) -> None:
    periodic = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 4}
    wall = {"color": INK, "linewidth": 1.0, "linestyle": "-", "zorder": 4}
    for x in (0.0, horizontal):
        axes.plot([x, x], [0.0, vertical], **periodic)
    for y in (0.0, vertical):
        axes.plot([0.0, horizontal], [y, y], **(periodic if repeats else wall))
    if not repeats:
        wall_strip(axes, -WALL_NM, 0.0, vertical=False)


def _scale_bar(axes: Axes, horizontal: float, vertical: float, length_nm: float) -> None:
    y = vertical + 0.035 * horizontal
    axes.plot([horizontal - length_nm, horizontal], [y, y], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.text(
        horizontal - length_nm - 0.02 * horizontal,
        y,
        f"{length_nm:g} nm",
        ha="right",
        va="center",
        fontsize="small",
    )


def _darker(colour: str) -> tuple[float, float, float]:
    red, green, blue = to_rgb(colour)
    return (0.62 * red, 0.62 * green, 0.62 * blue)


def legend_handles(scene: Scene) -> list[Line2D]:
    """One entry per kind of bead that is there, with its number."""
    code = np.concatenate([scene.species, scene.site_species])
    order = (S6, LI2S, LI2S2, 0, 2, MO, N_RING)
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markersize=4.0 if kind == N_RING else 6.5 if kind in (0, MO) else 8.0,
            markerfacecolor=COLOURS[kind],
            markeredgecolor=_darker(COLOURS[kind]),
            markeredgewidth=0.5,
            label=f"{NAMES[kind]} ({int((code == kind).sum())})",
        )
        for kind in order
        if (code == kind).any()
    ]
