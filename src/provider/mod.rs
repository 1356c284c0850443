//! The provider's own schema and configuration.
