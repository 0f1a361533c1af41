//! What generic code needs to know about the element types.
#![expect(clippy::cast_lossless, clippy::cast_possible_wrap, reason = "one macro for narrow and wide types")]

use std::fmt::{Debug, Display};

use fractune_tuner::kernel::ElementType;
use half::{bf16, f16};
use rand_chacha::rand_core::Rng;

/// A type of buffer elements.
pub(in crate::backend) trait Element:
    Copy + PartialEq + Display + Debug + 'static
{
    /// Bytes of an element.
    const BYTES: usize;

    /// The element in the first [`Self::BYTES`] bytes; poison if there are fewer.
    fn read(bytes: &[u8]) -> Self;
    /// Writes the element to the first [`Self::BYTES`] bytes, if there are as many.
    fn write(self, bytes: &mut [u8]);
    /// What outputs hold before they are written: a quiet NaN of a known payload, bytes of 0xA5 in integers.
    fn poison() -> Self;
    /// Whether the bits are those of the poison.
    fn is_poison(self) -> bool;
    fn is_nan(self) -> bool;
    fn is_finite(self) -> bool;
    fn as_f64(self) -> f64;
    /// `|self - other|`.
    fn distance(self, other: Self) -> f64;
    fn one() -> Self;
    /// `index`, wrapping where the type cannot hold it exactly.
    fn from_index(index: usize) -> Self;
    /// Floats in [-1, 1), signed integers in [-8, 8), unsigned ones in [0, 16).
    fn uniform(random: &mut impl Rng) -> Self;
}

macro_rules! bytes {
    ($type:ty) => {
        const BYTES: usize = size_of::<$type>();

        fn read(bytes: &[u8]) -> Self {
            bytes.first_chunk().map_or_else(Self::poison, |chunk| Self::from_ne_bytes(*chunk))
        }

        fn write(self, bytes: &mut [u8]) {
            if let Some(chunk) = bytes.first_chunk_mut() {
                *chunk = self.to_ne_bytes();
            }
        }
    };
}

/// `$exact`: 2 to the number of bits of the significand, below which every integer is a value of the type.
macro_rules! float {
    ($type:ty, $poison:literal, $exact:literal, $one:expr, $from_f64:expr, $random:expr) => {
        impl Element for $type {
            bytes!($type);

            fn poison() -> Self {
                Self::from_bits($poison)
            }

            fn is_poison(self) -> bool {
                self.to_bits() == $poison
            }

            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }

            fn is_finite(self) -> bool {
                <$type>::is_finite(self)
            }

            fn as_f64(self) -> f64 {
                self.into()
            }

            fn distance(self, other: Self) -> f64 {
                (self.as_f64() - other.as_f64()).abs()
            }

            fn one() -> Self {
                $one
            }

            fn from_index(index: usize) -> Self {
                $from_f64((index as u64 % $exact) as f64)
            }

            fn uniform(random: &mut impl Rng) -> Self {
                // As many random bits as make a multiple of the type's step below 1, so that nothing is
                // rounded, least of all to 1.
                let bits: u64 = $random(random);
                $from_f64((bits % $exact) as f64 / ($exact as f64 / 2.0) - 1.0)
            }
        }
    };
}

float!(f16, 0xFFA5, 2048_u64, f16::ONE, f16::from_f64, |r: &mut _| u64::from(Rng::next_u32(r)));
float!(bf16, 0xFFE5, 256_u64, bf16::ONE, bf16::from_f64, |r: &mut _| u64::from(Rng::next_u32(r)));
float!(f32, 0xFFE5_A5A5, 16_777_216_u64, 1.0, |x: f64| x as f32, |r: &mut _| u64::from(Rng::next_u32(r)));
float!(f64, 0xFFFA_A5A5_A5A5_A5A5, 9_007_199_254_740_992_u64, 1.0, |x: f64| x, |r: &mut _| Rng::next_u64(r));

macro_rules! integer {
    ($($type:ty, $lowest:expr;)*) => {$(
        impl Element for $type {
            bytes!($type);

            fn poison() -> Self {
                Self::from_ne_bytes([0xA5; size_of::<$type>()])
            }

            fn is_poison(self) -> bool {
                self == Self::poison()
            }

            fn is_nan(self) -> bool {
                false
            }

            fn is_finite(self) -> bool {
                true
            }

            fn as_f64(self) -> f64 {
                self as f64
            }

            fn distance(self, other: Self) -> f64 {
                self.abs_diff(other) as f64
            }

            fn one() -> Self {
                1
            }

            fn from_index(index: usize) -> Self {
                index as Self
            }

            fn uniform(random: &mut impl Rng) -> Self {
                // Four bits: 0 to 15, moved down by 8 where the type has a sign.
                let bits = (random.next_u32() >> 28) as u8;
                <$type>::try_from(i16::from(bits) + $lowest).unwrap_or_default()
            }
        }
    )*};
}

integer! { i8, -8; u8, 0; i16, -8; u16, 0; i32, -8; u32, 0; i64, -8; u64, 0; }

/// Something to do for an element type that is known at run time only.
pub(in crate::backend) trait Visit {
    type Output;
    fn visit<E: Element>(self) -> Self::Output;
}

/// Does it for the type that `element` names.
pub(in crate::backend) fn dispatch<V: Visit>(element: ElementType, visit: V) -> V::Output {
    match element {
        ElementType::F16 => visit.visit::<f16>(),
        ElementType::Bf16 => visit.visit::<bf16>(),
        ElementType::F32 => visit.visit::<f32>(),
        ElementType::F64 => visit.visit::<f64>(),
        ElementType::I8 => visit.visit::<i8>(),
        ElementType::U8 => visit.visit::<u8>(),
        ElementType::I16 => visit.visit::<i16>(),
        ElementType::U16 => visit.visit::<u16>(),
        ElementType::I32 => visit.visit::<i32>(),
        ElementType::U32 => visit.visit::<u32>(),
        ElementType::I64 => visit.visit::<i64>(),
        ElementType::U64 => visit.visit::<u64>(),
    }
}

#[cfg(test)]
pub(in crate::backend) const ALL: [ElementType; 12] = [
    ElementType::F16,
    ElementType::Bf16,
    ElementType::F32,
    ElementType::F64,
    ElementType::I8,
    ElementType::U8,
    ElementType::I16,
    ElementType::U16,
    ElementType::I32,
    ElementType::U32,
    ElementType::I64,
    ElementType::U64,
];

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    struct Check(ElementType);

    impl Visit for Check {
        type Output = ();
        fn visit<E: Element>(self) {
            assert_eq!(E::BYTES, self.0.bytes());
            assert!(E::poison().is_poison());
            assert_eq!(E::poison().is_nan(), self.0.is_float());
            let mut bytes = [0; 8];
            E::poison().write(&mut bytes);
            assert!(E::read(&bytes).is_poison());
            assert!(E::read(&[]).is_poison());
            assert_eq!(E::one().as_f64(), 1.0);
        }
    }

    #[test]
    fn every_type_has_its_size_and_a_poison_that_survives_memory() {
        for element in ALL {
            dispatch(element, Check(element));
        }
    }

    #[test]
    fn poison_of_floats_is_a_quiet_nan() {
        assert!(f16::poison().to_bits() & 0x0200 != 0);
        assert!(bf16::poison().to_bits() & 0x0040 != 0);
        assert!(f32::poison().to_bits() & 0x0040_0000 != 0);
        assert!(f64::poison().to_bits() & 0x0008_0000_0000_0000 != 0);
    }

    #[test]
    fn distances_of_integers_do_not_overflow() {
        assert_eq!(i64::MIN.distance(i64::MAX), u64::MAX as f64);
        assert_eq!(5u8.distance(9), 4.0);
    }
}
