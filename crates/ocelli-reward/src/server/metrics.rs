//! What the server counts, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

use crate::protocol::ErrorKind;

/// Upper bounds of the latency histogram, in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// The routes that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Score,
    Judge,
    Other,
}

impl Route {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Score, "/v1/score"),
        (Self::Judge, "/judge"),
        (Self::Other, "other"),
    ];

    pub(super) fn of_path(path: &str) -> Self {
        let mut known = Self::ALL.into_iter();
        known
            .find(|(_, name)| *name == path)
            .map_or(Self::Other, |(route, _)| route)
    }
}

/// Counters since the start. Each is exact; two of them read at one moment may differ by the requests of that moment.
#[derive(Default)]
pub(super) struct Counters {
    /// Requests answered, by route and by the first digit of the status.
    requests: [[AtomicU64; 6]; Route::ALL.len()],
    in_flight: AtomicU64,
    judged: AtomicU64,
    errors: [AtomicU64; ErrorKind::COUNTED.len()],
    /// Scoring requests by how long they took, one bucket a bound and one above all.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    microseconds: AtomicU64,
}

/// A request that has begun; ends with `finish`, or when it is dropped because its connection broke.
pub(super) struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(super) fn answered(&self, route: Route, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).min(5);
        self.requests[route as usize][class].fetch_add(1, Ordering::Relaxed);
        if route == Route::Other {
            return;
        }
        let bucket = BOUNDS_MS
            .iter()
            .position(|bound| took <= Duration::from_millis(*bound))
            .unwrap_or(BOUNDS_MS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    pub(super) fn judged(&self, responses: usize) {
        self.judged.fetch_add(responses as u64, Ordering::Relaxed);
    }

    pub(super) fn error(&self, kind: ErrorKind) {
        let counted = ErrorKind::COUNTED.iter().position(|other| *other == kind);
        if let Some(position) = counted {
            self.errors[position].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The page that Prometheus reads.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        self.write(&mut page)
            .expect("writing to a string does not fail");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let head = |page: &mut String, name: &str, kind: &str, help: &str| {
            writeln!(page, "# HELP ocelli_verifier_{name} {help}")?;
            writeln!(page, "# TYPE ocelli_verifier_{name} {kind}")
        };
        head(page, "requests_total", "counter", "Requests answered.")?;
        for (route, path) in Route::ALL {
            for (class, counter) in self.requests[route as usize].iter().enumerate() {
                let count = read(counter);
                if count > 0 {
                    writeln!(
                        page,
                        "ocelli_verifier_requests_total{{route=\"{path}\",status=\"{class}xx\"}} {count}"
                    )?;
                }
            }
        }
        head(
            page,
            "requests_in_flight",
            "gauge",
            "Requests begun and not yet answered.",
        )?;
        let count = read(&self.in_flight);
        writeln!(page, "ocelli_verifier_requests_in_flight {count}")?;
        head(
            page,
            "responses_judged_total",
            "counter",
            "Responses with a verdict of every node that applies.",
        )?;
        let count = read(&self.judged);
        writeln!(page, "ocelli_verifier_responses_judged_total {count}")?;
        head(
            page,
            "errors_total",
            "counter",
            "Failures by kind, of requests, responses and nodes.",
        )?;
        for (kind, counter) in ErrorKind::COUNTED.iter().zip(&self.errors) {
            let (kind, count) = (kind.name(), read(counter));
            writeln!(
                page,
                "ocelli_verifier_errors_total{{kind=\"{kind}\"}} {count}"
            )?;
        }
        head(
            page,
            "request_seconds",
            "histogram",
            "Time from a scoring request's head to its answer.",
        )?;
        let mut total = 0;
        for (position, counter) in self.buckets.iter().enumerate() {
            total += read(counter);
            let bound = BOUNDS_MS.get(position).map_or_else(
                || "+Inf".to_owned(),
                |bound| (*bound as f64 / 1e3).to_string(),
            );
            writeln!(
                page,
                "ocelli_verifier_request_seconds_bucket{{le=\"{bound}\"}} {total}"
            )?;
        }
        let seconds = read(&self.microseconds) as f64 / 1e6;
        writeln!(page, "ocelli_verifier_request_seconds_sum {seconds}")?;
        writeln!(page, "ocelli_verifier_request_seconds_count {total}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_what_was_counted() {
        let counters = Counters::default();
        counters.answered(Route::Score, StatusCode::OK, Duration::from_millis(3));
        counters.answered(
            Route::Judge,
            StatusCode::NOT_FOUND,
            Duration::from_secs(100),
        );
        counters.answered(
            Route::of_path("/metrics"),
            StatusCode::OK,
            Duration::from_secs(1),
        );
        counters.judged(5);
        counters.error(ErrorKind::NotFound);
        let open = counters.begin();
        let page = counters.page();
        for line in [
            r#"ocelli_verifier_requests_total{route="/v1/score",status="2xx"} 1"#,
            r#"ocelli_verifier_requests_total{route="/judge",status="4xx"} 1"#,
            r#"ocelli_verifier_requests_total{route="other",status="2xx"} 1"#,
            "ocelli_verifier_requests_in_flight 1",
            "ocelli_verifier_responses_judged_total 5",
            r#"ocelli_verifier_errors_total{kind="not_found"} 1"#,
            r#"ocelli_verifier_errors_total{kind="panic"} 0"#,
            r#"ocelli_verifier_request_seconds_bucket{le="0.002"} 0"#,
            r#"ocelli_verifier_request_seconds_bucket{le="0.005"} 1"#,
            r#"ocelli_verifier_request_seconds_bucket{le="30"} 1"#,
            r#"ocelli_verifier_request_seconds_bucket{le="+Inf"} 2"#,
            "ocelli_verifier_request_seconds_sum 100.003",
            "ocelli_verifier_request_seconds_count 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
        }
        drop(open);
        assert!(
            counters
                .page()
                .contains("ocelli_verifier_requests_in_flight 0")
        );
    }
}
