//! What a method is, and what it may see.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The part of the survey "learn from model" that a method belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Area {
    /// One model and data become a model or an adapter.
    Tuning,
    /// Teachers become a student.
    Distillation,
    /// Many models become one.
    Reuse,
    /// Tasks become a starting point.
    MetaLearning,
    /// A model and facts become a model that knows them.
    Editing,
    /// A model becomes a smaller one.
    Compression,
    /// Many sites become one model.
    Federation,
}

/// How much of a model a method needs, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelAccess {
    /// The predicted label alone.
    Labels,
    /// Probabilities or logits of the outputs.
    Probabilities,
    /// Hidden features.
    Features,
    /// Gradients with respect to inputs.
    InputGradients,
    /// The weights, to read.
    ReadWeights,
    /// The weights, to change.
    WriteWeights,
}

/// How much data a method needs, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataAccess {
    /// No data.
    None,
    /// Inputs without labels.
    Unlabelled,
    /// A handful of labelled examples per class.
    FewShot,
    /// A full labelled set of the task.
    Full,
    /// The very data the model was trained on.
    Original,
}

/// What a method says about itself; tables in the documentation are made from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// The name recipes use.
    pub name: &'static str,
    /// One sentence for tables.
    pub summary: &'static str,
    /// Where it belongs.
    pub area: Area,
    /// What it needs of each model.
    pub model: ModelAccess,
    /// What it needs of data.
    pub data: DataAccess,
    /// Where it was published.
    pub source: &'static str,
}

/// What a caller grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The most that may be seen of a model.
    pub model: ModelAccess,
    /// The most that may be seen of data.
    pub data: DataAccess,
}

impl Access {
    /// Everything.
    pub const FULL: Self = Self {
        model: ModelAccess::WriteWeights,
        data: DataAccess::Original,
    };

    /// Checks that `card` asks for no more than was granted.
    ///
    /// # Errors
    /// [`AccessError`] names the first demand that exceeds the grant.
    ///
    /// ```
    /// use refit_core::{Access, Area, Card, DataAccess, ModelAccess};
    /// let card = Card { name: "adamerging", summary: "", area: Area::Reuse, source: "",
    ///                   model: ModelAccess::ReadWeights, data: DataAccess::Unlabelled };
    /// let no_data = Access { model: ModelAccess::WriteWeights, data: DataAccess::None };
    /// assert!(Access::FULL.allows(&card).is_ok());
    /// assert!(no_data.allows(&card).is_err());
    /// ```
    pub fn allows(self, card: &Card) -> Result<(), AccessError> {
        if card.model > self.model {
            return Err(AccessError::Model {
                method: card.name,
                needs: card.model,
                granted: self.model,
            });
        }
        if card.data > self.data {
            return Err(AccessError::Data {
                method: card.name,
                needs: card.data,
                granted: self.data,
            });
        }
        Ok(())
    }
}

/// A method asked for more than it was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// More of the model.
    #[error("`{method}` needs model access `{needs}`, granted is `{granted}`")]
    Model {
        /// Who asked.
        method: &'static str,
        /// What it needs.
        needs: ModelAccess,
        /// What it was given.
        granted: ModelAccess,
    },
    /// More data.
    #[error("`{method}` needs data access `{needs}`, granted is `{granted}`")]
    Data {
        /// Who asked.
        method: &'static str,
        /// What it needs.
        needs: DataAccess,
        /// What it was given.
        granted: DataAccess,
    },
}

impl fmt::Display for ModelAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Labels => "labels",
            Self::Probabilities => "probabilities",
            Self::Features => "features",
            Self::InputGradients => "input-gradients",
            Self::ReadWeights => "read-weights",
            Self::WriteWeights => "write-weights",
        })
    }
}

impl fmt::Display for DataAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Unlabelled => "unlabelled",
            Self::FewShot => "few-shot",
            Self::Full => "full",
            Self::Original => "original",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_serde_agree() {
        let json = serde_json::to_string(&ModelAccess::InputGradients).unwrap();
        assert_eq!(json, format!("\"{}\"", ModelAccess::InputGradients));
        let json = serde_json::to_string(&DataAccess::FewShot).unwrap();
        assert_eq!(json, format!("\"{}\"", DataAccess::FewShot));
    }
}
