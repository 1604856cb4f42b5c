"""Which measurements there are."""

from rich.console import Console

console = Console(highlight=False)
console.print(
    """Measurements, each a module of its own; those marked * want a running `make stack`:

  python -m bench.accuracy FOLDER     recall of transformed copies, and the copy threshold
  python -m bench.pipeline FOLDER   * a folder's way through: throughput, then recall over HTTP
  python -m bench.freshness FOLDER  * PUT to searchable on an idle stack: median and 99th percentile
  python -m bench.queries           * searches against the sum of their parts, at 1, 8 and 64 clients
  python -m bench.predecessor FOLDER  decode and embed beside torch's ResNet50
"""
)
