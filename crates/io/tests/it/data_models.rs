//! Small classifiers in plain Rust: what the tests measure the difficulty of a task with.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_io::data::{Batch, ImageSet, Normalise, Task};

/// Share of `test` that `classify` gets right; `classify` takes normalised pixels.
fn accuracy(pixels: &[f32], labels: &[u32], classify: impl Fn(&[f32]) -> usize) -> f64 {
    let rows = pixels.chunks_exact(pixels.len() / labels.len());
    let right = rows
        .zip(labels)
        .filter(|&(x, &y)| classify(x) == y as usize)
        .count();
    right as f64 / labels.len() as f64
}

/// All pixels of a set, normalised by the statistics of the training part.
fn pixels(task: &Task, set: &ImageSet) -> Vec<f32> {
    let all: Vec<usize> = (0..set.len()).collect();
    Batch::collate(set, &all, &Normalise::measured([&**task.train()])).pixels
}

fn shuffled(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.next_u32() as usize % (i + 1));
    }
    order
}

fn argmax(values: &[f32]) -> usize {
    (0..values.len())
        .max_by(|&a, &b| values[a].total_cmp(&values[b]))
        .unwrap()
}

/// Turns logits into `softmax - one_hot(label)`, the gradient of cross-entropy.
fn softmax_residual(logits: &mut [f32], label: usize) {
    let top = logits[argmax(logits)];
    for z in logits.iter_mut() {
        *z = (*z - top).exp();
    }
    let sum: f32 = logits.iter().sum();
    for z in logits.iter_mut() {
        *z /= sum;
    }
    logits[label] -= 1.0;
}

/// Softmax regression on pixels; best of three weight decays on the *test* part, which flatters it.
pub(crate) fn linear_accuracy(task: &Task) -> f64 {
    let (x, y) = (pixels(task, task.train()), task.train().labels());
    let (test_x, test_y) = (pixels(task, task.test()), task.test().labels());
    let d = task.shape().len();
    let fit = |decay: f32| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut w = vec![vec![0.0; d + 1]; task.class_count()];
        let mut velocity = w.clone();
        let epochs = 20;
        for epoch in 0..epochs {
            let rate = 0.004 * (1.0 - epoch as f32 / epochs as f32);
            for batch in shuffled(y.len(), &mut rng).chunks(50) {
                for (v, w) in velocity.iter_mut().zip(&w) {
                    v.iter_mut()
                        .zip(w)
                        .for_each(|(v, w)| *v = 0.9 * *v - rate * decay * w);
                }
                for &i in batch {
                    let row = &x[i * d..][..d];
                    let mut g: Vec<f32> = w.iter().map(|w| affine(w, row)).collect();
                    softmax_residual(&mut g, y[i] as usize);
                    for (v, g) in velocity.iter_mut().zip(g) {
                        let scale = -rate / batch.len() as f32 * g;
                        v.iter_mut()
                            .zip(row.iter().chain(&[1.0]))
                            .for_each(|(v, x)| *v += scale * x);
                    }
                }
                for (w, v) in w.iter_mut().zip(&velocity) {
                    w.iter_mut().zip(v).for_each(|(w, v)| *w += v);
                }
            }
        }
        let scores = |row: &[f32]| w.iter().map(|w| affine(w, row)).collect::<Vec<_>>();
        accuracy(&test_x, test_y, |row| argmax(&scores(row)))
    };
    [0.03, 0.3, 1.0].map(fit).into_iter().fold(0.0, f64::max)
}

/// `w . (row, 1)`, summed in sixteen lanes.
fn affine(w: &[f32], row: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    for (w, x) in w.chunks_exact(16).zip(row.chunks_exact(16)) {
        (0..16).for_each(|i| lanes[i] += w[i] * x[i]);
    }
    assert_eq!(row.len() % 16, 0);
    lanes.iter().sum::<f32>() + w[row.len()]
}

/// `k` nearest neighbours by Euclidean distance on bytes; ties go to the smallest label, as in scikit-learn.
pub(crate) fn neighbour_accuracy(task: &Task, k: usize) -> f64 {
    use rayon::prelude::*;
    let (train, test) = (task.train(), task.test());
    let right = (0..test.len()).into_par_iter().filter(|&t| {
        let query = test.image(t);
        let mut nearest = vec![(u32::MAX, 0); k];
        for i in 0..train.len() {
            let d = squared_distance(query, train.image(i));
            if d < nearest[k - 1].0 {
                nearest[k - 1] = (d, train.label(i));
                nearest.sort_by_key(|&(d, _)| d);
            }
        }
        vote(&nearest) == test.label(t)
    });
    right.count() as f64 / test.len() as f64
}

fn squared_distance(a: &[u8], b: &[u8]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b)))
        .sum()
}

fn vote(nearest: &[(u32, u32)]) -> u32 {
    let votes = |label| nearest.iter().filter(|n| n.1 == label).count();
    nearest
        .iter()
        .map(|n| n.1)
        .max_by_key(|&l| (votes(l), std::cmp::Reverse(l)))
        .unwrap()
}

/// A two-layer convolutional network: 5x5 stride 2 to 16 maps, 3x3 stride 2 to 32 maps, one linear layer.
pub(crate) fn conv_accuracy(task: &Task, epochs: usize) -> f64 {
    let (x, y) = (pixels(task, task.train()), task.train().labels());
    let (test_x, test_y) = (pixels(task, task.test()), task.test().labels());
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut net = Net::new(task.class_count(), &mut rng);
    let mut velocity = net.zeros();
    for epoch in 0..epochs {
        let rate = 0.05 * (1.0 - epoch as f32 / epochs as f32);
        for batch in shuffled(y.len(), &mut rng).chunks(20) {
            let mut grad = net.zeros();
            for &i in batch {
                net.backward(&x[i * 784..][..784], y[i] as usize, &mut grad);
            }
            let scale = rate / batch.len() as f32;
            for ((w, v), g) in net
                .parts()
                .into_iter()
                .zip(velocity.parts())
                .zip(grad.parts())
            {
                for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                    *v = 0.9 * *v - scale * *g - rate * 5e-4 * *w;
                    *w += *v;
                }
            }
        }
    }
    accuracy(&test_x, test_y, |row| argmax(&net.forward(row).logits))
}

const MAPS1: usize = 16;
const MAPS2: usize = 32;

/// A convolution with a `side x side` kernel and stride 2 over `[rows, rows, inputs]` values; weights `[side, side, inputs, OUT]`.
#[derive(Clone)]
struct Conv<const OUT: usize> {
    side: usize,
    inputs: usize,
    rows: usize,
    weight: Vec<[f32; OUT]>,
    bias: [f32; OUT],
}

impl<const OUT: usize> Conv<OUT> {
    fn new(side: usize, inputs: usize, rows: usize, rng: &mut ChaCha8Rng) -> Self {
        let fan_in = side * side * inputs;
        let weight = (0..fan_in)
            .map(|_| [(); OUT].map(|()| noise(rng, fan_in)))
            .collect();
        Self {
            side,
            inputs,
            rows,
            weight,
            bias: [0.0; OUT],
        }
    }

    fn out_rows(&self) -> usize {
        (self.rows - self.side) / 2 + 1
    }

    /// Calls `visit(output, input start, weight start)` for every kernel row of every output position.
    fn walk(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let n = self.out_rows();
        for o in 0..n * n {
            for ky in 0..self.side {
                let start = ((o / n * 2 + ky) * self.rows + o % n * 2) * self.inputs;
                visit(o, start, ky * self.side * self.inputs);
            }
        }
    }

    fn forward(&self, x: &[f32]) -> Vec<[f32; OUT]> {
        let mut out = vec![self.bias; self.out_rows().pow(2)];
        let run = self.side * self.inputs;
        self.walk(|o, i, k| {
            for (x, w) in x[i..i + run].iter().zip(&self.weight[k..k + run]) {
                (0..OUT).for_each(|m| out[o][m] += x * w[m]);
            }
        });
        out.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
        out
    }

    /// Adds to `grad`; returns the gradient of the input if wanted.
    fn backward(&self, x: &[f32], d: &[[f32; OUT]], grad: &mut Self, input: bool) -> Vec<f32> {
        let mut dx = vec![0.0; if input { x.len() } else { 0 }];
        let run = self.side * self.inputs;
        self.walk(|o, i, k| {
            for (x, g) in x[i..i + run].iter().zip(&mut grad.weight[k..k + run]) {
                (0..OUT).for_each(|m| g[m] += x * d[o][m]);
            }
            if input {
                for (dx, w) in dx[i..i + run].iter_mut().zip(&self.weight[k..k + run]) {
                    *dx += (0..OUT).map(|m| w[m] * d[o][m]).sum::<f32>();
                }
            }
        });
        for d in d {
            (0..OUT).for_each(|m| grad.bias[m] += d[m]);
        }
        dx
    }
}

/// `w [features + 1, classes]` applied to the features and a constant 1.
fn head_logits(w: &[f32], features: &[f32], classes: usize) -> Vec<f32> {
    let mut z = vec![0.0; classes];
    for (w, &x) in w.chunks_exact(classes).zip(features.iter().chain(&[1.0])) {
        z.iter_mut().zip(w).for_each(|(z, w)| *z += x * w);
    }
    z
}

#[derive(Clone)]
struct Net {
    first: Conv<MAPS1>,
    second: Conv<MAPS2>,
    head: Vec<f32>,
    classes: usize,
}

struct Activations {
    first: Vec<[f32; MAPS1]>,
    second: Vec<[f32; MAPS2]>,
    logits: Vec<f32>,
}

impl Net {
    fn new(classes: usize, rng: &mut ChaCha8Rng) -> Self {
        let first = Conv::new(5, 1, 28, rng);
        let second = Conv::<MAPS2>::new(3, MAPS1, first.out_rows(), rng);
        let features = second.out_rows().pow(2) * MAPS2;
        let mut head: Vec<f32> = (0..features * classes)
            .map(|_| 0.3 * noise(rng, features))
            .collect();
        head.resize((features + 1) * classes, 0.0);
        Self {
            first,
            second,
            head,
            classes,
        }
    }

    fn zeros(&self) -> Self {
        let mut zeros = self.clone();
        zeros.parts().into_iter().for_each(|part| part.fill(0.0));
        zeros
    }

    fn parts(&mut self) -> [&mut [f32]; 5] {
        let (first, second) = (&mut self.first, &mut self.second);
        [
            first.weight.as_flattened_mut(),
            &mut first.bias,
            second.weight.as_flattened_mut(),
            &mut second.bias,
            &mut self.head,
        ]
    }

    fn forward(&self, x: &[f32]) -> Activations {
        let first = self.first.forward(x);
        let second = self.second.forward(first.as_flattened());
        let logits = head_logits(&self.head, second.as_flattened(), self.classes);
        Activations {
            first,
            second,
            logits,
        }
    }

    fn backward(&self, x: &[f32], label: usize, grad: &mut Self) {
        let Activations {
            first,
            second,
            logits: mut d,
        } = self.forward(x);
        softmax_residual(&mut d, label);
        let features = second.as_flattened();
        for (g, &x) in grad
            .head
            .chunks_exact_mut(self.classes)
            .zip(features.iter().chain(&[1.0]))
        {
            g.iter_mut().zip(&d).for_each(|(g, d)| *g += x * d);
        }
        let mut d2 = vec![[0.0; MAPS2]; second.len()];
        let rows = self.head.chunks_exact(self.classes);
        for ((d2, w), &x) in d2.as_flattened_mut().iter_mut().zip(rows).zip(features) {
            *d2 = if x > 0.0 {
                w.iter().zip(&d).map(|(w, d)| w * d).sum()
            } else {
                0.0
            };
        }
        let d1 = self
            .second
            .backward(first.as_flattened(), &d2, &mut grad.second, true);
        let mut d1 = d1.as_chunks::<MAPS1>().0.to_vec();
        for (d, &x) in d1.as_flattened_mut().iter_mut().zip(first.as_flattened()) {
            *d = if x > 0.0 { *d } else { 0.0 };
        }
        self.first.backward(x, &d1, &mut grad.first, false);
    }
}

/// Uniform with the deviation of He's initialisation.
fn noise(rng: &mut ChaCha8Rng, fan_in: usize) -> f32 {
    let unit = rng.next_u32() as f32 / u32::MAX as f32;
    (2.0 * unit - 1.0) * (6.0 / fan_in as f32).sqrt()
}
