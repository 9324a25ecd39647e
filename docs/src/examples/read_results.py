# %% [markdown]
# # Reading what squall writes
#
#     squall test scenarios/ --seeds 1..3 --csv runs.csv --parquet runs.parquet --hdr runs.hlog \
#         --perfetto trace.json --otlp otlp.jsonl
#     pip install pandas pyarrow hdrhistogram
#     python docs/src/examples/read_results.py .
#
# Cells begin with `# %%`: editors and Jupyter (by jupytext) open this file as a notebook. What each column means stands in
# `squall test --help`.

# %%
import json
import sys
from pathlib import Path

where = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# %% One row per scenario and seed, with types
import pandas as pd

runs = pd.read_parquet(where / "runs.parquet")
print(runs[["scenario", "seed", "verdict", "success_ratio", "latency_p99_ms", "amplification_ratio"]].to_string())

# %% The worst seed of each scenario
worst = runs.sort_values(["success_ratio", "latency_p99_ms"], ascending=[True, False]).groupby("scenario").head(1)
print(worst[["scenario", "seed", "success_ratio", "latency_p99_ms", "failed"]].to_string())

# %% Latency over time: a histogram for each second of each run. They add up without losing a digit
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

LONGEST_NS = 24 * 3600 * 10**9
reader = HistogramLogReader(str(where / "runs.hlog"), HdrHistogram(1, LONGEST_NS, 3))
seconds = {}
while (interval := reader.get_next_interval_histogram()) is not None:
    seconds.setdefault(interval.get_tag(), []).append(interval)
latency = {}
for run, intervals in seconds.items():
    whole = HdrHistogram(1, LONGEST_NS, 3)
    for interval in intervals:
        whole.add(interval)
    latency[run] = whole
    p50, p99, top = (whole.get_value_at_percentile(p) / 1e6 for p in (50, 99, 100))
    print(f"{run}: {whole.get_total_count()} requests in {len(intervals)} s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {top:.2f} ms")

# %% Traces: which tries took the time of the slowest request?
spans = []
for line in (where / "otlp.jsonl").open():
    for of_host in json.loads(line)["resourceSpans"]:
        resource = {a["key"]: a["value"]["stringValue"] for a in of_host["resource"]["attributes"]}
        for span in of_host["scopeSpans"][0]["spans"]:
            attributes = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
            spans.append({
                "run": f"{resource['squall.scenario']}/{resource['squall.seed']}",
                "service": resource["service.name"],
                "trace": span["traceId"],
                "kind": attributes["squall.kind"],
                "name": span["name"],
                "took_ms": (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6,
                "good": span["status"]["code"] == 1,
            })
spans = pd.DataFrame(spans)
requests = spans[spans.kind == "request"]
slowest = requests.loc[requests.took_ms.idxmax()]
print(f"the slowest request of all, in {slowest.run}:")
print(spans[spans.trace == slowest.trace][["service", "kind", "name", "took_ms", "good"]].to_string(index=False))

# %% The same slices as in ui.perfetto.dev
trace = json.load((where / "trace.json").open())["traceEvents"]
hosts = {event["pid"]: event["args"]["name"] for event in trace if event["ph"] == "M"}
slices = pd.DataFrame(
    {"host": hosts[event["pid"]], "kind": event["cat"], "name": event["name"], "good": event["args"].get("good")}
    for event in trace if event["ph"] == "b"
)
print(slices.groupby("kind").size().to_string())
