//! Values in blocks, and rows in another order than the reader hands them out.

use super::{
    RandomFile,
    plain::{BLOCK_BYTES, space},
};
use crate::ckpt::{
    error::CkptError,
    gguf::{GgufType, RowOrder, decode_blocks},
};
use std::ops::Range;

/// Most values of a block.
const MOST_BLOCK: usize = 256;

/// Where the values of a tensor lie: rows of whole blocks, from `offset` on.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) kind: GgufType,
    pub(super) order: RowOrder,
    /// Values of a row.
    pub(super) row_len: usize,
}

impl Rows {
    /// Decodes the values `range` of the model's order.
    pub(super) fn read_f32(
        &self,
        file: &RandomFile,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), CkptError> {
        self.pieces(self.row_len, range, |start, part| {
            self.read_piece(file, start, &mut out[part], scratch)
        })
    }

    /// Copies the bytes `range` of the model's order; the values are of an ordinary element type.
    pub(super) fn read_bytes(
        &self,
        file: &RandomFile,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<(), CkptError> {
        let row_bytes = self.row_len.saturating_mul(self.kind.block_bytes());
        self.pieces(row_bytes, range, |start, part| {
            file.read_at(self.offset + start as u64, &mut out[part])
        })
    }

    /// Whether the bytes are those of the model, apart from the order of rows.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.kind, GgufType::Plain(_))
    }

    /// Calls `read` with the place in the file and the part of the output of every stretch that lies in one piece.
    fn pieces(
        &self,
        row_len: usize,
        range: Range<usize>,
        mut read: impl FnMut(usize, Range<usize>) -> Result<(), CkptError>,
    ) -> Result<(), CkptError> {
        if self.order == RowOrder::Same {
            return read(range.start, 0..range.len());
        }
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / row_len, at % row_len);
            let len = (row_len - column).min(range.end - at);
            let done = at - range.start;
            read(self.order.stored(row) * row_len + column, done..done + len)?;
            at += len;
        }
        Ok(())
    }

    /// Decodes values that lie one behind the other, from value `at` of the file's order on.
    fn read_piece(
        &self,
        file: &RandomFile,
        mut at: usize,
        mut out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), CkptError> {
        let (len, bytes) = (self.kind.block_len(), self.kind.block_bytes());
        while !out.is_empty() {
            let inside = at % len;
            let whole = if inside == 0 { out.len() / len } else { 0 };
            let count = whole.clamp(1, BLOCK_BYTES / bytes);
            let blocks = space(scratch, count * bytes);
            file.read_at(self.offset + (at / len * bytes) as u64, blocks)?;
            let taken = if whole > 0 {
                let taken = count * len;
                decode_blocks(self.kind, blocks, &mut out[..taken]);
                taken
            } else {
                let mut block = [0.0; MOST_BLOCK];
                decode_blocks(self.kind, blocks, &mut block[..len]);
                let taken = (len - inside).min(out.len());
                out[..taken].copy_from_slice(&block[inside..inside + taken]);
                taken
            };
            at += taken;
            out = &mut out[taken..];
        }
        Ok(())
    }
}
