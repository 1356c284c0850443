//! What can go wrong while clusters start, run and stop.

use std::path::PathBuf;

use crate::tools;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the lab's tools are not there")]
    Tools(#[from] tools::Error),
    #[error("could not {action} {path}")]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("could not start {name}")]
    Spawn { name: String, source: std::io::Error },
    #[error("could not make certificates")]
    Certificate(#[from] rcgen::Error),
    #[error("{name} ended while it was starting: {log}")]
    Ended { name: String, log: String },
    #[error("{name} was not ready after {seconds} s: {log}")]
    NotReady { name: String, seconds: u64, log: String },
    #[error("could not {action} in cluster {cluster}")]
    Kubernetes { cluster: String, action: String, source: Box<kube::Error> },
    #[error("`{command}` failed: {output}")]
    Command { command: String, output: String },
    #[error("{0}")]
    Usage(String),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }
}

/// An error and its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
