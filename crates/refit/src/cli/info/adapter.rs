//! What is in an adapter.

use super::{
    super::{
        error::CliError,
        ui::{Show, Ui},
    },
    checkpoint::{CheckpointInfo, architecture, look},
};
use crate::{
    merging::{EXTRACTION, ExtractionList, MergingError},
    run::{RECORD, RunFiles},
};
use refit_core::{Adapter, Change};
use refit_io::{
    adapter::{CONFIG_FILE, read_adapter},
    ckpt::TensorReader,
    file::read_file,
};
use serde::Serialize;
use std::{collections::BTreeSet, fmt::Write, path::Path};

/// Most bytes of the list of an extraction that are read.
const MAX_EXTRACTION_BYTES: u64 = 64 << 20;

/// An adapter with what it changes, where it comes from, and the health of every tensor.
#[derive(Serialize)]
pub(super) struct AdapterInfo {
    /// Tensors that get the product of factors, least and largest rank of these, tensors that are shifted, and tensors
    /// that are replaced.
    factors: usize,
    ranks: Option<[usize; 2]>,
    shifts: usize,
    replaced: usize,
    base_model: Option<String>,
    /// `|change - adapter| / |change|`, where an extraction wrote it down.
    residual: Option<f64>,
    /// The command that made it, where it was one of ours.
    command: Option<String>,
    #[serde(flatten)]
    tensors: CheckpointInfo,
}

impl AdapterInfo {
    /// Opens the adapter in the folder `path`, checks that its parts go together, and looks at every value once.
    pub(super) fn read(path: &Path, ui: &Ui) -> Result<Self, CliError> {
        let stored = read_adapter(path).map_err(MergingError::from)?;
        let described = path.join(CONFIG_FILE);
        // An index comes before what it lists.
        let weights = stored.files.iter().find(|file| **file != described);
        let weights = TensorReader::open(weights.unwrap_or(&described))?;
        let config = architecture(path, CONFIG_FILE);
        let list = read_file(&path.join(EXTRACTION), MAX_EXTRACTION_BYTES).ok();
        let list = list.and_then(|list| serde_json::from_slice::<ExtractionList>(&list).ok());
        let run = path.join(RECORD).is_file().then(|| RunFiles::read(path));
        let count = |wanted: fn(&Change) -> bool| count(&stored.adapter, wanted);
        Ok(Self {
            factors: count(|change| matches!(change, Change::LowRank { .. })),
            ranks: ranks(&stored.adapter),
            shifts: count(|change| matches!(change, Change::Shift(_))),
            replaced: replaced(&stored.adapter),
            base_model: stored.config.base_model_name_or_path,
            residual: list.map(|list| list.residual),
            command: run.and_then(|run| Some(run.ok()?.record.shell_command())),
            tensors: look(path, "adapter", config, &weights, ui)?,
        })
    }
}

fn count(adapter: &Adapter, wanted: fn(&Change) -> bool) -> usize {
    let changes = adapter.tensors.iter().map(|tensor| &tensor.change);
    changes.filter(|change| wanted(change)).count()
}

/// Tensors that are replaced and nothing else; a table of the base beside factors is stored, not changed.
fn replaced(adapter: &Adapter) -> usize {
    let of = |wanted: fn(&Change) -> bool| {
        let tensors = adapter
            .tensors
            .iter()
            .filter(move |tensor| wanted(&tensor.change));
        tensors.map(|tensor| &tensor.target)
    };
    let added: BTreeSet<_> = of(|change| !matches!(change, Change::Replace(_))).collect();
    let whole = of(|change| matches!(change, Change::Replace(_)));
    whole.filter(|target| !added.contains(target)).count()
}

/// Least and largest rank of factors.
fn ranks(adapter: &Adapter) -> Option<[usize; 2]> {
    let ranks = adapter
        .tensors
        .iter()
        .filter_map(|tensor| match &tensor.change {
            Change::LowRank { factors, .. } => Some(factors.rank()),
            _ => None,
        });
    Some([ranks.clone().min()?, ranks.max()?])
}

impl Show for AdapterInfo {
    fn text(&self, ui: &Ui) -> String {
        let mut text = self.tensors.head(ui);
        if let Some(base) = &self.base_model {
            let _ = writeln!(text, "base        {base}");
        }
        let rank = match self.ranks {
            None => String::new(),
            Some([least, most]) if least == most => format!(" of rank {most}"),
            Some([least, most]) => format!(" of rank {least} to {most}"),
        };
        let _ = writeln!(
            text,
            "changes     {} tensors by factors{rank}, {} shifted, {} replaced",
            self.factors, self.shifts, self.replaced
        );
        if let Some(residual) = self.residual {
            let _ = writeln!(
                text,
                "residual    {residual:.2e} of the change it was extracted from"
            );
        }
        if let Some(command) = &self.command {
            let _ = writeln!(text, "made by     {command}");
        }
        text + &self.tensors.body(ui)
    }
}
