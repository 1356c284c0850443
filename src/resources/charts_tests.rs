use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use super::*;
use crate::chart::archive_of;
use crate::diag::Diagnostics;

fn text(text: &str) -> Dyn {
    Dyn::String(text.to_owned())
}

fn warned(attribute: &str, place: &str, digests: Dyn) -> Vec<String> {
    let charts =
        Dyn::Object([(attribute.to_owned(), text(place)), ("digests".to_owned(), digests)].into_iter().collect());
    let mut found = Diagnostics::new();
    not_plain_http(&["base", "istiod"]).check(&charts, &Path::root("charts"), &mut found);
    found.into_iter().map(|warning| format!("{} {}", warning.path.unwrap(), warning.detail)).collect()
}

#[test]
fn plain_http_is_warned_of_until_digests_pin_what_comes_over_it() {
    let pins = |names: &[&str]| Dyn::Map(names.iter().map(|name| ((*name).to_owned(), text("x"))).collect());
    let plain = "http://charts.example";
    for (attribute, place, digests) in [
        ("repository", "https://charts.example", Dyn::Null),
        ("repository", "http://127.0.0.1:1/x", Dyn::Null),
        ("repository", plain, pins(&["base", "istiod"])),
        ("repository", plain, Dyn::Unknown(None)),
        ("gateway_api", plain, pins(&["gateway-api"])),
    ] {
        assert_eq!(warned(attribute, place, digests.clone()), Vec::<String>::new(), "{place} {digests:?}");
    }
    for plain in ["http:///charts.example", "http://bücher.example/x", "http://charts.example/my charts"] {
        assert_eq!(warned("repository", plain, Dyn::Null).len(), 1, "{plain}");
    }
    for (attribute, digests) in [
        ("repository", Dyn::Null),
        ("repository", pins(&["istiod"])),
        ("gateway_api", Dyn::Null),
        ("gateway_api", pins(&["base", "istiod"])),
    ] {
        let said = warned(attribute, plain, digests);
        assert!(said[0].starts_with(&format!("charts.{attribute} Anybody between")), "{said:?}");
    }
}

#[test]
fn a_name_that_no_chart_has_pins_nothing_and_is_an_error() {
    use crate::schema::Model as _;
    let digests = Charts::attributes().into_iter().find(|attribute| attribute.name == "digests").unwrap();
    let value = Dyn::Map([("istoid".to_owned(), text(&format!("sha256:{}", "0".repeat(64))))].into_iter().collect());
    let mut found = Diagnostics::new();
    digests.validators.iter().for_each(|rule| rule.check(&value, &Path::root("digests"), &mut found));
    let said: Vec<String> = found.into_iter().map(|error| error.path.unwrap().to_string()).collect();
    assert_eq!(said, ["digests[\"istoid\"]"]);
}

#[test]
fn charts_are_open_as_long_as_anything_that_decides_is_unknown() {
    let known = |text: &str| Value::Known(text.to_owned());
    let provider = |repository, version, password| {
        Store::new(Value::Known(ProviderCharts { repository, version, password, ..ProviderCharts::default() }))
    };
    let resource = |repository, version| Value::Known(Charts { repository, version, ..Charts::default() });
    let none = || resource(Value::Null, Value::Null);
    let folder = || Value::Known(Charts { directory: known("/charts"), ..Charts::default() });
    let plain = || provider(known("oci://a"), Value::Null, Value::Null);
    for (store, charts, is_open) in [
        (plain(), none(), false),
        (plain(), Value::Null, false),
        (plain(), Value::Unknown, true),
        (plain(), resource(Value::Unknown, Value::Null), true),
        (plain(), resource(Value::Null, Value::Unknown), true),
        (Store::new(Value::Unknown), none(), true),
        (Store::new(Value::Unknown), folder(), true),
        (Store::new(Value::Unknown), resource(known("oci://b"), known("1.31.0")), false),
        (provider(Value::Unknown, Value::Null, Value::Null), none(), true),
        (provider(Value::Unknown, Value::Null, Value::Null), folder(), false),
        (provider(known("oci://a"), Value::Unknown, Value::Null), none(), true),
        (provider(known("oci://a"), Value::Unknown, Value::Null), resource(Value::Null, known("1.31.0")), false),
        (provider(known("oci://a"), Value::Null, Value::Unknown), none(), true),
        (provider(known("oci://a"), Value::Null, Value::Unknown), resource(known("oci://b"), Value::Null), false),
        (provider(known("oci://a"), Value::Null, Value::Unknown), folder(), false),
    ] {
        assert_eq!(store.is_open(&charts), is_open, "{store:?} {charts:?}");
    }
}

#[tokio::test]
async fn definitions_that_change_after_the_plan_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| format!("apiVersion: v1\nkind: A\nmetadata: {{name: {name}}}\n");
    let file = folder.path().join("1.6.0.yaml");
    std::fs::write(&file, text("a")).unwrap();
    let charts = |digests: &[(&str, String)]| Charts {
        gateway_api: folder.path().join("{version}.yaml").display().to_string().into(),
        digests: digests.iter().cloned().collect(),
        ..Charts::default()
    };
    let open = charts(&[]);
    let store = || store("/elsewhere");
    let saw = store().noted(Some(&open), &[], None).await.unwrap();
    let noted = async |charts: &Charts, version: &str| {
        let mut noted = Noted::default();
        store().note_definitions(&mut noted, Some(charts), version).await;
        noted
    };
    let definitions = noted(&open, "1.6.0").await.gateway_api;
    assert!(definitions.is_some());
    let saw = Noted { gateway_api: definitions, ..saw };
    let kept: Noted = serde_json::from_str(&serde_json::to_string(&saw).unwrap()).unwrap();
    assert_eq!(kept, saw);
    let refused = async |charts: &Charts, version: &str| {
        let refused = store().refuse_changed_definitions(Some(&saw), Some(charts), version).await;
        refused.err().map(|error| error.detail)
    };
    assert_eq!(refused(&open, "1.6.0").await, None);
    // What a comment says is nothing that is applied.
    std::fs::write(&file, format!("# A comment.\n{}", text("a"))).unwrap();
    assert_eq!(refused(&open, "1.6.0").await, None);
    std::fs::write(&file, text("b")).unwrap();
    let detail = refused(&open, "1.6.0").await.unwrap();
    assert!(detail.contains("1.6.0.yaml are not those that the last refresh saw"), "{detail}");
    assert_eq!(refused(&open, "1.6.1").await, None, "another release is another matter");
    let pinned = charts(&[(GATEWAY_API, format!("sha256:{}", "0".repeat(64)))]);
    assert_eq!(refused(&pinned, "1.6.0").await, None);
    assert_eq!(noted(&pinned, "1.6.0").await, Noted::default());
    // What cannot be read now is what it was, for who still asks for it.
    std::fs::remove_file(&file).unwrap();
    for (charts, version, kept) in [(&open, "1.6.0", true), (&open, "1.6.1", false), (&pinned, "1.6.0", false)] {
        let mut now = noted(charts, version).await;
        now.keep_unfetched(&saw);
        assert_eq!(now.gateway_api, saw.gateway_api.clone().filter(|_| kept), "{version}");
    }
}

fn packed(note: &str) -> Vec<u8> {
    let metadata = format!("apiVersion: v2\nname: istiod\nversion: 1.0.0\ndescription: {note}\n");
    archive_of(&[("istiod/Chart.yaml", metadata.as_bytes())])
}

fn store(place: &str) -> Store {
    let charts = match place.contains("://") {
        true => ProviderCharts { repository: place.to_owned().into(), ..ProviderCharts::default() },
        false => ProviderCharts { directory: place.to_owned().into(), ..ProviderCharts::default() },
    };
    Store { sources: Sources::with_cache(None), ..Store::new(Value::Known(charts)) }
}

/// What a plan noted holds until somebody changes the chart; each process has a store of its own.
async fn is_noticed(place: &str, change: impl FnOnce()) {
    let noted = store(place).noted(None, &["istiod", "none"], Some("1.0.0")).await.unwrap();
    assert_eq!(noted.digests.len(), 1, "{noted:?}");
    assert!(store(place).refuse_changed(Some(&noted), None).await.is_ok());
    assert!(store("/elsewhere").refuse_changed(Some(&noted), None).await.is_ok());
    change();
    let error = store(place).refuse_changed(Some(&noted), None).await.unwrap_err();
    assert!(error.detail.contains("is not the one that the last refresh saw"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_that_changes_after_the_plan_is_noticed_wherever_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("istiod-1.0.0.tgz");
    std::fs::write(&file, packed("a")).unwrap();
    is_noticed(folder.path().to_str().unwrap(), || std::fs::write(&file, packed("b")).unwrap()).await;
    let served = Arc::new(Mutex::new(packed("a")));
    let url = repository(served.clone());
    is_noticed(&url, || *served.lock().unwrap() = packed("b")).await;
    // What is pinned cannot change.
    let pinned = format!("sha256:{}", "0".repeat(64));
    let digests = [("istiod", pinned)].into_iter().collect();
    let charts = Charts { digests, ..Charts::default() };
    let noted = store(&url).noted(Some(&charts), &["istiod"], Some("1.0.0")).await.unwrap();
    assert_eq!(noted.digests, BTreeMap::new());
}

/// Between two plans as well: another machine than the one that applied has no copy of what was applied.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_exchanged_under_its_version_is_told_by_the_next_plan() {
    let served = Arc::new(Mutex::new(packed("a")));
    let url = repository(served.clone());
    let noted = async |place: &str| store(place).noted(None, &["istiod"], Some("1.0.0")).await.unwrap();
    let before = noted(&url).await;
    assert!(noted(&url).await.exchanged(&before).is_none());
    *served.lock().unwrap() = packed("b");
    let now = noted(&url).await;
    let told = now.exchanged(&before).unwrap().detail;
    let digest = |noted: &Noted| noted.digests["istiod 1.0.0"].clone();
    assert!(told.contains(&digest(&before)) && told.contains(&digest(&now)), "{told}");
    let elsewhere = Noted { place: "https://elsewhere".to_owned(), ..before };
    assert!(now.exchanged(&elsewhere).is_none(), "another place is another matter");
    // Who keeps charts in a folder may edit them.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let file = folder.path().join("istiod-1.0.0.tgz");
    std::fs::write(&file, packed("a")).unwrap();
    let before = noted(place).await;
    std::fs::write(&file, packed("b")).unwrap();
    assert!(noted(place).await.exchanged(&before).is_none());
}

/// A repository that does not answer makes nobody forget, and what nobody asks for any more is not remembered for ever.
#[tokio::test(flavor = "multi_thread")]
async fn of_charts_that_are_not_to_be_had_only_those_are_remembered_that_are_asked_for() {
    let place = "http://127.0.0.1:1/";
    let of = |digests: &[&str]| digests.iter().map(|chart| ((*chart).to_owned(), "d".to_owned())).collect();
    let before = |digests: &[&str]| Noted { place: place.to_owned(), digests: of(digests), ..Noted::default() };
    let kept = async |charts: Option<&Charts>, version: &str, known: &[&str]| {
        let mut now = store(place).noted(charts, &["istiod", "base"], Some(version)).await.unwrap();
        now.keep_unfetched(&before(known));
        now.digests.into_keys().collect::<Vec<_>>()
    };
    let all = ["base v1.0.0", "cni 1.0.0", "istiod 1.0.0", "istiod 0.9.0"];
    assert_eq!(kept(None, "1.0.0", &all).await, ["base v1.0.0", "istiod 1.0.0"]);
    assert_eq!(kept(None, "v0.9.0", &all).await, ["istiod 0.9.0"]);
    let digests = [("istiod", format!("sha256:{}", "0".repeat(64)))].into_iter().collect();
    let pinned = Charts { digests, ..Charts::default() };
    assert_eq!(kept(Some(&pinned), "1.0.0", &all).await, ["base v1.0.0"], "what is pinned cannot change");
}

/// A version that comes into a repository is taken by nobody unasked, be it the first plan or a later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_in_a_repository_changes_nothing() {
    let index = Arc::new(Mutex::new(INDEX.to_vec()));
    let url = serving(index.clone(), Arc::new(Mutex::new(packed("a"))));
    let of = async |version: Version<'_>| match store(&url).chart("istiod", None, version).await {
        Ok(chart) => chart.version().to_owned(),
        Err(Unavailable::Wrong(why) | Unavailable::Unreachable(why)) => why.detail,
    };
    let remembered = Version { asked: None, remembered: Some("1.0.0") };
    assert_eq!(of(remembered).await, "1.0.0");
    let newer = "entries: {istiod: [{name: istiod, version: 9.0.0, urls: [n.tgz]}, {name: istiod, version: 1.0.0, urls: [i.tgz]}]}";
    *index.lock().unwrap() = newer.as_bytes().to_vec();
    assert_eq!(of(remembered).await, "1.0.0");
    let told = of(Version::default()).await;
    assert!(told.contains(&format!("no version {DEFAULT_VERSION}")), "never the newest: {told}");
}

const INDEX: &[u8] = b"entries: {istiod: [{name: istiod, version: 1.0.0, urls: [i.tgz]}]}";

/// A repository of one chart, for as long as the test runs.
fn repository(served: Arc<Mutex<Vec<u8>>>) -> String {
    serving(Arc::new(Mutex::new(INDEX.to_vec())), served)
}

fn serving(index: Arc<Mutex<Vec<u8>>>, served: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or_default();
            let body = match String::from_utf8_lossy(&asked[..length]).contains("index.yaml") {
                true => index.lock().unwrap().clone(),
                false => served.lock().unwrap().clone(),
            };
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}
