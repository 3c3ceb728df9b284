//! How many responses a second the verifier server judges, and how long a request takes at half that rate.
//!
//! ```console
//! $ cargo run --release -p ocelli-reward --example server_load
//! ```
//!
//! The server runs in this process and the load in a child of it, over loopback and for a bounded time: first each of
//! `CONNECTIONS` clients sends as fast as it is answered, then requests are sent on a schedule at half the rate that was
//! reached, and their time is measured from when they were due, so that a server that falls behind cannot hide it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli_reward::server::{ServerConfig, VerifierServer};
use ocelli_reward::{NodeConfig, RewardGraph};

/// Clients, each with one connection and one request under way.
const CONNECTIONS: usize = 16;
/// Responses in a request.
const BATCHES: [usize; 2] = [1, 64];
/// Time for each of the measurements.
const TIME: Duration = Duration::from_secs(4);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1) {
        Some(address) => load(address.parse()?),
        None => serve(),
    }
}

/// Starts the server, and the load as a process of its own.
fn serve() -> Result<(), Failure> {
    let tags = NodeConfig {
        weight: Some(0.5.into()),
        ..NodeConfig::new("tags")
    };
    let grader = RewardGraph::new(&[NodeConfig::new("box_iou"), tags])?;
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    let server = VerifierServer::bind(config, Arc::new(grader))?.spawn()?;
    let status = Command::new(std::env::current_exe()?)
        .arg(server.address().to_string())
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the load has failed".into())
    }
}

fn load(address: SocketAddr) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "responses a request | responses a second, full load | at half load: p50 ms, p99 ms, longest ms"
    )?;
    for batch in BATCHES {
        let full = measure(address, batch, None)?;
        let rate = full.len() as f64 / TIME.as_secs_f64();
        let mut half = measure(address, batch, Some(rate / 2.0))?;
        half.sort();
        let quantile = |q: f64| {
            let position = ((half.len() as f64 * q).ceil() as usize).clamp(1, half.len());
            half[position - 1].as_secs_f64() * 1e3
        };
        writeln!(
            out,
            "{batch:>19} | {:>29.0} | {:.2}, {:.2}, {:.2}",
            rate * batch as f64,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        )?;
    }
    Ok(())
}

/// How long each request took that was sent in [`TIME`]: as fast as possible, or at `rate` requests a second.
fn measure(address: SocketAddr, batch: usize, rate: Option<f64>) -> Result<Vec<Duration>, Failure> {
    let begin = Instant::now();
    let sent = AtomicUsize::new(0);
    let client = || -> Result<Vec<Duration>, Failure> {
        let mut connection = BufReader::new(TcpStream::connect(address)?);
        connection.get_ref().set_nodelay(true)?;
        connection
            .get_ref()
            .set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut times = Vec::new();
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let due = match rate {
                Some(rate) => begin + Duration::from_secs_f64(number as f64 / rate),
                None => Instant::now(),
            };
            if due >= begin + TIME {
                return Ok(times);
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            ask(&mut connection, &request(number, batch))?;
            times.push(due.elapsed());
        }
    };
    let mut all = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            all.extend(client.join().map_err(|_| "a client has panicked")??);
        }
        Ok(())
    })?;
    Ok(all)
}

/// A batch of turns as a small model writes them, no two requests alike.
fn request(number: usize, batch: usize) -> Vec<u8> {
    let thought = "The truck stands left of the tree, its wheels touch the lower edge. ".repeat(8);
    let items: Vec<String> = (0..batch)
        .map(|i| {
            let x = (number * 31 + i * 7) % 500;
            format!(
                r#"{{"response":"<think>{thought}</think><answer>[{x}, 10, {}, 200]</answer>","target":{{"box":[{x},0,{},200]}},"prompt":"Where is the truck?"}}"#,
                x + 100,
                x + 150
            )
        })
        .collect();
    let body = format!("{{\"items\":[{}]}}", items.join(","));
    format!(
        "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request and reads the whole answer, which must be a success.
fn ask(connection: &mut BufReader<TcpStream>, request: &[u8]) -> Result<(), Failure> {
    connection.get_mut().write_all(request)?;
    let mut line = String::new();
    let mut length = 0;
    let mut first = true;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        if first && !line.starts_with("HTTP/1.1 200") {
            return Err(line.into());
        }
        first = false;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    if body.windows(7).any(|text| text == b"\"error\"") {
        return Err(String::from_utf8_lossy(&body).into());
    }
    Ok(())
}
