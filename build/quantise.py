"""How a matrix is stored in int8, so that every x86-64 and Arm kernel reads the same numbers from it.

Two forms, for ONNX Runtime's two kinds of product: by column, for many rows (`MatMulIntegerToFloat`), and by block
of the inner dimension, for a single row (`MatMulNBits`). Both are symmetric.
"""

import numpy as np

BLOCK = 128  # of the inner dimension: MatMulNBits' block_size


def by_column(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [K, N] -> int8 [K, N] and float32 scales [N].

    Without VNNI, AVX2 kernels add two neighbouring products (unsigned activations times the weights of rows 2k and
    2k + 1) in 16 signed bits, and saturate. So each column's scale also keeps the sum of any neighbouring pair of one
    sign within 128: 255 * 128 < 2**15. It costs little accuracy (0.0147 against 0.0136 relative error on a heavy-tailed
    product; 7-bit weights cost 0.0261), and all CPUs give the same numbers.
    """
    padded = np.concatenate([weight, np.zeros((len(weight) % 2, weight.shape[1]), np.float32)])
    pairs = padded.reshape(-1, 2, weight.shape[1])
    positive, negative = np.maximum(pairs, 0).sum(1).max(0), np.maximum(-pairs, 0).sum(1).max(0)
    scale = np.maximum(np.abs(weight).max(0) / 127, np.maximum(positive, negative) / 128)
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    whole = np.rint(pairs / scale)
    # Rounding up both of a pair can still make 129: then the first gives one back.
    over = np.abs(np.where(whole[:, 0] * whole[:, 1] > 0, whole.sum(1), 0)) > 128
    whole[:, 0] -= np.where(over, np.sign(whole[:, 0]), 0)
    return whole.reshape(padded.shape)[: len(weight)].astype(np.int8), scale


def by_block(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] -> uint8 [N, ceil(K / BLOCK), BLOCK] around a zero point of 128, and float32 scales
    [N, ceil(K / BLOCK)]."""
    rows, inner = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -inner % BLOCK))).reshape(rows, -1, BLOCK)
    scale = np.abs(padded).max(2) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return (np.rint(padded / scale[..., None]) + 128).astype(np.uint8), scale
