//! What the name of a tensor says about its part in an adapter.

/// Prefix of every name: the wrapper and the model inside it.
pub(super) const PREFIX: &str = "base_model.model.";

/// Part of an adapted module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `[rank, in]`, and what is behind `in` for a convolution.
    A,
    /// `[out, rank]`.
    B,
    /// Added to the module's bias.
    Bias,
    /// `[rank, tokens]`.
    EmbeddingA,
    /// `[features, rank]`.
    EmbeddingB,
    /// Lengths of outputs.
    Magnitude,
}

/// What a stored tensor is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of the adapted module of that name.
    Part(String, Part),
    /// Takes the place of the tensor of that name.
    Full(String),
    /// A copy of what the model had before.
    Original,
}

impl Part {
    /// Behind the name of the module.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::A => "lora_A.weight",
            Self::B => "lora_B.weight",
            Self::Bias => "lora_B.bias",
            Self::EmbeddingA => "lora_embedding_A",
            Self::EmbeddingB => "lora_embedding_B",
            Self::Magnitude => "lora_magnitude_vector",
        }
    }

    /// The name under which this part of `module` is stored.
    pub(super) fn name(self, module: &str) -> String {
        format!("{PREFIX}{module}.{}", self.suffix())
    }
}

/// The role of the tensor called `name`; `None` for a name that means nothing.
pub(super) fn role(name: &str) -> Option<Role> {
    let inner = name.strip_prefix(PREFIX)?;
    if let Some((module, part)) = inner.split_once(".lora_") {
        // Early versions kept the name of the adapter inside.
        let part = part.replacen(".default", "", 1);
        let part = match part.as_str() {
            "A.weight" => Part::A,
            "B.weight" => Part::B,
            "B.bias" => Part::Bias,
            "embedding_A" => Part::EmbeddingA,
            "embedding_B" => Part::EmbeddingB,
            "magnitude_vector" | "magnitude_vector.weight" => Part::Magnitude,
            _ => return None,
        };
        return (!module.is_empty()).then(|| Role::Part(module.to_owned(), part));
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut wrapped = false;
    for word in inner.split('.') {
        match word {
            "original_module" => return Some(Role::Original),
            "modules_to_save" => wrapped = true,
            "base_layer" => {}
            "default" if wrapped => wrapped = false,
            word => kept.push(word),
        }
    }
    let known = kept
        .iter()
        .all(|word| !word.is_empty() && !word.starts_with("lora_"));
    known.then(|| Role::Full(kept.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_version_are_understood() {
        let part = |part| Some(Role::Part("h.0.q".into(), part));
        let full = |name: &str| Some(Role::Full(name.into()));
        for (name, expected) in [
            ("base_model.model.h.0.q.lora_A.weight", part(Part::A)),
            (
                "base_model.model.h.0.q.lora_B.default.weight",
                part(Part::B),
            ),
            ("base_model.model.h.0.q.lora_B.bias", part(Part::Bias)),
            (
                "base_model.model.h.0.q.lora_embedding_A",
                part(Part::EmbeddingA),
            ),
            (
                "base_model.model.h.0.q.lora_embedding_B.default",
                part(Part::EmbeddingB),
            ),
            (
                "base_model.model.h.0.q.lora_magnitude_vector",
                part(Part::Magnitude),
            ),
            (
                "base_model.model.h.0.q.lora_magnitude_vector.weight",
                part(Part::Magnitude),
            ),
            ("base_model.model.lm_head.weight", full("lm_head.weight")),
            (
                "base_model.model.score.modules_to_save.default.weight",
                full("score.weight"),
            ),
            ("base_model.model.h.0.q.base_layer.bias", full("h.0.q.bias")),
            (
                "base_model.model.score.original_module.weight",
                Some(Role::Original),
            ),
            ("h.0.q.lora_A.weight", None),
            ("base_model.model.h.0.q.lora_C.weight", None),
            ("base_model.model.lora_A.weight", None),
            ("base_model.model..weight", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        use Part::{A, B, Bias, EmbeddingA, EmbeddingB, Magnitude};
        for part in [A, B, Bias, EmbeddingA, EmbeddingB, Magnitude] {
            assert_eq!(
                role(&part.name("a.b")),
                Some(Role::Part("a.b".into(), part))
            );
        }
    }
}
