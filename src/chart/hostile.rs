//! Documents, archives and templates whose authors mean harm, or an accident of the same size: each is an answer or an
//! error, in little time and memory.
//!
//! Run on the small stack of a tokio thread, as refreshes are.
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::tests::{METADATA, archive, render_files, render_one};
use super::*;

/// What a piece of work may take of a processor, in a debug build too. The time on the wall would count what else the
/// machine does.
const MOST_OF_A_PROCESSOR: Duration = Duration::from_secs(60);
/// And this is for what waits for ever, or where nobody says how long a thread was at work.
const MOST_ON_THE_WALL: Duration = Duration::from_secs(30 * 60);

thread_local! {
    /// That of the work which this thread does.
    static METER: RefCell<Arc<Mutex<Meter>>> = RefCell::default();
}

/// How long threads were at work.
#[derive(Default)]
struct Meter {
    /// Those that have ended.
    ended: Duration,
    /// Where the system says it of the others.
    at_work: Vec<PathBuf>,
}

impl Meter {
    fn spent(&self) -> Duration {
        self.at_work.iter().map(|thread| at_work(thread)).fold(self.ended, Duration::saturating_add)
    }
}

/// What the system says of a thread: nanoseconds at work come first. Nothing where it is not Linux.
fn at_work(thread: &Path) -> Duration {
    let told = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let nanoseconds = told.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// The same work, on another thread, with its time counted as that of this thread.
pub(super) fn metered<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let meter = METER.with_borrow(Arc::clone);
    move || {
        let thread = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap_or_default());
        meter.lock().unwrap().at_work.push(thread.clone());
        let value = work();
        let mut meter = meter.lock().unwrap();
        meter.at_work.retain(|other| *other != thread);
        meter.ended += at_work(&thread);
        value
    }
}

/// Has it done on a stack of 2 MiB, within a time that a debug build keeps too, however busy the machine is.
fn on_a_small_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let started = Instant::now();
    let meter = Arc::new(Mutex::new(Meter::default()));
    let (done, value) = mpsc::channel();
    let counted = meter.clone();
    let work = move || {
        METER.set(counted);
        let value = metered(work)();
        let _ = done.send(value);
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, work).unwrap();
        loop {
            match value.recv_timeout(Duration::from_secs(1)) {
                Ok(value) => {
                    let spent = meter.lock().unwrap().spent();
                    assert!(spent < MOST_OF_A_PROCESSOR, "{spent:?}");
                    return value;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let spent = meter.lock().unwrap().spent();
                    if spent > MOST_OF_A_PROCESSOR || started.elapsed() > MOST_ON_THE_WALL {
                        // Nobody can end the thread alone.
                        eprintln!("{:?} does not end: {spent:?}", std::thread::current().name());
                        std::process::abort();
                    }
                }
            }
        }
    })
}

#[test]
fn the_meter_counts_work_and_not_waiting() {
    if at_work(Path::new("/proc/thread-self")).is_zero() {
        return;
    }
    let spent = |work: fn()| {
        let meter = Arc::new(Mutex::new(Meter::default()));
        METER.set(meter.clone());
        let work = metered(work);
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
        meter.lock().unwrap().spent()
    };
    let waiting = spent(|| std::thread::sleep(Duration::from_millis(300)));
    assert!(waiting < Duration::from_millis(100), "{waiting:?}");
    let working = spent(|| while at_work(Path::new("/proc/thread-self")) < Duration::from_millis(100) {});
    assert!(working >= Duration::from_millis(100), "{working:?}");
}

fn refused(text: &str) -> String {
    on_a_small_stack(|| match Values::from_yaml(text) {
        Ok(_) => panic!("read: {}", &text[..text.len().min(200)]),
        Err(error) => error.to_string(),
    })
}

/// `a0` is 200 brackets deep, and each of the others 200 brackets round the one before.
fn deep_aliases(brackets: usize, anchors: usize) -> String {
    let mut text = format!("a0: &a0 {}1{}\n", "[".repeat(brackets), "]".repeat(brackets));
    for i in 1..anchors {
        text.push_str(&format!("a{i}: &a{i} {}*a{}{}\n", "[".repeat(brackets), i - 1, "]".repeat(brackets)));
    }
    text
}

#[test]
fn nesting_counts_through_aliases() {
    for (brackets, anchors) in [(245, 20), (100, 4), (1, 300)] {
        let error = refused(&deep_aliases(brackets, anchors));
        assert!(error.contains("max depth") && error.contains("line "), "{brackets} {anchors}: {error}");
    }
    // By way of merges, mappings and keys.
    let mut text = "a0: &a0 {x: 1}\n".to_owned();
    for i in 1..400 {
        text.push_str(&format!("a{i}: &a{i} {{<<: *a{}}}\n", i - 1));
    }
    let error = refused(&text);
    assert!(error.contains("max depth"), "{error}");
    let mut text = "a0: &a0 {x: 1}\n".to_owned();
    for i in 1..130 {
        text.push_str(&format!("a{i}: &a{i} {{k: [*a{}]}}\n", i - 1));
    }
    refused(&text);
    on_a_small_stack(|| assert!(Values::from_yaml(&deep_aliases(100, 2)).is_ok()));
}

#[test]
fn copies_by_alias_count_as_what_they_are_copies_of() {
    // 100 KB, a hundred thousand times over.
    let many = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(100_000));
    let keys: String = (0..50_000).map(|i| format!("  k{i}: *a\n")).collect();
    let keyed = format!("a: &a \"{}\"\nb:\n{keys}", "x".repeat(100_000));
    let merges = format!("a: &a {{k: \"{}\"}}\nb: [{}]\n", "x".repeat(100_000), "{<<: *a},".repeat(10_000));
    let as_keys = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), "{*a : 1},".repeat(10_000));
    for text in [many, keyed, merges, as_keys] {
        let error = refused(&text);
        assert!(error.contains("more memory than it may") && error.contains("line "), "{error}");
    }
    // Many small documents in one text have one budget together.
    let small: String = (0..20_000)
        .map(|i| format!("a: &a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nk{i}: [{}]\n---\n", "*a,".repeat(20)))
        .collect();
    on_a_small_stack(|| drop(Values::from_yaml(&small)));
    let parsed = |text: String| on_a_small_stack(move || yaml::parse(&text).unwrap_err().to_string());
    let tags: String = "!a!x 1,".repeat(50_000);
    let error = parsed(format!("%TAG !a! {}\n---\nb: [{tags}]\n", "x".repeat(50_000)));
    assert!(error.contains("more memory"), "{error}");
    let directives: String = (0..50_000).map(|i| format!("%TAG !a{i}! x\n")).collect();
    let error = parsed(format!("{directives}---\na: 1\n"));
    assert!(error.contains("too many %TAG"), "{error}");
}

#[test]
fn a_long_honest_document_is_read() {
    let text: String = (0..20_000).map(|i| format!("key{i}: {{a: {i}, b: [x, y]}}\n")).collect();
    assert_eq!(on_a_small_stack(|| Values::from_yaml(&text)).unwrap().as_map().len(), 20_000);
    let shared: String = (0..500).map(|i| format!("key{i}: *base\n")).collect();
    let text = format!("base: &base {{a: 1, b: [x, y]}}\n{shared}");
    assert_eq!(Values::from_yaml(&text).unwrap().as_map().len(), 501);
}

#[test]
fn no_document_comes_to_more_than_a_process_has() {
    for piece in ["[],", "{},", "{a},", "[[]],", "{a: {b: 1}},", "\"\","] {
        let text = format!("a: [{}]", piece.repeat((24 << 20) / piece.len()));
        let _ = on_a_small_stack(|| Values::from_yaml(&text));
    }
}

fn zeros(count: usize) -> Vec<u8> {
    vec![b'0'; count]
}

#[test]
fn packed_subcharts_share_the_room_of_the_whole() {
    let big = zeros(20 << 20);
    let subchart = archive(&[METADATA, ("c/big.txt", &big)]);
    let names: Vec<String> = (0..5).map(|i| format!("c/charts/s{i}.tgz")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![METADATA];
    entries.extend(names.iter().map(|name| (name.as_str(), subchart.as_slice())));
    let error = Chart::from_archive(&archive(&entries)).unwrap_err().to_string();
    assert!(error.contains("larger than the 64 MiB"), "{error}");
    assert!(Chart::from_archive(&archive(&entries[..3])).is_ok());
    // Deeper inside, and through an unpacked one.
    let inner = archive(&[METADATA, ("c/charts/s.tgz", &subchart), ("c/big.txt", &big), ("c/charts/t.tgz", &subchart)]);
    let outer = archive(&[METADATA, ("c/charts/u/Chart.yaml", METADATA.1), ("c/charts/u/charts/v.tgz", &inner)]);
    assert!(Chart::from_archive(&outer).is_ok());
    let outer = archive(&[METADATA, ("c/charts/a.tgz", &inner), ("c/charts/b.tgz", &subchart)]);
    assert!(Chart::from_archive(&outer).unwrap_err().to_string().contains("larger than the 64 MiB"));
    // Files without anything in them.
    let names: Vec<String> = (0..6000).map(|i| format!("c/f{i}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![METADATA];
    entries.extend(names.iter().map(|name| (name.as_str(), &b""[..])));
    let subchart = archive(&entries);
    let outer = archive(&[METADATA, ("c/charts/a.tgz", &subchart), ("c/charts/b.tgz", &subchart)]);
    assert!(Chart::from_archive(&outer).unwrap_err().to_string().contains("10000 files"));
}

/// Of a hostile template the words do not matter, only that there is an end; of a mistaken one they do.
fn ends(text: &str) -> Result<String, String> {
    on_a_small_stack(|| render_one(text, "").map_err(|error| error.to_string()))
}

#[test]
fn values_of_any_depth_are_made_and_dropped() {
    let templates = [
        "{{$l := list}}{{range until 1000}}{{range until 1000}}{{$l = list $l}}{{end}}{{end}}",
        "{{$l := dict}}{{range until 1000}}{{range until 300}}{{$l = dict \"a\" $l}}{{end}}{{end}}",
        "{{$l := dict}}{{range until 1000}}{{range until 300}}{{$m := dict}}{{$_ := set $m \"a\" $l}}{{$l = $m}}{{end}}{{end}}",
        "{{$l := list}}{{range until 1000}}{{range until 300}}{{$l = append (list) $l}}{{end}}{{end}}",
        "{{$l := list}}{{range until 1000}}{{range until 300}}{{$l = list (dict \"a\" $l)}}{{end}}{{end}}",
        "{{$l := list}}{{range until 1000}}{{range until 300}}{{$l = chunk 1 (list $l)}}{{end}}{{end}}",
    ];
    for text in templates {
        let _ = ends(text);
    }
    for walk in [
        "toYaml $l",
        "toJson $l",
        "print $l",
        "deepCopy $l",
        "has $l (list $l)",
        "uniq (list $l $l)",
        "eq $l $l",
        "quote $l",
    ] {
        let _ = ends(&format!("{}{{{{ {walk} }}}}", templates[4]));
    }
    let merge = "{{$a := dict}}{{$b := dict}}{{range until 1000}}{{range until 100}}{{$a = dict \"a\" $a}}{{$b = dict \"a\" $b}}{{end}}{{end}}{{ merge $a $b }}";
    let _ = ends(merge);
}

#[test]
fn frames_of_any_kind_are_counted_together() {
    let blocks =
        |kind: &str, inner: &str| format!("{}{inner}{}", format!("{{{{{kind}}}}}").repeat(290), "{{end}}".repeat(290));
    let parens = |inner: &str| format!("{}{inner}{}", "(".repeat(190), ")".repeat(190));
    for kind in ["if true", "with 1", "range (list 1)"] {
        for call in ["{{template \"x\" .}}".to_owned(), format!("{{{{ print {} }}}}", parens("include \"x\" ."))] {
            let text = format!("{{{{define \"x\"}}}}{}{{{{end}}}}{{{{template \"x\" .}}}}", blocks(kind, &call));
            let error = ends(&text).unwrap_err();
            assert!(error.contains("depth") || error.contains("nested reference"), "{error}");
        }
    }
    // Not by itself: `tpl` in what `tpl` renders.
    let text = format!(
        "{{{{ $_ := set .Values \"t\" {} }}}}{{{{ tpl .Values.t . }}}}",
        crate::chart::print::quote(&blocks("if true", "{{ tpl .Values.t . }}"))
    );
    let _ = ends(&text).unwrap_err();
    let names: String = (0..400)
        .map(|i| {
            format!(
                "{{{{define \"x{i}\"}}}}{}{{{{end}}}}",
                blocks("if true", &format!("{{{{include \"x{}\" .}}}}", (i + 1) % 400))
            )
        })
        .collect();
    let _ = ends(&format!("{names}{{{{include \"x0\" .}}}}")).unwrap_err();
}

#[test]
fn a_template_that_renders_itself_ends_with_its_place() {
    for behind in [0, 20_000, 2_000_000] {
        let text = format!("{{{{ tpl .Values.t . }}}}{}", "x".repeat(behind));
        let values = serde_json::json!({ "t": text }).to_string();
        let error = on_a_small_stack(|| render_one("{{ tpl .Values.t . }}", &values)).unwrap_err().to_string();
        assert!(error.contains("rendering was given up") || error.contains("template depth"), "{:.400}", error);
        assert!(error.len() < 8 << 20, "{behind}: {} bytes", error.len());
    }
}

#[test]
fn nothing_makes_more_than_there_is_room_for() {
    let doubled = "{{$l := list 1}}{{range until 60}}{{$l = list $l $l}}{{end}}";
    let doubled_map = "{{$l := dict}}{{range until 60}}{{$l = dict \"a\" $l \"b\" $l}}{{end}}";
    for (shared, walks) in [(doubled, 33), (doubled_map, 6)] {
        let all = [
            "toYaml $l",
            "toJson $l",
            "toPrettyJson $l",
            "toRawJson $l",
            "print $l",
            "printf \"%v\" $l",
            "deepCopy $l",
            "has $l (list (deepCopy $l))",
            "uniq (list $l $l)",
            "without (list $l) $l",
            "quote $l",
            "squote $l",
            "cat $l",
            "toString $l",
            "join \",\" $l",
            "eq $l $l",
            "println $l",
            "html $l",
            "js $l",
            "urlquery $l",
            "toStrings $l",
            "sortAlpha $l",
            "printf \"%q\" $l",
            "printf \"%s\" $l",
            "printf \"%x\" $l",
            "printf \"%d\" $l",
            "merge (dict) (dict \"a\" $l)",
            "mergeOverwrite (deepCopy (dict \"a\" 1)) (dict \"a\" $l)",
            "$l",
        ];
        for walk in all.iter().take(walks) {
            let _ = ends(&format!("{shared}{{{{ {walk} }}}}"));
        }
    }
    for text in [
        "{{range until 100000}}{{$_ := repeat 1000000 \"x\"}}{{end}}",
        "{{$l := list}}{{range until 100000}}{{$l = append $l (repeat 1000000 \"x\")}}{{end}}",
        "{{range $i := until 100000}}{{$_ := set $.Values (toString $i) (repeat 1000000 \"x\")}}{{end}}",
        "{{printf \"%999999999d\" 1}}",
        "{{printf \"%.999999999f\" 1.0}}",
        "{{printf \"%*d\" 999999999 1}}",
        "{{range until 1000000}}{{$_ := until 1000000}}{{end}}",
        "{{seq 1 999999999}}",
        "{{range until 1000}}{{$_ := seq 900000}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = print $s $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = printf \"%s%s\" $s $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = cat $s $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = join $s (list $s $s)}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = replace \"x\" $s $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = regexReplaceAll \"x\" $s \"$0$0\"}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = regexReplaceAllLiteral \"x\" $s $s}}{{end}}",
        "{{$s := \"\\\"\"}}{{range until 64}}{{$s = quote $s}}{{end}}",
        "{{$s := \"\\\"\"}}{{range until 64}}{{$s = toJson $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 1000}}{{$s = b64enc $s}}{{end}}",
        "{{$s := \"%\"}}{{range until 64}}{{$s = urlquery $s}}{{end}}",
        "{{$s := \"<\"}}{{range until 64}}{{$s = html $s}}{{end}}",
        "{{$s := \"<\"}}{{range until 64}}{{$s = js $s}}{{end}}",
        "{{$s := \"a.\"}}{{range until 64}}{{$s = regexQuoteMeta $s}}{{end}}",
        "{{$s := \"x\"}}{{range until 64}}{{$s = wrapWith 1 $s (print $s $s)}}{{end}}",
        "{{$s := \"x\\n\"}}{{range until 64}}{{$s = indent 1000 (print $s $s)}}{{end}}",
        "{{$l := list 1}}{{range until 64}}{{$l = concat $l $l}}{{end}}",
        "{{$l := list 1}}{{range until 64}}{{$l = concat $l $l}}{{$_ := reverse $l}}{{end}}",
        "{{$l := until 1000000}}{{range until 1000000}}{{$_ := append $l 1}}{{end}}",
        "{{$l := until 1000000}}{{range until 1000000}}{{$_ := has -1 $l}}{{end}}",
        "{{$l := until 100000}}{{$_ := uniq $l}}",
        "{{$l := until 100000}}{{$_ := without $l $l}}",
        "{{$l := until 1000000}}{{range until 1000000}}{{$_ := rest $l}}{{end}}",
        "{{$l := until 1000000}}{{range until 1000000}}{{$_ := slice $l 1}}{{end}}",
        "{{$l := until 1000000}}{{range until 1000000}}{{$_ := toStrings $l}}{{end}}",
        "{{$d := dict}}{{range until 100000}}{{$_ := set $d (toString .) 1}}{{end}}{{range until 100000}}{{$_ := keys $d}}{{end}}",
        "{{$d := dict}}{{range until 100000}}{{$_ := set $d (toString .) 1}}{{end}}{{range until 100000}}{{$_ := omit $d \"1\"}}{{end}}",
        "{{$d := dict}}{{range until 100000}}{{$_ := set $d (toString .) 1}}{{end}}{{range until 100000}}{{range $d}}{{break}}{{end}}{{end}}",
        "{{$d := dict}}{{range until 100000}}{{$_ := set $d (toString .) 1}}{{end}}{{range until 100000}}{{$_ := merge (dict) $d}}{{end}}",
        "{{range until 100000}}{{$_ := regexMatch \"(((a{100}){100}){10})\" \"x\"}}{{end}}",
        "{{range until 100000}}{{$_ := regexMatch \"[^\\\\pL]{500}\" \"x\"}}{{end}}",
        "{{$t := repeat 100000 \"{{if true}}x{{end}}\"}}{{range until 1000}}{{$_ := tpl $t .}}{{end}}",
        "{{$t := repeat 1000 \"{{define \\\"x\\\"}}y{{end}}\"}}{{range until 100000}}{{$_ := tpl $t .}}{{end}}",
        "{{range until 1000000}}{{$_ := fromYaml \"a: [1,2,3,4,5,6,7,8,9,{a: 1}]\"}}{{end}}",
        "{{$j := printf \"[%s0]\" (repeat 1000000 \"{\\\"a\\\":0},\")}}{{range until 100}}{{$_ := fromJsonArray $j}}{{end}}",
        "{{$y := printf \"a: &a [%s0]\\nb: [%s0]\" (repeat 1000 \"0,\") (repeat 100000 \"*a,\")}}{{$_ := fromYaml $y}}",
        "{{range until 1000}}{{range until 1000}}{{$_ := semverCompare (repeat 1000 \"1.0 || \") \"1.0.0\"}}{{end}}{{end}}",
        "{{range until 1000000}}{{$_ := sha512sum (repeat 1000000 \"x\")}}{{end}}",
        "{{$n := 1000000}}{{range until 1000000}}{{$_ := splitList \"\" (repeat 1000000 \"x\")}}{{end}}",
        "{{$n := 1000000}}{{range until 1000000}}{{$_ := split \"\" (repeat 1000000 \"x\")}}{{end}}",
        "{{$f := .Files}}{{range until 1000000}}{{$_ := $f.Lines \"big.txt\"}}{{end}}",
        "{{abbrev 1000000000 \"x\"}}{{substr 0 100000000 \"x\"}}",
    ] {
        let _ = ends(text);
    }
}

#[test]
fn patterns_match_in_the_time_they_take_to_read() {
    let name = "a".repeat(200);
    let long = format!("{}b", "a".repeat(60_000));
    let stars = "*a".repeat(100);
    let choices = "{a,aa,aaa}".repeat(40);
    let double = "**/".repeat(50);
    let deep_name = "a/".repeat(200);
    for (pattern, file) in [
        (format!("{stars}b"), name.clone()),
        (format!("{choices}b"), name.clone()),
        (format!("{double}b"), deep_name.clone()),
        ("*".repeat(60_000) + "c", long.clone()),
        ("?".repeat(60_000) + "c", long.clone()),
        (long.clone() + "c", long.clone()),
        ("{a,b}".repeat(10_000), long.clone()),
        ("[a-z]".repeat(10_000), long.clone()),
    ] {
        on_a_small_stack(|| assert!(!glob_matches(&pattern, &file), "{}", &pattern[..20]));
    }
    let files = [
        ("templates/a.yaml", "{{range until 100000}}{{$_ := $.Files.Glob \"**a**a**a**a**b\"}}{{end}}"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""),
    ];
    let _ = on_a_small_stack(|| render_files(&files, ""));
}

#[test]
fn schemas_end() {
    // Each refers twice to the next.
    let definitions: Vec<String> = (0..60)
        .map(|i| {
            format!(
                "\"d{i}\":{{\"allOf\":[{{\"$ref\":\"#/definitions/d{}\"}},{{\"$ref\":\"#/definitions/d{}\"}}]}}",
                i + 1,
                i + 1
            )
        })
        .collect();
    let doubling =
        format!("{{\"$ref\":\"#/definitions/d0\",\"definitions\":{{{},\"d60\":{{}}}}}}", definitions.join(","));
    let failing = doubling.replace("\"d60\":{}", "\"d60\":false");
    let itself = "{\"$ref\":\"#\"}".to_owned();
    let twice = "{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}".to_owned();
    let patterns = format!(
        "{{\"patternProperties\":{{{}}}}}",
        (0..2000).map(|i| format!("\"(a{{{i}}}){{1,50}}\":{{}}")).collect::<Vec<_>>().join(",")
    );
    let objects = format!("{{\"enum\":[{}0]}}", "{\"a\":0},".repeat(500_000));
    for schema in [doubling, failing, itself, twice, patterns, objects] {
        let files = [("values.schema.json", schema.as_str()), ("templates/a.yaml", "a: 1")];
        let _ = on_a_small_stack(|| render_files(&files, "a: 1"));
    }
    let unique = "{\"properties\":{\"l\":{\"uniqueItems\":true}}}";
    let values = format!("l: [{}]", (0..30_000).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let _ = on_a_small_stack(|| render_files(&[("values.schema.json", unique), ("templates/a.yaml", "a: 1")], &values));
}
