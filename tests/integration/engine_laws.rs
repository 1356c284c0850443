//! The lifecycle laws, tried on resources that need no cluster.

use serde_json::{Value as Json, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::engine::rpc::*;
use terraform_provider_mesh::value::{Dyn, Path};

use crate::support::core::{Action, Applied, Core, Planned, Stored, UNKNOWN};
use crate::support::library::{LibraryProvider, registry};

const SPECIMEN: &str = "library_specimen";
const SHELF: &str = "library_shelf";

async fn core() -> Core {
    Core::new(LibraryProvider::default(), registry(), json!({})).await.unwrap()
}

fn everything() -> Json {
    json!({
        "name": "one", "text": "t", "title": "Title", "amount": 0.1, "anything": {"a": [1, "b", null]},
        "tags": ["x", "y"], "topics": ["q", "p"], "labels": {"k": "v"},
        "origin": {"country": "fr", "note_wo": "hidden"},
        "parts": [{"label": "p1"}, {"label": "p2", "weight": 3}],
        "marks": [{"colour": "red"}, {"colour": "blue", "size": "large"}],
        "copies": {"c": {"label": "c1"}},
        "secret": "open", "password_wo": "12345", "password_wo_version": 1,
        "timeouts": {"create": "5m"},
    })
}

fn with(mut config: Json, changes: Json) -> Json {
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

/// Plans and applies; the plan after it must be empty.
async fn settle(core: &Core, type_name: &str, config: Json, stored: Option<&Stored>) -> (Planned, Stored) {
    let planned = core.plan(type_name, Some(config.clone()), stored).await.unwrap();
    let Applied { stored, diagnostics } = core.apply(type_name, planned.clone()).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.unwrap();
    let second = core.plan(type_name, Some(config), Some(&stored)).await.unwrap();
    assert_eq!(second.action, Action::Nothing, "the second plan is not empty: {:?}", second.planned);
    (planned, stored)
}

fn at(core: &Core, stored: &Stored, path: &Path) -> Dyn {
    core.state(SPECIMEN, stored).at(path).cloned().unwrap()
}

fn texts(diagnostics: &Diagnostics) -> String {
    diagnostics.to_string()
}

#[tokio::test]
async fn every_kind_of_attribute_lives_through_create_update_replace_and_destroy() {
    let core = core().await;
    let (planned, created) = settle(&core, SPECIMEN, everything(), None).await;
    assert_eq!(planned.action, Action::Create);
    assert!(planned.at("revision").is_unknown());
    assert!(planned.at("report").is_unknown());
    assert_eq!(planned.at("style"), &Dyn::from("plain"));
    assert_eq!(planned.at(Path::root("parts").index(0).attr("weight")), &Dyn::from(1));
    assert!(planned.at("password_wo").is_null());
    assert_eq!(at(&core, &created, &Path::root("password_length")), Dyn::from(5));
    assert_eq!(at(&core, &created, &Path::root("amount")), Dyn::Number("0.1".parse().unwrap()));
    assert!(!created.json.contains("12345") && !created.json.contains("hidden"), "a write-only value is in the state");

    let (planned, updated) =
        settle(&core, SPECIMEN, with(everything(), json!({"text": "other"})), Some(&created)).await;
    assert_eq!(planned.action, Action::Update);
    assert_eq!(planned.at("chosen"), &Dyn::from("chosen in revision 1"), "keep keeps");
    assert!(planned.at("drawn").is_unknown(), "what is not kept is open again");
    assert_eq!(planned.at(Path::root("parts").index(1).attr("serial")), &Dyn::from("1"));

    let moved = with(everything(), json!({"origin": {"country": "it"}}));
    let (planned, replaced) = settle(&core, SPECIMEN, moved, Some(&updated)).await;
    assert_eq!(planned.action, Action::Replace);
    assert_eq!(planned.replace, [Path::root("origin").attr("country")]);
    assert!(planned.at("chosen").is_unknown(), "a new object keeps nothing of the old");
    assert_eq!(at(&core, &replaced, &Path::root("revision")), Dyn::from(1));

    let planned = core.plan(SPECIMEN, None, Some(&replaced)).await.unwrap();
    assert_eq!(planned.action, Action::Destroy);
    let gone = core.apply(SPECIMEN, planned).await;
    assert!(gone.stored.is_none() && gone.diagnostics.is_empty());
}

#[tokio::test]
async fn unknown_values_never_fail_a_plan() {
    let core = core().await;
    let all = core.schema(SPECIMEN).attributes.iter().filter(|attribute| !attribute.is_computed_only());
    let unknown: Json = all.map(|attribute| (attribute.name.clone(), Json::from(UNKNOWN))).collect();
    let planned = core.plan(SPECIMEN, Some(unknown), None).await.unwrap();
    assert_eq!(planned.action, Action::Create);

    let partly = with(
        everything(),
        json!({
            "tags": [UNKNOWN, "y"], "topics": [UNKNOWN], "labels": {"k": UNKNOWN}, "origin": {"country": UNKNOWN},
            "parts": [UNKNOWN, {"label": UNKNOWN, "weight": 3}], "marks": [{"colour": UNKNOWN}], "copies": {"c": UNKNOWN},
        }),
    );
    let planned = core.plan(SPECIMEN, Some(partly), None).await.unwrap();
    let applied = core.apply_with(SPECIMEN, planned, core.config(SPECIMEN, everything_with_one_mark())).await;
    assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
}

fn everything_with_one_mark() -> Json {
    with(everything(), json!({"topics": ["p"], "marks": [{"colour": "red"}]}))
}

#[tokio::test]
async fn drift_is_seen_and_spelling_is_none() {
    let provider = LibraryProvider::default();
    let library = provider.0.clone();
    let core = Core::new(provider, registry(), json!({})).await.unwrap();
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;

    let mut kept: crate::support::specimen::SpecimenModel = library.get("specimen-one").unwrap();
    kept.title = "TITLE".into();
    library.put("specimen-one", &kept);
    let planned = core.plan(SPECIMEN, Some(everything()), Some(&stored)).await.unwrap();
    assert_eq!(planned.action, Action::Nothing);
    let shouted = with(everything(), json!({"title": "TITLE"}));
    assert_eq!(core.plan(SPECIMEN, Some(shouted), Some(&stored)).await.unwrap().action, Action::Nothing);

    kept.text = "changed by someone".into();
    library.put("specimen-one", &kept);
    let planned = core.plan(SPECIMEN, Some(everything()), Some(&stored)).await.unwrap();
    assert_eq!(planned.action, Action::Update);
    assert_eq!(planned.at("text"), &Dyn::from("t"));

    library.remove("specimen-one");
    assert_eq!(core.plan(SPECIMEN, Some(everything()), Some(&stored)).await.unwrap().action, Action::Create);
}

#[tokio::test]
async fn a_change_of_timeouts_alone_calls_no_one() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;
    let patient = with(everything(), json!({"timeouts": {"create": "9m"}}));
    let (planned, updated) = settle(&core, SPECIMEN, patient, Some(&stored)).await;
    assert_eq!(planned.action, Action::Update);
    assert!(planned.planned.is_wholly_known());
    assert_eq!(at(&core, &updated, &Path::root("revision")), Dyn::from(1));
    let wrong = core.validate(SPECIMEN, with(everything(), json!({"timeouts": {"create": "soon"}}))).await;
    assert_eq!(wrong.iter().next().unwrap().path, Some(Path::root("timeouts").attr("create")));
}

#[tokio::test]
async fn a_failure_keeps_what_exists() {
    let core = core().await;
    let fails = |fault: &str| with(everything(), json!({"fault": fault}));

    for (fault, kept) in [("early", false), ("panic", false), ("late", true), ("panic_late", true)] {
        let planned = core.plan(SPECIMEN, Some(fails(fault)), None).await.unwrap();
        let applied = core.apply(SPECIMEN, planned).await;
        assert!(applied.diagnostics.has_errors());
        assert_eq!(applied.stored.is_some(), kept, "{fault}");
        // What was adopted would be deleted by the next apply.
        for flag in [true, false] {
            let planned = core.plan(SPECIMEN, Some(with(fails(fault), json!({"flag": flag}))), None).await.unwrap();
            let told = texts(&core.apply(SPECIMEN, planned).await.diagnostics);
            assert_eq!(told.contains("What was adopted is tainted"), kept && flag, "{fault}: {told}");
        }
        if let Some(stored) = applied.stored {
            assert!(stored.tainted);
            assert_eq!(core.plan(SPECIMEN, Some(everything()), Some(&stored)).await.unwrap().action, Action::Replace);
        }
    }

    let (_, stored) = settle(&core, SPECIMEN, with(everything(), json!({"name": "two"})), None).await;
    for fault in ["early", "panic"] {
        let planned =
            core.plan(SPECIMEN, Some(with(fails(fault), json!({"name": "two"}))), Some(&stored)).await.unwrap();
        let applied = core.apply(SPECIMEN, planned).await;
        assert!(applied.diagnostics.has_errors());
        assert!(!texts(&applied.diagnostics).contains("tainted"), "an update is not");
        let after = applied.stored.unwrap();
        assert_eq!(after.json, stored.json, "a failed update that reached nothing leaves the prior state");
    }
}

#[tokio::test]
async fn a_panic_is_a_diagnostic_that_blames_the_provider() {
    let core = core().await;
    let planned = core.plan(SPECIMEN, Some(with(everything(), json!({"fault": "panic"}))), None).await.unwrap();
    let text = texts(&core.apply(SPECIMEN, planned).await.diagnostics);
    assert!(
        text.contains("panicked while creating (on request)") && text.contains("not of your configuration"),
        "{text}"
    );
}

#[tokio::test]
async fn stop_interrupts_and_the_next_call_runs() {
    let core = core().await;
    let planned = core.plan(SPECIMEN, Some(with(everything(), json!({"fault": "hang"}))), None).await.unwrap();
    let engine = core.engine.clone();
    let stop = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        engine.stop();
    });
    let applied = core.apply(SPECIMEN, planned).await;
    stop.await.unwrap();
    assert!(texts(&applied.diagnostics).contains("stopped while hanging about"), "{}", applied.diagnostics);
    assert!(applied.stored.unwrap().tainted);
    settle(&core, SPECIMEN, with(everything(), json!({"name": "two"})), None).await;
}

#[tokio::test]
async fn a_deadline_interrupts() {
    let core = core().await;
    let hangs = with(everything(), json!({"fault": "hang", "timeouts": {"create": "30ms"}}));
    let planned = core.plan(SPECIMEN, Some(hangs), None).await.unwrap();
    let applied = core.apply(SPECIMEN, planned).await;
    assert!(
        texts(&applied.diagnostics).contains("time allowed was over while hanging about"),
        "{}",
        applied.diagnostics
    );
}

#[tokio::test]
async fn a_resource_asks_for_replacement_itself() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;
    let larger = core.plan(SPECIMEN, Some(with(everything(), json!({"amount": 7}))), Some(&stored)).await.unwrap();
    assert_eq!(larger.action, Action::Update);
    let smaller = core.plan(SPECIMEN, Some(with(everything(), json!({"amount": -1}))), Some(&stored)).await.unwrap();
    assert_eq!((smaller.action, smaller.replace), (Action::Replace, vec![Path::root("amount")]));
}

#[tokio::test]
async fn private_data_lies_beside_the_state() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;
    assert_eq!(stored.private, br#"{"applies":1}"#);
    let (_, stored) = settle(&core, SPECIMEN, with(everything(), json!({"text": "u"})), Some(&stored)).await;
    assert_eq!(stored.private, br#"{"applies":2}"#);
    let (_, replaced) = settle(&core, SPECIMEN, with(everything(), json!({"name": "new"})), Some(&stored)).await;
    assert_eq!(replaced.private, br#"{"applies":1}"#, "a new object starts with private data of its own");
}

#[tokio::test]
async fn import_by_id_and_by_identity_lead_to_an_empty_plan() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;
    let by_id = core.import(SPECIMEN, "one").await.unwrap().unwrap();
    let by_identity = core.import_by_identity(SPECIMEN, json!({"name": "one"})).await.unwrap().unwrap();
    assert_eq!(by_id, by_identity);
    assert_eq!(by_id.identity, stored.identity);
    let config = with(everything(), json!({"timeouts": null}));
    assert_eq!(core.plan(SPECIMEN, Some(config), Some(&by_id)).await.unwrap().action, Action::Nothing);
    assert!(core.import(SPECIMEN, "none").await.is_err());
}

#[tokio::test]
async fn old_states_are_upgraded_and_odd_ones_tolerated() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, json!({"name": "one"}), None).await;
    for (version, text) in [
        (0, json!({"label": "one", "flag": "yes"})),
        (1, json!({"name": "one", "flag": "yes"})),
        (2, json!({"name": "one", "flag": true, "attribute_of_the_past": {"x": 1}})),
    ] {
        let old = Stored { json: text.to_string(), version, ..stored.clone() };
        let planned = core.plan(SPECIMEN, Some(json!({"name": "one"})), Some(&old)).await.unwrap();
        assert_eq!(planned.action, Action::Nothing, "version {version}");
    }
    let newer = Stored { version: 3, ..stored.clone() };
    let refused = core.plan(SPECIMEN, Some(json!({"name": "one"})), Some(&newer)).await.unwrap_err();
    assert!(texts(&refused).contains("Use a newer provider"));
    let broken = Stored { json: r#"{"name": 5}"#.to_owned(), ..stored };
    let refused = core.plan(SPECIMEN, Some(json!({"name": "one"})), Some(&broken)).await.unwrap_err();
    assert_eq!(refused.iter().next().unwrap().path, Some(Path::root("name")));
}

#[tokio::test]
async fn validation_names_the_attribute_and_keeps_secrets() {
    let core = core().await;
    let wrong =
        json!({"name": "Not A Label", "style": "odd", "labels": {"": "x"}, "secret": "hunter2", "password_wo": "p"});
    let found = core.validate(SPECIMEN, wrong.clone()).await;
    let paths: Vec<String> = found.iter().map(|d| d.path.as_ref().unwrap().to_string()).collect();
    assert_eq!(paths, ["name", "style", "labels[\"\"]", "secret"]);
    assert!(!texts(&found).contains("hunter2"));

    let mut old = core;
    old.capabilities.write_only_attributes_allowed = false;
    let found = old.validate(SPECIMEN, json!({"name": "one", "password_wo": "p"})).await;
    assert_eq!(found.iter().next().unwrap().path, Some(Path::root("password_wo")));
    let selfish = json!({"room": "r", "books": {"Emma": {"author": "Emma"}}});
    let found = old.validate(SHELF, selfish).await;
    assert_eq!(found.iter().next().unwrap().path.as_ref().unwrap().to_string(), r#"books["Emma"].author"#);
}

#[tokio::test]
async fn a_plan_that_lies_is_caught_here() {
    let core = core().await;
    let refused = core.plan(SPECIMEN, Some(with(everything(), json!({"fault": "lie"}))), None).await.unwrap_err();
    let found = refused.iter().next().unwrap();
    assert_eq!((found.summary.as_str(), &found.path), ("Provider bug", &Some(Path::root("text"))));
}

#[tokio::test]
async fn deferral_only_where_allowed() {
    let mut core = core().await;
    let config = with(everything(), json!({"fault": "defer"}));
    assert_eq!(core.plan(SPECIMEN, Some(config.clone()), None).await.unwrap().deferred, None);
    core.capabilities.deferral_allowed = true;
    assert!(core.plan(SPECIMEN, Some(config), None).await.unwrap().deferred.is_some());
}

#[tokio::test]
async fn warnings_reach_the_user() {
    let core = core().await;
    let planned = core.plan(SPECIMEN, Some(with(everything(), json!({"style": "fancy"}))), None).await.unwrap();
    assert_eq!(planned.warnings.iter().next().unwrap().path, Some(Path::root("style")));
}

#[tokio::test]
async fn a_destroy_that_fails_keeps_the_state() {
    let core = core().await;
    let (_, stored) = settle(&core, SPECIMEN, everything(), None).await;
    let late = with(everything(), json!({"fault": "late"}));
    let planned = core.plan(SPECIMEN, Some(late), Some(&stored)).await.unwrap();
    let stored = core.apply(SPECIMEN, planned).await.stored.unwrap();
    let planned = core.plan(SPECIMEN, None, Some(&stored)).await.unwrap();
    let applied = core.apply(SPECIMEN, planned).await;
    assert!(applied.diagnostics.has_errors());
    assert_eq!(applied.stored.unwrap().json, stored.json);
}

#[tokio::test]
async fn list_finds_objects_up_to_the_limit() {
    let core = core().await;
    for room in ["a", "b", "c"] {
        settle(&core, SHELF, json!({"room": room, "books": {"t": {"author": "x"}}}), None).await;
    }
    let list = |limit, include_resource_object| {
        let schema = &core.engine.schema().list_resources[SHELF];
        let config =
            crate::support::core::encode(&crate::support::core::value(&json!({"at_least": 1}), &schema.ty()), schema);
        core.engine.list_resource(ListResource { type_name: SHELF.to_owned(), config, include_resource_object, limit })
    };
    let mut found = list(2, true);
    let mut names = Vec::new();
    while let Some(event) = found.recv().await {
        assert!(event.diagnostics.is_empty() && event.identity.is_some() && event.resource_object.is_some());
        names.push(event.display_name);
    }
    assert_eq!(names, ["shelf-a", "shelf-b"]);
    let mut found = list(0, false);
    let mut count = 0;
    while let Some(event) = found.recv().await {
        assert!(event.resource_object.is_none());
        count += 1;
    }
    assert_eq!(count, 3);
}

/// An error would end the search for a core, and take along what it has found.
#[tokio::test]
async fn an_object_that_cannot_be_read_whole_is_found_all_the_same_with_a_warning() {
    let core = core().await;
    for room in ["a", "dark", "z"] {
        settle(&core, SHELF, json!({"room": room, "books": {"t": {"author": "x"}}}), None).await;
    }
    let schema = &core.engine.schema().list_resources[SHELF];
    let config = crate::support::core::encode(&crate::support::core::value(&json!({}), &schema.ty()), schema);
    let asked = ListResource { type_name: SHELF.to_owned(), config, include_resource_object: true, limit: 0 };
    let mut found = core.engine.list_resource(asked);
    let mut seen = Vec::new();
    while let Some(event) = found.recv().await {
        assert!(event.identity.is_some() && !event.diagnostics.has_errors(), "{}", event.diagnostics);
        seen.push((event.display_name, event.resource_object.is_some(), texts(&event.diagnostics)));
    }
    let [a, dark, z] = &seen[..] else { panic!("{seen:?}") };
    assert!(a.1 && z.1 && a.2.is_empty() && z.2.is_empty(), "{seen:?}");
    assert!(!dark.1 && dark.2.contains("Bring a lamp."), "{seen:?}");
}

#[tokio::test]
async fn generated_configuration_has_only_what_a_user_would_write() {
    let core = core().await;
    let config = with(everything(), json!({"old_text": "x"}));
    let (_, stored) = settle(&core, SPECIMEN, config, None).await;
    let state = crate::support::core::encode(&core.state(SPECIMEN, &stored), core.schema(SPECIMEN));
    let request = GenerateResourceConfig { type_name: SPECIMEN.to_owned(), state };
    let response = core.engine.generate_resource_config(request).await;
    assert!(response.diagnostics.is_empty());
    let ty = core.schema(SPECIMEN).ty();
    let config = terraform_provider_mesh::value::msgpack::decode(&response.config.msgpack, &ty).unwrap();
    for name in ["revision", "report", "old_text", "style", "flag", "timeouts", "password_wo"] {
        assert!(config.attr(name).unwrap().is_null(), "{name}");
    }
    assert_eq!(config.attr("name"), Some(&Dyn::from("one")));
    assert!(config.at(&Path::root("parts").index(0).attr("serial")).unwrap().is_null());
}

/// A core asks for the configuration of what a search found, also where it could not be read whole.
#[tokio::test]
async fn configuration_of_an_object_without_a_state_is_null_and_no_error() {
    let core = core().await;
    let ty = core.schema(SPECIMEN).ty();
    let state = crate::support::core::encode(&Dyn::Null, core.schema(SPECIMEN));
    let request = GenerateResourceConfig { type_name: SPECIMEN.to_owned(), state };
    let response = core.engine.generate_resource_config(request).await;
    assert!(response.diagnostics.is_empty(), "{}", response.diagnostics);
    let config = terraform_provider_mesh::value::msgpack::decode(&response.config.msgpack, &ty).unwrap();
    assert!(config.is_null());
}

#[tokio::test]
async fn a_state_moves_from_another_type() {
    let core = core().await;
    let request = MoveResourceState {
        source_provider_address: "registry.terraform.io/example/library".to_owned(),
        source_type_name: SHELF.to_owned(),
        source_schema_version: 0,
        source_state: br#"{"room": "r"}"#.to_vec(),
        target_type_name: SPECIMEN.to_owned(),
    };
    let moved = core.engine.move_resource_state(request.clone()).await;
    assert!(moved.diagnostics.is_empty() && moved.target_state.is_some());
    // What it is called is known when it has been read: the private data say that it has not.
    assert!(moved.target_identity.is_none() && !moved.target_private.is_empty());
    let refused =
        core.engine.move_resource_state(MoveResourceState { source_type_name: "x".to_owned(), ..request }).await;
    assert!(texts(&refused.diagnostics).contains("cannot take over"));
}

#[tokio::test]
async fn data_sources_ephemerals_and_functions_answer() {
    let core = core().await;
    settle(&core, SHELF, json!({"room": "r", "books": {"t": {"author": "x"}}}), None).await;
    let engine = &core.engine;
    let schemas = engine.schema();

    let schema = &schemas.data_sources["library_peek"];
    let config = |json| crate::support::core::encode(&crate::support::core::value(&json, &schema.ty()), schema);
    let request = ReadDataSource {
        type_name: "library_peek".to_owned(),
        config: config(json!({"room": "r"})),
        ..Default::default()
    };
    let answer = engine.read_data_source(request).await;
    assert!(answer.diagnostics.is_empty(), "{}", answer.diagnostics);
    let state = terraform_provider_mesh::value::msgpack::decode(&answer.state.msgpack, &schema.ty()).unwrap();
    assert_eq!((state.attr("books"), state.attr("how")), (Some(&Dyn::from(1)), Some(&Dyn::from("briefly"))));

    let schema = &schemas.ephemeral_resources["library_pass"];
    let config =
        crate::support::core::encode(&crate::support::core::value(&json!({"room": "r"}), &schema.ty()), schema);
    let type_name = "library_pass".to_owned();
    let open = OpenEphemeralResource { type_name: type_name.clone(), config, capabilities: core.capabilities };
    let opened = engine.open_ephemeral_resource(open).await;
    assert!(opened.diagnostics.is_empty() && opened.renew_at.is_some());
    let renewed = engine
        .renew_ephemeral_resource(EphemeralResource { type_name: type_name.clone(), private: opened.private })
        .await;
    assert_eq!(renewed.private, br#"{"renewals":1}"#);
    let closed = engine.close_ephemeral_resource(EphemeralResource { type_name, private: renewed.private }).await;
    assert!(closed.is_empty());

    let call = |text: &[u8]| CallFunction {
        name: "twice".to_owned(),
        arguments: vec![Encoded { msgpack: Vec::new(), json: text.to_vec() }],
    };
    let said = engine.call_function(call(br#""ab""#)).await.result.unwrap();
    assert_eq!(said.msgpack, b"\xa4abab");
    assert_eq!(engine.call_function(call(br#""""#)).await.result.unwrap_err().argument, Some(0));
    assert_eq!(engine.call_function(call(b"")).await.result.unwrap_err().argument, Some(0), "null");
}

#[tokio::test]
async fn the_schemas_of_the_library_are_sound() {
    let core = core().await;
    let schemas = core.engine.schema();
    for (name, schema) in &schemas.resources {
        assert_eq!(terraform_provider_mesh::schema::check(schema), Vec::<String>::new(), "{name}");
    }
    for (name, schema) in &schemas.identities {
        assert_eq!(terraform_provider_mesh::schema::check_identity(schema), Vec::<String>::new(), "{name}");
    }
}
