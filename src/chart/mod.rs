//! Helm charts rendered in Rust: archives, values, Go templates, Helm's functions, manifests.
