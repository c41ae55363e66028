//! States of tokens that are the same at every point of a search, kept on the host.

use burn::tensor::{Device, Tensor, TensorData};

/// Tokens of a batch while states are computed.
const BATCH_TOKENS: usize = 2048;

/// States `[tokens, width]` of texts, one text after the other.
#[derive(Debug)]
pub(super) struct Kept {
    width: usize,
    /// Where the states of each text begin, and where the last ones end.
    starts: Vec<usize>,
    values: Vec<f32>,
}

impl Kept {
    /// Bytes of the states of texts of these lengths; `None` beyond what numbers hold.
    pub(super) fn size(lengths: impl Iterator<Item = usize>, width: usize) -> Option<u64> {
        let add = |sum: u64, length: usize| sum.checked_add(length as u64);
        let tokens = lengths.into_iter().try_fold(0, add)?;
        tokens.checked_mul(4 * width as u64)
    }

    /// Room for texts of these lengths; `None` where it would be more than `most_bytes`.
    pub(super) fn new(
        lengths: impl Iterator<Item = usize>,
        width: usize,
        most_bytes: u64,
    ) -> Option<Self> {
        let mut starts = vec![0usize];
        let mut end = 0usize;
        for length in lengths {
            end = end.checked_add(length.checked_mul(width)?)?;
            starts.push(end);
        }
        let fits = (end as u64).checked_mul(4)? <= most_bytes;
        fits.then(|| Self {
            width,
            starts,
            values: vec![0.0; end],
        })
    }

    /// Texts that may be computed together: of one length.
    pub(super) fn batches(&self) -> Vec<Vec<usize>> {
        let size = |&at: &usize| self.starts[at + 1] - self.starts[at];
        let mut texts: Vec<usize> = (0..self.starts.len() - 1).collect();
        texts.sort_by_key(size);
        let cut = |texts: &[usize]| {
            let tokens = (size(&texts[0]) / self.width.max(1)).max(1);
            let batches = texts.chunks((BATCH_TOKENS / tokens).max(1));
            batches.map(<[usize]>::to_vec).collect::<Vec<_>>()
        };
        texts
            .chunk_by(|a, b| size(a) == size(b))
            .flat_map(cut)
            .collect()
    }

    /// Stores the states of texts of one length, in their order.
    pub(super) fn put(&mut self, texts: &[usize], states: &[f32]) {
        let size = states.len() / texts.len().max(1);
        for (&text, states) in texts.iter().zip(states.chunks(size.max(1))) {
            self.values[self.starts[text]..self.starts[text + 1]].copy_from_slice(states);
        }
    }

    /// The states of texts of one length: `[texts, tokens, width]`.
    pub(super) fn states(&self, texts: &[u32], device: &Device) -> Tensor<3> {
        let range = |&text: &u32| self.starts[text as usize]..self.starts[text as usize + 1];
        let tokens = texts
            .first()
            .map_or(0, |text| range(text).len() / self.width);
        let mut values = Vec::with_capacity(texts.len() * tokens * self.width);
        for text in texts {
            values.extend_from_slice(&self.values[range(text)]);
        }
        let data = TensorData::new(values, [texts.len(), tokens, self.width]);
        Tensor::from_data(data, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_nn::to_host;

    #[test]
    fn states_come_back_as_they_were_put() {
        let mut kept = Kept::new([2, 1, 2].into_iter(), 2, 40).unwrap();
        assert_eq!(Kept::size([2, 1, 2].into_iter(), 2), Some(40));
        assert_eq!(kept.batches(), [vec![1], vec![0, 2]]);
        kept.put(&[1], &[5.0, 6.0]);
        kept.put(&[0, 2], &[1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 9.0, 10.0]);
        let states = kept.states(&[2, 0], &Device::flex());
        assert_eq!(states.dims(), [2, 2, 2]);
        let expected = [7.0, 8.0, 9.0, 10.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(to_host(states), expected);
        let one = to_host(kept.states(&[1], &Device::flex()));
        assert_eq!(one, [5.0, 6.0]);
    }

    #[test]
    fn what_takes_too_much_memory_is_not_kept() {
        assert!(Kept::new([2, 1, 2].into_iter(), 2, 39).is_none());
        assert!(Kept::new([usize::MAX, 1].into_iter(), 2, u64::MAX).is_none());
        assert!(Kept::size([usize::MAX, 1].into_iter(), 2).is_none());
    }
}
