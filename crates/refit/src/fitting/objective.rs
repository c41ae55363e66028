//! The objectives that can be fitted, as one.

use refit_core::ConfigError;
use refit_io::data::Table;
use refit_math::vector::norm;
use refit_train::{
    objective::{
        DualModel, LinearConfig, LinearModel, NetworkConfig, NetworkModel, ObjectiveError, Outputs,
        SoftmaxConfig, SoftmaxModel,
    },
    optim::second::{FiniteSum, Sample},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Which model and loss, with their settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveConfig {
    /// A loss of one number.
    Linear(LinearConfig),
    /// A loss of an output for each class.
    Softmax(SoftmaxConfig),
    /// A network with one hidden layer.
    Network(NetworkConfig),
}

impl ObjectiveConfig {
    /// Whether labels are classes.
    pub const fn has_classes(&self) -> bool {
        match self {
            Self::Linear(config) => config.loss.is_binary(),
            Self::Softmax(_) | Self::Network(_) => true,
        }
    }

    /// What the parameters are, in order; matrices are row by row.
    pub(super) const fn layout(&self) -> &'static str {
        match self {
            Self::Linear(LinearConfig { bias: false, .. }) => "w [features]",
            Self::Linear(_) => "w [features], bias",
            Self::Softmax(SoftmaxConfig { bias: false, .. }) => "W [features, classes]",
            Self::Softmax(_) => "W [features, classes], bias [classes]",
            Self::Network(_) => {
                "W1 [features, hidden], b1 [hidden], W2 [classes, hidden], b2 [classes]"
            }
        }
    }
}

/// The name of an objective on the command line.
pub(crate) fn objective_name(config: &ObjectiveConfig) -> String {
    let name = match config {
        ObjectiveConfig::Linear(config) => serde_json::to_value(config.loss)
            .ok()
            .and_then(|loss| Some(loss.get("name")?.as_str()?.to_owned())),
        ObjectiveConfig::Softmax(_) => Some("softmax".into()),
        ObjectiveConfig::Network(_) => Some("network".into()),
    };
    name.unwrap_or_default()
}

/// A loss over rows.
#[derive(Clone, Debug)]
pub struct Objective {
    config: ObjectiveConfig,
    pub(super) sum: Sum,
}

/// The models behind an [`Objective`].
#[derive(Clone, Debug)]
pub(super) enum Sum {
    Linear(LinearModel),
    Softmax(SoftmaxModel),
    Network(NetworkModel),
    Model(Box<DualModel<Arc<dyn ModelRows>>>),
}

/// A model with rows of its own, whatever they are made of.
pub(crate) trait ModelRows: Outputs + fmt::Debug + Send {}

impl<M: Outputs + fmt::Debug + Send> ModelRows for M {}

/// Does the same for every model.
macro_rules! each {
    ($objective:expr, $sum:ident => $body:expr) => {
        match &$objective.sum {
            $crate::fitting::objective::Sum::Linear($sum) => $body,
            $crate::fitting::objective::Sum::Softmax($sum) => $body,
            $crate::fitting::objective::Sum::Network($sum) => $body,
            $crate::fitting::objective::Sum::Model($sum) => {
                let $sum = &**$sum;
                $body
            }
        }
    };
}
pub(super) use each;

/// Loss and gradient of all rows at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exact {
    pub(super) loss: f64,
    /// Length of the gradient.
    pub(super) gradient: f64,
}

impl Objective {
    /// The loss over the rows of a table.
    ///
    /// # Errors
    /// A setting out of range, or rows and labels that the loss does not take.
    pub fn new(table: Table, config: ObjectiveConfig) -> Result<Self, ObjectiveError> {
        let sum = match config {
            ObjectiveConfig::Linear(config) => Sum::Linear(LinearModel::new(table, config)?),
            ObjectiveConfig::Softmax(config) => Sum::Softmax(SoftmaxModel::new(table, config)?),
            ObjectiveConfig::Network(config) => Sum::Network(NetworkModel::new(table, config)?),
        };
        Ok(Self { config, sum })
    }

    /// The cross-entropy of a model on its own rows.
    pub(crate) fn of_model(model: DualModel<Arc<dyn ModelRows>>) -> Self {
        Self {
            config: ObjectiveConfig::Softmax(SoftmaxConfig::default()),
            sum: Sum::Model(Box::new(model)),
        }
    }

    /// The same loss over other rows.
    ///
    /// # Errors
    /// Rows of another width or of other classes; a model that reads no table.
    pub fn beside(&self, table: Table) -> Result<Self, ObjectiveError> {
        let sum = match &self.sum {
            Sum::Linear(sum) => Sum::Linear(sum.beside(table)?),
            Sum::Softmax(sum) => Sum::Softmax(sum.beside(table)?),
            Sum::Network(sum) => Sum::Network(sum.beside(table)?),
            Sum::Model(_) => {
                let problem = "are a table, which a model with rows of its own does not read";
                return Err(ConfigError::conflict("rows", problem).into());
            }
        };
        let config = self.config;
        Ok(Self { config, sum })
    }

    /// Number of parameters.
    pub fn dim(&self) -> usize {
        each!(self, sum => sum.dim())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        each!(self, sum => sum.terms())
    }

    /// Whether bounds on every term are known.
    pub fn has_bounds(&self) -> bool {
        each!(self, sum => sum.bounds().is_some())
    }

    /// Share of the rows that get another class than their own; `None` where labels are no classes.
    pub fn error_rate(&self, x: &[f64]) -> Option<f64> {
        let classes = self.config.has_classes();
        classes.then(|| each!(self, sum => sum.error_rate(x)))
    }

    /// Mean loss of all rows, and [`error_rate`](Self::error_rate).
    pub(super) fn loss_and_error(&self, x: &[f64]) -> (f64, Option<f64>) {
        if let Sum::Model(model) = &self.sum {
            let (loss, error) = model.loss_and_error_rate(x);
            return (loss, Some(error));
        }
        let mut values = vec![0.0; self.rows()];
        each!(self, sum => sum.values(x, Sample::All, &mut values));
        let loss = values.iter().sum::<f64>() / values.len() as f64;
        (loss, self.error_rate(x))
    }

    /// Mean loss of all rows, and the length of its gradient.
    pub(super) fn exact(&self, x: &[f64]) -> Exact {
        each!(self, sum => exact(sum, x))
    }
}

/// [`Objective::exact`] of a model.
pub(super) fn exact<O: FiniteSum>(sum: &O, x: &[f64]) -> Exact {
    let (mut values, mut gradient) = (vec![0.0; sum.terms()], vec![0.0; sum.dim()]);
    sum.gradient(x, Sample::All, &mut values, &mut gradient);
    Exact {
        loss: values.iter().sum::<f64>() / values.len() as f64,
        gradient: norm(&gradient),
    }
}
