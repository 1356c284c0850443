//! The resources, one file or folder each, and the REGISTRY that lists them.
