//! What several subjects share: a provider that needs no cluster, and a core in process.

pub mod best;
pub mod cli;
pub mod connected;
pub mod core;
pub mod every_input_bases;
pub mod kill;
pub mod leaks;
pub mod library;
pub mod literals;
pub mod note;
pub mod odd_values;
pub mod one_primary;
pub mod pages;
pub mod planned_page;
pub mod plugin_process;
pub mod probe;
pub mod random;
pub mod specimen;
pub mod traffic;
pub mod unmarked;
pub mod watched;
pub mod workload;
pub mod written_modes;
pub mod xds;
