//! Values of scalar arguments.

use std::str::FromStr;

use fractune_tuner::kernel::ElementType;
use half::{bf16, f16};

/// The scalar's bytes, at the start of eight.
pub(in crate::backend) fn parse(text: &str, element: ElementType) -> Result<[u8; 8], String> {
    match element {
        ElementType::F16 => float(text).map(|x| padded(f16::from_f64(x).to_ne_bytes())),
        ElementType::Bf16 => float(text).map(|x| padded(bf16::from_f64(x).to_ne_bytes())),
        ElementType::F32 => float(text).map(|x| padded((x as f32).to_ne_bytes())),
        ElementType::F64 => float(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::I8 => integer::<i8>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::U8 => integer::<u8>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::I16 => integer::<i16>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::U16 => integer::<u16>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::I32 => integer::<i32>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::U32 => integer::<u32>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::I64 => integer::<i64>(text).map(|x| padded(x.to_ne_bytes())),
        ElementType::U64 => integer::<u64>(text).map(|x| padded(x.to_ne_bytes())),
    }
    .map_err(|reason| format!("{text:?} is no {}: {reason}", element.c_name()))
}

fn float(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| "write a number such as 0.5".to_owned())
}

fn integer<T: FromStr<Err = std::num::ParseIntError>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|e: std::num::ParseIntError| e.to_string())
}

fn padded<const N: usize>(bytes: [u8; N]) -> [u8; 8] {
    let mut all = [0; 8];
    all.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_layout_of_their_type() {
        assert_eq!(parse("-2", ElementType::I16).unwrap()[..2], (-2i16).to_ne_bytes());
        assert_eq!(parse("1.5", ElementType::F32).unwrap()[..4], 1.5f32.to_ne_bytes());
        assert_eq!(parse("18446744073709551615", ElementType::U64).unwrap(), [0xFF; 8]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named() {
        let error = parse("300", ElementType::U8).unwrap_err();
        assert!(error.contains("\"300\"") && error.contains("unsigned char"), "{error}");
        assert!(parse("2.5", ElementType::I32).is_err());
        assert!(parse("x", ElementType::F64).is_err());
    }
}
