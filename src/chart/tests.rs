use super::*;
use std::collections::BTreeMap;
use std::io::Write as _;

pub(super) fn render_one(text: &str, values: &str) -> Result<String, Error> {
    render_files(&[("templates/a.yaml", text)], values)
}

pub(super) fn render_files(files: &[(&str, &str)], values: &str) -> Result<String, Error> {
    let chart = ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().chain([&chart]).map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    template(&Chart::from_files(files)?, &release(), &merge_values([values])?, &Capabilities::default())
}

fn release() -> Release {
    Release { name: "x".to_owned(), namespace: "n".to_owned(), is_upgrade: false }
}

pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        // `set_path` refuses what these tests are about.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

pub(super) const METADATA: (&str, &[u8]) = ("c/Chart.yaml", b"apiVersion: v2\nname: c\nversion: 1.0.0\n");

#[test]
fn an_archive_that_leads_outside_is_refused() {
    for (name, why) in [
        ("c/../../etc/passwd", "references parent directory"),
        ("../c/values.yaml", "references parent directory"),
        ("c//etc/passwd", "absolute paths"),
        ("/c/values.yaml", "absolute paths"),
        ("c\\..\\x", "references parent directory"),
        ("c/c:/x", "illegally named"),
        ("loose", "outside the base directory"),
    ] {
        let error = Chart::from_archive(&archive(&[METADATA, (name, b"x")])).unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
}

#[test]
fn a_damaged_archive_is_refused_wherever_it_is_cut() {
    let whole = archive(&[METADATA, ("c/templates/a.yaml", b"kind: A\n")]);
    assert!(Chart::from_archive(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(Chart::from_archive(&whole[..length]).is_err(), "cut at {length} of {}", whole.len());
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    assert!(Chart::from_archive(&flipped).is_err(), "the checksum is wrong");
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let mut header = tar::Header::new_ustar();
    header.set_path("c/bomb").unwrap();
    header.set_size(200 << 20);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    gzip.write_all(&vec![0; 1 << 20]).unwrap();
    let error = Chart::from_archive(&gzip.finish().unwrap()).unwrap_err().to_string();
    assert!(error.contains("larger than the 64 MiB"), "{error}");
}

#[test]
fn a_template_that_never_ends_is_given_up() {
    for (text, why) in [
        ("{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ include \"r\" . }}", "nested reference name"),
        ("{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}", "maximum template depth"),
        (
            "{{ define \"r\" }}{{ tpl \"{{ include \\\"r\\\" . }}\" . }}{{ end }}{{ include \"r\" . }}",
            "nested reference",
        ),
        ("{{ range until 9000 }}{{ range until 9000 }}{{ end }}{{ end }}", "was given up"),
        ("{{ range until 9000000000 }}{{ end }}", "more items than is allowed"),
        ("{{ repeat 999999999 \"x\" }}", "more than is allowed"),
        ("{{ range until 100000 }}{{ repeat 100000 \"x\" }}{{ end }}", "make too much"),
        ("{{ $m := dict }}{{ $_ := set $m \"m\" $m }}{{ mustToJson $m }}", "encountered a cycle"),
    ] {
        let error = render_one(text, "").unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_map_that_contains_itself_prints_and_is_freed() {
    let text =
        render_one("{{ $_ := set . \"self\" . }}{{ $m := dict }}{{ $_ := set $m \"m\" $m }}# {{ len (print $m) }}", "");
    assert!(text.is_ok());
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..9 {
        text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(",")));
    }
    let error = Values::from_yaml(&text).unwrap_err().to_string();
    assert!(error.contains("document contains excessive aliasing"), "{error}");
    let error = Values::from_yaml("a: &a [*a]").unwrap_err().to_string();
    assert!(error.contains("value contains itself"), "{error}");
}

#[test]
fn deep_documents_are_refused_without_a_crash() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert!(Values::from_yaml(&text).is_err());
    }
}

#[test]
fn a_null_removes_a_default_and_later_documents_win() {
    let files = [("values.yaml", "a: {b: 1, c: 2}\nd: 3\ne: null\n"), ("templates/a.yaml", "# {{ toJson .Values }}")];
    let text = render_files(&files, "a: {b: null, x: null}\nd: null\n").unwrap();
    assert!(text.ends_with("# {\"a\":{\"c\":2,\"x\":null}}\n"), "{text}");
    let values = merge_values(["a: {b: 1}\nl: [1]", "a: {c: 2}\nl: [2]\n---\na: {b: null}"]).unwrap();
    let expected = serde_json::json!({"a": {"b": null, "c": 2}, "l": [2]});
    assert_eq!(serde_json::Value::Object(values.into_map()), expected);
}

#[test]
fn assignments_are_read_as_helm_reads_them() {
    let mut values = Values::default();
    values.set(r"a.b=1,c={x,2,true},d[1].e=null,f=007,g\.h=a\,b,i=").unwrap();
    values.set_string("n=1").unwrap();
    let expected = serde_json::json!({
        "a": {"b": 1}, "c": ["x", 2, true], "d": [null, {"e": null}], "f": "007", "g.h": "a,b", "i": "", "n": "1",
    });
    assert_eq!(serde_json::Value::Object(values.clone().into_map()), expected);
    for wrong in ["a", "a[x]=1", "a[99999]=1", "a={x", "a.b.c=1"] {
        assert!(values.clone().set(wrong).is_err(), "{wrong}");
    }
    let files = [("templates/a.yaml", "# {{ typeOf .Values.a }} {{ .Values.a }}")];
    let files: BTreeMap<String, Vec<u8>> = files
        .iter()
        .chain([&("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")])
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect();
    let mut values = Values::default();
    values.set("a=1000000").unwrap();
    let text = template(&Chart::from_files(files).unwrap(), &release(), &values, &Capabilities::default()).unwrap();
    assert!(text.ends_with("# int64 1000000\n"), "{text}");
}

#[test]
fn a_subchart_sees_its_own_values_and_the_globals() {
    let files = [
        ("values.yaml", "sub: {a: 1}\nglobal: {g: 2}\n"),
        ("templates/a.yaml", "# {{ .Values.sub.b }} {{ include \"from-sub\" . }}"),
        ("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"),
        ("charts/sub/values.yaml", "a: 0\nb: 5\n"),
        ("charts/sub/templates/_h.tpl", "{{ define \"from-sub\" }}shared{{ end }}"),
        ("charts/sub/templates/s.yaml", "# {{ .Values.a }} {{ .Values.b }} {{ .Values.global.g }} {{ .Chart.Name }}"),
    ];
    let text = render_files(&files, "").unwrap();
    assert!(text.contains("# Source: c/charts/sub/templates/s.yaml\n# 1 5 2 sub\n"), "{text}");
    assert!(text.contains("# 5 shared\n"), "{text}");
}

#[test]
fn a_chart_for_another_kubernetes_is_refused() {
    let chart = "apiVersion: v2\nname: c\nversion: 1.0.0\nkubeVersion: '>=1.40.0'\n";
    let files = BTreeMap::from([("Chart.yaml".to_owned(), chart.as_bytes().to_vec())]);
    let error = render(&Chart::from_files(files).unwrap(), &release(), &Values::default(), &Capabilities::default());
    assert!(matches!(error, Err(Error::KubeVersion { .. })));
}

#[test]
fn hooks_come_last_and_are_marked() {
    let hook = "kind: Job\nmetadata:\n  name: h\n  annotations: {helm.sh/hook: 'pre-install, test'}\n---\nkind: Zzz\n---\nkind: Service\n";
    let files = BTreeMap::from([
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: c\nversion: 1.0.0\n".to_vec()),
        ("templates/a.yaml".to_owned(), hook.as_bytes().to_vec()),
    ]);
    let chart = Chart::from_files(files).unwrap();
    let manifests = render(&chart, &release(), &Values::default(), &Capabilities::default()).unwrap();
    let kinds: Vec<_> = manifests.iter().map(|m| m.object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Service", "Zzz", "Job"]);
    assert_eq!(manifests[2].hooks, ["pre-install", "test"]);
}

#[test]
fn values_turn_the_subcharts_off_that_the_chart_lists() {
    const LIST: &str = "apiVersion: v2\nname: c\nversion: 1.0.0\ndependencies:\n- {name: sub, condition: 'sub.first,sub.enabled'}\n- {name: other, tags: [front, back]}\n";
    const INNER: &str =
        "apiVersion: v2\nname: sub\nversion: 1.0.0\ndependencies: [{name: deep, condition: deep.enabled}]\n";
    let files = |list: &str| -> BTreeMap<String, Vec<u8>> {
        let files = [
            ("Chart.yaml", list),
            ("templates/a.yaml", "# has {{ range .Chart.Dependencies }}{{ .Name }} {{ .Enabled }} {{ end }}"),
            ("charts/sub/Chart.yaml", INNER),
            ("charts/sub/values.yaml", "enabled: true\n"),
            ("charts/sub/templates/s.yaml", "# sub here"),
            ("charts/sub/charts/deep/Chart.yaml", "apiVersion: v2\nname: deep\nversion: 1.0.0\n"),
            ("charts/sub/charts/deep/templates/s.yaml", "# deep here"),
            ("charts/other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n"),
            ("charts/other/templates/s.yaml", "# other here"),
        ];
        files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
    };
    let rendered = |list: &str, values: &str| -> Result<String, Error> {
        let values = merge_values([values])?;
        template(&Chart::from_files(files(list))?, &release(), &values, &Capabilities::default())
    };
    for (values, wanted) in [
        ("", "sub deep other"),
        ("sub: {enabled: false}", "other"),
        ("sub: {first: 'no', enabled: false}", "other"),
        ("sub: {first: true, enabled: false}", "sub deep other"),
        ("sub: {deep: {enabled: false}}", "sub other"),
        ("tags: {front: false}", "sub deep"),
        ("tags: {front: false, back: true}", "sub deep other"),
        ("tags: {front: 'no'}\nsub: {enabled: false}", "other"),
    ] {
        let text = rendered(LIST, values).unwrap();
        let found: Vec<&str> =
            ["sub", "deep", "other"].into_iter().filter(|name| text.contains(&format!("# {name} here"))).collect();
        assert_eq!(found.join(" "), wanted, "{values}: {text}");
        let listed = wanted.split(' ').filter(|name| *name != "deep").map(|name| format!("{name} true "));
        assert!(text.contains(&format!("# has {}", listed.collect::<String>().trim_end())), "{values}: {text}");
    }
    for (entry, why) in [
        ("{name: gone}", "found in Chart.yaml, but missing in charts/ directory: gone"),
        ("{name: sub, alias: again}", "lists sub with `alias`, which is not supported here"),
        ("{name: sub, import-values: [data]}", "lists sub with `import-values`, which is not supported here"),
    ] {
        let error = rendered(&format!("apiVersion: v2\nname: c\nversion: 1.0.0\ndependencies: [{entry}]\n"), "");
        assert!(error.unwrap_err().to_string().contains(why), "{entry}");
    }
}

#[test]
fn bytes_that_are_no_text_are_never_replaced() {
    let rendered = |text: &str| {
        let files = [
            ("Chart.yaml", b"apiVersion: v2\nname: c\nversion: 1.0.0\n".as_slice()),
            ("x.wasm", b"\0asm\xff\xfe"),
            ("templates/a.yaml", text.as_bytes()),
        ];
        let files = files.map(|(name, content)| (name.to_owned(), content.to_vec())).into();
        template(&Chart::from_files(files).unwrap(), &release(), &Values::default(), &Capabilities::default())
    };
    for text in [
        r#"# {{ .Files.Get "x.wasm" | b64enc }}"#,
        r#"# {{ .Files.Lines "x.wasm" }}"#,
        r#"{{ (.Files.Glob "*.wasm").AsConfig }}"#,
    ] {
        let error = rendered(text).unwrap_err().to_string();
        assert!(error.contains("x.wasm is not UTF-8 text: use .Files.AsSecrets"), "{error}");
    }
    assert!(rendered(r#"{{ (.Files.Glob "*.wasm").AsSecrets }}"#).unwrap().contains("x.wasm: AGFzbf/+"));
    let error = rendered(r#"# {{ "AGFzbf/+" | b64dec }}"#).unwrap_err().to_string();
    assert!(error.contains("the decoded text is not UTF-8, which is not supported here"), "{error}");
}
