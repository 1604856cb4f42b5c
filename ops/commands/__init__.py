"""The commands of ``twinlens``, by what they are about. Each reads its arguments and calls what does the work.

To add one, write a function in the module that it belongs to: ``with command(data):`` tells its errors,
``installation(data, …)`` finds what it works on, and what does the work is a module of ``ops``. All but ``common`` is
imported within the function, so that `--help` imports none of it. Then add its row to ``tests/harness/commands.py``
and to docs/commands.md; tests say so.
"""
