//! The controller: reconciles a `TuneJob` into `TuneTask`s and one Indexed Job of tuning pods.
//!
//! Its own issue comes next; until then the crate only fixes its place in the house: it depends on
//! `fractune-crds`, never on `fractune-agent`.
