//! A small anti-aliased rasteriser for 28 x 28 gray pictures.

/// Rows and columns.
pub(super) const SIDE: usize = 28;

/// A point: x to the right, y down.
pub(super) type Point = [f32; 2];

/// A picture with values around `[0, 1]`, or the coverage of a mask.
#[derive(Clone)]
pub(super) struct Canvas(pub(super) [f32; SIDE * SIDE]);

impl Canvas {
    /// An even picture.
    pub(super) const fn filled(value: f32) -> Self {
        Self([value; SIDE * SIDE])
    }

    /// The picture whose pixel with centre `(x, y)` is `value([x, y])`, in pixels from the upper left corner.
    pub(super) fn from_fn(mut value: impl FnMut(Point) -> f32) -> Self {
        let mut canvas = Self::filled(0.0);
        for (i, pixel) in canvas.0.iter_mut().enumerate() {
            *pixel = value([(i % SIDE) as f32 + 0.5, (i / SIDE) as f32 + 0.5]);
        }
        canvas
    }

    /// Adds a line of round pieces through `points` to a mask; `radius` is half its thickness in pixels.
    pub(super) fn stroke(&mut self, points: &[Point], radius: f32) {
        match points {
            [only] => self.segment(*only, *only, radius),
            _ => points
                .windows(2)
                .for_each(|pair| self.segment(pair[0], pair[1], radius)),
        }
    }

    /// Adds a disc to a mask.
    pub(super) fn disc(&mut self, centre: Point, radius: f32) {
        self.segment(centre, centre, radius);
    }

    /// Coverage of a capsule falls from 1 to 0 over the pixel that its edge crosses.
    fn segment(&mut self, a: Point, b: Point, radius: f32) {
        let reach = radius + 0.5;
        let [x0, x1] = pixel_range(a[0].min(b[0]) - reach, a[0].max(b[0]) + reach);
        let [y0, y1] = pixel_range(a[1].min(b[1]) - reach, a[1].max(b[1]) + reach);
        let along = [b[0] - a[0], b[1] - a[1]];
        let per_length = 1.0 / (along[0] * along[0] + along[1] * along[1]).max(1e-12);
        for y in y0..y1 {
            let dy = y as f32 + 0.5 - a[1];
            for x in x0..x1 {
                let dx = x as f32 + 0.5 - a[0];
                let t = ((dx * along[0] + dy * along[1]) * per_length).clamp(0.0, 1.0);
                let (ex, ey) = (dx - t * along[0], dy - t * along[1]);
                let coverage = (reach - (ex * ex + ey * ey).sqrt()).min(1.0);
                let pixel = &mut self.0[y * SIDE + x];
                *pixel = pixel.max(coverage);
            }
        }
    }

    /// Adds the inside of a closed polygon to a mask (even-odd rule): exact along rows, four samples down a pixel.
    pub(super) fn fill(&mut self, polygon: &[Point]) {
        const SAMPLES: usize = 4;
        let mut covered = [0.0; SIDE * SIDE];
        let mut crossings = Vec::with_capacity(8);
        for sample in 0..SIDE * SAMPLES {
            let y = (sample as f32 + 0.5) / SAMPLES as f32;
            crossings_at(polygon, y, &mut crossings);
            let row = &mut covered[sample / SAMPLES * SIDE..][..SIDE];
            for span in crossings.chunks_exact(2) {
                cover(row, span[0], span[1], 1.0 / SAMPLES as f32);
            }
        }
        self.0
            .iter_mut()
            .zip(covered)
            .for_each(|(pixel, c)| *pixel = pixel.max(c));
    }

    /// Paints `value` where `mask` is 1, and mixes in between.
    pub(super) fn paint(&mut self, mask: &Self, value: f32) {
        for (pixel, &m) in self.0.iter_mut().zip(&mask.0) {
            *pixel += m * (value - *pixel);
        }
    }

    /// Mean of the 3 x 3 neighbourhood with weights 1-2-1, mixed in by `share`; edges repeat.
    pub(super) fn soften(&mut self, share: f32) {
        let source = self.0;
        let at = |x: usize, y: usize| source[y * SIDE + x];
        let around = |v: usize| [v.saturating_sub(1), v, (v + 1).min(SIDE - 1)];
        for (i, pixel) in self.0.iter_mut().enumerate() {
            let rows = around(i / SIDE).map(|y| {
                let [l, m, r] = around(i % SIDE).map(|x| at(x, y));
                l + 2.0 * m + r
            });
            let mean = (rows[0] + 2.0 * rows[1] + rows[2]) / 16.0;
            *pixel += share * (mean - *pixel);
        }
    }

    /// Rounds to bytes; values outside `[0, 1]` are clipped.
    pub(super) fn write_bytes(&self, out: &mut [u8]) {
        out.iter_mut()
            .zip(&self.0)
            .for_each(|(o, &v)| *o = (v * 255.0 + 0.5) as u8);
    }
}

/// Pixels that touch `[low, high]`, half open.
fn pixel_range(low: f32, high: f32) -> [usize; 2] {
    [
        low.floor().max(0.0) as usize,
        (high.ceil().max(0.0) as usize).min(SIDE),
    ]
}

/// Sorted x where the outline crosses height `y`.
fn crossings_at(polygon: &[Point], y: f32, out: &mut Vec<f32>) {
    out.clear();
    let mut a = polygon[polygon.len() - 1];
    for &b in polygon {
        if (a[1] <= y) != (b[1] <= y) {
            out.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
        }
        a = b;
    }
    out.sort_unstable_by(f32::total_cmp);
}

/// Adds `weight` times the covered share of each pixel of a row.
fn cover(row: &mut [f32], from: f32, to: f32, weight: f32) {
    let [first, end] = pixel_range(from, to);
    for (x, pixel) in row.iter_mut().enumerate().take(end).skip(first) {
        let share = to.min(x as f32 + 1.0) - from.max(x as f32);
        *pixel += weight * share.max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_on_the_grid_covers_its_pixels_alone() {
        let mut c = Canvas::filled(0.0);
        c.fill(&[[3.0, 4.0], [6.0, 4.0], [6.0, 6.0], [3.0, 6.0]]);
        assert!((c.0.iter().sum::<f32>() - 6.0).abs() < 1e-5);
        assert!((c.0[4 * SIDE + 3] - 1.0).abs() < 1e-6);
        assert_eq!(c.0[4 * SIDE + 6].to_bits(), 0);
    }

    #[test]
    fn a_disc_covers_its_area() {
        let mut c = Canvas::filled(0.0);
        c.disc([14.0, 14.0], 6.0);
        let area = c.0.iter().sum::<f32>();
        assert!((area - std::f32::consts::PI * 36.0).abs() < 1.0, "{area}");
    }

    #[test]
    fn drawing_far_outside_changes_nothing() {
        let mut c = Canvas::filled(0.0);
        c.stroke(&[[-50.0, -50.0], [-40.0, 900.0]], 3.0);
        c.fill(&[[100.0, 0.0], [110.0, 0.0], [105.0, 40.0]]);
        assert!(c.0.iter().all(|&v| v.to_bits() == 0));
    }
}
