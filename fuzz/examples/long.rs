//! Runs one target for as long as asked, on seeds from files.
//!
//! Usage: `cargo run --release -p fuzz --example long -- TARGET ROUNDS START FILE…`; the same numbers give the same inputs.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds, start, files @ ..] = arguments.as_slice() else {
        return Err("usage: long TARGET ROUNDS START FILE…".into());
    };
    let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.0).collect();
    let target = fuzz::TARGETS.iter().find(|target| target.0 == name);
    let target = target.ok_or_else(|| format!("targets: {}", names.join(", ")))?.1;
    let seeds = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    fuzz::mutate::run_from(target, &seeds, rounds.parse()?, start.parse()?);
    Ok(())
}
