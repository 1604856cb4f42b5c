"""The contracts that every part of Twinlens shares: settings, messages, tables, the vector collection. No I/O."""
