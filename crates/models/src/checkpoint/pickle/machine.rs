//! The pickle machine, as far as data goes: <https://docs.python.org/3/library/pickletools.html> lists the opcodes.
//!
//! Every step consumes input and every loop is over input, over the stack or accounted for, so a program of n bytes takes
//! O(n) steps. Nothing recurses.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::globals::modern;
use super::input::{Input, raw_unicode, unquoted};
use super::object::{Id, Object, Objects};

/// Most objects that a program can remember.
const MOST_REMEMBERED: usize = 4_000_000;

/// Follows programs and keeps what they build.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) objects: Objects,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine {
    /// Follows one program; gives the number of its result and how many bytes it took.
    pub(super) fn run(&mut self, bytes: Bytes) -> Result<(Id, usize), String> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        let mut input = Input::new(bytes);
        loop {
            let at = input.at();
            let opcode = input.byte()?;
            if opcode == b'.' {
                return Ok((self.pop()?, input.at()));
            }
            self.objects
                .spend(1)
                .and_then(|()| self.step(opcode, &mut input))
                .map_err(|reason| format!("{reason} (byte {at})"))?;
        }
    }

    fn step(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        match opcode {
            0x80 => match input.byte()? {
                0..=5 => Ok(()),
                other => Err(format!("protocol {other} is not known")),
            },
            // Frames only help those who read from a stream.
            0x95 => input.u64().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.marked().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            _ => self.step_number(opcode, input),
        }
    }

    fn step_number(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        let object = match opcode {
            b'N' => Object::None,
            0x88 => Object::Bool(true),
            0x89 => Object::Bool(false),
            b'J' => Object::Int(input.i32()?.into()),
            b'K' => Object::Int(input.byte()?.into()),
            b'M' => Object::Int(input.u16()?.into()),
            0x8a => {
                let count = input.byte()?.into();
                long(&input.take(count)?)
            }
            0x8b => {
                let count = input.u32()?.into();
                long(&input.take(count)?)
            }
            b'I' => match input.text_line()?.as_str() {
                "00" => Object::Bool(false),
                "01" => Object::Bool(true),
                number => Object::Int(number.parse().map_err(|_| "a number is none")?),
            },
            b'L' => Object::Int(input.number_line()?),
            b'G' => Object::Float(input.f64()?),
            b'F' => Object::Float(input.number_line()?),
            _ => return self.step_text(opcode, input),
        };
        self.push(object)
    }

    fn step_text(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        let count = match opcode {
            0x8c | b'U' | b'C' => u64::from(input.byte()?),
            b'X' | b'T' | b'B' => u64::from(input.u32()?),
            0x8d | 0x8e | 0x96 => input.u64()?,
            b'V' => {
                let text = raw_unicode(&input.line()?)?;
                return self.text(&text);
            }
            b'S' => {
                let bytes = unquoted(&input.line()?)?;
                return self.text_or_bytes(bytes.into());
            }
            _ => return self.step_container(opcode, input),
        };
        let bytes = input.take(count)?;
        match opcode {
            b'U' | b'T' => self.text_or_bytes(bytes),
            b'X' | 0x8c | 0x8d => self.text(&String::from_utf8_lossy(&bytes)),
            _ => self.push(Object::Bytes(bytes)),
        }
    }

    fn step_container(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        match opcode {
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            0x8f => self.push(Object::Set(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b't' => {
                let items = self.marked()?;
                self.push(Object::Tuple(items))
            }
            b'l' => {
                let items = self.marked()?;
                self.push(Object::List(items))
            }
            0x91 => {
                let items = self.marked()?;
                self.push(Object::Set(items))
            }
            b'd' => {
                let entries = pairs(&self.marked()?)?;
                self.push(Object::Dict(entries))
            }
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Object::Tuple(items))
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[(key, value)])
            }
            b'u' => {
                let entries = pairs(&self.marked()?)?;
                self.extend_dict(&entries)
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.extend_list(&items)
            }
            _ => self.step_reference(opcode, input),
        }
    }

    fn step_reference(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        match opcode {
            b'q' => {
                let slot = input.byte()?.into();
                self.remember(slot)
            }
            b'r' => {
                let slot = input.u32()?.into();
                self.remember(slot)
            }
            b'p' => {
                let slot = input.number_line()?;
                self.remember(slot)
            }
            0x94 => self.remember(self.memo.len() as u64),
            b'h' => {
                let slot = input.byte()?.into();
                self.recall(slot)
            }
            b'j' => {
                let slot = input.u32()?.into();
                self.recall(slot)
            }
            b'g' => {
                let slot = input.number_line()?;
                self.recall(slot)
            }
            _ => self.step_call(opcode, input),
        }
    }

    /// What would import, call or look something up: here it only names it.
    fn step_call(&mut self, opcode: u8, input: &mut Input) -> Result<(), String> {
        match opcode {
            b'c' => {
                let (module, name) = (input.text_line()?, input.text_line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let part = |id| self.objects.text(id).cloned().ok_or("a class has no name");
                let (name, module) = (part(name)?, part(module)?);
                self.global(&module, &name)
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(callee, arguments)
            }
            0x92 => {
                let (_named, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callee, arguments)
            }
            b'i' => {
                let (module, name) = (input.text_line()?, input.text_line()?);
                let arguments = self.marked()?;
                self.global(&module, &name)?;
                let callee = self.pop()?;
                self.call_with(callee, arguments)
            }
            b'o' => {
                let mut arguments = self.marked()?;
                if arguments.is_empty() {
                    return Err("there is no class".into());
                }
                let callee = arguments.remove(0);
                self.call_with(callee, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)
            }
            b'Q' => {
                let id = self.pop()?;
                let object = self.persistent(id)?;
                self.stack.push(object);
                Ok(())
            }
            other => Err(format!("opcode {other:#04x} is not followed")),
        }
    }

    fn call(&mut self, callee: Id, arguments: Id) -> Result<(), String> {
        let made = self.construct(callee, arguments)?;
        self.stack.push(made);
        Ok(())
    }

    fn call_with(&mut self, callee: Id, arguments: Vec<Id>) -> Result<(), String> {
        let arguments = self.objects.add(Object::Tuple(arguments))?;
        self.call(callee, arguments)
    }

    fn push(&mut self, object: Object) -> Result<(), String> {
        let id = self.objects.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The topmost object; one below the last mark is out of reach.
    fn top(&self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let reachable = self.stack.get(floor..).unwrap_or_default();
        reachable.last().copied().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, slot: u64) -> Result<(), String> {
        let id = self.top()?;
        self.memo.insert(slot, id);
        if self.memo.len() > MOST_REMEMBERED {
            return Err(format!("it remembers more than {MOST_REMEMBERED} objects"));
        }
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), String> {
        let id = self.memo.get(&slot).ok_or("a memo slot is empty")?;
        self.stack.push(*id);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        self.objects.spend(text.len())?;
        self.push(Object::Text(text.into()))
    }

    /// Python 2 has one type for texts and bytes.
    fn text_or_bytes(&mut self, bytes: Bytes) -> Result<(), String> {
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.text(text),
            Err(_) => self.push(Object::Bytes(bytes)),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let name: Arc<str> = modern(module, name).into();
        self.objects.spend(name.len())?;
        self.objects.name_global(&name);
        self.push(Object::Global(name))
    }

    fn extend_dict(&mut self, entries: &[(Id, Id)]) -> Result<(), String> {
        let target = self.top()?;
        match self.objects.get_mut(target) {
            Some(Object::Dict(own)) => own.extend(entries),
            // A class that is kept as data may be a dictionary; what it holds is not looked for.
            Some(Object::Instance(_)) => {}
            _ => return Err("something that is no dictionary gets an entry".into()),
        }
        Ok(())
    }

    fn extend_list(&mut self, items: &[Id]) -> Result<(), String> {
        let target = self.top()?;
        match self.objects.get_mut(target) {
            Some(Object::List(own) | Object::Set(own)) => own.extend(items),
            Some(Object::Instance(_)) => {}
            _ => return Err("something that is no list gets an item".into()),
        }
        Ok(())
    }
}

/// A little-endian integer in two's complement.
fn long(bytes: &Bytes) -> Object {
    if bytes.len() > 16 {
        return Object::Long;
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i128::from_le_bytes(wide))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    } else {
        Err("a key has no value".into())
    }
}
