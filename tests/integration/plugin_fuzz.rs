//! Random bytes and random well-typed values to every RPC of the real binary: no panic, no hang, always an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use prost::Message as _;
use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value as Field,
};
use terraform_provider_mesh::plugin::proto::tfplugin6 as pb;
use terraform_provider_mesh::value::{Dyn, Number, Type, json, msgpack};

use crate::support::plugin_process::{Client, Door, Process};

const PROTO_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plugin/proto");
const ROUNDS: usize = 40;
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_makes_an_rpc_panic_or_hang() {
    let process = Process::start(None, &[]);
    let mut client = process.connect(Door::Plain).await.unwrap();
    let offers = Offers::of(&mut client).await;
    configure(&mut client, &offers).await;
    let seed = std::env::var("MESH_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    let mut random = Random(seed);
    let pool = DescriptorPool::from_file_descriptor_set(protox::compile(["tfplugin6.proto"], [PROTO_FOLDER]).unwrap());
    let rpcs: Vec<_> = pool.unwrap().get_service_by_name("tfplugin6.Provider").unwrap().methods().collect();
    assert_eq!(rpcs.len(), 36);
    for round in 0..ROUNDS {
        for rpc in &rpcs {
            let request = offers.request(rpc, &mut random);
            let path = format!("/tfplugin6.Provider/{}", rpc.name());
            let what = || format!("{} in round {round} of seed {seed:#x}: {request:02x?}", rpc.name());
            let answer = tokio::time::timeout(LIMIT, call(&mut client, &path, request.clone()));
            let answer = answer.await.unwrap_or_else(|_| panic!("it hangs: {}", what()));
            let answer = match answer {
                Ok(answer) => answer,
                // Bytes that are no message at all never reach a handler.
                Err(status) if status.message().contains("failed to decode Protobuf message") => continue,
                Err(status) => panic!("{status}: {}", what()),
            };
            assert!(!contains(&answer, b"panicked"), "it panicked: {}", what());
        }
    }
    let schema: pb::get_provider_schema::Response =
        client.provider("GetProviderSchema", pb::get_provider_schema::Request {}).await;
    assert!(schema.provider.is_some());
}

/// The answer's bytes, streams put together.
async fn call(client: &mut Client, path: &str, request: Vec<u8>) -> Result<Vec<u8>, tonic::Status> {
    let mut answers = client.raw(path, request).await?;
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        all.extend(answer?);
    }
    Ok(all)
}

/// A cluster that refuses at once, so that resources get as far as they can.
async fn configure(client: &mut Client, offers: &Offers) {
    let Type::Object(attributes) = &offers.provider else { panic!() };
    let Some(Type::Map(cluster)) = attributes.get("clusters") else { panic!() };
    let Type::Object(nothing) = &**cluster else { panic!() };
    let mut east = Dyn::object(nothing.keys().map(|name| (name.as_str(), Dyn::Null)));
    east.set_attr("host", "https://127.0.0.1:9".into());
    let mut config = Dyn::object(attributes.keys().map(|name| (name.as_str(), Dyn::Null)));
    config.set_attr("clusters", Dyn::Map([("east".to_owned(), east)].into()));
    let msgpack = msgpack::encode(&config, &offers.provider).unwrap();
    let config = Some(pb::DynamicValue { msgpack, json: Vec::new() });
    let request = pb::configure_provider::Request { config, ..Default::default() };
    let answer: pb::configure_provider::Response = client.provider("ConfigureProvider", request).await;
    assert_eq!(answer.diagnostics, []);
}

/// The types of everything the provider offers.
struct Offers {
    provider: Type,
    /// Of resources, data sources, ephemeral resources, lists.
    types: BTreeMap<String, Type>,
    identities: BTreeMap<String, Type>,
    functions: BTreeMap<String, Vec<Type>>,
}

impl Offers {
    async fn of(client: &mut Client) -> Self {
        let schema: pb::get_provider_schema::Response =
            client.provider("GetProviderSchema", pb::get_provider_schema::Request {}).await;
        let identities: pb::get_resource_identity_schemas::Response =
            client.provider("GetResourceIdentitySchemas", pb::get_resource_identity_schemas::Request {}).await;
        let all = [
            schema.resource_schemas,
            schema.data_source_schemas,
            schema.ephemeral_resource_schemas,
            schema.list_resource_schemas,
        ];
        let types = all.into_iter().flatten().map(|(name, schema)| (name, block(&schema))).collect();
        let identity = |schema: pb::ResourceIdentitySchema| {
            Type::object(schema.identity_attributes.into_iter().map(|one| (one.name, ty(&one.r#type))))
        };
        let parameters = |function: pb::Function| {
            let all = function.parameters.into_iter().chain(function.variadic_parameter);
            all.map(|parameter| ty(&parameter.r#type)).collect()
        };
        Self {
            provider: block(&schema.provider.unwrap()),
            types,
            identities: identities
                .identity_schemas
                .into_iter()
                .map(|(name, schema)| (name, identity(schema)))
                .collect(),
            functions: schema.functions.into_iter().map(|(name, function)| (name, parameters(function))).collect(),
        }
    }

    fn request(&self, rpc: &MethodDescriptor, random: &mut Random) -> Vec<u8> {
        if random.one_in(10) {
            return random.bytes(200);
        }
        let names: Vec<_> = match rpc.name() {
            "CallFunction" => self.functions.keys().collect(),
            _ => self.types.keys().collect(),
        };
        let name = if random.one_in(20) { "mesh_what".to_owned() } else { random.pick(&names).to_string() };
        let mut bytes = self.message(&rpc.input(), rpc.name(), &name, random).encode_to_vec();
        if random.one_in(20) && !bytes.is_empty() {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        bytes
    }

    fn message(&self, of: &MessageDescriptor, rpc: &str, name: &str, random: &mut Random) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        if of.full_name() == "tfplugin6.DynamicValue" {
            let ty = match rpc {
                "ValidateProviderConfig" => Some(&self.provider),
                // A well-typed one would name hosts for later requests to look for.
                "ConfigureProvider" => None,
                _ => self.types.get(name),
            };
            let value = self.value(ty, random);
            message.set_field_by_name(if value.1 { "json" } else { "msgpack" }, Field::Bytes(value.0.into()));
            return message;
        }
        for field in of.fields() {
            if random.one_in(12) {
                continue;
            }
            let kind = field.kind();
            let one = |random: &mut Random| match &kind {
                Kind::String if ["type_name", "target_type_name", "name", "action_type"].contains(&field.name()) => {
                    Field::String(name.to_owned())
                }
                Kind::String => Field::String(random.text()),
                Kind::Bool => Field::Bool(random.one_in(2)),
                Kind::Int64 => Field::I64(random.number()),
                Kind::Bytes if field.name() == "json" => Field::Bytes(self.stored(self.types.get(name), random).into()),
                Kind::Bytes => Field::Bytes(random.bytes(40).into()),
                Kind::Message(inner) if inner.full_name() == "tfplugin6.ResourceIdentityData" => {
                    let (bytes, _) = self.value(self.identities.get(name), random);
                    let value = pb::DynamicValue { msgpack: bytes, json: Vec::new() };
                    let data = pb::ResourceIdentityData { identity_data: Some(value) };
                    let mut message = DynamicMessage::new(inner.clone());
                    message.merge(&data.encode_to_vec()[..]).unwrap();
                    Field::Message(message)
                }
                Kind::Message(inner) => Field::Message(self.message(inner, rpc, name, random)),
                Kind::Enum(_) => Field::EnumNumber(random.below(9) as i32),
                other => panic!("the generator does not know {other:?}"),
            };
            if field.is_map() {
                continue;
            }
            let value = if rpc == "CallFunction" && field.name() == "arguments" {
                Field::List(self.arguments(name, &kind, random))
            } else if field.is_list() {
                Field::List((0..random.below(3)).map(|_| one(random)).collect())
            } else {
                one(random)
            };
            message.set_field(&field, value);
        }
        message
    }

    fn arguments(&self, function: &str, kind: &Kind, random: &mut Random) -> Vec<Field> {
        let Kind::Message(value) = kind else { panic!() };
        let types = self.functions.get(function).cloned().unwrap_or_default();
        let one = |ty: &Type, random: &mut Random| {
            let mut message = DynamicMessage::new(value.clone());
            let (bytes, is_json) = self.value(Some(ty), random);
            message.set_field_by_name(if is_json { "json" } else { "msgpack" }, Field::Bytes(bytes.into()));
            Field::Message(message)
        };
        let mut arguments: Vec<_> = types.iter().map(|ty| one(ty, random)).collect();
        if random.one_in(5) {
            arguments.truncate(random.below(3));
        }
        arguments
    }

    /// A value on the wire, and whether it is JSON: mostly one of the type, sometimes a damaged one, sometimes noise.
    fn value(&self, ty: Option<&Type>, random: &mut Random) -> (Vec<u8>, bool) {
        let Some(ty) = ty.filter(|_| !random.one_in(12)) else { return (random.bytes(60), random.one_in(4)) };
        if random.one_in(10) {
            return (self.stored(Some(ty), random), true);
        }
        let unknowns = if random.one_in(2) { 10 } else { usize::MAX };
        let value = if random.one_in(12) { Dyn::Null } else { random.value(ty, unknowns, 0) };
        let mut bytes = msgpack::encode(&value, ty).unwrap();
        if random.one_in(15) {
            bytes.truncate(random.below(bytes.len()));
        }
        (bytes, false)
    }

    /// What a state file could hold.
    fn stored(&self, ty: Option<&Type>, random: &mut Random) -> Vec<u8> {
        let Some(ty) = ty.filter(|_| !random.one_in(8)) else { return random.bytes(60) };
        let value = random.value(ty, usize::MAX, 0);
        let mut bytes = json::encode(&value, ty).unwrap().into_bytes();
        if random.one_in(8) {
            bytes.truncate(random.below(bytes.len()));
        }
        bytes
    }
}

fn block(schema: &pb::Schema) -> Type {
    Type::object(schema.block.iter().flat_map(|block| &block.attributes).map(|one| (one.name.as_str(), attribute(one))))
}

fn attribute(attribute: &pb::schema::Attribute) -> Type {
    use pb::schema::object::NestingMode;

    let Some(nested) = &attribute.nested_type else { return ty(&attribute.r#type) };
    let object = Type::object(nested.attributes.iter().map(|one| (one.name.as_str(), self::attribute(one))));
    match nested.nesting() {
        NestingMode::Single => object,
        NestingMode::List => Type::list(object),
        NestingMode::Set => Type::set(object),
        NestingMode::Map => Type::map(object),
        NestingMode::Invalid => panic!("{attribute:?}"),
    }
}

fn ty(json: &[u8]) -> Type {
    Type::from_json(&serde_json::from_slice(json).unwrap()).unwrap()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Enough randomness for a test, the same every time for a seed (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        n != usize::MAX && self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }

    fn number(&mut self) -> i64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(20) as i64,
            2 => self.next() as i64,
            _ => *self.pick(&[i64::MIN, i64::MAX, -1, 1]),
        }
    }

    fn text(&mut self) -> String {
        const TEXTS: &[&str] = &[
            "",
            "east",
            "east",
            "west",
            "istio-system",
            "Cafe\u{301}",
            "10m",
            "-3h",
            "10.0.0.0/8",
            "fe80::1",
            "*.local",
            "a/b/c",
            "east/istio-system/x",
            "https://x",
            "{}",
            "a: [",
            "-----BEGIN PRIVATE KEY-----",
            "\u{0}",
            "\u{10ffff}",
            "..",
            "peer",
            "remote",
            "LoadBalancer",
            "P-256",
            "720h",
        ];
        match self.below(6) {
            0 => String::from_utf8_lossy(&self.bytes(30)).into_owned(),
            1 => "x".repeat(self.below(3000)),
            _ => (*self.pick(TEXTS)).to_owned(),
        }
    }

    fn value(&mut self, ty: &Type, unknowns: usize, depth: usize) -> Dyn {
        if depth > 0 && self.one_in(4) {
            return Dyn::Null;
        }
        if depth > 0 && self.one_in(unknowns) {
            return Dyn::UNKNOWN;
        }
        let count = self.below(3);
        let mut inner = |ty: &Type| self.value(ty, unknowns, depth + 1);
        match ty {
            Type::List(element) => Dyn::List((0..count).map(|_| inner(element)).collect()),
            Type::Set(element) => Dyn::set((0..count).map(|_| inner(element)).collect::<Vec<_>>()),
            Type::Map(element) => {
                let values: Vec<_> = (0..count).map(|_| inner(element)).collect();
                Dyn::Map(values.into_iter().map(|value| (self.text(), value)).collect())
            }
            Type::Object(attributes) => Dyn::Object(attributes.iter().map(|(n, ty)| (n.clone(), inner(ty))).collect()),
            Type::Tuple(elements) => Dyn::Tuple(elements.iter().map(inner).collect()),
            Type::String => self.text().into(),
            Type::Bool => self.one_in(2).into(),
            Type::Number => Dyn::Number(Number::from(self.number())),
            Type::Dynamic => Dyn::Dynamic(Type::String, Box::new(self.text().into())),
        }
    }
}
