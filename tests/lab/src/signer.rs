//! Tokens that are shorter than an hour. An API server refuses a limit below that for the tokens it signs itself; a
//! program that signs in its place (`--service-account-signing-endpoint`) may say ten minutes, and the API server cuts
//! every token at that.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::control_plane::Layout;
use crate::error::{Error, Result};
use crate::pki::Pki;
use crate::process::{Processes, Program};
use crate::tools::{self, Tool};

/// The least that `--service-account-max-token-expiration` may be.
const SHORTEST_LIMIT: Duration = Duration::from_secs(3_600);

/// Where the cluster's signer listens; `None` where the API server signs.
pub(crate) fn socket(layout: &Layout) -> Option<PathBuf> {
    let needed = layout.longest_token.is_some_and(|longest| longest < SHORTEST_LIMIT);
    // The system takes some hundred bytes.
    let short =
        || std::env::temp_dir().join(format!("mesh-lab-signer-{}-{}.sock", std::process::id(), layout.api_port));
    let usual = layout.file("signer.sock");
    needed.then(|| if usual.as_os_str().len() < 100 { usual } else { short() })
}

/// Starts it, where there must be one.
pub(crate) async fn start(layout: &Layout, pki: &Pki, processes: &Processes) -> Result<()> {
    let (Some(socket), Some(longest)) = (socket(layout), layout.longest_token) else { return Ok(()) };
    let program = tools::path(Tool::Signer)?;
    let args = vec![
        format!("--socket={}", socket.display()),
        format!("--key={}", pki.file("service-account.key").display()),
        format!("--longest={}s", longest.as_secs()),
    ];
    let (name, log) = ("signer", layout.log("signer"));
    let process =
        processes.spawn(Program { name, program: &program, args, env: Vec::new(), dir: &layout.dir, log }).await?;
    let began = Instant::now();
    while !socket.exists() {
        if !process.running() {
            return Err(process.ended_error());
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err(Error::NotReady { name: "the signer".into(), seconds: 60, log: process.tail() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
