//! The plan in one line for a terminal.

use std::time::Duration;

use super::Plan;

impl Plan {
    /// What will be done, in one line: `quickstart: 2 services, 4 replicas on 2 nodes; 2 workloads, 20 s + 3 s warm-up,
    /// ~4,000 requests`. Requests are those of the measured phase; `~` marks a number that is up to chance.
    #[must_use]
    pub fn plan_line(&self) -> String {
        let replicas: usize = self
            .services
            .iter()
            .map(|service| service.replicas.len())
            .sum();
        let services = counted(self.services.len(), "service");
        let replicas = counted(replicas, "replica");
        let nodes = match self.nodes.len() {
            0 | 1 => String::new(),
            many => format!(" on {many} nodes"),
        };
        let time = match (self.measured(), self.warmup) {
            (None, _) => "until the end of its services".to_owned(),
            (Some(measured), Duration::ZERO) => length(measured),
            (Some(measured), warmup) => {
                format!("{} + {} warm-up", length(measured), length(warmup))
            }
        };
        let work = match self.workloads.len() {
            0 => format!("no load, {time}"),
            many => format!(
                "{}, {time}, {}",
                counted(many, "workload"),
                self.requests_text()
            ),
        };
        format!("{}: {services}, {replicas}{nodes}; {work}", self.name)
    }

    fn requests_text(&self) -> String {
        let (total, exact) = self
            .workloads
            .iter()
            .map(super::WorkloadPlan::requests)
            .fold((0_u64, true), |(total, all_exact), (count, exact)| {
                (total.saturating_add(count), all_exact && exact)
            });
        let about = if exact { "" } else { "~" };
        let noun = if total == 1 { "request" } else { "requests" };
        format!("{about}{} {noun}", grouped(total))
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `4000` as `4,000`.
fn grouped(number: u64) -> String {
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

/// For reading, not for exactness: `20 s`, `1 min 30 s`, `2 h 5 min`, `1.5 s`, `500 ms`.
fn length(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        let millis = time.as_secs_f64() * 1000.0;
        return format!("{} ms", (millis * 1000.0).round() / 1000.0);
    }
    if time < Duration::from_secs(60) {
        return format!("{} s", (time.as_secs_f64() * 100.0).round() / 100.0);
    }
    let seconds = time.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_like_speech() {
        let told = |millis| length(Duration::from_millis(millis));
        assert_eq!(told(500), "500 ms");
        assert_eq!(told(1_500), "1.5 s");
        assert_eq!(told(20_000), "20 s");
        assert_eq!(told(60_000), "1 min");
        assert_eq!(told(90_000), "1 min 30 s");
        assert_eq!(told(7_500_000), "2 h 5 min");
        assert_eq!(told(3_601_000), "1 h 1 s");
        assert_eq!(length(Duration::from_micros(1)), "0.001 ms");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let told: Vec<_> = [0, 999, 1_000, 12_345, 1_234_567].map(grouped).into();
        assert_eq!(told, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
