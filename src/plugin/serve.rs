//! One run of the plugin, from the handshake to the last answer.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Server;

use super::goplugin::GoPlugin;
use super::handshake::{self, Environment};
use super::lifetime::{self, Shutdown, StartedBy};
use super::proto::plugin::grpc_broker_server::GrpcBrokerServer;
use super::proto::plugin::grpc_controller_server::GrpcControllerServer;
use super::proto::plugin::grpc_stdio_server::GrpcStdioServer;
use super::proto::tfplugin6::provider_server::ProviderServer;
use super::rpc::{self, Plugin};
use super::{listen, tls};

/// What both cores' own servers allow, in both directions. tonic's default of 4 MiB is less than one large state.
const LARGEST_MESSAGE: usize = 256 << 20;

/// How long answers under way may take once the core wants us gone. It kills after two seconds.
const GRACE: Duration = Duration::from_millis(1500);

/// Who is on the other side.
#[derive(Debug)]
pub enum Mode {
    /// The core that started us, as said in the environment.
    Core(Environment),
    /// A person with a debugger; cores are told by hand where we are.
    Debug,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    #[error("cannot listen to the operating system's signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot listen for the core")]
    Listen(#[source] listen::Error),
    #[error("cannot set up the connection's encryption")]
    Tls(#[source] tls::Error),
    #[error("cannot tell the core where to connect")]
    Answer(#[source] std::io::Error),
    #[error("the server ended")]
    Serve(#[source] tonic::transport::Error),
}

/// Serves until the other side, or the operating system, wants the process gone. `announce` is standard output: it
/// takes one line, and nothing may be written to it afterwards. `asked_to_leave` is what there is to do when the core
/// has had all its answers and wants the process gone; it is left out where the process ends in another way.
pub async fn serve(
    plugin: Plugin,
    mode: Mode,
    mut announce: impl Write,
    asked_to_leave: impl Future<Output = ()>,
) -> Result<(), Error> {
    let shutdown = Shutdown::default();
    let (started_by, environment) = match mode {
        Mode::Core(environment) => (StartedBy::Core, environment),
        Mode::Debug => (StartedBy::Person, Environment::of_nobody()),
    };
    lifetime::watch(started_by, &shutdown).map_err(Error::Signals)?;
    let bound = listen::bind(&environment).await.map_err(Error::Listen)?;
    let tls = environment.client_certificate.clone().map(tls::only_for).transpose().map_err(Error::Tls)?;

    let line = match started_by {
        StartedBy::Core => environment.answer(&bound.address, tls.as_ref().map(|tls| &tls.certificate)),
        StartedBy::Person => debug_text(&bound.address.reattach(plugin.address, std::process::id())),
    };
    announce.write_all(line.as_bytes()).and_then(|()| announce.flush()).map_err(Error::Answer)?;

    // The core waits no longer: whatever else there is to do comes after the announcement.
    tokio::task::spawn_blocking(move || listen::sweep(&environment));
    let connections = bound.listener.accept_all(tls.map(|tls| tls.config));
    let goplugin = GoPlugin { shutdown: shutdown.clone() };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_service_status("plugin", tonic_health::ServingStatus::Serving).await;
    let provider = ProviderServer::from_arc(Arc::new(rpc::Service::new(plugin)))
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let server = Server::builder()
        .add_service(provider)
        .add_service(GrpcControllerServer::new(goplugin.clone()))
        .add_service(GrpcBrokerServer::new(goplugin.clone()))
        .add_service(GrpcStdioServer::new(goplugin))
        .add_service(health)
        .serve_with_incoming_shutdown(connections, shutdown.clone().into_begun());
    let out_of_patience = async {
        shutdown.begun().await;
        tokio::time::sleep(GRACE).await;
    };
    let left = async {
        shutdown.begun().await;
        if shutdown.is_asked_for() {
            asked_to_leave.await;
        }
        Ok(())
    };
    tokio::select! {
        ended = futures::future::try_join(server, left) => ended.map(|_| ()).map_err(Error::Serve),
        () = out_of_patience => Ok(()),
    }
}

fn debug_text(reattach: &str) -> String {
    format!(
        "The provider runs until Ctrl-C. To use it, set this where terraform or tofu runs:\n\n\tTF_REATTACH_PROVIDERS='{reattach}'\n\n"
    )
}
