//! The plan: what is copied, and that S3 takes the parts.

use super::*;

const MIB: u64 = 1 << 20;

fn held(key: &str, from: u64, at: Range<u64>) -> Held {
    Held {
        key: key.into(),
        from,
        at,
    }
}

fn limits() -> Limits {
    Limits {
        own_part: 8 * MIB,
        largest_copy: 5 << 30,
    }
}

fn checked(size: u64, runs: &[Held], limits: Limits) -> Option<Plan> {
    let plan = plan(size, runs, limits)?;
    assert!(plan.parts.len() <= MOST_PARTS, "{}", plan.parts.len());
    let mut at = 0;
    for (number, part) in plan.parts.iter().enumerate() {
        let (range, last) = (part.at(), number + 1 == plan.parts.len());
        assert_eq!(range.start, at);
        at = range.end;
        let len = range.end - range.start;
        assert!(len >= LEAST_PART || (last && len > 0), "{len} {part:?}");
        if let Part::Copied(copy) = part {
            assert!(len <= limits.largest_copy.max(2 * LEAST_PART), "{len}");
            // It is what one of the runs says of these bytes.
            let right = |run: &Held| {
                run.key == copy.key
                    && run.at.start <= range.start
                    && run.at.end >= range.end
                    && run.from + (range.start - run.at.start) == copy.from
            };
            let joined = disjoint(runs, size);
            assert!(joined.iter().any(right), "{copy:?}");
        }
    }
    assert_eq!(at, size);
    assert_eq!(plan.copied() + plan.sent(), size);
    Some(plan)
}

#[test]
fn unchanged_dependencies_are_copied_and_the_code_is_sent() {
    let size = 151_900_000;
    let code = size - 145_800_000;
    let runs = [
        held("layers/a", 0, 0..100_000_000),
        held("old", 7, 100_000_000..145_800_000),
    ];
    let plan = checked(size, &runs, limits()).unwrap();
    assert_eq!(plan.sent(), code);
    assert_eq!(plan.parts.len(), 3);
    // A small code layer is the last part, however small.
    let plan = checked(145_800_010, &runs, limits()).unwrap();
    assert_eq!(plan.sent(), 10);
    // Nothing but what is there.
    assert_eq!(checked(145_800_000, &runs, limits()).unwrap().sent(), 0);
    let small = [held("a", 3, 0..MIB)];
    assert_eq!(checked(MIB, &small, limits()).unwrap().parts.len(), 1);
}

#[test]
fn small_gaps_take_from_their_neighbours() {
    let runs = [held("a", 0, 0..20 * MIB), held("a", 21 * MIB, 21 * MIB..60 * MIB)];
    let plan = checked(70 * MIB, &runs, limits()).unwrap();
    assert_eq!(plan.sent(), 5 * MIB + 10 * MIB);
    // The first can give nothing, so the second does.
    let runs = [held("a", 0, 0..5 * MIB), held("b", 0, 6 * MIB..60 * MIB)];
    assert_eq!(checked(60 * MIB, &runs, limits()).unwrap().sent(), 5 * MIB);
    // At the beginning there is only one to take from.
    let runs = [held("a", 0, MIB..60 * MIB)];
    assert_eq!(checked(60 * MIB, &runs, limits()).unwrap().sent(), 5 * MIB);
    // Neither can: the larger one is copied.
    let runs = [held("a", 0, 0..6 * MIB), held("b", 0, 7 * MIB..12 * MIB)];
    let plan = checked(40 * MIB, &runs, limits()).unwrap();
    assert_eq!(plan.copied(), 6 * MIB);
}

#[test]
fn what_is_not_worth_it_is_sent() {
    assert_eq!(plan(100 * MIB, &[], limits()), None);
    let runs: Vec<_> = (0..20)
        .map(|n| held("a", n * 5 * MIB, n * 5 * MIB..n * 5 * MIB + 4 * MIB))
        .collect();
    assert_eq!(plan(100 * MIB, &runs, limits()), None);
    assert_eq!(plan(1000, &[held("a", 0, 0..1000)], limits()), None);
    assert_eq!(plan(0, &[], limits()), None);
    // A run that would lie beyond the object's end is none.
    assert_eq!(plan(10 * MIB, &[held("a", 0, 0..11 * MIB)], limits()), None);
}

#[test]
fn runs_are_cut_apart_and_joined() {
    let runs = [
        held("a", 10, 0..100),
        held("b", 0, 50..150),
        held("b", 100, 150..200),
        held("c", 0, 60..90),
        held("a", 0, 200..200),
    ];
    let wanted = [held("a", 10, 0..100), held("b", 50, 100..200)];
    assert_eq!(disjoint(&runs, 1000), wanted);
}

#[test]
fn huge_objects_keep_to_the_number_and_the_size_of_parts() {
    let huge = 5 << 40;
    let plan = checked(huge, &[held("a", 0, 0..huge / 2)], limits()).unwrap();
    assert_eq!(plan.copied(), huge / 2);
    let runs: Vec<_> = (0..20_000)
        .map(|n| held("a", n, n * 20 * MIB..n * 20 * MIB + 6 * MIB + n))
        .collect();
    checked(400_000 * MIB, &runs, limits());
    let tight = Limits {
        own_part: 5 * MIB,
        largest_copy: 5 * MIB,
    };
    checked(99 * MIB, &[held("a", 0, 0..88 * MIB)], tight).unwrap();
}

#[test]
fn any_runs_make_parts_that_s3_takes() {
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..3000 {
        let size = random.u64(1..120 * MIB);
        let runs: Vec<_> = (0..random.usize(0..12))
            .map(|_| {
                let start = random.u64(0..size);
                let end = (start + random.u64(0..30 * MIB)).min(size);
                held(
                    ["a", "b", "c"][random.usize(0..3)],
                    random.u64(0..MIB),
                    start..end,
                )
            })
            .collect();
        let Some(plan) = checked(size, &runs, limits()) else {
            continue;
        };
        // No more is lost than the runs that are too small, and one part for each gap.
        let joined = disjoint(&runs, size);
        let large: Vec<_> = joined.iter().filter(|run| run.len() >= 15 * MIB).collect();
        let sure: u64 = large.iter().map(|run| run.len() - 10 * MIB).sum();
        assert!(plan.copied() >= sure, "{size} {runs:?}");
    }
}
