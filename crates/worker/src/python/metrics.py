"""Measures a process's requests, once an application asks for that."""

import os
import resource
import threading
import time

# The stages of a request, in the order in which it goes through them.
_STAGES = (
    *("server", "queue", "daemon", "application", "request"),
    *("input_read", "output_write", "gil_wait"),
)

# Python has just been started.
_LOADED = time.time()

_OCTAVES = 16
_PARTS = 4


def _bucket(seconds):
    """Say which of 65 buckets counts a duration: four for each doubling from 1 ms on, and the last
    for all that is longer."""
    ratio = seconds * 1000
    if ratio < 1:
        return 0
    octave = int(ratio).bit_length() - 1
    return min(octave, _OCTAVES) * _PARTS + (
        int((ratio / 2**octave - 1) * _PARTS) if octave < _OCTAVES else 0
    )


class _Stage:
    """How long one stage took."""

    def __init__(self):
        self.total = 0.0
        self.count = 0
        self.least = self.most = None
        self.buckets = [0] * (_OCTAVES * _PARTS + 1)

    def add(self, seconds):
        seconds = max(seconds, 0.0)
        self.total += seconds
        self.count += 1
        self.least = seconds if self.least is None else min(self.least, seconds)
        self.most = seconds if self.most is None else max(self.most, seconds)
        self.buckets[_bucket(seconds)] += 1

    def tell(self, name):
        microseconds = (None if it is None else round(it * 1e6) for it in (self.least, self.most))
        least, most = microseconds
        return {
            f"{name}_time": self.total / self.count if self.count else 0.0,
            f"{name}_time_buckets": self.buckets,
            f"{name}_time_min_us": least,
            f"{name}_time_max_us": most,
        }


class _Period:
    """What has happened since the last look."""

    def __init__(self, threads):
        self.start = time.time()
        self.cpu = _cpu_times()
        self.stages = {name: _Stage() for name in _STAGES}
        self.statuses = dict.fromkeys(range(1, 6), 0)
        self.sums = dict.fromkeys(
            ("input_bytes", "input_reads", "output_bytes", "output_writes", "gil_wait_count"), 0
        )
        self.completed = [0] * threads
        self.busy = [0.0] * threads
        self.cpu_time = [0.0] * threads
        self.longest = [0.0] * threads


class Recorder:
    """Counts requests. Each thread of the process is a slot, numbered from 1 as ``thread_id``."""

    def __init__(self, threads):
        self._threads = max(threads, 1)
        self._lock = threading.Lock()
        self._period = _Period(self._threads)
        # Thread id to time of start, of the requests that run.
        self._running = {}
        self._totals = [0] * self._threads
        self._busy = 0.0
        self._began = time.time()

    def started(self, thread, begin):
        with self._lock:
            self._running[thread] = begin

    def finished(self, event, begin):
        """Take what ``request_finished`` tells of a request whose application began then."""
        slot, end = event["thread_id"] - 1, event["application_finish"]
        with self._lock:
            self._running.pop(slot + 1, None)
            self._totals[slot] += 1
            self._busy += end - begin
            period = self._period
            for name, seconds in (
                ("server", event["queue_start"] - event["request_start"]),
                ("queue", event["daemon_start"] - event["queue_start"]),
                ("daemon", begin - event["daemon_start"]),
                ("application", event["application_time"]),
                ("request", end - event["request_start"]),
                ("input_read", event["input_time"]),
                ("output_write", event["output_time"]),
                ("gil_wait", event["gil_wait_time"]),
            ):
                period.stages[name].add(seconds)
            for name, key in (
                *(("input_bytes", "input_length"), ("input_reads", "input_reads")),
                *(("output_bytes", "output_length"), ("output_writes", "output_writes")),
                ("gil_wait_count", "gil_wait_count"),
            ):
                period.sums[name] += event[key]
            kind = event["status"] // 100
            period.statuses[kind if kind in period.statuses else 5] += 1
            period.completed[slot] += 1
            period.busy[slot] += end - max(begin, period.start)
            period.cpu_time[slot] += event["cpu_time"]
            period.longest[slot] = max(period.longest[slot], end - begin)

    def process(self):
        """Return what holds since recording began."""
        user, system = _cpu_times()
        now = time.time()
        with self._lock:
            busy = self._busy + sum(now - begin for begin in self._running.values())
            threads = [
                {"thread_id": slot + 1, "request_count": count}
                for slot, count in enumerate(self._totals)
            ]
            active = len(self._running)
        started = _started()
        return {
            "pid": os.getpid(),
            "restart_time": started,
            "current_time": now,
            "running_time": int(now - started),
            "request_count": sum(thread["request_count"] for thread in threads),
            "request_busy_time": busy,
            "active_requests": active,
            "request_threads": self._threads,
            "threads": threads,
            **_memory(),
            "cpu_user_time": user,
            "cpu_system_time": system,
            "cpu_time": user + system,
        }

    def requests(self):
        """Return what has happened since the last call, or since recording began."""
        with self._lock:
            period, self._period = self._period, _Period(self._threads)
            running = dict(self._running)
            started = sum(1 for count in self._totals if count)
        stop = self._period.start
        length = max(stop - period.start, 1e-6)
        elapsed = [0.0] * self._threads
        busy = list(period.busy)
        for thread, begin in running.items():
            elapsed[thread - 1] = stop - begin
            busy[thread - 1] += stop - max(begin, period.start)
        user, system = (now - then for now, then in zip(self._period.cpu, period.cpu))
        cpu = {"cpu": user + system, "cpu_user": user, "cpu_system": system}
        count = sum(period.completed)
        slots = zip(period.completed, elapsed)
        told = {
            "pid": os.getpid(),
            "start_time": period.start,
            "stop_time": stop,
            "sample_period": length,
            "request_count": count,
            "request_throughput": count / length,
            "capacity_utilization": sum(busy) / length / self._threads,
            "request_threads_maximum": self._threads,
            "request_threads_started": started,
            "request_threads_active": sum(1 for done, runs in slots if done or runs),
            **{f"{name}_utilization": seconds / length for name, seconds in cpu.items()},
            # The older names of the same.
            **{f"{name}_time": seconds / length for name, seconds in cpu.items()},
            **_memory(),
            **{f"status_{kind}xx": number for kind, number in period.statuses.items()},
            **period.sums,
            "request_threads_completed": period.completed,
            "request_threads_buckets": period.completed,
            "request_threads_busy_time": busy,
            "request_threads_cpu_time": period.cpu_time,
            "request_threads_current_elapsed": elapsed,
            "request_threads_max_duration": period.longest,
        }
        for name, stage in period.stages.items():
            told.update(stage.tell(name))
        return told


def _cpu_times():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def _memory():
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # There need be no /proc in a chroot=.
        resident = most
    return {"memory_max_rss": max(most, resident), "memory_rss": resident}


def _started():
    """Return when the process began, in seconds since the epoch (proc(5))."""
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
        with open("/proc/stat") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    except OSError:
        return _LOADED
    return boot + ticks / os.sysconf("SC_CLK_TCK")
