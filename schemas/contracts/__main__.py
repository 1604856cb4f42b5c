"""Write the contract documents beside this file."""

from pathlib import Path

from schemas.contracts.documents import documents

for name, text in documents().items():
    Path(__file__).with_name(name).write_text(text)
