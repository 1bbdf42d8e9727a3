//! The pickle machine, as far as data goes: <https://docs.python.org/3/library/pickletools.html> lists the opcodes.
//!
//! Every step consumes input and every loop is over input or over the stack, so a program of n bytes takes O(n) steps.

use std::collections::HashMap;

use super::object::{Object, Objects, storage_type};

/// Follows programs and keeps what they build.
#[derive(Default)]
pub(super) struct Machine {
    objects: Objects,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).ok_or("it ends too early")?;
        let bytes = self.bytes.get(self.at..end).ok_or("it ends too early")?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it ends too early".to_owned())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u64, String> {
        self.array().map(|bytes| u64::from(u16::from_le_bytes(bytes)))
    }

    fn u32(&mut self) -> Result<u64, String> {
        self.array().map(|bytes| u64::from(u32::from_le_bytes(bytes)))
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// As many bytes as `count` says.
    fn counted(&mut self, count: u64) -> Result<&'a [u8], String> {
        self.take(usize::try_from(count).map_err(|_| "it ends too early")?)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("a line does not end")?;
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(text)
    }
}

impl Machine {
    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn into_objects(self) -> Objects {
        self.objects
    }

    /// Follows one program; gives the number of its result and how many bytes it took.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<(usize, usize), String> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        let mut input = Input { bytes, at: 0 };
        loop {
            let at = input.at;
            let opcode = input.byte()?;
            if opcode == b'.' {
                return Ok((self.pop()?, input.at));
            }
            self.step(opcode, &mut input).map_err(|reason| format!("{reason} (byte {at})"))?;
        }
    }

    fn step(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), String> {
        match opcode {
            0x80 => drop(input.byte()?),
            0x95 => drop(input.u64()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => self.stack.push(self.top()?),
            // Constants.
            b'N' => self.push(Object::None)?,
            0x88 => self.push(Object::Bool(true))?,
            0x89 => self.push(Object::Bool(false))?,
            b'J' => {
                let number = i32::from_le_bytes(input.array()?);
                self.push(Object::Int(number.into()))?;
            }
            b'K' => {
                let number = input.byte()?;
                self.push(Object::Int(number.into()))?;
            }
            b'M' => {
                let number = input.u16()?;
                self.push(Object::Int(number.into()))?;
            }
            0x8a => {
                let count = input.byte()?.into();
                self.long(input.counted(count)?)?;
            }
            0x8b => {
                let count = input.u32()?;
                self.long(input.counted(count)?)?;
            }
            b'I' | b'L' => {
                let text = input.line()?;
                self.push(match text.trim_end_matches('L') {
                    "00" => Object::Bool(false),
                    "01" => Object::Bool(true),
                    number => Object::Int(number.parse().unwrap_or_default()),
                })?;
            }
            b'G' => {
                input.take(8)?;
                self.push(Object::Float)?;
            }
            b'F' => {
                input.line()?;
                self.push(Object::Float)?;
            }
            _ => return self.step_text(opcode, input),
        }
        Ok(())
    }

    fn step_text(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), String> {
        match opcode {
            b'X' | b'T' => {
                let count = input.u32()?;
                self.text(input.counted(count)?)?;
            }
            0x8c | b'U' => {
                let count = input.byte()?.into();
                self.text(input.counted(count)?)?;
            }
            0x8d => {
                let count = input.u64()?;
                self.text(input.counted(count)?)?;
            }
            b'V' | b'S' => {
                let line = input.line()?;
                self.push(Object::Text(line.trim_matches('\'').to_owned()))?;
            }
            b'B' => {
                let count = input.u32()?;
                input.counted(count)?;
                self.push(Object::Bytes)?;
            }
            b'C' => {
                let count = input.byte()?.into();
                input.counted(count)?;
                self.push(Object::Bytes)?;
            }
            0x8e | 0x96 => {
                let count = input.u64()?;
                input.counted(count)?;
                self.push(Object::Bytes)?;
            }
            _ => return self.step_container(opcode, input),
        }
        Ok(())
    }

    fn step_container(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), String> {
        match opcode {
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b']' | 0x8f => self.push(Object::List(Vec::new()))?,
            b')' => self.push(Object::Tuple(Vec::new()))?,
            b't' => {
                let items = self.marked()?;
                self.push(Object::Tuple(items))?;
            }
            b'l' | 0x91 => {
                let items = self.marked()?;
                self.push(Object::List(items))?;
            }
            b'd' => {
                let entries = pairs(&self.marked()?);
                self.push(Object::Dict(entries))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                let items = self.stack.split_off(start);
                self.push(Object::Tuple(items))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![(key, value)])?;
            }
            b'u' => {
                let entries = pairs(&self.marked()?);
                self.extend_dict(entries)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.extend_list(items)?;
            }
            _ => return self.step_reference(opcode, input),
        }
        Ok(())
    }

    fn step_reference(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), String> {
        match opcode {
            b'q' => {
                let slot = input.byte()?.into();
                self.remember(slot)?;
            }
            b'r' => {
                let slot = input.u32()?;
                self.remember(slot)?;
            }
            b'p' => {
                let slot = input.line()?.parse().map_err(|_| "a memo slot is no number")?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' => {
                let slot = input.byte()?.into();
                self.recall(slot)?;
            }
            b'j' => {
                let slot = input.u32()?;
                self.recall(slot)?;
            }
            b'g' => {
                let slot = input.line()?.parse().map_err(|_| "a memo slot is no number")?;
                self.recall(slot)?;
            }
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                self.global(&format!("{module}.{name}"))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let part = |id: usize| self.objects.text(id).unwrap_or("?");
                let name = format!("{}.{}", part(module), part(name));
                self.global(&name)?;
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.construct(callee, arguments)?;
            }
            0x92 => {
                let (_, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.construct(callee, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                if let Some(Object::Opaque { state: own }) = self.objects.get_mut(object) {
                    *own = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id);
                self.push(storage)?;
            }
            other => return Err(format!("opcode {other:#04x} is not followed")),
        }
        Ok(())
    }

    fn push(&mut self, object: Object) -> Result<(), String> {
        let id = self.objects.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn top(&self) -> Result<usize, String> {
        self.stack.last().copied().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn marked(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, slot: u64) -> Result<(), String> {
        let id = self.top()?;
        self.memo.insert(slot, id);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), String> {
        let id = self.memo.get(&slot).ok_or("a memo slot is empty")?;
        self.stack.push(*id);
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.push(Object::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn long(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 16];
        let kept = bytes.len().min(16);
        wide[..kept].copy_from_slice(&bytes[..kept]);
        self.push(Object::Int(i128::from_le_bytes(wide)))
    }

    fn global(&mut self, name: &str) -> Result<(), String> {
        self.objects.name_global(name);
        self.push(Object::Global(name.to_owned()))
    }

    fn extend_dict(&mut self, entries: Vec<(usize, usize)>) -> Result<(), String> {
        let target = self.top()?;
        if let Some(Object::Dict(own)) = self.objects.get_mut(target) {
            own.extend(entries);
        }
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<usize>) -> Result<(), String> {
        let target = self.top()?;
        if let Some(Object::List(own)) = self.objects.get_mut(target) {
            own.extend(items);
        }
        Ok(())
    }

    /// What a call would have made: one of the known values, else something opaque.
    fn construct(&mut self, callee: usize, arguments: usize) -> Result<(), String> {
        let name = match self.objects.get(callee) {
            Object::Global(name) => name.clone(),
            _ => String::new(),
        };
        // A few arguments are enough, and a program may pass the same long list again and again.
        let items: Vec<usize> = self.objects.items(arguments).iter().take(8).copied().collect();
        match name.as_str() {
            "collections.OrderedDict" | "builtins.dict" | "__builtin__.dict" => {
                self.push(Object::Dict(Vec::new()))
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state"
                if !items.is_empty() =>
            {
                self.stack.push(items[0]);
                Ok(())
            }
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" if items.len() >= 4 => {
                let tensor = self.tensor(items[0], items[2]);
                self.push(tensor)
            }
            _ => self.push(Object::Opaque { state: None }),
        }
    }

    fn tensor(&self, storage: usize, shape: usize) -> Object {
        let (dtype, width) = match self.objects.get(storage) {
            Object::Storage { dtype, width } => (*dtype, *width),
            _ => ("?", 0),
        };
        let shape = self.objects.sizes(shape).unwrap_or_default();
        let bytes = shape.iter().fold(width, |bytes, size| bytes.saturating_mul(*size as u64));
        Object::Tensor { dtype: dtype.to_owned(), shape, bytes }
    }

    /// `('storage', class, key, location, elements)`.
    fn storage(&self, id: usize) -> Object {
        let class = self.objects.items(id).get(1).map(|class| self.objects.get(*class));
        match class {
            Some(Object::Global(class)) => match storage_type(class) {
                Some((dtype, width)) => Object::Storage { dtype, width },
                None => Object::Opaque { state: None },
            },
            _ => Object::Opaque { state: None },
        }
    }
}

fn pairs(items: &[usize]) -> Vec<(usize, usize)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}
