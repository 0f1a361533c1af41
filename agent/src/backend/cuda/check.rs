//! The launches of `check.cu`: comparing outputs and summing up buffers on the device.

use std::rc::Rc;

use fractune_tuner::kernel::ElementType;

use super::buffers::{self, Buffer};
use super::driver::{Context, DriverError, Function, Memory, Module};
use crate::worker::protocol::Launch;

/// The kernels' source, compiled once for a run.
pub const SOURCE: &str = include_str!("check.cu");

const THREADS: u32 = 256;
const MAX_BLOCKS: u32 = 1024;

/// The loaded kernels, and where they leave their answers.
#[derive(Debug)]
pub(super) struct Checks {
    context: Rc<Context>,
    module: Module,
    checksum: Function,
    answer: Memory,
}

/// What an output is compared by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) element: ElementType,
    pub(super) absolute: f64,
    pub(super) relative: f64,
    pub(super) poisoned: bool,
}

impl Checks {
    pub(super) fn load(context: &Rc<Context>, image: &[u8]) -> Result<Self, DriverError> {
        let module = context.load(image)?;
        let checksum = module.function("checksum")?;
        Ok(Self { context: context.clone(), checksum, module, answer: context.allocate(size_of::<u64>())? })
    }

    /// How many elements of `got` differ from `expected` by more than the rule allows.
    pub(super) fn differing(&self, got: &Buffer, expected: &Buffer, rule: Rule) -> Result<u64, DriverError> {
        let Rule { element, absolute, relative, poisoned } = rule;
        let function = self.module.function(&format!("differ_{}", name(element)))?;
        let length = (got.bytes() / element.bytes()) as u64;
        let mut poison = [0_u8; 8];
        for (to, from) in poison.iter_mut().zip(buffers::poison(element, element.bytes())) {
            *to = from;
        }
        self.ask(
            &function,
            length,
            vec![
                got.address(),
                expected.address(),
                length,
                absolute.to_bits(),
                relative.to_bits(),
                u64::from_le_bytes(poison),
                u64::from(poisoned),
            ],
        )
    }

    /// The sum over a buffer and its zones.
    pub(super) fn sum(&self, buffer: &Buffer) -> Result<u64, DriverError> {
        let memory = buffer.memory();
        let words = (memory.bytes() / size_of::<u32>()) as u64;
        self.ask(&self.checksum, words, vec![memory.address(), words])
    }

    /// Launches over `length` elements with the answer's address as last parameter; waits for the answer.
    fn ask(&self, function: &Function, length: u64, mut parameters: Vec<u64>) -> Result<u64, DriverError> {
        parameters.push(self.answer.address());
        let blocks = length.div_ceil(u64::from(THREADS)).clamp(1, u64::from(MAX_BLOCKS)) as u32;
        let launch = Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1], shared_bytes: 0 };
        self.answer.fill(0, size_of::<u64>(), 0)?;
        self.context.launch(function, &launch, &mut parameters)?;
        let mut answer = [0; 8];
        self.answer.download(0, &mut answer)?;
        Ok(u64::from_le_bytes(answer))
    }
}

fn name(element: ElementType) -> &'static str {
    match element {
        ElementType::F16 => "f16",
        ElementType::Bf16 => "bf16",
        ElementType::F32 => "f32",
        ElementType::F64 => "f64",
        ElementType::I8 => "i8",
        ElementType::U8 => "u8",
        ElementType::I16 => "i16",
        ElementType::U16 => "u16",
        ElementType::I32 => "i32",
        ElementType::U32 => "u32",
        ElementType::I64 => "i64",
        ElementType::U64 => "u64",
    }
}
