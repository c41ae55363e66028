//! Settings and state of a loader.

use serde::{Deserialize, Serialize};

/// Order of the images within an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A new random order every epoch.
    #[default]
    Shuffled,
    /// As stored.
    Sequential,
}

/// What becomes of the images that do not fill a batch at the end of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// They make a smaller batch.
    #[default]
    Keep,
    /// They are left out of this epoch.
    Drop,
}

/// Settings of a [`Loader`](super::Loader).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoaderConfig {
    /// Images per batch, at least 1 (ours: 32).
    pub batch_size: usize,
    /// Order within an epoch.
    pub order: Order,
    /// The end of an epoch.
    pub last: Last,
    /// Passes over each set; without it, batches never end.
    pub epochs: Option<u64>,
    /// Batches prepared ahead, at least 1 (ours: 4).
    pub prefetch: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 32,
            order: Order::Shuffled,
            last: Last::Keep,
            epochs: None,
            prefetch: 4,
        }
    }
}

/// How far a loader has come with one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Images of this epoch that were handed out.
    pub position: usize,
}

/// How far a loader has come; saved with a training checkpoint, it continues with the very next batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// One cursor per set.
    pub cursors: Vec<Cursor>,
    /// The set whose turn it is.
    pub turn: usize,
}

impl LoaderState {
    /// The beginning, for this many sets.
    pub fn start(sets: usize) -> Self {
        Self {
            cursors: vec![
                Cursor {
                    epoch: 0,
                    position: 0
                };
                sets
            ],
            turn: 0,
        }
    }
}
