//! What processes used, as the kernel counts it, and writes, as the nodes do.

use std::fs;
use std::time::Duration;

use crate::client::Client;

/// Ticks of CPU time per second, as the kernel shows it to programs on every Linux.
const TICKS: u64 = 100;

/// What some processes, and the loopback interface of the machine, have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time of the nodes.
    pub(super) cpu: Duration,
    /// Bytes that the nodes had written to disks.
    pub(super) disk_bytes: u64,
    /// Writes that the nodes made durable, as they tell it.
    pub(super) writes: u64,
    /// Bytes over the machine's loopback interface, headers and acknowledgements included.
    pub(super) wire_bytes: u64,
    /// The largest resident memory of one node, ever.
    pub(super) memory_bytes: u64,
}

impl Usage {
    /// Of these processes. Where the kernel does not tell, it is zero.
    pub(super) fn of(processes: &[u32]) -> Self {
        let mut usage = Self { wire_bytes: loopback_bytes(), ..Self::default() };
        for process in processes {
            usage.cpu += cpu(&format!("/proc/{process}/stat"));
            let field = |file: &str, name: &str| {
                let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
            };
            usage.disk_bytes += field("io", "write_bytes:");
            usage.memory_bytes = usage.memory_bytes.max(field("status", "VmHWM:") * 1024);
        }
        usage
    }

    /// The same with how many writes the nodes have made durable so far, each of which took one sync of a disk.
    pub(super) async fn with_writes(self, client: &Client) -> Self {
        let report = client.status().await.unwrap_or_default();
        let writes = report.nodes.into_values().flatten().filter_map(|status| status.writes).sum();
        Self { writes, ..self }
    }

    /// What was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
            writes: self.writes.saturating_sub(before.writes),
            wire_bytes: self.wire_bytes.saturating_sub(before.wire_bytes),
            memory_bytes: self.memory_bytes,
        }
    }
}

/// CPU time of this process.
pub(super) fn own_cpu() -> Duration {
    cpu("/proc/self/stat")
}

fn cpu(path: &str) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * (1_000 / TICKS))
}

fn loopback_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
