//! Failures of a PyTorch checkpoint.

use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with a PyTorch checkpoint (`.bin`, `.pt`, `.pth`). Positions are those of the pickle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The archive around it is wrong.
    #[error("{problem}")]
    Zip {
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// A file of PyTorch before 1.6, or a bare pickle.
    #[error("it is a pickle without an archive, as PyTorch wrote before 1.6")]
    Legacy,
    /// A compiled program, not a checkpoint.
    #[error("it is a TorchScript program, expected a checkpoint")]
    Script,
    /// An archive without the file that lists the tensors.
    #[error("the archive holds no `data.pkl`")]
    NoPickle,
    /// Numbers of the other kind of machine.
    #[error("its numbers are stored in `{found}` byte order, expected `little`")]
    ByteOrder {
        /// What the archive says.
        found: String,
    },
    /// A member that is packed, though PyTorch stores.
    #[error("member `{member}` is compressed, expected stored")]
    Compressed {
        /// The member.
        member: String,
    },
    /// The list of tensors is longer than any sane list.
    #[error("the pickle is {found} bytes long, the limit is {limit}")]
    TooLarge {
        /// Its length.
        found: u64,
        /// Most that is read.
        limit: u64,
    },
    /// The pickle ends inside an instruction.
    #[error("the pickle ends early, at byte {at}")]
    Truncated {
        /// Where more was expected.
        at: usize,
    },
    /// An instruction that no checkpoint of tensors needs.
    #[error("the pickle has the instruction {code:#04x} at byte {at}, which is not followed")]
    Opcode {
        /// The instruction.
        code: u8,
        /// Where it stands.
        at: usize,
    },
    /// A class or function that is not needed for tensors. It is not looked up, and nothing is run.
    #[error("the pickle names `{name}`, which is not a part of tensors")]
    Global {
        /// Module and name, shortened and printable.
        name: String,
    },
    /// Instructions that do not fit together.
    #[error("the pickle is wrong at byte {at}: {problem}")]
    Malformed {
        /// Where it stands.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// More of something than any checkpoint has.
    #[error("the pickle has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// Most that is followed.
        limit: usize,
    },
    /// No dictionary of tensors.
    #[error(
        "it holds no dictionary of tensors, expected one at the top, in `state_dict` or in `model`"
    )]
    NoTensors,
    /// A tensor that leaves its storage, or has none.
    #[error("`{tensor}` {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Hint for TorchError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Legacy => {
                "load it with PyTorch and save its state dict again, or convert it to safetensors"
            }
            Self::Global { .. } | Self::Opcode { .. } => {
                "it may run code when other tools open it; take the safetensors version, or save only the state dict"
            }
            Self::Script | Self::NoTensors => "save `model.state_dict()`, best as safetensors",
            Self::Truncated { .. } | Self::Zip { .. } => {
                "the file is incomplete or damaged; copy or download it again"
            }
            Self::Tensor { .. } => "save the tensor with `.contiguous()`, best as safetensors",
            _ => "convert it to safetensors with its own tool",
        }))
    }
}
