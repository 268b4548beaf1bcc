//! `/metrics`: what the workers have counted, in Prometheus' text format. Nothing is registered and nothing is pushed:
//! each scrape is made from one report of each worker.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
};

use super::fleet::{PoolState, State};
use super::{Admin, process};
use crate::analysis::session_effects::Effect;
use crate::telemetry::PoolTotals;
use crate::telemetry::cells::{BOUNDS, HistogramTotals};
use crate::telemetry::metrics::{
    BuildGauge, ClientState, ERROR_CLASSES, ErrorCounter, Kind, Limit, LimitCounter, LoginCounter,
    LoginFailure, Metric, POOLS_MAX, PinCounter, PinGauge, PoolCounter, PoolGauge, PoolHistogram,
    ProcessCounter, ProcessGauge, ServerState, StateGauge, Unit,
};

/// Label value of what goes beyond [`POOLS_MAX`].
const OTHER: &str = "other";

const NANOS: f64 = 1e9;

/// The whole page.
pub(super) async fn page(admin: &Admin) -> Result<String, prometheus::Error> {
    let state = admin.fleet().state().await;
    let mut page = Page::default();
    page.pools(&labelled(&state));
    page.process(admin, &state);
    TextEncoder::new().encode_to_string(&page.families)
}

/// A pool, or what pools beyond the cap are together.
#[derive(Debug, Default)]
struct Row {
    totals: PoolTotals,
    gauges: [f64; PoolGauge::COUNT],
    clients: [u64; ClientState::COUNT],
    servers: [u64; ServerState::COUNT],
    pinned: [u64; Effect::ALL.len()],
}

type Rows = BTreeMap<(String, String), Row>;

/// The pools by their labels.
fn labelled(state: &State) -> Rows {
    let mut rows = Rows::new();
    for (at, (name, pool)) in state.pools.iter().enumerate() {
        let label =
            if at < POOLS_MAX { name.clone() } else { (OTHER.to_owned(), OTHER.to_owned()) };
        rows.entry(label).or_default().include(state, pool);
    }
    rows
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "counts of connections")]
    fn include(&mut self, state: &State, pool: &PoolState) {
        self.totals.include(&pool.totals);
        for client in state.clients_of(&pool.key) {
            increment(&mut self.clients, client.state as usize);
            if let Some(reason) = client.pin {
                increment(&mut self.pinned, reason as usize);
            }
        }
        for server in ServerState::ALL {
            if let Some(count) = self.servers.get_mut(*server as usize) {
                *count += pool.count(*server) as u64;
            }
        }
        let statements: usize = pool.servers.iter().map(|server| server.statements).sum();
        let clients = state.clients_of(&pool.key).map(|client| client.statements);
        let clients: usize = clients.sum();
        for gauge in PoolGauge::ALL {
            let Some(value) = self.gauges.get_mut(*gauge as usize) else { continue };
            match gauge {
                PoolGauge::Pending => *value += pool.waiting as f64,
                PoolGauge::Max => *value += pool.target.settings.size as f64,
                PoolGauge::MaxWait => *value = value.max(pool.max_wait.as_secs_f64()),
                PoolGauge::Paused => *value = value.max(f64::from(u8::from(pool.is_paused))),
                PoolGauge::ServerStatements => *value += statements as f64,
                PoolGauge::ClientStatements => *value += clients as f64,
            }
        }
    }
}

fn increment(counts: &mut [u64], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// What is on the page so far.
#[derive(Default)]
struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    fn pools(&mut self, rows: &Rows) {
        for counter in PoolCounter::ALL {
            let value = |row: &Row| row.totals.get(*counter);
            self.add_pools(counter.metric(), rows, |metric, row| count(metric, value(row)));
        }
        for histogram in PoolHistogram::ALL {
            self.add_pools(histogram.metric(), rows, |_, row| {
                distribution(&row.totals.histogram(*histogram))
            });
        }
        for gauge in PoolGauge::ALL {
            self.add_pools(gauge.metric(), rows, |_, row| {
                level(row.gauges.get(*gauge as usize).copied().unwrap_or_default())
            });
        }
        let states = ClientState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>();
        self.add_split(StateGauge::Clients.metric(), rows, &states, |row| &row.clients);
        let states = ServerState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>();
        self.add_split(StateGauge::Servers.metric(), rows, &states, |row| &row.servers);
        let reasons = Effect::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>();
        self.add_split(PinGauge::Pinned.metric(), rows, &reasons, |row| &row.pinned);
        self.add_split(PinCounter::Pins.metric(), rows, &reasons, |row| &row.totals.pins);
        self.add_split(ErrorCounter::Errors.metric(), rows, &ERROR_CLASSES, |row| {
            &row.totals.errors
        });
    }

    fn process(&mut self, admin: &Admin, state: &State) {
        let usage = process::usage();
        let failures = LoginFailure::ALL
            .iter()
            .map(|why| (vec![why.as_str().to_owned()], admin.process.login_failures(*why)));
        self.add_counts(LoginCounter::LoginFailures.metric(), failures);
        let hits = Limit::ALL
            .iter()
            .map(|limit| (vec![limit.as_str().to_owned()], admin.process.limit_hits(*limit)));
        self.add_counts(LimitCounter::LimitHits.metric(), hits);
        for counter in ProcessCounter::ALL {
            let value = match counter {
                ProcessCounter::Cpu => usage.cpu,
                _ => admin.process.get(*counter),
            };
            self.add_counts(counter.metric(), [(Vec::new(), value)]);
        }
        for gauge in ProcessGauge::ALL {
            let value = process_level(*gauge, admin, state, &usage);
            self.add(gauge.metric(), vec![(Vec::new(), level(value))]);
        }
        let version = vec![env!("CARGO_PKG_VERSION").to_owned()];
        self.add(BuildGauge::Build.metric(), vec![(version, level(1.0))]);
    }

    fn add_pools(&mut self, metric: Metric, rows: &Rows, sample: impl Fn(&Metric, &Row) -> Sample) {
        let samples = rows.iter().map(|((database, user), row)| {
            (vec![database.clone(), user.clone()], sample(&metric, row))
        });
        self.add(metric, samples.collect());
    }

    /// One sample for each value of a third label. Of counters and pins, those that are zero are left out.
    fn add_split(
        &mut self,
        metric: Metric,
        rows: &Rows,
        values: &[&str],
        counts: impl Fn(&Row) -> &[u64],
    ) {
        let mut samples = Vec::new();
        let is_sparse = !metric.labels.contains(&"state");
        for ((database, user), row) in rows {
            for (value, number) in values.iter().zip(counts(row)) {
                if is_sparse && *number == 0 {
                    continue;
                }
                let labels = vec![database.clone(), user.clone(), (*value).to_owned()];
                samples.push((labels, count(&metric, *number)));
            }
        }
        self.add(metric, samples);
    }

    fn add_counts(&mut self, metric: Metric, counts: impl IntoIterator<Item = (Vec<String>, u64)>) {
        let samples =
            counts.into_iter().map(|(labels, number)| (labels, count(&metric, number))).collect();
        self.add(metric, samples);
    }

    fn add(&mut self, metric: Metric, samples: Vec<(Vec<String>, Sample)>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(match metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        let named = |(values, mut sample): (Vec<String>, Sample)| {
            let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value);
                pair
            });
            sample.set_label(pairs.collect());
            sample
        };
        family.set_metric(samples.into_iter().map(named).collect());
        self.families.push(family);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floating point")]
fn process_level(gauge: ProcessGauge, admin: &Admin, state: &State, usage: &process::Usage) -> f64 {
    match gauge {
        ProcessGauge::LoggingIn => admin.connections().saturating_sub(state.clients.len()) as f64,
        ProcessGauge::Draining => f64::from(u8::from(state.is_draining)),
        ProcessGauge::StatementBytes => state.statement_bytes as f64,
        ProcessGauge::Memory => usage.memory as f64,
        ProcessGauge::Descriptors => usage.descriptors as f64,
        ProcessGauge::DescriptorsMax => usage.descriptors_max as f64,
        ProcessGauge::Started => {
            let since = admin.started.duration_since(std::time::SystemTime::UNIX_EPOCH);
            since.map_or(0.0, |since| since.as_secs_f64())
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floating point")]
fn count(metric: &Metric, number: u64) -> Sample {
    let value = number as f64 / if metric.unit == Unit::Seconds { NANOS } else { 1.0 };
    if metric.kind == Kind::Gauge {
        return level(value);
    }
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut sample = Sample::default();
    sample.set_counter(counter);
    sample
}

fn level(value: f64) -> Sample {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Sample::from_gauge(gauge)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floating point")]
fn distribution(totals: &HistogramTotals) -> Sample {
    let mut below = 0;
    let buckets = BOUNDS.iter().zip(&totals.buckets).map(|(bound, number)| {
        below += number;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / NANOS);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(totals.count());
    histogram.set_sample_sum(totals.nanos as f64 / NANOS);
    let mut sample = Sample::default();
    sample.set_histogram(histogram);
    sample
}
