//! A classification task: three parts that agree.

use super::{DataError, ImageSet, ImageShape};
use std::sync::Arc;

/// Training, validation and test part of one label set, with equal image shape and classes; no part is empty and every
/// class has a training image.
///
/// The parts are shared, so that a clone is cheap and a loader may keep one on its own thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    name: String,
    train: Arc<ImageSet>,
    val: Arc<ImageSet>,
    test: Arc<ImageSet>,
}

impl Task {
    /// Joins three parts and renames them `name/train`, `name/val` and `name/test`.
    ///
    /// # Errors
    /// When a part is empty, a class has no training image, or the parts differ in image shape or classes.
    pub fn new(
        name: impl Into<String>,
        train: ImageSet,
        val: ImageSet,
        test: ImageSet,
    ) -> Result<Self, DataError> {
        let name = name.into();
        let train = train.renamed(format!("{name}/train"));
        let val = val.renamed(format!("{name}/val"));
        let test = test.renamed(format!("{name}/test"));
        for part in [&train, &val, &test] {
            agrees(part, &train)?;
        }
        if let Some(label) = train.class_counts().iter().position(|&n| n == 0) {
            let class = train.classes()[label].clone();
            return Err(DataError::EmptyClass {
                set: train.name().to_owned(),
                class,
            });
        }
        Ok(Self {
            name,
            train: train.into(),
            val: val.into(),
            test: test.into(),
        })
    }

    /// What recipes and reports call the task.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part to train on.
    pub const fn train(&self) -> &Arc<ImageSet> {
        &self.train
    }

    /// The part to tune on.
    pub const fn val(&self) -> &Arc<ImageSet> {
        &self.val
    }

    /// The part to report, read once.
    pub const fn test(&self) -> &Arc<ImageSet> {
        &self.test
    }

    /// Names of the classes, in label order.
    pub fn classes(&self) -> &Arc<[String]> {
        self.train.classes()
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.train.class_count()
    }

    /// Extent of one image.
    pub fn shape(&self) -> ImageShape {
        self.train.shape()
    }

    /// The task with every part changed by `edit`.
    ///
    /// # Errors
    /// Those of `edit`, and those of [`Task::new`].
    pub fn map(
        &self,
        edit: impl Fn(&ImageSet) -> Result<ImageSet, DataError>,
    ) -> Result<Self, DataError> {
        Self::new(
            &self.name,
            edit(&self.train)?,
            edit(&self.val)?,
            edit(&self.test)?,
        )
    }
}

/// Checks that `part` can stand beside the training part.
fn agrees(part: &ImageSet, train: &ImageSet) -> Result<(), DataError> {
    let set = part.name().to_owned();
    if part.is_empty() {
        return Err(DataError::EmptySet { set });
    }
    if part.shape() != train.shape() {
        let (found, expected) = (part.shape(), train.shape());
        return Err(DataError::ImageSize {
            what: set,
            found,
            expected,
        });
    }
    if part.classes() != train.classes() {
        let (found, expected) = (part.classes().to_vec(), train.classes().to_vec());
        return Err(DataError::Classes {
            set,
            found,
            expected,
        });
    }
    Ok(())
}
