//! Transposition of small blocks.

#![expect(unsafe_code, reason = "4 by 4 blocks are moved with SSE")]

/// `target[p * ld + o] = source[o * stride + p]` for `o < outputs`, `p < positions`; zero for the
/// remaining `o < ld`.
pub(crate) fn transpose(
    source: &[f32],
    stride: usize,
    outputs: usize,
    positions: usize,
    target: &mut [f32],
    ld: usize,
) {
    assert!(outputs <= ld && target.len() >= positions * ld);
    assert!(outputs == 0 || source.len() >= (outputs - 1) * stride + positions);
    let (o_blocks, p_blocks) = (outputs - outputs % 4, positions - positions % 4);
    for p in (0..p_blocks).step_by(4) {
        for o in (0..o_blocks).step_by(4) {
            // SAFETY: `o + 4 <= outputs` and `p + 4 <= positions`, which the assertions bound.
            unsafe {
                let from = source.as_ptr().add(o * stride + p);
                transpose_block(from, stride, target.as_mut_ptr().add(p * ld + o), ld);
            }
        }
    }
    let mut scalar = |o: usize, p: usize| target[p * ld + o] = source[o * stride + p];
    for o in 0..outputs {
        let from = if o < o_blocks { p_blocks } else { 0 };
        (from..positions).for_each(|p| scalar(o, p));
    }
    for row in target.chunks_exact_mut(ld).take(positions) {
        row[outputs..].fill(0.0);
    }
}

/// Transposes 4 by 4.
///
/// # Safety
/// `source` is valid for 4 floats at `0, stride, ..`, `target` at `0, ld, ..`; they do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_block(source: *const f32, stride: usize, target: *mut f32, ld: usize) {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    // SAFETY: the caller's promise; SSE belongs to every x86-64.
    unsafe {
        let r = [0, 1, 2, 3].map(|i| _mm_loadu_ps(source.add(i * stride)));
        let (a, b) = (_mm_unpacklo_ps(r[0], r[1]), _mm_unpacklo_ps(r[2], r[3]));
        let (c, d) = (_mm_unpackhi_ps(r[0], r[1]), _mm_unpackhi_ps(r[2], r[3]));
        _mm_storeu_ps(target, _mm_movelh_ps(a, b));
        _mm_storeu_ps(target.add(ld), _mm_movehl_ps(b, a));
        _mm_storeu_ps(target.add(2 * ld), _mm_movelh_ps(c, d));
        _mm_storeu_ps(target.add(3 * ld), _mm_movehl_ps(d, c));
    }
}

/// Transposes 4 by 4.
///
/// # Safety
/// `source` is valid for 4 floats at `0, stride, ..`, `target` at `0, ld, ..`; they do not overlap.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn transpose_block(source: *const f32, stride: usize, target: *mut f32, ld: usize) {
    for i in 0..4 {
        for j in 0..4 {
            // SAFETY: the caller's promise.
            unsafe { *target.add(j * ld + i) = *source.add(i * stride + j) }
        }
    }
}
