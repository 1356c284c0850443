//! Encoded values before Terraform's own library: what we write it reads as the same value, and the other way round.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use terraform_provider_mesh::value::{Dyn, Type, msgpack};

use crate::support::random::Random;

#[test]
fn random_values_survive_the_way_through_go_cty() {
    let Some(oracle) = oracle("random_values_survive_the_way_through_go_cty") else { return };
    let mut random = Random::new(7);
    let cases: Vec<(Type, Dyn)> = (0..3000)
        .map(|_| {
            let ty = random.ty(3);
            let value = random.value(&ty, 3, true);
            (ty, value)
        })
        .collect();
    let questions = cases
        .iter()
        .map(|(ty, value)| json!({"type": ty.to_json(), "msgpack": hex(&msgpack::encode(value, ty).unwrap())}));
    for ((ty, value), answer) in cases.iter().zip(ask(&oracle, questions)) {
        let again = bytes(answer["msgpack"].as_str().unwrap_or_else(|| panic!("{answer} for {value:?} as {ty:?}")));
        let ours = msgpack::encode(value, ty).unwrap();
        assert_eq!(&msgpack::decode(&again, ty).unwrap(), value, "{ty:?}");
        if !holds_set(ty) && !matches!(value, Dyn::Dynamic(..)) {
            assert!(again == ours || holds_dynamic(ty), "{} and {} for {value:?}", hex(&again), hex(&ours));
        }
    }
}

#[test]
fn mutilated_bytes_that_are_a_value_to_us_are_the_same_to_go_cty() {
    let Some(oracle) = oracle("mutilated_bytes_that_are_a_value_to_us_are_the_same_to_go_cty") else { return };
    let mut random = Random::new(11);
    let mut cases = Vec::new();
    for _ in 0..3000 {
        let ty = [Type::String, Type::Number, Type::Bool, Type::list(Type::String), Type::map(Type::Number)]
            [random.below(5)]
        .clone();
        let mut wire = msgpack::encode(&random.value(&ty, 2, true), &ty).unwrap();
        let at = random.below(wire.len());
        wire[at] = random.below(256) as u8;
        // go-cty works for minutes on a number such as 1e99999999: it is asked only what we accept.
        if let Ok(value) = msgpack::decode(&wire, &ty)
            && value.is_wholly_known()
            && (spelled_as_ever(&value, &ty, &wire) || !matches!(ty, Type::Number | Type::Map(_)))
        {
            cases.push((ty, wire, value));
        }
    }
    let questions = cases.iter().map(|(ty, wire, _)| json!({"type": ty.to_json(), "msgpack": hex(wire)}));
    let mut both = 0;
    for ((ty, wire, ours), answer) in cases.iter().zip(ask(&oracle, questions)) {
        let Some(theirs) = answer["msgpack"].as_str() else { continue };
        both += 1;
        assert_eq!(&msgpack::decode(&bytes(theirs), ty).unwrap(), ours, "{} as {ty:?}", hex(wire));
    }
    assert!(both > 300, "too few values to compare: {both}");
}

/// A whole number beyond 2^63 as a float, which neither side ever writes, has for go-cty only 53 bits.
fn spelled_as_ever(value: &Dyn, ty: &Type, wire: &[u8]) -> bool {
    msgpack::encode(value, ty).unwrap() == wire
}

/// The oracle's program, or nothing where it cannot be had: said aloud, and an error where `CI` is set.
fn oracle(test: &str) -> Option<PathBuf> {
    match lab::tools::path(lab::tools::Tool::Cty) {
        Ok(program) => Some(program),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{test} needs go-cty: {error}");
            println!("SKIPPED {test}: no go-cty: {error}");
            None
        }
    }
}

fn ask(oracle: &PathBuf, questions: impl Iterator<Item = Json>) -> Vec<Json> {
    let mut program = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = program.stdin.take().unwrap();
    let questions: Vec<String> = questions.map(|question| format!("{question}\n")).collect();
    let writer =
        std::thread::spawn(move || questions.iter().for_each(|line| input.write_all(line.as_bytes()).unwrap()));
    let output = program.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn holds_set(ty: &Type) -> bool {
    match ty {
        Type::Set(_) => true,
        Type::List(element) | Type::Map(element) => holds_set(element),
        Type::Object(types) => types.values().any(holds_set),
        Type::Tuple(types) => types.iter().any(holds_set),
        _ => false,
    }
}

fn holds_dynamic(ty: &Type) -> bool {
    match ty {
        Type::Dynamic => true,
        Type::Set(element) | Type::List(element) | Type::Map(element) => holds_dynamic(element),
        Type::Object(types) => types.values().any(holds_dynamic),
        Type::Tuple(types) => types.iter().any(holds_dynamic),
        _ => false,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
