//! Registry pages rendered from schema, prose and example.
