//! A core and its provider that end without a chance to say anything.

use std::path::Path;
use std::process::{Child, Command};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// As when the machine goes down.
    Both,
    /// As when the kernel takes the provider for its memory.
    Provider,
    /// As when somebody kills the CLI alone: the provider finds out a moment later.
    Core,
}

impl Victim {
    /// Kills it. The core was started in a process group of its own.
    pub fn kill(self, core: &Child) {
        match self {
            Victim::Both => kill(&format!("-{}", core.id())),
            Victim::Provider => providers(core).iter().for_each(|pid| kill(&pid.to_string())),
            Victim::Core => kill(&core.id().to_string()),
        }
    }
}

fn kill(target: &str) {
    // It may have ended a moment ago.
    let _ = Command::new("kill").args(["-KILL", "--", target]).output();
}

/// The core's children that are a provider.
fn providers(core: &Child) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the processes").filter_map(Result::ok);
    let pids = processes.filter_map(|process| process.file_name().to_string_lossy().parse::<u32>().ok());
    let of_core = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        parent == Some(&core.id().to_string())
            && program.file_name() == Some(Path::new("terraform-provider-mesh").as_os_str())
    };
    pids.filter(of_core).collect()
}
