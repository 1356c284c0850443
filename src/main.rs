//! The binary: arguments, runtime, wiring.

use std::io::Write;
use std::process::ExitCode;

use terraform_provider_mesh::engine::Engine;
use terraform_provider_mesh::kept::handover;
use terraform_provider_mesh::plugin::{self, Environment, Mode, Plugin};
use terraform_provider_mesh::provider::{self, Mesh};
use terraform_provider_mesh::resources;
use terraform_provider_mesh::review;
use terraform_provider_mesh::source::template;

const HELP: &str = "\
terraform-provider-mesh: builds and keeps Istio meshes over several Kubernetes clusters

Started without arguments by terraform or tofu. By hand:

  --debug      serve until Ctrl-C, and print the TF_REATTACH_PROVIDERS that makes terraform or tofu use this process
  --version    print the version
  --help       print this

  template NAME CHART [options]   print the manifests of a chart, as helm template does (template --help tells more)
  review [PLAN.json|-] [options]  say on one page what a plan does to the mesh (review --help tells more)

The environment variables TF_LOG, TF_LOG_PROVIDER, TF_LOG_PROVIDER_MESH, TF_LOG_SDK and TF_LOG_SDK_PROTO set what is
logged; TF_LOG_PROVIDER_MESH_DEPENDENCIES adds the libraries underneath (HTTP, TLS, Kubernetes client).
";

fn main() -> ExitCode {
    plugin::without_core_dumps();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(None),
        ["--debug" | "-debug"] => run(Some(Mode::Debug)),
        ["--version" | "-version"] => say(&format!("terraform-provider-mesh {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-help" | "-h"] => say(HELP),
        ["template", ..] => template::run(arguments.into_iter().skip(1)),
        ["review", ..] => {
            let engine = Engine::new(Mesh, resources::registry());
            review::run(arguments.into_iter().skip(1), &engine.schema().resources)
        }
        _ => complain(&format!("unknown arguments: {}\n\n{HELP}", arguments.join(" "))),
    }
}

/// Stack of a thread, in bytes. A search that imports and refreshes what it finds renders charts at the end of a long
/// chain of calls, which tokio's 2 MiB did not hold in a debug build. Only what is touched takes memory.
const STACK: usize = 16 << 20;

/// Serves the core that started us, or whoever a person with a debugger sends.
fn run(mode: Option<Mode>) -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let mode = match mode.map_or_else(|| Environment::parse(variable).map(Mode::Core), Ok) {
        Ok(mode) => mode,
        Err(error) => return complain(&format!("{error}\n")),
    };
    plugin::start_log(variable);
    plugin::log_panics();
    // Two threads: one request that works hard (a key, a chart) does not hold up the others, and each costs memory.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_stack_size(STACK).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}\n")),
    };
    let plugin = Plugin { engine: Engine::new(Mesh, resources::registry()), address: provider::ADDRESS };
    let served = runtime.block_on(plugin::serve(plugin, mode, std::io::stdout(), handover::end()));
    // Work that outlived its request has had its time.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{}\n", plugin::with_causes(&error))),
    }
}

/// Writes to standard output, which may be a closed pipe.
fn say(text: &str) -> ExitCode {
    if std::io::stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) -> ExitCode {
    // There is nobody else to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}
