//! The benchmark's two ends: a load generator that sends real events, and a sink that counts what arrives.
//!
//! Both are one thread around one epoll, because they share a core and must cost far less than what is measured
//! between them. They know just enough HTTP/1.1 for that; what they do not know they refuse, so that a run fails
//! instead of measuring something else.

mod events;
mod http;
mod random;
mod report;
mod schedule;
mod send;
mod sink;
mod stats;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Sends events, or counts them.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer each POST with 202 and count it; GET tells the count
    Sink {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Send events for a while and print what became of them, as one line of JSON
    Send {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// What a request holds
        #[arg(long, value_enum, default_value_t = events::Shape::Single)]
        shape: events::Shape,
        /// Connections, all kept open
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Requests per second; without it each connection sends as soon as it has been answered
        #[arg(long)]
        rate: Option<f64>,
        /// For how long requests are sent
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Never send a request for which no connection is free when it is due, instead of sending it late
        #[arg(long, requires = "rate")]
        drops: bool,
        /// Let each connection ask for the version first, so that all are taken in before the first event
        #[arg(long)]
        greets: bool,
        /// Most requests; without it as many as the time allows
        #[arg(long)]
        requests: Option<usize>,
        /// What events and moments are drawn from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The first half of each event's id: no two runs against one relay may share it
        #[arg(long, default_value_t = 0)]
        id_space: u64,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Sink { listen } => sink::serve(listen),
        Command::Send {
            to,
            shape,
            connections,
            rate,
            seconds,
            drops,
            greets,
            requests,
            seed,
            id_space,
        } => {
            let report = send::run(&send::Load {
                to,
                shape,
                connections,
                rate,
                lasts: Duration::try_from_secs_f64(seconds)?,
                drops,
                greets,
                requests,
                seed,
                id_space,
            })?;
            writeln!(std::io::stdout(), "{}", report.json())?;
            Ok(())
        }
    }
}
