//! Which slots kubelet should take: those of the GPU that is used least.

use super::layout::Slot;

/// So many of the `available` slots (by name) as are asked for, all of `must` among them: one after the other from the GPU
/// that has the largest part of its slots of this resource free, so that tasks spread over GPUs before they share one.
/// Names that are no slots are passed over.
#[must_use]
pub(super) fn preferred(slots: &[Slot], available: &[String], must: &[String], size: usize) -> Vec<String> {
    let named = |names: &[String]| slots.iter().filter(|slot| names.contains(&slot.id)).collect::<Vec<_>>();
    let (mut free, mut chosen) = (named(available), named(must));
    free.retain(|slot| !must.contains(&slot.id));
    while chosen.len() < size {
        // In thousandths of the GPU's slots of this resource; of equals, the first.
        let freedom = |slot: &Slot| {
            let of_the_gpu = |slots: &[&Slot]| slots.iter().filter(|other| other.gpu == slot.gpu).count();
            of_the_gpu(&free) * 1000 / slots.iter().filter(|other| other.gpu == slot.gpu).count().max(1)
        };
        let best = free.iter().enumerate().rev().max_by_key(|(_, slot)| freedom(slot)).map(|(at, _)| at);
        match best {
            Some(at) => chosen.push(free.remove(at)),
            None => break,
        }
    }
    chosen.into_iter().map(|slot| slot.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::super::layout::Layout;
    use super::*;

    /// Four slots on each of two GPUs; their names.
    fn slots() -> (Vec<Slot>, Vec<String>) {
        let slots = Layout::parse("layout: {\"*\": [25, 25, 25, 25]}").unwrap().slots(&h200s(2)).unwrap();
        let names = slots.iter().map(|slot| slot.id.clone()).collect();
        (slots, names)
    }

    #[test]
    fn slots_come_from_the_gpu_with_more_of_them_free() {
        let (slots, names) = slots();
        assert_eq!(preferred(&slots, &names, &[], 1), names[..1], "the first GPU of two idle ones");
        assert_eq!(preferred(&slots, &names[1..], &[], 1), names[4..5]);
        assert_eq!(
            preferred(&slots, &[names[3].clone(), names[7].clone(), names[6].clone()], &[], 1),
            names[6..7]
        );
    }

    #[test]
    fn several_are_spread() {
        let (slots, names) = slots();
        let taken = preferred(&slots, &names, &[], 4);
        let of_first = taken.iter().filter(|name| names[..4].contains(name)).count();
        assert_eq!((taken.len(), of_first), (4, 2), "{taken:?}");
    }

    #[test]
    fn what_must_be_taken_is_and_what_is_not_there_is_not() {
        let (slots, names) = slots();
        let must = [names[2].clone()];
        assert_eq!(preferred(&slots, &names, &must, 2), [names[2].clone(), names[4].clone()]);
        assert_eq!(preferred(&slots, &["foreign".into()], &[], 1), [""; 0]);
        assert_eq!(preferred(&slots, &names[..1], &[], 3), names[..1]);
        assert_eq!(preferred(&slots, &names, &[], 0), [""; 0]);
    }
}
