//! The percentile bootstrap (Efron 1979): how far a figure may be off, from the measurements that it was made of.

/// The figure of all samples, between the 2.5th and the 97.5th percentile of those of samples drawn from them.
pub fn interval<T>(samples: &[T], figure: impl Fn(&[&T]) -> f64) -> (f64, f64, f64) {
    let whole = figure(&samples.iter().collect::<Vec<_>>());
    // xorshift64 (Marsaglia 2003): the same interval for the same samples.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        &samples[state as usize % samples.len()]
    };
    let mut drawn: Vec<f64> = (0..2_000)
        .map(|_| figure(&samples.iter().map(|_| draw()).collect::<Vec<_>>()))
        .collect();
    drawn.sort_by(f64::total_cmp);
    (drawn[50], whole, drawn[1_949])
}
