//! Planes of another size.

use std::ops::Range;

/// How a pixel of the result is made from those of the source that lie under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Mean of the pixels whose centres fall into it (nearest pixel when enlarging): Pillow's `BOX`.
    Box,
    /// Weights fall linearly to zero over one pixel, of the source when enlarging and of the result when shrinking:
    /// Pillow's `BILINEAR`.
    Triangle,
    /// The cubic of Keys 1981 with slope -1/2, over two pixels: Pillow's `BICUBIC`.
    Cubic,
}

impl Filter {
    /// Half the width of the filter, in pixels of the coarser grid.
    const fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Triangle => 1.0,
            Self::Cubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        match self {
            // Half open, so that a pixel on the edge counts once.
            Self::Box => f64::from(distance > -0.5 && distance <= 0.5),
            Self::Triangle => (1.0 - distance.abs()).max(0.0),
            Self::Cubic => match distance.abs() {
                x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
                x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
                _ => 0.0,
            },
        }
    }
}

/// Resamples a plane of `from = [rows, columns]` to `to`; both are at least 1 x 1.
pub(crate) fn resample(
    plane: &[f32],
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Vec<f32> {
    let weights = |from, to| taps(from, to, filter, |w| w as f32);
    let (rows, columns) = (weights(from[0], to[0]), weights(from[1], to[1]));
    let mut wide = vec![0.0; from[0] * to[1]];
    for (source, out) in plane
        .chunks_exact(from[1])
        .zip(wide.chunks_exact_mut(to[1]))
    {
        for (o, (start, weights)) in out.iter_mut().zip(&columns) {
            *o = source[*start..]
                .iter()
                .zip(weights)
                .map(|(v, w)| v * w)
                .sum();
        }
    }
    let mut result = vec![0.0; to[0] * to[1]];
    for (out, (start, weights)) in result.chunks_exact_mut(to[1]).zip(&rows) {
        for (source, w) in wide[start * to[1]..].chunks_exact(to[1]).zip(weights) {
            out.iter_mut().zip(source).for_each(|(o, v)| *o += w * v);
        }
    }
    result
}

/// Bits of a weight behind the point: as many as leave room for a byte, its sign and what cubics add.
const BITS: u32 = 22;

/// [`resample`] for bytes, in the numbers of Pillow up to 12: weights of 22 bits, and whole bytes
/// between columns and rows, which come second. Only the rows and columns of `part` are made.
pub(crate) fn resample_plane(
    plane: &[u8],
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
    part: [Range<usize>; 2],
) -> Vec<u8> {
    let weight = |w: f64| (w * f64::from(1 << BITS)).round() as i32;
    let half = 1 << (BITS - 1);
    let byte = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    let [rows, columns] = part;
    let width = columns.len();
    let rows = &taps(from[0], to[0], filter, weight)[rows];
    let columns = &taps(from[1], to[1], filter, weight)[columns];
    // The rows of the source that are looked at.
    let top = rows.first().map_or(0, |(start, _)| *start);
    let bottom = rows
        .last()
        .map_or(0, |(start, weights)| start + weights.len());
    let mut wide = Vec::with_capacity((bottom - top) * width);
    for source in plane[top * from[1]..bottom * from[1]].chunks_exact(from[1]) {
        wide.extend(columns.iter().map(|(start, weights)| {
            let pairs = source[*start..].iter().zip(weights);
            byte(pairs.fold(half, |sum, (&v, w)| sum + i32::from(v) * w))
        }));
    }
    let mut result = Vec::with_capacity(rows.len() * width);
    let mut sums = vec![0; width];
    for (start, weights) in rows {
        sums.fill(half);
        let sources = wide[(start - top) * width..].chunks_exact(width);
        for (source, w) in sources.zip(weights) {
            let pairs = sums.iter_mut().zip(source);
            pairs.for_each(|(sum, &v)| *sum += i32::from(v) * w);
        }
        result.extend(sums.iter().copied().map(byte));
    }
    result
}

/// The plane between its pixels; outside, the nearest edge.
pub(crate) fn bilinear(plane: &[f32], [rows, columns]: [usize; 2], x: f32, y: f32) -> f32 {
    let (x, y) = (
        x.clamp(0.0, (columns - 1) as f32),
        y.clamp(0.0, (rows - 1) as f32),
    );
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(columns - 1), (y0 + 1).min(rows - 1));
    let (s, t) = (x - x0 as f32, y - y0 as f32);
    let at = |x: usize, y: usize| plane[y * columns + x];
    let top = at(x0, y0) + s * (at(x1, y0) - at(x0, y0));
    let bottom = at(x0, y1) + s * (at(x1, y1) - at(x0, y1));
    top + t * (bottom - top)
}

/// For each pixel of a line of `to` pixels: the first of the `from` pixels it is made from, and their weights.
fn taps<W>(
    from: usize,
    to: usize,
    filter: Filter,
    weight: impl Fn(f64) -> W,
) -> Vec<(usize, Vec<W>)> {
    let ratio = from as f64 / to as f64;
    let width = ratio.max(1.0);
    let reach = filter.support() * width;
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * ratio;
            let first = ((centre - reach).floor().max(0.0) as usize).min(from - 1);
            let end = ((centre + reach).ceil() as usize).clamp(first + 1, from);
            let weights: Vec<f64> = (first..end)
                .map(|p| filter.weight((p as f64 + 0.5 - centre) / width))
                .collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|w| weight(w / sum)).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_by_box_takes_means_of_four() {
        let plane = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(resample(&plane, [2, 4], [1, 2], Filter::Box), [2.5, 4.5]);
    }

    #[test]
    fn enlarging_by_box_repeats_pixels() {
        assert_eq!(
            resample(&[1.0, 2.0], [1, 2], [2, 4], Filter::Box),
            [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]
        );
    }

    #[test]
    fn every_size_keeps_a_constant() {
        for (from, to) in [
            (28, 26),
            (28, 7),
            (5, 32),
            (1, 9),
            (9, 1),
            (105, 28),
            (32, 20),
        ] {
            for filter in [Filter::Box, Filter::Triangle, Filter::Cubic] {
                let out = resample(&vec![0.5; from * from], [from; 2], [to; 2], filter);
                assert!(
                    out.iter().all(|v| (v - 0.5).abs() < 1e-6),
                    "{from} {to} {filter:?}"
                );
            }
        }
    }

    fn whole(plane: &[u8], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
        resample_plane(plane, from, to, filter, to.map(|side| 0..side))
    }

    /// Numbers of Pillow 13: `Image.fromarray(plane).resize((columns, rows), filter)`.
    #[test]
    fn bytes_are_resampled_as_pillow_does() {
        let plane: Vec<u8> = (0..63_u32).map(|i| (i * i * 37 + i * 11) as u8).collect();
        for (filter, expected) in [
            (
                Filter::Box,
                [75, 165, 153, 139, 168, 154, 145, 133, 177, 80, 137, 63],
            ),
            (
                Filter::Triangle,
                [129, 161, 161, 129, 161, 140, 139, 132, 162, 90, 132, 81],
            ),
            (
                Filter::Cubic,
                [122, 170, 158, 128, 166, 144, 139, 134, 164, 81, 137, 77],
            ),
        ] {
            assert_eq!(whole(&plane, [7, 9], [3, 4], filter), expected);
        }
        // Rows are enlarged here, and what cubics add is cut off between columns and rows.
        let larger: [u8; 55] = [
            19, 128, 140, 147, 122, 63, 158, 173, 142, 130, 133, 196, 212, 128, 144, 191, 192, 203,
            90, 156, 184, 179, 140, 107, 156, 138, 158, 68, 162, 145, 155, 119, 171, 172, 124, 174,
            88, 183, 134, 87, 180, 73, 55, 59, 40, 181, 92, 87, 134, 63, 180, 109, 136, 207, 90,
        ];
        assert_eq!(whole(&plane, [7, 9], [11, 5], Filter::Cubic), larger);
        // A part is that part of the whole.
        let part = resample_plane(&plane, [7, 9], [11, 5], Filter::Cubic, [4..6, 1..4]);
        let rows = larger[4 * 5..6 * 5].chunks(5);
        let expected: Vec<u8> = rows.flat_map(|row| &row[1..4]).copied().collect();
        assert_eq!(part, expected);
    }

    #[test]
    fn the_same_size_is_the_same_plane() {
        let plane: Vec<f32> = (0..30).map(|v| v as f32).collect();
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Triangle), plane);
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Box), plane);
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Cubic), plane);
        let plane: Vec<u8> = (0..30).collect();
        assert_eq!(whole(&plane, [5, 6], [5, 6], Filter::Cubic), plane);
    }
}
