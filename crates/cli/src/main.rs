//! `squall`: rehearse a service mesh before it is deployed. Talks to people: arguments and files in; text, result files and
//! exit codes out. Everything it reports is decided in the crates below.

mod args;
mod check;
mod compare;
mod control;
mod disk;
mod draft;
mod ending;
mod exit;
mod explain;
mod export;
mod fields;
mod files;
mod fold;
mod github;
mod grid;
mod import;
mod input;
mod logs;
mod map;
mod merge;
mod mistakes;
mod new;
mod numbers;
mod out;
mod plot;
mod progress;
mod proxy;
mod proxy_init;
mod replay;
mod report;
mod results;
#[cfg(test)]
mod sample;
mod sarif;
mod screen;
mod seeds;
mod shard;
mod state;
mod table;
mod tap;
mod test;
mod threads;
mod told;
mod tune;
mod validate;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit::Exit;
use crate::screen::Screen;

/// A proxied request takes some twenty short pieces of memory and two long ones: with this one 5 to 10 % less CPU than with
/// glibc's (`reports/proxy.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // clap writes help to stdout and mistakes to stderr; a reader that went away is none of our business.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::BadInput } else { Exit::Pass }.into();
        }
    };
    let quiet = matches!(&args.command, Command::Test(test) if test.quiet)
        || matches!(&args.command, Command::Merge(merge) if merge.quiet);
    let mut screen = Screen::new(args.color, quiet);
    match &args.command {
        Command::Proxy(_) | Command::Gateway(_) | Command::ProxyInit(_) | Command::Control(_) => {}
        Command::Test(_)
        | Command::Replay(_)
        | Command::Check(_)
        | Command::Explain(_)
        | Command::New(_)
        | Command::Merge(_)
        | Command::Import(_)
        | Command::Validate(_)
        | Command::Tune(_)
        | Command::Compare(_)
        | Command::Map(_)
        | Command::Tap(_)
        | Command::Version => {
            log_if_asked();
        }
    }
    let exit = match args.command {
        Command::Test(test) => test::run(&test, &mut screen),
        Command::Replay(replay) => replay::run(&replay, &mut screen),
        Command::Check(check) => check::run(&check, &mut screen),
        Command::New(new) => new::run(&new, &mut screen),
        Command::Import(import) => import::run(&import, &mut screen),
        Command::Explain(explain) => fields::run(&explain, &mut screen),
        Command::Merge(merge) => merge::run(&merge, &mut screen),
        Command::Validate(validate) => validate::run(&validate, &mut screen),
        Command::Compare(compare) => compare::run(&compare, &mut screen),
        Command::Map(map) => map::run(&map, &mut screen),
        Command::Tune(tune) => tune::run(&tune, &mut screen),
        Command::Proxy(args) => return proxy::run(*args, screen).into(),
        Command::Gateway(args) => return proxy::run_gateway(*args, screen).into(),
        Command::ProxyInit(args) => proxy_init::run(&args, &mut screen),
        Command::Tap(args) => tap::run(&args, &mut screen),
        Command::Control(args) => return control::run(&args, screen).into(),
        Command::Version => version(&mut screen),
    };
    screen.ended(exit).into()
}

fn version(screen: &mut Screen) -> Exit {
    screen.say(&format!("squall {}", env!("CARGO_PKG_VERSION")));
    Exit::Pass
}

/// `RUST_LOG=debug` shows the mesh's own log on stderr. Without times: it is the world's time that counts, and that is in
/// the history.
fn log_if_asked() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    }
}
