//! First contents of buffers: the same for every worker of a seed.

use fractune_tuner::kernel::{ElementType, Init as Contents};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::element::{Element, Visit, dispatch};

/// Fills `bytes` with elements. Random contents depend on the seed and the argument's index, so that two
/// buffers of a kernel differ.
pub(in crate::backend) fn fill(
    bytes: &mut [u8],
    element: ElementType,
    contents: Contents,
    seed: u64,
    argument: usize,
) {
    dispatch(element, Fill { bytes, contents, seed, argument });
}

/// Fills `bytes` with the poison of outputs.
pub(in crate::backend) fn poison(bytes: &mut [u8], element: ElementType) {
    dispatch(element, Poison { bytes });
}

struct Fill<'a> {
    bytes: &'a mut [u8],
    contents: Contents,
    seed: u64,
    argument: usize,
}

impl Visit for Fill<'_> {
    type Output = ();

    fn visit<E: Element>(self) {
        let slots = self.bytes.chunks_exact_mut(E::BYTES);
        match self.contents {
            Contents::Zeros => self.bytes.fill(0),
            Contents::Ones => slots.for_each(|slot| E::one().write(slot)),
            Contents::Index => slots.enumerate().for_each(|(i, slot)| E::from_index(i).write(slot)),
            Contents::Uniform => {
                let mut random = generator(self.seed, self.argument);
                slots.for_each(|slot| E::uniform(&mut random).write(slot));
            }
        }
    }
}

struct Poison<'a> {
    bytes: &'a mut [u8],
}

impl Visit for Poison<'_> {
    type Output = ();

    fn visit<E: Element>(self) {
        self.bytes.chunks_exact_mut(E::BYTES).for_each(|slot| E::poison().write(slot));
    }
}

/// `ChaCha8` with the seed as the low bytes of its key and the argument's index as its stream.
fn generator(seed: u64, argument: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    if let Some(low) = key.first_chunk_mut() {
        *low = seed.to_le_bytes();
    }
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(argument as u64);
    random
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::super::element::ALL;
    use super::*;

    struct Values<'a>(&'a [u8]);

    impl Visit for Values<'_> {
        type Output = Vec<f64>;
        fn visit<E: Element>(self) -> Vec<f64> {
            self.0.chunks_exact(E::BYTES).map(|c| E::read(c).as_f64()).collect()
        }
    }

    fn values(element: ElementType, contents: Contents, seed: u64, argument: usize) -> Vec<f64> {
        let mut bytes = vec![0; 5000 * element.bytes()];
        fill(&mut bytes, element, contents, seed, argument);
        dispatch(element, Values(&bytes))
    }

    #[test]
    fn uniform_contents_stay_in_their_range_and_fill_it() {
        for element in ALL {
            let name = element.c_name();
            let (low, high) = match name {
                _ if element.is_float() => (-1.0, 1.0),
                _ if name.starts_with("unsigned") => (0.0, 16.0),
                _ => (-8.0, 8.0),
            };
            let values = values(element, Contents::Uniform, 1, 0);
            let width = high - low;
            assert!(values.iter().all(|&v| v >= low && v < high), "{name}");
            assert!(values.iter().any(|&v| v < low + width / 10.0), "{name}");
            assert!(values.iter().any(|&v| v > high - width / 10.0), "{name}");
        }
    }

    #[test]
    fn contents_depend_on_seed_and_argument_alone() {
        let first = values(ElementType::F32, Contents::Uniform, 1, 0);
        assert_eq!(first, values(ElementType::F32, Contents::Uniform, 1, 0));
        assert_ne!(first, values(ElementType::F32, Contents::Uniform, 2, 0));
        assert_ne!(first, values(ElementType::F32, Contents::Uniform, 1, 1));
    }

    #[test]
    fn index_wraps_where_the_type_ends() {
        let at = |element, i: usize| values(element, Contents::Index, 1, 0)[i];
        assert_eq!(at(ElementType::I8, 130), -126.0);
        assert_eq!(at(ElementType::Bf16, 257), 1.0);
        assert_eq!(at(ElementType::F16, 2049), 1.0);
        assert_eq!(at(ElementType::F32, 4999), 4999.0);
    }
}
