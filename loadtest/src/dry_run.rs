//! `--dry-run`: what a run would do, without a connection.

use crate::args::Arguments;
use crate::environment;
use crate::measured;
use crate::plan::Plan;
use crate::tls;

/// Prints the plan, this host and what may spoil the run.
///
/// # Errors
/// Everything that is missing for the run, and how to mend it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let scenario = &arguments.scenario;
    let (plan, host) = Plan::for_this_host(scenario.common(), scenario.bytes_in_flight())?;
    tls::config(scenario.common())?;
    for (index, target) in scenario.common().url.iter().enumerate() {
        let name = if index == 0 { "target" } else { "" };
        println!("{name:<12} {target} at {}", target.address);
    }
    if let Some(rooms) = measured::rooms(scenario) {
        println!("rooms        {rooms}");
    }
    println!("{}", plan.describe(&host));
    let environment = environment::read();
    println!("\nhost         {}, Linux {}", environment.host, environment.kernel);
    let gib = environment.memory_bytes as f64 / f64::from(1 << 30);
    println!("hardware     {} × {}, {gib:.1} GiB", environment.cpus, environment.cpu);
    for (name, value) in &environment.settings {
        println!("  {name} = {value}");
    }
    plan.warnings.iter().for_each(|warning| println!("\nwarning: {warning}"));
    println!("\nready; nothing was connected");
    Ok(())
}
