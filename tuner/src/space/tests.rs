use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::expr::Expression;
use crate::kernel::Range;
use crate::search::{self, Observation, Start};
use crate::settings::StrategyOptions;

fn parameter(name: &str, values: Vec<Value>) -> Parameter {
    Parameter { name: name.into(), values, range: None, default: None }
}

fn ints(name: &str, values: &[i64]) -> Parameter {
    parameter(name, values.iter().copied().map(Value::Int).collect())
}

fn range(name: &str, min: i64, max: i64, step: i64) -> Parameter {
    Parameter { name: name.into(), values: Vec::new(), range: Some(Range { min, max, step }), default: None }
}

fn sizes(sizes: &[(&str, i64)]) -> BTreeMap<String, i64> {
    sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

fn build(parameters: &[Parameter], constraints: &[&str]) -> Result<Space, Vec<Violation>> {
    let constraints: Vec<String> = constraints.iter().map(|&text| text.to_owned()).collect();
    Space::build("spec.kernels[0]", parameters, &constraints, &sizes(&[("n", 64), ("m", 96)]))
}

fn messages(parameters: &[Parameter], constraints: &[&str]) -> Vec<String> {
    build(parameters, constraints).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The gemm of `CLBlast`, the space that Kernel Tuner is measured with.
fn gemm(kwg: &[i64], switch: &[i64]) -> (Vec<Parameter>, Vec<&'static str>) {
    let parameters = vec![
        ints("GEMMK", &[0]),
        ints("MWG", &[16, 32, 64, 128]),
        ints("NWG", &[16, 32, 64, 128]),
        ints("KWG", kwg),
        ints("MDIMC", &[8, 16, 32]),
        ints("NDIMC", &[8, 16, 32]),
        ints("MDIMA", &[8, 16, 32]),
        ints("NDIMB", &[8, 16, 32]),
        ints("KWI", &[2]),
        ints("VWM", &[1, 2, 4, 8]),
        ints("VWN", &[1, 2, 4, 8]),
        ints("STRM", switch),
        ints("STRN", switch),
        ints("SA", &[0, 1]),
        ints("SB", &[0, 1]),
        ints("KREG", &[1]),
        ints("PRECISION", &[32]),
    ];
    let constraints = vec![
        "KWG % KWI == 0",
        "MWG % (MDIMC * VWM) == 0",
        "NWG % (NDIMC * VWN) == 0",
        "MWG % (MDIMA * VWM) == 0",
        "NWG % (NDIMB * VWN) == 0",
        "KWG % ((MDIMC * NDIMC) / MDIMA) == 0",
        "KWG % ((MDIMC * NDIMC) / NDIMB) == 0",
    ];
    (parameters, constraints)
}

#[test]
fn kernel_tuners_gemm_space_has_17956_configurations() {
    let (parameters, constraints) = gemm(&[32], &[0]);
    let space = build(&parameters, &constraints).unwrap();
    assert_eq!((space.raw(), space.len(), space.undefined()), (82_944, 17_956, 0));
}

#[test]
fn the_larger_gemm_space_of_the_benchmark_suite_has_116928() {
    let (parameters, mut constraints) = gemm(&[16, 32], &[0, 1]);
    constraints.push("!(MWG == 128 && NWG == 128 && MDIMC == 8 && NDIMC == 8)");
    let space = build(&parameters, &constraints).unwrap();
    assert_eq!((space.raw(), space.len()), (663_552, 116_928));
}

#[test]
fn sizes_are_constants_of_constraints() {
    let space = build(&[range("tile", 1, 100, 1)], &["n % tile == 0 && m % tile == 0"]).unwrap();
    let tiles: Vec<Value> = (0..space.len()).map(|i| space.configuration(i).0["tile"].clone()).collect();
    assert_eq!(tiles, [1, 2, 4, 8, 16, 32].map(Value::Int));
    assert_eq!(space.scope().names().collect::<Vec<_>>(), ["tile", "m", "n"]);
    assert_eq!(space.slots(5), [32, 96, 64]);
}

#[test]
fn expressions_see_the_values_of_a_configuration() {
    let parameters = [
        parameter("kind", vec![Value::Text("wide".into()), Value::Text("narrow".into())]),
        parameter("fast", vec![Value::Bool(false), Value::Bool(true)]),
        ints("a", &[10, 20]),
    ];
    let space = build(&parameters, &["kind == 'wide' || !fast"]).unwrap();
    assert_eq!(space.len(), 6);
    let expression = Expression::compile("(kind == 'narrow' ? 1 : 2) * a + n", space.scope()).unwrap();
    for index in 0..space.len() {
        let configuration = space.configuration(index).0;
        let Value::Int(a) = configuration["a"] else { panic!("a is an integer") };
        let factor = if configuration["kind"] == Value::Text("narrow".into()) { 1 } else { 2 };
        assert_eq!(expression.eval_int(&space.slots(index)), Ok(factor * a + 64));
    }
}

#[test]
fn what_cannot_be_evaluated_is_left_out_and_counted() {
    let parameters = [range("a", 0, 3, 1), range("b", 0, 4, 1)];
    let space = build(&parameters, &["(a + b) / b >= 1"]).unwrap();
    assert_eq!((space.raw(), space.len(), space.undefined()), (20, 16, 4));
    // A constraint on one parameter alone counts for every value of the others.
    let space = build(&parameters, &["12 / a > 0"]).unwrap();
    assert_eq!((space.len(), space.undefined()), (15, 5));
    // What another constraint rejects is not undefined, whichever is written first.
    for guarded in ["a / (b - a) >= 0 && b != a", "b != a && a / (b - a) >= 0"] {
        assert_eq!(build(&parameters, &[guarded]).unwrap().undefined(), 0, "{guarded}");
    }
}

#[test]
fn a_configuration_of_other_names_or_values_has_no_index() {
    let space = build(&[ints("a", &[1, 2, 3]), ints("b", &[1, 2])], &["a != 2"]).unwrap();
    let configuration = |values: &[(&str, i64)]| {
        Configuration(values.iter().map(|&(name, value)| (name.to_owned(), Value::Int(value))).collect())
    };
    assert_eq!(space.index_of(&configuration(&[("a", 3), ("b", 1)])), Some(2));
    for other in [&[("a", 2), ("b", 1)][..], &[("a", 4), ("b", 1)], &[("a", 1)], &[("a", 1), ("c", 1)]] {
        assert_eq!(space.index_of(&configuration(other)), None, "{other:?}");
    }
    assert_eq!(space.index_of(&configuration(&[("a", 1), ("b", 1), ("c", 1)])), None);
    assert_eq!(space.index_of_point(&[2, 0]), Some(2));
    for other in [&[1, 0][..], &[3, 0], &[0, 2], &[0], &[0, 0, 0]] {
        assert_eq!(space.index_of_point(other), None, "{other:?}");
    }
}

#[test]
fn samples_reach_every_valid_configuration_about_equally() {
    let space = build(&[range("a", 1, 4, 1), range("b", 1, 4, 1)], &["a < b"]).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = vec![0; space.len()];
    (0..6000).for_each(|_| counts[space.sample(&mut rng).unwrap()] += 1);
    assert_eq!(counts.len(), 6);
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[test]
fn a_space_without_configurations_names_the_constraint_that_empties_it() {
    let parameters = [range("a", 1, 10, 1), range("b", 1, 10, 1)];
    assert_eq!(
        messages(&parameters, &["a > 5", "a * b > 1000"]),
        [
            "spec.kernels[0].constraints: \"a * b > 1000\": no configuration satisfies the constraints; of 100 \
          combinations, constraints[1] alone rejects all of them, constraints[0] alone rejects 50.0 %; change \
          them or add values"
        ]
    );
    // No single one does, and no single parameter is left without values.
    let together = messages(&parameters, &["a > b", "b > a"]);
    assert!(together[0].contains("constraints[0] alone rejects 55.0 %"), "{together:?}");
    let constant = messages(&parameters, &["n < 0"]);
    assert!(constant[0].contains("constraints[0] alone rejects all of them"), "{constant:?}");
    let undefined = messages(&parameters, &["1 / (n - 64) == a"]);
    assert!(undefined[0].contains("for all of them it divides by zero or overflows"), "{undefined:?}");
    let barren = messages(&parameters, &["b > 10"]);
    assert!(barren[0].contains("constraints[0] alone rejects all of them"), "{barren:?}");
}

#[test]
fn what_cannot_be_listed_is_drawn_and_walked_and_searched_by_every_strategy() {
    let wide: Vec<Parameter> = (0..5).map(|i| range(&format!("p{i}"), 1, 4096, 1)).collect();
    // One in some thousand combinations.
    let space = Arc::new(build(&wide, &["p0 % p1 == 0", "p1 > 1", "p2 * p3 <= 4096"]).unwrap());
    assert_eq!((space.is_listed(), space.len()), (false, MAX_CONFIGURATIONS + 1));
    assert_eq!(count_in_words(space.len() as u64), "over 10000000");
    let holds = |index: usize| {
        let slots = space.slots(index);
        slots[0] % slots[1] == 0 && slots[1] > 1 && slots[2] * slots[3] <= 4096
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let drawn: HashSet<usize> = (0..200).map(|_| space.sample(&mut rng).unwrap()).collect();
    assert!(drawn.len() > 190, "{}", drawn.len());
    for &index in &drawn {
        assert!(holds(index) && space.contains(index), "{}", space.configuration(index));
        assert_eq!(space.index_of(&space.configuration(index)), Some(index));
        assert_eq!(space.index_of_point(&space.point(index)), Some(index));
    }
    let some = drawn.iter().copied().min().unwrap();
    let raw = usize::try_from(space.raw()).unwrap();
    assert!(
        !space.contains(raw) && !space.contains(raw - 1),
        "p2 * p3 is too much in the last combination of all"
    );
    let neighbours = space.neighbours(some);
    assert!(neighbours.iter().all(|&index| holds(index)) && neighbours.len() >= 4095, "{}", neighbours.len());

    for strategy in crate::settings::Strategy::ALL {
        let options = StrategyOptions::default();
        let start = Start { strategy, options: &options, first: &[some], shares: 1, seed: 1 };
        let mut search = search::start(space.clone(), &start);
        let mut asked = Vec::new();
        for _ in 0..4 {
            let batch = search.ask(8);
            for &index in &batch {
                let time = space.slots(index).iter().sum::<i64>() as u64;
                search.tell(index, &Observation { times_ns: vec![Some(time)] });
            }
            asked.extend(batch);
        }
        assert_eq!((asked.len(), asked[0]), (32, some), "{strategy:?}");
        assert!(asked.iter().all(|&index| holds(index)), "{strategy:?}");
        assert_eq!(asked.iter().collect::<HashSet<_>>().len(), 32, "{strategy:?} asks once");
    }
}

#[test]
fn too_many_to_list_and_too_few_to_find_are_refused() {
    let wide: Vec<Parameter> = (0..5).map(|i| range(&format!("p{i}"), 1, 4096, 1)).collect();
    // Pythagorean triples, times what is free.
    let message = messages(&wide, &["p0 * p0 + p1 * p1 == p2 * p2"]);
    assert!(message[0].contains("hardly ever valid"), "{message:?}");
}

#[test]
fn too_many_combinations_are_refused() {
    let wider: Vec<Parameter> = (0..6).map(|i| range(&format!("p{i}"), 1, 4096, 1)).collect();
    let message = messages(&wider, &[]);
    assert!(message[0].contains("over 2^63 combinations"), "{message:?}");
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let mut both = range("both", 1, 2, 1);
    both.values = vec![Value::Int(1)];
    let parameters = [
        ints("empty", &[]),
        ints("twice", &[1, 2, 1]),
        parameter("mixed", vec![Value::Int(1), Value::Text("a".into())]),
        both,
        range("swapped", 2, 1, 1),
        range("stuck", 1, 2, 0),
        range("vast", i64::MIN, i64::MAX, 1),
        ints("twice", &[1]),
        ints("n", &[1]),
        ints("2x", &[1]),
        ints("int", &[1]),
        parameter("many", (0..5000).map(Value::Int).collect()),
    ];
    let found = messages(&parameters, &["twice +", "twice", "unheard > 1", "twice > 0"]);
    let expected = [
        "parameters[0].values: has no values; list them, as in values: [1, 2, 4], or give a range: {min: 1, max: 8}",
        "parameters[1].values[2]: \"1\": is listed twice; remove one of the two",
        "parameters[2].values[1]: \"a\": is a string where 1, the first value, is an integer; give all values one type",
        "parameters[3]: has both values and range; remove one of the two",
        "parameters[4].range: \"2 to 1\": min is over max; swap them",
        "parameters[5].range.step: \"0\": the step must be at least 1",
        "parameters[6].range: \"-9223372036854775808 to 9223372036854775807\": has 18446744073709551616 values, over the limit of 4096; use a larger step",
        "parameters[7].name: \"twice\": parameters[1] has this name already; rename or remove one of them",
        "parameters[8].name: \"n\": the problem has a size of this name too; rename one of them",
        "parameters[9].name: \"2x\": not a C identifier; use letters, digits and underscores, and no digit at the start",
        "parameters[10].name: \"int\": a reserved word of CEL or C; choose another name, such as one with a suffix",
        "parameters[11].values: has 5000 values, over the limit of 4096; leave some out",
    ];
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(found[i], format!("spec.kernels[0].{expected}"));
    }
    assert!(
        found[12].starts_with("spec.kernels[0].constraints[0]: \"twice +\": not an expression"),
        "{found:?}"
    );
    assert!(
        found[13].starts_with("spec.kernels[0].constraints[2]: \"unheard > 1\": unknown name"),
        "{found:?}"
    );
    assert_eq!(found.len(), 14);
}

#[test]
fn a_constraint_must_be_a_boolean_of_known_types() {
    let found = messages(&[ints("a", &[1])], &["a", "a > 1.0"]);
    assert!(found[0].contains("the result is int where a constraint must be bool"), "{found:?}");
    assert!(found[1].contains("write double(a)"), "{found:?}");
    assert!(messages(&[], &[])[0].contains("nothing to tune"));
}

fn constraint() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a % b == 0",
        "a * b <= c + 4",
        "a + b != n % 7",
        "c > 1",
        "d || a < 3",
        "!d && b > 1 || c / (a - b) > 0",
        "a <= b && b <= c",
        "c in [a, b, a + b]",
        "a > 0 && 6 / a > c",
        "d == (a > b)",
        "n / 16 > a",
        "c < 1 || d",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_space_is_the_product_filtered_by_the_constraints(
        constraints in prop::collection::vec(constraint(), 0..4),
        a in prop::sample::subsequence(vec![0, 1, 2, 3, 4, 6], 1..=6).prop_shuffle(),
        b in prop::sample::subsequence(vec![-1, 0, 1, 2, 3], 1..=5),
        c in prop::sample::subsequence(vec![0, 1, 2, 5], 1..=4),
    ) {
        let parameters = [
            ints("a", &a), ints("b", &b), ints("c", &c), parameter("d", vec![Value::Bool(true), Value::Bool(false)]),
        ];
        let mut scope = Scope::new();
        for (name, ty) in
            [("a", Type::Int), ("b", Type::Int), ("c", Type::Int), ("d", Type::Bool), ("m", Type::Int), ("n", Type::Int)]
        {
            scope.add(name, ty);
        }
        let compiled: Vec<Expression> = constraints.iter().map(|t| Expression::compile(t, &scope).unwrap()).collect();
        let mut expected = Vec::new();
        let mut undefined = 0;
        for (i, &x) in a.iter().enumerate() {
            for (j, &y) in b.iter().enumerate() {
                for (k, &z) in c.iter().enumerate() {
                    for l in 0..2 {
                        let values = [x, y, z, 1 - l, 96, 64];
                        let results: Vec<_> = compiled.iter().map(|e| e.eval_bool(&values)).collect();
                        if results.iter().all(|r| *r == Ok(true)) {
                            expected.push(vec![i as u16, j as u16, k as u16, l as u16]);
                        } else if !results.contains(&Ok(false)) {
                            undefined += 1;
                        }
                    }
                }
            }
        }
        match Space::build("", &parameters, &constraints, &sizes(&[("n", 64), ("m", 96)])) {
            Err(violations) => {
                prop_assert!(expected.is_empty(), "{violations:?}");
                prop_assert_eq!(&violations[0].path, "constraints");
            }
            Ok(space) => {
                let points: Vec<_> = (0..space.len()).map(|i| space.point(i)).collect();
                prop_assert_eq!(&points, &expected);
                // A later constraint may reject what an earlier one already could not be evaluated for.
                prop_assert!(space.undefined() >= undefined);
                prop_assert!(space.undefined() <= space.raw() - space.len() as u64);
                for index in 0..space.len() {
                    prop_assert_eq!(space.index_of(&space.configuration(index)), Some(index));
                    prop_assert_eq!(space.index_of_point(&points[index]), Some(index));
                    let neighbours = space.neighbours(index);
                    let differ_in_one: Vec<usize> = (0..space.len())
                        .filter(|&other| {
                            points[other].iter().zip(&points[index]).filter(|(x, y)| x != y).count() == 1
                        })
                        .collect();
                    let mut sorted = neighbours.clone();
                    sorted.sort_unstable();
                    prop_assert_eq!(sorted, differ_in_one);
                }
            }
        }
    }
}
