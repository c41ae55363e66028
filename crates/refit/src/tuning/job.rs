//! The work: from texts to a fit.

use super::{
    TuneError, TuneMethod, TuneSettings,
    lora::{Adapted, HEAD, LoraRows},
};
use crate::{
    fitting::{Fit, FitParts, Objective, ObjectiveConfig},
    text::{Embedder, TextFolder},
};
use burn::tensor::Device;
use refit_core::{ConfigError, Progress};
use refit_io::data::{
    DataError, DenseRows, Features, LabelledTexts, Table, TableError, read_texts,
};
use refit_train::{
    objective::{DualConfig, DualModel},
    optim::second::FiniteSum,
};
use std::{collections::HashSet, sync::Arc};

/// The parts that a column `split` names.
const PARTS: [&str; 2] = ["train", "test"];

/// Most bytes of states that are kept for the texts of one part; of more texts they are computed again each time.
const KEPT_BYTES: u64 = 2 << 30;

/// Checked texts and settings, not fitted yet.
#[derive(Debug)]
pub struct Tuning {
    pub(super) settings: TuneSettings,
    pub(super) folder: TextFolder,
    rows: LabelledTexts,
    test: Option<LabelledTexts>,
    pub(super) adapted: Option<Arc<Adapted>>,
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
        let adapted = match &settings.method {
            TuneMethod::Head => None,
            TuneMethod::Lora(config) => Some(Arc::new(Adapted::find(&folder, config)?)),
        };
        Ok(Self {
            test: test.transpose()?,
            settings,
            folder,
            rows,
            adapted,
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

    /// Reads the encoder and makes the fit; returns also how many texts may have been cut.
    ///
    /// # Errors
    /// Weights that do not fit, a text without a token; when `progress` asks for a stop.
    pub fn fit(&self, device: &Device, progress: &dyn Progress) -> Result<(Fit, usize), TuneError> {
        match &self.adapted {
            None => self.fit_head(device, progress),
            Some(adapted) => self.fit_lora(adapted, device),
        }
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

    fn fit_lora(&self, adapted: &Arc<Adapted>, device: &Device) -> Result<(Fit, usize), TuneError> {
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
        let sum = |rows: &LabelledTexts| -> Result<_, TuneError> {
            let rows = LoraRows::new(adapted, &self.folder, rows)?.keep(&weights, KEPT_BYTES)?;
            let cut = rows.cut(self.folder.longest);
            let chosen = |name: &str| {
                name.starts_with(HEAD)
                    || name.ends_with(".lora_A.weight")
                    || name.ends_with(".lora_B.weight")
            };
            let choose = |spec: &refit_nn::ParamSpec| chosen(spec.path.as_str());
            let sum = DualModel::new(rows, weights.clone(), choose, config)?;
            Ok((sum, cut))
        };
        let (rows, mut cut) = sum(&self.rows)?;
        let test = self
            .test
            .as_ref()
            .map(sum)
            .transpose()?
            .map(|(test, more)| {
                cut += more;
                Objective::of_lora(test)
            });
        let parts = FitParts {
            columns: adapted.width(),
            stored: (4 * rows.dim() as u64 + rows.model().kept_bytes(), true),
            start: rows.start(),
            objective: Objective::of_lora(rows),
            test,
        };
        Ok((Fit::of(self.settings.fit.clone(), parts)?, cut))
    }
}

fn unusable(table: &str) -> impl FnOnce(TableError) -> DataError {
    let table = table.to_owned();
    move |source| DataError::Table { table, source }
}
