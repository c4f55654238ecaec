//! This file knows how to lay time on an axis: linear for spans that add up, logarithmic for distributions.

/// A linear axis from zero.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The value at the far end.
    pub end: f64,
    /// Where zero is drawn.
    pub from: f64,
    /// Where `end` is drawn.
    pub to: f64,
}

impl Linear {
    /// Where a value is drawn; values beyond the end are drawn at it.
    pub fn at(&self, value: f64) -> f64 {
        self.from + (value / self.end).clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values for about `wanted` ticks, zero included.
    pub fn ticks(&self, wanted: u32) -> Vec<f64> {
        let rough = self.end / f64::from(wanted.max(1));
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * magnitude)
            .into_iter()
            .find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * magnitude);
        (0..=wanted * 2)
            .map(|tick| f64::from(tick) * step)
            .take_while(|value| *value <= self.end * 1.000_001)
            .collect()
    }
}

/// A logarithmic axis between two values in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Logarithmic {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Logarithmic {
    /// An axis that shows `low` to `high`, widened to the next 1, 2 or 5 on either side, and to a factor of ten at
    /// least.
    pub fn around(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (round_down(low.max(1.0)), round_up(high.max(low.max(1.0))));
        while high < low * 10.0 {
            low = round_down(low * 0.99);
            if high < low * 10.0 {
                high = round_up(high * 1.01);
            }
        }
        Self { low, high, from, to }
    }

    /// Where a value is drawn.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + share.min(1.0) * (self.to - self.from)
    }

    /// The share of the axis below a value, 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        ((value.max(self.low) / self.low).ln() / (self.high / self.low).ln()).min(1.0)
    }

    /// The value below which this share of the axis lies.
    pub fn value(&self, share: f64) -> f64 {
        self.low * (self.high / self.low).powf(share)
    }

    /// The 1, 2, 5 steps on the axis; only powers of ten when that would be more than eight.
    pub fn ticks(&self) -> Vec<f64> {
        let mut all = Vec::new();
        let mut tick = self.low;
        while tick <= self.high * 1.000_001 {
            all.push(tick);
            tick = round_up(tick * 1.01);
        }
        if all.len() > 8 {
            all.retain(|tick| {
                let exponent = tick.log10();
                (exponent - exponent.round()).abs() < 1e-6
            });
        }
        all
    }
}

/// The nearest 1, 2 or 5 times a power of ten at or above a value.
pub fn round_up(value: f64) -> f64 {
    let magnitude = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    steps
        .into_iter()
        .find(|step| *step >= value * 0.999_999)
        .unwrap_or(10.0 * magnitude)
}

/// The nearest 1, 2 or 5 times a power of ten at or below a value.
pub fn round_down(value: f64) -> f64 {
    let magnitude = 10f64.powf(value.log10().floor());
    let steps = [10.0, 5.0, 2.0, 1.0].map(|factor| factor * magnitude);
    steps
        .into_iter()
        .find(|step| *step <= value * 1.000_001)
        .unwrap_or(magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_widened_to_round_ends() {
        let axis = Logarithmic::around(3.0e6, 4.0e6, 0.0, 100.0);
        assert!(axis.high >= axis.low * 10.0 && axis.low <= 3.0e6 && axis.high >= 4.0e6);
        assert!((axis.at(axis.low), axis.at(axis.high)) == (0.0, 100.0));
        assert!(axis.at(3.5e6) > 0.0 && axis.at(3.5e6) < 100.0);
        assert!((axis.share(axis.value(0.3)) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn ticks_lie_on_their_axis_and_are_few() {
        for (low, high) in [(1.0e3, 9.0e3), (2.3e4, 8.8e9), (5.0e5, 5.0e5)] {
            let axis = Logarithmic::around(low, high, 0.0, 1.0);
            let ticks = axis.ticks();
            assert!((2..=9).contains(&ticks.len()), "{ticks:?}");
            assert!(
                ticks
                    .iter()
                    .all(|tick| *tick >= axis.low * 0.999 && *tick <= axis.high * 1.001)
            );
        }
        let linear = Linear {
            end: 130.0,
            from: 0.0,
            to: 1.0,
        };
        assert_eq!(linear.ticks(6), [0.0, 50.0, 100.0]);
    }

    #[test]
    fn rounding_keeps_round_values() {
        for value in [1.0, 2.0, 5.0, 10.0, 200_000.0] {
            assert!((round_up(value) - value).abs() < 1e-6 * value && (round_down(value) - value).abs() < 1e-6 * value);
        }
        assert_eq!((round_up(3.0), round_down(3.0), round_up(7.0)), (5.0, 2.0, 10.0));
    }
}
