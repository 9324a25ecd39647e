"""What pandas, pyarrow and hdrhistogram read is what the CSV says. Runs the example of docs/ and looks at what it read."""

import csv
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ["OUT"])
SCENARIOS = [
    "crates/cli/tests/data/shop",
    "scenarios/policies/breaker-success-rate.yaml",
]
FILES = {"csv": "runs.csv", "parquet": "runs.parquet", "hdr": "runs.hlog", "perfetto": "trace.json", "otlp": "otlp.jsonl"}

command = [os.environ["SQUALL"], "test", *SCENARIOS, "--seeds", "1..3", "--model", "fast", "--quiet"]
for flag, name in FILES.items():
    command += [f"--{flag}", str(OUT / name)]
ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode
# One of the shop's scenarios fails on purpose, so that the files have a failure in them.
assert ended == 1, f"{command} ended with {ended}"

with (OUT / "runs.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
assert len(rows) == 9 and {row["verdict"] for row in rows} == {"pass", "fail"}, rows

table = pyarrow.parquet.read_table(OUT / "runs.parquet")
assert table.column_names == list(rows[0]), table.column_names
whole = {"seed", "records", "requests", "succeeded", "unanswered"}
text = {"scenario", "engine", "model", "verdict", "digest", "recovery", "failed"}
for name in table.column_names:
    kind = table.schema.field(name).type
    wanted = pyarrow.uint64() if name in whole else pyarrow.string() if name in text else pyarrow.float64()
    assert kind == wanted, f"{name} is {kind}, not {wanted}"
    for row, cell in zip(rows, table.column(name).to_pylist()):
        of_csv = row[name]
        if of_csv == "":
            assert cell is None, f"{name}: {cell!r} where the CSV has nothing"
        elif name in text:
            assert cell == of_csv, f"{name}: {cell!r} is not {of_csv!r}"
        else:
            assert cell == (int if name in whole else float)(of_csv), f"{name}: {cell!r} is not {of_csv}"

sys.argv = ["read_results.py", str(OUT)]
read = runpy.run_path(str(ROOT / "docs/src/examples/read_results.py"))
for row in rows:
    run = f"{row['scenario']}/{row['seed']}"
    histogram = read["latency"][run]
    assert histogram.get_total_count() == int(row["requests"]), run
    for percentile, column in ((50, "p50"), (99, "p99"), (100, "max")):
        # The CSV's percentiles are by nearest rank; this library rounds the rank.
        count = histogram.get_total_count()
        rank = math.ceil(percentile * count / 100)
        found = histogram.get_value_at_percentile(100 * rank / count) / 1e6
        wanted = float(row[f"latency_{column}_ms"])
        assert abs(found - wanted) <= wanted / 1000, f"{run}: {column} is {found}, not {wanted}"
    requests = read["requests"][read["requests"].run == run]
    assert len(requests) == int(row["requests"]), run
    assert int(requests.good.sum()) == int(row["succeeded"]), run
    assert abs(requests.took_ms.mean() - float(row["latency_mean_ms"])) < 1e-4, run
    name = f"{row['scenario']} seed {row['seed']}: "
    slices = read["slices"][read["slices"].host.str.startswith(name) & (read["slices"].kind == "request")]
    assert len(slices) == int(row["requests"]) and int(slices.good.sum()) == int(row["succeeded"]), run
print(f"\n{len(rows)} runs: Parquet, HdrHistogram, OTLP and Perfetto say what the CSV says")
