"""The rewrites of a float model, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeq.converters.rewrites import (
    absorbing,
    activations,
    arithmetic,
    branches,
    conditions,
    folding,
    masks,
    neighbours,
    normalization,
    pool_padding,
    products,
    recurrent,
    simplifying,
    unpacking,
)
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.subgraphs import drop_uncalled
from edgeq.converters.rewrites.transpositions.chains import join_transpositions
from edgeq.converters.rewrites.transpositions.reductions import reduce_before_transposing
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import drop_unused

# Its name in a record, and the function that makes it and returns the number of places.
Rewrite = tuple[str, Callable[[Editor], int]]

UNPACKING: tuple[Rewrite, ...] = (
    ("sparse weights unpacked", unpacking.unpack_sparse),
    ("FP16 weights unpacked", unpacking.unpack_half),
    ("mediapipe's transposed convolution as TRANSPOSE_CONV", unpacking.replace_transpose_conv),
)
REWRITES: tuple[Rewrite, ...] = (
    *UNPACKING,
    ("constants folded", folding.fold_constants),
    ("comparison of a tensor with itself resolved", simplifying.resolve_comparisons),
    ("SELECT with a constant condition resolved", simplifying.resolve_selects),
    ("IF with a constant condition resolved", branches.resolve_ifs),
    ("IF replaced by both branches and SELECT", branches.join_branches),
    ("operators without effect removed", simplifying.remove_identities),
    ("BATCH_MATMUL by a constant as FULLY_CONNECTED", products.multiply_by_layer),
    ("constants made part of weights", absorbing.absorb_constants),
    ("pointwise DEPTHWISE_CONV_2D made part of weights", absorbing.absorb_scalings),
    ("activation as one operator", activations.restore_activations),
    ("DIV by a constant as MUL", arithmetic.divide_by_product),
    ("CUMSUM as FULLY_CONNECTED", products.sum_by_product),
    ("POW as MUL, SQRT or RSQRT", arithmetic.power_by_product),
    ("normalization", normalization.rewrite_normalizations),
    ("transpositions joined", join_transpositions),
    ("TRANSPOSE before a reduction removed", reduce_before_transposing),
    ("mean folded into the previous layer", neighbours.fold_means),
    ("gamma and beta folded into the next layer", neighbours.fold_affine),
    ("DIV as MUL by a reciprocal", arithmetic.divide_by_reciprocal),
    ("ZEROS_LIKE as MUL", arithmetic.zeros_by_product),
    ("NEG as MUL", arithmetic.negate_by_product),
    ("SQUARE as MUL", arithmetic.square_by_product),
    ("comparison of integers instead of floats", conditions.compare_integers),
    ("product with a mask as SELECT_V2", conditions.select_by_mask),
    ("CAST of booleans as SELECT_V2", conditions.select_ones),
    ("EMBEDDING_LOOKUP as GATHER", conditions.gather_embeddings),
    ("wrapping of negative indices removed", conditions.drop_index_wrapping),
    ("float input as int32 indices", conditions.take_indices),
    ("mask constants made milder", masks.soften_masks),
    ("paddings of MAX_POOL_2D made milder", pool_padding.soften_paddings),
    ("activation fused into the operator before", simplifying.fuse_activations),
    ("RELU_0_TO_1 and RELU_N1_TO_1 as MINIMUM", arithmetic.clip_by_minimum),
    ("intermediates of LSTM added", recurrent.add_intermediates),
)
_UNCALLED = "subgraphs that nothing calls removed"
# One rewrite may enable another; more rounds than this are a rewrite that undoes another one.
_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Rewritten:
    """A float model after its rewrites.

    Attributes:
        content: the flatbuffer; the very same bytes if nothing changed.
        names: the rewrites that were made and in how many places, e.g.
            "FP16 weights unpacked (31)".
    """

    content: bytes
    names: tuple[str, ...]


def unpack(content: bytes) -> Rewritten:
    """Turn FP16 and sparse weights into plain float32 constants, for every scheme.

    Args:
        content: a float flatbuffer.

    Raises:
        SourceError: it is damaged.
    """
    return _run(content, UNPACKING)


def rewrite(content: bytes) -> Rewritten:
    """Simplify a float model and replace what does not survive integers, before calibration.

    Args:
        content: a float flatbuffer.

    Raises:
        SourceError: it is damaged.
    """
    return _run(content, REWRITES)


def _run(content: bytes, rewrites: Sequence[Rewrite]) -> Rewritten:
    tree = flatbuffer.parse(content, "the float model")
    counts = {_UNCALLED: len(tree.subgraphs), **dict.fromkeys((name for name, _ in rewrites), 0)}
    drop_uncalled(tree)
    counts[_UNCALLED] -= len(tree.subgraphs)
    editors = [Editor(tree, number) for number in range(len(tree.subgraphs))]
    for _ in range(_MOST_ROUNDS):
        changed = 0
        for name, make in rewrites:
            for editor in editors:
                made = make(editor)
                if made:
                    editor.remove_unread()
                counts[name] += made
                changed += made
        if not changed:
            break
    if not any(counts.values()):
        return Rewritten(content, ())
    drop_uncalled(tree)
    drop_unused(tree)
    names = tuple(f"{name} ({count})" for name, count in counts.items() if count)
    return Rewritten(flatbuffer.serialize(tree), names)
