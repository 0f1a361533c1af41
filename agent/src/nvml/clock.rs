//! How fast a GPU's SMs run, and what holds them back.

use std::fmt;

use nvml_wrapper::bitmasks::device::ThrottleReasons;

/// An SM clock under this part of the highest one, in percent, is taken for throttling: the rule and the
/// figure of nvbench (`--throttle-threshold`).
const LOWEST_PERCENT: u64 = 75;

/// A GPU's SM clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// SM clock in MHz.
    pub sm_mhz: u32,
    /// What decides it.
    pub reasons: Reasons,
}

impl Clock {
    /// Why a time that was taken at this clock does not count; none if it does. `max_mhz` is the card's
    /// highest SM clock ([`super::Card::max_sm_clock_mhz`]), 0 where it is not known.
    ///
    /// The power cap does not count as throttling: that is how a card works under full load, and so is
    /// how it will serve. Nor do clocks that somebody has set.
    #[must_use]
    pub fn throttled(&self, max_mhz: u32) -> Option<Throttle> {
        let slowed = [Reason::HwThermal, Reason::HwPowerBrake, Reason::HwSlowdown, Reason::SwThermal];
        if let Some(&reason) = slowed.iter().find(|&&reason| self.reasons.has(reason)) {
            return Some(Throttle::Slowed(reason));
        }
        let chosen =
            [Reason::Idle, Reason::Applications, Reason::SwPowerCap].iter().any(|&r| self.reasons.has(r));
        let low = u64::from(self.sm_mhz) * 100 < u64::from(max_mhz) * LOWEST_PERCENT;
        (low && !chosen).then_some(Throttle::LowClock { sm_mhz: self.sm_mhz, max_mhz })
    }
}

/// Why a time does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The card slows itself down.
    Slowed(Reason),
    /// The clock is low, and the driver does not say why.
    LowClock {
        /// SM clock in MHz.
        sm_mhz: u32,
        /// The card's highest SM clock in MHz.
        max_mhz: u32,
    },
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slowed(reason) => write!(f, "{reason}"),
            Self::LowClock { sm_mhz, max_mhz } => {
                write!(f, "SM clock of {sm_mhz} MHz, under {LOWEST_PERCENT} % of {max_mhz} MHz")
            }
        }
    }
}

/// What may decide a clock: NVML's clock event reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing runs.
    Idle,
    /// The application clocks that somebody has set.
    Applications,
    /// The driver keeps the card under its power limit.
    SwPowerCap,
    /// The hardware halves the clock at least: heat, power brake or a sudden rise in power.
    HwSlowdown,
    /// Another GPU of the sync boost group is slower.
    SyncBoost,
    /// The driver lowers the clock because of heat.
    SwThermal,
    /// The hardware lowers the clock because of heat.
    HwThermal,
    /// The power supply has asked for less.
    HwPowerBrake,
    /// The display's clock setting.
    Display,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::Idle,
        Self::Applications,
        Self::SwPowerCap,
        Self::HwSlowdown,
        Self::SyncBoost,
        Self::SwThermal,
        Self::HwThermal,
        Self::HwPowerBrake,
        Self::Display,
    ];

    fn bit(self) -> ThrottleReasons {
        match self {
            Self::Idle => ThrottleReasons::GPU_IDLE,
            Self::Applications => ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
            Self::SwPowerCap => ThrottleReasons::SW_POWER_CAP,
            Self::HwSlowdown => ThrottleReasons::HW_SLOWDOWN,
            Self::SyncBoost => ThrottleReasons::SYNC_BOOST,
            Self::SwThermal => ThrottleReasons::SW_THERMAL_SLOWDOWN,
            Self::HwThermal => ThrottleReasons::HW_THERMAL_SLOWDOWN,
            Self::HwPowerBrake => ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            Self::Display => ThrottleReasons::DISPLAY_CLOCK_SETTING,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Applications => "application clocks",
            Self::SwPowerCap => "power cap",
            Self::HwSlowdown => "hardware slowdown",
            Self::SyncBoost => "sync boost",
            Self::SwThermal => "thermal slowdown by software",
            Self::HwThermal => "thermal slowdown by hardware",
            Self::HwPowerBrake => "power brake",
            Self::Display => "display clocks",
        })
    }
}

/// A set of [`Reason`]s. Reasons that are newer than this program are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(ThrottleReasons);

impl Reasons {
    /// Whether `reason` is one of them.
    #[must_use]
    pub fn has(self, reason: Reason) -> bool {
        self.0.contains(reason.bit())
    }

    /// The reasons, one after another.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |&reason| self.has(reason))
    }
}

impl From<ThrottleReasons> for Reasons {
    fn from(reasons: ThrottleReasons) -> Self {
        Self(reasons)
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<T: IntoIterator<Item = Reason>>(reasons: T) -> Self {
        Self(reasons.into_iter().map(Reason::bit).collect())
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for reason in self.iter() {
            write!(f, "{separator}{reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1980;

    fn throttled(sm_mhz: u32, reasons: &[Reason]) -> Option<Throttle> {
        Clock { sm_mhz, reasons: reasons.iter().copied().collect() }.throttled(MAX)
    }

    #[test]
    fn heat_and_slowdowns_by_the_hardware_are_throttling_at_any_clock() {
        for reason in [Reason::HwSlowdown, Reason::HwThermal, Reason::HwPowerBrake, Reason::SwThermal] {
            assert_eq!(throttled(MAX, &[reason]), Some(Throttle::Slowed(reason)));
            assert_eq!(throttled(MAX, &[Reason::SwPowerCap, reason]), Some(Throttle::Slowed(reason)));
        }
    }

    #[test]
    fn the_cause_of_a_hardware_slowdown_is_named_where_it_is_known() {
        let both = [Reason::HwSlowdown, Reason::HwPowerBrake];
        assert_eq!(throttled(900, &both), Some(Throttle::Slowed(Reason::HwPowerBrake)));
    }

    #[test]
    fn the_power_cap_and_set_clocks_are_no_throttling() {
        for reason in [Reason::SwPowerCap, Reason::SyncBoost, Reason::Applications, Reason::Display] {
            assert_eq!(throttled(1700, &[reason]), None, "{reason}");
        }
        assert_eq!(throttled(MAX, &[]), None);
    }

    #[test]
    fn a_clock_under_three_quarters_of_the_highest_is_throttling() {
        assert_eq!(throttled(1485, &[]), None);
        assert_eq!(throttled(1484, &[]), Some(Throttle::LowClock { sm_mhz: 1484, max_mhz: MAX }));
        assert_eq!(throttled(1484, &[Reason::SwPowerCap]), None);
    }

    #[test]
    fn a_low_clock_of_an_idle_card_or_one_that_was_set_is_no_throttling() {
        assert_eq!(throttled(345, &[Reason::Idle]), None);
        assert_eq!(throttled(1000, &[Reason::Applications]), None);
    }

    #[test]
    fn without_a_known_highest_clock_no_clock_is_low() {
        let clock = Clock { sm_mhz: 1, reasons: Reasons::from_iter([]) };
        assert_eq!(clock.throttled(0), None);
    }

    #[test]
    fn reasons_keep_what_they_were_made_of() {
        for reason in Reason::ALL {
            let reasons = Reasons::from_iter([reason]);
            assert_eq!(reasons.iter().collect::<Vec<_>>(), [reason]);
        }
        let reasons = Reasons::from_iter([Reason::HwThermal, Reason::SwPowerCap]);
        assert_eq!(reasons.to_string(), "power cap, thermal slowdown by hardware");
    }
}
