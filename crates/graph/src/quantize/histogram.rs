//! Magnitudes of a value over many images, in bounded memory.

/// Bins of a histogram.
pub(super) const BINS: usize = 2048;
/// The last bin as a number to compare with.
const LAST_BIN: f32 = (BINS - 1) as f32;
/// Counters beside each other, so that equal neighbours do not wait for each other's addition.
const LANES: usize = 4;
/// Values that are looked at twice, for the largest and for the bins, before the next ones are: they stay in the cache.
const BLOCK: usize = 1 << 15;
/// Values that are counted before the narrow counters are added up: none of them can overflow.
const COUNTED: usize = 1 << 31;

/// How often each magnitude occurs. The bins' width is a power of two and doubles when a larger value comes, so the
/// result is the same whatever the order of the images, and at least half of the bins are in use.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bins: Vec<u64>,
    /// The exponent of the width; `None` before the first value that is not 0.
    exponent: Option<i32>,
    max_abs: f32,
    count: u64,
    not_finite: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: vec![0; BINS], exponent: None, max_abs: 0.0, count: 0, not_finite: 0 }
    }
}

impl Histogram {
    /// Counts values; infinities and NaN are counted apart.
    pub fn observe(&mut self, values: &[f32]) {
        let mut lanes = Lanes::new();
        for block in values.chunks(BLOCK) {
            let (largest, finite) = largest(block);
            if self.grows_for(largest) || lanes.counted > COUNTED {
                lanes.add_to(&mut self.bins);
                self.grow_to(largest);
            }
            self.not_finite += (block.len() - finite) as u64;
            self.count += finite as u64;
            match self.exponent {
                None => self.bins[0] += finite as u64,
                Some(exponent) if finite == block.len() => lanes.count(block, exp2(-exponent)),
                Some(exponent) => lanes.count_finite(block, exp2(-exponent)),
            }
        }
        lanes.add_to(&mut self.bins);
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        self.grow_to(other.max_abs);
        other.grow_to(self.max_abs);
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            *bin += more;
        }
        self.count += other.count;
        self.not_finite += other.not_finite;
    }

    /// The largest finite magnitude.
    pub fn max_abs(&self) -> f32 {
        self.max_abs
    }

    /// Finite values that were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Infinities and NaN.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// The width of a bin.
    pub(super) fn width(&self) -> f32 {
        self.exponent.map_or(1.0, exp2)
    }

    /// The bins up to the last one that is not empty.
    pub(super) fn used(&self) -> &[u64] {
        let used = self.bins.iter().rposition(|bin| *bin > 0).map_or(0, |last| last + 1);
        &self.bins[..used]
    }

    /// Whether this magnitude changes more than the bins.
    fn grows_for(&self, magnitude: f32) -> bool {
        magnitude > self.max_abs
    }

    /// Makes the bins wide enough for this magnitude.
    fn grow_to(&mut self, magnitude: f32) {
        if magnitude <= 0.0 {
            return;
        }
        self.max_abs = self.max_abs.max(magnitude);
        // The least power of two for which the magnitude falls into the last bin at most.
        let wanted = (f64::from(magnitude) / BINS as f64).log2().floor() as i32 + 1;
        // What is smaller than the smallest normal number counts as 0.
        let wanted = wanted.max(-126);
        let exponent = *self.exponent.get_or_insert(wanted);
        for _ in exponent..wanted {
            for at in 0..BINS / 2 {
                self.bins[at] = self.bins[2 * at] + self.bins[2 * at + 1];
            }
            self.bins[BINS / 2..].fill(0);
        }
        self.exponent = Some(exponent.max(wanted));
    }
}

/// Narrow counters that are added up now and then.
struct Lanes {
    counts: Vec<[u32; BINS]>,
    counted: usize,
}

impl Lanes {
    fn new() -> Self {
        Self { counts: vec![[0; BINS]; LANES], counted: 0 }
    }

    /// Counts values that are all finite, eight at a time: the bins by vector instructions, then the counters.
    fn count(&mut self, values: &[f32], per_width: f32) {
        let Some((lanes, _)) = self.counts.split_first_chunk_mut::<LANES>() else { return };
        let (chunks, rest) = values.as_chunks::<{ 2 * LANES }>();
        for chunk in chunks {
            let bins = chunk.map(|value| bin(value, per_width));
            for (at, bin) in bins.into_iter().enumerate() {
                // The mask changes nothing; it spares the check of the bounds.
                lanes[at % LANES][bin as usize % BINS] += 1;
            }
        }
        for value in rest {
            lanes[0][bin(*value, per_width) as usize % BINS] += 1;
        }
        self.counted += values.len();
    }

    /// Counts the finite ones of some values.
    fn count_finite(&mut self, values: &[f32], per_width: f32) {
        let finite: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        self.count(&finite, per_width);
    }

    fn add_to(&mut self, bins: &mut [u64]) {
        if self.counted == 0 {
            return;
        }
        for (at, total) in bins.iter_mut().enumerate() {
            *total += self.counts.iter().map(|lane| u64::from(lane[at])).sum::<u64>();
        }
        self.counts.iter_mut().for_each(|lane| lane.fill(0));
        self.counted = 0;
    }
}

/// The bin of a finite value.
fn bin(value: f32, per_width: f32) -> i32 {
    let place = value.abs() * per_width;
    (if place < LAST_BIN { place } else { LAST_BIN }) as i32
}

fn exp2(exponent: i32) -> f32 {
    (exponent as f32).exp2()
}

/// The largest finite magnitude, and how many values are finite.
fn largest(values: &[f32]) -> (f32, usize) {
    // Eight at a time without branches: the compiler makes vector instructions of it.
    let mut most = [0.0_f32; 8];
    let mut finite = [0_u32; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for at in 0..8 {
            let magnitude = chunk[at].abs();
            let is_finite = magnitude <= f32::MAX;
            let kept = if is_finite { magnitude } else { 0.0 };
            most[at] = if kept > most[at] { kept } else { most[at] };
            finite[at] += u32::from(is_finite);
        }
    }
    let rest_finite = rest.iter().filter(|value| value.is_finite());
    let rest_most = rest_finite.clone().fold(0.0_f32, |most, value| most.max(value.abs()));
    let most = most.into_iter().fold(rest_most, f32::max);
    (most, finite.iter().map(|count| *count as usize).sum::<usize>() + rest_finite.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, scale: f32) -> Vec<f32> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next() * scale).collect()
    }

    #[test]
    fn the_order_of_the_images_does_not_matter() {
        let images = [noise(1000, 0.01), noise(999, 30.0), noise(1001, 2.0), vec![0.0; 10]];
        let mut forward = Histogram::default();
        for image in &images {
            forward.observe(image);
        }
        let mut backward = Histogram::default();
        for image in images.iter().rev() {
            backward.observe(image);
        }
        assert_eq!(forward, backward);
        let mut merged = Histogram::default();
        for image in &images {
            let mut one = Histogram::default();
            one.observe(image);
            merged.merge(&one);
        }
        assert_eq!(merged, forward);
        assert_eq!(forward.used().iter().sum::<u64>(), 3010);
        let reach = forward.used().len() as f32 * forward.width();
        assert!(reach >= forward.max_abs() && reach - forward.width() <= forward.max_abs());
        assert!(forward.used().len() > BINS / 2 - 1);
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let mut histogram = Histogram::default();
        histogram.observe(&[1.0, f32::NAN, f32::INFINITY, -2.0, f32::MAX, f32::MIN_POSITIVE / 4.0]);
        assert_eq!((histogram.count(), histogram.not_finite()), (4, 2));
        assert_eq!(histogram.max_abs().to_bits(), f32::MAX.to_bits());
        assert_eq!(histogram.used().iter().sum::<u64>(), 4);
        let mut tiny = Histogram::default();
        tiny.observe(&[f32::MIN_POSITIVE / 8.0; 3]);
        assert_eq!((tiny.count(), tiny.used().len()), (3, 1));
    }

    #[test]
    fn magnitudes_fall_into_their_bins() {
        let mut histogram = Histogram::default();
        histogram.observe(&[0.0, 0.5, -0.5, 1.0, -3.999]);
        assert!((histogram.width() - 4.0 / BINS as f32).abs() < f32::EPSILON);
        assert_eq!((histogram.bins[0], histogram.bins[BINS / 8], histogram.bins[BINS / 4]), (1, 2, 1));
        assert_eq!(histogram.bins[BINS - 1], 1);
    }
}
