//! Under which conditions the times were taken.

use fractune_tuner::results::CanaryResult;
use maud::{Markup, html};

use super::{ReportInput, share_label};

/// The device, the compiler, what else must be known, and the settings.
pub(super) fn section(input: &ReportInput) -> Markup {
    let device = &input.job.device;
    let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let simulated = if device.backend == "replay" { " (simulation)" } else { "" };
    html! {
        section {
            h2 { "Conditions of measurement" }
            div.scroll { table {
                tbody {
                    (row("Device", &or_unknown(&device.product)))
                    (row("Backend", &format!("{}{simulated}", device.backend)))
                    (row("Compute units", &device.units.to_string()))
                    @for (share, units) in &device.units_by_share {
                        (row(&format!("Units at {}", share_label(*share)), &units.to_string()))
                    }
                    @if let Some(gpu) = &device.gpu {
                        (row("GPU", &gpu.uuid))
                        (row("Driver", &gpu.driver))
                        (row("Shares made by", if gpu.mps { "MPS" } else { "nothing: the whole GPU, without MPS" }))
                    }
                    (row("Compiler", &or_unknown(&device.compiler)))
                    @for note in &device.notes { (row("Note", note)) }
                    @for (name, value) in &input.settings { (row(name, value)) }
                    @for task in &input.job.tasks {
                        @let checked = if task.verified { "verified" } else { "not verified" };
                        (row(&format!("Outputs of {} / {}", task.kernel, task.problem), checked))
                        @if let Some(canary) = task.canary {
                            (row(&format!("Canary of {} / {}", task.kernel, task.problem), &canary_in_words(canary)))
                        }
                    }
                }
            } }
        }
    }
}

fn canary_in_words(canary: CanaryResult) -> String {
    let CanaryResult { readings, compute_percent, memory_percent, again } = canary;
    format!(
        "known kernels, timed alone {readings} times, were at worst {compute_percent:.1}\u{a0}% (computing) and \
         {memory_percent:.1}\u{a0}% (memory) slower than at best; {again} trials measured again"
    )
}

fn row(name: &str, value: &str) -> Markup {
    html! { tr { th scope="row" { (name) } td { (value) } } }
}
