//! The command line of the lab.

use std::process::ExitCode;

use lab::tools;

const USAGE: &str = "usage: lab tools          build what is missing and print where each tool is";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["tools"] => print_tools(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_tools() -> Result<(), Box<dyn std::error::Error>> {
    tools::ensure(&tools::all())?;
    for tool in tools::all() {
        println!("{:20} {}", format!("{tool:?}"), tools::path(tool)?.display());
    }
    for istio in [tools::Istio::Current, tools::Istio::Old] {
        println!("{:20} {}", format!("charts {}", istio.version()), tools::charts(istio)?.dir().display());
    }
    Ok(())
}
