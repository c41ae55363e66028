//! Planes of another size.

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
    const fn support(self) -> f32 {
        match self {
            Self::Box => 0.5,
            Self::Triangle => 1.0,
            Self::Cubic => 2.0,
        }
    }

    fn weight(self, distance: f32) -> f32 {
        match self {
            // Half open, so that a pixel on the edge counts once.
            Self::Box => f32::from(distance > -0.5 && distance <= 0.5),
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
    let (rows, columns) = (taps(from[0], to[0], filter), taps(from[1], to[1], filter));
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
fn taps(from: usize, to: usize, filter: Filter) -> Vec<(usize, Vec<f32>)> {
    let ratio = from as f32 / to as f32;
    let width = ratio.max(1.0);
    let reach = filter.support() * width;
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * ratio;
            let first = ((centre - reach).floor().max(0.0) as usize).min(from - 1);
            let end = ((centre + reach).ceil() as usize).clamp(first + 1, from);
            let weights: Vec<f32> = (first..end)
                .map(|p| filter.weight((p as f32 + 0.5 - centre) / width))
                .collect();
            let sum: f32 = weights.iter().sum();
            (first, weights.into_iter().map(|w| w / sum).collect())
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

    #[test]
    fn the_same_size_is_the_same_plane() {
        let plane: Vec<f32> = (0..30).map(|v| v as f32).collect();
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Triangle), plane);
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Box), plane);
        assert_eq!(resample(&plane, [5, 6], [5, 6], Filter::Cubic), plane);
    }
}
