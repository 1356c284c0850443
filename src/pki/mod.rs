//! Certificates, pure: clock and serial numbers are arguments. Nothing here performs I/O, and nothing knows of meshes.
//!
//! Keys are [`PrivateKey`]s from the moment they are read or made: the type wipes its bytes and prints nothing.

mod bundle;
mod certificate;
mod check;
mod der;
mod issue;
mod key;
pub mod pem;
mod revocation;
mod shown;
#[cfg(test)]
mod tests;
mod usage;

pub use bundle::{Bundle, Relation};
pub use certificate::{Certificate, CertificateError, Fingerprint, KeyKind, Limits, Serial, Subtrees};
pub use check::{CheckIntermediate, Problem, check_intermediate, check_root, renewal_due, root_of};
pub use issue::{
    IntermediateProfile, IssueError, LocalSigner, RootRequest, SignIntermediate, Signer, SigningRequest, Subject,
    Validity,
};
pub use key::{KeyAlgorithm, KeyError, PrivateKey};
pub use revocation::{RevocationList, unlisted};
pub use shown::Observer;
pub use usage::{MeshNames, Probe, check_limits, check_use, probe};
