//! Deterministic mutations of seeds: the same run on every machine, so a failure is found again by its number.
//!
//! Half of the mutations aim at the places where readers of binary formats go wrong: lengths and counts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs longer than this are not made.
const LONGEST: usize = 1 << 20;

/// Bytes that stand for extreme numbers in length fields.
const EXTREMES: [&[u8]; 8] = [
    &[0x00],
    &[0x7f],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x00, 0x00, 0x00, 0x80],
    // The largest varints of 32 and 64 bits.
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// A source of mutated inputs.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A source whose inputs depend on `seed` only.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// One to four mutations of one of `seeds`; empty without seeds.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let Some(seed) = seeds.get(self.below(seeds.len())) else {
            return Vec::new();
        };
        let mut input = seed.clone();
        for _ in 0..=self.below(4) {
            self.mutate(&mut input, seeds);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(10) {
            0 => input.truncate(at),
            1 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            2 if !input.is_empty() => input[at] = self.below(256) as u8,
            // Small steps turn one length, tag or count into its neighbour.
            3 | 4 if !input.is_empty() => input[at] = input[at].wrapping_add_signed(self.below(9) as i8 - 4),
            5 | 6 => {
                let extreme = EXTREMES[self.below(EXTREMES.len())];
                let end = (at + extreme.len()).min(input.len());
                input.splice(at..end, extreme.iter().copied());
            }
            7 => {
                let end = (at + self.below(64)).min(input.len());
                input.drain(at..end);
            }
            8 => {
                let end = (at + self.below(64)).min(input.len());
                let piece = input[at..end].to_vec();
                let target = self.below(input.len());
                input.splice(target..target, piece);
            }
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                let end = (from + self.below(256)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }

    /// A number below `limit`, 0 when there is none.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        if limit == 0 { 0 } else { number as usize % limit }
    }
}

/// Runs `target` on every seed and on `rounds` mutated inputs, the same ones each time.
///
/// # Panics
/// As the target does, after printing the input in hexadecimal digits.
pub fn run(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: usize) {
    run_from(target, seeds, rounds, 0x5161_7468);
}

/// [`run`] with other mutations for every `start`.
///
/// # Panics
/// As [`run`].
pub fn run_from(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: usize, start: u64) {
    let mut mutator = Mutator::new(start);
    let mutated = (0..rounds).map(|_| mutator.input(seeds));
    for (round, input) in seeds.iter().cloned().chain(mutated).enumerate() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            let digits: Vec<String> = input.iter().map(|byte| format!("{byte:02x}")).collect();
            #[expect(clippy::print_stderr, reason = "the input is what a fuzz run is for")]
            {
                eprintln!("input {round} ({} bytes): {}", input.len(), digits.concat());
            }
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_they_differ() {
        let seeds = [b"one seed".to_vec(), b"and another one".to_vec()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..200).map(|_| mutator.input(&seeds)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        let mut distinct = inputs(2);
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 150, "{}", distinct.len());
        assert_eq!(Mutator::new(1).input(&[]), Vec::<u8>::new());
    }

    #[test]
    #[should_panic(expected = "found")]
    fn a_panic_of_the_target_is_passed_on() {
        run(|input| assert!(input.len() != 3, "found"), &[b"abcd".to_vec()], 2000);
    }
}
