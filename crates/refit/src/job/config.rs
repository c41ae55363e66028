//! Settings of the fusion job.

use refit_core::{ConfigError, Seed};
use refit_io::data::AugmentConfig;
use refit_merge::AdaMergingConfig;
use refit_nn::{ImageConfig, zoo::MlpConfig};
use refit_train::{
    TrainConfig,
    optim::{AdamWConfig, OptimConfig, Schedule},
};
use serde::{Deserialize, Serialize};

/// The whole job: base, experts, joint training, merging, scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FusionConfig {
    /// The shared encoder.
    pub encoder: ImageConfig,
    /// Factor of the unit features that heads are made for, carried by their rows: the temperature of cosines (CLIP: 100;
    /// ours: 10), and the scale of probes before they are calibrated (ours: 20).
    pub head_scale: f64,
    /// How the base is trained, heads included.
    pub base: Stage,
    /// Labelled training images of each task that the base may see; 0 for none.
    pub base_images: usize,
    /// Images of each generated task that the base is trained on beside them; 0 for none.
    pub auxiliary_images: usize,
    /// How the frozen heads are made.
    pub heads: Heads,
    /// How each expert is fine-tuned, its head frozen.
    pub expert: Stage,
    /// How unlike the experts are, as models from several hands: their learning rates lie from `expert.rate` divided by
    /// this to `expert.rate` times this, evenly on a logarithmic scale, and the seed deals them out. 1: all alike.
    pub expert_spread: f64,
    /// How the joint model is trained, heads frozen: the upper bound.
    pub joint: Stage,
    /// Scales tried for task arithmetic and TIES on labelled validation images.
    pub scales: Vec<f64>,
    /// Validation images of each task that scales are tuned on.
    pub tuning_images: usize,
    /// Adaptive merging; grouping and `plus` are set by each variant.
    pub adamerging: AdaMergingConfig,
    /// Which unlabelled images the coefficients see.
    pub adapt_on: AdaptOn,
    /// Also adapts on the test images themselves, as the paper does.
    pub transductive: bool,
    /// Validation accuracy is measured every so many adaptation steps, on [`tuning_images`](Self::tuning_images).
    pub watch_every: u64,
    /// Test images of each task that are scored; 0 for all.
    pub test_images: usize,
    /// Test images of each task and corruption; 0 to leave corruptions out.
    pub corrupted_images: usize,
    /// Severity of corruptions, 1 to 5.
    pub severity: u8,
}

/// Part of each task whose images, without labels, the coefficients are learned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdaptOn {
    /// Training images.
    Train,
    /// Validation images.
    Val,
}

/// How the frozen head of each task is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heads {
    /// Trained together with the base, on the same images.
    Trained,
    /// Mean direction of the base's features over this many labelled training images of each class.
    Prototypes(usize),
    /// Logistic regression on the base's features of this many labelled training images of each class; a factor
    /// fitted on up to 1000 others of the task makes it as sure as it is right.
    Probe(usize),
}

/// One training stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stage {
    /// Optimiser steps.
    pub steps: u64,
    /// Images per step; for several tasks together, of all of them.
    pub batch: usize,
    /// Peak learning rate of AdamW.
    pub rate: f64,
    /// Weight decay.
    pub decay: f64,
    /// Warm-up steps.
    pub warmup: u64,
    /// Label smoothing in `[0, 1)`.
    pub smoothing: f32,
    /// How images are varied.
    pub augment: Variation,
}

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variation {
    /// Not at all.
    None,
    /// Mildly: shift, rotate, scale, blur ([`AugmentConfig::glyphs`]).
    Mild,
    /// Strongly, for a base that serves many tasks ([`AugmentConfig::broad`]).
    Broad,
}

impl Variation {
    pub(super) fn config(self) -> AugmentConfig {
        match self {
            Self::None => AugmentConfig::default(),
            Self::Mild => AugmentConfig::glyphs(),
            Self::Broad => AugmentConfig::broad(),
        }
    }
}

impl Stage {
    pub(super) fn trainer(&self) -> TrainConfig {
        TrainConfig {
            steps: self.steps,
            optimizer: OptimConfig::Adamw(AdamWConfig {
                rate: self.rate,
                decay: self.decay,
                betas: [0.9, 0.98],
                ..AdamWConfig::default()
            }),
            schedule: Schedule {
                warmup: self.warmup,
                ..Schedule::default()
            },
            ..TrainConfig::default()
        }
    }

    /// Errors speak of the two `keys`.
    fn check(&self, [batch, smoothing]: [&'static str; 2]) -> Result<(), ConfigError> {
        if self.batch == 0 || self.batch > 1 << 16 {
            return Err(ConfigError::range(batch, self.batch, "1 to 65536"));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return Err(ConfigError::range(
                smoothing,
                self.smoothing,
                "a share in [0, 1)",
            ));
        }
        self.trainer().check()
    }
}

impl FusionConfig {
    /// The demonstration on generated images: a minute on two cores.
    pub fn demo() -> Self {
        let stage = Stage {
            steps: 800,
            batch: 128,
            rate: 1e-3,
            decay: 0.05,
            warmup: 50,
            smoothing: 0.0,
            augment: Variation::Mild,
        };
        Self {
            encoder: perceptron(&[768, 768, 384]),
            head_scale: 20.0,
            base_images: 300,
            auxiliary_images: 0,
            heads: Heads::Probe(20),
            expert: Stage {
                steps: 300,
                batch: 64,
                rate: 1e-4,
                warmup: 30,
                ..stage.clone()
            },
            expert_spread: 1.0,
            joint: Stage {
                steps: 1000,
                rate: 2e-4,
                ..stage.clone()
            },
            base: stage,
            scales: vec![0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0],
            tuning_images: 250,
            adamerging: AdaMergingConfig {
                steps: 200,
                ..AdaMergingConfig::default()
            },
            adapt_on: AdaptOn::Train,
            transductive: false,
            watch_every: 20,
            test_images: 500,
            corrupted_images: 100,
            severity: 3,
        }
    }

    /// The demonstration in a hurry: small enough to see every part move, too small to conclude from.
    pub fn quick() -> Self {
        let mut config = Self::demo();
        config.encoder = perceptron(&[512, 512, 256]);
        config.base.steps = 600;
        config.expert.steps = 200;
        config.joint.steps = 300;
        config.scales = vec![0.1, 0.2, 0.3, 0.5, 0.7];
        config.tuning_images = 100;
        config.adamerging.steps = 100;
        config.watch_every = 10;
        config.test_images = 200;
        config.corrupted_images = 25;
        config
    }

    /// The experiment on real 28 x 28 images: a wide base that has seen generated images alone, calibrated linear probes
    /// on its features, experts alike in everything but their task, and AdaMerging with the settings of its paper.
    pub fn real() -> Self {
        let mut config = Self::demo();
        config.encoder = perceptron(&[2048, 2048, 1024]);
        config.base_images = 0;
        config.auxiliary_images = 3000;
        config.base.steps = 600;
        config.joint.steps = 1500;
        config.joint.rate = 1e-4;
        config.adamerging = AdaMergingConfig::default();
        config.adapt_on = AdaptOn::Val;
        config.transductive = true;
        config.watch_every = 50;
        config.test_images = 0;
        config.corrupted_images = 250;
        config
    }

    /// How each of `count` experts is fine-tuned.
    pub(super) fn expert_stages(&self, count: usize, seed: Seed) -> Vec<Stage> {
        let last = count.saturating_sub(1).max(1) as f64;
        let place = |i: usize| {
            if count < 2 {
                0.0
            } else {
                2.0 * i as f64 / last - 1.0
            }
        };
        let factor = |i: usize| self.expert_spread.powf(place(i));
        let dealt = seed.sample(count, count).into_iter();
        dealt
            .map(|i| Stage {
                rate: self.expert.rate * factor(i),
                ..self.expert.clone()
            })
            .collect()
    }

    /// Checks every setting that is not checked where it is used.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.base.check(["base.batch", "base.smoothing"])?;
        self.expert.check(["expert.batch", "expert.smoothing"])?;
        self.joint.check(["joint.batch", "joint.smoothing"])?;
        if !(self.head_scale > 0.0 && self.head_scale.is_finite()) {
            return Err(ConfigError::range(
                "head-scale",
                self.head_scale,
                "a positive number",
            ));
        }
        if !(1.0..=1e3).contains(&self.expert_spread) {
            return Err(ConfigError::range(
                "expert-spread",
                self.expert_spread,
                "a factor in [1, 1000]",
            ));
        }
        if self.base_images == 0 && self.auxiliary_images == 0 {
            return Err(ConfigError::conflict(
                "base-images",
                "is 0 and so is `auxiliary-images`",
            ));
        }
        match self.heads {
            Heads::Trained if self.base_images == 0 => {
                return Err(ConfigError::conflict(
                    "heads",
                    "are trained but `base-images` is 0",
                ));
            }
            Heads::Prototypes(0) | Heads::Probe(0) => {
                return Err(ConfigError::range(
                    "heads",
                    0,
                    "at least 1 image of each class",
                ));
            }
            _ => {}
        }
        if self.scales.is_empty() {
            return Err(ConfigError::range("scales", "empty", "at least one scale"));
        }
        if self.tuning_images == 0 {
            return Err(ConfigError::range("tuning-images", 0, "at least 1"));
        }
        if !(1..=5).contains(&self.severity) {
            return Err(ConfigError::range("severity", self.severity, "1 to 5"));
        }
        Ok(())
    }
}

/// Wide and shallow: its task vectors are small, and a step costs milliseconds.
fn perceptron(hidden: &[usize]) -> ImageConfig {
    ImageConfig::Mlp(MlpConfig {
        inputs: 28 * 28,
        hidden: hidden.to_vec(),
        num_labels: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlike_experts_have_rates_around_the_common_one() {
        let config = FusionConfig {
            expert_spread: 4.0,
            ..FusionConfig::demo()
        };
        let rates = |count, seed| -> Vec<f64> {
            let stages = config.expert_stages(count, Seed::new(seed));
            stages.iter().map(|s| s.rate / config.expert.rate).collect()
        };
        let mut sorted = rates(3, 0);
        sorted.sort_by(f64::total_cmp);
        for (found, expected) in sorted.iter().zip([0.25, 1.0, 4.0]) {
            assert!((found - expected).abs() < 1e-12, "{sorted:?}");
        }
        assert_eq!(rates(1, 0).len(), 1);
        assert!((rates(1, 0)[0] - 1.0).abs() < 1e-12);
        assert_ne!(rates(8, 0), rates(8, 1), "the seed deals them out");
    }

    #[test]
    fn presets_are_valid() {
        for config in [
            FusionConfig::demo(),
            FusionConfig::quick(),
            FusionConfig::real(),
        ] {
            config.check().unwrap();
        }
    }
}
