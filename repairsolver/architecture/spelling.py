"""Arguments that a layer does not have: each is named, with the right one that is nearest to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from layerwise.shapes import RULES
from repairsolver.architecture.model import Layer
from repairsolver.errors import ArchitectureError

NEAR = 0.75
"""Names that are so similar (the ratio of difflib) are taken for one another."""

_KERAS = """
    activation activity_regularizer adjustment alpha alpha_constraint alpha_initializer alpha_regularizer
    arguments autocast axis backward_layer batch_input_shape batch_shape batch_size beta_constraint
    beta_initializer beta_regularizer bias_constraint bias_initializer bias_regularizer build_config cell
    center data_format depthwise_constraint depthwise_initializer depthwise_regularizer dilation_rate
    dropout dtype dtype_policy embeddings_constraint embeddings_initializer embeddings_regularizer epsilon
    function fused gamma_constraint gamma_initializer gamma_regularizer go_backwards groups implementation
    inbound_nodes input_dim input_dtype input_length input_shape input_tensor interpolation keepdims
    kernel_constraint kernel_initializer kernel_regularizer l1 l2 layer lora_alpha lora_rank mask mask_value
    mask_zero max_value merge_mode module momentum moving_mean_initializer moving_variance_initializer name
    negative_slope noise_shape non_trainable_weights normalize optional pointwise_constraint
    pointwise_initializer pointwise_regularizer pool_dimensions pool_mode quantization_config ragged rank
    rate recurrent_activation recurrent_constraint recurrent_dropout recurrent_initializer
    recurrent_regularizer registered_name renorm renorm_clipping renorm_momentum reset_after
    return_sequences return_state rms_scaling scale seed shape shared_axes sparse stateful stddev strides
    supports_masking synchronized theta threshold time_major trainable unit_forget_bias unroll use_bias
    use_cudnn virtual_batch_size weights zero_output_for_mask
"""
_TORCH = """
    _freeze _weight add_bias_kv add_zero_attn affine align_corners alpha approximate batch_first beta bias
    ceil_mode count_include_pad device dim divisor_override dropout dtype elementwise_affine eps init
    inplace kdim max_norm max_val max_value min_val min_value mode momentum negative_slope nonlinearity
    norm_type num_layers num_parameters output_padding p padding_idx padding_mode proj_size
    recompute_scale_factor return_indices scale_grad_by_freq size sparse threshold track_running_stats
    transposed value vdim weight
"""
OTHERS: Mapping[str, frozenset[str]] = {
    "keras": frozenset(_KERAS.split()),
    "torch": frozenset(_TORCH.split()),
    "onnx": frozenset(),
}
"""Arguments that no shape depends on, by framework; a layer may state any of them."""


def check_arguments(framework: str, layers: Iterable[Layer]) -> None:
    """Raise ArchitectureError where layers with a rule state arguments that they lack; all are listed."""
    wrong, others = [], OTHERS[framework]
    for layer in layers:
        rule = RULES[framework].get(layer.kind)
        if rule is None:
            continue
        for name in layer.stated or layer.args:
            if name not in rule.names and name not in others:
                right = instead(name, rule.names, others)
                wrong.append(f"{layer.name} ({layer.kind}) has no argument {name!r}, {right}")
    if wrong:
        raise ArchitectureError("; ".join(wrong))


def near(name: str, right: Collection[str]) -> str:
    """The nearest of the right names; "" where none is near."""
    return next(iter(get_close_matches(name, sorted(right), 1, NEAR)), "")


def instead(name: str, first: Collection[str], others: Collection[str] = ()) -> str:
    """What to write: a near one of the first names, else of the others, else any of the first."""
    meant = near(name, first) or near(name, others)
    if meant:
        return f"did you mean {meant!r}?"
    return f"expected {', '.join(first)}" if first else "remove it"
