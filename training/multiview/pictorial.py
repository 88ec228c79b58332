"""3D pictorial structures on a voxel grid, exactly: sum-product over a tree of joints, messages by FFT.

    p(S | I) ~ prod_k prod_i (h_ki(pi_k(s_i)) + delta) * prod_(i,j) [ |d(s_i, s_j) - L_ij| <= eps ]
    m_(j->i)(x) = sum_y [ ||x - y| - L_ij| <= eps ] b_j(y)          a convolution with a spherical shell

Source: Pavlakos et al. 2017, eq. 1 to 5. The paper leaves open how a message over 64^3 x 64^3 pairs of voxels is computed: the factor
depends on x - y only, so it is a linear convolution, exact by FFT on a grid of at least n + R (R: the shell's outer radius).
Also open there: eps is in voxels here (1: a true limb survives rounding both ends to voxels in 99 of 100 cases), delta is chosen from
the number of views, and beliefs are never divided by a message nor clamped from below by anything but 0.

F frames, V views, J joints, n voxels along an edge; x, y, z are the grid's axes and the world's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from training.poses.cameras import Camera, brown

Array = NDArray[np.float64]
Tree = Sequence[tuple[int, int]]  # (parent, child), parents first
LOCAL = 3  # voxels on each side of the mode
BACKGROUND_MASS = 64.0**3 * 0.01**4  # of the uniform part, beside a peak of 1: four views with delta 0.01 on 64^3


@dataclass(frozen=True)
class Grid:
    """A cube of n^3 voxel centres, `side_mm` from the first to the last; `centre` F x 3 in the world."""

    centre: Float[Tensor, "F 3"]
    side_mm: float
    n: int

    @property
    def cell_mm(self) -> float:
        return self.side_mm / (self.n - 1)

    def axis(self, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " n"]:
        """Places of voxels along an edge, mm from the centre."""
        return (torch.arange(self.n, device=device, dtype=dtype) - (self.n - 1) / 2) * self.cell_mm


@dataclass(frozen=True)
class Marginals:
    """Of F frames x J joints, mm and world frame: `mean`, `covariance` of the whole marginal; `mode_mean`, `mode_covariance` of the
    voxels within LOCAL of its mode; `entropy` in nats (0 where it was not asked for); `empty`: there was no mass at all (contradictory limbs), the rest is 0."""

    mean: Float[Tensor, "F J 3"]
    covariance: Float[Tensor, "F J 3 3"]
    mode_mean: Float[Tensor, "F J 3"]
    mode_covariance: Float[Tensor, "F J 3 3"]
    entropy: Float[Tensor, "F J"]
    empty: Bool[Tensor, "F J"]


def delta_for(views: int, n: int, four: float = 0.01) -> float:
    """The heatmap floor for so many views: the uniform part weighs as much as that of four views with `four` on 64^3."""
    mass = BACKGROUND_MASS * (four / 0.01) ** 4
    return float(min(0.5, (mass / n**3) ** (1 / max(views, 1))))


def log_unary(
    heatmaps: Float[Tensor, "F V J H W"],
    to_map: Float[np.ndarray, "F V 4"],
    cameras: Sequence[Camera],
    grid: Grid,
    delta: Float[Tensor, "F J"],
    *,
    undistort: bool = True,
) -> Float[Tensor, "F J n n n"]:
    """log prod_k (h_k + delta) at every voxel, its maximum 0: F x J x n x n x n.

    `heatmaps` F x V x J x H x W, at least 0, peaks of at most 1; `to_map` F x V x 4: scale x, y and offset x, y from pixels to cells of the heatmap
    (cell centres are whole numbers); `delta` F x J. The logarithm is interpolated linearly; outside of the heatmap it is log delta.
    """
    frames, views, joints, height, width = heatmaps.shape
    device, dtype = heatmaps.device, heatmaps.dtype
    n = grid.n
    total: Tensor | None = None
    lens = _rig(tuple(cameras), undistort, device, dtype)
    axis = grid.axis(device, dtype)
    maps = torch.as_tensor(to_map, device=device, dtype=dtype)
    floor = delta.to(device=device, dtype=dtype)
    for view in range(views):
        u, v = _cells(lens, view, grid.centre.to(device=device, dtype=dtype), axis, maps[:, view])
        places = torch.stack([2 * u / (width - 1) - 1, 2 * v / (height - 1) - 1], dim=-1).view(frames, 1, -1, 2)
        # Behind the camera and outside of the map nothing is known: relative to log delta that is zero.
        relative = torch.log1p_(heatmaps[:, view] / floor[:, :, None, None])
        seen = torch.nn.functional.grid_sample(relative, places, "bilinear", "zeros", align_corners=True)
        total = seen if total is None else total.add_(seen)
    if total is None:
        raise ValueError("there is no view")
    total = total.view(frames, joints, -1)
    total -= total.amax(dim=2, keepdim=True)
    return total.view(frames, joints, n, n, n)


@dataclass(frozen=True)
class _Lens:
    rotation: Tensor
    translation: Tensor
    matrix: Tensor
    distortion: Tensor
    bent: bool


@lru_cache(maxsize=8)
def _rig(cameras: tuple[Camera, ...], undistort: bool, device: torch.device, dtype: torch.dtype) -> list[_Lens]:
    def tensor(value: Array) -> Tensor:
        return torch.tensor(np.array(value), device=device, dtype=dtype)

    return [
        _Lens(
            rotation=tensor(c.rotation),
            translation=tensor(c.translation),
            matrix=tensor(c.matrix),
            distortion=tensor(c.distortion),
            bent=undistort and bool(c.distortion.any()),
        )
        for c in cameras
    ]


def _cells(lenses: list[_Lens], view: int, centre: Tensor, axis: Tensor, to_map: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of the heatmap that voxels project to, each F x n x n x n; far outside where they are behind the camera."""
    lens = lenses[view]
    seen = centre @ lens.rotation.T + lens.translation  # F x 3
    turned = lens.rotation[:, :, None] * axis  # (camera axis, world axis, n): the grid is a sum of three such
    x, y, z = (
        seen[:, a, None, None, None] + turned[a, 0][:, None, None] + turned[a, 1][:, None] + turned[a, 2]
        for a in range(3)
    )
    ahead = z > 1.0
    inverse = torch.where(ahead, 1 / torch.where(ahead, z, 1.0), 0.0)
    x, y = x * inverse, y * inverse
    if lens.bent:
        x, y = brown(x, y, lens.distortion)
    k, m = lens.matrix, to_map[:, :, None, None, None]
    u = (k[0, 0] * x + k[0, 1] * y + k[0, 2]) * m[:, 0] + m[:, 2]
    v = (k[1, 1] * y + k[1, 2]) * m[:, 1] + m[:, 3]
    return torch.where(ahead, u, -1e6), torch.where(ahead, v, -1e6)


def marginals(
    log_unary: Float[Tensor, "F J n n n"],
    grid: Grid,
    tree: Tree,
    lengths_mm: Sequence[float],
    tolerance_cells: float = 1.0,
    *,
    entropy: bool = False,
) -> Marginals:
    """Exact marginals of every joint. `tree`: J - 1 edges (parent, child) in any order from the root; `lengths_mm` one per edge.

    Works in the precision of `log_unary`. float32 is for realistic heatmaps; contradictory spikes over a tiny floor need float64.
    """
    return moments(beliefs(log_unary, grid, tree, lengths_mm, tolerance_cells), grid, entropy=entropy)


def beliefs(
    log_unary: Float[Tensor, "F J n n n"],
    grid: Grid,
    tree: Tree,
    lengths_mm: Sequence[float],
    tolerance_cells: float = 1.0,
) -> Float[Tensor, "F J n n n"]:
    """Unnormalised marginals, F x J x n x n x n, each with a maximum of 1, or 0 everywhere if nothing is possible."""
    unary = torch.exp(log_unary)
    joints = unary.shape[1]
    if not tree:
        return unary
    spectra = [
        _shell(grid.n, length / grid.cell_mm, tolerance_cells, unary.dtype, unary.device) for length in lengths_mm
    ]
    children: dict[int, list[int]] = {j: [] for j in range(joints)}
    parent = {child: (p, edge) for edge, (p, child) in enumerate(tree)}
    for p, child in tree:
        children[p].append(child)
    depth = {child: 0 for child in range(joints) if child not in parent}
    for p, child in _parents_first(tree):
        depth[child] = depth[p] + 1
    inside = list(unary.unbind(dim=1))  # unary times the messages of children
    upward: dict[int, Tensor] = {}
    for level in range(max(depth.values()), 0, -1):
        nodes = [j for j in range(joints) if depth[j] == level]
        sent = _convolved([inside[j] for j in nodes], [spectra[parent[j][1]] for j in nodes], grid.n)
        upward.update(zip(nodes, sent))
        for p in {parent[j][0] for j in nodes}:
            inside[p] = _peak_one(_product([unary[:, p], *(upward[c] for c in children[p])]))
    whole = list(inside)
    above: dict[int, Tensor] = {}  # what came from the parent
    for level in range(1, max(depth.values()) + 1):
        nodes = [j for j in range(joints) if depth[j] == level]
        without = []  # the parent's belief without what j itself said: multiplied anew, never divided
        for j in nodes:
            p = parent[j][0]
            others = [upward[c] for c in children[p] if c != j] + ([above[p]] if p in above else [])
            without.append(_peak_one(_product([unary[:, p], *others])))
        sent = _convolved(without, [spectra[parent[j][1]] for j in nodes], grid.n)
        above.update(zip(nodes, sent))
        for j in nodes:
            whole[j] = _peak_one(inside[j] * above[j])
    return torch.stack(whole, dim=1)


def _product(factors: list[Tensor]) -> Tensor:
    if len(factors) == 1:
        return factors[0].clone()
    product = factors[0] * factors[1]
    for factor in factors[2:]:
        product *= factor
    return product


def _parents_first(tree: Tree) -> list[tuple[int, int]]:
    reached = {p for p, _ in tree} - {c for _, c in tree}
    waiting, order = list(tree), []
    while waiting:
        ready = [edge for edge in waiting if edge[0] in reached]
        if not ready:
            raise ValueError("the bones are no tree")
        order += ready
        reached |= {c for _, c in ready}
        waiting = [edge for edge in waiting if edge not in ready]
    return order


def _peak_one(belief: Tensor) -> Tensor:
    """The belief with a largest value of 1, or 0 everywhere. In place: callers bring their own."""
    top = belief.amax(dim=(-3, -2, -1), keepdim=True)
    return belief.div_(torch.where(top > 0, top, 1.0))


@dataclass(frozen=True)
class _Shell:
    spectrum: Tensor  # real: the kernel is even; half of z
    size: int


def fft_size(least: int) -> int:
    """The smallest 2^a 3^b 5^c from `least` on, even (half spectra), with at most two factors other than 2."""
    size = least + least % 2
    while True:
        rest = size
        odd = 0
        for factor in (3, 5):
            while rest % factor == 0:
                rest, odd = rest // factor, odd + 1
        if rest & (rest - 1) == 0 and odd <= 2:
            return size
        size += 2


@lru_cache(maxsize=256)
def _shell(n: int, length: float, tolerance: float, dtype: torch.dtype, device: torch.device) -> _Shell:
    reach = math.floor(length + tolerance)
    size = fft_size(n + min(reach, n - 1))
    step = torch.arange(size, dtype=torch.float64)
    step = torch.minimum(step, size - step)
    away = torch.sqrt(step[:, None, None] ** 2 + step[None, :, None] ** 2 + step[None, None, :] ** 2)
    kernel = ((away - length).abs() <= tolerance).to(torch.float64)
    # Displacements longer than n - 1 join no two voxels; what wraps around must not.
    kernel[step > n - 1] = 0
    kernel[:, step > n - 1] = 0
    kernel[:, :, step > n - 1] = 0
    spectrum = torch.fft.rfftn(kernel).real
    if _one_by_one(n, device):  # the order of axes in `_in_place`: x, z, y
        spectrum = spectrum.transpose(1, 2)
    return _Shell(spectrum.to(device=device, dtype=dtype).contiguous(), size)


def _one_by_one(n: int, device: torch.device) -> bool:
    return device.type == "cpu" and n > 40


def _convolved(beliefs: list[Tensor], shells: list[_Shell], n: int) -> list[Tensor]:
    """Each belief (F x n x n x n) with its shell. Peaks of 1, nothing below 0.

    Those of one FFT size together; on a processor large ones one by one in buffers that stay, because one fits into its cache and
    fresh pages cost as much as the transform (measured: twice as fast in all).
    """
    if _one_by_one(n, beliefs[0].device):
        return [
            torch.stack([_in_place(frame, shell, n) for frame in belief])
            if len(belief) > 1
            else _in_place(belief[0], shell, n)[None]
            for belief, shell in zip(beliefs, shells)
        ]
    messages: list[Tensor] = list(beliefs)
    for size in {shell.size for shell in shells}:
        some = [k for k, shell in enumerate(shells) if shell.size == size]
        together = torch.stack([beliefs[k] for k in some], dim=1)
        spectra = torch.stack([shells[k].spectrum for k in some])
        convolve = _on_processor if together.device.type == "cpu" else _on_device
        message = _peak_one(convolve(together, spectra, size, n).clamp_(min=0))
        for place, k in enumerate(some):
            messages[k] = message[:, place]
    return messages


def _on_device(beliefs: Tensor, spectra: Tensor, size: int, n: int) -> Tensor:
    far = torch.fft.rfft(beliefs, size, dim=-1)
    far = torch.fft.fft(torch.fft.fft(far, size, dim=-2), size, dim=-3)
    far *= spectra
    far = torch.fft.ifft(far, dim=-3).narrow(-3, 0, n)
    far = torch.fft.ifft(far, dim=-2).narrow(-2, 0, n)
    return torch.fft.irfft(far, size, dim=-1).narrow(-1, 0, n)


def _on_processor(beliefs: Tensor, spectra: Tensor, size: int, n: int) -> Tensor:
    """The same by SciPy, which takes three quarters of torch's time for small cubes: it need not copy an axis to transform it."""
    far = fft.rfft(beliefs.numpy(), size, axis=-1)
    far = fft.fft(fft.fft(far, size, axis=-2), size, axis=-3, overwrite_x=True)
    far *= spectra.numpy()
    far = fft.ifft(far, axis=-3, overwrite_x=True)[..., :n, :, :]
    far = fft.ifft(far, axis=-2)[..., :n, :]
    return torch.from_numpy(np.ascontiguousarray(fft.irfft(far, size, axis=-1)[..., :n]))


class _Bench(threading.local):
    """Buffers of one thread, by cube, FFT size and precision; what lies beyond the cube in the padded ones stays 0."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int, torch.dtype], tuple[Tensor, ...]] = {}

    def buffers(self, n: int, size: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        key = (n, size, dtype)
        if key not in self.kept:
            half, wide = size // 2 + 1, torch.complex64 if dtype == torch.float32 else torch.complex128
            self.kept[key] = (
                torch.zeros(n, n, size, dtype=dtype),
                torch.empty(n, n, half, dtype=wide),
                torch.zeros(n, half, size, dtype=wide),
                torch.zeros(size, half, size, dtype=wide),
                torch.empty(size, half, size, dtype=wide),
                torch.empty(n, half, size, dtype=wide),
            )
        return self.kept[key]


_BENCH = _Bench()


def _in_place(belief: Tensor, shell: _Shell, n: int) -> Tensor:
    """Axis by axis, so that planes of zeros are never transformed and planes outside the cube never transformed back.

    The transformed axis is always the first or the last one of a contiguous array: torch copies others (a third of the time).
    """
    real, lines, rows, planes, far, back = _BENCH.buffers(n, shell.size, belief.dtype)
    real[..., :n] = belief
    torch.fft.rfft(real, dim=2, out=lines)  # x, y, z
    rows[..., :n] = lines.transpose(1, 2)  # x, z, y
    torch.fft.fft(rows, dim=2, out=planes[:n])
    torch.fft.fft(planes, dim=0, out=far)
    far *= shell.spectrum
    torch.fft.ifft(far, dim=0, out=far)
    torch.fft.ifft(far[:n], dim=2, out=back)
    lines.copy_(back[..., :n].transpose(1, 2))
    message = torch.fft.irfft(lines, shell.size, dim=2)[..., :n].clamp(min=0)
    top = message.amax()
    return message if top == 0 else message.div_(top)


def moments(belief: Float[Tensor, "F J n n n"], grid: Grid, *, entropy: bool = False) -> Marginals:
    """Means and covariances about the mean itself, so that nothing cancels: sums along an axis as they are, the rest in float64."""
    frames, joints = belief.shape[:2]
    axis = grid.axis(belief.device, torch.float64)
    planes = [belief.sum(dim=d).to(torch.float64) for d in (4, 3, 2)]  # xy, xz, yz
    mass = planes[0].sum(dim=(2, 3))
    empty = ~(mass > 0)
    share = torch.where(empty, 1.0, mass)
    lines = [planes[0].sum(dim=3), planes[0].sum(dim=2), planes[1].sum(dim=2)]
    mean = torch.stack([line @ axis for line in lines], dim=-1) / share[..., None]
    apart = axis - mean[..., None]  # F x J x 3 x n
    covariance = torch.empty(frames, joints, 3, 3, dtype=torch.float64, device=belief.device)
    for a in range(3):
        covariance[..., a, a] = (lines[a] * apart[:, :, a] ** 2).sum(dim=-1) / share
    for plane, (a, b) in zip(planes, ((0, 1), (0, 2), (1, 2))):
        both = torch.einsum("fjab,fja,fjb->fj", plane, apart[:, :, a], apart[:, :, b]) / share
        covariance[..., a, b] = covariance[..., b, a] = both
    mode_mean, mode_covariance = _around_mode(belief, axis)
    spread = torch.zeros_like(mass)
    if entropy:
        p = belief / share[..., None, None, None].to(belief.dtype)
        spread = torch.special.entr(p).sum(dim=(2, 3, 4)).to(torch.float64)
    centre = grid.centre.to(device=belief.device, dtype=torch.float64)[:, None]
    void = empty[..., None]
    return Marginals(
        mean=torch.where(void, 0.0, mean + centre),
        covariance=torch.where(void[..., None], 0.0, covariance),
        mode_mean=torch.where(void, 0.0, mode_mean + centre),
        mode_covariance=torch.where(void[..., None], 0.0, mode_covariance),
        entropy=torch.where(empty, 0.0, spread),
        empty=empty,
    )


def _around_mode(belief: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the voxels within LOCAL of the largest, F x J x 3 and F x J x 3 x 3, mm from the centre."""
    frames, joints, n = belief.shape[:3]
    best = belief.flatten(2).argmax(dim=2)
    mode = torch.stack([best // n**2, best // n % n, best % n], dim=-1)
    reach = min(LOCAL, (n - 1) // 2)
    steps = torch.arange(-reach, reach + 1, device=belief.device)
    near = mode[..., None] + steps  # F x J x 3 x (2 reach + 1)
    inside = (near >= 0) & (near < n)
    near = near.clamp(0, n - 1)
    x, y, z = near.unbind(dim=2)
    flat = (x[..., :, None, None] * n + y[..., None, :, None]) * n + z[..., None, None, :]
    weight = belief.flatten(2).gather(2, flat.flatten(2)).view(flat.shape).to(torch.float64)
    ok = inside.to(torch.float64)
    weight = weight * ok[:, :, 0, :, None, None] * ok[:, :, 1, None, :, None] * ok[:, :, 2, None, None, :]
    total = weight.sum(dim=(2, 3, 4))
    weight = weight / torch.where(total > 0, total, 1.0)[..., None, None, None]
    place = axis[near]
    lines = [weight.sum(dim=(3, 4)), weight.sum(dim=(2, 4)), weight.sum(dim=(2, 3))]
    mean = torch.stack([(line * place[:, :, a]).sum(dim=-1) for a, line in enumerate(lines)], dim=-1)
    apart = place - mean[..., None]
    covariance = torch.empty(frames, joints, 3, 3, dtype=torch.float64, device=belief.device)
    for a in range(3):
        covariance[..., a, a] = (lines[a] * apart[:, :, a] ** 2).sum(dim=-1)
    for a, b, out in ((0, 1, 4), (0, 2, 3), (1, 2, 2)):
        plane = weight.sum(dim=out)
        covariance[..., a, b] = covariance[..., b, a] = torch.einsum(
            "fjab,fja,fjb->fj", plane, apart[:, :, a], apart[:, :, b]
        )
    return mean, covariance
