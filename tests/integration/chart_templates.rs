//! Small templates held against Go's own text/template with sprig: outputs, messages, places.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use lab::tools::{self, Tool};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::chart::{Capabilities, Chart, Release, Values, template};

#[test]
fn small_templates_render_as_go_renders_them() {
    let go = match tools::path(Tool::Gotmpl) {
        Ok(path) => path,
        Err(error) if std::env::var_os("CI").is_some() => panic!("gotmpl is needed: {error}"),
        Err(error) => return println!("skipped, for want of gotmpl: {error}"),
    };
    let values = json!({
        "s": "text", "n": 3, "f": 1.5, "b": true, "nil": null, "l": [1, 2, 3], "sl": ["a", "b"], "el": [], "es": "",
        "zero": 0, "m": {"a": "x", "b": 2}, "e": {}, "mm": {"x": {"y": "deep"}}, "big": 12_345_678_901_i64,
    });
    let cases: Vec<&str> = include_str!("../fixtures/templates.txt").trim_end().split("\n=====\n").collect();
    let input: String = cases
        .iter()
        .map(|case| {
            let data = json!({ "Values": values });
            format!("{}\n", json!({ "template": case, "data": data, "sprig": true, "missingkey": "zero" }))
        })
        .collect();
    let mut child = Command::new(go).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers: Vec<Json> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len());
    let mut differences = Vec::new();
    for (case, theirs) in cases.iter().zip(&answers) {
        let ours = ours(case, &values);
        let alike = match (&ours, theirs["output"].as_str()) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(ours), None) => names_the_same(ours, theirs["error"].as_str().unwrap()),
            _ => false,
        };
        if !alike {
            differences.push(format!("{case}\n  go:   {theirs}\n  ours: {ours:?}"));
        }
    }
    println!("{} of {} alike", cases.len() - differences.len(), cases.len());
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The template's output, by way of a chart that includes it.
fn ours(case: &str, values: &Json) -> Result<String, String> {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("templates/_case", case),
        ("templates/out.yaml", "# json {{ include \"c/templates/_case\" (dict \"Values\" .Values) | toJson }}\n"),
    ];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let release = Release { name: "x".into(), namespace: "n".into(), is_upgrade: false };
    let values = Values::from(values.as_object().unwrap().clone());
    let text = Chart::from_files(files.collect::<BTreeMap<_, _>>())
        .and_then(|chart| template(&chart, &release, &values, &Capabilities::default()))
        .map_err(|error| error.to_string())?;
    let json = text.lines().find_map(|line| line.strip_prefix("# json ")).unwrap();
    Ok(serde_json::from_str(json).unwrap())
}

/// Helm words Go's messages anew; place, node and message stay.
fn names_the_same(ours: &str, theirs: &str) -> bool {
    let rest = theirs.strip_prefix("template: case").unwrap();
    match rest.split_once(": executing \"case\" at <") {
        Some((_, after)) if after.starts_with("fail ") => ours.ends_with("on purpose"),
        Some((place, after)) => {
            let (node, message) = after.split_once(">: ").unwrap();
            ours.contains(&format!("_case{place}")) && ours.contains(&format!("at <{node}>:")) && ours.contains(message)
        }
        None => {
            let (place, message) = rest[1..].split_once(": ").unwrap();
            ours.contains(&format!("_case:{place})")) && ours.ends_with(message.rsplit(": ").next().unwrap())
        }
    }
}
