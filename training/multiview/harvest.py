"""From a recording to 3D joints with uncertainty, of which the most certain are kept. Streams: only a few frames are in memory, beside detections.

Results are arrays on disk, one row a frame, written chunk by chunk; `state.json` says how far they are in force, so a run that was
killed goes on where it was, and the result is the same. F frames, V views, J joints; mm and world frame; nothing is ever NaN: where
there is no estimate the outcome says why and the position is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.harvest import arrays, selection
from training.harvest.arrays import HarvestArrays, Outcome, Size
from training.harvest.harvester import BadRecording
from training.multiview import heatmaps, limbs, pictorial, recording, triangulation
from training.multiview.config import HarvestConfig
from training.multiview.recording import Chunk, Recording
from training.multiview.triangulation import Points
from training.poses.cameras import Camera
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
SAMPLE = 400  # frames that limb lengths and the check of the cameras are made of
AGREEING, BETTER = 0.8, 0.15  # share of detections that fit below which cameras are doubted; gain that proves a swap
LEAST_CELL = 3.46  # a voxel's own spread is its edge over the root of 12


def harvest(
    recorded: Recording,
    config: HarvestConfig,
    folder: Path,
    *,
    progress: Progress = silent,
    lengths_mm: Sequence[float] | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> HarvestArrays:
    """Harvest a recording into `folder`, going on where an earlier call with the same input and options stopped.

    `lengths_mm`: one per edge of the skeleton's tree, of everybody; each person's are estimated from the recording where not given.
    Raises BadRecording.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(recorded.cameras) < 2:
        raise BadRecording(f"{len(recorded.cameras)} camera is not enough", field="cameras", fix="bring two or more")
    if recorded.source.frames < 1:
        raise BadRecording("The recording has no frames.", field="detections")
    sample = recorded.spread(SAMPLE)
    recording.fitting(recorded, sample)
    points = triangulation.ransac(recorded.cameras, sample.pixels, sample.score, **_settings(config))
    if not points.known.any():
        raise BadRecording(
            "No joint is seen by two cameras at once.",
            field="detections",
            fix="check scores, order of cameras and synchronisation",
        )
    _check_unit(points)
    doubt_cameras(recorded.cameras, sample, points, config)
    if lengths_mm is not None:
        lengths, borrowed = [list(lengths_mm)] * len(recorded.people), []
    else:
        measured = [_measured(of, recorded.skeleton) for of in _of_each(recorded, points, config)]
        lengths, borrowed = _lengths(measured), [n for n, own in enumerate(measured) if not isinstance(own, list)]
    size = Size(recorded.source.frames, len(recorded.cameras), len(recorded.skeleton.keypoints))
    writing = arrays.start(
        folder, size, _made_of(recorded, config, lengths), notes={"lengths_mm": lengths, "borrowed": borrowed}
    )
    unit = "poses" if recorded.stretches else "frames"
    with _workers(device, threads) as solve:
        for person, rows, chunk in recorded.chunks(writing.done, config.frames_at_once):
            progress(rows[0], recorded.source.frames, unit)
            own = lengths[recorded.people.index(person)]
            writing.append(rows[0], solve(recorded, chunk, config, own))
            writing.advance(rows[-1] + 1)
    result = writing.arrays
    candidate = result.outcome == Outcome.FOUND
    kept = selection.most_certain(result.uncertainty.astype(np.float64), candidate, config.keep_share)
    progress(recorded.source.frames, recorded.source.frames, unit)
    return writing.keep(kept)


def _of_each(recorded: Recording, points: Points, config: HarvestConfig) -> Iterator[Points]:
    """Triangulated joints of each person, in a sample of rows; `points` are those of a recording of one."""
    if not recorded.stretches:
        yield points
    for person in recorded.stretches:
        sample = recorded.spread(SAMPLE, person)
        yield triangulation.ransac(recorded.cameras, sample.pixels, sample.score, **_settings(config))


def _measured(points: Points, skeleton: Skeleton) -> list[float] | limbs.NoLengths:
    """Limb lengths of one person (mm), one per edge of the tree, or why there are none."""
    try:
        return [float(length) for length in limbs.from_points(points, skeleton)]
    except limbs.NoLengths as error:
        return error


def _lengths(people: Sequence[list[float] | limbs.NoLengths]) -> list[list[float]]:
    """Each person's; who could not be measured has those of the others in the mean. Raises BadRecording where nobody could be."""
    known = [person for person in people if isinstance(person, list)]
    if not known:
        raise BadRecording(str(people[0]), field="detections", fix="bring better detections, or a lower least_score")
    usual = np.mean(known, axis=0).tolist()
    return [person if isinstance(person, list) else usual for person in people]


LEAST_MM, MOST_MM = 500.0, 2600.0  # between a person's farthest joints, whatever the pose
ENOUGH = 0.7  # of the joints must be known for that


def _check_unit(points: triangulation.Points) -> None:
    """Is what stands before the cameras as large as a person? Raises BadRecording, guessing the unit."""
    places = np.where(points.known[..., None], points.position, np.nan)[points.known.mean(axis=1) >= ENOUGH]
    if not len(places):
        return
    size = float(np.median(np.linalg.norm(np.nanmax(places, axis=1) - np.nanmin(places, axis=1), axis=-1)))
    if LEAST_MM <= size <= MOST_MM:
        return
    likely = [
        unit for unit, factor in (("m", 1000.0), ("cm", 10.0), ("mm", 0.001)) if LEAST_MM <= size * factor <= MOST_MM
    ]
    guess = f"; is its unit {likely[0]}?" if likely else ""
    raise BadRecording(
        f"by this calibration the person is {size:.3g} mm large{guess}", field="unit", fix="say the calibration's unit"
    )


def lengths_of(folder: Path) -> list[list[float]]:
    """Limb lengths (mm) that a harvest used: of each person, one per edge of the tree."""
    return list(arrays.notes_of(folder)["lengths_mm"])


def unmeasured(folder: Path) -> list[int]:
    """Which of a harvest's people (by their order) have the others' limb lengths."""
    return list(arrays.notes_of(folder).get("borrowed", []))


def _settings(config: HarvestConfig) -> dict[str, Any]:
    return {
        "inlier_px": config.inlier_px,
        "least_score": config.least_score,
        "undistort": config.undistort,
        "seed": config.seed,
    }


def _made_of(recorded: Recording, config: HarvestConfig, lengths_mm: Sequence[Sequence[float]]) -> list[Any]:
    about: list[Any] = [config.model_dump_json(), repr(lengths_mm), repr(recorded.skeleton), repr(recorded.stretches)]
    cameras = [[c.name, c.matrix.tolist(), c.rotation.tolist(), c.translation.tolist()] for c in recorded.cameras]
    return [*about, recorded.source.frames, *cameras]


class _workers:
    """Frames of a chunk: together on a GPU, one a thread on a processor (each single-threaded: threads that outnumber cores spin).

    A lone thread is the caller's own: memory freed by others goes back to the system and is faulted in again (a third of the time at 32^3).
    """

    def __init__(self, device: str, threads: int) -> None:
        self.device, self.threads = device, threads if device == "cpu" else 1

    def __enter__(self) -> Callable[..., dict[str, Any]]:
        self.before = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        if self.device == "cpu":
            torch.set_num_threads(1)
        return self.solve

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown()
        torch.set_num_threads(self.before)

    def solve(
        self, recorded: Recording, chunk: Chunk, config: HarvestConfig, lengths_mm: Sequence[float]
    ) -> dict[str, Any]:
        return solve(recorded, chunk, config, lengths_mm, device=self.device, pool=self.pool)


def solve(
    recorded: Recording,
    chunk: Chunk,
    config: HarvestConfig,
    lengths_mm: Sequence[float],
    *,
    device: str = "cpu",
    pool: ThreadPoolExecutor | None = None,
) -> dict[str, Any]:
    """The rows of the arrays (without `kept`) for some frames."""
    cameras = recorded.cameras
    points = triangulation.ransac(cameras, chunk.pixels, chunk.score, **_settings(config))
    maps = chunk.maps or heatmaps.of_detections(
        chunk.pixels,
        chunk.score,
        scale=config.box_scale,
        size=config.heatmap_px,
        sigma=config.sigma_cells,
        least_score=config.least_score,
    )
    has_peak = maps.has_peak
    frames, views, joints = has_peak.shape
    centre = limbs.cube_centre(points)
    there = np.isfinite(centre).all(axis=1) & (has_peak.any(axis=2).sum(axis=1) >= 2)
    seen = (chunk.score > config.least_score) & there[:, None, None]
    rows: dict[str, Any] = {
        "position": np.zeros((frames, joints, 3)),
        "covariance": np.zeros((frames, joints, 3, 3), np.float32),
        "uncertainty": np.zeros((frames, joints), np.float32),
        "outcome": np.full((frames, joints), Outcome.NOBODY, np.uint8),
        "seen": seen,
        "offset_px": np.zeros((frames, views, joints, 2), np.float32),
    }
    some = np.flatnonzero(there)
    if len(some) == 0:
        return rows
    groups = [some] if device != "cpu" else [some[n : n + 1] for n in range(len(some))]

    def posterior(group: NDArray[np.int64]) -> pictorial.Marginals:
        return _posterior(recorded, maps, has_peak, centre, group, config, lengths_mm, device)

    for group, marginals in zip(groups, (pool.map if pool else map)(posterior, groups)):
        estimate = marginals.mode_mean if config.estimate == "mode" else marginals.mean
        position = estimate.cpu().numpy()
        covariance = marginals.covariance.cpu().numpy()
        edge = config.cube_mm / 2 - 0.5 * config.cube_mm / (config.grid - 1)
        triangulated = np.nan_to_num(points.position[group] - centre[group][:, None])
        outside = (np.abs(position - centre[group][:, None]) > edge).any(axis=-1)
        outside |= (np.abs(triangulated) > config.cube_mm / 2).any(axis=-1) & (points.used[group].sum(axis=1) >= 3)
        outcome = np.where(has_peak[group].sum(axis=1) < 2, Outcome.INFERRED, Outcome.FOUND)
        outcome = np.where(outside, Outcome.OUTSIDE, outcome)
        outcome = np.where(marginals.empty.cpu().numpy(), Outcome.CONTRADICTION, outcome)
        rows["position"][group], rows["covariance"][group] = position, covariance
        rows["uncertainty"][group], rows["outcome"][group] = _uncertainty(marginals, config), outcome
        off = chunk.pixels[group] - triangulation.reprojected(cameras, position, config.undistort)
        usable = seen[group] & np.isfinite(off).all(axis=-1) & (outcome != Outcome.CONTRADICTION)[:, None]
        rows["seen"][group] = usable
        rows["offset_px"][group] = np.where(usable[..., None], off, 0.0)
    return rows


def _uncertainty(marginals: pictorial.Marginals, config: HarvestConfig) -> Array:
    if config.rank_by == "entropy":
        return np.asarray(marginals.entropy.cpu().numpy())
    covariance = marginals.covariance if config.rank_by == "determinant" else marginals.mode_covariance
    return selection.log_determinant(covariance.cpu().numpy(), config.cube_mm / (config.grid - 1) / LEAST_CELL)


def _posterior(
    recorded: Recording,
    maps: heatmaps.Maps,
    has_peak: NDArray[np.bool_],
    centre: Array,
    group: NDArray[np.int64],
    config: HarvestConfig,
    lengths_mm: Sequence[float],
    device: str,
) -> pictorial.Marginals:
    """Marginals of some frames. Frames whose mass vanishes in float32 are asked again in float64, which tells scarce from none."""
    floor = np.vectorize(lambda v: pictorial.delta_for(int(v), config.grid, config.background))(
        has_peak[group].sum(axis=1)
    )

    def asked(some: NDArray[np.int64], dtype: torch.dtype) -> pictorial.Marginals:
        grid = pictorial.Grid(torch.as_tensor(centre[group[some]]), config.cube_mm, config.grid)
        values = torch.as_tensor(maps.values[group[some]]).to(device=device, dtype=dtype)
        unary = pictorial.log_unary(
            values,
            maps.to_map[group[some]],
            recorded.cameras,
            grid,
            torch.as_tensor(floor[some]),
            undistort=config.undistort,
        )
        return pictorial.marginals(
            unary, grid, recorded.skeleton.tree, lengths_mm, config.tolerance_cells, entropy=config.rank_by == "entropy"
        )

    every = np.arange(len(group))
    result = asked(every, getattr(torch, config.precision))
    again = np.flatnonzero(result.empty.any(dim=1).cpu().numpy())
    if len(again) and config.precision == "float32":
        exact = asked(again, torch.float64)
        for field in fields(result):
            getattr(result, field.name)[again] = getattr(exact, field.name)
    return result


def agreement(cameras: Sequence[Camera], chunk: Chunk, config: HarvestConfig) -> float:
    """Share of detections that lie within `inlier_px` of the point most of them agree on; points of two views prove nothing."""
    return _share(triangulation.ransac(cameras, chunk.pixels, chunk.score, **_settings(config)), chunk, config)


def _share(points: Points, chunk: Chunk, config: HarvestConfig) -> float:
    there = chunk.score > config.least_score
    tested = there & (there.sum(axis=1, keepdims=True) >= 3)
    agree = points.used & (points.used.sum(axis=1, keepdims=True) >= 3)
    return float((agree & tested).sum() / max(tested.sum(), 1)) if tested.any() else 1.0


def _doubt_size(cameras: Sequence[Camera], chunk: Chunk, share: float, config: HarvestConfig) -> None:
    few = np.linspace(0, len(chunk.pixels) - 1, min(len(chunk.pixels), 60)).astype(int)
    fits = {
        scale: agreement(cameras, Chunk(chunk.pixels[few] * scale, chunk.score[few]), config)
        for scale in (1 / 3, 0.5, 2 / 3, 1.5, 2, 3)
    }
    scale = max(fits, key=lambda s: fits[s])
    if fits[scale] > share + BETTER:
        raise BadRecording(
            f"The calibration is of pictures {scale:.2g} times as large: {share:.0%} of the detections agree, {fits[scale]:.0%} if they are scaled",
            field="calibration",
            fix="bring the calibration of the pictures' size",
        )


def doubt_cameras(cameras: Sequence[Camera], chunk: Chunk, points: Points, config: HarvestConfig) -> None:
    """Where few detections agree, try other sizes of pictures and whether two cameras have changed places. Raises BadRecording."""
    share = _share(points, chunk, config)
    if share >= AGREEING or len(cameras) < 3:
        return
    _doubt_size(cameras, chunk, share, config)
    few = np.linspace(0, len(chunk.pixels) - 1, min(len(chunk.pixels), 60)).astype(int)
    part = Chunk(chunk.pixels[few], chunk.score[few])
    best, pair = 0.0, (0, 0)
    for a, b in combinations(range(len(cameras)), 2):
        order = list(range(len(cameras)))
        order[a], order[b] = b, a
        agreed = agreement([cameras[n] for n in order], part, config)
        if agreed > best:
            best, pair = agreed, (a, b)
    if best > share + BETTER:
        one, other = (cameras[n].name for n in pair)
        raise BadRecording(
            f"{one} and {other} look swapped: {share:.0%} of the detections agree, {best:.0%} if their calibrations change places",
            field="cameras",
            fix=f"swap the calibrations or the detections of {one} and {other}",
        )
