//! The protocol's definition: our `.proto` against the ones the Go modules carry, and the committed Rust against our
//! `.proto`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use protox::prost_reflect::{DescriptorPool, Kind};
use tonic_prost_build::FileDescriptorSet;

const PROTO_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plugin/proto");
const FILES: &[&str] = &["tfplugin6.proto", "plugin.proto"];
const TERRAFORM_PLUGIN_GO: &str = "github.com/hashicorp/terraform-plugin-go@v0.31.0";
const GO_PLUGIN: &str = "github.com/hashicorp/go-plugin@v1.8.0";

#[test]
fn generated_protocol_code_is_current() {
    let out = tempfile::tempdir().unwrap();
    let set = protox::compile(FILES, [PROTO_FOLDER]).unwrap();
    let mut config = tonic_prost_build::Config::new();
    // The two well-known types are generated too, which spares the provider a dependency.
    config.compile_well_known_types();
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds_with_config(set, config)
        .unwrap();

    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    for entry in fs::read_dir(out.path()).unwrap() {
        let made = entry.unwrap().path();
        let committed = Path::new(PROTO_FOLDER).join(made.file_name().unwrap());
        let fresh = fs::read_to_string(&made).unwrap();
        if update {
            fs::write(&committed, fresh).unwrap();
        } else {
            let old = fs::read_to_string(&committed).unwrap_or_default();
            assert!(old == fresh, "{} is out of date: run `make docs`", committed.display());
        }
    }
}

#[test]
fn protocol_agrees_field_by_field_with_the_go_modules() {
    let Some(modules) = go_modules(&[TERRAFORM_PLUGIN_GO, GO_PLUGIN]) else { return };
    let ours = facts(&protox::compile(FILES, [PROTO_FOLDER]).unwrap());
    let mut theirs = facts(&compile_one(&modules[0].join("tfprotov6/internal/tfplugin6"), "tfplugin6.proto"));
    for file in ["grpc_controller.proto", "grpc_broker.proto", "grpc_stdio.proto"] {
        theirs.extend(facts(&compile_one(&modules[1].join("internal/plugin"), file)));
    }
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && extra.is_empty(), "only theirs: {missing:#?}\nonly ours: {extra:#?}");
    assert_eq!(theirs.iter().filter(|fact| fact.starts_with("rpc tfplugin6.Provider.")).count(), 36);
}

fn compile_one(folder: &Path, file: &str) -> FileDescriptorSet {
    protox::compile([file], [folder]).unwrap()
}

/// Everything that decides what travels, one line each: fields, enum values, RPCs.
fn facts(set: &FileDescriptorSet) -> BTreeSet<String> {
    let pool = DescriptorPool::from_file_descriptor_set(set.clone()).unwrap();
    let mut found = BTreeSet::new();
    for message in pool.all_messages() {
        for field in message.fields() {
            let (name, number) = (field.full_name(), field.number());
            let (cardinality, presence) = (field.cardinality(), field.supports_presence());
            let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned());
            let kind = match field.kind() {
                Kind::Message(message) => message.full_name().to_owned(),
                Kind::Enum(values) => values.full_name().to_owned(),
                scalar => format!("{scalar:?}"),
            };
            found.insert(format!("field {name} = {number}: {cardinality:?} {kind} presence={presence} {oneof:?}"));
        }
    }
    for values in pool.all_enums() {
        found.extend(values.values().map(|value| format!("value {} = {}", value.full_name(), value.number())));
    }
    for rpc in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let (input, output) = (rpc.input(), rpc.output());
        let streams = (rpc.is_client_streaming(), rpc.is_server_streaming());
        found.insert(format!("rpc {}: {} -> {} {streams:?}", rpc.full_name(), input.full_name(), output.full_name()));
    }
    found
}

/// The folders of Go modules, downloaded through Go's own cache; `None` (with a notice) on a machine without Go.
fn go_modules(modules: &[&str]) -> Option<Vec<PathBuf>> {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("go.mod"), "module scratch\n\ngo 1.24\n").unwrap();
    let output =
        Command::new("go").args(["mod", "download", "-json"]).args(modules).current_dir(scratch.path()).output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        failed => {
            assert!(std::env::var_os("CI").is_none(), "Go modules are needed: {failed:?}");
            println!("skipped: no Go here to fetch {modules:?}");
            return None;
        }
    };
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let folders: Vec<_> = answers.map(|module| PathBuf::from(module.unwrap()["Dir"].as_str().unwrap())).collect();
    assert_eq!(folders.len(), modules.len());
    Some(folders)
}
