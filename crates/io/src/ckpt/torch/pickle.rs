//! The pickle of a PyTorch checkpoint, read without running anything.
//!
//! A pickle is a program for a small stack machine, and its author chooses which functions are called. Here the machine
//! knows tensors, their storages and plain containers; any other function or instruction is refused by name. Values
//! refer to each other by number, so that a short program cannot unfold into a large structure.
//! Source: the instruction list of Python's `pickletools`, and what `torch.save` of PyTorch 1.6 to 2.15 writes.

use super::value::{Global, Node, Storage, Tensor, Value};
use crate::ckpt::{error::TorchError, text::excerpt};
use std::{cmp::Ordering, ops::Range};

/// Longest pickle that is read. Ours: about half a million tensors.
pub(super) const MAX_PICKLE_BYTES: u64 = 64 << 20;
/// Most containers, storages and tensors.
const MAX_NODES: usize = 1 << 20;
/// Most values in containers, in the memo and on the stack, each.
const MAX_VALUES: usize = 1 << 22;
/// Most open marks; checkpoints have about five.
const MAX_DEPTH: usize = 256;

/// What a pickle leaves behind.
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Value,
}

/// Follows the instructions in `bytes` to their end.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, TorchError> {
    if bytes.len() as u64 > MAX_PICKLE_BYTES {
        return Err(TorchError::TooLarge {
            found: bytes.len() as u64,
            limit: MAX_PICKLE_BYTES,
        });
    }
    let mut machine = Machine {
        bytes,
        at: 0,
        start: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        nodes: Vec::new(),
        values: 0,
    };
    while machine.step()? == Flow::On {}
    let root = machine.pop()?;
    Ok(Parsed {
        nodes: machine.nodes,
        root,
    })
}

#[derive(PartialEq)]
enum Flow {
    On,
    Stop,
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// What is read next.
    at: usize,
    /// Where the instruction that is being followed stands.
    start: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Value>,
    nodes: Vec<Node>,
    /// How many values containers hold.
    values: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> Result<Flow, TorchError> {
        self.start = self.at;
        let code = self.byte()?;
        match code {
            0x80 => self.protocol()?,
            0x95 => drop(self.take(8)?), // a frame: how much to read ahead
            b'.' => return Ok(Flow::Stop),
            b'(' => self.mark()?,
            b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => self.integer(4)?,
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?;
            }
            0x8c | b'U' | b'C' => self.text(1, code != b'C')?,
            b'X' | b'T' | b'B' => self.text(4, code != b'B')?,
            0x8d | 0x8e => self.text(8, code == 0x8d)?,
            b'q' => self.memoize(1)?,
            b'r' => self.memoize(4)?,
            0x94 => self.remember(self.memo.len())?,
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b')' => self.tuple_of(0)?,
            0x85..=0x87 => self.tuple_of(usize::from(code - 0x84))?,
            b't' => self.tuple()?,
            b']' => self.add(Node::List)?,
            b'}' => self.add(Node::Dict(Vec::new()))?,
            b'a' => self.append_one()?,
            b'e' => self.append_marked()?,
            b's' => self.set_one()?,
            b'u' => self.set_marked()?,
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            code => {
                return Err(TorchError::Opcode {
                    code,
                    at: self.start,
                });
            }
        }
        Ok(Flow::On)
    }

    fn protocol(&mut self) -> Result<(), TorchError> {
        match self.byte()? {
            2..=5 => Ok(()),
            _ => Err(self.malformed("a protocol other than 2 to 5")),
        }
    }

    fn mark(&mut self) -> Result<(), TorchError> {
        limit("open marks", self.marks.len(), MAX_DEPTH)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// A little-endian number; those of four bytes carry a sign.
    fn integer(&mut self, width: usize) -> Result<(), TorchError> {
        let value = self.number(width)?;
        let value = if width == 4 {
            i64::from((value as u32).cast_signed())
        } else {
            value.cast_signed()
        };
        self.push(Value::Int(value))
    }

    /// Up to eight bytes of a number with a sign; larger ones are kept as unknown.
    fn long(&mut self) -> Result<(), TorchError> {
        let len = usize::from(self.byte()?);
        let bytes = self.take(len)?;
        let value = match (len, bytes.last()) {
            (1..=8, Some(&last)) => {
                let mut word = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
                word[..len].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(word))
            }
            (0, _) => Value::Int(0),
            _ => Value::Other,
        };
        self.push(value)
    }

    fn text(&mut self, width: usize, is_text: bool) -> Result<(), TorchError> {
        let len = usize::try_from(self.number(width)?).unwrap_or(usize::MAX);
        let start = self.at;
        let bytes = self.take(len)?;
        let value = if is_text && std::str::from_utf8(bytes).is_ok() {
            // In range: the pickle is shorter than 2^32.
            Value::Text(start as u32, len as u32)
        } else {
            Value::Other
        };
        self.push(value)
    }

    fn memoize(&mut self, width: usize) -> Result<(), TorchError> {
        let slot = self.number(width)? as usize;
        self.remember(slot)
    }

    /// Python numbers what it remembers one by one.
    fn remember(&mut self, slot: usize) -> Result<(), TorchError> {
        let value = self.top()?;
        match slot.cmp(&self.memo.len()) {
            Ordering::Less => self.memo[slot] = value,
            Ordering::Equal => {
                limit("remembered values", slot, MAX_VALUES)?;
                self.memo.push(value);
            }
            Ordering::Greater => {
                return Err(self.malformed("values are remembered out of order"));
            }
        }
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), TorchError> {
        let slot = self.number(width)? as usize;
        match self.memo.get(slot) {
            Some(&value) => self.push(value),
            None => Err(self.malformed("a value is recalled that was not remembered")),
        }
    }

    fn tuple_of(&mut self, len: usize) -> Result<(), TorchError> {
        let floor = self.floor();
        match self.stack.len().checked_sub(len) {
            Some(start) if start >= floor => self.tuple_from(start),
            _ => Err(self.malformed("the stack is empty")),
        }
    }

    fn tuple(&mut self) -> Result<(), TorchError> {
        let start = self.unmark()?;
        self.tuple_from(start)
    }

    fn tuple_from(&mut self, start: usize) -> Result<(), TorchError> {
        self.count_values(self.stack.len() - start)?;
        let items = self.stack.drain(start..).collect();
        self.add(Node::Tuple(items))
    }

    /// What a list holds is never a tensor of the checkpoint, so only its existence is kept.
    fn append_one(&mut self) -> Result<(), TorchError> {
        self.pop()?;
        self.expect_list()
    }

    fn append_marked(&mut self) -> Result<(), TorchError> {
        let start = self.unmark()?;
        self.stack.truncate(start);
        self.expect_list()
    }

    fn expect_list(&self) -> Result<(), TorchError> {
        match self.top()? {
            Value::Node(i) if matches!(self.nodes[i as usize], Node::List) => Ok(()),
            _ => Err(self.malformed("something is appended to what is no list")),
        }
    }

    fn set_one(&mut self) -> Result<(), TorchError> {
        let (value, key) = (self.pop()?, self.pop()?);
        self.set(&[key, value])
    }

    fn set_marked(&mut self) -> Result<(), TorchError> {
        let start = self.unmark()?;
        let pairs = self.stack.split_off(start);
        self.set(&pairs)
    }

    fn set(&mut self, pairs: &[Value]) -> Result<(), TorchError> {
        self.count_values(pairs.len())?;
        let (pairs, []) = pairs.as_chunks::<2>() else {
            return Err(self.malformed("a key without a value"));
        };
        let top = self.top()?;
        if let Value::Node(i) = top
            && let Node::Dict(entries) = &mut self.nodes[i as usize]
        {
            entries.extend(pairs.iter().filter_map(|&[key, value]| match key {
                Value::Text(start, len) => Some(((start, len), value)),
                _ => None,
            }));
            return Ok(());
        }
        Err(self.malformed("something is put into what is no dictionary"))
    }

    fn global(&mut self) -> Result<(), TorchError> {
        let module = self.line()?;
        let name = self.line()?;
        self.push_global(module, name)
    }

    fn stack_global(&mut self) -> Result<(), TorchError> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.text_of(module), self.text_of(name)) {
            (Some(module), Some(name)) => self.push_global(module, name),
            _ => Err(self.malformed("a name that is no text")),
        }
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), TorchError> {
        match Global::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(TorchError::Global {
                name: excerpt(&format!("{module}.{name}")),
            }),
        }
    }

    /// `('storage', kind, key, device, number of values)`.
    fn storage(&mut self) -> Result<(), TorchError> {
        let id = self.pop()?;
        let wrong = "a reference that is no storage";
        let Some(&[tag, kind, key, _, len]) = self.items(id) else {
            return Err(self.malformed(wrong));
        };
        match (self.text_of(tag), kind, key, len) {
            (
                Some("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(start, key),
                Value::Int(len @ 0..),
            ) => self.add(Node::Storage(Storage {
                dtype,
                key: (start, key),
                len: len as u64,
            })),
            _ => Err(self.malformed(wrong)),
        }
    }

    fn call(&mut self) -> Result<(), TorchError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let wrong = "a function is called with arguments it does not take";
        let Some(items) = self.items(arguments) else {
            return Err(self.malformed(wrong));
        };
        let made = match (function, items) {
            (Value::Global(Global::OrderedDict), []) => Some(Node::Dict(Vec::new())),
            (Value::Global(Global::Parameter), &[inner, ..]) if self.is_tensor(inner) => {
                return self.push(inner);
            }
            (
                Value::Global(Global::Tensor),
                &[storage, Value::Int(offset @ 0..), shape, strides, _, _, ..],
            ) => {
                // The seventh argument of the third version is the element type of untyped bytes.
                let dtype = items.get(6).copied();
                self.tensor(storage, offset as u64, shape, strides, dtype)
            }
            _ => None,
        };
        match made {
            Some(node) => self.add(node),
            None => Err(self.malformed(wrong)),
        }
    }

    fn tensor(
        &self,
        storage: Value,
        offset: u64,
        shape: Value,
        strides: Value,
        dtype: Option<Value>,
    ) -> Option<Node> {
        let storage = match storage {
            Value::Node(i) => match &self.nodes[i as usize] {
                Node::Storage(storage) => *storage,
                _ => return None,
            },
            _ => return None,
        };
        let dtype = match (storage.dtype, dtype) {
            (_, Some(Value::Global(Global::DType(dtype)))) => dtype,
            (dtype, _) => dtype?,
        };
        let (shape, strides) = (self.extents(shape)?, self.extents(strides)?);
        (shape.len() == strides.len()).then_some(Node::Tensor(Tensor {
            storage,
            dtype,
            offset,
            shape,
            strides,
        }))
    }

    fn extents(&self, tuple: Value) -> Option<Box<[u64]>> {
        let extent = |value: &Value| match *value {
            Value::Int(n @ 0..) => Some(n as u64),
            _ => None,
        };
        self.items(tuple)?.iter().map(extent).collect()
    }

    /// The state of an ordered dictionary is its `_metadata`: version numbers that no tensor needs.
    fn build(&mut self) -> Result<(), TorchError> {
        self.pop()?;
        match self.top()? {
            Value::Node(i) if matches!(self.nodes[i as usize], Node::Dict(_)) => Ok(()),
            _ => Err(self.malformed("a state is given to what has none")),
        }
    }

    fn is_tensor(&self, value: Value) -> bool {
        matches!(value, Value::Node(i) if matches!(self.nodes[i as usize], Node::Tensor(_)))
    }

    fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Node(i) => match &self.nodes[i as usize] {
                Node::Tuple(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    fn text_of(&self, value: Value) -> Option<&'a str> {
        match value {
            Value::Text(start, len) => text_at(self.bytes, (start, len)),
            _ => None,
        }
    }

    fn add(&mut self, node: Node) -> Result<(), TorchError> {
        limit("containers and tensors", self.nodes.len(), MAX_NODES)?;
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() as u32 - 1))
    }

    fn count_values(&mut self, more: usize) -> Result<(), TorchError> {
        self.values += more;
        limit("values", self.values, MAX_VALUES)
    }

    fn push(&mut self, value: Value) -> Result<(), TorchError> {
        limit("values on the stack", self.stack.len(), MAX_VALUES)?;
        self.stack.push(value);
        Ok(())
    }

    /// What lies below the last mark belongs to another container.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, TorchError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Result<Value, TorchError> {
        match self.stack.last() {
            Some(&value) if self.stack.len() > self.floor() => Ok(value),
            _ => Err(self.malformed("the stack is empty")),
        }
    }

    fn unmark(&mut self) -> Result<usize, TorchError> {
        let mark = self.marks.pop();
        mark.ok_or_else(|| self.malformed("the end of what has not begun"))
    }

    fn byte(&mut self) -> Result<u8, TorchError> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, width: usize) -> Result<u64, TorchError> {
        let mut word = [0; 8];
        word[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(word))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TorchError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(TorchError::Truncated {
            at: self.bytes.len(),
        })?;
        self.at += len;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str, TorchError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n');
        let len = len.ok_or(TorchError::Truncated {
            at: self.bytes.len(),
        })?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| self.malformed("a name that is no text"))
    }

    fn malformed(&self, problem: &'static str) -> TorchError {
        TorchError::Malformed {
            at: self.start,
            problem,
        }
    }
}

/// The text that a value points to.
pub(super) fn text_at(bytes: &[u8], (start, len): (u32, u32)) -> Option<&str> {
    let range: Range<usize> = start as usize..start as usize + len as usize;
    std::str::from_utf8(bytes.get(range)?).ok()
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), TorchError> {
    if found < limit {
        Ok(())
    } else {
        Err(TorchError::TooMany { what, limit })
    }
}
