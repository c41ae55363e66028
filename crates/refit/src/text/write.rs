//! Texts written on.

use super::{TextFolder, TextModelError};
use burn::tensor::Device;
use refit_core::{ConfigError, Progress, Seed};
use refit_nn::{
    NnError,
    zoo::{Ended, Generator, Sampling, Side, Stop, TextModel, TextTask, TokenBatch},
};
use refit_text::{Answer, ChatTemplate, Day, Message};
use serde::Serialize;
use std::ops::ControlFlow;

/// Batches whose prompts are sorted by length together: answers come in the order of prompts but for so many.
const SORTED_BATCHES: usize = 16;

/// How texts are written on.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// Whether prompts are what a user says, put into the chat template of the model.
    pub chat: bool,
    /// What the system says before, in a chat.
    pub system: Option<String>,
    /// The day that a chat template is told.
    pub day: Day,
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

/// What is heard while a model writes.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The text of an answer goes on.
    Piece(&'a str),
    /// The answer to the prompt of this number, counted from 0, is done.
    Done(usize, &'a Written),
}

/// Prompts as a model reads them.
#[derive(Clone, Debug)]
pub struct Prompts {
    texts: Vec<String>,
    tokens: Vec<Vec<u32>>,
}

impl Prompts {
    /// How many.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Work that was checked as far as headers say; weights are not read yet.
#[derive(Debug)]
pub struct Writing {
    folder: TextFolder,
    settings: WriteSettings,
    /// Words that end an answer.
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
}

impl Writing {
    /// Checks model and settings.
    ///
    /// # Errors
    /// A model that writes no text, or whose tokens see those behind them; a missing or damaged template, where one is asked for; settings out of range.
    pub fn new(mut folder: TextFolder, settings: WriteSettings) -> Result<Self, TextModelError> {
        if !matches!(folder.config.task(), TextTask::NextWord | TextTask::Answer) {
            return Err(TextModelError::OtherTask {
                folder: folder.path().into(),
                does: "does not write on",
                expected: "guesses the next word (ForCausalLM) or answers (ForConditionalGeneration)",
            });
        }
        settings.sampling.check().map_err(NnError::from)?;
        folder.config.check_causal().map_err(NnError::from)?;
        if folder.config.task() == TextTask::Answer && settings.most == 0 {
            let expected = "1 or more: this model tells as many positions apart as there may be";
            return Err(NnError::from(ConfigError::range("max-tokens", 0, expected)).into());
        }
        let mut ends = folder.ends()?;
        if settings.ignore_end {
            ends.clear();
        }
        folder.tokenizer = folder.tokenizer.uncut();
        // A word that writes nothing never shows in a text, so it is looked for among the words.
        let special = |stop: &String| folder.tokenizer.special_id(stop);
        ends.extend(settings.stops.iter().filter_map(special));
        let template = settings.chat.then(|| {
            let folder = folder.path();
            ChatTemplate::open(folder)?.ok_or_else(|| TextModelError::NoChat {
                folder: folder.into(),
            })
        });
        Ok(Self {
            template: template.transpose()?,
            folder,
            settings,
            ends,
        })
    }

    /// Cuts prompts into tokens.
    ///
    /// # Errors
    /// A prompt without a token, or that leaves no room for an answer; what the template says is wrong with one.
    pub fn prompts(&self, texts: Vec<String>) -> Result<Prompts, TextModelError> {
        let tokens = texts.iter().enumerate();
        let tokens = tokens.map(|(at, prompt)| self.encode(at, prompt));
        Ok(Prompts {
            tokens: tokens.collect::<Result<_, _>>()?,
            texts,
        })
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(self, device: &Device) -> Result<Writer, TextModelError> {
        let weights = self.folder.load_as_stored(device)?;
        let model = weights.bind(|scope| self.folder.config.bind(scope))?;
        Ok(Writer { job: self, model })
    }

    /// The tokens of a prompt.
    fn encode(&self, at: usize, prompt: &str) -> Result<Vec<u32>, TextModelError> {
        let tokenizer = &self.folder.tokenizer;
        let ids = match &self.template {
            None => tokenizer.encode(prompt, None)?.ids().to_vec(),
            Some(template) => {
                let system = self.settings.system.iter().map(Message::system);
                let turns: Vec<Message> = system.chain([Message::user(prompt)]).collect();
                tokenizer.encode_marked(&template.render(&turns, self.settings.day)?)?
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

/// A model that writes on, or answers.
#[derive(Debug)]
pub struct Writer {
    job: Writing,
    model: TextModel,
}

impl Writer {
    /// What was checked before, such as prompts are.
    pub const fn job(&self) -> &Writing {
        &self.job
    }

    /// Writes on after every prompt. `tell` hears of text as it becomes certain and of answers as they are done; it stops
    /// the work by [`ControlFlow::Break`].
    ///
    /// # Errors
    /// Scores that are not finite; when `tell` or `progress` asks for a stop.
    pub fn write(
        &self,
        prompts: &Prompts,
        tell: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
        progress: &dyn Progress,
    ) -> Result<Vec<Written>, TextModelError> {
        let count = prompts.len();
        let batch = self.job.settings.batch.max(1);
        // Prompts of like length are read together: padding is work.
        let mut order: Vec<usize> = (0..count).collect();
        for near in order.chunks_mut(batch * SORTED_BATCHES) {
            near.sort_by_key(|&at| prompts.tokens[at].len());
        }
        progress.begin("generate", Some(count as u64));
        let mut found = vec![None; count];
        for batch in order.chunks(batch) {
            for (&at, written) in batch
                .iter()
                .zip(self.write_batch(batch, prompts, tell, progress)?)
            {
                go_on(tell(Heard::Done(at, &written)))?;
                found[at] = Some(written);
            }
            progress.advance(batch.len() as u64);
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn write_batch(
        &self,
        batch: &[usize],
        prompts: &Prompts,
        tell: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
        progress: &dyn Progress,
    ) -> Result<Vec<Written>, TextModelError> {
        let Writing {
            folder,
            settings,
            ends,
            ..
        } = &self.job;
        let tokens: Vec<&[u32]> = batch.iter().map(|&at| &prompts.tokens[at][..]).collect();
        let seeds: Vec<Seed> = batch.iter().map(|at| settings.seed.fork(at)).collect();
        let stop = Stop {
            words: ends.clone(),
            most: settings.most,
        };
        let sampling = settings.sampling;
        let mut generator = match &self.model {
            TextModel::Decoder(model) => Generator::new(model, &tokens, &seeds, sampling, stop),
            TextModel::Answerer(model) => {
                let read = TokenBatch::new(&tokens, folder.tokenizer.pad(), Side::Right);
                Generator::answering(model, &read, &seeds, sampling, stop)
            }
            _ => unreachable!("an encoder guesses no next word"),
        }?;
        let answer = |_| Answer::new(&folder.tokenizer, &settings.stops);
        let mut answers: Vec<Answer<'_>> = batch.iter().map(answer).collect();
        while !generator.is_done() {
            if progress.cancelled() {
                return Err(TextModelError::Interrupted);
            }
            let words = generator.next_words().map_err(|error| match error {
                NnError::Scores { row } => TextModelError::NotFinite {
                    text: batch[row - 1] + 1,
                },
                error => error.into(),
            })?;
            for (row, (word, answer)) in words.iter().zip(&mut answers).enumerate() {
                if let Some(word) = *word {
                    go_on(tell(Heard::Piece(answer.push(word)?)))?;
                    if answer.stopped() {
                        generator.end_row(row);
                    }
                }
            }
        }
        let mut written = Vec::with_capacity(batch.len());
        for ((row, answer), (&at, ended)) in answers
            .iter_mut()
            .enumerate()
            .zip(batch.iter().zip(generator.ended()))
        {
            go_on(tell(Heard::Piece(answer.finish()?)))?;
            written.push(Written {
                prompt: prompts.texts[at].clone(),
                text: answer.text().to_owned(),
                prompt_tokens: prompts.tokens[at].len(),
                tokens: generator.answer(row).len(),
                ended: match ended {
                    _ if answer.stopped() => "end",
                    Some(Ended::Most) => "length",
                    Some(Ended::Full) => "full",
                    _ => "end",
                },
            });
        }
        Ok(written)
    }
}

fn go_on(told: ControlFlow<()>) -> Result<(), TextModelError> {
    match told {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TextModelError::Interrupted),
    }
}
