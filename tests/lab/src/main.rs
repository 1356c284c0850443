//! The command line of the lab.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lab::tools::Tool;
use lab::{Fault, daemon, describe, tools};

const USAGE: &str = "\
usage: lab COMMAND [--dir DIR]

  up NAME... [--proxies] start clusters of these names and print their kubeconfigs; with real proxies
                         in injected pods and gateways, so that calls can be made. --with TOOL[,TOOL]
                         builds these as well
  status                 what runs, and how much memory it takes
  down                   end it
  kubectl NAME ARGS...   run kubectl against a cluster
  requests [--list]      requests by cluster, user agent and verb; or one line each
  fault NAME WHAT        let something go wrong: stopped, frozen, unreachable, tokens-expired, cut,
                         slow=SECONDS, status=CODE; each may be followed by
                         --times N, --agent PREFIX, --request TEXT
  proxies                say whether this machine lets proxies run, and why not
  call FROM TO           call a Service of the cluster TO from a pod of FROM, and say who answered
  clear NAME             end a cluster's faults
  destroy NAME           end a cluster for good
  tools [NAME...]        build what is missing and print where each tool is; `charts` are Istio's";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let dir = take_option(&mut args, "--dir").map_or_else(daemon::default_dir, PathBuf::from);
    let proxies = take_flag(&mut args, "--proxies");
    let with = take_option(&mut args, "--with").unwrap_or_default();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["tools", names @ ..] => print_tools(names),
        ["up", names @ ..] if !names.is_empty() => up(&dir, names, proxies, &with),
        ["serve", names @ ..] => daemon::serve(&dir, names, proxies).map_err(Into::into),
        ["status"] => print_status(&dir),
        ["down"] => daemon::down(&dir).map_err(Into::into),
        ["kubectl", cluster, args @ ..] => {
            daemon::kubectl(&dir, cluster, args).map(|text| print!("{text}")).map_err(Into::into)
        }
        ["requests", options @ ..] => print_requests(&dir, options.contains(&"--list")),
        ["fault", cluster, what, options @ ..] => fault(&dir, cluster, what, options),
        ["proxies"] => lab::proxies_possible().map(drop).map_err(Into::into),
        ["call", from, to] => call(&dir, from, to),
        ["clear", cluster] => daemon::clear_faults(&dir, cluster).map(drop).map_err(Into::into),
        ["destroy", cluster] => daemon::destroy(&dir, cluster).map(drop).map_err(Into::into),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn up(dir: &Path, names: &[&str], proxies: bool, with: &str) -> Result {
    let named = |name: &str| {
        let tool = tools::all().into_iter().find(|tool| format!("{tool:?}").eq_ignore_ascii_case(name));
        tool.ok_or_else(|| format!("no tool is called {name:?}; `lab tools` lists them"))
    };
    let with: Vec<Tool> =
        with.split(',').filter(|name| !name.is_empty()).map(named).collect::<std::result::Result<_, _>>()?;
    let status = daemon::up(dir, names, proxies, &with)?;
    eprintln!("lab: {} clusters, ready in {} s", status.clusters.len(), status.seconds_to_ready);
    for cluster in &status.clusters {
        println!("{:12} {}", cluster.name, cluster.kubeconfig.display());
    }
    println!("{:12} {}", "all", status.kubeconfig.display());
    Ok(())
}

fn print_status(dir: &Path) -> Result {
    let status = daemon::status(dir)?;
    println!("running as process {}, ready in {} s", status.pid, status.seconds_to_ready);
    for cluster in &status.clusters {
        println!("{:12} {}  {}", cluster.name, cluster.server, cluster.kubeconfig.display());
    }
    println!("{}", daemon::memory(dir)?);
    Ok(())
}

fn print_requests(dir: &Path, list: bool) -> Result {
    for (cluster, requests) in daemon::requests(dir)? {
        if list {
            requests.listing().lines().for_each(|line| println!("{cluster} {line}"));
            continue;
        }
        println!("{cluster}: {} requests", requests.len());
        for ((agent, verb), count) in requests.counts() {
            println!("  {count:6}  {verb:10} {agent}");
        }
    }
    Ok(())
}

fn fault(dir: &Path, cluster: &str, what: &str, options: &[&str]) -> Result {
    let (kind, value) = what.split_once('=').unwrap_or((what, ""));
    let mut fault = match kind {
        "stopped" => Fault::stopped(),
        "frozen" => Fault::frozen(),
        "unreachable" => Fault::unreachable(),
        "tokens-expired" => Fault::tokens_expired(),
        "cut" => Fault::cut(),
        "slow" => Fault::slow(Duration::try_from_secs_f64(value.parse()?)?),
        "status" => Fault::status(value.parse()?),
        _ => return Err(format!("no fault is called {kind:?}; `lab` lists them").into()),
    };
    for pair in options.chunks(2) {
        fault = match pair {
            ["--times", times] => fault.times(times.parse()?),
            ["--agent", prefix] => fault.for_agent(prefix),
            ["--request", text] => fault.for_request(text),
            _ => return Err(format!("no option is called {:?}; `lab` lists them", pair[0]).into()),
        };
    }
    daemon::fault(dir, cluster, fault)?;
    Ok(())
}

fn print_tools(names: &[&str]) -> Result {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    let tools: Vec<_> = tools::all().into_iter().filter(|tool| wanted(&format!("{tool:?}"))).collect();
    tools::ensure(&tools)?;
    for tool in tools {
        println!("{:20} {}", format!("{tool:?}"), tools::path(tool)?.display());
    }
    for istio in [tools::Istio::Current, tools::Istio::Old] {
        if wanted("charts") {
            println!("{:20} {}", format!("charts {}", istio.version()), tools::charts(istio)?.dir().display());
        }
    }
    Ok(())
}

fn call(dir: &Path, from: &str, to: &str) -> Result {
    let answer = daemon::call(dir, from, to)?;
    let unknown = || "nobody".to_owned();
    println!("status       {} after {} ms", answer.status, answer.millis);
    println!("answered by  {}", answer.by.unwrap_or_else(unknown));
    println!("reached at   {}", answer.endpoint.unwrap_or_else(unknown));
    println!("it showed    {}", answer.server.unwrap_or_else(unknown));
    println!("issued by    {}", answer.issuer.unwrap_or_else(unknown));
    println!("it was shown {}", answer.client.unwrap_or_else(unknown));
    match answer.status {
        200 => Ok(()),
        _ => Err(format!("the call did not arrive: {}", answer.body.trim()).into()),
    }
}

fn take_flag(args: &mut Vec<String>, name: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != name);
    args.len() < before
}

fn take_option(args: &mut Vec<String>, name: &str) -> Option<String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.remove(at);
    (at < args.len()).then(|| args.remove(at))
}
