//! Matrix products of strided views, through the `gemm` crate.

#![expect(
    unsafe_code,
    reason = "`gemm` takes pointers; bounds are checked where views are made"
)]

mod halves;
mod product;

pub(crate) use halves::Halves;
pub use halves::{HalfKind, widen};
pub(crate) use product::product;

use gemm::Parallelism;
use std::marker::PhantomData;

/// A strided view of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    start: *const f32,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    lifetime: PhantomData<&'a [f32]>,
}

// SAFETY: a shared view of `f32` values, as `&[f32]`.
unsafe impl Send for Mat<'_> {}
// SAFETY: as above.
unsafe impl Sync for Mat<'_> {}

impl<'a> Mat<'a> {
    /// Entry `(i, j)` is `data[offset + i * strides[0] + j * strides[1]]`.
    ///
    /// # Panics
    /// If an entry would lie outside `data`.
    pub(crate) fn new(
        data: &'a [f32],
        offset: usize,
        dims: [usize; 2],
        strides: [isize; 2],
    ) -> Self {
        check_bounds(data.len(), offset, dims, strides);
        Self {
            start: data.as_ptr().wrapping_add(offset),
            rows: dims[0],
            cols: dims[1],
            row_stride: strides[0],
            col_stride: strides[1],
            lifetime: PhantomData,
        }
    }

    /// `data` as `dims[0]` rows stored one after the other.
    pub(crate) fn rows(data: &'a [f32], dims: [usize; 2]) -> Self {
        Self::new(data, 0, dims, [dims[1].cast_signed(), 1])
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `first .. first + count`.
    pub(crate) fn row_range(self, first: usize, count: usize) -> Self {
        assert!(
            first + count <= self.rows,
            "invariant: row range inside the matrix"
        );
        let start = self
            .start
            .wrapping_offset(first.cast_signed() * self.row_stride);
        Self {
            start,
            rows: count,
            ..self
        }
    }

    /// `dims` entries from `(start[0], start[1])` on.
    fn part(self, start: [usize; 2], dims: [usize; 2]) -> Self {
        let inside = start[0] + dims[0] <= self.rows && start[1] + dims[1] <= self.cols;
        assert!(inside, "invariant: a part lies inside its matrix");
        let [rows, cols] = dims;
        let start = self.pointer(start[0], start[1]);
        Self {
            start,
            rows,
            cols,
            ..self
        }
    }

    /// Where entry `(i, j)` lies, if it exists.
    fn pointer(&self, i: usize, j: usize) -> *const f32 {
        let offset = i.cast_signed() * self.row_stride + j.cast_signed() * self.col_stride;
        self.start.wrapping_offset(offset)
    }

    /// Entries `row .. row + N` of column `j`, which are adjacent.
    #[inline(always)]
    fn column_chunk<const N: usize>(&self, row: usize, j: usize) -> [f32; N] {
        let inside = row + N <= self.rows && j < self.cols && self.row_stride == 1;
        assert!(inside, "invariant: adjacent entries of the matrix");
        // SAFETY: `new` checked that every entry lies inside the slice.
        unsafe { self.pointer(row, j).cast::<[f32; N]>().read_unaligned() }
    }

    #[inline(always)]
    fn entry(&self, i: usize, j: usize) -> f32 {
        assert!(
            i < self.rows && j < self.cols,
            "invariant: an entry of the matrix"
        );
        // SAFETY: `new` checked that every entry lies inside the slice.
        unsafe { *self.pointer(i, j) }
    }

    /// From the first entry to the last, for adjacent columns and rows in ascending order.
    fn span(&self) -> &'a [f32] {
        assert!(self.col_stride == 1 && self.row_stride >= 0 && self.rows > 0 && self.cols > 0);
        let len = (self.rows - 1) * self.row_stride.cast_unsigned() + self.cols;
        // SAFETY: first and last entry lie inside the slice, and so does what is between them.
        unsafe { std::slice::from_raw_parts(self.start, len) }
    }

    /// Row `i` of a matrix with adjacent columns.
    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        assert!(
            i < self.rows && self.col_stride == 1,
            "invariant: an adjacent row"
        );
        // SAFETY: `new` checked that each row lies inside the slice.
        unsafe {
            let start = self
                .start
                .wrapping_offset(i.cast_signed() * self.row_stride);
            std::slice::from_raw_parts(start, self.cols)
        }
    }

    pub(crate) fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }
}

fn check_bounds(len: usize, offset: usize, dims: [usize; 2], strides: [isize; 2]) {
    if dims.contains(&0) {
        return;
    }
    let reach = |axis: usize| (dims[axis] - 1).cast_signed() * strides[axis];
    let (r, c) = (reach(0), reach(1));
    let lowest = offset.cast_signed() + r.min(0) + c.min(0);
    let highest = offset.cast_signed() + r.max(0) + c.max(0);
    assert!(
        lowest >= 0 && highest < len.cast_signed(),
        "invariant: a matrix lies inside its slice"
    );
}

/// What happens to the old entries of the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// They are forgotten (and may be uninitialised values of an earlier use).
    Set,
    /// The product is added to them.
    Add,
}

/// A strided matrix that one task may write: no other view of these entries is used meanwhile.
pub(crate) struct MatMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: isize,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl MatMut<'_> {
    /// `dims` entries from `(start[0], start[1])` on.
    fn part(&mut self, start: [usize; 2], dims: [usize; 2]) -> MatMut<'_> {
        let inside = start[0] + dims[0] <= self.rows && start[1] + dims[1] <= self.cols;
        assert!(inside, "invariant: a part lies inside its matrix");
        let offset = start[0].cast_signed() * self.row_stride + start[1].cast_signed();
        MatMut {
            start: self.start.wrapping_offset(offset),
            rows: dims[0],
            cols: dims[1],
            ..*self
        }
    }

    /// Sets every entry to 0.
    pub(crate) fn clear(&mut self) {
        (0..self.rows).for_each(|i| self.row(i).fill(0.0));
    }

    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "invariant: row index in range");
        // SAFETY: the constructor checked that each row lies inside the slice, which the view owns.
        unsafe {
            let start = self
                .start
                .wrapping_offset(i.cast_signed() * self.row_stride);
            std::slice::from_raw_parts_mut(start, self.cols)
        }
    }
}

/// `data` as `dims[0]` rows stored one after the other.
///
/// # Panics
/// If an entry would lie outside `data`.
pub(crate) fn rows_mut(data: &mut [f32], dims: [usize; 2]) -> MatMut<'_> {
    // SAFETY: this view is the only one, and `data` is borrowed as long as it lives.
    unsafe { Shared::new(data).matrix(0, dims, dims[1]) }
}

/// A slice that several tasks write at disjoint places.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: writing goes through `matrix` alone, whose caller vouches that places are disjoint.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as `&mut [f32]`.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(data: &'a mut [f32]) -> Self {
        Self {
            start: data.as_mut_ptr(),
            len: data.len(),
            lifetime: PhantomData,
        }
    }

    /// The matrix whose row `i` starts at `offset + i * row_stride`.
    ///
    /// # Safety
    /// No two live matrices may share an entry.
    pub(crate) unsafe fn matrix(
        &self,
        offset: usize,
        dims: [usize; 2],
        row_stride: usize,
    ) -> MatMut<'a> {
        check_bounds(self.len, offset, dims, [row_stride.cast_signed(), 1]);
        MatMut {
            start: self.start.wrapping_add(offset),
            rows: dims[0],
            cols: dims[1],
            row_stride: row_stride.cast_signed(),
            lifetime: PhantomData,
        }
    }
}

/// `dst = scale a b` or `dst += scale a b`.
///
/// # Panics
/// If the dimensions do not fit.
pub(crate) fn gemm(
    dst: &mut MatMut,
    store: Store,
    scale: f32,
    a: Mat,
    b: Mat,
    threads: Parallelism,
) {
    let fits = a.cols == b.rows && dst.rows == a.rows && dst.cols == b.cols;
    assert!(fits, "invariant: matrix dimensions fit");
    // SAFETY: the constructors checked that every entry of the three views lies inside its slice,
    // and `dst` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.start,
            1,
            dst.row_stride,
            store == Store::Add,
            a.start,
            a.col_stride,
            a.row_stride,
            b.start,
            b.col_stride,
            b.row_stride,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}
