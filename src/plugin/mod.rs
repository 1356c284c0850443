//! The plugin protocol: go-plugin's handshake and transport, and tfplugin6 on tonic.
//!
//! The only module that names tonic or prost. It moves bytes and messages; what a message means is decided by
//! `engine`, which knows nothing of this module. Nothing about a single resource may enter here.

mod goplugin;
mod handshake;
mod lifetime;
mod listen;
mod log;
mod mask;
pub mod proto;
mod rpc;
mod serve;
mod tls;

pub use handshake::{Environment, Error as HandshakeError};
pub use lifetime::without_core_dumps;
pub use log::{log_panics, start as start_log, with_causes};
pub use rpc::Plugin;
pub use serve::{Error, Mode, serve};
