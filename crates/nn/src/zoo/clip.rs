//! CLIP (Radford et al. 2021, arXiv:2103.00020): images and texts in one space, in the names of Hugging Face.

use super::{TextSize, TokenBatch, pool::pick, settings::Settings, tower::Tower};
use crate::{
    Init, NnError, Scope,
    blocks::{
        DEVIATION, Embedding, ImageTokens, Layer, Linear, Look, Norm, PatchEmbedding, Sight,
        unit_rows,
    },
};
use refit_core::ConfigError;
use refit_kernels::dual::{AttentionMask, Dual};
use serde_json::{Map, Value};

/// Configuration of a [`Clip`], as its `config.json` holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    vision: Tower,
    text: Tower,
    image_size: usize,
    patch_size: usize,
    channels: usize,
    words: usize,
    positions: usize,
    /// The word that ends a text.
    end: u32,
    projection: usize,
}

/// Old configurations name this word as the end, and mean the one with the highest number.
const OLD_END: u32 = 2;

impl ClipConfig {
    /// Reads the keys of a `config.json`.
    ///
    /// # Errors
    /// A value of another type or out of range.
    ///
    /// # Example
    /// ```
    /// use refit_nn::zoo::ClipConfig;
    /// let json = serde_json::json!({ "model_type": "clip", "vision_config": { "patch_size": 16 } });
    /// let config = ClipConfig::read(json.as_object().unwrap())?;
    /// assert_eq!((config.image_size(), config.text_size().longest), (224, 77));
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let settings = Settings(keys);
        settings.only("model_type", &"clip".to_owned())?;
        // Old files tell each part twice, and mean what the second says.
        let part = |key, old| match settings.find(old)? {
            Some(part) => Ok::<_, ConfigError>(part),
            None => settings.get(key, Map::new()),
        };
        let vision = part("vision_config", "vision_config_dict")?;
        let text = part("text_config", "text_config_dict")?;
        let (vision, text) = (Settings(&vision), Settings(&text));
        let config = Self {
            image_size: vision.size("image_size", 224)?,
            patch_size: vision.size("patch_size", 32)?,
            channels: vision.size("num_channels", 3)?,
            vision: Tower::read(vision, [768, 12])?,
            words: text.size("vocab_size", 49408)?,
            positions: text.size("max_position_embeddings", 77)?,
            end: text.get("eos_token_id", 49407)?,
            text: Tower::read(text, [512, 8])?,
            projection: settings.size("projection_dim", 512)?,
        };
        super::patch(config.patch_size, config.image_size)?;
        Ok(config)
    }

    /// Side of the (square) image.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Entries of a vector in the common space.
    pub fn width(&self) -> usize {
        self.projection
    }

    /// What the text side can read.
    pub fn text_size(&self) -> TextSize {
        TextSize {
            hidden: self.text.hidden,
            words: self.words,
            segments: 0,
            longest: self.positions,
        }
    }

    /// Binds the model.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(&self, scope: &Scope<'_>) -> Result<Clip, NnError> {
        let start = Init::Normal(DEVIATION);
        let (text, d) = (scope.at("text_model"), self.text.hidden);
        let words = Embedding::bind(&text.at("embeddings.token_embedding"), self.words, d)?;
        let places = text.at("embeddings.position_embedding");
        let places = Embedding::bind(&places, self.positions, d)?;
        let text_side = TextSide {
            words,
            places,
            layers: self.text.bind(&text)?,
            norm: Norm::layer(&text.at("final_layer_norm"), d, self.text.eps)?,
        };
        let (vision, d) = (scope.at("vision_model"), self.vision.hidden);
        let place = vision.at("embeddings");
        let side = self.image_size / self.patch_size;
        let norm = |name| Norm::layer(&vision.at(name), d, self.vision.eps);
        let class = place
            .tensor("class_embedding", [d], start)?
            .reshape([1, 1, d]);
        let patches = place.at("patch_embedding");
        let patches = PatchEmbedding::bind_plain(&patches, self.channels, self.patch_size, d)?;
        let places = place.at("position_embedding");
        let places = places.tensor("weight", [side * side + 1, d], start)?;
        let image_side = ImageSide {
            tokens: ImageTokens::new(Some(class), patches, places.unsqueeze(), side),
            before: norm("pre_layrnorm")?, // spelt so in every checkpoint
            layers: self.vision.bind(&vision)?,
            after: norm("post_layernorm")?,
        };
        let into = |name, d| Linear::bind_plain(&scope.at(name), d, self.projection, start);
        Ok(Clip {
            config: self.clone(),
            image_side,
            text_side,
            from_image: into("visual_projection", d)?,
            from_text: into("text_projection", self.text.hidden)?,
            log_scale: scope.scalar("logit_scale", Init::Zeros)?,
        })
    }
}

/// A CLIP bound to weights.
#[derive(Clone, Debug)]
pub struct Clip {
    config: ClipConfig,
    image_side: ImageSide,
    text_side: TextSide,
    from_image: Linear,
    from_text: Linear,
    log_scale: Dual<1>,
}

#[derive(Clone, Debug)]
struct ImageSide {
    tokens: ImageTokens,
    before: Norm,
    layers: Vec<Layer>,
    after: Norm,
}

#[derive(Clone, Debug)]
struct TextSide {
    words: Embedding,
    places: Embedding,
    layers: Vec<Layer>,
    norm: Norm,
}

impl Clip {
    /// `pixels [n, c, h, w]` -> vectors of the common space, `[n, width]`, of any length. Positions are interpolated for
    /// pictures of another size than the configuration names.
    ///
    /// # Errors
    /// No picture, pictures smaller than a patch, or of other channels.
    pub fn images(&self, pixels: Dual<4>) -> Result<Dual<2>, NnError> {
        let patch = self.config.patch_size;
        NnError::check_pictures(pixels.dims(), [self.config.channels, patch, patch])?;
        let side = &self.image_side;
        let tokens = side.tokens.forward(pixels);
        let [n, _, d] = tokens.dims();
        let tokens = side.before.forward(tokens);
        let last = side.layers.iter().fold(tokens, |x, layer| {
            layer.forward(x, Look::at(AttentionMask::None))
        });
        let class = last.narrow(1, 0, 1).reshape([n, d]);
        Ok(self.from_image.forward(side.after.forward(class)))
    }

    /// Texts -> vectors of the common space, `[rows, width]`, of any length: the state of the word that ends a text.
    ///
    /// # Errors
    /// A token or a length that the model does not have, or a text without an end.
    pub fn texts(&self, batch: &TokenBatch) -> Result<Dual<2>, NnError> {
        self.config.text_size().check_batch(batch)?;
        let side = &self.text_side;
        let device = side.words.weight().device();
        let ends = self.ends(batch)?;
        let places = batch.numbers(&batch.places(), &device);
        let start = side.words.forward(batch.ids_on(&device)) + side.places.forward(places);
        let sight = Sight {
            causal: true,
            ..batch.sight()
        };
        let mask = sight.mask(None, &start);
        let last = side
            .layers
            .iter()
            .fold(start, |x, layer| layer.forward(x, Look::at(mask.clone())));
        let picked = pick(last, &ends);
        let pooled = side.norm.forward(picked);
        Ok(self.from_text.forward(pooled))
    }

    /// Cosines of images and texts times the temperature, `[images, texts]`.
    pub fn logits(&self, images: Dual<2>, texts: Dual<2>) -> Dual<2> {
        let scale = self.log_scale.clone().exp().reshape([1, 1]);
        unit_rows(images).matmul(unit_rows(texts).transpose()) * scale
    }

    fn ends(&self, batch: &TokenBatch) -> Result<Vec<usize>, NnError> {
        let tokens = batch.tokens().max(1);
        let rows = batch
            .ids()
            .chunks(tokens)
            .zip(batch.padding().chunks(tokens));
        let end = |(row, padding): (&[u32], &[bool])| {
            let real = || (0..row.len()).filter(|&at| !padding[at]);
            if self.config.end == OLD_END {
                let highest = real().map(|at| row[at]).max()?;
                return real().find(|&at| row[at] == highest);
            }
            real().find(|&at| row[at] == self.config.end)
        };
        rows.map(|row| {
            end(row).ok_or_else(|| {
                let expected = format!("the word {} in every text", self.config.end);
                ConfigError::range("eos_token_id", "missing", expected).into()
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_second_telling_of_old_files_counts() {
        let read = |json: Value| ClipConfig::read(json.as_object().unwrap()).unwrap();
        let old = read(json!({
            "text_config": { "hidden_size": 64, "vocab_size": 99 },
            "text_config_dict": { "hidden_size": 128 },
            "vision_config": { "hidden_size": 96 },
            "vision_config_dict": null,
        }));
        let new = json!({ "text_config": { "hidden_size": 128 }, "vision_config": { "hidden_size": 96 } });
        assert_eq!(old, read(new));
        // Widths inside perceptrons do not follow those of tokens.
        assert_eq!(
            (old.text.intermediate, old.vision.intermediate),
            (2048, 3072)
        );
    }
}
