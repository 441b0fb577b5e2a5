r"""Linear relaxations of activations: two lines between which the activation lies on [l, u].

For every entry $\alpha x + \beta \le \phi(x) \le \gamma x + \delta$ for all $x \in [l, u]$.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from repairsolver.bounds import curves
from repairsolver.bounds.lines import Lines as Lines
from repairsolver.bounds.tensors import TensorNode, apply_activation
from repairsolver.network import operators as ops

# Where two choices are as good, rounding must not choose: the checker of proofs would choose otherwise. So
# the steeper slope is taken for more than half of an interval, and for more than what may be rounding.
HALF, AS_GOOD = 0.5 + 2.0**-20, 2.0**-30


def relax(node: TensorNode, lower: Tensor, upper: Tensor) -> Lines:
    """The lines of an elementwise activation on [lower, upper], each [b, size].

    Source: ReLU after Zhang et al. 2018 (CROWN), section 3, adaptive lower slope; sigmoid and tanh
    with the minimal end slope after Singh et al. 2019 (DeepPoly), section 4.4, tightened by tangents
    where the function is convex or concave on the interval.
    """
    match node.operator:
        case ops.Relu():
            return _relu(lower, upper)
        case ops.LeakyRelu():
            return _leaky_relu(node.parameters["slope"], lower, upper)
        case ops.Clip(low, high):
            return _clip(low, high, lower, upper)
        case ops.Sigmoid() | ops.Tanh():
            return _s_shaped(node, lower, upper)
        case ops.Elu() | ops.Gelu():
            return curves.enclosed(node, lower, upper)
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not elementwise")


def relax_with(node: TensorNode, lines: Lines, bent: Tensor, share: Tensor) -> Lines:
    """Lines of a ReLU or leaky ReLU whose touching line is turned about the kink.

    On an interval around 0, every line through 0 with a slope between the two of the function touches
    it from below where it is convex, from above where it is concave: the slope is `share` of the way
    from the left one to the right one. Other activations keep their lines.

    Args:
        lines: what `relax` found, [b, size].
        bent: which entries have 0 inside their interval, [b, size] of bool.
        share: between 0 and 1, [b, size] or one for each row, [b, s, size].

    Source: Xu et al. 2021 (alpha-CROWN), section 3.1.
    """
    if not isinstance(node.operator, ops.Relu | ops.LeakyRelu):
        return lines
    lower, upper = lines.lower_slope, lines.upper_slope
    if share.dim() == 3:
        bent, lower, upper = bent.unsqueeze(1), lower.unsqueeze(1), upper.unsqueeze(1)
    if isinstance(node.operator, ops.Relu):
        return replace(lines, lower_slope=torch.where(bent, share, lower))
    alpha = node.parameters["slope"]
    turned = alpha + (1 - alpha) * share
    convex = alpha <= 1
    return replace(
        lines,
        lower_slope=torch.where(bent & convex, turned, lower),
        upper_slope=torch.where(bent & ~convex, turned, upper),
    )


def unstable(node: TensorNode, lower: Tensor, upper: Tensor) -> Tensor:
    """Which entries would profit from tighter bounds, [b, size] of bool."""
    match node.operator:
        case ops.Relu() | ops.LeakyRelu():
            return (lower < 0) & (upper > 0)
        case ops.Clip(low, high):
            return ((lower < low) & (upper > low)) | ((lower < high) & (upper > high))
        case _:
            return upper > lower


def _relu(lower: Tensor, upper: Tensor) -> Lines:
    # Clamping makes the chord formula exact for stable neurons too: slope 0 or 1, shift 0.
    low, high = lower.clamp(max=0), upper.clamp(min=0)
    slope = high / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    steep = (slope > HALF) & (high > AS_GOOD)
    return Lines(steep.to(low.dtype), torch.zeros_like(low), slope, -slope * low)


def _leaky_relu(alpha: Tensor, lower: Tensor, upper: Tensor) -> Lines:
    low, high = lower.clamp(max=0), upper.clamp(min=0)
    width = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    share = high / width
    # Not alpha + (1 - alpha) share, which loses alpha roundings where the interval hardly reaches below 0.
    chord = (high - alpha * low) / width
    shift = (alpha - chord) * low
    touching = torch.where((share > HALF) & (high > AS_GOOD), torch.ones_like(chord), alpha.expand_as(chord))
    zero = torch.zeros_like(low)
    convex = (alpha <= 1).expand_as(chord)
    return Lines(
        torch.where(convex, touching, chord),
        torch.where(convex, zero, shift),
        torch.where(convex, chord, touching),
        torch.where(convex, shift, zero),
    )


def _clip(low: float, high: float, lower: Tensor, upper: Tensor) -> Lines:
    """clip = two kinks: convex at `low`, concave at `high`.

    Lower line through (low, low) and (max(u, high) -> high), upper line mirrored; where only one kink
    lies inside, the other side is the touching line of slope 0 or 1.
    """
    zero, one = torch.zeros_like(lower), torch.ones_like(lower)
    below, above = lower < low, upper > high
    tiny = torch.finfo(lower.dtype).tiny
    top, bottom = upper.clamp(max=high), lower.clamp(min=low)
    # Chord from (l, clip l) to the first point where the upper envelope meets the function.
    rise = (top - bottom).clamp(min=0)
    upper_chord = rise / (top - lower).clamp(min=tiny)
    lower_chord = rise / (upper - bottom).clamp(min=tiny)
    flat = (upper <= low) | (lower >= high)
    steep = _most(top - low, top - lower) if low > -torch.inf else torch.ones_like(below)
    steep_up = _most(high - bottom, upper - bottom) if high < torch.inf else torch.ones_like(below)
    lower_slope = torch.where(above, lower_chord, torch.where(below & ~steep, zero, one))
    upper_slope = torch.where(below, upper_chord, torch.where(above & ~steep_up, zero, one))
    value_low, value_high = lower.clamp(low, high), upper.clamp(low, high)
    lower_at, lower_value = torch.where(above, upper, bottom), torch.where(above, value_high, bottom)
    upper_at, upper_value = torch.where(below, lower, top), torch.where(below, value_low, top)
    lower_slope, upper_slope = (torch.where(flat, zero, s) for s in (lower_slope, upper_slope))
    lower_shift = torch.where(flat, value_low, lower_value - lower_slope * lower_at)
    upper_shift = torch.where(flat, value_low, upper_value - upper_slope * upper_at)
    return Lines(lower_slope, lower_shift, upper_slope, upper_shift)


def _most(part: Tensor, whole: Tensor) -> Tensor:
    """Where a part is more than half of an interval."""
    return (part > HALF * whole) & (part > AS_GOOD)


def _s_shaped(node: TensorNode, lower: Tensor, upper: Tensor) -> Lines:
    """Sigmoid and tanh: convex left of 0, concave right of it, slope largest at 0.

    Everywhere on [l, u] the slope is at least min(phi'(l), phi'(u)), which gives parallel lines through
    the ends; where the function is concave (convex) the chord is the lower (upper) line and the tangent
    at the middle the other. Widened by 1e-12 for rounding.
    """
    at_lower, at_upper = apply_activation(node, lower), apply_activation(node, upper)
    middle = (lower + upper) / 2
    at_middle = apply_activation(node, middle)
    least = torch.minimum(slope_at(node, at_lower), slope_at(node, at_upper))
    width = (upper - lower).clamp(min=1e-9)
    # A chord steeper than the true one could cut the function: shrink it by the rounding of its ends.
    chord = ((at_upper - at_lower) / width).clamp(min=0)
    tangent = slope_at(node, at_middle)
    narrow = upper - lower < 1e-6
    concave, convex = (lower >= 0) & ~narrow, (upper <= 0) & ~narrow
    lower_slope = torch.where(concave, chord, torch.where(convex, tangent, least))
    upper_slope = torch.where(convex, chord, torch.where(concave, tangent, least))
    lower_shift = torch.where(convex, at_middle - tangent * middle, at_lower - lower_slope * lower)
    upper_shift = torch.where(concave, at_middle - tangent * middle, at_upper - upper_slope * upper)
    slack = 1e-12 * (1 + lower.abs() + upper.abs())
    return Lines(lower_slope, lower_shift - slack, upper_slope, upper_shift + slack)


def slope_at(node: TensorNode, value: Tensor) -> Tensor:
    """The slope of a sigmoid or tanh where it has a value."""
    return value * (1 - value) if isinstance(node.operator, ops.Sigmoid) else 1 - value * value
