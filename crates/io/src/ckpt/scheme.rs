//! How the weights of a model folder are packed, as its `config.json` tells it.

use super::CkptError;
use crate::file::read_file;
use refit_core::{DType, TensorMeta};
use serde_json::Value;
use std::path::Path;

/// Formats of compressed-tensors whose integers or floats are read.
const FORMATS: [&str; 6] = [
    "dense",
    "float-quantized",
    "int-quantized",
    "mixed-precision",
    "naive-quantized",
    "pack-quantized",
];
/// Names of packed weights, whatever the configuration says.
const PACKED: [&str; 2] = [".qweight", ".weight_packed"];
/// Longest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// How integers stand for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are, but for eight-bit floats with scales.
    Plain,
    /// Integers of `bits`; `less` was taken off the zero points.
    Gptq {
        bits: u32,
        less: u32,
    },
    CompressedTensors,
}

/// A quantization scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) method: Method,
    /// Widths that occur.
    pub(super) bits: Vec<u32>,
    /// Inputs that share a scale, where that is said.
    pub(super) group: Option<usize>,
    /// Rows and columns that share a scale, where that is said.
    pub(super) block: Option<[usize; 2]>,
    /// Element type of the model.
    pub(super) dtype: Option<DType>,
    /// What is told of packing, such as "`quant_method` `awq`".
    told: Option<String>,
    /// What of that is not known here.
    unknown: Option<String>,
}

impl Scheme {
    /// The scheme of the model in `folder`; that of plain weights where nothing is said.
    pub(super) fn of_folder(folder: &Path) -> Self {
        let json = |name| {
            let bytes = read_file(&folder.join(name), MAX_CONFIG_BYTES).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok()
        };
        let config = json("config.json").unwrap_or_default();
        let apart = json("quantize_config.json");
        Self::parse(&config, apart.as_ref())
    }

    /// `apart` is the file beside the configuration that older GPTQ models have.
    fn parse(config: &Value, apart: Option<&Value>) -> Self {
        let dtype = ["dtype", "torch_dtype"]
            .iter()
            .find_map(|key| config[key].as_str());
        let mut scheme = Self {
            method: Method::Plain,
            bits: Vec::new(),
            group: None,
            block: None,
            dtype: dtype.and_then(|name| match name {
                "float16" => Some(DType::F16),
                "bfloat16" => Some(DType::BF16),
                "float32" => Some(DType::F32),
                _ => None,
            }),
            told: apart.map(|_| "`quantize_config.json`".to_owned()),
            unknown: None,
        };
        let quantization = &config["quantization_config"];
        if let Some(method) = quantization["quant_method"].as_str() {
            scheme.told = Some(format!("`quant_method` `{method}`"));
        }
        let size = |value: &Value| value.as_u64().filter(|&n| n > 0).map(|n| n as usize);
        match (quantization["quant_method"].as_str(), apart) {
            (Some("gptq"), _) => scheme.set_gptq(quantization),
            (None, Some(apart)) => scheme.set_gptq(apart),
            (Some("compressed-tensors"), _) => {
                scheme.method = Method::CompressedTensors;
                let groups = quantization["config_groups"].as_object();
                let weights = groups.into_iter().flat_map(|map| map.values());
                let weights: Vec<&Value> = weights.map(|group| &group["weights"]).collect();
                let bits = weights.iter().filter_map(|w| width(&w["num_bits"]));
                scheme.bits = bits.collect();
                // Where groups differ, scales tell.
                let sizes: Vec<_> = weights.iter().map(|w| size(&w["group_size"])).collect();
                if sizes.windows(2).all(|pair| pair[0] == pair[1]) {
                    scheme.group = sizes.first().copied().flatten();
                }
                if let [weights] = weights[..] {
                    scheme.block = block(&weights["block_structure"]);
                }
                let format = quantization["format"].as_str();
                let unknown = format.filter(|format| !FORMATS.contains(format));
                scheme.unknown = unknown.map(|format| format!("`format` `{format}`"));
            }
            (Some("fp8" | "fbgemm_fp8"), _) => {
                scheme.block = block(&quantization["weight_block_size"]);
            }
            (Some(_), _) => scheme.unknown.clone_from(&scheme.told),
            (None, None) => {}
        }
        scheme
    }

    /// Refuses what is still packed among `tensors` of `path`, after what is known was seen through.
    ///
    /// Where nothing is told, names that packers use tell: integers may be masks and positions.
    pub(super) fn refuse_packed(
        &self,
        path: &Path,
        tensors: &[TensorMeta],
    ) -> Result<(), CkptError> {
        let is_packed = |meta: &&TensorMeta| {
            let dtype = meta.dtype;
            let other =
                !dtype.is_weight() && ![DType::I64, DType::U64, DType::Bool].contains(&dtype);
            let name = meta.path.as_str();
            let named = PACKED.iter().any(|part| name.ends_with(part));
            meta.shape.len() > 1 && other && (named || self.unknown.is_some())
        };
        tensors.iter().find(is_packed).map_or(Ok(()), |meta| {
            Err(CkptError::Packing {
                file: path.into(),
                tensor: meta.path.as_str().into(),
                dtype: meta.dtype,
                told: self.unknown.as_deref().unwrap_or_default().into(),
            })
        })
    }

    fn set_gptq(&mut self, settings: &Value) {
        let Some(bits) = width(&settings["bits"]) else {
            self.unknown = Some(format!("`bits` {} of GPTQ", settings["bits"]));
            return;
        };
        let second = settings["checkpoint_format"] == "gptq_v2";
        self.method = Method::Gptq {
            bits,
            less: u32::from(!second),
        };
        let group = settings["group_size"].as_u64().filter(|&n| n > 0);
        self.group = group.map(|n| n as usize);
    }
}

/// Widths that fill a word.
fn width(value: &Value) -> Option<u32> {
    let bits = value.as_u64().and_then(|bits| u32::try_from(bits).ok());
    bits.filter(|bits| [2, 4, 8].contains(bits))
}

fn block(value: &Value) -> Option<[usize; 2]> {
    match value.as_array()?.as_slice() {
        [rows, columns] => {
            let sizes = [rows.as_u64()? as usize, columns.as_u64()? as usize];
            (!sizes.contains(&0)).then_some(sizes)
        }
        _ => None,
    }
}

/// Refuses a checkpoint at `path`, with `tensors` as they are stored, whose weights are packed in whatever way: for readers
/// that see through none.
///
/// # Errors
/// [`CkptError::Packing`] names the first packed tensor and what `config.json` says of it.
pub fn refuse_packed(path: &Path, tensors: &[TensorMeta]) -> Result<(), CkptError> {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    let mut scheme = Scheme::of_folder(folder);
    scheme.unknown = scheme.unknown.or_else(|| scheme.told.clone());
    scheme.refuse_packed(path, tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_public_models_are_understood() {
        let gptq = json!({"torch_dtype": "float16", "quantization_config":
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true}});
        let scheme = Scheme::parse(&gptq, None);
        assert_eq!(scheme.method, Method::Gptq { bits: 4, less: 1 });
        assert_eq!((scheme.group, scheme.dtype), (Some(128), Some(DType::F16)));
        let apart = json!({"bits": 8, "group_size": -1, "checkpoint_format": "gptq_v2"});
        let scheme = Scheme::parse(&json!({}), Some(&apart));
        assert_eq!(scheme.method, Method::Gptq { bits: 8, less: 0 });
        assert_eq!(scheme.group, None);
        let packed = json!({"quantization_config": {"quant_method": "compressed-tensors",
            "format": "pack-quantized", "config_groups": {"group_0":
            {"weights": {"num_bits": 4, "group_size": 32, "strategy": "group"}}}}});
        let scheme = Scheme::parse(&packed, None);
        assert_eq!(scheme.method, Method::CompressedTensors);
        assert_eq!((scheme.bits, scheme.group), (vec![4], Some(32)));
        let fp8 =
            json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 64]}});
        assert_eq!(Scheme::parse(&fp8, None).block, Some([128, 64]));
    }

    #[test]
    fn a_width_that_does_not_fill_a_word_is_not_read() {
        let three = json!({"quantization_config": {"quant_method": "gptq", "bits": 3}});
        assert_eq!(Scheme::parse(&three, None).method, Method::Plain);
        assert_eq!(Scheme::parse(&json!(null), None).method, Method::Plain);
    }
}
