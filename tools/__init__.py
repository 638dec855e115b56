"""Programs and data that the scripts, the benchmarks and the tests share. The product imports nothing from here."""
