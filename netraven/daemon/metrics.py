"""The daemon in numbers, for Prometheus. No label names a device: fleets are large, and devices come and go.

What happens in this process is counted as it happens; what the database knows is set by whoever refreshes it
(:mod:`netraven.daemon.figures`). A registry of its own, so that an embedding program's metrics are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from netraven.model import AttemptConcluded, DeviceFinished, Entry, Run

LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
RUN_BUCKETS = (10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
FRESHNESS = ("1h", "24h", "7d", "older", "never")
"""How long ago a device was last collected: within an hour, a day, a week, before that, not yet."""


class Metrics:
    """Every metric that there is, and what they are."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"netraven_{name}", about, labels, registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"netraven_{name}", about, labels, registry=registry)

        build = gauge("build_info", "1, with the version of the program", "version")
        build.labels(version).set(1)

        # what happens here
        self.outcomes = counter(
            "outcomes", "Devices finished in this process, by status and class of failure", "status", "reason"
        )
        self.attempts = counter(
            "attempts", "Secrets offered by this process, by realm and verdict", "realm", "verdict"
        )
        self.runs_finished = counter(
            "runs_finished", "Runs that ended in this process, by what they did and came to", "what", "status"
        )
        self.runs_missed = counter(
            "runs_missed", "Due times that went by without a run, as this process saw it"
        )
        self.run_seconds = Histogram(
            "netraven_run_duration_seconds",
            "How long runs took, from their start to their end",
            ["what"],
            buckets=RUN_BUCKETS,
            registry=registry,
        )
        self.sessions = gauge("sessions_open", "Devices in session at this moment")
        self.waiting = gauge("devices_waiting", "Devices that wait for what the lockout guard keeps back")
        self.recorder_queue = gauge("recorder_queue_entries", "Entries that wait to be written")
        self.recorder_lag = gauge("recorder_lag_seconds", "Age of the oldest entry that waits to be written")
        self.lag = Histogram(
            "netraven_loop_lag_seconds",
            "How late the event loop was, at each look",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.lag_p99 = gauge("loop_lag_p99_seconds", "99th percentile of the loop's lag over five minutes")
        self.draining = gauge("draining", "1 while the daemon ends its work to stop")
        self.scheduler_seconds = gauge(
            "scheduler_idle_seconds", "Seconds since the scheduler last made progress"
        )
        self.reload_well = gauge("settings_reload_success", "1: the settings in force are those in the file")
        self.reloaded = gauge("settings_reload_timestamp_seconds", "When settings were last taken over")

        # what the database knows
        self.database_up = gauge("database_up", "1 while the database can be read")
        self.refreshed = gauge("refresh_timestamp_seconds", "When the values below were last read")
        self.devices = gauge("devices", "Devices by how long ago they were last collected", "freshness")
        self.runs = gauge("runs", "Runs on record that have not ended, by state", "state")
        self.job_eta = gauge("job_eta_timestamp_seconds", "When the job's run is expected to end", "job_name")
        self.job_finish_by = gauge(
            "job_finish_by_timestamp_seconds", "When the job's run has to end", "job_name"
        )
        self.jobs = gauge("jobs_enabled", "Jobs that are enabled")
        self.jobs_overdue = gauge(
            "jobs_overdue", "Jobs whose time was more than a minute ago and that nobody has taken up"
        )
        self.next_run = gauge("next_run_timestamp_seconds", "When the next job is due; 0: none is")
        self.account_left = gauge(
            "account_refusals_left",
            "Refusals that the account may still bear before nothing is sent with it",
            "realm",
            "username",
        )
        self.realm_paused = gauge("realm_paused", "1 while nothing is sent to the realm", "realm")
        self.hooks_waiting = gauge("hook_deliveries_waiting", "Deliveries that wait for the hook", "hook")
        self.reload_well.set(1)

    def exposition(self) -> tuple[str, bytes]:
        """Content type and text."""
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)

    def committed(self, entries: Sequence[Entry]) -> None:
        """What was just put on record."""
        for entry in entries:
            if isinstance(entry, AttemptConcluded):
                self.attempts.labels(entry.credential.realm, entry.verdict.value).inc()
            elif isinstance(entry, DeviceFinished):
                self.outcomes.labels(entry.outcome.status.value, entry.outcome.reason or "").inc()

    def ended(self, run: Run) -> None:
        self.runs_finished.labels(run.what.value, run.status.value).inc()
        if run.finished_at is not None and run.started_at is not None:
            self.run_seconds.labels(run.what.value).observe(
                max(0.0, (run.finished_at - run.started_at).total_seconds())  # the clock may have gone back
            )


def put(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Set a gauge for these labels, and for no others: what is gone shows no old value."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
