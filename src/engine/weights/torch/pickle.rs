//! A machine for pickles of tensors: it builds dictionaries, texts, numbers and views of storages, and refuses all else
//! by name. Runs nothing, and knows neither files nor what the tensors are for.
//!
//! A pickle is a program for a stack machine that may name any function of Python and call it. Here a name is looked up
//! in a list of what `torch.save` writes for a state dict (`torch/_utils.py`, `torch/serialization.py`); what it asks
//! for is done by the code below. Values lie in one list and name each other by index, so that neither deep nest nor
//! cycle costs stack, and each operation adds at most one: the bound on operations bounds memory.

use std::collections::BTreeMap;

use crate::error::TorchError;
use crate::weights::element::Element;

/// Index of a value.
pub(super) type Id = usize;

/// Operations of one pickle. A state dict of 24 layers takes about 30,000.
const MAX_OPERATIONS: usize = 1_000_000;
/// Axes of a tensor.
const MAX_AXES: usize = 16;

/// What a pickle may hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number that only stands beside tensors: too long for `Int`, or with a fraction.
    Number,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    Element(Element),
    Storage(Part),
    Tensor(View),
}

/// What may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `collections.OrderedDict()`, empty: its items are set afterwards.
    OrderedDict,
    /// `torch._utils._rebuild_tensor(storage, offset, shape, strides)`.
    RebuildTensor,
    /// The same with `requires_grad` and hooks.
    RebuildTensorV2,
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
}

/// A storage of the file: its name, type and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) element: Element,
    pub(super) count: usize,
}

impl Storage {
    /// Bytes of it, if they can be counted.
    pub(super) fn bytes(&self) -> Result<usize, TorchError> {
        let bytes = self.count.checked_mul(self.element.size());
        bytes.ok_or(TorchError::TooLarge)
    }
}

/// A stretch of a storage, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    storage: usize,
    first: usize,
    count: usize,
}

/// A tensor: elements of a storage, within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Index of the storage.
    pub(super) storage: usize,
    /// Element where it begins.
    pub(super) first: usize,
    pub(super) shape: Vec<usize>,
    /// Elements from one index of an axis to the next.
    pub(super) strides: Vec<usize>,
}

impl View {
    /// Elements of the tensor.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether elements follow each other, last axis fastest.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(n, by)| {
            let follows = *n <= 1 || *by == step;
            step *= n.max(&1);
            follows
        })
    }
}

/// What a pickle built.
#[derive(Debug, Default)]
pub(super) struct Built {
    values: Vec<Value>,
    /// What stood on the stack at the end.
    pub(super) result: Id,
    /// The storages that tensors are made of.
    pub(super) storages: Vec<Storage>,
    /// Bytes of the pickle.
    pub(super) length: usize,
}

impl Built {
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(super) fn find_text(&self, id: Id) -> Option<&str> {
        match &self.values[id] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

pub(super) fn broken(reason: impl Into<String>) -> TorchError {
    TorchError::Broken(reason.into())
}

/// Builds what the pickle at the beginning of `bytes` says.
///
/// # Errors
/// What is refused, by name; a pickle that does not hold together.
pub(super) fn build(bytes: &[u8]) -> Result<Built, TorchError> {
    let mut machine = Machine {
        input: bytes,
        at: 0,
        built: Built::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        known: BTreeMap::new(),
    };
    for _ in 0..MAX_OPERATIONS {
        if machine.step()? {
            machine.built.result = machine.pop()?;
            machine.built.length = machine.at;
            return Ok(machine.built);
        }
    }
    Err(TorchError::TooLarge)
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    built: Built,
    stack: Vec<Id>,
    /// Lengths of the stack at open marks.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    /// Indices of storages by their names.
    known: BTreeMap<String, usize>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], TorchError> {
        let rest = &self.input[self.at..];
        let taken = rest
            .get(..n)
            .ok_or_else(|| broken("the pickle is cut off"))?;
        self.at += n;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TorchError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many as were asked for"))
    }

    fn length(&mut self) -> Result<usize, TorchError> {
        Ok(u32::from_le_bytes(self.bytes()?) as usize)
    }

    fn line(&mut self) -> Result<&'a str, TorchError> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or_else(|| broken("the pickle is cut off"))?)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| broken("a name is not UTF-8"))
    }

    fn push(&mut self, value: Value) {
        self.built.values.push(value);
        self.stack.push(self.built.values.len() - 1);
    }

    /// The topmost value of those behind the last mark.
    fn pop(&mut self) -> Result<Id, TorchError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => Ok(self.stack.pop().expect("above the floor")),
            false => Err(broken("the pickle takes from an empty stack")),
        }
    }

    /// All values behind the last mark, which is closed.
    fn pop_marked(&mut self) -> Result<Vec<Id>, TorchError> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| broken("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_many<const N: usize>(&mut self) -> Result<Vec<Id>, TorchError> {
        let mut found = Vec::with_capacity(N);
        for _ in 0..N {
            found.push(self.pop()?);
        }
        found.reverse();
        Ok(found)
    }

    /// The value that the operation adds to, which stays on the stack.
    fn top(&mut self) -> Result<&mut Value, TorchError> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.built.values[id])
    }

    fn text(&mut self, n: usize) -> Result<(), TorchError> {
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| broken("a text is not UTF-8"))?;
        self.push(Value::Text(text.to_owned()));
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), TorchError> {
        self.top()?;
        let id = *self.stack.last().expect("just looked at");
        self.memo.insert(place, id);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), TorchError> {
        let id = self.memo.get(&place).copied();
        self.stack
            .push(id.ok_or_else(|| broken("the pickle recalls what it did not keep"))?);
        Ok(())
    }

    /// One operation; whether it was the last.
    fn step(&mut self) -> Result<bool, TorchError> {
        let [operation] = self.bytes()?;
        match operation {
            b'.' => return Ok(true),
            0x80 => {
                let [protocol] = self.bytes()?;
                if !(2..=5).contains(&protocol) {
                    return Err(broken(format!("pickle protocol {protocol} is not known")));
                }
            }
            // FRAME: how much may be read at once.
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let [byte] = self.bytes()?;
                self.push(Value::Int(i64::from(byte)));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.push(Value::Int(i64::from(number)));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.push(Value::Int(i64::from(number)));
            }
            0x8a => {
                let [n] = self.bytes()?;
                let number = long(self.take(usize::from(n))?);
                self.push(number);
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Number);
            }
            b'X' | b'T' => {
                let n = self.length()?;
                self.text(n)?;
            }
            0x8c | b'U' => {
                let [n] = self.bytes()?;
                self.text(usize::from(n))?;
            }
            b'q' => {
                let [place] = self.bytes()?;
                self.remember(u32::from(place))?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.remember(place)?;
            }
            0x94 => {
                let place = u32::try_from(self.memo.len()).expect("bounded by operations");
                self.remember(place)?;
            }
            b'h' => {
                let [place] = self.bytes()?;
                self.recall(u32::from(place))?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.recall(place)?;
            }
            _ => self.collect(operation)?,
        }
        Ok(false)
    }

    /// Operations that make something of what is on the stack.
    fn collect(&mut self, operation: u8) -> Result<(), TorchError> {
        match operation {
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b't' => {
                let items = self.pop_marked()?;
                self.push(Value::Tuple(items));
            }
            0x85 => {
                let items = self.pop_many::<1>()?;
                self.push(Value::Tuple(items));
            }
            0x86 => {
                let items = self.pop_many::<2>()?;
                self.push(Value::Tuple(items));
            }
            0x87 => {
                let items = self.pop_many::<3>()?;
                self.push(Value::Tuple(items));
            }
            b'a' => {
                let items = self.pop_many::<1>()?;
                self.append(&items)?;
            }
            b'e' => {
                let items = self.pop_marked()?;
                self.append(&items)?;
            }
            b's' => {
                let items = self.pop_many::<2>()?;
                self.set(&items)?;
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.set(&items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let value = global(module, name)?;
                self.push(value);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.built.find_text(id);
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return Err(broken("a global's name is no text"));
                };
                let value = global(module, name)?;
                self.push(value);
            }
            // INST names what it runs itself.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                global(module, name)?;
                return Err(refused(operation));
            }
            b'R' => self.reduce()?,
            b'b' => {
                // `_metadata` of a state dict, versions of modules: not looked at.
                let state = self.pop()?;
                let is_dict = matches!(self.built.values[state], Value::Dict(_));
                if !is_dict || !matches!(self.top()?, Value::Dict(_)) {
                    return Err(refused(operation));
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage));
            }
            _ => return Err(refused(operation)),
        }
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Result<(), TorchError> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err(broken("something is appended to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), TorchError> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err(broken("items are set in what is no dictionary")),
        }
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), TorchError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let values = &self.built.values;
        let (Value::Function(function), Value::Tuple(arguments)) =
            (&values[function], &values[arguments])
        else {
            return Err(refused(b'R'));
        };
        let made = match (function, arguments.as_slice()) {
            (Function::OrderedDict, []) => Value::Dict(Vec::new()),
            (Function::RebuildTensor, [storage, first, shape, strides])
            | (Function::RebuildTensorV2, [storage, first, shape, strides, _, _, ..]) => {
                self.tensor([*storage, *first, *shape, *strides])?
            }
            (Function::RebuildParameter, [tensor, _, _]) => {
                let Value::Tensor(view) = &values[*tensor] else {
                    return Err(broken("a parameter is made of what is no tensor"));
                };
                Value::Tensor(view.clone())
            }
            _ => return Err(broken(format!("{function:?} has other arguments"))),
        };
        self.push(made);
        Ok(())
    }

    fn whole(&self, id: Id) -> Result<usize, TorchError> {
        match self.built.values[id] {
            Value::Int(number) => usize::try_from(number).map_err(|_| broken("a size is negative")),
            _ => Err(broken("a size is no whole number")),
        }
    }

    fn wholes(&self, id: Id) -> Result<Vec<usize>, TorchError> {
        match &self.built.values[id] {
            Value::Tuple(items) if items.len() <= MAX_AXES => {
                items.iter().map(|item| self.whole(*item)).collect()
            }
            _ => Err(broken("a shape is no short tuple")),
        }
    }

    /// A view, within the bounds of its storage.
    fn tensor(&self, [storage, first, shape, strides]: [Id; 4]) -> Result<Value, TorchError> {
        let Value::Storage(part) = self.built.values[storage] else {
            return Err(broken("a tensor is made of what is no storage"));
        };
        let (shape, strides) = (self.wholes(shape)?, self.wholes(strides)?);
        if shape.len() != strides.len() {
            return Err(broken("a tensor has not one stride an axis"));
        }
        let outside = || broken("a tensor reaches beyond its storage");
        let start = self.whole(first)?;
        let mut count = 1_usize;
        let mut last = start;
        for (n, by) in shape.iter().zip(&strides) {
            count = count.checked_mul(*n).ok_or_else(outside)?;
            let reach = n.saturating_sub(1).checked_mul(*by).ok_or_else(outside)?;
            last = last.checked_add(reach).ok_or_else(outside)?;
        }
        // More elements than the storage has would repeat them.
        if count > part.count || (count > 0 && last >= part.count) {
            return Err(outside());
        }
        Ok(Value::Tensor(View {
            storage: part.storage,
            first: if count == 0 { 0 } else { part.first + start },
            shape,
            strides,
        }))
    }

    /// `('storage', type, key, device, count)` and, in the legacy layout, `None` or `(key, first, count)` of a part.
    fn storage(&mut self, id: Id) -> Result<Part, TorchError> {
        let unknown = || broken("a persistent id is no storage");
        let Value::Tuple(items) = &self.built.values[id] else {
            return Err(unknown());
        };
        let (tag, element, key, count, part) = match items.as_slice() {
            [tag, element, key, _, count] => (*tag, *element, *key, *count, None),
            [tag, element, key, _, count, part] => (*tag, *element, *key, *count, Some(*part)),
            _ => return Err(unknown()),
        };
        let Value::Element(element) = self.built.values[element] else {
            return Err(unknown());
        };
        let key = self.built.find_text(key).ok_or_else(unknown)?;
        if self.built.find_text(tag) != Some("storage") {
            return Err(unknown());
        }
        let storage = Storage {
            key: key.to_owned(),
            element,
            count: self.whole(count)?,
        };
        let mut found = Part {
            storage: self.built.storages.len(),
            first: 0,
            count: storage.count,
        };
        match part.map(|id| &self.built.values[id]) {
            None | Some(Value::None) => {}
            Some(Value::Tuple(part)) if part.len() == 3 => {
                (found.first, found.count) = (self.whole(part[1])?, self.whole(part[2])?);
                let end = found.first.checked_add(found.count);
                if end.is_none_or(|end| end > storage.count) {
                    return Err(broken("a part reaches beyond its storage"));
                }
            }
            Some(_) => return Err(unknown()),
        }
        match self.known.get(&storage.key) {
            Some(at) if self.built.storages[*at] == storage => found.storage = *at,
            Some(_) => return Err(broken("a storage has two sizes")),
            None => {
                self.known.insert(storage.key.clone(), found.storage);
                self.built.storages.push(storage);
            }
        }
        Ok(found)
    }
}

/// A number of so many bytes, two's complement, lowest first.
fn long(bytes: &[u8]) -> Value {
    let Some(last) = bytes.last() else {
        return Value::Int(0);
    };
    if bytes.len() > 8 {
        return Value::Number;
    }
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}

/// What may be named. All else is refused, whatever it is.
fn global(module: &str, name: &str) -> Result<Value, TorchError> {
    let element = |element| Ok(Value::Element(element));
    let function = |function| Ok(Value::Function(function));
    match (module, name) {
        ("collections", "OrderedDict") => function(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor") => function(Function::RebuildTensor),
        ("torch._utils", "_rebuild_tensor_v2") => function(Function::RebuildTensorV2),
        ("torch._utils", "_rebuild_parameter") => function(Function::RebuildParameter),
        ("torch", "DoubleStorage") => element(Element::F64),
        ("torch", "FloatStorage") => element(Element::F32),
        ("torch", "HalfStorage") => element(Element::F16),
        ("torch", "BFloat16Storage") => element(Element::BF16),
        ("torch", "LongStorage") => element(Element::I64),
        ("torch", "IntStorage") => element(Element::I32),
        ("torch", "ShortStorage") => element(Element::I16),
        ("torch", "CharStorage") => element(Element::I8),
        ("torch", "ByteStorage") => element(Element::U8),
        ("torch", "BoolStorage") => element(Element::Bool),
        _ => {
            let name: String = format!("{module}.{name}").chars().take(200).collect();
            Err(TorchError::Runs {
                name: name.escape_debug().to_string(),
            })
        }
    }
}

/// The name of an operation that is known and not done here.
fn refused(operation: u8) -> TorchError {
    let name = match operation {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'F' => "FLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'B' | b'C' | 0x8e | 0x96 => "BYTES",
        b'P' => "PERSID",
        b'R' => "REDUCE",
        b'b' => "BUILD",
        b'd' => "DICT",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x81 => "NEWOBJ",
        0x82..=0x84 => "EXT",
        0x8b => "LONG4",
        0x8d => "BINUNICODE8",
        0x8f..=0x91 => "SET",
        0x92 => "NEWOBJ_EX",
        0x97 | 0x98 => "BUFFER",
        other => return broken(format!("0x{other:02x} is no operation of pickle")),
    };
    TorchError::Operation {
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pickle: &[u8]) -> String {
        build(pickle).expect_err("refused").to_string()
    }

    /// What `pickle.dumps` and by-hand assembly make of attacks; each stops at the name, before anything is called.
    #[test]
    fn code_is_refused_by_name_wherever_it_stands() {
        let system = "the file asks to run `posix.system`: refused";
        let eval = "the file asks to run `builtins.eval`: refused";
        let cases: [(&[u8], &str); 10] = [
            // GLOBAL and REDUCE, as a class with `__reduce__` gives.
            (
                b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0trueq\x01\x85R.",
                system,
            ),
            // Protocol 4: STACK_GLOBAL.
            (
                b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x85R.",
                system,
            ),
            (b"\x80\x02cbuiltins\neval\n(X\x03\0\0\x001+1tR.", eval),
            // INST names and calls at once.
            (b"(X\x04\0\0\0trueiposix\nsystem\n.", system),
            // OBJ and NEWOBJ take the class from the stack.
            (b"(cposix\nsystem\nX\x04\0\0\0trueo.", system),
            (b"cposix\nsystem\n)\x81.", system),
            // In the state of a BUILD, in the arguments of an allowed call, in a tensor's storage, in an item.
            (
                b"ccollections\nOrderedDict\n)R}X\x01\0\0\0acposix\nsystem\n)Rsb.",
                system,
            ),
            (b"ccollections\nOrderedDict\n(cbuiltins\neval\n)RtR.", eval),
            (
                b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagecposix\nsystem\n",
                system,
            ),
            (b"}X\x01\0\0\0acbuiltins\neval\ns.", eval),
        ];
        for (pickle, message) in cases {
            assert_eq!(refusal(pickle), message);
        }
    }

    #[test]
    fn operations_that_tensors_do_not_take_are_refused() {
        let dict = b"ccollections\nOrderedDict\n)";
        let with = |end: &[u8]| refusal(&[dict, end].concat());
        assert!(with(b"\x81.").contains("NEWOBJ,"), "{}", with(b"\x81."));
        assert!(with(b"}\x92.").contains("NEWOBJ_EX"));
        assert!(refusal(b"(icollections\nOrderedDict\n.").contains("INST"));
        assert!(refusal(b"(ccollections\nOrderedDict\no.").contains("OBJ"));
        // BUILD of anything but a dictionary, REDUCE of anything but a function.
        assert!(refusal(b"ccollections\nOrderedDict\n}b.").contains("BUILD"));
        assert!(refusal(b"X\x01\0\0\0a)R.").contains("REDUCE"));
        assert!(refusal(b"Pstorage\n.").contains("PERSID"));
        assert!(refusal(b"\x82\x01.").contains("EXT"));
    }

    #[test]
    fn pickles_that_do_not_hold_together_are_errors() {
        for pickle in [
            &b""[..],
            b".",
            b"(.",
            b"t.",
            b"K",
            b"h\0.",
            b"q\0.",
            b"(K\x01K\x02u.",
            b"}(K\x01u.",
            b"X\xff\xff\xff\xffa.",
            b"\x80\x09.",
            b"c\xff\n\xff\n.",
            b"K\x01Q.",
            b"K\x01K\x02a.",
            b"(K\x01(\x85.",
        ] {
            assert!(
                matches!(build(pickle), Err(TorchError::Broken(_))),
                "{pickle:?}"
            );
        }
        // Neither depth nor number takes what a file does not have.
        let deep = [&b"]".repeat(900_000)[..], &b"a".repeat(899_999), b"."].concat();
        assert_eq!(build(&deep).expect_err("too much"), TorchError::TooLarge);
        let deep = [&b"]".repeat(400_000)[..], &b"a".repeat(399_999), b"."].concat();
        assert!(build(&deep).is_ok());
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        assert_eq!(long(&[]), Value::Int(0));
        assert_eq!(long(&[0xff]), Value::Int(-1));
        assert_eq!(long(&[0, 1]), Value::Int(256));
        assert_eq!(long(&[0; 9]), Value::Number);
    }
}
