//! What was fitted, in the formats of others: a head, and an adapter as PEFT has it.

use super::{TuneError, Tuning, lora::HEAD};
use crate::{fitting::weights_name, run::write_document};
use refit_core::{Adapter, AdapterTensor, Change, DType, LowRank, Placement, Sink, TensorMeta};
use refit_io::{
    adapter::{AdapterOptions, write_adapter},
    atomic::Overwrite,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32},
};
use serde::Serialize;
use std::{fs, path::Path};

/// Folder of the head.
const HEAD_FOLDER: &str = "head";
/// Folder of the adapter.
const ADAPTER_FOLDER: &str = "adapter";

/// What the tensors of a head mean.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct HeadConfig<'a> {
    /// The encoder whose vectors it reads.
    model: &'a Path,
    /// Whether vectors are those of the encoder with the adapter beside.
    adapter: bool,
    /// The label of each output.
    labels: &'a [String],
    /// How a vector is made of the states of tokens.
    pool: String,
    /// Whether it is made as long as 1.
    unit: bool,
    max_length: usize,
}

impl Tuning {
    /// Writes what the first solver found that did not diverge in `folder`: `head/model.safetensors` with the tensors of a
    /// linear classifier and `head/config.json` with its labels; with adapters also the folder `adapter`. Returns the
    /// solver's label; `None` where all diverged.
    ///
    /// # Errors
    /// When the parameters are not there, or the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<Option<&str>, TuneError> {
        let arms = self.settings.fit.arms.iter().enumerate();
        let mut stored = arms.map(|(at, arm)| (folder.join(weights_name(at, arm)), arm));
        let Some((stored, arm)) = stored.find(|(path, _)| path.is_file()) else {
            return Ok(None);
        };
        let checkpoint = Checkpoint::open(&stored)?;
        let bytes = checkpoint.view("w")?.bytes;
        let values = bytes.as_chunks::<8>().0.iter();
        let x: Vec<f32> = values.map(|b| f64::from_le_bytes(*b) as f32).collect();
        let (width, classes) = (self.folder.config.size().hidden, self.labels().len());
        let (factors, head) = x.split_at(x.len() - (width + 1) * classes);
        let (weight, bias) = head.split_at(width * classes);
        let weight = match &self.adapted {
            Some(_) => weight.to_vec(),
            // Fitted as `[width, classes]`.
            None => (0..width * classes)
                .map(|at| weight[at % width * classes + at / width])
                .collect(),
        };
        self.write_head(folder, &weight, bias)?;
        if self.adapted.is_some() {
            self.write_adapter(folder, factors)?;
        }
        Ok(Some(&arm.label))
    }

    fn write_head(&self, folder: &Path, weight: &[f32], bias: &[f32]) -> Result<(), TuneError> {
        let home = folder.join(HEAD_FOLDER);
        fs::create_dir_all(&home).map_err(crate::run::RunError::io("create", &home))?;
        let (width, classes) = (self.folder.config.size().hidden, bias.len());
        let meta = |name: &str, shape: Vec<usize>| TensorMeta {
            path: format!("{HEAD}.{name}").into(),
            dtype: DType::F32,
            shape,
        };
        let metas = vec![
            meta("weight", vec![classes, width]),
            meta("bias", vec![classes]),
        ];
        let options = WriteOptions {
            metadata: [("format".into(), "pt".into())].into(),
            overwrite: Overwrite::Replace,
            ..WriteOptions::default()
        };
        let path = home.join("model.safetensors");
        let mut writer = CheckpointWriter::create(path, metas.clone(), options)?;
        for (meta, values) in metas.iter().zip([weight, bias]) {
            // Invariant: as many values as the shape says, in a dtype that holds them.
            writer.put(meta, &encode_f32(meta, values).unwrap_or_default())?;
        }
        writer.finish()?;
        let config = HeadConfig {
            model: &self.settings.model,
            adapter: self.adapted.is_some(),
            labels: self.labels(),
            pool: format!("{:?}", self.folder.pool).to_lowercase(),
            unit: self.folder.unit,
            max_length: self.folder.longest,
        };
        Ok(write_document(
            &home.join("config.json"),
            &config,
            Overwrite::Replace,
        )?)
    }

    fn write_adapter(&self, folder: &Path, mut factors: &[f32]) -> Result<(), TuneError> {
        let Some(adapted) = &self.adapted else {
            return Ok(());
        };
        let mut tensors = Vec::new();
        for site in &adapted.sites {
            let (right, rest) = factors.split_at(adapted.rank * site.inputs);
            let (left, rest) = rest.split_at(adapted.rank * site.outputs);
            factors = rest;
            let (left, right) = (left.to_vec(), right.to_vec());
            let shape = [site.outputs, site.inputs];
            let low_rank = LowRank::new(shape, adapted.rank, left, right, adapted.scale);
            tensors.push(AdapterTensor {
                target: format!("{}.weight", site.module).into(),
                change: Change::LowRank {
                    // Invariant: both were cut to their shape.
                    factors: low_rank.expect("factors that fill their shape"),
                    placement: Placement::Linear,
                    magnitude: None,
                },
            });
        }
        let name = ADAPTER_FOLDER.to_owned();
        let options = AdapterOptions {
            base_model: Some(self.settings.model.display().to_string()),
            task_type: Some("FEATURE_EXTRACTION".into()),
            overwrite: Overwrite::Replace,
            ..AdapterOptions::default()
        };
        write_adapter(
            folder.join(ADAPTER_FOLDER),
            &Adapter { name, tensors },
            &options,
        )?;
        Ok(())
    }
}
