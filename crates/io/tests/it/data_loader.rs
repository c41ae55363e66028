//! The loader: order, prefetching, resuming, ending.

use refit_core::Seed;
use refit_io::data::{
    Augment, AugmentConfig, DataError, ImageSet, ImageShape, Last, LoadedBatch, LoaderConfig,
    LoaderPlan, LoaderState, Normalise, Order,
    suite::{Sizes, generate},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

fn plan(augment: bool) -> LoaderPlan {
    let tasks = generate(
        Seed::new(3),
        Sizes {
            train: 50,
            val: 1,
            test: 1,
        },
    );
    LoaderPlan {
        sets: tasks.iter().take(3).map(|t| t.train().clone()).collect(),
        config: LoaderConfig {
            batch_size: 8,
            ..LoaderConfig::default()
        },
        normalise: Normalise::measured(tasks.iter().map(|t| &**t.train())),
        augment: augment.then(|| Augment::try_from(AugmentConfig::broad()).unwrap()),
        seed: Seed::new(11),
    }
}

#[test]
fn the_same_plan_gives_the_same_batches_whatever_is_prefetched() {
    let mut one = plan(true);
    one.config.prefetch = 1;
    let mut many = plan(true);
    many.config.prefetch = 9;
    let a: Vec<LoadedBatch> = one.start().unwrap().take(40).collect();
    let b: Vec<LoadedBatch> = many.start().unwrap().take(40).collect();
    assert_eq!(a, b);
    many.seed = Seed::new(12);
    let c: Vec<LoadedBatch> = many.start().unwrap().take(40).collect();
    assert_ne!(a, c);
}

#[test]
fn a_resumed_loader_continues_bit_by_bit() {
    let plan = plan(true);
    let all: Vec<LoadedBatch> = plan.start().unwrap().take(45).collect();
    for stop in [0, 1, 7, 20, 21, 22, 44] {
        let mut loader = plan.start().unwrap();
        for _ in 0..stop {
            loader.next().unwrap();
        }
        let saved = serde_json::to_string(loader.state()).unwrap();
        drop(loader);
        let state: LoaderState = serde_json::from_str(&saved).unwrap();
        let rest: Vec<LoadedBatch> = plan.resume(state).unwrap().take(45 - stop).collect();
        assert_eq!(rest, all[stop..], "stopped after {stop}");
    }
}

#[test]
fn every_image_comes_once_an_epoch_with_its_label() {
    let mut plan = plan(false);
    plan.config.epochs = Some(2);
    let mut seen = vec![[0; 50]; 3];
    for loaded in plan.start().unwrap() {
        assert_eq!(loaded.batch.len(), loaded.indices.len());
        for (&i, &label) in loaded.indices.iter().zip(&loaded.batch.labels) {
            assert_eq!(label, plan.sets[loaded.task].label(i));
            seen[loaded.task][i] += 1;
        }
    }
    assert!(seen.iter().flatten().all(|&count| count == 2));
}

#[test]
fn augmented_images_differ_between_epochs() {
    let mut plan = plan(true);
    plan.config.order = Order::Sequential;
    plan.config.last = Last::Drop;
    let batches: Vec<LoadedBatch> = plan.start().unwrap().take(36).collect();
    let first = |epoch| {
        batches
            .iter()
            .find(|b| b.task == 0 && b.epoch == epoch)
            .unwrap()
    };
    assert_eq!(first(0).indices, first(1).indices);
    assert_ne!(first(0).batch.pixels, first(1).batch.pixels);
    assert!(batches.iter().all(|b| b.batch.len() == 8));
}

#[test]
fn a_step_longer_than_preparing_hardly_ever_waits() {
    let mut loader = plan(true).start().unwrap();
    let steps = 25;
    for _ in 0..steps {
        std::thread::sleep(Duration::from_millis(20));
        loader.next().unwrap();
    }
    // The machine may be busy with other tests; a loader without prefetching would wait every time.
    assert!(
        loader.waits() < steps / 3,
        "waited {} of {steps} times",
        loader.waits()
    );
}

#[test]
fn dropping_ends_the_thread_even_when_the_channel_is_full() {
    let plan = plan(false);
    let watched = plan.sets[0].clone();
    let loader = plan.start().unwrap();
    drop(plan);
    std::thread::sleep(Duration::from_millis(30));
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(5));
    // The thread held the last clone of the set.
    assert_eq!(Arc::strong_count(&watched), 1);
}

#[test]
fn a_finished_loader_stays_finished() {
    let mut plan = plan(false);
    plan.config.epochs = Some(0);
    let mut loader = plan.start().unwrap();
    assert!(loader.next().is_none());
    assert!(loader.next().is_none());
}

#[test]
fn plans_that_cannot_work_are_refused() {
    let refused = |edit: &dyn Fn(&mut LoaderPlan)| {
        let mut plan = plan(false);
        edit(&mut plan);
        plan.start().unwrap_err()
    };
    assert!(matches!(refused(&|p| p.sets.clear()), DataError::Config(_)));
    assert!(matches!(
        refused(&|p| p.config.batch_size = 0),
        DataError::Config(_)
    ));
    assert!(matches!(
        refused(&|p| p.config.prefetch = 0),
        DataError::Config(_)
    ));
    assert!(matches!(
        refused(&|p| p.normalise = Normalise::imagenet()),
        DataError::Config(_)
    ));
    let e = refused(&|p| {
        p.config.last = Last::Drop;
        p.config.batch_size = 51;
    });
    assert!(e.to_string().contains("at most the 50 images"), "{e}");
    let shape = ImageShape {
        channels: 1,
        height: 5,
        width: 5,
    };
    let other = ImageSet::new("other", ["a".to_owned()], shape, vec![0; 25], vec![0]).unwrap();
    let e = refused(&|p| p.sets.push(Arc::new(other.clone())));
    assert!(matches!(e, DataError::ImageSize { .. }), "{e}");
    let e = refused(&|p| p.sets.push(Arc::new(p.sets[0].first(0))));
    assert!(matches!(e, DataError::EmptySet { .. }), "{e}");
}

#[test]
fn a_state_of_other_sets_is_refused() {
    let plan = plan(false);
    let mut state = LoaderState::start(2);
    assert!(plan.resume(state.clone()).is_err());
    state = LoaderState::start(3);
    state.turn = 3;
    assert!(plan.resume(state.clone()).is_err());
    state.turn = 0;
    state.cursors[1].position = 51;
    assert!(plan.resume(state).is_err());
}
