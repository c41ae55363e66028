//! The seven corruptions.

use rayon::prelude::*;
use refit_core::Seed;
use refit_io::data::{
    Constants, Corruption, ImageSet, ImageShape, Severity,
    suite::{Sizes, generate},
};
use std::sync::Arc;

/// 64 gray glyphs, or as many colour pictures of 32 x 32.
fn pictures(channels: usize) -> ImageSet {
    let tasks = generate(
        Seed::new(2),
        Sizes {
            train: 64,
            val: 1,
            test: 1,
        },
    );
    if channels == 1 {
        return (**tasks[2].train()).clone();
    }
    let gray = tasks[3].train().resized(32, 32).with_channels(3);
    // Three different planes, so that colour matters.
    gray.map_images(ImageShape::CIFAR, |i, image| {
        let tint = |(p, &v): (usize, &u8)| match p / 1024 {
            0 => v,
            1 => v / 2 + (i % 64) as u8,
            _ => 255 - v,
        };
        image.iter().enumerate().map(tint).collect()
    })
}

/// Root mean square difference over all pixels, in `[0, 1]`.
fn distance(a: &ImageSet, b: &ImageSet) -> f64 {
    let squares: f64 = a
        .images()
        .iter()
        .zip(b.images())
        .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
        .sum();
    (squares / a.images().len() as f64).sqrt() / 255.0
}

#[test]
fn severity_moves_images_away_from_the_clean_ones() {
    for (channels, constants) in [
        (1, Constants::Cifar),
        (3, Constants::Cifar),
        (1, Constants::ImageNet),
        (3, Constants::ImageNet),
    ] {
        let clean = pictures(channels);
        for corruption in Corruption::ALL {
            let far = Severity::ALL.map(|s| {
                distance(
                    &clean,
                    &corruption.apply_set(&clean, s, constants, Seed::new(1)),
                )
            });
            println!("{channels} channels, {constants:?}, {corruption}: {far:.3?}");
            assert!(far.iter().all(|&d| d > 0.002), "{corruption} does nothing");
            assert!(
                far[4] > far[0] * 1.05,
                "{corruption} {constants:?}: {far:?}"
            );
            if constants == Constants::ImageNet {
                continue; // Made for 224 pixels: on a tiny picture neighbouring severities may change places.
            }
            // Severities 3 and 4 blur by the same deviation; only the cut of the tail differs.
            let tie = if corruption == Corruption::MotionBlur {
                1e-9
            } else {
                0.0
            };
            // Spatter is water up to severity 3 and mud from 4 on; mud on black is hardly seen.
            let parts = if corruption == Corruption::Spatter {
                [0..3, 3..5]
            } else {
                [0..5, 0..0]
            };
            for part in parts {
                let grows = |a: &f64, b: &f64| *b > a - tie;
                assert!(far[part].is_sorted_by(grows), "{corruption}: {far:?}");
            }
        }
    }
}

#[test]
fn noise_has_the_published_strength() {
    let gray = set_of(ImageShape::GLYPH, 128, 40);
    let noisy = Corruption::GaussianNoise.apply_set(
        &gray,
        Severity::new(3).unwrap(),
        Constants::Cifar,
        Seed::new(0),
    );
    assert!((distance(&gray, &noisy) - 0.08).abs() < 0.002);
    let impulses = Corruption::ImpulseNoise.apply_set(
        &gray,
        Severity::new(5).unwrap(),
        Constants::ImageNet,
        Seed::new(0),
    );
    let hit = impulses
        .images()
        .iter()
        .filter(|&&v| v == 0 || v == 255)
        .count();
    assert!((hit as f64 / impulses.images().len() as f64 - 0.27).abs() < 0.01);
}

#[test]
fn contrast_worked_by_hand() {
    // Mean 100; severity 5 of CIFAR-10-C keeps 0.15 of the difference to it.
    let shape = ImageShape {
        channels: 1,
        height: 1,
        width: 2,
    };
    let out = Corruption::Contrast.apply(
        &[0, 200],
        shape,
        Severity::new(5).unwrap(),
        Constants::Cifar,
        Seed::new(0),
    );
    assert_eq!(out, [85, 115]);
}

#[test]
fn pixelate_worked_by_hand() {
    // ImageNet-C severity 3: 5 x 5 becomes 2 x 2 (0.4 of 5) and comes back in four even blocks.
    let shape = ImageShape {
        channels: 1,
        height: 5,
        width: 5,
    };
    let image: Vec<u8> = (0..25).map(|i| i * 10).collect();
    let out = Corruption::Pixelate.apply(
        &image,
        shape,
        Severity::new(3).unwrap(),
        Constants::ImageNet,
        Seed::new(0),
    );
    let mut values = out.clone();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 4);
    assert_eq!((out[0], out[1], out[5]), (out[6], out[0], out[0]));
}

#[test]
fn motion_blur_keeps_even_pictures_and_total_brightness() {
    let even = set_of(ImageShape::GLYPH, 77, 3);
    for severity in Severity::ALL {
        let out =
            Corruption::MotionBlur.apply_set(&even, severity, Constants::ImageNet, Seed::new(0));
        assert!(out.images().iter().all(|&v| v.abs_diff(77) <= 1));
    }
    let mut dot = vec![0; 784];
    dot[14 * 28 + 14] = 255;
    let severity = Severity::new(3).unwrap();
    let out = Corruption::MotionBlur.apply(
        &dot,
        ImageShape::GLYPH,
        severity,
        Constants::Cifar,
        Seed::new(4),
    );
    let total: u32 = out.iter().map(|&v| u32::from(v)).sum();
    assert!(total.abs_diff(255) < 15, "{total}");
    assert!(out.iter().filter(|&&v| v > 10).count() >= 3);
}

#[test]
fn results_do_not_depend_on_threads_or_neighbours() {
    let clean = pictures(1);
    let severity = Severity::new(4).unwrap();
    let run = |threads: usize, set: &ImageSet, corruption: Corruption| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| corruption.apply_set(set, severity, Constants::Cifar, Seed::new(9)))
    };
    Corruption::ALL.into_par_iter().for_each(|corruption| {
        let whole = run(3, &clean, corruption);
        assert_eq!(whole, run(1, &clean, corruption));
        assert_eq!(
            whole.first(5).images(),
            run(1, &clean.first(5), corruption).images()
        );
    });
}

#[test]
fn names_round_trip_and_slips_get_a_hint() {
    use refit_core::Hint;
    for corruption in Corruption::ALL {
        assert_eq!(
            Corruption::from_name(corruption.name()).unwrap(),
            corruption
        );
        assert_eq!(
            serde_json::to_string(&corruption).unwrap(),
            format!("\"{corruption}\"")
        );
    }
    let e = Corruption::from_name("pixelated").unwrap_err();
    assert_eq!(e.hint().unwrap(), "did you mean `pixelate`?");
    assert!(Severity::new(0).is_err() && Severity::new(6).is_err());
    assert!(serde_json::from_str::<Severity>("9").is_err());
}

fn set_of(shape: ImageShape, value: u8, count: usize) -> ImageSet {
    let classes: Arc<[String]> = ["only".to_owned()].into();
    ImageSet::new(
        "even",
        classes,
        shape,
        vec![value; count * shape.len()],
        vec![0; count],
    )
    .unwrap()
}
