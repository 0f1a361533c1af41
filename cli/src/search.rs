//! What the command line changes of a job's search.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fractune_tuner::settings::{SearchSettings, Strategy, StrategyOptions, Target};
use serde_json::{Map, Value};

use crate::error::CliError;

/// How configurations are chosen, instead of as the job says.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Search")]
pub struct Search {
    /// Trials of each task at most, instead of the job's.
    #[arg(long, value_name = "N")]
    pub max_trials: Option<u32>,
    /// How configurations are chosen, instead of as the job says. The job's options for another strategy are left out.
    #[arg(long, value_name = "NAME", ignore_case = true, value_parser = strategies())]
    strategy: Option<Strategy>,
    /// An option of the strategy, such as `population=30`; may be given several times.
    #[arg(long, value_name = "NAME=NUMBER")]
    option: Vec<String>,
    /// Seed of every random choice and of the buffers' contents, instead of the job's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    seed: Option<i64>,
    /// Stop a task after so many trials in a row that bettered no share's best.
    #[arg(long, value_name = "N")]
    stop_after_stale: Option<u32>,
    /// Stop a task once it is so fast, in nanoseconds: one time for all shares, or one for each.
    #[arg(long, value_name = "NS,...", value_delimiter = ',')]
    target_ns: Vec<i64>,
    /// So many percent slower than the target, the job's or `--target-ns`, are fast enough.
    #[arg(long, value_name = "PERCENT")]
    target_within: Option<u32>,
}

impl Search {
    /// Changes a job's settings, which are checked afterwards, as if the job had said so.
    ///
    /// # Errors
    /// [`CliError::Usage`] for an option that no strategy has, and where there is no target to be within.
    pub fn apply(&self, settings: &mut SearchSettings) -> Result<(), CliError> {
        if let Some(strategy) = self.strategy {
            if strategy != settings.strategy {
                settings.options = StrategyOptions::default();
            }
            settings.strategy = strategy;
        }
        if !self.option.is_empty() {
            settings.options = self.options(&settings.options)?;
        }
        settings.max_trials = self.max_trials.unwrap_or(settings.max_trials);
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.stop_after_stale = self.stop_after_stale.or(settings.stop_after_stale);
        if !self.target_ns.is_empty() {
            let within_percent = settings.target.as_ref().map_or(0, |target| target.within_percent);
            settings.target = Some(Target { times_ns: self.target_ns.clone(), within_percent });
        }
        match (&mut settings.target, self.target_within) {
            (Some(target), Some(within)) => target.within_percent = within,
            (None, Some(within)) => {
                let message =
                    format!("--target-within {within}: the job has no target; give one with --target-ns");
                return Err(CliError::Usage(message));
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// The options of before, with those that are given.
    fn options(&self, before: &StrategyOptions) -> Result<StrategyOptions, CliError> {
        let wrong = |text: &str, why: &str| CliError::Usage(format!("--option {text}: {why}"));
        let mut all = match serde_json::to_value(before) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        for text in &self.option {
            let (name, number) =
                text.split_once('=').ok_or_else(|| wrong(text, "write it as NAME=NUMBER"))?;
            let number: u32 = number.parse().map_err(|_| wrong(text, "its value must be a whole number"))?;
            if !StrategyOptions::names().contains(&name) {
                let names = StrategyOptions::names().join(", ");
                return Err(wrong(text, &format!("no strategy has it; there is {names}")));
            }
            all.insert(name.to_owned(), number.into());
        }
        serde_json::from_value(Value::Object(all))
            .map_err(|error| wrong(&self.option.join(" "), &error.to_string()))
    }
}

fn strategies() -> impl TypedValueParser<Value = Strategy> {
    PossibleValuesParser::new(Strategy::ALL.map(Strategy::name)).try_map(|given| {
        let is_named = |strategy: &Strategy| strategy.name().eq_ignore_ascii_case(&given);
        Strategy::ALL.into_iter().find(is_named).ok_or("there is no such strategy")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        search: Search,
    }

    fn applied(arguments: &str, mut settings: SearchSettings) -> Result<SearchSettings, String> {
        let words = std::iter::once("x").chain(arguments.split_whitespace());
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        only.search.apply(&mut settings).map_err(|error| error.to_string())?;
        Ok(settings)
    }

    fn annealing() -> SearchSettings {
        let options = StrategyOptions { start_percent: Some(80), ..StrategyOptions::default() };
        SearchSettings { strategy: Strategy::SimulatedAnnealing, options, ..SearchSettings::default() }
    }

    #[test]
    fn what_is_not_given_stays_the_job_s() {
        assert_eq!(applied("", annealing()), Ok(annealing()));
        let changed = applied("--max-trials 7 --seed 3 --stop-after-stale 5", annealing()).unwrap();
        assert_eq!((changed.max_trials, changed.seed, changed.stop_after_stale), (7, 3, Some(5)));
        assert_eq!(changed.options, annealing().options);
    }

    #[test]
    fn a_strategy_comes_with_its_own_options() {
        let changed = applied("--strategy genetic --option population=30", annealing()).unwrap();
        let expected = StrategyOptions { population: Some(30), ..StrategyOptions::default() };
        assert_eq!((changed.strategy, changed.options), (Strategy::Genetic, expected));
        let added = applied("--option endPercent=2", annealing()).unwrap();
        assert_eq!((added.options.start_percent, added.options.end_percent), (Some(80), Some(2)));
    }

    #[test]
    fn a_target_is_one_time_or_one_for_each_share() {
        let target = applied("--target-ns 500,300 --target-within 5", annealing()).unwrap().target;
        assert_eq!(target, Some(Target { times_ns: vec![500, 300], within_percent: 5 }));
        let own = SearchSettings { target, ..annealing() };
        let within =
            |arguments: &str| applied(arguments, own.clone()).unwrap().target.unwrap().within_percent;
        assert_eq!((within("--target-ns 7"), within("--target-within 2")), (5, 2), "what is not given stays");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_there_is() {
        let told = |arguments: &str| applied(arguments, annealing()).unwrap_err();
        assert!(told("--strategy Luck").contains("SimulatedAnnealing"), "{}", told("--strategy Luck"));
        assert!(told("--option luck=3").contains("no strategy has it; there is startPercent"));
        assert!(told("--option kick=much").contains("must be a whole number"));
        assert!(told("--option kick").contains("NAME=NUMBER"));
        assert!(told("--target-within 5").contains("--target-ns"));
    }
}
