//! The services go-plugin's client expects beside the provider: being told to leave, a broker, standard output.
//!
//! The broker and the output channel are opened by the core at once and held open; nothing ever comes through them.
//! Without the controller every stop would cost go-plugin's two seconds of grace and a kill.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::lifetime::Shutdown;
use super::proto::google::protobuf::Empty as Nothing;
use super::proto::plugin::grpc_broker_server::GrpcBroker;
use super::proto::plugin::grpc_controller_server::GrpcController;
use super::proto::plugin::grpc_stdio_server::GrpcStdio;
use super::proto::plugin::{ConnInfo, Empty, StdioData};

#[derive(Clone)]
pub(super) struct GoPlugin {
    pub(super) shutdown: Shutdown,
}

#[tonic::async_trait]
impl GrpcController for GoPlugin {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.shutdown.ask();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcBroker for GoPlugin {
    type StartStreamStream = Silence<ConnInfo>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let asked = request.into_inner();
        let silence = until(self.shutdown.clone().into_begun()).map(move |never| {
            // The core's half must stay open as long as ours.
            let _ = &asked;
            never
        });
        Ok(Response::new(Box::pin(silence)))
    }
}

#[tonic::async_trait]
impl GrpcStdio for GoPlugin {
    type StreamStdioStream = Silence<StdioData>;

    async fn stream_stdio(&self, _request: Request<Nothing>) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(Box::pin(until(self.shutdown.clone().into_begun()))))
    }
}

type Silence<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream without items that ends with `end`.
fn until<T: Send>(end: impl Future<Output = ()> + Send) -> impl Stream<Item = Result<T, Status>> + Send {
    futures::stream::once(end).filter_map(|()| async { None })
}
