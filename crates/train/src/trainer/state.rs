//! Everything a run needs to continue bit for bit.

use super::TrainConfig;
use refit_core::{ConfigError, DType, Hint, ParamPath, Sink, Source, TensorMeta};
use refit_nn::ParamLayout;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The state of a run after some step: weights, optimiser moments, and the settings they belong to.
#[derive(Clone, Debug)]
pub struct TrainState {
    pub(super) step: u64,
    pub(super) config: TrainConfig,
    pub(super) layout: Arc<ParamLayout>,
    pub(super) params: Vec<Vec<f32>>,
    pub(super) moments: Vec<(String, Vec<Vec<f32>>)>,
}

/// Training could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss could not be computed.
    #[error("the loss could not be computed")]
    Objective {
        /// What to do about it.
        hint: Option<Cow<'static, str>>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The save hook failed.
    #[error("the state of the run could not be saved")]
    Save(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A saved state does not fit.
    #[error("the saved state {problem}")]
    State {
        /// What does not fit, as the rest of the sentence.
        problem: String,
    },
    /// A tensor of a saved state could not be read or written.
    #[error("cannot read or write tensor `{path}` of the saved state")]
    Tensor {
        /// Its name.
        path: ParamPath,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Hint for TrainError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Objective { hint, .. } => hint.clone(),
            Self::State { .. } => {
                Some("resume with the model, data and settings of the interrupted run".into())
            }
            Self::Save(_) => Some("free some space where the run is written, and run again".into()),
            Self::Config(error) => error.hint(),
            _ => None,
        }
    }
}

impl TrainError {
    pub(super) fn objective<E: Hint + Send + Sync + 'static>(error: E) -> Self {
        Self::Objective {
            hint: error.hint(),
            source: Box::new(error),
        }
    }
}

impl TrainState {
    /// Number of steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    pub(super) fn check(
        &self,
        layout: &ParamLayout,
        config: &TrainConfig,
    ) -> Result<(), TrainError> {
        let fail = |problem: &str| {
            Err(TrainError::State {
                problem: problem.to_owned(),
            })
        };
        if self.layout.specs() != layout.specs() {
            return fail("belongs to another model");
        }
        if &self.config != config {
            return fail("was made with other settings");
        }
        Ok(())
    }

    /// The tensors of the saved form: `weights.<path>`, then each moment as `<moment>.<path>`, all f32.
    pub fn tensors(&self) -> Vec<(TensorMeta, &[f32])> {
        let sets = std::iter::once(("weights", &self.params)).chain(
            self.moments
                .iter()
                .map(|(name, buffers)| (name.as_str(), buffers)),
        );
        sets.flat_map(|(set, buffers)| {
            self.layout
                .specs()
                .iter()
                .zip(buffers)
                .filter(|(_, b)| !b.is_empty())
                .map(move |(spec, buffer)| {
                    let path = ParamPath::new(set).join(&spec.path);
                    let shape = spec.shape.clone();
                    (
                        TensorMeta {
                            path,
                            dtype: DType::F32,
                            shape,
                        },
                        buffer.as_slice(),
                    )
                })
        })
        .collect()
    }

    /// Text metadata of the saved form: the step and the settings.
    #[expect(
        clippy::missing_panics_doc,
        reason = "settings are plain data, which always serialises"
    )]
    pub fn metadata(&self) -> Vec<(String, String)> {
        let config = serde_json::to_string(&self.config).expect("settings are plain data");
        vec![
            ("step".into(), self.step.to_string()),
            ("config".into(), config),
        ]
    }

    /// Writes the [`tensors`](Self::tensors) to a sink that was opened with their metas.
    ///
    /// # Errors
    /// Those of the sink, with the tensor's name.
    pub fn save<S: Sink>(&self, sink: &mut S) -> Result<(), TrainError> {
        for (meta, values) in self.tensors() {
            sink.put(&meta, bytemuck::cast_slice(values))
                .map_err(|e| TrainError::Tensor {
                    path: meta.path.clone(),
                    source: Box::new(e),
                })?;
        }
        Ok(())
    }

    /// Reads a saved state of a model with this layout.
    ///
    /// # Errors
    /// When the metadata or a tensor is missing, misshapen or unreadable.
    pub fn load<S: Source>(
        source: &S,
        metadata: &BTreeMap<String, String>,
        layout: &Arc<ParamLayout>,
    ) -> Result<Self, TrainError> {
        let fail = |problem: String| TrainError::State { problem };
        let text = |key: &str| {
            metadata
                .get(key)
                .ok_or_else(|| fail(format!("has no `{key}` in its metadata")))
        };
        let step = text("step")?
            .parse()
            .map_err(|_| fail("has no readable `step`".into()))?;
        let config: TrainConfig = serde_json::from_str(text("config")?)
            .map_err(|e| fail(format!("has unreadable settings: {e}")))?;
        let blank = config.optimizer.build(layout)?;
        let names: Vec<&str> = blank.state().iter().map(|(name, _)| *name).collect();
        let reader = Reader::new(source);
        let all = |set: &str, every: bool| reader.set(set, layout, every);
        let params = all("weights", true)?;
        let moments = names
            .into_iter()
            .map(|name| Ok((name.to_owned(), all(name, false)?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            step,
            config,
            layout: Arc::clone(layout),
            params,
            moments,
        })
    }
}

/// Tensors of a saved state by name.
struct Reader<'a, S> {
    source: &'a S,
    index: HashMap<&'a str, usize>,
}

impl<'a, S: Source> Reader<'a, S> {
    fn new(source: &'a S) -> Self {
        let metas = source.tensors().iter().enumerate();
        Self {
            source,
            index: metas.map(|(i, m)| (m.path.as_str(), i)).collect(),
        }
    }

    /// One buffer per tensor of `layout`; running statistics have no moments and come back empty.
    fn set(
        &self,
        set: &str,
        layout: &ParamLayout,
        every: bool,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        layout
            .specs()
            .iter()
            .map(|spec| match spec.role {
                refit_nn::Role::Buffer if !every => Ok(Vec::new()),
                _ => self.tensor(&ParamPath::new(set).join(&spec.path), &spec.shape),
            })
            .collect()
    }

    fn tensor(&self, path: &ParamPath, shape: &[usize]) -> Result<Vec<f32>, TrainError> {
        let fits = |&i: &usize| {
            let meta = &self.source.tensors()[i];
            meta.dtype == DType::F32 && meta.shape == shape
        };
        let at = self
            .index
            .get(path.as_str())
            .copied()
            .filter(fits)
            .ok_or_else(|| TrainError::State {
                problem: format!("has no F32 tensor `{path}` of shape {shape:?}"),
            })?;
        let bytes = self.source.bytes(at).map_err(|e| TrainError::Tensor {
            path: path.clone(),
            source: Box::new(e),
        })?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}
