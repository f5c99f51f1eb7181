//! From the records of a run to its results: joins, ledgers, histograms.
