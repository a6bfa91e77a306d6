"""Tables are written in little memory."""

import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import random
import re
import sys
import time
from pathlib import Path

import pyarrow as pa

from flytekitplugins.openai.batch.tables.storage import ROW_GROUP_BYTES, TableWriter

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

schema = pa.schema([("text", pa.string())])
texts = random.Random(0)
before = resident()
with TableWriter(Path(sys.argv[1]) / "table", schema) as writer:
    for _ in range(3 * ROW_GROUP_BYTES // 1_000_000):
        batch = pa.record_batch([pa.array([texts.randbytes(500).hex() for _ in range(1_000)])], schema=schema)
        writer.write(batch)
    del batch
    writer.table()
deadline = time.monotonic() + 10
while (held := resident() - before) > ROW_GROUP_BYTES and time.monotonic() < deadline:
    time.sleep(0.1)
print(held / ROW_GROUP_BYTES)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_memory_of_a_row_group_is_given_back(tmp_path):
    """Arrow's allocator would keep that of two; an older one gives it back by itself, in a second or two."""
    run = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1
