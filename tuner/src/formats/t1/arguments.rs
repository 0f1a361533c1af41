//! Arguments of the kernel: buffers and scalars.

use serde_json::Value as Json;

use super::cel::Cel;
use super::declarations::declares_device_variable;
use super::file::Argument as Written;
use super::report::Report;
use super::translate::Names;
use crate::kernel::{Argument, Buffer, ElementType, Init, Scalar};

/// The arguments in order, and after them what is copied to constant memory.
pub(super) fn arguments(
    written: &[Written],
    source: &str,
    names: &Names<'_>,
    report: &mut Report,
) -> Vec<Argument> {
    let names = Names { lists: true, ..*names };
    let mut arguments = Vec::with_capacity(written.len());
    let mut symbols = Vec::new();
    for (i, argument) in written.iter().enumerate() {
        let one = One { path: format!("KernelSpecification.Arguments[{i}]"), number: i, written: argument };
        match argument.memory_type.as_str() {
            "Vector" => {
                let Some(mut buffer) = one.buffer(&names, report) else { continue };
                symbols.extend(one.constant_copy(&mut buffer, source, report));
                arguments.push(Argument { buffer: Some(buffer), scalar: None });
            }
            "Scalar" => {
                let scalar = one.scalar(report);
                arguments.extend(scalar.map(|scalar| Argument { buffer: None, scalar: Some(scalar) }));
            }
            "Symbol" => {
                let Some(mut buffer) = one.buffer(&names, report) else { continue };
                buffer.symbol = Some(buffer.name.clone());
                symbols.push(Argument { buffer: Some(buffer), scalar: None });
            }
            other => {
                let message = "has no translation; write Vector, Scalar or Symbol, and for memory that is shared in a block, SharedMemory in bytes";
                report.refuse(format!("{}.MemoryType", one.path), other, message);
            }
        }
    }
    let writes = |argument: &Argument| argument.buffer.as_ref().is_some_and(|buffer| buffer.output);
    if written.is_empty() {
        let message = "is empty; list the kernel's arguments in order";
        report.refuse("KernelSpecification.Arguments", "", message);
    } else if report.refused.is_empty() && !arguments.iter().any(writes) {
        let message = "has nothing that the kernel writes; give its output AccessType WriteOnly or ReadWrite, or \"Output\": 1";
        report.refuse("KernelSpecification.Arguments", "", message);
    }
    arguments.extend(symbols);
    arguments
}

struct One<'a> {
    path: String,
    number: usize,
    written: &'a Written,
}

impl One<'_> {
    fn field(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn name(&self) -> String {
        self.written.name.clone().unwrap_or_else(|| format!("argument_{}", self.number))
    }

    /// Element type, and how many of them an element of the file is.
    fn element(&self, report: &mut Report) -> Option<(ElementType, i64)> {
        let ty = self.written.ty.as_str();
        let digits = ty.trim_start_matches(|c: char| !c.is_ascii_digit());
        let (base, lanes) = match ty.trim_end_matches(|c: char| c.is_ascii_digit()) {
            base @ ("half" | "float" | "double") if matches!(digits, "2" | "4" | "8" | "16") => {
                (base, digits.parse().unwrap_or(1))
            }
            _ => (ty, 1),
        };
        let element = match base {
            "bool" | "uint8" => ElementType::U8,
            "int8" => ElementType::I8,
            "int16" => ElementType::I16,
            "uint16" => ElementType::U16,
            "int32" | "int" => ElementType::I32,
            "uint32" | "uint" => ElementType::U32,
            "int64" => ElementType::I64,
            "uint64" => ElementType::U64,
            "half" => ElementType::F16,
            "float" => ElementType::F32,
            "double" => ElementType::F64,
            _ => {
                let message = "has no translation; write the type of its members, such as uint8, and their number as Size";
                report.refuse(self.field("Type"), ty, message);
                return None;
            }
        };
        Some((element, lanes))
    }

    fn buffer(&self, names: &Names<'_>, report: &mut Report) -> Option<Buffer> {
        let (element, lanes) = self.element(report)?;
        let length = self.length(lanes, names, report);
        let (reads, writes) = self.access(report)?;
        let init = if reads { self.init(element, report)? } else { None };
        // An input is random unless said otherwise; an output that is read needs its contents said.
        let init = if writes && reads { init.or(Some(Init::Uniform)) } else { init };
        Some(Buffer {
            name: self.name(),
            element,
            length: length?,
            init,
            output: writes,
            scratch: false,
            symbol: None,
        })
    }

    fn length(&self, lanes: i64, names: &Names<'_>, report: &mut Report) -> Option<String> {
        let path = self.field("Size");
        let Some(json) = self.written.size.as_ref().filter(|json| !json.is_null()) else {
            report.refuse(path, "", "is missing; write the number of elements");
            return None;
        };
        let (text, expression) = report.expression(&path, json)?;
        let size = report.keep(&path, &text, names.size(&expression))?;
        Some(Cel::int(lanes).multiply(&size).into_text())
    }

    /// Whether the kernel reads it, and whether it writes it.
    fn access(&self, report: &mut Report) -> Option<(bool, bool)> {
        let output = match &self.written.output {
            None | Some(Json::Null | Json::Bool(false)) => false,
            Some(Json::Number(number)) => number.as_f64() != Some(0.0),
            Some(_) => true,
        };
        match self.written.access_type.as_deref() {
            None => Some((true, output)),
            Some("ReadOnly") if output => {
                let message = "is ReadOnly and an output; it is taken as ReadWrite";
                report.warn(self.field("AccessType"), "ReadOnly", message);
                Some((true, true))
            }
            Some("ReadOnly") => Some((true, false)),
            Some("WriteOnly") => Some((false, true)),
            Some("ReadWrite") => Some((true, true)),
            Some(other) => {
                let message = "is not known; write ReadOnly, WriteOnly or ReadWrite";
                report.refuse(self.field("AccessType"), other, message);
                None
            }
        }
    }

    /// First contents; none for what random means here. The outer none is a refusal.
    #[expect(clippy::option_option, reason = "refused, or the default contents, or others")]
    fn init(&self, element: ElementType, report: &mut Report) -> Option<Option<Init>> {
        let value = self.written.fill_value.as_ref();
        match self.written.fill_type.as_deref() {
            None if value.is_some() => self.constant(value?, report).map(Some),
            Some("Constant") => {
                if value.is_none() {
                    report.refuse(self.field("FillValue"), "", "is missing; write 0, 1, or FillType Random");
                }
                self.constant(value?, report).map(Some)
            }
            None | Some("Random") => {
                if !element.is_float() {
                    let range = if matches!(
                        element,
                        ElementType::U8 | ElementType::U16 | ElementType::U32 | ElementType::U64
                    ) {
                        "0 to 15"
                    } else {
                        "-8 to 7"
                    };
                    let message = format!(
                        "makes integers from {range} here; if the kernel uses them as indices, fill them with a constant"
                    );
                    report.warn(self.field("FillType"), "Random", message);
                }
                Some(None)
            }
            Some("Generator") if self.written.data_source.as_deref().map(str::trim) == Some("i") => {
                Some(Some(Init::Index))
            }
            Some("Generator") => {
                let source = self.written.data_source.as_deref().unwrap_or_default();
                let message = "is a generator without translation; only \"i\", the index, has one, so write that, or FillType Random or Constant";
                report.refuse(self.field("DataSource"), source, message);
                None
            }
            Some(other) => {
                let message = "has no translation: contents come from no file or script; write Random, or Constant with 0 or 1";
                report.refuse(self.field("FillType"), other, message);
                None
            }
        }
    }

    fn constant(&self, written: &Json, report: &mut Report) -> Option<Init> {
        let Some(value) = written.as_f64() else {
            let message = "is no number; write 0 or 1 without quotes, or FillType Random";
            report.refuse(self.field("FillValue"), &written.to_string(), message);
            return None;
        };
        let is = |wanted: f64| (value - wanted).abs() < f64::EPSILON;
        if is(0.0) {
            return Some(Init::Zeros);
        }
        if is(1.0) {
            return Some(Init::Ones);
        }
        let message = "fills a buffer that the kernel reads with a constant other than 0 and 1, which has no translation; write 0, 1, or FillType Random";
        report.refuse(self.field("FillValue"), &written.to_string(), message);
        None
    }

    fn scalar(&self, report: &mut Report) -> Option<Scalar> {
        let (element, lanes) = self.element(report)?;
        if lanes > 1 {
            let message = "is a vector, which no scalar argument can be; pass its members one by one";
            report.refuse(self.field("Type"), &self.written.ty, message);
            return None;
        }
        let path = self.field("FillValue");
        let Some(json) = self.written.fill_value.as_ref() else {
            report.refuse(path, "", "is missing; write the scalar's value");
            return None;
        };
        let whole = json
            .as_i64()
            .or_else(|| json.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 9.0e15).map(|v| v as i64));
        let value = match (whole, json.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(value)) if element.is_float() && value.is_finite() => value.to_string(),
            _ => {
                let message =
                    format!("is no value of type {}; write a number that it can hold", self.written.ty);
                report.refuse(path, &json.to_string(), message);
                return None;
            }
        };
        Some(Scalar { name: self.name(), element, value })
    }

    /// Kernel Tuner passes what has `MemType` `Constant` as an argument and also copies it to the
    /// variable of its name. Both must hold the same, and random contents differ from buffer to buffer.
    fn constant_copy(&self, buffer: &mut Buffer, source: &str, report: &mut Report) -> Option<Argument> {
        let kind = self.written.mem_type.as_deref().filter(|kind| *kind == "Constant")?;
        if !declares_device_variable(source, &buffer.name) {
            let message = format!(
                "but the source declares no __constant__ variable {}; it is an argument only",
                buffer.name
            );
            report.warn(self.field("MemType"), kind, message);
            return None;
        }
        if buffer.init.is_none_or(|init| init == Init::Uniform) {
            buffer.init = Some(Init::Index);
            let message = "is an argument and a variable, which must hold the same: each element is its index, not random";
            report.warn(self.field("MemType"), kind, message);
        }
        let symbol = Some(buffer.name.clone());
        let name = format!("{}_symbol", buffer.name);
        let copy = Buffer { name, symbol, output: false, ..buffer.clone() };
        Some(Argument { buffer: Some(copy), scalar: None })
    }
}
