//! The real files: sizes, labels and the sanity numbers of their README.

use crate::data_models::{linear_accuracy, neighbour_accuracy};
use refit_io::data::{
    FolderOptions, ImageShape, npz::Npz, read_cifar_jpeg, read_npz_task, read_suite, read_task,
};
use refit_testkit::real_folder;

#[test]
fn the_eight_tasks_have_the_sizes_and_labels_of_the_readme() {
    let Some(dir) = real_folder() else { return };
    let expected = [
        ("mnist", 10, [6000, 1000, 2000]),
        ("fashion", 10, [6000, 1000, 2000]),
        ("notmnist", 10, [6000, 1000, 2000]),
        ("kannada", 10, [6000, 1000, 2000]),
        ("usps", 10, [6000, 1000, 2007]),
        ("quickdraw3", 3, [2000, 250, 749]),
        ("pneumonia", 2, [3872, 524, 624]),
        ("omniglot_script8", 8, [3630, 484, 726]),
    ];
    let largest_class = [0.114, 0.100, 0.102, 0.100, 0.179, 0.334, 0.625, 0.194];
    let tasks = read_suite(dir, &FolderOptions::default()).unwrap();
    assert_eq!(tasks.len(), 8);
    assert_eq!(tasks[5].classes().to_vec(), ["cat", "rainbow", "train"]);
    assert_eq!(tasks[7].classes()[3], "Japanese_(katakana)");
    for ((task, (name, classes, sizes)), share) in tasks.iter().zip(expected).zip(largest_class) {
        let found = [task.train().len(), task.val().len(), task.test().len()];
        assert_eq!(
            (task.name(), task.class_count(), found),
            (name, classes, sizes)
        );
        assert_eq!(task.shape(), ImageShape::GLYPH);
        let most = *task.test().class_counts().iter().max().unwrap() as f64;
        assert!(
            (most / sizes[2] as f64 - share).abs() < 6e-4,
            "{name}: {most} of {}",
            sizes[2]
        );
    }
}

#[test]
fn three_neighbours_reach_the_sanity_numbers() {
    let Some(dir) = real_folder() else { return };
    for (file, expected) in [
        ("img28_quickdraw3.npz", 0.877),
        ("img28_omniglot_script8.npz", 0.534),
    ] {
        let accuracy = neighbour_accuracy(&read_npz_task(dir.join(file)).unwrap(), 3);
        println!("{file}: 3-NN {accuracy:.3}, README {expected}");
        assert!((accuracy - expected).abs() < 0.01, "{file}: {accuracy}");
    }
}

#[test]
fn the_linear_baseline_of_the_suite_tests_is_no_straw_man() {
    let Some(dir) = real_folder() else { return };
    let task = read_npz_task(dir.join("img28_mnist.npz")).unwrap();
    let small = task.map(|set| Ok(set.first(2000))).unwrap();
    let accuracy = linear_accuracy(&small);
    println!("mnist, 2000 training images: linear {accuracy:.3}");
    assert!(accuracy > 0.85, "{accuracy}");
}

#[test]
fn cifar_streams_become_pictures() {
    let Some(dir) = real_folder() else { return };
    let task = read_cifar_jpeg(dir.join("img32_cifar10_jpeg.npz")).unwrap();
    assert_eq!(
        [task.train().len(), task.val().len(), task.test().len()],
        [6000, 1000, 2000]
    );
    assert_eq!(task.shape(), ImageShape::CIFAR);
    assert_eq!(task.test().class_counts(), [200; 10]);
    assert_eq!(
        read_task(
            dir.join("img32_cifar10_jpeg.npz"),
            &FolderOptions::default()
        )
        .unwrap(),
        task
    );
    // Frogs and deer are greener or browner than the sky behind airplanes is blue.
    let blue_over_green = |label: u32| {
        let set = task.train();
        let of_class: Vec<usize> = (0..set.len()).filter(|&i| set.label(i) == label).collect();
        let mean = |i: usize, c: usize| {
            set.image(i)[c * 1024..][..1024]
                .iter()
                .map(|&v| f64::from(v))
                .sum::<f64>()
                / 1024.0
        };
        of_class
            .iter()
            .map(|&i| mean(i, 2) - mean(i, 1))
            .sum::<f64>()
            / of_class.len() as f64
    };
    assert!(blue_over_green(0) > 0.0 && blue_over_green(6) < -5.0);
}

#[test]
fn arrays_of_other_types_are_read() {
    let Some(dir) = real_folder() else { return };
    let npz = Npz::open(dir.join("fewshot_omniglot8.npz")).unwrap();
    let x = npz.array("x").unwrap();
    assert_eq!(x.shape(), [242 * 20, 28, 28]);
    let classes = npz.array("cls").unwrap().integers().unwrap();
    assert_eq!((classes.len(), classes.iter().max()), (4840, Some(&241)));
    let points = Npz::open(dir.join("pc_semantickitti_frames.npz")).unwrap();
    let xyz = points.array("a000700_xyz").unwrap();
    assert_eq!(xyz.shape(), [85962, 3]);
    let ys = xyz.floats().unwrap().into_iter().skip(1).step_by(3);
    let (low, high) = ys.fold((f32::MAX, f32::MIN), |(l, h), y| (l.min(y), h.max(y)));
    assert!(
        (low + 157.0).abs() < 1.0 && (high + 25.0).abs() < 1.0,
        "{low} {high}"
    );
}
