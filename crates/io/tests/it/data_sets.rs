//! Sets, tasks, batches, normalisation, augmentation.

use refit_core::Seed;
use refit_io::data::{
    Augment, AugmentConfig, Batch, DataError, ImageSet, ImageShape, Normalise, Task,
};

const SHAPE: ImageShape = ImageShape {
    channels: 1,
    height: 2,
    width: 2,
};

fn classes(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

/// `n` images whose pixels are their position, with labels going round three classes.
fn set(n: usize) -> ImageSet {
    let images = (0..n).flat_map(|i| [i as u8; 4]).collect();
    ImageSet::new(
        "toy",
        classes(3),
        SHAPE,
        images,
        (0..n).map(|i| i as u32 % 3).collect(),
    )
    .unwrap()
}

#[test]
fn a_set_checks_what_it_is_given() {
    let new = |shape, bytes: usize, labels: Vec<u32>| {
        ImageSet::new("toy", classes(2), shape, vec![0; bytes], labels).unwrap_err()
    };
    assert!(matches!(
        new(SHAPE, 7, vec![0]),
        DataError::PixelBytes { bytes: 7, .. }
    ));
    assert!(matches!(
        new(SHAPE, 8, vec![0]),
        DataError::Lengths {
            images: 2,
            labels: 1,
            ..
        }
    ));
    assert!(matches!(
        new(SHAPE, 8, vec![1, 2]),
        DataError::Label {
            index: 1,
            found: 2,
            ..
        }
    ));
    for shape in [
        ImageShape {
            channels: 0,
            ..SHAPE
        },
        ImageShape { height: 0, ..SHAPE },
        ImageShape {
            width: usize::MAX,
            height: usize::MAX,
            channels: 3,
        },
    ] {
        assert!(matches!(
            new(shape, 8, vec![0]),
            DataError::PixelBytes { .. }
        ));
    }
}

#[test]
fn few_shot_draws_as_many_of_each_class() {
    let set = set(30);
    let drawn = set.few_shot(4, Seed::new(1)).unwrap();
    assert_eq!(set.subset(&drawn).class_counts(), [4, 4, 4]);
    assert_eq!(drawn, set.few_shot(4, Seed::new(1)).unwrap());
    assert_ne!(drawn, set.few_shot(4, Seed::new(2)).unwrap());
    let mut unique = drawn.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 12);
    let e = set.few_shot(11, Seed::new(1)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "class `class 0` of `toy` has too few images: 10, expected at least 11"
    );
}

#[test]
fn splits_are_stratified_and_disjoint() {
    let set = set(60);
    let [train, val, test] = set.stratified_split([0.1, 0.2], Seed::new(0)).unwrap();
    assert_eq!(train.class_counts(), [14, 14, 14]);
    assert_eq!(val.class_counts(), [2, 2, 2]);
    assert_eq!(test.class_counts(), [4, 4, 4]);
    let mut all = [train.images(), val.images(), test.images()].concat();
    all.sort_unstable();
    assert_eq!(all, set.images());
    assert!(
        set.first(8)
            .stratified_split([0.1, 0.2], Seed::new(0))
            .is_err()
    );
    let [most, rest] = set.stratified_halves(0.25, Seed::new(0)).unwrap();
    assert_eq!(
        (most.class_counts(), rest.class_counts()),
        (vec![15; 3], vec![5; 3])
    );
}

#[test]
fn a_task_checks_that_its_parts_agree() {
    let task = Task::new("t", set(9), set(3), set(3)).unwrap();
    assert_eq!(task.val().name(), "t/val");
    assert!(matches!(
        Task::new("t", set(9), set(0), set(3)),
        Err(DataError::EmptySet { .. })
    ));
    assert!(matches!(
        Task::new("t", set(2), set(3), set(3)),
        Err(DataError::EmptyClass { .. })
    ));
    let wide = set(3).resized(2, 5);
    assert!(matches!(
        Task::new("t", set(9), set(3), wide),
        Err(DataError::ImageSize { .. })
    ));
    let other = ImageSet::new("o", classes(4), SHAPE, vec![0; 4], vec![0]).unwrap();
    assert!(matches!(
        Task::new("t", set(9), other, set(3)),
        Err(DataError::Classes { .. })
    ));
}

#[test]
fn shapes_change_plane_by_plane() {
    let rgb = set(2).with_channels(3);
    assert_eq!(rgb.image(1), [1; 12]);
    assert_eq!(rgb.with_channels(1), set(2));
    let padded = rgb.padded(1);
    assert_eq!(padded.shape().to_string(), "3x4x4");
    assert_eq!(
        padded.image(1)[16..32],
        [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    );
    assert_eq!(rgb.resized(6, 3).image(1), [1; 54]);
}

#[test]
fn luma_weighs_green_most() {
    let shape = ImageShape {
        channels: 3,
        height: 1,
        width: 1,
    };
    let colours = vec![255, 0, 0, 0, 255, 0, 0, 0, 255];
    let set = ImageSet::new("c", classes(1), shape, colours, vec![0; 3]).unwrap();
    assert_eq!(set.with_channels(1).images(), [76, 150, 29]);
}

#[test]
fn measured_statistics_normalise_to_mean_0_and_deviation_1() {
    let set = set(200);
    let batch = Batch::collate(
        &set,
        &(0..200).collect::<Vec<_>>(),
        &Normalise::measured([&set]),
    );
    let n = batch.pixels.len() as f64;
    let mean = batch.pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let square = batch
        .pixels
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        / n;
    assert!(
        mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5,
        "{mean} {square}"
    );
}

#[test]
fn normalisation_by_given_statistics_is_checked() {
    assert!(Normalise::new(vec![0.5], vec![0.0]).is_err());
    assert!(Normalise::new(vec![0.5], vec![f32::NAN]).is_err());
    assert!(Normalise::new(vec![f32::INFINITY], vec![1.0]).is_err());
    assert!(Normalise::new(vec![0.5, 0.5], vec![1.0]).is_err());
    assert!(Normalise::new(vec![], vec![]).is_err());
    let n = Normalise::new(vec![0.5], vec![0.25]).unwrap();
    let mut out = [0.0; 4];
    n.bytes(&[0, 255, 0, 255], SHAPE, &mut out);
    assert!(
        out.iter()
            .zip([-2.0, 2.0, -2.0, 2.0])
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    assert!(serde_json::from_str::<Normalise>(r#"{"mean":[0.0],"std":[-1.0]}"#).is_err());
}

#[test]
fn chunks_cover_a_set_in_order() {
    let sizes: Vec<usize> = Batch::chunks(&set(7), 3, &Normalise::unit(SHAPE))
        .map(|b| b.len())
        .collect();
    assert_eq!(sizes, [3, 3, 1]);
    let labels: Vec<u32> = Batch::chunks(&set(7), 3, &Normalise::unit(SHAPE))
        .flat_map(|b| b.labels)
        .collect();
    assert_eq!(labels, set(7).labels());
}

#[test]
fn augmentation_off_changes_nothing_and_on_stays_in_range() {
    let shape = ImageShape {
        channels: 3,
        height: 9,
        width: 7,
    };
    let image: Vec<f32> = (0..shape.len())
        .map(|i| i as f32 / shape.len() as f32)
        .collect();
    let off = Augment::try_from(AugmentConfig::default()).unwrap();
    let mut same = image.clone();
    off.apply(&mut same, shape, Seed::new(1));
    assert!(same.iter().zip(&image).all(|(a, b)| (a - b).abs() < 1e-6));
    for config in [
        AugmentConfig::broad(),
        AugmentConfig::glyphs(),
        AugmentConfig::cifar(),
    ] {
        let augment = Augment::try_from(config).unwrap();
        for seed in 0..50 {
            let mut changed = image.clone();
            augment.apply(&mut changed, shape, Seed::new(seed));
            assert!(
                changed.iter().all(|v| (0.0..=1.0).contains(v)),
                "{config:?}, seed {seed}"
            );
        }
    }
}

#[test]
fn a_tiny_image_survives_every_augmentation() {
    let shape = ImageShape {
        channels: 1,
        height: 1,
        width: 1,
    };
    for config in [AugmentConfig::broad(), AugmentConfig::cifar()] {
        for seed in 0..20 {
            let mut pixel = [0.5];
            Augment::try_from(config)
                .unwrap()
                .apply(&mut pixel, shape, Seed::new(seed));
            assert!(pixel[0].is_finite());
        }
    }
}

#[test]
fn augmentation_settings_out_of_range_are_refused() {
    let default = AugmentConfig::default();
    for config in [
        AugmentConfig {
            flip: 1.5,
            ..default
        },
        AugmentConfig {
            invert: -0.1,
            ..default
        },
        AugmentConfig {
            scale: 1.0,
            ..default
        },
        AugmentConfig {
            rotate_degrees: f32::NAN,
            ..default
        },
        AugmentConfig {
            shift_px: f32::INFINITY,
            ..default
        },
    ] {
        assert!(Augment::try_from(config).is_err(), "{config:?}");
    }
}

#[test]
fn a_sample_of_a_sorted_set_has_every_class_in_its_share() {
    // As a folder is read, class by class: 60, 30 and 3 images.
    let labels: Vec<u32> = [(0, 60), (1, 30), (2, 3)]
        .into_iter()
        .flat_map(|(label, n)| vec![label; n])
        .collect();
    let images = (0..93).flat_map(|i| [i as u8; 4]).collect();
    let sorted = ImageSet::new("toy", classes(3), SHAPE, images, labels).unwrap();
    let draw = |count, seed| sorted.sample_stratified(count, Seed::new(seed));
    for seed in 0..20 {
        assert_eq!(draw(31, seed).class_counts(), [20, 10, 1]);
        assert_eq!(draw(3, seed).class_counts(), [1, 1, 1]);
        let (small, large) = (draw(10, seed), draw(30, seed));
        assert!((0..10).all(|i| (0..30).any(|j| small.image(i) == large.image(j))));
    }
    assert_ne!(draw(31, 0), draw(31, 1));
    assert_eq!(draw(31, 0), draw(31, 0));
    assert_eq!(draw(93, 0), sorted);
    assert_eq!(draw(1000, 0), sorted);
    assert!(draw(0, 0).is_empty());
    let first_classes: Vec<u32> = (0..20).map(|seed| draw(1, seed).label(0)).collect();
    assert!(
        (0..3).all(|class| first_classes.contains(&class)),
        "{first_classes:?}"
    );
}
