//! The work: from texts to a fit.

use super::{
    TuneError, TuneMethod, TuneSettings,
    lora::{Adapted, HEAD, LoraRows},
};
use crate::{
    fitting::{ArmConfig, Fit, FitParts, Looks, ModelRows, Objective, ObjectiveConfig, TextRows},
    report::counted,
    run::total_bytes,
    text::{Embedder, TextFolder},
};
use burn::tensor::Device;
use refit_core::{ConfigError, Progress};
use refit_io::data::{
    DataError, DenseRows, Features, LabelledTexts, Table, TableError, read_texts,
};
use refit_train::{
    objective::{DualConfig, DualModel},
    optim::second::{Draw, Sampling},
};
use std::{collections::HashSet, sync::Arc};

/// The parts that a column `split` names.
const PARTS: [&str; 2] = ["train", "test"];

/// Most bytes of states that are kept for the texts of one part, and no more than a quarter of the memory.
const KEPT_BYTES: u64 = 2 << 30;

/// Checked texts and settings, not fitted yet.
#[derive(Debug)]
pub struct Tuning {
    pub(super) settings: TuneSettings,
    pub(super) folder: TextFolder,
    rows: LabelledTexts,
    test: Option<LabelledTexts>,
    pub(super) adapted: Option<Arc<Adapted>>,
    /// Texts as tokens, to fit and to test on, where adapters are fitted.
    tokens: Option<(LoraRows, Option<LoraRows>)>,
    /// Bytes of the weights of the encoder.
    weights: u64,
}

impl Tuning {
    /// Reads texts and the headers of the encoder.
    ///
    /// # Errors
    /// Settings out of range, a folder that is no encoder, rows that cannot be read.
    pub fn new(settings: TuneSettings) -> Result<Self, TuneError> {
        settings.fit.check()?;
        let mut folder = TextFolder::open(&settings.model)?;
        if let Some(longest) = settings.max_length {
            folder = folder.cut_to(longest)?;
        }
        let rows = read_texts(&settings.fit.data, PARTS[0], None)?;
        if rows.seconds.is_some() {
            let problem = "holds pairs of texts, expected rows of one text";
            return Err(ConfigError::conflict("data", problem).into());
        }
        let test = settings.fit.test.as_ref();
        let test = test.map(|path| read_texts(path, PARTS[1], Some(&rows.labels)));
        let test = test.transpose()?;
        let adapted = match &settings.method {
            TuneMethod::Head => None,
            TuneMethod::Lora(config) => {
                check_arms(&settings)?;
                Some(Arc::new(Adapted::find(&folder, config)?))
            }
        };
        let tokens = match &adapted {
            None => None,
            Some(adapted) => {
                let cut = |rows: &LabelledTexts| LoraRows::new(adapted, &folder, rows);
                Some((cut(&rows)?, test.as_ref().map(cut).transpose()?))
            }
        };
        let layout = folder.layout()?;
        let weights = layout.specs().iter().map(|spec| spec.len() as u64);
        Ok(Self {
            weights: 4 * weights.sum::<u64>(),
            test,
            settings,
            folder,
            rows,
            adapted,
            tokens,
        })
    }

    /// The settings.
    pub const fn settings(&self) -> &TuneSettings {
        &self.settings
    }

    /// Number of texts to fit.
    pub const fn rows(&self) -> usize {
        self.rows.texts.len()
    }

    /// Number of texts to test on, if there are some.
    pub fn test_rows(&self) -> Option<usize> {
        self.test.as_ref().map(|test| test.texts.len())
    }

    /// The labels, in the order of the classes.
    pub fn labels(&self) -> &[String] {
        &self.rows.labels
    }

    /// Tokens to which texts are cut.
    pub const fn longest(&self) -> usize {
        self.folder.longest
    }

    /// Number of values that are fitted.
    pub fn parameters(&self) -> usize {
        let head = (self.folder.config.size().hidden + 1) * self.rows.labels.len();
        let of_sites = self.adapted.iter().flat_map(|adapted| {
            let sites = adapted.sites.iter();
            sites.map(|site| adapted.rank * (site.inputs + site.outputs))
        });
        head + of_sites.sum::<usize>()
    }

    /// Bytes of the weights of the encoder, and of what is kept of the texts.
    pub fn memory(&self) -> [u64; 2] {
        let rows = match &self.tokens {
            None => {
                let texts = self.rows() + self.test_rows().unwrap_or(0);
                4 * (texts * self.folder.config.size().hidden) as u64
            }
            Some((rows, test)) => {
                let kept = test.iter().filter(|_| self.keeps_test());
                let kept = kept.map(|test| test.kept_bytes(kept_bytes())).sum::<u64>();
                rows.kept_bytes(kept_bytes()) + kept
            }
        };
        [self.weights, rows]
    }

    /// Whether the texts to test on are read so often that what never changes is worth keeping.
    fn keeps_test(&self) -> bool {
        self.settings.fit.looks == Looks::Exact
    }

    /// Maps of the encoder that get an addition.
    pub fn adapted_maps(&self) -> usize {
        self.adapted
            .as_ref()
            .map_or(0, |adapted| adapted.sites.len())
    }

    /// The label that most texts to fit have, and the share of the texts to test on that have it too.
    pub fn majority(&self) -> (&str, Option<f64>) {
        let mut counts = vec![0usize; self.rows.labels.len()];
        for &class in &self.rows.classes {
            counts[class as usize] += 1;
        }
        // Of equal ones the first.
        let most = (0..counts.len()).fold(0, |m, at| if counts[at] > counts[m] { at } else { m });
        let share = self.test.as_ref().map(|test| {
            let right = test.classes.iter().filter(|&&class| class as usize == most);
            right.count() as f64 / test.classes.len() as f64
        });
        (&self.rows.labels[most], share)
    }

    /// Texts to test on that are also among those to fit.
    pub fn shared(&self) -> usize {
        let known: HashSet<&String> = self.rows.texts.iter().collect();
        let test = self.test.iter().flat_map(|test| &test.texts);
        test.filter(|text| known.contains(text)).count()
    }

    /// Reads the encoder and makes the fit.
    ///
    /// # Errors
    /// Weights that do not fit, a text without a token; when `progress` asks for a stop.
    pub fn fit(&self, device: &Device, progress: &dyn Progress) -> Result<Fit, TuneError> {
        let (fit, cut) = match (&self.adapted, &self.tokens) {
            (Some(adapted), Some((rows, test))) => {
                self.fit_lora(adapted, rows, test.as_ref(), device, progress)?
            }
            _ => self.fit_head(device, progress)?,
        };
        let (majority, share) = self.majority();
        let fitted = match self.adapted_maps() {
            0 => "a head".to_owned(),
            maps => format!("a head, and additions to {}", counted(maps as u64, "map")),
        };
        Ok(fit.of_texts(TextRows {
            fitted,
            labels: self.labels().to_vec(),
            majority: majority.to_owned(),
            majority_error: share.map(|share| 1.0 - share),
            cut,
            shared: self.shared(),
        }))
    }

    fn fit_head(
        &self,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Fit, usize), TuneError> {
        let embedder = Embedder::load(self.folder.again()?, device)?;
        let table = |rows: &LabelledTexts, part: &str| -> Result<(Table, usize), TuneError> {
            let found = embedder.embed(&rows.texts, progress)?;
            let labels = rows.classes.iter().map(|&class| class as f32).collect();
            let table = DenseRows::new(found.values, found.width)
                .and_then(|rows| Table::new(part, Features::Dense(rows), labels))
                .map_err(unusable(part))?;
            Ok((table, found.cut))
        };
        let (rows, mut cut) = table(&self.rows, PARTS[0])?;
        let test = self.test.as_ref().map(|test| table(test, PARTS[1]));
        let test = test.transpose()?.map(|(test, more)| {
            cut += more;
            test
        });
        Ok((Fit::of_rows(self.settings.fit.clone(), rows, test)?, cut))
    }

    fn fit_lora(
        &self,
        adapted: &Arc<Adapted>,
        rows: &LoraRows,
        test: Option<&LoraRows>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Fit, usize), TuneError> {
        let seed = self.settings.fit.seed.fork("lora");
        let fresh = adapted.create(self.rows.labels.len(), seed, device)?;
        let weights = self.folder.load(device)?.join(&fresh)?;
        let config = DualConfig {
            ridge: match &self.settings.fit.objective {
                ObjectiveConfig::Softmax(config) => config.penalty.ridge,
                _ => 0.0,
            },
            ..DualConfig::default()
        };
        let sum = |rows: &LoraRows, most: u64| -> Result<_, TuneError> {
            let rows: Arc<dyn ModelRows> = Arc::new(rows.clone().keep(&weights, most, progress)?);
            let chosen = |name: &str| {
                name.starts_with(HEAD)
                    || name.ends_with(".lora_A.weight")
                    || name.ends_with(".lora_B.weight")
            };
            let choose = |spec: &refit_nn::ParamSpec| chosen(spec.path.as_str());
            Ok(DualModel::new(rows, weights.clone(), choose, config)?)
        };
        let cut = test.into_iter().chain([rows]);
        let cut = cut.map(|rows| rows.cut(self.folder.longest)).sum();
        let of_test = if self.keeps_test() { kept_bytes() } else { 0 };
        let test = test.map(|test| sum(test, of_test)).transpose()?;
        let rows = sum(rows, kept_bytes())?;
        let parts = FitParts {
            columns: adapted.width(),
            stored: (self.memory().iter().sum(), true),
            start: rows.start(),
            objective: Objective::of_model(rows),
            test: test.map(Objective::of_model),
            layout: adapted.layout(),
        };
        Ok((Fit::of(self.settings.fit.clone(), parts)?, cut))
    }
}

/// Refuses solvers that ask more of rows than a model with adapters knows.
fn check_arms(settings: &TuneSettings) -> Result<(), ConfigError> {
    let configs = settings
        .fit
        .arms
        .iter()
        .filter_map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => Some(config),
            _ => None,
        });
    for config in configs {
        let (key, problem) = if config.sampling == Sampling::Theory {
            (
                "sampling",
                "theory needs bounds on the terms, which adapters have not",
            )
        } else if config.draw == Draw::Curvature {
            (
                "draw",
                "asks for curvatures of the rows, which adapters do not know",
            )
        } else {
            continue;
        };
        return Err(ConfigError::conflict(key, problem));
    }
    Ok(())
}

/// Most bytes of states that are kept for the texts of one part; of more texts they are computed again each time.
fn kept_bytes() -> u64 {
    total_bytes().map_or(KEPT_BYTES, |bytes| KEPT_BYTES.min(bytes / 4))
}

fn unusable(table: &str) -> impl FnOnce(TableError) -> DataError {
    let table = table.to_owned();
    move |source| DataError::Table { table, source }
}
