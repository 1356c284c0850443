//! Golden vectors of the wire forms (made with Terraform's own library), and bytes that mean harm.

use super::*;

fn ty(json: &str) -> Type {
    Type::from_json(&serde_json::from_str(json).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn refined(refinements: Refinements) -> Dyn {
    Dyn::Unknown(Some(Box::new(refinements)))
}

fn number(text: &str) -> Dyn {
    Dyn::Number(text.parse().unwrap())
}

fn bound(text: &str) -> Option<Bound> {
    Some(Bound { number: text.parse().unwrap(), inclusive: true })
}

#[test]
fn golden_vectors() {
    let set = |elements: &[&str]| Dyn::set(elements.iter().map(|text| number(text)));
    for (spelled, value, wire) in [
        (r#""number""#, number("0.1"), "a3302e31"),
        (r#""number""#, number("0.5"), "cb3fe0000000000000"),
        (r#""number""#, number("9223372036854775808"), "b339323233333732303336383534373735383038"),
        (r#""number""#, number("1e20"), "b5313030303030303030303030303030303030303030"),
        (r#""number""#, number("-9223372036854775808"), "d38000000000000000"),
        (r#""number""#, number("127"), "7f"),
        (r#""number""#, number("128"), "cc80"),
        (r#""number""#, number("-33"), "d0df"),
        (r#""string""#, Dyn::from("e\u{301}"), "a2c3a9"),
        (r#""string""#, Dyn::Null, "c0"),
        (r#""bool""#, Dyn::Bool(true), "c3"),
        (r#""string""#, Dyn::UNKNOWN, "d40000"),
        (r#""dynamic""#, Dyn::UNKNOWN, "d40000"),
        (r#""string""#, refined(Refinements { null: Some(false), ..Default::default() }), "c7030c8101c2"),
        (
            r#""string""#,
            refined(Refinements { null: Some(false), prefix: Some("arn:".to_owned()), ..Default::default() }),
            "c7090c8201c202a461726e3a",
        ),
        (
            r#""number""#,
            refined(Refinements { min: bound("1"), max: bound("2.5"), ..Default::default() }),
            "c7110c82039201c30492cb4004000000000000c3",
        ),
        (
            r#"["list","string"]"#,
            refined(Refinements { min_length: Some(1), max_length: Some(3), ..Default::default() }),
            "c7050c8205010603",
        ),
        (r#"["set",["set","number"]]"#, Dyn::set([set(&["1", "2"]), set(&["2", "1"]), set(&["3"])]), "929201029103"),
        (r#""dynamic""#, Dyn::Dynamic(Type::String, Box::new("x".into())), "92c40822737472696e6722a178"),
        (r#""dynamic""#, Dyn::Dynamic(Type::String, Box::new(Dyn::Null)), "92c40822737472696e6722c0"),
        (r#"["tuple",["string","bool"]]"#, Dyn::Tuple(vec!["a".into(), true.into()]), "92a161c3"),
        (r#"["map","string"]"#, Dyn::Map([("k".to_owned(), "v".into())].into()), "81a16ba176"),
        (
            r#"["object",{"a":"number","b":"string"}]"#,
            Dyn::object([("a", 1.into()), ("b", Dyn::Null)]),
            "82a16101a162c0",
        ),
    ] {
        let ty = ty(spelled);
        assert_eq!(hex(&msgpack::encode(&value, &ty).unwrap()), wire, "{spelled}");
        assert_eq!(msgpack::decode(&bytes(wire), &ty).unwrap(), value, "{spelled}");
    }
}

#[test]
fn errors_name_the_place() {
    let shape = ty(r#"["object",{"m":["map",["list",["object",{"n":"number"}]]]}]"#);
    for (wire, error) in [
        ("81a16d81a16b9181a16ec3", r#"m["k"][0].n: expected a number, found a bool"#),
        ("81a16d81a16b9180", r#"m["k"][0]: attribute "n" is missing"#),
        ("81a16d81a16b9181a178c3", r#"m["k"][0]: attribute "x" is not part of the schema"#),
        ("81a16d81a16b9181a16ea178", r#"m["k"][0].n: not a decimal number"#),
        ("81a16d81a16b91", r#"m["k"][0]: the encoded value ends too early"#),
        ("81a16dc0c0", "1 bytes follow the encoded value"),
    ] {
        assert_eq!(msgpack::decode(&bytes(wire), &shape).unwrap_err().to_string(), error);
    }
    for (text, error) in [
        (r#"{"m":{"k":[{"n":true}]}}"#, r#"m["k"][0].n: expected a number, found a bool"#),
        (r#"{"m":{"k":[{"n":1e9999}]}}"#, r#"m["k"][0].n: the number has too many digits"#),
        (r#"{"m":{"k":[{}]}}"#, r#"m["k"][0]: attribute "n" is missing"#),
        (r#"{"m":{"k":{}}}"#, r#"m["k"]: expected a list, found an object"#),
        (r#"{"m":"#, "the encoded value is malformed: json eof error in line 1"),
    ] {
        assert_eq!(json::decode(text.as_bytes(), &shape).unwrap_err().to_string(), error);
    }
    let misfit = Dyn::object([("m", Dyn::Map([("k".to_owned(), Dyn::List(vec![Dyn::Bool(true)]))].into()))]);
    let error = msgpack::encode(&misfit, &shape).unwrap_err();
    assert_eq!(error.to_string(), r#"m["k"][0]: expected an object, found a bool"#);
}

#[test]
fn json_keeps_every_digit() {
    let text = r#"{"d":{"type":["tuple",["number","string"]],"value":[0.1,"é"]},"n":123456789012345678901234567890.5,"s":[1,2]}"#;
    let shape = ty(r#"["object",{"d":"dynamic","n":"number","s":["set","number"]}]"#);
    let value = json::decode(text.as_bytes(), &shape).unwrap();
    assert_eq!(json::encode(&value, &shape).unwrap(), text);
    let messy = br#"{"n":"7", "s":[2,1,2], "of_the_past":[{}]}"#;
    let value = json::decode_state(messy, &shape).unwrap();
    assert_eq!(json::encode(&value, &shape).unwrap(), r#"{"d":null,"n":7,"s":[1,2]}"#);
}

#[test]
fn sets_have_no_order() {
    let a = Dyn::set(["b".into(), "a".into(), "a".into()]);
    assert_eq!(a, Dyn::set(["a".into(), "b".into()]));
    assert_ne!(a, Dyn::set(["a".into()]));
    let unknown = Dyn::set([Dyn::UNKNOWN, Dyn::UNKNOWN]);
    assert!(matches!(&unknown, Dyn::Set(elements) if elements.len() == 2), "two unknowns may differ");
}

#[test]
fn an_extension_of_any_kind_is_unknown() {
    for wire in ["d40000", "d4ff00", "c7000c", "c7020cffff", "c7030c8109c2", "d60c00000000"] {
        assert!(msgpack::decode(&bytes(wire), &Type::String).unwrap().is_unknown(), "{wire}");
    }
}

#[test]
fn no_depth_and_no_length_does_harm() {
    let any = Type::Dynamic;
    let mut nested = bytes("d40000");
    for _ in 0..10_000 {
        let head = [&bytes("92c409")[..], br#""dynamic""#].concat();
        nested = [head, nested].concat();
    }
    assert_eq!(msgpack::decode(&nested, &any).unwrap_err().problem, Problem::TooDeep);
    for wire in ["ddffffffff", "dfffffffff", "dbffffffff", "c9ffffffff00", "c6ffffffff"] {
        for spelled in [r#"["list","string"]"#, r#"["map","string"]"#, r#""string""#, r#""dynamic""#, r#""number""#] {
            // Some are unknown values, cut short: an error either way.
            assert!(msgpack::decode(&bytes(wire), &ty(spelled)).is_err(), "{wire} {spelled}");
        }
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(json::decode(deep.as_bytes(), &Type::String).is_err());
    assert!(json::decode(format!(r#"{{"type":{deep},"value":1}}"#).as_bytes(), &any).is_err());
    let list = format!("{}\"string\"{}", r#"["list","#.repeat(100), "]".repeat(100));
    assert!(Type::from_json(&serde_json::from_str(&list).unwrap()).is_none());
}

/// A small generator of bytes, so that a failure is the same on every machine.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }

    fn some(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next()).collect()
    }
}

#[test]
fn random_bytes_end_in_a_value_or_an_error() {
    let mut random = Bytes(0x2545_f491_4f6c_dd1d);
    let types: Vec<Type> = [
        r#""string""#,
        r#""number""#,
        r#""bool""#,
        r#""dynamic""#,
        r#"["list","number"]"#,
        r#"["set",["list","string"]]"#,
        r#"["map",["object",{"a":"dynamic","b":"number"}]]"#,
        r#"["tuple",["number","dynamic"]]"#,
    ]
    .iter()
    .map(|spelled| ty(spelled))
    .collect();
    let mut valid = 0;
    for round in 0..10_000 {
        let length = round % 24;
        let input = random.some(length);
        for ty in &types {
            if let Ok(value) = msgpack::decode(&input, ty) {
                valid += 1;
                let again = msgpack::encode(&value, ty).unwrap();
                assert_eq!(msgpack::decode(&again, ty).unwrap(), value, "{}", hex(&input));
            }
            let _ = json::decode(&input, ty);
            let _ = json::decode_state(&input, ty);
        }
    }
    assert!(valid > 300, "too few of the inputs were values: {valid}");
}

#[test]
fn a_mutilated_value_ends_in_a_value_or_an_error() {
    let shape = ty(r#"["object",{"m":["map",["list","number"]],"d":"dynamic","s":["set","string"]}]"#);
    let text = br#"{"m":{"k":[1,0.5,0.1]},"d":{"type":["object",{"a":"string"}],"value":{"a":"b"}},"s":["x","y"]}"#;
    let whole = msgpack::encode(&json::decode(text, &shape).unwrap(), &shape).unwrap();
    let mut random = Bytes(88_172_645_463_325_252);
    for _ in 0..10_000 {
        let mut wire = whole.clone();
        let mut spelled = text.to_vec();
        for _ in 0..=random.next() % 3 {
            let at = random.next() as usize;
            let (wire_at, spelled_at) = (at % wire.len(), at % spelled.len());
            wire[wire_at] = random.next();
            spelled[spelled_at] = random.next();
        }
        wire.truncate(wire.len() - random.next() as usize % 4);
        let _ = msgpack::decode(&wire, &shape);
        let _ = json::decode(&spelled, &shape);
    }
}

#[test]
fn paths_read_as_in_a_configuration() {
    let path = Path::root("clusters").key("east").attr("hosts").index(0);
    assert_eq!(path.to_string(), r#"clusters["east"].hosts[0]"#);
    assert_eq!(Path::empty().to_string(), "");
}
