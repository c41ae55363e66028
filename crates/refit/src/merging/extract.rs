//! An adapter from the difference of two models.

use super::{
    MergingError,
    models::{Form, Models, OpenModel},
};
use refit_core::{Change, DType, ParamPath, Progress};
use refit_io::{
    adapter::{AdapterOptions, write_adapter_files},
    atomic::{Overwrite, check_room, write_file},
};
use refit_merge::{
    adapter::{
        Extract, ExtractConfig, ExtractPlan, ExtractedTensor, Extraction, Part, PlannedTensor,
    },
    recipe::ModelRef,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Name of the list of tensors inside an output.
pub(crate) const EXTRACTION: &str = "extraction.json";

/// How an adapter is extracted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtractOptions {
    /// The method's settings.
    #[serde(flatten)]
    pub config: ExtractConfig,
    /// Most bytes of values in memory at once, beside the factors of the result.
    pub memory_bytes: u64,
    /// Cache of the hub, in which models are looked for that are no path; not part of what is recorded.
    #[serde(skip)]
    pub cache: Option<PathBuf>,
}

/// A fine-tuned model and its base, opened and planned; no value was read.
#[derive(Debug)]
pub struct ExtractJob {
    model: ModelRef,
    base: ModelRef,
    extract: Extract,
    plan: ExtractPlan,
    models: Models,
    options: ExtractOptions,
}

/// What an extraction would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtractSummary {
    /// The fine-tuned model.
    pub model: String,
    /// Its base.
    pub base: String,
    /// Most components of a matrix.
    pub rank: usize,
    /// Share of the squared change that is kept, where it is limited.
    pub energy: Option<f64>,
    /// Tensors that become factors where they changed.
    pub low_rank: usize,
    /// Biases that become differences where they changed.
    pub shifts: usize,
    /// Tensors that go with the adapter as they are where they changed.
    pub whole: usize,
    /// Those of them that are no vectors: embeddings, heads, convolutions.
    pub whole_matrices: Vec<String>,
    /// Element type of factors and differences.
    pub dtype: DType,
    /// Tensors that are not looked at.
    pub left_out: Vec<String>,
    /// Bytes that are read.
    pub input_bytes: u64,
    /// Bytes of the adapter, should every tensor have changed and take all components.
    pub most_bytes: u64,
    /// Bytes of memory beside the program.
    pub memory_bytes: u64,
}

/// What an extraction did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Extracted {
    /// Tensors that became factors.
    pub low_rank: usize,
    /// Biases that became differences.
    pub shifts: usize,
    /// Tensors that go with the adapter as they are.
    pub whole: usize,
    /// Tensors that did not change.
    pub unchanged: usize,
    /// Largest rank of the adapter.
    pub rank: usize,
    /// `|change - adapter| / |change|` over all tensors.
    pub residual: f64,
    /// Every tensor that changed.
    pub tensors: Vec<ExtractedTensor>,
    /// What loaders that replace whole modules do not understand.
    pub entangled: Vec<String>,
}

/// The list of tensors of an extraction, as it is read back from `extraction.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields of `Extracted`")]
pub struct ExtractionList {
    pub low_rank: usize,
    pub shifts: usize,
    pub whole: usize,
    pub unchanged: usize,
    pub rank: usize,
    pub residual: f64,
    pub tensors: Vec<ExtractedPart>,
}

/// A tensor of an [`ExtractionList`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "the fields of `ExtractedTensor`")]
pub struct ExtractedPart {
    pub path: String,
    pub part: String,
    pub rank: Option<usize>,
    pub norm: f64,
    pub residual: f64,
}

impl ExtractJob {
    /// Opens both models and says from their headers what becomes of every tensor.
    ///
    /// # Errors
    /// A setting that cannot be used, a model that cannot be opened, models that do not go together.
    pub fn open(model: &str, base: &str, options: ExtractOptions) -> Result<Self, MergingError> {
        let extract = Extract::try_from(options.config.clone())?;
        let (model, base) = (model_ref(model)?, model_ref(base)?);
        let mut models = Models::new(options.cache.clone());
        let [of_base, of_model] = [
            models.open(&base, Form::Weights)?,
            models.open(&model, Form::Weights)?,
        ];
        let names = [&*base.to_string(), &*model.to_string()];
        let headers = (models.get(of_base).header(), models.get(of_model).header());
        let plan = extract.plan(names, headers.0, headers.1)?;
        Ok(Self {
            model,
            base,
            extract,
            plan,
            models,
            options,
        })
    }

    /// Every file that is read.
    pub fn files(&self) -> Vec<PathBuf> {
        self.models.files()
    }

    /// Folders that were named as models and adapters: a result inside one would be read with it.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.models.folders()
    }

    /// What would be done.
    pub fn summary(&self) -> ExtractSummary {
        let tensors = self.plan.tensors();
        let count = |wanted: fn(Part) -> bool| tensors.iter().filter(|t| wanted(t.part)).count();
        let bytes = |model: &OpenModel, at: usize| model.header().tensors[at].size_bytes() as u64;
        let read = |tensor: &PlannedTensor| {
            bytes(self.base(), tensor.base) + bytes(self.tuned(), tensor.model)
        };
        let factors = tensors
            .iter()
            .filter(|t| matches!(t.part, Part::LowRank(_)));
        let factors: u64 = factors.map(|t| self.plan.stored_bytes(t)).sum();
        let largest = tensors
            .iter()
            .map(PlannedTensor::held_bytes)
            .max()
            .unwrap_or(0);
        let all: u64 = tensors.iter().map(PlannedTensor::held_bytes).sum();
        ExtractSummary {
            model: self.model.to_string(),
            base: self.base.to_string(),
            rank: self.options.config.rank,
            energy: self.options.config.energy,
            low_rank: count(|part| matches!(part, Part::LowRank(_))),
            shifts: count(|part| part == Part::Shift),
            whole: count(|part| part == Part::Whole),
            whole_matrices: tensors
                .iter()
                .filter(|t| t.part == Part::Whole && t.shape.len() > 1)
                .map(|t| t.path.to_string())
                .collect(),
            dtype: self.options.config.dtype,
            left_out: self.plan.left_out().to_vec(),
            input_bytes: tensors.iter().map(read).sum(),
            most_bytes: self.plan.most_bytes(),
            // The result is encoded before it is written.
            memory_bytes: 2 * factors + largest.max(all.min(self.options.memory_bytes)),
        }
    }

    /// What is probably not meant, and what may go wrong in the end.
    pub fn warnings(&self, out: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.base.adapter.is_some() {
            warnings.push(format!(
                "PEFT knows no base `{}`: merge it, and give the result as --base",
                self.base
            ));
        }
        let most = self.plan.most_bytes();
        if let Err(error) = check_room(out, most) {
            warnings.push(format!("{error}, should every tensor have changed"));
        }
        warnings
    }

    /// Extracts into `folder`, which is the caller's alone.
    ///
    /// # Errors
    /// [`MergeError::Cancelled`](refit_merge::MergeError::Cancelled) when `progress` asks for a stop; values that are not
    /// finite, models that are equal, a disk that is full, a model that changed meanwhile.
    pub fn run(&self, folder: &Path, progress: &dyn Progress) -> Result<Extracted, MergingError> {
        let (base, model) = (self.base().tensors(), self.tuned().tensors());
        let memory = self.options.memory_bytes;
        let found = self
            .extract
            .run(&self.plan, base, model, memory, progress)?;
        let options = AdapterOptions {
            base_model: Some(self.base.to_string()),
            dtype: self.options.config.dtype,
            task_type: self.task_type(&found).map(str::to_owned),
            tied: found.ties_embedding,
            ..AdapterOptions::default()
        };
        write_adapter_files(folder, &found.adapter, &options)?;
        self.models.check_unchanged()?;
        let done = Extracted::of(&found);
        let mut document = serde_json::to_string_pretty(&done).unwrap_or_default();
        document.push('\n');
        let file = folder.join(EXTRACTION);
        write_file(file, document.as_bytes(), Overwrite::Replace)?;
        Ok(done)
    }

    /// What the model is for, as PEFT calls it. Loaders take for granted that a model for a task brings its head as a
    /// whole; where it does not, nothing is said.
    fn task_type(&self, found: &Extraction) -> Option<&'static str> {
        let (kind, heads) = task_type(self.tuned().config()?)?;
        let in_head = |tensor: &&PlannedTensor| {
            let module = tensor.path.module();
            heads.iter().any(|head| module.ends_with(head))
        };
        let parts = found.adapter.tensors.iter();
        let whole: HashSet<&ParamPath> = parts
            .filter(|tensor| matches!(tensor.change, Change::Replace(_)))
            .map(|tensor| &tensor.target)
            .collect();
        let mut head = self.plan.tensors().iter().filter(in_head).peekable();
        let there = heads.is_empty() || head.peek().is_some();
        (there && head.all(|tensor| whole.contains(&tensor.path))).then_some(kind)
    }

    fn base(&self) -> &OpenModel {
        self.models.get(0)
    }

    fn tuned(&self) -> &OpenModel {
        // One model given twice is opened once.
        self.models.get(usize::from(self.base != self.model))
    }
}

impl Extracted {
    fn of(found: &Extraction) -> Self {
        Self {
            low_rank: found.count(|part| matches!(part, Part::LowRank(_))),
            shifts: found.count(|part| part == Part::Shift),
            whole: found.count(|part| part == Part::Whole),
            unchanged: found.unchanged,
            rank: found
                .tensors
                .iter()
                .filter_map(|t| t.rank)
                .max()
                .unwrap_or(0),
            residual: found.residual(),
            tensors: found.tensors.clone(),
            entangled: found.entangled.iter().map(ToString::to_string).collect(),
        }
    }

    /// The tensor that loses the largest part of its change.
    pub fn worst(&self) -> Option<&ExtractedTensor> {
        let tensors = self.tensors.iter();
        tensors.max_by(|a, b| a.residual.total_cmp(&b.residual))
    }
}

/// A model as recipes name it.
pub(super) fn model_ref(text: &str) -> Result<ModelRef, MergingError> {
    text.parse().map_err(|problem| MergingError::Recipe {
        path: text.into(),
        problem,
    })
}

/// What the model is for, as PEFT calls it, and ends of the names of the heads that it looks for then.
fn task_type(config: &Value) -> Option<(&'static str, &'static [&'static str])> {
    let name = config.get("architectures")?.get(0)?.as_str()?;
    let classes: &[&str] = &["classifier", "score"];
    let kinds: [(&str, &str, &[&str]); 6] = [
        ("ForCausalLM", "CAUSAL_LM", &[]),
        ("LMHeadModel", "CAUSAL_LM", &[]),
        ("ForConditionalGeneration", "SEQ_2_SEQ_LM", &[]),
        ("ForSequenceClassification", "SEQ_CLS", classes),
        ("ForTokenClassification", "TOKEN_CLS", classes),
        ("ForQuestionAnswering", "QUESTION_ANS", &["qa_outputs"]),
    ];
    let found = kinds.into_iter().find(|(end, ..)| name.ends_with(end));
    found.map(|(_, kind, heads)| (kind, heads))
}
