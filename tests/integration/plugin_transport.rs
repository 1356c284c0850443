//! The binary as a process: who may call it, when it ends, what it prints.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use terraform_provider_mesh::plugin::proto::google::protobuf::Empty as Nothing;
use terraform_provider_mesh::plugin::proto::plugin::{ConnInfo, Empty, StdioData};
use terraform_provider_mesh::plugin::proto::tfplugin6 as pb;
use tokio::net::UnixStream;

use crate::support::best::best_of_three;
use crate::support::plugin_process::{BINARY, Client, Door, Identity, Process, left_behind, send_signal};

/// After so long go-plugin kills a process that was told to end.
const KILLS: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(5);

async fn schema(client: &mut Client) -> pb::get_provider_schema::Response {
    client.provider("GetProviderSchema", pb::get_provider_schema::Request {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn core_is_served_and_shutdown_ends_the_process_cleanly() {
    best_of_three(KILLS, async || {
        let identity = Identity::new();
        let mut process = Process::start(Some(&identity), &[]);
        let mut client = process.connect(Door::Tls { identity: Some(&identity), version: &TLS13 }).await.unwrap();
        // go-plugin opens both at once and keeps them.
        let broker = client.both_stream::<ConnInfo, ConnInfo>(
            "/plugin.GRPCBroker/StartStream",
            futures::stream::pending::<ConnInfo>(),
        );
        let mut broker = broker.await.unwrap();
        let mut stdio = client.stream::<_, StdioData>("/plugin.GRPCStdio/StreamStdio", Nothing {}).await.unwrap();
        assert!(schema(&mut client).await.resource_schemas.contains_key("mesh_primary"));

        let begin = Instant::now();
        let _: Empty = client.call("/plugin.GRPCController/Shutdown", Empty {}).await.unwrap();
        assert!(broker.message().await.unwrap().is_none());
        assert!(stdio.message().await.unwrap().is_none());
        drop(client);
        let told = Instant::now();
        let Some(status) = process.ended_within(KILLS) else { return told.elapsed() };
        let took = told.elapsed();
        println!("Shutdown to process gone: {:?}", begin.elapsed());
        assert!(status.success());
        assert_eq!(left_behind(process.folder.path()), 0, "the socket's folder stays");
        assert_eq!(process.rest_of_stdout(), "");
        took
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_core_gets_in_while_silent_peers_hang_at_the_door() {
    let identity = Identity::new();
    let process = Process::start(Some(&identity), &[]);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(UnixStream::connect(&process.socket).await.unwrap());
    }
    let (stranger, thief) = (Identity::new(), identity.stolen());
    for version in [&TLS12, &TLS13] {
        for (who, identity) in [("nobody", None), ("stranger", Some(&stranger)), ("thief", Some(&thief))] {
            let refused = process.connect(Door::Tls { identity, version }).await;
            assert!(refused.is_err(), "{who} got in by {version:?}");
        }
        let mut client = process.connect(Door::Tls { identity: Some(&identity), version }).await.unwrap();
        assert!(schema(&mut client).await.provider.is_some());
    }
    assert!(process.connect(Door::Plain).await.is_err(), "plaintext got in");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_the_core_gets_plaintext() {
    let process = Process::start(None, &[]);
    let mut client = process.connect(Door::Plain).await.unwrap();
    assert!(schema(&mut client).await.provider.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_mebibytes_pass() {
    let process = Process::start(None, &[]);
    let mut client = process.connect(Door::Plain).await.unwrap();
    let state = format!(r#"{{"id":"{}"}}"#, "x".repeat(60 << 20));
    let request = pb::upgrade_resource_state::Request {
        type_name: "mesh_primary".to_owned(),
        version: 0,
        raw_state: Some(pb::RawState { json: state.into_bytes(), ..Default::default() }),
    };
    let answer: pb::upgrade_resource_state::Response = client.provider("UpgradeResourceState", request).await;
    let sent = answer.upgraded_state.map_or(0, |state| state.msgpack.len());
    assert!(sent > 60 << 20, "{sent} bytes came back, {:?}", answer.diagnostics);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_is_left_to_the_core_and_sigterm_ends() {
    let mut process = Process::start(None, &[]);
    let mut client = process.connect(Door::Plain).await.unwrap();
    process.signal("-INT");
    assert!(process.ended_within(Duration::from_millis(300)).is_none(), "SIGINT ended it");
    assert!(schema(&mut client).await.provider.is_some());
    process.signal("-TERM");
    assert!(process.ended_within(SOON).is_some(), "SIGTERM did not end it");
    assert_eq!(left_behind(process.folder.path()), 0, "the socket's folder stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn process_whose_core_is_gone_ends_itself() {
    best_of_three(SOON, async || {
        // A shell stands for the core: it starts the provider, says which process that is, and is killed.
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{BINARY} & echo >&2 $!; wait")]).stderr(Stdio::piped());
        let mut process = Process::start_command(shell, None);
        let mut provider = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.child.stderr.take().unwrap()), &mut provider)
            .unwrap();
        let provider: u32 = provider.trim().parse().unwrap();
        assert!(send_signal(provider, "-0"));
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        let start = Instant::now();
        while send_signal(provider, "-0") {
            if start.elapsed() >= SOON {
                send_signal(provider, "-KILL");
                return start.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = start.elapsed();
        assert_eq!(left_behind(process.folder.path()), 0, "the socket's folder stays");
        took
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_provider_leaves_the_process_serving() {
    let process = Process::start(None, &[]);
    let mut client = process.connect(Door::Plain).await.unwrap();
    for _ in 0..2 {
        let stopped: pb::stop_provider::Response = client.provider("StopProvider", pb::stop_provider::Request {}).await;
        assert_eq!(stopped.error, "");
        assert!(schema(&mut client).await.provider.is_some());
    }
}

#[test]
fn person_who_starts_it_reads_what_it_is() {
    let output = Command::new(BINARY).env_remove("TF_PLUGIN_MAGIC_COOKIE").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("required_providers"));

    let output = Command::new(BINARY).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "terraform-provider-mesh 0.1.0");
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("--debug"));
    let output = Command::new(BINARY).arg("--what").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn debug_mode_prints_how_to_reattach_and_ends_on_sigint() {
    let mut child = Command::new(BINARY).arg("--debug").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while text.matches('\'').count() < 2 {
        let read = stdout.read(&mut buffer).unwrap();
        assert!(read > 0, "it ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    let json = text.split('\'').nth(1).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let entry = &json["registry.terraform.io/terraform-provider-mesh/mesh"];
    assert_eq!(entry["Pid"], child.id());
    assert!(std::path::Path::new(entry["Addr"]["String"].as_str().unwrap()).exists());
    send_signal(child.id(), "-INT");
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_lines_under_the_asked_level_only() {
    for (level, expected) in [("trace", true), ("", false)] {
        let mut command = Command::new(BINARY);
        command.env("TF_LOG", level).stderr(Stdio::piped());
        let mut process = Process::start_command(command, None);
        let mut stderr = process.child.stderr.take().unwrap();
        let mut client = process.connect(Door::Plain).await.unwrap();
        schema(&mut client).await;
        process.signal("-TERM");
        assert!(process.ended_within(SOON).is_some());
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        assert_eq!(!text.is_empty(), expected, "{text}");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(["@level", "@message", "@module", "@timestamp"].iter().all(|key| line[key].is_string()), "{line}");
        }
        assert_eq!(text.contains(r#""tf_rpc":"GetProviderSchema""#), expected);
    }
}

/// Prints figures, asserts none:
/// `MESH_TEST_BINARY=target/release/terraform-provider-mesh cargo test … figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the binary that MESH_TEST_BINARY names"]
async fn figures_of_the_process() {
    let Some(binary) = std::env::var_os("MESH_TEST_BINARY") else { return println!("MESH_TEST_BINARY is not set") };
    let identity = Identity::new();
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    let (mut idle, mut own_idle, mut with_schema, mut own_with_schema) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..41 {
        let begin = Instant::now();
        let mut process = Process::start_command(Command::new(&binary), Some(&identity));
        starts.push(begin.elapsed().as_secs_f64() * 1e3);
        idle.push(memory(process.child.id(), "VmRSS:"));
        own_idle.push(memory(process.child.id(), "RssAnon:"));
        let mut client = process.connect(Door::Tls { identity: Some(&identity), version: &TLS13 }).await.unwrap();
        schema(&mut client).await;
        with_schema.push(memory(process.child.id(), "VmRSS:"));
        own_with_schema.push(memory(process.child.id(), "RssAnon:"));
        let begin = Instant::now();
        let _: Empty = client.call("/plugin.GRPCController/Shutdown", Empty {}).await.unwrap();
        drop(client);
        process.child.wait().unwrap();
        stops.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let median = |figures: &mut Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    println!("exec to handshake line   {:.1} ms", median(&mut starts));
    println!("resident when idle       {:.1} MB, its own {:.1} MB", median(&mut idle), median(&mut own_idle));
    println!(
        "resident after schema    {:.1} MB, its own {:.1} MB",
        median(&mut with_schema),
        median(&mut own_with_schema)
    );
    println!("Shutdown to process gone {:.1} ms", median(&mut stops));
    println!("size of the binary       {:.1} MB", std::fs::metadata(&binary).unwrap().len() as f64 / 1e6);
}

/// Megabytes. What is not its own (`RssAnon`) are pages of the executable and of libraries, which the kernel maps many
/// at a time and shares between processes.
fn memory(process: u32, kind: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1e3
}
