//! Texts written on.

use super::{TextFolder, TextModelError};
use burn::tensor::Device;
use refit_core::{ConfigError, Progress, Seed};
use refit_nn::NnError;
use refit_nn::zoo::{Ended, Generator, Sampling, Side, Stop, TextModel, TextTask, TokenBatch};
use refit_text::{Answer, ChatTemplate, Message};
use serde::Serialize;

/// How texts are written on.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// Whether prompts are what a user says, put into the chat template of the model.
    pub chat: bool,
    /// What the system says before, in a chat.
    pub system: Option<String>,
    /// How words are chosen.
    pub sampling: Sampling,
    /// The most words of an answer; 0 sets no bound but the model's own.
    pub most: usize,
    /// Texts before which an answer ends.
    pub stops: Vec<String>,
    /// Whether answers go on after words that end texts.
    pub ignore_end: bool,
    /// Prompts that are read together.
    pub batch: usize,
    /// Seed of all chance; each prompt draws from a stream of its own.
    pub seed: Seed,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub text: String,
    /// Tokens that were read.
    pub prompt_tokens: usize,
    /// Tokens that were written.
    pub tokens: usize,
    /// Why the answer ended: `end` by a word of the model or a text that stops, `length` by the bound, `full` where the
    /// model tells no more positions apart.
    pub ended: &'static str,
}

/// A model that writes on, or answers.
#[derive(Debug)]
pub struct Writer {
    folder: TextFolder,
    model: TextModel,
    settings: WriteSettings,
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
}

impl Writer {
    /// Checks everything that headers say, before weights are read.
    ///
    /// # Errors
    /// A model that writes no text; a missing or damaged template, where one is asked for; settings out of range.
    pub fn check(folder: &TextFolder, settings: &WriteSettings) -> Result<(), TextModelError> {
        if !matches!(folder.config.task(), TextTask::NextWord | TextTask::Answer) {
            return Err(TextModelError::OtherTask {
                folder: folder.path().into(),
                does: "does not write on",
                expected: "guesses the next word (ForCausalLM) or answers (ForConditionalGeneration)",
            });
        }
        settings.sampling.check().map_err(NnError::from)?;
        if folder.config.task() == TextTask::Answer && settings.most == 0 {
            let expected = "1 or more: this model tells as many positions apart as there may be";
            return Err(NnError::from(ConfigError::range("max-tokens", 0, expected)).into());
        }
        folder.ends()?;
        template(folder, settings)?;
        Ok(())
    }

    /// Reads the weights of a model.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite.
    pub fn load(
        mut folder: TextFolder,
        settings: WriteSettings,
        device: &Device,
    ) -> Result<Self, TextModelError> {
        Self::check(&folder, &settings)?;
        let ends = if settings.ignore_end {
            Vec::new()
        } else {
            folder.ends()?
        };
        let template = template(&folder, &settings)?;
        folder.tokenizer = folder.tokenizer.uncut();
        let weights = folder.load(device)?;
        let model = weights.bind(|scope| folder.config.bind(scope))?;
        Ok(Self {
            folder,
            model,
            settings,
            ends,
            template,
        })
    }

    /// Writes on after every prompt. `tell` hears of each piece of text as it becomes certain, with the place of its
    /// prompt.
    ///
    /// # Errors
    /// A prompt without a token, or as long as the model reads; when `progress` asks for a stop.
    pub fn write(
        &self,
        prompts: &[String],
        tell: &mut dyn FnMut(usize, &str),
        progress: &dyn Progress,
    ) -> Result<Vec<Written>, TextModelError> {
        let encoded = prompts
            .iter()
            .enumerate()
            .map(|(at, prompt)| self.encode(at, prompt));
        let encoded: Vec<Vec<u32>> = encoded.collect::<Result<_, _>>()?;
        // Prompts of like length are read together: padding is work, and room of the model.
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&at| encoded[at].len());
        progress.begin("generate", Some(prompts.len() as u64));
        let mut found = vec![None; prompts.len()];
        for batch in order.chunks(self.settings.batch.max(1)) {
            let answers = self.write_batch(batch, &encoded, tell, progress)?;
            for (&at, (text, tokens, ended)) in batch.iter().zip(answers) {
                found[at] = Some(Written {
                    prompt: prompts[at].clone(),
                    text,
                    prompt_tokens: encoded[at].len(),
                    tokens,
                    ended,
                });
            }
            progress.advance(batch.len() as u64);
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn write_batch(
        &self,
        batch: &[usize],
        encoded: &[Vec<u32>],
        tell: &mut dyn FnMut(usize, &str),
        progress: &dyn Progress,
    ) -> Result<Vec<(String, usize, &'static str)>, TextModelError> {
        let settings = &self.settings;
        let prompts: Vec<&[u32]> = batch.iter().map(|&at| &encoded[at][..]).collect();
        let seeds: Vec<Seed> = batch.iter().map(|at| settings.seed.fork(at)).collect();
        let stop = Stop {
            words: self.ends.clone(),
            most: settings.most,
        };
        let sampling = settings.sampling;
        let mut generator = match &self.model {
            TextModel::Decoder(model) => Generator::new(model, &prompts, &seeds, sampling, stop),
            TextModel::Answerer(model) => {
                let read = TokenBatch::new(&prompts, self.folder.tokenizer.pad(), Side::Right);
                Generator::answering(model, &read, &seeds, sampling, stop)
            }
            _ => unreachable!("an encoder guesses no next word"),
        }?;
        let mut answers: Vec<Answer<'_>> = batch
            .iter()
            .map(|_| Answer::new(&self.folder.tokenizer, &settings.stops))
            .collect();
        while !generator.is_done() {
            if progress.cancelled() {
                return Err(TextModelError::Interrupted);
            }
            let words = generator.next_words()?;
            for (row, (word, answer)) in words.iter().zip(&mut answers).enumerate() {
                if let Some(word) = *word {
                    tell(batch[row], answer.push(word)?);
                    if answer.stopped() {
                        generator.end_row(row);
                    }
                }
            }
        }
        let ended = generator.ended();
        let told = answers.iter_mut().enumerate().map(|(row, answer)| {
            tell(batch[row], answer.finish());
            let ended = match ended[row] {
                _ if answer.stopped() => "end",
                Some(Ended::Most) => "length",
                Some(Ended::Full) => "full",
                _ => "end",
            };
            (answer.text().to_owned(), generator.answer(row).len(), ended)
        });
        Ok(told.collect())
    }

    /// The tokens of a prompt.
    fn encode(&self, at: usize, prompt: &str) -> Result<Vec<u32>, TextModelError> {
        let tokenizer = &self.folder.tokenizer;
        let ids = match &self.template {
            None => tokenizer.encode(prompt, None)?.ids().to_vec(),
            Some(template) => {
                let system = self.settings.system.iter().map(Message::system);
                let turns: Vec<Message> = system.chain([Message::user(prompt)]).collect();
                tokenizer.encode_marked(&template.render(&turns)?)?
            }
        };
        if ids.is_empty() {
            return Err(TextModelError::NoToken { text: at + 1 });
        }
        let longest = self.folder.config.size().longest;
        if ids.len() >= longest {
            return Err(TextModelError::LongPrompt {
                prompt: at + 1,
                tokens: ids.len(),
                longest,
            });
        }
        Ok(ids)
    }
}

fn template(
    folder: &TextFolder,
    settings: &WriteSettings,
) -> Result<Option<ChatTemplate>, TextModelError> {
    if !settings.chat {
        return Ok(None);
    }
    let found = ChatTemplate::open(folder.path())?;
    found.map(Some).ok_or_else(|| TextModelError::NoChat {
        folder: folder.path().into(),
    })
}
