//! Arguments: lengths of buffers and values of scalars.

use super::{Checks, Task, TaskArgument, add_sizes};
use crate::Violation;
use crate::expr::{Expression, Scope, Type};
use crate::kernel::{Argument, Buffer, ElementType, Language, Scalar};

/// The value of a scalar argument at one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarValue {
    /// Name of the argument.
    pub name: String,
    /// Its type.
    pub element: ElementType,
    /// Its value, which the type can hold.
    pub value: Number,
}

/// A number of the kind that an element type has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Of the integer types.
    Int(i64),
    /// Of the floating-point types.
    Float(f64),
}

impl Checks<'_> {
    /// The arguments for this problem; those that are wrong are left out and recorded.
    pub(super) fn arguments(&mut self, scope: &Scope) -> Vec<TaskArgument> {
        let kernel = self.kernel;
        let mut sizes = Scope::new();
        add_sizes(&mut sizes, &self.problem.sizes);
        let outputs = kernel.arguments.iter().filter_map(|a| a.buffer.as_ref()).filter(|b| b.output).count();
        if kernel.arguments.is_empty() {
            self.refuse("arguments", "", "is empty; list the entry point's arguments in order");
        } else if outputs == 0 {
            let message = "no buffer is an output; set output: true on the buffers that the kernel writes";
            self.refuse("arguments", "", message);
        }
        let mut checked = Vec::with_capacity(kernel.arguments.len());
        for (i, argument) in kernel.arguments.iter().enumerate() {
            let field = format!("arguments[{i}]");
            match argument {
                Argument { buffer: Some(buffer), scalar: None } => {
                    checked.extend(self.buffer(&field, buffer, &sizes, scope));
                }
                Argument { buffer: None, scalar: Some(scalar) } => {
                    checked.extend(self.scalar(&field, scalar, scope));
                }
                Argument { buffer: None, scalar: None } => {
                    self.refuse(&field, "", "is neither a buffer nor a scalar; write one of the two");
                }
                Argument { buffer: Some(_), scalar: Some(_) } => {
                    let message = "is both a buffer and a scalar; make them two arguments";
                    self.refuse(&field, "", message);
                }
            }
        }
        self.total_bytes(&checked);
        checked
    }

    fn buffer(&mut self, field: &str, buffer: &Buffer, sizes: &Scope, all: &Scope) -> Option<TaskArgument> {
        self.symbol(field, buffer);
        if buffer.scratch && (buffer.output || buffer.symbol.is_some()) {
            let message =
                "is an output or a variable as well; a scratch buffer is neither compared nor constant";
            self.refuse(&format!("{field}.buffer.scratch"), true, message);
        }
        let field = &format!("{field}.buffer.length");
        let text = buffer.length.as_str();
        let length = match Expression::compile(text, sizes) {
            Ok(expression) => expression,
            Err(_) if Expression::compile(text, all).is_ok() => {
                let message =
                    "depends on a parameter, but every configuration gets the same buffers; use sizes only";
                self.refuse(field, text, message);
                return None;
            }
            Err(_) => self.expression(field, text, sizes)?,
        };
        if length.result_type() != Type::Int {
            let message = format!(
                "is of type {}; a length is an int, the number of elements (cast with int())",
                length.result_type()
            );
            self.refuse(field, text, message);
            return None;
        }
        let values: Vec<i64> = self.problem.sizes.values().copied().collect();
        let problem = &self.problem.name;
        let length = match length.eval_int(&values) {
            Ok(length) if length > 0 => length.unsigned_abs(),
            Ok(length) => {
                let message = format!(
                    "is {length} for problem {problem:?}; a buffer has at least 1 element, so change the length or the sizes"
                );
                self.refuse(field, text, message);
                return None;
            }
            Err(error) => {
                let message = format!("{error} for problem {problem:?}; change the length or the sizes");
                self.refuse(field, text, message);
                return None;
            }
        };
        Some(TaskArgument::Buffer {
            name: buffer.name.clone(),
            element: buffer.element,
            length,
            init: buffer.init,
            output: buffer.output,
            scratch: buffer.scratch,
            symbol: buffer.symbol.clone(),
        })
    }

    /// A buffer that reaches the source as a variable.
    fn symbol(&mut self, field: &str, buffer: &Buffer) {
        let Some(symbol) = buffer.symbol.as_deref() else { return };
        let field = &format!("{field}.buffer.symbol");
        if self.kernel.language == Language::C {
            self.refuse(field, symbol, "is for CUDA only; pass the buffer as an argument");
        } else if buffer.output {
            let message = "a variable of the source cannot be an output; pass the buffer as an argument";
            self.refuse(field, symbol, message);
        } else if !self.declares(symbol) {
            let message = "the source has no variable of that name; write the name of a __constant__ or __device__ array";
            self.refuse(field, symbol, message);
        }
    }

    fn scalar(&mut self, field: &str, scalar: &Scalar, scope: &Scope) -> Option<TaskArgument> {
        let field = &format!("{field}.scalar.value");
        let text = scalar.value.as_str();
        let value = self.expression(field, text, scope)?;
        let (found, element) = (value.result_type(), scalar.element);
        let way_out = match (found, element.is_float()) {
            (Type::Int, _) | (Type::Double, true) => None,
            (Type::Double, false) => Some("cast with int(), or make the argument's type f32 or f64"),
            (Type::Bool, _) => Some("write x ? 1 : 0"),
            (Type::Text, _) => Some("an argument is a number; a string can only reach the source as a macro"),
        };
        if let Some(way_out) = way_out {
            let kind = if element.is_float() { "a floating-point number" } else { "an integer" };
            self.refuse(field, text, format!("is of type {found}, but the argument is {kind}; {way_out}"));
            return None;
        }
        Some(TaskArgument::Scalar { name: scalar.name.clone(), element, value })
    }

    fn total_bytes(&mut self, arguments: &[TaskArgument]) {
        // Signed, because that is how far a pointer may be moved.
        if total_bytes(arguments).is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            let message = format!(
                "the buffers of problem {:?} are larger than any address space; use smaller sizes",
                self.problem.name
            );
            self.refuse("arguments", "", message);
        }
    }
}

impl Task {
    /// The values of the scalar arguments at a configuration, in the order of the arguments.
    ///
    /// # Errors
    /// A sentence, where a value does not exist (a division by zero, an overflow) or its type cannot hold
    /// it.
    pub fn scalar_values(&self, index: usize) -> Result<Vec<ScalarValue>, String> {
        let slots = self.space.slots(index);
        let scalars = self.arguments.iter().filter_map(|argument| match argument {
            TaskArgument::Scalar { name, element, value } => Some((name, *element, value)),
            TaskArgument::Buffer { .. } => None,
        });
        scalars
            .map(|(name, element, value)| {
                let failed = |error| format!("scalar {name} = {}: {error}", value.text());
                let number = if element.is_float() {
                    Number::Float(value.eval_double(&slots).map_err(failed)?)
                } else {
                    Number::Int(value.eval_int(&slots).map_err(failed)?)
                };
                if !holds(element, number) {
                    let number = match number {
                        Number::Int(int) => int.to_string(),
                        Number::Float(float) => float.to_string(),
                    };
                    let ty = format!("{element:?}").to_lowercase();
                    return Err(format!(
                        "scalar {name} = {} is {number}, which {ty} cannot hold",
                        value.text()
                    ));
                }
                Ok(ScalarValue { name: name.clone(), element, value: number })
            })
            .collect()
    }

    /// Bytes of all buffers together.
    #[must_use]
    pub fn buffer_bytes(&self) -> u64 {
        total_bytes(&self.arguments).unwrap_or(u64::MAX)
    }

    /// The violation of buffers that need more than `limit` bytes, if they do. `path` is that of the
    /// kernel.
    #[must_use]
    pub fn check_memory(&self, path: &str, limit: u64) -> Option<Violation> {
        const MIB: f64 = 1024.0 * 1024.0;
        let bytes = self.buffer_bytes();
        (bytes > limit).then(|| {
            let message = format!(
                "the buffers of problem {:?} need {:.1} MiB, over the memory of {:.1} MiB; use smaller sizes",
                self.problem.name,
                bytes as f64 / MIB,
                limit as f64 / MIB
            );
            Violation::new(format!("{path}.arguments"), "", message)
        })
    }
}

fn total_bytes(arguments: &[TaskArgument]) -> Option<u64> {
    arguments.iter().try_fold(0_u64, |sum, argument| match argument {
        TaskArgument::Buffer { element, length, .. } => {
            sum.checked_add(length.checked_mul(element.bytes() as u64)?)
        }
        TaskArgument::Scalar { .. } => Some(sum),
    })
}

fn holds(element: ElementType, number: Number) -> bool {
    match number {
        Number::Float(float) => {
            let largest = match element {
                ElementType::F16 => 65504.0,
                ElementType::Bf16 | ElementType::F32 => f64::from(f32::MAX),
                _ => f64::MAX,
            };
            float.abs() <= largest
        }
        Number::Int(int) => match element {
            ElementType::I8 => i8::try_from(int).is_ok(),
            ElementType::U8 => u8::try_from(int).is_ok(),
            ElementType::I16 => i16::try_from(int).is_ok(),
            ElementType::U16 => u16::try_from(int).is_ok(),
            ElementType::I32 => i32::try_from(int).is_ok(),
            ElementType::U32 => u32::try_from(int).is_ok(),
            ElementType::U64 => int >= 0,
            _ => true,
        },
    }
}
