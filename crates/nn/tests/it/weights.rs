//! Creating, loading and binding weights.

use burn::tensor::{Device, Distribution, Tensor};
use refit_core::{DType, Seed, Sink, Source, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions};
use refit_kernels::dual::Dual;
use refit_nn::{
    Addition, ImageConfig, NnError, Pass, Weights,
    blocks::{Embedding, Linear},
    to_host,
    zoo::{
        CifarResNetConfig, ConvNetConfig, MlpConfig, Pooling, Side, TextConfig, TextModel,
        TokenBatch, VitConfig,
    },
};

fn tiny_vit() -> ImageConfig {
    ImageConfig::Vit(VitConfig {
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 16,
        image_size: 6,
        patch_size: 3,
        num_channels: 1,
        pooling: Pooling::Cls,
        num_labels: 3,
        ..VitConfig::default()
    })
}

fn save(weights: &Weights, dtype: DType, extra: &[TensorMeta]) -> Checkpoint {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("model.safetensors");
    let mut metas: Vec<TensorMeta> = weights
        .layout()
        .specs()
        .iter()
        .map(|s| TensorMeta {
            path: s.path.clone(),
            dtype,
            shape: s.shape.clone(),
        })
        .collect();
    metas.extend_from_slice(extra);
    let mut writer =
        CheckpointWriter::create(&file, metas.clone(), WriteOptions::default()).unwrap();
    for (meta, values) in metas.iter().zip(weights.to_host()) {
        let bytes = refit_io::ckpt::encode_f32(meta, &values).unwrap();
        writer.put(meta, &bytes).unwrap();
    }
    for meta in extra {
        writer.put(meta, &vec![0; meta.size_bytes()]).unwrap();
    }
    writer.finish().unwrap();
    Checkpoint::open(&file).unwrap()
}

fn load(source: &impl Source, config: &ImageConfig) -> Result<Weights, NnError> {
    Weights::load(source, &Device::flex(), |s| config.bind(s))
}

fn create(config: &ImageConfig) -> Weights {
    Weights::create(Seed::new(1), &Device::flex(), |s| config.bind(s)).unwrap()
}

#[test]
fn names_are_those_of_the_public_checkpoint() {
    let weights = create(&tiny_vit());
    for name in [
        "embeddings.cls_token",
        "embeddings.position_embeddings",
        "embeddings.patch_embeddings.projection.weight",
        "encoder.layer.1.attention.attention.query.bias",
        "encoder.layer.0.attention.output.dense.weight",
        "encoder.layer.0.intermediate.dense.weight",
        "encoder.layer.1.output.dense.bias",
        "encoder.layer.0.layernorm_before.weight",
        "encoder.layer.0.layernorm_after.bias",
        "layernorm.weight",
        "classifier.weight",
    ] {
        assert!(weights.layout().position(name).is_some(), "{name}");
    }
    // Tokens: a class token and 2 x 2 patches.
    let positions = weights.get("embeddings.position_embeddings").unwrap();
    assert_eq!(positions.dims(), [5 * 8]);
}

#[test]
fn a_saved_model_loads_with_the_same_bits_and_halves_lose_only_precision() {
    let (config, weights) = (tiny_vit(), create(&tiny_vit()));
    let back = load(&save(&weights, DType::F32, &[]), &config).unwrap();
    assert_eq!(back.to_host(), weights.to_host());
    for (dtype, digits) in [(DType::F16, 1e-3), (DType::BF16, 1e-2), (DType::F64, 0.0)] {
        let back = load(&save(&weights, dtype, &[]), &config).unwrap();
        for (a, b) in back
            .to_host()
            .concat()
            .iter()
            .zip(weights.to_host().concat())
        {
            assert!((a - b).abs() <= digits * b.abs() + 1e-7, "{dtype}: {a} {b}");
        }
    }
}

#[test]
fn halves_that_stay_as_they_are_compute_what_they_would_as_f32() {
    // The table and 7 maps of each layer; norms are f32.
    let llama = serde_json::json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 60, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "tie_word_embeddings": true
    });
    compare_halves(&llama, 1 + 2 * 7, "layers.1.self_attn.q_proj.weight");
    // Two tables and 4 maps of each layer, which are stored turned over.
    let gpt2 = serde_json::json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 60, "n_embd": 16, "n_layer": 2,
        "n_head": 4, "n_positions": 64
    });
    compare_halves(&gpt2, 2 + 2 * 4, "h.1.attn.c_proj.weight");
}

/// Compares a model whose `halves` matrices stay in half precision with the one that they are widened to, and both with what
/// is added to the square matrix `name`.
fn compare_halves(keys: &serde_json::Value, halves: usize, name: &str) {
    let config = TextConfig::read(keys.as_object().unwrap()).unwrap();
    let device = Device::flex();
    let fresh = Weights::create(Seed::new(3), &device, |s| config.bind(s)).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let stored = save(&fresh, dtype, &[]);
        let wide = Weights::load(&stored, &device, |s| config.bind(s)).unwrap();
        let kept = Weights::load_as_stored(&stored, &device, |s| config.bind(s)).unwrap();
        let found = kept
            .values()
            .iter()
            .filter(|v| v.value().dtype() != burn::tensor::DType::F32);
        assert_eq!(found.count(), halves);
        assert_eq!(kept.to_host(), wide.to_host());
        // Saved and read again they have the bits they had in the file, in its order.
        let again = save(&kept, dtype, &[]);
        for at in 0..stored.tensors().len() {
            assert_eq!(again.bytes(at).unwrap(), stored.bytes(at).unwrap());
        }
        // Words of a small model, some of them in a text of their own.
        let ids: Vec<u32> = (0..23).map(|i| (7 * i + 3) % 60).collect();
        let batch = TokenBatch::new(&[&ids[..], &ids[5..11]], 0, Side::Right);
        let words = |weights: &Weights| {
            let model: TextModel = weights.bind(|s| config.bind(s)).unwrap();
            let words = to_host(model.forward(&batch).unwrap().into_value());
            words.into_iter().map(f64::from).collect::<Vec<f64>>()
        };
        refit_testkit::close_in_norm(words(&kept), words(&wide), 1e-5, 0.0).unwrap();
        // What is added to a map stands beside it.
        let mut specs = kept.layout().specs().iter();
        let at = specs
            .position(|spec| spec.path.as_str().ends_with(name))
            .unwrap();
        let mut both = [kept, wide];
        for weights in &mut both {
            let ones = |dims| Dual::constant(Tensor::<2>::ones(dims, &device) * 0.1);
            let (left, right) = (ones([16, 1]), ones([1, 16]));
            weights.add(at, Addition { left, right });
        }
        let [kept, wide] = both;
        refit_testkit::close_in_norm(words(&kept), words(&wide), 1e-5, 0.0).unwrap();
        assert_ne!(words(&kept), words(&fresh));
    }
}

#[test]
fn counters_are_left_aside_but_unknown_weights_are_named() {
    let (config, weights) = (tiny_vit(), create(&tiny_vit()));
    let meta = |dtype| TensorMeta {
        path: "surprise".into(),
        dtype,
        shape: vec![2],
    };
    assert!(load(&save(&weights, DType::F32, &[meta(DType::I64)]), &config).is_ok());
    let error = load(&save(&weights, DType::F32, &[meta(DType::F32)]), &config).unwrap_err();
    let text = "1 tensor belongs to no part of the model: `surprise`";
    assert_eq!(error.to_string(), text);
}

#[test]
fn missing_and_misshapen_tensors_are_named_with_both_shapes() {
    let source = save(&create(&tiny_vit()), DType::F32, &[]);
    let ImageConfig::Vit(vit) = tiny_vit() else {
        unreachable!()
    };
    let deeper = ImageConfig::Vit(VitConfig {
        num_hidden_layers: 3,
        ..vit.clone()
    });
    let error = load(&source, &deeper).unwrap_err().to_string();
    let listed = "16 tensors are missing: `encoder.layer.2.layernorm_before.weight` [8], ";
    assert!(error.starts_with(listed), "{error}");
    assert!(error.ends_with(" and 6 more"), "{error}");
    let more = ImageConfig::Vit(VitConfig {
        num_labels: 4,
        ..vit
    });
    let error = load(&source, &more).unwrap_err().to_string();
    assert_eq!(
        error,
        "tensor `classifier.weight` has shape [3, 8], expected [4, 8]"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let mut weights = create(&tiny_vit());
    let at = weights.layout().position("layernorm.bias").unwrap();
    let device = Device::flex();
    weights.set(at, burn::tensor::Tensor::<1>::full([8], f32::NAN, &device));
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let error = load(&save(&weights, dtype, &[]), &tiny_vit()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tensor `layernorm.bias` holds a value that is not finite"
        );
    }
    // The same where a matrix is left in half precision.
    let config = tiny_vit();
    let mut weights = create(&config);
    let name = "classifier.weight";
    let at = weights.layout().position(name).unwrap();
    weights.set(at, Tensor::<1>::full([3 * 8], f32::INFINITY, &device));
    for dtype in [DType::F16, DType::BF16] {
        let stored = save(&weights, dtype, &[]);
        let error = Weights::load_as_stored(&stored, &device, |s| config.bind(s)).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn settings_out_of_range_are_named_before_anything_is_allocated() {
    let ImageConfig::Vit(vit) = tiny_vit() else {
        unreachable!()
    };
    let conv = ConvNetConfig {
        num_channels: 1,
        image_size: 4,
        channels: vec![2, 2],
        kernel: 3,
        stride: 1,
        hidden: 2,
        num_labels: 2,
    };
    let cases = [
        (
            "num_attention_heads",
            ImageConfig::Vit(VitConfig {
                num_attention_heads: 3,
                ..vit.clone()
            }),
        ),
        (
            "patch_size",
            ImageConfig::Vit(VitConfig {
                patch_size: 0,
                ..vit.clone()
            }),
        ),
        (
            "hidden_size",
            ImageConfig::Vit(VitConfig {
                hidden_size: usize::MAX,
                ..vit.clone()
            }),
        ),
        (
            "layer_norm_eps",
            ImageConfig::Vit(VitConfig {
                layer_norm_eps: f64::NAN,
                ..vit
            }),
        ),
        (
            "image_size",
            ImageConfig::ConvNet(ConvNetConfig {
                image_size: 2,
                ..conv.clone()
            }),
        ),
        (
            "channels",
            ImageConfig::ConvNet(ConvNetConfig {
                channels: vec![],
                ..conv
            }),
        ),
        (
            "depth",
            ImageConfig::CifarResnet(CifarResNetConfig {
                depth: 21,
                width: 16,
                num_channels: 3,
                num_labels: 10,
            }),
        ),
        (
            "hidden",
            ImageConfig::Mlp(MlpConfig {
                inputs: 1,
                hidden: vec![0],
                num_labels: 1,
            }),
        ),
    ];
    for (key, config) in cases {
        let error = Weights::create(Seed::new(0), &Device::flex(), |s| config.bind(s)).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{key}` is ")),
            "{error}"
        );
    }
}

#[test]
fn each_tensor_has_its_own_stream() {
    let ImageConfig::Vit(vit) = tiny_vit() else {
        unreachable!()
    };
    let deeper = ImageConfig::Vit(VitConfig {
        num_hidden_layers: 3,
        ..vit
    });
    let name = "encoder.layer.1.output.dense.weight";
    let one = create(&tiny_vit()).get(name).unwrap().clone().into_value();
    let other = create(&deeper).get(name).unwrap().clone().into_value();
    one.into_data().assert_eq(&other.into_data(), true);
}

#[test]
fn a_perceptron_without_classifier_gives_its_last_hidden_values() {
    let mlp = |hidden: &[usize], num_labels| {
        ImageConfig::Mlp(MlpConfig {
            inputs: 4,
            hidden: hidden.to_vec(),
            num_labels,
        })
    };
    let (encoder, whole) = (mlp(&[5, 3], 0), mlp(&[5, 3], 2));
    assert_eq!((encoder.num_outputs(), whole.num_outputs()), (3, 2));
    assert!(mlp(&[], 0).check().is_err());
    let (part, all) = (create(&encoder), create(&whole));
    let names = |w: &Weights| {
        w.layout()
            .specs()
            .iter()
            .map(|s| s.path.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&part), names(&all)[..4]);
    let pixels = Tensor::<4>::random([6, 1, 2, 2], Distribution::Default, &Device::flex());
    let run = |config: &ImageConfig, weights: &Weights| {
        let model = weights.bind(|scope| config.bind(scope)).unwrap();
        model
            .forward(pixels.clone().into(), &mut Pass::eval())
            .into_value()
    };
    let features = run(&encoder, &part);
    assert!(to_host(features.clone()).iter().all(|&x| x >= 0.0));
    let mut joined = all.clone();
    for at in 0..4 {
        joined.set(at, part.values()[at].clone());
    }
    let rows = |name: &str| joined.get(name).unwrap().value().clone();
    let weight = rows("layers.2.weight").reshape([2, 3]);
    let logits = features.matmul(weight.transpose()) + rows("layers.2.bias").reshape([1, 2]);
    let found = to_host(run(&whole, &joined));
    for (found, expected) in found.iter().zip(to_host(logits)) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// `[[1, 2, 3], [4, 5, 6]]` plus the product of `[1, -1]` and `[1, 0, 2]`, by hand.
#[test]
fn an_addition_is_beside_maps_and_within_every_other_matrix() {
    let device = Device::flex();
    let bind = |scope: &refit_nn::Scope<'_>| Linear::bind(scope, 3, 2);
    let mut weights = Weights::create(Seed::new(1), &device, bind).unwrap();
    weights.set(
        0,
        Tensor::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &device),
    );
    weights.set(1, Tensor::from_floats([0.5, 0.0], &device));
    let add = |weights: &mut Weights, rank: usize| {
        let left = Tensor::<2>::from_floats([[1.0], [-1.0]], &device);
        let right = Tensor::<2>::from_floats([[1.0, 0.0, 2.0]], &device);
        // The same sum in more parts.
        let left = left.repeat_dim(1, rank) / rank as f32;
        let right = right.repeat_dim(0, rank);
        weights.add(
            0,
            Addition {
                left: left.into(),
                right: right.into(),
            },
        );
    };
    let x = Tensor::<2>::from_floats([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]], &device);
    // Of rank 1 two thin products are less work than one whole; of rank 2 they are not.
    for rank in [1, 2] {
        add(&mut weights, rank);
        let map = weights.bind(bind).unwrap();
        let y = to_host(map.forward(x.clone().into()).into_value());
        assert_eq!(y, [9.5, 12.0, 2.5, 5.0], "rank {rank}");
        let part = map.part(1, 1).forward(x.clone().into());
        assert_eq!(to_host(part.into_value()), [12.0, 5.0], "rank {rank}");
        let table = weights.bind(|scope| Embedding::bind(scope, 2, 3)).unwrap();
        let table = to_host(table.weight().into_value());
        assert_eq!(table, [2.0, 2.0, 5.0, 3.0, 5.0, 4.0], "rank {rank}");
    }
}

#[test]
fn what_was_added_to_a_matrix_is_saved_with_it() {
    let mut weights = create(&tiny_vit());
    let name = "encoder.layer.0.attention.attention.query.weight"; // [8, 8]
    let at = weights.layout().position(name).unwrap();
    let before = to_host(weights.values()[at].value().clone());
    let column = |len| Tensor::<2>::ones([len, 1], &Device::flex());
    weights.add(
        at,
        Addition {
            left: column(8).into(),
            right: column(8).transpose().mul_scalar(2.0).into(),
        },
    );
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.safetensors");
    let mut writer =
        CheckpointWriter::create(&path, weights.metas(), WriteOptions::default()).unwrap();
    weights.save(&mut writer).unwrap();
    writer.finish().unwrap();
    let found = Checkpoint::open(&path).unwrap().tensor_f32(name).unwrap();
    let close = |(found, before): (&f32, &f32)| (found - before - 2.0).abs() < 1e-6;
    assert!(found.iter().zip(&before).all(close));
}
