//! What several subjects share: a provider that needs no cluster, and a core in process.

pub mod cli;
pub mod core;
pub mod library;
<<<<<<< HEAD
pub mod random;
=======
pub mod plugin_process;
pub mod probe;
>>>>>>> cf03e8e (Try the binary as a core would)
pub mod specimen;
