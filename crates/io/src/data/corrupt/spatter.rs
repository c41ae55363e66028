//! Drops on the lens.

use super::{Level, Picture, blur};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

/// Constants of one severity.
#[derive(Clone, Copy)]
struct Spatter {
    /// Mean and deviation of the noise that the liquid is made from.
    mean: f32,
    deviation: f32,
    /// Deviation of the blur that makes drops of it, pixels.
    blur: f32,
    /// Liquid is where the blurred noise exceeds this.
    threshold: f32,
    /// Brightness of water, or blur of the edge of mud in pixels.
    strength: f32,
    matter: Matter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Matter {
    Water,
    Mud,
}

const fn row(v: [f32; 5], matter: Matter) -> Spatter {
    let [mean, deviation, blur, threshold, strength] = v;
    Spatter {
        mean,
        deviation,
        blur,
        threshold,
        strength,
        matter,
    }
}

const CIFAR: [Spatter; 5] = [
    row([0.62, 0.1, 0.7, 0.7, 0.5], Matter::Water),
    row([0.65, 0.1, 0.8, 0.7, 0.5], Matter::Water),
    row([0.65, 0.3, 1.0, 0.69, 0.5], Matter::Water),
    row([0.65, 0.1, 0.7, 0.69, 0.6], Matter::Mud),
    row([0.65, 0.1, 0.5, 0.68, 0.6], Matter::Mud),
];
const IMAGENET: [Spatter; 5] = [
    row([0.65, 0.3, 4.0, 0.69, 0.6], Matter::Water),
    row([0.65, 0.3, 3.0, 0.68, 0.6], Matter::Water),
    row([0.65, 0.3, 2.0, 0.68, 0.5], Matter::Water),
    row([0.65, 0.3, 1.0, 0.65, 1.5], Matter::Mud),
    row([0.67, 0.4, 1.0, 0.65, 1.5], Matter::Mud),
];

/// Mud covers where its mask exceeds this.
const MUD_EDGE: f32 = 0.8;
/// Red, green and blue of turquoise water and brown mud.
const WATER: [f32; 3] = [175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0];
const MUD: [f32; 3] = [63.0 / 255.0, 42.0 / 255.0, 20.0 / 255.0];

/// Adds bright water or covers with dark mud.
///
/// Deviations from the reference: the edges of the drops are their outermost pixels (there: Canny's detector), and distances
/// to them are exact (there: a 5 x 5 approximation).
pub(super) fn spatter(picture: &mut Picture, at: Level, rng: &mut ChaCha8Rng) {
    let c = at.of(CIFAR, IMAGENET);
    let size = [picture.shape.height, picture.shape.width];
    let mut liquid: Vec<f32> = (0..picture.shape.plane())
        .map(|_| c.mean + c.deviation * rng.normal())
        .collect();
    blur::gaussian(&mut liquid, size, c.blur * at.pixel());
    let colours = picture.shape.channels;
    match c.matter {
        Matter::Water => {
            keep_above(&mut liquid, c.threshold);
            let relief = relief(&liquid, size, at.pixel());
            liquid.iter_mut().zip(relief).for_each(|(l, r)| *l *= r);
            let most = liquid.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            for (channel, plane) in picture.planes().enumerate() {
                let bright = c.strength * tint(WATER, channel, colours) / most;
                plane
                    .iter_mut()
                    .zip(&liquid)
                    .for_each(|(v, l)| *v = (*v + bright * l).min(1.0));
            }
        }
        Matter::Mud => {
            for l in &mut liquid {
                *l = f32::from(*l > c.threshold);
            }
            blur::gaussian(&mut liquid, size, c.strength * at.pixel());
            keep_above(&mut liquid, MUD_EDGE);
            for (channel, plane) in picture.planes().enumerate() {
                let brown = tint(MUD, channel, colours);
                plane
                    .iter_mut()
                    .zip(&liquid)
                    .for_each(|(v, l)| *v += l * (brown - *v));
            }
        }
    }
}

/// Light and shade on the water, in `[0, 255]`: the distance to the edges of the drops, at most 20 pixels of the table,
/// softened, equalised, embossed and softened again.
fn relief(liquid: &[f32], size: [usize; 2], pixel: f32) -> Vec<f32> {
    /// Distances are cut at this, in pixels of the table.
    const FAR: f32 = 20.0;
    const SOFT: [[f32; 3]; 3] = [[1.0 / 9.0; 3]; 3];
    const EMBOSS: [[f32; 3]; 3] = [[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]];
    let mut distance = edge_distance(liquid, size);
    for d in &mut distance {
        *d = (*d / pixel).min(FAR);
    }
    let mut bytes: Vec<u8> = filter3(&distance, size, SOFT)
        .iter()
        .map(|&d| d as u8)
        .collect();
    equalise(&mut bytes);
    let even: Vec<f32> = bytes.into_iter().map(f32::from).collect();
    let mut embossed = filter3(&even, size, EMBOSS);
    for v in &mut embossed {
        *v = v.clamp(0.0, 255.0);
    }
    filter3(&embossed, size, SOFT)
}

/// Distance in pixels of every pixel to the nearest edge of the liquid; 1000 where there is none.
fn edge_distance(liquid: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let wet = |y: usize, x: usize| liquid[y * columns + x] > 0.0;
    let is_edge = |y: usize, x: usize| {
        let dry_above = y > 0 && !wet(y - 1, x) || y + 1 < rows && !wet(y + 1, x);
        let dry_beside = x > 0 && !wet(y, x - 1) || x + 1 < columns && !wet(y, x + 1);
        wet(y, x) && (dry_above || dry_beside)
    };
    let all = || (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
    let edges: Vec<(usize, usize)> = all().filter(|&(y, x)| is_edge(y, x)).collect();
    all()
        .map(|(y, x)| {
            let squares = edges
                .iter()
                .map(|e| y.abs_diff(e.0).pow(2) + x.abs_diff(e.1).pow(2))
                .min();
            squares.map_or(1000.0, |s| (s as f32).sqrt())
        })
        .collect()
}

/// A 3 x 3 filter; edges repeat.
fn filter3(plane: &[f32], [rows, columns]: [usize; 2], weights: [[f32; 3]; 3]) -> Vec<f32> {
    let near = |v: usize, d: usize, len: usize| (v + d).saturating_sub(1).min(len - 1);
    (0..plane.len())
        .map(|i| {
            let (y, x) = (i / columns, i % columns);
            let row = |dy: usize| {
                let from = near(y, dy, rows) * columns;
                (0..3)
                    .map(|dx| weights[dy][dx] * plane[from + near(x, dx, columns)])
                    .sum::<f32>()
            };
            row(0) + row(1) + row(2)
        })
        .collect()
}

/// Maps values so that their cumulative histogram becomes a straight line from 0 to 255.
fn equalise(bytes: &mut [u8]) {
    let mut below = [0usize; 257];
    for &b in bytes.iter() {
        below[usize::from(b) + 1] += 1;
    }
    for i in 1..257 {
        below[i] += below[i - 1];
    }
    let darkest = bytes
        .iter()
        .copied()
        .min()
        .map_or(0, |b| below[usize::from(b) + 1]);
    let spread = (bytes.len() - darkest).max(1);
    for b in bytes.iter_mut() {
        let upto = below[usize::from(*b) + 1];
        *b = ((upto - darkest) as f32 * 255.0 / spread as f32 + 0.5) as u8;
    }
}

fn keep_above(values: &mut [f32], threshold: f32) {
    values
        .iter_mut()
        .filter(|v| **v < threshold)
        .for_each(|v| *v = 0.0);
}

/// The colour's share in a channel; a gray picture gets its luma (Rec. 601).
fn tint(colour: [f32; 3], channel: usize, channels: usize) -> f32 {
    match channels {
        3 => colour[channel],
        _ => 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2],
    }
}
