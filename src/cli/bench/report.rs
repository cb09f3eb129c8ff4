//! How measurements are told: a line each as they come, and one JSON value for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::floors::Floors;
use super::usage::Usage;
use crate::cli::{self, Finished, Output, say};

/// What was measured so far.
pub(super) struct Report {
    output: Output,
    measured: Vec<Value>,
}

/// One measurement of a load.
pub(super) struct Measured<'a> {
    pub(super) workload: &'a str,
    pub(super) store: &'a str,
    pub(super) processes: usize,
    pub(super) batch: usize,
    pub(super) callers: usize,
    pub(super) transfers: u64,
    pub(super) during: Duration,
    pub(super) calls: &'a Histogram<u64>,
    pub(super) nodes: Usage,
    pub(super) own_cpu: Duration,
    pub(super) pushed_back: u64,
    pub(super) floors: Floors,
    /// How long the machine alone takes for one call of each caller.
    pub(super) floor: Duration,
}

impl Report {
    pub(super) fn begin(output: Output) -> Self {
        if output == Output::Human {
            say(&format!(
                "{:<9} {:<7} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7} {:>9} {:>6}",
                "workload",
                "store",
                "batch×calls",
                "transfers/s",
                "p50",
                "p99",
                "p99.9",
                "max",
                "nodes",
                "callers",
                "memory",
                "syncs",
                "disk B",
                "wire B",
                "floor",
                "ratio"
            ));
        }
        Self { output, measured: Vec::new() }
    }

    /// A line of a load.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn load(&mut self, measured: &Measured<'_>) {
        let Measured { workload, store, processes, batch, callers, transfers, during, calls, .. } = measured;
        let Measured { nodes, own_cpu, pushed_back, floors, floor, .. } = measured;
        let seconds = during.as_secs_f64();
        let rate = *transfers as f64 / seconds;
        let floor_rate = (batch * callers) as f64 / floor.as_secs_f64();
        let per_transfer = |count: u64| count as f64 / (*transfers).max(1) as f64;
        let at = |quantile| Duration::from_nanos(calls.value_at_quantile(quantile));
        let (nodes_cpu, callers_cpu) = (nodes.cpu.as_secs_f64() / seconds, own_cpu.as_secs_f64() / seconds);
        if self.output == Output::Human {
            say(&format!(
                "{:<9} {:<7} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>6.0}% {:>6.0}% {:>8} {:>7.4} {:>7.0} {:>7.0} {:>9} {:>6.2}",
                workload,
                store,
                format!("{batch}×{callers}"),
                grouped(rate as u64),
                time(at(0.5)),
                time(at(0.99)),
                time(at(0.999)),
                time(Duration::from_nanos(calls.max())),
                nodes_cpu * 100.0,
                callers_cpu * 100.0,
                format!("{} MB", nodes.memory_bytes >> 20),
                per_transfer(nodes.writes),
                per_transfer(nodes.disk_bytes),
                per_transfer(nodes.wire_bytes),
                time(*floor),
                rate / floor_rate,
            ));
        }
        self.measured.push(json!({
            "workload": workload, "store": store, "processes": processes, "batch": batch, "callers": callers,
            "transfers": transfers, "seconds": seconds, "transfers_per_second": rate,
            "call_us": call_micros(calls),
            "cpu": { "nodes": nodes_cpu, "callers": callers_cpu },
            "memory_bytes_largest_node": nodes.memory_bytes,
            "calls_pushed_back": pushed_back,
            "per_transfer": {
                "syncs": per_transfer(nodes.writes), "disk_bytes": per_transfer(nodes.disk_bytes),
                "wire_bytes": per_transfer(nodes.wire_bytes),
            },
            "floor": {
                "fdatasync_us": micros(floors.sync), "fdatasync_bytes": floors.sync_bytes,
                "round_trip_us": micros(floors.round_trip), "round_trip_bytes": floors.round_trip_bytes,
                "all_calls_us": micros(*floor), "transfers_per_second": floor_rate,
            },
            "ratio_to_floor": rate / floor_rate,
        }));
    }

    /// A line of the caller beside a load.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn beside(&mut self, workload: &str, calls: &Histogram<u64>, during: Duration) {
        let rate = calls.len() as f64 / during.as_secs_f64();
        let at = |quantile| Duration::from_nanos(calls.value_at_quantile(quantile));
        let text = format!(
            "          one beside them, one transfer at a time: {rate:.0} a second, p50 {}, p99 {}, p99.9 {}, max {}",
            time(at(0.5)),
            time(at(0.99)),
            time(at(0.999)),
            time(Duration::from_nanos(calls.max())),
        );
        let call_us = call_micros(calls);
        let json = json!({
            "workload": "beside", "of": workload, "transfers": calls.len(), "seconds": during.as_secs_f64(),
            "transfers_per_second": rate, "call_us": call_us,
        });
        self.tell(&text, json);
    }

    /// A line of anything else.
    pub(super) fn tell(&mut self, text: &str, json: Value) {
        if self.output == Output::Human {
            say(text);
        }
        self.measured.push(json);
    }

    pub(super) fn end(self) -> Finished {
        cli::Report { human: String::new(), json: json!({ "measured": self.measured }) }.into()
    }
}

fn call_micros(calls: &Histogram<u64>) -> Value {
    let at = |quantile| calls.value_at_quantile(quantile) / 1_000;
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": calls.max() / 1_000 })
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A duration with three digits.
pub(super) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e5 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let micros = [7, 999, 1_500, 15_000, 150_000, 1_500_000].map(Duration::from_micros);
        assert_eq!(micros.map(time), ["7 µs", "999 µs", "1.50 ms", "15.0 ms", "150 ms", "1.50 s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
