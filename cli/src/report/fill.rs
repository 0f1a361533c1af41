//! How the winners fill a GPU, and what that says of why they are others at other shares.

use fractune_tuner::results::{Footprint, JobResult, TaskResult};
use maud::{Markup, html};

use super::{capitalised, share_label};
use crate::across;
use crate::table::three_digits;

/// A row: what it is called, and its value at a share with so many SMs.
type Row = (&'static str, fn(&Footprint, u32) -> String);

const ROWS: [Row; 8] = [
    ("Blocks", |footprint, _| footprint.blocks.to_string()),
    ("Threads of a block", |footprint, _| footprint.threads.to_string()),
    ("Blocks that an SM holds", |footprint, _| footprint.blocks_per_unit.to_string()),
    ("Waves", |footprint, units| three_digits(footprint.waves(units))),
    ("Use of the last wave", |footprint, units| percent(footprint.tail(units))),
    ("Occupancy", |footprint, _| percent(footprint.occupancy())),
    ("Registers of a thread", |footprint, _| footprint.registers.to_string()),
    ("Shared memory of a block", |footprint, _| bytes(footprint.shared_bytes)),
];

/// A table with a column for each share, and the causes in words; nothing where the device did not say.
pub(super) fn section(job: &JobResult, task: &TaskResult) -> Option<Markup> {
    let columns: Vec<(u8, u32, Footprint)> = task
        .shares
        .iter()
        .filter_map(|share| {
            Some((share.share, *job.device.units_by_share.get(&share.share)?, share.footprint?))
        })
        .collect();
    if columns.is_empty() {
        return None;
    }
    let spills = columns.iter().any(|(_, _, footprint)| footprint.local_bytes > 0);
    let spilled: Row = ("Local memory of a thread", |footprint, _| bytes(footprint.local_bytes));
    Some(html! {
        h3 { "How the winners fill the GPU" }
        div.scroll { table {
            caption { "A wave is as many blocks as all SMs of the share hold at once." }
            thead { tr {
                th scope="col" { "Winner of" }
                @for (share, units, _) in &columns {
                    th.number scope="col" { (share_label(*share)) br; span.soft { (units) " SMs" } }
                }
            } }
            tbody { @for (name, value) in ROWS.iter().chain(spills.then_some(&spilled)) {
                tr {
                    th scope="row" { (name) }
                    @for (_, units, footprint) in &columns { td.number { (value(footprint, *units)) } }
                }
            } }
        } }
        @for cause in across::causes(job, task) { p { (capitalised(&cause)) "." } }
    })
}

fn percent(part: f64) -> String {
    format!("{:.0}\u{a0}%", part * 100.0)
}

fn bytes(bytes: u32) -> String {
    match bytes {
        0 => "none".to_owned(),
        small if small < 1024 => format!("{small}\u{a0}B"),
        large => format!("{}\u{a0}KiB", three_digits(f64::from(large) / 1024.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_gpu_that_told_has_a_table_and_one_that_did_not_has_none() {
        let (mut job, _) = sample::job();
        let text = section(&job, &job.tasks[0]).unwrap().into_string();
        for expected in ["How the winners fill the GPU", "Waves", "Registers of a thread", "takes"] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert!(!text.contains("Local memory"), "nothing is spilled");
        for share in &mut job.tasks[0].shares {
            share.footprint = None;
        }
        assert!(section(&job, &job.tasks[0]).is_none());
    }

    #[test]
    fn sizes_have_the_fitting_unit() {
        assert_eq!(
            (bytes(0), bytes(48), bytes(34_816)),
            ("none".into(), "48\u{a0}B".into(), "34.0\u{a0}KiB".into())
        );
    }
}
